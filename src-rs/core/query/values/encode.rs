//! Parameters, checked against the types that the server expects and written in its binary format.

mod array;
mod fields;
mod interval;
mod records;
mod text;

use std::fmt::Write as _;

use text::char_byte;
pub(super) use text::iso;

pub use records::{RecordColumn, RecordEncoder, Unwritten};

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{Kind, Type};
use uuid::Uuid;

use super::codec::Geometry;
use super::{Codec, DAY_MS, EPOCH_DAYS, EPOCH_MS, Moment, Param, json, number, numeric, type_name};
use crate::base::error::{Error, ErrorKind, Result};

/// How much of a string an error shows.
const SHOWN_CHARS: usize = 40;

/// A parameter that does not fit its type.
#[derive(Debug, PartialEq)]
pub struct Mismatch {
    /// The expected value, in words that follow "to be".
    expected: String,
    /// The value that was given.
    got: String,
    /// The indices of the element at fault, if the parameter is an array.
    at: Vec<usize>,
}

/// A parameter as it is sent.
#[derive(Debug)]
pub struct Encoded {
    is_binary: bool,
    /// `None` is null.
    bytes: Option<BytesMut>,
}

/// Writes parameters. The error is that of the first parameter that does not fit its type.
pub fn encode_params(params: &[Param], types: &[(Codec, Type)]) -> Result<Vec<Encoded>> {
    params
        .iter()
        .zip(types)
        .enumerate()
        .map(|(index, (param, (codec, ty)))| {
            let encoded = encode(codec, param).map_err(|mismatch| {
                mismatch.into_error(&format!("parameter ${} ({})", index + 1, type_name(ty)))
            })?;
            Ok(Encoded {
                // A label is the same in both formats. As text, no type that is in the place of an enum by now reads its bytes.
                is_binary: encoded.is_binary && !matches!(ty.kind(), Kind::Enum(_)),
                ..encoded
            })
        })
        .collect()
}

/// Writes a parameter: in the binary format if its type has one for it, and otherwise as text.
fn encode(codec: &Codec, param: &Param) -> std::result::Result<Encoded, Mismatch> {
    if *param == Param::Null {
        return Ok(Encoded {
            // Not every type has a binary format, and the server asks for one also where there are no bytes in it.
            is_binary: false,
            bytes: None,
        });
    }
    let mut out = BytesMut::new();
    if codec.encode(param, &mut out).is_ok() {
        return Ok(Encoded {
            is_binary: true,
            bytes: Some(out),
        });
    }
    let mut text = String::new();
    text::write(codec, param, &mut text)?;
    Ok(Encoded {
        is_binary: false,
        bytes: Some(BytesMut::from(text.as_bytes())),
    })
}

impl Encoded {
    /// The bytes; `None` is null.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }

    /// Whether they are in the binary format.
    pub(crate) fn is_binary(&self) -> bool {
        self.is_binary
    }
}

impl Mismatch {
    fn new(expected: impl Into<String>, param: &Param) -> Self {
        Self {
            expected: expected.into(),
            got: describe(param),
            at: Vec::new(),
        }
    }

    /// `what` is what was to be a value of that kind.
    fn into_error(self, what: &str) -> Error {
        let mut place = String::new();
        if !self.at.is_empty() {
            place.push_str("element ");
            for position in &self.at {
                let _ = write!(place, "[{position}]");
            }
            place.push_str(" of ");
        }
        Error::new(
            ErrorKind::Execute,
            format!(
                "Expected {place}{what} to be {}, got {}",
                self.expected, self.got
            ),
        )
    }
}

