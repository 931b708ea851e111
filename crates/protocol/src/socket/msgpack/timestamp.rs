//! The msgpack timestamp, written as `JSON.stringify` writes a `Date`.

use std::io::Write as _;

/// The latest instant a JavaScript `Date` can hold, in milliseconds before and after 1970.
const DATE_MS_MAX: i128 = 8_640_000_000_000_000;

/// Reads the payload of a timestamp extension (4, 8 or 12 bytes) as milliseconds since 1970, rounded towards zero as `Date` does.
pub(super) fn milliseconds(payload: &[u8]) -> Option<i64> {
    let (seconds, nanoseconds) = match *payload {
        [a, b, c, d] => (i128::from(u32::from_be_bytes([a, b, c, d])), 0),
        [a, b, c, d, e, f, g, h] => {
            let both = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            (i128::from(both & ((1 << 34) - 1)), i128::from(both >> 34))
        }
        [n0, n1, n2, n3, a, b, c, d, e, f, g, h] => (
            i128::from(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
            i128::from(u32::from_be_bytes([n0, n1, n2, n3])),
        ),
        _ => return None,
    };
    in_range((seconds * 1_000_000_000 + nanoseconds) / 1_000_000)
}

/// Milliseconds as they are, when a `Date` can hold them.
pub(super) fn in_range(milliseconds: i128) -> Option<i64> {
    (-DATE_MS_MAX..=DATE_MS_MAX)
        .contains(&milliseconds)
        .then(|| i64::try_from(milliseconds).ok())
        .flatten()
}

/// Appends `"2026-11-23T17:23:08.390Z"`, quotes included. Years outside 0 to 9999 get a sign and six digits.
pub(super) fn put_iso(out: &mut Vec<u8>, milliseconds: i64) {
    let days = milliseconds.div_euclid(86_400_000);
    let of_day = milliseconds.rem_euclid(86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second, millisecond) = (
        of_day / 3_600_000,
        of_day / 60_000 % 60,
        of_day / 1000 % 60,
        of_day % 1000,
    );
    let sign = match year {
        0..=9999 => "",
        ..0 => "-",
        10_000.. => "+",
    };
    let width = if sign.is_empty() { 4 } else { 6 };
    let year = year.unsigned_abs();
    write!(out, "\"{sign}{year:0width$}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z\"")
        .expect("writing to memory does not fail");
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar. A year of this reckoning starts in March, so
/// the leap day is its last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_as_javascript_writes_them() {
        for (milliseconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1, "1970-01-01T00:00:00.001Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_795_454_588_390, "2026-11-23T17:23:08.390Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
            (-62_167_219_200_001, "-000001-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
            (8_640_000_000_000_000, "+275760-09-13T00:00:00.000Z"),
            (-8_640_000_000_000_000, "-271821-04-20T00:00:00.000Z"),
        ] {
            let mut out = Vec::new();
            put_iso(&mut out, milliseconds);
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"{expected}\""));
        }
    }

    #[test]
    fn the_three_widths_are_read() {
        assert_eq!(milliseconds(&70_000u32.to_be_bytes()), Some(70_000_000));
        assert_eq!(
            milliseconds(&((390_000_000u64 << 34) | 1_795_454_588).to_be_bytes()),
            Some(1_795_454_588_390)
        );
        let mut wide = 500_000_000u32.to_be_bytes().to_vec();
        wide.extend((-2i64).to_be_bytes());
        assert_eq!(milliseconds(&wide), Some(-1500));
        wide[4..].copy_from_slice(&i64::MAX.to_be_bytes());
        assert_eq!(milliseconds(&wide), None);
        assert_eq!(milliseconds(&[1, 2, 3]), None);
    }
}
