//! The pool of connections for queries. Listening sessions live outside of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::error::Result;
use crate::base::own_pids::OwnPids;
use crate::connect::config::ConnectConfig;
use crate::query::connections::{Connections, Life, closed};
use crate::query::lease::Lease;
use crate::query::lease_limit::{LeaseLimit, Permit};

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
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.status()).finish()
    }
}

impl Pool {
    /// A pool of at most `max_size` connections.
    pub fn new(config: ConnectConfig, max_size: usize, recycling: Recycling) -> Result<Self> {
        let life = Life {
            drivers: TaskTracker::new(),
            closing: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            own_pids: Arc::default(),
        };
        let config = Arc::new(config);
        let connections = Connections::new(Arc::clone(&config), life.clone(), max_size, recycling)?;
        Ok(Self(Arc::new(Shared {
            connections,
            limit: LeaseLimit::new(max_size),
            config,
            life,
        })))
    }

    /// The process ids of the pool's live connections.
    #[must_use]
    pub fn own_pids(&self) -> &Arc<OwnPids> {
        &self.0.life.own_pids
    }

    /// Where and how the pool connects.
    #[must_use]
    pub fn connect_config(&self) -> &Arc<ConnectConfig> {
        &self.0.config
    }

    /// Leases a connection, opened if need be, once fewer than the maximum are leased. Whoever called first is served
    /// first: the place in the queue is taken before the future is returned.
    pub fn acquire(&self) -> impl Future<Output = Result<Lease>> + Send + use<> {
        let pool = self.clone();
        // Polled outside of tokio's budget for a task: a poll that the budget refuses would not queue.
        let mut acquiring = Box::pin(unconstrained(Arc::clone(&self.0.limit).acquire()));
        let acquired = acquiring.as_mut().now_or_never();
        async move {
            let permit = match acquired {
                Some(permit) => permit,
                None => acquiring.await,
            };
            pool.lease(permit.ok_or_else(closed)?).await
        }
    }

    async fn lease(&self, permit: Permit) -> Result<Lease> {
        let client = self.0.connections.get().await?;
        if self.0.life.closing.is_cancelled() {
            client.discard();
            return Err(closed());
        }
        Ok(Lease::pooled(client, permit))
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
