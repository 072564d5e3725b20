//! Reads values in PostgreSQL's binary format, and writes them to a tape.

mod literal;
mod nested;
mod text;

pub(super) use text::civil;

use uuid::Uuid;

use super::codec::Geometry;
use super::tape::{OTHER, PRESENT};
use super::{
    Codec, DAY_MS, Dates, EPOCH_DAYS, EPOCH_MS, MAX_DATE_MS, Moment, Tape, number, numeric,
};

/// Why a value cannot be given to JavaScript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// Its type has other fields now than when the server was asked.
    Stale,
    /// In words that follow "column `x` (type)".
    Why(&'static str),
}

type Decoded<T> = Result<T, Unread>;

impl Codec {
    /// Writes the value to the tape for which these bytes stand. `None` is SQL's null.
    pub fn decode(&self, raw: Option<&[u8]>, tape: &mut Tape) -> Decoded<()> {
        let Some(raw) = raw else {
            tape.null();
            return Ok(());
        };
        match self {
            Self::Bool => tape.bool(fixed::<1>(raw)? != [0]),
            Self::Int2 => tape.number(i16::from_be_bytes(fixed(raw)?)),
            Self::Int4 => tape.number(i32::from_be_bytes(fixed(raw)?)),
            Self::Oid => tape.number(u32::from_be_bytes(fixed(raw)?)),
            Self::Int8 | Self::Xid8 => tape.integer(i64::from_be_bytes(fixed(raw)?)),
            Self::Float4 => tape.number(number::widen(f32::from_be_bytes(fixed(raw)?))),
            Self::Float8 => tape.number(f64::from_be_bytes(fixed(raw)?)),
            Self::Numeric => tape.text(&numeric::decode(raw).ok_or_else(malformed)?),
            Self::Text | Self::Name | Self::Xml | Self::Json | Self::Plain | Self::Money => {
                tape.text(utf8(raw)?);
            }
            Self::Char => tape.text(&char_text(fixed::<1>(raw)?[0])),
            Self::Bytea => tape.bytes(raw),
            Self::Jsonb | Self::Versioned => match raw.split_first() {
                Some((1, rest)) => tape.text(utf8(rest)?),
                _ => return Err(malformed()),
            },
            Self::Uuid => {
                let mut text = Uuid::encode_buffer();
                let uuid = Uuid::from_bytes(fixed(raw)?);
                tape.text(uuid.hyphenated().encode_lower(&mut text));
            }
            Self::Moment(moment, dates) => decode_moment(*moment, *dates, raw, tape)?,
            Self::Time => {
                let time = i64::from_be_bytes(fixed(raw)?);
                tape.write_text(|out| text::time(time, out));
            }
            Self::TimeTz => {
                let (time, zone) = raw.split_at_checked(8).ok_or_else(malformed)?;
                let time = i64::from_be_bytes(fixed(time)?);
                let zone = i32::from_be_bytes(fixed(zone)?);
                tape.write_text(|out| text::timetz(time, zone, out));
            }
            Self::Interval => interval(raw, tape)?,
            Self::Network => {
                let network = text::network(raw).ok_or_else(malformed)?;
                tape.text(&network);
            }
            Self::MacAddress => {
                if !matches!(raw.len(), 6 | 8) {
                    return Err(malformed());
                }
                tape.write_text(|out| text::mac_address(raw, out));
            }
            Self::Bits => {
                let bits = text::bits(raw).ok_or_else(malformed)?;
                tape.text(&bits);
            }
            Self::Lsn => {
                let lsn = u64::from_be_bytes(fixed(raw)?);
                tape.text(&format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff));
            }
            Self::Tid => {
                let (block, offset) = raw.split_at_checked(4).ok_or_else(malformed)?;
                let block = u32::from_be_bytes(fixed(block)?);
                let offset = u16::from_be_bytes(fixed(offset)?);
                tape.text(&format!("({block},{offset})"));
            }
            Self::Geometry(geometry) => decode_geometry(*geometry, raw, tape)?,
            Self::Void => tape.null(),
            Self::Hstore => nested::hstore(raw, tape)?,
            Self::Vector => vector(raw, tape)?,
            Self::Array(part) | Self::IdVector(part) => nested::array(&part.codec, raw, tape)?,
            Self::Range(part) => nested::range(&part.codec, raw, tape)?,
            Self::Multirange(part) => nested::multirange(&part.codec, raw, tape)?,
            Self::Composite(parts) => nested::composite(parts, raw, tape)?,
            Self::PlainArray(_, delimiter) => literal::array(utf8(raw)?, *delimiter, tape)?,
        }
        Ok(())
    }
}

const fn malformed() -> Unread {
    Unread::Why("arrived in a form that this version does not know")
}

fn fixed<const N: usize>(raw: &[u8]) -> Decoded<[u8; N]> {
    raw.try_into().map_err(|_| malformed())
}

fn utf8(raw: &[u8]) -> Decoded<&str> {
    std::str::from_utf8(raw).map_err(|_| Unread::Why("holds text that is not UTF-8"))
}

