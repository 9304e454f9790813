//! The policy document, containers-policy.json(5): what must hold for which image.
//!
//! [`Policy::parse`] accepts exactly what the reference implementation accepts, less what would fail open;
//! [`Policy::lookup`] finds the one list of requirements that decides about an image.

mod document;
mod identity;
mod json;
mod mistakes;
mod requirement;

pub use identity::{IdentityMatch, InvalidPrefix, Prefix};
pub use requirement::{
    Fulcio, KeySource, KeyType, Material, Pki, Requirement, SignedBy, SigstoreSigned, SigstoreTrust,
};

use std::collections::BTreeMap;

use crate::image::Subject;
use crate::reference::{Reference, ReferenceError};
use crate::scope;
use crate::verdict::{Candidate, Mistake};

/// How verdicts name the requirements for images that no scope covers.
pub const DEFAULT_SCOPE: &str = "default";

/// A policy document, completely valid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    default: Vec<Requirement>,
    transports: BTreeMap<String, Scopes>,
    key_paths: Vec<String>,
}

impl Policy {
    /// Parse a document. Fails with every error that [`check`] would report, without its warnings.
    pub fn parse(document: &[u8]) -> Result<Self, Vec<Mistake>> {
        let (policy, mistakes) = document::read(document, &|_| None);
        let (errors, _) = mistakes.into_parts();
        match policy {
            Some(policy) if errors.is_empty() => Ok(policy),
            _ => Err(errors),
        }
    }

    /// The requirements that decide about `subject`: those of the first scope that the document has, from
    /// the image's identity to the transport's general scope, otherwise the default ones. Nothing is merged.
    pub fn lookup(&self, subject: &Subject) -> Result<Lookup<'_>, SubjectError> {
        let transport = subject.transport.as_str();
        let keys = keys(subject)?;
        let scopes = self.transports.get(transport);
        let mut decisive = None;
        let mut candidates = Vec::with_capacity(keys.len() + 1);
        for key in keys {
            let requirements = scopes.and_then(|scopes| scopes.get(&key));
            let scope = format!("{transport}/{key}");
            if let (None, Some(requirements)) = (&decisive, requirements) {
                decisive = Some((scope.clone(), requirements));
            }
            candidates.push(Candidate { scope, present: requirements.is_some() });
        }
        candidates.push(Candidate { scope: DEFAULT_SCOPE.to_owned(), present: true });
        let (scope, requirements) = decisive.unwrap_or((DEFAULT_SCOPE.to_owned(), &self.default));
        Ok(Lookup { scope, requirements, candidates })
    }

    /// Every requirement of the document.
    pub(crate) fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.default.iter().chain(self.transports.values().flat_map(BTreeMap::values).flatten())
    }

    /// The key files of all `signedBy` requirements, in order of appearance and without repetition.
    pub fn key_paths(&self) -> Vec<String> {
        self.key_paths.clone()
    }

    /// The requirements of no scope.
    #[cfg(feature = "probe")]
    pub(crate) fn default_requirements(&self) -> &[Requirement] {
        &self.default
    }

    /// Each scope of each transport with its requirements.
    #[cfg(feature = "probe")]
    pub(crate) fn transports(&self) -> &BTreeMap<String, Scopes> {
        &self.transports
    }
}

/// What [`Policy::lookup`] found.
#[derive(Clone, Debug)]
pub struct Lookup<'a> {
    /// As `verdict.scope`: `transport/scope`, `transport/` for its general scope, or `default`. Hosts are in
    /// lower case, as they are compared.
    pub scope: String,
    /// All of them must hold. Never empty.
    pub requirements: &'a [Requirement],
    /// Every key that was tried or would have been, in lookup order; the last is `default`.
    pub candidates: Vec<Candidate>,
}

