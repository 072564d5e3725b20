//! Members of an audience that come, leave, and get what the others get.

use std::sync::atomic::AtomicU64;

use super::super::FeedPlace;
use super::*;
use crate::deliver::budget::Budget;
use crate::deliver::buffer::{Bounds, End, Entry, Lost, Overflow};
use crate::deliver::seat::{Seat, Selection};
use crate::inbound::ReceivedBatch;

const BOUNDS: Bounds = Bounds {
    max_messages: 4,
    max_bytes: 1 << 20,
    overflow: Overflow::DropOldest,
};

struct Listener {
    seat: Arc<Seat>,
    id: SeatId,
    consumer: Arc<Subscriber>,
    /// How often its own buffer has told that there is something.
    signals: Arc<AtomicU64>,
}

struct Scene {
    feed: Arc<Feed>,
    place: FeedPlace,
    listeners: Vec<Listener>,
    audience: Arc<parking_lot::Mutex<Option<Weak<Audience>>>>,
}

fn counted(signals: &Arc<AtomicU64>) -> Box<dyn Fn() + Send + Sync> {
    let signals = Arc::clone(signals);
    Box::new(move || {
        signals.fetch_add(1, Ordering::Relaxed);
    })
}

impl Listener {
    fn of(feed: &Feed, bounds: Bounds) -> Self {
        Self::on(feed, "a", bounds)
    }

    fn on(feed: &Feed, channel: &str, bounds: Bounds) -> Self {
        Self::made(feed, channel, bounds, None)
    }

    fn made(feed: &Feed, channel: &str, bounds: Bounds, budget: Option<&Arc<Budget>>) -> Self {
        let seat = Arc::new(Seat::new(None, Box::new(|| {})));
        seat.add_channel(channel, 7);
        let signals = Arc::<AtomicU64>::default();
        let counters = Arc::clone(&seat.counters.buffers);
        let consumer = Subscriber::new(bounds, counted(&signals), counters);
        let consumer = match budget {
            Some(budget) => consumer.within(budget),
            None => Arc::new(consumer),
        };
        seat.add_subscriber(Arc::clone(&consumer), None);
        let id = feed.sit(&seat, false).expect("the feed is not over");
        feed.add_channel(id, channel);
        feed.joined(id, 1);
        consumer.arm();
        Self {
            seat,
            id,
            consumer,
            signals,
        }
    }

    fn drained(&self) -> String {
        let mut words = Vec::new();
        self.consumer.drain(usize::MAX, |entry, payload| {
            words.push(word(&entry, payload));
        });
        words.join(" ")
    }

    fn received(&self) -> u64 {
        self.seat.settle_counts();
        self.seat.counters.received.load(Ordering::Relaxed)
    }

    fn dropped(&self) -> u64 {
        self.seat.settle_counts();
        self.seat.counters.buffers.dropped.load(Ordering::Relaxed)
    }
}

/// Payloads, `|` for a lost session, `-N` for an overflow, `#` for a fence.
fn word(entry: &Entry, payload: &[u8]) -> String {
    match entry {
        Entry::Notification(it) => {
            assert_eq!(it.channel, 7, "the facade's number of the channel");
            String::from_utf8_lossy(payload).into_owned()
        }
        Entry::Gap(gap) if gap.is_overflow() => format!("-{}", gap.dropped.unwrap_or(0)),
        Entry::Gap(_) => "|".to_owned(),
        Entry::Fence(_) => "#".to_owned(),
    }
}

impl Scene {
    fn new(bounds: &[Bounds]) -> Self {
        Self::with(bounds, Listener::of)
    }

    /// Listeners of one pool, whose buffers may have so many bytes together.
    fn pooled(bounds: &[Bounds], max_bytes: usize) -> (Self, Arc<Budget>) {
        let budget = Arc::new(Budget::new(max_bytes));
        let made = |feed: &Feed, bounds| Listener::made(feed, "a", bounds, Some(&budget));
        (Self::with(bounds, made), Arc::clone(&budget))
    }

