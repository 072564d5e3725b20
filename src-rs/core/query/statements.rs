//! Statements on one connection: prepared, checked against what is supported, and only then executed.

mod block;
mod notify;
mod prepared;

pub use block::CommitOutcome;
pub(crate) use block::{commit, release, undo};
pub(crate) use notify::notify;
pub use prepared::{Column, Form};
use prepared::{Prepared, refuse_copy};

use crate::base::error::{Error, ErrorKind, Result, ServerMessage};
use crate::protocol::{DataRow, Message, Responses, TransactionStatus, copy_refused, malformed};
use crate::query::backend::Backend;
use crate::query::values::{Codec, Encoded, Param, Value};

/// How many executions of `execute_many` are sent together: one round trip for all of them.
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
pub(crate) async fn execute(backend: &Backend, sql: &str, params: &[Param]) -> Result<QueryOutput> {
    let first = match attempt(backend, sql, params).await {
        Err(error) if is_stale(&error) => error,
        outcome => return outcome,
    };
    backend.forget(sql);
    // The server refused before executing anything, so trying again is safe. Inside a transaction the refusal has failed
    // the transaction, and the second attempt can only say so: the first error says why.
    match attempt(backend, sql, params).await {
        Err(error) if error.sql_state() == Some("25P02") => Err(stale_inside(first)),
        outcome => outcome,
    }
}

/// The error of a statement that would have to be prepared anew, in a transaction that has failed by it.
fn stale_inside(error: Error) -> Error {
    let message = format!(
        "{}: the statement was prepared before the database changed, or before something deallocated it. Outside of a \
         transaction it would have been tried again; here the transaction has failed: roll it back, and run it again",
        error.message
    );
    error.saying(message)
}

/// Runs one statement for each set of parameters; all of them or none take effect. Gives the rows affected.
pub(crate) async fn execute_many(backend: &Backend, sql: &str, sets: &[Vec<Param>]) -> Result<u64> {
    if sets.is_empty() {
        return Ok(0);
    }
    match attempt_many(backend, sql, sets).await {
        // Whatever it had done was rolled back.
        Err(error) if is_stale(&error) => {
            backend.forget(sql);
            attempt_many(backend, sql, sets).await
        }
        outcome => outcome,
    }
}

async fn attempt_many(backend: &Backend, sql: &str, sets: &[Vec<Param>]) -> Result<u64> {
    let prepared = Prepared::new(backend, sql).await?;
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

    let (begin, commit, rollback) = if backend.transaction_status() == TransactionStatus::Idle {
        ("BEGIN", "COMMIT", "ROLLBACK")
    } else {
        (
            "SAVEPOINT pglisten_many",
            "RELEASE SAVEPOINT pglisten_many",
            "ROLLBACK TO SAVEPOINT pglisten_many; RELEASE SAVEPOINT pglisten_many",
        )
    };
    backend.batch_execute(begin).await?;
    let ran = match pipeline(backend, &prepared, &encoded).await {
        Ok(affected) => backend.batch_execute(commit).await.map(|()| affected),
        Err(error) => Err(error),
    };
    if ran.is_err() {
        // A rollback that fails too means that the connection is lost, and the transaction with it. After a commit that was
        // refused there is nothing left to roll back.
        if backend.transaction_status() != TransactionStatus::Idle {
            let _ = backend.simple_query(rollback).await;
        }
    }
    ran
}

/// Executes a statement for all sets. Gives the rows affected.
async fn pipeline(backend: &Backend, prepared: &Prepared, sets: &[Vec<Encoded>]) -> Result<u64> {
    let mut affected = 0;
    for chunk in sets.chunks(PIPELINE_DEPTH) {
        let sets = chunk.iter().map(Vec::as_slice);
        let responses = backend.run(&prepared.statement, sets)?;
        affected += answer(backend, responses, |_| Ok(())).await?;
    }
    Ok(affected)
}

/// Runs statements without parameters, separated by semicolons.
pub(crate) async fn execute_batch(backend: &Backend, sql: &str) -> Result<()> {
    refuse_copy(sql)?;
    backend.batch_execute(sql).await
}

