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

#[cfg(unix)]
use crate::base::Awaited;
use crate::base::Lend;
use crate::connect::cluster::Timeline;
#[cfg(unix)]
use crate::connect::lent_socket::LentSocket;
use crate::connect::tls::server_end_point;

/// The moment of the last read, cheap to write with each read.
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
    /// Notes a read now.
    pub(crate) fn beat(&self) {
        let elapsed = self.origin.elapsed().as_millis();
        self.last_ms.store(
            u64::try_from(elapsed).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// The moment of the last read, to the millisecond. Before the first read, the moment at which the socket was opened.
    #[must_use]
    pub fn last(&self) -> Instant {
        self.origin + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }
}

/// Facts about the server that a [`Wire`] notes while it is read.
#[derive(Debug, Default)]
pub struct WireFacts {
    /// When the server was last heard.
    pub heard: Pulse,
    /// Whether the server has accepted who we are.
    pub authenticated: AtomicBool,
    /// The timeline of a primary whose cluster is watched.
    pub timeline: OnceLock<Timeline>,
    /// The iterations of SCRAM that the server has asked for.
    pub scram_iterations: OnceLock<u64>,
    /// The process id in `BackendKeyData`, the end of start-up. A pooler makes one up.
    pub key_process_id: OnceLock<i32>,
}

/// The kind of `AuthenticationSASLContinue`.
const SASL_CONTINUE: [u8; 4] = [0, 0, 0, 11];

/// The iterations in the first message of a server that authenticates by SCRAM: `r=…,s=…,i=4096` (RFC 5802).
fn scram_iterations(message: &[u8]) -> Option<u64> {
    let text = str::from_utf8(message).ok()?;
    let number = text.split(',').find_map(|part| part.strip_prefix("i="))?;
    number.parse().ok()
}

/// Looks for SCRAM's iterations, `AuthenticationOk` and `BackendKeyData` in the first messages of a server
/// (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
#[derive(Debug, Default)]
struct StartupScan {
    seen: Vec<u8>,
    /// Where in `seen` the next message begins.
    message: usize,
}

/// The finding of a [`StartupScan`] in the bytes so far.
#[derive(Debug, PartialEq, Eq)]
enum Scanned {
    /// Nothing more before the next bytes.
    Incomplete,
    /// The server asks for so many iterations of SCRAM.
    Iterations(u64),
    /// `AuthenticationOk` came.
    Authenticated,
    /// `BackendKeyData` came, with this process id.
    ProcessId(i32),
    /// Start-up has ended without `BackendKeyData`.
    Absent,
}

impl StartupScan {
    /// The scan is given up beyond this: a PostgreSQL server says far less before it is ready.
    const MAX_BYTES: usize = 64 * 1024;

    /// Takes more bytes. Must be called again without bytes until it is [`Scanned::Incomplete`] or start-up has ended.
    fn feed(&mut self, bytes: &[u8]) -> Scanned {
        self.seen.extend_from_slice(bytes);
        while let Some(header) = self.seen.get(self.message..self.message + 5) {
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
            match header[0] {
                b'K' => {
                    return match self.seen.get(self.message + 5..self.message + 9) {
                        Some(&[a, b, c, d]) => Scanned::ProcessId(i32::from_be_bytes([a, b, c, d])),
                        _ => Scanned::Incomplete,
                    };
                }
                b'Z' | b'E' => return Scanned::Absent,
                b'R' => match self.seen.get(self.message + 5..self.message + 9) {
                    None => return Scanned::Incomplete,
                    Some(kind) if kind == SASL_CONTINUE => {
                        let Some(body) = self.seen.get(self.message + 9..self.message + 1 + length)
                        else {
                            break;
                        };
                        let iterations = scram_iterations(body);
                        self.message += 1 + length;
                        if let Some(iterations) = iterations {
                            return Scanned::Iterations(iterations);
                        }
                    }
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

/// A socket of either kind.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    /// A socket that no runtime waits for.
    #[cfg(unix)]
    Lent(LentSocket),
}

/// A socket that notes when the server was heard: any byte counts, also one that is not decrypted yet.
#[derive(Debug)]
pub(crate) struct Socket {
    transport: Transport,
    facts: Arc<WireFacts>,
    /// Somebody may have a duplicate.
    #[cfg(unix)]
    was_lent: bool,
}

impl Socket {
    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            transport,
            facts: Arc::default(),
            #[cfg(unix)]
            was_lent: false,
        }
    }
}

#[cfg(unix)]
impl Drop for Socket {
    fn drop(&mut self) {
        // A duplicate would keep the connection open, and whoever waits for it is to be told.
        if self.was_lent {
            self.transport.shut_down();
        }
    }
}

#[cfg(unix)]
impl Lend for Socket {
    fn lend(&mut self) -> Option<Awaited> {
        let awaited = self.transport.lend()?;
        self.was_lent = true;
        Some(awaited)
    }

    fn take_back(&mut self) -> io::Result<()> {
        self.transport.take_back()
    }

    fn allow(&mut self, bytes: usize) {
        if let Transport::Lent(socket) = &mut self.transport {
            socket.allow(bytes);
        }
    }

    fn has_come(&self) -> bool {
        matches!(&self.transport, Transport::Lent(socket) if socket.has_come())
    }

    fn is_used_up(&self) -> bool {
        matches!(&self.transport, Transport::Lent(socket) if socket.is_used_up())
    }
}

macro_rules! on_transport {
    ($socket:expr, $call:ident($($argument:expr),*)) => {
        match &mut $socket.transport {
            Transport::Tcp(stream) => Pin::new(stream).$call($($argument),*),
            #[cfg(unix)]
            Transport::Unix(stream) => Pin::new(stream).$call($($argument),*),
            #[cfg(unix)]
            Transport::Lent(socket) => Pin::new(socket).$call($($argument),*),
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

/// A socket with or without TLS on it.
#[derive(Debug)]
enum MaybeTls {
    Plain(Socket),
    Encrypted(Box<TlsStream<Socket>>),
}

/// A connection to a server, encrypted or not.
///
/// Closing it waits for the server to close first. A backend keeps its socket open until its process ends
/// (`socket_close` in src/backend/libpq/pqcomm.c), so a closed [`Wire`] means that the session is gone.
#[derive(Debug)]
pub struct Wire {
    stream: MaybeTls,
    facts: Arc<WireFacts>,
    /// `None` once start-up is over.
    startup: Option<StartupScan>,
    write_closed: bool,
}

macro_rules! on_stream {
    ($wire:expr, $call:ident($($argument:expr),*)) => {
        match &mut $wire.stream {
            MaybeTls::Plain(socket) => Pin::new(socket).$call($($argument),*),
            MaybeTls::Encrypted(stream) => Pin::new(&mut **stream).$call($($argument),*),
        }
    };
}

impl Wire {
    pub(crate) fn plain(socket: Socket) -> Self {
        Self::new(Arc::clone(&socket.facts), MaybeTls::Plain(socket))
    }

    pub(crate) fn encrypted(stream: TlsStream<Socket>) -> Self {
        let facts = Arc::clone(&stream.get_ref().0.facts);
        Self::new(facts, MaybeTls::Encrypted(Box::new(stream)))
    }

    fn new(facts: Arc<WireFacts>, stream: MaybeTls) -> Self {
        Self {
            stream,
            facts,
            startup: Some(StartupScan::default()),
            write_closed: false,
        }
    }

    pub(crate) fn facts(&self) -> Arc<WireFacts> {
        Arc::clone(&self.facts)
    }

    /// The hash of the server's certificate, which SCRAM is bound to. `None` without TLS.
    pub(crate) fn server_end_point(&self) -> Option<Vec<u8>> {
        let MaybeTls::Encrypted(stream) = &self.stream else {
            return None;
        };
        let certificates = stream.get_ref().1.peer_certificates()?;
        server_end_point(certificates.first()?)
    }

    fn scan(&mut self, mut bytes: &[u8]) {
        while let Some(startup) = &mut self.startup {
            match startup.feed(bytes) {
                Scanned::Incomplete => return,
                Scanned::Iterations(count) => drop(self.facts.scram_iterations.set(count)),
                Scanned::Authenticated => self.facts.authenticated.store(true, Ordering::Relaxed),
                Scanned::ProcessId(process_id) => {
                    let _ = self.facts.key_process_id.set(process_id);
                    self.startup = None;
                }
                Scanned::Absent => self.startup = None,
            }
            bytes = &[];
        }
    }
}

#[cfg(unix)]
impl Wire {
    fn socket(&mut self) -> &mut Socket {
        match &mut self.stream {
            MaybeTls::Plain(socket) => socket,
            MaybeTls::Encrypted(stream) => stream.get_mut().0,
        }
    }

    fn own_socket(&self) -> &Socket {
        match &self.stream {
            MaybeTls::Plain(socket) => socket,
            MaybeTls::Encrypted(stream) => stream.get_ref().0,
        }
    }
}

#[cfg(not(unix))]
impl Lend for Wire {}

#[cfg(unix)]
impl Lend for Wire {
    fn lend(&mut self) -> Option<Awaited> {
        self.socket().lend()
    }

    fn take_back(&mut self) -> io::Result<()> {
        self.socket().take_back()
    }

    fn allow(&mut self, bytes: usize) {
        self.socket().allow(bytes);
    }

    fn has_come(&self) -> bool {
        self.own_socket().has_come()
    }

    fn is_used_up(&self) -> bool {
        self.own_socket().is_used_up()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = on_stream!(self, poll_read(cx, buf));
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
        on_stream!(self, poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.write_closed {
            ready!(on_stream!(self, poll_shutdown(cx)))?;
            self.write_closed = true;
        }
        // Bytes that still come belong to a session that is being closed. They are read from the socket below TLS: a backend
        // ends TLS before its process ends.
        let mut scratch = [0_u8; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            let read = match &mut self.stream {
                MaybeTls::Plain(socket) => Pin::new(socket).poll_read(cx, &mut buf),
                MaybeTls::Encrypted(stream) => Pin::new(stream.get_mut().0).poll_read(cx, &mut buf),
            };
            match ready!(read) {
                Ok(()) if !buf.filled().is_empty() => {}
                // After the end of the stream as after a reset, the server is gone.
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
        assert_eq!(scan.feed(&[]), Scanned::ProcessId(12345));
        let mut scan = StartupScan::default();
        let found = bytes
            .iter()
            .map(|byte| scan.feed(&[*byte]))
            .find(|scanned| matches!(scanned, Scanned::ProcessId(_)));
        assert_eq!(found, Some(Scanned::ProcessId(12345)));
    }

    #[test]
    fn the_iterations_of_scram_are_found_however_the_bytes_come() {
        let mut bytes = message(b'R', b"\0\0\0\x0ar=nothing,i=1\0");
        bytes.extend(message(b'R', b"\0\0\0\x0br=abc,s=c2FsdA==,i=100001"));
        let mut scan = StartupScan::default();
        assert_eq!(scan.feed(&bytes), Scanned::Iterations(100_001));
        assert_eq!(scan.feed(&message(b'R', &[0; 4])), Scanned::Authenticated);
        let mut scan = StartupScan::default();
        let found: Vec<_> = bytes
            .iter()
            .map(|byte| scan.feed(&[*byte]))
            .filter(|scanned| *scanned != Scanned::Incomplete)
            .collect();
        assert_eq!(found, [Scanned::Iterations(100_001)]);
        for broken in [&b"r=abc,s=x"[..], b"i=", b"i=-1", b"\xff,i=1"] {
            assert_eq!(scram_iterations(broken), None);
        }
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
