//! A consumer's buffer at its bounds, at a gap and at its end.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::overflow::MAX_BEYOND_BYTES;
use super::*;
use crate::deliver::filter::Filter;
use crate::deliver::gap::GapReason;
use crate::deliver::seat::{Arrived, Seat, Selection, Unrouted};
use crate::inbound::ReceivedNotification;

fn subscriber(max_messages: usize, overflow: Overflow) -> (Subscriber, Arc<AtomicUsize>) {
    let signals = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&signals);
    let bounds = Bounds {
        max_messages,
        max_bytes: 1 << 20,
        overflow,
    };
    let signal = Box::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    (Subscriber::new(bounds, signal, Arc::default()), signals)
}

fn notification(payload: &str) -> Notification {
    Notification {
        channel: 1,
        process_id: 1,
        length: u32::try_from(payload.len()).unwrap(),
        is_ascii: payload.is_ascii(),
        received: Moment::now(),
        confirmed: Moment::now(),
    }
}

fn push(subscriber: &Subscriber, payload: &str) -> Pressure {
    let mut staged = Staged::default();
    staged.push(notification(payload), payload.as_bytes());
    subscriber.change().push_all(&mut staged)
}

fn dropped(subscriber: &Subscriber) -> u64 {
    subscriber.counters.dropped.load(Ordering::Relaxed)
}

fn disconnect() -> Gap {
    Gap {
        reason: GapReason::Disconnect,
        dropped: None,
        ..Gap::overflow(clock::now(), clock::now())
    }
}

/// `a`, `b` for payloads, `-N` for an overflow of N, `|` for a disconnect, `#N` for a fence.
fn drained(subscriber: &Subscriber) -> String {
    let mut words = Vec::new();
    let Drained { shown, .. } = subscriber.drain(usize::MAX, |entry, payload| {
        words.push(match entry {
            Entry::Notification(_) => String::from_utf8(payload.to_vec()).unwrap(),
            Entry::Gap(gap) if gap.is_overflow() => format!("-{}", gap.dropped.unwrap()),
            Entry::Gap(_) => "|".to_owned(),
            Entry::Fence(fence) => format!("#{fence}"),
        });
    });
    assert_eq!(shown, words.len());
    words.join(" ")
}

#[test]
fn an_armed_consumer_is_signalled_once() {
    let (subscriber, signals) = subscriber(10, Overflow::DropOldest);
    push(&subscriber, "a");
    assert_eq!(signals.load(Ordering::SeqCst), 0, "nobody has asked yet");
    assert_eq!(drained(&subscriber), "a");
    assert_eq!(drained(&subscriber), "");
    push(&subscriber, "b");
    push(&subscriber, "c");
    assert_eq!(signals.load(Ordering::SeqCst), 1);
    assert_eq!(drained(&subscriber), "b c");
}

/// The payload that is handed over, if one is.
fn handed(subscriber: &Subscriber) -> Option<String> {
    subscriber.hand_over(|_, payload| String::from_utf8(payload.to_vec()).unwrap())
}

#[test]
fn a_lone_notification_is_handed_over_to_an_armed_consumer_which_stays_armed() {
    let (subscriber, signals) = subscriber(10, Overflow::DropOldest);
    push(&subscriber, "a");
    assert_eq!(handed(&subscriber), None, "nobody has asked yet");
    assert_eq!(drained(&subscriber), "a");
    assert_eq!(drained(&subscriber), "");
    for (number, payload) in (1..).zip(["b", "c"]) {
        push(&subscriber, payload);
        assert_eq!(signals.load(Ordering::SeqCst), number);
        assert_eq!(handed(&subscriber).as_deref(), Some(payload));
        assert_eq!(handed(&subscriber), None);
    }
    let stats = subscriber.stats();
    assert_eq!((stats.buffered, stats.buffered_bytes), (0, 0));
    assert!(stats.drained_age.is_some());
    // Two have to be drained, and then nothing more is handed over.
    push(&subscriber, "d");
    push(&subscriber, "e");
    assert_eq!(handed(&subscriber), None);
    assert_eq!(drained(&subscriber), "d e");
    push(&subscriber, "f");
    assert_eq!(handed(&subscriber), None);
    assert_eq!(signals.load(Ordering::SeqCst), 3);
}

