//! One connection with what is known of its server's side: prepared statements, types, and how to cancel.

mod interruption;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend::{self, BindError};
use tokio::time::{Instant, timeout};
use tokio_postgres::types::Type;

use crate::base::doubt::Doubt;
use crate::base::error::{Error, ErrorKind, Result};
use crate::connect::config::ConnectConfig;
use crate::connect::dial::{self, Destination};
use crate::connect::wire::WireFacts;
use crate::protocol::{self, Message, Request, Responses, TextRow, TransactionStatus};
use crate::query::info::ConnectionInfo;
use crate::query::types;
use crate::query::values::Encoded;

/// A connection's prepared statements are forgotten beyond this many: text with values written into it would otherwise
/// fill the memory of both sides.
const MAX_PREPARED_STATEMENTS: usize = 512;

/// How long a connection may have been silent before it is asked whether it is still there.
const TRUSTED: Duration = Duration::from_secs(10);

/// How long the answer to that question may take.
pub(crate) const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// A statement that the server has prepared.
#[derive(Debug)]
pub(crate) struct Statement {
    name: String,
    /// The types of its parameters.
    pub(crate) params: Vec<Type>,
    /// The names and types of its columns.
    pub(crate) columns: Vec<(String, Type)>,
}

#[derive(Debug)]
struct Kept {
    statement: Arc<Statement>,
    used: u64,
}

/// The prepared statements of a connection by their text.
#[derive(Debug, Default)]
struct Statements {
    kept: HashMap<String, Kept>,
    /// As of which discards they are: what was prepared before the server does not know any more.
    discards: usize,
    /// Counts uses, so that the statement can be found that was not used for longest.
    clock: u64,
}

impl Statements {
    fn get(&mut self, sql: &str, discards: usize) -> Option<Arc<Statement>> {
        if discards != self.discards {
            self.kept.clear();
            self.discards = discards;
        }
        self.clock += 1;
        let kept = self.kept.get_mut(sql)?;
        kept.used = self.clock;
        Some(Arc::clone(&kept.statement))
    }

    /// Keeps a statement. Gives those that are no longer kept.
    fn insert(&mut self, sql: &str, statement: &Arc<Statement>) -> Vec<Arc<Statement>> {
        let mut dropped = Vec::new();
        if self.kept.len() >= MAX_PREPARED_STATEMENTS {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used);
            if let Some(oldest) = oldest.map(|(sql, _)| sql.clone()) {
                dropped.extend(self.kept.remove(&oldest).map(|kept| kept.statement));
            }
        }
        self.clock += 1;
        let kept = Kept {
            statement: Arc::clone(statement),
            used: self.clock,
        };
        let replaced = self.kept.insert(sql.to_owned(), kept);
        dropped.extend(replaced.map(|kept| kept.statement));
        dropped
    }
}

/// The way to the server beside the connection itself.
#[derive(Debug)]
struct Beside {
    config: Arc<ConnectConfig>,
    destination: Destination,
    /// Raised when the server does not answer.
    doubt: Arc<Doubt>,
}

/// The outcome of a check that several wait for: whether the server answered.
type Check = Shared<BoxFuture<'static, bool>>;

