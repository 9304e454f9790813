//! The engine: a loaded policy that judges images.

use crate::image::{Evidence, KeyFile, Needs, Subject};
use crate::verdict::{Explanation, Finding, Mistake, Verdict};

/// A loaded policy with its keys.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// The files that a document names, in order of appearance and without repetition.
    pub fn key_paths(document: &[u8]) -> Result<Vec<String>, Vec<Mistake>> {
        let _ = document;
        Ok(Vec::new())
    }

    /// Every mistake in a document: errors first found first, then warnings.
    pub fn check(document: &[u8], files: &[KeyFile]) -> Vec<Mistake> {
        let _ = (document, files);
        Vec::new()
    }

    /// Load a policy and its keys.
    pub fn load(document: &[u8], files: &[KeyFile]) -> Result<Self, Vec<Mistake>> {
        let _ = (document, files);
        Ok(Self {})
    }

    /// Which evidence an evaluation of this image will look at.
    pub fn needs(&self, subject: &Subject) -> Needs {
        let _ = subject;
        Needs { scope: "default".into(), signatures: false }
    }

    /// Decide. `now` is the evaluation time, in seconds since 1970-01-01 UTC.
    pub fn evaluate(&self, subject: &Subject, evidence: &Evidence, now: u64) -> Verdict {
        let _ = (subject, evidence, now);
        Verdict {
            outcome: crate::verdict::Outcome::Error,
            scope: "default".into(),
            digest: String::new(),
            reasons: Vec::new(),
            claims: Vec::new(),
            valid_until: None,
        }
    }

    /// Judge each signature on its own.
    pub fn inspect(&self, subject: &Subject, evidence: &Evidence, now: u64) -> Vec<Finding> {
        let _ = (subject, evidence, now);
        Vec::new()
    }

    /// Which scope and requirements apply, and why.
    pub fn explain(&self, subject: &Subject) -> Explanation {
        let _ = subject;
        Explanation { scope: "default".into(), candidates: Vec::new(), requirements: Vec::new() }
    }
}
