//! Calls of the operating system that block, such as a look-up of a name, on a thread of their own.
//!
//! `tokio::task::spawn_blocking` panics when the operating system has no thread to give.

use std::io;
use std::thread;

use tokio::sync::{Semaphore, oneshot};

/// The most threads at once: as many as tokio would start. A look-up can hang for as long as its name server does.
const MOST_THREADS: usize = 512;

static THREADS: Semaphore = Semaphore::const_new(MOST_THREADS);

/// Runs `work` on a thread of its own. Fails when there is no thread for it, or when it panics.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    // The semaphore is never closed, so there always is a permit in the end.
    let permit = THREADS.acquire().await.map_err(io::Error::other)?;
    let (sender, receiver) = oneshot::channel();
    let started = thread::Builder::new()
        .name("pglisten-blocking".to_owned())
        .spawn(move || {
            let _permit = permit;
            let outcome = super::panic::contained("a call that blocks", work);
            // Whoever asked may have given up by now.
            let _ = sender.send(outcome);
        });
    drop(started?);
    match receiver.await {
        Ok(outcome) => outcome.map_err(io::Error::other),
        Err(gone) => Err(io::Error::other(gone)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_result_comes_from_another_thread() {
        let there = blocking(|| thread::current().id()).await;
        assert_ne!(there.expect("a thread"), thread::current().id());
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let failed = blocking(|| panic!("not here")).await.map(|()| 0);
        let text = failed.expect_err("a panic").to_string();
        assert_eq!(text, "a call that blocks panicked: not here");
    }
}
