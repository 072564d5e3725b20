//! Statements on one connection: prepared, checked against what is supported, and only then executed.

mod block;
mod prepared;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use futures_util::TryStreamExt as _;
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Type};

pub use block::CommitOutcome;
pub(crate) use block::{Block, block_state, commit};
pub use prepared::Column;
use prepared::{Prepared, refuse_copy};

use crate::base::error::{Error, ErrorKind, Result};
use crate::query::client::{Client, RawResult};
use crate::query::values::{Encoded, Param, Value};

/// How many executions of `execute_many` are under way at the same time.
const PIPELINE_DEPTH: usize = 512;

/// The result of one statement.
#[derive(Debug, PartialEq)]
pub struct QueryOutput {
    /// The columns of the rows.
    pub columns: Vec<Column>,
    /// The values of all rows, row after row.
    pub values: Vec<Value>,
    /// How many rows were returned, or, for a statement that returns none, affected.
    pub row_count: u64,
}

/// Runs one statement, and once more if it turns out to be prepared for another state of the database.
pub(crate) async fn execute(client: &Client, sql: &str, params: &[Param]) -> Result<QueryOutput> {
    let first = match attempt(client, sql, params).await {
        Ok(output) => return Ok(output),
        Err(failure) if failure.is_stale => failure.error,
        Err(failure) => return Err(failure.error),
    };
    // The server refused before executing anything, so trying again is safe. Inside a transaction the refusal has failed
    // the transaction, and the second attempt can only say so: the first error says why.
    match attempt(client, sql, params).await {
        Err(failure) if failure.error.sql_state() == Some("25P02") => Err(first),
        outcome => outcome.map_err(|failure| failure.error),
    }
}

/// Runs one statement for each set of parameters; all of them or none take effect. Gives the rows affected.
pub(crate) async fn execute_many(
    client: &Client,
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
            // A rollback that fails too means that the connection is lost, and the transaction with it.
            let _ = client.batch_execute(rollback).await;
            if is_stale(&error) {
                client.forget(sql);
            }
            Err(error.into())
        }
    }
}

/// Sends up to [`PIPELINE_DEPTH`] executions before it waits for the first answer: one round trip for all of them.
async fn pipeline(client: &Client, statement: &Statement, sets: &[Vec<Encoded>]) -> RawResult<u64> {
    let mut affected = 0;
    for chunk in sets.chunks(PIPELINE_DEPTH) {
        let mut under_way: Vec<Pin<Box<dyn Future<Output = _> + Send + '_>>> = Vec::new();
        for set in chunk {
            under_way.push(Box::pin(client.execute(statement, set)));
        }
        // The first poll of an execution sends it; only an error can be ready then.
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
pub(crate) async fn execute_batch(client: &Client, sql: &str) -> Result<()> {
    refuse_copy(sql)?;
    client.batch_execute(sql).await
}

/// Why an attempt to run a statement failed.
struct ExecutionFailure {
    error: Error,
    /// The server no longer knows the prepared statement, or its result has another form now: preparing it again helps.
    is_stale: bool,
}

impl From<Error> for ExecutionFailure {
    fn from(error: Error) -> Self {
        Self {
            error,
            is_stale: false,
        }
    }
}

async fn attempt(
    client: &Client,
    sql: &str,
    params: &[Param],
) -> std::result::Result<QueryOutput, ExecutionFailure> {
    let prepared = Prepared::new(client, sql).await?;
    let columns = prepared.columns()?;
    let encoded = prepared.encode(params)?;
    let failed = |error: tokio_postgres::Error| {
        let is_stale = is_stale(&error);
        if is_stale {
            client.forget(sql);
        }
        ExecutionFailure {
            error: error.into(),
            is_stale,
        }
    };
    let rows = client
        .query(&prepared.statement, &encoded)
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
        // The server localizes the message, but not the name of the routine.
        *server.code() == SqlState::INVALID_SQL_STATEMENT_NAME
            || (*server.code() == SqlState::FEATURE_NOT_SUPPORTED
                && server.routine() == Some("RevalidateCachedQuery"))
    })
}

/// A value in the server's binary format; `None` is null.
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
