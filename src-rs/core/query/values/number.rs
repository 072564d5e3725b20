//! Numbers as JavaScript writes them.

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
    let mut buffer = zmij::Buffer::new();
    let (sign, digits, exponent) = scientific(buffer.format_finite(value));
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
        _ => {
            let (first, others) = digits.split_at(1);
            let point = if others.is_empty() { "" } else { "." };
            format!("{sign}{first}{point}{others}e{exponent:+}")
        }
    }
}

/// The sign of a number, its digits without zeros around them, and the power of ten of the first one. Of two numbers with as few digits
/// that are equally near, the text has to be the even one, as in JavaScript and on the server, which that of the standard library is not.
fn scientific(shortest: &str) -> (&'static str, String, i32) {
    let (sign, unsigned) = match shortest.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", shortest),
    };
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    if significant.is_empty() {
        return (sign, "0".to_owned(), 0);
    }
    // A text of some thirty characters.
    let length = |text: &str| i32::try_from(text.len()).unwrap_or(i32::MAX);
    let first = length(whole) - 1 - (length(&all) - length(significant));
    let digits = significant.trim_end_matches('0').to_owned();
    (sign, digits, exponent.parse::<i32>().unwrap_or(0) + first)
}

/// The number that the shortest digits name which name this one among the numbers of its own type: 0.1, not 0.10000000149011612.
pub(super) fn widen(value: f32) -> f64 {
    if value.is_finite()
        && let Ok(widened) = zmij::Buffer::new().format_finite(value).parse()
    {
        return widened;
    }
    value.into()
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
            (10.0, "10"),
            (1_234.5, "1234.5"),
            (1e15, "1000000000000000"),
            (1e16, "10000000000000000"),
            (1.234_567_890_123_456_8e17, "123456789012345680"),
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
