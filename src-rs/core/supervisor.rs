//! Keeps a listener listening: the only place that connects, LISTENs, pings and backs off.
//!
//! Subscriptions are *desired state*: commands edit the set, and [`Supervisor::reconcile`] makes the server
//! follow. During an outage that is all a command does; the next session LISTENs on the whole set at once.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, STABLE_UPTIME};
use super::error::{Error, ErrorKind, Result};
use super::gap::{Gap, GapReason};
use super::hub::{Event, Hub, listener_closed, wall_clock};
use super::own_pids::OwnPids;
use super::session::{ClientSlot, Session, SessionEnd, SessionSetup};
use super::subscriber::End;

/// How to come back after a session was lost.
#[derive(Debug, Clone, Copy)]
pub struct ReconnectOptions {
    /// The longest first delay.
    pub initial_delay: Duration,
    /// The longest delay.
    pub max_delay: Duration,
    /// How many attempts in a row; `None` never gives up.
    pub max_attempts: Option<u32>,
}

/// How to notice a server that is silently gone.
#[derive(Debug, Clone, Copy)]
pub struct HeartbeatOptions {
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// Everything that a listener needs to know.
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// How to make a session.
    pub setup: SessionSetup,
    /// `None`: the end of the session is the end of the listener.
    pub reconnect: Option<ReconnectOptions>,
    /// `None`: no heartbeat.
    pub heartbeat: Option<HeartbeatOptions>,
    /// Where to enter the session's backend.
    pub own_pids: Arc<OwnPids>,
}

/// What the facade asks for. Commands are carried out in the order in which they were sent.
#[derive(Debug)]
enum Command {
    Subscribe { channel: String, reply: Reply },
    Unsubscribe { channel: String, reply: Reply },
    Fence { id: u32 },
}

type Reply = oneshot::Sender<Result<()>>;

/// A running listener. Dropping it ends the session.
#[derive(Debug)]
pub struct ListenerHandle {
    hub: Arc<Hub>,
    commands: mpsc::UnboundedSender<Command>,
    client: ClientSlot,
    cancel: CancellationToken,
    /// Until when the session may take to close.
    deadline: Arc<Mutex<Option<Instant>>>,
    finished: watch::Receiver<bool>,
}

impl Drop for ListenerHandle {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// How long closing may take when nobody waits for it.
const ABANDONED_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

impl ListenerHandle {
    /// Starts a listener on the current runtime. `channels` are known to the hub already. The receiver
    /// resolves once their LISTENs are committed, or fails and nothing is left running.
    pub fn start(
        options: ListenerOptions,
        hub: Arc<Hub>,
        channels: Vec<String>,
    ) -> (Self, oneshot::Receiver<Result<()>>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (started, start) = oneshot::channel();
        let (finish, finished) = watch::channel(false);
        let client = ClientSlot::default();
        let cancel = CancellationToken::new();
        let deadline = Arc::new(Mutex::new(None));
        let backoff = options.reconnect.unwrap_or(ReconnectOptions {
            initial_delay: Duration::ZERO,
            max_delay: Duration::ZERO,
            max_attempts: None,
        });
        let supervisor = Supervisor {
            backoff: Backoff::new(backoff.initial_delay, backoff.max_delay),
            options,
            hub: Arc::clone(&hub),
            commands: receiver,
            client: Arc::clone(&client),
            cancel: cancel.clone(),
            deadline: Arc::clone(&deadline),
            desired: channels.into_iter().collect(),
            waiting: Vec::new(),
            new_fences: Vec::new(),
        };
        let panicked = Arc::clone(&hub);
        drop(tokio::spawn(async move {
            if AssertUnwindSafe(supervisor.run(started))
                .catch_unwind()
                .await
                .is_err()
            {
                give_up(
                    &panicked,
                    Error::new(ErrorKind::Internal, "the listener's supervisor panicked"),
                );
            }
            let _ = finish.send(true);
        }));
        (
            Self {
                hub,
                commands,
                client,
                cancel,
                deadline,
                finished,
            },
            start,
        )
    }

    /// Subscribes to a channel; the receiver resolves once the LISTEN is committed.
    pub fn subscribe(&self, channel: String, id: u32) -> oneshot::Receiver<Result<()>> {
        self.hub.add_channel(&channel, id);
        let (reply, receiver) = oneshot::channel();
        // A supervisor that is gone drops the command, and with it the sender.
        let _ = self.commands.send(Command::Subscribe { channel, reply });
        receiver
    }

