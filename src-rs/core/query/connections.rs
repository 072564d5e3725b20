//! deadpool's pool with our own dialling behind it: which connections are open, which of them are free.
//!
//! deadpool asks for a check before it gives a free connection out again. A connection that was silent for long, or that is
//! older than a doubt about the network, may be dead without a word (half open): it is asked first, and all others like it
//! at the same time, so that a caller waits for one check and one dial however many connections are dead.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use deadpool::managed::{self, Metrics, PoolError, QueueMode, RecycleError, RecycleResult};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::doubt::Doubt;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::own_pids::OwnPids;
use crate::base::panic::contained_future;
use crate::connect::config::ConnectConfig;
use crate::connect::dial::{Dialed, dial, drive_shared};
use crate::protocol::{Driven, TransactionStatus};
use crate::query::backend::Backend;
use crate::query::client::Client;
use crate::query::limits::{Limits, enforce};
use crate::query::pool::Recycling;

/// How long a server may take to hear that what it does for an abandoned connection is to be cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the limits are not looked at after a panic.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// What resets everything that a session can change, except prepared statements: `DISCARD ALL` without its `DEALLOCATE ALL`
/// (<https://www.postgresql.org/docs/current/sql-discard.html>). The function is named with its schema, since a role's
/// `search_path` may lead to another one.
const CLEAN: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// A connection that is leased from the pool. Dropping it gives it back.
pub(super) type PooledConnection = managed::Object<Opener>;

/// Counts the tasks that drive a pool's connections, and tells them to stop.
#[derive(Debug, Clone)]
pub(super) struct Life {
    /// One task for each connection that is being dialled or open. A driver ends when the server's session is gone.
    pub(super) drivers: TaskTracker,
    /// Cancelled when the pool begins to close: nothing new is opened.
    pub(super) closing: CancellationToken,
    /// Cancelled when closing has taken too long: drivers no longer wait for servers and users.
    pub(super) abandoned: CancellationToken,
    /// The process ids of the pool's backends.
    pub(super) own_pids: Arc<OwnPids>,
    /// Since when connections are suspect, because a listener found its session silently dead, or a server did not confirm
    /// that a statement was cancelled.
    pub(super) doubt: Arc<Doubt>,
}

/// The connections of a pool.
#[derive(Clone)]
pub(super) struct Connections {
    pool: managed::Pool<Opener>,
    limits: Limits,
    /// Set once the limits are enforced.
    enforced: Arc<OnceLock<()>>,
    closing: CancellationToken,
}

impl Connections {
    pub(super) fn new(
        config: Arc<ConnectConfig>,
        life: Life,
        max_size: usize,
        recycling: Recycling,
        limits: Limits,
    ) -> Result<Self> {
        let closing = life.closing.clone();
        let opener = Opener {
            config,
            life,
            recycling,
            limits,
            open: Mutex::default(),
        };
        // Where idle connections are closed, few are used often rather than all now and then.
        let queue_mode = match limits.idle_timeout {
            Some(_) => QueueMode::Lifo,
            None => QueueMode::Fifo,
        };
        let pool = managed::Pool::builder(opener)
            .max_size(max_size)
            .queue_mode(queue_mode)
            .build()
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        Ok(Self {
            pool,
            limits,
            enforced: Arc::default(),
            closing,
        })
    }

    /// Gives a free connection, or opens one.
    pub(super) async fn get(&self) -> Result<Client> {
        self.enforced.get_or_init(|| {
            let (limits, closing) = (self.limits, self.closing.clone());
            let pool = self.pool.weak();
            drop(tokio::spawn(async move {
                let enforcing = || enforce(limits, &pool, &closing);
                // A panic must not be the end of the limits.
                while contained_future("closing connections", enforcing())
                    .await
                    .is_err()
                {
                    tokio::time::sleep(AFTER_PANIC).await;
                }
            }));
        });
        match self.pool.get().await {
            Ok(object) => Ok(Client::pooled(object)),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Closed) => Err(closed()),
            Err(other) => Err(Error::new(ErrorKind::Pool, other.to_string())),
        }
    }

    pub(super) fn status(&self) -> managed::Status {
        self.pool.status()
    }

    pub(super) fn resize(&self, max_size: usize) {
        self.pool.resize(max_size);
    }

    /// Closes free connections now and leased ones when they come back.
    pub(super) fn close(&self) {
        self.pool.close();
    }
}

/// The error of everything that is asked of a pool after it was closed.
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Pool, "the pool is closed")
}

