//! What comes in on a listening session: notifications are taken out of the stream as they are read, and packed; the rest
//! goes on to `tokio_postgres`, which would make three allocations for each.

mod batch;
mod splitter;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

pub use batch::{Arrived, Batch};
use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use splitter::Splitter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::Moment;

/// How much is read at once. What one read gives is handed on together, so this bounds a batch too.
const CHUNK: usize = 64 * 1024;
/// How many reads in a row a session may have before others, and its own requests, get their turn.
const MAX_READS: usize = 16;

/// Why reading stops for now.
#[derive(Debug)]
pub enum Stop {
    /// A consumer is full.
    Pause,
    /// What follows cannot be read, and why.
    Broken(String),
}

/// Takes what an [`Inbound`] reads.
type Receive = dyn Fn(&Batch) -> Option<Stop> + Send + Sync;

/// What becomes of the notifications that an [`Inbound`] takes out of the stream.
#[derive(Default)]
pub struct Arrivals {
    /// Before it is there, while a session is made, they are of nobody.
    receive: OnceLock<Box<Receive>>,
    stop: Mutex<Option<Stop>>,
    /// The moment at which the last request was sent that the server has answered. Nothing committed before it is missing.
    confirmed: Mutex<Moment>,
}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrivals").finish_non_exhaustive()
    }
}

impl Arrivals {
    /// From now on what arrives is given to `receive`, at once. Nothing more is read once it says so, until that was
    /// heard by [`Arrivals::take_stop`].
    pub fn hand_to(&self, receive: impl Fn(&Batch) -> Option<Stop> + Send + Sync + 'static) {
        // There is one driver for each session.
        drop(self.receive.set(Box::new(receive)));
    }

    /// Why nothing more is read, if so. From then on it is read again.
    pub fn take_stop(&self) -> Option<Stop> {
        self.stop.lock().take()
    }

    /// A moment before which nothing is missing.
    #[must_use]
    pub fn confirmed(&self) -> Moment {
        *self.confirmed.lock()
    }

    /// Nothing is missing before `moment`.
    pub fn confirm(&self, moment: Moment) {
        *self.confirmed.lock() = moment;
    }
}

/// What an [`Inbound`] needs to take notifications out.
#[derive(Debug)]
struct Taking {
    arrivals: Arc<Arrivals>,
    splitter: Splitter,
    chunk: Box<[u8]>,
    /// Empty between two reads.
    batch: Batch,
    /// What was read and is not for us.
    rest: BytesMut,
}

impl Taking {
    /// Takes the notifications out of what was just read, and hands them on.
    fn take(&mut self, read: usize) {
        self.splitter
            .feed(&self.chunk[..read], &mut self.batch, &mut self.rest);
        if self.batch.is_empty() {
            return;
        }
        if let Some(receive) = self.arrivals.receive.get() {
            self.batch.confirmed = self.arrivals.confirmed();
            if let Some(stop) = receive(&self.batch) {
                *self.arrivals.stop.lock() = Some(stop);
            }
        }
        self.batch.clear();
    }
}

/// A stream of the server's messages without its notifications, if somebody wants those.
#[derive(Debug)]
pub struct Inbound<S> {
    stream: S,
    taking: Option<Taking>,
}

impl<S> Inbound<S> {
    /// Puts notifications into `arrivals`; `None` leaves them where they are.
    pub(crate) fn new(stream: S, arrivals: Option<Arc<Arrivals>>) -> Self {
        Self {
            stream,
            taking: arrivals.map(|arrivals| Taking {
                arrivals,
                splitter: Splitter::default(),
                chunk: vec![0; CHUNK].into_boxed_slice(),
                batch: Batch::default(),
                rest: BytesMut::new(),
            }),
        }
    }
}

impl<S> Inbound<S> {
    /// What it reads.
    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Inbound<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(taking) = &mut this.taking else {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        };
        let mut reads = 0;
        loop {
            if taking.rest.has_remaining() {
                let here = taking.rest.len().min(buf.remaining());
                buf.put_slice(&taking.rest[..here]);
                taking.rest.advance(here);
                return Poll::Ready(Ok(()));
            }
            if taking.arrivals.stop.lock().is_some() {
                // The driver hears of it right after this, and polls again when it goes on.
                return Poll::Pending;
            }
            if reads == MAX_READS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            reads += 1;
            let mut chunk = ReadBuf::new(&mut taking.chunk);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let read = chunk.filled().len();
            taking.take(read);
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
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::task::{Wake, Waker};

    use futures_util::poll;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::splitter::tests::{message, notification};
    use super::*;

    /// An [`Inbound`] at one end of a pipe, and the other end.
    fn pipe() -> (Inbound<DuplexStream>, Arc<Arrivals>, DuplexStream) {
        let (stream, server) = tokio::io::duplex(1 << 20);
        let arrivals = Arc::new(Arrivals::default());
        (
            Inbound::new(stream, Some(Arc::clone(&arrivals))),
            arrivals,
            server,
        )
    }

    /// Reads `other`, the next message that is no notification.
    async fn read_other(inbound: &mut Inbound<DuplexStream>, other: &[u8]) {
        let mut read = vec![0; other.len()];
        inbound.read_exact(&mut read).await.unwrap();
        assert_eq!(read, other);
    }

    #[tokio::test]
    async fn what_comes_before_somebody_takes_it_is_of_nobody_and_keeps_nothing_waiting() {
        let (mut inbound, arrivals, mut server) = pipe();
        let ready = message(b'Z', b"I");
        let stream = [notification(1, "a", b"early"), ready.clone()].concat();
        server.write_all(&stream).await.unwrap();
        read_other(&mut inbound, &ready).await;

        let (sender, received) = mpsc::channel();
        arrivals.hand_to(move |batch| {
            let (arrived, broken) = batch.read();
            assert_eq!(broken, None);
            for it in arrived {
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
        let (mut inbound, arrivals, mut server) = pipe();
        let (sender, received) = mpsc::channel();
        arrivals.hand_to(move |batch| {
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
            assert!(matches!(arrivals.take_stop(), Some(Stop::Pause)));
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
