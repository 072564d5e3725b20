//! Parameters as the text that the server reads, for what has no binary form of ours.
//!
//! The text is read in the same way whatever `DateStyle`, `IntervalStyle` and `TimeZone` are.

use std::fmt::Write as _;

use super::array::{Step, dimensions, walk};
use super::{Mismatch, fields, interval, json_text, safe_integer};
use crate::query::values::codec::Geometry;
use crate::query::values::{Codec, Moment, Param, Part, decode, number};

type Written = Result<(), Mismatch>;

/// So many bytes a name has at most.
const MOST_NAME: usize = 63;

/// Writes a parameter that is not null.
pub(super) fn write(codec: &Codec, param: &Param, out: &mut String) -> Written {
    match (codec, param) {
        // The server would cut off what is longer than a `"char"` or a name.
        (Codec::Char, Param::Text(text)) if char_byte(text).is_some() => out.push_str(text),
        (Codec::Name, _) => {
            let start = out.len();
            write(&Codec::Text, param, out)?;
            if out.len() - start > MOST_NAME {
                return Err(mismatch(codec, param));
            }
        }
        (Codec::Json | Codec::Jsonb, _) => out.push_str(&json_text(param)?),
        // Any other text could be of any encoding.
        (Codec::Bytea, Param::Text(text)) if text.starts_with("\\x") => out.push_str(text),
        (Codec::Bytea, Param::Bytes(bytes)) => {
            out.push_str("\\x");
            for byte in bytes {
                let _ = write!(out, "{byte:02x}");
            }
        }
        (Codec::Void | Codec::Char | Codec::Bytea, _) => return Err(mismatch(codec, param)),
        (_, Param::Text(text) | Param::Literal { text, .. }) => out.push_str(text),
        (Codec::Bool, Param::Bool(value)) => out.push(if *value { 't' } else { 'f' }),
        (Codec::Int2 | Codec::Int4 | Codec::Int8, _) => integer(codec, param, out)?,
        (Codec::Oid | Codec::Xid8, _) => unsigned(codec, param, out)?,
        (Codec::Float4 | Codec::Float8, _) => float(codec, param, out)?,
        // A point is no decimal one everywhere: with `lc_monetary` of Germany `12.5` is 125.
        (Codec::Money, _) => {
            out.push_str(&digits(param).ok_or_else(|| mismatch(codec, param))?);
        }
        (Codec::Numeric | Codec::Text | Codec::Xml | Codec::Plain, _) => {
            scalar(codec, param, out)?;
        }
        (Codec::Moment(moment, _), Param::Date(ms)) => {
            let text = server_iso(*ms);
            match text.split_once('T') {
                // The day alone, and its era.
                Some((day, time)) if *moment == Moment::Date => {
                    out.push_str(day);
                    out.push_str(if time.ends_with("BC") { " BC" } else { "" });
                }
                _ => out.push_str(&text),
            }
        }
        // As they are read.
        (Codec::Moment(..) | Codec::Interval, Param::Number(value)) if value.is_infinite() => {
            out.push_str(if *value > 0.0 {
                "infinity"
            } else {
                "-infinity"
            });
        }
        (Codec::Interval, _) => interval::write(param, out)?,
        (Codec::Geometry(geometry), _) => {
            write_geometry(*geometry, param, out).ok_or_else(|| mismatch(codec, param))?;
        }
        (Codec::Hstore, _) => hstore(param, out)?,
        (Codec::Vector, Param::Array(values)) => {
            let numbers: Option<Vec<String>> = values.iter().map(finite).collect();
            let numbers = numbers.ok_or_else(|| mismatch(codec, param))?;
            let _ = write!(out, "[{}]", numbers.join(","));
        }
        // Its bounds are always the same.
        (Codec::IdVector(part), Param::Array(values) | Param::Bounded(_, values)) => {
            for (index, value) in values.iter().enumerate() {
                out.push_str(if index > 0 { " " } else { "" });
                write(&part.codec, value, out)?;
            }
        }
        (Codec::Array(_) | Codec::PlainArray(..), Param::Array(values)) => {
            array(codec, None, values, out)?;
        }
        (Codec::Array(_) | Codec::PlainArray(..), Param::Bounded(bounds, values)) => {
            array(codec, Some(bounds), values, out)?;
        }
        (Codec::Range(part), _) => range(part, param, out)?,
        (Codec::Multirange(part), Param::Array(values)) => {
            out.push('{');
            for (index, value) in values.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                write(&part.codec, value, out)?;
            }
            out.push('}');
        }
        (Codec::Composite(parts), _) => composite(parts, param, out)?,
        _ => return Err(mismatch(codec, param)),
    }
    Ok(())
}

