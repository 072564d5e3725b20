//! Reads values in PostgreSQL's binary format.

use bytes::Buf as _;
use uuid::Uuid;

use super::{Codec, DAY_MS, EPOCH_DAYS, EPOCH_MS, MAX_DATE_MS, Value, numeric};

/// A decoded value, or why it cannot be given to JavaScript, in words that follow "column `x` (type)".
type Decoded<T> = Result<T, String>;

/// The server's own limit on the dimensions of an array.
const MAX_DIMENSIONS: i32 = 6;

impl Codec {
    /// Makes a value of the bytes that the server sent. `None` is SQL's null.
    pub fn decode(&self, raw: Option<&[u8]>) -> Decoded<Value> {
        let Some(raw) = raw else {
            return Ok(Value::Null);
        };
        Ok(match self {
            Self::Bool => Value::Bool(fixed::<1>(raw)? != [0]),
            Self::Int2 => Value::Int(i16::from_be_bytes(fixed(raw)?).into()),
            Self::Int4 => Value::Int(i32::from_be_bytes(fixed(raw)?)),
            Self::Int8 => Value::BigInt(i64::from_be_bytes(fixed(raw)?)),
            Self::Float4 => Value::Float(widen(f32::from_be_bytes(fixed(raw)?))),
            Self::Float8 => Value::Float(f64::from_be_bytes(fixed(raw)?)),
            Self::Numeric => Value::Text(numeric::decode(raw).ok_or_else(malformed)?),
            Self::Text | Self::Json => Value::Text(text(raw)?),
            Self::Char => Value::Text(char_text(fixed::<1>(raw)?[0])),
            Self::Bytea => Value::Bytes(raw.to_vec()),
            Self::Jsonb => match raw.split_first() {
                Some((1, json)) => Value::Text(text(json)?),
                _ => return Err(malformed()),
            },
            Self::Uuid => Value::Text(Uuid::from_bytes(fixed(raw)?).to_string()),
            Self::Date => Value::Date(date(i32::from_be_bytes(fixed(raw)?))?),
            Self::Timestamp => Value::Date(timestamp(i64::from_be_bytes(fixed(raw)?))?),
            Self::Void => Value::Null,
            Self::Array { element, .. } => array(element, raw)?,
        })
    }
}

fn malformed() -> String {
    "arrived in a form that this version does not know".to_owned()
}

fn fixed<const N: usize>(raw: &[u8]) -> Decoded<[u8; N]> {
    raw.try_into().map_err(|_| malformed())
}

fn text(raw: &[u8]) -> Decoded<String> {
    match std::str::from_utf8(raw) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err("holds text that is not UTF-8".to_owned()),
    }
}

/// The number with the shortest decimal text that names the same float4: 0.1, not 0.10000000149011612.
fn widen(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

/// A `"char"` as the server itself writes it as text.
fn char_text(byte: u8) -> String {
    match byte {
        0 => String::new(),
        1..=127 => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    }
}

fn date(days: i32) -> Decoded<f64> {
    let infinite = infinity(days == i32::MAX, days == i32::MIN);
    let days = i64::from(days) + i64::from(EPOCH_DAYS);
    to_date(infinite, days * DAY_MS)
}

fn timestamp(microseconds: i64) -> Decoded<f64> {
    let infinite = infinity(microseconds == i64::MAX, microseconds == i64::MIN);
    to_date(infinite, microseconds.div_euclid(1000) + EPOCH_MS)
}

fn infinity(positive: bool, negative: bool) -> Option<&'static str> {
    match (positive, negative) {
        (true, _) => Some("infinity"),
        (_, true) => Some("-infinity"),
        _ => None,
    }
}

fn to_date(infinite: Option<&str>, milliseconds: i64) -> Decoded<f64> {
    if let Some(infinite) = infinite {
        return Err(format!(
            "holds `{infinite}`, which a Date cannot hold: cast it to text"
        ));
    }
    if milliseconds.abs() > MAX_DATE_MS {
        return Err("holds a moment outside the range of a Date: cast it to text".to_owned());
    }
    Ok(milliseconds as f64)
}

