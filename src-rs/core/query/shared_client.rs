//! The client of a listening session, shared with the leases that run statements on it.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Weak};

use crate::query::client::Client;

/// A listening session's client, for the user's own statements.
#[derive(Debug, Clone)]
pub struct SessionClient {
    /// Sends requests. Weak, because the listener alone decides when its session ends.
    pub client: Weak<Client>,
    /// Whether a statement of the user could have opened a transaction block.
    pub may_be_in_block: Arc<AtomicBool>,
    /// How many statements of the user are running: a server that is busy with them is not dead.
    pub in_flight: Arc<AtomicUsize>,
}
