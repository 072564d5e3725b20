//! Panics as errors: a defect of this package, or of a crate below it, must not end the host process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt as _;
use tokio::task::JoinError;

use super::error::{Error, ErrorKind, Result};

/// Runs `work`. A panic becomes an error that says what panicked, and with which message.
pub fn contained<T>(what: &str, work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Error::panicked(what, &*panic))
}

/// Runs `work`, as [`contained`] does, to its end. An `async fn` would hold `work` twice: as its argument, and while it awaits it.
pub fn contained_future<T>(
    what: &str,
    work: impl Future<Output = T>,
) -> impl Future<Output = Result<T>> {
    let outcome = AssertUnwindSafe(work).catch_unwind();
    outcome.map(move |outcome| outcome.map_err(|panic| Error::panicked(what, &*panic)))
}

impl Error {
    /// The error of `what`, which panicked.
    fn panicked(what: &str, panic: &(dyn Any + Send)) -> Self {
        let said = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Self::new(ErrorKind::Internal, format!("{what} panicked: {said}"))
    }

    /// The error of the task `what`, which was spawned by itself and has not come to its end.
    pub(crate) fn of_task(what: &str, ended: JoinError) -> Self {
        match ended.try_into_panic() {
            Ok(panic) => Self::panicked(what, &*panic),
            Err(_) => Self::new(ErrorKind::Internal, format!("{what} was stopped")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_panic_is_told() {
        let number = 7;
        let error = contained("a call", || assert_ne!(number, 7, "seven")).expect_err("a panic");
        assert!(error.message.starts_with("a call panicked: "), "{error}");
        assert!(error.message.contains("seven"), "{error}");
        let text = contained("a call", || panic!("as it is")).map(|()| 0);
        assert_eq!(
            text.expect_err("a panic").message,
            "a call panicked: as it is"
        );
        let other = contained("a call", || std::panic::panic_any(7)).map(|()| 0);
        assert_eq!(
            other.expect_err("a panic").message,
            "a call panicked: no message"
        );
        assert!(matches!(contained("a call", || 7), Ok(7)));
    }

    #[tokio::test]
    async fn the_message_of_a_task_that_panicked_is_told() {
        let waits = async {
            tokio::task::yield_now().await;
            panic!("later")
        };
        let error = contained_future::<()>("a future", waits).await;
        assert_eq!(
            error.expect_err("a panic").message,
            "a future panicked: later"
        );
        let ended = tokio::spawn(async { panic!("alone") }).await;
        let error = Error::of_task("a task", ended.expect_err("a panic"));
        assert_eq!(error.message, "a task panicked: alone");
    }
}
