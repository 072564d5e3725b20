//! How long an operation may take, and who may interrupt it.

use std::future::pending;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::error::{Error, ErrorKind};

/// The bounds of one operation. The default has none.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    /// How long the operation may take.
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    /// Interrupts the operation when it is cancelled.
    abort: Option<CancellationToken>,
}

/// Why an operation is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// It took longer than this.
    TimedOut(Duration),
    /// Its caller no longer wants it.
    Aborted,
    /// Its session is being closed.
    Closed,
}

impl Bounds {
    /// Bounds that count from now.
    #[must_use]
    pub fn new(timeout: Option<Duration>, abort: Option<CancellationToken>) -> Self {
        Self {
            timeout,
            // A deadline beyond any clock is none.
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            abort,
        }
    }

    /// Resolves when the operation is to be interrupted.
    pub(crate) async fn reached(&self) -> Interruption {
        let aborted = async {
            match &self.abort {
                Some(abort) => abort.cancelled().await,
                None => pending().await,
            }
        };
        let late = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = aborted => Interruption::Aborted,
            () = late => Interruption::TimedOut(self.timeout.unwrap_or_default()),
        }
    }

    /// The same bounds, and what interrupts the operation when it is cancelled.
    pub(crate) fn with_abort(mut self) -> (Self, CancellationToken) {
        let abort = self.abort.get_or_insert_default().clone();
        (self, abort)
    }

    /// Waits for something that may be given up at any moment.
    pub(crate) async fn hold<T>(&self, future: impl Future<Output = T>) -> Result<T, Interruption> {
        tokio::select! {
            biased;
            interruption = self.reached() => Err(interruption),
            value = future => Ok(value),
        }
    }
}

impl Interruption {
    /// The error of an operation that had no effect, or whose effect was undone, but for what it had committed before: `what` names it.
    pub(crate) fn error(self, what: &str) -> Error {
        let (kind, why) = self.reason();
        Error::new(kind, format!("{what} {why}"))
    }

    /// The error of a statement whose end the server did not confirm.
    pub(crate) fn unconfirmed(self) -> Error {
        let (kind, why) = self.reason();
        Error::new(
            kind,
            format!(
                "the statement {why}, and the server did not confirm that it has ended: whether it took effect is not \
                 known, and its connection was closed"
            ),
        )
    }

    fn reason(self) -> (ErrorKind, String) {
        match self {
            Self::TimedOut(timeout) => (
                ErrorKind::TimedOut,
                format!("took longer than {} ms", timeout.as_secs_f64() * 1e3),
            ),
            Self::Aborted => (ErrorKind::Aborted, "was aborted".to_owned()),
            Self::Closed => (
                ErrorKind::Closed,
                "was cancelled because its session is being closed".to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whatever_comes_first_interrupts() {
        let began = Instant::now();
        let abort = CancellationToken::new();
        let timeout = Duration::from_millis(1500);
        let bounds = Bounds::new(Some(timeout), Some(abort.clone()));
        assert_eq!(bounds.reached().await, Interruption::TimedOut(timeout));
        assert_eq!(began.elapsed(), timeout);
        assert_eq!(
            bounds.reached().await.error("the statement").message,
            "the statement took longer than 1500 ms"
        );
        abort.cancel();
        assert_eq!(
            bounds.hold(pending::<()>()).await,
            Err(Interruption::Aborted)
        );
        let none = Bounds::default();
        let hold = none.hold(pending::<()>());
        let forever = tokio::time::timeout(Duration::from_secs(86_400), hold);
        assert!(forever.await.is_err());
        // A deadline that no clock reaches is none.
        let bounds = Bounds::new(Some(Duration::MAX), None);
        assert_eq!(bounds.hold(async { 7 }).await, Ok(7));
    }
}
