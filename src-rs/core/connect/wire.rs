//! A socket to a server: knows when the server was last heard, who answered start-up, and when it is gone.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use crate::connect::tls::server_end_point;

/// A moment that moves on, in a form that is cheap to write for each read.
#[derive(Debug)]
pub struct Pulse {
    origin: Instant,
    last_ms: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            last_ms: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// Moves on to now.
    pub(crate) fn beat(&self) {
        let elapsed = self.origin.elapsed().as_millis();
        self.last_ms.store(
            u64::try_from(elapsed).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// The moment, to the millisecond (at first: of the connection).
    #[must_use]
    pub fn last(&self) -> Instant {
        self.origin + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }
}

/// What a [`Wire`] learns while others read from it.
#[derive(Debug, Default)]
pub struct WireFacts {
    /// When the server was last heard.
    pub heard: Pulse,
    /// Whether the server has accepted who we are.
    pub authenticated: AtomicBool,
    /// The process id of `BackendKeyData`, which start-up ends with. A pooler makes one up.
    pub key_process_id: OnceLock<i32>,
}

/// Looks for `AuthenticationOk` and `BackendKeyData` in the first messages of a server
/// (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
#[derive(Debug, Default)]
struct StartupScan {
    seen: Vec<u8>,
    /// Where the message begins that is not complete yet.
    message: usize,
}

/// What looking for it gives.
#[derive(Debug, PartialEq, Eq)]
enum Scanned {
    Incomplete,
    Authenticated,
    Found(i32),
    Absent,
}

impl StartupScan {
    /// A server says far less before it is ready; whoever says more is none.
    const MAX_BYTES: usize = 64 * 1024;

    /// Takes more bytes. To be called again, with none, after each [`Scanned::Authenticated`].
    fn feed(&mut self, bytes: &[u8]) -> Scanned {
        self.seen.extend_from_slice(bytes);
        while let Some(header) = self.seen.get(self.message..self.message + 5) {
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
            match header[0] {
                b'K' => {
                    return match self.seen.get(self.message + 5..self.message + 9) {
                        Some(&[a, b, c, d]) => Scanned::Found(i32::from_be_bytes([a, b, c, d])),
                        _ => Scanned::Incomplete,
                    };
                }
                b'Z' | b'E' => return Scanned::Absent,
                b'R' => match self.seen.get(self.message + 5..self.message + 9) {
                    None => return Scanned::Incomplete,
                    Some(kind) => {
                        let is_ok = kind == [0; 4];
                        self.message += 1 + length;
                        if is_ok {
                            return Scanned::Authenticated;
                        }
                    }
                },
                _ => self.message += 1 + length,
            }
        }
        if self.seen.len() > Self::MAX_BYTES {
            Scanned::Absent
        } else {
            Scanned::Incomplete
        }
    }
}

#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A socket that notes when the server was heard: any byte counts, before it is decrypted.
#[derive(Debug)]
pub(crate) struct Socket {
    transport: Transport,
    facts: Arc<WireFacts>,
}

impl Socket {
    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            transport,
            facts: Arc::default(),
        }
    }
}

