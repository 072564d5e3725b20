//! A queue of entries in blocks: a whole block changes hands at once, and nothing is allocated for a single notification.
//!
//! ```text
//!          first block                          last block
//!         ┌──────────────────────────────┐     ┌──────────────────────────────┐
//! entries │ N  N  Gap  N  Fence  N       │ ──► │ N  N  N                      │ ◄── push
//!   text  │ ···taken···│payloads of the N│     │ payloads, one after the other│
//!         └──────────────────────────────┘     └──────────────────────────────┘
//!          ▲ take_block / give_back              spare blocks keep their memory for the next push
//! ```
//!
//! An overflow gap stands directly before the notifications that follow what was dropped, and counts on as long as nothing else
//! comes between.

use std::collections::VecDeque;
use std::mem;

use super::{Entry, Notification};
use crate::base::Moment;
use crate::deliver::gap::Gap;

/// The most entries in a block.
const MAX_ENTRIES: usize = 1024;
/// The most bytes of payloads in a block. The notifications of one read of the socket make about one block.
const MAX_TEXT: usize = 64 * 1024;
/// A block with fewer entries is copied to the end of the block before it: there may be thousands of small ones.
const SMALL_BLOCK: usize = 64;
/// How many empty blocks are kept for entries to come.
const MAX_SPARE: usize = 16;
/// How many empty blocks are kept while the consumer waits.
const MAX_SPARE_AT_REST: usize = 2;

/// Entries that change hands together.
#[derive(Debug, Default)]
pub(super) struct Block {
    entries: VecDeque<Entry>,
    /// The payloads of the notifications, one after the other. The first `taken` bytes belong to entries that were taken.
    text: Vec<u8>,
    taken: usize,
    /// How many notifications are among the entries.
    pub(super) messages: usize,
    /// The bytes that those notifications count for.
    pub(super) bytes: usize,
}

impl Block {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes the first entry and shows it with its payload.
    pub(super) fn take<T>(&mut self, show: impl FnOnce(Entry, &[u8]) -> T) -> Option<T> {
        let entry = self.entries.pop_front()?;
        let length = self.forget(&entry);
        let payload = &self.text[self.taken..self.taken + length];
        self.taken += length;
        Some(show(entry, payload))
    }

    /// The moment at which the first notification was read.
    pub(super) fn received(&self) -> Option<Moment> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Notification(notification) => Some(notification.received),
            _ => None,
        })
    }

    fn has_room(&self, entries: usize, text: usize) -> bool {
        self.entries.len() + entries <= MAX_ENTRIES && self.text.len() + text <= MAX_TEXT
    }

    fn push(&mut self, entry: Entry, payload: &[u8]) {
        if let Entry::Notification(notification) = &entry {
            self.messages += 1;
            self.bytes += notification.bytes();
        }
        self.entries.push_back(entry);
        self.text.extend_from_slice(payload);
    }

    fn append(&mut self, other: &mut Self) {
        self.entries.append(&mut other.entries);
        self.text.extend_from_slice(&other.text[other.taken..]);
        self.messages += other.messages;
        self.bytes += other.bytes;
        other.clear();
    }

    /// Gives back memory that the block does not need while it waits: it may be one of thousands.
    fn fit(&mut self) {
        if self.text.capacity() > 4 * self.text.len() {
            self.text.shrink_to_fit();
        }
        if self.entries.capacity() > 4 * self.entries.len() {
            self.entries.shrink_to_fit();
        }
    }

    /// Empties the block; its memory stays.
    fn clear(&mut self) {
        self.entries.clear();
        self.text.clear();
        (self.taken, self.messages, self.bytes) = (0, 0, 0);
    }

    /// Takes an entry out of the counts. Gives the length of its payload.
    fn forget(&mut self, entry: &Entry) -> usize {
        let Entry::Notification(notification) = entry else {
            return 0;
        };
        self.messages -= 1;
        self.bytes -= notification.bytes();
        notification.length()
    }

    /// The overflow gap at the end, in which further drops at the end are counted.
    fn last_overflow(&mut self) -> Option<&mut Gap> {
        match self.entries.back_mut() {
            Some(Entry::Gap(gap)) if gap.is_overflow() => Some(gap),
            _ => None,
        }
    }

    /// Takes the first entry, which is a notification.
    fn take_notification(&mut self) -> Option<Notification> {
        match self.take(|entry, _| entry) {
            Some(Entry::Notification(notification)) => Some(notification),
            _ => None,
        }
    }

    /// Drops the first notification: puts a gap in its place, or counts it in the gap that stands before it.
    fn drop_oldest(&mut self) -> Option<Notification> {
        // Only gaps and fences can stand before the oldest notification, and those are few.
        let index = self.entries.iter().position(is_notification)?;
        let Some(&Entry::Notification(oldest)) = self.entries.get(index) else {
            return None;
        };
        let before = index
            .checked_sub(1)
            .and_then(|before| self.entries.get_mut(before));
        if let Some(Entry::Gap(gap)) = before
            && gap.is_overflow()
        {
            gap.drop_another(oldest.received.into());
            drop(self.entries.remove(index));
        } else {
            self.entries[index] = overflow_gap(&oldest);
        }
        // No other payload stands before it.
        self.taken += self.forget(&Entry::Notification(oldest));
        Some(oldest)
    }
}

