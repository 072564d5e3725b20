//! Transaction blocks: whether one is open, and what became of it.

use deadpool_postgres::ClientWrapper;
use futures_util::future::{join, join3};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use crate::base::error::Result;

/// Whether a transaction block is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
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

/// Asks whether a transaction block is open, in one round trip.
///
/// A setting that is local to a transaction outlives its own statement only in a block. Unlike `SAVEPOINT` or
/// `ROLLBACK`, asking leaves no line in the server's log when there is none.
pub(crate) async fn block_state(client: &ClientWrapper) -> Result<Block> {
    let (set, get) = join(client.simple_query(SET_MARK), client.simple_query(GET_MARK)).await;
    read_block_state(set, get)
}

/// Commits, and tells what the server made of it: `COMMIT` alone also succeeds when it rolls back.
pub(crate) async fn commit(client: &ClientWrapper) -> Result<CommitOutcome> {
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
