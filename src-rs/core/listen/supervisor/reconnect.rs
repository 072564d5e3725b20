//! Finds a new session in the place of a lost one, and tells consumers of the gap between the two.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Command, Supervisor};
use crate::base::clock;
use crate::base::error::Error;
use crate::deliver::gap::{Gap, GapReason};
use crate::deliver::seat::Event;
use crate::listen::backoff::{STABLE_UPTIME, needs_attention};
use crate::listen::driver::SessionEnd;
use crate::listen::sessions::{ListeningSession, Sessions};

/// The facts of a lost session that the gap after it tells.
struct LostSession {
    end: SessionEnd,
    process_id: i32,
    server_started: Option<String>,
    confirmed: SystemTime,
    /// The channels that the server has listened to. A channel that no session has listened to yet may be refused, and must
    /// not keep us out: such channels come after the gap.
    proven: HashSet<String>,
}

impl LostSession {
    fn new(session: &impl ListeningSession, end: SessionEnd) -> Self {
        Self {
            end,
            process_id: session.process_id(),
            server_started: session.server_started().map(ToOwned::to_owned),
            confirmed: session.confirmed(),
            proven: session.applied().clone(),
        }
    }

    /// The gap between the lost session and the one that takes its place after `attempts` attempts.
    fn gap_before(&self, session: &impl ListeningSession, attempts: u32) -> Gap {
        let resumed_at = clock::now();
        Gap {
            reason: if self.end.undecodable {
                GapReason::Decode
            } else {
                GapReason::Disconnect
            },
            // The clock may have been set back since.
            lost_at: self.confirmed.min(resumed_at),
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
        }
    }
}

impl<S: Sessions> Supervisor<S> {
    /// Tries until there is a new session. `Err(None)`: shut down meanwhile. `Err(Some)`: gave up.
    pub(super) async fn reconnect(
        &mut self,
        session: S::Session,
        end: SessionEnd,
    ) -> Result<S::Session, Option<Error>> {
        let Some(options) = self.parts.policy.reconnect else {
            return Err(Some(end.error));
        };
        // From here on nothing of the lost session is published any more, whatever its driver still does.
        self.feed().hold();
        if session.since().elapsed() >= STABLE_UPTIME {
            self.backoff.reset();
        }
        let lost = LostSession::new(&session, end);
        drop(session);
        let mut error = lost.end.error.clone();
        let mut attempts = 0;
        loop {
            if options.max_attempts.is_some_and(|max| attempts >= max) {
                return Err(Some(error));
            }
            let delay = self.backoff.next(&error);
            self.accept_while(tokio::time::sleep(delay))
                .await
                .ok_or(None)?;
            attempts += 1;
            let channels = self.desired.in_order(|name| lost.proven.contains(name));
            let (sessions, feed) = (self.parts.sessions.clone(), Arc::clone(self.feed()));
            let attempt = async move { sessions.establish(&feed, &channels).await };
            match self.accept_while(attempt).await.ok_or(None)? {
                Ok(session) => {
                    self.resume(&session, &lost.gap_before(&session, attempts));
                    return Ok(session);
                }
                Err(failed) => {
                    self.feed().announce(Event::AttemptFailed {
                        needs_attention: needs_attention(&failed),
                        error: failed.clone(),
                        attempt: attempts,
                    });
                    error = failed;
                }
            }
        }
    }

    /// Lets the stream go on with a new session, behind the gap.
    fn resume(&self, session: &S::Session, gap: &Gap) {
        self.feed().count_reconnect();
        self.enter(session);
        // The event comes before the gap: whoever handles the gap finds the listener connected.
        self.feed().announce(Event::Reconnected {
            gap: Box::new(gap.clone()),
        });
        self.feed().resume(Some(gap));
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
