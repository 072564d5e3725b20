//! The one way from Rust to JavaScript: a queue of what is ready, and a wake.
//!
//! Promises are settled and consumers are signalled through the same queue, so that there is a single
//! threadsafe function per environment. It is weak (never keeps the process alive), carries nothing (nothing
//! leaks when a call fails), and is only called when there was nothing in the queue, or more than fits into one call. When
//! the call reaches the JavaScript thread, it takes its arguments out of the queue, and what `wake.rs` makes of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use futures_util::FutureExt as _;
use napi::Status;
use napi::bindgen_prelude::{Env, Function, JsValue as _, Uint32Array};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

#[cfg(unix)]
use super::event_loop::{EventLoop, is_settling};
use super::finalize::contained_finalizer;
use super::runtime::querying;
use super::values::output;
use super::wake::{Arguments, IntoJs, Ready, Receiver};
use pglisten_core::base::Awaited;
use pglisten_core::base::eager::spawn_eager;
use pglisten_core::base::error::Result;
use pglisten_core::base::panic::{contained, contained_future};
use pglisten_core::fail_point;
use pglisten_core::listen::lending::ListeningLoan;
use pglisten_core::protocol::Loan;

type Wake = ThreadsafeFunction<(), (), Arguments, Status, false, true>;

/// How many environments there were.
static ENVIRONMENTS: AtomicU64 = AtomicU64::new(1);

/// The most entries that are handed over at once. If there are more, JavaScript is woken again.
const MOST_AT_ONCE: usize = 256;

/// The most entries for which the empty queue keeps memory.
const MOST_KEPT: usize = 16 * MOST_AT_ONCE;

/// What reaches an environment from other threads.
#[derive(Default)]
pub(super) struct Shared {
    /// The environment's number.
    number: u64,
    ready: Mutex<VecDeque<Ready>>,
    /// Taken out, on the JavaScript thread, when the environment ends: whoever holds the lock may call it.
    wake: Mutex<Option<Wake>>,
    /// Cancelled when the environment ends: nothing is answered from there any more.
    ended: CancellationToken,
}

impl Shared {
    fn push(&self, ready: Ready) {
        let wake = self.wake.lock();
        // Nobody will take what comes after the end of the environment, and it must not be kept: a connection
        // that arrives too late would stay open for ever.
        let Some(wake) = &*wake else { return };
        let was_empty = {
            let mut queue = self.ready.lock();
            queue.push_back(ready);
            queue.len() == 1
        };
        if was_empty && !is_settling(self) {
            // A failure means that the environment is ending; then nobody is left to be told.
            let _ = wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// The first that are ready. Wakes JavaScript again if there are more.
    fn take(&self) -> Vec<Ready> {
        fail_point!("wake");
        let mut ready = self.ready.lock();
        let most = MOST_AT_ONCE.min(ready.len());
        let taken = ready.drain(..most).collect();
        let is_all = ready.is_empty();
        if is_all && ready.capacity() > MOST_KEPT {
            // Thousands of listeners started at once.
            ready.shrink_to(MOST_AT_ONCE);
        }
        drop(ready);
        if !is_all {
            self.wake_again();
        }
        taken
    }

    /// The first that are ready, as [`Shared::take`] gives them. A panic leaves them there: then JavaScript is woken again, since no push
    /// wakes while there is something.
    pub(super) fn take_or_wake_again(&self) -> Vec<Ready> {
        contained("a wake", || self.take()).unwrap_or_else(|_| {
            self.wake_again();
            Vec::new()
        })
    }

    pub(super) fn wake_again(&self) {
        if let Some(wake) = &*self.wake.lock() {
            let _ = wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}

/// Nothing is settled without a wake where nothing can be borrowed.
#[cfg(not(unix))]
fn is_settling(_: &Shared) -> bool {
    false
}

/// Reaches one JavaScript environment from any thread. After the environment has ended it does nothing.
#[derive(Clone)]
pub(crate) struct BridgeHandle(Arc<Shared>);

impl BridgeHandle {
    /// Tells the consumer `id` that it has something to drain.
    pub(crate) fn signal(&self, id: u32) {
        self.0.push(Ready::Signal(id));
    }

    /// Tells the consumer `id` that it has something to drain, or hands it that.
    pub(crate) fn signal_or_hand(&self, id: u32, receiver: Weak<dyn Receiver>) {
        self.0.push(Ready::Notified { id, receiver });
    }

    /// Cancelled when the environment ends.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.0.ended.clone()
    }

    /// Settles the promise `id`.
    pub(crate) fn settle<T: IntoJs + 'static>(&self, id: u32, outcome: Result<T>) {
        let outcome = match outcome {
            Ok(value) => Ok(Box::new(value) as Box<dyn IntoJs>),
            Err(error) => Err(Box::new(error)),
        };
        self.0.push(Ready::Settled { id, outcome });
    }

    /// Runs a future on the runtime and settles the promise `id` with its result. A panic rejects it, and so does an
    /// operating system that has no thread for the runtime.
    pub(crate) fn spawn<T: IntoJs + 'static>(
        &self,
        id: u32,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) {
        let runtime = match querying() {
            Ok(runtime) => runtime,
            Err(error) => return self.settle::<T>(id, Err(error)),
        };
        drop(runtime.spawn(self.clone().settled(id, future)));
    }

    /// Does as [`BridgeHandle::spawn`] does, but begins at once, on this thread, up to where the future has to wait.
    pub(crate) fn begin<T: IntoJs + 'static>(
        &self,
        id: u32,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) {
        match querying() {
            Ok(runtime) => spawn_eager(runtime, self.clone().settled(id, future)),
            Err(error) => self.settle::<T>(id, Err(error)),
        }
    }

