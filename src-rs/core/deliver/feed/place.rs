//! A session's place at its feed, and what the feed holds for a session that is not verified.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Feed;
use crate::deliver::seat::Event;
use crate::inbound::{ReceivedBatch, Stop};

/// The most bytes that the feed keeps for a session that is not verified. Until it is verified, only what is committed during
/// one round trip comes; a session that delivers more is not read on, and fails at its deadline if it has no answer by then.
const MAX_HELD_BYTES: usize = 4 << 20;

/// The probes of sessions count down from here; the fences of `sync()` count up from one.
const FIRST_PROBE: u32 = u32::MAX;
/// How many different probes there are.
const PROBES: u64 = 1 << 16;

/// A session that is not verified.
#[derive(Default)]
pub(super) struct Unverified {
    /// What it has delivered, in order.
    pub(super) held: Vec<ReceivedBatch>,
    held_bytes: usize,
}

impl Unverified {
    pub(super) fn hold(&mut self, batch: &ReceivedBatch) -> Option<Stop> {
        self.held_bytes += batch.bytes();
        self.held.push(batch.clone());
        self.is_full().then_some(Stop::Pause)
    }

    pub(super) fn is_full(&self) -> bool {
        self.held_bytes > MAX_HELD_BYTES
    }
}

/// A session's place at its feed, from before its first byte to its end. Dropping it forgets what the feed holds for the session.
#[must_use = "a session that has no place is not heard"]
#[derive(Debug)]
pub(crate) struct FeedPlace {
    pub(super) feed: Arc<Feed>,
    pub(super) number: u64,
}

impl FeedPlace {
    /// A place for a session that is about to be made.
    pub(crate) fn take(feed: &Arc<Feed>) -> Self {
        let mut inner = feed.inner.lock();
        inner.begun += 1;
        let number = inner.begun;
        inner.unverified.insert(number, Unverified::default());
        drop(inner);
        Self {
            feed: Arc::clone(feed),
            number,
        }
    }

    /// The session's number, under which its driver publishes.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The private channel of fences and probes.
    pub(crate) fn fence_channel(&self) -> &str {
        self.feed.fence_channel()
    }

    /// Tells the listener something of this session.
    pub(crate) fn announce(&self, event: Event) {
        self.feed.announce(event);
    }

    /// Tells the listener what a user should know of this session.
    pub(crate) fn warn(&self, message: String) {
        self.announce(Event::Warning(message));
    }

    /// A fence of this session alone, and a receiver that resolves when the session has delivered it. What another session of
    /// the same feed delivers proves nothing about this one.
    pub(crate) fn probe(&self) -> (u32, oneshot::Receiver<()>) {
        let (probed, receiver) = oneshot::channel();
        let mut inner = self.feed.inner.lock();
        inner.probes.insert(self.number, probed);
        drop(inner);
        (probe_of(self.number), receiver)
    }
}

impl Drop for FeedPlace {
    fn drop(&mut self) {
        let mut inner = self.feed.inner.lock();
        inner.unverified.remove(&self.number);
        inner.probes.remove(&self.number);
        inner.current.take_if(|current| *current == self.number);
    }
}

/// The probe of a session.
pub(super) fn probe_of(session: u64) -> u32 {
    // Few sessions are in the making at the same time, so numbers may come again.
    FIRST_PROBE - u32::try_from(session % PROBES).unwrap_or_default()
}
