//! The counters of one listener.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Counters of one listener. Counting costs one relaxed addition; they are read by `stats()` alone.
#[derive(Debug, Default)]
pub struct Counters {
    /// Notifications of subscribed channels that were read from the server.
    pub received: AtomicU64,
    /// What the buffers of the listener's consumers count.
    pub buffers: Arc<BufferCounters>,
    /// Notifications that a filter kept from a consumer, counted once for each such consumer.
    pub filtered: AtomicU64,
    /// How many times a new session took the place of a lost one.
    pub reconnects: AtomicU64,
}

/// What the buffers of a listener's consumers count. Shared with the buffers, so that the counts outlive them.
#[derive(Debug, Default)]
pub struct BufferCounters {
    /// Notifications that a full buffer dropped.
    pub dropped: AtomicU64,
    /// Notifications that were merged into one that waited.
    pub coalesced: AtomicU64,
}
