//! Attempts to make a session, of which several may be under way at once.
//!
//! A network that takes an attempt and says nothing may be well again a moment later, but the attempt does not know: its lost packet
//! is repeated after a second at the earliest, and then ever more rarely, and a request that was lost behind a proxy is never
//! repeated. So an attempt without an answer does not keep the next one waiting for its deadline. The first session that is verified
//! wins, and the other attempts are dropped, with their sockets. While an attempt waits for the user's function for passwords, no other
//! begins.
//!
//! ```text
//!              0 s      1 s      2 s      3 s      4 s      5 s                10 s
//! attempt 1    ├──────────────────────────────────────────────── ……… ──────────┤ deadline
//! attempt 2             ├─────────────────┤ makes room for 4
//! attempt 3                      ├─────────────────┤ makes room for 5
//! attempt 4                               ├─────────────────┤
//! attempt 5                                        ├───────── …
//! ```
//!
//! When there are [`MOST`] and the next one is due, the second oldest makes room. The youngest two find a network that is well
//! again. The oldest stays, because a server may need seconds for its answer, and because only an attempt that lives through the
//! deadline of a dead host comes to the host behind it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::base::error::Result;
use crate::base::panic::contained_future;

/// The time after which an attempt without an answer no longer keeps the next one waiting.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// The most attempts at the same time.
const MOST: usize = 3;

/// The attempts that are under way, the oldest first.
pub(super) struct Attempts<T>(Vec<Attempt<T>>);

struct Attempt<T> {
    number: u32,
    outcome: Pin<Box<dyn Future<Output = Result<T>> + Send>>,
}

impl<T: 'static> Attempts<T> {
    /// None.
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(MOST))
    }

    /// Whether none is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Begins the attempt with this number. When there are too many, the second oldest is dropped. An attempt that panics has
    /// failed.
    pub(super) fn begin(
        &mut self,
        number: u32,
        outcome: impl Future<Output = Result<T>> + Send + 'static,
    ) {
        if self.0.len() == MOST {
            drop(self.0.remove(1));
        }
        let contained = contained_future("an attempt to connect", outcome);
        let outcome = Box::pin(contained.map(|outcome| outcome.unwrap_or_else(Err)));
        self.0.push(Attempt { number, outcome });
    }

    /// Resolves with the number and the outcome of the next attempt that ends; never while none is under way.
    pub(super) async fn next_end(&mut self) -> (u32, Result<T>) {
        poll_fn(|cx| {
            for place in 0..self.0.len() {
                if let Poll::Ready(outcome) = self.0[place].outcome.as_mut().poll(cx) {
                    return Poll::Ready((self.0.remove(place).number, outcome));
                }
            }
            Poll::Pending
        })
        .await
    }
}
