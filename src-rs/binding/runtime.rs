//! The two threads of the process that do what waits for sockets.

use std::future::pending;
use std::sync::LazyLock;
use std::thread;

use tokio::runtime::{Builder, Handle};

static LISTENING: LazyLock<Handle> = LazyLock::new(|| start("pglisten-listen"));
static QUERYING: LazyLock<Handle> = LazyLock::new(|| start("pglisten-query"));

/// Reads listening sessions and looks after them.
///
/// One thread, with a runtime of its own: among several, each read would be handed from the one that waits for the socket to
/// another, which costs more than what is read.
pub(crate) fn listening() -> &'static Handle {
    &LISTENING
}

/// Does everything else, such as decoding a large result, which no listening session shall wait for.
pub(crate) fn querying() -> &'static Handle {
    &QUERYING
}

/// Started at first use and never shut down: worker threads come and go, it serves them all.
fn start(name: &str) -> Handle {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .expect("the operating system gives an event queue");
    let handle = runtime.handle().clone();
    drop(
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || runtime.block_on(pending::<()>()))
            .expect("the operating system gives a thread"),
    );
    handle
}
