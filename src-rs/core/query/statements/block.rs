//! Transaction blocks: whether one is open, and how one ended.

use futures_util::future::{join, join3};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use crate::base::error::Result;
use crate::query::client::Client;

/// Whether a transaction block is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    /// No block is open.
    None,
    /// A block is open.
    Open,
    /// A block is open, but a statement in it has failed: it can only be rolled back.
    Failed,
}

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

/// Asks whether a transaction block is open, in one round trip.
///
/// A setting that is local to a transaction outlives its own statement only in a block. `SAVEPOINT` or `ROLLBACK` would
/// leave a line in the server's log when there is no block; this query leaves none.
pub(crate) async fn block_state(client: &Client) -> Result<Block> {
    let (set, get) = join(client.simple_query(SET_MARK), client.simple_query(GET_MARK)).await;
    read_block_state(set, get)
}

/// Commits, and tells how the transaction ended: `COMMIT` by itself succeeds also when it rolls back.
pub(crate) async fn commit(client: &Client) -> Result<CommitOutcome> {
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

fn read_block_state(
    set: Result<Vec<SimpleQueryMessage>>,
    get: Result<Vec<SimpleQueryMessage>>,
) -> Result<Block> {
    let messages = match set.and(get) {
        Ok(messages) => messages,
        Err(error) if error.sql_state() == Some(SqlState::IN_FAILED_SQL_TRANSACTION.code()) => {
            return Ok(Block::Failed);
        }
        Err(error) => return Err(error),
    };
    let marked = messages
        .iter()
        .any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("1")));
    Ok(if marked { Block::Open } else { Block::None })
}
