//! Sessions that come and go below a feed, and what is published of them.

use super::*;
use crate::deliver::buffer::{Bounds, Entry, Overflow, Subscriber};
use crate::deliver::gap::GapReason;

/// A feed of a listener on channel `a`, with a consumer that has room for `room` notifications.
fn feed(room: usize, overflow: Overflow) -> (Arc<Feed>, Arc<Subscriber>) {
    let seat = Arc::new(Seat::new(None, Box::new(|| {})));
    seat.add_channel("a", 1);
    let bounds = Bounds {
        max_messages: room,
        max_bytes: 1 << 30,
        overflow,
    };
    let consumer = Arc::new(Subscriber::new(bounds, Box::new(|| {}), Arc::default()));
    seat.add_subscriber(Arc::clone(&consumer), None);
    (Arc::new(Feed::new(seat)), consumer)
}

fn publish(place: &FeedPlace, payload: &str) -> Option<Stop> {
    let batch = ReceivedBatch::of(&[("a", payload)]);
    place.feed.publish(place.number(), &batch)
}

/// Payloads, `|` for a lost session, `-N` for an overflow.
fn drained(consumer: &Subscriber) -> String {
    let mut words = Vec::new();
    consumer.drain(usize::MAX, |entry, payload| {
        words.push(match entry {
            Entry::Notification(_) => String::from_utf8_lossy(payload).into_owned(),
            Entry::Gap(gap) if gap.is_overflow() => format!("-{}", gap.dropped.unwrap_or(0)),
            Entry::Gap(_) => "|".to_owned(),
            Entry::Fence(_) => "#".to_owned(),
        });
    });
    words.join(" ")
}

fn lost() -> Gap {
    let now = std::time::SystemTime::UNIX_EPOCH;
    Gap {
        reason: GapReason::Disconnect,
        dropped: None,
        ..Gap::overflow(now, now)
    }
}

#[test]
fn of_several_sessions_in_the_making_only_the_verified_one_is_heard() {
    let (feed, consumer) = feed(10, Overflow::DropOldest);
    let first = FeedPlace::take(&feed);
    feed.resume(&first, None);
    publish(&first, "before");
    feed.hold();
    publish(&first, "late");
    let (loser, winner) = (FeedPlace::take(&feed), FeedPlace::take(&feed));
    publish(&loser, "both");
    publish(&winner, "both");
    publish(&winner, "more");
    assert_eq!(drained(&consumer), "before");
    feed.resume(&winner, Some(&lost()));
    publish(&winner, "after");
    publish(&loser, "after");
    drop(loser);
    publish(&winner, "last");
    assert_eq!(drained(&consumer), "| both more after last");
}

#[test]
fn a_session_that_is_gone_is_not_heard_and_nothing_of_it_is_kept() {
    let (feed, consumer) = feed(10, Overflow::DropOldest);
    let place = FeedPlace::take(&feed);
    feed.resume(&place, None);
    let number = place.number();
    drop(place);
    assert!(
        feed.publish(number, &ReceivedBatch::of(&[("a", "late")]))
            .is_none()
    );
    drop(FeedPlace::take(&feed));
    assert!(feed.inner.lock().unverified.is_empty());
    assert_eq!(drained(&consumer), "");
}

#[test]
fn notifications_before_the_verification_are_bounded_by_the_consumer_too() {
    let (feed, consumer) = feed(2, Overflow::DropOldest);
    let place = FeedPlace::take(&feed);
    for payload in ["a", "b", "c", "d"] {
        assert!(publish(&place, payload).is_none());
    }
    feed.resume(&place, Some(&lost()));
    assert_eq!(drained(&consumer), "| -2 c d");
}

#[test]
fn an_overflow_under_the_policy_error_before_the_verification_is_not_lost() {
    let (feed, _consumer) = feed(1, Overflow::Error);
    let place = FeedPlace::take(&feed);
    publish(&place, "a");
    publish(&place, "b");
    assert!(!feed.seat().has_overflowed());
    feed.resume(&place, None);
    assert!(feed.seat().has_overflowed());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_floods_before_its_verification_is_not_read_on_until_it_is_verified() {
    let (feed, consumer) = feed(1000, Overflow::DropOldest);
    let place = FeedPlace::take(&feed);
    let payload = "x".repeat(1 << 20);
    let stops: Vec<bool> = (0..5)
        .map(|_| publish(&place, &payload).is_some())
        .collect();
    // The channels and the places of the notifications count too.
    assert_eq!(stops, [false, false, false, true, true]);
    let waiting = tokio::spawn({
        let (feed, number) = (Arc::clone(&feed), place.number());
        async move { feed.wait_for_room(number).await }
    });
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert!(!waiting.is_finished());
    feed.resume(&place, None);
    assert!(waiting.await.is_ok());
    assert_eq!(consumer.stats().buffered, 5);
}

#[test]
fn a_probe_is_proof_for_the_session_that_delivers_it_alone() {
    let (feed, consumer) = feed(10, Overflow::DropOldest);
    let (one, other) = (FeedPlace::take(&feed), FeedPlace::take(&feed));
    let ((probe, mut proved), (_, mut other_proved)) = (one.probe(), other.probe());
    let batch = ReceivedBatch::of(&[(feed.fence_channel(), &probe.to_string())]);
    feed.publish(other.number(), &batch);
    assert!(proved.try_recv().is_err() && other_proved.try_recv().is_err());
    feed.publish(one.number(), &batch);
    assert!(proved.try_recv().is_ok() && other_proved.try_recv().is_err());
    feed.resume(&one, None);
    assert_eq!(
        drained(&consumer),
        "",
        "it is no notification of the user's"
    );
}

#[test]
fn a_probe_of_the_session_that_publishes_is_proof_and_reaches_nobody() {
    let (feed, consumer) = feed(10, Overflow::DropOldest);
    let place = FeedPlace::take(&feed);
    feed.resume(&place, None);
    let (probe, mut proved) = place.probe();
    let channel = feed.fence_channel().to_owned();
    let other = (probe - 1).to_string();
    feed.publish(place.number(), &ReceivedBatch::of(&[(&channel, &other)]));
    assert!(proved.try_recv().is_err(), "the probe of another");
    let batch = ReceivedBatch::of(&[("a", "x"), (&channel, &probe.to_string())]);
    feed.publish(place.number(), &batch);
    assert!(proved.try_recv().is_ok());
    assert_eq!(drained(&consumer), "x");
    let received = &feed.seat().counters.received;
    assert_eq!(received.load(Ordering::Relaxed), 1, "it is not counted");

    // Whoever waits for the probe of a session that is gone learns it.
    let (_, mut proved) = place.probe();
    drop(place);
    assert!(proved.try_recv().is_err());
}
