//! The text of values that are no numbers, as the server writes it with `DateStyle` ISO and `TimeZone` UTC.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::query::values::{Dates, EPOCH_DAYS, Moment};

const DAY: i64 = 86_400_000_000;

/// `HH:MM:SS`, with as many decimals as are needed.
pub(super) fn time(microseconds: i64, out: &mut String) {
    let seconds = microseconds.div_euclid(1_000_000);
    let _ = write!(
        out,
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    let decimals = microseconds.rem_euclid(1_000_000);
    if decimals > 0 {
        let text = format!(".{decimals:06}");
        out.push_str(text.trim_end_matches('0'));
    }
}

/// A time, and an offset from UTC. The server counts the zone towards the west, in seconds.
pub(super) fn timetz(microseconds: i64, west: i32, out: &mut String) {
    time(microseconds, out);
    let offset = west.unsigned_abs();
    let _ = write!(
        out,
        "{}{:02}",
        if west > 0 { '-' } else { '+' },
        offset / 3600
    );
    let (minutes, seconds) = (offset / 60 % 60, offset % 60);
    if minutes > 0 || seconds > 0 {
        let _ = write!(out, ":{minutes:02}");
    }
    if seconds > 0 {
        let _ = write!(out, ":{seconds:02}");
    }
}

/// A moment. `value` is in days or microseconds from 2000-01-01.
pub(super) fn moment(moment: Moment, value: i64, dates: Dates, out: &mut String) {
    let days = match moment {
        Moment::Date => value,
        _ => value.div_euclid(DAY),
    };
    let (year, month, day) = civil(days + i64::from(EPOCH_DAYS));
    let is_iso = dates == Dates::Iso;
    let is_before_christ = year <= 0 && !is_iso;
    if is_before_christ {
        // There is no year 0: the year before 1 is 1 BC.
        let _ = write!(out, "{:04}", 1 - year);
    } else if is_iso && !(0..=9999).contains(&year) {
        let _ = write!(out, "{year:+07}");
    } else {
        let _ = write!(out, "{year:04}");
    }
    let _ = write!(out, "-{month:02}-{day:02}");
    if moment != Moment::Date {
        out.push(if is_iso { 'T' } else { ' ' });
        time(value.rem_euclid(DAY), out);
    }
    if moment == Moment::TimestampTz {
        out.push_str(if is_iso { "Z" } else { "+00" });
    }
    if is_before_christ {
        out.push_str(" BC");
    }
}

/// The year, month and day of a number of days from 1970-01-01, in the Gregorian calendar.
///
/// The years are counted from March, so that the leap day is the last one, and in eras of 400 years, which are all alike.
pub(in crate::query::values) fn civil(days: i64) -> (i64, i64, i64) {
    // 0000-03-01 is 719,468 days before 1970-01-01.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

/// An inet or cidr. The first leaves out a mask that covers the whole address.
pub(super) fn network(raw: &[u8]) -> Option<String> {
    let (&[family, bits, is_cidr, length], address) = raw.split_first_chunk::<4>()?;
    if usize::from(length) != address.len() {
        return None;
    }
    let mut text = match family {
        2 => Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).to_string(),
        3 => ipv6(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    let all = if family == 2 { 32 } else { 128 };
    if is_cidr != 0 || bits != all {
        let _ = write!(text, "/{bits}");
    }
    Some(text)
}

/// An address. The server writes the last 32 bits of an IPv4-compatible one with dots.
fn ipv6(octets: [u8; 16]) -> String {
    let address = Ipv6Addr::from(octets);
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
            let [.., a, b, c, d] = octets;
            format!("::{}", Ipv4Addr::new(a, b, c, d))
        }
        _ => address.to_string(),
    }
}

/// `08:00:2b:01:02:03`
pub(super) fn mac_address(raw: &[u8], out: &mut String) {
    for (index, byte) in raw.iter().enumerate() {
        let separator = if index > 0 { ":" } else { "" };
        let _ = write!(out, "{separator}{byte:02x}");
    }
}

/// `10110`
pub(super) fn bits(raw: &[u8]) -> Option<String> {
    let (count, bytes) = raw.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    if bytes.len() != count.div_ceil(8) {
        return None;
    }
    let bit = |index: usize| bytes[index / 8] >> (7 - index % 8) & 1;
    Some(
        (0..count)
            .map(|index| char::from(b'0' + bit(index)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: Moment, value: i64, dates: Dates) -> String {
        let mut out = String::new();
        moment(kind, value, dates, &mut out);
        out
    }

    #[test]
    fn moments_reach_from_4714_bc_to_the_last_day_of_the_server() {
        for (days, text, iso) in [
            (0, "2000-01-01", "2000-01-01"),
            (-1, "1999-12-31", "1999-12-31"),
            (-2_451_545, "4714-11-24 BC", "-004713-11-24"),
            (2_145_031_948, "5874897-12-31", "+5874897-12-31"),
            (60, "2000-03-01", "2000-03-01"),
            (59, "2000-02-29", "2000-02-29"),
        ] {
            assert_eq!(shown(Moment::Date, days, Dates::Text), text);
            assert_eq!(shown(Moment::Date, days, Dates::Iso), iso);
        }
        let last = 9_223_371_331_199_999_999;
        assert_eq!(
            shown(Moment::TimestampTz, last, Dates::Text),
            "294276-12-31 23:59:59.999999+00"
        );
        assert_eq!(
            shown(Moment::TimestampTz, -1, Dates::Iso),
            "1999-12-31T23:59:59.999999Z"
        );
        assert_eq!(
            shown(Moment::Timestamp, 1_500_000, Dates::Text),
            "2000-01-01 00:00:01.5"
        );
    }

    #[test]
    fn addresses_are_written_as_the_server_writes_them() {
        let v6 = |bits: u8, last: [u8; 6]| {
            let mut raw = vec![3, bits, 0, 16];
            raw.extend([0; 10]);
            raw.extend(last);
            network(&raw).unwrap()
        };
        assert_eq!(v6(128, [0, 0, 1, 2, 3, 4]), "::1.2.3.4");
        assert_eq!(v6(64, [0xff, 0xff, 1, 2, 3, 4]), "::ffff:1.2.3.4/64");
        assert_eq!(v6(128, [0, 0, 0, 0, 0, 1]), "::1");
        assert_eq!(
            network(&[2, 24, 0, 4, 192, 168, 1, 5]).unwrap(),
            "192.168.1.5/24"
        );
        assert_eq!(network(&[2, 32, 1, 4, 1, 2, 3, 4]).unwrap(), "1.2.3.4/32");
        assert_eq!(network(&[2, 32, 1, 4, 1, 2, 3]), None);
    }

    #[test]
    fn zones_are_counted_towards_the_east_in_text() {
        let shown = |west| {
            let mut out = String::new();
            timetz(45_296_000_000, west, &mut out);
            out
        };
        assert_eq!(shown(-7200), "12:34:56+02");
        assert_eq!(shown(12_652), "12:34:56-03:30:52");
        assert_eq!(shown(-20_700), "12:34:56+05:45");
        assert_eq!(shown(0), "12:34:56+00");
    }

    #[test]
    fn bits_are_as_many_as_are_told() {
        assert_eq!(bits(&[0, 0, 0, 9, 0xb3, 0x80]).unwrap(), "101100111");
        assert_eq!(bits(&[0, 0, 0, 9, 0xb3]), None);
        assert_eq!(bits(&[0, 0, 0, 0]).unwrap(), "");
    }
}
