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
//! What waits in the queue of a consumer that coalesces stands behind the blocks: [`waiting`].
//!
//! An overflow gap stands directly before the notifications that follow what was dropped, and counts on as long as nothing else
//! comes between. There are at most [`MAX_GAPS`] gaps: beyond that the two oldest become one, at the place of the older one.
//!
//! A fence directly behind another one takes its place: whoever passes a fence has passed all that were sent before it. So there are
//! never more fences than notifications and gaps, and one.

mod copying;
mod waiting;

use std::collections::VecDeque;
use std::mem;

pub(super) use copying::Dropped;
pub use waiting::Coalesce;
use waiting::Waiting;

use super::{Entry, Notification};
use crate::base::Moment;
use crate::deliver::gap::{Full, Gap};

/// The most entries in a block.
const MAX_ENTRIES: usize = 1024;
/// The most bytes of payloads in a block. The notifications of one read of the socket make about one block.
const MAX_TEXT: usize = 64 * 1024;
/// A block with fewer entries is copied to the end of the block before it: there may be thousands of small ones.
const SMALL_BLOCK: usize = 64;
/// How many empty blocks are kept for entries to come.
const MAX_SPARE: usize = 16;
/// The most gaps in a queue. Sessions may be lost for as long as nobody reads, and a gap is never dropped.
pub(super) const MAX_GAPS: usize = 1024;
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
    /// How many gaps are among the entries.
    gaps: usize,
}

impl Block {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes the first entries out as a block of their own.
    pub(super) fn split(&mut self, entries: usize) -> Self {
        let mut first = Self::default();
        for _ in 0..entries {
            let moved = self.take(|entry, payload| first.push(entry, payload));
            if moved.is_none() {
                break;
            }
        }
        first
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
        match &entry {
            Entry::Notification(notification) => {
                self.messages += 1;
                self.bytes += notification.bytes();
            }
            Entry::Gap(_) => self.gaps += 1,
            Entry::Fence(_) => {}
        }
        self.entries.push_back(entry);
        self.text.extend_from_slice(payload);
    }

    fn append(&mut self, other: &mut Self) {
        self.entries.append(&mut other.entries);
        self.text.extend_from_slice(&other.text[other.taken..]);
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.gaps += other.gaps;
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
        (self.taken, self.messages, self.bytes, self.gaps) = (0, 0, 0, 0);
    }

    /// Takes an entry out of the counts. Gives the length of its payload.
    fn forget(&mut self, entry: &Entry) -> usize {
        match entry {
            Entry::Notification(notification) => {
                self.messages -= 1;
                self.bytes -= notification.bytes();
                notification.length()
            }
            Entry::Gap(_) => {
                self.gaps -= 1;
                0
            }
            Entry::Fence(_) => 0,
        }
    }

    /// The oldest gap.
    fn first_gap(&mut self) -> Option<&mut Gap> {
        self.entries.iter_mut().find_map(|entry| match entry {
            Entry::Gap(gap) => Some(&mut **gap),
            _ => None,
        })
    }

    /// Takes out the gap that has `before` others before it.
    fn remove_gap(&mut self, before: usize) -> Option<Gap> {
        let mut gaps = (0..self.entries.len()).filter(|index| is_gap(&self.entries[*index]));
        let index = gaps.nth(before)?;
        let Some(Entry::Gap(gap)) = self.entries.remove(index) else {
            return None;
        };
        self.gaps -= 1;
        if let Some(&Entry::Fence(number)) = self.entries.get(index)
            && let Some(Entry::Fence(before)) = index
                .checked_sub(1)
                .and_then(|before| self.entries.get_mut(before))
        {
            join_fence(before, number);
            drop(self.entries.remove(index));
        }
        Some(*gap)
    }

    /// The overflow gap at the end, in which further drops at the end are counted.
    fn last_overflow(&mut self) -> Option<&mut Gap> {
        match self.entries.back_mut() {
            Some(Entry::Gap(gap)) if gap.is_overflow() => Some(gap),
            _ => None,
        }
    }

    /// The gap at the end of which nobody knows how many notifications are missing.
    fn last_break(&mut self) -> Option<&mut Gap> {
        match self.entries.back_mut() {
            Some(Entry::Gap(gap)) if gap.dropped.is_none() => Some(gap),
            _ => None,
        }
    }

    /// The number of the fence at the end.
    fn last_fence(&mut self) -> Option<&mut u32> {
        match self.entries.back_mut() {
            Some(Entry::Fence(number)) => Some(number),
            _ => None,
        }
    }

