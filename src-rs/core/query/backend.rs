//! One connection with what is known of its server's side: prepared statements, types, and how to cancel.

mod execution;
mod interruption;
mod liveness;
mod preparation;
mod statements;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::base::Awaited;
use crate::base::doubt::Doubt;
use crate::base::error::{Error, ErrorKind, Result};
use crate::connect::config::ConnectConfig;
use crate::connect::dial::{self, Destination};
use crate::connect::wire::WireFacts;
use crate::protocol::{self, Loan, Request, Responses, TextRow, TransactionStatus};
use crate::query::info::ConnectionInfo;
use crate::query::types::Catalogue;

pub(crate) use execution::Execution;
use liveness::Check;
pub(crate) use preparation::Forgotten;
pub(crate) use statements::Statement;
use statements::Statements;

/// The way to the server beside the connection itself.
#[derive(Debug)]
struct Beside {
    config: Arc<ConnectConfig>,
    destination: Destination,
    /// Raised when the server does not answer.
    doubt: Arc<Doubt>,
}

/// One connection to a server.
#[derive(Debug)]
pub struct Backend {
    wire: protocol::Client,
    facts: Arc<WireFacts>,
    beside: Option<Beside>,
    /// The process id of the backend, since it was first asked for.
    process_id: OnceLock<i32>,
    statements: Mutex<Statements>,
    /// Statements without a name, of which only the types are known.
    described: Mutex<Statements>,
    /// Types that are not built in.
    types: Mutex<Catalogue>,
    /// Begins the names of statements. Behind a pooler two connections may come to the same session of the server, which has
    /// one space of names.
    prefix: String,
    /// Counts statements, for their names.
    named: AtomicU32,
    /// The running operation is to end: nothing more of it is sent.
    is_interrupted: AtomicBool,
    /// Counts the beginnings and the ends of cancellations, so it is odd during one: a request of ours that failed as cancelled
    /// may have been hit by it.
    cancellations: AtomicU32,
    check: Mutex<Option<Check>>,
    /// The connection is out of its pool.
    is_leased: AtomicBool,
    /// Since when it is in its pool.
    idle_since: Mutex<Instant>,
    /// When it is too old for its pool.
    end_of_life: Option<Instant>,
}

impl Backend {
    /// A connection that was dialled.
    #[must_use]
    pub fn new(
        wire: protocol::Client,
        facts: Arc<WireFacts>,
        config: Arc<ConnectConfig>,
        destination: Destination,
        doubt: Arc<Doubt>,
    ) -> Self {
        let beside = Beside {
            config,
            destination,
            doubt,
        };
        Self::on(wire, facts, Some(beside))
    }

    /// A connection to a server that cannot be reached beside it.
    #[cfg(test)]
    pub(crate) fn alone(wire: protocol::Client) -> Self {
        Self::on(wire, Arc::default(), None)
    }

    /// Lets the server be heard now.
    #[cfg(test)]
    pub(crate) fn hear(&self) {
        self.facts.heard.beat();
    }

    fn on(wire: protocol::Client, facts: Arc<WireFacts>, beside: Option<Beside>) -> Self {
        Self {
            wire,
            facts,
            beside,
            process_id: OnceLock::new(),
            statements: Mutex::default(),
            described: Mutex::default(),
            types: Mutex::default(),
            prefix: format!("pglisten_{:016x}", rand::random::<u64>()),
            named: AtomicU32::new(0),
            is_interrupted: AtomicBool::new(false),
            cancellations: AtomicU32::new(0),
            check: Mutex::default(),
            is_leased: AtomicBool::new(false),
            idle_since: Mutex::new(Instant::now()),
            end_of_life: None,
        }
    }

    /// The same, for a pool that keeps it until then.
    pub(super) fn until(self, end_of_life: Option<Instant>) -> Self {
        Self {
            end_of_life,
            ..self
        }
    }

    /// The same, whose process id was asked for already.
    pub(super) fn of_process(self, process_id: i32) -> Self {
        Self {
            process_id: process_id.into(),
            ..self
        }
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.wire.is_closed()
    }

    /// Whether its session exchanges text in another encoding than UTF-8.
    pub(crate) fn is_foreign(&self) -> bool {
        self.wire.is_foreign()
    }

    /// Whether it goes to a primary that its cluster has left behind.
    pub(crate) fn is_left_behind(&self) -> bool {
        let cluster = self
            .beside
            .as_ref()
            .and_then(|it| it.config.cluster.as_ref());
        cluster
            .zip(self.facts.timeline.get())
            .is_some_and(|(cluster, timeline)| cluster.is_behind(*timeline))
    }

    /// Whether a request is not answered yet.
    pub(crate) fn is_busy(&self) -> bool {
        self.wire.is_busy()
    }