macro_rules! on_transport {
    ($socket:expr, $call:ident($($argument:expr),*)) => {
        match &mut $socket.transport {
            Transport::Tcp(stream) => Pin::new(stream).$call($($argument),*),
            #[cfg(unix)]
            Transport::Unix(stream) => Pin::new(stream).$call($($argument),*),
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = on_transport!(self, poll_read(cx, buf));
        if buf.filled().len() > before {
            self.facts.heard.beat();
        }
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_transport!(self, poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_transport!(self, poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_transport!(self, poll_shutdown(cx))
    }
}

#[derive(Debug)]
enum Channel {
    Plain(Socket),
    Encrypted(Box<TlsStream<Socket>>),
}

/// A connection to a server, encrypted or not.
///
/// Closing it waits for the server to close first. A backend keeps its socket open until its process ends
/// (`socket_close` in src/backend/libpq/pqcomm.c), so a closed [`Wire`] means that the session is gone.
#[derive(Debug)]
pub struct Wire {
    channel: Channel,
    facts: Arc<WireFacts>,
    /// Until start-up is over.
    startup: Option<StartupScan>,
    write_closed: bool,
}

macro_rules! on_channel {
    ($wire:expr, $call:ident($($argument:expr),*)) => {
        match &mut $wire.channel {
            Channel::Plain(socket) => Pin::new(socket).$call($($argument),*),
            Channel::Encrypted(stream) => Pin::new(&mut **stream).$call($($argument),*),
        }
    };
}

impl Wire {
    pub(crate) fn plain(socket: Socket) -> Self {
        Self::new(Arc::clone(&socket.facts), Channel::Plain(socket))
    }

    pub(crate) fn encrypted(stream: TlsStream<Socket>) -> Self {
        let facts = Arc::clone(&stream.get_ref().0.facts);
        Self::new(facts, Channel::Encrypted(Box::new(stream)))
    }

    fn new(facts: Arc<WireFacts>, channel: Channel) -> Self {
        Self {
            channel,
            facts,
            startup: Some(StartupScan::default()),
            write_closed: false,
        }
    }

    pub(crate) fn facts(&self) -> Arc<WireFacts> {
        Arc::clone(&self.facts)
    }

    /// The hash of the server's certificate, for SCRAM to be bound to.
    pub(crate) fn server_end_point(&self) -> Option<Vec<u8>> {
        let Channel::Encrypted(stream) = &self.channel else {
            return None;
        };
        let certificates = stream.get_ref().1.peer_certificates()?;
        server_end_point(certificates.first()?)
    }

    fn scan(&mut self, mut bytes: &[u8]) {
        while let Some(startup) = &mut self.startup {
            match startup.feed(bytes) {
                Scanned::Incomplete => return,
                Scanned::Authenticated => self.facts.authenticated.store(true, Ordering::Relaxed),
                Scanned::Found(process_id) => {
                    let _ = self.facts.key_process_id.set(process_id);
                    self.startup = None;
                }
                Scanned::Absent => self.startup = None,
            }
            bytes = &[];
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = on_channel!(self, poll_read(cx, buf));
        if self.startup.is_some() && buf.filled().len() > before {
            self.scan(&buf.filled()[before..]);
        }
        result
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_channel!(self, poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_channel!(self, poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.write_closed {
            ready!(on_channel!(self, poll_shutdown(cx)))?;
            self.write_closed = true;
        }
        // Whatever still comes was for a session that is being closed. It is read from the socket itself: a backend ends
        // TLS before its process ends.
        let mut scratch = [0_u8; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            let read = match &mut self.channel {
                Channel::Plain(socket) => Pin::new(socket).poll_read(cx, &mut buf),
                Channel::Encrypted(stream) => Pin::new(stream.get_mut().0).poll_read(cx, &mut buf),
            };
            match ready!(read) {
                Ok(()) if !buf.filled().is_empty() => {}
                // The end, or a reset: either way the server is gone.
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    #[test]
    fn the_process_id_of_the_key_is_found_however_the_bytes_come() {
        let mut bytes = message(b'R', &[0, 0, 0, 0]);
        bytes.extend(message(b'S', b"server_version\x0018\0"));
        bytes.extend(message(b'K', &[0, 0, 48, 57, 1, 2, 3, 4]));
        bytes.extend(message(b'Z', b"I"));
        let mut scan = StartupScan::default();
        assert_eq!(scan.feed(&bytes), Scanned::Authenticated);
        assert_eq!(scan.feed(&[]), Scanned::Found(12345));
        let mut scan = StartupScan::default();
        let found = bytes
            .iter()
            .map(|byte| scan.feed(&[*byte]))
            .find(|scanned| matches!(scanned, Scanned::Found(_)));
        assert_eq!(found, Some(Scanned::Found(12345)));
    }

    #[test]
    fn a_start_up_without_a_key_is_not_searched_for_ever() {
        assert_eq!(
            StartupScan::default().feed(&message(b'Z', b"I")),
            Scanned::Absent
        );
        assert_eq!(
            StartupScan::default().feed(&message(b'E', b"no")),
            Scanned::Absent
        );
        assert_eq!(
            StartupScan::default().feed(&vec![b'S'; 70_000]),
            Scanned::Absent
        );
    }
}
