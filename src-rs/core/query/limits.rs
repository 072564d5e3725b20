//! How long a pool keeps its connections: closes those that are idle for too long or too old, also while nobody asks for one.

use std::time::Duration;

use deadpool::managed::WeakPool;
use rand::Rng as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::query::backend::Backend;
use crate::query::connections::Opener;

/// The part of the longest life by which it may be shorter, so that connections that were opened together do not end together.
const JITTER: f64 = 0.1;

/// Connections are looked through no more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// How long a pool keeps its connections.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// How long a connection may be idle. `None`: for ever.
    pub idle_timeout: Option<Duration>,
    /// How old a connection may become, less up to a tenth. `None`: as old as it likes.
    pub max_lifetime: Option<Duration>,
}

impl Limits {
    /// When a connection that is opened now is too old.
    pub(super) fn end_of_life(&self) -> Option<Instant> {
        let shorter = rand::rng().random_range(0.0..=JITTER);
        Instant::now().checked_add(self.max_lifetime?.mul_f64(1.0 - shorter))
    }

    /// When a connection that is not leased is to be closed.
    fn due(&self, backend: &Backend) -> Option<Instant> {
        let idle = self
            .idle_timeout
            .and_then(|timeout| backend.idle_since().checked_add(timeout));
        [idle, backend.end_of_life()].into_iter().flatten().min()
    }

    /// Whether a connection that is not leased is to be closed now.
    pub(super) fn is_due(&self, backend: &Backend) -> bool {
        self.due(backend).is_some_and(|due| due <= Instant::now())
    }

    /// No connection that is opened from now on is due before this, nor one that is given back, unless its end comes before.
    fn shortest(&self) -> Option<Duration> {
        let life = self.max_lifetime.map(|life| life.mul_f64(1.0 - JITTER));
        [self.idle_timeout, life].into_iter().flatten().min()
    }
}

/// Closes connections when they are due, until the pool is closed or gone.
pub(super) async fn enforce(
    limits: Limits,
    connections: &WeakPool<Opener>,
    closing: &CancellationToken,
) {
    let Some(shortest) = limits.shortest() else {
        return;
    };
    let mut pause = shortest;
    loop {
        let paused = tokio::time::sleep(pause.max(SHORTEST_PAUSE));
        if closing.run_until_cancelled(paused).await.is_none() {
            return;
        }
        let Some(pool) = connections.upgrade() else {
            return;
        };
        fail_point!("limits");
        let now = Instant::now();
        pause = shortest;
        let looked_through = pool.retain(|backend, _| match limits.due(backend) {
            Some(due) if due <= now => false,
            Some(due) => {
                pause = pause.min(due - now);
                true
            }
            None => true,
        });
        // Closed outside of the pool's lock.
        drop(looked_through.removed);
        // One that is leased now may come back just before its end. After its end it does not come back.
        let ends = pool.manager().ends_of_life();
        let coming = ends
            .iter()
            .filter_map(|end| end.checked_duration_since(now));
        pause = coming.fold(pause, Duration::min);
    }
}