    /// Unsubscribes from a channel; the receiver resolves once the UNLISTEN is committed.
    pub fn unsubscribe(&self, channel: String) -> oneshot::Receiver<Result<()>> {
        self.hub.remove_channel(&channel);
        let (reply, receiver) = oneshot::channel();
        let _ = self.commands.send(Command::Unsubscribe { channel, reply });
        receiver
    }

    /// Puts a fence behind everything that is committed by now, in every consumer's stream; the receiver
    /// resolves once it stands there.
    pub fn fence(&self, id: u32) -> oneshot::Receiver<Result<()>> {
        let (reply, receiver) = oneshot::channel();
        self.hub.add_fence(id, reply);
        let _ = self.commands.send(Command::Fence { id });
        receiver
    }

    /// Where the current session's client is.
    #[must_use]
    pub fn client(&self) -> ClientSlot {
        Arc::clone(&self.client)
    }

    /// What hands out the notifications.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Interrupts whatever is being done and closes the session. Resolves once the server has closed it too,
    /// or after `timeout`.
    pub fn shutdown(&self, timeout: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.deadline
            .lock()
            .get_or_insert_with(|| Instant::now() + timeout);
        self.cancel.cancel();
        let mut finished = self.finished.clone();
        async move {
            let _ = finished.wait_for(|finished| *finished).await;
        }
    }
}

/// See the module.
struct Supervisor {
    options: ListenerOptions,
    hub: Arc<Hub>,
    commands: mpsc::UnboundedReceiver<Command>,
    client: ClientSlot,
    cancel: CancellationToken,
    deadline: Arc<Mutex<Option<Instant>>>,
    /// The channels that the user wants.
    desired: HashSet<String>,
    /// Who waits for a channel to be in the server's set, or out of it.
    waiting: Vec<Waiting>,
    /// Fences that were not sent yet.
    new_fences: Vec<u32>,
    backoff: Backoff,
}

struct Waiting {
    channel: String,
    subscribed: bool,
    reply: Reply,
}

/// Why a session is no longer served.
enum Served {
    Shutdown,
    Lost(SessionEnd),
    Failed(Error),
}

impl Supervisor {
    async fn run(mut self, started: oneshot::Sender<Result<()>>) {
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
                    give_up(&self.hub, error);
                    self.close(session).await;
                    return;
                }
                Served::Lost(end) => {
                    self.leave(&session);
                    self.hub.event(Event::Disconnected {
                        error: end.error.clone(),
                        process_id: session.process_id,
                    });
                    session = match self.reconnect(session, end).await {
                        Ok(session) => session,
                        Err(Some(error)) => return give_up(&self.hub, error),
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
        let channels = self.desired.iter().cloned().collect();
        Session::establish(&self.options.setup, &self.hub, channels).await
    }

    fn enter(&self, session: &Session) {
        self.options.own_pids.insert(session.process_id);
        *self.client.lock() = Some(session.client());
        self.hub.event(Event::Connected {
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
        self.new_fences = self.hub.open_fences();
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
                error = self.hub.overflow_error() => return Served::Failed(error),
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
            Command::Subscribe { channel, reply } => {
                self.desired.insert(channel.clone());
                self.waiting.push(Waiting {
                    channel,
                    subscribed: true,
                    reply,
                });
            }
            Command::Unsubscribe { channel, reply } => {
                self.desired.remove(&channel);
                self.waiting.push(Waiting {
                    channel,
                    subscribed: false,
                    reply,
                });
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
        let add = self.desired.difference(&session.applied).cloned().collect();
        self.subscribe(session, add).await?;
        let fence_channel = self.hub.fence_channel();
        let remove: Vec<String> = session
            .applied
            .difference(&self.desired)
            .filter(|channel| *channel != fence_channel)
            .cloned()
            .collect();
        if !remove.is_empty()
            && let Err(error) = self
                .ask(session, async |session| session.change(&[], &remove).await)
                .await?
        {
            self.hub.event(Event::Warning(format!(
                "the server refused UNLISTEN: {error}"
            )));
        }
        self.answer();
        if !self.new_fences.is_empty() {
            let fences = std::mem::take(&mut self.new_fences);
            let hub = Arc::clone(&self.hub);
            let sent = self
                .ask(session, async |session| {
                    session.fence(hub.fence_channel(), &fences).await
                })
                .await?;
            if let Err(error) = sent {
                self.hub.refuse_fences(&fences, &error);
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
                self.refuse(&group, &error);
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
        let timeout = self.options.setup.connect.connect_timeout + self.options.setup.max_pause;
        let asked = self
            .until_cancelled(tokio::time::timeout(timeout, request(session)))
            .await;
        match asked {
            None => Err(Served::Shutdown),
            Some(Ok(Ok(()))) => Ok(Ok(())),
            Some(Ok(Err(error)))
                if error.is_servers_refusal() || error.kind == ErrorKind::Execute =>
            {
                Ok(Err(error))
            }
            // The driver knows the reason better than the request that it broke.
            Some(Ok(Err(error))) => Err(Served::Lost(session.reason(error).await)),
            Some(Err(_)) => Err(Served::Lost(
                Error::new(
                    ErrorKind::Closed,
                    format!(
                        "the server did not answer LISTEN or UNLISTEN within {} s",
                        timeout.as_secs_f64()
                    ),
                )
                .into(),
            )),
        }
    }

    async fn ping(&self, session: &mut Session) -> std::result::Result<(), Served> {
        let Some(heartbeat) = self.options.heartbeat else {
            return Ok(());
        };
        // Not counted against a server that we do not read, or that works for the user.
        if session.is_paused() || session.is_busy() {
            return Ok(());
        }
        match self.until_cancelled(session.ping(heartbeat.timeout)).await {
            None => Err(Served::Shutdown),
            Some(Ok(round_trip)) => {
                let microseconds = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
                self.hub
                    .counters
                    .last_round_trip_us
                    .store(microseconds.max(1), Ordering::Relaxed);
                Ok(())
            }
            Some(Err(error)) => Err(Served::Lost(session.reason(error).await)),
        }
    }

    /// The server refused these channels: no trace of them is left.
    fn refuse(&mut self, channels: &[String], error: &Error) {
        for channel in channels {
            self.desired.remove(channel);
            self.hub.remove_channel(channel);
        }
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.subscribed && channels.contains(&waiting.channel) {
                let _ = waiting.reply.send(Err(error.clone()));
            } else {
                self.waiting.push(waiting);
            }
        }
    }

    /// The server's set is the desired one: whoever waited for that knows now.
    fn answer(&mut self) {
        for waiting in self.waiting.drain(..) {
            // A subscription that was taken back while it waited did not come about.
            let came_about = waiting.subscribed == self.desired.contains(&waiting.channel);
            let _ = waiting.reply.send(if came_about || !waiting.subscribed {
                Ok(())
            } else {
                Err(Error::new(
                    ErrorKind::ListenerClosed,
                    format!(
                        "channel `{}` was removed before the server listened to it",
                        waiting.channel
                    ),
                ))
            });
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
        self.hub.hold();
        if lost.since.elapsed() >= STABLE_UPTIME {
            self.backoff.reset();
        }
        let lost_at = wall_clock(lost.confirmed());
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
            let channels = self.desired.intersection(&proven).cloned().collect();
            let (setup, hub) = (self.options.setup.clone(), Arc::clone(&self.hub));
            let attempt = async move { Session::establish(&setup, &hub, channels).await };
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
                    self.hub.resume(&gap);
                    self.hub.counters.reconnects.fetch_add(1, Ordering::Relaxed);
                    self.enter(&session);
                    self.hub.event(Event::Reconnected { gap: Box::new(gap) });
                    return Ok(session);
                }
                Err(failed) => {
                    self.hub.discard_held();
                    self.hub.event(Event::AttemptFailed {
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

/// The listener is at its end: consumers get what is buffered, then the error.
fn give_up(hub: &Hub, error: Error) {
    hub.end(&End::Failed(error.clone()), true);
    hub.event(Event::Closed { error });
}

/// Awaits the answer to a command; a dropped sender means that the listener is gone.
pub async fn answered(receiver: oneshot::Receiver<Result<()>>) -> Result<()> {
    receiver.await.unwrap_or_else(|_| Err(listener_closed()))
}
