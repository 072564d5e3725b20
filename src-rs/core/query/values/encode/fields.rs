//! The fields of a parameter that is an object.

use serde_json::Value as Json;

use crate::query::values::Param;

/// The fields of an object; `None` when the parameter is none.
pub(super) fn of(param: &Param) -> Option<Vec<(String, Param)>> {
    match param {
        Param::Fields { fields, .. } => Some(fields.clone()),
        Param::Json(json) => match serde_json::from_str(json) {
            Ok(Json::Object(fields)) => Some(
                fields
                    .into_iter()
                    .map(|(name, value)| (name, from_json(value)))
                    .collect(),
            ),
            _ => None,
        },
        _ => None,
    }
}

/// The value of a field; `None` when there is no such field.
pub(super) fn get<'a>(fields: &'a [(String, Param)], name: &str) -> Option<&'a Param> {
    let mut fields = fields.iter();
    fields.find(|(own, _)| own == name).map(|(_, value)| value)
}

fn from_json(value: Json) -> Param {
    match value {
        Json::Null => Param::Null,
        Json::Bool(value) => Param::Bool(value),
        Json::Number(value) => match (value.as_i64(), value.as_f64()) {
            (Some(value), _) => Param::BigInt(value),
            (None, Some(value)) => Param::Number(value),
            (None, None) => Param::Text(value.to_string()),
        },
        Json::String(value) => Param::Text(value),
        Json::Array(values) => Param::Array(values.into_iter().map(from_json).collect()),
        Json::Object(_) => Param::Json(value.to_string()),
    }
}