    /// Whether a transaction block is open, as of the last answer.
    pub(crate) fn transaction_status(&self) -> TransactionStatus {
        self.wire.transaction_status()
    }

    /// Lends the connection to this thread, if nothing is under way on it.
    pub(crate) fn lend(&self) -> Option<(Awaited, Loan)> {
        self.wire.lend()
    }

    /// Has the driver read the answers again, if a thread has borrowed the connection.
    pub(crate) fn recall(&self) {
        self.wire.recall();
    }

    /// Drops the socket. Requests that are not answered fail.
    pub(crate) fn abandon(&self) {
        self.wire.abandon();
    }

    /// The process id of the backend that answers statements.
    pub async fn process_id(&self) -> Result<i32> {
        let process_id = dial::process_id(&self.wire).await?;
        let _ = self.process_id.set(process_id);
        Ok(process_id)
    }

    /// The facts of the connection. `None` before its process id was asked for, which is before anybody has leased it.
    pub(crate) fn info(&self) -> Option<ConnectionInfo> {
        let Beside {
            config,
            destination,
            ..
        } = self.beside.as_ref()?;
        let process_id = *self.process_id.get()?;
        let parameters = self.wire.parameters();
        Some(ConnectionInfo::new(
            config,
            destination,
            process_id,
            parameters,
        ))
    }

    /// Runs statements without parameters, separated by semicolons, and gives their rows as text. Nothing stops it from
    /// being sent, so it can clean up after an operation that was interrupted.
    pub async fn simple_query(&self, sql: &str) -> Result<Vec<TextRow>> {
        self.wire.simple_query(sql).await
    }

    /// Runs statements as [`Backend::simple_query`] does, but outside of any transaction block, where alone they take effect
    /// at once. `None`: a block is open, or in `tries` tries there was no moment in which nothing else was running.
    pub(crate) async fn query_outside_block(
        &self,
        sql: &str,
        tries: usize,
    ) -> Result<Option<Vec<TextRow>>> {
        let mut request = self.wire.simple(sql)?;
        for _ in 0..tries {
            let cancellations = self.cancellations.load(Ordering::Acquire);
            request = match self.wire.send_outside_block(request) {
                Ok(responses) => match protocol::text_rows(responses).await {
                    // What was cancelled was not this.
                    Err(error)
                        if error.sql_state() == Some("57014")
                            && (cancellations % 2 == 1
                                || self.cancellations.load(Ordering::Acquire) != cancellations) =>
                    {
                        self.wire.simple(sql)?
                    }
                    outcome => return outcome.map(Some),
                },
                Err(request) => request,
            };
            // Answered behind everything that could have opened a block.
            let answer = self.simple_query("").await;
            if answer
                .as_ref()
                .is_err_and(|error| !error.is_servers_refusal())
            {
                return answer.map(Some);
            }
            if self.transaction_status() != TransactionStatus::Idle {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Runs statements without parameters, separated by semicolons, and ignores their rows.
    pub(crate) async fn batch_execute(&self, sql: &str) -> Result<()> {
        self.check_not_interrupted()?;
        self.wire.batch_execute(sql).await
    }

    /// A name for a statement or a portal that nothing else has.
    pub(crate) fn new_name(&self) -> String {
        let number = self.named.fetch_add(1, Ordering::Relaxed);
        format!("{}_{number}", self.prefix)
    }

    /// Sends a request of an operation.
    pub(crate) fn send(&self, request: Request) -> Result<Responses> {
        self.check_ready()?;
        Ok(self.wire.send(request))
    }

    /// Refuses what the running operation must not send.
    fn check_ready(&self) -> Result<()> {
        self.check_not_interrupted()?;
        self.wire.check_encoding()
    }

    /// Whether the running operation is to end.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Acquire)
    }

    fn check_not_interrupted(&self) -> Result<()> {
        if self.is_interrupted() {
            return Err(Error::new(
                ErrorKind::Aborted,
                "the operation was interrupted before its statement was sent",
            ));
        }
        Ok(())
    }

    /// Notes whether the connection is out of its pool.
    pub(super) fn set_leased(&self, is_leased: bool) {
        if !is_leased {
            *self.idle_since.lock() = Instant::now();
        }
        self.is_leased.store(is_leased, Ordering::Release);
    }

    /// Since when the connection is in its pool.
    pub(super) fn idle_since(&self) -> Instant {
        *self.idle_since.lock()
    }

    /// When the connection is too old for its pool.
    pub(super) fn end_of_life(&self) -> Option<Instant> {
        self.end_of_life
    }

    /// Whether the connection is too old for its pool.
    pub(super) fn is_too_old(&self) -> bool {
        self.end_of_life.is_some_and(|end| end <= Instant::now())
    }

    /// Whether the connection is out of its pool: then nobody else may send anything on it.
    pub(super) fn is_leased(&self) -> bool {
        self.is_leased.load(Ordering::Acquire)
    }
}
