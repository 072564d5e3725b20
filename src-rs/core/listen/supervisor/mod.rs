//! Keeps a listener listening: the only place that connects, LISTENs, pings and backs off.
//!
//! Subscriptions are *desired state*: commands edit the set, and [`Supervisor::reconcile`] makes the server
//! follow. During an outage a command edits the set and nothing else. The next session LISTENs at once on all channels that an
//! earlier one has listened to; channels that are new, and might be refused, come right after.

mod attempts;
mod reconcile;
mod reconnect;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use attempts::{Attempts, PATIENCE};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use waiting::{Reply, WaitingList};

use super::backoff::Backoff;
use super::desired::Desired;
use super::driver::SessionEnd;
use super::idle_ends::IdleEnds;
use super::losses::Losses;
use super::options::{HeartbeatOptions, ReconnectOptions};
use super::session::ClientSlot;
use super::sessions::{ListeningSession, Sessions};
use crate::base::Setting;
use crate::base::clock;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::own_pids::OwnPids;
use crate::deliver::feed::Feed;
use crate::deliver::seat::Event;

/// How long closing may take when nobody waits for it.
const ABANDONED_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A request of the facade. Commands are carried out in the order in which they were sent.
#[derive(Debug)]
pub(crate) enum Command {
    Subscribe {
        channel: String,
        id: u32,
        reply: Reply,
    },
    Unsubscribe {
        channel: String,
        reply: Reply,
    },
    Fence {
        id: u32,
    },
}

/// The rules by which a supervisor acts.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    /// How the first session is tried for again. `None`: a first attempt that fails is the end of the listener.
    pub(super) retry_first: Option<ReconnectOptions>,
    /// Whether each attempt asks for the password anew.
    pub(super) asks_password: bool,
    /// `None`: the end of the session is the end of the listener.
    pub(super) reconnect: Option<ReconnectOptions>,
    /// `None`: no heartbeat.
    pub(super) heartbeat: Option<HeartbeatOptions>,
    /// How long the answer to a LISTEN, an UNLISTEN or a fence may take.
    pub(super) request_timeout: Duration,
}

/// Everything that a supervisor is made of, shared with its handle where both need it.
pub(super) struct SupervisorParts<S> {
    pub(super) policy: Policy,
    pub(super) sessions: S,
    pub(super) feed: Arc<Feed>,
    /// Where the session's backend is entered, for `ignoreOwn` of other listeners.
    pub(super) own_pids: Arc<OwnPids>,
    /// Where the end of a stable session is counted, beside those of other listeners.
    pub(super) losses: &'static Losses,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) client: ClientSlot,
    pub(super) cancel: CancellationToken,
    /// Until when the session may take to close; set before `cancel`.
    pub(super) deadline: Arc<Mutex<Option<Instant>>>,
}

/// The task behind a listener, from its first attempt to connect to its end.
pub(super) struct Supervisor<S: Sessions> {
    parts: SupervisorParts<S>,
    /// The channels that the user wants.
    desired: Desired,
    /// Commands that wait for the server to follow.
    waiting: WaitingList,
    /// Fences that were not sent yet.
    new_fences: Vec<u32>,
    backoff: Backoff,
    /// When the first session began: nothing before it is anybody's loss.
    started: SystemTime,
    idle_ends: IdleEnds,
    /// While there is a session.
    entered: Option<Entered>,
}

/// What tells others of the present session. Dropped, also by a panic, it tells them no more.
struct Entered {
    own_pids: Arc<OwnPids>,
    process_id: i32,
    client: ClientSlot,
}

impl Drop for Entered {
    fn drop(&mut self) {
        *self.client.lock() = None;
        self.own_pids.remove(self.process_id);
    }
}

/// Why a session is no longer served.
enum SessionOutcome {
    Shutdown,
    Lost(SessionEnd),
    Failed(Error),
}

