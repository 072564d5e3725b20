//! The one way from Rust to JavaScript: a queue of what is ready, and a payload-free wake.
//!
//! Promises are settled and consumers are signalled through the same queue, so that there is a single
//! threadsafe function per environment. It is weak (never keeps the process alive), carries nothing (nothing
//! leaks when a call fails), and is only called when the queue goes from empty to non-empty.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::ptr;
use std::sync::Arc;

use futures_util::FutureExt as _;
use napi::bindgen_prelude::{
    Env, FromNapiValue as _, Function, ToNapiValue, Uint32ArraySlice, Unknown,
};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{JsValue as _, Status, check_status, sys};
use napi_derive::napi;
use parking_lot::Mutex;

use super::error::NativeError;
use super::runtime::querying;
use crate::core::error::{Error, ErrorKind, Result};

type Wake = ThreadsafeFunction<(), (), (), Status, false, true>;

/// A value on its way to JavaScript. Converted on the JavaScript thread.
pub(crate) trait IntoJs: Send {
    /// Makes the JavaScript value.
    fn into_js(self: Box<Self>, env: sys::napi_env) -> napi::Result<sys::napi_value>;
}

impl<T: ToNapiValue + Send> IntoJs for T {
    fn into_js(self: Box<Self>, env: sys::napi_env) -> napi::Result<sys::napi_value> {
        // Safety: called from `Bridge::take`, with the environment of that call.
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

/// How an entry of [`Bridge::take`] is to be read. Mirrored in `src-ts/bridge.ts`.
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

    /// The first `most` that are ready. Wakes JavaScript again if there are more.
    fn take(&self, most: usize) -> Vec<Ready> {
        let wake = self.wake.lock();
        let mut ready = self.ready.lock();
        let most = most.min(ready.len());
        let taken = ready.drain(..most).collect();
        if !ready.is_empty()
            && let Some(wake) = &*wake
        {
            let _ = wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
        taken
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

    /// Settles the promise `id`.
    pub(crate) fn settle<T: IntoJs + 'static>(&self, id: u32, outcome: Result<T>) {
        let outcome = outcome.map(|value| Box::new(value) as Box<dyn IntoJs>);
        self.0.push(Ready::Settled { id, outcome });
    }

    /// Runs a future on the runtime and settles the promise `id` with its result. A panic rejects it.
    pub(crate) fn spawn<T: IntoJs + 'static>(
        &self,
        id: u32,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) {
        let bridge = self.clone();
        drop(querying().spawn(async move {
            let outcome = AssertUnwindSafe(future)
                .catch_unwind()
                .await
                .unwrap_or_else(|panic| {
                    let said = panic
                        .downcast_ref::<&str>()
                        .map(|text| (*text).to_owned())
                        .or_else(|| panic.downcast_ref::<String>().cloned())
                        .unwrap_or_default();
                    Err(Error::new(
                        ErrorKind::Internal,
                        format!("a task of pglisten panicked: {said}"),
                    ))
                });
            bridge.settle(id, outcome);
        }));
    }
}

/// The JavaScript environment's end of the way. One per environment, made when the module loads.
#[napi]
pub struct Bridge {
    shared: Arc<Shared>,
}

#[napi]
impl Bridge {
    /// `wake` is called, without arguments, when {@link Bridge.take} has something to give.
    #[napi(constructor)]
    pub fn new(env: Env, wake: Function<'_, (), ()>) -> napi::Result<Self> {
        let shared = Arc::new(Shared::default());
        let wake: Wake = wake
            .build_threadsafe_function::<()>()
            .callee_handled::<false>()
            .weak::<true>()
            .build()?;
        *shared.wake.lock() = Some(wake);
        // Registered after the threadsafe function was made, so it runs before that one's own hook.
        let ending = Arc::clone(&shared);
        let _ = env.add_env_cleanup_hook((), move |()| {
            drop(ending.wake.lock().take());
            ending.ready.lock().clear();
        })?;
        Ok(Self { shared })
    }

    /// Takes what is ready, as far as `ready` has room: writes how many entries that is, then the kind (0 resolved,
    /// 1 rejected, 2 signal) and the id of each. Gives what `receive` makes of the values of what was settled, in the same
    /// order; `undefined` if that is nothing.
    #[napi(ts_return_type = "Array<unknown> | undefined")]
    pub fn take<'env>(
        &self,
        env: &'env Env,
        mut ready: Uint32ArraySlice<'_>,
        #[napi(ts_arg_type = "(...values: Array<unknown>) => Array<unknown>")] receive: Function<
            '_,
            Unknown<'_>,
            Unknown<'_>,
        >,
    ) -> napi::Result<Unknown<'env>> {
        // Safety: JavaScript is waiting for this call; nobody else touches the array.
        let [count, entries @ ..] = (unsafe { ready.as_mut() }) else {
            return ().into_unknown(env);
        };
        let taken = self.shared.take(entries.len() / 2);
        *count = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        let mut values = Vec::new();
        for (place, entry) in entries.chunks_exact_mut(2).zip(taken) {
            let (kind, id) = match entry {
                Ready::Signal(id) => (ReadyKind::Signal, id),
                Ready::Settled { id, outcome } => {
                    let (kind, value) = match convert(env, outcome) {
                        Ok(value) => (ReadyKind::Resolved, value),
                        Err(error) => (
                            ReadyKind::Rejected,
                            NativeError::from(error).into_unknown(env)?,
                        ),
                    };
                    values.push(value.raw());
                    (kind, id)
                }
            };
            place.copy_from_slice(&[kind as u32, id]);
        }
        if values.is_empty() {
            return ().into_unknown(env);
        }
        call(env, &receive, &values)
    }
}

fn convert(env: &Env, outcome: Result<Box<dyn IntoJs>>) -> Result<Unknown<'_>> {
    let value = outcome?
        .into_js(env.raw())
        .and_then(|value| value.into_unknown(env));
    value.map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            format!("a result could not be converted: {error}"),
        )
    })
}

/// Calls `function` with `values`, which were made in the current call of this environment. An array that is filled element
/// by element costs several times as much.
pub(crate) fn call<'env>(
    env: &'env Env,
    function: &Function<'_, Unknown<'_>, Unknown<'_>>,
    values: &[sys::napi_value],
) -> napi::Result<Unknown<'env>> {
    let mut undefined = ptr::null_mut();
    let mut answer = ptr::null_mut();
    // Safety: `env` is the environment of the current call, and all values were made in it.
    unsafe {
        check_status!(sys::napi_get_undefined(env.raw(), &raw mut undefined))?;
        check_status!(sys::napi_call_function(
            env.raw(),
            undefined,
            function.raw(),
            values.len(),
            values.as_ptr(),
            &raw mut answer,
        ))?;
        Unknown::from_napi_value(env.raw(), answer)
    }
}

impl Bridge {
    pub(crate) fn handle(&self) -> BridgeHandle {
        BridgeHandle(Arc::clone(&self.shared))
    }
}
