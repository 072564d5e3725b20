//! Keeps the operations of a lease in the order in which they were called, although each runs as a task of its own.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::unconstrained;

/// Hands out places, first come, first served: one place at a time is reached.
///
/// A semaphore of one permit serves its waiters in their order and forgets waiters that are dropped, so an operation that
/// is cancelled neither blocks the operations behind it nor lets one of them overtake.
/// Clones are the same order.
#[derive(Debug, Clone)]
pub(crate) struct CallOrder(Arc<Semaphore>);

/// A place in a [`CallOrder`]. Dropping a place lets the next one be reached.
#[must_use = "dropping a place lets the next one begin"]
pub(crate) struct Place(State);

type Reaching = dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send;

enum State {
    Waiting(Pin<Box<Reaching>>),
    /// The permit, or the error of a semaphore that was closed, which this one never is.
    Reached {
        _permit: Result<OwnedSemaphorePermit, AcquireError>,
    },
}

impl Default for CallOrder {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl CallOrder {
    /// Takes the next place. Synchronous, so that the order of the places is that of the calls.
    pub(crate) fn take_place(&self) -> Place {
        // Polled outside of tokio's budget for a task: a poll that the budget refuses would not queue.
        let mut reaching = Box::pin(unconstrained(Arc::clone(&self.0).acquire_owned()));
        Place(match reaching.as_mut().now_or_never() {
            Some(permit) => State::Reached { _permit: permit },
            None => State::Waiting(reaching),
        })
    }

    /// Whether every place that was taken was dropped.
    pub(crate) fn is_free(&self) -> bool {
        self.0.available_permits() > 0
    }
}

impl Place {
    /// Waits until every place before this one was dropped.
    pub(crate) async fn reached(&mut self) {
        if let State::Waiting(reaching) = &mut self.0 {
            let permit = reaching.await;
            self.0 = State::Reached { _permit: permit };
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn places_are_reached_in_the_order_in_which_they_were_taken() {
        let order = CallOrder::default();
        let reached = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for index in 0..1000 {
            let mut place = order.take_place();
            let reached = Arc::clone(&reached);
            tasks.push(tokio::spawn(async move {
                place.reached().await;
                reached.lock().push(index);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert!(reached.lock().iter().copied().eq(0..1000));
    }

    #[test]
    fn a_place_that_is_given_up_leaves_no_hole_and_lets_nobody_overtake() {
        let order = CallOrder::default();
        let (first, given_up, mut last) =
            (order.take_place(), order.take_place(), order.take_place());
        drop(given_up);
        assert!(last.reached().now_or_never().is_none());
        drop(first);
        assert!(last.reached().now_or_never().is_some());
    }
}
