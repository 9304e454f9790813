//! Image names (containers-transports(5)) and their one resolution to a manifest.

use guest_policy::digest::Digest;
use guest_policy::image::Subject;

/// An image with its manifest, resolved once.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Who asks about what.
    pub subject: Subject,
    /// Digest of `manifest`.
    pub digest: Digest,
    /// Raw manifest.
    pub manifest: Vec<u8>,
    /// Raw index that the manifest was chosen from.
    pub index: Option<Vec<u8>>,
    /// `os/architecture[/variant]`, if the index tells.
    pub platform: Option<String>,
}
