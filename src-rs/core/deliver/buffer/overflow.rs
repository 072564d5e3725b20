//! The bounds of a consumer's buffer, and the policies beyond them.

use std::sync::atomic::Ordering;

use super::{ENTRY_OVERHEAD_BYTES, Entry, Notification, Queue, Staged, State, Subscriber};
use crate::deliver::gap::Full;

/// The bytes of notifications that a consumer that pauses its session takes beyond its bounds, over several sessions. What one session
/// has read before it stops comes on top.
pub(super) const MAX_BEYOND_BYTES: usize = 256 * 1024;

/// The policy for a notification for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Make room by dropping the oldest.
    DropOldest,
    /// Drop the new one.
    DropNewest,
    /// Take the notification, and stop reading from the server until there is room again. A consumer that has taken
    /// [`MAX_BEYOND_BYTES`] beyond its bounds takes nothing directly behind the gap before a new session: that gap grows over it.
    Pause,
    /// Close the listener: the stream ends before the notification.
    Error,
}

/// The bounds of a buffer, and what happens at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most notifications.
    pub max_messages: usize,
    /// The most bytes: payloads, and [`ENTRY_OVERHEAD_BYTES`] each.
    pub max_bytes: usize,
    /// The policy beyond the bounds.
    pub overflow: Overflow,
}

/// Whether a buffer is beyond its bounds, under a policy that does not drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Pressure {
    /// There is room.
    #[default]
    None,
    /// Reading should stop.
    Pause,
    /// The listener should close.
    Error,
}