/// A `"char"` as the server itself writes it as text.
fn char_text(byte: u8) -> String {
    match byte {
        0 => String::new(),
        1..=127 => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    }
}

fn decode_moment(moment: Moment, dates: Dates, raw: &[u8], tape: &mut Tape) -> Decoded<()> {
    let (value, infinite) = if moment == Moment::Date {
        let days = i32::from_be_bytes(fixed(raw)?);
        let infinite = infinity(days == i32::MAX, days == i32::MIN);
        (i64::from(days), infinite)
    } else {
        let microseconds = i64::from_be_bytes(fixed(raw)?);
        let infinite = infinity(microseconds == i64::MAX, microseconds == i64::MIN);
        (microseconds, infinite)
    };
    match (infinite, dates) {
        (Some(infinite), Dates::Milliseconds) => tape.number(infinite),
        (Some(infinite), _) => tape.text(if infinite > 0.0 {
            "infinity"
        } else {
            "-infinity"
        }),
        (None, Dates::Milliseconds) => {
            let milliseconds = if moment == Moment::Date {
                (value + i64::from(EPOCH_DAYS)) * DAY_MS
            } else {
                value.div_euclid(1000) + EPOCH_MS
            };
            if milliseconds.abs() <= MAX_DATE_MS {
                tape.number(milliseconds as f64);
            } else {
                // No Date reaches it.
                tape.flag(OTHER);
                let mut text = String::new();
                text::moment(moment, value, Dates::Text, &mut text);
                tape.unflagged_text(&text);
            }
        }
        (None, _) => tape.write_text(|out| text::moment(moment, value, dates, out)),
    }
    Ok(())
}

fn infinity(positive: bool, negative: bool) -> Option<f64> {
    match (positive, negative) {
        (true, _) => Some(f64::INFINITY),
        (_, true) => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn interval(raw: &[u8], tape: &mut Tape) -> Decoded<()> {
    let raw: [u8; 16] = fixed(raw)?;
    let microseconds = i64::from_be_bytes(fixed(&raw[..8])?);
    let days = i32::from_be_bytes(fixed(&raw[8..12])?);
    let months = i32::from_be_bytes(fixed(&raw[12..])?);
    let infinite = infinity(
        (microseconds, days, months) == (i64::MAX, i32::MAX, i32::MAX),
        (microseconds, days, months) == (i64::MIN, i32::MIN, i32::MIN),
    );
    if let Some(infinite) = infinite {
        tape.flag(OTHER);
        tape.numbers.push(infinite);
        return Ok(());
    }
    tape.integer(microseconds);
    tape.numbers.extend([f64::from(months), f64::from(days)]);
    Ok(())
}

fn decode_geometry(geometry: Geometry, raw: &[u8], tape: &mut Tape) -> Decoded<()> {
    let (head, numbers) = match geometry {
        Geometry::Path => raw.split_at_checked(5).ok_or_else(malformed)?,
        Geometry::Polygon => raw.split_at_checked(4).ok_or_else(malformed)?,
        _ => raw.split_at(0),
    };
    let numbers = doubles(numbers)?;
    let length = match geometry {
        Geometry::Point => 2,
        Geometry::Line | Geometry::Circle => 3,
        Geometry::Segment | Geometry::Box => 4,
        Geometry::Path => points(&head[1..])?,
        Geometry::Polygon => points(head)?,
    };
    if numbers.len() != length {
        return Err(malformed());
    }
    tape.flag(if geometry == Geometry::Path && head[0] == 0 {
        // An open path.
        OTHER
    } else {
        PRESENT
    });
    if matches!(geometry, Geometry::Path | Geometry::Polygon) {
        tape.length(length / 2);
    }
    tape.numbers.extend(numbers);
    Ok(())
}

/// How many numbers as many points have as the bytes tell.
fn points(count: &[u8]) -> Decoded<usize> {
    let count = i32::from_be_bytes(fixed(count)?);
    usize::try_from(count)
        .map(|it| 2 * it)
        .map_err(|_| malformed())
}

fn doubles(raw: &[u8]) -> Decoded<Vec<f64>> {
    let (chunks, rest) = raw.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(malformed());
    }
    Ok(chunks.iter().map(|it| f64::from_be_bytes(*it)).collect())
}

fn vector(raw: &[u8], tape: &mut Tape) -> Decoded<()> {
    let (head, numbers) = raw.split_at_checked(4).ok_or_else(malformed)?;
    let dimensions = usize::from(u16::from_be_bytes(fixed(&head[..2])?));
    let (chunks, rest) = numbers.as_chunks::<4>();
    if chunks.len() != dimensions || !rest.is_empty() {
        return Err(malformed());
    }
    tape.flag(PRESENT);
    tape.length(dimensions);
    let numbers = chunks
        .iter()
        .map(|it| number::widen(f32::from_be_bytes(*it)));
    tape.numbers.extend(numbers);
    Ok(())
}

#[cfg(test)]
mod tests;
