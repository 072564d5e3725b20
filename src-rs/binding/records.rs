//! Records for `COPY FROM STDIN`.

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

use super::finalize::contained_finalizer;
use super::values::lists::NativeLists;
use pglisten_core::query::values::{RecordEncoder, Unwritten};

/// Records that were written, or why they were not.
#[napi(object, object_from_js = false)]
pub struct NativeWrittenRecords {
    /// Not there when the binary format has no form for one of the values, or with a `refusal`.
    pub data: Option<Buffer>,
    /// Why they fit in no format: the message of an error.
    pub refusal: Option<String>,
}

/// Writes records in one of the formats of `COPY`.
#[napi(custom_finalize)]
pub struct NativeRecordEncoder(RecordEncoder);

contained_finalizer!(NativeRecordEncoder);

impl NativeRecordEncoder {
    pub(crate) fn new(encoder: RecordEncoder) -> Self {
        Self(encoder)
    }
}

#[napi]
impl NativeRecordEncoder {
    /// Whether the format is the binary one, and not the text one.
    #[napi(catch_unwind)]
    pub fn is_binary(&self) -> bool {
        self.0.is_binary()
    }

    /// The names of the types of the columns.
    #[napi(catch_unwind)]
    pub fn column_types(&self) -> Vec<String> {
        self.0.column_types()
    }

    /// Writes in the text format from now on.
    #[napi(catch_unwind)]
    pub fn switch_to_text(&mut self) {
        self.0.switch_to_text();
    }

    /// Writes records: all of them or none.
    #[napi(catch_unwind)]
    pub fn encode(
        &mut self,
        #[napi(
            ts_arg_type = "{ kinds: Uint8Array, count: number, numbers: Float64Array, text: string, others: Array<unknown> }"
        )]
        records: NativeLists,
    ) -> NativeWrittenRecords {
        match self.0.encode(&records.into_lists()) {
            Ok(written) => NativeWrittenRecords {
                data: Some(written.to_vec().into()),
                refusal: None,
            },
            Err(unwritten) => NativeWrittenRecords {
                data: None,
                refusal: match unwritten {
                    Unwritten::NeedsText => None,
                    Unwritten::Refused(error) => Some(error.message),
                },
            },
        }
    }

    /// What stands behind the last record.
    #[napi(catch_unwind)]
    pub fn finish(&self) -> Buffer {
        self.0.finish().into()
    }
}
