//! A scripted server side for the supervisor: sessions that come up, refuse, hang and end as a test says.

use std::collections::{HashSet, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{Command, Policy, Supervisor, SupervisorParts};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::own_pids::OwnPids;
use crate::connect::cluster::Timeline;
use crate::connect::wire::WireFacts;
use crate::deliver::buffer::{Bounds, Entry, Overflow, Subscriber};
use crate::deliver::feed::{Feed, FeedPlace, SeatId};
use crate::deliver::seat::{Event, Seat};
use crate::inbound::ReceivedBatch;
use crate::listen::desired::ChannelNames;
use crate::listen::driver::SessionEnd;
use crate::listen::lending::{Lender, LenderSlot};
use crate::listen::losses::Losses;
use crate::listen::options::{HeartbeatOptions, ReconnectOptions};
use crate::listen::session::ClientSlot;
use crate::listen::sessions::{ListeningSession, Sessions};
use crate::query::shared_client::SessionClient;

/// How long a session lasts that is stable, in most tests.
pub(super) const STABLE_AFTER: Duration = Duration::from_secs(10);

/// The outcome of an attempt to connect.
pub(super) enum Attempt {
    /// A session of the backend with this process id.
    Up(i32),
    /// A session of the backend with this process id, after a time.
    UpAfter(Duration, i32),
    Fails(Error),
    FailsAfter(Duration, Error),
    /// Nobody answers. So it is for the attempts behind the end of the script, if this is the last of it.
    Hangs,
    /// The session delivers a notification on channel `a` before it is verified; then it is as this attempt.
    Delivers(&'static str, Box<Attempt>),
}

impl Attempt {
    /// The same attempt, which before it is verified delivers a notification on channel `a`.
    pub(super) fn delivering(self, payload: &'static str) -> Self {
        Self::Delivers(payload, Box::new(self))
    }
}

/// The answer of a session to every request.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Answers {
    AtOnce,
    After(Duration),
    Never,
}

/// What is wrong with the session that is up, although it answers.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Deaf {
    /// The server no longer listens.
    Unregistered,
    /// No notification is passed on.
    Undelivered,
    /// A transaction of the user's is open: nothing can be told.
    InBlock,
}

/// Sessions as a test wants them, and a record of the requests.
#[derive(Clone)]
pub(super) struct Script(Arc<Shared>);

struct Shared {
    attempts: Mutex<VecDeque<Attempt>>,
    record: Mutex<Vec<(Duration, String)>>,
    /// Ends the session that is up.
    end: Mutex<Option<oneshot::Sender<SessionEnd>>>,
    answers: Mutex<Answers>,
    paused: AtomicBool,
    deaf: Mutex<Option<Deaf>>,
    /// Channels of which the server refuses LISTEN and UNLISTEN.
    refused: Mutex<HashSet<String>>,
    began: Instant,
    /// The number under which the session that is up, or was begun last, publishes.
    publishing: Mutex<u64>,
    /// How many attempts were made.
    dials: AtomicUsize,
    /// Set by an attempt that hung: nobody answers behind the end of the script either.
    hangs: AtomicBool,
}

impl Script {
    pub(super) fn new(attempts: impl IntoIterator<Item = Attempt>) -> Self {
        Self(Arc::new(Shared {
            attempts: Mutex::new(attempts.into_iter().collect()),
            record: Mutex::default(),
            end: Mutex::default(),
            answers: Mutex::new(Answers::AtOnce),
            paused: AtomicBool::new(false),
            deaf: Mutex::default(),
            refused: Mutex::default(),
            began: Instant::now(),
            publishing: Mutex::default(),
            dials: AtomicUsize::new(0),
            hangs: AtomicBool::new(false),
        }))
    }

    fn note(&self, what: impl Into<String>) {
        let at = self.0.began.elapsed();
        self.0.record.lock().push((at, what.into()));
    }