    fn with(bounds: &[Bounds], made: impl Fn(&Feed, Bounds) -> Listener) -> Self {
        let feed = Arc::new(Feed::shared());
        let place = FeedPlace::take(&feed);
        feed.resume(&place, None);
        let listeners = bounds.iter().map(|it| made(&feed, *it)).collect();
        let scene = Self {
            feed,
            place,
            listeners,
            audience: Arc::default(),
        };
        for at in 0..bounds.len() {
            scene.join(at);
        }
        scene
    }

    /// Says whether it has become a member.
    fn join(&self, at: usize) -> bool {
        let listener = &self.listeners[at];
        let made = Arc::clone(&self.audience);
        let candidate = Candidate {
            id: u32::try_from(at).expect("few"),
            subscriber: &listener.consumer,
        };
        let joins = |audience| -> Box<dyn Fn() + Send + Sync> {
            *made.lock() = Some(audience);
            Box::new(|| {})
        };
        listener.seat.may_join() && self.feed.join_audience(listener.id, &candidate, joins)
    }

    fn publish(&self, payloads: &[&str]) {
        let notifications: Vec<(&str, &str)> = payloads.iter().map(|it| ("a", *it)).collect();
        let batch = ReceivedBatch::of(&notifications);
        let stop = self.feed.publish(self.place.number(), &batch);
        assert!(stop.is_none(), "no policy here stops a session");
    }

    /// What the members have together, and who they are.
    fn shared(&self) -> (String, Vec<u32>) {
        let audience = self.audience.lock().as_ref().and_then(Weak::upgrade);
        let audience = audience.expect("an audience");
        let mut words = Vec::new();
        loop {
            let (drained, members) =
                audience.drain(2, |entry, payload| words.push(word(&entry, payload)));
            if drained.shown == 0 {
                return (words.join(" "), members.ids.to_vec());
            }
        }
    }
}

#[test]
fn members_have_one_buffer_and_exact_counts_of_their_own() {
    let scene = Scene::new(&[BOUNDS; 5]);
    scene.publish(&["one", "two"]);
    scene.publish(&["three"]);
    for listener in &scene.listeners {
        assert_eq!(listener.consumer.stats().buffered, 3);
        assert_eq!(listener.received(), 3);
    }
    assert_eq!(
        scene.shared(),
        ("one two three".to_owned(), vec![0, 1, 2, 3, 4])
    );
    for listener in &scene.listeners {
        assert_eq!(listener.consumer.stats().buffered, 0);
        assert_eq!(listener.drained(), "");
        assert_eq!(listener.signals.load(Ordering::Relaxed), 0);
        assert_eq!(listener.received(), 3);
    }
}

#[test]
fn too_few_seats_have_no_audience() {
    let scene = Scene::new(&[BOUNDS; FEWEST - 1]);
    assert!(scene.audience.lock().is_none());
    scene.publish(&["one"]);
    for listener in &scene.listeners {
        assert_eq!(listener.drained(), "one");
    }
}

#[test]
fn a_full_buffer_drops_for_all_members_and_counts_for_each() {
    let scene = Scene::new(&[BOUNDS; 4]);
    scene.publish(&["1", "2", "3", "4", "5", "6"]);
    assert_eq!(scene.shared().0, "-2 3 4 5 6");
    for listener in &scene.listeners {
        assert_eq!((listener.received(), listener.dropped()), (6, 2));
    }
}

#[test]
fn a_consumer_that_has_other_bounds_is_bounded_by_those() {
    let small = Bounds {
        max_messages: 1,
        ..BOUNDS
    };
    let scene = Scene::new(&[BOUNDS, BOUNDS, BOUNDS, BOUNDS, small]);
    // It is alone in an audience of its own, whose buffer is as small.
    scene.publish(&["1", "2"]);
    assert_eq!(scene.listeners[4].consumer.stats().buffered, 1);
    assert_eq!(scene.listeners[4].dropped(), 1);
    assert_eq!(scene.listeners[0].consumer.stats().buffered, 2);
    assert_eq!(scene.listeners[0].dropped(), 0);
}

#[test]
fn policies_that_are_felt_by_a_session_are_not_shared() {
    for overflow in [Overflow::Pause, Overflow::Error] {
        let scene = Scene::new(&[Bounds { overflow, ..BOUNDS }; 4]);
        assert!(scene.audience.lock().is_none());
    }
}

