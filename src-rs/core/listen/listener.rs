//! A running listener as the binding has it: a handle that sends commands to its supervisor.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::error::{Error, ErrorKind, Result};
use crate::deliver::feed::Feed;
use crate::listen::losses::Losses;
use crate::listen::options::ListenerOptions;
use crate::listen::session::ClientSlot;
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
    /// Starts a listener on the current runtime. `channels` are known to the feed already. The receiver
    /// resolves once their LISTENs are committed, or fails and nothing is left running.
    pub fn start(
        options: ListenerOptions,
        feed: Arc<Feed>,
        channels: Vec<String>,
    ) -> (Self, oneshot::Receiver<Result<()>>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (started, start) = oneshot::channel();
        let (finish, finished) = watch::channel(false);
        let client = ClientSlot::default();
        let cancel = CancellationToken::new();
        let deadline = Arc::new(Mutex::new(None));
        let policy = Policy {
            reconnect: options.reconnect,
            heartbeat: options.heartbeat,
            request_timeout: options.request_timeout(),
        };
        let supervisor = Supervisor::new(
            SupervisorParts {
                policy,
                sessions: options.setup,
                own_pids: options.own_pids,
                losses: &LOSSES,
                feed: Arc::clone(&feed),
                commands: receiver,
                client: Arc::clone(&client),
                cancel: cancel.clone(),
                deadline: Arc::clone(&deadline),
            },
            channels,
        );
        let panicked = Arc::clone(&feed);
        drop(tokio::spawn(async move {
            if AssertUnwindSafe(supervisor.run(started))
                .catch_unwind()
                .await
                .is_err()
            {
                panicked.give_up(Error::new(
                    ErrorKind::Internal,
                    "the listener's supervisor panicked",
                ));
            }
            let _ = finish.send(true);
        }));
        (
            Self {
                feed,
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
        self.feed.seat().add_channel(&channel, id);
        let (reply, receiver) = oneshot::channel();
        // A supervisor that is gone drops the command, and with it the sender.
        let _ = self
            .commands
            .send(Command::Subscribe { channel, id, reply });
        receiver
    }

    /// Unsubscribes from a channel; the receiver resolves once the UNLISTEN is committed.
    pub fn unsubscribe(&self, channel: String) -> oneshot::Receiver<Result<()>> {
        self.feed.seat().remove_channel(&channel);
        let (reply, receiver) = oneshot::channel();
        let _ = self.commands.send(Command::Unsubscribe { channel, reply });
        receiver
    }

    /// Puts a fence behind everything that is committed by now, in every consumer's stream; the receiver
    /// resolves once it stands there.
    pub fn fence(&self, id: u32) -> oneshot::Receiver<Result<()>> {
        let (reply, receiver) = oneshot::channel();
        self.feed.add_fence(id, reply);
        let _ = self.commands.send(Command::Fence { id });
        receiver
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

/// Awaits the answer to a command; a dropped sender means that the listener is gone.
pub async fn answered(receiver: oneshot::Receiver<Result<()>>) -> Result<()> {
    receiver.await.unwrap_or_else(|_| Err(listener_closed()))
}

/// The error of whoever waited for a listener that is gone.
fn listener_closed() -> Error {
    Error::new(ErrorKind::ListenerClosed, "the listener was shut down")
}
