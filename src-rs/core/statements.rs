//! Statements on one connection: prepared, checked against what is supported, and only then executed.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use deadpool_postgres::ClientWrapper;
use futures_util::TryStreamExt as _;
use futures_util::future::{join, join3};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Kind, Type};
use tokio_postgres::{SimpleQueryMessage, Statement};

use super::error::{Error, ErrorKind, Result};
use super::sql_text::streams_a_copy;
use super::values::{Codec, Encoded, Param, Value, encode_params, type_name};

/// A connection's statements are forgotten beyond this many: text with values written into it would otherwise
/// fill the memory of both sides.
const MAX_CACHED_STATEMENTS: usize = 512;
/// How many executions of `execute_many` are under way at the same time.
const PIPELINE_DEPTH: usize = 512;

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// As one writes it: `int4[]`.
    pub type_name: String,
    pub oid: u32,
    /// Its values are JSON text, or arrays of it.
    pub is_json: bool,
}

/// What a statement gave.
#[derive(Debug, PartialEq)]
pub struct QueryOutput {
    pub columns: Vec<Column>,
    /// Row after row.
    pub values: Vec<Value>,
    /// The rows returned; of a statement that returns none, the rows affected.
    pub row_count: u64,
}

/// Whether a transaction block is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    None,
    Open,
    /// Open, but a statement in it has failed: it can only be rolled back.
    Failed,
}

/// What became of a transaction that was to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    Committed,
    /// A statement of it had failed.
    RolledBack,
    /// There was none any more: a statement in it had ended it.
    AlreadyEnded,
}

/// Runs one statement.
pub(super) async fn execute(
    client: &ClientWrapper,
    sql: &str,
    params: &[Param],
) -> Result<QueryOutput> {
    let first = match attempt(client, sql, params).await {
        Ok(output) => return Ok(output),
        Err(failure) if failure.stale => failure.error,
        Err(failure) => return Err(failure.error),
    };
    // The server refused before executing anything, so trying again is safe. Inside a transaction that has
    // failed with it; then the first error is the one that says why.
    match attempt(client, sql, params).await {
        Err(failure) if failure.error.sql_state() == Some("25P02") => Err(first),
        outcome => outcome.map_err(|failure| failure.error),
    }
}

/// Runs one statement for each set of parameters; all of them or none take effect. Gives the rows affected.
pub(super) async fn execute_many(
    client: &ClientWrapper,
    sql: &str,
    sets: &[Vec<Param>],
    in_block: bool,
) -> Result<u64> {
    if sets.is_empty() {
        return Ok(0);
    }
    let prepared = Prepared::new(client, sql).await?;
    let encoded = sets
        .iter()
        .enumerate()
        .map(|(index, params)| {
            prepared.encode(params).map_err(|error| Error {
                message: format!("Parameter set {index}: {}", error.message),
                ..error
            })
        })
        .collect::<Result<Vec<_>>>()?;

    let (begin, commit, rollback) = if in_block {
        (
            "SAVEPOINT pglisten_many",
            "RELEASE SAVEPOINT pglisten_many",
            "ROLLBACK TO SAVEPOINT pglisten_many; RELEASE SAVEPOINT pglisten_many",
        )
    } else {
        ("BEGIN", "COMMIT", "ROLLBACK")
    };
    client.batch_execute(begin).await?;
    match pipeline(client, &prepared.statement, &encoded).await {
        Ok(affected) => {
            client.batch_execute(commit).await?;
            Ok(affected)
        }
        Err(error) => {
            // If this fails too, the connection is lost, and the transaction with it.
            let _ = client.batch_execute(rollback).await;
            if is_stale(&error) {
                client.statement_cache.remove(sql, &[]);
            }
            Err(error.into())
        }
    }
}

