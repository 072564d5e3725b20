//! `COPY` on a lease: an operation that others feed or read while it runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;

use super::{InUse, Lease};
use crate::base::error::{Error, ErrorKind, Result};
use crate::protocol::{TransactionStatus, copy_feed};
use crate::query::bounds::Bounds;
use crate::query::copy::{self, CopyIn, CopyOut, Direction, Ending};
use crate::query::held_connection::HeldConnection;

/// Undoes a `COPY TO STDOUT` that was given up, within a transaction: its cancellation has failed that.
const SAVEPOINT: &str = "SAVEPOINT pglisten_copy";
const RELEASE: &str = "RELEASE SAVEPOINT pglisten_copy";
const UNDO: &str = "ROLLBACK TO SAVEPOINT pglisten_copy; RELEASE SAVEPOINT pglisten_copy";

impl Lease {
    /// Runs a `COPY FROM STDIN` whose data is written to the [`CopyIn`]. Gives the number of rows that were stored.
    pub fn copy_from(
        self: &Arc<Self>,
        sql: String,
        bounds: Bounds,
    ) -> (CopyIn, impl Future<Output = Result<u64>> + Send + use<>) {
        let (bounds, abort) = bounds.with_abort();
        let (writer, breaker, feed) = copy_feed();
        let operation = self.enter(bounds);
        let running = async move {
            copy::check(&sql, Direction::In)?;
            let mut operation = operation?;
            let connection = operation.connection().await?;
            connection.refuse_session()?;
            let work = copy::copy_in(&connection, &sql, feed);
            let reached = async {
                let interruption = connection.bounds.reached().await;
                // A server that waits for data hears nothing else.
                breaker.fail("the operation was given up");
                interruption
            };
            connection.until(reached, work).await
        };
        (CopyIn::new(writer, Ending::new(abort)), running)
    }

    /// Runs a `COPY TO STDOUT` whose data is read from the [`CopyOut`]. Gives the number of its rows.
    ///
    /// Given up within a transaction, it does not fail that. The bounds do, as they do with every statement.
    pub fn copy_to(
        self: &Arc<Self>,
        sql: String,
        bounds: Bounds,
    ) -> (CopyOut, impl Future<Output = Result<u64>> + Send + use<>) {
        let (bounds, abort) = bounds.with_abort();
        let ending = Ending::new(abort);
        let is_given_up = ending.is_given_up();
        let (out, outlet) = CopyOut::new(ending);
        let operation = self.enter(bounds);
        let running = async move {
            copy::check(&sql, Direction::Out)?;
            let mut operation = operation?;
            let connection = operation.connection().await?;
            connection.refuse_session()?;
            let is_in_block = connection.transaction_status() == TransactionStatus::Active;
            if is_in_block {
                let begun = connection.batch_execute(SAVEPOINT);
                connection.brief(begun).await?;
            }
            let is_unwanted = CancellationToken::new();
            let work = copy::copy_out(&connection, &sql, outlet, &is_unwanted);
            let reached = async {
                let interruption = connection.bounds.reached().await;
                // A server that waits to be read hears nothing else.
                is_unwanted.cancel();
                interruption
            };
            let outcome = connection.until(reached, work).await;
            let cleaning = match outcome {
                _ if !is_in_block => return outcome,
                Ok(_) => RELEASE,
                Err(_) if is_given_up.load(Ordering::Acquire) => UNDO,
                // The server had sent everything when the bound was reached.
                Err(_) if connection.transaction_status() == TransactionStatus::Active => RELEASE,
                Err(_) => return outcome,
            };
            let cleaned = connection.brief(connection.simple_query(cleaning)).await;
            outcome.and_then(|rows| cleaned.map(|_| rows))
        };
        (out, running)
    }
}

impl InUse<'_> {
    /// Refuses what would keep the wire to itself for long: a listening session's own requests share it.
    fn refuse_session(&self) -> Result<()> {
        match &*self.held {
            HeldConnection::Pooled { .. } => Ok(()),
            HeldConnection::Session(_) => Err(Error::new(
                ErrorKind::Execute,
                "COPY does not run on the connection of a listener, whose session it would keep from listening: lease a \
                 connection of the pool",
            )),
        }
    }
}
