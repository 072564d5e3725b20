//! deadpool's pool with our own dialling behind it: which connections are open, which of them are free.
//!
//! `deadpool-postgres` aborts a connection's task when it drops the connection, which would leave the server to find out.
//! Here the driver is a task of its own that ends after Terminate, and deadpool gets a task that does nothing.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Connect, Manager, ManagerConfig, PoolError, RecyclingMethod, Runtime, Status,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::{Client as RawClient, Config};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::own_pids::OwnPids;
use crate::connect::config::ConnectConfig;
use crate::connect::dial::{Dialed, dial, drive, process_id};
use crate::query::client::Client;
use crate::query::pool::Recycling;

/// How long a server may take to hear that what it does for an abandoned connection is to be cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

/// The statements of deadpool's method of this name, with the function's schema: a role's `search_path` may lead to another
/// function.
const CLEAN: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

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
}

/// The connections of a pool.
#[derive(Clone)]
pub(super) struct Connections(deadpool_postgres::Pool);

impl Connections {
    pub(super) fn new(
        config: Arc<ConnectConfig>,
        life: Life,
        max_size: usize,
        recycling: Recycling,
    ) -> Result<Self> {
        // A peer that does not answer is given up like one that cannot be reached.
        let recycle_timeout = Some(config.connect_timeout);
        let recycling_method = match recycling {
            Recycling::Fast => RecyclingMethod::Fast,
            Recycling::Verified => RecyclingMethod::Verified,
            Recycling::Clean => RecyclingMethod::Custom(CLEAN.to_owned()),
        };
        let connector = Connector { config, life };
        // The connector has its own configuration.
        let manager =
            Manager::from_connect(Config::new(), connector, ManagerConfig { recycling_method });
        deadpool_postgres::Pool::builder(manager)
            .max_size(max_size)
            .runtime(Runtime::Tokio1)
            .recycle_timeout(recycle_timeout)
            .build()
            .map(Self)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
    }

    /// Gives a free connection, or opens one.
    pub(super) async fn get(&self) -> Result<Client> {
        let (outcome, failure) = FAILURE
            .scope(RefCell::default(), async {
                let outcome = self.0.get().await;
                (outcome, FAILURE.with(RefCell::take))
            })
            .await;
        match outcome {
            Ok(object) => Ok(Client::pooled(object)),
            Err(error) => Err(failure.unwrap_or_else(|| from_deadpool(error))),
        }
    }

    pub(super) fn status(&self) -> Status {
        self.0.status()
    }

    pub(super) fn resize(&self, max_size: usize) {
        self.0.resize(max_size);
    }

    /// Closes free connections now and leased ones when they come back.
    pub(super) fn close(&self) {
        self.0.close();
    }
}

/// The error of everything that is asked of a pool after it was closed.
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Pool, "the pool is closed")
}

fn from_deadpool(error: PoolError) -> Error {
    match error {
        PoolError::Closed => closed(),
        PoolError::Backend(error) => error.into(),
        other => Error::new(ErrorKind::Pool, other.to_string()),
    }
}

tokio::task_local! {
    /// Why the connection asked for could not be opened. deadpool carries only errors of `tokio_postgres`, which has no
    /// way to make one.
    static FAILURE: RefCell<Option<Error>>;
}

/// Opens connections for deadpool.
struct Connector {
    config: Arc<ConnectConfig>,
    life: Life,
}

type Opened = std::result::Result<(RawClient, JoinHandle<()>), tokio_postgres::Error>;

impl Connect for Connector {
    fn connect(&self, _: &Config) -> Pin<Box<dyn Future<Output = Opened> + Send + '_>> {
        Box::pin(async {
            let _counted = self.life.drivers.token();
            let opening = Box::pin(self.open());
            let opened = self.life.closing.run_until_cancelled(opening).await;
            match opened.unwrap_or_else(|| Err(closed())) {
                Ok(client) => Ok((client, tokio::spawn(std::future::ready(())))),
                Err(failure) => {
                    FAILURE.with(|slot| slot.replace(Some(failure)));
                    Err(stand_in())
                }
            }
        })
    }
}

impl Connector {
    /// Dials, starts the driver, and registers the backend before its connection can be used.
    async fn open(&self) -> Result<RawClient> {
        let Dialed {
            client,
            mut connection,
            destination,
            ..
        } = dial(&self.config).await?;
        let own_pids = Arc::clone(&self.life.own_pids);
        let abandoned = self.life.abandoned.clone();
        let (config, token) = (Arc::clone(&self.config), client.cancel_token());
        let (registered, registration) = oneshot::channel();
        self.life.drivers.spawn(async move {
            let driven = abandoned.run_until_cancelled(drive(&mut connection)).await;
            if driven.is_none() {
                // A backend in the middle of a statement notices the end of its socket only when it writes.
                let cancel = Box::pin(destination.cancel(&config, &token));
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
        // A driver that has ended by now is still waiting for this.
        let _ = registered.send(process_id);
        Ok(client)
    }
}

/// An error for deadpool to carry in the place of the one in [`FAILURE`].
fn stand_in() -> tokio_postgres::Error {
    match "no key/value pair".parse::<Config>() {
        Err(error) => error,
        Ok(_) => unreachable!("the text is no configuration"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_that_stands_in_can_be_made() {
        let _ = stand_in();
    }
}
