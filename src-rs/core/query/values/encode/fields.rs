//! The fields of a parameter that is an object.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::query::values::Param;

/// The fields of an object; `None` when the parameter is none.
pub(super) fn of(param: &Param) -> Option<Vec<(String, Param)>> {
    match param {
        Param::Fields { fields, .. } => Some(fields.clone()),
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

/// The value of a field; `None` when there is no such field.
pub(super) fn get<'a>(fields: &'a [(String, Param)], name: &str) -> Option<&'a Param> {
    let mut fields = fields.iter();
    fields.find(|(own, _)| own == name).map(|(_, value)| value)
}

/// How many digits any number of 64 bits is told by exactly.
const DOUBLE_DIGITS: usize = 17;

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
        Some(b'"') => serde_json::from_str(text).ok().map(Param::Text),
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
        Some(b'{') => Some(Param::Json(text.to_owned())),
        _ => number(text),
    };
    value.unwrap_or_else(|| Param::Text(text.to_owned()))
}

fn number(text: &str) -> Option<Param> {
    if let Ok(integer) = text.parse() {
        return Some(Param::BigInt(integer));
    }
    let (mantissa, _) = text.split_once(['e', 'E']).unwrap_or((text, ""));
    let digits = mantissa.replace(['-', '.'], "");
    if digits.trim_matches('0').len() > DOUBLE_DIGITS {
        return None;
    }
    text.parse().ok().map(Param::Number)
}
