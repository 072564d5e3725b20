//! The notifications that wait in the queue of a consumer that coalesces.
//!
//! ```text
//! blocks   what came before the last gap or fence; nothing is merged into it
//! waiting  what came since, in the order of arrival:   a  b  c  d  ◄── an equal of `b` is merged into it, at its place
//! index    hash of what makes two notifications equal ──► the number of the one that waits
//! ```
//!
//! A gap or a fence moves all that waits to the end of the blocks, and a drain moves as much as it takes: nothing is merged any
//! more into what was moved. The first is the only one that is ever removed, so a number tells a place: numbers count on, and the
//! first one's is known.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::mem;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::{Queue, overflow_gap};
use crate::base::Moment;
use crate::deliver::buffer::{Entry, Notification};
use crate::deliver::gap::Full;

/// The room for notifications that is kept while the consumer waits.
const ROOM_AT_REST: usize = 64;

/// When two notifications of a consumer are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coalesce {
    /// They have the same channel and the same payload. The first one stays as it is.
    Payload,
    /// They have the same channel. The payload and the process id of the newest take the place of the first one's.
    Channel,
}

/// A notification that waits.
#[derive(Debug)]
struct Waiter {
    notification: Notification,
    payload: Box<[u8]>,
    /// When the last notification that it stands for was read.
    newest: Moment,
}

/// The place of a notification that waits.
#[derive(Debug, Clone, Copy)]
pub(in crate::deliver::buffer) struct Place(usize);

