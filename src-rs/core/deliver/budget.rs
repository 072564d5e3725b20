//! The bytes that the buffers of a pool's listeners may have together.
//!
//! Beyond the bound the largest buffer overflows first, as if it had reached its own: a buffer that drops its oldest gives way at once,
//! to whichever buffer needs the room; one with another policy overflows with its next notification. A buffer always may have its
//! equal part of the bound, so that those that fill the rest take nothing from a consumer that keeps up.
//!
//! The lock of a buffer is held while the budget is told of its bytes; no lock of a buffer is held while another one is asked to give
//! way. The lock of the list is taken last, and nothing is taken while it is held.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::buffer::Subscriber;

/// A look at all buffers makes this part of the bound free, so that the next one is not needed with the next notification.
const FREED: usize = 64;

/// The bound for the buffers of a pool's listeners, and what they have.
pub struct Budget {
    max_bytes: usize,
    /// What all buffers have together.
    used: AtomicUsize,
    /// All buffers. Those that are gone are forgotten now and then.
    buffers: Mutex<Vec<Weak<Subscriber>>>,
    /// How many bytes beyond the bound are not worth another look for a buffer within its equal part: the last one found nobody who
    /// had more than that.
    tolerated: AtomicUsize,
    /// How many sessions are paused, and wait for room.
    paused: AtomicUsize,
    /// Wakes paused sessions.
    room: Notify,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("max_bytes", &self.max_bytes)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

/// A look that found no larger buffer is not made again for one notification for each so many buffers that there are.
const LOOKED_AT: usize = 16;

/// How many more times a buffer beyond its equal part takes it that no other one is larger, since the last look found none.
#[derive(Debug, Default)]
pub(super) struct Fruitless(AtomicUsize);

impl Fruitless {
    /// Whether this time needs no look.
    fn take(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    fn set(&self, times: usize) {
        self.0.store(times, Ordering::Relaxed);
    }
}

/// A paused session, as long as it waits.
#[derive(Debug)]
pub(super) struct Paused<'a>(&'a Budget);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.paused.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Paused<'_> {
    /// Notified when a buffer has less than before.
    pub(super) fn room(&self) -> &Notify {
        &self.0.room
    }
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            used: AtomicUsize::new(0),
            buffers: Mutex::default(),
            tolerated: AtomicUsize::new(0),
            paused: AtomicUsize::new(0),
            room: Notify::new(),
        }
    }

    /// What all buffers have together.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// A buffer is of the pool from now on.
    pub(super) fn enter(&self, buffer: Weak<Subscriber>) {
        let mut buffers = self.buffers.lock();
        if buffers.len() == buffers.capacity() {
            buffers.retain(|it| it.strong_count() > 0);
        }
        buffers.push(buffer);
    }

    /// A buffer that had so many bytes has others now.
    pub(super) fn recount(&self, before: usize, now: usize) {
        // Wraps around when there are fewer, and back.
        self.used
            .fetch_add(now.wrapping_sub(before), Ordering::SeqCst);
        if now < before && self.paused.load(Ordering::SeqCst) > 0 {
            self.room.notify_waiters();
        }
    }

    /// A session is paused: it can hear of room, as long as the answer lives.
    pub(super) fn pause(&self) -> Paused<'_> {
        self.paused.fetch_add(1, Ordering::SeqCst);
        Paused(self)
    }

    /// How many bytes a buffer may have, at most `most`, for which `counted` bytes are counted.
    pub(super) fn allowed(&self, counted: usize, most: usize) -> usize {
        let others = self.used().saturating_sub(counted);
        let left = self.max_bytes.saturating_sub(others);
        if left >= most {
            return most;
        }
        left.max(self.equal_part()).min(most)
    }

    /// Has the largest buffers give way if all have too much together.
    pub(super) fn make_room(&self) {
        let over = self.over(0);
        let tolerated = self.tolerated.load(Ordering::Relaxed);
        if over > tolerated {
            self.make_room_within_part(0);
        } else if tolerated > 0 {
            // Those that cannot give way may have less now than when nobody had more to give.
            let tolerable = self.tolerable(over);
            if tolerable < tolerated {
                self.tolerated.store(tolerable, Ordering::Relaxed);
            }
        }
    }

    /// Makes room for so many bytes more, with which a buffer has `own` bytes, if there is none: brings those that are larger down to one
    /// level. `fruitless` is that buffer's.
    pub(super) fn make_room_for(&self, bytes: usize, own: usize, fruitless: &Fruitless) {
        let over = self.over(bytes);
        if over == 0 {
            fruitless.set(0);
        } else if own <= self.equal_part() {
            if over > self.tolerated.load(Ordering::Relaxed) {
                self.make_room_within_part(bytes);
            }
        } else if !fruitless.take() && self.level(bytes, own) > 0 {
            fruitless.set(self.buffers.lock().len() / LOOKED_AT);
        }
    }

    /// Makes room for a buffer that has no more than its equal part with it.
    fn make_room_within_part(&self, bytes: usize) {
        let over = self.level(bytes, self.equal_part());
        self.tolerated
            .store(self.tolerable(over), Ordering::Relaxed);
    }

    /// How many bytes beyond the bound are not worth another look when there are so many.
    fn tolerable(&self, over: usize) -> usize {
        if over == 0 { 0 } else { over + self.freed() }
    }

    /// How many bytes beyond the bound there would be with so many more.
    fn over(&self, bytes: usize) -> usize {
        let wanted = self.used().saturating_add(bytes);
        wanted.saturating_sub(self.max_bytes)
    }

    fn freed(&self) -> usize {
        self.max_bytes / FREED
    }

    /// Brings the largest buffers down to one level, not below `least`, at which there is room for so many bytes more. Says how many
    /// bytes are missing.
    fn level(&self, bytes: usize, least: usize) -> usize {
        let largest = self.larger_than(least);
        let sizes = largest.iter().map(|(size, _)| *size);
        let level = level(sizes, self.over(bytes.saturating_add(self.freed())), least);
        for (_, buffer) in largest {
            buffer.give_way(level);
        }
        self.over(bytes)
    }

    /// The buffers that give way at once and have more than this, the largest first.
    fn larger_than(&self, least: usize) -> Vec<(usize, Arc<Subscriber>)> {
        let mut larger: Vec<_> = {
            let mut buffers = self.buffers.lock();
            buffers.retain(|it| it.strong_count() > 0);
            let all = buffers.iter().filter_map(Weak::upgrade);
            let sized = all.map(|buffer| (buffer.counted(), buffer));
            sized
                .filter(|(size, buffer)| *size > least && buffer.gives_way())
                .collect()
        };
        larger.sort_unstable_by_key(|(size, _)| std::cmp::Reverse(*size));
        larger
    }

    fn equal_part(&self) -> usize {
        self.max_bytes / self.buffers.lock().len().max(1)
    }
}

/// The level, not below `least`, to which the largest come down for so many bytes. The sizes come in descending order.
fn level(sizes: impl Iterator<Item = usize>, bytes: usize, least: usize) -> usize {
    let (mut count, mut sum) = (0, 0_usize);
    let mut sizes = sizes.peekable();
    while let Some(size) = sizes.next() {
        count += 1;
        sum += size;
        let next = sizes.peek().copied().unwrap_or(least);
        if sum - count * next >= bytes {
            return sum.saturating_sub(bytes) / count;
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_down_to_one_level() {
        let of = |sizes: &[usize], bytes| level(sizes.iter().copied(), bytes, 5);
        assert_eq!(of(&[100, 40, 10], 30), 70);
        assert_eq!(of(&[100, 40, 10], 60), 40);
        assert_eq!(of(&[100, 40, 10], 80), 30);
        assert_eq!(of(&[100, 40, 10], 120), 10);
        assert_eq!(of(&[100, 40, 10], 130), 6);
        assert_eq!(of(&[100, 40, 10], 1_000), 5);
        assert_eq!(of(&[], 10), 5);
    }
}
