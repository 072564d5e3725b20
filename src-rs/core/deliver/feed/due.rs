//! What is due to others once a feed has handed a batch on.

use std::sync::Arc;

use super::{Reply, SeatId};
use crate::deliver::buffer::Subscriber;

/// Whoever is to be told, once the feed's lock is released. All are told when this is dropped.
///
/// Consumers that are signalled one right after the other wake JavaScript once. In between, the next seat's part would have to be
/// sorted, and JavaScript would be awake already.
#[derive(Default)]
pub(super) struct Due {
    /// The consumers that have something to drain.
    pub(super) ready: Vec<Arc<Subscriber>>,
    /// The answers to whoever waits for a fence that was passed, with the seat in whose stream it stands.
    pub(super) passed: Vec<(SeatId, Reply)>,
}

impl Due {
    /// Withholds the answers for seats of which a consumer overflowed under the policy `error`: their streams end before the fence.
    /// Whoever waits learns of the end from the dropped reply.
    pub(super) fn withhold(&mut self, overflowed: &[SeatId]) {
        if !overflowed.is_empty() {
            self.passed.retain(|(seat, _)| !overflowed.contains(seat));
        }
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        for subscriber in self.ready.drain(..) {
            subscriber.signal();
        }
        for (_, reply) in self.passed.drain(..) {
            // Nobody waits for the fence of a `sync()` that was aborted.
            let _ = reply.send(Ok(()));
        }
    }
}