/// Sends many executions before it waits for the first: one round trip for all of them.
async fn pipeline(
    client: &ClientWrapper,
    statement: &Statement,
    sets: &[Vec<Encoded>],
) -> std::result::Result<u64, tokio_postgres::Error> {
    let mut affected = 0;
    for chunk in sets.chunks(PIPELINE_DEPTH) {
        let mut under_way: Vec<Pin<Box<dyn Future<Output = _> + Send + '_>>> = Vec::new();
        for set in chunk {
            under_way.push(Box::pin(client.execute_raw(statement, set.iter())));
        }
        // The first poll is what sends; only an error can be there at once.
        let mut done = Vec::with_capacity(under_way.len());
        for execution in &mut under_way {
            done.push(poll_fn(|cx| Poll::Ready(execution.as_mut().poll(cx))).await);
        }
        for (execution, done) in under_way.into_iter().zip(done) {
            affected += match done {
                Poll::Ready(outcome) => outcome?,
                Poll::Pending => execution.await?,
            };
        }
    }
    Ok(affected)
}

/// Runs statements without parameters, separated by semicolons.
pub(super) async fn execute_batch(client: &ClientWrapper, sql: &str) -> Result<()> {
    refuse_copy(sql)?;
    Ok(client.batch_execute(sql).await?)
}

/// Asks whether a transaction block is open, in one round trip.
///
/// A setting that is local to a transaction outlives its own statement only in a block. Unlike `SAVEPOINT` or
/// `ROLLBACK`, asking leaves no line in the server's log when there is none.
pub(super) async fn block_state(client: &ClientWrapper) -> Result<Block> {
    let (set, get) = join(client.simple_query(SET_MARK), client.simple_query(GET_MARK)).await;
    read_block_state(set, get)
}

/// Commits, and tells what the server made of it: `COMMIT` alone also succeeds when it rolls back.
pub(super) async fn commit(client: &ClientWrapper) -> Result<CommitOutcome> {
    let (set, get, commit) = join3(
        client.simple_query(SET_MARK),
        client.simple_query(GET_MARK),
        client.batch_execute("COMMIT"),
    )
    .await;
    commit?;
    Ok(match read_block_state(set, get)? {
        Block::Open => CommitOutcome::Committed,
        Block::Failed => CommitOutcome::RolledBack,
        Block::None => CommitOutcome::AlreadyEnded,
    })
}

const SET_MARK: &str = "SELECT pg_catalog.set_config('pglisten.in_block', '1', true)";
const GET_MARK: &str = "SELECT pg_catalog.current_setting('pglisten.in_block', true)";

type SimpleOutcome = std::result::Result<Vec<SimpleQueryMessage>, tokio_postgres::Error>;

fn read_block_state(set: SimpleOutcome, get: SimpleOutcome) -> Result<Block> {
    let messages = match set.and(get) {
        Ok(messages) => messages,
        Err(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {
            return Ok(Block::Failed);
        }
        Err(error) => return Err(error.into()),
    };
    let marked = messages
        .iter()
        .any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("1")));
    Ok(if marked { Block::Open } else { Block::None })
}

struct Failure {
    error: Error,
    /// The server no longer knows, or no longer wants, the statement as it was prepared.
    stale: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            stale: false,
        }
    }
}

async fn attempt(
    client: &ClientWrapper,
    sql: &str,
    params: &[Param],
) -> std::result::Result<QueryOutput, Failure> {
    let prepared = Prepared::new(client, sql).await?;
    let columns = prepared.columns()?;
    let encoded = prepared.encode(params)?;
    let failed = |error: tokio_postgres::Error| {
        let stale = is_stale(&error);
        if stale {
            client.statement_cache.remove(sql, &[]);
        }
        Failure {
            error: error.into(),
            stale,
        }
    };
    let rows = client
        .query_raw(&prepared.statement, encoded.iter())
        .await
        .map_err(failed)?;
    let mut rows = pin!(rows);
    let mut values = Vec::new();
    let mut returned = 0;
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        returned += 1;
        for (index, (codec, column)) in columns.iter().enumerate() {
            let Raw(raw) = row.try_get(index).map_err(failed)?;
            let value = codec.decode(raw).map_err(|why| {
                Error::new(
                    ErrorKind::Execute,
                    format!("Column `{}` ({}) {why}", column.name, column.type_name),
                )
            })?;
            values.push(value);
        }
    }
    let affected = rows.rows_affected().unwrap_or(0);
    Ok(QueryOutput {
        row_count: if returned > 0 || !columns.is_empty() {
            returned
        } else {
            affected
        },
        columns: columns.into_iter().map(|(_, column)| column).collect(),
        values,
    })
}

