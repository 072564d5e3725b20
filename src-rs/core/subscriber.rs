//! The bounded buffer of one consumer.
//!
//! Notifications, gaps and fences stand in one queue, in the order in which they happened. Rust pushes,
//! JavaScript pulls. A consumer that found the queue empty is *armed*: the next push signals it, once.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::error::Error;
use super::gap::Gap;
use super::moment::Moment;
use super::text::Text;

/// What a notification takes besides its payload: its place in the queue, which grows by doubling.
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

/// A notification as it stands in a buffer, beside its payload.
#[derive(Debug, Clone, Copy)]
pub struct Notification {
    /// The number that the facade gave the channel.
    pub channel: u32,
    /// The notifying backend.
    pub process_id: i32,
    /// The payload's length in bytes.
    pub length: u32,
    /// When it was read.
    pub received: Moment,
    /// A moment before which nothing was missing when it was read.
    pub confirmed: Moment,
}

impl Notification {
    fn length(self) -> usize {
        self.length as usize
    }

    fn bytes(self) -> usize {
        self.length() + ENTRY_OVERHEAD_BYTES
    }
}

/// One place in a consumer's stream.
#[derive(Debug)]
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
    /// The payloads of the notifications among them, one after the other.
    pub text: Vec<u8>,
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

/// Entries in their order, and the payloads of those that have one.
#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    text: Text,
}

/// What a batch has for one consumer.
#[derive(Debug, Default)]
pub(super) struct Staged {
    queue: Queue,
    messages: usize,
    bytes: usize,
}

impl Staged {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.entries.is_empty()
    }

    pub(super) fn push(&mut self, notification: Notification, payload: &[u8]) {
        self.messages += 1;
        self.bytes += notification.bytes();
        self.queue.push(notification, payload);
    }

    pub(super) fn push_fence(&mut self, fence: u32) {
        self.queue.entries.push_back(Entry::Fence(fence));
    }
}