#[test]
fn what_comes_while_a_notification_is_handed_over_is_signalled() {
    let (subscriber, signals) = subscriber(10, Overflow::DropOldest);
    drained(&subscriber);
    push(&subscriber, "a");
    subscriber.hand_over(|_, _| {
        push(&subscriber, "b");
        assert_eq!(signals.load(Ordering::SeqCst), 1);
        assert_eq!(subscriber.stats().buffered, 2);
    });
    assert_eq!(signals.load(Ordering::SeqCst), 2);
    assert_eq!(handed(&subscriber).as_deref(), Some("b"));
    // The end as well.
    push(&subscriber, "c");
    subscriber.hand_over(|_, _| subscriber.change().end(End::Shutdown, false));
    assert_eq!(signals.load(Ordering::SeqCst), 4);
    assert!(subscriber.drain(9, |_, _| ()).end.is_some());
}

#[test]
fn a_consumer_that_is_busy_is_handed_nothing_and_not_signalled_before_it_has_drained() {
    let (subscriber, signals) = subscriber(10, Overflow::DropOldest);
    drained(&subscriber);
    push(&subscriber, "a");
    assert_eq!(handed(&subscriber).as_deref(), Some("a"));
    // The signal for the next one is on its way when the consumer says so.
    push(&subscriber, "b");
    subscriber.stop_handing();
    assert_eq!(handed(&subscriber), None);
    push(&subscriber, "c");
    assert_eq!(signals.load(Ordering::SeqCst), 2);
    assert_eq!(drained(&subscriber), "b c");
    assert_eq!(drained(&subscriber), "");
    push(&subscriber, "d");
    assert_eq!(handed(&subscriber).as_deref(), Some("d"));
}

#[test]
fn neither_gaps_nor_fences_nor_the_end_are_handed_over() {
    let (subscriber, _) = subscriber(10, Overflow::DropOldest);
    drained(&subscriber);
    subscriber.change().insert_gap(disconnect());
    assert_eq!(handed(&subscriber), None);
    push(&subscriber, "a");
    assert_eq!(handed(&subscriber), None);
    assert_eq!(drained(&subscriber), "| a");
    drained(&subscriber);
    push(&subscriber, "b");
    subscriber.change().end(End::Shutdown, true);
    assert_eq!(handed(&subscriber), None);
    assert_eq!(drained(&subscriber), "b");
}

#[test]
fn drop_oldest_counts_exactly_where_it_dropped() {
    let (subscriber, _) = subscriber(2, Overflow::DropOldest);
    for payload in ["a", "b", "c", "d"] {
        push(&subscriber, payload);
    }
    assert_eq!(drained(&subscriber), "-2 c d");
    assert_eq!(dropped(&subscriber), 2);
    let stats = subscriber.stats();
    assert_eq!((stats.buffered, stats.buffered_bytes), (0, 0));
}

#[test]
fn drop_oldest_never_drops_a_gap_or_a_fence_nor_merges_them() {
    let (subscriber, _) = subscriber(2, Overflow::DropOldest);
    push(&subscriber, "a");
    let mut fence = Staged::default();
    fence.push_fence(7);
    subscriber.push_all(&mut subscriber.change(), &mut fence);
    subscriber.change().insert_gap(disconnect());
    push(&subscriber, "b");
    push(&subscriber, "c");
    push(&subscriber, "d");
    push(&subscriber, "e");
    assert_eq!(drained(&subscriber), "-1 #7 | -2 d e");
}

#[test]
fn drop_newest_keeps_what_came_first() {
    let (subscriber, _) = subscriber(2, Overflow::DropNewest);
    for payload in ["a", "b", "c", "d"] {
        push(&subscriber, payload);
    }
    assert_eq!(subscriber.drain(1, |_, _| ()).shown, 1);
    push(&subscriber, "e");
    push(&subscriber, "f");
    assert_eq!(drained(&subscriber), "b -2 e -1");
}