impl<S: Sessions> Supervisor<S> {
    pub(super) fn new(parts: SupervisorParts<S>, channels: Vec<String>) -> Self {
        let policy = &parts.policy;
        let (initial, max) = policy
            .retry_first
            .or(policy.reconnect)
            .map_or_else(Default::default, |reconnect| {
                (reconnect.initial_delay, reconnect.max_delay)
            });
        let backoff = Backoff::new(initial, max).asking(policy.asks_password);
        Self {
            parts,
            desired: channels.into_iter().collect(),
            waiting: WaitingList::default(),
            new_fences: Vec::new(),
            backoff,
            started: clock::now(),
            idle_ends: IdleEnds::default(),
            entered: None,
        }
    }

    pub(super) async fn run(mut self, started: oneshot::Sender<Result<()>>) {
        let first = match self.parts.policy.retry_first {
            Some(options) => self.keep_trying(options).await,
            None => match self.until_cancelled(self.first_session()).await {
                Some(first) => first.map_err(Some),
                None => Err(None),
            },
        };
        let mut session = match first {
            Ok(session) => session,
            Err(None) => return,
            Err(Some(error)) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        self.started = session.confirmed();
        self.backoff.accepted();
        self.enter(&session);
        self.feed().resume(session.place(), None);
        let _ = started.send(Ok(()));
        loop {
            match self.serve(&mut session).await {
                SessionOutcome::Shutdown => {
                    self.leave();
                    self.close(session).await;
                    return;
                }
                SessionOutcome::Failed(error) => {
                    self.leave();
                    self.feed().give_up(error);
                    self.close(session).await;
                    return;
                }
                SessionOutcome::Lost(_) if self.feed().seat().has_overflowed() => {
                    self.leave();
                    self.feed().give_up(overflow_error());
                    return;
                }
                SessionOutcome::Lost(end) => {
                    self.leave();
                    self.feed().announce(Event::Disconnected {
                        error: end.error.clone(),
                        process_id: session.process_id(),
                    });
                    let interval = self.parts.policy.heartbeat.map(|it| it.interval);
                    let warning = self.idle_ends.note(&end, session.silence(), interval);
                    if let Some(warning) = warning {
                        self.feed().announce(Event::Warning(warning));
                    }
                    session = match self.reconnect(session, end).await {
                        Ok(session) => session,
                        Err(Some(error)) => return self.feed().give_up(error),
                        Err(None) => return,
                    };
                }
            }
        }
    }

    fn feed(&self) -> &Arc<Feed> {
        &self.parts.feed
    }

    /// Resolves with `None` when the listener is being shut down first.
    async fn until_cancelled<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.parts.cancel.run_until_cancelled(future).await
    }

    /// Makes the first session. An attempt that gets no answer is joined by others, as after a loss, for as long as the first of
    /// them may take; any other failure is the outcome.
    async fn first_session(&self) -> Result<S::Session> {
        let channels = self.desired.in_order(|_| true);
        let mut attempts = Attempts::new();
        let mut number = 0;
        loop {
            number += 1;
            let (sessions, feed) = (self.parts.sessions.clone(), Arc::clone(self.feed()));
            let channels = channels.clone();
            attempts.begin(
                number,
                async move { sessions.establish(&feed, &channels).await },
            );
            let next = Instant::now() + PATIENCE;
            while let Ok(ended) = tokio::time::timeout_at(next, attempts.next_end()).await {
                match ended {
                    (2.., Err(error)) if error.is_unanswered => {}
                    (_, outcome) => return outcome,
                }
            }
        }
    }

    fn enter(&mut self, session: &S::Session) {
        let process_id = session.process_id();
        self.parts.own_pids.insert(process_id);
        *self.parts.client.lock() = Some(session.client());
        self.entered = Some(Entered {
            own_pids: Arc::clone(&self.parts.own_pids),
            process_id,
            client: Arc::clone(&self.parts.client),
        });
        self.feed().announce(Event::Connected { process_id });
    }

    fn leave(&mut self) {
        self.entered = None;
    }

