//! Lends a stream to `tokio_postgres` for start-up, and takes it back with the parameters that the server has reported meanwhile:
//! the client library gives them by name only.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::message::Message;
use super::parameters::Parameters;

/// How much is read at once.
const READ: usize = 4096;
/// The kind and the length of a message.
const HEADER: usize = 5;

/// `NegotiateProtocolVersion`: a server, or something in between, speaks no newer protocol than 3.0. That is the one that we
/// speak, and the client library does not know the message.
const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';

const PARAMETER_STATUS: u8 = b'S';

/// The longest report of a parameter that is read, in bytes. The bound of `Message` for it is the same.
const LONGEST_PARAMETER: usize = 30_000;

/// What was lent, with what was read of it and not passed on.
#[derive(Debug)]
struct Loan<S> {
    stream: S,
    read: BytesMut,
    /// How many bytes of `read` may be passed on.
    granted: usize,
    /// How many bytes of the present message have still to be granted.
    left: usize,
    /// The present message is the last one of start-up.
    is_last: bool,
    /// The present message is not passed on.
    is_dropped: bool,
    /// The part that has come of the present message, if that reports a parameter.
    reporting: Option<BytesMut>,
    parameters: Parameters,
}

impl<S> Loan<S> {
    /// Grants what was read, up to the end of start-up: the first `ReadyForQuery`.
    fn grant(&mut self) {
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
                return;
            }
            let header = self.read[self.granted..].first_chunk::<HEADER>();
            let Some(&[kind, a, b, c, d]) = header else {
                return;
            };
            // A length that no message has is refused by whoever reads it.
            self.left = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
            self.is_last = kind == b'Z';
            self.is_dropped = kind == NEGOTIATE_PROTOCOL_VERSION;
            let is_report = kind == PARAMETER_STATUS && self.left <= LONGEST_PARAMETER;
            self.reporting = is_report.then(BytesMut::new);
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
            if loan.granted > 0 {
                let here = loan.granted.min(buf.remaining());
                buf.put_slice(&loan.read[..here]);
                loan.read.advance(here);
                loan.granted -= here;
                return Poll::Ready(Ok(()));
            }
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
            loan.grant();
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
    use futures_util::poll;
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

    #[tokio::test]
    async fn a_stream_is_taken_back_once_it_is_no_longer_lent() {
        let (ours, _server) = tokio::io::duplex(64);
        let (lent, lender) = lend(ours);
        assert!(lender.take_back().is_none());
        drop(lent);
    }
}
