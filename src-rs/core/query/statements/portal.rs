//! Portals: statements whose rows are fetched in parts.

use super::answer::{self, Rows};
use super::{Description, Manner, Prepared, QueryOutput, marked};
use crate::base::error::{Error, ErrorKind, Result};
use crate::protocol::TransactionStatus;
use crate::query::backend::Backend;
use crate::query::values::Param;

/// A statement that was opened, within a transaction block.
#[derive(Debug)]
pub(crate) struct Portal {
    name: String,
    prepared: Prepared,
    manner: Manner,
}

impl Portal {
    /// Opens a statement that is prepared.
    pub(crate) async fn open(
        backend: &Backend,
        prepared: Prepared,
        params: &[Param],
        manner: Manner,
    ) -> Result<Self> {
        if backend.transaction_status() == TransactionStatus::Idle {
            return Err(Error::new(
                ErrorKind::NoTransaction,
                "a cursor lives within a transaction, and none is open",
            ));
        }
        let encoded = prepared.encode(params);
        let params = encoded.map_err(|error| marked(error, &prepared))?;
        let name = backend.new_name();
        let responses =
            backend.open(&name, &prepared.statement, &params, prepared.plan.formats())?;
        let opened = answer::read(backend, responses, 1, |_| Ok(())).await;
        opened.map_err(|error| marked(error, &prepared))?;
        Ok(Self {
            name,
            prepared,
            manner,
        })
    }

    /// What the parameters and columns are.
    pub(crate) fn description(&self) -> Description {
        self.prepared.description()
    }

    /// The next rows: at most so many.
    pub(crate) async fn fetch(&self, backend: &Backend, most: u32) -> Result<QueryOutput> {
        let responses = backend.fetch(&self.name, most)?;
        let asked = self.prepared.ask_fields(backend);
        let mut rows = Rows::new(&self.prepared);
        let answered = answer::read(backend, responses, 1, |part| rows.take(part)).await;
        let told = answer::told(asked).await;
        answered.map_err(|error| {
            // Its transaction has ended, or the savepoint that it was opened behind was rolled back to. A `FETCH` names another cursor.
            if error.sql_state() == Some("34000") && error.message.contains(&self.name) {
                return error.saying(
                    "the cursor has ended: it ends with its transaction, and with a rollback to a savepoint before it"
                        .to_owned(),
                );
            }
            error
        })?;
        let statement = &self.prepared.statement;
        rows.finish(backend, statement, self.manner, told.as_ref())
            .await
    }

    /// Closes the portal. One that has ended with its transaction is closed already. In a transaction that has failed it may be one of
    /// before the savepoint that the transaction goes back to.
    pub(crate) async fn close(&self, backend: &Backend) -> Result<()> {
        if backend.transaction_status() == TransactionStatus::Idle {
            return Ok(());
        }
        answer::read(backend, backend.close_portal(&self.name)?, 1, |_| Ok(())).await
    }
}
