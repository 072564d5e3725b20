//! Counters and snapshots, for `stats()` and for whoever watches a process.

mod counters;

pub use counters::{BufferCounters, Counters};