async fn attempt(backend: &Backend, sql: &str, params: &[Param]) -> Result<QueryOutput> {
    let prepared = Prepared::new(backend, sql).await?;
    fail_point!("statement");
    let columns = prepared.columns()?;
    let encoded = prepared.encode(params)?;
    let mut values = Vec::new();
    let mut returned = 0;
    let responses = backend.run(&prepared.statement, [encoded.as_slice()])?;
    let affected = answer(backend, responses, |row| {
        returned += 1;
        read_row(&row, &columns, &mut values)
    })
    .await?;
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

/// Hands the rows of an answer on, and gives the rows affected. The first failure stays, and the answer is read to its end.
async fn answer(
    backend: &Backend,
    mut responses: Responses,
    mut take: impl FnMut(DataRow) -> Result<()>,
) -> Result<u64> {
    let mut affected = 0;
    let mut refused: Option<Box<ServerMessage>> = None;
    let mut failed = None;
    loop {
        match responses.next().await {
            None => return Err(failed.unwrap_or_else(|| responses.lost(refused))),
            Some(Message::DataRow(row)) => {
                if failed.is_none() {
                    failed = take(row).err();
                }
            }
            Some(Message::CommandComplete(tag)) => affected += rows_affected(&tag),
            Some(Message::ErrorResponse(error)) => drop(refused.get_or_insert(error)),
            Some(Message::CopyIn | Message::CopyOut) => failed = Some(copy_refused()),
            Some(Message::ReadyForQuery(_)) => break,
            Some(_) => {}
        }
    }
    if failed.as_ref().is_some_and(Error::ends_session) {
        // What cannot be read says that the stream is not to be trusted any more.
        backend.abandon();
    }
    match (failed, refused) {
        (Some(error), _) => Err(error),
        (None, Some(error)) => Err(Error::database(*error)),
        (None, None) => Ok(affected),
    }
}

/// The number at the end of a tag such as `INSERT 0 1`; 0 if there is none.
fn rows_affected(tag: &str) -> u64 {
    let last = tag.rsplit(' ').next();
    last.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn read_row(row: &DataRow, columns: &[(Codec, Column)], values: &mut Vec<Value>) -> Result<()> {
    let raw = row.values().map_err(|error| malformed(&error))?;
    if raw.len() != columns.len() {
        return Err(Error::new(
            ErrorKind::Closed,
            format!(
                "the server sent a row of {} values for a result of {} columns",
                raw.len(),
                columns.len()
            ),
        ));
    }
    for (raw, (codec, column)) in raw.into_iter().zip(columns) {
        let value = codec.decode(raw).map_err(|why| {
            Error::new(
                ErrorKind::Execute,
                format!("Column `{}` ({}) {why}", column.name, column.type_name),
            )
        })?;
        values.push(value);
    }
    Ok(())
}

/// Whether the server no longer knows a prepared statement, or its result has another form now: preparing it again helps.
fn is_stale(error: &Error) -> bool {
    error.server.as_deref().is_some_and(|server| {
        // The server localizes messages, but not those of internal errors, nor the name of the routine.
        let is_type_gone = server.sql_state == "XX000"
            && server.message.starts_with("cache lookup failed for type");
        is_type_gone
            || server.sql_state == "26000"
            || (server.sql_state == "0A000"
                && server.routine.as_deref() == Some("RevalidateCachedQuery"))
    })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    #[test]
    fn a_row_with_another_number_of_values_than_columns_is_an_error() {
        let column = |name: &str| {
            let column = Column {
                name: name.to_owned(),
                type_name: "text".to_owned(),
                oid: 25,
                form: Form::Plain,
                is_array: false,
            };
            (Codec::Text, column)
        };
        let columns = [column("a"), column("b")];
        for count in 0..4_u8 {
            let values = vec![[0, 0, 0, 1, b'x']; count.into()].concat();
            let body = [&[0, count][..], &values].concat();
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            let mut message = BytesMut::from(&[b"D", &length[..], &body].concat()[..]);
            let Ok(Some(Message::DataRow(row))) = Message::split_off(&mut message) else {
                panic!("no row");
            };
            let mut read = Vec::new();
            match read_row(&row, &columns, &mut read) {
                Ok(()) => assert_eq!(count, 2),
                Err(error) => assert_eq!(
                    error.message,
                    format!("the server sent a row of {count} values for a result of 2 columns")
                ),
            }
            assert_eq!(read.len(), if count == 2 { 2 } else { 0 });
        }
    }
}
