//! Properties of a buffer that coalesces: whatever happens to it, it holds what a plain list would hold that is searched from end
//! to end for each notification.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::overflow::MAX_BEYOND_BYTES;
use super::*;
use crate::deliver::gap::GapReason;

/// An entry of the plain list.
#[derive(Debug, Clone, PartialEq)]
enum Plain {
    /// The number of the channel, the payload and the process id.
    Notification(u32, Vec<u8>, i32),
    Overflow(u64),
    Disconnect,
    Fence(u32),
}

/// One thing that is done to a buffer.
#[derive(Debug, Clone)]
enum Step {
    /// A batch: for each notification the channel, the letter of its payload and its length, and for some a fence behind it.
    Push(Vec<(u32, u8, usize, bool)>),
    Disconnect,
    /// Takes at most so many entries.
    Drain(usize),
    HandOver,
    /// Changes the selection.
    Select(Option<Coalesce>, Option<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![10 => 1_usize..4, 1 => Just(5_000), 1 => Just(7_999)];
    let notification = (0_u32..3, b'a'..b'd', length, prop::bool::weighted(0.1));
    let coalesce = prop_oneof![
        Just(None),
        Just(Some(Coalesce::Payload)),
        Just(Some(Coalesce::Channel)),
    ];
    prop_oneof![
        12 => prop::collection::vec(notification, 0..30).prop_map(Step::Push),
        1 => Just(Step::Disconnect),
        4 => (1_usize..12).prop_map(Step::Drain),
        1 => Just(Step::Drain(usize::MAX)),
        4 => Just(Step::HandOver),
        1 => (coalesce, prop::option::of(b'a'..b'd')).prop_map(|(by, no)| Step::Select(by, no)),
    ]
}

/// The plain list, and the counts that a buffer keeps.
#[derive(Debug)]
struct Model {
    bounds: Bounds,
    coalesce: Option<Coalesce>,
    list: Vec<Plain>,
    dropped: u64,
    coalesced: u64,
    /// The bytes that were taken beyond the bounds, since a batch found room for all of it at a consumer that does not coalesce.
    beyond_bytes: usize,
    has_failed: bool,
}

impl Model {
    fn sizes(&self) -> (usize, usize) {
        let lengths = self.list.iter().filter_map(|entry| match entry {
            Plain::Notification(_, payload, _) => Some(payload.len() + ENTRY_OVERHEAD_BYTES),
            _ => None,
        });
        (lengths.clone().count(), lengths.sum())
    }

    /// How many entries a drain of at most `max` takes.
    fn drained(&self, max: usize) -> usize {
        let mut bytes = 0;
        let within = self.list.iter().take(max).take_while(|entry| {
            let is_within = bytes < MAX_DRAINED_BYTES;
            if let Plain::Notification(_, payload, _) = entry {
                bytes += payload.len();
            }
            is_within
        });
        within.count()
    }

    /// The place of the notification into which one is merged.
    fn equal(&self, channel: u32, payload: &[u8]) -> Option<usize> {
        let by = self.coalesce?;
        let is_break = |entry: &Plain| !matches!(entry, Plain::Notification(..));
        let from = self.list.iter().rposition(is_break).map_or(0, |at| at + 1);
        let is_equal = |entry: &Plain| match entry {
            Plain::Notification(other, waiting, _) => {
                *other == channel && (by == Coalesce::Channel || waiting == payload)
            }
            _ => false,
        };
        Some(from + self.list[from..].iter().position(is_equal)?)
    }

    fn add(&mut self, equal: Option<usize>, channel: u32, payload: &[u8], process_id: i32) {
        let entry = Plain::Notification(channel, payload.to_vec(), process_id);
        match equal {
            Some(place) => {
                if self.coalesce == Some(Coalesce::Channel) {
                    self.list[place] = entry;
                }
                self.coalesced += 1;
            }
            None => self.list.push(entry),
        }
    }

    fn push(&mut self, channel: u32, payload: &[u8], process_id: i32) {
        loop {
            let (messages, bytes) = self.sizes();
            let equal = self.equal(channel, payload);
            let before = equal.map_or(0, |at| match &self.list[at] {
                Plain::Notification(_, payload, _) => payload.len() + ENTRY_OVERHEAD_BYTES,
                _ => unreachable!("only notifications are equal"),
            });
            let after = bytes - before + payload.len() + ENTRY_OVERHEAD_BYTES;
            let fits = (equal.is_some() || messages < self.bounds.max_messages)
                && after <= self.bounds.max_bytes;
            if messages == 0 || fits {
                return self.add(equal, channel, payload, process_id);
            }
            match self.bounds.overflow {
                Overflow::Pause => {
                    let is_behind_break = self.list.last() == Some(&Plain::Disconnect);
                    if is_behind_break && self.beyond_bytes >= MAX_BEYOND_BYTES {
                        self.dropped += 1;
                        return;
                    }
                    self.beyond_bytes += payload.len() + ENTRY_OVERHEAD_BYTES;
                    return self.add(equal, channel, payload, process_id);
                }
                Overflow::DropOldest => {
                    self.drop_oldest();
                    self.dropped += 1;
                }
                Overflow::DropNewest => {
                    match self.list.last_mut() {
                        Some(Plain::Overflow(count)) => *count += 1,
                        _ => self.list.push(Plain::Overflow(1)),
                    }
                    self.dropped += 1;
                    return;
                }
                Overflow::Error => {
                    self.has_failed = true;
                    return;
                }
            }
        }
    }

