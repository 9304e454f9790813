//! Public keys as administrators hand them over: what kind of requirement each is for.

use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sequoia_openpgp::armor::{Kind, Reader, ReaderMode};
use serde_json::json;

use crate::engine::{Engine, EngineError};
use crate::image::{FileFault, read_limited};
use crate::policy::MAX_KEY_FILE_BYTES;

/// A file with public keys.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// What its signatures are.
    pub format: KeyFormat,
    /// The file's name, without its folder.
    pub name: String,
    pub(super) content: Vec<u8>,
}

/// Of which format the signatures are that a key verifies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyFormat {
    /// Simple signing: `signedBy`.
    OpenPgp,
    /// Sigstore: `sigstoreSigned`.
    Sigstore,
}

impl PublicKey {
    /// Read a file: OpenPGP, binary or armoured, as `gpg --export` writes it; or PEM, as cosign writes it. Whether
    /// OpenPGP keys are usable is for the engine to say.
    ///
    /// # Errors
    ///
    /// It cannot be read, is of another kind, or holds a private key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let content = read_limited(path, MAX_KEY_FILE_BYTES).map_err(KeyError::Unreadable)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("key").to_owned();
        let shown = || path.display().to_string();
        if is_private(&content) {
            return Err(KeyError::Secret(shown()));
        }
        let has = |words: &[u8]| contains(&content, words);
        let format = if has(b"-----BEGIN PUBLIC KEY-----") {
            KeyFormat::Sigstore
        } else if has(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
            || content.first().is_some_and(|byte| *byte >= 0x80)
        {
            KeyFormat::OpenPgp
        } else {
            return Err(KeyError::Unknown(shown()));
        };
        Ok(Self { format, name, content })
    }

    /// Ask the engine whether it can use an OpenPGP key.
    ///
    /// # Errors
    ///
    /// It cannot, or gives no answer.
    pub fn check(&self, engine: &Engine) -> Result<(), KeyError> {
        if self.format != KeyFormat::OpenPgp {
            return Ok(());
        }
        let requirement =
            json!({"type": "signedBy", "keyType": "GPGKeys", "keyData": data(&self.content)});
        let policy = json!({"default": [requirement]}).to_string();
        let found = engine.check(policy.as_bytes(), &[]).map_err(KeyError::Unjudged)?;
        match found.into_iter().find(|mistake| mistake.code == "key-unusable") {
            Some(mistake) => {
                Err(KeyError::Unusable { name: self.name.clone(), fault: mistake.message })
            }
            None => Ok(()),
        }
    }

    /// The file, as it was read.
    pub fn content(&self) -> &[u8] {
        &self.content
    }
}

/// `content` as base64, as `keyData` has it.
pub(super) fn data(content: &[u8]) -> String {
    STANDARD.encode(content)
}

/// The OpenPGP keys of `both`, one after the other, in binary form: the only one that all readers take several
/// keys of. `None` if one of them is damaged.
pub(super) fn joined(both: [&[u8]; 2]) -> Option<Vec<u8>> {
    let mut joined = Vec::new();
    for content in both {
        match content.first() {
            None => {}
            Some(0x80..) => joined.extend_from_slice(content),
            _ => {
                let mode = ReaderMode::Tolerant(Some(Kind::PublicKey));
                let mut reader = Reader::from_bytes(content, mode);
                reader.read_to_end(&mut joined).ok()?;
            }
        }
    }
    Some(joined)
}

/// Whether there is a private key in it, whatever else there is: it would be on every node.
pub(super) fn is_private(content: &[u8]) -> bool {
    contains(content, b"PRIVATE KEY") || content.first().is_some_and(|byte| is_secret(*byte))
}

fn contains(content: &[u8], words: &[u8]) -> bool {
    content.windows(words.len()).any(|window| window == words)
}

/// Whether a packet with this first byte is a secret key or subkey (RFC 9580, 4.2).
fn is_secret(first: u8) -> bool {
    let tag = match first {
        0xc0.. => first & 0x3f,
        0x80.. => (first & 0x3f) >> 2,
        _ => return false,
    };
    [5, 7].contains(&tag)
}

/// A file is no public key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It holds a secret.
    #[error(
        "cannot use {0}: it holds a private key, and every node would have it; expected the public key: gpg \
         --export, cosign public-key"
    )]
    Secret(String),
    /// It is something else.
    #[error(
        "cannot use {0}: expected a public key: OpenPGP, as gpg --export writes it, or PEM with BEGIN PUBLIC KEY"
    )]
    Unknown(String),
    /// The engine gives no answer.
    #[error("cannot judge a key: {0}")]
    Unjudged(EngineError),
    /// The engine cannot use it.
    #[error("cannot use {name}: {fault}; export the key again: gpg --export FINGERPRINT")]
    Unusable {
        /// The file's name.
        name: String,
        /// What is wrong.
        fault: String,
    },
    /// The operating system refused.
    #[error("cannot read a key: {0}")]
    Unreadable(FileFault),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Result<PublicKey, KeyError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), content).expect("content");
        PublicKey::read(file.path())
    }

    #[test]
    fn keys_are_known_by_their_form() {
        let format = |content: &[u8]| read(content).expect("a key").format;
        assert_eq!(format(b"\x99\x01"), KeyFormat::OpenPgp);
        assert_eq!(format(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n"), KeyFormat::OpenPgp);
        assert_eq!(format(b"-----BEGIN PUBLIC KEY-----\n"), KeyFormat::Sigstore);
        for content in [b"".as_slice(), b"key", b"-----BEGIN CERTIFICATE-----"] {
            assert!(matches!(read(content), Err(KeyError::Unknown(_))), "{content:?}");
        }
    }

    #[test]
    fn private_keys_are_refused() {
        for content in [
            b"\x95\x01".as_slice(),
            b"\xc5\x01",
            b"-----BEGIN PGP PRIVATE KEY BLOCK-----",
            b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----",
            b"-----BEGIN PUBLIC KEY-----\n-----BEGIN EC PRIVATE KEY-----",
        ] {
            assert!(matches!(read(content), Err(KeyError::Secret(_))), "{content:?}");
        }
    }
}
