//! Takes notifications out of a session's stream as it is read, and packs them; all other messages go on to
//! whoever reads the stream.
//!
//! A client would make three allocations for each notification. An [`Inbound`] is the stream that it reads instead
//! of the socket, a `Splitter` tells messages apart, a [`ReceivedBatch`] holds the notifications of one read, and a
//! [`NotificationSink`] says who gets the batch.

mod batch;
mod splitter;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

pub use batch::{ReceivedBatch, ReceivedNotification};
use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use splitter::Splitter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::{Awaited, Lend, Moment};

/// How much is read at once. The notifications of one read are handed on together, so this bounds a batch too.
const CHUNK: usize = 64 * 1024;
/// How many reads in a row a session may have before others, and its own requests, get their turn.
const MAX_READS: usize = 16;

/// Why reading stops for now.
#[derive(Debug)]
pub enum Stop {
    /// A consumer is full.
    Pause,
    /// The rest of the stream cannot be read, for this reason.
    Broken(String),
}

/// Takes the notifications of one read, and says whether reading has to stop.
type Receive = dyn Fn(&ReceivedBatch) -> Option<Stop> + Send + Sync;

/// Where an [`Inbound`] hands the notifications that it takes out of the stream.
#[derive(Default)]
pub struct NotificationSink {
    /// Unset until the session's driver starts: notifications that are read during session set-up are discarded.
    receive: OnceLock<Box<Receive>>,
    /// Why reading has stopped; `None` while it goes on.
    stop: Mutex<Option<Stop>>,
    /// The moment at which the last request was sent that the server has answered. Nothing committed before it is missing.
    confirmed: Mutex<Moment>,
    /// How many notifications were taken out of the stream.
    taken: AtomicU64,
}

impl fmt::Debug for NotificationSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotificationSink").finish_non_exhaustive()
    }
}

impl NotificationSink {
    /// Hands each batch to `receive` from now on, at once. When `receive` gives a [`Stop`], nothing more is read until
    /// [`NotificationSink::take_stop`] took it.
    pub fn hand_to(
        &self,
        receive: impl Fn(&ReceivedBatch) -> Option<Stop> + Send + Sync + 'static,
    ) {
        // There is one driver for each session.
        drop(self.receive.set(Box::new(receive)));
    }

    /// Takes the reason why reading has stopped, if it has. Reading goes on with the next poll.
    pub fn take_stop(&self) -> Option<Stop> {
        self.stop.lock().take()
    }

    /// The moment before which no notification is missing.
    #[must_use]
    pub fn confirmed(&self) -> Moment {
        *self.confirmed.lock()
    }

    /// How many notifications were taken out of the stream so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Notes that no notification is missing that was committed before `moment`.
    pub fn confirm(&self, moment: Moment) {
        *self.confirmed.lock() = moment;
    }
}

/// Takes the notifications out of what an [`Inbound`] reads.
#[derive(Debug)]
struct Extractor {
    sink: Arc<NotificationSink>,
    splitter: Splitter,
    chunk: Box<[u8]>,
    /// Empty between two reads.
    batch: ReceivedBatch,
    /// Messages that were read and are no notifications, for whoever reads the stream.
    rest: BytesMut,
}

impl Extractor {
    /// Takes the notifications out of the first `read` bytes of the chunk, and hands them on.
    fn take(&mut self, read: usize) {
        self.splitter
            .feed(&self.chunk[..read], &mut self.batch, &mut self.rest);
        if self.batch.is_empty() {
            return;
        }
        self.sink
            .taken
            .fetch_add(self.batch.len() as u64, Ordering::Relaxed);
        if let Some(receive) = self.sink.receive.get() {
            self.batch.confirmed = self.sink.confirmed();
            if let Some(stop) = receive(&self.batch) {
                *self.sink.stop.lock() = Some(stop);
            }
        }
        self.batch.clear();
    }
}

/// A stream of the server's messages without notifications, which go to a [`NotificationSink`].
#[derive(Debug)]
pub struct Inbound<S> {
    stream: S,
    extractor: Option<Extractor>,
}

impl<S> Inbound<S> {
    /// Hands notifications to `sink`; `None` leaves them in the stream.
    pub(crate) fn new(stream: S, sink: Option<Arc<NotificationSink>>) -> Self {
        Self {
            stream,
            extractor: sink.map(|sink| Extractor {
                sink,
                splitter: Splitter::default(),
                chunk: vec![0; CHUNK].into_boxed_slice(),
                batch: ReceivedBatch::default(),
                rest: BytesMut::new(),
            }),
        }
    }
}

impl<S> Inbound<S> {
    /// The stream that is read.
    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }
}

impl<S: Lend> Lend for Inbound<S> {
    fn lend(&mut self) -> Option<Awaited> {
        self.stream.lend()
    }

    fn take_back(&mut self) -> io::Result<()> {
        self.stream.take_back()
    }

