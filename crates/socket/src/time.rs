//! Dates as JavaScript writes them.

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// What JavaScript's `String(new Date(millis))` gives in UTC: `Mon Nov 23 2026 17:23:08 GMT+0000 (Coordinated Universal Time)`.
pub(crate) fn js_date(millis: u64) -> String {
    let seconds = millis / 1000;
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let weekday = WEEKDAYS[usize::try_from(days % 7).unwrap_or_default()];
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!(
        "{weekday} {} {day:02} {year} {hour:02}:{minute:02}:{second:02} GMT+0000 (Coordinated Universal Time)",
        MONTHS[month]
    )
}

/// Year, month (0 to 11) and day of a count of days since 1970.
fn civil(mut days: u64) -> (u64, usize, u64) {
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let lengths = [
        31,
        if is_leap(year) { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month, days + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_javascript_writes_them() {
        for (millis, expected) in [
            (
                0,
                "Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)",
            ),
            (
                951_782_400_000,
                "Tue Feb 29 2000 00:00:00 GMT+0000 (Coordinated Universal Time)",
            ),
            (
                1_795_454_588_390,
                "Mon Nov 23 2026 17:23:08 GMT+0000 (Coordinated Universal Time)",
            ),
            (
                4_107_542_399_999,
                "Sun Feb 28 2100 23:59:59 GMT+0000 (Coordinated Universal Time)",
            ),
            (
                4_107_542_400_000,
                "Mon Mar 01 2100 00:00:00 GMT+0000 (Coordinated Universal Time)",
            ),
        ] {
            assert_eq!(js_date(millis), expected);
        }
    }
}
