//! The pool of connections for queries. Listening sessions live outside of it.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Connect, Manager, ManagerConfig, Object, PoolError, RecyclingMethod, Runtime,
};
use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::own_pids::OwnPids;
use crate::connect::config::ConnectConfig;
use crate::connect::dial::{Dialed, dial, drive, process_id};
use crate::query::connection::Lease;
use crate::query::gate::{Gate, Pass};

/// How long a server may take to hear that what it does for an abandoned connection is to be cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

/// What is done with a connection before it is given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recycling {
    /// Looks whether it is still open.
    Fast,
    /// Asks the server.
    Verified,
    /// Resets everything that a session can change.
    Clean,
}

/// How many connections there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    pub max_size: usize,
    /// Open ones.
    pub size: usize,
    /// Open ones that nobody has.
    pub available: usize,
    /// Calls that wait for one.
    pub waiting: usize,
}

/// A pool. Clones are the same pool. Opens nothing until a connection is asked for.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    connections: deadpool_postgres::Pool,
    gate: Arc<Gate>,
    config: Arc<ConnectConfig>,
    life: Life,
}

/// What a pool's connections share with it.
#[derive(Debug, Clone)]
struct Life {
    /// Ended drivers are servers' sessions that are gone; what is being dialled counts too.
    drivers: TaskTracker,
    /// The pool is being closed: nothing new.
    closing: CancellationToken,
    /// Closing has taken too long: no more waiting for servers and users.
    abandoned: CancellationToken,
    own_pids: Arc<OwnPids>,
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
        let connector = Connector {
            config: Arc::clone(&config),
            life: life.clone(),
        };
        let recycling_method = match recycling {
            Recycling::Fast => RecyclingMethod::Fast,
            Recycling::Verified => RecyclingMethod::Verified,
            Recycling::Clean => RecyclingMethod::Clean,
        };
        // The connector has its own configuration.
        let manager =
            Manager::from_connect(Config::new(), connector, ManagerConfig { recycling_method });
        let connections = deadpool_postgres::Pool::builder(manager)
            .max_size(max_size)
            .runtime(Runtime::Tokio1)
            // A peer that does not answer is given up like one that cannot be reached.
            .recycle_timeout(Some(config.connect_timeout))
            .build()
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        Ok(Self(Arc::new(Shared {
            connections,
            gate: Gate::new(max_size),
            config,
            life,
        })))
    }

    /// The process ids of the pool's live connections.
    #[must_use]
    pub fn own_pids(&self) -> &Arc<OwnPids> {
        &self.0.life.own_pids
    }

    /// Where its connections go to.
    #[must_use]
    pub fn connect_config(&self) -> &Arc<ConnectConfig> {
        &self.0.config
    }

    /// Gives a connection, opened if need be, once fewer than the maximum are out. Whoever called first is served
    /// first: the place in the queue is taken before the future is returned.
    pub fn acquire(&self) -> impl Future<Output = Result<Lease>> + Send + use<> {
        let pool = self.clone();
        let mut entering = Box::pin(Arc::clone(&self.0.gate).enter());
        let entered = entering.as_mut().now_or_never();
        async move {
            let pass = match entered {
                Some(pass) => pass,
                None => entering.await,
            };
            pool.lease(pass.ok_or_else(closed)?).await
        }
    }

    async fn lease(&self, pass: Pass) -> Result<Lease> {
        let (outcome, failure) = FAILURE
            .scope(RefCell::default(), async {
                let outcome = self.0.connections.get().await;
                (outcome, FAILURE.with(RefCell::take))
            })
            .await;
        let object = outcome.map_err(|error| failure.unwrap_or_else(|| from_pool(error)))?;
        if self.0.life.closing.is_cancelled() {
            drop(Object::take(object));
            return Err(closed());
        }
        Ok(Lease::pooled(object, pass))
    }

    #[must_use]
    pub fn status(&self) -> PoolStatus {
        let status = self.0.connections.status();
        PoolStatus {
            max_size: status.max_size,
            size: status.size,
            available: status.available,
            waiting: self.0.gate.waiting(),
        }
    }

    /// Changes the maximum. Made smaller, idle connections are closed at once and others when they come back.
    pub fn resize(&self, max_size: usize) {
        if !self.0.life.closing.is_cancelled() {
            self.0.gate.resize(max_size);
            self.0.connections.resize(max_size);
        }
    }

    /// Closes every connection: idle ones at once, others when they come back, or after `timeout` without waiting
    /// for that: what their servers are still doing for them is cancelled, which may take a second more. Returns when
    /// the servers' sessions are gone, or after that.
    pub async fn close(&self, timeout: Duration) {
        let Life {
            drivers,
            closing,
            abandoned,
            ..
        } = &self.0.life;
        closing.cancel();
        self.0.gate.close();
        self.0.connections.close();
        drivers.close();
        if tokio::time::timeout(timeout, drivers.wait()).await.is_err() {
            abandoned.cancel();
            drivers.wait().await;
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Pool, "the pool is closed")
}

