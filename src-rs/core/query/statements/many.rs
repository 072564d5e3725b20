//! One statement for many sets of parameters.

use super::answer::{self, Part};
use super::{Manner, Prepared, behind, is_stale, marked, stale_behind};
use crate::base::error::{Error, Result};
use crate::protocol::TransactionStatus;
use crate::query::backend::{Backend, Execution};
use crate::query::values::{Encoded, Param};

/// How many executions are sent together: one round trip for all of them.
const PIPELINE_DEPTH: usize = 512;

/// Runs one statement for each set of parameters; all of them or none take effect. Gives the rows affected.
pub(crate) async fn execute_many(
    backend: &Backend,
    sql: &str,
    sets: &[Vec<Param>],
    manner: Manner,
) -> Result<u64> {
    if sets.is_empty() {
        return Ok(0);
    }
    match attempt(backend, sql, sets, manner).await {
        // Whatever it had done was rolled back.
        Err(error) if is_stale(&error) => {
            backend.forget(sql);
            if error.again.may_harm {
                return Err(stale_behind(backend, error));
            }
            attempt(backend, sql, sets, manner).await
        }
        outcome => outcome,
    }
}

async fn attempt(backend: &Backend, sql: &str, sets: &[Vec<Param>], manner: Manner) -> Result<u64> {
    let given = sets.iter().map(Vec::as_slice);
    let prepared = Prepared::for_sets(backend, sql, manner, given).await?;
    let encoded = sets
        .iter()
        .enumerate()
        .map(|(index, params)| {
            prepared.encode(params).map_err(|error| Error {
                message: format!("Parameter set {index}: {}", error.message),
                index: Some(index),
                ..marked(error, &prepared)
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
    let ran = match run(backend, &prepared, &encoded).await {
        Ok(affected) => backend.batch_execute(commit).await.map(|()| affected),
        Err(error) => {
            let done = error.index.unwrap_or_default();
            Err(behind(marked(error, &prepared), done))
        }
    };
    if ran.is_err() {
        // A rollback that fails too means that the connection is lost, and the transaction with it. After a commit that was
        // refused there is nothing left to roll back.
        if backend.transaction_status() != TransactionStatus::Idle {
            // A request to cancel that comes late hits the rollback. None comes once the interruption is over, which waits for this.
            while let Err(error) = backend.simple_query(rollback).await
                && error.sql_state() == Some("57014")
                && backend.is_interrupted()
            {}
        }
    }
    ran
}

/// Executes a statement for all sets. Gives the rows affected.
async fn run(backend: &Backend, prepared: &Prepared, sets: &[Vec<Encoded>]) -> Result<u64> {
    let mut affected = 0;
    let mut done = 0;
    for chunk in sets.chunks(PIPELINE_DEPTH) {
        let responses = backend.run(chunk.iter().map(|params| Execution {
            statement: &prepared.statement,
            params,
            formats: prepared.plan.formats(),
        }))?;
        let answered = answer::read(backend, responses, chunk.len(), |part| {
            if let Part::Complete(rows) = part {
                affected += rows.unwrap_or(0);
                done += 1;
            }
            Ok(())
        });
        answered.await.map_err(|error| Error {
            index: Some(done),
            ..error
        })?;
    }
    Ok(affected)
}