    async fn close(&self, session: S::Session) {
        let deadline = (*self.parts.deadline.lock())
            .unwrap_or_else(|| Instant::now() + ABANDONED_CLOSE_TIMEOUT);
        session.close(deadline).await;
    }

    /// Carries out commands and watches the session until it is no longer to be served.
    async fn serve(&mut self, session: &mut S::Session) -> SessionOutcome {
        self.new_fences = self.feed().open_fences();
        if let Err(outcome) = self.reconcile(session).await {
            return outcome;
        }
        let mut next_ping = self.next_ping();
        // The session was proven when it was made.
        let mut next_probe = self.next_probe(true);
        let feed = Arc::clone(self.feed());
        let cancel = self.parts.cancel.clone();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return SessionOutcome::Shutdown,
                end = session.ended() => return SessionOutcome::Lost(end),
                () = feed.seat().overflowed() => return SessionOutcome::Failed(overflow_error()),
                command = self.parts.commands.recv() => {
                    let Some(command) = command else { return SessionOutcome::Shutdown };
                    self.accept(command);
                    if let Err(outcome) = self.reconcile(session).await {
                        return outcome;
                    }
                }
                () = due(next_probe) => {
                    next_probe = match self.probe(session).await {
                        Ok(is_proven) => self.next_probe(is_proven),
                        Err(outcome) => return outcome,
                    };
                }
                () = due(next_ping) => {
                    if let Err(outcome) = self.ping(session).await {
                        return outcome;
                    }
                    next_ping = self.next_ping();
                }
            }
        }
    }

    fn next_ping(&self) -> Option<Instant> {
        let heartbeat = self.parts.policy.heartbeat?;
        Some(Instant::now() + heartbeat.interval)
    }

    /// When delivery is to be proven next. What could not be told is asked again with the next heartbeat.
    fn next_probe(&self, is_proven: bool) -> Option<Instant> {
        let heartbeat = self.parts.policy.heartbeat?;
        let interval = heartbeat.probe_interval?;
        let soon = interval.min(heartbeat.interval);
        Some(Instant::now() + if is_proven { interval } else { soon })
    }

    /// Waits for something while the listener may be shut down, or overflow.
    async fn uninterrupted<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> std::result::Result<T, SessionOutcome> {
        tokio::select! {
            biased;
            () = self.parts.cancel.cancelled() => Err(SessionOutcome::Shutdown),
            () = self.feed().seat().overflowed() => Err(SessionOutcome::Failed(overflow_error())),
            value = future => Ok(value),
        }
    }

    /// Whether the delivery is proven. `false`: it could not be told.
    async fn probe(&self, session: &mut S::Session) -> std::result::Result<bool, SessionOutcome> {
        let Some(heartbeat) = self.parts.policy.heartbeat else {
            return Ok(false);
        };
        if session.is_paused() {
            return Ok(false);
        }
        match self.uninterrupted(session.probe(heartbeat.timeout)).await? {
            Ok(is_proven) => Ok(is_proven),
            Err(error) => Err(SessionOutcome::Lost(session.reason(error).await)),
        }
    }

    async fn ping(&self, session: &mut S::Session) -> std::result::Result<(), SessionOutcome> {
        let Some(heartbeat) = self.parts.policy.heartbeat else {
            return Ok(());
        };
        if session.is_paused() {
            return Ok(());
        }
        match self.uninterrupted(session.ping(heartbeat.timeout)).await? {
            Ok(round_trip) => {
                let microseconds = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
                self.feed()
                    .seat()
                    .counters
                    .last_round_trip_us
                    .store(microseconds.max(1), Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(SessionOutcome::Lost(session.reason(error).await)),
        }
    }
}

/// Resolves at a moment, if there is one.
async fn due(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn overflow_error() -> Error {
    Error::new(
        ErrorKind::ListenerOverflow,
        format!(
            "a consumer's buffer is full and `{}` is `error`: the listener is closed",
            Setting::Overflow
        ),
    )
}
