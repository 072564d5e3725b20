//! A leased connection: its statements in the order of the calls, its transaction, and its return.

mod copy;
mod held;
mod savepoint;

use std::future::pending;
use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio::time::timeout;

use crate::base::Awaited;
use crate::base::error::{Error, ErrorKind, Result};
use crate::protocol::{Loan, TransactionStatus};
use crate::query::backend::Backend;
use crate::query::bounds::{Bounds, Interruption};
use crate::query::call_order::{CallOrder, Place};
use crate::query::client::Client;
pub use crate::query::held_connection::ReleaseOutcome;
use crate::query::held_connection::{BLOCK_TIMEOUT, HeldConnection, closed, give_back};
use crate::query::holders::Held;
use crate::query::info::ConnectionInfo;
use crate::query::lease_limit::Permit;
use crate::query::shared_client::SessionClient;
use crate::query::statements::{self, CommitOutcome, Manner, Parts, QueryOutput};
use crate::query::values::Param;

pub use held::{Cursor, HeldPipeline, HeldStatement};

/// How much of [`BLOCK_TIMEOUT`] is left when a connection is taken back from the thread that has borrowed it.
const RECALLED_TIMEOUT: Duration = Duration::from_secs(1);

/// A leased connection.
///
/// Operations run one after the other, in the order of the calls: each method takes its place before it returns its
/// future. A lease that is dropped without [`Lease::release`] gives its connection back all the same.
///
/// An operation whose [`Bounds`] are reached while it waits for its turn has no effect. One that is running is cancelled on
/// the server, and the next operation begins only when no cancellation can hit it. If it had succeeded all the same, its
/// result is given.
#[derive(Debug)]
pub struct Lease {
    /// `None` once the connection was given back.
    held: Mutex<Option<HeldConnection>>,
    /// The connection, to be looked at while an operation has it.
    watched: Weak<Backend>,
    order: CallOrder,
    /// [`Lease::release`] was called: further operations are refused.
    released: AtomicBool,
    /// The runtime of the first operation, for giving back in `drop`. Before the first operation there is nothing to
    /// clean up.
    runtime: OnceLock<Handle>,
}

impl Lease {
    /// A connection of the pool.
    pub(crate) fn pooled(client: Client, permit: Permit, holder: Held) -> Self {
        let watched = client.watch();
        let held = HeldConnection::Pooled {
            client,
            _permit: permit,
            _holder: holder,
        };
        Self::new(held, watched, CallOrder::default())
    }

    /// The connection of a listening session, shared with it.
    #[must_use]
    pub fn session(session: &SessionClient) -> Self {
        let client = session.client.upgrade();
        Self::new(
            HeldConnection::Session(session.clone()),
            client.map(|client| client.watch()).unwrap_or_default(),
            session.order.clone(),
        )
    }

    fn new(held: HeldConnection, watched: Weak<Backend>, order: CallOrder) -> Self {
        Self {
            held: Mutex::new(Some(held)),
            watched,
            order,
            released: AtomicBool::new(false),
            runtime: OnceLock::new(),
        }
    }

    /// Whether a transaction block is open, as of the server's last answer. Nothing is waited for.
    #[must_use]
    pub fn transaction_status(&self) -> TransactionStatus {
        match self.present() {
            Some(backend) if !backend.is_closed() => backend.transaction_status(),
            _ => TransactionStatus::Idle,
        }
    }

    /// The facts of the connection. `None` once it was given back, or its session has ended.
    #[must_use]
    pub fn info(&self) -> Option<ConnectionInfo> {
        self.present()
            .filter(|backend| !backend.is_closed())?
            .info()
    }

    /// Lends the connection to this thread, which then sends and reads itself, if nothing is under way on it. Asked before each
    /// statement: one that takes several steps must not have to wait for a thread that may be busy.
    #[must_use]
    pub fn lend(&self, sql: &str, manner: Manner) -> Option<(Awaited, Loan)> {
        let backend = self.present()?;
        if self.order.is_free() && backend.is_prepared(sql, manner.is_unnamed) {
            return backend.lend();
        }
        backend.recall();
        None
    }

