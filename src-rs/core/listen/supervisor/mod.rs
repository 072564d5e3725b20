//! Keeps the listeners of a feed listening: the only place that connects, LISTENs, pings and backs off.
//!
//! Subscriptions are *desired state*: commands edit the set, and [`Supervisor::reconcile`] makes the server
//! follow. During an outage a command edits the set and nothing else. The next session LISTENs at once on all channels that an
//! earlier one has listened to; channels that are new, and might be refused, come right after.
//!
//! Listeners join and leave at any time. Who joins while an attempt to connect is under way has its outcome.

mod attempts;
mod reconcile;
mod reconnect;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use waiting::WaitingList;

use super::backoff::Backoff;
use super::desired::Desired;
use super::driver::SessionEnd;
use super::idle_ends::IdleEnds;
use super::lending::LenderSlot;
use super::losses::Losses;
use super::options::{HeartbeatOptions, ReconnectOptions};
use super::session::ClientSlot;
use super::sessions::{ListeningSession, Sessions};
use crate::base::Setting;
use crate::base::clock;
use crate::base::error::{Error, ErrorKind};
use crate::base::own_pids::OwnPids;
use crate::deliver::feed::{Feed, Reply, SeatId};
use crate::deliver::seat::Event;

/// How long closing may take when nobody waits for it.
const ABANDONED_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A request of a listener. Commands are carried out in the order in which they were sent.
#[derive(Debug)]
pub(crate) enum Command {
    /// A listener has taken a seat. The reply comes once its LISTENs are committed.
    Join {
        seat: SeatId,
        channels: Vec<String>,
        /// How it goes on to wait after a failed attempt. `None`: it is told of the first.
        retry: Option<Box<ReconnectOptions>>,
        reply: Reply,
    },
    Subscribe {
        seat: SeatId,
        channel: String,
        /// The number that the listener gave the channel.
        number: u32,
        reply: Reply,
    },
    Unsubscribe {
        seat: SeatId,
        channel: String,
        reply: Reply,
    },
    /// A listener has left its seat, and wishes these channels no more.
    Leave {
        seat: SeatId,
        channels: Vec<String>,
    },
    Fence {
        id: u32,
    },
}

/// The rules by which a supervisor acts.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    /// Whether each attempt asks for the password anew.
    pub(super) asks_password: bool,
    /// `None`: the end of the session is the end of the listener.
    pub(super) reconnect: Option<ReconnectOptions>,
    /// `None`: no heartbeat.
    pub(super) heartbeat: Option<HeartbeatOptions>,
    /// How long the answer to a LISTEN, an UNLISTEN or a fence may take.
    pub(super) request_timeout: Duration,
}

impl Policy {
    /// Delays between attempts as `options` want them.
    fn backoff(&self, options: Option<ReconnectOptions>) -> Backoff {
        let (initial, max) = options.map_or_else(Default::default, |options| {
            (options.initial_delay, options.max_delay)
        });
        Backoff::new(initial, max).asking(self.asks_password)
    }
}

/// Everything that a supervisor is made of, shared with its handle where both need it.
pub(super) struct SupervisorParts<S> {
    pub(super) policy: Policy,
    pub(super) sessions: S,
    pub(super) feed: Arc<Feed>,
    /// Where the session's backend is entered, for `ignoreOwn` of other listeners; `None` where nothing of a user's runs on it.
    pub(super) own_pids: Option<Arc<OwnPids>>,
    /// Where the end of a stable session is counted, beside those of other listeners.
    pub(super) losses: &'static Losses,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) client: ClientSlot,
    pub(super) lender: LenderSlot,
    pub(super) cancel: CancellationToken,
    /// Until when the session may take to close; set before `cancel`.
    pub(super) deadline: Arc<Mutex<Option<Instant>>>,
}

/// The task behind a listener, from its first attempt to connect to its end.
pub(super) struct Supervisor<S: Sessions> {
    parts: SupervisorParts<S>,
    /// The channels that users want.
    desired: Desired,
    /// Whether the server follows `desired`, as far as it can.
    is_followed: bool,
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
    feed: Arc<Feed>,
    own_pids: Option<Arc<OwnPids>>,
    process_id: i32,
    client: ClientSlot,
    lender: LenderSlot,
}

impl Drop for Entered {
    fn drop(&mut self) {
        *self.client.lock() = None;
        *self.lender.lock() = None;
        self.feed.note_backend(None);
        if let Some(own_pids) = &self.own_pids {
            own_pids.remove(self.process_id);
        }
    }
}

/// Why a session is no longer served.
enum SessionOutcome {
    /// Nobody is left.
    Shutdown,
    Lost(SessionEnd),
}

impl<S: Sessions> Supervisor<S> {
    pub(super) fn new(parts: SupervisorParts<S>) -> Self {
        Self {
            backoff: parts.policy.backoff(parts.policy.reconnect),
            parts,
            desired: Desired::default(),
            is_followed: false,
            waiting: WaitingList::default(),
            new_fences: Vec::new(),
            started: clock::now(),
            idle_ends: IdleEnds::default(),
            entered: None,
        }
    }

