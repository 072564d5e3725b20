//! Finds a new session in the place of a lost one, and tells consumers of the gap between the two.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::attempts::{Attempts, PATIENCE};
use super::{Command, Supervisor};
use crate::base::clock;
use crate::base::error::{Error, Result};
use crate::connect::cluster::Timeline;
use crate::deliver::gap::{Gap, GapReason};
use crate::deliver::seat::Event;
use crate::listen::backoff::needs_attention;
use crate::listen::driver::SessionEnd;
use crate::listen::sessions::{ListeningSession, Sessions};

/// The facts of a lost session that the gap after it tells.
struct LostSession {
    end: SessionEnd,
    process_id: i32,
    server_started: Option<String>,
    confirmed: SystemTime,
    timeline: Option<Timeline>,
    /// When the listener's first session began.
    started: SystemTime,
    /// The channels that the server has listened to. A channel that no session has listened to yet may be refused, and must
    /// not keep us out: such channels come after the gap.
    proven: HashSet<String>,
}

impl LostSession {
    fn new(session: &impl ListeningSession, end: SessionEnd, started: SystemTime) -> Self {
        Self {
            end,
            process_id: session.process_id(),
            server_started: session.server_started().map(ToOwned::to_owned),
            confirmed: session.confirmed(),
            timeline: session.timeline(),
            started,
            proven: session.applied().clone(),
        }
    }

    /// The gap between the lost session and the one that takes its place after `attempts` attempts.
    fn gap_before(&self, session: &impl ListeningSession, attempts: u32) -> Gap {
        let resumed_at = clock::now();
        let promoted_since = self
            .timeline
            .and_then(|before| session.promoted_since(before))
            .map(|since| since.max(self.started));
        Gap {
            reason: if self.end.undecodable {
                GapReason::Decode
            } else {
                GapReason::Disconnect
            },
            // The clock may have been set back since.
            lost_at: promoted_since
                .unwrap_or(self.confirmed)
                .min(self.confirmed)
                .min(resumed_at),
            resumed_at,
            dropped: None,
            sql_state: self.end.error.sql_state().map(ToOwned::to_owned),
            message: self.end.error.message.clone(),
            attempts,
            server_restarted: self
                .server_started
                .as_deref()
                .zip(session.server_started())
                .map(|(old, new)| old != new),
            old_process_id: Some(self.process_id),
            new_process_id: Some(session.process_id()),
            merged: 1,
        }
    }
}

impl<S: Sessions> Supervisor<S> {
    /// Tries until there is a new session. `Err(None)`: shut down meanwhile. `Err(Some)`: gave up.
    pub(super) async fn reconnect(
        &mut self,
        session: S::Session,
        end: SessionEnd,
    ) -> std::result::Result<S::Session, Option<Error>> {
        let Some(options) = self.parts.policy.reconnect else {
            return Err(Some(end.error));
        };
        // From here on nothing of the lost session is published any more, whatever its driver still does.
        self.feed().hold();
        let delay = if session.since().elapsed() >= options.stable_after {
            self.backoff.reset();
            self.parts.losses.note()
        } else {
            self.backoff.next(&end.error)
        };
        let lost = LostSession::new(&session, end, self.started);
        drop(session);
        let mut error = lost.end.error.clone();
        let (mut begun, mut next) = (0, Instant::now() + delay);
        let mut attempts = Attempts::new();
        loop {
            let may_begin = options.max_attempts.is_none_or(|max| begun < max);
            if !may_begin && attempts.is_empty() {
                return Err(Some(error));
            }
            let ended_or_due = async {
                tokio::select! {
                    biased;
                    ended = attempts.next_end() => Some(ended),
                    () = tokio::time::sleep_until(next), if may_begin => None,
                }
            };
            match self.accept_while(ended_or_due).await.ok_or(None)? {
                None => {
                    begun += 1;
                    next = Instant::now() + PATIENCE;
                    attempts.begin(begun, self.attempt(&lost));
                }
                Some((_, Ok(session))) => {
                    drop(attempts);
                    self.resume(&session, &lost.gap_before(&session, begun));
                    return Ok(session);
                }
                Some((number, Err(failed))) => {
                    self.feed().announce(Event::AttemptFailed {
                        needs_attention: needs_attention(&failed),
                        error: failed.clone(),
                        attempt: number,
                    });
                    // Only who was refused has to come less often. Who got no answer has waited for it.
                    if !failed.is_unanswered {
                        next = Instant::now() + self.backoff.next(&failed);
                    }
                    error = failed;
                }
            }
        }
    }

    /// An attempt to make a session that listens to what the lost one had listened to, as far as it is still wanted.
    fn attempt(
        &self,
        lost: &LostSession,
    ) -> impl Future<Output = Result<S::Session>> + Send + 'static + use<S> {
        let channels = self.desired.in_order(|name| lost.proven.contains(name));
        let (sessions, feed) = (self.parts.sessions.clone(), Arc::clone(self.feed()));
        async move { sessions.establish(&feed, &channels).await }
    }

    /// Lets the stream go on with a new session, behind the gap.
    fn resume(&self, session: &S::Session, gap: &Gap) {
        self.feed().count_reconnect();
        self.enter(session);
        // The event comes before the gap: whoever handles the gap finds the listener connected.
        self.feed().announce(Event::Reconnected {
            gap: Box::new(gap.clone()),
        });
        self.feed().resume(session.place(), Some(gap));
    }

    /// Accepts commands until `future` resolves. `None`: shut down meanwhile.
    async fn accept_while<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(future);
        let cancel = self.parts.cancel.clone();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return None,
                value = &mut future => return Some(value),
                command = self.parts.commands.recv() => match command {
                    // Nobody can ask for anything any more.
                    None => return None,
                    Some(Command::Unsubscribe { channel, reply }) => {
                        // There is no session that would have to be told.
                        self.desired.remove(&channel);
                        let _ = reply.send(Ok(()));
                    }
                    Some(command) => self.accept(command),
                },
            }
        }
    }
}
