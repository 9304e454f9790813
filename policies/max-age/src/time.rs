//! Times for people.

/// RFC 3339, in UTC, of seconds since 1970-01-01; the seconds where the calendar has no four digits for the year.
pub(crate) fn show(seconds: u64) -> String {
    if seconds > LAST {
        return format!("{seconds} seconds after 1970");
    }
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The calendar repeats itself after 400 years; years begin with March here, so that leap days come last.
    let days = days + DAYS_FROM_YEAR_0;
    let (era, day_of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// From 0000-03-01 to 1970-01-01.
const DAYS_FROM_YEAR_0: u64 = 719_468;

/// 400 years.
const DAYS_OF_ERA: u64 = 146_097;

/// 9999-12-31T23:59:59Z.
const LAST: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_days_around_leap_days() {
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_798_761_600, "2027-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(show(seconds), shown);
        }
    }

    #[test]
    fn shows_what_is_beyond_the_calendar_in_seconds() {
        assert_eq!(show(u64::MAX), "18446744073709551615 seconds after 1970");
    }
}