/// Opens connections for deadpool, and checks them before they are given out again.
#[derive(Debug)]
pub(super) struct Opener {
    config: Arc<ConnectConfig>,
    life: Life,
    recycling: Recycling,
    limits: Limits,
    /// The connections that are open.
    open: Mutex<Vec<Weak<Backend>>>,
}

impl managed::Manager for Opener {
    type Type = Arc<Backend>;
    type Error = Error;

    async fn create(&self) -> Result<Arc<Backend>> {
        let _counted = self.life.drivers.token();
        let opening = Box::pin(self.open());
        let opened = self.life.closing.run_until_cancelled(opening).await;
        let backend = Arc::new(opened.unwrap_or_else(|| Err(closed()))?);
        let mut open = self.open.lock();
        open.retain(|other| other.strong_count() > 0);
        open.push(Arc::downgrade(&backend));
        Ok(backend)
    }

    async fn recycle(&self, backend: &mut Arc<Backend>, _: &Metrics) -> RecycleResult<Error> {
        if backend.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        if backend.is_left_behind() {
            return Err(RecycleError::message("another server is the primary now"));
        }
        if self.limits.is_due(backend) {
            return Err(RecycleError::message(
                "the connection was kept for too long",
            ));
        }
        if self.is_suspect(backend) {
            for other in self.suspects() {
                drop(other.check());
            }
        }
        // A check that somebody else has begun tells about this connection too.
        let must_ask = self.recycling == Recycling::Verified || self.is_suspect(backend);
        if must_ask && !backend.check().await {
            return Err(RecycleError::message("the server did not answer"));
        }
        if self.recycling == Recycling::Clean {
            let cleaning = backend.simple_query(CLEAN);
            let cleaned = tokio::time::timeout(self.config.connect_timeout, cleaning).await;
            let Ok(cleaned) = cleaned else {
                backend.abandon();
                return Err(RecycleError::message("the session was not reset in time"));
            };
            cleaned?;
        }
        if backend.is_foreign() {
            return Err(RecycleError::message(
                "the session exchanges text in another encoding",
            ));
        }
        if backend.transaction_status() != TransactionStatus::Idle {
            return Err(RecycleError::message("a transaction is open"));
        }
        Ok(())
    }
}

impl Opener {
    fn is_suspect(&self, backend: &Backend) -> bool {
        backend.is_suspect(self.life.doubt.since())
    }

    /// When each of the open connections is too old, whether it is leased or not.
    pub(super) fn ends_of_life(&self) -> Vec<Instant> {
        let open = self.open.lock();
        let alive = open.iter().filter_map(Weak::upgrade);
        alive.filter_map(|backend| backend.end_of_life()).collect()
    }

    /// The open connections that may be dead, and are waiting for no answer.
    fn suspects(&self) -> Vec<Arc<Backend>> {
        let open = self.open.lock();
        let alive = open.iter().filter_map(Weak::upgrade);
        alive
            .filter(|backend| {
                !backend.is_leased()
                    && !backend.is_busy()
                    && !backend.is_closed()
                    && self.is_suspect(backend)
            })
            .collect()
    }

    /// Dials, registers the backend, and starts the driver.
    async fn open(&self) -> Result<Backend> {
        let (dialed, process_id) = dial(&self.config).await?;
        let Dialed {
            client,
            connection,
            facts,
            destination,
        } = dialed;
        fail_point!("open");
        let own_pids = Arc::clone(&self.life.own_pids);
        own_pids.insert(process_id);
        let abandoned = self.life.abandoned.clone();
        let (config, token) = (Arc::clone(&self.config), client.cancel_token().cloned());
        let there = destination.clone();
        let connection = Arc::new(Driven::new(connection));
        client.take_shortcut(&connection);
        self.life.drivers.spawn(async move {
            let driven = abandoned
                .run_until_cancelled(drive_shared(&connection))
                .await;
            if driven.is_none()
                && let Some(token) = token
            {
                // A backend in the middle of a statement notices the end of its socket only when it writes.
                let cancel = Box::pin(there.cancel(&config, &token));
                drop(tokio::time::timeout(CANCEL_TIMEOUT, cancel).await);
            }
            drop(connection);
            own_pids.remove(process_id);
        });
        let (config, doubt) = (Arc::clone(&self.config), Arc::clone(&self.life.doubt));
        let backend = Backend::new(client, facts, config, destination, doubt);
        Ok(backend
            .of_process(process_id)
            .until(self.limits.end_of_life()))
    }
}
