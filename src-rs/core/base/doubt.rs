//! Doubt about the network, which a listener has first and a pool acts on.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Since when connections are suspect: what was last heard before may be dead without a word.
#[derive(Debug, Default)]
pub struct Doubt {
    since: Mutex<Option<Instant>>,
    /// The doubts that are raised with this one.
    others: Mutex<Vec<Weak<Doubt>>>,
}

impl Doubt {
    /// Doubts every connection that has not been heard since now.
    pub fn raise(&self) {
        *self.since.lock() = Some(Instant::now());
        let others = self.others.lock().clone();
        for other in others.iter().filter_map(Weak::upgrade) {
            other.raise();
        }
    }

    /// Raises another doubt with this one, for as long as there is that one.
    pub(crate) fn spread_to(&self, other: &Arc<Self>) {
        let mut others = self.others.lock();
        others.retain(|it| it.strong_count() > 0);
        if !others.iter().any(|it| it.as_ptr() == Arc::as_ptr(other)) {
            others.push(Arc::downgrade(other));
        }
    }

    /// The moment of the last doubt.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        *self.since.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_is_raised_in_every_pool_whose_listeners_share_a_session() {
        let (session, one, other) = (Doubt::default(), Arc::default(), Arc::default());
        for pool in [&one, &other, &one] {
            session.spread_to(pool);
        }
        assert_eq!(session.others.lock().len(), 2);
        session.raise();
        assert!(one.since().is_some() && other.since().is_some());
        drop(one);
        session.spread_to(&other);
        assert_eq!(session.others.lock().len(), 1);
    }
}
