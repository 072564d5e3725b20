//! Several listeners on the sessions of one supervisor.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::super::{Command, Policy};
use super::script::{Answers, Attempt, Scene, lost, policy, refusal};
use super::{SECOND, attempts_of};
use crate::base::error::{Error, ErrorKind};

/// Lets everything happen that is due.
async fn settle(scene: &Scene) {
    scene.pass(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_session_that_is_up_listens_in_one_round_trip_with_others_who_do() {
    let scene = Scene::started(policy(), []).await;
    let joined = ["b", "c", "a"].map(|channel| scene.join(channel, None));
    settle(&scene).await;
    assert_eq!(scene.script.requests(), ["dial a", "+b +c"]);
    for mut listener in joined {
        assert!(matches!(listener.started.try_recv(), Ok(Ok(()))));
        assert_eq!(listener.events(), ["connected 1"]);
    }
    assert_eq!(scene.events(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_channel_is_listened_to_once_and_until_the_last_of_its_listeners_leaves() {
    let scene = Scene::started(policy(), []).await;
    let [one, other] = [(); 2].map(|()| scene.join("b", None));
    settle(&scene).await;
    scene.leave(one.id, "b");
    settle(&scene).await;
    assert_eq!(scene.script.requests(), ["dial a", "+b"]);
    scene.script.publish(&scene.feed, "b", "1");
    assert_eq!(
        (one.drained().as_str(), other.drained().as_str()),
        ("", "1")
    );
    scene.leave(other.id, "b");
    settle(&scene).await;
    assert_eq!(scene.script.requests(), ["dial a", "+b", "-b"]);
    assert!(!scene.is_finished());
}

#[tokio::test(start_paused = true)]
async fn who_joins_the_first_attempt_shares_its_outcome() {
    let attempts = [Attempt::FailsAfter(SECOND / 2, lost("refused"))];
    let mut scene = Scene::start(policy(), attempts);
    let mut joined = scene.join("b", None);
    assert!(scene.startup().await.is_err());
    assert!(matches!(joined.started.try_recv(), Ok(Err(_))));
    scene.finished().await;
    assert!(scene.feed.is_over(), "who comes now begins anew");

    let mut scene = Scene::start(policy(), [Attempt::UpAfter(SECOND / 2, 7)]);
    let mut joined = scene.join("b", None);
    assert!(scene.startup().await.is_ok());
    settle(&scene).await;
    assert!(matches!(joined.started.try_recv(), Ok(Ok(()))));
    assert_eq!(joined.events(), ["connected 7"]);
}

#[tokio::test(start_paused = true)]
async fn of_those_who_wait_for_the_first_session_each_goes_on_as_it_was_told() {
    let attempts = [
        Attempt::FailsAfter(SECOND / 2, lost("refused")),
        Attempt::Up(7),
    ];
    let mut scene = Scene::start(policy(), attempts);
    let mut retrying = scene.join("b", policy().reconnect);
    assert!(scene.startup().await.is_err());
    scene.leave(scene.id, "a");
    scene.pass(SECOND).await;
    assert!(matches!(retrying.started.try_recv(), Ok(Ok(()))));
    assert_eq!(retrying.events(), ["attempt 1 failed", "connected 7"]);
    assert_eq!(scene.script.requests(), ["dial a b", "dial b"]);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_refused_at_first_is_its_own_listeners_failure() {
    let attempts = [
        Attempt::FailsAfter(SECOND / 2, refusal()),
        Attempt::UpAfter(SECOND / 2, 7),
    ];
    let mut scene = Scene::start(policy(), attempts);
    scene.script.refuse("b");
    let mut refused = scene.join("b", None);
    assert!(scene.startup().await.is_ok());
    settle(&scene).await;
    assert!(matches!(refused.started.try_recv(), Ok(Err(_))));
    assert_eq!(
        scene.script.requests(),
        ["dial a b", "dial ", "+a +b", "+a", "+b"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_user_is_asked_for_no_second_time() {
    let denied = Error::of_server("FATAL", "28P01");
    let mut scene = Scene::start(policy(), [Attempt::FailsAfter(SECOND / 2, denied)]);
    let joined = scene.join("b", None);
    assert!(scene.startup().await.is_err());
    assert!(joined.started.await.is_ok_and(|answer| answer.is_err()));
}

#[tokio::test(start_paused = true)]
async fn who_joins_after_a_loss_has_the_next_attempt_at_once_and_no_gap() {
    // However short the wait before an attempt is: whoever joins does so before the attempt has ended.
    let attempts = [
        Attempt::FailsAfter(SECOND / 2, lost("refused")),
        Attempt::FailsAfter(SECOND / 2, lost("refused")),
        Attempt::UpAfter(SECOND / 2, 2),
    ];
    let scene = Scene::started(policy(), attempts).await;
    scene.pass(20 * SECOND).await;
    scene.script.end(lost("gone"));
    scene.until("attempt 1").await;
    let mut refused = scene.join("b", None);
    scene.until("attempt 2").await;
    assert!(matches!(refused.started.try_recv(), Ok(Err(_))));
    scene.leave(refused.id, "b");
    let mut joined = scene.join("c", None);
    scene.until("reconnected").await;
    settle(&scene).await;
    assert!(matches!(joined.started.try_recv(), Ok(Ok(()))));
    assert_eq!(
        (scene.drained().as_str(), joined.drained().as_str()),
        ("|", "")
    );
    assert_eq!(joined.events(), ["connected 2"]);
    assert!(scene.script.requests().contains(&"+c".to_owned()));
}

/// Attempts between which there is time for a test to do something, whatever the delay comes out as.
fn patient() -> Policy {
    let mut policy = policy();
    if let Some(reconnect) = &mut policy.reconnect {
        reconnect.initial_delay = Duration::from_secs(600);
        reconnect.max_delay = Duration::from_secs(600);
    }
    policy
}

#[tokio::test(start_paused = true)]
async fn who_joins_when_another_leaves_has_the_next_attempt_at_once_too() {
    let policy = patient();
    let attempts = [
        Attempt::FailsAfter(SECOND / 2, lost("refused")),
        Attempt::UpAfter(SECOND / 2, 2),
    ];
    let retry = policy.reconnect;
    let scene = Scene::started(policy, attempts).await;
    scene.pass(20 * SECOND).await;
    scene.script.end(lost("gone"));
    scene.until("disconnected").await;
    let leaving = scene.join("b", retry);
    scene.until("attempt 1").await;
    scene.leave(leaving.id, "b");
    let mut joined = scene.join("c", None);
    scene.pass(2 * SECOND).await;
    assert!(matches!(joined.started.try_recv(), Ok(Ok(()))));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_all_attempts_is_everybodys() {
    let failures = (0..2).map(|_| Attempt::FailsAfter(SECOND / 2, lost("refused")));
    let mut scene = Scene::started(attempts_of(2), failures).await;
    let hearing = scene.join("b", None);
    settle(&scene).await;
    scene.script.end(lost("gone"));
    scene.until("attempt 1").await;
    let joining = scene.join("c", None);
    scene.finished().await;
    assert_eq!(
        hearing.events().last().map(String::as_str),
        Some("closed: refused")
    );
    assert_eq!(hearing.drained(), "end");
    assert!(joining.started.await.is_ok_and(|answer| answer.is_err()));
    assert!(joining.seat.take_events().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_overflow_with_the_policy_error_takes_its_listener_and_the_channels_of_that() {
    let mut scene = Scene::started(policy(), []).await;
    let greedy = scene.join("b", None);
    settle(&scene).await;
    for payload in ["1", "2", "3"] {
        scene.script.publish(&scene.feed, "b", payload);
    }
    settle(&scene).await;
    assert_eq!(
        greedy.seat.gave_up().map(|error| error.kind),
        Some(ErrorKind::ListenerOverflow)
    );
    assert_eq!(scene.script.requests(), ["dial a", "+b", "-b"]);
    assert_eq!(scene.events(), [""; 0]);
    // For a listener that is at its end nothing is listened to, and whoever waits for that learns of the end.
    let (reply, mut subscribed) = oneshot::channel();
    let subscribe = Command::Subscribe {
        seat: greedy.id,
        channel: "d".to_owned(),
        number: 2,
        reply,
    };
    assert!(scene.commands.send(subscribe).is_ok());
    settle(&scene).await;
    assert!(matches!(subscribed.try_recv(), Err(TryRecvError::Closed)));
    assert_eq!(scene.script.requests(), ["dial a", "+b", "-b"]);
    // Its handle leaves later; then its number may be used again.
    scene.leave(greedy.id, "b");
    settle(&scene).await;
    assert_eq!(scene.join("c", None).id, greedy.id);
    scene.leave(greedy.id, "c");
    scene.leave(scene.id, "a");
    scene.shut_down(SECOND);
    scene.finished().await;
}

#[tokio::test(start_paused = true)]
async fn many_channels_go_out_in_pieces_and_nobody_is_answered_before_the_last() {
    let scene = Scene::started(policy(), []).await;
    let joined: Vec<_> = (0..4001)
        .map(|number| scene.join(&format!("channel {number}"), None))
        .collect();
    settle(&scene).await;
    let requests = scene.script.requests();
    let counts: Vec<usize> = requests[1..]
        .iter()
        .map(|request| request.matches('+').count())
        .collect();
    assert_eq!(counts, [2000, 2000, 1]);
    for mut listener in joined {
        assert!(matches!(listener.started.try_recv(), Ok(Ok(()))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_refused_keeps_nobody_out_while_its_own_listener_keeps_trying() {
    let attempts = [
        Attempt::FailsAfter(SECOND / 2, refusal()),
        Attempt::UpAfter(SECOND / 2, 7),
    ];
    let mut scene = Scene::start(policy(), attempts);
    scene.script.refuse("b");
    let mut refused = scene.join("b", policy().reconnect);
    assert!(scene.startup().await.is_ok());
    settle(&scene).await;
    assert!(matches!(refused.started.try_recv(), Ok(Err(_))));
    assert_eq!(scene.script.requests()[..2], ["dial a b", "dial "]);
}

#[tokio::test(start_paused = true)]
async fn who_joins_one_that_is_refused_again_and_again_is_not_refused_with_it() {
    let refusals = (0..2).map(|_| Attempt::FailsAfter(SECOND / 2, refusal()));
    let attempts = refusals.chain([Attempt::UpAfter(SECOND / 2, 7)]);
    let mut scene = Scene::start_with(patient(), patient().reconnect, attempts);
    scene.script.refuse("a");
    scene.until("attempt 1").await;
    let mut joined = scene.join("b", None);
    assert!(scene.startup().await.is_err());
    settle(&scene).await;
    assert!(matches!(joined.started.try_recv(), Ok(Ok(()))));
    assert_eq!(
        scene.script.requests()[..3],
        ["dial a", "dial a b", "dial "]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_comes_when_an_attempt_without_channels_is_under_way_is_nobodys() {
    let refusal = || Attempt::FailsAfter(6 * SECOND / 5, refusal());
    for retry in [None, policy().reconnect] {
        let attempts = [refusal(), refusal(), Attempt::UpAfter(SECOND / 2, 7)];
        let mut scene = Scene::start_with(policy(), retry, attempts);
        scene.script.refuse("b");
        let mut refused = scene.join("b", retry);
        assert!(scene.startup().await.is_ok());
        settle(&scene).await;
        assert!(matches!(refused.started.try_recv(), Ok(Err(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn commands_that_never_stop_keep_no_heartbeat_and_no_probe_back() {
    let mut policy = policy();
    if let Some(heartbeat) = &mut policy.heartbeat {
        heartbeat.probe_interval = Some(15 * SECOND);
    }
    let scene = Scene::started(policy, []).await;
    scene.script.answers(Answers::After(SECOND));
    for number in 0..80 {
        // There is another one before the last one is answered.
        drop(scene.subscribe(&format!("channel {number}"), number));
        scene.pass(SECOND / 2).await;
    }
    assert!(scene.script.times("ping").len() >= 2);
    assert!(!scene.script.times("probe").is_empty());
}
