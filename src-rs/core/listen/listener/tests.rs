//! The end of a listener, as those learn of it who wait for an answer.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::connect::config::ConnectConfig;
use crate::connect::settings::Settings;
use crate::deliver::feed::Feed;
use crate::listen::session::Session;
use crate::listen::sessions::Sessions;

/// Sessions that never come about. Once it is let go, the supervisor panics where it begins an attempt.
#[derive(Default)]
struct Panicking {
    is_let_go: Arc<AtomicBool>,
}

impl Clone for Panicking {
    fn clone(&self) -> Self {
        assert!(!self.is_let_go.load(Ordering::Relaxed), "the sky fell");
        Self {
            is_let_go: Arc::clone(&self.is_let_go),
        }
    }
}

impl Sessions for Panicking {
    type Session = Session;

    async fn establish(&self, _: &Arc<Feed>, _: &[String]) -> Result<Session> {
        std::future::pending().await
    }
}

/// Sessions whose attempts panic.
#[derive(Clone)]
struct Failing;

impl Sessions for Failing {
    type Session = Session;

    async fn establish(&self, _: &Arc<Feed>, _: &[String]) -> Result<Session> {
        panic!("the sky fell")
    }
}

fn options() -> ListenerOptions {
    let none = Settings::default;
    let connect = ConnectConfig::resolve(none(), Some("host=h"), none());
    ListenerOptions {
        session: SessionChoice::Own,
        connect: Arc::new(connect.expect("it can be read")),
        doubt: Arc::default(),
        max_pause: Duration::from_secs(10),
        reconnect: None,
        heartbeat: None,
        own_pids: Arc::default(),
    }
}

/// A seat at a new session.
fn chair<S: Sessions>(sessions: S, seat: &Arc<Seat>) -> Chair {
    let feed = Arc::new(Feed::private());
    let id = feed.sit(seat, false).expect("a new feed");
    let policy = options().policy();
    let supervised = Supervised::start(sessions, policy, Arc::default(), None, feed);
    Chair { supervised, id }
}

/// A listener over sessions that panic, with what lets them go.
fn start() -> (
    ListenerHandle,
    impl Future<Output = Result<()>>,
    Arc<AtomicBool>,
) {
    let sessions = Panicking::default();
    let is_let_go = Arc::clone(&sessions.is_let_go);
    let (handle, started) = start_over(sessions);
    (handle, started, is_let_go)
}

fn start_over<S: Sessions>(sessions: S) -> (ListenerHandle, impl Future<Output = Result<()>>) {
    let seat = Arc::new(Seat::new(None, Box::new(|| {})));
    let chair = chair(sessions, &seat);
    let running = Running::new(Arc::new(options()), seat);
    let joined = chair.join(Vec::new(), None);
    running.place.lock().chair = Some(chair);
    let started = Arc::clone(&running).join(joined, None);
    (ListenerHandle(running), started)
}

const TEXT: &str = "the listener gave up: the listener's supervisor panicked: the sky fell";

