//! The fields of a parameter that is an object.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::query::values::{Param, number};

/// The fields of an object; `None` when the parameter is none.
pub(super) fn of(param: &Param) -> Option<Vec<(String, Param)>> {
    match param {
        Param::Fields { fields, .. } => {
            let fields = fields.iter();
            Some(
                fields
                    .map(|(name, value)| (name.clone(), opened(value)))
                    .collect(),
            )
        }
        Param::Json(json) => {
            let values: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
            let fields = values
                .into_iter()
                .map(|(name, value)| (name, from_json(value, 0)));
            Some(fields.collect())
        }
        _ => None,
    }
}

/// A value of a field. Of an array there is its JSON text, where that tells all of it.
fn opened(value: &Param) -> Param {
    match value {
        Param::Json(text) if text.starts_with('[') => match serde_json::from_str(text) {
            Ok(json) => from_json(json, 0),
            Err(_) => value.clone(),
        },
        Param::Array(values) => Param::Array(values.iter().map(opened).collect()),
        Param::Bounded(bounds, values) => {
            Param::Bounded(bounds.clone(), values.iter().map(opened).collect())
        }
        value => value.clone(),
    }
}

/// The value of a field; `None` when there is no such field.
pub(super) fn get<'a>(fields: &'a [(String, Param)], name: &str) -> Option<&'a Param> {
    let mut fields = fields.iter();
    fields.find(|(own, _)| own == name).map(|(_, value)| value)
}

/// The names of the fields of an object; `None` when the parameter is none.
pub(super) fn names(param: &Param) -> Option<Vec<String>> {
    match param {
        Param::Fields { fields, .. } => Some(fields.iter().map(|(name, _)| name.clone()).collect()),
        Param::Json(json) => {
            let values: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
            Some(values.into_keys().collect())
        }
        _ => None,
    }
}

/// The text that a string of JSON is; `None` when it is none, or has half of a surrogate pair, which JavaScript's strings can have.
pub(super) fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// How many levels of arrays are read: more than any array of the server has.
const MAX_LEVELS: usize = 100;

/// A value of JSON text, `level` arrays deep. Objects and numbers stay as they are written: reading them would sort keys and round
/// numbers.
fn from_json(json: &RawValue, level: usize) -> Param {
    let text = json.get();
    if level > MAX_LEVELS {
        return Param::Json(text.to_owned());
    }
    let value = match text.as_bytes().first() {
        Some(b'n') => Some(Param::Null),
        Some(b't') => Some(Param::Bool(true)),
        Some(b'f') => Some(Param::Bool(false)),
        Some(b'"') => self::text(text).map(Param::Text),
        Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(text)
            .ok()
            .map(|values| {
                let elements = values.into_iter();
                Param::Array(
                    elements
                        .map(|element| from_json(element, level + 1))
                        .collect(),
                )
            }),
        Some(b'{') => None,
        _ => Some(number(text)),
    };
    value.unwrap_or_else(|| Param::Json(text.to_owned()))
}

/// A number. What `JSON.stringify` does not write, a function of the user's has written: its digits are kept.
fn number(text: &str) -> Param {
    match text.parse() {
        Ok(value) if number::text(value) == text => Param::Number(value),
        _ => Param::Literal {
            text: text.to_owned(),
            json: text.to_owned(),
        },
    }
}
