//! A session that answers and yet delivers nothing: what the supervisor does of its checks.

use std::time::Duration;

use super::SECOND;
use super::script::{Attempt, Deaf, Scene, lost, policy};
use crate::listen::options::HeartbeatOptions;
use crate::listen::supervisor::Policy;

/// The rules of most tests, with a probe every `interval`.
fn probing(interval: Duration) -> Policy {
    let policy = policy();
    Policy {
        heartbeat: policy.heartbeat.map(|heartbeat| HeartbeatOptions {
            probe_interval: Some(interval),
            ..heartbeat
        }),
        ..policy
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_no_longer_listens_is_lost_with_the_next_heartbeat_and_there_is_one_gap() {
    let scene = Scene::started(policy(), [Attempt::Up(2)]).await;
    scene.script.publish(&scene.feed, "a", "before");
    scene.script.deaf(Some(Deaf::Unregistered));
    let events = scene.until("reconnected").await;
    assert_eq!(events[0], "disconnected 1: no longer listens");
    assert_eq!(scene.script.times("dial")[1], 10 * SECOND);
    scene.script.publish(&scene.feed, "a", "after");
    scene.pass(60 * SECOND).await;
    assert_eq!(scene.drained(), "before | after");
}

#[tokio::test(start_paused = true)]
async fn a_fence_of_a_session_that_no_longer_listens_comes_back_behind_the_gap() {
    let scene = Scene::started(policy(), [Attempt::Up(2)]).await;
    scene.script.deaf(Some(Deaf::Unregistered));
    let mut fence = scene.fence(5);
    let events = scene.until("reconnected").await;
    assert_eq!(events[0], "disconnected 1: no longer listens");
    assert!(fence.try_recv().is_err(), "it has not come back");
    scene.pass(SECOND).await;
    assert_eq!(
        scene.script.requests(),
        ["dial a", "1 fence", "dial a", "1 fence"]
    );
    scene.return_fences();
    assert!(fence.await.expect("an answer").is_ok());
    assert_eq!(scene.drained(), "| #5");
}

#[tokio::test(start_paused = true)]
async fn a_fence_of_a_session_that_no_longer_listens_fails_when_there_is_no_other_session() {
    let policy = Policy {
        reconnect: None,
        ..policy()
    };
    let mut scene = Scene::started(policy, []).await;
    scene.script.deaf(Some(Deaf::Unregistered));
    let fence = scene.fence(5);
    scene.finished().await;
    assert!(fence.await.is_err(), "the sender is dropped");
    let error = scene.feed.gave_up().expect("it gave up");
    assert_eq!(error.message, "no longer listens");
}

#[tokio::test(start_paused = true)]
async fn delivery_is_probed_at_its_own_interval_and_not_at_all_without_one() {
    let scene = Scene::started(probing(25 * SECOND), []).await;
    scene.pass(80 * SECOND).await;
    let probes = scene.script.times("probe");
    assert_eq!(probes, [25 * SECOND, 50 * SECOND, 75 * SECOND]);
    assert_eq!(scene.events(), [""; 0]);

    let scene = Scene::started(policy(), []).await;
    scene.pass(3600 * SECOND).await;
    assert_eq!(scene.script.times("probe"), [Duration::ZERO; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_does_not_come_back_is_a_lost_session_with_a_gap() {
    let attempts = [
        Attempt::FailsAfter(SECOND / 2, lost("no delivery yet")),
        Attempt::Up(2),
    ];
    let scene = Scene::started(probing(25 * SECOND), attempts).await;
    scene.script.deaf(Some(Deaf::Undelivered));
    let events = scene.until("reconnected").await;
    assert_eq!(events[0], "disconnected 1: no delivery");
    assert_eq!(events[1], "attempt 1 failed");
    assert_eq!(scene.script.times("dial")[1], 30 * SECOND);
    assert_eq!(scene.drained(), "|");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_cannot_be_sent_proves_nothing_and_is_sent_again_with_the_heartbeats() {
    let scene = Scene::started(probing(25 * SECOND), []).await;
    scene.script.deaf(Some(Deaf::InBlock));
    scene.pass(40 * SECOND).await;
    scene.script.deaf(None);
    scene.pass(40 * SECOND).await;
    let probes = scene.script.times("probe");
    let expected = [25, 35, 45, 70].map(|seconds| seconds * SECOND);
    assert_eq!(probes, expected);

    // A paused session is not read, so that nothing can come back.
    let scene = Scene::started(probing(25 * SECOND), []).await;
    scene.script.paused(true);
    scene.pass(40 * SECOND).await;
    assert_eq!(scene.script.times("probe"), [Duration::ZERO; 0]);
    scene.script.paused(false);
    scene.pass(6 * SECOND).await;
    assert_eq!(scene.script.times("probe"), [45 * SECOND]);
    assert_eq!(scene.events(), [""; 0]);
}
