//! Keeps a listener listening: the only place that connects, LISTENs, pings and backs off.
//!
//! Subscriptions are *desired state*: commands edit the set, and [`Supervisor::reconcile`] makes the server
//! follow. During an outage that is all a command does. The next session LISTENs at once on all that an earlier one
//! has listened to; what is new, and might be refused, comes right after.

mod waiting;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use waiting::{Reply, WaitingList};

use crate::base::error::{Error, ErrorKind, Result};
use crate::deliver::feed::Feed;
use crate::deliver::gap::{Gap, GapReason};
use crate::deliver::seat::Event;
use crate::listen::backoff::{Backoff, STABLE_UPTIME};
use crate::listen::desired::Desired;
use crate::listen::driver::SessionEnd;
use crate::listen::options::ListenerOptions;
use crate::listen::session::{ClientSlot, Session};

/// How long closing may take when nobody waits for it.
const ABANDONED_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the facade asks for. Commands are carried out in the order in which they were sent.
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

/// What a supervisor shares with its handle.
pub(crate) struct Surroundings {
    pub(crate) feed: Arc<Feed>,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) client: ClientSlot,
    pub(crate) cancel: CancellationToken,
    /// Until when the session may take to close; set before `cancel`.
    pub(crate) deadline: Arc<Mutex<Option<Instant>>>,
}

/// See the module.
pub(crate) struct Supervisor {
    options: ListenerOptions,
    feed: Arc<Feed>,
    commands: mpsc::UnboundedReceiver<Command>,
    client: ClientSlot,
    cancel: CancellationToken,
    deadline: Arc<Mutex<Option<Instant>>>,
    /// The channels that the user wants.
    desired: Desired,
    waiting: WaitingList,
    /// Fences that were not sent yet.
    new_fences: Vec<u32>,
    backoff: Backoff,
}

/// Why a session is no longer served.
enum Served {
    Shutdown,
    Lost(SessionEnd),
    Failed(Error),
}

impl Supervisor {
    pub(crate) fn new(
        options: ListenerOptions,
        channels: Vec<String>,
        around: Surroundings,
    ) -> Self {
        let (initial, max) = options
            .reconnect
            .map_or_else(Default::default, |reconnect| {
                (reconnect.initial_delay, reconnect.max_delay)
            });
        Self {
            options,
            feed: around.feed,
            commands: around.commands,
            client: around.client,
            cancel: around.cancel,
            deadline: around.deadline,
            desired: channels.into_iter().collect(),
            waiting: WaitingList::default(),
            new_fences: Vec::new(),
            backoff: Backoff::new(initial, max),
        }
    }

    pub(crate) async fn run(mut self, started: oneshot::Sender<Result<()>>) {
        // Nothing is delivered of a session that fails before it is verified.
        self.feed.hold();
        let Some(first) = self.until_cancelled(self.establish()).await else {
            return;
        };
        let mut session = match first {
            Ok(session) => session,
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        self.enter(&session);
        self.feed.resume(None);
        let _ = started.send(Ok(()));
        loop {
            match self.serve(&mut session).await {
                Served::Shutdown => {
                    self.leave(&session);
                    self.close(session).await;
                    return;
                }
                Served::Failed(error) => {
                    self.leave(&session);
                    self.feed.give_up(error);
                    self.close(session).await;
                    return;
                }
                Served::Lost(_) if self.feed.seat().has_overflowed() => {
                    self.leave(&session);
                    self.feed.give_up(overflow_error());
                    return;
                }
                Served::Lost(end) => {
                    tracing::warn!(process_id = session.process_id, error = %end.error, "the listening session is lost");
                    self.leave(&session);
                    self.feed.announce(Event::Disconnected {
                        error: end.error.clone(),
                        process_id: session.process_id,
                    });
                    session = match self.reconnect(session, end).await {
                        Ok(session) => session,
                        Err(Some(error)) => return self.feed.give_up(error),
                        Err(None) => return,
                    };
                }
            }
        }
    }

    /// Resolves with `None` when the listener is being shut down first.
    async fn until_cancelled<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.cancel.run_until_cancelled(future).await
    }

    async fn establish(&self) -> Result<Session> {
        let channels = self.desired.in_order(|_| true);
        Session::establish(&self.options.setup, &self.feed, &channels).await
    }

    fn enter(&self, session: &Session) {
        tracing::info!(
            process_id = session.process_id,
            channels = session.applied.len(),
            "listening"
        );
        self.options.own_pids.insert(session.process_id);
        *self.client.lock() = Some(session.client());
        self.feed.announce(Event::Connected {
            process_id: session.process_id,
        });
    }

