//! Recognises something on the way, such as a proxy, that ends connections on which nothing was said for a while.

use std::time::Duration;

use super::driver::SessionEnd;
use crate::base::Setting;
use crate::base::error::ErrorKind;

/// How many sessions in a row have to end after the same silence.
const ENOUGH: u32 = 3;

/// A session that ends after less silence than this was hardly ended for it.
const SHORTEST: Duration = Duration::from_millis(500);

/// The silences before the ends of the last sessions, as far as they are alike.
#[derive(Debug, Default)]
pub(super) struct IdleEnds {
    in_a_row: u32,
    silence: Duration,
}

impl IdleEnds {
    /// Notes the end of a session after `silence`. Gives a warning when it is the third of its kind in a row.
    pub(super) fn note(
        &mut self,
        end: &SessionEnd,
        silence: Duration,
        heartbeat: Option<Duration>,
    ) -> Option<String> {
        let error = &end.error;
        // Nobody has said a word about the end, and no request of ours is what ended it.
        let is_wordless = error.kind == ErrorKind::Closed
            && error.server.is_none()
            && !error.is_unanswered
            && !end.undecodable;
        let is_idle = silence >= SHORTEST && heartbeat.is_none_or(|interval| silence < interval);
        if !is_wordless || !is_idle {
            self.in_a_row = 0;
            return None;
        }
        let tolerance = SHORTEST.max(self.silence / 8);
        let is_alike = self.in_a_row > 0 && silence.abs_diff(self.silence) <= tolerance;
        self.in_a_row = if is_alike { self.in_a_row + 1 } else { 1 };
        self.silence = silence;
        (self.in_a_row == ENOUGH).then(|| {
            let (interval, seconds) = (Setting::HeartbeatInterval, silence.as_secs_f64());
            format!(
                "something between this listener and its server ends connections that are idle for about {seconds:.1} s, as \
                 {ENOUGH} in a row were: raise its idle timeout, or lower `{interval}` below it"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Error;

    const INTERVAL: Option<Duration> = Some(Duration::from_secs(10));

    fn closed() -> SessionEnd {
        Error::new(ErrorKind::Closed, "connection closed").into()
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_third_end_after_the_same_silence_is_told_once() {
        let mut ends = IdleEnds::default();
        let mut note = |silence| ends.note(&closed(), ms(silence), INTERVAL).is_some();
        let told: Vec<bool> = [3000, 3010, 2990, 3000, 3000].map(&mut note).into();
        assert_eq!(told, [false, false, true, false, false]);
        let told: Vec<bool> = [8000, 5000, 5000, 5100].map(&mut note).into();
        assert_eq!(told, [false, false, false, true]);
    }

    #[test]
    fn an_end_for_another_reason_is_not_counted() {
        let mut ends = IdleEnds::default();
        let mut note = |end: SessionEnd, silence| ends.note(&end, silence, INTERVAL).is_some();
        for _ in 0..3 {
            assert!(!note(closed(), ms(3000)));
            assert!(!note(closed(), ms(3000)));
            assert!(!note(Error::of_server("FATAL", "57P01").into(), ms(3000)));
        }
        for _ in 0..5 {
            assert!(!note(closed(), ms(10)), "a server that crashes");
            assert!(!note(closed(), ms(10_000)), "the heartbeat came first");
        }
    }
}
