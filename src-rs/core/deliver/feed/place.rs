//! A session's place at its feed, and what the feed holds for a session that is not verified.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Feed;
use super::fences::next_fence;
use crate::deliver::seat::Event;
use crate::inbound::ReceivedBatch;

/// The most bytes that the feed keeps of what a session delivers before it is verified. All of it goes to consumers at once, beyond
/// the bounds of one that pauses a session and still had room.
const MAX_HELD_BYTES: usize = 512 << 10;

/// A session that is not verified.
#[derive(Default)]
pub(super) struct Unverified {
    /// What it has delivered, in order.
    pub(super) held: VecDeque<ReceivedBatch>,
    held_bytes: usize,
}

impl Unverified {
    /// Keeps a batch. When that is too much, only the youngest batches are kept: what comes before the verification was
    /// committed before the end of the gap, or before `startup()` has resolved. The session goes on to be read, since thousands
    /// of LISTENs take their time, in a flood too.
    pub(super) fn hold(&mut self, batch: &ReceivedBatch) {
        self.held_bytes += batch.bytes();
        self.held.push_back(batch.clone());
        while self.held_bytes > MAX_HELD_BYTES
            && let Some(oldest) = self.held.pop_front()
        {
            self.held_bytes -= oldest.bytes();
        }
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

    /// How many seats are at the feed.
    pub(crate) fn seats(&self) -> usize {
        self.feed.seats()
    }

    /// The names of the listeners at the feed, in one line; `None` when none has a name.
    pub(crate) fn label(&self) -> Option<String> {
        self.feed.label()
    }

    /// Tells the listeners something of this session.
    pub(crate) fn announce(&self, event: Event) {
        self.feed.announce(&event);
    }

    /// Tells the listeners what a user should know of this session.
    pub(crate) fn warn(&self, message: String) {
        self.announce(Event::Warning(message));
    }

    /// A fence of this session alone, and a receiver that resolves when the session has delivered it. What another session of
    /// the same feed delivers proves nothing about this one.
    pub(crate) fn probe(&self) -> (u32, oneshot::Receiver<()>) {
        let (probed, receiver) = oneshot::channel();
        let mut inner = self.feed.inner.lock();
        let probe = next_fence();
        inner.probes.insert(self.number, (probe, probed));
        drop(inner);
        (probe, receiver)
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
