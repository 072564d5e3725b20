//! Counters, snapshots and names, for `stats()` and for whoever watches a process or its server.

mod counters;
mod names;

pub use counters::{BufferCounters, Counters};
pub use names::{PlainName, label};