fn from_pool(error: PoolError) -> Error {
    match error {
        PoolError::Closed => closed(),
        PoolError::Backend(error) => error.into(),
        other => Error::new(ErrorKind::Pool, other.to_string()),
    }
}

tokio::task_local! {
    /// Why the connection asked for could not be opened: the pool's own way out carries only the client library's
    /// errors, which cannot be made.
    static FAILURE: RefCell<Option<Error>>;
}

struct Connector {
    config: Arc<ConnectConfig>,
    life: Life,
}

type Opened = std::result::Result<(Client, JoinHandle<()>), tokio_postgres::Error>;

impl Connect for Connector {
    fn connect(&self, _: &Config) -> Pin<Box<dyn Future<Output = Opened> + Send + '_>> {
        Box::pin(async {
            let _counted = self.life.drivers.token();
            let opening = Box::pin(self.open());
            let opened = self.life.closing.run_until_cancelled(opening).await;
            match opened.unwrap_or_else(|| Err(closed())) {
                // The pool aborts the task of a connection that it drops, and the driver still has to say
                // goodbye to the server: it gets another task.
                Ok(client) => Ok((client, tokio::spawn(std::future::ready(())))),
                Err(failure) => {
                    FAILURE.with(|slot| slot.replace(Some(failure)));
                    Err(any_error())
                }
            }
        })
    }
}

impl Connector {
    async fn open(&self) -> Result<Client> {
        let Dialed {
            client,
            mut connection,
            route,
            ..
        } = dial(&self.config).await?;
        let own_pids = Arc::clone(&self.life.own_pids);
        let abandoned = self.life.abandoned.clone();
        let (config, token) = (Arc::clone(&self.config), client.cancel_token());
        let (registered, registration) = oneshot::channel();
        self.life.drivers.spawn(async move {
            let driven = abandoned.run_until_cancelled(drive(&mut connection)).await;
            if driven.is_none() {
                // A backend in the middle of a statement does not notice the end of its socket before it writes.
                let cancel = Box::pin(route.cancel(&config, &token));
                drop(tokio::time::timeout(CANCEL_TIMEOUT, cancel).await);
            }
            drop(connection);
            if let Ok(process_id) = registration.await {
                own_pids.remove(process_id);
            }
        });
        let asked = tokio::time::timeout(self.config.connect_timeout, process_id(&client));
        let process_id = asked.await.map_err(|_| {
            Error::new(
                ErrorKind::Connect,
                "the server did not answer the first query",
            )
        })??;
        self.life.own_pids.insert(process_id);
        // Received even when the driver has ended by now: it waits for this.
        let _ = registered.send(process_id);
        Ok(client)
    }
}

/// An error to fill the place of one; [`FAILURE`] has the real one.
fn any_error() -> tokio_postgres::Error {
    match "no key/value pair".parse::<Config>() {
        Err(error) => error,
        Ok(_) => unreachable!("the text is no configuration"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_that_fills_a_place_can_be_made() {
        let _ = any_error();
    }
}