    fn leave(&self, session: &Session) {
        *self.client.lock() = None;
        self.options.own_pids.remove(session.process_id);
    }

    async fn close(&self, session: Session) {
        let deadline =
            (*self.deadline.lock()).unwrap_or_else(|| Instant::now() + ABANDONED_CLOSE_TIMEOUT);
        session.close(deadline).await;
    }

    /// Carries out commands and watches the session until it is no longer to be served.
    async fn serve(&mut self, session: &mut Session) -> Served {
        self.new_fences = self.feed.open_fences();
        if let Err(served) = self.reconcile(session).await {
            return served;
        }
        let mut next_ping = self
            .options
            .heartbeat
            .map(|heartbeat| Instant::now() + heartbeat.interval);
        loop {
            let ping_is_due = async {
                match next_ping {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Served::Shutdown,
                end = session.ended() => return Served::Lost(end),
                () = self.feed.seat().overflowed() => return Served::Failed(overflow_error()),
                command = self.commands.recv() => {
                    let Some(command) = command else { return Served::Shutdown };
                    self.accept(command);
                    if let Err(served) = self.reconcile(session).await {
                        return served;
                    }
                }
                () = ping_is_due => {
                    if let Err(served) = self.ping(session).await {
                        return served;
                    }
                    next_ping = self.options.heartbeat.map(|heartbeat| Instant::now() + heartbeat.interval);
                }
            }
        }
    }

    /// Edits the desired state.
    fn accept(&mut self, command: Command) {
        match command {
            Command::Subscribe { channel, id, reply } => {
                self.desired.insert(channel.clone());
                self.waiting.push(channel, Some(id), reply);
            }
            Command::Unsubscribe { channel, reply } => {
                self.desired.remove(&channel);
                self.waiting.push(channel, None, reply);
            }
            Command::Fence { id } => self.new_fences.push(id),
        }
    }

    /// Makes the server follow the desired state, and answers who waited for it.
    async fn reconcile(&mut self, session: &mut Session) -> std::result::Result<(), Served> {
        // Whatever else is waiting goes into the same round trip.
        while let Ok(command) = self.commands.try_recv() {
            self.accept(command);
        }
        let add = self
            .desired
            .in_order(|channel| !session.applied.contains(channel));
        self.subscribe(session, add).await?;
        let fence_channel = self.feed.fence_channel();
        let remove: Vec<String> = session
            .applied
            .iter()
            .filter(|channel| !self.desired.contains(channel) && *channel != fence_channel)
            .cloned()
            .collect();
        if !remove.is_empty()
            && let Err(error) = self
                .ask(session, async |session| session.change(&[], &remove).await)
                .await?
        {
            self.feed.announce(Event::Warning(format!(
                "the server refused UNLISTEN: {error}"
            )));
        }
        self.waiting.answer(&self.desired);
        if !self.new_fences.is_empty() {
            let fences = std::mem::take(&mut self.new_fences);
            let feed = Arc::clone(&self.feed);
            let sent = self
                .ask(session, async |session| {
                    session.fence(feed.fence_channel(), &fences).await
                })
                .await?;
            if let Err(error) = sent {
                self.feed.refuse_fences(&fences, &error);
            }
        }
        Ok(())
    }

    /// LISTENs on channels in as few round trips as their refusals allow: a channel that the server refuses takes
    /// no other with it.
    async fn subscribe(
        &mut self,
        session: &mut Session,
        channels: Vec<String>,
    ) -> std::result::Result<(), Served> {
        let mut groups = vec![channels];
        while let Some(mut group) = groups.pop() {
            if group.is_empty() {
                continue;
            }
            let asked = self.ask(session, async |session| session.change(&group, &[]).await);
            let Err(error) = asked.await? else { continue };
            if group.len() == 1 {
                // No trace of it is left.
                self.desired.remove(&group[0]);
                self.waiting.refuse(&group[0], &error, &self.feed);
            } else {
                groups.push(group.split_off(group.len() / 2));
                groups.push(group);
            }
        }
        Ok(())
    }

    /// Runs one request on the session, under its deadline. An inner error refuses the request; anything else ends
    /// the session.
    async fn ask(
        &self,
        session: &mut Session,
        request: impl AsyncFnOnce(&mut Session) -> Result<()>,
    ) -> std::result::Result<Result<()>, Served> {
        // It is a round trip like any other, so it tells as much as a heartbeat.
        let timeout = match self.options.heartbeat {
            Some(heartbeat) => heartbeat.timeout,
            None => self.options.setup.connect.connect_timeout,
        };
        let watch = session.watch();
        let asked = SystemTime::now();
        let answer = watch.answer(timeout, "LISTEN or UNLISTEN", request(session));
        match self.uninterrupted(answer).await? {
            Ok(()) => {
                session.confirm(asked);
                Ok(Ok(()))
            }
            Err(error) if error.is_servers_refusal() || error.kind == ErrorKind::Execute => {
                Ok(Err(error))
            }
            // The driver knows the reason better than the request that it broke.
            Err(error) => Err(Served::Lost(session.reason(error).await)),
        }
    }

    /// Waits for something while the listener may be shut down, or overflow.
    async fn uninterrupted<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> std::result::Result<T, Served> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Served::Shutdown),
            () = self.feed.seat().overflowed() => Err(Served::Failed(overflow_error())),
            value = future => Ok(value),
        }
    }

    async fn ping(&self, session: &mut Session) -> std::result::Result<(), Served> {
        let Some(heartbeat) = self.options.heartbeat else {
            return Ok(());
        };
        if session.is_paused() {
            return Ok(());
        }
        match self.uninterrupted(session.ping(heartbeat.timeout)).await? {
            Ok(round_trip) => {
                let microseconds = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
                self.feed
                    .seat()
                    .counters
                    .last_round_trip_us
                    .store(microseconds.max(1), Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(Served::Lost(session.reason(error).await)),
        }
    }

    /// Tries until there is a new session. `Err(None)`: shut down meanwhile. `Err(Some)`: gave up.
    async fn reconnect(
        &mut self,
        lost: Session,
        end: SessionEnd,
    ) -> std::result::Result<Session, Option<Error>> {
        let Some(options) = self.options.reconnect else {
            return Err(Some(end.error));
        };
        // From here on nothing of the lost session is heard any more, whatever its driver still does.
        self.feed.hold();
        if lost.since.elapsed() >= STABLE_UPTIME {
            self.backoff.reset();
        }
        let lost_at = lost.confirmed();
        let (old_process_id, old_server) = (lost.process_id, lost.server_started.clone());
        // Channels that no session has listened to yet may be refused, and must not keep us out: they come after.
        let proven = lost.applied.clone();
        drop(lost);
        let mut error = end.error.clone();
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
            let channels = self.desired.in_order(|channel| proven.contains(channel));
            let (setup, feed) = (self.options.setup.clone(), Arc::clone(&self.feed));
            let attempt = async move { Session::establish(&setup, &feed, &channels).await };
            match self.accept_while(attempt).await.ok_or(None)? {
                Ok(session) => {
                    let resumed_at = SystemTime::now();
                    let gap = Gap {
                        reason: if end.undecodable {
                            GapReason::Decode
                        } else {
                            GapReason::Disconnect
                        },
                        lost_at: lost_at.min(resumed_at),
                        resumed_at,
                        dropped: None,
                        sql_state: end.error.sql_state().map(ToOwned::to_owned),
                        message: end.error.message.clone(),
                        attempts,
                        server_restarted: old_server
                            .as_ref()
                            .zip(session.server_started.as_ref())
                            .map(|(old, new)| old != new),
                        old_process_id: Some(old_process_id),
                        new_process_id: Some(session.process_id),
                    };
                    self.feed.count_reconnect();
                    self.enter(&session);
                    // First the news: who handles the gap finds the listener connected.
                    self.feed.announce(Event::Reconnected {
                        gap: Box::new(gap.clone()),
                    });
                    self.feed.resume(Some(&gap));
                    return Ok(session);
                }
                Err(failed) => {
                    tracing::debug!(attempt = attempts, error = %failed, "an attempt to connect again failed");
                    self.feed.announce(Event::AttemptFailed {
                        error: failed.clone(),
                        attempt: attempts,
                    });
                    error = failed;
                }
            }
        }
    }

    /// Accepts commands until `future` resolves. `None`: shut down meanwhile.
    async fn accept_while<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(future);
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return None,
                value = &mut future => return Some(value),
                command = self.commands.recv() => match command {
                    // Nobody can ask for anything any more.
                    None => return None,
                    Some(Command::Unsubscribe { channel, reply }) => {
                        // There is nothing that the server would have to be told.
                        self.desired.remove(&channel);
                        let _ = reply.send(Ok(()));
                    }
                    Some(command) => self.accept(command),
                },
            }
        }
    }
}

fn overflow_error() -> Error {
    Error::new(
        ErrorKind::ListenerOverflow,
        "a consumer's buffer is full and `buffer.overflow` is `error`: the listener is closed",
    )
}