    /// The time since the test began.
    pub(super) fn now(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// The requests so far.
    pub(super) fn requests(&self) -> Vec<String> {
        let record = self.0.record.lock();
        record.iter().map(|(_, what)| what.clone()).collect()
    }

    /// The times of the requests that begin with `what`, since the test began.
    pub(super) fn times(&self, what: &str) -> Vec<Duration> {
        let record = self.0.record.lock();
        let matching = record.iter().filter(|(_, said)| said.starts_with(what));
        matching.map(|(at, _)| *at).collect()
    }

    pub(super) fn answers(&self, answers: Answers) {
        *self.0.answers.lock() = answers;
    }

    pub(super) fn deaf(&self, deaf: Option<Deaf>) {
        *self.0.deaf.lock() = deaf;
    }

    fn is_deaf(&self, deaf: Deaf) -> bool {
        *self.0.deaf.lock() == Some(deaf)
    }

    pub(super) fn paused(&self, paused: bool) {
        self.0.paused.store(paused, Ordering::Relaxed);
    }

    pub(super) fn refuse(&self, channel: &str) {
        self.0.refused.lock().insert(channel.to_owned());
    }

    pub(super) fn refuse_nothing(&self) {
        self.0.refused.lock().clear();
    }

    /// Ends the session that is up.
    pub(super) fn end(&self, end: impl Into<SessionEnd>) {
        let sender = self.0.end.lock().take().expect("a session is up");
        assert!(sender.send(end.into()).is_ok(), "a session is up");
    }

    /// Publishes a notification on the session that is up, or is being made.
    pub(super) fn publish(&self, feed: &Feed, channel: &str, payload: &str) {
        let number = *self.0.publishing.lock();
        feed.publish(number, &ReceivedBatch::of(&[(channel, payload)]));
    }

    /// Waits for the answer to a request, under its deadline.
    async fn answer(&self, what: &str, timeout: Duration) -> Result<()> {
        self.note(what);
        let answers = *self.0.answers.lock();
        match answers {
            Answers::AtOnce => return Ok(()),
            Answers::After(time) => {
                tokio::time::sleep(time).await;
                return Ok(());
            }
            Answers::Never => tokio::time::sleep(timeout).await,
        }
        Err(lost(&format!("no answer to {what}")))
    }
}

impl Sessions for Script {
    type Session = ScriptedSession;

    async fn establish(&self, feed: &Arc<Feed>, channels: &[String]) -> Result<ScriptedSession> {
        self.note(format!("dial {}", channels.join(" ")));
        let mut dropped = Dropped {
            script: self.clone(),
            number: self.0.dials.fetch_add(1, Ordering::Relaxed),
            is_over: false,
        };
        let attempt = self.0.attempts.lock().pop_front();
        let place = FeedPlace::take(feed);
        *self.0.publishing.lock() = place.number();
        let mut attempt = match attempt {
            None if self.0.hangs.load(Ordering::Relaxed) => Attempt::Hangs,
            attempt => attempt.expect("an attempt of the script"),
        };
        if let Attempt::Delivers(payload, then) = attempt {
            self.publish(feed, "a", payload);
            attempt = *then;
        }
        // The LISTENs of a new session are there, and every session is proven when it is made.
        self.deaf(None);
        let outcome = match attempt {
            Attempt::Up(process_id) => Ok(process_id),
            Attempt::Fails(error) => Err(error),
            Attempt::UpAfter(time, process_id) => {
                tokio::time::sleep(time).await;
                Ok(process_id)
            }
            Attempt::FailsAfter(time, error) => {
                tokio::time::sleep(time).await;
                Err(error)
            }
            Attempt::Hangs => {
                self.0.hangs.store(true, Ordering::Relaxed);
                pending().await
            }
            Attempt::Delivers(..) => panic!("an attempt delivers once"),
        };
        dropped.is_over = true;
        let process_id = outcome?;
        *self.0.publishing.lock() = place.number();
        let (end, ended) = oneshot::channel();
        *self.0.end.lock() = Some(end);
        Ok(ScriptedSession {
            script: self.clone(),
            place,
            process_id,
            ended,
            since: Instant::now(),
            applied: channels.iter().map(SmolStr::from).collect(),
        })
    }
}

/// Notes when an attempt is dropped before its end, by its number from 0.
struct Dropped {
    script: Script,
    number: usize,
    is_over: bool,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        if !self.is_over {
            self.script.note(format!("drop {}", self.number));
        }
    }
}

pub(super) struct ScriptedSession {
    script: Script,
    place: FeedPlace,
    process_id: i32,
    ended: oneshot::Receiver<SessionEnd>,
    since: Instant,
    applied: ChannelNames,
}

impl ListeningSession for ScriptedSession {
    fn place(&self) -> &FeedPlace {
        &self.place
    }

    fn process_id(&self) -> i32 {
        self.process_id
    }

    fn server_started(&self) -> Option<&str> {
        Some("today")
    }

    fn since(&self) -> Instant {
        self.since
    }

    fn applied(&self) -> &ChannelNames {
        &self.applied
    }

    fn client(&self) -> SessionClient {
        SessionClient::default()
    }

