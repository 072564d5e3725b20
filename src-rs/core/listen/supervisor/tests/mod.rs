//! The decisions of a supervisor, in simulated time and without a server.

mod attempts;
mod deaf;
mod script;
mod sharing;

use std::time::Duration;

use script::{Answers, Attempt, STABLE_AFTER, Scene, lost, policy};

use super::Policy;
use crate::base::Setting;
use crate::base::error::{Error, ErrorKind};
use crate::listen::driver::SessionEnd;
use crate::listen::options::ReconnectOptions;

const SECOND: Duration = Duration::from_secs(1);

fn attempts_of(count: u32) -> Policy {
    let policy = policy();
    Policy {
        reconnect: policy.reconnect.map(|options| ReconnectOptions {
            max_attempts: Some(count),
            ..options
        }),
        ..policy
    }
}

#[tokio::test(start_paused = true)]
async fn connect_starts_with_the_channels_and_tells_of_the_backend() {
    let mut scene = Scene::start(policy(), [Attempt::Up(7)]);
    assert!(scene.startup().await.is_ok());
    assert_eq!(scene.script.requests(), ["dial a"]);
    assert_eq!(scene.events(), ["connected 7"]);
    assert!(scene.client.lock().is_some());
    scene.script.publish(&scene.feed, "a", "one");
    assert_eq!(scene.drained(), "one");
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_that_fails_rejects_and_leaves_nothing_running() {
    for error in [lost("no route"), Error::of_server("FATAL", "28P01")] {
        let mut scene = Scene::start(policy(), [Attempt::Fails(error.clone())]);
        let outcome = scene.startup().await;
        assert_eq!(outcome.expect_err("it failed").kind, error.kind);
        scene.finished().await;
        assert_eq!(scene.events(), [""; 0]);
        assert!(scene.client.lock().is_none());
    }
}

/// Starts a listener that goes on to wait when its first attempt fails.
fn keeps_trying(attempts: impl IntoIterator<Item = Attempt>) -> Scene {
    Scene::start_with(policy(), policy().reconnect, attempts)
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_that_fails_is_followed_by_others_for_who_keeps_trying() {
    let attempts = [
        Attempt::Fails(lost("refused")),
        Attempt::Fails(Error::of_server("FATAL", "28P01")),
        Attempt::Up(7),
    ];
    let mut scene = keeps_trying(attempts);
    assert!(scene.startup().await.is_ok());
    let times = scene.script.times("dial");
    assert!(times[2] >= times[1] + 15 * SECOND, "{times:?}");
    assert_eq!(
        scene.events(),
        [
            "attempt 1 failed",
            "attempt 2 needs attention",
            "connected 7"
        ]
    );
    scene.script.publish(&scene.feed, "a", "one");
    assert_eq!(scene.drained(), "one", "and there is no gap");
}

#[tokio::test(start_paused = true)]
async fn who_keeps_trying_gives_up_when_the_configuration_is_wrong() {
    let wrong = Error::configuration(Setting::CaFile, "no such file");
    let attempts = [Attempt::Fails(lost("refused")), Attempt::Fails(wrong)];
    let mut scene = keeps_trying(attempts);
    let outcome = scene.startup().await;
    assert_eq!(
        outcome.expect_err("it failed").kind,
        ErrorKind::Configuration
    );
    scene.finished().await;
    assert!(scene.client.lock().is_none());
}

#[tokio::test(start_paused = true)]
async fn back_off_grows_until_the_server_is_back_and_the_gap_counts_the_attempts() {
    let failures = (0..12).map(|_| Attempt::Fails(lost("refused")));
    let scene = Scene::started(policy(), failures.chain([Attempt::Up(2)])).await;
    scene.script.end(lost("gone"));
    let events = scene.until("reconnected").await;
    assert_eq!(events[0], "disconnected 1: gone");
    assert_eq!(events[1], "attempt 1 failed");
    assert_eq!(
        events[events.len() - 2..],
        ["connected 2", "reconnected after 13"]
    );
    let dials = scene.script.times("dial");
    let delays: Vec<Duration> = dials
        .windows(2)
        .map(|pair| pair[1].abs_diff(pair[0]))
        .collect();
    assert!(delays[0] <= Duration::from_millis(101), "{delays:?}");
    assert!(
        delays.iter().all(|delay| *delay <= 30 * SECOND),
        "{delays:?}"
    );
    assert_eq!(scene.drained(), "|");
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_tried_at_the_slowest_pace_and_needs_attention() {
    let failures = (0..3).map(|_| Attempt::Fails(Error::of_server("FATAL", "28P01")));
    let scene = Scene::started(policy(), failures.chain([Attempt::Up(2)])).await;
    scene.script.end(lost("gone"));
    let events = scene.until("reconnected").await;
    assert_eq!(events[1], "attempt 1 needs attention");
    let dials = scene.script.times("dial");
    for pair in dials[1..].windows(2) {
        assert!(pair[1].abs_diff(pair[0]) >= 15 * SECOND, "{dials:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stable_session_comes_back_at_once_and_a_short_one_does_not() {
    let failures = (0..9).map(|_| Attempt::Fails(lost("refused")));
    let scene = Scene::started(
        policy(),
        failures.chain([Attempt::Up(2), Attempt::Up(3), Attempt::Up(4)]),
    )
    .await;
    scene.script.end(lost("gone"));
    scene.until("reconnected").await;
    scene.pass(STABLE_AFTER).await;
    let before = scene.script.now();
    scene.script.end(lost("gone again"));
    scene.until("reconnected").await;
    assert_eq!(scene.script.times("dial").last(), Some(&before));
    // The session lasted a moment, so its end is a part of the same trouble: nine tenths of all delays are longer than this.
    scene.script.end(lost("gone at once"));
    let before = scene.script.now();
    scene.until("reconnected").await;
    assert!(scene.script.times("dial").last() > Some(&before));
}

#[tokio::test(start_paused = true)]
async fn the_time_after_which_a_session_is_stable_is_an_option() {
    let stable_after = 3 * SECOND;
    let policy = Policy {
        reconnect: policy().reconnect.map(|options| ReconnectOptions {
            stable_after,
            ..options
        }),
        ..policy()
    };
    let scene = Scene::started(policy, [Attempt::Up(2)]).await;
    scene.pass(stable_after).await;
    scene.script.end(lost("gone"));
    scene.until("reconnected").await;
    assert_eq!(scene.script.times("dial"), [Duration::ZERO, stable_after]);
}

#[tokio::test(start_paused = true)]
async fn the_attempts_end_at_their_maximum_with_the_last_error() {
    let failures = (0..3).map(|_| Attempt::Fails(lost("refused")));
    let mut scene = Scene::started(attempts_of(3), failures).await;
    scene.script.end(lost("gone"));
    scene.finished().await;
    assert_eq!(
        scene.events().last().map(String::as_str),
        Some("closed: refused")
    );
    assert_eq!(scene.drained(), "end");
}

#[tokio::test(start_paused = true)]
async fn without_reconnecting_the_end_of_the_session_is_the_end() {
    let policy = Policy {
        reconnect: None,
        ..policy()
    };
    let mut scene = Scene::started(policy, []).await;
    scene.script.end(lost("gone"));
    scene.finished().await;
    assert_eq!(scene.events(), ["disconnected 1: gone", "closed: gone"]);
}

#[tokio::test(start_paused = true)]
async fn held_notifications_follow_the_gap_and_those_of_a_failed_attempt_are_dropped() {
    let attempts = [
        Attempt::Fails(lost("unverified")).delivering("never"),
        Attempt::Up(2),
    ];
    let scene = Scene::started(policy(), attempts).await;
    scene.script.publish(&scene.feed, "a", "before");
    let end = SessionEnd {
        error: lost("garbage"),
        undecodable: true,
    };
    scene.script.end(end);
    scene.until("disconnected").await;
    scene
        .script
        .publish(&scene.feed, "a", "of the dead session");
    scene.until("reconnected").await;
    scene.script.publish(&scene.feed, "a", "after");
    assert_eq!(scene.drained(), "before | after");
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_goes_out_at_its_interval_and_its_round_trip_is_counted() {
    let scene = Scene::started(policy(), []).await;
    scene.pass(35 * SECOND).await;
    let pings = scene.script.times("ping");
    assert_eq!(pings, [10 * SECOND, 20 * SECOND, 30 * SECOND]);
    let counted = scene.feed.served().round_trip;
    assert_eq!(counted, Some(Duration::from_millis(3)));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_without_an_answer_is_a_lost_session_within_its_bounds() {
    let scene = Scene::started(policy(), [Attempt::Up(2)]).await;
    scene.script.answers(Answers::Never);
    scene.pass(14 * SECOND).await;
    assert_eq!(scene.events(), [""; 0]);
    let events = scene.until("reconnected").await;
    assert_eq!(events[0], "disconnected 1: no answer to ping");
    let dials = scene.script.times("dial");
    assert!(dials[1] <= Duration::from_millis(15_102), "{dials:?}");
}

#[tokio::test(start_paused = true)]
async fn a_paused_session_is_not_asked_for_a_heartbeat() {
    let scene = Scene::started(policy(), []).await;
    scene.script.paused(true);
    scene.script.answers(Answers::Never);
    scene.pass(60 * SECOND).await;
    assert_eq!(scene.script.times("ping"), [Duration::ZERO; 0]);
    scene.script.answers(Answers::AtOnce);
    scene.script.paused(false);
    scene.pass(10 * SECOND).await;
    assert_eq!(scene.script.times("ping").len(), 1);
    assert_eq!(scene.events(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_channel_takes_no_other_with_it() {
    let scene = Scene::started(policy(), []).await;
    scene.script.refuse("bad");
    let replies = ["b", "bad", "c", "d"].map(|name| scene.subscribe(name, 2));
    let mut outcomes = Vec::new();
    for reply in replies {
        outcomes.push(reply.await.expect("an answer").is_ok());
    }
    assert_eq!(outcomes, [true, false, true, true]);
    let requests = scene.script.requests();
    assert_eq!(
        requests[1..],
        ["+b +bad +c +d", "+b +bad", "+b", "+bad", "+c +d"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_unlisten_is_told_of_and_tried_again() {
    let scene = Scene::started(policy(), []).await;
    for channel in ["b", "c"] {
        let subscribed = scene.subscribe(channel, 2).await.expect("an answer");
        assert!(subscribed.is_ok());
    }
    scene.script.refuse("b");
    let removed = scene.unsubscribe("b").await.expect("an answer");
    assert!(removed.is_err(), "the server still listens to it");
    // Behind the next command, and behind each heartbeat until it is done.
    let removed = scene.unsubscribe("none").await.expect("an answer");
    assert!(removed.is_ok(), "the server never listened to it");
    scene.pass(15 * SECOND).await;
    scene.script.refuse_nothing();
    scene.pass(30 * SECOND).await;
    let requests = scene.script.requests();
    assert_eq!(
        requests[3..],
        ["-b", "-b", "ping", "-b", "ping", "-b", "ping", "ping"]
    );
    assert_eq!(scene.events(), [""; 0]);

    // Wanted again before it is done, it stays.
    scene.script.refuse("c");
    let removed = scene.unsubscribe("c").await.expect("an answer");
    assert!(removed.is_err(), "the server still listens to it");
    let subscribed = scene.subscribe("c", 3).await.expect("an answer");
    assert!(subscribed.is_ok(), "the server still listens to it");
    scene.pass(10 * SECOND).await;
    assert_eq!(scene.script.requests()[11..], ["-c", "ping"]);
}

#[tokio::test(start_paused = true)]
async fn commands_during_an_outage_are_answered_as_far_as_they_can_be() {
    let attempts = [Attempt::Fails(lost("refused")), Attempt::Hangs];
    let scene = Scene::started(policy(), attempts).await;
    scene.script.end(lost("gone"));
    scene.until("attempt 1").await;
    let mut subscribed = scene.subscribe("b", 2);
    assert!(scene.unsubscribe("a").await.expect("an answer").is_ok());
    scene.pass(3600 * SECOND).await;
    assert!(
        subscribed.try_recv().is_err(),
        "no session, no subscription"
    );
}

#[tokio::test(start_paused = true)]
async fn new_channels_and_open_fences_follow_on_the_next_session() {
    let scene = Scene::started(policy(), [Attempt::Up(2)]).await;
    let mut fence = scene.fence(5);
    scene.pass(SECOND).await;
    assert_eq!(scene.script.requests(), ["dial a", "1 fence"]);
    scene.script.end(lost("gone"));
    let subscribed = scene.subscribe("b", 2);
    assert!(subscribed.await.expect("an answer").is_ok());
    scene.pass(SECOND).await;
    assert_eq!(scene.script.requests()[2..], ["dial a", "+b", "1 fence"]);
    assert!(fence.try_recv().is_err(), "its notification has not come");
    scene.return_fences();
    assert!(fence.await.expect("an answer").is_ok());
    assert_eq!(scene.drained(), "| #5");
}

#[tokio::test(start_paused = true)]
async fn an_overflow_under_the_policy_error_closes_the_session_and_the_listener() {
    let mut scene = Scene::started(policy(), []).await;
    for number in 0..101 {
        scene.script.publish(&scene.feed, "a", &number.to_string());
    }
    scene.finished().await;
    let events = scene.events();
    assert!(
        events[0].starts_with("closed: a consumer's buffer is full"),
        "{events:?}"
    );
    assert_eq!(scene.script.times("close").len(), 1);
    assert!(scene.drained().ends_with(" 99 end"));
}

#[tokio::test(start_paused = true)]
async fn shutdown_interrupts_whatever_is_being_done() {
    // While the first attempt hangs.
    let mut scene = Scene::start(policy(), [Attempt::Hangs]);
    scene.pass(SECOND).await;
    scene.shut_down(5 * SECOND);
    scene.finished().await;

    // While the session is idle: it is closed within the time that was given.
    let mut scene = Scene::started(policy(), []).await;
    scene.shut_down(2 * SECOND);
    scene.finished().await;
    assert_eq!(scene.script.requests(), ["dial a", "close within 2s"]);
    assert!(scene.client.lock().is_none());

    // While a heartbeat has no answer.
    let mut scene = Scene::started(policy(), []).await;
    scene.script.answers(Answers::Never);
    scene.pass(12 * SECOND).await;
    scene.shut_down(2 * SECOND);
    scene.finished().await;
    assert_eq!(
        scene.script.requests(),
        ["dial a", "ping", "close within 2s"]
    );

    // While a LISTEN has no answer.
    let mut scene = Scene::started(policy(), []).await;
    scene.script.answers(Answers::Never);
    let subscribed = scene.subscribe("b", 2);
    scene.pass(SECOND).await;
    scene.shut_down(2 * SECOND);
    scene.finished().await;
    assert!(subscribed.await.is_err(), "the sender is dropped");

    // During back-off, and during an attempt that hangs.
    for attempts in [
        vec![Attempt::Fails(Error::of_server("FATAL", "28P01"))],
        vec![Attempt::Hangs],
    ] {
        let mut scene = Scene::started(policy(), attempts).await;
        scene.script.end(lost("gone"));
        scene.pass(40 * Duration::from_millis(5)).await;
        assert!(!scene.is_finished());
        scene.shut_down(2 * SECOND);
        scene.finished().await;
        assert_eq!(
            scene.script.times("close").len(),
            0,
            "there is no session to close"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_dropped_closes_the_session_within_five_seconds() {
    let mut scene = Scene::started(policy(), []).await;
    scene.cancel.cancel();
    scene.finished().await;
    assert_eq!(scene.script.requests(), ["dial a", "close within 5s"]);
}
