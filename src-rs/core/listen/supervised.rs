//! A supervisor at work, as the listeners have it that hear its feed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::Awaited;
use crate::base::doubt::Doubt;
use crate::base::own_pids::OwnPids;
use crate::base::panic::contained_future;
use crate::deliver::feed::{Feed, Left, SeatId};
use crate::listen::lending::{LenderSlot, ListeningLoan};
use crate::listen::losses::Losses;
use crate::listen::session::ClientSlot;
use crate::listen::sessions::Sessions;
use crate::listen::supervisor::{Command, Policy, Supervisor, SupervisorParts};

/// The losses of all sessions of this process.
static LOSSES: Losses = Losses::new();

/// A supervisor at work. Dropping this ends its session.
#[derive(Debug)]
pub(super) struct Supervised {
    pub(super) feed: Arc<Feed>,
    /// Raised when the session is found silently dead.
    pub(super) doubt: Arc<Doubt>,
    commands: mpsc::UnboundedSender<Command>,
    client: ClientSlot,
    lender: LenderSlot,
    cancel: CancellationToken,
    /// Until when the session may take to close.
    deadline: Arc<Mutex<Option<Instant>>>,
    finished: watch::Receiver<bool>,
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Supervised {
    /// Starts a supervisor on the current runtime. It begins when there is a command.
    pub(super) fn start<S: Sessions>(
        sessions: S,
        policy: Policy,
        doubt: Arc<Doubt>,
        own_pids: Option<Arc<OwnPids>>,
        feed: Arc<Feed>,
    ) -> Arc<Self> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (finish, finished) = watch::channel(false);
        let client = ClientSlot::default();
        let lender = LenderSlot::default();
        let cancel = CancellationToken::new();
        let deadline = Arc::new(Mutex::new(None));
        let supervisor = Supervisor::new(SupervisorParts {
            policy,
            sessions,
            own_pids,
            losses: &LOSSES,
            feed: Arc::clone(&feed),
            commands: receiver,
            client: Arc::clone(&client),
            lender: Arc::clone(&lender),
            cancel: cancel.clone(),
            deadline: Arc::clone(&deadline),
        });
        let told = Arc::clone(&feed);
        drop(tokio::spawn(async move {
            let run = supervisor.run();
            if let Err(error) = contained_future("the listener's supervisor", run).await {
                told.give_up(&error);
            }
            // Whoever still waits for a fence learns that it will not come.
            told.close();
            let _ = finish.send(true);
        }));
        Arc::new(Self {
            feed,
            doubt,
            commands,
            client,
            lender,
            cancel,
            deadline,
            finished,
        })
    }

    /// Sends a command. A supervisor that is gone drops it, and with it its reply.
    pub(super) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Where the current session's client is.
    pub(super) fn client(&self) -> ClientSlot {
        Arc::clone(&self.client)
    }

    /// Lends the session's connection to this thread, which is one of this environment, if nobody in another environment hears the
    /// session.
    pub(super) fn lend(&self, environment: u64) -> Option<(Awaited, ListeningLoan)> {
        // Locked no longer than for the copy: the end of a session waits for it.
        let lender = self.lender.lock().clone()?;
        lender.lend(|| self.feed.delay_in(environment))
    }

    /// Takes the session's connection back from whoever has borrowed it.
    pub(super) fn recall(&self) {
        let lender = self.lender.lock().clone();
        if let Some(lender) = lender {
            lender.recall();
        }
    }

    /// Takes a listener's seat away, whose channels these were. When it was the last, the session is closed, for which it may take
    /// `timeout`. The future resolves once the session is closed, or at once if others go on to use it.
    pub(super) fn leave(
        &self,
        seat: SeatId,
        channels: Vec<String>,
        timeout: Duration,
    ) -> impl Future<Output = ()> + Send + use<> {
        let left = self.feed.leave(seat, &channels);
        self.send(Command::Leave { seat, channels });
        if left == Left::Last {
            self.deadline
                .lock()
                .get_or_insert_with(|| Instant::now() + timeout);
            self.cancel.cancel();
        }
        let is_over = self.feed.is_over();
        let finished = self.finished();
        async move {
            if is_over {
                finished.await;
            }
        }
    }

    /// Resolves once the supervisor has ended.
    pub(super) fn finished(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut finished = self.finished.clone();
        async move {
            let _ = finished.wait_for(|finished| *finished).await;
        }
    }
}