/// The inside of a [`Subscriber`], locked once for a whole batch.
#[derive(Debug, Default)]
pub(super) struct State {
    queue: Queue,
    /// What a session that is not verified yet has delivered: it stands behind a gap that is still open.
    held: Queue,
    messages: usize,
    bytes: usize,
    /// The channels it wants, by name; `None` wants all.
    pub(super) wanted: Option<HashSet<Box<str>>>,
    armed: bool,
    /// Under [`Overflow::Error`]: there was no room for a notification, and nothing stands behind that.
    overflowed: bool,
    end: Option<End>,
    /// When the first notification of the last drained batch was read.
    drained_received: Option<Moment>,
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
        let count = state.queue.entries.len().min(max);
        let entries: Vec<Entry> = state.queue.entries.drain(..count).collect();
        let mut length = 0;
        for entry in &entries {
            length += state.forget(entry);
        }
        let mut text = Vec::with_capacity(length);
        state.queue.text.take(length, &mut text);
        state.drained_received = entries.iter().find_map(received);
        let end = if state.queue.entries.is_empty() {
            state.end.clone()
        } else {
            None
        };
        state.armed = entries.is_empty() && end.is_none();
        Drained { entries, text, end }
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
        let oldest = state
            .queue
            .entries
            .iter()
            .chain(&state.held.entries)
            .find_map(received)
            .map(Moment::age);
        SubscriberStats {
            buffered: state.messages,
            buffered_bytes: state.bytes,
            oldest_age: oldest,
            drained_age: state.drained_received.map(Moment::age),
        }
    }

    /// Locks the buffer for a batch of pushes; [`Subscriber::unlock`] must follow.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Ends a batch of pushes, and signals if need be.
    pub(super) fn unlock(&self, mut state: MutexGuard<'_, State>) {
        let ready = state.armed && (!state.queue.entries.is_empty() || state.end.is_some());
        if ready {
            state.armed = false;
        }
        drop(state);
        if ready {
            (self.signal)();
        }
    }

    /// Adds what a batch has for this consumer, and empties it. `holding`: behind a gap that is still open.
    pub(super) fn push_all(
        &self,
        state: &mut State,
        staged: &mut Staged,
        holding: bool,
    ) -> Pressure {
        let Staged {
            mut queue,
            messages,
            bytes,
        } = std::mem::take(staged);
        if state.end.is_some() {
            return Pressure::None;
        }
        if state.overflowed {
            return Pressure::Error;
        }
        if state.messages + messages <= self.bounds.max_messages
            && state.bytes + bytes <= self.bounds.max_bytes
        {
            state.messages += messages;
            state.bytes += bytes;
            state.queue_mut(holding).append(&mut queue);
            return Pressure::None;
        }
        let mut pressure = Pressure::None;
        let mut payload = Vec::new();
        for entry in queue.entries {
            if let Entry::Notification(notification) = entry {
                payload.clear();
                queue.text.take(notification.length(), &mut payload);
                pressure = pressure.max(self.push(state, notification, &payload, holding));
            } else if !state.overflowed {
                state.queue_mut(holding).entries.push_back(entry);
            }
        }
        pressure
    }

    /// Adds a notification for which there may be no room, or counts it as dropped.
    fn push(
        &self,
        state: &mut State,
        notification: Notification,
        payload: &[u8],
        holding: bool,
    ) -> Pressure {
        if state.overflowed {
            return Pressure::Error;
        }
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
                    state.drop_newest(&notification, holding);
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
        state.queue_mut(holding).push(notification, payload);
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
            let gap = gap.map(|gap| Entry::Gap(Box::new(gap)));
            self.queue.entries.extend(gap);
            self.queue.append(&mut self.held);
        }
    }

    /// The session behind the open gap failed: the gap that follows covers what it had delivered.
    pub(super) fn discard_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        for entry in &held.entries {
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

    fn queue_mut(&mut self, holding: bool) -> &mut Queue {
        if holding {
            &mut self.held
        } else {
            &mut self.queue
        }
    }

    /// An entry is here no more. Gives the length of its payload.
    fn forget(&mut self, entry: &Entry) -> usize {
        let Entry::Notification(notification) = entry else {
            return 0;
        };
        self.messages -= 1;
        self.bytes -= notification.bytes();
        notification.length()
    }

    fn drop_oldest(&mut self) {
        let holding = !self.queue.entries.iter().any(is_notification);
        let queue = self.queue_mut(holding);
        if let Some(oldest) = queue.drop_oldest() {
            self.forget(&Entry::Notification(oldest));
        }
    }

    fn drop_newest(&mut self, newest: &Notification, holding: bool) {
        let entries = &mut self.queue_mut(holding).entries;
        match entries.back_mut() {
            Some(Entry::Gap(gap)) if gap.is_overflow() => gap.drop_another(newest.received.into()),
            _ => entries.push_back(overflow_gap(newest)),
        }
    }
}

impl Queue {
    fn push(&mut self, notification: Notification, payload: &[u8]) {
        self.entries.push_back(Entry::Notification(notification));
        self.text.push(payload);
    }

    fn append(&mut self, other: &mut Self) {
        self.entries.append(&mut other.entries);
        self.text.append(&mut other.text);
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.text.clear();
    }

    /// Puts a gap in the place of the first notification, or counts it in the gap that stands before it.
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
        self.text.skip(oldest.length());
        Some(oldest)
    }
}

fn is_notification(entry: &Entry) -> bool {
    matches!(entry, Entry::Notification(_))
}

fn received(entry: &Entry) -> Option<Moment> {
    match entry {
        Entry::Notification(notification) => Some(notification.received),
        _ => None,
    }
}

fn overflow_gap(first: &Notification) -> Entry {
    let gap = Gap::overflow(first.confirmed.into(), first.received.into());
    Entry::Gap(Box::new(gap))
}

#[cfg(test)]
mod tests;
