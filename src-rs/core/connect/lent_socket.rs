//! A socket that no runtime waits for: who does polls it when it can be read.

use std::io::{self, Read as _, Write as _};
use std::mem::{self, MaybeUninit};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::wire::Transport;
use crate::base::Awaited;

/// How much is read at once, in bytes.
const USUAL: usize = 4 * 1024;

/// See the file.
#[derive(Debug)]
pub(crate) struct LentSocket {
    /// `None` once the runtime has refused it.
    socket: Option<Socket>,
    is_unix: bool,
    /// How much may still be read, in bytes.
    allowed: usize,
    /// The last read has taken all that there was.
    is_drained: bool,
}

impl Transport {
    /// Takes the socket from the runtime, and gives a duplicate to wait for.
    pub(super) fn lend(&mut self) -> Option<Awaited> {
        let (awaited, is_unix) = match self {
            Self::Tcp(stream) => (stream.as_fd().try_clone_to_owned(), false),
            Self::Unix(stream) => (stream.as_fd().try_clone_to_owned(), true),
            Self::Lent(_) => return None,
        };
        let awaited = awaited.ok()?;
        let lent = LentSocket {
            socket: None,
            is_unix,
            allowed: 0,
            is_drained: false,
        };
        let socket = match mem::replace(self, Self::Lent(lent)) {
            Self::Tcp(stream) => stream.into_std().ok().map(Socket::from),
            Self::Unix(stream) => stream.into_std().ok().map(Socket::from),
            Self::Lent(lent) => lent.socket,
        };
        if let Self::Lent(lent) = self {
            lent.socket = socket;
        }
        Some(awaited)
    }

    /// Gives the socket back to the runtime.
    pub(super) fn take_back(&mut self) -> io::Result<()> {
        let Self::Lent(lent) = self else {
            return Ok(());
        };
        let socket = lent.socket.take().ok_or(io::ErrorKind::NotConnected)?;
        *self = if lent.is_unix {
            Self::Unix(UnixStream::from_std(socket.into())?)
        } else {
            Self::Tcp(TcpStream::from_std(socket.into())?)
        };
        Ok(())
    }

    /// Ends both ways of the connection, whoever has the socket too.
    pub(super) fn shut_down(&self) {
        drop(match self {
            Self::Tcp(stream) => SockRef::from(stream).shutdown(Shutdown::Both),
            Self::Unix(stream) => SockRef::from(stream).shutdown(Shutdown::Both),
            Self::Lent(lent) => match &lent.socket {
                Some(socket) => socket.shutdown(Shutdown::Both),
                None => Ok(()),
            },
        });
    }
}

impl LentSocket {
    /// Lets so many bytes be read.
    pub(super) fn allow(&mut self, bytes: usize) {
        self.allowed = bytes;
        self.is_drained = false;
    }

    /// Whether there is something to read: bytes, the end of the stream, or an error.
    pub(super) fn has_come(&self) -> bool {
        let peeked = self.attempt(|socket| socket.peek(&mut [MaybeUninit::uninit()]));
        peeked.is_ready()
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.allowed == 0
    }

    /// Does what a socket can do now, or has to wait for.
    fn attempt<T>(&self, mut call: impl FnMut(&Socket) -> io::Result<T>) -> Poll<io::Result<T>> {
        let Some(socket) = &self.socket else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        loop {
            match call(socket) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncRead for LentSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.allowed == 0 || self.is_drained {
            return Poll::Pending;
        }
        // Only as much as an answer mostly has, where the room has to be cleared before it is filled.
        let clear = buf.initialized().len() - buf.filled().len();
        let wanted = buf.remaining().min(clear.max(USUAL));
        let room = buf.initialize_unfilled_to(wanted);
        let read = self.attempt(|mut socket| socket.read(room));
        read.map_ok(|read| {
            self.allowed = self.allowed.saturating_sub(read);
            // The end of the stream is told at once, and not when the socket can be read again.
            self.is_drained = read > 0 && read < wanted;
            buf.advance(read);
        })
    }
}

impl AsyncWrite for LentSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.attempt(|mut socket| socket.write(buf))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.attempt(|socket| socket.shutdown(Shutdown::Write))
    }
}
