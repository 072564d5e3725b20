//! A running listener as the binding has it: a handle that sends commands to its supervisor.

use crate::listen::session::SessionSetup;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::own_pids::OwnPids;
use crate::base::panic::contained_future;
use crate::deliver::feed::Feed;
use crate::listen::losses::Losses;
use crate::listen::options::{ListenerOptions, ReconnectOptions};
use crate::listen::session::ClientSlot;
use crate::listen::sessions::Sessions;
use crate::listen::supervisor::{Command, Policy, Supervisor, SupervisorParts};

/// The losses of all listeners of this process.
static LOSSES: Losses = Losses::new();

/// A running listener. Dropping it ends the session.
#[derive(Debug)]
pub struct ListenerHandle {
    feed: Arc<Feed>,
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

impl ListenerHandle {
    /// Starts a listener on the current runtime. `channels` are known to the feed already. The future
    /// resolves once their LISTENs are committed, or fails and nothing is left running. With `retry_first` a failed attempt is
    /// followed by others, unless the configuration is wrong.
    pub fn start(
        options: ListenerOptions,
        feed: Arc<Feed>,
        channels: Vec<String>,
        retry_first: Option<ReconnectOptions>,
    ) -> (Self, impl Future<Output = Result<()>> + Send + use<>) {
        let policy = Policy {
            retry_first,
            asks_password: options.setup.connect.asks_password(),
            reconnect: options.reconnect,
            heartbeat: options.heartbeat,
            request_timeout: options.request_timeout(),
        };
        let probed = options.heartbeat.filter(|it| it.probe_interval.is_some());
        let setup = SessionSetup {
            probe_timeout: probed.map(|heartbeat| heartbeat.timeout),
            ..options.setup
        };
        Self::start_over(setup, policy, options.own_pids, feed, channels)
    }

    /// Starts a listener over sessions of any kind.
    fn start_over<S: Sessions>(
        sessions: S,
        policy: Policy,
        own_pids: Arc<OwnPids>,
        feed: Arc<Feed>,
        channels: Vec<String>,
    ) -> (Self, impl Future<Output = Result<()>> + Send + use<S>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (started, start) = oneshot::channel();
        let (finish, finished) = watch::channel(false);
        let client = ClientSlot::default();
        let cancel = CancellationToken::new();
        let deadline = Arc::new(Mutex::new(None));
        let supervisor = Supervisor::new(
            SupervisorParts {
                policy,
                sessions,
                own_pids,
                losses: &LOSSES,
                feed: Arc::clone(&feed),
                commands: receiver,
                client: Arc::clone(&client),
                cancel: cancel.clone(),
                deadline: Arc::clone(&deadline),
            },
            channels,
        );
        let told = Arc::clone(&feed);
        drop(tokio::spawn(async move {
            let run = supervisor.run(started);
            if let Err(error) = contained_future("the listener's supervisor", run).await {
                told.give_up(error);
            }
            let _ = finish.send(true);
        }));
        let handle = Self {
            feed,
            commands,
            client,
            cancel,
            deadline,
            finished,
        };
        let start = handle.answer(start);
        (handle, start)
    }

    /// Subscribes to a channel; the future resolves once the LISTEN is committed.
    pub fn subscribe(
        &self,
        channel: String,
        id: u32,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        self.feed.seat().add_channel(&channel, id);
        let (reply, receiver) = oneshot::channel();
        // A supervisor that is gone drops the command, and with it the sender.
        let _ = self
            .commands
            .send(Command::Subscribe { channel, id, reply });
        self.answer(receiver)
    }

    /// Unsubscribes from a channel; the future resolves once the UNLISTEN is committed.
    pub fn unsubscribe(&self, channel: String) -> impl Future<Output = Result<()>> + Send + use<> {
        self.feed.seat().remove_channel(&channel);
        let (reply, receiver) = oneshot::channel();
        let _ = self.commands.send(Command::Unsubscribe { channel, reply });
        self.answer(receiver)
    }

    /// Puts a fence behind everything that is committed by now, in every consumer's stream; the future
    /// resolves once it stands there.
    pub fn fence(&self, id: u32) -> impl Future<Output = Result<()>> + Send + use<> {
        let (reply, receiver) = oneshot::channel();
        self.feed.add_fence(id, reply);
        let _ = self.commands.send(Command::Fence { id });
        self.answer(receiver)
    }

    /// The answer to a command. A dropped sender means that the listener is at its end, and the error says why.
    fn answer(
        &self,
        receiver: oneshot::Receiver<Result<()>>,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let (feed, cancel) = (Arc::clone(&self.feed), self.cancel.clone());
        let mut finished = self.finished.clone();
        async move {
            if let Ok(answer) = receiver.await {
                return answer;
            }
            // A supervisor that panicked has dropped its senders before it could say why.
            let finished = finished.wait_for(|finished| *finished);
            let _ = cancel.run_until_cancelled(finished).await;
            Err(listener_closed(feed.gave_up()))
        }
    }

    /// Where the current session's client is.
    #[must_use]
    pub fn client(&self) -> ClientSlot {
        Arc::clone(&self.client)
    }

    /// The feed of the listener's sessions.
    #[must_use]
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
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

/// The error of whoever waited for a listener that is gone.
fn listener_closed(gave_up: Option<Error>) -> Error {
    match gave_up {
        None => Error::new(ErrorKind::ListenerClosed, "the listener was shut down"),
        Some(error) if error.kind == ErrorKind::ListenerOverflow => error,
        Some(error) => Error::new(
            ErrorKind::ListenerClosed,
            format!("the listener gave up: {}", error.message),
        ),
    }
}

#[cfg(test)]
mod tests;
