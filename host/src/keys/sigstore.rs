//! Sigstore's keys, as cosign keeps them: ECDSA over NIST P-256, the private half under a passphrase.
//!
//! The file is PEM around JSON, which names how the passphrase becomes a key (scrypt) and what that key opens
//! (NaCl's secretbox around PKCS #8): the package `encrypted` of go-securesystemslib.

use std::fmt;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305};
use guest_policy::digest::Digest;
use sequoia_openpgp::crypto::Password;
use sequoia_openpgp::crypto::mem::Protected;
use serde::{Deserialize, Serialize};

use crate::image::{FileFault, read_limited};

/// A key pair, with its private half in memory. It shows nothing of that.
pub struct SigstoreKey {
    pair: EcdsaKeyPair,
    /// PKCS #8.
    private: Protected,
}

impl SigstoreKey {
    /// Make a key pair.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn generate() -> Result<Self, SigstoreError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING);
        let pair = pair.map_err(|_| SigstoreError::Make)?;
        let private = pair.to_pkcs8v1().map_err(|_| SigstoreError::Make)?;
        let private = Protected::from(private.as_ref());
        Ok(Self { pair, private })
    }

    /// Open a private key that cosign, skopeo or this module wrote.
    ///
    /// # Errors
    ///
    /// The file cannot be read, holds something else, or has another passphrase.
    pub fn open(file: &Path, passphrase: &Password) -> Result<Self, SigstoreError> {
        let content = read_limited(file, MAX_SIGSTORE_KEY_BYTES).map_err(SigstoreError::File)?;
        let unusable = |fault: &str| SigstoreError::Unusable {
            path: file.display().to_string(),
            fault: fault.to_owned(),
        };
        let json = from_pem(&content).ok_or_else(|| {
            unusable("it is not a private key of sigstore, as cosign generate-key-pair writes it")
        })?;
        let sealed: Sealed =
            serde_json::from_slice(&json).map_err(|_| unusable("its JSON is not as expected"))?;
        let private = sealed.open(passphrase).map_err(unusable)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &private)
            .map_err(|_| unusable("it is not for ECDSA over NIST P-256"))?;
        Ok(Self { pair, private })
    }

    /// The private half, as cosign writes it.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn private_pem(&self, passphrase: &Password) -> Result<String, SigstoreError> {
        let sealed = Sealed::seal(&self.private, passphrase)?;
        let json = serde_json::to_vec(&sealed).map_err(|_| SigstoreError::Make)?;
        Ok(to_pem(PRIVATE, &json))
    }

    /// The public half: PEM, `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn public_pem(&self) -> Result<String, SigstoreError> {
        let der: PublicKeyX509Der<'_> =
            self.pair.public_key().as_der().map_err(|_| SigstoreError::Make)?;
        Ok(to_pem("PUBLIC KEY", der.as_ref()))
    }
}

impl SigstoreKey {
    /// Whether a file has a private key of sigstore, by its first line.
    pub fn is_in(file: &Path) -> bool {
        let read = read_limited(file, MAX_SIGSTORE_KEY_BYTES);
        read.is_ok_and(|content| from_pem(&content).is_some())
    }

    /// Sign `payload`: ECDSA with SHA-256, in ASN.1.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SigstoreError> {
        let signature = self.pair.sign(&SystemRandom::new(), payload);
        Ok(signature.map_err(|_| SigstoreError::Sign)?.as_ref().to_vec())
    }

    /// Whether this key signed `payload`.
    pub fn verifies(&self, payload: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.pair.public_key());
        key.verify(payload, signature).is_ok()
    }

    /// Of the public half: SHA-256 of its DER, in hexadecimal.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn fingerprint(&self) -> Result<String, SigstoreError> {
        let der: PublicKeyX509Der<'_> =
            self.pair.public_key().as_der().map_err(|_| SigstoreError::Make)?;
        Ok(Digest::sha256(der.as_ref()).hex().to_owned())
    }
}

impl fmt::Debug for SigstoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigstoreKey").finish_non_exhaustive()
    }
}

/// There is no key, or it cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigstoreError {
    /// The file cannot be read.
    #[error("cannot read the key: {0}")]
    File(FileFault),
    /// It is something else, or the passphrase is.
    #[error("cannot read the key {path}: {fault}")]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong.
        fault: String,
    },
    /// The system failed.
    #[error("cannot sign: the cryptographic library failed")]
    Sign,
    /// The system failed.
    #[error("cannot make the key: the cryptographic library failed")]
    Make,
}

/// What the PEM is around.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    name: String,
    params: Cost,
    salt: String,
}

#[derive(Clone, Copy, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Cost {
    #[serde(rename = "N")]
    n: u32,
    r: u32,
    p: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Cipher {
    name: String,
    nonce: String,
}