/// One connection to a server.
#[derive(Debug)]
pub struct Backend {
    wire: protocol::Client,
    facts: Arc<WireFacts>,
    beside: Option<Beside>,
    /// The process id of the backend, since it was first asked for.
    process_id: OnceLock<i32>,
    statements: Mutex<Statements>,
    /// Types that are not built in, by oid.
    types: Mutex<HashMap<u32, Type>>,
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

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.wire.is_closed()
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
        let mut request = Request::simple(sql)?;
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
                        Request::simple(sql)?
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
        self.simple_query(sql).await.map(drop)
    }

    /// The statement that was prepared of a text, or that the server prepares now.
    pub(crate) async fn prepare(&self, sql: &str) -> Result<Arc<Statement>> {
        if let Some(statement) = self.statements.lock().get(sql, self.wire.discards()) {
            return Ok(statement);
        }
        self.check_not_interrupted()?;
        let number = self.named.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}_{number}", self.prefix);
        let mut responses = self.wire.send(Request::extended(|messages| {
            protocol::check_length("its text has", sql.len())?;
            frontend::parse(&name, sql, [], messages)?;
            frontend::describe(b'S', &name, messages)
        })?);
        let mut params = Vec::new();
        let mut fields = Vec::new();
        let mut refused = None;
        loop {
            match responses.next().await {
                None => return Err(responses.lost(refused)),
                Some(Message::ParameterDescription(oids)) => params = oids,
                Some(Message::RowDescription(columns)) => fields = columns,
                Some(Message::ErrorResponse(error)) => drop(refused.get_or_insert(error)),
                Some(Message::ReadyForQuery(_)) => break,
                Some(_) => {}
            }
        }
        if let Some(error) = refused {
            return Err(Error::database(*error));
        }
        match self.described(&name, &params, fields).await {
            Ok(statement) => {
                let statement = Arc::new(statement);
                let dropped = self.statements.lock().insert(sql, &statement);
                for statement in dropped {
                    self.close(&statement.name);
                }
                Ok(statement)
            }
            Err(error) => {
                self.close(&name);
                Err(error)
            }
        }
    }

    async fn described(
        &self,
        name: &str,
        params: &[u32],
        fields: Vec<protocol::Field>,
    ) -> Result<Statement> {
        let oids = params
            .iter()
            .copied()
            .chain(fields.iter().map(|field| field.type_oid));
        let found = types::look_up(self, &self.types, oids).await?;
        Ok(Statement {
            name: name.to_owned(),
            params: params
                .iter()
                .map(|oid| found.get(*oid))
                .collect::<Result<_>>()?,
            columns: fields
                .into_iter()
                .map(|field| Ok((field.name, found.get(field.type_oid)?)))
                .collect::<Result<_>>()?,
        })
    }

    /// Has the server forget a statement. Nothing waits for the answer.
    fn close(&self, name: &str) {
        let request = Request::extended(|messages| frontend::close(b'S', name, messages));
        drop(request.map(|request| self.wire.send(request)));
    }

    /// Prepares a statement anew the next time, and asks again what its types are.
    pub(crate) fn forget(&self, sql: &str) {
        self.statements.lock().kept.remove(sql);
        self.types.lock().clear();
    }

    /// Sends a prepared statement, once for each set of parameters, all in one request: after a failure the server skips the
    /// rest. Values cross in their binary format.
    pub(crate) fn run<'a>(
        &self,
        statement: &Statement,
        sets: impl IntoIterator<Item = &'a [Encoded]>,
    ) -> Result<Responses> {
        self.check_not_interrupted()?;
        let request = Request::extended(|messages| {
            for params in sets {
                bind(&statement.name, params, messages)?;
                frontend::execute("", 0, messages)?;
            }
            Ok(())
        })?;
        Ok(self.wire.send(request))
    }

    /// Sends a statement whose types of parameters are known, all in one request and without a name: nothing of it stays on
    /// the server, so it works whichever session of the server a pooler hands the request to. Values cross in their binary
    /// format.
    pub(crate) fn run_unnamed(
        &self,
        sql: &str,
        types: &[Type],
        params: &[Encoded],
    ) -> Result<Responses> {
        self.check_not_interrupted()?;
        let request = Request::extended(|messages| {
            protocol::check_length("its text has", sql.len())?;
            frontend::parse("", sql, types.iter().map(Type::oid), messages)?;
            bind("", params, messages)?;
            frontend::execute("", 0, messages)
        })?;
        Ok(self.wire.send(request))
    }

    /// Sends a request of an operation.
    pub(crate) fn send(&self, request: Request) -> Result<Responses> {
        self.check_not_interrupted()?;
        Ok(self.wire.send(request))
    }

    fn check_not_interrupted(&self) -> Result<()> {
        if self.is_interrupted.load(Ordering::Acquire) {
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

    /// When the server was last heard.
    fn heard(&self) -> Instant {
        self.facts.heard.last()
    }

    /// Whether the connection has been silent for so long, or since `doubted`, that it may be dead.
    pub(crate) fn is_suspect(&self, doubted: Option<Instant>) -> bool {
        let heard = self.heard();
        heard.elapsed() > TRUSTED || doubted.is_some_and(|doubted| heard <= doubted)
    }

    /// Asks the server whether it is there, in one round trip, and drops the socket if it does not say so in time. A check
    /// that is under way is shared.
    pub(crate) fn check(self: &Arc<Self>) -> impl Future<Output = bool> + Send + use<> {
        let mut slot = self.check.lock();
        if let Some(check) = &*slot {
            return check.clone();
        }
        let backend = Arc::clone(self);
        let asked = tokio::spawn(async move {
            let answer = timeout(CHECK_TIMEOUT, backend.simple_query("")).await;
            let is_there = matches!(answer, Ok(Ok(_)));
            if !is_there {
                backend.abandon();
            }
            backend.check.lock().take();
            is_there
        });
        let check = async move { asked.await.unwrap_or(false) }.boxed().shared();
        *slot = Some(check.clone());
        check
    }
}

fn bind(statement: &str, params: &[Encoded], messages: &mut BytesMut) -> std::io::Result<()> {
    const BINARY: i16 = 1;
    // Each has its length before it.
    let lengths = params
        .iter()
        .map(|it| 4 + it.bytes().map_or(0, <[u8]>::len));
    protocol::check_length("its parameters have", lengths.sum())?;
    let written = frontend::bind(
        "",
        statement,
        [BINARY],
        params,
        |param, out| {
            Ok(match param.bytes() {
                Some(bytes) => {
                    out.extend_from_slice(bytes);
                    IsNull::No
                }
                None => IsNull::Yes,
            })
        },
        [BINARY],
        messages,
    );
    written.map_err(|error| match error {
        BindError::Serialization(error) => error,
        BindError::Conversion(error) => std::io::Error::other(error),
    })
}
