//! Values on their way between JavaScript and PostgreSQL's binary format.
//!
//! [`Codec::of`] decides whether a type is supported at all, before anything is executed. Then [`Codec::decode`] makes a
//! [`Value`] of a column, and [`encode_params`] the bytes of a [`Param`]. Nothing is guessed: a value without an exact
//! counterpart is an error that names the type.

mod codec;
mod decode;
mod encode;
mod json;
mod numeric;

pub use codec::{Codec, type_name};
pub use encode::{Encoded, Mismatch, encode_params};

/// Milliseconds from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_MS: i64 = 946_684_800_000;
/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const DAY_MS: i64 = 86_400_000;
/// The furthest that a JavaScript `Date` reaches from 1970-01-01, either way.
const MAX_DATE_MS: i64 = 8_640_000_000_000_000;

/// A value of a column, ready for JavaScript.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL's null.
    Null,
    /// A bool.
    Bool(bool),
    /// An int2 or int4.
    Int(i32),
    /// An int8, for JavaScript a `bigint`.
    BigInt(i64),
    /// A float4 or float8.
    Float(f64),
    /// The text family, numeric and uuid; json and jsonb as JSON text.
    Text(String),
    /// A bytea.
    Bytes(Vec<u8>),
    /// A date or timestamp, in milliseconds from 1970-01-01 UTC.
    Date(f64),
    /// An array, of arrays if it has more than one dimension.
    Array(Vec<Value>),
}

/// A parameter as JavaScript gave it. The type that the server expects decides how it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A `bigint` of up to 64 bits.
    BigInt(i64),
    /// A `bigint` beyond 64 bits, in decimal.
    HugeInt(String),
    /// A string.
    Text(String),
    /// A `Uint8Array`.
    Bytes(Vec<u8>),
    /// A `Date` in milliseconds from 1970-01-01 UTC: always a whole number within the range of `Date`.
    Date(f64),
    /// An object, as JSON text.
    Json(String),
    /// An array.
    Array(Vec<Param>),
}
