//! What real tools signed and judged, in `data/vectors`: signatures made with gpg and sq (`signatures`),
//! policies judged by skopeo (`policies`). Every case runs natively and in the sandbox.
//!
//! The right verdict follows from what skopeo 1.22.0 did and from what the case's author holds right: where
//! skopeo rejects, reject; where it accepts, accept, unless the author says that this is wrong. Exceptions
//! are listed in `deviations.json`.

mod both;
mod policies;
mod signatures;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use countersign::reference::Reference;
use countersign::verdict::{Outcome, Verdict};
use countersign::vocabulary::Subject;
use serde::Deserialize;

pub(crate) use self::both::Both;
use crate::{deviations, support};

/// Noon of the day on which the vectors were made and judged: 2026-11-22T12:00:00Z.
pub(crate) const NOW: u64 = 1_795_348_800;

/// The folder of vectors.
pub(crate) fn folder() -> PathBuf {
    support::root().join("tests/data/vectors").canonicalize().expect("the vectors are here")
}

/// A file of the vectors.
pub(crate) fn file(path: &str) -> Vec<u8> {
    let path = folder().join(path);
    std::fs::read(&path).unwrap_or_else(|e| unreadable(&path, &e))
}

/// The subject of an image that is pulled as `reference`.
pub(crate) fn subject(reference: &str) -> Subject {
    let reference = Reference::parse_normalized(reference).expect("a reference").with_default_tag();
    Subject {
        transport: "docker".into(),
        name: format!("docker://{}", reference.familiar()),
        reference: Some(reference.to_string()),
        path: None,
    }
}

/// What skopeo 1.22.0 did.
#[derive(Debug, Deserialize)]
struct Observation {
    verdict: String,
    text: String,
}

impl Observation {
    /// What it said, where these are words that its users know: not those of gpgme or of Go's libraries.
    fn fixed_text(&self) -> Option<String> {
        let after = |mark: &str| self.text.split_once(mark).map(|(_, text)| text);
        let text = after("Source image rejected: ").or_else(|| after("policy.json\": "))?;
        FIXED_TEXTS.iter().any(|fixed| text.contains(fixed)).then(|| {
            // What is wrong with a digest is said by a library. Of two backslashes, one is the log's.
            let text = text.split_once(": invalid checksum digest").map_or(text, |(text, _)| text);
            text.replace("\\\\", "\\")
        })
    }

    /// The policy itself was refused.
    fn is_about_the_policy(&self) -> bool {
        self.text.starts_with("Error loading trust policy")
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    Accept,
    Error,
    Reject,
}

impl Answer {
    /// The right one: see the module's head.
    fn expected(intent: Option<&str>, observed: &Observation) -> Self {
        match (observed.verdict.as_str(), intent) {
            ("accept", Some("accept" | "depends") | None) => Self::Accept,
            ("accept", Some("reject")) | ("reject", _) => Self::Reject,
            unknown => unknown_word(&unknown),
        }
    }

    /// Ours.
    fn of(verdict: &Verdict) -> Self {
        match verdict.outcome {
            Outcome::Allow => Self::Accept,
            Outcome::Deny => Self::Reject,
            Outcome::Error => Self::Error,
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "accept" => Self::Accept,
            "error" => Self::Error,
            "reject" => Self::Reject,
            unknown => unknown_word(&unknown),
        }
    }
}

/// What became of the cases of one suite.
struct Tally {
    suite: &'static str,
    seen: BTreeSet<String>,
    skipped: Vec<String>,
    deviating: usize,
    failures: Vec<String>,
}

impl Tally {
    fn new(suite: &'static str) -> Self {
        let (seen, skipped, failures) = (BTreeSet::new(), Vec::new(), Vec::new());
        Self { suite, seen, skipped, deviating: 0, failures }
    }

    /// Compare the answer to a case, and say whether it is as expected.
    fn count(&mut self, case: &str, expected: Answer, ours: Answer, details: &dyn fmt::Debug) {
        self.seen.insert(case.to_owned());
        match deviations::of(self.suite, case) {
            Some(listed) if Answer::parse(&listed.ours) == expected => {
                self.failures.push(format!("{case}: is listed as deviating, but {expected:?} is"));
            }
            Some(listed) if Answer::parse(&listed.ours) == ours => self.deviating += 1,
            None if expected == ours => {}
            listed => self.failures.push(format!(
                "{case}: got {ours:?}, expected {:?}: {details:?}",
                listed.map_or(expected, |listed| Answer::parse(&listed.ours)),
            )),
        }
    }

    /// Compare one text of a case that was counted.
    fn compare_text(&mut self, case: &str, text: &str, ours: &[&str]) {
        if deviations::of(self.suite, case).is_none() && !ours.contains(&text) {
            self.failures.push(format!("{case}: skopeo says {text:?}, we say {ours:?}"));
        }
    }

    fn skip(&mut self, case: &str) {
        self.skipped.push(case.to_owned());
    }

    /// Say how many there were, and fail if one failed.
    fn settle(self) {
        let Self { suite, seen, skipped, deviating, failures } = self;
        let (run, failed) = (seen.len(), failures.len());
        support::say(&format!(
            "vectors {suite}: {run} run, {} passed, {deviating} deviating, {} skipped {skipped:?}",
            run.saturating_sub(failed + deviating),
            skipped.len(),
        ));
        assert!(failures.is_empty(), "{suite}: {failed} failed\n{}", failures.join("\n"));
        assert!(run > 0, "{suite}: no case");
        let stale = deviations::stale(suite, &seen);
        assert!(stale.is_empty(), "{suite}: deviations.json lists unknown cases {stale:?}");
    }
}

#[expect(clippy::panic, reason = "a damaged vector is the failure of the test that reads it")]
fn unknown_word(word: &dyn fmt::Debug) -> Answer {
    panic!("unknown verdict {word:?}")
}

#[expect(clippy::panic, reason = "a missing vector is the failure of the test that reads it")]
fn unreadable(path: &std::path::Path, error: &std::io::Error) -> Vec<u8> {
    panic!("{}: {error}", path.display())
}

/// What containers/image says in words of its own.
const FIXED_TEXTS: [&str; 17] = [
    "A signature was required, but no signature exists",
    "Default policy is missing",
    "Duplicate key ",
    "List of verification policy requirements must not be empty",
    "Running image ",
    "Signature for digest ",
    "Signature for identity ",
    "Unknown key ",
    "Unknown policy reference match type ",
    "Unknown policy requirement type ",
    "Unrecognized keyType value ",
    "Unrecognized signature type ",
    "invalid docker-manifest-digest value ",
    "invalid keyType ",
    "invalid signature format, missing newline",
    "missing in a JSON object",
    "unrecognized signature format, starting with binary ",
];
