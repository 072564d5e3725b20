//! Attempts that get no answer, and the others that are made beside them.

use std::time::Duration;

use super::script::{Attempt, STABLE_AFTER, Scene, lost, policy, unanswered};
use super::{SECOND, attempts_of};
use crate::base::error::Error;

/// The deadline of an attempt.
const DEADLINE: Duration = Duration::from_secs(10);

/// A scene whose stable session is lost at the moment zero of the times that [`dials`] gives.
async fn lost_after_stability(then: impl IntoIterator<Item = Attempt>) -> Scene {
    let scene = Scene::started(policy(), then).await;
    scene.pass(STABLE_AFTER).await;
    scene.script.end(lost("gone"));
    scene
}

/// The times of the attempts to come back, from the loss on.
fn dials(scene: &Scene) -> Vec<Duration> {
    let dials = scene.script.times("dial");
    let after = |dial: &Duration| dial.abs_diff(STABLE_AFTER);
    dials[1..].iter().map(after).collect()
}

/// The time from the loss until now, without the millisecond that [`Scene::until`] may be late.
fn outage(scene: &Scene) -> Duration {
    let outage = scene.script.now().abs_diff(STABLE_AFTER);
    Duration::from_millis(u64::try_from(outage.as_millis()).expect("a short time") / 10 * 10)
}

