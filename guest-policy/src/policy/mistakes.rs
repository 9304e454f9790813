//! Mistakes in a document while it is read: where each is, in the author's terms.

use std::fmt::Write as _;

use crate::verdict::{Mistake, Severity};

/// Where a value is in the document: a path of steps from the root, each knowing the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    above: Option<&'a Place<'a>>,
    step: Step<'a>,
    /// Offset of its first byte.
    at: usize,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Index(usize),
    Key(&'a str),
    Root,
}

impl<'a> Place<'a> {
    pub(super) fn root(at: usize) -> Self {
        Self { above: None, step: Step::Root, at }
    }

    pub(super) fn key(&'a self, key: &'a str, at: usize) -> Self {
        Self { above: Some(self), step: Step::Key(key), at }
    }

    pub(super) fn index(&'a self, index: usize, at: usize) -> Self {
        Self { above: Some(self), step: Step::Index(index), at }
    }

    /// JSONPath (RFC 9535): `$.transports.docker["example.com"][0].keyPath`.
    pub(super) fn path(&self) -> String {
        let mut path = self.above.map(Place::path).unwrap_or_default();
        match self.step {
            Step::Index(index) => {
                let _ = write!(path, "[{index}]");
            }
            Step::Key(key) if is_plain(key) => {
                path.push('.');
                path.push_str(key);
            }
            Step::Key(key) => {
                let _ = write!(path, "[{}]", quoted(key));
            }
            Step::Root => path.push('$'),
        }
        path
    }
}

/// Mistakes of one document.
#[derive(Debug)]
pub(super) struct Mistakes {
    /// Offset of each line's first byte.
    lines: Vec<usize>,
    errors: Vec<Mistake>,
    warnings: Vec<Mistake>,
    foreign: Vec<Mistake>,
}

/// Mistakes by what follows from them, each in order of appearance.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) errors: Vec<Mistake>,
    pub(super) warnings: Vec<Mistake>,
    /// What is right here and nowhere else.
    pub(super) foreign: Vec<Mistake>,
}

impl Mistakes {
    pub(super) fn of(document: &[u8]) -> Self {
        let ends = document.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { lines, errors: Vec::new(), warnings: Vec::new(), foreign: Vec::new() }
    }

    pub(super) fn error(
        &mut self,
        place: &Place<'_>,
        code: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let mistake = self.mistake(Severity::Error, place, code, message.into(), hint);
        keep(&mut self.errors, mistake);
    }

    pub(super) fn warn(
        &mut self,
        place: &Place<'_>,
        code: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let mistake = self.mistake(Severity::Warning, place, code, message.into(), hint);
        keep(&mut self.warnings, mistake);
    }

    /// Something that other implementations refuse.
    pub(super) fn foreign(&mut self, place: &Place<'_>, code: &str, message: impl Into<String>) {
        let hint = "podman, skopeo and CRI-O refuse the whole document: give them one of their own";
        let hint = Some(hint.to_owned());
        let mistake = self.mistake(Severity::Error, place, code, message.into(), hint);
        keep(&mut self.foreign, mistake);
    }

    pub(super) fn into_parts(mut self) -> Parts {
        for mistakes in [&mut self.errors, &mut self.warnings, &mut self.foreign] {
            // Behind these there is only the remark that there are more.
            let told = mistakes.len().min(MAX_MISTAKES);
            mistakes[..told].sort_by_key(|mistake| (mistake.line, mistake.column));
        }
        Parts { errors: self.errors, warnings: self.warnings, foreign: self.foreign }
    }

    fn mistake(
        &self,
        severity: Severity,
        place: &Place<'_>,
        code: &str,
        message: String,
        hint: Option<String>,
    ) -> Mistake {
        let line = self.lines.partition_point(|start| *start <= place.at);
        let start = line.checked_sub(1).and_then(|line| self.lines.get(line)).copied();
        Mistake {
            severity,
            code: code.to_owned(),
            path: place.path(),
            line: number(line),
            column: number(place.at - start.unwrap_or_default() + 1),
            message,
            hint,
        }
    }
}