fn is_stale(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|server| {
        // The text is localized, the name of the routine is not.
        *server.code() == SqlState::INVALID_SQL_STATEMENT_NAME
            || (*server.code() == SqlState::FEATURE_NOT_SUPPORTED
                && server.routine() == Some("RevalidateCachedQuery"))
    })
}

fn refuse_copy(sql: &str) -> Result<()> {
    if streams_a_copy(sql) {
        return Err(Error::new(
            ErrorKind::Execute,
            "COPY FROM STDIN and COPY TO STDOUT cannot be run as statements",
        ));
    }
    Ok(())
}

/// A statement, and how its parameters cross.
struct Prepared {
    statement: Statement,
    params: Vec<(Codec, Type)>,
}

impl Prepared {
    async fn new(client: &ClientWrapper, sql: &str) -> Result<Self> {
        refuse_copy(sql)?;
        if client.statement_cache.size() >= MAX_CACHED_STATEMENTS {
            client.statement_cache.clear();
        }
        let statement = match client.prepare_cached(sql).await {
            Ok(statement) => statement,
            Err(error) => {
                // Or its place in the cache would stay, empty.
                client.statement_cache.remove(sql, &[]);
                return Err(error.into());
            }
        };
        let params = statement
            .params()
            .iter()
            .enumerate()
            .map(|(index, ty)| {
                let codec = Codec::of(ty).ok_or_else(|| {
                    let number = index + 1;
                    unsupported(
                        &format!("Parameter ${number}"),
                        ty,
                        &format!(
                            "give it as text, for example `${number}::text::{}`",
                            type_name(ty)
                        ),
                    )
                })?;
                Ok((codec, ty.clone()))
            })
            .collect::<Result<_>>()?;
        Ok(Self { statement, params })
    }

    fn columns(&self) -> Result<Vec<(Codec, Column)>> {
        self.statement
            .columns()
            .iter()
            .map(|column| {
                let ty = column.type_();
                let codec = Codec::of(ty).ok_or_else(|| {
                    unsupported(
                        &format!("Column `{}`", column.name()),
                        ty,
                        "cast it to text in the statement",
                    )
                })?;
                let column = Column {
                    name: column.name().to_owned(),
                    type_name: type_name(ty),
                    oid: ty.oid(),
                    is_json: is_json(&codec),
                };
                Ok((codec, column))
            })
            .collect()
    }

    fn encode(&self, params: &[Param]) -> Result<Vec<Encoded>> {
        let (expected, got) = (self.params.len(), params.len());
        if expected != got {
            let plural = if expected == 1 { "" } else { "s" };
            return Err(Error::new(
                ErrorKind::Execute,
                format!("Expected {expected} parameter{plural} for the statement, got {got}"),
            ));
        }
        encode_params(params, &self.params)
    }
}

fn is_json(codec: &Codec) -> bool {
    match codec {
        Codec::Json | Codec::Jsonb => true,
        Codec::Array { element, .. } => is_json(element),
        _ => false,
    }
}

fn unsupported(what: &str, ty: &Type, instead: &str) -> Error {
    // A row of unnamed columns has no type that one could name in a cast.
    let hint = match ty.kind() {
        Kind::Pseudo => String::new(),
        _ => format!(": {instead}"),
    };
    Error::new(
        ErrorKind::Execute,
        format!(
            "{what} has type `{}` (oid {}), which is not supported{hint}",
            type_name(ty),
            ty.oid()
        ),
    )
}

/// A column as it came.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(
        _: &Type,
        raw: &'a [u8],
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(
        _: &Type,
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
