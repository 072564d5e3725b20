//! How long the thread that reads a session waits before it reads again, so that at a high rate several notifications come together.
//!
//! Each wake of a thread costs several times as much as a notification. Below the rate at which a wait collects several, nothing
//! waits.

use std::time::Duration;

/// Notifications per millisecond from which on a wait is worth its while.
const FROM: u64 = 3;
/// Over how long the rate is counted, in milliseconds.
const WINDOW_MS: u64 = 8;
/// In how many windows in a row the rate has to be high: what a stall has held up comes fast in one of them.
const WINDOWS: u32 = 2;
/// Over how many waits it is judged whether they collect several.
const TRIAL: u32 = 8;
/// How long nothing waits once waits have collected too few, in milliseconds. It doubles each time that it happens again at once.
const REST_MS: u64 = 64;
const LONGEST_REST_MS: u64 = 2048;

/// Decides on waits, by the times at which notifications were read.
#[derive(Debug)]
pub(super) struct Moderation {
    /// How long a wait is; 0 for none.
    wait_ms: u64,
    /// Since when notifications are counted.
    since_ms: u64,
    counted: u64,
    /// In how many windows in a row the rate was high.
    fast: u32,
    is_waiting: bool,
    /// How many waits there were in this trial, and what they have collected.
    waits: u32,
    collected: u64,
    /// The last wait has collected nothing: the next notification comes at once.
    is_empty: bool,
    /// When waits may begin again.
    not_before_ms: u64,
    rest_ms: u64,
}

impl Moderation {
    /// A notification waits for whole milliseconds, and for `most` at most where that is more than one.
    ///
    /// A wait is half as long. While nobody reads, nobody acknowledges what has come, and TCP sends some ten packets before that
    /// (<https://www.rfc-editor.org/rfc/rfc6928>): what is sent behind them waits on the server for the first wait, and here for the second.
    pub(super) fn new(most: Duration) -> Self {
        let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        Self {
            wait_ms: if most_ms > 1 { most_ms / 2 } else { most_ms },
            since_ms: 0,
            counted: 0,
            fast: 0,
            is_waiting: false,
            waits: 0,
            collected: 0,
            is_empty: false,
            not_before_ms: 0,
            rest_ms: REST_MS,
        }
    }

    /// Notes that so many notifications were read. Gives how many milliseconds to wait before the next read; `None`: the next is at once
    /// when something comes.
    pub(super) fn next(&mut self, now_ms: u64, read: u64) -> Option<u64> {
        if self.wait_ms == 0 {
            return None;
        }
        if self.is_waiting {
            self.go_on(now_ms, read);
        } else {
            self.count(now_ms, read);
        }
        (self.is_waiting && !self.is_empty).then_some(self.wait_ms)
    }

    fn go_on(&mut self, now_ms: u64, read: u64) {
        self.collected += read;
        if self.is_empty {
            // Nothing was waited for.
            self.is_empty = read == 0;
            return;
        }
        self.is_empty = read == 0;
        self.waits += 1;
        if self.waits < TRIAL {
            return;
        }
        if self.collected >= FROM * self.wait_ms * u64::from(self.waits) {
            self.rest_ms = REST_MS;
        } else {
            // Whoever answers each notification before the next one comes is held up ever more rarely.
            self.is_waiting = false;
            self.not_before_ms = now_ms + self.rest_ms;
            self.rest_ms = (2 * self.rest_ms).min(LONGEST_REST_MS);
            (self.since_ms, self.counted) = (now_ms, 0);
        }
        (self.waits, self.collected) = (0, 0);
    }

    fn count(&mut self, now_ms: u64, read: u64) {
        self.counted += read;
        let elapsed = now_ms.saturating_sub(self.since_ms);
        if elapsed < WINDOW_MS {
            return;
        }
        // What came long ago says nothing of the present rate.
        let is_fast = self.counted >= FROM * elapsed;
        self.fast = if is_fast { self.fast + 1 } else { 0 };
        (self.since_ms, self.counted) = (now_ms, 0);
        if self.fast >= WINDOWS && now_ms >= self.not_before_ms {
            self.fast = 0;
            self.is_waiting = true;
            self.is_empty = false;
            (self.waits, self.collected) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as a source gives notifications, evenly, for so long; counts the reads and the longest time that a notification waited.
    fn run(moderation: &mut Moderation, per_ms: f64, ms: u64) -> (usize, u64) {
        let (mut reads, mut waits) = (0, 0);
        let (mut now, mut taken) = (0_u64, 0_u64);
        while now < ms {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "small numbers"
            )]
            let come = (now as f64 * per_ms) as u64;
            let read = come - taken;
            taken = come;
            reads += 1;
            match moderation.next(now, read) {
                Some(wait) => {
                    waits += 1;
                    now += wait;
                }
                // The next one comes within this millisecond, or in a later one.
                None => now += 1,
            }
        }
        (reads, waits)
    }

    #[test]
    fn below_the_rate_nothing_waits() {
        let mut moderation = Moderation::new(Duration::from_millis(1));
        assert_eq!(run(&mut moderation, 1.0, 5000).1, 0);
        assert_eq!(
            run(&mut Moderation::new(Duration::from_millis(5)), 2.5, 5000).1,
            0
        );
    }

    #[test]
    fn what_a_stall_has_held_up_makes_nothing_wait() {
        let mut moderation = Moderation::new(Duration::from_millis(1));
        for stall in 0..100_u64 {
            let from = 1000 * stall;
            assert_eq!(moderation.next(from, 60), None);
            assert!((1..100).all(|ms| moderation.next(from + ms, 1).is_none()));
        }
    }

    #[test]
    fn above_the_rate_reads_are_as_far_from_each_other_as_is_allowed() {
        let mut moderation = Moderation::new(Duration::from_millis(10));
        let (reads, waits) = run(&mut moderation, 8.0, 5000);
        assert!(waits > 950 && reads < 1100, "{reads} reads, {waits} waits");
    }

    #[test]
    fn no_delay_means_none() {
        assert_eq!(run(&mut Moderation::new(Duration::ZERO), 100.0, 1000).1, 0);
    }

    #[test]
    fn a_conversation_is_held_up_ever_more_rarely() {
        let mut moderation = Moderation::new(Duration::from_millis(1));
        let (mut now, mut waits) = (0, 0);
        for turn in 0..40_000_u64 {
            // Eight turns each millisecond, unless a turn waits.
            if turn % 8 == 0 {
                now += 1;
            }
            if let Some(wait) = moderation.next(now, 1) {
                waits += 1;
                now += wait;
            }
        }
        assert!(waits < 100, "{waits} of 40,000 waited");
    }

    #[test]
    fn what_comes_after_a_wait_for_nothing_comes_at_once() {
        let mut moderation = Moderation::new(Duration::from_millis(1));
        assert!((0..100).any(|now| moderation.next(now, 10).is_some()));
        assert_eq!(moderation.next(101, 0), None);
        assert_eq!(moderation.next(110, 1), Some(1));
        assert_eq!(moderation.next(111, 9), Some(1));
    }

    #[test]
    fn waits_end_when_they_collect_too_few() {
        let mut moderation = Moderation::new(Duration::from_millis(1));
        assert!((0..100).any(|now| moderation.next(now, 10).is_some()));
        let mut now = 100;
        while let Some(wait) = moderation.next(now, 2) {
            now += wait;
            assert!(now < 120);
        }
        assert_eq!(run(&mut moderation, 2.0, 1000).1, 0);
    }
}
