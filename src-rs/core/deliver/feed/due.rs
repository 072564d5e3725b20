//! What is due to others once a feed has handed a batch on.

use std::sync::Arc;

use super::Reply;
use crate::deliver::buffer::Subscriber;

/// Whoever is to be told, once the feed's lock is released. All are told when this is dropped.
///
/// Consumers that are signalled one right after the other wake JavaScript once. In between, the next seat's part would have to be
/// sorted, and JavaScript would be awake already.
#[derive(Default)]
pub(super) struct Due {
    /// The consumers that have something to drain.
    pub(super) ready: Vec<Arc<Subscriber>>,
    /// The answers to whoever waits for a fence that was passed.
    pub(super) passed: Vec<Reply>,
}

impl Drop for Due {
    fn drop(&mut self) {
        for subscriber in self.ready.drain(..) {
            subscriber.signal();
        }
        for reply in self.passed.drain(..) {
            // Nobody waits for the fence of a `sync()` that was aborted.
            let _ = reply.send(Ok(()));
        }
    }
}
