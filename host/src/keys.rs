//! The keys that [`sign`](crate::sign) signs with and that policies name: making them, taking their public half
//! out, and saying what one is.
//!
//! OpenPGP keys are of version 4, as gpg makes and reads them. A secret leaves this module in what is written to
//! its own file or Secret, and in nothing else.

mod description;
mod expiry;
mod files;
mod kubernetes;
mod sigstore;
mod stored;
mod unattended;
mod user;

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sequoia_openpgp as openpgp;
use sequoia_openpgp::anyhow;
use sequoia_openpgp::armor;
use sequoia_openpgp::cert::prelude::*;
use sequoia_openpgp::parse::Parse as _;
use sequoia_openpgp::serialize::SerializeInto as _;
use sequoia_openpgp::types::KeyFlags;
use serde_json::{Value, json};

pub use self::description::{Component, Description, Secret, Standing};
pub use self::expiry::{Expiry, InvalidExpiry};
pub use self::files::{FilesError, Places};
pub use self::kubernetes::{InvalidName, Manifests, ObjectName};
pub use self::sigstore::{SigstoreError, SigstoreKey};
pub use self::stored::{Previous, Published, StoredFault, StoredKey, annotation};
pub use self::unattended::{Mistake, Mistakes, Protection, Unattended};
pub use self::user::{InvalidUser, UserId};
pub use openpgp::crypto::Password;

use crate::image::{FileFault, read_limited};

/// What a key is made with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// EdDSA over Curve25519; as a key that encrypts, ECDH over it.
    Ed25519,
    /// ECDSA over NIST P-256; as a key that encrypts, ECDH over it.
    P256,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

/// What a primary key or subkey is to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// What it is made with.
    pub algorithm: Algorithm,
    /// What it may be used for.
    pub usage: KeyFlags,
}

/// What a key is to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// Whose it is.
    pub user: UserId,
    /// The primary key, which certifies whatever else it does.
    pub primary: Part,
    /// A subkey, if there is to be one.
    pub subkey: Option<Part>,
    /// When it is made, in seconds since 1970-01-01 UTC.
    pub created: u64,
    /// How long key and subkey are good from then on, in seconds; `None` if they do not end by themselves.
    pub validity: Option<u64>,
}

impl Plan {
    /// A key that signs: the primary key, or a subkey of it that is made the same way.
    pub fn signing(
        user: UserId,
        algorithm: Algorithm,
        with_subkey: bool,
        created: u64,
        validity: Option<u64>,
    ) -> Self {
        let certifies = KeyFlags::empty().set_certification();
        let signs = || KeyFlags::empty().set_signing();
        let usage = if with_subkey { certifies } else { certifies.set_signing() };
        Self {
            user,
            primary: Part { algorithm, usage },
            subkey: with_subkey.then(|| Part { algorithm, usage: signs() }),
            created,
            validity,
        }
    }

    /// Make the key. With a passphrase, what is written of it is protected.
    ///
    /// # Errors
    ///
    /// The system has no random numbers, or the parts cannot do what they are to be used for.
    pub fn generate(&self, passphrase: Option<&Password>) -> Result<SecretKey, KeyError> {
        self.build(passphrase).map(|cert| SecretKey { cert }).map_err(KeyError::Make)
    }

    fn build(&self, passphrase: Option<&Password>) -> openpgp::Result<Cert> {
        let validity = self.validity.map(Duration::from_secs);
        let mut builder = CertBuilder::new()
            .set_profile(openpgp::Profile::RFC4880)?
            .add_userid(self.user.as_str())
            .set_creation_time(SystemTime::UNIX_EPOCH + Duration::from_secs(self.created))
            .set_validity_period(validity)
            .set_cipher_suite(self.primary.algorithm.suite())
            .set_primary_key_flags(self.primary.usage.clone().set_certification())
            .set_password(passphrase.cloned());
        if let Some(subkey) = &self.subkey {
            let suite = subkey.algorithm.suite();
            builder = builder.add_subkey(subkey.usage.clone(), None, suite);
        }
        let (cert, _revocation) = builder.generate()?;
        Ok(cert)
    }
}

/// A key with its secret. It shows its fingerprint alone.
pub struct SecretKey {
    cert: Cert,
}

