//! Properties of [`Queue`]: whatever is done to it, it holds what a plain list of entries would hold.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::queue::{MAX_GAPS, Queue};
use super::{Entry, Notification};
use crate::base::Moment;
use crate::deliver::gap::{Full, Gap, GapReason};

/// An entry of the plain list.
#[derive(Debug, Clone, PartialEq)]
enum Plain {
    Payload(Vec<u8>),
    /// The gap of an overflow, with its count, and how many gaps it stands for.
    Overflow(u64, u32),
    /// The gap of a lost session, and how many gaps it stands for.
    Disconnect(u32),
    Fence(u32),
}

/// One thing that is done to a queue.
#[derive(Debug, Clone)]
enum Step {
    Push(Plain),
    DropOldest,
    DropNewest,
    /// Takes the first block, up to so many of its entries, and gives the rest back.
    Take(usize),
    /// Moves another queue with these entries to the end.
    Append(Vec<Plain>),
    /// Pushes so many gaps of lost sessions, each followed by a notification if so.
    Outages(usize, bool),
}

fn entry() -> impl Strategy<Value = Plain> {
    prop_oneof![
        24 => (0_usize..40, any::<u8>()).prop_map(|(n, byte)| Plain::Payload(vec![byte; n])),
        1 => Just(Plain::Payload(vec![b'x'; 40_000])),
        3 => Just(Plain::Disconnect(1)),
        3 => (0_u32..1000).prop_map(Plain::Fence),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => entry().prop_map(Step::Push),
        2 => Just(Step::DropOldest),
        2 => Just(Step::DropNewest),
        2 => (0_usize..200).prop_map(Step::Take),
        2 => prop::collection::vec(entry(), 0..150).prop_map(Step::Append),
        1 => (0_usize..600, any::<bool>()).prop_map(|(count, is_read)| Step::Outages(count, is_read)),
    ]
}

fn notification(payload: &[u8]) -> Notification {
    Notification {
        channel: 1,
        process_id: 1,
        length: u32::try_from(payload.len()).expect("a short payload"),
        is_ascii: payload.is_ascii(),
        received: Moment::default(),
        confirmed: Moment::default(),
    }
}

fn push(queue: &mut Queue, entry: &Plain) {
    match entry {
        Plain::Payload(payload) => {
            queue.push(Entry::Notification(notification(payload)), payload);
        }
        Plain::Disconnect(_) => {
            let gap = Gap {
                reason: GapReason::Disconnect,
                dropped: None,
                ..Gap::overflow(std::time::SystemTime::now(), std::time::SystemTime::now())
            };
            queue.push(Entry::Gap(Box::new(gap)), &[]);
        }
        Plain::Fence(id) => queue.push(Entry::Fence(*id), &[]),
        Plain::Overflow(..) => unreachable!("overflows are made by the queue"),
    }
}

fn plain(entry: &Entry, payload: &[u8]) -> Plain {
    match entry {
        Entry::Notification(_) => Plain::Payload(payload.to_vec()),
        Entry::Fence(id) => Plain::Fence(*id),
        Entry::Gap(gap) if gap.is_overflow() => {
            Plain::Overflow(gap.dropped.unwrap_or_default(), gap.merged)
        }
        Entry::Gap(gap) => {
            assert_eq!(gap.dropped, None, "nobody can know");
            Plain::Disconnect(gap.merged)
        }
    }
}

/// Drops the first payload of the list: counts it in the overflow before it, or leaves one in its place.
fn drop_oldest(list: &mut VecDeque<Plain>) -> bool {
    let is_payload = |entry: &Plain| matches!(entry, Plain::Payload(_));
    let Some(place) = list.iter().position(is_payload) else {
        return false;
    };
    match place.checked_sub(1).and_then(|before| list.get_mut(before)) {
        Some(Plain::Overflow(count, _)) => {
            *count += 1;
            list.remove(place);
        }
        _ => list[place] = Plain::Overflow(1, 1),
    }
    true
}