#[test]
fn who_leaves_keeps_what_waits_and_hears_for_himself() {
    let scene = Scene::new(&[BOUNDS; 5]);
    let leaving = &scene.listeners[2];
    scene.publish(&["one"]);
    leaving.consumer.leave_audience();
    assert_eq!(leaving.signals.load(Ordering::Relaxed), 1);
    scene.publish(&["two"]);
    assert_eq!(leaving.drained(), "one two");
    assert_eq!(leaving.received(), 2);
    assert_eq!(scene.shared(), ("one two".to_owned(), vec![0, 1, 3, 4]));
    assert_eq!(leaving.drained(), "");
    assert!(scene.join(2), "it waits with an empty buffer again");
    scene.publish(&["three"]);
    assert_eq!(scene.shared(), ("three".to_owned(), vec![0, 1, 2, 3, 4]));
    assert_eq!(leaving.received(), 3);
}

/// So many payloads, each of which counts 100 bytes.
fn payloads(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{number:036}")).collect()
}

#[test]
fn members_that_leave_one_after_the_other_take_no_more_than_the_pool_has() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let bounds = Bounds {
            max_messages: 1000,
            max_bytes: 1 << 20,
            overflow,
        };
        let (scene, budget) = Scene::pooled(&[bounds; 8], 6400);
        let payloads = payloads(60);
        scene.publish(&payloads.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(budget.used(), 6000);
        // With the shared one there are nine.
        let part = 7;
        let mut most = 6400;
        for listener in &scene.listeners {
            listener.consumer.leave_audience();
            // Nobody gives way to a buffer that drops its newest, and each has its equal part.
            if overflow == Overflow::DropNewest {
                most += 100 * part;
            }
            assert!(budget.used() <= most, "{} of {most}", budget.used());
            assert_eq!(listener.signals.load(Ordering::Relaxed), 1);
        }
        for listener in &scene.listeners {
            let kept = listener.consumer.stats().buffered;
            assert!(kept >= part, "its equal part: {kept}");
            let missing = 60 - kept;
            let (gap, all) = (format!("-{missing}"), payloads.join(" "));
            let drained = listener.drained();
            let is_exact = if overflow == Overflow::DropOldest {
                let rest = drained.strip_prefix(&gap);
                rest.is_some_and(|rest| all.ends_with(rest))
            } else {
                let rest = drained.strip_suffix(&gap);
                rest.is_some_and(|rest| all.starts_with(rest))
            };
            assert!(is_exact, "{drained}");
            assert_eq!(
                (listener.received(), listener.dropped()),
                (60, missing as u64)
            );
        }
    }
}

#[test]
fn who_leaves_has_larger_buffers_of_the_pool_give_way() {
    let bounds = Bounds {
        max_messages: 1000,
        ..BOUNDS
    };
    let (scene, budget) = Scene::pooled(&[bounds; 5], 6400);
    let larger = Listener::made(&scene.feed, "b", bounds, Some(&budget));
    let payloads = payloads(44);
    let all: Vec<(&str, &str)> = payloads
        .iter()
        .enumerate()
        .map(|(at, payload)| (if at < 34 { "b" } else { "a" }, payload.as_str()))
        .collect();
    scene
        .feed
        .publish(scene.place.number(), &ReceivedBatch::of(&all));
    for listener in &scene.listeners[..3] {
        listener.consumer.leave_audience();
        assert_eq!(listener.consumer.stats().buffered, 10);
        assert_eq!(listener.dropped(), 0);
    }
    assert!(budget.used() <= 6400);
    assert!(larger.dropped() > 0);
}

#[test]
fn what_could_not_be_handed_over_is_a_gap_also_for_who_has_left_meanwhile() {
    let scene = Scene::new(&[BOUNDS; 5]);
    scene.publish(&["one", "two", "three"]);
    let audience = scene.audience.lock().as_ref().and_then(Weak::upgrade);
    let audience = audience.expect("an audience");
    let leaving = &scene.listeners[1];
    let mut lost = Lost::default();
    let (_, members) = audience.drain(2, |entry, _| {
        lost.note(&entry);
        leaving.consumer.leave_audience();
    });
    audience.lose(&lost, &members);
    assert_eq!(leaving.drained(), "-2 three");
    // Whoever leaves later takes it along.
    scene.listeners[2].consumer.leave_audience();
    assert_eq!(scene.listeners[2].drained(), "-2 three");
    assert_eq!(scene.shared(), ("-2 three".to_owned(), vec![0, 3, 4]));
    for listener in &scene.listeners {
        assert_eq!((listener.received(), listener.dropped()), (3, 2));
    }
}

