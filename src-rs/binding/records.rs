//! Records for `COPY FROM STDIN`.

use napi::Status;
use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

use super::finalize::contained_finalizer;
use super::values::NativeParam;
use pglisten_core::query::values::{RecordEncoder, Unwritten};

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

    /// Writes in the text format from now on.
    #[napi(catch_unwind)]
    pub fn switch_to_text(&mut self) {
        self.0.switch_to_text();
    }

    /// Writes records; `null` when the binary format has no form for one of their values. Throws when a value fits in no format,
    /// and when a record has another number of values than there are columns.
    #[napi(catch_unwind)]
    pub fn encode(
        &mut self,
        #[napi(ts_arg_type = "Array<Array<unknown>>")] records: Vec<Vec<NativeParam>>,
    ) -> napi::Result<Option<Buffer>> {
        let records: Vec<_> = records.into_iter().map(NativeParam::into_params).collect();
        match self.0.encode(&records) {
            Ok(written) => Ok(Some(written.to_vec().into())),
            Err(Unwritten::NeedsText) => Ok(None),
            Err(Unwritten::Refused(error)) => {
                Err(napi::Error::new(Status::InvalidArg, error.message))
            }
        }
    }

    /// What stands behind the last record.
    #[napi(catch_unwind)]
    pub fn finish(&self) -> Buffer {
        self.0.finish().into()
    }
}
