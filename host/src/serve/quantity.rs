//! Durations and sizes as people write them.

use std::time::Duration;

/// `300ms`, `1.5s`, `2h45m`: as Go's `time.ParseDuration` reads it, which is what API servers print; `14d`
/// beside that. `None` if it is anything else, negative ones included.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(end);
        let end = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        let (unit, following) = unit.split_at(end);
        total = total.checked_add(part(number, unit)?)?;
        rest = following;
    }
    (!text.is_empty()).then_some(total)
}

/// The form that [`duration`] reads, in the largest unit that says it exactly.
pub(super) fn shown(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let exact = |(_, size): &&(&str, u64)| nanoseconds.is_multiple_of(u128::from(*size));
    match UNITS.iter().rev().find(exact) {
        Some((unit, size)) if nanoseconds > 0 => {
            format!("{}{unit}", nanoseconds / u128::from(*size))
        }
        _ => "0s".to_owned(),
    }
}

/// `64MiB`, `512KiB`, `1GiB`, or a number of bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The form that [`size`] reads.
pub(super) fn shown_size(bytes: u64) -> String {
    match [("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, shift)| bytes > 0 && bytes.is_multiple_of(1 << shift))
    {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

fn part(number: &str, unit: &str) -> Option<Duration> {
    let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let mut nanoseconds = whole.checked_mul(*size)?;
    // What is beyond a nanosecond does not count, as in Go.
    let mut step = *size;
    for digit in fraction.bytes() {
        step /= 10;
        nanoseconds = nanoseconds.checked_add(u64::from(digit.checked_sub(b'0')?) * step)?;
    }
    Some(Duration::from_nanos(nanoseconds))
}

/// In nanoseconds, the smallest first. Both spellings of the micro sign are Go's.
const UNITS: [(&str, u64); 9] = [
    ("ns", 1),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_prints() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("10s", 10_000),
            ("500ms", 500),
            ("1.5s", 1_500),
            (".5s", 500),
            ("1m", 60_000),
            ("2h45m", 9_900_000),
            ("1h0m0.25s", 3_600_250),
            ("14d", 14 * 86_400_000),
            ("1000us", 1),
            ("1000\u{b5}s", 1),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in
            ["", "10", "s", ".s", "-1s", "+1s", "1 s", "1sec", "1.2.3s", "99999999999h", "∞s"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["", "MiB", "-1", "1MB", "1 MiB", "1.5MiB", "99999999999999GiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn shows_what_it_reads() {
        for text in ["300ms", "10s", "5m", "14d", "36h", "90s", "0s"] {
            let read = duration(text).expect(text);
            assert_eq!(duration(&shown(read)), Some(read), "{text}");
        }
        assert_eq!(shown(Duration::from_secs(300)), "5m");
        for text in ["64MiB", "1GiB", "1KiB", "1023", "0"] {
            assert_eq!(size(text).map(shown_size).as_deref(), Some(text));
        }
    }
}