    /// A fence directly behind another one stands for both.
    fn push_fence(&mut self) {
        if self.list.last() != Some(&Plain::Fence(7)) {
            self.list.push(Plain::Fence(7));
        }
    }

    fn drop_oldest(&mut self) {
        let is_notification = |entry: &Plain| matches!(entry, Plain::Notification(..));
        let oldest = self.list.iter().position(is_notification).expect("one");
        if let Some(Plain::Overflow(count)) = oldest.checked_sub(1).map(|at| &mut self.list[at]) {
            *count += 1;
            self.list.remove(oldest);
        } else {
            self.list[oldest] = Plain::Overflow(1);
        }
    }
}

fn plain(entry: &Entry, payload: &[u8]) -> Plain {
    match entry {
        Entry::Notification(it) => Plain::Notification(it.channel, payload.to_vec(), it.process_id),
        Entry::Fence(id) => Plain::Fence(*id),
        Entry::Gap(gap) if gap.is_overflow() => Plain::Overflow(gap.dropped.unwrap_or_default()),
        Entry::Gap(_) => Plain::Disconnect,
    }
}

fn overflow() -> impl Strategy<Value = Overflow> {
    prop_oneof![
        4 => Just(Overflow::DropOldest),
        2 => Just(Overflow::DropNewest),
        1 => Just(Overflow::Pause),
        1 => Just(Overflow::Error),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_buffer_that_coalesces_holds_what_a_plain_list_would_hold(
        steps in prop::collection::vec(step(), 0..50),
        by in prop_oneof![Just(Coalesce::Payload), Just(Coalesce::Channel)],
        overflow in overflow(),
        max_messages in prop_oneof![1_usize..30, Just(100_000)],
    ) {
        let bounds = Bounds { max_messages, max_bytes: 16_384, overflow };
        let subscriber = Subscriber::new(bounds, Box::new(|| {}), Arc::default());
        subscriber.select(Some(by), |_, _| true);
        let mut model = Model {
            bounds,
            coalesce: Some(by),
            list: Vec::new(),
            dropped: 0,
            coalesced: 0,
            beyond_bytes: 0,
            has_failed: false,
        };
        let mut numbers = 0..;
        for step in steps {
            match step {
                Step::Push(batch) => {
                    let mut staged = Staged::default();
                    let added: usize = batch.iter().map(|it| it.2 + ENTRY_OVERHEAD_BYTES).sum();
                    let (messages, bytes) = model.sizes();
                    let has_room = messages + batch.len() <= max_messages
                        && bytes + added <= bounds.max_bytes;
                    if has_room && model.coalesce.is_none() {
                        model.beyond_bytes = 0;
                    }
                    for (channel, letter, length, is_fenced) in batch {
                        let process_id = numbers.next().unwrap();
                        let payload = vec![letter; length];
                        let notification = Notification {
                            channel,
                            process_id,
                            length: u32::try_from(length).unwrap(),
                            is_ascii: true,
                            received: Moment::now(),
                            confirmed: Moment::now(),
                        };
                        staged.push(notification, &payload);
                        if !model.has_failed {
                            model.push(channel, &payload, process_id);
                        }
                        if is_fenced {
                            staged.push_fence(7);
                            if !model.has_failed {
                                model.push_fence();
                            }
                        }
                    }
                    let pressure = subscriber.change().push_all(&mut staged);
                    prop_assert!(staged.is_empty());
                    prop_assert_eq!(pressure == Pressure::Error, model.has_failed);
                }
                Step::Disconnect => {
                    let gap = Gap {
                        reason: GapReason::Disconnect,
                        dropped: None,
                        ..Gap::overflow(clock::now(), clock::now())
                    };
                    subscriber.change().insert_gap(gap);
                    model.list.push(Plain::Disconnect);
                }
                Step::Drain(max) => {
                    let mut taken = Vec::new();
                    let drained = subscriber.drain(max, |entry, payload| taken.push(plain(&entry, payload)));
                    prop_assert_eq!(drained.shown, model.drained(max));
                    let expected: Vec<Plain> = model.list.drain(..drained.shown).collect();
                    prop_assert_eq!(taken, expected);
                    prop_assert_eq!(drained.is_empty, model.list.is_empty());
                }
                Step::HandOver => {
                    let handed = subscriber.hand_over(|it, payload| plain(&Entry::Notification(*it), payload));
                    if let Some(handed) = handed {
                        prop_assert_eq!(model.list.len(), 1);
                        prop_assert_eq!(Some(handed), model.list.pop());
                    }
                }
                Step::Select(coalesce, refused) => {
                    subscriber.select(coalesce, |_, payload| payload.first() != refused.as_ref());
                    model.coalesce = coalesce;
                    for entry in std::mem::take(&mut model.list) {
                        match entry {
                            Plain::Notification(_, ref payload, _) if payload.first() == refused.as_ref() => {}
                            Plain::Notification(channel, payload, process_id) => {
                                let equal = model.equal(channel, &payload);
                                model.add(equal, channel, &payload, process_id);
                            }
                            Plain::Fence(_) => model.push_fence(),
                            other => model.list.push(other),
                        }
                    }
                }
            }
            let stats = subscriber.stats();
            prop_assert_eq!((stats.buffered, stats.buffered_bytes), model.sizes());
            prop_assert_eq!(stats.oldest_age.is_some(), stats.buffered > 0);
            let counters = &subscriber.counters;
            prop_assert_eq!(counters.dropped.load(Ordering::Relaxed), model.dropped);
            prop_assert_eq!(counters.coalesced.load(Ordering::Relaxed), model.coalesced);
        }
    }
}
