//! The pool of connections for queries. Listening sessions live outside of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::doubt::Doubt;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::own_pids::OwnPids;
use crate::connect::config::ConnectConfig;
use crate::connect::dial::hosts_named;
use crate::query::bounds::{Bounds, Interruption};
use crate::query::connections::{Connections, Life, closed};
use crate::query::holders::Holders;
use crate::query::lease::Lease;
use crate::query::lease_limit::{LeaseLimit, Permit};
pub use crate::query::limits::Limits;

/// How a connection is checked before it is leased again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recycling {
    /// Looks whether the connection is still open.
    Fast,
    /// Asks the server.
    Verified,
    /// Resets everything that a session can change.
    Clean,
}

/// How many connections a pool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    /// The most connections that may be open.
    pub max_size: usize,
    /// Connections that are open.
    pub size: usize,
    /// Open connections that are not leased.
    pub available: usize,
    /// Calls that wait for a connection.
    pub waiting: usize,
}

/// A pool. Clones are the same pool. No connection is opened before one is asked for.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    connections: Connections,
    limit: Arc<LeaseLimit>,
    config: Arc<ConnectConfig>,
    life: Life,
    holders: Arc<Holders>,
}

impl Shared {
    /// The error of a call for which no connection became free.
    fn not_free(&self, interruption: Interruption) -> Error {
        let status = self.connections.status();
        let error = interruption.error("waiting for a free connection of the pool");
        if error.kind != ErrorKind::TimedOut {
            return error;
        }
        Error::new(
            ErrorKind::Pool,
            format!(
                "{}: all {} may be in use, held by {}; {} calls wait",
                error.message,
                status.max_size,
                self.holders,
                self.limit.waiting()
            ),
        )
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.status()).finish()
    }
}

impl Pool {
    /// A pool of at most `max_size` connections, each of which is kept within the limits.
    pub fn new(
        config: ConnectConfig,
        max_size: usize,
        recycling: Recycling,
        limits: Limits,
    ) -> Result<Self> {
        let life = Life {
            drivers: TaskTracker::new(),
            closing: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            own_pids: Arc::default(),
            doubt: Arc::default(),
        };
        let config = Arc::new(config);
        let connections = Connections::new(
            Arc::clone(&config),
            life.clone(),
            max_size,
            recycling,
            limits,
        )?;
        Ok(Self(Arc::new(Shared {
            connections,
            limit: LeaseLimit::new(max_size),
            config,
            life,
            holders: Arc::default(),
        })))
    }

    /// The process ids of the pool's live connections.
    #[must_use]
    pub fn own_pids(&self) -> &Arc<OwnPids> {
        &self.0.life.own_pids
    }

    /// Doubts the pool's connections when it is raised: each is asked before it is given out again.
    #[must_use]
    pub fn doubt(&self) -> &Arc<Doubt> {
        &self.0.life.doubt
    }

    /// Who holds the connections that are leased, as people read it.
    #[must_use]
    pub fn holders(&self) -> String {
        self.0.holders.to_string()
    }

    /// Where and how the pool connects.
    #[must_use]
    pub fn connect_config(&self) -> &Arc<ConnectConfig> {
        &self.0.config
    }

    /// Leases a connection, opened if need be, once fewer than the maximum are leased. Whoever called first is served
    /// first: the place in the queue is taken before the future is returned.
    ///
    /// `holder` says in a few words who asks, for the error of others who find no connection free.
    pub fn acquire(
        &self,
        holder: String,
        bounds: Bounds,
    ) -> impl Future<Output = Result<Lease>> + Send + use<> {
        let pool = self.clone();
        // Polled outside of tokio's budget for a task: a poll that the budget refuses would not queue.
        let mut acquiring = Box::pin(unconstrained(Arc::clone(&self.0.limit).acquire()));
        let acquired = acquiring.as_mut().now_or_never();
        async move {
            let permit = match acquired {
                Some(permit) => Ok(permit),
                None => bounds.hold(acquiring).await,
            };
            let permit = permit.map_err(|interruption| pool.0.not_free(interruption))?;
            let leasing = pool.lease(permit.ok_or_else(closed)?, holder);
            match bounds.hold(leasing).await {
                Ok(leased) => leased,
                Err(interruption) => {
                    let hosts = hosts_named(&pool.0.config);
                    Err(interruption.error(&format!("connecting to {hosts} for the pool")))
                }
            }
        }
    }

    async fn lease(&self, permit: Permit, holder: String) -> Result<Lease> {
        let held = Holders::enter(&self.0.holders, holder);
        let client = self.0.connections.get().await?;
        if self.0.life.closing.is_cancelled() {
            client.discard();
            return Err(closed());
        }
        Ok(Lease::pooled(client, permit, held))
    }

    /// How many connections there are now.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        let status = self.0.connections.status();
        PoolStatus {
            max_size: status.max_size,
            size: status.size,
            available: status.available,
            waiting: self.0.limit.waiting(),
        }
    }

    /// Changes the maximum. When it is lowered, surplus free connections are closed now and leased ones when they come
    /// back.
    pub fn resize(&self, max_size: usize) {
        if !self.0.life.closing.is_cancelled() {
            self.0.limit.resize(max_size);
            self.0.connections.resize(max_size);
        }
    }

    /// Closes free connections now and leased ones when they come back. Nothing new is opened.
    pub fn begin_to_close(&self) {
        let Life {
            drivers, closing, ..
        } = &self.0.life;
        closing.cancel();
        self.0.limit.close();
        self.0.connections.close();
        drivers.close();
    }

    /// Closes free connections now and leased ones when they come back, and waits until the servers' sessions are gone.
    ///
    /// After `timeout` the pool stops waiting for leases: it has the servers cancel what they still do for them, which may
    /// take a second more, and drops the sockets.
    pub async fn close(&self, timeout: Duration) {
        self.begin_to_close();
        let Life {
            drivers, abandoned, ..
        } = &self.0.life;
        if tokio::time::timeout(timeout, drivers.wait()).await.is_err() {
            abandoned.cancel();
            drivers.wait().await;
        }
    }
}