/// A text of the document as messages show it: quoted, and not longer than a reader wants to see.
pub(super) fn quoted(text: &str) -> String {
    if text.len() <= MAX_SHOWN {
        return crate::quoted::quoted(text);
    }
    let shown: String = text.chars().take(MAX_SHOWN).collect();
    crate::quoted::quoted(&format!("{shown}…"))
}

/// That of `known` which `text` was probably meant to be.
pub(super) fn similar<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let fold = |text: &str| text.trim().to_ascii_lowercase();
    let text = fold(text);
    known
        .iter()
        // Far too long or short a text is not worth the comparison.
        .filter(|candidate| text.len().abs_diff(candidate.len()) <= candidate.len() / 3)
        .map(|candidate| (distance(&text, &fold(candidate)), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters must be inserted, removed or replaced to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

fn keep(kept: &mut Vec<Mistake>, mistake: Mistake) {
    if kept.len() < MAX_MISTAKES {
        kept.push(mistake);
    } else if kept.len() == MAX_MISTAKES {
        kept.push(Mistake {
            code: "too-many-mistakes".to_owned(),
            message: format!("there are more than {MAX_MISTAKES} mistakes like these"),
            hint: Some("the rest is shown when these are corrected".to_owned()),
            ..mistake
        });
    }
}

/// Whether a key may stand in a JSONPath as it is.
fn is_plain(key: &str) -> bool {
    !key.starts_with(|c: char| c.is_ascii_digit())
        && !key.is_empty()
        && key.len() <= MAX_SHOWN
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Lines and columns of a document within [`super::MAX_DOCUMENT_BYTES`] fit.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Most errors, and most warnings, that are told: more than anyone corrects in one go, and few enough that
/// they fit the sandbox's memory however long the document's keys are.
const MAX_MISTAKES: usize = 100;

/// Most characters of a text of the document that a message shows: longer than any Docker reference's name.
const MAX_SHOWN: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_columns_from_one() {
        let mut mistakes = Mistakes::of(b"{\n  \"a\": 1\n}");
        let root = Place::root(0);
        mistakes.error(&root, "first", "", None);
        mistakes.error(&root.key("a", 9), "second", "", None);
        mistakes.error(&root.key("b", 11), "third", "", None);
        let places: Vec<_> =
            mistakes.into_parts().errors.iter().map(|m| (m.line, m.column)).collect();
        assert_eq!(places, [(1, 1), (2, 8), (3, 1)]);
    }

    #[test]
    fn paths_quote_what_is_no_name() {
        let root = Place::root(0);
        let transports = root.key("transports", 0);
        let transport = transports.key("docker-daemon", 0);
        let scope = transport.key("a\"b", 0);
        assert_eq!(scope.index(2, 0).path(), r#"$.transports["docker-daemon"]["a\"b"][2]"#);
    }

    #[test]
    fn long_keys_are_shown_in_part() {
        let long = "x".repeat(1_000_000);
        let root = Place::root(0);
        assert!(root.key(&long, 0).path().len() < 1000);
        assert!(quoted(&long).len() < 1000);
    }

    #[test]
    fn recognises_what_was_meant() {
        let keys = ["keyPath", "keyPaths", "keyData", "type"];
        assert_eq!(similar("keypath", &keys), Some("keyPath"));
        assert_eq!(similar("keyPaht", &keys), Some("keyPath"));
        assert_eq!(similar("kayPath", &keys), Some("keyPath"));
        assert_eq!(similar("keyDatas", &keys), Some("keyData"));
        assert_eq!(similar("Type", &keys), Some("type"));
        assert_eq!(similar("comment", &keys), None);
    }

    #[test]
    fn stops_telling_after_enough_mistakes() {
        let mut mistakes = Mistakes::of(b"");
        for _ in 0..1000 {
            mistakes.error(&Place::root(0), "again", "", None);
        }
        let errors = mistakes.into_parts().errors;
        assert_eq!(errors.len(), MAX_MISTAKES + 1);
        assert_eq!(errors.last().map(|m| m.code.as_str()), Some("too-many-mistakes"));
    }
}