    /// Lets this thread read the answers on a connection itself, if that can be.
    pub(crate) fn borrow(&self, lend: impl FnOnce() -> Option<(Awaited, Loan)>) {
        #[cfg(unix)]
        EventLoop::borrow(&self.0, lend);
        #[cfg(not(unix))]
        let _ = lend;
    }

    /// Lets this thread read a listening session itself, if that can be.
    pub(crate) fn borrow_listening(&self, lend: impl FnOnce() -> Option<(Awaited, ListeningLoan)>) {
        #[cfg(unix)]
        EventLoop::borrow_listening(&self.0, lend);
        #[cfg(not(unix))]
        let _ = lend;
    }

    /// Whether this thread has just read itself what it takes.
    pub(crate) fn is_settling(&self) -> bool {
        is_settling(&self.0)
    }

    /// A number that no other environment of the process has.
    pub(crate) fn environment(&self) -> u64 {
        self.0.number
    }

    /// Settles the promise `id` with what comes of a future. Thousands of these may be waiting.
    fn settled<T: IntoJs + 'static>(
        self,
        id: u32,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let outcome = contained_future("a task of pglisten", future);
        outcome.map(move |outcome| self.settle(id, outcome.unwrap_or_else(Err)))
    }
}

/// The JavaScript environment's end of the way. One per environment, made when the module loads.
#[napi(custom_finalize)]
pub struct Bridge {
    shared: Arc<Shared>,
}

#[napi]
impl Bridge {
    /// `wake` is called with the values of the entries that are ready. Before, `numbers` is filled with four numbers for each: the
    /// kind (0 resolved, 1 rejected, 2 signal, 3 handed), the id, and for what is handed the channel's number and the sender's
    /// process id. It has room for 256 entries. With `borrows`, the event loop is libuv's, and may wait for sockets.
    /// `makeOutput` is called with the values of a `NativeQueryOutput` in their order; those that are empty are `undefined`. Of many
    /// texts it gets arrays of texts, in an array. `gather` makes an array of its arguments.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        env: Env,
        #[napi(ts_arg_type = "(...values: Array<unknown>) => void")] wake: Function<'_, (), ()>,
        mut numbers: Uint32Array,
        borrows: bool,
        #[napi(ts_arg_type = "(...parts: Array<never>) => NativeQueryOutput")]
        make_output: Function<'_, (), ()>,
        #[napi(ts_arg_type = "(...values: Array<unknown>) => Array<unknown>")] gather: Function<
            '_,
            (),
            (),
        >,
    ) -> napi::Result<Self> {
        output::register(env.raw(), make_output.raw(), gather.raw())?;
        let shared = Arc::new(Shared {
            number: ENVIRONMENTS.fetch_add(1, Ordering::Relaxed),
            ..Shared::default()
        });
        #[cfg(not(unix))]
        let _ = borrows;
        #[cfg(unix)]
        if borrows {
            // Safety: the array is held until the environment ends.
            unsafe {
                let numbers: *mut [u32] = numbers.as_mut();
                EventLoop::register(env.raw(), &shared, wake.raw(), numbers)?;
            }
        }
        let taking = Arc::clone(&shared);
        let wake: Wake = wake
            .build_threadsafe_function::<()>()
            .callee_handled::<false>()
            .weak::<true>()
            .build_callback(move |call| {
                let taken = taking.take_or_wake_again();
                // Safety: JavaScript reads the array within the call that follows, and on this thread alone.
                let numbers = unsafe { numbers.as_mut() };
                Ok(Arguments::of(taken, call.env.raw(), numbers))
            })?;
        *shared.wake.lock() = Some(wake);
        // Registered after the threadsafe function was made, so it runs before that one's own hook.
        let ending = Arc::clone(&shared);
        let raw_env = env.raw();
        let _ = env.add_env_cleanup_hook((), move |()| {
            output::forget(raw_env);
            // Nobody is left to be told of a panic.
            drop(contained("the end of an environment", || {
                drop(ending.wake.lock().take());
                ending.ended.cancel();
                ending.ready.lock().clear();
            }));
        })?;
        Ok(Self { shared })
    }
}

contained_finalizer!(Bridge);

impl Bridge {
    pub(crate) fn handle(&self) -> BridgeHandle {
        BridgeHandle(Arc::clone(&self.shared))
    }
}