    /// Lends the connection, as [`Lease::lend`] does, for statements that are sent together.
    #[must_use]
    pub fn lend_for_all(&self, texts: &[Arc<str>], manner: Manner) -> Option<(Awaited, Loan)> {
        let backend = self.present()?;
        let mut texts = texts.iter();
        if self.order.is_free() && texts.all(|sql| backend.is_prepared(sql, manner.is_unnamed)) {
            return backend.lend();
        }
        backend.recall();
        None
    }

    /// Lends the connection, as [`Lease::lend`] does, for what begins or ends a transaction or a part of one: that is one round trip.
    #[must_use]
    pub fn lend_for_block(&self) -> Option<(Awaited, Loan)> {
        let backend = self.present()?;
        if self.order.is_free() {
            return backend.lend();
        }
        backend.recall();
        None
    }

    fn present(&self) -> Option<Arc<Backend>> {
        let backend = self.watched.upgrade()?;
        (!self.released.load(Ordering::Relaxed)).then_some(backend)
    }

    /// Runs one statement. With `parts`, rows are handed on there before the last one has come, if there are many.
    pub fn execute(
        self: &Arc<Self>,
        sql: String,
        params: Vec<Param>,
        manner: Manner,
        parts: Option<Parts>,
        bounds: Bounds,
    ) -> impl Future<Output = Result<QueryOutput>> + Send + use<> {
        let operation = self.enter(bounds);
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let work = statements::execute(&connection, &sql, &params, manner, parts);
            connection.bounded(work).await
        }
    }

    /// Runs one statement for each set of parameters; all of them or none take effect. Gives the rows affected.
    pub fn execute_many(
        self: &Arc<Self>,
        sql: String,
        sets: Vec<Vec<Param>>,
        manner: Manner,
        bounds: Bounds,
    ) -> impl Future<Output = Result<u64>> + Send + use<> {
        let operation = self.enter(bounds);
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let work = statements::execute_many(&connection, &sql, &sets, manner);
            connection.bounded(work).await
        }
    }

    /// Sends notifications to a channel: all of them, in their order, or none.
    pub fn notify(
        self: &Arc<Self>,
        channel: String,
        payloads: Vec<String>,
        bounds: Bounds,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let operation = self.enter(bounds);
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let work = statements::notify(&connection, channel, payloads);
            connection.bounded(work).await
        }
    }

    /// Runs statements without parameters, separated by semicolons.
    pub fn execute_batch(
        self: &Arc<Self>,
        sql: String,
        bounds: Bounds,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let operation = self.enter(bounds);
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let work = statements::execute_batch(&connection, &sql);
            connection.bounded(work).await
        }
    }

    /// Begins a transaction with `sql`. Gives `false`, and does nothing, when a statement has begun one already.
    pub fn begin(
        self: &Arc<Self>,
        sql: String,
        bounds: Bounds,
    ) -> impl Future<Output = Result<bool>> + Send + use<> {
        let operation = self.enter(bounds);
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            // The last answer of a connection that is lost says nothing any more.
            if !connection.is_closed() && connection.transaction_status() != TransactionStatus::Idle
            {
                return Ok(false);
            }
            let work = statements::execute_batch(&connection, &sql);
            connection.bounded(work).await.map(|()| true)
        }
    }

    /// Commits what [`Lease::begin`] began. Not bounded: an interrupted commit would leave open what became of it.
    pub fn commit(self: &Arc<Self>) -> impl Future<Output = Result<CommitOutcome>> + Send + use<> {
        let operation = self.enter(Bounds::default());
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let work = statements::commit(&connection);
            connection.bounded(work).await
        }
    }

    /// Rolls back what [`Lease::begin`] began.
    pub fn rollback(self: &Arc<Self>) -> impl Future<Output = Result<()>> + Send + use<> {
        let operation = self.enter(Bounds::default());
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let work = statements::execute_batch(&connection, "ROLLBACK");
            connection.brief(work).await
        }
    }

    /// Ends a transaction that was left open, and keeps the connection. Gives whether there was one.
    pub fn leave_block(self: &Arc<Self>) -> impl Future<Output = Result<bool>> + Send + use<> {
        let operation = self.enter(Bounds::default());
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            if connection.transaction_status() == TransactionStatus::Idle {
                return Ok(false);
            }
            let work = statements::execute_batch(&connection, "ROLLBACK");
            connection.bounded(work).await.map(|()| true)
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
                Some(held) => give_back(held).await,
                None => ReleaseOutcome { rolled_back: false },
            }
        }
    }

    fn enter(self: &Arc<Self>, bounds: Bounds) -> Result<Operation> {
        if self.released.load(Ordering::Relaxed) {
            return Err(closed());
        }
        if !self.order.is_free()
            && let Some(backend) = self.watched.upgrade()
        {
            // This one follows at once, also while the thread that has borrowed the connection is busy.
            backend.recall();
        }
        Ok(Operation {
            place: self.order.take_place(),
            lease: Arc::clone(self),
            bounds,
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(held) = self.held.get_mut().take()
            && held.needs_care()
            && let Some(runtime) = self.runtime.get()
        {
            drop(runtime.spawn(give_back(held)));
        }
    }
}

/// An operation that has its place in the order, and has not begun.
#[derive(Debug)]
struct Operation {
    lease: Arc<Lease>,
    place: Place,
    bounds: Bounds,
}

impl Operation {
    /// Waits until the operations before this one have ended, and takes the connection.
    async fn connection(&mut self) -> Result<InUse<'_>> {
        let waiting = self.bounds.hold(self.place.reached()).await;
        waiting
            .map_err(|interruption| interruption.error("the statement, waiting for its turn,"))?;
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
            bounds: &self.bounds,
            held,
            kept,
        })
    }
}

