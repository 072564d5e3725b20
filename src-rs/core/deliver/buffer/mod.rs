//! The bounded buffer of one consumer.
//!
//! Notifications, gaps and fences stand in one queue, in the order in which they happened. Rust pushes,
//! JavaScript pulls. A consumer that found the queue empty is *armed*: the next push signals it, once. Whoever carries the signal
//! to the consumer may hand it the notification at once, if there is only one: then the consumer need not pull, and stays armed.

mod change;
#[cfg(test)]
mod coalescing_properties;
mod membership;
mod overflow;
mod queue;
#[cfg(test)]
mod queue_properties;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hashbrown::HashSet;
use parking_lot::Mutex;

use crate::base::Moment;
use crate::base::clock;
use crate::base::error::Error;
use crate::deliver::audience::Membership;
use crate::deliver::budget::{Budget, Fruitless};
use crate::deliver::gap::Gap;
use crate::observe::BufferCounters;
pub use overflow::{Bounds, Overflow, Pressure};
pub use queue::Coalesce;
use queue::{Queue, join_fence};

/// The bytes that a notification counts for besides its payload: its place in the queue, which grows by doubling.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// A batch is complete with this many bytes of payloads. A larger one costs the garbage collector of JavaScript more than
/// the call that is saved.
const MAX_DRAINED_BYTES: usize = 256 * 1024;

/// A notification as it stands in a buffer, beside its payload.
#[derive(Debug, Clone, Copy)]
pub struct Notification {
    /// The number that the facade gave the channel.
    pub channel: u32,
    /// The notifying backend.
    pub process_id: i32,
    /// The payload's length in bytes.
    pub length: u32,
    /// Whether the payload has no character beyond ASCII. An ASCII payload becomes a string without being decoded.
    pub is_ascii: bool,
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
#[derive(Debug, Clone)]
pub enum Entry {
    /// A notification.
    Notification(Notification),
    /// Something is missing here.
    Gap(Box<Gap>),
    /// Everything committed before `sync()` was called stands before this. Whoever passes it has passed all that were sent before it.
    Fence(u32),
}

/// Why a stream ends.
#[derive(Debug, Clone)]
pub enum End {
    /// The user shut the listener down.
    Shutdown,
    /// The listener gave up. Boxed, since each of thousands of buffers has a place for an end.
    Failed(Box<Error>),
}

/// The outcome of [`Subscriber::drain`].
#[derive(Debug)]
pub struct Drained {
    /// How many entries were shown.
    pub shown: usize,
    /// Whether none is left.
    pub is_empty: bool,
    /// Whether and why nothing will follow.
    pub end: Option<End>,
}

/// What was drained but could not be handed over.
#[derive(Debug, Clone, Default)]
pub struct Lost {
    /// The first of its notifications.
    pub first: Option<Notification>,
    /// How many notifications there were.
    pub count: u64,
    /// Its gaps and fences, in order.
    pub breaks: Vec<Entry>,
}

impl Lost {
    /// Notes an entry, in case it cannot be handed over.
    pub fn note(&mut self, entry: &Entry) {
        match entry {
            Entry::Notification(notification) => {
                self.first.get_or_insert(*notification);
                self.count += 1;
            }
            Entry::Gap(gap) => self.breaks.push(Entry::Gap(gap.clone())),
            Entry::Fence(fence) => match self.breaks.last_mut() {
                Some(Entry::Fence(last)) => join_fence(last, *fence),
                _ => self.breaks.push(Entry::Fence(*fence)),
            },
        }
    }
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
    /// Shared by all consumers of a listener, so that the counts outlive them.
    counters: Arc<BufferCounters>,
    state: Mutex<State>,
    /// The audience in whose buffer the entries of this consumer stand; mostly `None`.
    membership: Mutex<Option<Arc<Membership>>>,
    /// Whether there is a membership: a look at it costs less than the lock.
    is_member: AtomicBool,
    /// The budget of the pool; `None` for a buffer that is of none.
    budget: Option<Arc<Budget>>,
    /// The bytes that the budget knows of.
    counted: AtomicUsize,
    fruitless: Fruitless,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.recount(*self.counted.get_mut(), 0);
        }
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// The part of a batch that one consumer gets.
#[derive(Debug, Default)]
pub(crate) struct Staged(Queue);

impl Staged {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, notification: Notification, payload: &[u8]) {
        self.0.push(Entry::Notification(notification), payload);
    }

    pub(crate) fn push_fence(&mut self, fence: u32) {
        self.0.push(Entry::Fence(fence), &[]);
    }
}

