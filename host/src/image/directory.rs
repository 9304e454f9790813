//! `dir:` images: `manifest.json`, and `HEX.manifest.json` for the instances of an index.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use guest_policy::digest::{Algorithm, Digest};
use guest_policy::image::MAX_MANIFEST_BYTES;

use super::FileFault;

/// The manifest of the image, or of the instance with this digest.
pub(super) fn manifest(path: &Path, instance: Option<&Digest>) -> Result<Vec<u8>, FileFault> {
    let name = match instance {
        Some(digest) => format!("{}.manifest.json", file_stem(digest)),
        None => "manifest.json".to_owned(),
    };
    let file = path.join(name);
    let content = read_limited(&file, MAX_MANIFEST_BYTES)?;
    match instance {
        Some(digest) => check_digest(&file, digest, content),
        None => Ok(content),
    }
}

/// A blob of at most `limit` bytes, with this digest.
pub(super) fn blob(path: &Path, digest: &Digest, limit: usize) -> Result<Vec<u8>, FileFault> {
    let file = path.join(file_stem(digest));
    let content = read_limited(&file, limit)?;
    check_digest(&file, digest, content)
}

/// A regular file, and how many bytes it has.
pub(super) fn open(path: &Path) -> Result<(File, u64), FileFault> {
    let io = |source| FileFault::Io { path: path.display().to_string(), source };
    // As in `read_limited`.
    if !path.metadata().map_err(io)?.is_file() {
        return Err(io(std::io::Error::new(ErrorKind::InvalidInput, "not a regular file")));
    }
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    Ok((file, size))
}

/// How files that belong to the instance with this digest begin.
pub(crate) fn file_stem(digest: &Digest) -> String {
    match digest.algorithm() {
        Algorithm::Sha256 => digest.hex().to_owned(),
        other => format!("{}-{}", other.name(), digest.hex()),
    }
}

/// Read a regular file of at most `limit` bytes.
pub(crate) fn read_limited(path: &Path, limit: usize) -> Result<Vec<u8>, FileFault> {
    let io = |source| FileFault::Io { path: path.display().to_string(), source };
    // Opening a named pipe would block, and a device may never end.
    if !path.metadata().map_err(io)?.is_file() {
        return Err(io(std::io::Error::new(ErrorKind::InvalidInput, "not a regular file")));
    }
    let mut content = Vec::new();
    File::open(path).map_err(io)?.take(limit as u64 + 1).read_to_end(&mut content).map_err(io)?;
    if content.len() > limit {
        return Err(FileFault::TooLarge { path: path.display().to_string(), limit });
    }
    Ok(content)
}

/// Give `content` back if it has this digest.
pub(super) fn check_digest(
    path: &Path,
    expected: &Digest,
    content: Vec<u8>,
) -> Result<Vec<u8>, FileFault> {
    if expected.matches(&content) {
        return Ok(content);
    }
    Err(FileFault::Digest {
        path: path.display().to_string(),
        expected: expected.clone(),
        found: Digest::sha256(&content),
    })
}