/// The connection during one operation.
struct InUse<'a> {
    bounds: &'a Bounds,
    held: MappedMutexGuard<'a, HeldConnection>,
    /// The client of a listening session, kept alive until the operation has ended.
    kept: Option<Arc<Client>>,
}

impl InUse<'_> {
    /// Waits for the outcome of `work`, and interrupts it when a bound is reached or its session is to end.
    async fn bounded<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.until(self.bounds.reached(), work).await
    }

    /// Waits for the outcome of `work` that only begins or ends a part of a transaction, which is not cancelled: the whole
    /// transaction would have failed. No server is at it for long, so a connection of the pool is given up when there is no
    /// answer; the heartbeat looks after a listening session.
    async fn brief<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        if matches!(&*self.held, HeldConnection::Session(_)) {
            return self.until(pending(), work).await;
        }
        let mut work = pin!(work);
        if let Ok(outcome) =
            timeout(BLOCK_TIMEOUT.saturating_sub(RECALLED_TIMEOUT), &mut work).await
        {
            return outcome;
        }
        // The thread that has borrowed the connection may be busy, and the answer may be there.
        self.recall();
        if let Ok(outcome) = timeout(RECALLED_TIMEOUT, work).await {
            return outcome;
        }
        self.give_up();
        Err(Error::new(
            ErrorKind::Closed,
            "the connection was closed because the server did not answer",
        ))
    }

    /// Waits for the outcome of `work`, and interrupts it when `reached` says so or its session is to end.
    async fn until<T>(
        &self,
        reached: impl Future<Output = Interruption>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut work = pin!(work);
        let interruption = tokio::select! {
            biased;
            outcome = &mut work => return outcome,
            interruption = reached => interruption,
            () = self.session_closes() => Interruption::Closed,
        };
        match self.interrupt(&mut work).await {
            // query_canceled, or what had not been sent.
            Some(Err(error))
                if error.sql_state() == Some("57014") || error.kind == ErrorKind::Aborted =>
            {
                Err(interruption.error("the statement"))
            }
            Some(outcome) => outcome,
            None => Err(interruption.unconfirmed()),
        }
    }

    async fn session_closes(&self) {
        match &*self.held {
            HeldConnection::Session(SessionClient { closing, .. }) => closing.cancelled().await,
            HeldConnection::Pooled { .. } => pending().await,
        }
    }
}

impl Deref for InUse<'_> {
    type Target = Backend;

    fn deref(&self) -> &Backend {
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
            // Payloads would come in another encoding, which they do outside of transactions. The listener gets another session.
            if self.is_foreign() && self.transaction_status() == TransactionStatus::Idle {
                self.abandon();
            }
        }
    }
}

#[cfg(test)]
mod tests;
