//! A connection while somebody has it: its statements in order, its transaction, and how it is given back.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use deadpool_postgres::{ClientWrapper, Object};
use tokio::runtime::Handle;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio_postgres::error::SqlState;

use crate::base::error::{ErrorKind, Result};
use crate::query::gate::Pass;
pub use crate::query::link::ReleaseOutcome;
use crate::query::link::{Condition, Link, closed, give_back};
use crate::query::shared_client::SessionClient;
use crate::query::sql_text::may_open_block;
use crate::query::statements::{self, Block, CommitOutcome, QueryOutput};
use crate::query::turns::{Turn, Turns};
use crate::query::values::Param;

/// A connection that somebody has.
///
/// Operations run one after the other, in the order of the calls; each method takes its place before it returns
/// its future. Dropped without [`Lease::release`], it is given back all the same.
#[derive(Debug)]
pub struct Lease {
    /// `None` once given back.
    link: Mutex<Option<Link>>,
    turns: Turns,
    released: AtomicBool,
    /// [`Lease::begin`] was called, and the transaction has not ended.
    in_transaction: AtomicBool,
    /// A statement could have opened a transaction block. Shared with a listening session, which must know.
    may_be_in_block: Arc<AtomicBool>,
    /// The connection is lost, or the server no longer knows statements that the client library relies on (after
    /// `DISCARD ALL`, say).
    is_spoiled: AtomicBool,
    /// Known since the first operation ran; without one there is nothing to clean up.
    runtime: OnceLock<Handle>,
}

impl Lease {
    /// A connection of the pool.
    pub(crate) fn pooled(object: Object, pass: Pass) -> Self {
        let link = Link::Pooled {
            object,
            _pass: pass,
        };
        Self::new(link, Arc::default())
    }

    /// The connection of a listening session, shared with it.
    #[must_use]
    pub fn session(session: &SessionClient) -> Self {
        let link = Link::Session(session.clone());
        Self::new(link, Arc::clone(&session.may_be_in_block))
    }

    fn new(link: Link, may_be_in_block: Arc<AtomicBool>) -> Self {
        Self {
            link: Mutex::new(Some(link)),
            turns: Turns::default(),
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
            let session = operation.session().await?;
            session.note(statements::execute(&session, &sql, &params).await)
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
            let session = operation.session().await?;
            let in_block = session.note(session.block_state().await)? != Block::None;
            session.note(statements::execute_many(&session, &sql, &sets, in_block).await)
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
            let session = operation.session().await?;
            session.note(statements::execute_batch(&session, &sql).await)
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
            let session = operation.session().await?;
            if session.note(session.block_state().await)? != Block::None {
                return Ok(false);
            }
            session.set_in_transaction(true);
            session.note(statements::execute_batch(&session, &sql).await)?;
            Ok(true)
        }
    }

    /// Commits what [`Lease::begin`] began.
    pub fn commit(self: &Arc<Self>) -> impl Future<Output = Result<CommitOutcome>> + Send + use<> {
        let operation = self.enter("");
        async move {
            let mut operation = operation?;
            let session = operation.session().await?;
            let outcome = session.note(statements::commit(&session).await);
            // A refused commit ends a transaction too.
            session.set_in_transaction(false);
            outcome
        }
    }

    /// Rolls back what [`Lease::begin`] began.
    pub fn rollback(self: &Arc<Self>) -> impl Future<Output = Result<()>> + Send + use<> {
        let operation = self.enter("");
        async move {
            let mut operation = operation?;
            let session = operation.session().await?;
            session.note(statements::execute_batch(&session, "ROLLBACK").await)?;
            session.set_in_transaction(false);
            Ok(())
        }
    }

    /// Ends a transaction that was left open, and keeps the connection. Gives whether there was one.
    pub fn leave_block(self: &Arc<Self>) -> impl Future<Output = Result<bool>> + Send + use<> {
        let operation = self.enter("");
        async move {
            let mut operation = operation?;
            let session = operation.session().await?;
            let is_open = session.note(session.block_state().await)? != Block::None;
            if is_open {
                session.note(statements::execute_batch(&session, "ROLLBACK").await)?;
                session.set_in_transaction(false);
            }
            Ok(is_open)
        }
    }

    /// Gives the connection back once the operations called before have ended. A transaction left open is rolled
    /// back. From now on every operation is refused.
    pub fn release(self: &Arc<Self>) -> impl Future<Output = ReleaseOutcome> + Send + use<> {
        self.released.store(true, Ordering::Relaxed);
        let lease = Arc::clone(self);
        let mut turn = self.turns.next();
        async move {
            turn.come().await;
            let link = lease.link.lock().await.take();
            match link {
                Some(link) => give_back(link, lease.condition()).await,
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
            turn: self.turns.next(),
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
        if let Some(link) = self.link.get_mut().take()
            && condition.needs_care()
            && let Some(runtime) = self.runtime.get()
        {
            drop(runtime.spawn(give_back(link, condition)));
        }
    }
}

/// A place in the order of a lease's operations.
struct Operation {
    lease: Arc<Lease>,
    turn: Turn,
}

impl Operation {
    async fn session(&mut self) -> Result<Session<'_>> {
        self.turn.come().await;
        self.lease.runtime.get_or_init(Handle::current);
        let link = self.lease.link.lock().await;
        let link = MutexGuard::try_map(link, Option::as_mut).map_err(|_| closed())?;
        let kept = match &*link {
            Link::Pooled { .. } => None,
            Link::Session(session) => {
                let client = session.client.upgrade().ok_or_else(closed)?;
                session.in_flight.fetch_add(1, Ordering::Relaxed);
                Some(client)
            }
        };
        Ok(Session {
            lease: &self.lease,
            link,
            kept,
        })
    }
}

/// The connection during one operation.
struct Session<'a> {
    lease: &'a Lease,
    link: MappedMutexGuard<'a, Link>,
    /// Of a listening session, which could end meanwhile.
    kept: Option<Arc<ClientWrapper>>,
}

impl Session<'_> {
    /// Costs nothing as long as no statement could have opened a block.
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

    /// Remembers whether an operation's outcome says that the connection must not be used by others.
    fn note<T>(&self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome {
            let is_lost = error.kind == ErrorKind::Closed
                || error
                    .server
                    .as_deref()
                    .is_some_and(|server| server.severity != "ERROR");
            // What was ours to repeat has been repeated by now.
            let is_confused =
                error.sql_state() == Some(SqlState::INVALID_SQL_STATEMENT_NAME.code());
            if is_lost || is_confused {
                self.lease.is_spoiled.store(true, Ordering::Relaxed);
            }
        }
        outcome
    }
}

impl Deref for Session<'_> {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        match (&*self.link, &self.kept) {
            (_, Some(client)) => client,
            (Link::Pooled { object, .. }, None) => object,
            (Link::Session(_), None) => {
                unreachable!("a session's client is held during an operation")
            }
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Link::Session(session) = &*self.link {
            session.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
