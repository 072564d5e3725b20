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
}

impl Gap {
    /// An overflow that begins with one dropped notification: `confirmed` is a moment before which nothing is
    /// missing, `received` when the notification was read.
    #[must_use]
    pub fn overflow(confirmed: SystemTime, received: SystemTime) -> Self {
        Self {
            reason: GapReason::Overflow,
            lost_at: confirmed,
            resumed_at: received,
            dropped: Some(1),
            sql_state: None,
            message: "the consumer's buffer was full".to_owned(),
            attempts: 0,
            server_restarted: None,
            old_process_id: None,
            new_process_id: None,
        }
    }

    /// Counts one more notification that was dropped here.
    pub(crate) fn drop_another(&mut self, received: SystemTime) {
        self.dropped = self.dropped.map(|dropped| dropped + 1);
        self.resumed_at = self.resumed_at.max(received);
    }

    /// Whether further drops at the same place belong to this gap.
    pub(crate) fn is_overflow(&self) -> bool {
        self.reason == GapReason::Overflow
    }
}