fn describe(param: &Param) -> String {
    match param {
        Param::Null => "null".to_owned(),
        Param::Bool(value) => format!("`{value}` (boolean)"),
        Param::Number(value) if value.is_nan() => "`NaN` (number)".to_owned(),
        Param::Number(value) if value.is_infinite() => {
            let sign = if *value < 0.0 { "-" } else { "" };
            format!("`{sign}Infinity` (number)")
        }
        Param::Number(value) => format!("`{value}` (number)"),
        Param::BigInt(value) => format!("`{value}` (bigint)"),
        Param::HugeInt(value) => format!("`{}` (bigint)", shortened(value)),
        Param::Text(text) => format!("`{}` (string)", shortened(text)),
        Param::Bytes(_) => "bytes".to_owned(),
        Param::Date(_) => "a Date".to_owned(),
        Param::Json(json) if json.starts_with('"') && fields::text(json).is_none() => {
            "a string with half of a surrogate pair".to_owned()
        }
        Param::Json(_) | Param::Fields { .. } => "an object".to_owned(),
        Param::Literal { text, .. } => format!("`{}` (object)", shortened(text)),
        Param::Array(_) | Param::Bounded(..) => "an array".to_owned(),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl Codec {
    /// Writes a parameter that is not null, in the binary format. What it refuses can still have a text.
    fn encode(&self, param: &Param, out: &mut BytesMut) -> std::result::Result<(), Mismatch> {
        match (self, param) {
            (Self::Bool, Param::Bool(value)) => out.put_u8((*value).into()),
            (Self::Int2, _) => out.put_i16(integer(param)?),
            (Self::Int4, _) => out.put_i32(integer(param)?),
            (Self::Int8, _) => out.put_i64(int8(param)?),
            (Self::Float4, Param::Number(value)) => out.put_f32(float4(*value, param)?),
            (Self::Float8, Param::Number(value)) => out.put_f64(*value),
            (Self::Numeric, _) => return decimal(param, out),
            (Self::Text | Self::Name, Param::Text(text)) => out.put_slice(text.as_bytes()),
            (Self::Char, Param::Text(text)) => match char_byte(text) {
                Some(byte) => out.put_u8(byte),
                None => return Err(Mismatch::new(self.expected(), param)),
            },
            (Self::Bytea, Param::Bytes(bytes)) => out.put_slice(bytes),
            (Self::Json | Self::Jsonb, _) => {
                let text = json_text(param)?;
                if *self == Self::Jsonb {
                    out.put_u8(1);
                }
                out.put_slice(text.as_bytes());
            }
            (Self::Uuid, Param::Text(text)) => match Uuid::parse_str(text) {
                Ok(uuid) => out.put_slice(uuid.as_bytes()),
                Err(_) => return Err(Mismatch::new(self.expected(), param)),
            },
            (Self::Moment(moment, _), Param::Number(value)) if value.is_infinite() => {
                match (moment, *value > 0.0) {
                    (Moment::Date, true) => out.put_i32(i32::MAX),
                    (Moment::Date, false) => out.put_i32(i32::MIN),
                    (_, true) => out.put_i64(i64::MAX),
                    (_, false) => out.put_i64(i64::MIN),
                }
            }
            (Self::Moment(Moment::Date, _), Param::Date(ms)) => out.put_i32(days(*ms)),
            (Self::Moment(..), Param::Date(ms)) => out.put_i64((whole(*ms) - EPOCH_MS) * 1000),
            (Self::Interval, _) => {
                let written = interval::encode(param, out);
                written.ok_or_else(|| Mismatch::new(self.expected(), param))?;
            }
            (Self::Array(part), Param::Array(values)) => {
                return array::write(part, None, values, out);
            }
            (Self::Array(part), Param::Bounded(bounds, values)) => {
                return array::write(part, Some(bounds), values, out);
            }
            _ => return Err(Mismatch::new(self.expected(), param)),
        }
        Ok(())
    }

    /// Whether values that are usual for the type have a binary form.
    fn has_binary_writer(&self) -> bool {
        match self {
            Self::Bool
            | Self::Int2
            | Self::Int4
            | Self::Int8
            | Self::Float4
            | Self::Float8
            | Self::Numeric
            | Self::Text
            | Self::Name
            | Self::Char
            | Self::Bytea
            | Self::Json
            | Self::Jsonb
            | Self::Uuid
            | Self::Moment(..) => true,
            Self::Array(part) => part.codec.has_binary_writer(),
            _ => false,
        }
    }

    fn expected(&self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Int2 => "an integer between -32768 and 32767",
            Self::Int4 => "an integer between -2147483648 and 2147483647",
            Self::Int8 => "a bigint between -2^63 and 2^63-1 or a safe integer",
            Self::Oid => "an integer between 0 and 4294967295",
            Self::Xid8 => "a bigint between 0 and 2^64-1 or a safe integer",
            Self::Float4 => "a number within the range of float4",
            Self::Float8 => "a number, or a bigint that a number can hold exactly",
            Self::Numeric => "a decimal number as a string, a number or a bigint",
            Self::Char => "a string of at most one ASCII character",
            Self::Bytea => "a Buffer, a Uint8Array or a string of hexadecimal digits behind `\\x`",
            Self::Json | Self::Jsonb => "a value that JSON can hold",
            Self::Moment(..) => "a Date or a string",
            Self::Interval => {
                "an Interval, an object with `months`, `days`, `microseconds` or other units, or a string"
            }
            Self::Geometry(geometry) => match geometry {
                Geometry::Point => "an object with `x` and `y`, or a string",
                Geometry::Segment | Geometry::Box => "an array of two points, or a string",
                Geometry::Line => "an object with `a`, `b` and `c`, or a string",
                Geometry::Path => "an object with `points` and `closed`, or a string",
                Geometry::Polygon => "an array of points, or a string",
                Geometry::Circle => "an object with `x`, `y` and `radius`, or a string",
            },
            Self::Hstore => "an object or a Map of strings and nulls, or a string",
            Self::Vector => "an array of numbers, or a string",
            Self::Void => "null",
            Self::Array(_) | Self::PlainArray(..) | Self::IdVector(_) => "an array or a string",
            Self::Range(_) => "a Range, an object with `lower` and `upper`, or a string",
            Self::Multirange(_) => "an array of ranges, or a string",
            Self::Composite(_) => "an object, an array or a string",
            Self::Uuid => "a UUID as a string",
            Self::Versioned
            | Self::Time
            | Self::TimeTz
            | Self::Network
            | Self::MacAddress
            | Self::Bits
            | Self::Lsn
            | Self::Tid => "a string",
            Self::Name => "a string of at most 63 bytes, a number, a bigint or a boolean",
            Self::Money => "an integer, or a string as the server writes it",
            Self::Text | Self::Xml | Self::Plain => "a string, a number, a bigint or a boolean",
        }
    }
}

trait Integer: TryFrom<i64> {
    const CODEC: Codec;
}

impl Integer for i16 {
    const CODEC: Codec = Codec::Int2;
}

impl Integer for i32 {
    const CODEC: Codec = Codec::Int4;
}

fn integer<T: Integer>(param: &Param) -> std::result::Result<T, Mismatch> {
    let value = match param {
        Param::Number(value) => safe_integer(*value),
        Param::BigInt(value) => Some(*value),
        Param::Text(text) => text.parse().ok(),
        _ => None,
    };
    value
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| Mismatch::new(T::CODEC.expected(), param))
}