#[test]
fn pause_takes_what_is_there_and_error_ends_the_stream() {
    let (pausing, _) = subscriber(1, Overflow::Pause);
    assert_eq!(push(&pausing, "a"), Pressure::None);
    assert_eq!(push(&pausing, "b"), Pressure::Pause);
    assert_eq!(drained(&pausing), "a b");
    let (failing, _) = subscriber(1, Overflow::Error);
    assert_eq!(push(&failing, "a"), Pressure::None);
    assert_eq!(push(&failing, "b"), Pressure::Error);
    assert_eq!(drained(&failing), "a");
    assert_eq!(push(&failing, "c"), Pressure::Error);
    assert_eq!(drained(&failing), "");
}

#[test]
fn a_pausing_consumer_takes_so_much_beyond_its_bounds_over_any_number_of_sessions() {
    let (pausing, _) = subscriber(1, Overflow::Pause);
    let large = "x".repeat(10_000);
    push(&pausing, "a");
    for _ in 0..100 {
        pausing.change().insert_gap(disconnect());
        assert_eq!(push(&pausing, &large), Pressure::Pause);
        assert_eq!(push(&pausing, &large), Pressure::Pause);
    }
    let stats = pausing.stats();
    let taken = [drained(&pausing), drained(&pausing)].join(" ");
    let beyond = stats.buffered_bytes - ENTRY_OVERHEAD_BYTES - 1;
    assert!((MAX_BEYOND_BYTES..MAX_BEYOND_BYTES + 25_000).contains(&beyond));
    assert_eq!(stats.buffered as u64 + dropped(&pausing), 201);
    assert!(taken.ends_with("| | |"));
    assert_eq!(taken.matches('|').count(), 100);
    // Emptied, it may take as much once more.
    assert_eq!(pausing.pressure(), Pressure::None);
    push(&pausing, "b");
    pausing.change().insert_gap(disconnect());
    push(&pausing, "c");
    assert_eq!(drained(&pausing), "b | c");
}

#[test]
fn the_gap_of_a_new_session_reaches_as_far_as_what_a_full_pausing_consumer_did_not_take() {
    for coalesce in [None, Some(Coalesce::Payload)] {
        let (pausing, _) = subscriber(1, Overflow::Pause);
        pausing.select(coalesce, |_, _| true);
        push(&pausing, "a");
        push(&pausing, &"x".repeat(MAX_BEYOND_BYTES));
        let verified = clock::now() - Duration::from_secs(60);
        pausing.change().insert_gap(Gap {
            resumed_at: verified,
            ..disconnect()
        });
        assert_eq!(push(&pausing, "b"), Pressure::Pause);
        let mut gaps = Vec::new();
        let mut take = || {
            pausing.drain(usize::MAX, |entry, _| match entry {
                Entry::Gap(gap) => gaps.push(gap),
                Entry::Notification(_) | Entry::Fence(_) => {}
            })
        };
        while !take().is_empty {}
        assert_eq!(gaps.len(), 1);
        let later = gaps[0].resumed_at.duration_since(verified).unwrap();
        assert!(later > Duration::from_secs(59), "{later:?}");
        assert_eq!(gaps[0].dropped, None);
    }
}

#[test]
fn behind_anything_but_that_gap_a_full_pausing_consumer_takes_what_was_read() {
    let (pausing, _) = subscriber(1, Overflow::Pause);
    push(&pausing, "a");
    push(&pausing, &"x".repeat(MAX_BEYOND_BYTES));
    assert!(drained(&pausing).starts_with("a x"));
    push(&pausing, "a");
    pausing.change().insert_gap(disconnect());
    let mut fence = Staged::default();
    fence.push_fence(7);
    pausing.push_all(&mut pausing.change(), &mut fence);
    assert_eq!(push(&pausing, "b"), Pressure::Pause);
    assert_eq!(drained(&pausing), "a | #7 b");
    // There is room behind the gap.
    pausing.change().insert_gap(disconnect());
    assert_eq!(push(&pausing, "c"), Pressure::None);
    assert_eq!(push(&pausing, "d"), Pressure::Pause);
    assert_eq!(drained(&pausing), "| c d");
    assert_eq!(dropped(&pausing), 0);
}

