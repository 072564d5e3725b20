//! numeric's binary format: a sign, a scale, and digits in base 10000.

use std::fmt::Write as _;

use bytes::{Buf as _, BufMut as _, BytesMut};

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const POSITIVE_INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// The server's limits on digits before and after the point.
const MAX_INTEGER_DIGITS: i64 = 131_072;
const MAX_SCALE: i64 = 16_383;

/// The decimal text, exactly as the server would write it. `None` when the input is malformed.
pub(super) fn decode(mut raw: &[u8]) -> Option<String> {
    let count = raw.try_get_u16().ok()?;
    let weight = i32::from(raw.try_get_i16().ok()?);
    let sign = raw.try_get_u16().ok()?;
    let scale = usize::from(raw.try_get_u16().ok()?);
    let mut groups = Vec::with_capacity(count.into());
    for _ in 0..count {
        groups.push(raw.try_get_u16().ok().filter(|group| *group < 10_000)?);
    }
    if !raw.is_empty() {
        return None;
    }
    let mut text = String::new();
    match sign {
        POSITIVE => {}
        NEGATIVE => text.push('-'),
        NAN => return Some("NaN".to_owned()),
        POSITIVE_INFINITY => return Some("Infinity".to_owned()),
        NEGATIVE_INFINITY => return Some("-Infinity".to_owned()),
        _ => return None,
    }
    let group = |position: i32| {
        usize::try_from(position)
            .ok()
            .and_then(|position| groups.get(position))
            .copied()
            .unwrap_or(0)
    };
    if weight < 0 {
        text.push('0');
    } else {
        let _ = write!(text, "{}", group(0));
        for position in 1..=weight {
            let _ = write!(text, "{:04}", group(position));
        }
    }
    if scale > 0 {
        text.push('.');
        let whole = text.len() + scale;
        let mut position = weight + 1;
        while text.len() < whole {
            let _ = write!(text, "{:04}", group(position));
            position += 1;
        }
        text.truncate(whole);
    }
    Some(text)
}

/// Writes decimal text: digits with an optional sign, point and exponent, or `NaN`, `Infinity`, `-Infinity`.
/// `None`, and nothing written, when it is no such text or beyond the server's limits.
pub(super) fn encode(text: &str, out: &mut BytesMut) -> Option<()> {
    let text = text.trim();
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => (NEGATIVE, &text[1..]),
        b'+' => (POSITIVE, &text[1..]),
        _ => (POSITIVE, text),
    };
    let special = match unsigned.to_ascii_lowercase().as_str() {
        "nan" if unsigned.len() == text.len() => Some(NAN),
        "infinity" | "inf" if sign == NEGATIVE => Some(NEGATIVE_INFINITY),
        "infinity" | "inf" => Some(POSITIVE_INFINITY),
        _ => None,
    };
    if let Some(special) = special {
        write(out, 0, special, 0, &[]);
        return Some(());
    }

    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = Vec::with_capacity(integer.len() + fraction.len() + 8);
    digits.extend_from_slice(integer.as_bytes());
    digits.extend_from_slice(fraction.as_bytes());
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let exponent = i64::from(exponent);
    let scale = (i64::try_from(fraction.len()).ok()? - exponent).max(0);
    // How many digits stand before the point; negative when zeros follow it.
    let mut point = i64::try_from(integer.len()).ok()? + exponent;
    let leading_zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.drain(..leading_zeros);
    point -= i64::try_from(leading_zeros).ok()?;
    if scale > MAX_SCALE || (!digits.is_empty() && point > MAX_INTEGER_DIGITS) {
        return None;
    }
    let (weight, groups) = group(digits, point);
    let sign = if groups.is_empty() { POSITIVE } else { sign };
    write(
        out,
        i16::try_from(weight).ok()?,
        sign,
        u16::try_from(scale).ok()?,
        &groups,
    );
    Some(())
}

/// Groups of four digits, aligned at the point, without zero groups at either end; and the first one's weight.
fn group(mut digits: Vec<u8>, point: i64) -> (i64, Vec<u16>) {
    let padding = usize::try_from((-point).rem_euclid(4)).unwrap_or(0);
    digits.splice(..0, std::iter::repeat_n(b'0', padding));
    let mut weight = (point + (-point).rem_euclid(4)) / 4 - 1;
    digits.resize(digits.len().next_multiple_of(4), b'0');
    let mut groups: Vec<u16> = digits
        .chunks(4)
        .map(|four| {
            four.iter()
                .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
        })
        .collect();
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..zeros);
    weight -= i64::try_from(zeros).unwrap_or(0);
    if groups.is_empty() {
        weight = 0;
    }
    (weight, groups)
}

fn write(out: &mut BytesMut, weight: i16, sign: u16, scale: u16, groups: &[u16]) {
    // At most (131072 + 16383) / 4 + 1 groups.
    out.put_u16(u16::try_from(groups.len()).unwrap_or(u16::MAX));
    out.put_i16(weight);
    out.put_u16(sign);
    out.put_u16(scale);
    for group in groups {
        out.put_u16(*group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> Option<String> {
        let mut out = BytesMut::new();
        encode(text, &mut out)?;
        decode(&out)
    }

    #[test]
    fn decimal_text_comes_back_as_the_server_writes_it() {
        for (given, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("0.000", "0.000"),
            ("-0.00", "0.00"),
            ("1", "1"),
            ("+1", "1"),
            ("00012", "12"),
            ("10000", "10000"),
            ("100000000", "100000000"),
            ("12345678.87654321", "12345678.87654321"),
            ("-1.50", "-1.50"),
            (".5", "0.5"),
            ("5.", "5"),
            ("0.00001", "0.00001"),
            ("0.00000001", "0.00000001"),
            ("1e3", "1000"),
            ("1.5e3", "1500"),
            ("1.2345e2", "123.45"),
            ("1e-7", "0.0000001"),
            ("12e-1", "1.2"),
            ("1E+2", "100"),
            ("NaN", "NaN"),
            ("infinity", "Infinity"),
            ("-Inf", "-Infinity"),
        ] {
            assert_eq!(round_trip(given).as_deref(), Some(expected), "{given}");
        }
    }

    #[test]
    fn the_largest_numbers_are_exact() {
        let huge = format!("{}.{}", "9".repeat(131_072), "1".repeat(16_383));
        assert_eq!(round_trip(&huge), Some(huge));
        let large = round_trip("1e131071").unwrap();
        assert_eq!(large.len(), 131_072);
        let small = round_trip("1e-16383").unwrap();
        assert_eq!(small.len(), 16_385);
    }

    #[test]
    fn other_text_and_numbers_beyond_the_limits_are_refused() {
        for text in [
            "",
            " ",
            "-",
            ".",
            "e5",
            "1e",
            "1.2.3",
            "0x10",
            "1_000",
            "--1",
            "+-1",
            "-NaN",
            "1e131072",
            "1e-16384",
            "1e99999999999",
            "٣",
        ] {
            assert_eq!(round_trip(text), None, "{text}");
        }
        // Zero has no digits that could be too many.
        assert_eq!(round_trip("0e200000").as_deref(), Some("0"));
    }

    #[test]
    fn the_bytes_are_those_of_the_server() {
        let mut out = BytesMut::new();
        encode("-12345.678", &mut out).unwrap();
        // One group of weight 1 (1), 2345, and 6780 after the point; a scale of 3.
        assert_eq!(
            out.as_ref(),
            [0, 3, 0, 1, 0x40, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1A, 0x7C]
        );
    }
}
