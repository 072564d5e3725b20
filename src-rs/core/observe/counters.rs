//! The counters of one listener.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Counters of one listener. Counting costs one relaxed addition; they are read by `stats()` alone.
#[derive(Debug, Default)]
pub struct Counters {
    /// Notifications of subscribed channels that were read from the server.
    pub received: AtomicU64,
    /// Notifications that a full buffer dropped. Shared with the buffers, so that the count outlives them.
    pub dropped: Arc<AtomicU64>,
    /// How many times a new session took the place of a lost one.
    pub reconnects: AtomicU64,
}
