//! Sessions that come and go below a feed, and what is published of them.

use super::arrival::Crossing;
use super::*;
use crate::base::error::ErrorKind;
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
    (Feed::of(&seat), consumer)
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
    assert!(feed.inner.lock().overflowed.is_empty());
    feed.resume(&place, None);
    assert_eq!(feed.inner.lock().overflowed.len(), 1);
}

#[test]
fn of_a_flood_before_the_verification_the_youngest_part_is_kept_and_the_session_is_read_on() {
    let (feed, consumer) = feed(1000, Overflow::DropOldest);
    let place = FeedPlace::take(&feed);
    for number in 0..9 {
        let payload = format!("{number}{}", "x".repeat(150 << 10));
        assert!(publish(&place, &payload).is_none());
    }
    feed.resume(&place, Some(&lost()));
    let kept: Vec<String> = (0..4)
        .flat_map(|_| {
            let some = drained(&consumer);
            some.split_whitespace()
                .map(|payload| payload[..1].to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(kept.join(" "), "| 6 7 8");
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
    let received = &feed.first_seat().counters.received;
    assert_eq!(received.load(Ordering::Relaxed), 1, "it is not counted");

    // Whoever waits for the probe of a session that is gone learns it.
    let (_, mut proved) = place.probe();
    drop(place);
    assert!(proved.try_recv().is_err());
}

/// A listener on channels, with a consumer, at a feed of its own or of several.
struct Hearer {
    seat: Arc<Seat>,
    consumer: Arc<Subscriber>,
    id: SeatId,
}

impl Hearer {
    fn new(feed: &Feed, channels: &[&str], sit: impl FnOnce(&Arc<Seat>) -> Option<SeatId>) -> Self {
        let seat = Arc::new(Seat::new(None, Box::new(|| {})));
        for (number, channel) in (1..).zip(channels) {
            seat.add_channel(channel, number);
        }
        let bounds = Bounds {
            max_messages: 4,
            max_bytes: 1 << 30,
            overflow: Overflow::Error,
        };
        let consumer = Arc::new(Subscriber::new(bounds, Box::new(|| {}), Arc::default()));
        seat.add_subscriber(Arc::clone(&consumer), None);
        let id = sit(&seat).expect("the feed is not over");
        feed.add_channels(id, &seat.channels());
        Self { seat, consumer, id }
    }

    fn join(feed: &Feed, channels: &[&str]) -> Self {
        let hearer = Self::new(feed, channels, |seat| feed.sit(seat, false));
        feed.joined(hearer.id, 1);
        hearer
    }

    fn drained(&self) -> String {
        drained(&self.consumer)
    }
}

/// A feed with a session that publishes.
fn up(feed: Feed) -> (Arc<Feed>, FeedPlace) {
    let feed = Arc::new(feed);
    let place = FeedPlace::take(&feed);
    feed.resume(&place, None);
    (feed, place)
}

fn publish_all(place: &FeedPlace, notifications: &[(&str, &str)]) {
    let stop = place
        .feed
        .publish(place.number(), &ReceivedBatch::of(notifications));
    assert!(stop.is_none());
}

#[test]
fn each_seat_hears_its_channels_in_order_and_nothing_else() {
    let (feed, place) = up(Feed::shared());
    let one = Hearer::join(&feed, &["a", "b"]);
    let other = Hearer::join(&feed, &["b"]);
    let joining = Hearer::new(&feed, &["a"], |seat| feed.sit(seat, false));
    publish_all(&place, &[("a", "1"), ("b", "2"), ("c", "x"), ("a", "3")]);
    assert_eq!(
        (one.drained().as_str(), other.drained().as_str()),
        ("1 2 3", "2")
    );
    assert_eq!(joining.drained(), "", "its LISTENs are not committed");
    assert_eq!(feed.leave(other.id, &other.seat.channels()), Left::Others);
    assert_eq!(feed.leave(other.id, &other.seat.channels()), Left::Before);
    publish_all(&place, &[("b", "4")]);
    assert_eq!(
        (one.drained().as_str(), other.drained().as_str()),
        ("4", "")
    );
    assert!(
        one.seat.take_events().len() == 1,
        "no warning of a channel that another has left"
    );
    let next = Hearer::join(&feed, &["b"]);
    assert_ne!(next.id, other.id, "the supervisor has not heard of it");
    feed.free(other.id);
    assert_eq!(Hearer::join(&feed, &[]).id, other.id);
}

#[test]
fn a_loss_is_a_gap_for_each_that_heard_the_session_and_for_nobody_else() {
    let (feed, place) = up(Feed::shared());
    let (one, other) = (Hearer::join(&feed, &["a"]), Hearer::join(&feed, &["b"]));
    let joining = Hearer::new(&feed, &["a"], |seat| feed.sit(seat, false));
    drop(place);
    feed.hold();
    let next = FeedPlace::take(&feed);
    feed.resume(&next, Some(&lost()));
    feed.joined(joining.id, 2);
    publish_all(&next, &[("a", "1")]);
    assert_eq!(one.drained(), "| 1");
    assert_eq!(other.drained(), "|");
    assert_eq!(joining.drained(), "1");
}

#[test]
fn a_fence_stands_in_the_stream_of_its_listener_alone() {
    let (feed, place) = up(Feed::shared());
    let (one, other) = (Hearer::join(&feed, &["a"]), Hearer::join(&feed, &["a"]));
    let (reply, mut answer) = oneshot::channel();
    let (other_reply, mut other_answer) = oneshot::channel();
    let fence = feed.add_fence(one.id, 1, reply).expect("it hears");
    let other_fence = feed.add_fence(other.id, 1, other_reply).expect("it hears");
    assert_ne!(fence, other_fence, "although both listeners call it 1");
    let channel = feed.fence_channel().to_owned();
    publish_all(
        &place,
        &[("a", "1"), (&channel, &fence.to_string()), ("a", "2")],
    );
    assert_eq!(
        (one.drained().as_str(), other.drained().as_str()),
        ("1 # 2", "1 2")
    );
    assert!(answer.try_recv().is_ok() && other_answer.try_recv().is_err());
    // Who leaves waits no more.
    feed.leave(other.id, &[]);
    assert!(matches!(
        other_answer.try_recv(),
        Err(oneshot::error::TryRecvError::Closed)
    ));
}

#[test]
fn an_overflow_with_the_policy_error_ends_its_listener_and_no_other() {
    let (feed, place) = up(Feed::shared());
    let (one, other) = (Hearer::join(&feed, &["a"]), Hearer::join(&feed, &["b"]));
    publish_all(
        &place,
        &[
            ("a", "1"),
            ("a", "2"),
            ("b", "1"),
            ("a", "3"),
            ("a", "4"),
            ("a", "5"),
        ],
    );
    let error = Error::new(ErrorKind::ListenerOverflow, "full");
    let expelled = feed.expel_overflowed(&error);
    assert_eq!(expelled, [(one.id, vec!["a".to_owned()])]);
    assert!(one.seat.gave_up().is_some() && other.seat.gave_up().is_none());
    assert!(!feed.is_over());
    publish_all(&place, &[("b", "2")]);
    assert_eq!(other.drained(), "1 2");
}

#[test]
fn a_channel_of_a_listener_that_is_at_its_end_is_routed_nowhere() {
    let (feed, place) = up(Feed::shared());
    let (one, other) = (Hearer::join(&feed, &["a"]), Hearer::join(&feed, &["b"]));
    publish_all(&place, &[("a", "x"); 5]);
    let error = Error::new(ErrorKind::ListenerOverflow, "full");
    assert_eq!(feed.expel_overflowed(&error).len(), 1);
    feed.add_channel(one.id, "c");
    feed.add_channels(one.id, &["d".to_owned(), "b".to_owned()]);
    assert_eq!(feed.served().channels, 1);
    feed.free(one.id);
    let next = Hearer::join(&feed, &["e"]);
    assert_eq!(next.id, one.id);
    publish_all(&place, &[("b", "1"), ("c", "2"), ("e", "3")]);
    assert_eq!(
        (next.drained().as_str(), other.drained().as_str()),
        ("3", "1")
    );
    assert_eq!(feed.leave(next.id, &next.seat.channels()), Left::Others);
    assert_eq!(feed.served().channels, 1);
}

#[test]
fn an_overflow_of_a_listener_that_has_left_is_none_of_the_next_one_at_its_seat() {
    let (feed, place) = up(Feed::shared());
    let (one, _other) = (Hearer::join(&feed, &["a"]), Hearer::join(&feed, &["b"]));
    publish_all(&place, &[("a", "x"); 5]);
    feed.leave(one.id, &one.seat.channels());
    feed.free(one.id);
    let next = Hearer::join(&feed, &["a"]);
    assert_eq!(next.id, one.id);
    let error = Error::new(ErrorKind::ListenerOverflow, "full");
    assert_eq!(feed.expel_overflowed(&error), []);
    assert!(next.seat.gave_up().is_none());
}

/// The longest delay as all seats tell it that have not left.
fn delay_of_all(feed: &Feed, environment: u64) -> Option<Duration> {
    let inner = feed.inner.lock();
    let mut least = None;
    for sitting in inner.seats.all().filter(|it| it.stage != Stage::Gone) {
        if sitting.seat.environment() != environment {
            return None;
        }
        let delay = sitting.seat.max_delay();
        least = Some(least.map_or(delay, |least: Duration| least.min(delay)));
    }
    least
}

#[test]
fn the_longest_delay_is_that_of_the_listeners_that_are_there() {
    let feed = Feed::shared();
    let mut seats = std::collections::VecDeque::new();
    for number in 0..200_u64 {
        // Now and then all are in one environment.
        let environment = 1 + u64::from(number % 40 > 30);
        let delay = Duration::from_millis((number * 7) % 5);
        let seat = Seat::new(None, Box::new(|| {})).in_environment(environment, delay);
        let seat = Arc::new(seat);
        let id = if number % 2 == 0 {
            feed.sit(&seat, false)
        } else {
            feed.expect(&seat)
        };
        seats.push_back(id.expect("the feed is not over"));
        if seats.len() > 8 {
            let left = seats.pop_front().expect("a seat");
            assert_eq!(feed.leave(left, &[]), Left::Others);
            feed.leave(left, &[]);
            if number % 3 == 0 {
                feed.free(left);
            }
        }
        for environment in 1..=3 {
            let delay = feed.delay_in(environment);
            assert_eq!(delay, delay_of_all(&feed, environment), "{number}");
        }
    }
    for id in seats {
        feed.leave(id, &[]);
    }
    assert_eq!(feed.delay_in(1), None);
}

/// A listener that is at one feed, and about to go to another.
struct Move {
    old: FeedPlace,
    new: FeedPlace,
    from: Hearer,
    to: SeatId,
    channel: String,
    fence: String,
    crossing: Crossing,
    /// Another listener of the old feed.
    neighbour: Hearer,
}

impl Move {
    fn begin() -> Self {
        let (old_feed, old) = up(Feed::shared());
        let from = Hearer::join(&old_feed, &["a"]);
        let neighbour = Hearer::join(&old_feed, &["a"]);
        let (new_feed, new) = up(Feed::private_beside(&old_feed));
        let to = new_feed.expect(&from.seat).expect("a new feed");
        new_feed.add_channels(to, &from.seat.channels());
        new_feed.joined(to, 2);
        let fence = next_fence();
        let crossing = new_feed.await_arrival(to, fence).expect("it is up");
        assert!(old_feed.depart(from.id, fence, &new_feed));
        Self {
            channel: old_feed.fence_channel().to_owned(),
            old,
            new,
            from,
            to,
            fence: fence.to_string(),
            crossing,
            neighbour,
        }
    }

    /// Publishes on a session notifications of channel `a`, and the fence where there is an `F`.
    fn hear(&self, place: &FeedPlace, payloads: &str) {
        let notifications: Vec<_> = payloads
            .split(' ')
            .map(|payload| match payload {
                "F" => (self.channel.as_str(), self.fence.as_str()),
                payload => ("a", payload),
            })
            .collect();
        publish_all(place, &notifications);
    }

    fn crossed(&mut self) -> Option<bool> {
        self.crossing
            .try_recv()
            .ok()
            .map(|it| it.expect("no refusal"))
    }
}

#[test]
fn a_listener_that_moves_hears_one_session_up_to_the_fence_and_the_other_from_there_on() {
    for old_is_ahead in [true, false] {
        let mut it = Move::begin();
        it.hear(&it.old, "1");
        it.hear(&it.new, "1");
        if old_is_ahead {
            it.hear(&it.old, "2 F 3");
            assert_eq!(it.crossed(), Some(true));
            it.hear(&it.old, "4");
            it.hear(&it.new, "2 F 3");
        } else {
            it.hear(&it.new, "2 F 3");
            it.hear(&it.new, "4");
            assert_eq!(it.crossed(), None, "the old session has not come so far");
            it.hear(&it.old, "2");
            it.hear(&it.old, "F 3 4");
            assert_eq!(it.crossed(), Some(true));
        }
        assert_eq!(
            it.from.drained(),
            if old_is_ahead { "1 2 3" } else { "1 2 3 4" }
        );
        it.hear(&it.new, "5");
        assert_eq!(it.from.drained(), "5");
        assert_eq!(it.neighbour.drained(), "1 2 3 4");
    }
}

#[test]
fn a_fence_of_sync_that_stands_behind_the_move_is_heard_on_the_new_session() {
    let mut it = Move::begin();
    let (reply, mut answer) = oneshot::channel();
    let fence = it
        .old
        .feed
        .add_fence(it.from.id, 7, reply)
        .expect("it hears");
    it.hear(&it.old, "1 F");
    assert_eq!(it.crossed(), Some(true));
    let (late, _) = oneshot::channel();
    assert!(
        it.old.feed.add_fence(it.from.id, 8, late).is_err(),
        "it has gone"
    );
    let both = [("a", "2"), (it.channel.as_str(), &fence.to_string())];
    publish_all(&it.old, &both);
    assert!(answer.try_recv().is_err());
    it.hear(&it.new, "1 F");
    publish_all(&it.new, &both);
    assert!(answer.try_recv().is_ok());
    assert_eq!(it.from.drained(), "1 2 #");
}

#[test]
fn a_loss_of_either_session_before_the_old_one_is_at_the_fence_leaves_the_listener_where_it_was() {
    // The new session is lost.
    let mut it = Move::begin();
    it.hear(&it.new, "F 1");
    it.new.feed.hold();
    assert_eq!(it.crossed(), Some(false));
    it.hear(&it.old, "F 1");
    assert_eq!(it.from.drained(), "1");
    let next = FeedPlace::take(&it.new.feed);
    it.new.feed.resume(&next, Some(&lost()));
    it.hear(&next, "2");
    assert_eq!(
        it.from.drained(),
        "",
        "no gap, since it hears the old session"
    );

    // The old session is lost.
    let mut it = Move::begin();
    it.hear(&it.new, "F 1");
    it.old.feed.hold();
    assert_eq!(it.crossed(), Some(false));
    it.hear(&it.new, "2");
    let next = FeedPlace::take(&it.old.feed);
    it.old.feed.resume(&next, Some(&lost()));
    it.hear(&next, "3");
    assert_eq!(it.from.drained(), "| 3");
}

#[test]
fn a_loss_of_the_new_session_once_the_listener_is_its_own_is_a_gap() {
    let mut it = Move::begin();
    it.hear(&it.old, "1 F 2");
    assert_eq!(it.crossed(), Some(true));
    // It has not come to the fence.
    it.new.feed.hold();
    let next = FeedPlace::take(&it.new.feed);
    it.new.feed.resume(&next, Some(&lost()));
    it.hear(&next, "3");
    it.hear(&it.old, "3");
    assert_eq!(it.from.drained(), "1 | 3");
    assert_eq!(it.neighbour.drained(), "1 2 3");
}

#[test]
fn a_listener_hears_of_the_loss_of_its_new_session_before_that_one_has_come_to_the_fence() {
    let mut it = Move::begin();
    it.hear(&it.old, "1 F 2");
    assert_eq!(it.crossed(), Some(true));
    drop(it.from.seat.take_events());
    let lost = Event::Disconnected {
        error: Error::new(ErrorKind::Connect, "lost"),
        process_id: 2,
    };
    it.new.feed.lose(&lost);
    let events = Vec::from(it.from.seat.take_events());
    assert!(matches!(
        &events[..],
        [Event::Disconnected { process_id: 2, .. }]
    ));
    it.old.feed.announce(&lost);
    assert!(it.from.seat.take_events().is_empty(), "it has gone");
}

#[test]
fn what_is_held_for_a_listener_that_moves_is_bounded() {
    let it = Move::begin();
    it.hear(&it.new, "F");
    let batch = ReceivedBatch::of(&[("a", &"x".repeat(1 << 20))]);
    let stops: Vec<bool> = (0..5)
        .map(|_| it.new.feed.publish(it.new.number(), &batch).is_some())
        .collect();
    assert_eq!(stops, [false, false, false, true, true]);
    it.new
        .feed
        .give_arrival_up(it.fence.parse().expect("a number"));
    assert!(it.new.feed.publish(it.new.number(), &batch).is_none());
    assert_eq!(it.from.drained(), "");
    assert_eq!(it.new.feed.leave(it.to, &[]), Left::Last);
}

#[test]
fn an_overflow_before_the_fence_ends_the_way_of_a_listener_that_moves() {
    for heard in ["1 2 3 4 5", "1 2 3 4 5 F"] {
        let mut it = Move::begin();
        it.hear(&it.new, "1");
        it.hear(&it.old, heard);
        let error = Error::new(ErrorKind::ListenerOverflow, "full");
        assert_eq!(
            it.old.feed.expel_overflowed(&error).len(),
            2,
            "and its neighbour"
        );
        assert_eq!(it.crossed(), Some(false));
        it.hear(&it.new, "F 6");
        assert_eq!(it.from.drained(), "1 2 3 4");
    }
}

#[test]
fn a_fence_behind_an_overflow_with_the_policy_error_is_not_passed() {
    for neighbours in [0, 1] {
        for (before, behind) in [(5, 1), (5, 0)] {
            let (feed, place) = up(Feed::shared());
            let one = Hearer::join(&feed, &["a"]);
            let _others: Vec<Hearer> = (0..neighbours)
                .map(|_| Hearer::join(&feed, &["b"]))
                .collect();
            let (reply, mut answer) = oneshot::channel();
            let fence = feed.add_fence(one.id, 1, reply).expect("it hears");
            let (channel, fence) = (feed.fence_channel().to_owned(), fence.to_string());
            let mut notifications = vec![("a", "x"); before];
            if behind == 0 {
                // In a batch of its own.
                publish_all(&place, &notifications);
                notifications.clear();
            }
            notifications.push((&channel, &fence));
            publish_all(&place, &notifications);
            assert!(matches!(
                answer.try_recv(),
                Err(oneshot::error::TryRecvError::Closed)
            ));
            assert_eq!(one.drained(), "x x x x");
        }
    }
}
