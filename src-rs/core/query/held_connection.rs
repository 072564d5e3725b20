//! What a lease has hold of, and how it is given back.

use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object};

use crate::base::error::{Error, ErrorKind, Result};
use crate::query::gate::Pass;
use crate::query::shared_client::SessionClient;
use crate::query::statements::{self, Block};

/// How long giving back may take. A connection that needs longer is not worth keeping.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// What giving back came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseOutcome {
    /// A transaction had been left open.
    pub rolled_back: bool,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each lease, and it stays in its place"
)]
pub(crate) enum Link {
    Pooled {
        // Goes back before the pass does.
        object: Object,
        _pass: Pass,
    },
    /// Weak inside: a lease does not keep a listening session open.
    Session(SessionClient),
}

impl Link {
    /// Closes a connection that is in no state to be used again. A listening session is not ours to close.
    fn discard(self) {
        if let Self::Pooled { object, .. } = self {
            drop(Object::take(object));
        }
    }
}

/// What is known, without asking, of a connection that is given back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Condition {
    /// A transaction of ours has not ended.
    pub(crate) is_in_block: bool,
    /// A statement could have opened a transaction block.
    pub(crate) may_be_in_block: bool,
    /// It is lost, or of no more use.
    pub(crate) is_spoiled: bool,
}

impl Condition {
    pub(crate) fn needs_care(self) -> bool {
        self.is_in_block || self.may_be_in_block || self.is_spoiled
    }
}

/// Gives a connection back: outside of any transaction, or not at all.
pub(crate) async fn give_back(link: Link, condition: Condition) -> ReleaseOutcome {
    let mut rolled_back = false;
    let mut is_spoiled = condition.is_spoiled;
    if condition.is_in_block || condition.may_be_in_block {
        let leave = tokio::time::timeout(RELEASE_TIMEOUT, leave_block(&link));
        if let Ok(Ok(was_open)) = leave.await {
            rolled_back = was_open;
        } else {
            // What was open ends with the connection.
            rolled_back = condition.is_in_block;
            is_spoiled = true;
        }
    }
    if is_spoiled {
        link.discard();
    }
    ReleaseOutcome { rolled_back }
}

async fn leave_block(link: &Link) -> Result<bool> {
    let session;
    let client: &ClientWrapper = match link {
        Link::Pooled { object, .. } => object,
        Link::Session(shared) => {
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

/// What every operation says afterwards.
pub(crate) fn closed() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the connection was closed or given back to its pool",
    )
}
