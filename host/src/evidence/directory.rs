//! Signatures that lie with a `dir:` image: `signature-1`, `signature-2`, …, for an instance of an index
//! `HEX.signature-1`, …; and those beside another file, `FILE.signature-1`, ….

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use guest_policy::digest::Digest;
use guest_policy::image::{MAX_SIGNATURE_BYTES, MAX_SIGNATURES, Signature, SignatureForm};

use super::EvidenceError;
use crate::image::{FileFault, file_stem, read_limited};

/// Read until the first number that is missing.
pub(super) fn read(
    directory: &Path,
    instance: Option<&Digest>,
) -> Result<Vec<Signature>, EvidenceError> {
    let prefix = instance.map(|digest| format!("{}.", file_stem(digest))).unwrap_or_default();
    numbered(&directory.join(format!("{prefix}signature-")), directory)
}

/// Signatures that lie beside a file: `FILE.signature-1`, `FILE.signature-2`, …, until the first number that is
/// missing.
pub(super) fn beside(file: &Path) -> Result<Vec<Signature>, EvidenceError> {
    let mut start = file.as_os_str().to_owned();
    start.push(".signature-");
    numbered(Path::new(&start), file)
}

fn numbered(start: &Path, store: &Path) -> Result<Vec<Signature>, EvidenceError> {
    let mut found = Vec::new();
    loop {
        let mut path = start.as_os_str().to_owned();
        path.push((found.len() + 1).to_string());
        let path = PathBuf::from(path);
        let content = match read_limited(&path, MAX_SIGNATURE_BYTES) {
            Ok(content) => content,
            Err(FileFault::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(found);
            }
            Err(fault) => return Err(fault.into()),
        };
        if found.len() == MAX_SIGNATURES {
            let (store, count) = (store.display().to_string(), found.len() + 1);
            return Err(EvidenceError::TooMany { store, count });
        }
        let source = path.display().to_string();
        found.push(Signature { source, form: SignatureForm::Stored, content });
    }
}
