//! Statements that go on: a cursor, and a statement that waits for its parameters.

use napi_derive::napi;

use super::bounds::NativeCallBounds;
use super::bridge::BridgeHandle;
use super::finalize::contained_finalizer;
use super::values::{NativeDescription, NativeParam, NativeQueryOutput};
use pglisten_core::query::lease::{Cursor, HeldStatement};

/// A statement that holds its place in the order of its lease until it is given parameters. One that is collected as garbage
/// gives the place up.
#[napi(custom_finalize)]
pub struct NativeHeldStatement {
    bridge: BridgeHandle,
    held: Option<HeldStatement>,
}

contained_finalizer!(NativeHeldStatement);

impl NativeHeldStatement {
    pub(crate) fn new(bridge: BridgeHandle, held: HeldStatement) -> Self {
        Self {
            bridge,
            held: Some(held),
        }
    }
}

#[napi]
impl NativeHeldStatement {
    /// The names of the types of the parameters.
    #[napi(catch_unwind)]
    pub fn parameter_types(&self) -> Vec<String> {
        let params = self.held.iter().flat_map(|held| &held.description().params);
        params.map(|(name, _)| name.clone()).collect()
    }

    /// Runs the statement, once. Resolves to a `NativeQueryOutput`.
    #[napi(catch_unwind)]
    pub fn execute(
        &mut self,
        promise: u32,
        #[napi(ts_arg_type = "Array<unknown>")] params: Vec<NativeParam>,
    ) {
        if let Some(held) = self.held.take() {
            let output = held.execute(NativeParam::into_params(params));
            self.bridge.spawn(
                promise,
                async move { output.await.map(NativeQueryOutput::from) },
            );
        }
    }

    /// Gives the place up.
    #[napi(catch_unwind)]
    pub fn give_up(&mut self) {
        self.held = None;
    }
}

/// A cursor. It ends with its transaction.
#[napi(custom_finalize)]
pub struct NativeCursor {
    bridge: BridgeHandle,
    cursor: Cursor,
}

contained_finalizer!(NativeCursor);

impl NativeCursor {
    pub(crate) fn new(bridge: BridgeHandle, cursor: Cursor) -> Self {
        Self { bridge, cursor }
    }
}

#[napi]
impl NativeCursor {
    /// What the statement takes and gives.
    #[napi(catch_unwind)]
    pub fn description(&self) -> NativeDescription {
        self.cursor.description().into()
    }

    /// Fetches at most so many rows. Resolves to a `NativeQueryOutput`.
    #[napi(catch_unwind)]
    pub fn fetch(&self, promise: u32, most: u32, bounds: Option<&NativeCallBounds>) {
        let rows = self.cursor.fetch(most, NativeCallBounds::of(bounds));
        self.bridge.spawn(
            promise,
            async move { rows.await.map(NativeQueryOutput::from) },
        );
    }

    /// Resolves to nothing.
    #[napi(catch_unwind)]
    pub fn close(&self, promise: u32) {
        self.bridge.spawn(promise, self.cursor.close());
    }
}