    fn confirmed(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn timeline(&self) -> Option<Timeline> {
        None
    }

    fn promoted_since(&self, _: Timeline) -> Option<SystemTime> {
        None
    }

    fn lender(&self) -> Option<Lender> {
        None
    }

    fn facts(&self) -> Arc<WireFacts> {
        Arc::default()
    }

    fn silence(&self) -> Duration {
        self.since.elapsed()
    }

    fn is_paused(&self) -> bool {
        self.script.0.paused.load(Ordering::Relaxed)
    }

    async fn change(&mut self, add: &[String], remove: &[String], timeout: Duration) -> Result<()> {
        let signed = |sign: &'static str, names: &[String]| -> Vec<String> {
            names.iter().map(|name| format!("{sign}{name}")).collect()
        };
        let what = [signed("+", add), signed("-", remove)].concat().join(" ");
        self.script.answer(&what, timeout).await?;
        let refused = self.script.0.refused.lock().clone();
        if add.iter().chain(remove).any(|name| refused.contains(name)) {
            return Err(refusal());
        }
        self.applied.extend(add.iter().map(SmolStr::from));
        self.applied
            .retain(|name| !remove.iter().any(|it| it == name));
        Ok(())
    }

    async fn fence(&mut self, ids: &[u32], timeout: Duration) -> Result<()> {
        let what = format!("{} fence", ids.len());
        self.script.answer(&what, timeout).await?;
        if self.script.is_deaf(Deaf::Unregistered) {
            return Err(lost("no longer listens"));
        }
        Ok(())
    }

    async fn ping(&mut self, timeout: Duration) -> Result<Duration> {
        self.script.answer("ping", timeout).await?;
        if self.script.is_deaf(Deaf::Unregistered) {
            return Err(lost("no longer listens"));
        }
        Ok(Duration::from_millis(3))
    }

    async fn probe(&mut self, timeout: Duration) -> Result<bool> {
        self.script.answer("probe", timeout).await?;
        if self.script.is_deaf(Deaf::Undelivered) {
            tokio::time::sleep(timeout).await;
            return Err(lost("no delivery"));
        }
        Ok(!self.script.is_deaf(Deaf::InBlock))
    }

    async fn ended(&mut self) -> SessionEnd {
        match (&mut self.ended).await {
            Ok(end) => end,
            Err(_) => pending().await,
        }
    }

    async fn reason(&mut self, error: Error) -> SessionEnd {
        error.into()
    }

    async fn close(self, deadline: Instant) -> bool {
        let left = deadline.duration_since(Instant::now());
        self.script.note(format!("close within {left:?}"));
        true
    }
}

/// A supervisor on a script, and everything around it that a test looks at.
pub(super) struct Scene {
    pub(super) script: Script,
    pub(super) feed: Arc<Feed>,
    pub(super) seat: Arc<Seat>,
    pub(super) id: SeatId,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) client: ClientSlot,
    pub(super) cancel: CancellationToken,
    pub(super) deadline: Arc<Mutex<Option<Instant>>>,
    pub(super) started: Option<oneshot::Receiver<Result<()>>>,
    pub(super) consumer: Arc<Subscriber>,
    finished: watch::Receiver<bool>,
}

/// The rules of most tests: back-off from 100 ms to 30 s, a heartbeat every 10 s that is answered within 5 s.
pub(super) fn policy() -> Policy {
    Policy {
        asks_password: false,
        reconnect: Some(ReconnectOptions {
            initial_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            max_attempts: None,
            stable_after: STABLE_AFTER,
        }),
        heartbeat: Some(HeartbeatOptions {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            probe_interval: None,
        }),
        request_timeout: Duration::from_secs(5),
    }
}

impl Scene {
    /// Starts a supervisor for a listener that is subscribed to channel `a`, with one consumer.
    pub(super) fn start(policy: Policy, attempts: impl IntoIterator<Item = Attempt>) -> Self {
        Self::start_with(policy, None, attempts)
    }

