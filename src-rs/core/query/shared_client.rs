//! The client of a listening session, shared with the leases that run statements on it.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use tokio_util::sync::CancellationToken;

use crate::query::call_order::CallOrder;
use crate::query::client::Client;

/// A listening session's client, for the user's own statements.
#[derive(Debug, Clone, Default)]
pub struct SessionClient {
    /// Sends requests. Weak, because the listener alone decides when its session ends.
    pub client: Weak<Client>,
    /// How many statements of the user are running: a server that is busy with them is not dead.
    pub in_flight: Arc<AtomicUsize>,
    /// Cancelled when the session is to end: a statement that is running is cancelled too.
    pub closing: CancellationToken,
    /// The order of the user's operations, of all leases: one at a time, so that a cancellation can hit no other.
    pub(crate) order: CallOrder,
}

impl SessionClient {
    /// Shares a client.
    #[must_use]
    pub fn of(client: &Arc<Client>) -> Self {
        Self {
            client: Arc::downgrade(client),
            ..Self::default()
        }
    }
}