/// The byte of a `"char"`: at most one character of ASCII, or a byte beyond it as a backslash and three octal digits.
pub(super) fn char_byte(text: &str) -> Option<u8> {
    match *text.as_bytes() {
        [] => Some(0),
        [byte] => Some(byte),
        [b'\\', ref octal @ ..] if octal.len() == 3 && octal.iter().all(u8::is_ascii_digit) => {
            u8::from_str_radix(&text[1..], 8).ok()
        }
        _ => None,
    }
}

fn mismatch(codec: &Codec, param: &Param) -> Mismatch {
    Mismatch::new(codec.expected(), param)
}

/// A moment as `Date.prototype.toISOString` writes it.
pub(in crate::query::values) fn iso(ms: f64) -> String {
    let (year, rest) = year_and_rest(ms);
    if (0..=9999).contains(&year) {
        format!("{year:04}{rest}")
    } else {
        format!("{year:+07}{rest}")
    }
}

/// A moment in ISO 8601, with an era and not a sign: that is what the server reads.
fn server_iso(ms: f64) -> String {
    let (year, rest) = year_and_rest(ms);
    if year > 0 {
        format!("{year:04}{rest}")
    } else {
        format!("{:04}{rest} BC", 1 - year)
    }
}

/// The year of a moment, and the rest of its text in ISO 8601.
fn year_and_rest(ms: f64) -> (i64, String) {
    let ms = super::whole(ms);
    let of_day = ms.rem_euclid(super::DAY_MS);
    let (year, month, day) = decode::civil(ms.div_euclid(super::DAY_MS));
    let seconds = of_day / 1000;
    let rest = format!(
        "-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        of_day % 1000
    );
    (year, rest)
}

fn integer(codec: &Codec, param: &Param, out: &mut String) -> Written {
    let value = whole_number(param).ok_or_else(|| mismatch(codec, param))?;
    let fits = match codec {
        Codec::Int2 => i16::try_from(value).is_ok(),
        Codec::Int4 => i32::try_from(value).is_ok(),
        _ => true,
    };
    if !fits {
        return Err(mismatch(codec, param));
    }
    let _ = write!(out, "{value}");
    Ok(())
}

fn unsigned(codec: &Codec, param: &Param, out: &mut String) -> Written {
    let text = digits(param).unwrap_or_default();
    let fits = match codec {
        Codec::Oid => text.parse::<u32>().is_ok(),
        _ => text.parse::<u64>().is_ok(),
    };
    if !fits {
        return Err(mismatch(codec, param));
    }
    out.push_str(&text);
    Ok(())
}

pub(super) fn whole_number(param: &Param) -> Option<i64> {
    match param {
        Param::Number(value) => safe_integer(*value),
        Param::BigInt(value) => Some(*value),
        _ => None,
    }
}

/// The digits of an integer, and its sign.
fn digits(param: &Param) -> Option<String> {
    match param {
        Param::HugeInt(text) => Some(text.clone()),
        _ => whole_number(param).map(|it| it.to_string()),
    }
}

fn float(codec: &Codec, param: &Param, out: &mut String) -> Written {
    if let Param::Number(value) = param {
        if *codec == Codec::Float4 {
            super::float4(*value, param)?;
        }
        out.push_str(&number::text(*value));
        return Ok(());
    }
    let text = digits(param).ok_or_else(|| mismatch(codec, param))?;
    // Beyond 2^53 a float8 has gaps, and beyond 2^24 a float4.
    let nearest = match codec {
        Codec::Float8 => text.parse::<f64>().map(|it| format!("{it:.0}")),
        _ => text.parse::<f32>().map(|it| format!("{it:.0}")),
    };
    if nearest.as_ref() != Ok(&text) {
        return Err(mismatch(codec, param));
    }
    out.push_str(&text);
    Ok(())
}