fn seconds(times: impl IntoIterator<Item = u64>) -> Vec<Duration> {
    times.into_iter().map(Duration::from_secs).collect()
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_an_answer_keeps_the_next_one_waiting_for_a_second_only() {
    let scene = lost_after_stability([Attempt::Hangs, Attempt::Up(2)]).await;
    let events = scene.until("reconnected").await;
    assert_eq!(
        events,
        ["disconnected 1: gone", "connected 2", "reconnected after 2"]
    );
    assert_eq!(dials(&scene), seconds([0, 1]));
    assert_eq!(
        scene.script.requests(),
        ["dial a", "dial a", "dial a", "drop 1"]
    );
}

#[tokio::test(start_paused = true)]
async fn however_long_nobody_answers_an_attempt_begins_each_second_and_three_are_under_way() {
    let hangs = (0..30).map(|_| Attempt::Hangs);
    let scene = lost_after_stability(hangs.chain([Attempt::Up(2)])).await;
    let events = scene.until("reconnected").await;
    assert_eq!(
        events.last().map(String::as_str),
        Some("reconnected after 31")
    );
    assert_eq!(dials(&scene), seconds(0..=30));
    // The oldest stays, the second oldest makes room for each one that begins.
    let dropped: Vec<String> = (2..=29).map(|number| format!("drop {number}")).collect();
    let requests = scene.script.requests();
    let drops: Vec<&String> = requests
        .iter()
        .filter(|it| it.starts_with("drop"))
        .collect();
    assert_eq!(drops[..28], dropped.iter().collect::<Vec<_>>());
    let mut rest = drops[28..].to_vec();
    rest.sort();
    assert_eq!(rest, ["drop 1", "drop 30"]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_needs_longer_than_all_others_live_still_gets_through() {
    let slow = Duration::from_millis(5500);
    let attempts = (2..20).map(|process_id| Attempt::UpAfter(slow, process_id));
    let scene = lost_after_stability(attempts).await;
    let events = scene.until("reconnected").await;
    assert_eq!(events[1..], ["connected 2", "reconnected after 6"]);
    assert_eq!(outage(&scene), slow);
}

#[tokio::test(start_paused = true)]
async fn attempts_without_an_answer_do_not_lengthen_the_delays_after_refusals() {
    // Each attempt lives to its deadline, because three of them overlap only for the first two seconds of each.
    let hole = (0..100).map(|_| Attempt::FailsAfter(DEADLINE, unanswered()));
    let refused = [Attempt::Fails(lost("refused")), Attempt::Up(2)];
    let scene = lost_after_stability(hole.chain(refused)).await;
    scene.until("reconnected").await;
    let dials = dials(&scene);
    assert_eq!(dials[..=100], seconds(0..=100));
    let delay = dials[101].abs_diff(dials[100]);
    assert!(delay <= Duration::from_millis(101), "{delay:?}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_ends_without_an_answer_at_once_is_no_reason_to_hurry() {
    let unreachable = (0..5).map(|_| Attempt::Fails(unanswered()));
    let scene = lost_after_stability(unreachable.chain([Attempt::Up(2)])).await;
    scene.until("reconnected").await;
    assert_eq!(dials(&scene), seconds(0..=5));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_beside_an_attempt_without_an_answer_sets_the_pace() {
    let hopeless = Error::of_server("FATAL", "28P01");
    let scene = lost_after_stability([
        Attempt::FailsAfter(DEADLINE, unanswered()),
        Attempt::Fails(hopeless),
        Attempt::Up(2),
    ])
    .await;
    let events = scene.until("reconnected").await;
    assert_eq!(
        events[1..],
        [
            "attempt 2 needs attention",
            "attempt 1 failed",
            "connected 2",
            "reconnected after 3"
        ]
    );
    let dials = dials(&scene);
    assert_eq!(dials[..2], seconds([0, 1]));
    assert!(dials[2] >= 16 * SECOND, "{dials:?}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_refused_leaves_the_older_one_its_time() {
    let scene = lost_after_stability([
        Attempt::UpAfter(5 * SECOND, 2),
        Attempt::Fails(Error::of_server("FATAL", "28P01")),
    ])
    .await;
    let events = scene.until("reconnected").await;
    assert_eq!(
        events[1..],
        [
            "attempt 2 needs attention",
            "connected 2",
            "reconnected after 2"
        ]
    );
    assert_eq!(outage(&scene), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn attempts_without_an_answer_count_and_the_last_of_them_have_their_time() {
    let mut scene = Scene::started(
        attempts_of(3),
        (0..3).map(|_| Attempt::FailsAfter(DEADLINE, unanswered())),
    )
    .await;
    scene.pass(STABLE_AFTER).await;
    scene.script.end(lost("gone"));
    scene.finished().await;
    assert_eq!(
        scene.events()[1..],
        [
            "attempt 1 failed",
            "attempt 2 failed",
            "attempt 3 failed",
            "closed: no answer"
        ]
    );
    assert_eq!(dials(&scene), seconds([0, 1, 2]));
    assert_eq!(outage(&scene), 2 * SECOND + DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn only_what_the_winner_delivered_follows_the_gap_and_once() {
    let scene = lost_after_stability([
        Attempt::Hangs.delivering("both"),
        Attempt::UpAfter(SECOND / 2, 2).delivering("both"),
    ])
    .await;
    scene.until("reconnected").await;
    scene.script.publish(&scene.feed, "a", "after");
    assert_eq!(scene.drained(), "| both after");
}

#[tokio::test(start_paused = true)]
async fn an_older_attempt_that_wins_late_keeps_what_it_delivered_in_the_meantime() {
    let scene = lost_after_stability([
        Attempt::UpAfter(SECOND * 7 / 2, 2).delivering("of the winner"),
        Attempt::Hangs.delivering("of a loser"),
        Attempt::Fails(lost("refused")).delivering("of a failure"),
    ])
    .await;
    scene.until("reconnected").await;
    assert_eq!(scene.drained(), "| of the winner");
}

#[tokio::test(start_paused = true)]
async fn the_first_session_has_company_too_when_nobody_answers() {
    let mut scene = Scene::start(
        policy(),
        [
            Attempt::Hangs.delivering("of a loser"),
            Attempt::UpAfter(SECOND / 2, 7).delivering("of the winner"),
        ],
    );
    assert!(scene.startup().await.is_ok());
    assert_eq!(scene.script.now(), SECOND * 3 / 2);
    assert_eq!(scene.events(), ["connected 7"]);
    assert_eq!(scene.drained(), "of the winner");
    assert_eq!(scene.script.requests(), ["dial a", "dial a", "drop 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_startup_that_nobody_answers_fails_at_its_first_deadline_or_with_the_first_refusal() {
    let hole = || (0..20).map(|_| Attempt::FailsAfter(DEADLINE, unanswered()));
    let mut scene = Scene::start(policy(), hole());
    let error = scene.startup().await.expect_err("nobody answered");
    assert!(error.is_unanswered);
    assert_eq!(scene.script.now(), DEADLINE);
    scene.finished().await;

    let refused = Attempt::Fails(Error::of_server("FATAL", "28P01"));
    let mut scene = Scene::start(policy(), hole().take(2).chain([refused]));
    let error = scene.startup().await.expect_err("it was refused");
    assert_eq!(error.sql_state(), Some("28P01"));
    assert_eq!(scene.script.now(), 2 * SECOND);
    scene.finished().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_drops_all_attempts_that_overlap() {
    let mut scene = lost_after_stability([Attempt::Hangs]).await;
    scene.pass(SECOND * 5 / 2).await;
    assert_eq!(scene.script.times("drop").len(), 0);
    scene.shut_down(2 * SECOND);
    scene.finished().await;
    let mut requests = scene.script.requests();
    requests.sort();
    assert_eq!(
        requests,
        [
            "dial a", "dial a", "dial a", "dial a", "drop 1", "drop 2", "drop 3"
        ]
    );
}
