//! The backend process ids of a pool's live connections: what was sent through them is "one's own".

use std::collections::HashSet;

use parking_lot::RwLock;

/// A set that is read for every notification and written for every connection.
#[derive(Debug, Default)]
pub struct OwnPids(RwLock<HashSet<i32>>);

impl OwnPids {
    /// Whether a live connection of the pool has this process id.
    #[must_use]
    pub fn contains(&self, process_id: i32) -> bool {
        self.0.read().contains(&process_id)
    }

    /// A connection was opened.
    pub fn insert(&self, process_id: i32) {
        self.0.write().insert(process_id);
    }

    /// A connection has ended.
    pub fn remove(&self, process_id: i32) {
        self.0.write().remove(&process_id);
    }
}
