//! Doubt about the network, which a listener has first and a pool acts on.

use parking_lot::Mutex;
use tokio::time::Instant;

/// Since when connections are suspect: what was last heard before may be dead without a word.
#[derive(Debug, Default)]
pub struct Doubt(Mutex<Option<Instant>>);

impl Doubt {
    /// Doubts every connection that has not been heard since now.
    pub fn raise(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// The moment of the last doubt.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        *self.0.lock()
    }
}
