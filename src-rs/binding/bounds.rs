//! The bounds of an operation: a time, and an abort.

use napi_derive::napi;
use tokio_util::sync::CancellationToken;

use super::config::duration_ms;
use super::finalize::contained_finalizer;
use pglisten_core::query::bounds::Bounds;

/// The bounds of one call: how long it may take, counted from when they are made, and whether it is aborted.
#[napi(custom_finalize)]
pub struct NativeCallBounds {
    bounds: Bounds,
    abort: CancellationToken,
}

contained_finalizer!(NativeCallBounds);

impl NativeCallBounds {
    /// The bounds of a call; none without any.
    pub(crate) fn of(bounds: Option<&Self>) -> Bounds {
        bounds.map_or_else(Bounds::default, |given| given.bounds.clone())
    }
}

#[napi]
impl NativeCallBounds {
    /// Without `timeoutMs` there is no bound in time.
    #[napi(constructor, catch_unwind)]
    pub fn new(timeout_ms: Option<f64>) -> Self {
        let abort = CancellationToken::new();
        Self {
            bounds: Bounds::new(timeout_ms.map(duration_ms), Some(abort.clone())),
            abort,
        }
    }

    /// Interrupts the call. A second call has no effect.
    #[napi(catch_unwind)]
    pub fn abort(&self) {
        self.abort.cancel();
    }
}
