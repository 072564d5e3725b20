//! One connection with what is known of its server's side: prepared statements, types, and how to cancel.

mod interruption;
mod statements;

use std::collections::{HashMap, HashSet};
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

use crate::base::Awaited;
use crate::base::doubt::Doubt;
use crate::base::error::{Error, ErrorKind, Result};
use crate::connect::config::ConnectConfig;
use crate::connect::dial::{self, Destination};
use crate::connect::wire::WireFacts;
use crate::protocol::{self, Loan, Message, Request, Responses, TextRow, TransactionStatus};
use crate::query::info::ConnectionInfo;
use crate::query::sql_text::runs_by_name;
use crate::query::types::{self, Catalogue};
use crate::query::values::Encoded;

pub(crate) use statements::Statement;
use statements::Statements;

/// How long a connection may have been silent before it is asked whether it is still there.
const TRUSTED: Duration = Duration::from_secs(10);

/// How long the answer to that question may take.
pub(crate) const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// One execution of a statement.
pub(crate) struct Execution<'a, Formats> {
    pub(crate) statement: &'a Statement,
    pub(crate) params: &'a [Encoded],
    /// Of each column, whether it is asked for in the binary format.
    pub(crate) formats: Formats,
}

/// The way to the server beside the connection itself.
#[derive(Debug)]
struct Beside {
    config: Arc<ConnectConfig>,
    destination: Destination,
    /// Raised when the server does not answer.
    doubt: Arc<Doubt>,
}

