//! Values that hold other values.

use bytes::Buf as _;

use super::{Decoded, Unread, malformed, utf8};
use crate::query::values::tape::{MOST_BYTES, PRESENT};
use crate::query::values::{Codec, Part, Tape};

/// The server's own limit on the dimensions of an array.
const MAX_DIMENSIONS: i32 = 6;

/// A range is empty.
const EMPTY: u8 = 0x01;
/// A range has no lower bound.
const LOWER_INFINITE: u8 = 0x08;
/// A range has no upper bound.
const UPPER_INFINITE: u8 = 0x10;

/// Writes the number of dimensions, the length and the lower bound of each, and the elements.
pub(super) fn array(element: &Codec, raw: &[u8], tape: &mut Tape) -> Decoded<()> {
    let mut rest = raw;
    let short = |_| malformed();
    let dimensions = rest.try_get_i32().map_err(short)?;
    let _has_nulls = rest.try_get_i32().map_err(short)?;
    let _element_oid = rest.try_get_u32().map_err(short)?;
    if !(0..=MAX_DIMENSIONS).contains(&dimensions) {
        return Err(malformed());
    }
    tape.number(dimensions);
    let told = tape.numbers.len();
    let mut count = usize::from(dimensions > 0);
    for _ in 0..dimensions {
        let length = rest.try_get_i32().map_err(short)?;
        let lower_bound = rest.try_get_i32().map_err(short)?;
        let elements = usize::try_from(length).map_err(|_| malformed())?;
        count = count.checked_mul(elements).ok_or_else(malformed)?;
        tape.numbers
            .extend([f64::from(length), f64::from(lower_bound)]);
    }
    if count == 0 {
        // What is empty has no dimensions: with a length of 0 behind it, a length has no bytes that it would have to be true to.
        tape.numbers.truncate(told);
        tape.numbers[told - 1] = 0.0;
    }
    let start = tape.bytes_len();
    for _ in 0..count {
        element.decode(next(&mut rest)?, tape)?;
        bounded(tape.bytes_len() - start)?;
    }
    end(rest)
}

/// Refuses a value of more bytes than there is room for: a numeric of ten bytes can have a text of 131,072.
fn bounded(bytes: usize) -> Decoded<()> {
    if bytes > MOST_BYTES {
        return Err(Unread::Why("holds more than 1 GiB of text"));
    }
    Ok(())
}

/// Writes the flags, and the bounds that there are.
pub(super) fn range(bound: &Codec, raw: &[u8], tape: &mut Tape) -> Decoded<()> {
    let (&flags, mut rest) = raw.split_first().ok_or_else(malformed)?;
    tape.number(flags);
    if flags & EMPTY == 0 {
        for infinite in [LOWER_INFINITE, UPPER_INFINITE] {
            if flags & infinite == 0 {
                bound.decode(next(&mut rest)?, tape)?;
            }
        }
    }
    end(rest)
}

/// Writes the number of ranges, and the ranges.
pub(super) fn multirange(range: &Codec, raw: &[u8], tape: &mut Tape) -> Decoded<()> {
    let mut rest = raw;
    let count = count(&mut rest)?;
    tape.flag(PRESENT);
    tape.length(count);
    let start = tape.bytes_len();
    for _ in 0..count {
        range.decode(next(&mut rest)?, tape)?;
        bounded(tape.bytes_len() - start)?;
    }
    end(rest)
}

/// Writes the fields.
pub(super) fn composite(parts: &[Part], raw: &[u8], tape: &mut Tape) -> Decoded<()> {
    let mut rest = raw;
    if count(&mut rest)? != parts.len() {
        return Err(Unread::Stale);
    }
    tape.flag(PRESENT);
    for part in parts {
        if rest.try_get_u32().map_err(|_| malformed())? != part.oid {
            return Err(Unread::Stale);
        }
        part.codec.decode(next(&mut rest)?, tape)?;
    }
    end(rest)
}

/// Writes the number of pairs, and the pairs: a key, a flag, and a value unless it is null.
pub(super) fn hstore(raw: &[u8], tape: &mut Tape) -> Decoded<()> {
    let mut rest = raw;
    let count = count(&mut rest)?;
    tape.flag(PRESENT);
    tape.length(count);
    for _ in 0..count {
        let key = next(&mut rest)?.ok_or_else(malformed)?;
        tape.unflagged_text(utf8(key)?);
        match next(&mut rest)? {
            Some(value) => tape.text(utf8(value)?),
            None => tape.null(),
        }
    }
    end(rest)
}

/// A number of parts. Each takes four bytes at least, so a false number ends where the bytes end.
fn count(rest: &mut &[u8]) -> Decoded<usize> {
    let count = rest.try_get_i32().map_err(|_| malformed())?;
    usize::try_from(count).map_err(|_| malformed())
}

/// A part with its length before it; `None` is null.
fn next<'a>(rest: &mut &'a [u8]) -> Decoded<Option<&'a [u8]>> {
    let length = rest.try_get_i32().map_err(|_| malformed())?;
    let Ok(length) = usize::try_from(length) else {
        return if length == -1 {
            Ok(None)
        } else {
            Err(malformed())
        };
    };
    let (part, after) = rest.split_at_checked(length).ok_or_else(malformed)?;
    *rest = after;
    Ok(Some(part))
}

fn end(rest: &[u8]) -> Decoded<()> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(malformed())
    }
}
