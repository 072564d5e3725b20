//! Statements that go on: a cursor, and statements that wait for their parameters.

use napi_derive::napi;

use super::bounds::NativeCallBounds;
use super::bridge::BridgeHandle;
use super::finalize::contained_finalizer;
use super::values::lists::NativeLists;
use super::values::{NativeDescription, NativeParam, NativeQueryOutput};
use pglisten_core::query::lease::{Cursor, HeldPipeline, HeldStatement};

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

    /// Runs the statement once for each list of parameters, once. Resolves to the number of rows affected.
    #[napi(catch_unwind)]
    pub fn execute_many(
        &mut self,
        promise: u32,
        #[napi(
            ts_arg_type = "{ kinds: Uint8Array, count: number, numbers: Float64Array, text: string, others: Array<unknown> }"
        )]
        sets: NativeLists,
    ) {
        if let Some(held) = self.held.take() {
            let affected = held.execute_many(sets.into_lists());
            self.bridge.spawn(
                promise,
                async move { affected.await.map(|rows| rows as f64) },
            );
        }
    }

    /// Opens the statement as a cursor within the transaction that is open, once. Resolves to a `NativeCursor`.
    #[napi(catch_unwind)]
    pub fn open(
        &mut self,
        promise: u32,
        #[napi(ts_arg_type = "Array<unknown>")] params: Vec<NativeParam>,
    ) {
        if let Some(held) = self.held.take() {
            let opened = held.open(NativeParam::into_params(params));
            let bridge = self.bridge.clone();
            self.bridge.spawn(promise, async move {
                opened.await.map(|cursor| NativeCursor::new(bridge, cursor))
            });
        }
    }

    /// Gives the place up.
    #[napi(catch_unwind)]
    pub fn give_up(&mut self) {
        self.held = None;
    }
}

/// Statements that are sent together, and hold their place in the order of their lease until they are given parameters. One that is collected
/// as garbage gives the place up.
#[napi(custom_finalize)]
pub struct NativeHeldPipeline {
    bridge: BridgeHandle,
    held: Option<HeldPipeline>,
}

contained_finalizer!(NativeHeldPipeline);

impl NativeHeldPipeline {
    pub(crate) fn new(bridge: BridgeHandle, held: HeldPipeline) -> Self {
        Self {
            bridge,
            held: Some(held),
        }
    }
}

#[napi]
impl NativeHeldPipeline {
    /// The names of the types of the parameters, for each text.
    #[napi(catch_unwind)]
    pub fn parameter_types(&self) -> Vec<Vec<String>> {
        let held = self.held.as_ref();
        held.map(|it| it.parameter_types().to_vec())
            .unwrap_or_default()
    }

    /// Runs the statements, once: one for each list of parameters. Resolves to a list of `NativeQueryOutput`.
    #[napi(catch_unwind)]
    pub fn run(
        &mut self,
        promise: u32,
        #[napi(
            ts_arg_type = "{ kinds: Uint8Array, count: number, numbers: Float64Array, text: string, others: Array<unknown> }"
        )]
        params: NativeLists,
    ) {
        if let Some(held) = self.held.take() {
            let outputs = held.run(params.into_lists());
            self.bridge.spawn(promise, async move {
                let outputs = outputs.await?.into_iter();
                Ok(outputs.map(NativeQueryOutput::from).collect::<Vec<_>>())
            });
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
