//! Breaks of a consumer's stream, as entries among its notifications.

use std::time::SystemTime;

/// Why notifications are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// The server session ended, and another one took its place.
    Disconnect,
    /// The consumer's buffer was full.
    Overflow,
    /// The server sent bytes that are no notification, such as text that is not UTF-8.
    Decode,
}

/// For what there was no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The consumer's buffer is at its own bounds.
    Consumer,
    /// The buffers of the pool are at their common bound.
    Pool,
}

/// A break in the stream: what came before it is complete, what comes after it is too.
#[derive(Debug, Clone, PartialEq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// A moment before which nothing is missing: when the last answered round trip to the server was begun.
    pub lost_at: SystemTime,
    /// When the stream went on: the LISTENs were committed again, or the last dropped one had been read.
    pub resumed_at: SystemTime,
    /// How many notifications are missing; known for [`GapReason::Overflow`] alone.
    pub dropped: Option<u64>,
    /// The server's reason for ending the session, if it gave one.
    pub sql_state: Option<String>,
    /// The reason in words.
    pub message: String,
    /// How many times we tried to connect before it worked.
    pub attempts: u32,
    /// Whether the new session is on another postmaster (or a restarted one); `None` when not known.
    pub server_restarted: Option<bool>,
    /// The backend that was lost.
    pub old_process_id: Option<i32>,
    /// The backend that took its place.
    pub new_process_id: Option<i32>,
    /// How many gaps this one stands for: 1, or more when they were added up because nobody took them.
    pub merged: u32,
}

impl Gap {
    /// An overflow that begins with one dropped notification: `confirmed` is a moment before which nothing is
    /// missing, `received` when the notification was read. The clock may have been set back between the two.
    #[must_use]
    pub fn overflow(confirmed: SystemTime, received: SystemTime) -> Self {
        Self {
            reason: GapReason::Overflow,
            lost_at: confirmed.min(received),
            resumed_at: received,
            dropped: Some(1),
            sql_state: None,
            message: "the consumer's buffer was full".to_owned(),
            attempts: 0,
            server_restarted: None,
            old_process_id: None,
            new_process_id: None,
            merged: 1,
        }
    }

    /// Says in words what was full.
    pub(crate) fn because(self, full: Full) -> Self {
        match full {
            Full::Consumer => self,
            Full::Pool => Self {
                message: "the buffers of the pool's listeners were full together".to_owned(),
                ..self
            },
        }
    }

    /// Counts one more notification that was dropped here.
    pub(crate) fn drop_another(&mut self, received: SystemTime) {
        self.drop_more(1, received);
    }

    /// Counts more notifications that were dropped here, of which the last was read then: before the others, if the clock was set back.
    pub(crate) fn drop_more(&mut self, count: u64, received: SystemTime) {
        self.dropped = self.dropped.map(|dropped| dropped + count);
        self.lost_at = self.lost_at.min(received);
        self.resumed_at = self.resumed_at.max(received);
    }

    /// Adds a later gap to this one, which keeps its place. The notifications between the two gaps follow the sum, so no
    /// notification comes before its consumer has learned of every gap before it. The sum spans the times of both: what may be
    /// missing was committed between its `lost_at` and its `resumed_at`.
    pub(crate) fn absorb(&mut self, later: Self) {
        if self.reason != later.reason {
            // The other reasons say what is true of one of the two only.
            self.reason = GapReason::Disconnect;
        }
        self.lost_at = self.lost_at.min(later.lost_at);
        self.resumed_at = self.resumed_at.max(later.resumed_at);
        self.dropped = self
            .dropped
            .zip(later.dropped)
            .map(|(one, other)| one + other);
        self.sql_state = later.sql_state;
        self.message = later.message;
        self.attempts = self.attempts.saturating_add(later.attempts);
        self.server_restarted = match (self.server_restarted, later.server_restarted) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        };
        self.old_process_id = self.old_process_id.or(later.old_process_id);
        self.new_process_id = later.new_process_id.or(self.new_process_id);
        self.merged = self.merged.saturating_add(later.merged);
    }

    /// Whether further drops at the same place belong to this gap.
    pub(crate) fn is_overflow(&self) -> bool {
        self.reason == GapReason::Overflow
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn lost(old: i32, new: i32, server_restarted: Option<bool>) -> Gap {
        Gap {
            reason: GapReason::Disconnect,
            dropped: None,
            sql_state: Some("57P01".to_owned()),
            message: format!("{old} ended"),
            attempts: 2,
            server_restarted,
            old_process_id: Some(old),
            new_process_id: Some(new),
            ..Gap::overflow(at(10), at(20))
        }
    }

    #[test]
    fn the_sum_of_two_lost_sessions_leads_from_the_first_to_the_last() {
        let mut gap = lost(1, 2, Some(true));
        gap.absorb(Gap {
            lost_at: at(30),
            resumed_at: at(40),
            sql_state: None,
            ..lost(2, 3, Some(false))
        });
        let sum = Gap {
            resumed_at: at(40),
            sql_state: None,
            message: "2 ended".to_owned(),
            attempts: 4,
            merged: 2,
            ..lost(1, 3, Some(true))
        };
        assert_eq!(gap, sum);
        gap.absorb(lost(3, 4, None));
        assert_eq!((gap.merged, gap.server_restarted), (3, Some(true)));
        let mut unknown = lost(1, 2, Some(false));
        unknown.absorb(lost(2, 3, None));
        assert_eq!(unknown.server_restarted, None);
    }

    #[test]
    fn the_sum_of_overflows_stays_exact_and_that_with_a_lost_session_does_not() {
        let mut gap = Gap::overflow(at(1), at(2));
        gap.drop_another(at(3));
        gap.absorb(Gap::overflow(at(4), at(5)));
        assert!(gap.is_overflow());
        assert_eq!((gap.dropped, gap.merged), (Some(3), 2));
        assert_eq!((gap.lost_at, gap.resumed_at), (at(1), at(5)));
        gap.absorb(lost(7, 8, Some(false)));
        assert_eq!((gap.reason, gap.dropped), (GapReason::Disconnect, None));
        assert_eq!((gap.old_process_id, gap.new_process_id), (Some(7), Some(8)));
        gap.absorb(Gap::overflow(at(6), at(30)));
        assert_eq!((gap.reason, gap.dropped), (GapReason::Disconnect, None));
        assert_eq!((gap.old_process_id, gap.new_process_id), (Some(7), Some(8)));
        assert_eq!((gap.resumed_at, gap.merged), (at(30), 4));
    }

    #[test]
    fn the_sum_of_unreadable_notifications_keeps_its_reason() {
        let decode = || Gap {
            reason: GapReason::Decode,
            ..lost(1, 2, None)
        };
        let mut gap = decode();
        gap.absorb(decode());
        assert_eq!(gap.reason, GapReason::Decode);
        gap.absorb(lost(2, 3, None));
        assert_eq!(gap.reason, GapReason::Disconnect);
    }
}
