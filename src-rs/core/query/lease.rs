//! A leased connection: its statements in the order of the calls, its transaction, and its return.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio_postgres::error::SqlState;

use crate::base::error::Result;
use crate::query::call_order::{CallOrder, Place};
use crate::query::client::Client;
pub use crate::query::held_connection::ReleaseOutcome;
use crate::query::held_connection::{Condition, HeldConnection, closed, give_back};
use crate::query::lease_limit::Permit;
use crate::query::shared_client::SessionClient;
use crate::query::sql_text::may_open_block;
use crate::query::statements::{self, Block, CommitOutcome, QueryOutput};
use crate::query::values::Param;

/// A leased connection.
///
/// Operations run one after the other, in the order of the calls: each method takes its place before it returns its
/// future. A lease that is dropped without [`Lease::release`] gives its connection back all the same.
#[derive(Debug)]
pub struct Lease {
    /// `None` once the connection was given back.
    held: Mutex<Option<HeldConnection>>,
    order: CallOrder,
    /// [`Lease::release`] was called: further operations are refused.
    released: AtomicBool,
    /// [`Lease::begin`] was called, and the transaction has not ended.
    in_transaction: AtomicBool,
    /// A statement could have opened a transaction block. Shared with a listening session, which must know.
    may_be_in_block: Arc<AtomicBool>,
    /// The connection is lost, or the server no longer knows statements that the client library relies on (after
    /// `DISCARD ALL`, say).
    is_spoiled: AtomicBool,
    /// The runtime of the first operation, for giving back in `drop`. Before the first operation there is nothing to
    /// clean up.
    runtime: OnceLock<Handle>,
}

impl Lease {
    /// A connection of the pool.
    pub(crate) fn pooled(client: Client, permit: Permit) -> Self {
        let held = HeldConnection::Pooled {
            client,
            _permit: permit,
        };
        Self::new(held, Arc::default())
    }

    /// The connection of a listening session, shared with it.
    #[must_use]
    pub fn session(session: &SessionClient) -> Self {
        let held = HeldConnection::Session(session.clone());
        Self::new(held, Arc::clone(&session.may_be_in_block))
    }

    fn new(held: HeldConnection, may_be_in_block: Arc<AtomicBool>) -> Self {
        Self {
            held: Mutex::new(Some(held)),
            order: CallOrder::default(),
            released: AtomicBool::new(false),
            in_transaction: AtomicBool::new(false),
            may_be_in_block,
            is_spoiled: AtomicBool::new(false),
            runtime: OnceLock::new(),
        }
    }

    /// Runs one statement.
    pub fn execute(
        self: &Arc<Self>,
        sql: String,
        params: Vec<Param>,
    ) -> impl Future<Output = Result<QueryOutput>> + Send + use<> {
        let operation = self.enter(&sql);
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            connection.note(statements::execute(&connection, &sql, &params).await)
        }
    }

    /// Runs one statement for each set of parameters; all of them or none take effect. Gives the rows affected.
    pub fn execute_many(
        self: &Arc<Self>,
        sql: String,
        sets: Vec<Vec<Param>>,
    ) -> impl Future<Output = Result<u64>> + Send + use<> {
        let operation = self.enter(&sql);
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let in_block = connection.note(connection.block_state().await)? != Block::None;
            connection.note(statements::execute_many(&connection, &sql, &sets, in_block).await)
        }
    }

    /// Runs statements without parameters, separated by semicolons.
    pub fn execute_batch(
        self: &Arc<Self>,
        sql: String,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let operation = self.enter(&sql);
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            connection.note(statements::execute_batch(&connection, &sql).await)
        }
    }

    /// Begins a transaction with `sql`. Gives `false`, and does nothing, when a statement has begun one already.
    pub fn begin(
        self: &Arc<Self>,
        sql: String,
    ) -> impl Future<Output = Result<bool>> + Send + use<> {
        let operation = self.enter("");
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            if connection.note(connection.block_state().await)? != Block::None {
                return Ok(false);
            }
            connection.set_in_transaction(true);
            connection.note(statements::execute_batch(&connection, &sql).await)?;
            Ok(true)
        }
    }

    /// Commits what [`Lease::begin`] began.
    pub fn commit(self: &Arc<Self>) -> impl Future<Output = Result<CommitOutcome>> + Send + use<> {
        let operation = self.enter("");
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let outcome = connection.note(statements::commit(&connection).await);
            // A refused commit ends a transaction too.
            connection.set_in_transaction(false);
            outcome
        }
    }

    /// Rolls back what [`Lease::begin`] began.
    pub fn rollback(self: &Arc<Self>) -> impl Future<Output = Result<()>> + Send + use<> {
        let operation = self.enter("");
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            connection.note(statements::execute_batch(&connection, "ROLLBACK").await)?;
            connection.set_in_transaction(false);
            Ok(())
        }
    }

    /// Ends a transaction that was left open, and keeps the connection. Gives whether there was one.
    pub fn leave_block(self: &Arc<Self>) -> impl Future<Output = Result<bool>> + Send + use<> {
        let operation = self.enter("");
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let is_open = connection.note(connection.block_state().await)? != Block::None;
            if is_open {
                connection.note(statements::execute_batch(&connection, "ROLLBACK").await)?;
                connection.set_in_transaction(false);
            }
            Ok(is_open)
        }
    }

    /// Gives the connection back once the operations called before have ended. A transaction left open is rolled
    /// back. From now on every operation is refused.
    pub fn release(self: &Arc<Self>) -> impl Future<Output = ReleaseOutcome> + Send + use<> {
        self.released.store(true, Ordering::Relaxed);
        let lease = Arc::clone(self);
        let mut place = self.order.take_place();
        async move {
            place.reached().await;
            let held = lease.held.lock().await.take();
            match held {
                Some(held) => give_back(held, lease.condition()).await,
                None => ReleaseOutcome { rolled_back: false },
            }
        }
    }

    fn enter(self: &Arc<Self>, sql: &str) -> Result<Operation> {
        if self.released.load(Ordering::Relaxed) {
            return Err(closed());
        }
        if may_open_block(sql) {
            self.may_be_in_block.store(true, Ordering::Relaxed);
        }
        Ok(Operation {
            place: self.order.take_place(),
            lease: Arc::clone(self),
        })
    }

    fn condition(&self) -> Condition {
        Condition {
            is_spoiled: self.is_spoiled.load(Ordering::Relaxed),
            is_in_block: self.in_transaction.load(Ordering::Relaxed),
            may_be_in_block: self.may_be_in_block.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let condition = self.condition();
        if let Some(held) = self.held.get_mut().take()
            && condition.needs_care()
            && let Some(runtime) = self.runtime.get()
        {
            drop(runtime.spawn(give_back(held, condition)));
        }
    }
}

