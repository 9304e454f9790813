//! Capability `artifact`: the image under review and the documents attached to it, and nothing else.
//!
//! What cannot be fetched, or is too large, ends the evaluation with an error: a rule never takes it for absent.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What a registry says of an attached document.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
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
    /// As the registry has them.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// The image's manifest, as it was verified.
#[must_use]
pub fn manifest() -> Vec<u8> {
    given::manifest()
}

/// The image's configuration: the document that the manifest's `config` names.
#[must_use]
pub fn config() -> Vec<u8> {
    given::config()
}

/// The documents that refer to the image (OCI distribution specification, "Listing Referrers"), of one artifact
/// type or of all. Not verified: whoever may write to the repository may attach something.
#[must_use]
pub fn referrers(artifact_type: Option<&str>) -> Vec<Descriptor> {
    given::referrers(artifact_type)
}

/// The manifest of a referrer, or a blob that such a manifest names, by digest. Absent if it is neither.
#[must_use]
pub fn attached(digest: &str) -> Option<Vec<u8>> {
    given::attached(digest)
}

#[cfg(target_family = "wasm")]
mod given {
    pub(super) use crate::bindings::countersign::policy::artifact::{attached, config, manifest};

    use super::Descriptor;
    use crate::bindings::countersign::policy::artifact as wit;

    pub(super) fn referrers(artifact_type: Option<&str>) -> Vec<Descriptor> {
        let descriptors = wit::referrers(artifact_type).into_iter();
        let descriptors = descriptors.map(|descriptor| Descriptor {
            digest: descriptor.digest,
            media_type: descriptor.media_type,
            artifact_type: descriptor.artifact_type,
            size: descriptor.size,
            annotations: descriptor.annotations.into_iter().collect(),
        });
        descriptors.collect()
    }
}

#[cfg(not(target_family = "wasm"))]
use crate::testing::given::artifact as given;
