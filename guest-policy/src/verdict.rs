//! The answer, and everything said about it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Allow, deny with reasons, or error with cause.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Verdict {
    /// The answer.
    pub outcome: Outcome,
    /// `transport/scope`, `transport/` for a transport's general scope, or `default`.
    pub scope: String,
    /// The manifest digest that was judged.
    pub digest: String,
    /// Empty exactly if the outcome is [`Outcome::Allow`].
    pub reasons: Vec<Reason>,
    /// What verified signatures established.
    pub claims: Vec<Claim>,
    /// An allow holds no longer than this (seconds since 1970-01-01 UTC).
    pub valid_until: Option<u64>,
    /// What rules have to say to whoever asks, whatever the outcome.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What rules want in the audit log, by `NAME/KEY`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The three answers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The image may run.
    Allow,
    /// The policy says no.
    Deny,
    /// The question could not be answered. Never an allow.
    Error,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Error => "error",
        })
    }
}

/// Why an image is not allowed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Reason {
    /// Kebab-case, documented in docs/reasons.md, never reused for another meaning.
    pub code: String,
    /// Position in the scope's list of requirements, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requirement: Option<u32>,
    /// One sentence; the words of containers/image where it has a message for the case.
    pub message: String,
    /// What the reader can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A fact that a verified signature established.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Claim {
    /// `simple-signing`.
    pub format: String,
    /// Fingerprint of the primary key, upper-case hexadecimal.
    pub key: String,
    /// Fingerprint of the key or subkey that made the signature.
    pub signing_key: String,
    /// The reference that was signed, exactly as signed.
    pub reference: String,
    /// The manifest digest that was signed.
    pub digest: String,
    /// When the signature says it was made (seconds since 1970-01-01 UTC).
    pub signed_at: Option<u64>,
    /// The payload's `optional.creator`.
    pub creator: Option<String>,
    /// The earliest expiry among the signature, its key and the primary key.
    pub valid_until: Option<u64>,
    /// The requirement that this signature satisfied, from 0.
    #[serde(default)]
    pub requirement: u32,
    /// Names of the key material, SHA-256 in hexadecimal: that of the primary key, that of the key that signed if
    /// it is another, and one that all certificates have in common that share keys, if the policy has such. Claims
    /// that share one were made by the same signer, whatever certificate or format carries it.
    #[serde(default)]
    pub material: Vec<String>,
}

/// Something wrong in a policy document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mistake {
    /// Whether the document is refused for it.
    pub severity: Severity,
    /// Kebab-case, stable.
    pub code: String,
    /// JSONPath of the value: `$.transports.docker["example.com"][0].keyPath`.
    pub path: String,
    /// From 1; 0 if there is no place to point at.
    pub line: u32,
    /// From 1, in bytes.
    pub column: u32,
    /// The words of containers/image where it has a message for the case.
    pub message: String,
    /// What the author can do about it.
    pub hint: Option<String>,
}

/// How bad a [`Mistake`] is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The document is refused.
    Error,
    /// The document is accepted, but probably does not do what its author meant.
    Warning,
}

/// How a policy applies to an image.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Explanation {
    /// As in [`Verdict`].
    pub scope: String,
    /// In lookup order; the first that is present decides.
    pub candidates: Vec<Candidate>,
    /// The requirements in order, each followed by its parts.
    pub requirements: Vec<Explained>,
}

/// A requirement in words.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Explained {
    /// 0 for the scope's own requirements, 1 for their parts, and so on.
    pub depth: u32,
    /// One line.
    pub words: String,
}

/// One key that the scope lookup tried.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Candidate {
    /// As in [`Verdict`].
    pub scope: String,
    /// Whether the document has it.
    pub present: bool,
}

/// What one signature is worth under the policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// URL or path of the signature.
    pub source: String,
    /// `simple-signing`, `sigstore-json`, or `unknown`.
    pub format: String,
    /// Key identifiers that the signature names. Not verified.
    pub issuers: Vec<String>,
    /// One for each requirement that accepted the signature.
    pub claims: Vec<Claim>,
    /// One or more for each requirement that did not.
    pub reasons: Vec<Reason>,
}
