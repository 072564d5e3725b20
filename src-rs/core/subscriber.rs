//! The bounded buffer of one consumer.
//!
//! Notifications, gaps and fences stand in one queue, in the order in which they happened. Rust pushes,
//! JavaScript pulls. A consumer that found the queue empty is *armed*: the next push signals it, once.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard};

use super::error::Error;
use super::gap::Gap;

/// What a notification takes besides its payload: the queue's slot and the payload's allocation.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// What to do with a notification for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Make room by dropping the oldest.
    DropOldest,
    /// Drop it.
    DropNewest,
    /// Take it, and stop reading from the server until there is room again.
    Pause,
    /// Close the listener: the stream ends before it.
    Error,
}

/// The bounds of a buffer, and what happens at them.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most notifications.
    pub max_messages: usize,
    /// The most bytes: payloads, and [`ENTRY_OVERHEAD_BYTES`] each.
    pub max_bytes: usize,
    /// What happens beyond.
    pub overflow: Overflow,
}

/// A notification as consumers get it. The payload is shared between them.
#[derive(Debug, Clone)]
pub struct Notification {
    /// The number that the facade gave the channel.
    pub channel: u32,
    /// The notifying backend.
    pub process_id: i32,
    /// The payload.
    pub payload: Arc<str>,
    /// When it was read.
    pub received: SystemTime,
    /// A moment before which nothing was missing when it was read.
    pub confirmed: SystemTime,
}

impl Notification {
    fn bytes(&self) -> usize {
        self.payload.len() + ENTRY_OVERHEAD_BYTES
    }
}

/// One place in a consumer's stream.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A notification.
    Notification(Notification),
    /// Something is missing here.
    Gap(Box<Gap>),
    /// Everything committed before `sync()` was called stands before this.
    Fence(u32),
}

/// Why a stream ends.
#[derive(Debug, Clone)]
pub enum End {
    /// The user shut the listener down.
    Shutdown,
    /// The listener gave up.
    Failed(Error),
}

/// What [`Subscriber::drain`] gives.
#[derive(Debug)]
pub struct Drained {
    /// The next entries.
    pub entries: Vec<Entry>,
    /// Whether and why nothing will follow them.
    pub end: Option<End>,
}

/// Whether a buffer is beyond its bounds, under a policy that does not drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is room.
    None,
    /// Reading should stop.
    Pause,
    /// The listener should close.
    Error,
}

/// Counts of one consumer.
#[derive(Debug, Clone, Copy, Default)]
pub struct SubscriberStats {
    /// Notifications waiting.
    pub buffered: usize,
    /// Their bytes.
    pub buffered_bytes: usize,
    /// How long the oldest of them has been waiting.
    pub oldest_age: Option<Duration>,
    /// How long the oldest of the batch that was drained last has been waiting.
    pub drained_age: Option<Duration>,
}

/// The bounded buffer of one consumer.
pub struct Subscriber {
    bounds: Bounds,
    signal: Box<dyn Fn() + Send + Sync>,
    /// Counts drops; shared by all consumers of a listener, so that it outlives them.
    dropped: Arc<AtomicU64>,
    state: Mutex<State>,
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// The inside of a [`Subscriber`], locked once for a whole batch.
#[derive(Debug, Default)]
pub(super) struct State {
    queue: VecDeque<Entry>,
    /// What a session that is not verified yet has delivered: it stands behind a gap that is still open.
    held: VecDeque<Entry>,
    messages: usize,
    bytes: usize,
    /// The channels it wants, by name; `None` wants all.
    pub(super) wanted: Option<HashSet<Box<str>>>,
    armed: bool,
    /// Under [`Overflow::Error`]: there was no room for a notification, and nothing stands behind that.
    overflowed: bool,
    end: Option<End>,
    /// When the first notification of the last drained batch was read.
    drained_received: Option<SystemTime>,
}

impl Subscriber {
    /// An empty buffer. `signal` is called, from any thread, when an armed consumer has something to drain.
    #[must_use]
    pub fn new(
        bounds: Bounds,
        wanted: Option<HashSet<Box<str>>>,
        signal: Box<dyn Fn() + Send + Sync>,
        dropped: Arc<AtomicU64>,
    ) -> Self {
        Self {
            bounds,
            signal,
            dropped,
            state: Mutex::new(State {
                wanted,
                ..State::default()
            }),
        }
    }

    /// Takes up to `max` entries. An empty answer arms the consumer.
    #[must_use]
    pub fn drain(&self, max: usize) -> Drained {
        let mut state = self.state.lock();
        let count = state.queue.len().min(max);
        let entries: Vec<Entry> = state.queue.drain(..count).collect();
        for entry in &entries {
            state.forget(entry);
        }
        state.drained_received = entries.iter().find_map(|entry| match entry {
            Entry::Notification(notification) => Some(notification.received),
            _ => None,
        });
        let end = if state.queue.is_empty() {
            state.end.clone()
        } else {
            None
        };
        state.armed = entries.is_empty() && end.is_none();
        Drained { entries, end }
    }

    /// Whether this is beyond its bounds, or has room for going on after a pause.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let state = self.state.lock();
        // Going on at the first free place would stop again at once.
        let half_full = state.messages > self.bounds.max_messages / 2
            || state.bytes > self.bounds.max_bytes / 2;
        match self.bounds.overflow {
            Overflow::Pause if half_full && state.end.is_none() => Pressure::Pause,
            _ => Pressure::None,
        }
    }

