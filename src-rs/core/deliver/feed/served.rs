//! What a feed serves, and the signs of life of its session: for `stats()` and `health()`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Feed;

/// The signs of life of a session.
pub(super) struct Signs {
    /// Tells when anything was last read from the server.
    heard: Box<dyn Fn() -> Instant + Send + Sync>,
    /// When the server last answered a request.
    answered: Instant,
    /// The start of the server, which tells it from others; `None` when it does not say.
    server_started: Option<String>,
}

/// What a feed serves, for `stats()`.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    /// The backend of the session; `None` while there is none.
    pub process_id: Option<i32>,
    /// How many listeners hear it.
    pub listeners: usize,
    /// How many channels they are subscribed to, each counted once.
    pub channels: usize,
    /// The round trip of the last answered heartbeat; `None` before the first.
    pub round_trip: Option<Duration>,
    /// How long ago the server answered a request; `None` before the first session.
    pub since_answer: Option<Duration>,
    /// How long ago anything was read from the server; `None` before the first session.
    pub since_heard: Option<Duration>,
}

impl Feed {
    /// What is served.
    #[must_use]
    pub fn served(&self) -> Served {
        let inner = self.inner.lock();
        let round_trip = self.round_trip_us.load(Ordering::Relaxed);
        let backend = self.backend.load(Ordering::Relaxed);
        let signs = self.signs.lock();
        let signs = signs.as_ref();
        Served {
            process_id: (backend != 0).then_some(backend),
            listeners: inner.seats.count(),
            channels: inner.seats.routes.len(),
            round_trip: (round_trip > 0).then(|| Duration::from_micros(round_trip)),
            since_answer: signs.map(|it| it.answered.elapsed()),
            // An answer is heard too; the socket notes moments to the millisecond.
            since_heard: signs.map(|it| (it.heard)().max(it.answered).elapsed()),
        }
    }

    /// Notes the backend of the session, or that there is none.
    pub(crate) fn note_backend(&self, process_id: Option<i32>) {
        self.backend
            .store(process_id.unwrap_or(0), Ordering::Relaxed);
    }

    /// Notes a new session, which the server has answered just now. `heard` tells when anything was last read from the server.
    pub(crate) fn note_signs(
        &self,
        server_started: Option<&str>,
        heard: impl Fn() -> Instant + Send + Sync + 'static,
    ) {
        *self.signs.lock() = Some(Signs {
            heard: Box::new(heard),
            answered: Instant::now(),
            server_started: server_started.map(ToOwned::to_owned),
        });
    }

    /// Whether the session of another feed is at another server, as far as both tell.
    pub(crate) fn is_elsewhere(&self, other: &Self) -> bool {
        let started = |feed: &Self| {
            let signs = feed.signs.lock();
            signs.as_ref().and_then(|it| it.server_started.clone())
        };
        let both = started(self).zip(started(other));
        both.is_some_and(|(ours, theirs)| ours != theirs)
    }

    /// Notes that the server has answered a request of the session.
    pub(crate) fn note_answer(&self) {
        if let Some(signs) = &mut *self.signs.lock() {
            signs.answered = Instant::now();
        }
    }

    /// The names of the listeners that the session serves, in one line; `None` when none has a name.
    pub(crate) fn label(&self) -> Option<String> {
        self.inner.lock().seats.label()
    }

    /// Notes the round trip of a heartbeat.
    pub(crate) fn note_round_trip(&self, round_trip: Duration) {
        let microseconds = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        self.round_trip_us
            .store(microseconds.max(1), Ordering::Relaxed);
    }
}
