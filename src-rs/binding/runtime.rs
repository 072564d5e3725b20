//! The one tokio runtime of the process.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

/// One thread reads listening sessions while the other may be decoding a large result.
const WORKER_THREADS: usize = 2;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name("pglisten")
        .enable_io()
        .enable_time()
        .build()
        .expect("the operating system gives threads and an event queue")
});

/// The runtime, started at first use. It is never shut down: worker threads come and go, it serves them all.
pub(crate) fn runtime() -> &'static Runtime {
    &RUNTIME
}
