//! The end of an operation before its time: the server is asked to cancel.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join;
use tokio::time::{Instant, timeout};

use super::{Backend, Beside};
use crate::base::error::Result;

/// How long a server may be silent while a statement is cancelled, before its connection is given up.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the cancellation of a statement may take in all: what the server had sent before has to be read first.
const LONGEST_CANCEL: Duration = Duration::from_secs(10);

/// How long to wait for a cancelled statement before the server is asked again: the first request may have come before the
/// statement.
const CANCEL_AGAIN: Duration = Duration::from_millis(250);

impl Backend {
    /// Ends a running operation: nothing more of it is sent, and the server is asked to cancel what it does for it, until the
    /// operation has ended. Gives its outcome, which may be that it had succeeded.
    ///
    /// Returns only after every request to cancel was carried out, so none can hit what is sent next. `None`: it took too
    /// long, the connection was given up, and the pool's others are suspect.
    pub(crate) async fn interrupt<T>(
        &self,
        operation: impl Future<Output = T> + Unpin,
    ) -> Option<T> {
        self.is_interrupted.store(true, Ordering::Release);
        // A thread that has borrowed the connection may be busy.
        self.wire.recall();
        self.cancellations.fetch_add(1, Ordering::AcqRel);
        let outcome = tokio::select! {
            biased;
            outcome = self.end_by_cancelling(operation) => Some(outcome),
            () = self.is_stuck() => None,
        };
        self.cancellations.fetch_add(1, Ordering::AcqRel);
        self.is_interrupted.store(false, Ordering::Release);
        if outcome.is_none() {
            self.give_up();
        }
        outcome
    }

    /// Gives up the connection of a server that does not answer. The pool's others are suspect then.
    pub(crate) fn give_up(&self) {
        self.abandon();
        if let Some(Beside { doubt, .. }) = &self.beside {
            doubt.raise();
        }
    }

    /// Waits until a cancellation that begins now has taken too long.
    async fn is_stuck(&self) {
        let began = Instant::now();
        loop {
            let silent_since = self.heard().max(began);
            let due = (silent_since + CANCEL_TIMEOUT).min(began + LONGEST_CANCEL);
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    async fn end_by_cancelling<T>(&self, mut operation: impl Future<Output = T> + Unpin) -> T {
        loop {
            // Once the server has closed the connection of the request, the signal was sent.
            let patient = async { timeout(CANCEL_AGAIN, &mut operation).await };
            let (_, ended) = join(self.cancel(), patient).await;
            if let Ok(outcome) = ended {
                return outcome;
            }
        }
    }

    async fn cancel(&self) -> Result<()> {
        match (&self.beside, self.wire.cancel_token()) {
            (
                Some(Beside {
                    config,
                    destination,
                    ..
                }),
                Some(token),
            ) if self.is_busy() => Box::pin(destination.cancel(config, token)).await,
            _ => Ok(()),
        }
    }
}