/// The inside of a [`Subscriber`], locked once for a whole batch.
#[derive(Debug, Default)]
pub(crate) struct State {
    queue: Queue,
    /// Notifications in the block that `drain` hands out without the lock. They still count against `max_messages`.
    leaving_messages: usize,
    /// The bytes of the notifications in that block. They still count against `max_bytes`.
    leaving_bytes: usize,
    armed: bool,
    /// Whether the consumer takes what it is handed with the signal: it had nothing left to do when it was armed.
    takes_handed: bool,
    /// The wish since there was no room for a notification: a pause, until there is plenty of room again; or an error, after
    /// which nothing is added.
    wish: Pressure,
    /// The bytes of the notifications that were taken although there was no room, since there was plenty of it.
    beyond_bytes: usize,
    end: Option<End>,
    /// Set when the stream ended without keeping the entries that were buffered.
    discarded: bool,
    /// When the first notification of the last drained batch was read.
    drained_received: Option<Moment>,
}

impl Subscriber {
    /// An empty buffer. `signal` is called, from any thread, when an armed consumer has something to drain.
    #[must_use]
    pub fn new(
        bounds: Bounds,
        signal: Box<dyn Fn() + Send + Sync>,
        counters: Arc<BufferCounters>,
    ) -> Self {
        Self {
            bounds,
            signal,
            counters,
            state: Mutex::default(),
            membership: Mutex::default(),
            is_member: AtomicBool::new(false),
            budget: None,
            counted: AtomicUsize::new(0),
            fruitless: Fruitless::default(),
        }
    }

    /// The same buffer as one of a pool: what it has counts for the budget.
    #[must_use]
    pub fn within(mut self, budget: &Arc<Budget>) -> Arc<Self> {
        self.budget = Some(Arc::clone(budget));
        let buffer = Arc::new(self);
        budget.enter(Arc::downgrade(&buffer));
        buffer
    }

    /// The budget of the pool, if it is a buffer of one.
    pub(super) fn budget(&self) -> Option<&Arc<Budget>> {
        self.budget.as_ref()
    }

    /// The bytes of its notifications when the lock was released last.
    pub(super) fn counted(&self) -> usize {
        self.counted.load(Ordering::Relaxed)
    }

    /// Changes whether equal notifications are merged, and takes those out that `keep` refuses: in what is buffered, as if it had
    /// been so from the start. Says how many were taken out.
    pub(super) fn select(
        &self,
        coalesce: Option<Coalesce>,
        mut keep: impl FnMut(&Notification, &[u8]) -> bool,
    ) -> u64 {
        self.leave_audience();
        let mut state = self.lock();
        let (mut refused, mut merged) = (0, 0);
        let mut before = state.queue.take_out();
        state.queue = coalesce.map_or_else(Queue::default, Queue::coalescing);
        before.take_all(|entry, payload| match entry {
            Entry::Notification(notification) if !keep(&notification, payload) => refused += 1,
            Entry::Notification(notification) => {
                let queue = &mut state.queue;
                match queue.find_equal(&notification, payload) {
                    Some(place) => {
                        queue.merge(place, &notification, payload);
                        merged += 1;
                    }
                    None => queue.push_waiting(notification, payload),
                }
            }
            Entry::Gap(_) | Entry::Fence(_) => state.queue.push_break(entry),
        });
        self.counters.coalesced.fetch_add(merged, Ordering::Relaxed);
        refused
    }

    /// Takes up to `max` entries out of the buffer and shows each with its payload to `show`. A drain that finds nothing arms the
    /// consumer.
    ///
    /// The lock is not held while entries are shown, so pushes go on.
    pub fn drain(&self, max: usize, mut show: impl FnMut(Entry, &[u8])) -> Drained {
        let (mut shown, mut bytes) = (0, 0);
        loop {
            let mut state = self.lock();
            let is_enough = shown >= max || bytes >= MAX_DRAINED_BYTES;
            let block = if is_enough {
                None
            } else {
                let most_bytes = MAX_DRAINED_BYTES - bytes;
                state.queue.take_block(max - shown, most_bytes)
            };
            let Some(mut block) = block else {
                let is_empty = state.queue.is_empty();
                let end = state.end.clone().filter(|_| is_empty);
                state.armed = shown == 0 && end.is_none();
                state.takes_handed = state.armed;
                if state.armed {
                    state.queue.rest();
                }
                return Drained {
                    shown,
                    is_empty,
                    end,
                };
            };
            state.leaving_messages = block.messages;
            state.leaving_bytes = block.bytes;
            if shown == 0 {
                state.drained_received = block.received();
            }
            drop(state);
            while shown < max && bytes < MAX_DRAINED_BYTES {
                let length = block.take(|entry, payload| {
                    show(entry, payload);
                    payload.len()
                });
                let Some(length) = length else { break };
                shown += 1;
                bytes += length;
            }
            let mut state = self.lock();
            (state.leaving_messages, state.leaving_bytes) = (0, 0);
            if state.discarded {
                return Drained {
                    shown,
                    is_empty: true,
                    end: state.end.clone(),
                };
            }
            state.queue.give_back(block);
        }
    }