fn array(element: &Codec, raw: &[u8]) -> Decoded<Value> {
    let mut rest = raw;
    let short = |_| malformed();
    let dimensions = rest.try_get_i32().map_err(short)?;
    let _has_nulls = rest.try_get_i32().map_err(short)?;
    let _element_oid = rest.try_get_u32().map_err(short)?;
    if !(0..=MAX_DIMENSIONS).contains(&dimensions) {
        return Err(malformed());
    }
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        let length = rest.try_get_i32().map_err(short)?;
        let _lower_bound = rest.try_get_i32().map_err(short)?;
        lengths.push(usize::try_from(length).map_err(|_| malformed())?);
    }
    if lengths.is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    nested(element, &lengths, &mut rest)
}

fn nested(element: &Codec, lengths: &[usize], rest: &mut &[u8]) -> Decoded<Value> {
    let Some((&length, inner)) = lengths.split_first() else {
        let size = rest.try_get_i32().map_err(|_| malformed())?;
        let Ok(size) = usize::try_from(size) else {
            return Ok(Value::Null);
        };
        let (raw, after) = rest.split_at_checked(size).ok_or_else(malformed)?;
        *rest = after;
        return element.decode(Some(raw));
    };
    let mut values = Vec::new();
    for _ in 0..length {
        values.push(nested(element, inner, rest)?);
    }
    Ok(Value::Array(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float4_is_read_as_the_decimal_that_names_it() {
        let read = |value: f32| Codec::Float4.decode(Some(&value.to_be_bytes())).unwrap();
        assert_eq!(read(0.1), Value::Float(0.1));
        assert_eq!(read(f32::MAX), Value::Float(3.402_823_5e38));
        assert_eq!(read(f32::NEG_INFINITY), Value::Float(f64::NEG_INFINITY));
        assert!(matches!(read(f32::NAN), Value::Float(value) if value.is_nan()));
    }

    #[test]
    fn a_moment_that_a_date_cannot_hold_is_an_error() {
        let read = |value: i64| Codec::Timestamp.decode(Some(&value.to_be_bytes()));
        assert!(read(i64::MAX).unwrap_err().contains("`infinity`"));
        assert!(read(i64::MIN).unwrap_err().contains("`-infinity`"));
        // 294276-12-31, the last day of PostgreSQL.
        assert!(read(9_223_371_331_200_000_000).is_err());
        assert_eq!(read(0).unwrap(), Value::Date(946_684_800_000.0));
        // Before the epoch too, microseconds are cut off towards the past.
        assert_eq!(read(-1).unwrap(), Value::Date(946_684_799_999.0));
    }

    #[test]
    fn truncated_input_is_an_error_and_never_a_panic() {
        let whole: Vec<u8> = [2_i32, 0, 23, 2, 1, 1, 1, 4, 7, 4, 8]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        let codec = Codec::Array {
            element: Box::new(Codec::Int4),
            element_oid: 23,
        };
        assert_eq!(
            codec.decode(Some(&whole)).unwrap(),
            Value::Array(vec![
                Value::Array(vec![Value::Int(7)]),
                Value::Array(vec![Value::Int(8)])
            ])
        );
        for length in 0..whole.len() {
            assert!(codec.decode(Some(&whole[..length])).is_err(), "{length}");
        }
        for codec in [
            Codec::Bool,
            Codec::Int8,
            Codec::Numeric,
            Codec::Jsonb,
            Codec::Uuid,
            Codec::Char,
        ] {
            assert!(codec.decode(Some(&[])).is_err(), "{codec:?}");
        }
    }

    #[test]
    fn a_char_is_written_as_the_server_writes_it() {
        assert_eq!(char_text(0), "");
        assert_eq!(char_text(b'r'), "r");
        assert_eq!(char_text(0o377), "\\377");
    }
}
