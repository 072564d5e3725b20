//! A moment of the wall clock in eight bytes: a buffer holds two moments for each notification.

use std::time::{Duration, SystemTime};

use super::clock;

/// Microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(u64);

impl Moment {
    /// The current moment.
    #[must_use]
    pub fn now() -> Self {
        clock::now().into()
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn microseconds(self) -> u64 {
        self.0
    }

    /// How long ago the moment was; zero when the clock was set back since.
    #[must_use]
    pub fn age(self) -> Duration {
        clock::now().duration_since(self.into()).unwrap_or_default()
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Moment> for SystemTime {
    fn from(moment: Moment) -> Self {
        Self::UNIX_EPOCH + Duration::from_micros(moment.0)
    }
}
