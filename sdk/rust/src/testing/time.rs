//! Times of golden cases: seconds since 1970, or RFC 3339 in UTC.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Seconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Time(pub(super) u64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelled {
            Seconds(u64),
            Text(String),
        }
        let Ok(spelled) = Spelled::deserialize(deserializer) else {
            return Err(Error::custom(EXPECTED));
        };
        match spelled {
            Spelled::Seconds(seconds) => Ok(Self(seconds)),
            Spelled::Text(text) => parse(&text).map(Self).ok_or_else(|| Error::custom(EXPECTED)),
        }
    }
}

/// `2026-11-25T00:00:00Z`.
fn parse(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let shape = b"dddd-dd-ddTdd:dd:ddZ";
    let fits = bytes.len() == shape.len()
        && bytes.iter().zip(shape).all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            exactly => byte == exactly,
        });
    if !fits {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let february = if leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *months.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    if year < 1970 || !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let years = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum::<u64>();
    let before = months.iter().take(usize::try_from(month - 1).ok()?).sum::<u64>();
    Some((((years + before + day - 1) * 24 + hour) * 60 + minute) * 60 + second)
}

const EXPECTED: &str = "expected a time: 2026-11-25T00:00:00Z, or seconds since 1970";

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_times() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2026-11-25T00:00:00Z", 1_795_564_800),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "2026-11-25",
            "2026-11-25T00:00:00",
            "2026-11-25T00:00:00+01:00",
            "2026-11-31T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "+026-11-25T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
