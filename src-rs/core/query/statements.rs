//! Statements on one connection: prepared, checked against what is supported, and only then executed.

mod block;
mod prepared;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use deadpool_postgres::ClientWrapper;
use futures_util::TryStreamExt as _;
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Type};

pub use block::CommitOutcome;
pub(crate) use block::{Block, block_state, commit};
pub use prepared::Column;
use prepared::{Prepared, refuse_copy};

use crate::base::error::{Error, ErrorKind, Result};
use crate::query::values::{Encoded, Param, Value};

/// How many executions of `execute_many` are under way at the same time.
const PIPELINE_DEPTH: usize = 512;

/// What a statement gave.
#[derive(Debug, PartialEq)]
pub struct QueryOutput {
    pub columns: Vec<Column>,
    /// Row after row.
    pub values: Vec<Value>,
    /// The rows returned; of a statement that returns none, the rows affected.
    pub row_count: u64,
}

/// Runs one statement.
pub(crate) async fn execute(
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
pub(crate) async fn execute_many(
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
pub(crate) async fn execute_batch(client: &ClientWrapper, sql: &str) -> Result<()> {
    refuse_copy(sql)?;
    Ok(client.batch_execute(sql).await?)
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
