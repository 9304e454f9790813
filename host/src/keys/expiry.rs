//! How long a key is good: the terms of gpg, and RFC 3339.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// When a key ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expiry {
    /// So many seconds after it was made.
    After(u64),
    /// In seconds since 1970-01-01 UTC.
    At(u64),
    /// Not by itself.
    Never,
}

impl Expiry {
    /// For how many seconds a key that is made at `created`, in seconds since 1970-01-01 UTC, is good; `None`
    /// if it does not end.
    ///
    /// # Errors
    ///
    /// It would have ended before it is made, or it ends later than OpenPGP can say.
    pub fn validity(self, created: u64) -> Result<Option<u64>, InvalidExpiry> {
        let seconds = match self {
            Self::Never => return Ok(None),
            Self::After(seconds) => seconds,
            Self::At(time) => {
                time.checked_sub(created).filter(|s| *s > 0).ok_or(InvalidExpiry::Past)?
            }
        };
        if seconds > MAX_VALIDITY_SECONDS {
            return Err(InvalidExpiry::Late);
        }
        Ok(Some(seconds))
    }
}

impl FromStr for Expiry {
    type Err = InvalidExpiry;

    /// `never`, `none`, `0` and `-`; a number of days, or of `d`, `w`, `m` (30 days) or `y` (365 days);
    /// `seconds=N`; `YYYY-MM-DD`, at noon UTC as gpg has it; `YYYYMMDDThhmmss` in UTC; RFC 3339.
    fn from_str(text: &str) -> Result<Self, InvalidExpiry> {
        if ["never", "none", "0", "-"].contains(&text) {
            return Ok(Self::Never);
        }
        if let Some(seconds) = text.strip_prefix("seconds=") {
            return number(seconds).map(Self::After);
        }
        let unit = |letter| DAY * UNITS.iter().find(|(l, _)| *l == letter).map_or(1, |(_, n)| *n);
        let (digits, seconds) = match text.chars().next_back() {
            Some(letter @ ('d' | 'w' | 'm' | 'y')) => (&text[..text.len() - 1], unit(letter)),
            _ => (text, DAY),
        };
        match number(digits) {
            Ok(count) => {
                return count.checked_mul(seconds).map(Self::After).ok_or(InvalidExpiry::Late);
            }
            // Digits alone, and more of them than any time has.
            Err(InvalidExpiry::Late) => return Err(InvalidExpiry::Late),
            // A date.
            Err(_) => {}
        }
        let time = if let Ok(time) = text.parse::<Timestamp>() {
            time
        } else {
            let civil = DateTime::strptime("%Y%m%dT%H%M%S", text)
                .or_else(|_| Date::strptime("%Y-%m-%d", text).map(|date| date.at(12, 0, 0, 0)))
                .map_err(|_| InvalidExpiry::Form)?;
            TimeZone::UTC.to_timestamp(civil).map_err(|_| InvalidExpiry::Form)?
        };
        u64::try_from(time.as_second()).map(Self::At).map_err(|_| InvalidExpiry::Past)
    }
}

/// A key cannot end then.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidExpiry {
    /// It is not written as expected.
    #[error(
        "expected never, a duration (90d, 12w, 6m, 2y) or a date (2027-12-31, 2027-12-31T12:00:00Z)"
    )]
    Form,
    /// It has as many seconds as OpenPGP cannot write.
    #[error("expected a time within the next 136 years, which is as far as OpenPGP counts")]
    Late,
    /// It is over.
    #[error("expected a time that is after the key is made")]
    Past,
}

fn number(text: &str) -> Result<u64, InvalidExpiry> {
    // The parser would take a sign, too.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidExpiry::Form);
    }
    text.parse().map_err(|_| InvalidExpiry::Late)
}

/// In seconds.
const DAY: u64 = 24 * 60 * 60;

/// In days, as gpg counts them.
const UNITS: [(char, u64); 4] = [('d', 1), ('w', 7), ('m', 30), ('y', 365)];

/// Longest life of a key in seconds: the number has four bytes (RFC 4880, section 5.2.3.6).
const MAX_VALIDITY_SECONDS: u64 = 4_294_967_295;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_gpg_reads() {
        for (text, expected) in [
            ("0", Expiry::Never),
            ("never", Expiry::Never),
            ("none", Expiry::Never),
            ("3", Expiry::After(3 * DAY)),
            ("3d", Expiry::After(3 * DAY)),
            ("2w", Expiry::After(14 * DAY)),
            ("2m", Expiry::After(60 * DAY)),
            ("1y", Expiry::After(365 * DAY)),
            ("seconds=100", Expiry::After(100)),
            // What gpg 2.2.40 makes of them.
            ("2027-12-31", Expiry::At(1_830_254_400)),
            ("20271231T010203", Expiry::At(1_830_214_923)),
            ("2027-12-31T12:00:00Z", Expiry::At(1_830_254_400)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "d", "+1", "-1d", "1.5y", "1h", "tomorrow", "2027-13-01", "20271231", "1é"]
        {
            let read: Result<Expiry, _> = text.parse();
            // gpg, too, takes a long number for days.
            let far = text == "20271231";
            assert_eq!(read.is_ok(), far, "{text}: {read:?}");
        }
    }

    #[test]
    fn a_key_ends_after_it_begins_and_when_openpgp_can_say() {
        assert_eq!(Expiry::At(10).validity(4), Ok(Some(6)));
        assert_eq!(Expiry::After(6).validity(4), Ok(Some(6)));
        assert_eq!(Expiry::Never.validity(4), Ok(None));
        assert_eq!(Expiry::At(4).validity(4), Err(InvalidExpiry::Past));
        let far: Expiry = "20271231".parse().expect("days");
        assert_eq!(far.validity(4), Err(InvalidExpiry::Late));
        assert_eq!("99999999999999999999y".parse::<Expiry>(), Err(InvalidExpiry::Late));
    }
}