/// A queue of entries.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The blocks with entries; no block in here is empty.
    blocks: VecDeque<Block>,
    spare: Vec<Block>,
    /// How many notifications are in the queue.
    pub(super) messages: usize,
    /// The bytes that those notifications count for.
    pub(super) bytes: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Adds an entry, with the payload of a notification.
    pub(super) fn push(&mut self, entry: Entry, payload: &[u8]) {
        if let Entry::Notification(notification) = &entry {
            self.messages += 1;
            self.bytes += notification.bytes();
        }
        match self.blocks.back_mut() {
            Some(last) if last.has_room(1, payload.len()) => last.push(entry, payload),
            _ => {
                let mut block = self.spare.pop().unwrap_or_default();
                block.push(entry, payload);
                self.blocks.push_back(block);
            }
        }
    }

    /// Takes the first block.
    pub(super) fn take_block(&mut self) -> Option<Block> {
        let block = self.blocks.pop_front()?;
        self.messages -= block.messages;
        self.bytes -= block.bytes;
        Some(block)
    }

    /// Gives back what is left of the first block.
    pub(super) fn give_back(&mut self, block: Block) {
        if block.is_empty() {
            return self.recycle(block);
        }
        self.messages += block.messages;
        self.bytes += block.bytes;
        self.blocks.push_front(block);
    }

    /// Puts a gap before everything.
    pub(super) fn push_gap_front(&mut self, gap: Gap) {
        let mut block = self.spare.pop().unwrap_or_default();
        block.push(Entry::Gap(Box::new(gap)), &[]);
        self.blocks.push_front(block);
    }

    /// Moves everything from `other` to the end of this.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.messages += mem::take(&mut other.messages);
        self.bytes += mem::take(&mut other.bytes);
        while let Some(mut block) = other.blocks.pop_front() {
            match self.blocks.back_mut() {
                Some(last)
                    if block.entries.len() < SMALL_BLOCK
                        && last.has_room(block.entries.len(), block.text.len()) =>
                {
                    last.append(&mut block);
                    other.recycle(block);
                }
                _ => {
                    block.fit();
                    self.blocks.push_back(block);
                    if let Some(spare) = self.spare.pop() {
                        other.recycle(spare);
                    }
                }
            }
        }
    }

    /// Takes everything, one by one.
    pub(super) fn take_all(&mut self, mut show: impl FnMut(Entry, &[u8])) {
        while let Some(mut block) = self.take_block() {
            while block.take(&mut show).is_some() {}
            self.recycle(block);
        }
    }

    /// Gives back memory that only a flood needs. Called when everything has been taken.
    pub(super) fn rest(&mut self) {
        self.spare.truncate(MAX_SPARE_AT_REST);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The moment at which the first notification was read.
    pub(super) fn received(&self) -> Option<Moment> {
        self.blocks.iter().find_map(Block::received)
    }

    /// Drops the first notification and leaves a gap in its place. `false`: there is none.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let Some(place) = self.blocks.iter().position(|block| block.messages > 0) else {
            return false;
        };
        // The gap that it belongs to may be the last entry of the block before.
        let continues = place > 0
            && self.blocks[place - 1].last_overflow().is_some()
            && self.blocks[place]
                .entries
                .front()
                .is_some_and(is_notification);
        let dropped = if continues {
            let oldest = self.blocks[place].take_notification();
            if let (Some(oldest), Some(gap)) = (oldest, self.blocks[place - 1].last_overflow()) {
                gap.drop_another(oldest.received.into());
            }
            oldest
        } else {
            self.blocks[place].drop_oldest()
        };
        if let Some(oldest) = dropped {
            self.messages -= 1;
            self.bytes -= oldest.bytes();
        }
        if self.blocks[place].is_empty()
            && let Some(empty) = self.blocks.remove(place)
        {
            self.recycle(empty);
        }
        true
    }

    /// Notes at the end that `newest` was dropped.
    pub(super) fn drop_newest(&mut self, newest: &Notification) {
        match self.blocks.back_mut().and_then(Block::last_overflow) {
            Some(gap) => gap.drop_another(newest.received.into()),
            None => self.push(overflow_gap(newest), &[]),
        }
    }

    fn recycle(&mut self, mut block: Block) {
        if self.spare.len() < MAX_SPARE && block.entries.capacity() > 0 {
            block.clear();
            self.spare.push(block);
        }
    }
}

fn is_notification(entry: &Entry) -> bool {
    matches!(entry, Entry::Notification(_))
}

fn overflow_gap(first: &Notification) -> Entry {
    let gap = Gap::overflow(first.confirmed.into(), first.received.into());
    Entry::Gap(Box::new(gap))
}
