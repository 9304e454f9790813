//! Capability `crypto`: what is slow to compute in a sandbox.

/// A hash function.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A kind of signature.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Scheme {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RsaPkcs1Sha384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RsaPkcs1Sha512,
    /// RSASSA-PSS with SHA-256.
    RsaPssSha256,
    /// RSASSA-PSS with SHA-384.
    RsaPssSha384,
    /// RSASSA-PSS with SHA-512.
    RsaPssSha512,
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384Sha384,
    /// Ed25519.
    Ed25519,
}

/// The digest of a message.
#[must_use]
pub fn digest(hash: Hash, message: &[u8]) -> Vec<u8> {
    given::digest(hash, message)
}

/// Whether a signature is good. A wrong key or signature is `false`, whatever is wrong with it.
///
/// `key` is a DER `SubjectPublicKeyInfo` (RFC 5280, section 4.1.2.7). ECDSA signatures are DER (RFC 3279, section
/// 2.2.3). RSA keys have 2,048 to 8,192 bits.
#[must_use]
pub fn verify(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    given::verify(scheme, key, message, signature)
}

#[cfg(target_family = "wasm")]
mod given {
    use super::{Hash, Scheme};
    use crate::bindings::countersign::policy::crypto as wit;

    pub(super) fn digest(hash: Hash, message: &[u8]) -> Vec<u8> {
        let hash = match hash {
            Hash::Sha256 => wit::Hash::Sha256,
            Hash::Sha384 => wit::Hash::Sha384,
            Hash::Sha512 => wit::Hash::Sha512,
        };
        wit::digest(hash, message)
    }

    pub(super) fn verify(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let scheme = match scheme {
            Scheme::RsaPkcs1Sha256 => wit::Scheme::RsaPkcs1Sha256,
            Scheme::RsaPkcs1Sha384 => wit::Scheme::RsaPkcs1Sha384,
            Scheme::RsaPkcs1Sha512 => wit::Scheme::RsaPkcs1Sha512,
            Scheme::RsaPssSha256 => wit::Scheme::RsaPssSha256,
            Scheme::RsaPssSha384 => wit::Scheme::RsaPssSha384,
            Scheme::RsaPssSha512 => wit::Scheme::RsaPssSha512,
            Scheme::EcdsaP256Sha256 => wit::Scheme::EcdsaP256Sha256,
            Scheme::EcdsaP384Sha384 => wit::Scheme::EcdsaP384Sha384,
            Scheme::Ed25519 => wit::Scheme::Ed25519,
        };
        wit::verify(scheme, key, message, signature)
    }
}

#[cfg(not(target_family = "wasm"))]
use crate::testing::given::crypto as given;