    /// Counts, for `stats()`.
    #[must_use]
    pub fn stats(&self) -> SubscriberStats {
        let state = self.state.lock();
        let age = |received: SystemTime| received.elapsed().unwrap_or_default();
        let received = |entry: &Entry| match entry {
            Entry::Notification(notification) => Some(notification.received),
            _ => None,
        };
        let oldest = state
            .queue
            .iter()
            .chain(&state.held)
            .find_map(received)
            .map(age);
        SubscriberStats {
            buffered: state.messages,
            buffered_bytes: state.bytes,
            oldest_age: oldest,
            drained_age: state.drained_received.map(age),
        }
    }

    /// Locks the buffer for a batch of pushes; [`Subscriber::unlock`] must follow.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Ends a batch of pushes, and signals if need be.
    pub(super) fn unlock(&self, mut state: MutexGuard<'_, State>) {
        let ready = state.armed && (!state.queue.is_empty() || state.end.is_some());
        if ready {
            state.armed = false;
        }
        drop(state);
        if ready {
            (self.signal)();
        }
    }

    /// Adds an entry, or counts it as dropped. `holding`: behind a gap that is still open.
    pub(super) fn push(&self, state: &mut State, entry: Entry, holding: bool) -> Pressure {
        if state.end.is_some() {
            return Pressure::None;
        }
        if state.overflowed {
            return Pressure::Error;
        }
        let Entry::Notification(notification) = &entry else {
            state.queue_mut(holding).push_back(entry);
            return Pressure::None;
        };
        let bytes = notification.bytes();
        let mut pressure = Pressure::None;
        while state.messages > 0
            && (state.messages >= self.bounds.max_messages
                || state.bytes + bytes > self.bounds.max_bytes)
        {
            match self.bounds.overflow {
                Overflow::DropOldest => {
                    state.drop_oldest();
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
                Overflow::DropNewest => {
                    state.drop_newest(notification, holding);
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                    return Pressure::None;
                }
                Overflow::Error => {
                    state.overflowed = true;
                    return Pressure::Error;
                }
                Overflow::Pause => {
                    pressure = Pressure::Pause;
                    break;
                }
            }
        }
        state.messages += 1;
        state.bytes += bytes;
        state.queue_mut(holding).push_back(entry);
        pressure
    }
}

impl State {
    /// Whether this consumer wants the notifications of a channel.
    pub(super) fn wants(&self, channel: &str) -> bool {
        self.wanted
            .as_ref()
            .is_none_or(|wanted| wanted.contains(channel))
    }

    /// What was held becomes deliverable, behind the gap before it.
    pub(super) fn resume(&mut self, gap: Option<Gap>) {
        if self.end.is_none() {
            self.queue.extend(gap.map(|gap| Entry::Gap(Box::new(gap))));
            self.queue.append(&mut self.held);
        }
    }

    /// The session behind the open gap failed: the gap that follows covers what it had delivered.
    pub(super) fn discard_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        for entry in &held {
            self.forget(entry);
        }
    }

    /// Takes nothing more. Without `keep`, what is buffered is gone too.
    pub(super) fn end(&mut self, end: End, keep: bool) {
        self.end.get_or_insert(end);
        self.held.clear();
        if !keep {
            self.queue.clear();
            self.messages = 0;
            self.bytes = 0;
        }
    }

    fn queue_mut(&mut self, holding: bool) -> &mut VecDeque<Entry> {
        if holding {
            &mut self.held
        } else {
            &mut self.queue
        }
    }

    fn forget(&mut self, entry: &Entry) {
        if let Entry::Notification(notification) = entry {
            self.messages -= 1;
            self.bytes -= notification.bytes();
        }
    }

    fn drop_oldest(&mut self) {
        let is_notification = |entry: &Entry| matches!(entry, Entry::Notification(_));
        let holding = !self.queue.iter().any(is_notification);
        let queue = if holding {
            &mut self.held
        } else {
            &mut self.queue
        };
        // Only gaps and fences can stand before the oldest notification, and those are few.
        let Some(index) = queue.iter().position(is_notification) else {
            return;
        };
        let Some(Entry::Notification(oldest)) = queue.get(index) else {
            return;
        };
        let (confirmed, received) = (oldest.confirmed, oldest.received);
        let before = index
            .checked_sub(1)
            .and_then(|before| queue.get_mut(before));
        let dropped = if let Some(Entry::Gap(gap)) = before
            && gap.is_overflow()
        {
            gap.drop_another(received);
            queue.remove(index)
        } else {
            let gap = Box::new(Gap::overflow(confirmed, received));
            Some(std::mem::replace(&mut queue[index], Entry::Gap(gap)))
        };
        if let Some(entry) = dropped {
            self.forget(&entry);
        }
    }

    fn drop_newest(&mut self, newest: &Notification, holding: bool) {
        let queue = self.queue_mut(holding);
        match queue.back_mut() {
            Some(Entry::Gap(gap)) if gap.is_overflow() => gap.drop_another(newest.received),
            _ => {
                let gap = Gap::overflow(newest.confirmed, newest.received);
                queue.push_back(Entry::Gap(Box::new(gap)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
