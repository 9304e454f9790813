//! What users and programs read: verdicts, findings, explanations and mistakes, as text and as JSON.
//!
//! Each thing that is reported has a module with a function for either form. Most words in a report came
//! from outside (references, signatures, servers), so text goes through [`printable`]: what was meant to
//! be read cannot move the cursor of a terminal or begin a line of its own.

pub mod decisions;
pub mod explanation;
pub mod golden;
pub mod inspections;
pub mod mistakes;
pub mod modules;
pub mod runs;

use std::fmt::{self, Write as _};

use guest_policy::verdict::Outcome;
use jiff::Timestamp;

/// How text looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Style {
    /// With colours and weights, for terminals.
    Coloured,
    /// Nothing but the words.
    #[default]
    Plain,
}

impl Style {
    fn paint(self, sequence: &str, text: &str) -> String {
        match self {
            Self::Coloured => format!("\x1b[{sequence}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }

    fn good(self, text: &str) -> String {
        self.paint("1;32", text)
    }

    fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn doubtful(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    fn quiet(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Text that stands out.
    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// An outcome as the first word of a line, padded so that what follows is aligned.
    fn outcome(self, outcome: Outcome) -> String {
        let word = format!("{:<MARGIN$}", outcome.to_string());
        match outcome {
            Outcome::Allow => self.good(&word),
            Outcome::Deny => self.bad(&word),
            Outcome::Error => self.doubtful(&word),
        }
    }

    /// A line below a heading: what it is about, and the words.
    fn line(self, label: &str, text: impl fmt::Display) -> String {
        let (label, text) = (self.quiet(&format!("{label:<LABEL$}")), printable(&text.to_string()));
        format!("{:MARGIN$}{label} {text}\n", "")
    }
}

/// Seconds since 1970-01-01 UTC as RFC 3339: `2026-11-25T00:00:00Z`. Times past the year 9999 are its end.
pub fn time(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX).min(Timestamp::MAX.as_second());
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// `text` with everything escaped that is not to be seen: control characters, line ends among them, and
/// what changes the direction of writing.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            // The bidirectional controls of Unicode, and its separators of lines and paragraphs.
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(shown, "{}", character.escape_unicode());
            }
            control if control.is_control() => {
                let _ = write!(shown, "{}", control.escape_default());
            }
            other => shown.push(other),
        }
    }
    shown
}

/// The one form of JSON documents: indented, with a line end.
fn document(value: &impl serde::Serialize) -> String {
    // Serializing plain structures into memory cannot fail; should it, no answer is better than half.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// Width of the column with outcomes.
const MARGIN: usize = 7;

/// Width of the column with labels.
const LABEL: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_795_564_800), "2026-11-25T00:00:00Z");
        assert_eq!(time(u64::MAX), "9999-12-30T22:00:00Z");
    }

    #[test]
    fn text_from_outside_cannot_steer_a_terminal() {
        assert_eq!(printable("a\x1b[31mb\r\nallow\u{202e}"), "a\\u{1b}[31mb\\r\\nallow\\u{202e}");
        assert_eq!(printable("ordinary text, ünïcödé"), "ordinary text, ünïcödé");
    }
}
