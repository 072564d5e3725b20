//! The way of the data of a `COPY FROM STDIN` from whoever has it to the task that drives the connection.
//!
//! One chunk waits in it at most, and the driver takes it only while little is unsent: so a server that does not read holds
//! up whoever has the data, and memory stays bounded.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

#[derive(Debug, Default)]
struct Shared {
    phase: Phase,
    chunk: Option<Bytes>,
    end: Option<End>,
    /// Whoever has the data, while it waits.
    writer: Option<Waker>,
    /// The driver, while there is nothing to take.
    driver: Option<Waker>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The server does not ask for data yet.
    #[default]
    Early,
    /// It does.
    Open,
    /// It does no more: the data has ended, or the server has refused it.
    Over,
}

/// How the data ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Done,
    /// The server is told this, and stores nothing.
    Failed(&'static str),
}

/// What the driver is to send next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Data(Bytes),
    Done,
    Failed(&'static str),
}

/// Writes the data of one `COPY FROM STDIN`. It is dropped before [`CopyWriter::finish`]: the `COPY` fails.
#[derive(Debug)]
pub struct CopyWriter(Arc<Mutex<Shared>>);

/// Ends the data of a `COPY FROM STDIN` from beside its writer.
#[derive(Debug)]
pub(crate) struct CopyBreaker(Arc<Mutex<Shared>>);

/// The driver's end.
#[derive(Debug)]
pub(crate) struct CopyFeed(Arc<Mutex<Shared>>);

/// A way for the data of one `COPY FROM STDIN`.
pub(crate) fn copy_feed() -> (CopyWriter, CopyBreaker, CopyFeed) {
    let shared = Arc::default();
    (
        CopyWriter(Arc::clone(&shared)),
        CopyBreaker(Arc::clone(&shared)),
        CopyFeed(shared),
    )
}

impl CopyWriter {
    /// Waits until a chunk may be written. `false`: the server takes no more, and the outcome of the `COPY` tells why.
    pub async fn ready(&self) -> bool {
        poll_fn(|cx| {
            let mut shared = self.0.lock();
            match shared.phase {
                Phase::Over => Poll::Ready(false),
                Phase::Open if shared.chunk.is_none() => Poll::Ready(true),
                _ => {
                    shared.writer = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Writes a chunk once there is room for it. `false`: the server takes no more.
    pub async fn write(&self, chunk: Bytes) -> bool {
        let is_ready = self.ready().await;
        if is_ready {
            let mut shared = self.0.lock();
            shared.chunk = Some(chunk);
            wake(shared.driver.take());
        }
        is_ready
    }

    /// Ends the data, behind what was written.
    pub fn finish(&self) {
        end(&self.0, End::Done);
    }

    /// Ends the data with a failure: the server stores nothing of it. It gets `why`, and writes it to its log.
    pub fn fail(&self, why: &'static str) {
        end(&self.0, End::Failed(why));
    }
}

impl Drop for CopyWriter {
    fn drop(&mut self) {
        self.fail("the data was given up");
    }
}

impl CopyBreaker {
    /// Ends the data with a failure, unless it has ended.
    pub(crate) fn fail(&self, why: &'static str) {
        end(&self.0, End::Failed(why));
    }
}

/// The first end counts.
fn end(shared: &Mutex<Shared>, how: End) {
    let mut shared = shared.lock();
    if shared.end.is_none() {
        if matches!(how, End::Failed(_)) {
            shared.chunk = None;
        }
        shared.end = Some(how);
        wake(shared.driver.take());
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl CopyFeed {
    /// The server asks for data.
    pub(super) fn open(&self) {
        let mut shared = self.0.lock();
        shared.phase = Phase::Open;
        wake(shared.writer.take());
    }

    /// Whether the server asks for data.
    pub(super) fn is_open(&self) -> bool {
        self.0.lock().phase == Phase::Open
    }

    /// What is to be sent next.
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Next> {
        let mut shared = self.0.lock();
        if let Some(chunk) = shared.chunk.take() {
            wake(shared.writer.take());
            return Poll::Ready(Next::Data(chunk));
        }
        match shared.end {
            Some(End::Done) => Poll::Ready(Next::Done),
            Some(End::Failed(why)) => Poll::Ready(Next::Failed(why)),
            None => {
                shared.driver = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for CopyFeed {
    fn drop(&mut self) {
        let mut shared = self.0.lock();
        shared.phase = Phase::Over;
        shared.chunk = None;
        wake(shared.writer.take());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn next(feed: &CopyFeed) -> Option<Next> {
        poll_fn(|cx| feed.poll_next(cx)).now_or_never()
    }

    #[tokio::test]
    async fn one_chunk_waits_and_no_more_and_none_before_the_server_asks() {
        let (writer, _breaker, feed) = copy_feed();
        assert_eq!(writer.ready().now_or_never(), None);
        feed.open();
        assert!(writer.write(Bytes::from_static(b"a")).await);
        assert_eq!(writer.ready().now_or_never(), None);
        assert_eq!(next(&feed), Some(Next::Data(Bytes::from_static(b"a"))));
        assert_eq!(next(&feed), None);
        assert!(writer.write(Bytes::from_static(b"b")).await);
        writer.finish();
        assert_eq!(next(&feed), Some(Next::Data(Bytes::from_static(b"b"))));
        assert_eq!(next(&feed), Some(Next::Done));
        drop(feed);
        assert!(!writer.ready().await);
    }

    #[tokio::test]
    async fn a_failure_takes_the_place_of_what_was_not_taken_yet() {
        let (writer, breaker, feed) = copy_feed();
        feed.open();
        assert!(writer.write(Bytes::from_static(b"a")).await);
        breaker.fail("why");
        writer.finish();
        assert_eq!(next(&feed), Some(Next::Failed("why")));
        let (writer, _breaker, feed) = copy_feed();
        drop(writer);
        assert_eq!(next(&feed), Some(Next::Failed("the data was given up")));
    }
}
