//! How long to wait before the next attempt to connect.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::base::error::{Error, ErrorKind};

/// A server that is starting up is back within moments, so the delay stays short.
const STARTING_UP_DELAY: Duration = Duration::from_millis(250);

/// Full-jitter exponential back-off: many clients of a server that comes back do not all come at once.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    initial: Duration,
    max: Duration,
    step: u32,
    /// When the trouble began: sessions that end at once do not end it.
    since: Option<Instant>,
    /// Whether each attempt asks for the password anew.
    asks_password: bool,
    /// How often in a row the server did not accept who we are.
    refusals: u32,
}

impl Backoff {
    /// Delays between zero and `initial`, doubling up to `max`.
    #[must_use]
    pub(super) fn new(initial: Duration, max: Duration) -> Self {
        Self {
            initial,
            max,
            step: 0,
            since: None,
            asks_password: false,
            refusals: 0,
        }
    }

    /// The same, for attempts of which each asks for the password anew. It may have changed just then, so the first refusal
    /// is not a reason to come rarely.
    #[must_use]
    pub(super) fn asking(self, asks_password: bool) -> Self {
        Self {
            asks_password,
            ..self
        }
    }

    /// Notes that there is a session: the server accepts who we are.
    pub(super) fn accepted(&mut self) {
        self.refusals = 0;
    }

    /// How urgent the next attempt is after this failure. To be asked once for each.
    pub(super) fn pace(&mut self, error: &Error) -> Pace {
        let pace = pace(error);
        if !error.refuses_us() {
            return pace;
        }
        self.refusals += 1;
        if self.asks_password && self.refusals == 1 {
            Pace::Normal
        } else {
            pace
        }
    }

    /// Back to the shortest delay, because a session that was stable has been lost now.
    pub(super) fn reset(&mut self) {
        self.step = 0;
        self.since = Some(Instant::now());
    }

    /// The delay after a session that was not stable was lost, or an attempt was refused, at `pace`. It is at most half of the time since the
    /// trouble began, so that a short outage is not followed by a long deafness.
    pub(super) fn next(&mut self, pace: Pace) -> Duration {
        let outage = self.since.get_or_insert_with(Instant::now).elapsed();
        self.after(pace, outage)
    }

    fn after(&mut self, pace: Pace, outage: Duration) -> Duration {
        let exponential = self.initial.saturating_mul(1 << self.step).min(self.max);
        if exponential < self.max {
            self.step += 1;
        }
        let ceiling = exponential.min(self.initial.max(outage / 2));
        match pace {
            Pace::StartingUp => jitter(ceiling.min(STARTING_UP_DELAY)),
            Pace::Normal => jitter(ceiling),
            // Asking often would only fill the server's log, or lock the account.
            Pace::Hopeless => self.max / 2 + jitter(self.max / 2),
        }
    }
}

/// A number between zero and `ceiling`.
pub(super) fn jitter(ceiling: Duration) -> Duration {
    rand::rng().random_range(Duration::ZERO..=ceiling)
}

/// How urgent the next attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// The server is back within moments.
    StartingUp,
    /// As the back-off says.
    Normal,
    /// Only a person can mend the reason: a wrong password, say, or a missing database.
    Hopeless,
}

impl Pace {
    /// Whether a person has to be told.
    pub(super) fn needs_attention(self) -> bool {
        self == Self::Hopeless
    }
}

fn pace(error: &Error) -> Pace {
    match error.sql_state() {
        // cannot_connect_now
        Some("57P03") => Pace::StartingUp,
        // invalid_catalog_name
        Some("3D000") => Pace::Hopeless,
        _ if error.refuses_us() || error.is_hopeless => Pace::Hopeless,
        _ if matches!(error.kind, ErrorKind::Configuration | ErrorKind::Tls) => Pace::Hopeless,
        _ => Pace::Normal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INITIAL: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(30);

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn delays_double_up_to_the_maximum() {
        let mut backoff = Backoff::new(INITIAL, MAX);
        let lost = Pace::Normal;
        for step in 0..40 {
            let ceiling = (INITIAL * 2_u32.pow(step.min(20))).min(MAX);
            assert!(backoff.after(lost, LONG) <= ceiling, "step {step}");
        }
        let longest = (0..200).map(|_| backoff.after(lost, LONG)).max().unwrap();
        assert!(
            longest > MAX / 2,
            "full jitter uses the whole range, got {longest:?}"
        );
        backoff.reset();
        assert!(backoff.after(lost, LONG) <= INITIAL);
    }

    #[test]
    fn a_delay_is_no_longer_than_half_of_the_outage() {
        let mut backoff = Backoff::new(INITIAL, MAX);
        let lost = Pace::Normal;
        for _ in 0..20 {
            assert!(backoff.after(lost, Duration::from_secs(6)) <= Duration::from_secs(3));
            assert!(backoff.after(lost, Duration::ZERO) <= INITIAL);
        }
    }

    #[test]
    fn the_servers_reason_sets_the_pace() {
        let mut backoff = Backoff::new(INITIAL, MAX);
        for _ in 0..20 {
            assert!(
                backoff.after(pace(&Error::of_server("FATAL", "57P03")), LONG) <= STARTING_UP_DELAY
            );
        }
        for sql_state in ["28P01", "28000", "3D000"] {
            assert!(backoff.after(pace(&Error::of_server("FATAL", sql_state)), LONG) >= MAX / 2);
        }
        assert!(backoff.after(pace(&Error::new(ErrorKind::Tls, "")), LONG) >= MAX / 2);
    }

    #[test]
    fn only_the_first_refusal_of_a_password_that_was_asked_for_is_followed_soon() {
        let refused = Error::of_server("FATAL", "28P01");
        let mut known = Backoff::new(INITIAL, MAX);
        assert_eq!(known.pace(&refused), Pace::Hopeless);
        let mut asking = Backoff::new(INITIAL, MAX).asking(true);
        for _ in 0..2 {
            assert_eq!(asking.pace(&refused), Pace::Normal);
            assert_eq!(asking.pace(&refused), Pace::Hopeless);
            asking.accepted();
        }
    }
}
