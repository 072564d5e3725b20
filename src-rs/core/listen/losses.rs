//! How many stable sessions of this process were lost in the same moment, so that not all of them come back in the same moment.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::backoff::jitter;

/// Sessions that are lost within this time of each other were lost in the same moment, and come back within this time.
const MOMENT: Duration = Duration::from_millis(100);
/// So many sessions come back at once. They harm no server, and most processes have fewer.
const AT_ONCE: u32 = 8;

/// The losses of the present moment.
#[derive(Debug)]
pub(super) struct Losses(Mutex<Option<Recent>>);

#[derive(Debug)]
struct Recent {
    began: Instant,
    count: u32,
}

impl Losses {
    /// No losses yet.
    pub(super) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Counts a stable session that was lost now. Gives the delay of its first attempt: none for the first of a moment, and a
    /// random part of [`MOMENT`] for those beyond [`AT_ONCE`].
    pub(super) fn note(&self) -> Duration {
        let now = Instant::now();
        let mut recent = self.0.lock();
        let recent = match &mut *recent {
            Some(recent) if now.duration_since(recent.began) < MOMENT => recent,
            other => other.insert(Recent {
                began: now,
                count: 0,
            }),
        };
        recent.count += 1;
        if recent.count <= AT_ONCE {
            return Duration::ZERO;
        }
        jitter(MOMENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_sessions_that_are_lost_at_once_come_back_spread_and_a_few_do_not() {
        let losses = Losses::new();
        let delays: Vec<Duration> = (0..1000).map(|_| losses.note()).collect();
        assert!(delays[..8].iter().all(Duration::is_zero));
        assert!(delays.iter().all(|delay| *delay <= MOMENT));
        let late = delays.iter().filter(|delay| **delay > MOMENT / 2).count();
        assert!((400..600).contains(&late), "spread evenly: {late}");
        tokio::time::advance(MOMENT).await;
        assert_eq!(losses.note(), Duration::ZERO, "another moment");
    }
}
