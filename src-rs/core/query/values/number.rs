//! Numbers as JavaScript writes them.

use std::fmt::Write as _;

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
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-6..21).contains(&exponent) {
        return value.to_string();
    }
    let mut text = mantissa.to_owned();
    let _ = write!(text, "e{exponent:+}");
    text
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
        ] {
            assert_eq!(text(value), expected);
        }
    }
}
