//! The two threads of the process that do what waits for sockets.

use std::future::pending;
use std::io;
use std::sync::OnceLock;
use std::thread;

use parking_lot::Mutex;
use pglisten_core::base::error::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Handle};

static LISTENING: EventThread = EventThread::new("pglisten-listen");
static QUERYING: EventThread = EventThread::new("pglisten-query");

/// Reads listening sessions and looks after them.
///
/// One thread, with a runtime of its own: among several, each read would be handed from the one that waits for the socket to
/// another, which costs more than what is read.
pub(crate) fn listening() -> Result<&'static Handle> {
    LISTENING.handle()
}

/// Does everything else, such as decoding a large result, which no listening session shall wait for.
pub(crate) fn querying() -> Result<&'static Handle> {
    QUERYING.handle()
}

/// Whether [`querying`] was ever needed. Before, there is no connection.
pub(crate) fn has_queried() -> bool {
    QUERYING.handle.get().is_some()
}

/// A thread with a runtime. Started at first use and never shut down: worker threads come and go, it serves them all.
struct EventThread {
    name: &'static str,
    handle: OnceLock<Handle>,
    /// Held while the thread is being started, so that there is one.
    starting: Mutex<()>,
}

impl EventThread {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            handle: OnceLock::new(),
            starting: Mutex::new(()),
        }
    }

    /// The runtime's handle. When the operating system has no thread or descriptor left, the next call tries again.
    fn handle(&self) -> Result<&Handle> {
        if let Some(handle) = self.handle.get() {
            return Ok(handle);
        }
        let _starting = self.starting.lock();
        if let Some(handle) = self.handle.get() {
            return Ok(handle);
        }
        let handle = start(self.name).map_err(|error| {
            Error::new(
                ErrorKind::Connect,
                format!("the thread `{}` cannot be started: {error}", self.name),
            )
        })?;
        Ok(self.handle.get_or_init(|| handle))
    }
}

fn start(name: &str) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let handle = runtime.handle().clone();
    drop(
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || runtime.block_on(pending::<()>()))?,
    );
    Ok(handle)
}
