//! A leased connection.

use std::sync::Arc;

use futures_channel::mpsc;
use napi::bindgen_prelude::Uint32ArraySlice;
use napi_derive::napi;

use super::bounds::NativeCallBounds;
use super::bridge::BridgeHandle;
use super::copy::{NativeCopyIn, NativeCopyOut};
use super::cursor::{NativeCursor, NativeHeldPipeline, NativeHeldStatement};
use super::finalize::contained_finalizer;
use super::info::{NativeConnectionInfo, NativeTransactionStatus};
use super::records::NativeRecordEncoder;
use super::values::lists::NativeLists;
use super::values::rest::first_part;
use super::values::{self, NativeDescription, NativeParam, NativeQueryOutput};
use pglisten_core::fail_point;
use pglisten_core::query::lease::Lease;
use pglisten_core::query::statements::CommitOutcome;

/// Of so many statements that are sent together the JavaScript thread does the work itself.
const MOST_BORROWED: usize = 8;

/// How a transaction ended that was to be committed.
#[napi(string_enum = "camelCase")]
pub enum NativeCommitOutcome {
    Committed,
    RolledBack,
    AlreadyEnded,
}

impl From<CommitOutcome> for NativeCommitOutcome {
    fn from(outcome: CommitOutcome) -> Self {
        match outcome {
            CommitOutcome::Committed => Self::Committed,
            CommitOutcome::RolledBack => Self::RolledBack,
            CommitOutcome::AlreadyEnded => Self::AlreadyEnded,
        }
    }
}

/// A leased connection. Operations run in the order of the calls; each settles the promise whose id it is given. A lease
/// that is collected as garbage gives its connection back.
#[napi(custom_finalize)]
pub struct NativeLease {
    bridge: BridgeHandle,
    lease: Arc<Lease>,
}

contained_finalizer!(NativeLease);

impl NativeLease {
    pub(crate) fn new(bridge: BridgeHandle, lease: Lease) -> Self {
        Self {
            bridge,
            lease: Arc::new(lease),
        }
    }

    /// Before what begins or ends a transaction, or a part of one.
    fn borrow_for_block(&self) {
        self.bridge.borrow(|| self.lease.lend_for_block());
    }
}

#[napi]
impl NativeLease {
    /// Whether a transaction block is open, as of the server's last answer.
    #[napi(catch_unwind, ts_return_type = "`${NativeTransactionStatus}`")]
    pub fn transaction_status(&self) -> NativeTransactionStatus {
        self.lease.transaction_status().into()
    }

    /// The facts of the connection; `null` once it was given back, or its session has ended.
    #[napi(catch_unwind)]
    pub fn info(&self) -> Option<NativeConnectionInfo> {
        self.lease.info().map(Into::into)
    }

    /// Resolves to a `NativeQueryOutput`.
    #[napi(catch_unwind)]
    pub fn execute(
        &self,
        promise: u32,
        sql: String,
        #[napi(ts_arg_type = "Array<unknown>")] params: Vec<NativeParam>,
        manner: u32,
        bounds: Option<&NativeCallBounds>,
    ) {
        fail_point!("execute");
        let params = NativeParam::into_params(params);
        let manner = values::manner(manner);
        self.bridge.borrow(|| self.lease.lend(&sql, manner));
        // Whoever asks gets all rows in the end, and so nothing is gained by holding parts up.
        let (parts, taken) = mpsc::unbounded();
        // In its place at once: to move it costs more than to allocate it.
        let output = Box::pin(self.lease.execute(
            sql,
            params,
            manner,
            Some(parts),
            NativeCallBounds::of(bounds),
        ));
        let first = first_part(self.bridge.clone(), output, taken);
        self.bridge.begin(promise, first);
    }

