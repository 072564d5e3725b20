//! The end of a transaction.

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