/// Adds up the first two gaps of the list, at the place of the first, while there are too many.
fn bound_gaps(list: &mut VecDeque<Plain>) {
    let is_gap = |entry: &Plain| matches!(entry, Plain::Overflow(..) | Plain::Disconnect(_));
    while list.iter().filter(|entry| is_gap(entry)).count() > MAX_GAPS {
        let mut places = (0..list.len()).filter(|place| is_gap(&list[*place]));
        let (first, second) = (places.next().unwrap(), places.next().unwrap());
        drop(places);
        let later = list.remove(second).unwrap();
        list[first] = match (&list[first], later) {
            (Plain::Overflow(a, merged), Plain::Overflow(b, more)) => {
                Plain::Overflow(a + b, merged + more)
            }
            (
                Plain::Overflow(_, merged) | Plain::Disconnect(merged),
                Plain::Overflow(_, more) | Plain::Disconnect(more),
            ) => Plain::Disconnect(merged + more),
            _ => unreachable!("both are gaps"),
        };
    }
}

/// Makes one of fences that follow each other: the latest.
fn join_fences(list: &mut VecDeque<Plain>) {
    let mut place = 1;
    while place < list.len() {
        match (&list[place - 1], &list[place]) {
            (Plain::Fence(one), Plain::Fence(other)) => {
                list[place - 1] = Plain::Fence(*one.max(other));
                list.remove(place);
            }
            _ => place += 1,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_queue_holds_what_a_plain_list_would_hold(steps in prop::collection::vec(step(), 0..60)) {
        let mut queue = Queue::default();
        let mut list: VecDeque<Plain> = VecDeque::new();
        for step in steps {
            match step {
                Step::Push(entry) => {
                    push(&mut queue, &entry);
                    list.push_back(entry);
                }
                Step::DropOldest => prop_assert_eq!(queue.drop_oldest(Full::Consumer), drop_oldest(&mut list)),
                Step::DropNewest => {
                    queue.drop_newest(&notification(b"newest"), Full::Consumer);
                    match list.back_mut() {
                        Some(Plain::Overflow(count, _)) => *count += 1,
                        _ => list.push_back(Plain::Overflow(1, 1)),
                    }
                }
                Step::Take(most) => {
                    let Some(mut block) = queue.take_block(usize::MAX, usize::MAX) else {
                        prop_assert!(list.is_empty());
                        continue;
                    };
                    for _ in 0..most {
                        let taken = block.take(|entry, payload| plain(&entry, payload));
                        let Some(taken) = taken else { break };
                        prop_assert_eq!(Some(taken), list.pop_front());
                    }
                    queue.give_back(block);
                }
                Step::Append(entries) => {
                    let mut other = Queue::default();
                    for entry in &entries {
                        push(&mut other, entry);
                    }
                    queue.append(&mut other);
                    prop_assert!(other.is_empty() && other.messages == 0 && other.bytes == 0);
                    list.extend(entries);
                }
                Step::Outages(count, is_read) => {
                    for _ in 0..count {
                        let entries = [Plain::Disconnect(1), Plain::Payload(b"between".to_vec())];
                        for entry in &entries[..=usize::from(is_read)] {
                            push(&mut queue, entry);
                            list.push_back(entry.clone());
                        }
                    }
                }
            }
            bound_gaps(&mut list);
            join_fences(&mut list);
            let payloads = list.iter().filter_map(|entry| match entry {
                Plain::Payload(payload) => Some(payload.len()),
                _ => None,
            });
            prop_assert_eq!(queue.messages, payloads.clone().count());
            prop_assert_eq!(
                queue.bytes,
                payloads.map(|length| length + super::ENTRY_OVERHEAD_BYTES).sum::<usize>()
            );
            prop_assert_eq!(queue.is_empty(), list.is_empty());
        }
        let mut rest = Vec::new();
        queue.take_all(|entry, payload| rest.push(plain(&entry, payload)));
        prop_assert_eq!(rest, Vec::from(list));
    }
}
