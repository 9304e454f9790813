//! Rules: what a policy says of them, what they are asked and what they answer (`wit/rule.wit`).
//!
//! The same types are what recordings and golden cases are written in, as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::verdict::Claim;

/// What a rule may do besides computing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// The image's manifest, configuration and attached documents.
    Artifact,
    /// Signatures and digests, computed by the host.
    Crypto,
    /// Documents that the policy names.
    Data,
    /// Notes for the author and the operator.
    Log,
}

impl Capability {
    /// All, in the order of their names.
    pub const ALL: [Self; 4] = [Self::Artifact, Self::Crypto, Self::Data, Self::Log];

    /// As policies and interfaces spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Artifact => "artifact",
            Self::Crypto => "crypto",
            Self::Data => "data",
            Self::Log => "log",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, UnknownCapability> {
        let known = Self::ALL.into_iter().find(|capability| capability.name() == text);
        known.ok_or_else(|| UnknownCapability(text.to_owned()))
    }
}

/// No capability has this name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no capability; there are artifact, crypto, data and log")]
pub struct UnknownCapability(pub String);

/// A requirement `rule` of a policy document: which module, and what it gets.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct RuleUse {
    /// As the document spells it: a path, or `oci://host/path@sha256:…`.
    pub module: String,
    /// JSON, without insignificant space; `{}` if the document has none.
    pub settings: String,
    /// Sorted, each once.
    pub capabilities: Vec<Capability>,
    /// The documents of capability `data`: name to path, as the document spells it.
    pub data: BTreeMap<String, String>,
    /// What one evaluation may use.
    pub budget: RuleBudget,
    /// Where the document first has it, as in [`crate::verdict::Mistake::path`].
    pub place: String,
}

/// What one evaluation of a rule may use, as far as the document says.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct RuleBudget {
    /// `deadlineMilliseconds`.
    pub deadline_milliseconds: Option<u32>,
    /// `memoryMiB`.
    pub memory_mib: Option<u32>,
    /// `outputKiB`.
    pub output_kib: Option<u32>,
}

/// What the name of a module in a registry begins with.
pub const OCI_SCHEME: &str = "oci://";

/// Longest time of one evaluation that a policy may grant, in milliseconds: webhooks wait ten seconds.
pub const MAX_RULE_DEADLINE_MILLISECONDS: u32 = 10_000;

/// Most memory that a policy may grant, in MiB: an interpreter of Python needs a good part of it.
pub const MAX_RULE_MEMORY_MIB: u32 = 256;

/// Largest answer that a policy may grant, in KiB: more than any API server passes on.
pub const MAX_RULE_OUTPUT_KIB: u32 = 1024;

/// The rules of a policy document.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RuleUses {
    /// Each distinct one once, in order of appearance: an index into this list names a rule.
    pub uses: Vec<RuleUse>,
    /// Whether the document has `rulesFrom`: then modules without a good signature are not loaded.
    pub signed: bool,
}

/// What a rule says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Description {
    /// Kebab-case.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One line.
    pub purpose: String,
    /// JSON Schema (draft 2020-12), as text.
    pub settings_schema: String,
    /// Names of capabilities, known or not.
    pub capabilities: Vec<String>,
}

/// One question to a rule.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// What is asked about.
    pub image: Image,
    /// What verified signatures established.
    #[serde(default)]
    pub claims: Vec<Claim>,
    /// What verified attestations say.
    #[serde(default)]
    pub attestations: Vec<Attestation>,
    /// What wants to run the image, if a cluster asks.
    #[serde(default)]
    pub workload: Option<Workload>,
    /// JSON, as text.
    pub settings: String,
    /// Evaluation time (seconds since 1970-01-01 UTC).
    pub now: u64,
}

/// The image of a [`Question`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// As messages name it: `docker://registry.example.com/ns/app:1`.
    pub name: String,
    /// Complete; absent where the transport has none.
    #[serde(default)]
    pub reference: Option<String>,
    /// `registry.example.com/ns/app`.
    #[serde(default)]
    pub repository: Option<String>,
    /// By which the image was named, if it was.
    #[serde(default)]
    pub tag: Option<String>,
    /// Of the manifest.
    pub digest: String,
    /// `os/architecture[/variant]`, if known.
    #[serde(default)]
    pub platform: Option<String>,
}

/// A verified statement about the image.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// A URI.
    pub predicate_type: String,
    /// JSON, as text.
    pub predicate: String,
    /// Who signed it.
    pub signed_by: Claim,
}

/// What wants to run an image, as the cluster tells it.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workload {
    /// `apps/v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// Absent for what belongs to no namespace.
    pub namespace: Option<String>,
    /// Absent where the cluster will make one up.
    pub name: Option<String>,
    /// Of the object itself.
    pub labels: BTreeMap<String, String>,
    /// Of the object itself.
    pub annotations: BTreeMap<String, String>,
    /// `CREATE`, `UPDATE`, ...
    pub operation: String,
    /// Who asks for it.
    pub user: String,
    /// Of that user.
    pub groups: Vec<String>,
}

/// One answer of a rule.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// What the rule says of the image: reasons against it. Empty: it has none.
    #[serde(default)]
    pub reasons: Vec<RuleReason>,
    /// Whether the image is allowed. A denial has reasons; the host adds one where a rule gave none.
    pub allow: bool,
    /// For whoever asks.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// For the audit log.
    #[serde(default)]
    pub annotations: Vec<(String, String)>,
    /// An allow holds no longer than this (seconds since 1970-01-01 UTC).
    #[serde(default)]
    pub valid_until: Option<u64>,
}

/// Why a rule does not allow an image.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuleReason {
    /// Kebab-case; users see `NAME/CODE`.
    pub code: String,
    /// One sentence.
    pub message: String,
}

/// A line that a rule logged.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LogLine {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The text, as the rule gave it: other people's words.
    pub message: String,
}

/// What an attached document's list says of it (capability `artifact`).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Of the manifest.
    pub media_type: String,
    /// What the document is.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// In bytes.
    pub size: u64,
    /// As the list has them.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A document that capability `artifact` can give.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// The manifest of a referrer or a blob that such a manifest names, by digest as the rule gave it.
    Attached(String),
    /// The image's configuration.
    Config,
    /// The list of referrers, of all types.
    Referrers,
}

/// What was found where a [`Want`] was looked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Document {
    /// There is none: a digest that nothing attached has.
    Absent,
    /// Its bytes, whose digest was checked.
    Bytes(#[serde(with = "shared")] Arc<[u8]>),
    /// A list.
    Descriptors(#[serde(with = "shared")] Arc<[Descriptor]>),
}

/// Documents of one image, as far as they were fetched.
pub type Documents = BTreeMap<Want, Document>;

/// Shared lists, written as lists.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T, S>(list: &Arc<[T]>, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Serialize,
        S: Serializer,
    {
        list.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Arc<[T]>, D::Error>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Vec::deserialize(deserializer).map(Arc::from)
    }
}
