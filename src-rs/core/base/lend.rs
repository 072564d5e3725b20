//! Streams whose socket another thread waits for.

use std::io;

/// A socket, to wait until it can be read. It is a duplicate: closing it closes no connection.
#[cfg(unix)]
pub type Awaited = std::os::fd::OwnedFd;

/// A socket, to wait until it can be read: on this system there is none.
#[cfg(not(unix))]
#[derive(Debug)]
pub enum Awaited {}

/// A stream whose socket the runtime waits for, or somebody else.
///
/// While it is lent, the stream is read as far as is allowed, and registers no waker: whoever borrowed it polls again when the socket
/// can be read.
pub trait Lend {
    /// Lends the socket. `None`: nobody else can wait for it.
    fn lend(&mut self) -> Option<Awaited> {
        None
    }

    /// Has the runtime wait for the socket again. Called within the runtime.
    fn take_back(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Lets so many bytes be read while the socket is lent.
    fn allow(&mut self, _bytes: usize) {}

    /// Whether there is something to read from the socket while it is lent: bytes, or the end.
    fn has_come(&self) -> bool {
        false
    }

    /// Whether all bytes that were allowed are read.
    fn is_used_up(&self) -> bool {
        false
    }
}