    fn allow(&mut self, bytes: usize) {
        self.stream.allow(bytes);
    }

    fn has_come(&self) -> bool {
        self.stream.has_come()
    }

    fn is_used_up(&self) -> bool {
        let extractor = self.extractor.as_ref();
        self.stream.is_used_up() || extractor.is_some_and(|it| it.sink.stop.lock().is_some())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Inbound<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(extractor) = &mut this.extractor else {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        };
        let mut reads = 0;
        loop {
            if extractor.rest.has_remaining() {
                let here = extractor.rest.len().min(buf.remaining());
                buf.put_slice(&extractor.rest[..here]);
                extractor.rest.advance(here);
                return Poll::Ready(Ok(()));
            }
            if extractor.sink.stop.lock().is_some() {
                // The driver takes the stop right after this poll, and polls again when reading goes on.
                return Poll::Pending;
            }
            if reads == MAX_READS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            reads += 1;
            let mut chunk = ReadBuf::new(&mut extractor.chunk);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let read = chunk.filled().len();
            extractor.take(read);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Inbound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;
    use std::task::{Wake, Waker};

    use futures_util::poll;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::splitter::tests::{message, notification};
    use super::*;

    /// An [`Inbound`] at one end of a pipe, and the other end.
    fn pipe() -> (Inbound<DuplexStream>, Arc<NotificationSink>, DuplexStream) {
        let (stream, server) = tokio::io::duplex(1 << 20);
        let sink = Arc::new(NotificationSink::default());
        (Inbound::new(stream, Some(Arc::clone(&sink))), sink, server)
    }

    /// Reads `other`, the next message that is no notification.
    async fn read_other(inbound: &mut Inbound<DuplexStream>, other: &[u8]) {
        let mut read = vec![0; other.len()];
        inbound.read_exact(&mut read).await.unwrap();
        assert_eq!(read, other);
    }

    #[tokio::test]
    async fn notifications_before_somebody_receives_them_are_discarded_and_keep_nothing_waiting() {
        let (mut inbound, sink, mut server) = pipe();
        let ready = message(b'Z', b"I");
        let stream = [notification(1, "a", b"early"), ready.clone()].concat();
        server.write_all(&stream).await.unwrap();
        read_other(&mut inbound, &ready).await;

        let (sender, received) = mpsc::channel();
        sink.hand_to(move |batch| {
            let (notifications, broken) = batch.read();
            assert_eq!(broken, None);
            for it in notifications {
                sender.send(it.payload.to_owned()).unwrap();
            }
            None
        });
        let stream = [notification(1, "a", b"late"), ready.clone()].concat();
        server.write_all(&stream).await.unwrap();
        read_other(&mut inbound, &ready).await;
        assert_eq!(received.try_iter().collect::<Vec<_>>(), ["late"]);
    }

    #[tokio::test]
    async fn nothing_more_is_read_until_a_stop_was_heard() {
        let (mut inbound, sink, mut server) = pipe();
        let (sender, received) = mpsc::channel();
        sink.hand_to(move |batch| {
            sender.send(batch.read().0.len()).unwrap();
            Some(Stop::Pause)
        });
        server
            .write_all(&notification(1, "a", b"one"))
            .await
            .unwrap();
        let ready = message(b'Z', b"I");
        let mut read = [0; 6];
        {
            let mut reading = pin!(inbound.read_exact(&mut read));
            assert!(poll!(&mut reading).is_pending());
            server
                .write_all(&notification(1, "a", b"two"))
                .await
                .unwrap();
            server.write_all(&ready).await.unwrap();
            assert!(poll!(&mut reading).is_pending());
            assert_eq!(received.try_iter().collect::<Vec<_>>(), [1]);
            assert!(matches!(sink.take_stop(), Some(Stop::Pause)));
            reading.await.unwrap();
        }
        assert_eq!(read, *ready);
        assert_eq!(received.try_iter().collect::<Vec<_>>(), [1]);
    }

    /// A stream that has the same message again and again, up to so many times.
    struct Flood {
        message: Vec<u8>,
        left: usize,
    }

    impl AsyncRead for Flood {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.left == 0 {
                return Poll::Pending;
            }
            self.left -= 1;
            buf.put_slice(&self.message);
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_flood_leaves_others_their_turn_and_comes_back_by_itself() {
        let message = notification(1, "a", b"more");
        let stream = Flood { message, left: 100 };
        let mut inbound = Inbound::new(stream, Some(Arc::default()));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut buffer = [0; 16];
        let polled = Pin::new(&mut inbound).poll_read(
            &mut Context::from_waker(&waker),
            &mut ReadBuf::new(&mut buffer),
        );
        assert!(polled.is_pending());
        assert_eq!(inbound.stream().left, 100 - MAX_READS);
        assert!(woken.0.load(Ordering::Relaxed));
    }
}