impl Subscriber {
    /// Whether this buffer keeps a session from being read. A buffer that asked for the pause must be drained to half first: going
    /// on at the first free place would stop again at once. Any other buffer must merely have room for one more notification,
    /// so that a slow consumer that never was full does not make the pause longer.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        if self.bounds.overflow != Overflow::Pause {
            return Pressure::None;
        }
        let mut state = self.lock();
        let (messages, bytes) = (state.messages(), state.bytes());
        let (max_messages, max_bytes) = (self.bounds.max_messages, self.max_bytes());
        if messages <= max_messages / 2 && bytes <= max_bytes / 2 {
            state.wish = Pressure::None;
            state.beyond_bytes = 0;
        }
        let has_room = messages < max_messages && bytes + ENTRY_OVERHEAD_BYTES <= max_bytes;
        if state.end.is_none() && (state.wish == Pressure::Pause || !has_room) {
            Pressure::Pause
        } else {
            Pressure::None
        }
    }

    /// Whether this buffer drops its oldest as soon as the pool needs the room. Another one overflows with its next notification.
    pub(in crate::deliver) fn gives_way(&self) -> bool {
        self.bounds.overflow == Overflow::DropOldest
    }

    /// Drops the oldest until there are no more bytes than these.
    pub(in crate::deliver) fn give_way(&self, level: usize) {
        let mut state = self.lock();
        let mut dropped = 0;
        while state.bytes() > level && state.queue.drop_oldest(Full::Pool) {
            dropped += 1;
        }
        self.counters.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    /// The most bytes that it may have: its own bound, or what the pool leaves it.
    fn max_bytes(&self) -> usize {
        let max_bytes = self.bounds.max_bytes;
        match &self.budget {
            // Where there is no room in the pool, the largest gives way, which may be this one.
            Some(budget) if !self.gives_way() => budget.allowed(self.counted(), max_bytes),
            _ => max_bytes,
        }
    }

    pub(super) fn push_all(&self, state: &mut State, staged: &mut Staged) -> Pressure {
        let Staged(batch) = staged;
        if state.end.is_some() {
            batch.clear();
            return Pressure::None;
        }
        if state.wish == Pressure::Error {
            batch.clear();
            return Pressure::Error;
        }
        if state.queue.coalesces() {
            return self.coalesce_all(state, batch);
        }
        if state.messages() + batch.messages <= self.bounds.max_messages
            && state.bytes() + batch.bytes <= self.max_bytes()
        {
            state.queue.append(batch);
            state.beyond_bytes = 0;
            return Pressure::None;
        }
        let mut pressure = Pressure::None;
        batch.take_all(|entry, payload| match entry {
            Entry::Notification(notification) => {
                pressure = pressure.max(self.push(state, notification, payload));
            }
            _ if state.wish == Pressure::Error => {}
            _ => state.queue.push(entry, payload),
        });
        pressure
    }

    /// Adds a notification for which there may be no room, or counts it as dropped.
    fn push(&self, state: &mut State, notification: Notification, payload: &[u8]) -> Pressure {
        if state.wish == Pressure::Error {
            return Pressure::Error;
        }
        let bytes = notification.bytes();
        let mut pressure = Pressure::None;
        while state.messages() > 0
            && let Some(full) = self.is_full(state, false, state.bytes() + bytes)
        {
            match self.make_room(state, &notification, full) {
                Room::Made => {}
                Room::None(pressure) => return pressure,
                Room::Beyond(felt) => {
                    pressure = felt;
                    break;
                }
            }
        }
        state.queue.push(Entry::Notification(notification), payload);
        pressure
    }

    /// Adds the part of a batch of a consumer that coalesces.
    fn coalesce_all(&self, state: &mut State, batch: &mut Queue) -> Pressure {
        let mut pressure = Pressure::None;
        let mut merged = 0;
        batch.take_all(|entry, payload| match entry {
            _ if state.wish == Pressure::Error => pressure = Pressure::Error,
            Entry::Notification(notification) => {
                let (felt, is_merged) = self.coalesce(state, notification, payload);
                pressure = pressure.max(felt);
                merged += u64::from(is_merged);
            }
            Entry::Gap(_) | Entry::Fence(_) => state.queue.push_break(entry),
        });
        self.counters.coalesced.fetch_add(merged, Ordering::Relaxed);
        pressure
    }

    /// Merges a notification into an equal one that waits, or adds it. Says whether it was merged. Only a longer payload takes
    /// further room when it is merged; making that room may drop the very notification into which it was to be merged.
    fn coalesce(
        &self,
        state: &mut State,
        notification: Notification,
        payload: &[u8],
    ) -> (Pressure, bool) {
        let mut pressure = Pressure::None;
        let mut equal = state.queue.find_equal(&notification, payload);
        while state.messages() > 0 {
            let bytes = state.leaving_bytes + state.queue.bytes_with(equal, &notification);
            let Some(full) = self.is_full(state, equal.is_some(), bytes) else {
                break;
            };
            match self.make_room(state, &notification, full) {
                Room::Made => equal = state.queue.find_equal(&notification, payload),
                Room::None(pressure) => return (pressure, false),
                Room::Beyond(felt) => {
                    pressure = felt;
                    break;
                }
            }
        }
        match equal {
            Some(place) => state.queue.merge(place, &notification, payload),
            None => state.queue.push_waiting(notification, payload),
        }
        (pressure, equal.is_some())
    }

    /// Whether there is no room for another notification, or for one that is merged, with which there would be so many bytes.
    fn is_full(&self, state: &State, is_merged: bool, bytes: usize) -> Option<Full> {
        let has_place = is_merged || state.messages() < self.bounds.max_messages;
        if !has_place || bytes > self.bounds.max_bytes {
            Some(Full::Consumer)
        } else if bytes > self.max_bytes() {
            Some(Full::Pool)
        } else {
            None
        }
    }

    /// Does what the policy says about a notification for which there is no room.
    fn make_room(&self, state: &mut State, notification: &Notification, full: Full) -> Room {
        match self.bounds.overflow {
            Overflow::DropOldest => {
                if !state.queue.drop_oldest(full) {
                    // All that is there is on its way out.
                    return Room::Beyond(Pressure::None);
                }
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                Room::Made
            }
            Overflow::DropNewest => {
                state.queue.drop_newest(notification, full);
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                Room::None(Pressure::None)
            }
            Overflow::Error => {
                state.wish = Pressure::Error;
                Room::None(Pressure::Error)
            }
            Overflow::Pause => {
                state.wish = Pressure::Pause;
                if state.beyond_bytes >= MAX_BEYOND_BYTES
                    && state.queue.drop_behind_break(notification)
                {
                    self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                    return Room::None(Pressure::Pause);
                }
                state.beyond_bytes += notification.bytes();
                Room::Beyond(Pressure::Pause)
            }
        }
    }
}

/// What a policy has done for a notification for which there was no room.
enum Room {
    /// There is some more room.
    Made,
    /// The notification is not taken.
    None(Pressure),
    /// The notification is taken beyond the bounds.
    Beyond(Pressure),
}