/// The notifications that wait for their consumer, with the index by which equal ones are found.
#[derive(Debug)]
pub(super) struct Waiting {
    by: Coalesce,
    waiters: VecDeque<Waiter>,
    /// The number of the first one; numbers wrap around.
    first: u32,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Waiting {
    fn new(by: Coalesce) -> Self {
        Self {
            by,
            waiters: VecDeque::new(),
            first: 0,
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    fn find(&self, notification: &Notification, payload: &[u8]) -> Option<Place> {
        let hash = hash(&self.hasher, self.by, notification.channel, payload);
        let place = |number: u32| number.wrapping_sub(self.first) as usize;
        let is_equal = |number: &u32| {
            let waiter = &self.waiters[place(*number)];
            waiter.notification.channel == notification.channel
                && (self.by == Coalesce::Channel || *waiter.payload == *payload)
        };
        let number = self.index.find(hash, is_equal)?;
        Some(Place(place(*number)))
    }

    fn push(&mut self, notification: Notification, payload: &[u8]) {
        let Self {
            by,
            waiters,
            first,
            index,
            hasher,
        } = self;
        let number = u32::try_from(waiters.len()).map_or(*first, |count| first.wrapping_add(count));
        waiters.push_back(Waiter {
            notification,
            payload: payload.into(),
            newest: notification.received,
        });
        index.insert_unique(
            hash(hasher, *by, notification.channel, payload),
            number,
            |number| {
                let waiter = &waiters[number.wrapping_sub(*first) as usize];
                hash(hasher, *by, waiter.notification.channel, &waiter.payload)
            },
        );
    }

    /// Takes the first one out. When none is left, nothing is in the index.
    fn pop(&mut self) -> Option<Waiter> {
        let waiter = self.waiters.pop_front()?;
        let hash = hash(
            &self.hasher,
            self.by,
            waiter.notification.channel,
            &waiter.payload,
        );
        let first = self.first;
        if let Ok(indexed) = self.index.find_entry(hash, |number| *number == first) {
            indexed.remove();
        }
        self.first = first.wrapping_add(1);
        Some(waiter)
    }
}

fn hash(hasher: &DefaultHashBuilder, by: Coalesce, channel: u32, payload: &[u8]) -> u64 {
    match by {
        Coalesce::Payload => hasher.hash_one((channel, payload)),
        Coalesce::Channel => hasher.hash_one(channel),
    }
}

impl Queue {
    /// A queue that merges equal notifications.
    pub(in crate::deliver::buffer) fn coalescing(by: Coalesce) -> Self {
        Self {
            waiting: Some(Box::new(Waiting::new(by))),
            ..Self::default()
        }
    }

    /// Whether equal notifications are merged.
    pub(in crate::deliver::buffer) fn coalesces(&self) -> bool {
        self.waiting.is_some()
    }

    /// The place of the notification that waits into which this one is to be merged.
    pub(in crate::deliver::buffer) fn find_equal(
        &self,
        notification: &Notification,
        payload: &[u8],
    ) -> Option<Place> {
        self.waiting.as_ref()?.find(notification, payload)
    }

    /// The bytes that a notification adds to the queue when it is merged at `place`, or added at the end.
    pub(in crate::deliver::buffer) fn bytes_with(
        &self,
        place: Option<Place>,
        notification: &Notification,
    ) -> usize {
        let Some(waiting) = &self.waiting else {
            return self.bytes + notification.bytes();
        };
        match place {
            Some(_) if waiting.by == Coalesce::Payload => self.bytes,
            Some(Place(place)) => {
                self.bytes - waiting.waiters[place].notification.bytes() + notification.bytes()
            }
            None => self.bytes + notification.bytes(),
        }
    }

    /// Merges a notification into the one at the place that [`Queue::find_equal`] has just given.
    pub(in crate::deliver::buffer) fn merge(
        &mut self,
        place: Place,
        notification: &Notification,
        payload: &[u8],
    ) {
        let bytes = self.bytes_with(Some(place), notification);
        let Some(waiting) = &mut self.waiting else {
            return;
        };
        let waiter = &mut waiting.waiters[place.0];
        waiter.newest = waiter.newest.max(notification.received);
        if waiting.by == Coalesce::Channel {
            if waiter.payload.len() == payload.len() {
                waiter.payload.copy_from_slice(payload);
            } else {
                waiter.payload = payload.into();
            }
            waiter.notification = Notification {
                received: waiter.notification.received,
                confirmed: waiter.notification.confirmed,
                ..*notification
            };
        }
        self.bytes = bytes;
    }

    /// Adds a notification that those to come may be merged into.
    pub(in crate::deliver::buffer) fn push_waiting(
        &mut self,
        notification: Notification,
        payload: &[u8],
    ) {
        let Some(waiting) = &mut self.waiting else {
            return self.push(Entry::Notification(notification), payload);
        };
        waiting.push(notification, payload);
        self.messages += 1;
        self.bytes += notification.bytes();
    }

    /// Adds a gap or a fence: nothing is merged any more into what stands before it.
    pub(in crate::deliver::buffer) fn push_break(&mut self, entry: Entry) {
        self.settle();
        self.push(entry, &[]);
    }

    /// Moves all that waits to the end of the blocks.
    pub(super) fn settle(&mut self) {
        while let Some(waiter) = self.waiting.as_mut().and_then(|waiting| waiting.pop()) {
            // It may be dropped there, and the gap has to reach as far as the last one that it stands for.
            let notification = Notification {
                received: waiter.newest,
                ..waiter.notification
            };
            self.place(Entry::Notification(notification), &waiter.payload);
        }
    }

    /// Moves as many of the notifications that wait to the blocks as a drain takes that takes so many, or so many bytes.
    pub(super) fn move_waiting(&mut self, most: usize, most_bytes: usize) {
        let (mut moved, mut bytes) = (0, 0);
        while moved < most
            && bytes < most_bytes
            && let Some(waiter) = self.waiting.as_mut().and_then(|waiting| waiting.pop())
        {
            moved += 1;
            bytes += waiter.payload.len();
            self.place(Entry::Notification(waiter.notification), &waiter.payload);
        }
    }

    /// Drops the first of the notifications that wait, and notes that at the end of the blocks.
    pub(super) fn drop_waiting(&mut self, full: Full) -> bool {
        let Some(waiter) = self.waiting.as_mut().and_then(|waiting| waiting.pop()) else {
            return false;
        };
        let dropped = waiter.notification;
        self.messages -= 1;
        self.bytes -= dropped.bytes();
        let until = Notification {
            received: waiter.newest,
            ..dropped
        };
        match self.last_overflow() {
            Some(gap) => gap.drop_another(until.received.into()),
            None => self.push(overflow_gap(&until, full), &[]),
        }
        true
    }

    /// The number of the channel of each notification that waits.
    pub(super) fn waiting_channels(&self) -> impl Iterator<Item = u32> {
        let waiters = self.waiting.iter().flat_map(|waiting| &waiting.waiters);
        waiters.map(|waiter| waiter.notification.channel)
    }

    /// When the first of the notifications that wait was read.
    pub(super) fn waiting_since(&self) -> Option<Moment> {
        let first = self.waiting.as_ref()?.waiters.front()?;
        Some(first.notification.received)
    }

    /// Gives back the memory that only a flood needs.
    pub(super) fn rest_waiting(&mut self) {
        if let Some(waiting) = &mut self.waiting
            && waiting.waiters.is_empty()
            && waiting.waiters.capacity() > ROOM_AT_REST
        {
            **waiting = Waiting::new(waiting.by);
        }
    }

    /// Takes everything out, into a queue that does not merge.
    pub(in crate::deliver::buffer) fn take_out(&mut self) -> Self {
        self.settle();
        let empty = Self {
            waiting: self.waiting.take(),
            ..Self::default()
        };
        mem::replace(self, empty)
    }
}
