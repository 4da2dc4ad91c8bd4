//! Times as people read them.
//!
//! By hand, because one function of ten lines is all that is needed of a calendar library.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, in nanoseconds since 1970.
pub fn now_unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// A time in nanoseconds since 1970 as `2026-01-31 12:00:00 UTC`.
pub fn utc(unix_ns: u64) -> String {
    let seconds = unix_ns / 1_000_000_000;
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of the day that is `days` after 1970-01-01.
///
/// Counts from March 1st of year 0 on, so that the leap day is a year's last; an era has 400 years. Source:
/// Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
const fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + (month <= 2) as u64, month, day)
}

/// How long before `now_ns` that was: `3 min ago`; for the future, `in the future`.
pub fn ago(unix_ns: u64, now_ns: u64) -> String {
    match now_ns.checked_sub(unix_ns) {
        Some(nanoseconds) => format!("{} ago", span(Duration::from_nanos(nanoseconds))),
        None => "in the future".to_owned(),
    }
}

/// A length of time in its largest unit.
fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc_of_second(second: u64) -> String {
        utc(second * 1_000_000_000 + 999_999_999)
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        // From `date -u -d @N`.
        for (second, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (1_769_860_800, "2026-01-31 12:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (18_446_744_072, "2554-07-21 23:34:32 UTC"),
        ] {
            assert_eq!(utc_of_second(second), expected);
        }
    }

    #[test]
    fn spans_have_one_unit() {
        let seconds = |n: u64| n * 1_000_000_000;
        for (length, expected) in [
            (0, "0 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7_199, "119 min ago"),
            (7_200, "2 h ago"),
            (200_000, "2 days ago"),
        ] {
            assert_eq!(ago(seconds(5), seconds(5 + length)), expected);
        }
        assert_eq!(ago(2, 1), "in the future");
    }
}