impl SecretKey {
    /// The one key with a secret that these bytes are, armoured or binary.
    pub fn read(content: &[u8]) -> Option<Self> {
        let [cert] = <[Cert; 1]>::try_from(parsed(content).ok()?).ok()?;
        cert.is_tsk().then_some(Self { cert })
    }

    /// As `gpg --armor --export-secret-keys` writes it: its own file's content.
    ///
    /// # Errors
    ///
    /// The key cannot be written.
    pub fn armoured(&self) -> Result<Vec<u8>, KeyError> {
        self.cert.as_tsk().armored().to_vec().map_err(KeyError::Write)
    }

    /// The half that everybody may have.
    pub fn public(&self) -> PublicKeys {
        PublicKeys(vec![self.cert.clone().strip_secret_key_material()])
    }

    /// Of the primary key, in upper-case hexadecimal.
    pub fn fingerprint(&self) -> String {
        self.cert.fingerprint().to_hex()
    }

    /// What there is to know of it, at the time `now` in seconds since 1970-01-01 UTC.
    pub fn describe(&self, now: u64) -> Description {
        Description::of(&self.cert, SystemTime::UNIX_EPOCH + Duration::from_secs(now))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretKey").field(&self.fingerprint()).finish()
    }
}

/// Public keys, of one file: at least one.
#[derive(Clone, Debug)]
pub struct PublicKeys(Vec<Cert>);

impl PublicKeys {
    /// The public halves of the keys in a file, which may have their secrets, too.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds something else.
    pub fn open(file: &Path) -> Result<Self, KeyError> {
        let keys = certs(file)?;
        Ok(Self(keys.into_iter().map(Cert::strip_secret_key_material).collect()))
    }

    /// The public halves of the keys that these bytes are, if they are keys, at least one.
    pub fn read(content: &[u8]) -> Option<Self> {
        let keys = parsed(content).ok().filter(|keys| !keys.is_empty())?;
        Some(Self(keys.into_iter().map(Cert::strip_secret_key_material).collect()))
    }

    /// All of these, in this order.
    pub fn all(keys: Vec<Self>) -> Self {
        Self(keys.into_iter().flat_map(|keys| keys.0).collect())
    }

    /// Each for itself.
    pub fn each(&self) -> impl Iterator<Item = Self> {
        self.0.iter().map(|cert| Self(vec![cert.clone()]))
    }

    /// As `gpg --export` writes them.
    ///
    /// # Errors
    ///
    /// They cannot be written.
    pub fn binary(&self) -> Result<Vec<u8>, KeyError> {
        let written: Vec<Vec<u8>> = self
            .0
            .iter()
            .map(|cert| cert.export_to_vec())
            .collect::<openpgp::Result<_>>()
            .map_err(KeyError::Write)?;
        Ok(written.concat())
    }

    /// As `gpg --armor --export` writes them.
    ///
    /// # Errors
    ///
    /// They cannot be written.
    pub fn armoured(&self) -> Result<String, KeyError> {
        let binary = self.binary()?;
        let write = || {
            let mut to = armor::Writer::new(Vec::new(), armor::Kind::PublicKey)?;
            to.write_all(&binary)?;
            to.finalize()
        };
        let text = write().map_err(|fault| KeyError::Write(fault.into()))?;
        String::from_utf8(text).map_err(|fault| KeyError::Write(fault.into()))
    }

    /// What a policy.json says to want a signature by one of them, with the keys in it.
    ///
    /// # Errors
    ///
    /// They cannot be written.
    pub fn requirement(&self) -> Result<Value, KeyError> {
        let data = BASE64_STANDARD.encode(self.binary()?);
        Ok(json!({"type": "signedBy", "keyType": "GPGKeys", "keyData": data}))
    }

    /// Of the primary keys, in upper-case hexadecimal.
    pub fn fingerprints(&self) -> Vec<String> {
        self.0.iter().map(|cert| cert.fingerprint().to_hex()).collect()
    }
}

/// What a policy.json says to want a signature by the keys in a file.
pub fn requirement_of_file(public: &Path) -> Value {
    json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": public.display().to_string()})
}