    /// Resolves to the number of rows affected.
    #[napi(catch_unwind)]
    pub fn execute_many(
        &self,
        promise: u32,
        sql: String,
        #[napi(
            ts_arg_type = "{ kinds: Uint8Array, count: number, numbers: Float64Array, text: string, others: Array<unknown> }"
        )]
        sets: NativeLists,
        manner: u32,
        bounds: Option<&NativeCallBounds>,
    ) {
        let affected = self.lease.execute_many(
            sql,
            sets.into_lists(),
            values::manner(manner),
            NativeCallBounds::of(bounds),
        );
        self.bridge.spawn(
            promise,
            async move { affected.await.map(|rows| rows as f64) },
        );
    }

    /// Runs statements, all sent together: one for each list of parameters, whose text is that of `texts` with the number in
    /// `order`. Resolves to a list of `NativeQueryOutput`. A `NativeError` tells with `index` which one failed.
    #[napi(catch_unwind)]
    pub fn pipeline(
        &self,
        promise: u32,
        texts: Vec<String>,
        #[napi(ts_arg_type = "Uint32Array")] order: Uint32ArraySlice<'_>,
        #[napi(
            ts_arg_type = "{ kinds: Uint8Array, count: number, numbers: Float64Array, text: string, others: Array<unknown> }"
        )]
        params: NativeLists,
        manner: u32,
        bounds: Option<&NativeCallBounds>,
    ) {
        let texts: Vec<Arc<str>> = texts.into_iter().map(Into::into).collect();
        let manner = values::manner(manner);
        // A few are one round trip of little work. Of more, the other thread has the work.
        let is_short = order.len() <= MOST_BORROWED;
        if is_short {
            self.bridge
                .borrow(|| self.lease.lend_for_all(&texts, manner));
        }
        let order = order.iter().map(|number| &texts[*number as usize]);
        let outputs = self.lease.pipeline(
            order.cloned().zip(params.into_lists()).collect(),
            manner,
            NativeCallBounds::of(bounds),
        );
        let outputs = async move {
            let outputs = outputs.await?.into_iter();
            Ok(outputs.map(NativeQueryOutput::from).collect::<Vec<_>>())
        };
        if is_short {
            self.bridge.begin(promise, Box::pin(outputs));
        } else {
            self.bridge.spawn(promise, outputs);
        }
    }

    /// Resolves to a `NativeDescription`.
    #[napi(catch_unwind)]
    pub fn prepare(
        &self,
        promise: u32,
        sql: String,
        manner: u32,
        bounds: Option<&NativeCallBounds>,
    ) {
        let prepared =
            self.lease
                .prepare(sql, values::manner(manner), NativeCallBounds::of(bounds));
        self.bridge.spawn(promise, async move {
            prepared.await.map(NativeDescription::from)
        });
    }

    /// Prepares a statement, and resolves to the `NativeRecordEncoder` of its columns.
    #[napi(catch_unwind)]
    pub fn record_encoder(&self, promise: u32, sql: String, bounds: Option<&NativeCallBounds>) {
        let encoder = self.lease.record_encoder(sql, NativeCallBounds::of(bounds));
        self.bridge.spawn(promise, async move {
            encoder.await.map(NativeRecordEncoder::new)
        });
    }

    /// Has the server forget a prepared statement. Resolves to nothing.
    #[napi(catch_unwind)]
    pub fn deallocate(&self, promise: u32, sql: String) {
        self.bridge.spawn(promise, self.lease.deallocate(sql));
    }

    /// Prepares a statement, which holds its place in the order until it is given parameters. Resolves to a
    /// `NativeHeldStatement`.
    #[napi(catch_unwind)]
    pub fn hold(&self, promise: u32, sql: String, manner: u32, bounds: Option<&NativeCallBounds>) {
        let held = self
            .lease
            .hold(sql, values::manner(manner), NativeCallBounds::of(bounds));
        let bridge = self.bridge.clone();
        self.bridge.spawn(promise, async move {
            held.await
                .map(|held| NativeHeldStatement::new(bridge, held))
        });
    }

    /// Prepares the texts of a pipeline, which holds its place in the order until it is given parameters. `order` has the number of the text of
    /// each statement. Resolves to a `NativeHeldPipeline`.
    #[napi(catch_unwind)]
    pub fn hold_pipeline(
        &self,
        promise: u32,
        texts: Vec<String>,
        #[napi(ts_arg_type = "Uint32Array")] order: Uint32ArraySlice<'_>,
        manner: u32,
        bounds: Option<&NativeCallBounds>,
    ) {
        let held = self.lease.hold_pipeline(
            texts.into_iter().map(Into::into).collect(),
            order.iter().map(|number| *number as usize).collect(),
            values::manner(manner),
            NativeCallBounds::of(bounds),
        );
        let bridge = self.bridge.clone();
        self.bridge.spawn(promise, async move {
            held.await.map(|held| NativeHeldPipeline::new(bridge, held))
        });
    }

    /// Opens a cursor within the transaction that is open. Resolves to a `NativeCursor`.
    #[napi(catch_unwind)]
    pub fn open(
        &self,
        promise: u32,
        sql: String,
        #[napi(ts_arg_type = "Array<unknown>")] params: Vec<NativeParam>,
        manner: u32,
        bounds: Option<&NativeCallBounds>,
    ) {
        let opened = self.lease.open(
            sql,
            NativeParam::into_params(params),
            values::manner(manner),
            NativeCallBounds::of(bounds),
        );
        let bridge = self.bridge.clone();
        self.bridge.spawn(promise, async move {
            opened.await.map(|cursor| NativeCursor::new(bridge, cursor))
        });
    }

    /// Sends notifications: all of them, in their order, or none. Resolves to nothing.
    #[napi(catch_unwind)]
    pub fn notify(
        &self,
        promise: u32,
        channel: String,
        payloads: Vec<String>,
        bounds: Option<&NativeCallBounds>,
    ) {
        let sent = self
            .lease
            .notify(channel, payloads, NativeCallBounds::of(bounds));
        self.bridge.spawn(promise, sent);
    }

    /// Resolves to nothing.
    #[napi(catch_unwind)]
    pub fn execute_batch(&self, promise: u32, sql: String, bounds: Option<&NativeCallBounds>) {
        let done = self.lease.execute_batch(sql, NativeCallBounds::of(bounds));
        self.bridge.spawn(promise, done);
    }

    /// Runs a `COPY FROM STDIN`, whose data is written to what this returns. Resolves to the number of rows.
    #[napi(catch_unwind)]
    pub fn copy_from(
        &self,
        promise: u32,
        sql: String,
        bounds: Option<&NativeCallBounds>,
    ) -> NativeCopyIn {
        let (copy, rows) = self.lease.copy_from(sql, NativeCallBounds::of(bounds));
        self.bridge
            .spawn(promise, async move { rows.await.map(|rows| rows as f64) });
        NativeCopyIn::new(self.bridge.clone(), copy)
    }

    /// Runs a `COPY TO STDOUT`, whose data is read from what this returns. Resolves to the number of rows.
    #[napi(catch_unwind)]
    pub fn copy_to(
        &self,
        promise: u32,
        sql: String,
        bounds: Option<&NativeCallBounds>,
    ) -> NativeCopyOut {
        let (copy, rows) = self.lease.copy_to(sql, NativeCallBounds::of(bounds));
        self.bridge
            .spawn(promise, async move { rows.await.map(|rows| rows as f64) });
        NativeCopyOut::new(self.bridge.clone(), copy)
    }

    /// Resolves to `false`, with nothing done, when a statement has begun a transaction already.
    #[napi(catch_unwind)]
    pub fn begin(&self, promise: u32, sql: String, bounds: Option<&NativeCallBounds>) {
        self.borrow_for_block();
        let begun = self.lease.begin(sql, NativeCallBounds::of(bounds));
        self.bridge.begin(promise, begun);
    }

    /// Resolves to a `NativeCommitOutcome`.
    #[napi(catch_unwind)]
    pub fn commit(&self, promise: u32) {
        self.borrow_for_block();
        let outcome = self.lease.commit();
        self.bridge.begin(promise, async move {
            outcome.await.map(NativeCommitOutcome::from)
        });
    }

    /// Resolves to nothing.
    #[napi(catch_unwind)]
    pub fn rollback(&self, promise: u32) {
        self.borrow_for_block();
        self.bridge.begin(promise, self.lease.rollback());
    }

    /// Begins a part of the open transaction, named as in SQL. Resolves to nothing.
    #[napi(catch_unwind)]
    pub fn savepoint(&self, promise: u32, savepoint: String, bounds: Option<&NativeCallBounds>) {
        self.borrow_for_block();
        let begun = self
            .lease
            .savepoint(&savepoint, NativeCallBounds::of(bounds));
        self.bridge.begin(promise, begun);
    }

    /// Ends the part, and keeps what it did. Resolves to a `NativeCommitOutcome`.
    #[napi(catch_unwind)]
    pub fn release_savepoint(&self, promise: u32, savepoint: String) {
        self.borrow_for_block();
        let outcome = self.lease.release_savepoint(savepoint);
        self.bridge.begin(promise, async move {
            outcome.await.map(NativeCommitOutcome::from)
        });
    }

    /// Ends the part, and undoes what it did. Resolves to nothing.
    #[napi(catch_unwind)]
    pub fn rollback_savepoint(&self, promise: u32, savepoint: String) {
        self.borrow_for_block();
        self.bridge
            .begin(promise, self.lease.rollback_savepoint(savepoint));
    }

    /// Resolves to whether a transaction had been left open; then it was rolled back.
    #[napi(catch_unwind)]
    pub fn leave_block(&self, promise: u32) {
        self.bridge.spawn(promise, self.lease.leave_block());
    }

    /// Resolves, once everything called before has ended, to whether a transaction left open was rolled back.
    #[napi(catch_unwind)]
    pub fn release(&self, promise: u32) {
        let outcome = self.lease.release();
        self.bridge
            .spawn(promise, async move { Ok(outcome.await.rolled_back) });
    }
}