/// An operation that has its place in the order, and has not begun.
struct Operation {
    lease: Arc<Lease>,
    place: Place,
}

impl Operation {
    /// Waits until the operations before this one have ended, and takes the connection.
    async fn connection(&mut self) -> Result<InUse<'_>> {
        self.place.reached().await;
        self.lease.runtime.get_or_init(Handle::current);
        let held = self.lease.held.lock().await;
        let held = MutexGuard::try_map(held, Option::as_mut).map_err(|_| closed())?;
        let kept = match &*held {
            HeldConnection::Pooled { .. } => None,
            HeldConnection::Session(session) => {
                let client = session.client.upgrade().ok_or_else(closed)?;
                session.in_flight.fetch_add(1, Ordering::Relaxed);
                Some(client)
            }
        };
        Ok(InUse {
            lease: &self.lease,
            held,
            kept,
        })
    }
}

/// The connection during one operation.
struct InUse<'a> {
    lease: &'a Lease,
    held: MappedMutexGuard<'a, HeldConnection>,
    /// The client of a listening session, kept alive until the operation has ended.
    kept: Option<Arc<Client>>,
}

impl InUse<'_> {
    /// Whether a transaction block is open. Asks the server only if a statement could have opened one.
    async fn block_state(&self) -> Result<Block> {
        if self.lease.in_transaction.load(Ordering::Relaxed) {
            return Ok(Block::Open);
        }
        if !self.lease.may_be_in_block.load(Ordering::Relaxed) {
            return Ok(Block::None);
        }
        statements::block_state(self).await
    }

    fn set_in_transaction(&self, value: bool) {
        self.lease.in_transaction.store(value, Ordering::Relaxed);
        if value && self.kept.is_some() {
            // The listening session does not see the lease's own flag.
            self.lease.may_be_in_block.store(true, Ordering::Relaxed);
        }
    }

    /// Marks the connection as spoiled if an operation's outcome says that others must not use it.
    fn note<T>(&self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome {
            let is_lost = error.ends_session();
            // A statement that could be prepared anew has been repeated by now, so the client library's own are affected.
            let is_confused =
                error.sql_state() == Some(SqlState::INVALID_SQL_STATEMENT_NAME.code());
            if is_lost || is_confused {
                self.lease.is_spoiled.store(true, Ordering::Relaxed);
            }
        }
        outcome
    }
}

impl Deref for InUse<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        match (&*self.held, &self.kept) {
            (_, Some(client)) => client,
            (HeldConnection::Pooled { client, .. }, None) => client,
            (HeldConnection::Session(_), None) => {
                unreachable!("a session's client is held during an operation")
            }
        }
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        if let HeldConnection::Session(session) = &*self.held {
            session.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
