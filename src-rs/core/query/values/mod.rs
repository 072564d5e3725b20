//! Values on their way between JavaScript and PostgreSQL.
//!
//! [`Codec::of`] tells how the values of a type cross. [`Codec::decode`] writes a column's value to a [`Tape`], and [`encode_params`]
//! makes the bytes of a [`Param`]: binary where the type has a form of its own, and otherwise the text that the server reads. Nothing
//! is rounded, and nothing refused but what has no clear meaning: then the error names the type.

mod codec;
mod decode;
mod encode;
mod json;
mod number;
mod numeric;
mod tape;

pub use codec::{Choice, Codec, Dates, Geometry, Moment, Part, base_name, type_name};
pub use decode::Unread;
pub use encode::{Encoded, Mismatch, RecordColumn, RecordEncoder, Unwritten, encode_params};
pub(crate) use tape::MOST_BYTES;
pub use tape::{Tape, Texts};

/// Milliseconds from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_MS: i64 = 946_684_800_000;
/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const DAY_MS: i64 = 86_400_000;
/// The furthest that a JavaScript `Date` reaches from 1970-01-01, either way.
const MAX_DATE_MS: i64 = 8_640_000_000_000_000;

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
    /// An object as JSON text, or a string with half of a surrogate pair.
    Json(String),
    /// An object with values that JSON cannot hold as they are, or a `Map`.
    Fields {
        /// Its keys and values.
        fields: Vec<(String, Param)>,
        /// As JSON text, if it has one.
        json: Option<String>,
    },
    /// An object with a text that the server reads, such as a URL, and with its JSON text.
    Literal {
        /// What the server reads.
        text: String,
        /// The same as JSON.
        json: String,
    },
    /// An array.
    Array(Vec<Param>),
    /// An array with the lower bound of each of its dimensions.
    Bounded(Vec<i32>, Vec<Param>),
}
