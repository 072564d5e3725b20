//! The end of a transaction, and of a part of one.

use crate::base::error::Result;
use crate::protocol::TransactionStatus;
use crate::query::backend::Backend;

/// How a transaction ended that was to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Its changes took effect.
    Committed,
    /// The server rolled it back, because a statement of it had failed.
    RolledBack,
    /// No transaction was open any more: a statement had ended it.
    AlreadyEnded,
}

/// Commits, and tells how the transaction ended: `COMMIT` by itself succeeds also when it rolls back.
pub(crate) async fn commit(backend: &Backend) -> Result<CommitOutcome> {
    let before = backend.transaction_status();
    if before == TransactionStatus::Idle {
        return Ok(CommitOutcome::AlreadyEnded);
    }
    backend.batch_execute("COMMIT").await?;
    Ok(match before {
        TransactionStatus::Failed => CommitOutcome::RolledBack,
        _ => CommitOutcome::Committed,
    })
}

/// Ends the part of a transaction that a savepoint began, and keeps what it did; undoes that if a statement in it has failed.
pub(crate) async fn release(backend: &Backend, savepoint: &str) -> Result<CommitOutcome> {
    match backend.transaction_status() {
        TransactionStatus::Idle => return Ok(CommitOutcome::AlreadyEnded),
        TransactionStatus::Failed => {
            let undone = undo(backend, savepoint).await;
            return ended_or(undone.map(|()| CommitOutcome::RolledBack));
        }
        TransactionStatus::Active => {}
    }
    let sql = format!("RELEASE SAVEPOINT {savepoint}");
    let released = backend.batch_execute(&sql).await;
    ended_or(released.map(|()| CommitOutcome::Committed))
}

/// Ends the part of a transaction that a savepoint began, and undoes what it did.
pub(crate) async fn undo(backend: &Backend, savepoint: &str) -> Result<()> {
    let sql = format!("ROLLBACK TO SAVEPOINT {savepoint}; RELEASE SAVEPOINT {savepoint}");
    backend.batch_execute(&sql).await
}

/// Tells when there was no such savepoint any more (`invalid_savepoint_specification`).
fn ended_or(outcome: Result<CommitOutcome>) -> Result<CommitOutcome> {
    match outcome {
        Err(error) if error.sql_state() == Some("3B001") => Ok(CommitOutcome::AlreadyEnded),
        outcome => outcome,
    }
}
