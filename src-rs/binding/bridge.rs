//! The one way from Rust to JavaScript: a queue of what is ready, and a wake.
//!
//! Promises are settled and consumers are signalled through the same queue, so that there is a single
//! threadsafe function per environment. It is weak (never keeps the process alive), carries nothing (nothing
//! leaks when a call fails), and is only called when there was nothing in the queue, or more than fits into one call. When
//! the call reaches the JavaScript thread, it takes its arguments out of the queue.

use std::collections::VecDeque;
use std::sync::Arc;

use napi::bindgen_prelude::{Env, Function, JsValuesTupleIntoVec, ToNapiValue};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Status, sys};
use napi_derive::napi;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::error::NativeError;
use super::finalize::contained_finalizer;
use super::runtime::querying;
use pglisten_core::base::error::{Error, ErrorKind, Result};
use pglisten_core::base::panic::{contained, contained_future};
use pglisten_core::fail_point;

type Wake = ThreadsafeFunction<(), (), Taken, Status, false, true>;

/// The most entries that are handed over at once. If there are more, JavaScript is woken again.
const MOST_AT_ONCE: usize = 64;

/// The status of a result that no value of JavaScript can hold, whose reason says so.
pub(crate) const TOO_LONG: Status = Status::StringExpected;

/// A value on its way to JavaScript. Converted on the JavaScript thread.
pub(crate) trait IntoJs: Send {
    /// Makes the JavaScript value.
    fn into_js(self: Box<Self>, env: sys::napi_env) -> napi::Result<sys::napi_value>;
}

impl<T: ToNapiValue + Send> IntoJs for T {
    fn into_js(self: Box<Self>, env: sys::napi_env) -> napi::Result<sys::napi_value> {
        // Safety: called from `Taken::into_vec`, with the environment that is being called.
        unsafe { T::to_napi_value(env, *self) }
    }
}

enum Ready {
    /// A promise can be settled.
    Settled {
        id: u32,
        outcome: Result<Box<dyn IntoJs>>,
    },
    /// A consumer has something to drain.
    Signal(u32),
}

/// How an entry is to be read. Mirrored in `src-ts/native/bridge.ts`.
#[derive(Clone, Copy)]
#[repr(u32)]
enum ReadyKind {
    Resolved = 0,
    Rejected = 1,
    Signal = 2,
}