    /// Takes the fence at the beginning of the block that follows, if a fence is at the end of this one.
    fn join_fence_of(&mut self, next: &mut Self) {
        if let Some(last) = self.last_fence()
            && let Some(Entry::Fence(number)) = next.entries.front()
        {
            join_fence(last, *number);
            drop(next.entries.pop_front());
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
    fn drop_oldest(&mut self, full: Full) -> Option<Notification> {
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
            self.entries[index] = overflow_gap(&oldest, full);
            self.gaps += 1;
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
    /// How many gaps are in the queue.
    gaps: usize,
    /// What came since the last gap or fence, for a consumer that coalesces.
    waiting: Option<Box<Waiting>>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.messages == 0
    }

    /// Whether a notification is all there is.
    pub(super) fn is_one_notification(&self) -> bool {
        self.messages == 1
            && match self.blocks.len() {
                // It is one that waits.
                0 => true,
                1 => self.blocks[0].messages == 1 && self.blocks[0].entries.len() == 1,
                _ => false,
            }
    }

    /// Adds an entry, with the payload of a notification.
    pub(super) fn push(&mut self, entry: Entry, payload: &[u8]) {
        match &entry {
            Entry::Notification(notification) => {
                self.messages += 1;
                self.bytes += notification.bytes();
            }
            Entry::Gap(_) => self.gaps += 1,
            Entry::Fence(number) => {
                if let Some(last) = self.blocks.back_mut().and_then(Block::last_fence) {
                    return join_fence(last, *number);
                }
            }
        }
        self.place(entry, payload);
        self.bound_gaps();
    }

    /// Puts an entry that is counted at the end of the blocks.
    fn place(&mut self, entry: Entry, payload: &[u8]) {
        match self.blocks.back_mut() {
            Some(last) if last.has_room(1, payload.len()) => last.push(entry, payload),
            _ => {
                let mut block = self.spare.pop().unwrap_or_default();
                block.push(entry, payload);
                self.blocks.push_back(block);
            }
        }
    }

    /// Takes the first block, for a drain that takes at most `most` entries or `most_bytes` bytes of payloads.
    pub(super) fn take_block(&mut self, most: usize, most_bytes: usize) -> Option<Block> {
        if self.blocks.is_empty() {
            self.move_waiting(most, most_bytes);
        }
        let block = self.blocks.pop_front()?;
        self.messages -= block.messages;
        self.bytes -= block.bytes;
        self.gaps -= block.gaps;
        Some(block)
    }

    /// Gives back what is left of the first block.
    pub(super) fn give_back(&mut self, block: Block) {
        if block.is_empty() {
            return self.recycle(block);
        }
        self.messages += block.messages;
        self.bytes += block.bytes;
        self.gaps += block.gaps;
        self.blocks.push_front(block);
        self.bound_gaps();
    }

    /// Puts gaps and fences before everything.
    pub(super) fn push_front(&mut self, entries: impl Iterator<Item = Entry>) {
        let mut block = self.spare.pop().unwrap_or_default();
        for entry in entries {
            block.push(entry, &[]);
        }
        self.give_back(block);
    }

    /// Moves everything from `other` to the end of this.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.messages += mem::take(&mut other.messages);
        self.bytes += mem::take(&mut other.bytes);
        self.gaps += mem::take(&mut other.gaps);
        while let Some(mut block) = other.blocks.pop_front() {
            if let Some(last) = self.blocks.back_mut() {
                last.join_fence_of(&mut block);
            }
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
        self.bound_gaps();
    }

    /// Takes everything, one by one.
    pub(super) fn take_all(&mut self, mut show: impl FnMut(Entry, &[u8])) {
        while let Some(mut block) = self.take_block(usize::MAX, usize::MAX) {
            while block.take(&mut show).is_some() {}
            self.recycle(block);
        }
    }

    /// Gives back memory that only a flood needs. Called when everything has been taken.
    pub(super) fn rest(&mut self) {
        self.spare.truncate(MAX_SPARE_AT_REST);
        self.rest_waiting();
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The moment at which the first notification was read.
    pub(super) fn received(&self) -> Option<Moment> {
        let first = self.blocks.iter().find_map(Block::received);
        first.or_else(|| self.waiting_since())
    }

    /// The numbers of the notifications' channels, one for each notification.
    pub(super) fn channels(&self) -> impl Iterator<Item = u32> {
        let entries = self.blocks.iter().flat_map(|block| &block.entries);
        let placed = entries.filter_map(|entry| match entry {
            Entry::Notification(notification) => Some(notification.channel),
            Entry::Gap(_) | Entry::Fence(_) => None,
        });
        placed.chain(self.waiting_channels())
    }

    /// Drops the first notification and leaves a gap in its place. `false`: there is none.
    pub(super) fn drop_oldest(&mut self, full: Full) -> bool {
        let Some(place) = self.blocks.iter().position(|block| block.messages > 0) else {
            return self.drop_waiting(full);
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
            let gaps = self.blocks[place].gaps;
            let oldest = self.blocks[place].drop_oldest(full);
            self.gaps += self.blocks[place].gaps - gaps;
            oldest
        };
        if let Some(oldest) = dropped {
            self.messages -= 1;
            self.bytes -= oldest.bytes();
        }
        self.remove_if_empty(place);
        self.bound_gaps();
        true
    }

    /// Adds up the two oldest gaps for as long as there are too many.
    fn bound_gaps(&mut self) {
        while self.gaps > MAX_GAPS {
            let with_gaps = self.blocks.iter().enumerate().filter(|(_, it)| it.gaps > 0);
            let mut places = with_gaps.map(|(place, _)| place);
            let Some(first) = places.next() else { return };
            let (second, before) = match self.blocks[first].gaps {
                1 => (places.next().unwrap_or(first), 0),
                _ => (first, 1),
            };
            let Some(later) = self.blocks[second].remove_gap(before) else {
                return;
            };
            self.gaps -= 1;
            if let Some(older) = self.blocks[first].first_gap() {
                older.absorb(later);
            }
            // What stood on either side of it may be fences.
            self.join_fences(second + 1);
            self.remove_if_empty(second);
            self.join_fences(second);
        }
    }

    /// Makes one fence of those at the end of one block and at the beginning of the next, whose place is given.
    fn join_fences(&mut self, place: usize) {
        if place == 0 || place >= self.blocks.len() {
            return;
        }
        let mut blocks = self.blocks.range_mut(place - 1..=place);
        if let (Some(before), Some(block)) = (blocks.next(), blocks.next()) {
            before.join_fence_of(block);
        }
        self.remove_if_empty(place);
    }

    fn remove_if_empty(&mut self, place: usize) {
        if self.blocks.get(place).is_some_and(Block::is_empty)
            && let Some(empty) = self.blocks.remove(place)
        {
            self.recycle(empty);
        }
    }

    /// The overflow gap at the end, in which further drops at the end are counted.
    fn last_overflow(&mut self) -> Option<&mut Gap> {
        self.blocks.back_mut().and_then(Block::last_overflow)
    }

    /// Notes at the end that `newest` was dropped.
    pub(super) fn drop_newest(&mut self, newest: &Notification, full: Full) {
        self.settle();
        match self.last_overflow() {
            Some(gap) => gap.drop_another(newest.received.into()),
            None => self.push(overflow_gap(newest, full), &[]),
        }
    }

    /// Lets the gap before a new session grow over `newest`, if that gap is the last entry. `false`: another one is.
    pub(super) fn drop_behind_break(&mut self, newest: &Notification) -> bool {
        if self.waiting_since().is_some() {
            return false;
        }
        match self.blocks.back_mut().and_then(Block::last_break) {
            Some(gap) => {
                gap.drop_another(newest.received.into());
                true
            }
            None => false,
        }
    }

    fn recycle(&mut self, mut block: Block) {
        if self.spare.len() < MAX_SPARE && block.entries.capacity() > 0 {
            block.clear();
            self.spare.push(block);
        }
    }
}

/// Lets a fence stand for the one directly behind it too: for the one that was sent last. Numbers wrap around.
pub(super) fn join_fence(fence: &mut u32, next: u32) {
    if next.wrapping_sub(*fence) <= u32::MAX / 2 {
        *fence = next;
    }
}

fn is_gap(entry: &Entry) -> bool {
    matches!(entry, Entry::Gap(_))
}

fn is_notification(entry: &Entry) -> bool {
    matches!(entry, Entry::Notification(_))
}

fn overflow_gap(first: &Notification, full: Full) -> Entry {
    let gap = Gap::overflow(first.confirmed.into(), first.received.into());
    Entry::Gap(Box::new(gap.because(full)))
}
