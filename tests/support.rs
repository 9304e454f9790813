//! What several test modules share.

use std::path::PathBuf;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The folder of conformance data and vectors beside the project; `None`, said on stderr, where it is absent.
pub(crate) fn shared() -> Option<PathBuf> {
    let shared = root().join("../shared");
    if shared.is_dir() {
        return Some(shared);
    }
    eprintln!("SKIPPED: ../shared is not here, so its conformance data and vectors are not tested");
    None
}
