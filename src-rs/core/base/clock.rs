//! The wall clock, in one place so that tests can set it. Timers use tokio's clock, which tests can pause.

use std::time::SystemTime;

/// The time of day.
#[must_use]
#[inline]
pub fn now() -> SystemTime {
    #[cfg(test)]
    if let Some(set) = tests::SET.get() {
        return set;
    }
    SystemTime::now()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;
    use std::time::{Duration, SystemTime};

    use crate::base::Moment;

    thread_local! {
        pub(super) static SET: Cell<Option<SystemTime>> = const { Cell::new(None) };
    }

    /// Sets this thread's clock; `None` lets it run again.
    pub(crate) fn set(now: Option<SystemTime>) {
        SET.set(now);
    }

    #[test]
    fn an_age_is_zero_when_the_clock_was_set_back() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        set(Some(start));
        let moment = Moment::now();
        set(Some(start + Duration::from_secs(2)));
        assert_eq!(moment.age(), Duration::from_secs(2));
        set(Some(start - Duration::from_secs(2)));
        assert_eq!(moment.age(), Duration::ZERO);
        set(None);
    }
}