/// What there is to know of the keys in a file, at the time `now` in seconds since 1970-01-01 UTC.
///
/// # Errors
///
/// The file cannot be read, or holds something else.
pub fn describe(file: &Path, now: u64) -> Result<Vec<Description>, KeyError> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
    Ok(certs(file)?.iter().map(|cert| Description::of(cert, now)).collect())
}

/// There is no key, or it cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key: {0}")]
    File(FileFault),
    /// It is something else.
    #[error("cannot read the key {path}: {fault}; expected an OpenPGP key, armoured or binary")]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong.
        fault: String,
    },
    /// No key was made.
    #[error("cannot make the key: {0:#}")]
    Make(anyhow::Error),
    /// It was not written.
    #[error("cannot write the key: {0:#}")]
    Write(anyhow::Error),
}

impl Algorithm {
    fn suite(self) -> CipherSuite {
        match self {
            Self::Ed25519 => CipherSuite::Cv25519,
            Self::P256 => CipherSuite::P256,
            Self::Rsa2048 => CipherSuite::RSA2k,
            Self::Rsa3072 => CipherSuite::RSA3k,
            Self::Rsa4096 => CipherSuite::RSA4k,
        }
    }
}

fn certs(file: &Path) -> Result<Vec<Cert>, KeyError> {
    let content = read_limited(file, MAX_KEYS_BYTES).map_err(KeyError::File)?;
    let unusable = |fault| KeyError::Unusable { path: file.display().to_string(), fault };
    let certs = parsed(&content).map_err(|fault| unusable(format!("{fault:#}")))?;
    if certs.is_empty() {
        return Err(unusable("there is no key in it".to_owned()));
    }
    Ok(certs)
}

fn parsed(content: &[u8]) -> openpgp::Result<Vec<Cert>> {
    CertParser::from_bytes(content).and_then(Iterator::collect)
}

/// Largest file with keys: as large as one that a policy may name.
const MAX_KEYS_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::SigningKey;

    const NOW: u64 = 1_795_400_000;

    fn user() -> UserId {
        "Test <test@example.com>".parse().expect("a user")
    }

    #[test]
    fn what_is_made_signs() {
        let passphrase = Password::from("s3cret");
        for (algorithm, subkey, protected) in [
            (Algorithm::Ed25519, false, false),
            (Algorithm::P256, true, true),
            (Algorithm::Rsa2048, true, false),
        ] {
            let plan = Plan::signing(user(), algorithm, subkey, NOW, Some(60));
            let key = plan.generate(protected.then_some(&passphrase)).expect("a key");
            let armoured = key.armoured().expect("a key");
            let given = protected.then_some(b"s3cret".as_slice());
            let signer = SigningKey::read(&armoured, given, NOW).expect("a key that signs");
            assert_eq!(signer.fingerprint(), key.fingerprint());
            signer.sign(b"payload", NOW).expect("a signature");
            SigningKey::read(&armoured, given, NOW + 60).expect_err("expired");
            if protected {
                SigningKey::read(&armoured, Some(b"other"), NOW).expect_err("another passphrase");
            }
        }
    }

    #[test]
    fn what_is_shown_of_a_key_has_no_secret() {
        let plan = Plan::signing(user(), Algorithm::Ed25519, false, NOW, None);
        let key = plan.generate(None).expect("a key");
        assert_eq!(format!("{key:?}"), format!("SecretKey({:?})", key.fingerprint()));
        let public = key.public();
        let armoured = public.armoured().expect("text");
        assert!(armoured.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----\n"), "{armoured}");
        for bytes in [armoured.into_bytes(), public.binary().expect("bytes")] {
            let cert = Cert::from_bytes(&bytes).expect("a key");
            assert!(!cert.is_tsk());
            assert_eq!(cert.fingerprint().to_hex(), key.fingerprint());
        }
    }

    #[test]
    fn a_file_without_a_key_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        for content in [b"no key".as_slice(), b""] {
            let file = folder.path().join("x.asc");
            std::fs::write(&file, content).expect("a file");
            let fault = PublicKeys::open(&file).expect_err("no key").to_string();
            assert!(fault.contains("x.asc") && fault.contains("expected"), "{fault}");
        }
    }
}
