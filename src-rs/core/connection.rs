//! A connection while somebody has it: its statements in order, its transaction, and how it is given back.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object};
use tokio::runtime::Handle;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio_postgres::error::SqlState;

use super::error::{Error, ErrorKind, Result};
use super::gate::Pass;
use super::session::SessionClient;
use super::sql_text::may_open_block;
use super::statements::{self, Block, CommitOutcome, QueryOutput};
use super::turns::{Turn, Turns};
use super::values::Param;

/// How long giving back may take. A connection that needs longer is not worth keeping.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// The server no longer knows statements that the client library relies on (after `DISCARD ALL`, say).
    is_spoiled: AtomicBool,
    /// Known since the first operation ran; without one there is nothing to clean up.
    runtime: OnceLock<Handle>,
}

/// What giving back came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseOutcome {
    /// A transaction had been left open.
    pub rolled_back: bool,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each lease, and it stays in its place"
)]
enum Link {
    Pooled {
        // Goes back before the pass does.
        object: Object,
        _pass: Pass,
    },
    /// Weak inside: a lease does not keep a listening session open.
    Session(SessionClient),
}

impl Link {
    /// Closes a connection that is in no state to be used again. A listening session is not ours to close.
    fn discard(self) {
        if let Self::Pooled { object, .. } = self {
            drop(Object::take(object));
        }
    }
}

impl Lease {
    /// A connection of the pool.
    pub(super) fn pooled(object: Object, pass: Pass) -> Self {
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
        let lease = Arc::clone(self);
        let operation = self.enter(&sql);
        async move {
            let mut operation = operation?;
            let session = operation.session().await?;
            let outcome = statements::execute(&session, &sql, &params).await;
            lease.note(&outcome);
            outcome
        }
    }

    /// Runs one statement for each set of parameters; all of them or none take effect. Gives the rows affected.
    pub fn execute_many(
        self: &Arc<Self>,
        sql: String,
        sets: Vec<Vec<Param>>,
    ) -> impl Future<Output = Result<u64>> + Send + use<> {
        let lease = Arc::clone(self);
        let operation = self.enter(&sql);
        async move {
            let mut operation = operation?;
            let session = operation.session().await?;
            let in_block = lease.block_state(&session).await? != Block::None;
            let outcome = statements::execute_many(&session, &sql, &sets, in_block).await;
            lease.note(&outcome);
            outcome
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
            statements::execute_batch(&session, &sql).await
        }
    }

    /// Begins a transaction with `sql`. Gives `false`, and does nothing, when a statement has begun one already.
    pub fn begin(
        self: &Arc<Self>,
        sql: String,
    ) -> impl Future<Output = Result<bool>> + Send + use<> {
        let lease = Arc::clone(self);
        let operation = self.enter("");
        async move {
            let mut operation = operation?;
            let session = operation.session().await?;
            if lease.block_state(&session).await? != Block::None {
                return Ok(false);
            }
            lease.in_transaction.store(true, Ordering::Relaxed);
            lease.may_be_in_block.store(true, Ordering::Relaxed);
            statements::execute_batch(&session, &sql).await?;
            Ok(true)
        }
    }

    /// Commits what [`Lease::begin`] began.
    pub fn commit(self: &Arc<Self>) -> impl Future<Output = Result<CommitOutcome>> + Send + use<> {
        let lease = Arc::clone(self);
        let operation = self.enter("");
        async move {
            let mut operation = operation?;
            let session = operation.session().await?;
            let outcome = statements::commit(&session).await;
            // A refused commit ends a transaction too.
            lease.in_transaction.store(false, Ordering::Relaxed);
            outcome
        }
    }

    /// Rolls back what [`Lease::begin`] began.
    pub fn rollback(self: &Arc<Self>) -> impl Future<Output = Result<()>> + Send + use<> {
        let lease = Arc::clone(self);
        let operation = self.enter("");
        async move {
            let mut operation = operation?;
            let session = operation.session().await?;
            statements::execute_batch(&session, "ROLLBACK").await?;
            lease.in_transaction.store(false, Ordering::Relaxed);
            Ok(())
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

    /// Costs nothing as long as no statement could have opened a block.
    async fn block_state(&self, client: &ClientWrapper) -> Result<Block> {
        if self.in_transaction.load(Ordering::Relaxed) {
            return Ok(Block::Open);
        }
        if !self.may_be_in_block.load(Ordering::Relaxed) {
            return Ok(Block::None);
        }
        statements::block_state(client).await
    }

    fn note<T>(&self, outcome: &Result<T>) {
        // What was ours to repeat has been repeated by now.
        if let Err(error) = outcome
            && error.sql_state() == Some(SqlState::INVALID_SQL_STATEMENT_NAME.code())
        {
            self.is_spoiled.store(true, Ordering::Relaxed);
        }
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

/// What is known, without asking, of a connection that is given back.
#[derive(Debug, Clone, Copy)]
struct Condition {
    is_in_block: bool,
    may_be_in_block: bool,
    is_spoiled: bool,
}

impl Condition {
    fn needs_care(self) -> bool {
        self.is_in_block || self.may_be_in_block || self.is_spoiled
    }
}

async fn give_back(link: Link, condition: Condition) -> ReleaseOutcome {
    let mut rolled_back = false;
    let mut is_spoiled = condition.is_spoiled;
    if condition.is_in_block || condition.may_be_in_block {
        let leave = tokio::time::timeout(RELEASE_TIMEOUT, leave_block(&link));
        if let Ok(Ok(was_open)) = leave.await {
            rolled_back = was_open;
        } else {
            // What was open ends with the connection.
            rolled_back = condition.is_in_block;
            is_spoiled = true;
        }
    }
    if is_spoiled {
        link.discard();
    }
    ReleaseOutcome { rolled_back }
}

async fn leave_block(link: &Link) -> Result<bool> {
    let session;
    let client: &ClientWrapper = match link {
        Link::Pooled { object, .. } => object,
        Link::Session(shared) => {
            session = shared.client.upgrade().ok_or_else(closed)?;
            &session
        }
    };
    if statements::block_state(client).await? == Block::None {
        return Ok(false);
    }
    client.batch_execute("ROLLBACK").await?;
    Ok(true)
}

fn closed() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the connection was closed or given back to its pool",
    )
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
        let session = match &*link {
            Link::Pooled { .. } => None,
            Link::Session(session) => {
                let client = session.client.upgrade().ok_or_else(closed)?;
                session.in_flight.fetch_add(1, Ordering::Relaxed);
                Some(client)
            }
        };
        Ok(Session { link, session })
    }
}

/// The connection during one operation.
struct Session<'a> {
    link: MappedMutexGuard<'a, Link>,
    session: Option<Arc<ClientWrapper>>,
}

impl Deref for Session<'_> {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        match (&*self.link, &self.session) {
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
