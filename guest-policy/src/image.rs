//! What is asked about, and the evidence gathered for it.

use serde::{Deserialize, Serialize};

/// A file that a policy document names, read by the host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyFile {
    /// The path exactly as the document spells it.
    pub path: String,
    /// The bytes, or why they could not be read.
    pub content: Result<Vec<u8>, String>,
}

/// What is asked about, before anything is fetched.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Subject {
    /// Transport name of containers-transports(5), without the colon: `docker`, `oci`, `dir`, ...
    pub transport: String,
    /// The image as messages name it: `docker://busybox:latest`, `dir:/srv/image`.
    pub name: String,
    /// The Docker reference that the user gave, in canonical form; absent where the transport has none.
    pub reference: Option<String>,
    /// For path transports: absolute, symbolic links resolved.
    pub path: Option<String>,
}

/// Everything gathered about one image. Untrusted.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Evidence {
    /// Raw bytes of the image's manifest.
    pub manifest: Vec<u8>,
    /// Raw bytes of the index that the manifest was chosen from, if there was one.
    pub index: Option<Vec<u8>>,
    /// In the order of the store.
    pub signatures: Vec<Signature>,
}

/// One signature as it was found. Untrusted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Signature {
    /// URL or path, for messages only.
    pub source: String,
    /// How the content is to be read.
    pub form: SignatureForm,
    /// The bytes.
    pub content: Vec<u8>,
}

/// How the content of a [`Signature`] is to be read.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureForm {
    /// An OpenPGP message without detection (the registry's signature extension).
    Openpgp,
    /// As a signature store keeps it: the first byte tells the format (lookaside, `dir:`).
    Stored,
}

/// What an evaluation will look at, so that nothing else has to be fetched.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Needs {
    /// The scope that decides, as in [`crate::verdict::Verdict`].
    pub scope: String,
    /// Whether signatures will be looked at.
    pub signatures: bool,
}

/// Largest manifest, in bytes: the limit of containers/image and of registries.
pub const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;

/// Largest signature, in bytes: the limit of containers/image.
pub const MAX_SIGNATURE_BYTES: usize = 4 * 1024 * 1024;

/// Most signatures of one image that are looked at. containers/image reads at most 127 from a
/// lookaside and calls the 128th a server error; `dir:` images may carry one more.
pub const MAX_SIGNATURES: usize = 128;

/// Most signature bytes of one image in total, so that evidence fits the sandbox's memory:
/// four signatures of the largest size, or 128 of 128 KiB (a real one has less than 2 KiB).
pub const MAX_SIGNATURE_BYTES_TOTAL: usize = 16 * 1024 * 1024;
