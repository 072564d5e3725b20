//! Lends a stream to `tokio_postgres` for start-up, and takes it back with the parameters that the server has reported meanwhile:
//! the client library gives them by name only.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::message::{Malformed, Message};
use super::parameters::Parameters;

/// How much is read at once.
const READ: usize = 4096;

/// The greatest length of a message about authentication, as in libpq (`PQconnectPoll` in src/interfaces/libpq/fe-connect.c).
const LONGEST_AUTHENTICATION: usize = 2000;

/// The most that a server says during start-up, in bytes. PostgreSQL says a thousandth of that, and what a trigger on login reports
/// comes on top.
const MOST: usize = 1 << 20;

const AUTHENTICATION: u8 = b'R';

/// `NegotiateProtocolVersion`: a server, or something in between, speaks no newer protocol than 3.0. That is the one that we
/// speak, and the client library does not know the message.
const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';

const PARAMETER_STATUS: u8 = b'S';

/// What was lent, with what was read of it and not passed on.
#[derive(Debug)]
struct Loan<S> {
    stream: S,
    read: BytesMut,
    /// How many bytes of `read` may be passed on.
    granted: usize,
    /// How many bytes of the present message have still to be granted.
    left: usize,
    /// How many bytes all messages have together, as far as they were announced.
    announced: usize,
    /// The present message is the last one of start-up.
    is_last: bool,
    /// The present message is not passed on.
    is_dropped: bool,
    /// The part that has come of the present message, if that reports a parameter.
    reporting: Option<BytesMut>,
    parameters: Parameters,
}

impl<S> Loan<S> {
    /// Grants what was read, up to the end of start-up: the first `ReadyForQuery`. Refuses a message that is longer than any that
    /// belongs to start-up, before anybody waits for its end: until then the server may be anyone.
    fn grant(&mut self) -> Result<(), Malformed> {
        loop {
            let ungranted = self.read.len() - self.granted;
            let here = self.left.min(ungranted);
            if self.is_dropped {
                let rest = self.read.split_off(self.granted + here);
                self.read.truncate(self.granted);
                self.read.unsplit(rest);
            } else {
                if let Some(reporting) = &mut self.reporting {
                    reporting.extend_from_slice(&self.read[self.granted..][..here]);
                }
                self.granted += here;
            }
            self.left -= here;
            if self.left == 0
                && let Some(mut reported) = self.reporting.take()
                && let Ok(Some(Message::ParameterStatus(name, value))) =
                    Message::split_off(&mut reported)
            {
                self.parameters.set(name, value);
            }
            if self.left > 0 || self.is_last {
                return Ok(());
            }
            let next = &self.read[self.granted..];
            let Some(total) = Message::first_length(next)? else {
                return Ok(());
            };
            let kind = next[0];
            let announced = self.announced + total;
            let is_too_long = kind == AUTHENTICATION && total > 1 + LONGEST_AUTHENTICATION;
            if is_too_long || announced > MOST {
                return Err(Malformed::of_length(kind, total));
            }
            self.announced = announced;
            self.left = total;
            self.is_last = kind == b'Z';
            self.is_dropped = kind == NEGOTIATE_PROTOCOL_VERSION;
            self.reporting = (kind == PARAMETER_STATUS).then(BytesMut::new);
        }
    }
}

/// A stream that is lent: it gives nothing beyond the message that ends start-up.
#[derive(Debug)]
pub(crate) struct Lent<S>(Arc<Mutex<Loan<S>>>);

/// Takes a stream back that was lent.
#[derive(Debug)]
pub(crate) struct Lender<S>(Arc<Mutex<Loan<S>>>);

/// Lends a stream.
pub(crate) fn lend<S>(stream: S) -> (Lent<S>, Lender<S>) {
    let loan = Arc::new(Mutex::new(Loan {
        stream,
        read: BytesMut::new(),
        granted: 0,
        left: 0,
        announced: 0,
        is_last: false,
        is_dropped: false,
        reporting: None,
        parameters: Parameters::default(),
    }));
    (Lent(Arc::clone(&loan)), Lender(loan))
}

/// A stream that was taken back.
#[derive(Debug)]
pub(crate) struct TakenBack<S> {
    pub(crate) stream: S,
    /// What was read beyond start-up.
    pub(crate) read: BytesMut,
    /// What the server has reported during start-up.
    pub(crate) parameters: Parameters,
}

