//! Numbers as JavaScript writes them.

use std::fmt::LowerExp;
use std::str::FromStr;

/// What `String(value)` gives in JavaScript (<https://tc39.es/ecma262/#sec-numeric-types-number-tostring>): the shortest digits that
/// name the number. `-0` keeps its sign, unlike there.
pub(super) fn text(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "NaN".to_owned()
        } else if value > 0.0 {
            "Infinity".to_owned()
        } else {
            "-Infinity".to_owned()
        };
    }
    let scientific = closest(value, MANY_DIGITS);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, unsigned) = match mantissa.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", mantissa),
    };
    let digits = unsigned.replace('.', "");
    match usize::try_from(exponent) {
        Ok(exponent) if exponent < 21 => {
            let whole = exponent + 1;
            match digits.split_at_checked(whole) {
                Some((_, "")) => format!("{sign}{digits}"),
                Some((before, after)) => format!("{sign}{before}.{after}"),
                None => format!("{sign}{digits:0<whole$}"),
            }
        }
        Err(_) if exponent >= -6 => {
            let zeros = "0".repeat(usize::try_from(-1 - exponent).unwrap_or(0));
            format!("{sign}0.{zeros}{digits}")
        }
        _ => format!("{mantissa}e{exponent:+}"),
    }
}

/// The number that the shortest digits name which name this one among the numbers of its own type: 0.1, not 0.10000000149011612.
pub(super) fn widen(value: f32) -> f64 {
    closest(value, MANY_DIGITS_OF_A_FLOAT)
        .parse()
        .unwrap_or_else(|_| value.into())
}

/// From so many digits on, two numbers of as few digits can be equally near.
const MANY_DIGITS: usize = 15;
const MANY_DIGITS_OF_A_FLOAT: usize = 7;

/// The number with the fewest digits that names it, in scientific notation. Of two that are equally near it is the even one, as in
/// JavaScript and on the server; Rust's shortest form is the other one.
fn closest<T: LowerExp + FromStr + PartialEq>(value: T, many: usize) -> String {
    let shortest = format!("{value:e}");
    let mantissa = shortest.split('e').next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    if digits >= many {
        let rounded = format!("{value:.*e}", digits - 1);
        if rounded.parse().is_ok_and(|parsed: T| parsed == value) {
            return rounded;
        }
    }
    shortest
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn numbers_are_written_as_javascript_writes_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-7"),
            (0.000_001_5, "0.0000015"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
            (5e-324, "5e-324"),
            (1e-6, "0.000001"),
            (-1.25, "-1.25"),
            (1.5e20, "150000000000000000000"),
            (-1.23e25, "-1.23e+25"),
            // Halfway between numbers of 17 digits.
            (-120.728_912_353_515_63, "-120.72891235351562"),
            (8.000_000_000_000_002, "8.000000000000002"),
            ((1_u64 << 60) as f64, "1152921504606847000"),
        ] {
            assert_eq!(text(value), expected);
        }
    }
}
