//! Mistakes in a policy document, each with the place that it is about.

use std::fmt::Write as _;

use guest_policy::verdict::{Mistake, Severity};
use serde::Serialize;

use super::{Style, document, printable};

/// One object: `file`, and `mistakes`, each with `severity` (`error` or `warning`), `code`, `path`, `line`
/// and `column` (from 1, in bytes; 0 without a place), `message` and `hint`.
pub fn json(file: &str, mistakes: &[Mistake]) -> String {
    document(&Document { file, mistakes })
}

/// `FILE:LINE:COLUMN: error: MESSAGE (at JSONPATH)` for each mistake, the line with a mark below the
/// column, and what to do.
pub fn text(file: &str, content: &[u8], mistakes: &[Mistake], style: Style) -> String {
    mistakes.iter().map(|mistake| paragraph(file, content, mistake, style)).collect()
}

fn paragraph(file: &str, content: &[u8], mistake: &Mistake, style: Style) -> String {
    let Mistake { severity, path, line, column, message, hint, .. } = mistake;
    let severity = match severity {
        Severity::Error => style.bad("error"),
        Severity::Warning => style.doubtful("warning"),
    };
    let place = match line {
        0 => printable(file),
        _ => format!("{}:{line}:{column}", printable(file)),
    };
    let (message, path) = (printable(message), printable(path));
    let mut text = format!("{}: {severity}: {message} (at {path})\n", style.strong(&place));
    if let Some(excerpt) = excerpt(content, *line, *column) {
        let number = line.to_string();
        let margin = style.quiet(&format!("{number:>6} |"));
        let below = style.quiet(&format!("{:>6} |", ""));
        let _ = writeln!(text, "{margin} {}", excerpt.line);
        let _ = writeln!(text, "{below} {:1$}{2}", "", excerpt.mark, style.bad("^"));
    }
    if let Some(hint) = hint {
        let _ = writeln!(text, "{:>6} {} {}", "", style.quiet("hint:"), printable(hint));
    }
    text
}

/// A part of a line, and how many characters are left of the one that is meant.
struct Excerpt {
    line: String,
    mark: usize,
}

fn excerpt(content: &[u8], line: u32, column: u32) -> Option<Excerpt> {
    let place = usize::try_from(line).ok()?.checked_sub(1)?;
    let line = content.split(|byte| *byte == b'\n').nth(place)?;
    let column = usize::try_from(column).ok()?.saturating_sub(1).min(line.len());
    let before = characters(line.get(..column)?);
    let after = characters(line.get(column..)?);
    let cut_before = before.len() > EXCERPT_BEFORE;
    let cut_after = after.len() > EXCERPT_AFTER;
    let mut shown = String::new();
    if cut_before {
        shown.push('…');
    }
    shown.extend(&before[before.len().saturating_sub(EXCERPT_BEFORE)..]);
    let mark = shown.chars().count();
    shown.extend(&after[..after.len().min(EXCERPT_AFTER)]);
    if cut_after {
        shown.push('…');
    }
    Some(Excerpt { line: shown, mark })
}

/// Each character takes one column: what cannot be shown becomes a space.
fn characters(bytes: &[u8]) -> Vec<char> {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .map(|c| if printable(c.encode_utf8(&mut [0; 4])).chars().count() == 1 { c } else { ' ' })
        .collect()
}

#[derive(Serialize)]
struct Document<'a> {
    file: &'a str,
    mistakes: &'a [Mistake],
}

/// Characters that are shown left of a mistake; with those right of it, a line of a terminal.
const EXCERPT_BEFORE: usize = 40;

/// Characters that are shown from a mistake on.
const EXCERPT_AFTER: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(line: u32, column: u32) -> Mistake {
        Mistake {
            severity: Severity::Error,
            code: "unknown-key".to_owned(),
            path: "$.x".to_owned(),
            line,
            column,
            message: "Unknown key \"x\"".to_owned(),
            hint: Some("remove it".to_owned()),
        }
    }

    #[test]
    fn text_points_at_the_place() {
        let text = text("p.json", b"{\n\t\"x\": 1\n}", &[mistake(2, 2)], Style::Plain);
        let expected = concat!(
            "p.json:2:2: error: Unknown key \"x\" (at $.x)\n",
            "     2 |  \"x\": 1\n",
            "       |  ^\n",
            "       hint: remove it\n",
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let line = format!("{}é\"x\"{}", "a".repeat(200), "b".repeat(200));
        let text = text("p.json", line.as_bytes(), &[mistake(1, 203)], Style::Plain);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].chars().count() < 110, "{text}");
        let mark = lines[2].chars().position(|c| c == '^').expect("a mark");
        assert_eq!(lines[1].chars().nth(mark), Some('"'));
        assert_eq!(lines[1].chars().nth(mark - 1), Some('é'));
    }

    #[test]
    fn place_beyond_the_document_is_no_fault() {
        for (line, column) in [(0, 0), (9, 1), (1, 99), (u32::MAX, u32::MAX)] {
            let text = text("p.json", b"{}", &[mistake(line, column)], Style::Plain);
            assert!(text.contains("Unknown key"), "{text}");
        }
        let nowhere = text("p.json", b"{}", &[mistake(0, 0)], Style::Plain);
        assert!(nowhere.starts_with("p.json: error: "), "{nowhere}");
    }
}
