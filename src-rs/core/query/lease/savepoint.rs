//! Savepoints: a part of a transaction that can be undone by itself.
//!
//! `savepoint` is the name of one as it stands in SQL, quoted if need be.

use std::sync::Arc;

use super::Lease;
use crate::base::error::Result;
use crate::query::bounds::Bounds;
use crate::query::statements::{self, CommitOutcome};

impl Lease {
    /// Begins a part of the open transaction. Only the wait for its turn is bounded: if it were cancelled on the server, the
    /// whole transaction would have failed.
    pub fn savepoint(
        self: &Arc<Self>,
        savepoint: &str,
        bounds: Bounds,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let operation = self.enter(bounds);
        let sql = format!("SAVEPOINT {savepoint}");
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let work = statements::execute_batch(&connection, &sql);
            connection.brief(work).await
        }
    }

    /// Ends the part that [`Lease::savepoint`] began, and keeps what it did. If a statement in it has failed, it is rolled back.
    pub fn release_savepoint(
        self: &Arc<Self>,
        savepoint: String,
    ) -> impl Future<Output = Result<CommitOutcome>> + Send + use<> {
        let operation = self.enter(Bounds::default());
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let work = statements::release(&connection, &savepoint);
            connection.brief(work).await
        }
    }

    /// Ends the part that [`Lease::savepoint`] began, and undoes what it did.
    pub fn rollback_savepoint(
        self: &Arc<Self>,
        savepoint: String,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let operation = self.enter(Bounds::default());
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let work = statements::undo(&connection, &savepoint);
            connection.brief(work).await
        }
    }
}
