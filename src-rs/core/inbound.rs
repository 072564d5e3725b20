//! What comes in on a listening session: notifications are taken out of the stream as they are read, and packed; the rest
//! goes on to `tokio_postgres`, which would make three allocations for each.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use memchr::memchr;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::moment::Moment;

/// How much is read at once. What one read gives is handed on together, so this bounds a batch too.
const CHUNK: usize = 64 * 1024;
/// How many reads in a row a session may have before others, and its own requests, get their turn.
const MAX_READS: usize = 16;
/// A message's type and its length, which counts itself
/// (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
const HEADER: usize = 5;
/// `NotificationResponse`.
const NOTIFICATION: u8 = b'A';
/// What a notification has before its channel: the process id.
const PROCESS_ID: usize = 4;
/// No notification is longer: names have at most 63 bytes, payloads fewer than a page, and a page at most 32 KiB.
const LONGEST: usize = 64 * 1024;

/// A notification as it was read; its channel and payload stand in [`Batch::text`].
#[derive(Debug, Clone, Copy)]
struct Arrival {
    process_id: i32,
    /// Where the channel starts,
    channel: usize,
    /// where the payload does,
    payload: usize,
    /// and where that ends. Behind both stands a NUL.
    end: usize,
}

/// A notification out of a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived<'batch> {
    /// The notifying backend.
    pub process_id: i32,
    /// The channel.
    pub channel: &'batch str,
    /// The payload.
    pub payload: &'batch str,
}

/// Notifications that were read together.
#[derive(Debug, Default)]
pub struct Batch {
    text: Vec<u8>,
    arrivals: Vec<Arrival>,
    /// Why what follows cannot be read.
    broken: Option<String>,
    /// A moment before which nothing was missing when the first of them was read: an answer that stands behind it in the
    /// stream confirms nothing about it.
    pub confirmed: Moment,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.arrivals.is_empty() && self.broken.is_none()
    }

    /// Forgets everything, but keeps the memory for the next.
    fn clear(&mut self) {
        self.text.clear();
        self.arrivals.clear();
        self.broken = None;
    }

    /// The notifications that can be read, and why nothing can after them.
    #[must_use]
    pub fn read(&self) -> (impl ExactSizeIterator<Item = Arrived<'_>>, Option<String>) {
        // All at once: no character goes beyond a NUL, so none goes beyond its notification.
        let (text, broken) = match str::from_utf8(&self.text) {
            Ok(text) => (text, self.broken.clone()),
            Err(error) => {
                let valid = str::from_utf8(&self.text[..error.valid_up_to()]).unwrap_or_default();
                (valid, Some("text that is not UTF-8".to_owned()))
            }
        };
        let readable = self
            .arrivals
            .partition_point(|arrival| arrival.end <= text.len());
        let arrived = self.arrivals[..readable]
            .iter()
            .map(move |arrival| Arrived {
                process_id: arrival.process_id,
                channel: &text[arrival.channel..arrival.payload - 1],
                payload: &text[arrival.payload..arrival.end],
            });
        (arrived, broken)
    }

    /// Takes a notification without its header.
    fn push(&mut self, body: &[u8]) {
        if self.broken.is_some() {
            return;
        }
        let parsed = body
            .split_first_chunk::<PROCESS_ID>()
            .and_then(|(id, strings)| {
                let channel_length = memchr(0, strings)?;
                let payload_length = memchr(0, &strings[channel_length + 1..])?;
                let complete = channel_length + payload_length + 2 == strings.len();
                complete.then_some((i32::from_be_bytes(*id), strings, channel_length))
            });
        let Some((process_id, strings, channel_length)) = parsed else {
            self.broken
                .get_or_insert_with(|| "a notification that does not end where it says".to_owned());
            return;
        };
        let channel = self.text.len();
        self.text.extend_from_slice(strings);
        self.arrivals.push(Arrival {
            process_id,
            channel,
            payload: channel + channel_length + 1,
            end: self.text.len() - 1,
        });
    }
}

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
    /// See [`Session::confirmed`](super::session::Session::confirmed).
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

/// Takes the messages of a stream apart, however it is cut.
#[derive(Debug, Default)]
struct Splitter {
    /// The beginning of a message: its header, or of a notification all that is there.
    begun: Vec<u8>,
    /// How much of a message that is no notification is still to come.
    passing: usize,
}

impl Splitter {
    /// Puts notifications into `batch` and everything else behind `rest`.
    fn feed(&mut self, mut bytes: &[u8], batch: &mut Batch, rest: &mut BytesMut) {
        if !self.begun.is_empty() {
            bytes = self.finish_begun(bytes, batch, rest);
        }
        while !bytes.is_empty() {
            if self.passing > 0 {
                let here = self.passing.min(bytes.len());
                rest.extend_from_slice(&bytes[..here]);
                self.passing -= here;
                bytes = &bytes[here..];
                continue;
            }
            match message_at(bytes) {
                Some(Message::Notification(length)) if length <= bytes.len() => {
                    batch.push(&bytes[HEADER..length]);
                    bytes = &bytes[length..];
                }
                Some(Message::Other(length)) => self.passing = length,
                Some(Message::Notification(_)) | None => {
                    self.begun.extend_from_slice(bytes);
                    return;
                }
            }
        }
    }

