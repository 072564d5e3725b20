//! Copies a queue within bounds: what there is no room for is dropped before it is copied.

use super::{Block, Entry, Notification, Queue, overflow_gap};
use crate::deliver::buffer::ENTRY_OVERHEAD_BYTES;
use crate::deliver::gap::Full;

/// Which notifications are dropped when there is no room for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver::buffer) enum Dropped {
    Oldest,
    Newest,
}

/// A copy that is being made.
struct Copy<'a> {
    to: &'a mut Queue,
    /// The bytes that the notifications may have there. One is taken in any case.
    room: usize,
    drops: Dropped,
    /// The bytes of the notifications that were not looked at.
    rest: usize,
    dropped: u64,
}

impl Copy<'_> {
    fn add(&mut self, notification: &Notification, payload: &[u8]) {
        let bytes = notification.bytes();
        let is_dropped = match self.drops {
            Dropped::Oldest => self.rest > self.room && self.rest > bytes,
            Dropped::Newest => self.to.messages > 0 && self.to.bytes + bytes > self.room,
        };
        self.rest -= bytes;
        if is_dropped {
            self.to.drop_newest(notification, Full::Pool);
            self.dropped += 1;
        } else {
            self.to.push(Entry::Notification(*notification), payload);
        }
    }

    /// Drops all of a block, if that needs no look at each entry. Nearly all of millions of notifications may have no room.
    fn drops_whole(&mut self, block: &Block) -> bool {
        let behind = self.rest - block.bytes;
        let drops_all = match self.drops {
            Dropped::Oldest => behind >= self.room && behind > 0,
            Dropped::Newest => {
                self.to.messages > 0 && self.to.bytes + ENTRY_OVERHEAD_BYTES > self.room
            }
        };
        let is_plain = block.messages == block.entries.len();
        let (Some(Entry::Notification(first)), Some(Entry::Notification(last))) =
            (block.entries.front(), block.entries.back())
        else {
            return false;
        };
        if !drops_all || !is_plain {
            return false;
        }
        let mut count = block.messages as u64;
        self.dropped += count;
        self.rest = behind;
        if self.to.last_overflow().is_none() {
            self.to.push(overflow_gap(first, Full::Pool), &[]);
            count -= 1;
        }
        if let Some(gap) = self.to.last_overflow() {
            gap.drop_more(count, last.received.into());
        }
        true
    }
}

impl Queue {
    /// Adds a copy of another queue to this one, which is empty, without its fences. Says how many notifications were dropped, since they
    /// may have no more than `room` bytes. Neither queue coalesces.
    pub(in crate::deliver::buffer) fn copy(
        &mut self,
        from: &Self,
        room: usize,
        drops: Dropped,
    ) -> u64 {
        let mut copy = Copy {
            to: self,
            room,
            drops,
            rest: from.bytes,
            dropped: 0,
        };
        for block in &from.blocks {
            if copy.drops_whole(block) {
                continue;
            }
            let mut at = block.taken;
            for entry in &block.entries {
                match entry {
                    Entry::Notification(it) => {
                        copy.add(it, &block.text[at..at + it.length()]);
                        at += it.length();
                    }
                    Entry::Gap(gap) => copy.to.push(Entry::Gap(gap.clone()), &[]),
                    // Fences are for one consumer.
                    Entry::Fence(_) => {}
                }
            }
        }
        copy.dropped
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::base::Moment;
    use crate::deliver::gap::{Gap, GapReason};

    /// What stands in a queue.
    fn words(mut queue: Queue) -> Vec<String> {
        let mut words = Vec::new();
        queue.take_all(|entry, payload| {
            words.push(match entry {
                Entry::Notification(it) => format!("{} {}", it.process_id, payload.len()),
                other => format!("{other:?}"),
            });
        });
        words
    }

    /// A queue of several blocks, with a break now and then.
    fn queue(seed: usize) -> Queue {
        let mut queue = Queue::default();
        let at = |second: usize| SystemTime::UNIX_EPOCH + Duration::from_secs(second as u64);
        for number in 0..200 {
            let by_chance = (number + 1) * (seed * 7919 + 104_729) % 1009;
            if by_chance % 97 < seed % 5 {
                let gap = Gap {
                    reason: if by_chance.is_multiple_of(2) {
                        GapReason::Overflow
                    } else {
                        GapReason::Disconnect
                    },
                    ..Gap::overflow(at(number), at(number))
                };
                queue.push(Entry::Gap(Box::new(gap)), &[]);
                continue;
            }
            let payload = vec![b'x'; 1 + by_chance * 7];
            let notification = Notification {
                channel: 1,
                process_id: i32::try_from(number).unwrap_or(0),
                length: u32::try_from(payload.len()).unwrap_or(0),
                is_ascii: true,
                received: Moment::now(),
                confirmed: Moment::now(),
            };
            queue.push(Entry::Notification(notification), &payload);
        }
        queue
    }

    #[test]
    fn a_copy_is_what_is_left_when_all_is_copied_and_dropped_then() {
        for seed in 0..20 {
            let from = queue(seed);
            assert!(from.blocks.len() > 5);
            for part in 0..=10 {
                let room = from.bytes * part / 10;
                let mut copy = Queue::default();
                let dropped = copy.copy(&from, room, Dropped::Oldest);
                let mut whole = Queue::default();
                assert_eq!(whole.copy(&from, from.bytes, Dropped::Oldest), 0);
                while whole.bytes > room && whole.messages > 1 {
                    assert!(whole.drop_oldest(Full::Pool));
                }
                assert_eq!(dropped, (from.messages - copy.messages) as u64);
                assert_eq!((copy.bytes, copy.gaps), (whole.bytes, whole.gaps));
                assert_eq!(words(copy), words(whole), "seed {seed}, room {room}");
            }
        }
    }

    #[test]
    fn a_copy_that_drops_the_newest_has_the_first_and_all_gaps() {
        for seed in 0..20 {
            let from = queue(seed);
            for part in 0..=10 {
                let room = from.bytes * part / 10;
                let mut copy = Queue::default();
                let dropped = copy.copy(&from, room, Dropped::Newest);
                let mut one_by_one = Queue::default();
                for block in &from.blocks {
                    for entry in &block.entries {
                        match entry {
                            Entry::Notification(it)
                                if one_by_one.messages > 0
                                    && one_by_one.bytes + it.bytes() > room =>
                            {
                                one_by_one.drop_newest(it, Full::Pool);
                            }
                            Entry::Notification(it) => {
                                let payload = vec![b'x'; it.length()];
                                one_by_one.push(Entry::Notification(*it), &payload);
                            }
                            other => one_by_one.push(other.clone(), &[]),
                        }
                    }
                }
                assert_eq!(dropped, (from.messages - copy.messages) as u64);
                assert_eq!((copy.bytes, copy.gaps), (one_by_one.bytes, one_by_one.gaps));
                assert_eq!(words(copy), words(one_by_one), "seed {seed}, room {room}");
            }
        }
    }
}