#[test]
fn what_could_not_be_handed_over_to_anybody_who_is_still_there_keeps_nobody_out() {
    let scene = Scene::new(&[BOUNDS; 4]);
    scene.publish(&["one"]);
    let audience = scene.audience.lock().as_ref().and_then(Weak::upgrade);
    let audience = audience.expect("an audience");
    let mut lost = Lost::default();
    let (_, members) = audience.drain(2, |entry, _| lost.note(&entry));
    for listener in &scene.listeners {
        listener.consumer.leave_audience();
    }
    audience.lose(&lost, &members);
    for (at, listener) in scene.listeners.iter().enumerate() {
        assert_eq!(listener.drained(), "-1");
        assert_eq!(listener.drained(), "");
        assert!(scene.join(at));
    }
    scene.publish(&["two"]);
    assert_eq!(scene.shared(), ("two".to_owned(), vec![0, 1, 2, 3]));
}

#[test]
fn nobody_joins_behind_what_is_not_for_him() {
    let scene = Scene::new(&[BOUNDS; 5]);
    let late = &scene.listeners[0];
    late.consumer.leave_audience();
    scene.publish(&["one"]);
    assert_eq!(late.drained(), "one");
    assert_eq!(late.drained(), "");
    assert!(!scene.join(0), "the members have not taken theirs");
    scene.publish(&["two"]);
    assert_eq!(scene.shared().0, "one two");
    assert_eq!(late.drained(), "two");
    assert_eq!(late.drained(), "");
    assert!(scene.join(0));
}

#[test]
fn a_lost_session_is_one_gap_for_each() {
    let scene = Scene::new(&[BOUNDS; 5]);
    scene.listeners[1].consumer.leave_audience();
    scene.publish(&["before"]);
    scene.feed.hold();
    let next = FeedPlace::take(&scene.feed);
    let now = std::time::SystemTime::UNIX_EPOCH;
    let gap = Gap {
        reason: crate::deliver::gap::GapReason::Disconnect,
        dropped: None,
        ..Gap::overflow(now, now)
    };
    scene.feed.resume(&next, Some(&gap));
    let batch = ReceivedBatch::of(&[("a", "after")]);
    scene.feed.publish(next.number(), &batch);
    assert_eq!(
        scene.shared(),
        ("before | after".to_owned(), vec![0, 2, 3, 4])
    );
    assert_eq!(scene.listeners[1].drained(), "before | after");
}

#[test]
fn a_fence_stands_at_its_place_and_is_for_one() {
    let scene = Scene::new(&[BOUNDS; 4]);
    let fenced = &scene.listeners[1];
    let (reply, mut passed) = tokio::sync::oneshot::channel();
    let fence = scene.feed.add_fence(fenced.id, 5, reply);
    let fence = fence.expect("the seat is there").to_string();
    let channel = scene.feed.fence_channel().to_owned();
    let notifications = [("a", "before"), (channel.as_str(), &fence), ("a", "after")];
    scene
        .feed
        .publish(scene.place.number(), &ReceivedBatch::of(&notifications));
    assert!(passed.try_recv().is_ok());
    assert_eq!(fenced.drained(), "before # after");
    assert_eq!(scene.shared(), ("before after".to_owned(), vec![0, 2, 3]));
    assert_eq!(fenced.received(), 2);
}

#[test]
fn an_end_comes_behind_what_waits_and_ends_nobody_else() {
    let scene = Scene::new(&[BOUNDS; 5]);
    scene.publish(&["one"]);
    scene.listeners[0].seat.end(&End::Shutdown, true);
    scene.listeners[1].seat.end(&End::Shutdown, false);
    scene.feed.leave(scene.listeners[1].id, &["a".to_owned()]);
    scene.publish(&["two"]);
    let mut last = None;
    for _ in 0..2 {
        let ended = scene.listeners[0].consumer.drain(9, |_, payload| {
            last = Some(String::from_utf8_lossy(payload).into_owned());
        });
        assert!(ended.is_empty);
    }
    assert_eq!(last.as_deref(), Some("one"));
    assert_eq!(scene.listeners[1].drained(), "");
    assert_eq!(scene.shared(), ("one two".to_owned(), vec![2, 3, 4]));
}

