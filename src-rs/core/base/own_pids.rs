//! The backends that belong to this process' pool and listeners, for `ignoreOwn`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

/// How long a backend that has ended counts as ours: what it sent may still be on its way to a listener. Kept much
/// longer, its process id could be that of somebody else, whose notifications would be lost: going once round the
/// 32,768 ids that a kernel has at least takes thousands of new processes a second.
const GRACE: Duration = Duration::from_secs(10);

/// Process ids of backends. One is in here from before its connection can be used until [`GRACE`] after its end.
#[derive(Debug, Default)]
pub struct OwnPids(RwLock<HashMap<i32, Life>>);

#[derive(Debug, Clone, Copy)]
enum Life {
    Running,
    EndedAt(Instant),
}

impl Life {
    fn counts(self) -> bool {
        match self {
            Self::Running => true,
            Self::EndedAt(moment) => moment.elapsed() < GRACE,
        }
    }
}

impl OwnPids {
    /// Whether a backend is one of ours.
    #[must_use]
    pub fn contains(&self, process_id: i32) -> bool {
        self.0
            .read()
            .get(&process_id)
            .is_some_and(|life| life.counts())
    }

    /// Adds a backend.
    pub fn insert(&self, process_id: i32) {
        let mut pids = self.0.write();
        pids.retain(|_, life| life.counts());
        pids.insert(process_id, Life::Running);
    }

    /// A backend has ended.
    pub fn remove(&self, process_id: i32) {
        self.0
            .write()
            .insert(process_id, Life::EndedAt(Instant::now()));
    }
}
