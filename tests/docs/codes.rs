//! docs/reasons.md has every code of a reason or mistake, and no other.

use std::collections::{BTreeMap, BTreeSet};

use super::{files, markdown, read};

#[test]
fn every_code_is_documented_and_every_documented_code_exists() {
    let documented = documented();
    let in_code = in_code();
    assert!(in_code.len() > 50, "only {} codes were found", in_code.len());
    for (code, file) in &in_code {
        assert!(documented.contains(code), "{PAGE} does not say what {code} of {file} means");
    }
    for code in &documented {
        assert!(in_code.contains_key(code), "{PAGE} explains {code}, which nothing gives");
    }
}

#[test]
fn no_code_has_two_meanings() {
    let (_, prose) = markdown::split(&read(PAGE));
    let mut seen = BTreeSet::new();
    for row in markdown::rows(&prose, "code") {
        assert!(seen.insert(row[0].to_owned()), "{PAGE} explains {} twice", row[0]);
    }
}

fn documented() -> BTreeSet<String> {
    let (_, prose) = markdown::split(&read(PAGE));
    markdown::rows(&prose, "code")
        .iter()
        .flat_map(|row| markdown::code(row[0]))
        .map(str::to_owned)
        .collect()
}

/// Every text in the code that looks like a code, with the file that has it. Codes have a hyphen; what has
/// one in these files and is no code is listed below.
fn in_code() -> BTreeMap<String, String> {
    let mut codes = BTreeMap::new();
    for file in SOURCES.iter().map(|file| (*file).to_owned()).chain(files(POLICY, "rs")) {
        let source = read(&file);
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        for text in source.lines().filter(|line| !is_comment(line)).flat_map(texts) {
            if PLAIN.contains(&text) || is_kebab(text) && !OTHERS.contains(&text) {
                codes.insert(text.to_owned(), file.clone());
            }
        }
    }
    codes
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn texts(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

fn is_kebab(text: &str) -> bool {
    text.contains('-')
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

const PAGE: &str = "docs/reasons.md";

/// The files that give codes, beside those of the policy document.
const SOURCES: [&str; 6] = [
    "guest-policy/src/engine.rs",
    "guest-policy/src/evaluation.rs",
    "guest-policy/src/openpgp.rs",
    "host/src/decide.rs",
    "host/src/policy.rs",
    "host/src/serve/unanswered.rs",
];

const POLICY: &str = "guest-policy/src/policy";

/// The codes without a hyphen.
const PLAIN: [&str; 2] = ["deadline", "unspecified"];

/// Names of transports and formats.
const OTHERS: [&str; 7] = [
    "containers-storage",
    "docker-archive",
    "docker-daemon",
    "non-sigstore",
    "oci-archive",
    "sigstore-json",
    "simple-signing",
];
