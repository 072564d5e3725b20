//! The connection that a lease holds, and how it is given back.

use std::sync::Arc;
use std::time::Duration;

use crate::base::error::{Error, ErrorKind, Result};
use crate::query::client::Client;
use crate::query::lease_limit::Permit;
use crate::query::shared_client::SessionClient;
use crate::query::statements::{self, Block};

/// How long the end of an open transaction may take. A connection that needs longer is not worth keeping.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of giving a connection back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseOutcome {
    /// Whether a transaction had been left open, and was rolled back.
    pub rolled_back: bool,
}

/// The connection that a lease holds.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each lease, and it stays in its place"
)]
pub(crate) enum HeldConnection {
    Pooled {
        // Dropped before the permit: a connection is free before the next lease may ask for one.
        client: Client,
        _permit: Permit,
    },
    /// The client in it is weak: a lease does not keep a listening session open.
    Session(SessionClient),
}

impl HeldConnection {
    /// Closes a connection that must not be used again. A listening session is its listener's to close.
    fn discard(self) {
        if let Self::Pooled { client, .. } = self {
            client.discard();
        }
    }
}

/// The state of a connection that is given back, as far as it is known without asking the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Condition {
    /// [`crate::query::lease::Lease::begin`] was called, and the transaction has not ended.
    pub(crate) is_in_block: bool,
    /// A statement could have opened a transaction block.
    pub(crate) may_be_in_block: bool,
    /// The connection is lost, or must not be used by others.
    pub(crate) is_spoiled: bool,
}

impl Condition {
    /// Whether giving the connection back takes more than dropping it.
    pub(crate) fn needs_care(self) -> bool {
        self.is_in_block || self.may_be_in_block || self.is_spoiled
    }
}

/// Gives a connection back outside of any transaction, or closes it.
pub(crate) async fn give_back(held: HeldConnection, condition: Condition) -> ReleaseOutcome {
    let mut rolled_back = false;
    let mut is_spoiled = condition.is_spoiled;
    if condition.is_in_block || condition.may_be_in_block {
        let left = tokio::time::timeout(RELEASE_TIMEOUT, leave_block(&held)).await;
        match left {
            Ok(Ok(was_open)) => rolled_back = was_open,
            left => {
                // An open transaction ends with the connection. If the server ended the session, nobody left it open.
                let is_lost = matches!(&left, Ok(Err(error)) if error.ends_session());
                rolled_back = condition.is_in_block && !is_lost;
                is_spoiled = true;
            }
        }
    }
    if is_spoiled {
        held.discard();
    }
    ReleaseOutcome { rolled_back }
}

/// Rolls back a transaction block that is open, and says whether one was.
async fn leave_block(held: &HeldConnection) -> Result<bool> {
    let session: Arc<Client>;
    let client = match held {
        HeldConnection::Pooled { client, .. } => client,
        HeldConnection::Session(shared) => {
            session = shared.client.upgrade().ok_or_else(closed)?;
            &session
        }
    };
    if statements::block_state(client).await? == Block::None {
        return Ok(false);
    }
    client.batch_execute("ROLLBACK").await?;
    Ok(true)
}

/// The error of every operation on a lease that was given back, or whose session has ended.
pub(crate) fn closed() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the connection was closed or given back to its pool",
    )
}
