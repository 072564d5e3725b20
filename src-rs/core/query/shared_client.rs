//! The client of a listening session, shared with whoever runs statements on it.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Weak};

use deadpool_postgres::ClientWrapper;

/// The listening session's client, for `listener.connection`.
#[derive(Debug, Clone)]
pub struct SessionClient {
    /// Sends statements, and caches prepared ones. Weak: the session ends when its listener says so.
    pub client: Weak<ClientWrapper>,
    /// Whether a statement of the user could have opened a transaction block.
    pub may_be_in_block: Arc<AtomicBool>,
    /// How many statements of the user are running: a server that is busy with them is not dead.
    pub in_flight: Arc<AtomicUsize>,
}