    /// Arms the consumer, if there is nothing to take. Says whether that is so.
    pub fn arm(&self) -> bool {
        let mut state = self.lock();
        state.armed = state.queue.is_empty() && state.end.is_none();
        state.takes_handed = state.armed;
        state.armed
    }

    /// Shows the only entry to `show`, if it is a notification, and arms the consumer again. For whoever tells the consumer of the
    /// signal. `None`: the consumer has to drain.
    pub fn hand_over<T>(&self, show: impl FnOnce(&Notification, &[u8]) -> T) -> Option<T> {
        let mut state = self.lock();
        if !state.takes_handed || state.end.is_some() || !state.queue.is_one_notification() {
            return None;
        }
        let mut block = state.queue.take_block(1, MAX_DRAINED_BYTES)?;
        state.leaving_messages = block.messages;
        state.leaving_bytes = block.bytes;
        state.drained_received = block.received();
        drop(state);
        let shown = block.take(|entry, payload| match entry {
            Entry::Notification(notification) => Some(show(&notification, payload)),
            Entry::Gap(_) | Entry::Fence(_) => None,
        });
        // What was added meanwhile has signalled nobody: the end of this change does.
        let mut change = self.change();
        (change.leaving_messages, change.leaving_bytes) = (0, 0);
        if !change.discarded {
            change.queue.give_back(block);
        }
        change.armed = true;
        shown.flatten()
    }

    /// The consumer has something to do before it can take what follows what it was handed: it will drain.
    pub fn stop_handing(&self) {
        let mut state = self.lock();
        (state.armed, state.takes_handed) = (false, false);
    }

    /// Puts back before everything what was drained but could not be handed over: a gap for its notifications, then its own gaps and
    /// fences.
    pub fn lose(&self, lost: Lost) {
        let Lost {
            first,
            count,
            breaks,
        } = lost;
        if first.is_none() && breaks.is_empty() {
            return;
        }
        let gap = first.map(|first| Gap {
            dropped: Some(count),
            message: "a batch could not be handed to JavaScript".to_owned(),
            ..Gap::overflow(first.confirmed.into(), clock::now())
        });
        self.counters.dropped.fetch_add(count, Ordering::Relaxed);
        let gap = gap.map(|gap| Entry::Gap(Box::new(gap)));
        let mut change = self.change();
        if change.discarded {
            return;
        }
        change.queue.push_front(gap.into_iter().chain(breaks));
        // Whoever asked got an error instead, and does not know that there is more.
        (change.armed, change.takes_handed) = (true, false);
    }

    /// Adds the numbers of the channels of which it has notifications.
    pub(super) fn note_channels(&self, numbers: &mut HashSet<u32>) {
        numbers.extend(self.lock().queue.channels());
    }

    /// The bounds.
    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Counts, for `stats()`.
    #[must_use]
    pub fn stats(&self) -> SubscriberStats {
        if let Some(membership) = self.membership() {
            return membership.shared().stats();
        }
        let state = self.lock();
        let oldest = state.queue.received();
        SubscriberStats {
            buffered: state.messages(),
            buffered_bytes: state.bytes(),
            oldest_age: oldest.map(Moment::age),
            drained_age: state.drained_received.map(Moment::age),
        }
    }

    /// Ends the stream. Without `keep`, what is buffered is dropped.
    pub(super) fn end(&self, end: End, keep: bool) {
        if !keep {
            // Before it leaves an audience, so that nothing is copied.
            self.lock().end(end.clone(), false);
        }
        self.change().end(end, keep);
    }

    /// Forgets all entries, without a signal: the consumer was removed and asks no more.
    pub(super) fn close(&self) {
        // Before it leaves an audience, so that nothing is copied.
        let mut state = self.lock();
        state.end(End::Shutdown, false);
        state.armed = false;
        drop(state);
        self.leave_audience();
    }

    /// Tells the consumer that it has something to drain.
    pub(super) fn signal(&self) {
        (self.signal)();
    }
}

impl State {
    fn messages(&self) -> usize {
        self.queue.messages + self.leaving_messages
    }

    fn bytes(&self) -> usize {
        self.queue.bytes + self.leaving_bytes
    }

    /// Adds the gap before a new session.
    pub(crate) fn insert_gap(&mut self, gap: Gap) {
        // A pause that the consumer asked for was one of the lost session.
        if self.wish == Pressure::Pause {
            self.wish = Pressure::None;
        }
        if self.end.is_none() {
            self.queue.push_break(Entry::Gap(Box::new(gap)));
        }
    }

    /// Takes nothing more. Without `keep`, what is buffered is gone too.
    pub(crate) fn end(&mut self, end: End, keep: bool) {
        self.end.get_or_insert(end);
        if !keep {
            self.discarded = true;
            self.queue.clear();
        }
    }
}

#[cfg(test)]
mod tests;
