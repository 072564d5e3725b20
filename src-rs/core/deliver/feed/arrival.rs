//! A seat that comes from another feed, exactly: it hears the other feed up to a fence that both hear, and this one from there on.
//!
//! Notifications have one order for all sessions of a server, so the fence is the same place in both streams.
//!
//! ```text
//! the other feed   n1  n2  F  .  .         up to F to the seat, then no more
//! this feed         .  n2  F  n3  n4       held from F on, until the other feed is at F too
//! ```
//!
//! All that decides is under this feed's lock, which is taken after the other one's. If either session is lost before the other
//! feed is at the fence, nothing has happened: the seat hears the other feed, and another fence is tried.

use tokio::sync::oneshot;

use crate::base::error::Result;
use crate::inbound::{ReceivedBatch, Stop};

/// The most bytes that are held for a seat that arrives; then the session is not read until the other feed has come so far.
const MAX_HELD_BYTES: usize = 4 << 20;

/// What became of a fence: `Ok(true)`, the seat has come over; `Ok(false)`, a session was lost before.
pub(crate) type Crossing = oneshot::Receiver<Result<bool>>;

/// A seat that is on its way to this feed.
pub(super) struct Arrival {
    pub(super) fence: u32,
    /// What this feed's session has delivered from the fence on; `None` before the fence.
    pub(super) held: Option<Held>,
    /// Whether the other feed is at the fence and has handed the seat over.
    pub(super) is_released: bool,
    told: Option<oneshot::Sender<Result<bool>>>,
}

/// Batches from the fence on.
#[derive(Default)]
pub(super) struct Held {
    /// Each with the number of notifications at its beginning that stand before the fence, and the fence.
    pub(super) batches: Vec<(ReceivedBatch, usize)>,
    bytes: usize,
}

impl Held {
    pub(super) fn push(&mut self, batch: ReceivedBatch, skipped: usize) -> Option<Stop> {
        self.bytes += batch.bytes();
        self.batches.push((batch, skipped));
        self.is_full().then_some(Stop::Pause)
    }

    fn is_full(&self) -> bool {
        self.bytes > MAX_HELD_BYTES
    }
}

impl Arrival {
    pub(super) fn new(fence: u32) -> (Self, Crossing) {
        let (told, crossing) = oneshot::channel();
        let arrival = Self {
            fence,
            held: None,
            is_released: false,
            told: Some(told),
        };
        (arrival, crossing)
    }

    pub(super) fn is_full(&self) -> bool {
        self.held.as_ref().is_some_and(Held::is_full)
    }

    /// Tells who waits for the crossing.
    pub(super) fn tell(&mut self, outcome: Result<bool>) {
        if let Some(told) = self.told.take() {
            // Whoever waited may have been shut down.
            let _ = told.send(outcome);
        }
    }
}