/// A value as JavaScript's `String()` writes it.
fn scalar(codec: &Codec, param: &Param, out: &mut String) -> Written {
    match param {
        Param::Bool(value) if *codec != Codec::Numeric => {
            out.push_str(if *value { "true" } else { "false" });
        }
        // A sum with zero is never -0, of which `String()` does not write the sign.
        Param::Number(value) => out.push_str(&number::text(*value + 0.0)),
        Param::BigInt(value) => {
            let _ = write!(out, "{value}");
        }
        Param::HugeInt(value) => out.push_str(value),
        _ => return Err(mismatch(codec, param)),
    }
    Ok(())
}

/// A number that is neither infinite nor NaN.
fn finite(param: &Param) -> Option<String> {
    match param {
        Param::Number(value) if value.is_finite() => Some(number::text(*value)),
        Param::BigInt(value) => Some(value.to_string()),
        _ => None,
    }
}

fn write_geometry(geometry: Geometry, param: &Param, out: &mut String) -> Option<()> {
    match geometry {
        Geometry::Point => out.push_str(&point(param)?),
        Geometry::Segment | Geometry::Box => {
            let ends = points(param)?;
            if ends.len() != 2 {
                return None;
            }
            out.push_str(&ends.join(","));
        }
        Geometry::Polygon => {
            let _ = write!(out, "({})", points(param)?.join(","));
        }
        Geometry::Path => {
            let fields = fields::of(param)?;
            let points = points(fields::get(&fields, "points")?)?.join(",");
            match fields::get(&fields, "closed")? {
                Param::Bool(true) => {
                    let _ = write!(out, "({points})");
                }
                Param::Bool(false) => {
                    let _ = write!(out, "[{points}]");
                }
                _ => return None,
            }
        }
        Geometry::Line => {
            let [a, b, c] = numbers(param, ["a", "b", "c"])?;
            let _ = write!(out, "{{{a},{b},{c}}}");
        }
        Geometry::Circle => {
            let [x, y, radius] = numbers(param, ["x", "y", "radius"])?;
            let _ = write!(out, "<({x},{y}),{radius}>");
        }
    }
    Some(())
}

fn points(param: &Param) -> Option<Vec<String>> {
    match param {
        Param::Array(values) => values.iter().map(point).collect(),
        _ => None,
    }
}

fn point(param: &Param) -> Option<String> {
    let [x, y] = numbers(param, ["x", "y"])?;
    Some(format!("({x},{y})"))
}

/// Numbers by their names. JSON has no infinity, so it stands there as null, which is refused.
fn numbers<const N: usize>(param: &Param, names: [&str; N]) -> Option<[String; N]> {
    let fields = fields::of(param)?;
    let mut numbers = [const { String::new() }; N];
    for (number, name) in numbers.iter_mut().zip(names) {
        *number = match fields::get(&fields, name)? {
            Param::Number(value) => number::text(*value),
            Param::BigInt(value) => value.to_string(),
            _ => return None,
        };
    }
    Some(numbers)
}

fn hstore(param: &Param, out: &mut String) -> Written {
    let pairs = fields::of(param).ok_or_else(|| mismatch(&Codec::Hstore, param))?;
    for (index, (key, value)) in pairs.iter().enumerate() {
        out.push_str(if index > 0 { "," } else { "" });
        escaped(key, out);
        out.push_str("=>");
        match value {
            Param::Null => out.push_str("NULL"),
            value => {
                let mut text = String::new();
                write(&Codec::Text, value, &mut text)?;
                escaped(&text, out);
            }
        }
    }
    Ok(())
}

/// Text in double quotes, with a backslash before each of those and of itself.
fn escaped(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

/// Text in double quotes, with each of those and each backslash doubled, as composites and ranges have it.
fn doubled(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push(character);
        }
        out.push(character);
    }
    out.push('"');
}

