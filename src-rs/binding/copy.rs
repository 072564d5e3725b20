//! `COPY` as a stream of bytes.

use std::sync::Arc;

use napi::bindgen_prelude::{BufferSlice, JsValue as _, ToNapiValue};
use napi::{Env, sys};
use napi_derive::napi;

use super::bridge::BridgeHandle;
use super::finalize::contained_finalizer;
use pglisten_core::fail_point;
use pglisten_core::query::copy::{CopyIn, CopyOut};

/// Writes the data of a `COPY FROM STDIN`. One that is collected as garbage before `finish()` gives the `COPY` up.
#[napi(custom_finalize)]
pub struct NativeCopyIn {
    bridge: BridgeHandle,
    copy: Arc<CopyIn>,
}

contained_finalizer!(NativeCopyIn);

impl NativeCopyIn {
    pub(crate) fn new(bridge: BridgeHandle, copy: CopyIn) -> Self {
        Self {
            bridge,
            copy: Arc::new(copy),
        }
    }
}

#[napi]
impl NativeCopyIn {
    /// Resolves to `true` once the server asks for data, to `false` when it takes none any more.
    #[napi(catch_unwind)]
    pub fn ready(&self, promise: u32) {
        let copy = Arc::clone(&self.copy);
        self.bridge
            .spawn(promise, async move { Ok(copy.ready().await) });
    }

    /// Writes a chunk, which is copied now. Resolves to `true` once there was room for it, to `false` when the server takes no
    /// more. The next call comes after that.
    #[napi(catch_unwind)]
    pub fn write(&self, promise: u32, chunk: &[u8]) {
        fail_point!("copy-write");
        let (copy, chunk) = (Arc::clone(&self.copy), chunk.to_vec());
        // On this thread, as far as it goes: mostly there is room.
        self.bridge
            .begin(promise, async move { Ok(copy.write(chunk).await) });
    }

    /// Ends the data.
    #[napi(catch_unwind)]
    pub fn finish(&self) {
        self.copy.finish();
    }

    /// Ends the data because it cannot be had whole: nothing is stored.
    #[napi(catch_unwind)]
    pub fn fail(&self) {
        self.copy.fail();
    }

    /// Interrupts the `COPY`.
    #[napi(catch_unwind)]
    pub fn give_up(&self) {
        self.copy.give_up();
    }
}

/// Reads the data of a `COPY TO STDOUT`. One that is collected as garbage gives the `COPY` up.
#[napi(custom_finalize)]
pub struct NativeCopyOut {
    bridge: BridgeHandle,
    copy: Arc<CopyOut>,
}

contained_finalizer!(NativeCopyOut);

impl NativeCopyOut {
    pub(crate) fn new(bridge: BridgeHandle, copy: CopyOut) -> Self {
        Self {
            bridge,
            copy: Arc::new(copy),
        }
    }
}

#[napi]
impl NativeCopyOut {
    /// Resolves to the next chunk, a `Buffer`, or to `null` when there are no more. The next call comes after that.
    #[napi(catch_unwind)]
    pub fn next(&self, promise: u32) {
        let copy = Arc::clone(&self.copy);
        self.bridge.spawn(
            promise,
            async move { Ok(copy.next().await.map(NativeChunk)) },
        );
    }

    /// Interrupts the `COPY`.
    #[napi(catch_unwind)]
    pub fn give_up(&self) {
        self.copy.give_up();
    }
}

/// A chunk, converted when it reaches the JavaScript thread.
struct NativeChunk(Vec<u8>);

impl ToNapiValue for NativeChunk {
    unsafe fn to_napi_value(env: sys::napi_env, chunk: Self) -> napi::Result<sys::napi_value> {
        Ok(BufferSlice::copy_from(&Env::from_raw(env), chunk.0)?.raw())
    }
}