impl<S> Lender<S> {
    /// Takes the stream back. `None` while it is still lent.
    pub(crate) fn take_back(self) -> Option<TakenBack<S>> {
        let loan = Arc::into_inner(self.0)?.into_inner();
        Some(TakenBack {
            stream: loan.stream,
            read: loan.read,
            parameters: loan.parameters,
        })
    }
}

impl<S> Lent<S> {
    /// Looks at the stream.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&S) -> T) -> T {
        look(&self.0.lock().stream)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut loan = self.0.lock();
        let loan = &mut *loan;
        loop {
            // What came before a message that is refused is passed on first.
            let granted = loan.grant();
            if loan.granted > 0 {
                let here = loan.granted.min(buf.remaining());
                buf.put_slice(&loan.read[..here]);
                loan.read.advance(here);
                loan.granted -= here;
                return Poll::Ready(Ok(()));
            }
            granted.map_err(|refused| {
                io::Error::new(io::ErrorKind::InvalidData, refused.to_string())
            })?;
            if loan.is_last && loan.left == 0 {
                // Start-up is over: what follows is not for whoever it was lent to.
                return Poll::Pending;
            }
            let mut chunk = [0; READ];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut loan.stream).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            loan.read.extend_from_slice(chunk.filled());
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.lock().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, poll};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const START_UP: &[u8] = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x08a\0b\0Z\0\0\0\x05I";
    const BEYOND: &[u8] = b"N\0\0\0\x05\0A";

    #[tokio::test]
    async fn nothing_beyond_start_up_is_given_however_the_bytes_come() {
        let all = [START_UP, BEYOND].concat();
        for size in [1, 3, 7, all.len()] {
            let (ours, mut server) = tokio::io::duplex(1 << 16);
            let (mut lent, lender) = lend(ours);
            let mut read = vec![0; START_UP.len()];
            let sending = async {
                for part in all.chunks(size) {
                    server.write_all(part).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let ((), done) = tokio::join!(sending, lent.read_exact(&mut read));
            done.unwrap();
            assert_eq!(read, START_UP);
            let mut more = [0; 1];
            assert!(poll!(std::pin::pin!(lent.read(&mut more))).is_pending());
            drop(lent);
            let mut back = lender.take_back().unwrap();
            drop(server);
            let mut rest = back.read.to_vec();
            back.stream.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, BEYOND);
            let parameters: Vec<_> = back.parameters.iter().collect();
            assert_eq!(parameters, [("a", "b")]);
        }
    }

    /// What is said of a start-up that begins so.
    async fn refusal(bytes: &[u8]) -> Option<String> {
        let (ours, mut server) = tokio::io::duplex(bytes.len() + 1);
        let (mut lent, _lender) = lend(ours);
        server.write_all(bytes).await.unwrap();
        let mut read = Vec::new();
        let reading = tokio::task::unconstrained(lent.read_to_end(&mut read));
        match reading.now_or_never()? {
            Ok(_) => None,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                Some(error.to_string())
            }
        }
    }

    fn head(kind: u8, length: u32) -> Vec<u8> {
        [&[kind][..], &length.to_be_bytes()].concat()
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_for_start_up_is_refused_before_it_has_come() {
        for (kind, longest) in [
            (b'R', 2000),
            (b'S', 30_000),
            (b'v', 30_000),
            (b'E', 0xf_ffff),
        ] {
            assert_eq!(refusal(&head(kind, longest)).await, None);
            let length = longest + 1;
            let text = format!(
                "the server sent a message of kind `{}` and length {length}",
                char::from(kind),
            );
            assert_eq!(refusal(&head(kind, length)).await, Some(text));
            assert!(refusal(&head(kind, u32::MAX)).await.is_some());
            assert!(refusal(&head(kind, 3)).await.is_some());
        }
    }

    #[tokio::test]
    async fn short_messages_without_end_are_refused() {
        let one = b"S\0\0\0\x08a\0b\0";
        assert_eq!(refusal(&one.repeat(MOST / one.len())).await, None);
        assert!(refusal(&one.repeat(MOST / one.len() + 1)).await.is_some());
    }

    #[tokio::test]
    async fn a_stream_is_taken_back_once_it_is_no_longer_lent() {
        let (ours, _server) = tokio::io::duplex(64);
        let (lent, lender) = lend(ours);
        assert!(lender.take_back().is_none());
        drop(lent);
    }
}