/// An image that no scope can be looked up for. The fault of whoever named the image.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// The reference is not complete, or more than that.
    #[error("{transport}: expected {expected}, got {reference}")]
    Form {
        /// The transport's name.
        transport: String,
        /// What was given.
        reference: String,
        /// What its form should be.
        expected: &'static str,
    },
    /// The transport names its images by path, and there is none, or none that can be looked up.
    #[error("{transport}: an image of this transport needs an absolute path")]
    NoPath {
        /// The transport's name.
        transport: String,
    },
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
        source: ReferenceError,
    },
    /// No image is of this transport.
    #[error("the transport \"{transport}:\" is not supported in this build")]
    Transport {
        /// The transport's name.
        transport: String,
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
    let (_, mistakes) = document::read(document, problem);
    let (mut errors, warnings) = mistakes.into_parts();
    errors.extend(warnings);
    errors
}

/// A transport's scopes, hosts in lower case, and their requirements.
pub(crate) type Scopes = BTreeMap<String, Vec<Requirement>>;

/// The keys that are tried for an image, most specific first, without repetition; the last is the general
/// scope `""`.
fn keys(subject: &Subject) -> Result<Vec<String>, SubjectError> {
    let transport = subject.transport.as_str();
    let mut keys = match transport {
        "docker" | "atomic" => docker_keys(transport, &needed_reference(subject)?)?,
        // Named by the identifier of its configuration, an image has no identity.
        "docker-daemon" if subject.reference.is_none() => Vec::new(),
        "docker-daemon" => docker_keys(transport, &needed_reference(subject)?)?,
        "dir" | "oci" | "oci-archive" | "sif" => path_keys(subject)?,
        "docker-archive" | "tarball" => Vec::new(),
        "containers-storage" => storage_keys(subject)?,
        _ => return Err(SubjectError::Transport { transport: transport.to_owned() }),
    };
    keys.push(String::new());
    Ok(keys)
}

fn needed_reference(subject: &Subject) -> Result<Reference, SubjectError> {
    let Some(text) = &subject.reference else {
        return Err(SubjectError::NoReference { transport: subject.transport.clone() });
    };
    Reference::parse_normalized(text)
        .map_err(|source| SubjectError::Reference { reference: text.clone(), source })
}

fn docker_keys(transport: &str, reference: &Reference) -> Result<Vec<String>, SubjectError> {
    let form = |expected| {
        let (transport, reference) = (transport.to_owned(), reference.to_string());
        Err(SubjectError::Form { transport, reference, expected })
    };
    match (reference.tag(), reference.digest()) {
        (Some(_), Some(_)) => return form("a reference with a tag or a digest, not both"),
        (None, None) => return form("a reference with a tag or a digest"),
        _ => {}
    }
    if transport == "atomic"
        && (reference.tag().is_none() || reference.path().split('/').count() != 2)
    {
        return form("host[:port]/namespace/stream:tag");
    }
    let identity = scope::docker_identity(reference);
    let keys = std::iter::once(identity).chain(scope::docker_namespaces(reference));
    Ok(keys.map(|key| scope::folded(transport, &key).into_owned()).collect())
}

fn path_keys(subject: &Subject) -> Result<Vec<String>, SubjectError> {
    match &subject.path {
        Some(path) if path.starts_with('/') => {
            let mut keys = vec![path.clone()];
            keys.extend(scope::path_namespaces(path));
            Ok(keys)
        }
        _ => Err(SubjectError::NoPath { transport: subject.transport.clone() }),
    }
}

/// The path of an image in local storage is its whole identity, `[driver@graphroot]name[:tag][@digest][@id]`.
fn storage_keys(subject: &Subject) -> Result<Vec<String>, SubjectError> {
    let missing = || SubjectError::NoPath { transport: subject.transport.clone() };
    let identity = subject.path.as_ref().ok_or_else(missing)?;
    let namespaces = scope::storage_namespaces(identity).ok_or_else(missing)?;
    let keys = std::iter::once(identity.clone()).chain(namespaces);
    Ok(keys.map(|key| scope::folded(&subject.transport, &key).into_owned()).collect())
}

/// Largest document, in bytes: a hundred times a policy of a hundred scopes.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
