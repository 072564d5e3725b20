//! The backends that belong to this process' pool and listeners, for listeners that ignore their own notifications.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::time::Instant;

/// How long a backend that has ended counts as ours: its notifications may still be on their way to a listener. After a
/// much longer time its process id could belong to a foreign backend, whose notifications would be lost. Within this time
/// that would take thousands of new processes a second, to go once round the 32,768 ids that a kernel has at least.
const GRACE: Duration = Duration::from_secs(10);

/// Process ids of our backends, each from before its connection can be used until 10 s after its end.
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

    /// Notes that a backend has ended.
    pub fn remove(&self, process_id: i32) {
        self.0
            .write()
            .insert(process_id, Life::EndedAt(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_has_ended_is_ours_for_a_grace_period() {
        let pids = OwnPids::default();
        pids.insert(1);
        assert!(pids.contains(1));
        assert!(!pids.contains(2));
        pids.remove(1);
        tokio::time::advance(GRACE / 2).await;
        assert!(pids.contains(1));
        tokio::time::advance(GRACE / 2).await;
        assert!(!pids.contains(1));
        // The next backend takes the memory of those that are past their time.
        pids.insert(3);
        assert_eq!(pids.0.read().len(), 1);
    }
}