fn int8(param: &Param) -> std::result::Result<i64, Mismatch> {
    let value = match param {
        Param::Number(value) => safe_integer(*value),
        Param::BigInt(value) => Some(*value),
        Param::Text(text) => text.parse().ok(),
        _ => None,
    };
    value.ok_or_else(|| Mismatch::new(Codec::Int8.expected(), param))
}

/// The value as an integer, if it is one that a double names exactly, as `Number.isSafeInteger` tells.
fn safe_integer(value: f64) -> Option<i64> {
    const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole, and far within the range"
    )]
    (value.fract() == 0.0 && value.abs() <= MAX_SAFE_INTEGER).then_some(value as i64)
}

fn float4(value: f64, param: &Param) -> std::result::Result<f32, Mismatch> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding is what float4 does"
    )]
    let rounded = value as f32;
    let is_too_small = value != 0.0 && rounded == 0.0;
    if is_too_small || value.is_finite() && rounded.is_infinite() {
        return Err(Mismatch::new(Codec::Float4.expected(), param));
    }
    Ok(rounded)
}

fn decimal(param: &Param, out: &mut BytesMut) -> std::result::Result<(), Mismatch> {
    let written = match param {
        Param::Text(text) | Param::HugeInt(text) => numeric::encode(text, out),
        Param::Number(value) => numeric::encode(&number::text(*value), out),
        Param::BigInt(value) => numeric::encode(&value.to_string(), out),
        _ => None,
    };
    written.ok_or_else(|| Mismatch::new(Codec::Numeric.expected(), param))
}

/// A parameter as JSON text. A string is JSON text already; everything else is written as JSON.
fn json_text(param: &Param) -> std::result::Result<String, Mismatch> {
    if let Param::Text(text) = param {
        return Ok(text.clone());
    }
    let mut text = String::new();
    match json::write(param, &mut text) {
        Ok(()) => Ok(text),
        Err(what) => Err(Mismatch {
            got: match param {
                Param::Array(_) => format!("an array with {what} in it"),
                Param::Fields { .. } => format!("an object with {what} in it"),
                _ => describe(param),
            },
            ..Mismatch::new(Codec::Json.expected(), param)
        }),
    }
}

fn whole(ms: f64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a Date holds whole milliseconds"
    )]
    let ms = ms as i64;
    ms
}

/// The UTC day of a moment, as PostgreSQL counts days.
fn days(ms: f64) -> i32 {
    // A Date reaches 10^8 days from 1970.
    i32::try_from(whole(ms).div_euclid(DAY_MS)).unwrap_or(i32::MAX) - EPOCH_DAYS
}

#[cfg(test)]
mod tests;