/// Statements that a connection no longer keeps. Once this is dropped, the server is told to forget them, behind all that was sent
/// before.
#[derive(Debug)]
pub(crate) struct Forgotten<'a> {
    backend: &'a Backend,
    statements: Vec<Arc<Statement>>,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        for statement in &self.statements {
            self.backend.close(&statement.name);
        }
    }
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

    /// Whether a statement can be run in one round trip, as far as is known.
    pub(crate) fn is_prepared(&self, sql: &str, is_unnamed: bool) -> bool {
        let kept = if is_unnamed {
            &self.described
        } else {
            &self.statements
        };
        let discards = if is_unnamed { 0 } else { self.wire.discards() };
        kept.lock().has_simple(sql, discards)
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

    /// The statement that was prepared of a text, or that the server prepares now. Of one without a name the server keeps nothing
    /// after this, and only its types are known.
    pub(crate) async fn prepare(&self, sql: &str, is_unnamed: bool) -> Result<Arc<Statement>> {
        let prepared = self.prepare_all(&[sql], is_unnamed).await;
        let (mut statements, _) = prepared.map_err(|(_, error)| error)?;
        match statements.pop() {
            Some(statement) => Ok(statement),
            None => Err(Error::new(ErrorKind::Closed, "nothing was prepared")),
        }
    }

    /// The statements that were prepared of texts, or that the server prepares now, all of them in one round trip, and those that
    /// are no longer kept, which may be among them. An error tells of which text it is. Of a text that [`runs_by_name`] nothing is
    /// kept, because the server never tells that its columns are others by now.
    pub(crate) async fn prepare_all(
        &self,
        texts: &[&str],
        is_unnamed: bool,
    ) -> std::result::Result<(Vec<Arc<Statement>>, Forgotten<'_>), (usize, Error)> {
        let kept = if is_unnamed {
            &self.described
        } else {
            &self.statements
        };
        let mut statements: HashMap<&str, Arc<Statement>> = HashMap::new();
        let mut asked: Vec<(usize, String, Responses)> = Vec::new();
        let mut failed: Option<(usize, Error)> = None;
        let mut seen = HashSet::new();
        let mut forgotten = Forgotten {
            backend: self,
            statements: Vec::new(),
        };
        for (index, sql) in texts.iter().enumerate() {
            if !seen.insert(*sql) {
                continue;
            }
            // What has no name is never forgotten by the server.
            let discards = if is_unnamed { 0 } else { self.wire.discards() };
            if let Some(statement) = kept.lock().get(sql, discards) {
                statements.insert(sql, statement);
                continue;
            }
            let name = if is_unnamed || runs_by_name(sql) {
                String::new()
            } else {
                self.new_name()
            };
            match self.ask_to_prepare(&name, sql) {
                Ok(responses) => asked.push((index, name, responses)),
                Err(error) => {
                    failed = Some((index, error));
                    break;
                }
            }
        }
        // Also behind one that fails: what the server has prepared is kept, or it would stay there unknown.
        for (index, name, responses) in asked {
            let sql = texts[index];
            let statement = match self.prepared(&name, sql, responses).await {
                Ok(statement) => Arc::new(statement),
                Err(error) => {
                    if failed.as_ref().is_none_or(|(first, _)| index < *first) {
                        failed = Some((index, error));
                    }
                    continue;
                }
            };
            if !runs_by_name(sql) {
                let dropped = kept.lock().insert(sql, &statement);
                forgotten.statements.extend(dropped);
            }
            statements.insert(sql, statement);
        }
        if let Some(failed) = failed {
            return Err(failed);
        }
        let all = texts.iter().filter_map(|sql| statements.get(sql).cloned());
        Ok((all.collect(), forgotten))
    }

    /// A name for a statement or a portal that nothing else has.
    pub(crate) fn new_name(&self) -> String {
        let number = self.named.fetch_add(1, Ordering::Relaxed);
        format!("{}_{number}", self.prefix)
    }

    fn ask_to_prepare(&self, name: &str, sql: &str) -> Result<Responses> {
        self.check_ready()?;
        Ok(self.wire.send(Request::extended(|messages| {
            protocol::check_length("its text has", sql.len())?;
            frontend::parse(name, sql, [], messages)?;
            frontend::describe(b'S', name, messages)
        })?))
    }

    async fn prepared(&self, name: &str, sql: &str, mut responses: Responses) -> Result<Statement> {
        let mut params = Vec::new();
        let mut fields = None;
        let mut refused = None;
        loop {
            match responses.next().await {
                None => return Err(responses.lost(refused)),
                Some(Message::ParameterDescription(oids)) => params = oids,
                Some(Message::RowDescription(columns)) => fields = Some(columns),
                Some(Message::ErrorResponse(error)) => drop(refused.get_or_insert(error)),
                Some(Message::ReadyForQuery(_)) => break,
                Some(_) => {}
            }
        }
        if let Some(error) = refused {
            return Err(Error::database(*error));
        }
        let described = self.described(name, sql, &params, fields).await;
        described.inspect_err(|_| self.close(name))
    }

    async fn described(
        &self,
        name: &str,
        sql: &str,
        params: &[u32],
        fields: Option<Vec<protocol::Field>>,
    ) -> Result<Statement> {
        let oids = params
            .iter()
            .copied()
            .chain(fields.iter().flatten().map(|field| field.type_oid));
        let found = self.look_up(oids).await?;
        let text = if name.is_empty() { sql } else { "" };
        let params = params
            .iter()
            .map(|oid| found.get(*oid))
            .collect::<Result<_>>()?;
        let origins = fields.iter().flatten().map(|field| field.origin).collect();
        let columns = fields
            .map(|fields| {
                let columns = fields.into_iter();
                let known = columns.map(|it| Ok((it.name, found.get(it.type_oid)?)));
                known.collect::<Result<_>>()
            })
            .transpose()?;
        Ok(Statement {
            origins,
            delimiters: found.delimiters().clone(),
            ..Statement::new(name.to_owned(), text.to_owned(), params, columns)
        })
    }

    /// What types are.
    pub(super) async fn look_up(&self, oids: impl Iterator<Item = u32>) -> Result<Catalogue> {
        types::look_up(self, &self.types, oids).await
    }

    /// Has the server forget a statement. Nothing waits for the answer.
    fn close(&self, name: &str) {
        if name.is_empty() {
            return;
        }
        let request = Request::extended(|messages| frontend::close(b'S', name, messages));
        drop(request.map(|request| self.wire.send(request)));
    }

    /// Has the server forget the statement of a text, if it has one.
    pub(crate) fn deallocate(&self, sql: &str) {
        let statement = self.statements.lock().remove(sql);
        if let Some(statement) = statement {
            self.close(&statement.name);
        }
    }

    /// Prepares a statement anew the next time, and asks again what its types are.
    pub(crate) fn forget(&self, sql: &str) {
        self.deallocate(sql);
        self.forget_description(sql);
        self.forget_types();
    }

    /// Asks again what a statement without a name takes and gives, the next time.
    pub(crate) fn forget_description(&self, sql: &str) {
        self.described.lock().remove(sql);
    }

    /// Asks again what types are, the next time.
    pub(crate) fn forget_types(&self) {
        self.types.lock().clear();
    }

    /// Sends executions of statements, all in one request: after a failure the server skips the rest.
    pub(crate) fn run<'a, Formats>(
        &self,
        executions: impl IntoIterator<Item = Execution<'a, Formats>>,
    ) -> Result<Responses>
    where
        Formats: ExactSizeIterator<Item = bool>,
    {
        self.check_ready()?;
        let request = Request::extended(|messages| {
            // What was parsed without a name is there until the next text is.
            let mut parsed = None;
            for execution in executions {
                let Execution {
                    statement,
                    params,
                    formats,
                } = execution;
                let is_unnamed = statement.has_no_name();
                if parsed != Some(&*statement.text) || !is_unnamed {
                    statement.write_parse(messages)?;
                }
                bind("", &statement.name, params, formats, messages)?;
                if is_unnamed {
                    parsed = Some(&*statement.text);
                    // The columns may be others than when the statement was described.
                    frontend::describe(b'P', "", messages)?;
                }
                frontend::execute("", 0, messages)?;
            }
            Ok(())
        })?;
        Ok(self.wire.send(request))
    }

    /// Opens a portal.
    pub(crate) fn open(
        &self,
        portal: &str,
        statement: &Statement,
        params: &[Encoded],
        formats: impl ExactSizeIterator<Item = bool>,
    ) -> Result<Responses> {
        self.check_ready()?;
        Ok(self.wire.send(Request::extended(|messages| {
            statement.write_parse(messages)?;
            bind(portal, &statement.name, params, formats, messages)
        })?))
    }

    /// Asks for the next rows of a portal, of which there may be more.
    pub(crate) fn fetch(&self, portal: &str, most: u32) -> Result<Responses> {
        self.check_ready()?;
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        Ok(self.wire.send(Request::extended(|messages| {
            frontend::execute(portal, most, messages)
        })?))
    }

    /// Closes a portal. Nothing stops it from being sent.
    pub(crate) fn close_portal(&self, portal: &str) -> Result<Responses> {
        Ok(self.wire.send(Request::extended(|messages| {
            frontend::close(b'P', portal, messages)
        })?))
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

fn bind(
    portal: &str,
    statement: &str,
    params: &[Encoded],
    formats: impl ExactSizeIterator<Item = bool>,
    messages: &mut BytesMut,
) -> std::io::Result<()> {
    // Each has its length before it.
    let lengths = params
        .iter()
        .map(|it| 4 + it.bytes().map_or(0, <[u8]>::len));
    protocol::check_length("its parameters have", lengths.sum())?;
    let written = frontend::bind(
        portal,
        statement,
        params.iter().map(|it| i16::from(it.is_binary())),
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
        formats.map(i16::from),
        messages,
    );
    written.map_err(|error| match error {
        BindError::Serialization(error) => error,
        BindError::Conversion(error) => std::io::Error::other(error),
    })
}