    /// The same for a listener that goes on to wait as `retry` says when its first attempt fails.
    pub(super) fn start_with(
        policy: Policy,
        retry: Option<ReconnectOptions>,
        attempts: impl IntoIterator<Item = Attempt>,
    ) -> Self {
        let script = Script::new(attempts);
        let seat = Arc::new(Seat::new(None, Box::new(|| {})));
        let feed = Arc::new(Feed::private());
        seat.add_channel("a", 1);
        let id = feed.sit(&seat, retry.is_some()).expect("a new feed");
        feed.add_channel(id, "a");
        let bounds = Bounds {
            max_messages: 100,
            max_bytes: 1 << 20,
            overflow: Overflow::Error,
        };
        let consumer = Arc::new(Subscriber::new(bounds, Box::new(|| {}), Arc::default()));
        seat.add_subscriber(Arc::clone(&consumer), None);
        let (commands, receiver) = mpsc::unbounded_channel();
        let (reply, start) = oneshot::channel();
        let join = Command::Join {
            seat: id,
            channels: vec!["a".to_owned()],
            retry: retry.map(Box::new),
            reply,
        };
        assert!(commands.send(join).is_ok());
        let (finish, finished) = watch::channel(false);
        let (client, cancel) = (ClientSlot::default(), CancellationToken::new());
        let deadline = Arc::new(Mutex::new(None));
        let parts = SupervisorParts {
            policy,
            sessions: script.clone(),
            feed: Arc::clone(&feed),
            own_pids: Some(Arc::new(OwnPids::default())),
            losses: Box::leak(Box::new(Losses::new())),
            commands: receiver,
            client: Arc::clone(&client),
            lender: LenderSlot::default(),
            cancel: cancel.clone(),
            deadline: Arc::clone(&deadline),
        };
        let supervisor = Supervisor::new(parts);
        drop(tokio::spawn(async move {
            supervisor.run().await;
            let _ = finish.send(true);
        }));
        Self {
            script,
            feed,
            seat,
            id,
            commands,
            client,
            cancel,
            deadline,
            started: Some(start),
            consumer,
            finished,
        }
    }

    /// A scene whose first session is up, as backend 1.
    pub(super) async fn started(policy: Policy, then: impl IntoIterator<Item = Attempt>) -> Self {
        let attempts = [Attempt::Up(1)].into_iter().chain(then);
        let mut scene = Self::start(policy, attempts);
        scene.startup().await.expect("the first session is up");
        scene.events();
        scene
    }

    /// Another listener on the same feed, subscribed to a channel.
    pub(super) fn join(&self, channel: &str, retry: Option<ReconnectOptions>) -> Joined {
        let seat = Arc::new(Seat::new(None, Box::new(|| {})));
        seat.add_channel(channel, 1);
        let bounds = Bounds {
            max_messages: 2,
            max_bytes: 1 << 20,
            overflow: Overflow::Error,
        };
        let consumer = Arc::new(Subscriber::new(bounds, Box::new(|| {}), Arc::default()));
        seat.add_subscriber(Arc::clone(&consumer), None);
        let id = self.feed.sit(&seat, retry.is_some()).expect("not over");
        self.feed.add_channel(id, channel);
        let (reply, started) = oneshot::channel();
        let join = Command::Join {
            seat: id,
            channels: vec![channel.to_owned()],
            retry: retry.map(Box::new),
            reply,
        };
        assert!(self.commands.send(join).is_ok(), "the supervisor is there");
        Joined {
            seat,
            id,
            started,
            consumer,
        }
    }

    /// A listener leaves the feed.
    pub(super) fn leave(&self, id: SeatId, channel: &str) {
        let channels = vec![channel.to_owned()];
        self.feed.leave(id, &channels);
        let sent = self.commands.send(Command::Leave { seat: id, channels });
        assert!(sent.is_ok(), "the supervisor takes commands");
    }

    /// The outcome of `startup()`.
    pub(super) async fn startup(&mut self) -> Result<()> {
        let started = self.started.take().expect("startup is awaited once");
        started
            .await
            .expect("the supervisor says whether it started")
    }

    /// Resolves when the supervisor has ended.
    pub(super) async fn finished(&mut self) {
        let ended = self.finished.wait_for(|finished| *finished).await;
        assert!(ended.is_ok(), "the supervisor ended without a panic");
    }

    pub(super) fn is_finished(&self) -> bool {
        *self.finished.borrow()
    }

