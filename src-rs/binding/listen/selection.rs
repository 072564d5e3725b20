//! Which notifications reach a consumer, as the facade sends it: complete and checked.

use napi::bindgen_prelude::Either3;
use napi_derive::napi;
use pglisten_core::deliver::buffer::Coalesce;
use pglisten_core::deliver::filter::{Filter, JsonCondition, Scalar};
use pglisten_core::deliver::seat::Selection;

/// When two notifications that wait are equal.
#[napi(string_enum = "camelCase")]
pub enum NativeCoalesce {
    Payload,
    Channel,
}

/// The value to which a path leads in a payload.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeJsonCondition {
    pub path: Vec<String>,
    /// `null` is the value `null`.
    pub equals: Option<Either3<String, f64, bool>>,
}

/// A condition on notifications; `null` for a part that is not given.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeFilter {
    /// Patterns for the names of channels.
    pub channels: Option<Vec<String>>,
    pub prefix: Option<String>,
    pub json: Option<NativeJsonCondition>,
}

/// What reaches a consumer of the notifications on the channels that it wants.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeSelection {
    #[napi(ts_type = "`${NativeCoalesce}`")]
    pub coalesce: Option<NativeCoalesce>,
    pub filter: Option<NativeFilter>,
}

impl From<NativeSelection> for Selection {
    fn from(selection: NativeSelection) -> Self {
        Self {
            coalesce: selection.coalesce.map(|coalesce| match coalesce {
                NativeCoalesce::Payload => Coalesce::Payload,
                NativeCoalesce::Channel => Coalesce::Channel,
            }),
            filter: selection.filter.map(Into::into),
        }
    }
}

impl From<NativeFilter> for Filter {
    fn from(filter: NativeFilter) -> Self {
        Self::new(filter.channels, filter.prefix, filter.json.map(Into::into))
    }
}

impl From<NativeJsonCondition> for JsonCondition {
    fn from(condition: NativeJsonCondition) -> Self {
        let equals = match condition.equals {
            None => Scalar::Null,
            Some(Either3::A(text)) => Scalar::Text(text),
            Some(Either3::B(number)) => Scalar::Number(number),
            Some(Either3::C(is_true)) => Scalar::Bool(is_true),
        };
        Self::new(condition.path, equals)
    }
}