#[test]
fn another_channel_another_consumer_or_a_selection_ends_the_membership() {
    let scene = Scene::new(&[BOUNDS; 6]);
    scene.publish(&["one"]);
    let [first, second, third, ..] = &scene.listeners[..] else {
        unreachable!()
    };
    first.seat.add_channel("b", 8);
    let another = Arc::new(Subscriber::new(BOUNDS, Box::new(|| {}), Arc::default()));
    second.seat.add_subscriber(another, None);
    third
        .seat
        .set_selection(&third.consumer, Selection::default());
    scene.publish(&["two"]);
    for listener in [first, second, third] {
        assert_eq!(listener.drained(), "one two");
    }
    assert_eq!(scene.shared(), ("one two".to_owned(), vec![3, 4, 5]));
    for (at, listener) in [first, second, third].into_iter().enumerate() {
        assert_eq!(listener.drained(), "");
        // A selection of everything is none.
        assert_eq!(scene.join(at), at == 2);
    }
    // Where there is only one again, it may join.
    first.seat.remove_channel("b");
    assert!(scene.join(0));
}

#[test]
fn an_audience_that_all_have_left_is_forgotten() {
    let scene = Scene::new(&[BOUNDS; 4]);
    scene.publish(&["one"]);
    for listener in &scene.listeners {
        scene.feed.leave(listener.id, &["a".to_owned()]);
        listener.seat.end(&End::Shutdown, false);
    }
    let audience = scene.audience.lock().clone();
    scene.feed.inner.lock().seats.settle_audiences();
    assert!(audience.and_then(|it| it.upgrade()).is_none());
    assert!(scene.feed.inner.lock().seats.audiences.all.is_empty());
}

#[test]
fn a_member_that_gets_the_channel_of_another_audience_hears_it_from_then_on() {
    for channels in [["a", "b"], ["b", "a"]] {
        // The audience of one channel is older than that of the other.
        let mut scene = Scene::new(&[]);
        for (at, channel) in channels.into_iter().flat_map(|it| [it; 4]).enumerate() {
            let listener = Listener::on(&scene.feed, channel, BOUNDS);
            scene.listeners.push(listener);
            scene.join(at);
        }
        for at in 0..8 {
            scene.join(at);
        }
        for (at, other) in [(0, channels[1]), (7, channels[0])] {
            let listener = &scene.listeners[at];
            listener.seat.add_channel(other, 7);
            scene.feed.add_channel(listener.id, other);
        }
        let batch = ReceivedBatch::of(&[("a", "1"), ("b", "2"), ("a", "3")]);
        scene.feed.publish(scene.place.number(), &batch);
        for at in [0, 7] {
            assert_eq!(scene.listeners[at].drained(), "1 2 3", "{channels:?}, {at}");
        }
        // Who leaves a channel hears it no more.
        let listener = &scene.listeners[0];
        listener.seat.remove_channel(channels[1]);
        scene.feed.remove_channel(listener.id, channels[1]);
        scene.feed.publish(scene.place.number(), &batch);
        let own = if channels[0] == "a" { "1 3" } else { "2" };
        assert_eq!(listener.drained(), own);
    }
}

#[test]
fn a_member_whose_channel_is_added_once_more_gets_each_notification_once() {
    let scene = Scene::new(&[BOUNDS; 4]);
    let member = &scene.listeners[2];
    scene.feed.add_channel(member.id, "a");
    scene.publish(&["1"]);
    assert_eq!(scene.shared(), ("1".to_owned(), vec![0, 1, 2, 3]));
    assert_eq!((member.drained(), member.received()), (String::new(), 1));
    // It hears for itself as soon as it is no member any more.
    member.seat.add_channel("b", 8);
    scene.feed.add_channel(member.id, "b");
    scene.publish(&["2"]);
    assert_eq!((member.drained(), member.received()), ("2".to_owned(), 2));
}