    /// Completes the message that the last bytes began, if these do, and gives what follows it.
    fn finish_begun<'bytes>(
        &mut self,
        mut bytes: &'bytes [u8],
        batch: &mut Batch,
        rest: &mut BytesMut,
    ) -> &'bytes [u8] {
        loop {
            let wanted = match message_at(&self.begun) {
                Some(Message::Notification(length)) => length,
                Some(Message::Other(length)) => {
                    rest.extend_from_slice(&self.begun);
                    self.passing = length - self.begun.len();
                    self.begun.clear();
                    return bytes;
                }
                None => HEADER,
            };
            if self.begun.len() == wanted && wanted > HEADER {
                batch.push(&self.begun[HEADER..]);
                self.begun.clear();
                return bytes;
            }
            if bytes.is_empty() {
                return bytes;
            }
            let here = (wanted - self.begun.len()).min(bytes.len());
            self.begun.extend_from_slice(&bytes[..here]);
            bytes = &bytes[here..];
        }
    }
}

/// A message by its header: its whole length.
enum Message {
    Notification(usize),
    Other(usize),
}

/// The message that begins here; `None` as long as its header is cut.
fn message_at(bytes: &[u8]) -> Option<Message> {
    let (&[kind, a, b, c, d], _) = bytes.split_first_chunk::<HEADER>()?;
    let length = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
    // What cannot be one is for `tokio_postgres` to refuse.
    let fits = (HEADER + PROCESS_ID + 2..=LONGEST).contains(&length);
    Some(if kind == NOTIFICATION && fits {
        Message::Notification(length)
    } else {
        Message::Other(length.max(HEADER))
    })
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
    pub(super) fn new(stream: S, arrivals: Option<Arc<Arrivals>>) -> Self {
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
    pub(super) fn stream(&self) -> &S {
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
    use std::sync::mpsc;

    use futures_util::poll;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    fn notification(process_id: i32, channel: &str, payload: &[u8]) -> Vec<u8> {
        let parts = [
            &process_id.to_be_bytes(),
            channel.as_bytes(),
            b"\0",
            payload,
            b"\0",
        ];
        message(NOTIFICATION, &parts.concat())
    }

    /// What pieces of a stream come to.
    fn split(stream: &[u8], size: usize) -> (Batch, BytesMut) {
        let (mut splitter, mut batch, mut rest) =
            (Splitter::default(), Batch::default(), BytesMut::new());
        for piece in stream.chunks(size) {
            splitter.feed(piece, &mut batch, &mut rest);
        }
        (batch, rest)
    }

    #[test]
    fn notifications_are_taken_out_however_the_stream_is_cut() {
        let others = [
            message(b'S', b"a setting"),
            message(b'Z', b"I"),
            message(b'D', &[NOTIFICATION; 500]),
        ];
        let stream = [
            notification(1, "first", b"one"),
            others[0].clone(),
            notification(-2, "", b""),
            others[1].clone(),
            others[2].clone(),
            notification(3, "a longer name", "é".repeat(400).as_bytes()),
        ]
        .concat();
        let long = "é".repeat(400);
        for size in 1..=stream.len() {
            let (batch, rest) = split(&stream, size);
            assert_eq!(rest, others.concat(), "in pieces of {size}");
            let (arrived, broken) = batch.read();
            let arrived: Vec<_> = arrived
                .map(|it| (it.process_id, it.channel, it.payload))
                .collect();
            let expected = [
                (1, "first", "one"),
                (-2, "", ""),
                (3, "a longer name", &long),
            ];
            assert_eq!(arrived, expected, "in pieces of {size}");
            assert_eq!(broken, None);
        }
    }

    #[test]
    fn what_stands_before_broken_text_can_be_read() {
        // Two halves of one character, which must not be put together.
        let stream = [
            notification(1, "a", b"good"),
            notification(2, "a", b"half \xc3"),
            notification(3, "a", b"\xa9 half"),
        ]
        .concat();
        let (batch, _) = split(&stream, stream.len());
        let (arrived, broken) = batch.read();
        assert_eq!(arrived.map(|it| it.payload).collect::<Vec<_>>(), ["good"]);
        assert_eq!(broken.as_deref(), Some("text that is not UTF-8"));
    }

    #[test]
    fn a_notification_that_says_a_wrong_length_is_found_out() {
        for body in [
            &b"\0\0\0\x01abc\0def"[..],
            b"\0\0\0\x01abc\0d\0f\0",
            b"\0\0\0\x01abcdef",
        ] {
            let stream = [notification(1, "a", b"good"), message(NOTIFICATION, body)].concat();
            let (batch, _) = split(&stream, 7);
            let (arrived, broken) = batch.read();
            assert_eq!(arrived.len(), 1);
            assert!(broken.is_some(), "{body:?}");
        }
    }

    #[test]
    fn a_length_that_no_notification_has_is_not_waited_for() {
        let mut stream = vec![NOTIFICATION];
        stream.extend_from_slice(&i32::MAX.to_be_bytes());
        stream.extend_from_slice(b"whatever");
        let (batch, rest) = split(&stream, stream.len());
        assert_eq!(batch.read().0.len(), 0);
        assert_eq!(rest, stream, "`tokio_postgres` has to refuse it");
    }

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
}