#[derive(Default)]
struct Shared {
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
        if was_empty {
            // A failure means that the environment is ending; then nobody is left to be told.
            let _ = wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// The first that are ready. Wakes JavaScript again if there are more.
    fn take(&self) -> Taken {
        fail_point!("wake");
        let mut ready = self.ready.lock();
        let most = MOST_AT_ONCE.min(ready.len());
        let taken = ready.drain(..most).collect();
        let is_all = ready.is_empty();
        drop(ready);
        if !is_all {
            self.wake_again();
        }
        Taken(taken)
    }

    fn wake_again(&self) {
        if let Some(wake) = &*self.wake.lock() {
            let _ = wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}

/// Entries on their way to JavaScript, as the arguments of the call that wakes it: the kind, the id and the value of each.
///
/// Taken on the JavaScript thread. If it had to call back for them, that would cost as much as the wake.
#[derive(Default)]
struct Taken(Vec<Ready>);

impl JsValuesTupleIntoVec for Taken {
    /// An error here would be an uncaught exception, and a panic would end the process. So a promise whose outcome cannot be
    /// converted is rejected, and what cannot even be told is left out.
    fn into_vec(self, env: sys::napi_env) -> napi::Result<Vec<sys::napi_value>> {
        let mut arguments = Vec::with_capacity(3 * self.0.len());
        for entry in self.0 {
            let promise = entry.promise();
            let told = contained("an entry of a wake", || {
                fail_point!("entry");
                entry.into_js(env)
            });
            let why = match told {
                Ok(Ok(entry)) => {
                    arguments.extend(entry);
                    continue;
                }
                Ok(Err(error)) => unconverted(&error),
                Err(panicked) => panicked,
            };
            let rejected = promise.map(|id| {
                let outcome = Err(why);
                contained("an entry of a wake", || {
                    Ready::Settled { id, outcome }.into_js(env)
                })
            });
            if let Some(Ok(Ok(entry))) = rejected {
                arguments.extend(entry);
            }
        }
        Ok(arguments)
    }
}

impl Ready {
    /// The promise that it settles.
    fn promise(&self) -> Option<u32> {
        match self {
            Self::Settled { id, .. } => Some(*id),
            Self::Signal(_) => None,
        }
    }

    fn into_js(self, env: sys::napi_env) -> napi::Result<[sys::napi_value; 3]> {
        let (kind, id, value) = match self {
            Self::Signal(id) => (ReadyKind::Signal, id, to_js(env, ())?),
            Self::Settled { id, outcome } => match convert(env, outcome) {
                Ok(value) => (ReadyKind::Resolved, id, value),
                Err(error) => (
                    ReadyKind::Rejected,
                    id,
                    to_js(env, NativeError::from(error))?,
                ),
            },
        };
        Ok([to_js(env, kind as u32)?, to_js(env, id)?, value])
    }
}

/// Reaches one JavaScript environment from any thread. After the environment has ended it does nothing.
#[derive(Clone)]
pub(crate) struct BridgeHandle(Arc<Shared>);

impl BridgeHandle {
    /// Tells the consumer `id` that it has something to drain.
    pub(crate) fn signal(&self, id: u32) {
        self.0.push(Ready::Signal(id));
    }

    /// Cancelled when the environment ends.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.0.ended.clone()
    }

    /// Settles the promise `id`.
    pub(crate) fn settle<T: IntoJs + 'static>(&self, id: u32, outcome: Result<T>) {
        let outcome = outcome.map(|value| Box::new(value) as Box<dyn IntoJs>);
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
        let bridge = self.clone();
        drop(runtime.spawn(async move {
            let outcome = contained_future("a task of pglisten", future).await;
            bridge.settle(id, outcome.unwrap_or_else(Err));
        }));
    }
}

/// The JavaScript environment's end of the way. One per environment, made when the module loads.
#[napi(custom_finalize)]
pub struct Bridge {
    shared: Arc<Shared>,
}

#[napi]
impl Bridge {
    /// `wake` is called with the kind (0 resolved, 1 rejected, 2 signal), the id and the value of each entry that is ready, one
    /// after the other.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        env: Env,
        #[napi(ts_arg_type = "(...ready: Array<unknown>) => void")] wake: Function<'_, (), ()>,
    ) -> napi::Result<Self> {
        let shared = Arc::new(Shared::default());
        let taking = Arc::clone(&shared);
        let wake: Wake = wake
            .build_threadsafe_function::<()>()
            .callee_handled::<false>()
            .weak::<true>()
            .build_callback(move |_| {
                let taken = contained("a wake", || taking.take());
                Ok(taken.unwrap_or_else(|_| {
                    // What was to be taken is still there, and no push wakes while there is something.
                    taking.wake_again();
                    Taken::default()
                }))
            })?;
        *shared.wake.lock() = Some(wake);
        // Registered after the threadsafe function was made, so it runs before that one's own hook.
        let ending = Arc::clone(&shared);
        let _ = env.add_env_cleanup_hook((), move |()| {
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

fn convert(env: sys::napi_env, outcome: Result<Box<dyn IntoJs>>) -> Result<sys::napi_value> {
    let value = outcome?;
    let converted = contained("converting a result", || {
        fail_point!("result");
        value.into_js(env)
    })?;
    converted.map_err(|error| unconverted(&error))
}

fn unconverted(error: &napi::Error) -> Error {
    if error.status == TOO_LONG {
        return Error::new(ErrorKind::Execute, error.reason.clone());
    }
    Error::new(
        ErrorKind::Internal,
        format!("a result could not be converted: {error}"),
    )
}

/// A value in the current call of the environment.
pub(crate) fn to_js<T: ToNapiValue>(env: sys::napi_env, value: T) -> napi::Result<sys::napi_value> {
    // Safety: `env` is the environment of the current call.
    unsafe { T::to_napi_value(env, value) }
}

impl Bridge {
    pub(crate) fn handle(&self) -> BridgeHandle {
        BridgeHandle(Arc::clone(&self.shared))
    }
}
