//! Intervals: units and their amounts, as an object or as the text of one.

use bytes::{BufMut as _, BytesMut};

use super::text::whole_number;
use super::{Mismatch, describe, fields};
use crate::query::values::{Codec, Param};

/// The part of an interval that a unit counts in.
#[derive(Clone, Copy, PartialEq)]
enum Counted {
    Months,
    Days,
    Microseconds,
}

use Counted::{Days, Microseconds, Months};

const HOUR: i128 = 60 * MINUTE;
const MINUTE: i128 = 60_000_000;

/// The units, in the words that the server reads, and how much of the part each is.
const UNITS: [(&str, Counted, i128); 9] = [
    ("years", Months, 12),
    ("months", Months, 1),
    ("weeks", Days, 7),
    ("days", Days, 1),
    ("hours", Microseconds, HOUR),
    ("minutes", Microseconds, MINUTE),
    ("seconds", Microseconds, 1_000_000),
    ("milliseconds", Microseconds, 1000),
    ("microseconds", Microseconds, 1),
];

/// Writes an interval of whole amounts in the binary format, which has every interval in every version of the server. `None`, and nothing
/// written, when it is another one.
pub(super) fn encode(param: &Param, out: &mut BytesMut) -> Option<()> {
    let amounts = match param {
        Param::Literal { text, .. } => told(text)?,
        _ => whole(&fields::of(param)?)?,
    };
    let sum = |part: Counted| {
        let parts = UNITS.iter().zip(amounts);
        parts
            .filter(|((_, counted, _), _)| *counted == part)
            .map(|((.., each), amount)| each * i128::from(amount.unwrap_or(0)))
            .sum::<i128>()
    };
    let microseconds = i64::try_from(sum(Microseconds)).ok()?;
    let days = i32::try_from(sum(Days)).ok()?;
    let months = i32::try_from(sum(Months)).ok()?;
    // From version 17 on these would be infinite.
    let is_infinite = matches!(
        (microseconds, days, months),
        (i64::MIN, i32::MIN, i32::MIN) | (i64::MAX, i32::MAX, i32::MAX)
    );
    if is_infinite || amounts.iter().all(Option::is_none) {
        return None;
    }
    out.put_i64(microseconds);
    out.put_i32(days);
    out.put_i32(months);
    Some(())
}

/// The amount of each unit of a text such as `+14 months -3 days`.
fn told(text: &str) -> Option<[Option<i64>; UNITS.len()]> {
    let mut amounts = [None; UNITS.len()];
    let mut words = text.split(' ');
    while let Some(amount) = words.next() {
        let unit = words.next()?;
        let index = UNITS.iter().position(|(name, ..)| *name == unit)?;
        amounts[index] = Some(amount.parse().ok()?);
    }
    Some(amounts)
}

/// The amount of each unit; `None` when one of them has a fraction, or when there is something else.
fn whole(units: &[(String, Param)]) -> Option<[Option<i64>; UNITS.len()]> {
    let mut amounts = [None; UNITS.len()];
    for (unit, amount) in units {
        let index = UNITS.iter().position(|(name, ..)| name == unit)?;
        amounts[index] = Some(whole_number(amount)?);
    }
    Some(amounts)
}

/// Writes an object of units. Each is written with its sign, as `IntervalStyle` may spread the first one's over the others.
pub(super) fn write(param: &Param, out: &mut String) -> Result<(), Mismatch> {
    let mismatch = || Mismatch::new(Codec::Interval.expected(), param);
    let units = fields::of(param).ok_or_else(mismatch)?;
    let amount = |value: &Param| match value {
        Param::BigInt(value) => Some(format!("{value:+}")),
        Param::Number(value) if value.is_finite() => Some(format!("{value:+}")),
        _ => None,
    };
    let is_unit = |name: &str| UNITS.iter().any(|(unit, ..)| *unit == name);
    let unknown = units
        .iter()
        .find(|(name, value)| !is_unit(name) || amount(value).is_none());
    if let Some((name, value)) = unknown {
        return Err(Mismatch {
            got: format!("one with `{name}`: {}", describe(value)),
            ..mismatch()
        });
    }
    let time = long_time(&units);
    let mut written: Vec<String> = UNITS
        .iter()
        .filter(|(_, counted, _)| time.is_none() || *counted != Microseconds)
        .filter_map(|(unit, ..)| Some(format!("{} {unit}", amount(fields::get(&units, unit)?)?)))
        .collect();
    written.extend(time);
    if written.is_empty() {
        return Err(mismatch());
    }
    out.push_str(&written.join(" "));
    Ok(())
}

/// The units of time, spread over those that hold them: before version 15 the server reads none beyond 32 bits in a text. `None` when
/// each is within them, or when one has a fraction, of which the server knows the meaning.
fn long_time(units: &[(String, Param)]) -> Option<String> {
    let mut sum = 0_i128;
    let mut is_long = false;
    for (unit, counted, each) in UNITS {
        if let (Microseconds, Some(amount)) = (counted, fields::get(units, unit)) {
            let amount = whole_number(amount)?;
            is_long |= i32::try_from(amount).is_err();
            sum += i128::from(amount) * each;
        }
    }
    is_long.then(|| {
        format!(
            "{:+} hours {:+} minutes {:+} microseconds",
            sum / HOUR,
            sum % HOUR / MINUTE,
            sum % MINUTE
        )
    })
}
