//! Signatures and digests for capability `crypto`. A wrong key or signature is `false`, whatever is wrong.

use aws_lc_rs::digest;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, UnparsedPublicKey,
    VerificationAlgorithm,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::bindings::{Hash, Scheme};

/// The digest of a message.
pub(super) fn digest(hash: Hash, message: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
        Hash::Sha512 => &digest::SHA512,
    };
    digest::digest(algorithm, message).as_ref().to_vec()
}

/// Whether `signature` is one of `message` by `key`, a DER `SubjectPublicKeyInfo`.
pub(super) fn verify(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    match scheme {
        Scheme::RsaPkcs1Sha256 => rsa(&RSA_PKCS1_2048_8192_SHA256, key, message, signature),
        Scheme::RsaPkcs1Sha384 => rsa(&RSA_PKCS1_2048_8192_SHA384, key, message, signature),
        Scheme::RsaPkcs1Sha512 => rsa(&RSA_PKCS1_2048_8192_SHA512, key, message, signature),
        Scheme::RsaPssSha256 => rsa(&RSA_PSS_2048_8192_SHA256, key, message, signature),
        Scheme::RsaPssSha384 => rsa(&RSA_PSS_2048_8192_SHA384, key, message, signature),
        Scheme::RsaPssSha512 => rsa(&RSA_PSS_2048_8192_SHA512, key, message, signature),
        Scheme::EcdsaP256Sha256 => {
            fixed(&ECDSA_P256_SHA256_ASN1, P256, P256_BYTES, key, message, signature)
        }
        Scheme::EcdsaP384Sha384 => {
            fixed(&ECDSA_P384_SHA384_ASN1, P384, P384_BYTES, key, message, signature)
        }
        Scheme::Ed25519 => fixed(&ED25519, ED25519_PREFIX, ED25519_BYTES, key, message, signature),
    }
}

fn rsa(parameters: &RsaParameters, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(([], key)) = SubjectPublicKeyInfo::from_der(key) else {
        return false;
    };
    let Ok(PublicKey::RSA(key)) = key.parsed() else {
        return false;
    };
    let (n, e) = (unsigned(key.modulus), unsigned(key.exponent));
    // The library looks at the size of the modulus only after it has read all of it.
    n.len() <= MAX_RSA_BYTES
        && e.len() <= MAX_EXPONENT_BYTES
        && PublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
}

/// A key whose DER has but one form: a prefix that names the kind, and so many bytes after it.
fn fixed(
    algorithm: &'static dyn VerificationAlgorithm,
    prefix: &[u8],
    bytes: usize,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let point = key.strip_prefix(prefix).filter(|point| point.len() == bytes);
    // A point in another form than the uncompressed one would be a second name of the same key.
    let point =
        point.filter(|point| bytes == ED25519_BYTES || point.first() == Some(&UNCOMPRESSED));
    point.is_some_and(|point| {
        UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
    })
}

/// A DER integer without the zero that says that it is not negative.
fn unsigned(integer: &[u8]) -> &[u8] {
    match integer {
        [0, rest @ ..] => rest,
        all => all,
    }
}

/// The first byte of a point that has both coordinates (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// `SubjectPublicKeyInfo` of P-256 up to the point (RFC 5480).
const P256: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

const P256_BYTES: usize = 65;

/// The same of P-384.
const P384: &[u8] =
    b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";

const P384_BYTES: usize = 97;

/// The same of Ed25519 (RFC 8410).
const ED25519_PREFIX: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

const ED25519_BYTES: usize = 32;

/// 8,192 bits.
const MAX_RSA_BYTES: usize = 1024;

/// Exponents in use have up to three bytes; the library refuses more than 33 bits.
const MAX_EXPONENT_BYTES: usize = 8;