impl Sealed {
    fn seal(private: &[u8], passphrase: &Password) -> Result<Self, SigstoreError> {
        let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_BYTES]);
        rand::fill(&mut salt).map_err(|_| SigstoreError::Make)?;
        rand::fill(&mut nonce).map_err(|_| SigstoreError::Make)?;
        let cipher = key(passphrase, &salt, COST).ok_or(SigstoreError::Make)?;
        let ciphertext = cipher.encrypt(&nonce.into(), private).map_err(|_| SigstoreError::Make)?;
        Ok(Self {
            kdf: Kdf { name: KDF.to_owned(), params: COST, salt: BASE64_STANDARD.encode(salt) },
            cipher: Cipher { name: CIPHER.to_owned(), nonce: BASE64_STANDARD.encode(nonce) },
            ciphertext: BASE64_STANDARD.encode(ciphertext),
        })
    }

    fn open(&self, passphrase: &Password) -> Result<Protected, &'static str> {
        if self.kdf.name != KDF || self.cipher.name != CIPHER {
            return Err("expected scrypt and nacl/secretbox");
        }
        if ![COST, STRONGER_COST].contains(&self.kdf.params) {
            return Err("expected scrypt with N 32768 or 65536, r 8 and p 1");
        }
        let decode = |text: &str| BASE64_STANDARD.decode(text).map_err(|_| "it is not base64");
        let nonce: [u8; NONCE_BYTES] =
            decode(&self.cipher.nonce)?.try_into().map_err(|_| "expected a nonce of 24 bytes")?;
        let salt = decode(&self.kdf.salt)?;
        let cipher = key(passphrase, &salt, self.kdf.params).ok_or("scrypt failed")?;
        let private = cipher.decrypt(&nonce.into(), decode(&self.ciphertext)?.as_slice());
        private.map(Protected::from).map_err(|_| "the passphrase does not open it")
    }
}

fn key(passphrase: &Password, salt: &[u8], cost: Cost) -> Option<XSalsa20Poly1305> {
    let params = scrypt::Params::new(cost.n.ilog2() as u8, cost.r, cost.p, KEY_BYTES).ok()?;
    let mut key = Protected::new(KEY_BYTES);
    passphrase.map(|bytes| scrypt::scrypt(bytes, salt, &params, &mut key)).ok()?;
    XSalsa20Poly1305::new_from_slice(&key).ok()
}

fn to_pem(label: &str, content: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(content);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}

fn from_pem(content: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(content).ok()?.trim();
    let label = [PRIVATE, OLDER_PRIVATE]
        .into_iter()
        .find(|label| text.starts_with(&format!("-----BEGIN {label}-----")))?;
    let text = text.strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let text = text.strip_suffix(&format!("-----END {label}-----"))?;
    let text: String = text.split_whitespace().collect();
    BASE64_STANDARD.decode(text).ok()
}

const PRIVATE: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// What cosign wrote before version 2.
const OLDER_PRIVATE: &str = "ENCRYPTED COSIGN PRIVATE KEY";

const KDF: &str = "scrypt";
const CIPHER: &str = "nacl/secretbox";
const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// What every version of cosign and of containers/image reads.
const COST: Cost = Cost { n: 32_768, r: 8, p: 1 };
/// What newer versions of cosign write.
const STRONGER_COST: Cost = Cost { n: 65_536, r: 8, p: 1 };

/// Largest file with a private key of sigstore: a hundred times what cosign writes.
const MAX_SIGSTORE_KEY_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_needs_its_passphrase() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("cosign.key");
        let key = SigstoreKey::generate().expect("a key");
        let (right, wrong) = (Password::from("s3cret"), Password::from("other"));
        let pem = key.private_pem(&right).expect("PEM");
        assert!(pem.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"), "{pem}");
        std::fs::write(&file, &pem).expect("a file");
        let read = SigstoreKey::open(&file, &right).expect("the key");
        assert_eq!(read.public_pem().expect("PEM"), key.public_pem().expect("PEM"));
        assert_eq!(format!("{read:?}"), "SigstoreKey { .. }");
        let fault = SigstoreKey::open(&file, &wrong).expect_err("another passphrase").to_string();
        assert!(fault.contains("cosign.key: the passphrase does not open it"), "{fault}");
        std::fs::write(&file, key.public_pem().expect("PEM")).expect("a file");
        SigstoreKey::open(&file, &right).expect_err("a public key");
    }

    #[test]
    fn signatures_are_of_one_key_and_one_payload() {
        let (key, other) = (SigstoreKey::generate(), SigstoreKey::generate());
        let (key, other) = (key.expect("a key"), other.expect("a key"));
        let signature = key.sign(b"payload").expect("a signature");
        assert!(key.verifies(b"payload", &signature));
        assert!(!key.verifies(b"another", &signature));
        assert!(!other.verifies(b"payload", &signature));
        assert_ne!(key.fingerprint().expect("text"), other.fingerprint().expect("text"));
    }

    #[test]
    fn the_form_is_that_of_cosign() {
        let key = SigstoreKey::generate().expect("a key");
        let pem = key.private_pem(&"s3cret".into()).expect("PEM");
        let json = from_pem(pem.as_bytes()).expect("PEM");
        let value: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        let params = serde_json::json!({"N": 32768, "r": 8, "p": 1});
        assert_eq!((&value["kdf"]["name"], &value["kdf"]["params"]), (&"scrypt".into(), &params));
        assert_eq!(value["cipher"]["name"], "nacl/secretbox");
        let bytes = |value: &serde_json::Value| {
            BASE64_STANDARD.decode(value.as_str().expect("text")).expect("base64").len()
        };
        assert_eq!(bytes(&value["kdf"]["salt"]), 32);
        assert_eq!(bytes(&value["cipher"]["nonce"]), 24);
    }
}