#[test]
fn bytes_are_bounded() {
    let bounds = Bounds {
        max_messages: 1000,
        max_bytes: 3 * 164,
        overflow: Overflow::DropOldest,
    };
    let subscriber = Subscriber::new(bounds, Box::new(|| ()), Arc::default());
    let payload = "x".repeat(100);
    for _ in 0..5 {
        push(&subscriber, &payload);
    }
    assert_eq!(subscriber.stats().buffered_bytes, 3 * 164);
    assert_eq!(dropped(&subscriber), 2);
}

#[test]
fn the_end_comes_after_what_is_kept() {
    let (subscriber, _) = subscriber(10, Overflow::DropOldest);
    push(&subscriber, "a");
    push(&subscriber, "b");
    subscriber.change().end(End::Shutdown, true);
    push(&subscriber, "too late");
    let first = subscriber.drain(1, |_, _| ());
    assert!(matches!((first.shown, first.end), (1, None)));
    let last = subscriber.drain(10, |_, _| ());
    assert!(matches!((last.shown, last.end), (1, Some(End::Shutdown))));
}

#[test]
fn a_removed_consumer_keeps_nothing_and_is_not_signalled() {
    let seat = Seat::new(None, Box::new(|| {}));
    for is_armed in [false, true] {
        let (subscriber, signals) = subscriber(10, Overflow::DropOldest);
        let subscriber = Arc::new(subscriber);
        seat.add_subscriber(Arc::clone(&subscriber), None);
        if is_armed {
            assert_eq!(drained(&subscriber), "");
        } else {
            push(&subscriber, "a");
        }
        seat.remove_subscriber(&subscriber);
        push(&subscriber, "b");
        let stats = subscriber.stats();
        assert_eq!((stats.buffered, stats.buffered_bytes), (0, 0));
        assert_eq!(signals.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn what_is_dropped_across_blocks_is_one_gap_with_an_exact_count() {
    let (subscriber, _) = subscriber(3000, Overflow::DropOldest);
    for _ in 0..10_000 {
        push(&subscriber, "payload");
    }
    let words = drained(&subscriber);
    assert!(words.starts_with("-7000 payload "), "{}", &words[..40]);
    assert_eq!(words.split(' ').count(), 3001);
    assert_eq!(subscriber.stats().buffered_bytes, 0);
}

#[test]
fn large_payloads_come_out_as_they_went_in_whatever_is_taken_at_once() {
    let (subscriber, _) = subscriber(1000, Overflow::DropOldest);
    let payloads: Vec<String> = (0..100)
        .map(|number| number.to_string().repeat(number * 20))
        .collect();
    for payload in &payloads {
        push(&subscriber, payload);
    }
    let mut seen = Vec::new();
    while subscriber
        .drain(7, |_, payload| seen.push(payload.to_vec()))
        .shown
        > 0
    {}
    assert!(
        seen.iter()
            .map(Vec::as_slice)
            .eq(payloads.iter().map(String::as_bytes))
    );
}

#[test]
fn what_arrives_while_others_are_taken_counts_beside_them() {
    let (subscriber, _) = subscriber(2, Overflow::DropOldest);
    push(&subscriber, "a");
    push(&subscriber, "b");
    let mut pushed = false;
    let Drained { shown, .. } = subscriber.drain(1, |_, _| {
        assert!(!std::mem::replace(&mut pushed, true));
        assert_eq!(subscriber.stats().buffered, 2, "until it is done");
        push(&subscriber, "c");
        push(&subscriber, "d");
    });
    assert_eq!(shown, 1);
    assert_eq!(drained(&subscriber), "b -1 d");
    assert_eq!(dropped(&subscriber), 1);
}

#[test]
fn what_is_being_taken_at_a_discarding_end_does_not_come_back() {
    let (subscriber, _) = subscriber(10, Overflow::DropOldest);
    push(&subscriber, "a");
    push(&subscriber, "b");
    let last = subscriber.drain(1, |_, _| subscriber.change().end(End::Shutdown, false));
    assert!(matches!((last.shown, last.end), (1, Some(End::Shutdown))));
    assert_eq!(drained(&subscriber), "");
    assert_eq!(subscriber.stats().buffered, 0);
}

#[test]
fn an_entry_is_as_small_as_its_overhead_says() {
    // The queue of entries grows by doubling.
    assert!(2 * size_of::<Entry>() <= ENTRY_OVERHEAD_BYTES);
}

#[test]
fn a_batch_of_large_payloads_has_fewer_of_them() {
    let (subscriber, _) = subscriber(1000, Overflow::DropOldest);
    for _ in 0..300 {
        push(&subscriber, &"x".repeat(1000));
    }
    let first = subscriber.drain(1000, |_, _| ());
    assert_eq!((first.shown, first.is_empty), (263, false));
    let last = subscriber.drain(1000, |_, _| ());
    assert_eq!((last.shown, last.is_empty), (37, true));
}

#[test]
fn what_could_not_be_handed_over_is_a_gap_before_the_rest() {
    let (subscriber, signals) = subscriber(10, Overflow::DropOldest);
    for payload in ["a", "b", "c"] {
        push(&subscriber, payload);
    }
    let mut lost = Lost::default();
    subscriber.drain(2, |entry, _| lost.note(&entry));
    subscriber.lose(lost);
    assert_eq!(signals.load(Ordering::SeqCst), 1);
    assert_eq!(drained(&subscriber), "-2 c");
    assert_eq!(dropped(&subscriber), 2);
}

#[test]
fn gaps_and_fences_that_could_not_be_handed_over_come_again() {
    let (subscriber, signals) = subscriber(10, Overflow::DropOldest);
    subscriber.change().insert_gap(disconnect());
    let mut lost = Lost::default();
    subscriber.drain(10, |entry, _| lost.note(&entry));
    subscriber.lose(lost);
    assert_eq!(signals.load(Ordering::SeqCst), 1);
    push(&subscriber, "a");
    let mut fence = Staged::default();
    fence.push_fence(1);
    subscriber.change().push_all(&mut fence);
    let mut lost = Lost::default();
    subscriber.drain(10, |entry, _| lost.note(&entry));
    push(&subscriber, "b");
    subscriber.lose(lost);
    assert_eq!(drained(&subscriber), "-1 | #1 b");
    // Of nothing, nothing is lost.
    subscriber.lose(Lost::default());
    assert_eq!(drained(&subscriber), "");
}

/// Buffers of a pool with room for so many notifications of 36 bytes, which count 100.
fn pooled<const COUNT: usize>(
    room: usize,
    policies: [Overflow; COUNT],
) -> (Arc<Budget>, [Arc<Subscriber>; COUNT]) {
    let budget = Arc::new(Budget::new(100 * room));
    let buffers = policies.map(|overflow| subscriber(1000, overflow).0.within(&budget));
    (budget, buffers)
}

fn push_many(subscriber: &Subscriber, count: usize) -> Pressure {
    let payload = "x".repeat(36);
    (0..count)
        .map(|_| {
            let mut staged = Staged::default();
            staged.push(notification(&payload), payload.as_bytes());
            subscriber.change_for(&staged).push_all(&mut staged)
        })
        .max()
        .unwrap_or_default()
}

fn buffered(subscriber: &Subscriber) -> usize {
    subscriber.stats().buffered
}

#[test]
fn the_largest_buffer_of_a_pool_gives_way_and_counts_what_it_drops() {
    let (budget, [large, small]) = pooled(64, [Overflow::DropOldest; 2]);
    push_many(&large, 64);
    assert_eq!((buffered(&large), budget.used()), (64, 6400));
    push_many(&small, 20);
    assert_eq!((buffered(&small), dropped(&small)), (20, 0));
    assert_eq!(buffered(&large) as u64 + dropped(&large), 64);
    assert!(
        dropped(&large) >= 20 && dropped(&large) <= 22,
        "{}",
        dropped(&large)
    );
    // Beyond its equal part it is the largest itself.
    push_many(&small, 100);
    assert!(budget.used() <= 6400);
    assert!(buffered(&small) >= 31 && buffered(&large) >= 31);
    let mut gap = None;
    large.drain(1, |entry, _| gap = Some(entry));
    assert!(matches!(gap, Some(Entry::Gap(gap)) if gap.message.contains("together")));
    drained(&large);
    drained(&small);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_buffer_that_does_not_drop_its_oldest_has_room_that_larger_ones_make() {
    for policy in [Overflow::DropNewest, Overflow::Pause, Overflow::Error] {
        let (budget, [large, other]) = pooled(64, [Overflow::DropOldest, policy]);
        push_many(&large, 64);
        assert_eq!(push_many(&other, 30), Pressure::None);
        assert_eq!((buffered(&other), dropped(&other)), (30, 0));
        assert!(budget.used() <= 6400);
        let felt = push_many(&other, 10);
        match policy {
            Overflow::DropNewest => assert_eq!((felt, buffered(&other)), (Pressure::None, 32)),
            Overflow::Pause => assert_eq!((felt, buffered(&other)), (Pressure::Pause, 40)),
            Overflow::Error => assert_eq!((felt, buffered(&other)), (Pressure::Error, 32)),
            Overflow::DropOldest => {}
        }
        assert!(buffered(&large) >= 31, "its equal part");
    }
}

#[test]
fn a_pool_that_others_fill_leaves_each_buffer_its_equal_part() {
    let (budget, [full, small]) = pooled(64, [Overflow::Pause, Overflow::DropOldest]);
    assert_eq!(push_many(&full, 64), Pressure::None);
    assert_eq!(push_many(&full, 1), Pressure::Pause);
    push_many(&small, 20);
    assert_eq!((buffered(&small), dropped(&small)), (20, 0));
    push_many(&small, 100);
    assert!(
        (30..=33).contains(&buffered(&small)),
        "{}",
        buffered(&small)
    );
    // A pause lasts until there is plenty of room, also where others make it.
    assert_eq!(full.pressure(), Pressure::Pause);
    full.drain(45, |_, _| ());
    assert_eq!(full.pressure(), Pressure::Pause);
    drained(&small);
    assert_eq!(full.pressure(), Pressure::None);
    drop(full);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_large_buffer_that_does_not_give_way_lets_no_other_grow_beyond_its_equal_part() {
    use Overflow::{DropNewest, DropOldest};
    let policies = [DropNewest, DropOldest, DropOldest, DropOldest];
    let (_, [large, first, others @ ..]) = pooled(64, policies);
    push_many(&large, 40);
    for buffer in others.iter().chain([&first]) {
        push_many(buffer, 16);
    }
    for _ in 0..100 {
        push_many(&large, 1);
        push_many(&first, 1);
    }
    assert_eq!(buffered(&large), 40);
    assert!(buffered(&first) <= 18, "{}", buffered(&first));
    assert!(others.iter().all(|it| buffered(it) == 16));
}

#[test]
fn a_buffer_that_found_none_larger_looks_again_after_a_while() {
    use Overflow::{DropNewest, DropOldest};
    let mut policies = [DropOldest; 32];
    policies[0] = DropNewest;
    let (budget, [large, other, _idle @ ..]) = pooled(64, policies);
    push_many(&large, 40);
    push_many(&other, 24);
    push_many(&large, 1);
    assert_eq!((buffered(&large), dropped(&large)), (40, 1));
    large.drain(10, |_, _| ());
    push_many(&other, 10);
    assert_eq!((budget.used(), dropped(&other)), (6400, 0));
    push_many(&large, 2);
    assert_eq!((buffered(&large), dropped(&large)), (30, 3));
    push_many(&large, 2);
    assert_eq!((buffered(&large), dropped(&large)), (32, 3));
    assert!(dropped(&other) > 0);
}

#[tokio::test]
async fn a_paused_session_hears_of_room_that_another_buffer_makes() {
    use Overflow::{DropNewest, Pause};
    let idle = DropNewest;
    let (_, [full, paused, _others @ ..]) = pooled(64, [DropNewest, Pause, idle, idle, idle, idle]);
    push_many(&full, 54);
    assert_eq!(push_many(&paused, 11), Pressure::Pause);
    let seat = Arc::new(Seat::new(None, Box::new(|| {})));
    seat.add_subscriber(Arc::clone(&paused), None);
    let waiting = {
        let seat = Arc::clone(&seat);
        tokio::spawn(async move { seat.wait_for_room().await })
    };
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drained(&full);
    let waited = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert!(waited.is_ok(), "its own consumer has taken nothing");
}

#[test]
fn merged_notifications_take_no_room_of_the_pool() {
    let (budget, [large, merging]) = pooled(64, [Overflow::DropOldest; 2]);
    merging.select(Some(Coalesce::Payload), |_, _| true);
    push_many(&merging, 1);
    push_many(&large, 63);
    push_many(&merging, 100);
    assert_eq!((buffered(&large), dropped(&large)), (63, 0));
    assert_eq!((buffered(&merging), budget.used()), (1, 6400));
    merging.close();
    large.close();
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_consumer_that_does_not_read_keeps_1024_gaps_and_what_is_between_them() {
    let (subscriber, _) = subscriber(10_000, Overflow::DropOldest);
    push(&subscriber, "before");
    for _ in 0..1500 {
        subscriber.change().insert_gap(disconnect());
        push(&subscriber, "after");
    }
    let mut gaps = Vec::new();
    let mut payloads = Vec::new();
    subscriber.drain(usize::MAX, |entry, payload| match entry {
        Entry::Gap(gap) => gaps.push((payloads.len(), gap.merged)),
        _ => payloads.push(payload.to_vec()),
    });
    assert_eq!(payloads.len(), 1501, "no notification is lost for it");
    assert_eq!(gaps.len(), 1024);
    // The oldest stands where the first gap stood, and for all those that are not there; the others are as they were.
    assert_eq!(gaps[0], (1, 1500 - 1023));
    let others: Vec<(usize, u32)> = (1500 - 1022..=1500).map(|before| (before, 1)).collect();
    assert_eq!(gaps[1..], others);
}

#[test]
fn fences_that_nobody_passes_are_one_for_each_place() {
    let (subscriber, _) = subscriber(10, Overflow::DropOldest);
    let subscriber = Arc::new(subscriber);
    let seat = Seat::new(None, Box::new(|| {}));
    seat.add_subscriber(Arc::clone(&subscriber), None);
    let fences = |numbers: std::ops::RangeInclusive<u32>| {
        for number in numbers {
            let fence = [Arrived::Fence(number)].into_iter();
            let unrouted = |_: &str, _: &str| Unrouted::Expected;
            seat.take_batch(Moment::now(), fence, unrouted, &mut Vec::new());
        }
    };
    fences(1..=100_000);
    push(&subscriber, "a");
    fences(100_001..=100_003);
    // The number of the latest stands for all, in whichever order they come.
    fences(7..=7);
    let drained = drained(&subscriber);
    assert!(drained == "#100000 a #100003", "{} bytes", drained.len());
}

#[test]
fn fences_among_what_is_dropped_are_bounded_as_the_gaps_are() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let (subscriber, _) = subscriber(4, overflow);
        for number in 1..=20_000 {
            let mut staged = Staged::default();
            staged.push(notification("a"), b"a");
            staged.push_fence(number);
            subscriber.change().push_all(&mut staged);
        }
        let (mut fences, mut entries) = (Vec::new(), 0);
        subscriber.drain(usize::MAX, |entry, _| {
            entries += 1;
            if let Entry::Fence(number) = entry {
                fences.push(number);
            }
        });
        assert!(entries <= 2 * (4 + 1024) + 1, "{entries}");
        assert!(fences.is_sorted() && fences.last() == Some(&20_000));
    }
}

#[test]
fn an_overflow_that_was_read_when_the_clock_was_set_back_ends_no_sooner_than_it_begins() {
    let ago = |seconds| clock::now() - Duration::from_secs(seconds);
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let (subscriber, _) = subscriber(1, overflow);
        let mut staged = Staged::default();
        // The last answer came before the clock was set back, and so did the first notification.
        for received in [ago(10), ago(10), ago(60), ago(50)] {
            let notification = Notification {
                received: received.into(),
                confirmed: ago(20).into(),
                ..notification("a")
            };
            staged.push(notification, b"a");
        }
        subscriber.change().push_all(&mut staged);
        let mut gap = None;
        subscriber.drain(usize::MAX, |entry, _| {
            if let Entry::Gap(it) = entry {
                gap = Some(it);
            }
        });
        let gap = gap.expect("an overflow");
        // What was dropped may have been committed at any of those times.
        assert!(gap.lost_at <= ago(60) && gap.lost_at <= gap.resumed_at);
    }
    let lost = Lost {
        first: Some(Notification {
            confirmed: (clock::now() + Duration::from_secs(60)).into(),
            ..notification("a")
        }),
        count: 1,
        breaks: Vec::new(),
    };
    let (subscriber, _) = subscriber(1, Overflow::DropOldest);
    subscriber.lose(lost);
    subscriber.drain(1, |entry, _| match entry {
        Entry::Gap(gap) => assert!(gap.lost_at <= gap.resumed_at),
        other => panic!("{other:?}"),
    });
}

#[test]
fn a_pool_that_is_beyond_its_bound_by_less_than_before_lets_nobody_grow_by_the_difference() {
    let (budget, [pausing, dropping]) = pooled(64, [Overflow::Pause, Overflow::DropOldest]);
    push_many(&pausing, 60);
    push_many(&dropping, 32);
    assert_eq!(
        budget.used(),
        9200,
        "nobody has more than its part, or gives way"
    );
    pausing.drain(20, |_, _| ());
    for _ in 0..40 {
        push_many(&dropping, 1);
        assert!(budget.used() <= 7400, "{}", budget.used());
    }
}

/// A seat that is subscribed to channel `a` under number 1, and its consumer.
fn seated() -> (Seat, Arc<Subscriber>) {
    let subscriber = Arc::new(subscriber(1000, Overflow::DropOldest).0);
    let seat = Seat::new(None, Box::new(|| {}));
    seat.add_channel("a", 1);
    seat.add_subscriber(Arc::clone(&subscriber), None);
    (seat, subscriber)
}

fn hear(seat: &Seat, payload: &str) {
    let notification = ReceivedNotification {
        process_id: 1,
        channel: "a",
        payload,
    };
    let arrived = [Arrived::Notification(notification)].into_iter();
    let unrouted = |_: &str, _: &str| Unrouted::Unexpected;
    seat.take_batch(Moment::now(), arrived, unrouted, &mut Vec::new());
}

#[test]
fn a_filter_applies_to_what_is_buffered_under_an_earlier_number_of_the_channel() {
    let selection = |prefix: &str, channel: &str| Selection {
        filter: Some(Filter::new(
            Some(vec![channel.to_owned()]),
            Some(prefix.to_owned()),
            None,
        )),
        ..Selection::default()
    };
    let (seat, subscriber) = seated();
    hear(&seat, "no");
    hear(&seat, "yes 1");
    seat.renumber_channel("a", 2);
    hear(&seat, "yes 2");
    seat.renumber_channel("a", 3);
    hear(&seat, "yes 3");
    seat.set_selection(&subscriber, selection("yes", "a"));
    assert_eq!(buffered(&subscriber), 3);
    seat.set_selection(&subscriber, selection("yes", "b"));
    assert_eq!(drained(&subscriber), "");
}

#[test]
fn of_the_numbers_of_a_channel_those_are_kept_under_which_something_is_buffered() {
    let (seat, subscriber) = seated();
    let (mut kept, mut since) = (Vec::new(), 0);
    for number in 2..=100_000 {
        if number % 30_000 == 0 {
            hear(&seat, "before");
        }
        since += 1;
        if let Some(used) = seat.renumber_channel("a", number) {
            (kept, since) = (used, 0);
        }
        assert!(since <= 70, "{number}");
    }
    kept.sort_unstable();
    assert_eq!(kept, [29_999, 59_999, 89_999]);
    drained(&subscriber);
    for number in 100_001..=100_070 {
        kept = seat.renumber_channel("a", number).unwrap_or(kept);
    }
    assert_eq!(kept, [0; 0]);
}

#[test]
fn a_notification_that_waits_is_handed_over_only_when_nothing_stands_before_it() {
    let (subscriber, _) = subscriber(10, Overflow::DropOldest);
    subscriber.select(Some(Coalesce::Payload), |_, _| true);
    drained(&subscriber);
    push(&subscriber, "a");
    assert_eq!(handed(&subscriber).as_deref(), Some("a"));
    let mut fence = Staged::default();
    fence.push_fence(1);
    subscriber.change().push_all(&mut fence);
    push(&subscriber, "a");
    assert_eq!(handed(&subscriber), None);
    assert_eq!(drained(&subscriber), "#1 a");
}