    /// Lets time pass, and everything happen that is due.
    pub(super) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Waits until the events so far satisfy a condition, and gives them.
    pub(super) async fn until(&self, wanted: &str) -> Vec<String> {
        let mut all = Vec::new();
        let collected = async {
            loop {
                all.extend(self.events());
                if all.iter().any(|event| event.starts_with(wanted)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(3600), collected).await;
        assert!(in_time.is_ok(), "no event {wanted}");
        all
    }

    /// The events since the last call, in words.
    pub(super) fn events(&self) -> Vec<String> {
        events_of(&self.seat)
    }
    /// The consumer's entries, in words: payloads, `|` for a gap, `#N` for a fence.
    pub(super) fn drained(&self) -> String {
        drained_of(&self.consumer)
    }
    pub(super) fn subscribe(&self, channel: &str, id: u32) -> oneshot::Receiver<Result<()>> {
        let (reply, receiver) = oneshot::channel();
        let channel = channel.to_owned();
        self.feed.add_channel(self.id, &channel);
        let sent = self.commands.send(Command::Subscribe {
            seat: self.id,
            channel,
            number: id,
            reply,
        });
        assert!(sent.is_ok(), "the supervisor takes commands");
        receiver
    }

    pub(super) fn unsubscribe(&self, channel: &str) -> oneshot::Receiver<Result<()>> {
        let (reply, receiver) = oneshot::channel();
        let channel = channel.to_owned();
        let sent = self.commands.send(Command::Unsubscribe {
            seat: self.id,
            channel,
            reply,
        });
        assert!(sent.is_ok(), "the supervisor takes commands");
        receiver
    }

    pub(super) fn fence(&self, id: u32) -> oneshot::Receiver<Result<()>> {
        let (reply, receiver) = oneshot::channel();
        let id = self.feed.add_fence(self.id, id, reply).expect("it hears");
        let sent = self.commands.send(Command::Fence { id });
        assert!(sent.is_ok(), "the supervisor takes commands");
        receiver
    }

    /// Lets the notifications of all fences come.
    pub(super) fn return_fences(&self) {
        for id in self.feed.open_fences() {
            let channel = self.feed.fence_channel();
            self.script.publish(&self.feed, channel, &id.to_string());
        }
    }

    /// Interrupts the supervisor, which may take `timeout` to close its session.
    pub(super) fn shut_down(&self, timeout: Duration) {
        *self.deadline.lock() = Some(Instant::now() + timeout);
        self.cancel.cancel();
    }
}

/// A listener that joined later.
pub(super) struct Joined {
    pub(super) seat: Arc<Seat>,
    pub(super) id: SeatId,
    pub(super) started: oneshot::Receiver<Result<()>>,
    pub(super) consumer: Arc<Subscriber>,
}

impl Joined {
    pub(super) fn events(&self) -> Vec<String> {
        events_of(&self.seat)
    }

    pub(super) fn drained(&self) -> String {
        drained_of(&self.consumer)
    }
}

/// The events of a listener since the last call, in words.
fn events_of(seat: &Seat) -> Vec<String> {
    words_of(seat.take_events())
}

/// Events in words, but for the delays before attempts, which are random.
fn words_of(events: impl IntoIterator<Item = Event>) -> Vec<String> {
    let told = |event: &Event| !matches!(event, Event::Reconnecting { .. });
    events
        .into_iter()
        .filter(told)
        .map(|event| match event {
            Event::Connected { process_id } => format!("connected {process_id}"),
            Event::Reconnecting { attempt, .. } => format!("reconnecting {attempt}"),
            Event::Disconnected { process_id, error } => {
                format!("disconnected {process_id}: {error}")
            }
            Event::AttemptFailed {
                attempt,
                needs_attention,
                ..
            } if needs_attention => format!("attempt {attempt} needs attention"),
            Event::AttemptFailed { attempt, .. } => format!("attempt {attempt} failed"),
            Event::Reconnected { gap } => format!("reconnected after {}", gap.attempts),
            Event::Notice(_) => "notice".to_owned(),
            Event::Warning(message) => format!("warning {message}"),
            Event::Closed { error } => format!("closed: {error}"),
        })
        .collect()
}

/// A consumer's entries, in words.
fn drained_of(consumer: &Subscriber) -> String {
    let mut words = Vec::new();
    let drained = consumer.drain(usize::MAX, |entry, payload| {
        words.push(match entry {
            Entry::Notification(_) => String::from_utf8_lossy(payload).into_owned(),
            Entry::Gap(_) => "|".to_owned(),
            Entry::Fence(id) => format!("#{id}"),
        });
    });
    if drained.end.is_some() {
        words.push("end".to_owned());
    }
    words.join(" ")
}

/// The error of a broken connection.
pub(super) fn lost(message: &str) -> Error {
    Error::new(ErrorKind::Closed, message)
}

/// The error of an attempt that nobody answered.
pub(super) fn unanswered() -> Error {
    Error::unanswered(ErrorKind::Connect, "no answer")
}

/// The error of a server that refuses one statement.
pub(super) fn refusal() -> Error {
    Error::of_server("ERROR", "42501")
}
