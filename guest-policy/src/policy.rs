//! The policy document, containers-policy.json(5): what must hold for which image.
//!
//! [`Policy::parse`] accepts exactly what the reference implementation accepts, less what would fail open;
//! [`Policy::lookup`] finds the one list of requirements that decides about an image.

mod identity;
mod requirement;

pub use identity::{IdentityMatch, Prefix};
pub use requirement::{
    Fulcio, KeySource, KeyType, Material, Pki, Requirement, SignedBy, SigstoreSigned, SigstoreTrust,
};

use std::collections::BTreeMap;

use crate::image::Subject;
use crate::verdict::{Candidate, Mistake};

/// How verdicts name the requirements for images that no scope covers.
pub const DEFAULT_SCOPE: &str = "default";

/// A policy document, completely valid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    default: Vec<Requirement>,
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

impl Policy {
    /// Parse a document. Fails with every error that [`check`] would report, without its warnings.
    pub fn parse(document: &[u8]) -> Result<Self, Vec<Mistake>> {
        let _ = document;
        Err(Vec::new())
    }

    /// The requirements that decide about `subject`: those of the first scope that the document has, from
    /// the image's identity to the transport's general scope, otherwise the default ones.
    pub fn lookup(&self, subject: &Subject) -> Result<Lookup<'_>, SubjectError> {
        let _ = (subject, &self.transports);
        Ok(Lookup { scope: "default".into(), requirements: &self.default, candidates: Vec::new() })
    }

    /// Every requirement of the document.
    pub(crate) fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.default.iter().chain(self.transports.values().flat_map(BTreeMap::values).flatten())
    }

    /// The key files of all `signedBy` requirements, in order of appearance and without repetition.
    pub fn key_paths(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What [`Policy::lookup`] found.
#[derive(Clone, Debug)]
pub struct Lookup<'a> {
    /// As `verdict.scope`: `transport/scope`, `transport/` for its general scope, or `default`.
    pub scope: String,
    /// All of them must hold. Never empty.
    pub requirements: &'a [Requirement],
    /// Every key that was tried or would have been, in lookup order.
    pub candidates: Vec<Candidate>,
}

/// An image that no scope can be looked up for. The fault of whoever named the image.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// The transport names its images by Docker reference, and there is none.
    #[error("{transport}: an image of this transport needs a Docker reference")]
    NoReference {
        /// The transport's name.
        transport: String,
    },
    /// The reference is not one.
    #[error("{reference:?}: {source}")]
    Reference {
        /// What was given.
        reference: String,
        /// What is wrong with it.
        source: crate::reference::ReferenceError,
    },
}

/// Something wrong with a key that a requirement names, as whoever can parse keys sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyProblem {
    /// As [`Mistake::code`].
    pub code: String,
    /// As [`Mistake::message`].
    pub message: String,
    /// As [`Mistake::hint`].
    pub hint: Option<String>,
}

/// Every mistake in a document: errors in order of appearance, then warnings. `problem` looks at each key of a
/// `signedBy` requirement; its answers become warnings at the place that names the key.
pub fn check(document: &[u8], problem: &dyn Fn(&Material) -> Option<KeyProblem>) -> Vec<Mistake> {
    let _ = (document, problem);
    Vec::new()
}