    pub(super) async fn run(mut self) {
        let Some(mut session) = self.first().await else {
            return self.feed().close();
        };
        self.started = session.confirmed();
        self.backoff.accepted();
        self.enter(&session);
        if self.is_applied(&session) {
            // Whoever has waited for this session hears all of it.
            let process_id = session.process_id();
            self.waiting
                .answer(&self.desired, &self.parts.feed, process_id);
        }
        self.feed().resume(session.place(), None);
        loop {
            match self.serve(&mut session).await {
                SessionOutcome::Shutdown => {
                    self.feed().close();
                    self.leave();
                    self.close(session).await;
                    return;
                }
                SessionOutcome::Lost(_) if self.expel_overflowed() => {
                    self.leave();
                    return;
                }
                SessionOutcome::Lost(end) => {
                    self.leave();
                    // From here on nothing of the lost session is published any more, whatever its driver still does.
                    self.feed().lose(&Event::Disconnected {
                        error: end.error.clone(),
                        process_id: session.process_id(),
                    });
                    let interval = self.parts.policy.heartbeat.map(|it| it.interval);
                    let warning = self.idle_ends.note(&end, session.silence(), interval);
                    if let Some(warning) = warning {
                        self.feed().announce(&Event::Warning(warning));
                    }
                    session = match self.reconnect(session, end).await {
                        Ok(session) => session,
                        Err(error) => {
                            if let Some(error) = error {
                                self.feed().give_up(&error);
                                self.waiting.fail_joins(&error, true);
                            }
                            return self.feed().close();
                        }
                    };
                }
            }
        }
    }

    /// Whether a session listens to everything that is wanted.
    fn is_applied(&self, session: &S::Session) -> bool {
        let applied = session.applied();
        self.desired
            .in_order(|channel| !applied.contains(channel))
            .is_empty()
    }

    /// Ends the listeners of which a consumer overflowed under the policy `error`. Says whether nobody is left.
    fn expel_overflowed(&mut self) -> bool {
        for (seat, channels) in self.parts.feed.expel_overflowed(&overflow_error()) {
            self.forget(seat, &channels);
            self.waiting.forget(seat);
        }
        self.feed().is_over()
    }

    fn feed(&self) -> &Arc<Feed> {
        &self.parts.feed
    }

    fn enter(&mut self, session: &S::Session) {
        let process_id = session.process_id();
        if let Some(own_pids) = &self.parts.own_pids {
            own_pids.insert(process_id);
        }
        *self.parts.client.lock() = Some(session.client());
        *self.parts.lender.lock() = session.lender();
        self.feed().note_backend(Some(process_id));
        let facts = session.facts();
        self.feed()
            .note_signs(session.server_started(), move || facts.heard.last());
        self.entered = Some(Entered {
            feed: Arc::clone(self.feed()),
            own_pids: self.parts.own_pids.clone(),
            process_id,
            client: Arc::clone(&self.parts.client),
            lender: Arc::clone(&self.parts.lender),
        });
        self.feed().announce(&Event::Connected { process_id });
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
        self.is_followed = false;
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
                () = feed.overflowed() => {
                    if self.expel_overflowed() {
                        return SessionOutcome::Shutdown;
                    }
                    if let Err(outcome) = self.reconcile(session).await {
                        return outcome;
                    }
                }
                // Before commands, which may be waiting all the time, and check nothing.
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
                    if let Err(outcome) = self.reconcile(session).await {
                        return outcome;
                    }
                    next_ping = self.next_ping();
                }
                command = self.parts.commands.recv() => {
                    let Some(command) = command else { return SessionOutcome::Shutdown };
                    self.accept(command);
                    if let Err(outcome) = self.reconcile(session).await {
                        return outcome;
                    }
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

    /// Waits for something while the last listener may be shut down, or overflow.
    async fn uninterrupted<T>(
        &mut self,
        future: impl Future<Output = T>,
    ) -> Result<T, SessionOutcome> {
        tokio::pin!(future);
        let (feed, cancel) = (Arc::clone(self.feed()), self.parts.cancel.clone());
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(SessionOutcome::Shutdown),
                () = feed.overflowed() => {
                    if self.expel_overflowed() {
                        return Err(SessionOutcome::Shutdown);
                    }
                }
                value = &mut future => return Ok(value),
            }
        }
    }

    /// Whether the delivery is proven. `false`: it could not be told.
    async fn probe(&mut self, session: &mut S::Session) -> Result<bool, SessionOutcome> {
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

    async fn ping(&mut self, session: &mut S::Session) -> Result<(), SessionOutcome> {
        let Some(heartbeat) = self.parts.policy.heartbeat else {
            return Ok(());
        };
        if session.is_paused() {
            return Ok(());
        }
        match self.uninterrupted(session.ping(heartbeat.timeout)).await? {
            Ok(round_trip) => {
                self.feed().note_answer();
                self.feed().note_round_trip(round_trip);
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
