//! The connection that a lease holds, and how it is given back.

use std::sync::Arc;
use std::time::Duration;

use crate::base::error::{Error, ErrorKind, Result};
use crate::protocol::TransactionStatus;
use crate::query::client::Client;
use crate::query::holders::Held;
use crate::query::lease_limit::Permit;
use crate::query::shared_client::SessionClient;

/// How long the end of an open transaction may take. A connection that needs longer is not worth keeping.
pub(crate) const BLOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of giving a connection back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseOutcome {
    /// Whether a transaction had been left open, and was rolled back. `false` when the session had ended, and the
    /// transaction with it.
    pub rolled_back: bool,
}

/// The connection that a lease holds.
#[derive(Debug)]
pub(crate) enum HeldConnection {
    Pooled {
        // Dropped before the permit: a connection is free before the next lease may ask for one.
        client: Client,
        _permit: Permit,
        _holder: Held,
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

    /// Whether giving the connection back takes more than dropping it.
    pub(crate) fn needs_care(&self) -> bool {
        let is_left_behind = |client: &Client| {
            client.is_closed()
                || client.is_busy()
                || client.transaction_status() != TransactionStatus::Idle
        };
        match self {
            Self::Pooled { client, .. } => is_left_behind(client),
            Self::Session(session) => session
                .client
                .upgrade()
                .is_some_and(|client| is_left_behind(&client)),
        }
    }
}

/// Gives a connection back outside of any transaction, or closes it.
pub(crate) async fn give_back(held: HeldConnection) -> ReleaseOutcome {
    let mut rolled_back = false;
    fail_point!("give-back");
    if held.needs_care() {
        match tokio::time::timeout(BLOCK_TIMEOUT, leave_block(&held)).await {
            Ok(Ok(was_open)) => rolled_back = was_open,
            // The session has ended, and what it had left open with it.
            Ok(Err(_)) => held.discard(),
            Err(_) => {
                // An open transaction ends with the connection.
                rolled_back = true;
                if let HeldConnection::Pooled { client, .. } = &held {
                    client.abandon();
                }
                held.discard();
            }
        }
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
    if client.is_busy() {
        // Answered behind a statement that nobody waited for.
        client.simple_query("").await?;
    }
    if client.transaction_status() == TransactionStatus::Idle {
        return Ok(false);
    }
    client.simple_query("ROLLBACK").await?;
    Ok(true)
}

/// The error of every operation on a lease that was given back, or whose session has ended.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the connection was closed")
}