#[tokio::test]
async fn a_panic_of_the_supervisor_is_the_answer_to_everything_that_waits() {
    let (handle, started, is_let_go) = start();
    let subscribed = handle.subscribe("a".to_owned(), 1);
    let fence = handle.fence(1);
    is_let_go.store(true, Ordering::Relaxed);
    for answer in [started.await, subscribed.await, fence.await] {
        let error = answer.expect_err("a panic");
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::ListenerClosed, TEXT)
        );
    }
    let late = handle.unsubscribe("a".to_owned()).await;
    assert_eq!(late.expect_err("a panic").message, TEXT);
    let events = handle.0.seat.take_events();
    assert!(events.is_empty(), "it was never connected: {events:?}");
    handle.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_panic_of_the_first_attempt_leaves_nobody_waiting() {
    let (handle, started) = start_over(Failing);
    let subscribed = handle.subscribe("a".to_owned(), 1);
    let fence = handle.fence(1);
    let error = started.await.expect_err("a panic");
    assert_eq!(error.kind, ErrorKind::Internal);
    assert_eq!(
        error.message,
        "an attempt to connect panicked: the sky fell"
    );
    for answer in [subscribed.await, fence.await] {
        let error = answer.expect_err("there is no session");
        assert_eq!(error.kind, ErrorKind::ListenerClosed);
    }
    handle.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_shutdown_is_the_answer_to_everything_that_waits() {
    let (handle, started, _) = start();
    let subscribed = handle.subscribe("a".to_owned(), 1);
    handle.shutdown(Duration::from_secs(5)).await;
    for answer in [started.await, subscribed.await] {
        let error = answer.expect_err("a shutdown");
        assert_eq!(error.message, "the listener was shut down");
    }
}

#[tokio::test]
async fn a_listener_that_gave_up_answers_everything_that_waits_although_its_session_goes_on() {
    let (handle, _started, _) = start();
    let (subscribed, fence) = (handle.subscribe("a".to_owned(), 1), handle.fence(1));
    let chair = handle.0.place.lock().chair.clone().expect("a seat");
    chair
        .supervised
        .feed
        .sit(&Arc::new(Seat::new(None, Box::new(|| {}))), false);
    drop(chair.supervised.leave(chair.id, Vec::new(), Duration::ZERO));
    let waiting = tokio::spawn(async move { (subscribed.await, fence.await) });
    tokio::task::yield_now().await;
    let error = Error::new(ErrorKind::ListenerOverflow, "full");
    handle.0.seat.give_up(error);
    let (subscribed, fence) = waiting.await.expect("no panic");
    for answer in [subscribed, fence] {
        assert_eq!(
            answer.expect_err("an overflow").kind,
            ErrorKind::ListenerOverflow
        );
    }
}

#[tokio::test]
async fn what_was_asked_of_a_session_that_the_listener_left_for_another_is_done() {
    let (handle, _started, _) = start();
    let (subscribed, unsubscribed) = (
        handle.subscribe("a".to_owned(), 1),
        handle.unsubscribe("a".to_owned()),
    );
    let (other, _other_started, _) = start();
    let next = other.0.place.lock().chair.clone().expect("a seat");
    let before = handle.0.place.lock().chair.replace(next).expect("a seat");
    before
        .supervised
        .feed
        .sit(&Arc::new(Seat::new(None, Box::new(|| {}))), false);
    drop(
        before
            .supervised
            .leave(before.id, Vec::new(), Duration::ZERO),
    );
    assert!(subscribed.await.is_ok() && unsubscribed.await.is_ok());
}

/// Lets everything happen that is due.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_a_session_that_came_about_for_nobody_did_not_answer_is_asked_of_the_next_one() {
    let (handle, _started, _) = start();
    let subscribed = tokio::spawn(handle.subscribe("a".to_owned(), 1));
    let unsubscribed = tokio::spawn(handle.unsubscribe("b".to_owned()));
    let fence = tokio::spawn(handle.fence(1));
    settle().await;
    let before = handle.0.place.lock().chair.clone().expect("a seat");
    // As if the attempt of another listener had failed, before the supervisor has heard of this one.
    drop(
        before
            .supervised
            .leave(before.id, Vec::new(), Duration::ZERO),
    );
    before.supervised.finished().await;
    settle().await;
    let is_pending = || !subscribed.is_finished() && !fence.is_finished();
    assert!(is_pending(), "the listener goes on to start");

    let sessions = Panicking::default();
    let is_let_go = Arc::clone(&sessions.is_let_go);
    let next = chair(sessions, &handle.0.seat);
    let feed = Arc::clone(&next.supervised.feed);
    let joined = handle.0.sit_at(next, None);
    settle().await;
    assert!(is_pending(), "the session listens to nothing yet");
    assert!(unsubscribed.await.expect("no panic").is_ok());
    assert_eq!((feed.served().channels, feed.open_fences().len()), (1, 1));
    is_let_go.store(true, Ordering::Relaxed);
    for answer in [subscribed, fence] {
        let error = answer.await.expect("no panic").expect_err("a panic");
        assert_eq!(error.message, TEXT);
    }
    assert!(joined.await.is_err());
}

#[tokio::test]
async fn a_shutdown_between_two_sessions_is_the_answer_to_everything_that_waits() {
    let (handle, _started, _) = start();
    let subscribed = tokio::spawn(handle.subscribe("a".to_owned(), 1));
    let before = handle.0.place.lock().chair.clone().expect("a seat");
    drop(
        before
            .supervised
            .leave(before.id, Vec::new(), Duration::ZERO),
    );
    before.supervised.finished().await;
    settle().await;
    handle.shutdown(Duration::from_secs(5)).await;
    let error = subscribed.await.expect("no panic").expect_err("a shutdown");
    assert_eq!(error.message, "the listener was shut down");
    // The listener takes no seat any more.
    let next = chair(Failing, &handle.0.seat);
    let feed = Arc::clone(&next.supervised.feed);
    assert!(handle.0.sit_at(next, None).await.is_err());
    assert!(feed.is_over() && handle.0.place.lock().chair.is_none());
}
