//! The requests that the core sends on one connection, and the statements that it keeps prepared there.
//!
//! deadpool's client and `tokio_postgres`' stand behind [`Client`], so that only this file, `connections` and the dialler
//! know them.

use deadpool_postgres::{ClientWrapper, Object};
use tokio_postgres::{RowStream, SimpleQueryMessage, Statement};

use crate::base::error::Result;
use crate::connect::dial;
use crate::query::values::Encoded;

/// A connection's prepared statements are forgotten beyond this many: text with values written into it would otherwise
/// fill the memory of both sides.
const MAX_PREPARED_STATEMENTS: usize = 512;

/// The outcome of a request whose error still says what became of a prepared statement.
pub(crate) type RawResult<T> = std::result::Result<T, tokio_postgres::Error>;

/// Sends requests on one connection. Concurrent requests are sent at once, and answered in their order.
#[derive(Debug)]
pub struct Client(Owner);

#[derive(Debug)]
enum Owner {
    /// Dropping the object gives the connection back to its pool.
    Pool(Object),
    Nobody(ClientWrapper),
}

impl Client {
    /// A client that is in no pool. Must be made on a runtime. Dropping it ends the session.
    #[must_use]
    pub fn unpooled(client: tokio_postgres::Client) -> Self {
        // The wrapper aborts its task when it is dropped. The task that drives the connection has to live on then, to
        // send Terminate, so the wrapper gets a task that does nothing.
        let idle = tokio::spawn(std::future::ready(()));
        Self(Owner::Nobody(ClientWrapper::new(client, idle)))
    }

    pub(super) fn pooled(object: Object) -> Self {
        Self(Owner::Pool(object))
    }

    /// Closes the connection instead of giving it back to its pool.
    pub(super) fn discard(self) {
        if let Owner::Pool(object) = self.0 {
            drop(Object::take(object));
        }
    }

    fn wrapper(&self) -> &ClientWrapper {
        match &self.0 {
            Owner::Pool(object) => object,
            Owner::Nobody(wrapper) => wrapper,
        }
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.wrapper().is_closed()
    }

    /// The process id of the backend that answers statements.
    pub async fn process_id(&self) -> Result<i32> {
        dial::process_id(self.wrapper()).await
    }

    /// Runs statements without parameters, separated by semicolons, and gives their rows as text.
    pub async fn simple_query(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>> {
        Ok(self.wrapper().simple_query(sql).await?)
    }

    /// Runs statements without parameters, separated by semicolons, and ignores their rows.
    pub(crate) async fn batch_execute(&self, sql: &str) -> Result<()> {
        Ok(self.wrapper().batch_execute(sql).await?)
    }

    /// Prepares a statement, unless it is prepared already.
    pub(crate) async fn prepare(&self, sql: &str) -> Result<Statement> {
        let client = self.wrapper();
        if client.statement_cache.size() >= MAX_PREPARED_STATEMENTS {
            client.statement_cache.clear();
        }
        match client.prepare_cached(sql).await {
            Ok(statement) => Ok(statement),
            Err(error) => {
                // A statement that failed keeps an empty place in the cache.
                self.forget(sql);
                Err(error.into())
            }
        }
    }

    /// Prepares a statement anew the next time.
    pub(crate) fn forget(&self, sql: &str) {
        self.wrapper().statement_cache.remove(sql, &[]);
    }

    /// Executes a prepared statement and gives the number of rows affected.
    pub(crate) async fn execute(
        &self,
        statement: &Statement,
        params: &[Encoded],
    ) -> RawResult<u64> {
        self.wrapper().execute_raw(statement, params.iter()).await
    }

    /// Executes a prepared statement and streams its rows.
    pub(crate) async fn query(
        &self,
        statement: &Statement,
        params: &[Encoded],
    ) -> RawResult<RowStream> {
        self.wrapper().query_raw(statement, params.iter()).await
    }
}