fn array(codec: &Codec, bounds: Option<&[i32]>, values: &[Param], out: &mut String) -> Written {
    let (Codec::Array(part) | Codec::PlainArray(part, _)) = codec else {
        return Err(mismatch(codec, &Param::Null));
    };
    let (element, delimiter) = (&part.codec, delimiter(codec));
    let lengths = dimensions(element, bounds, values)?;
    // An empty array has no dimensions, however deep it is written.
    let is_empty = lengths.contains(&0);
    let start = out.len();
    if let Some(bounds) = bounds {
        for (length, lower) in lengths.iter().zip(bounds) {
            let upper = i64::from(*lower) + i64::try_from(*length).unwrap_or(i64::MAX) - 1;
            let _ = write!(out, "[{lower}:{upper}]");
        }
        out.push('=');
    }
    walk(&lengths, values, &mut |step| {
        match step {
            Step::Open => out.push('{'),
            Step::Next => out.push(delimiter),
            Step::Close => out.push('}'),
            Step::Element(Param::Null) => out.push_str("NULL"),
            Step::Element(param) => {
                let mut text = String::new();
                write(element, param, &mut text)?;
                escaped(&text, out);
            }
        }
        Ok(())
    })?;
    if is_empty {
        out.truncate(start);
        out.push_str("{}");
    }
    Ok(())
}

/// What separates the elements of an array, also of one of domains over arrays.
fn delimiter(codec: &Codec) -> char {
    match codec {
        Codec::PlainArray(_, delimiter) => *delimiter,
        Codec::Array(part) => delimiter(&part.codec),
        // The only built-in type with another one.
        Codec::Geometry(Geometry::Box) => ';',
        _ => ',',
    }
}

fn range(part: &Part, param: &Param, out: &mut String) -> Written {
    let codec = || Codec::Range(Box::new(part.clone()));
    let fields = fields::of(param).ok_or_else(|| mismatch(&codec(), param))?;
    let known = [
        "lower",
        "upper",
        "lowerInclusive",
        "upperInclusive",
        "isEmpty",
    ];
    if !fields.iter().all(|(name, _)| known.contains(&&**name)) {
        return Err(mismatch(&codec(), param));
    }
    let flag = |name: &str, default: bool| match fields::get(&fields, name) {
        None => Ok(default),
        Some(Param::Bool(value)) => Ok(*value),
        Some(_) => Err(mismatch(&codec(), param)),
    };
    if flag("isEmpty", false)? {
        out.push_str("empty");
        return Ok(());
    }
    out.push(if flag("lowerInclusive", true)? {
        '['
    } else {
        '('
    });
    bound(part, fields::get(&fields, "lower"), out)?;
    out.push(',');
    bound(part, fields::get(&fields, "upper"), out)?;
    out.push(if flag("upperInclusive", false)? {
        ']'
    } else {
        ')'
    });
    Ok(())
}

/// A bound; nothing when there is none.
fn bound(part: &Part, param: Option<&Param>, out: &mut String) -> Written {
    match param {
        None | Some(Param::Null) => Ok(()),
        Some(param) => quoted(&part.codec, param, out),
    }
}

fn quoted(codec: &Codec, param: &Param, out: &mut String) -> Written {
    let mut text = String::new();
    write(codec, param, &mut text)?;
    doubled(&text, out);
    Ok(())
}

fn composite(parts: &[Part], param: &Param, out: &mut String) -> Written {
    let codec = || Codec::Composite(parts.to_vec());
    let named = fields::of(param);
    let values: Vec<&Param> = match (param, &named) {
        (Param::Array(values), _) if values.len() == parts.len() => values.iter().collect(),
        (Param::Array(values), _) => {
            return Err(Mismatch {
                got: format!("an array of {}", values.len()),
                ..Mismatch::new(
                    format!("an array of {}, one for each field", parts.len()),
                    param,
                )
            });
        }
        (_, Some(named)) => {
            let unknown = named
                .iter()
                .find(|(name, _)| parts.iter().all(|part| part.name != *name));
            if let Some((name, _)) = unknown {
                let fields: Vec<String> = parts
                    .iter()
                    .map(|part| format!("`{}`", part.name))
                    .collect();
                return Err(Mismatch {
                    got: format!("one with `{name}`"),
                    ..Mismatch::new(
                        format!("an object with the fields {}", fields.join(", ")),
                        param,
                    )
                });
            }
            let value = |part: &Part| fields::get(named, &part.name).unwrap_or(&Param::Null);
            parts.iter().map(value).collect()
        }
        _ => return Err(mismatch(&codec(), param)),
    };
    out.push('(');
    for (index, (part, value)) in parts.iter().zip(values).enumerate() {
        out.push_str(if index > 0 { "," } else { "" });
        if *value != Param::Null {
            quoted(&part.codec, value, out)?;
        }
    }
    out.push(')');
    Ok(())
}
