//! Key material by name: what a key is, whatever carries it.
//!
//! A fingerprint names a key with its time of creation, and the same numbers under another time are another
//! fingerprint. Whoever counts signers must not be taken in by that.

use std::fmt;

use sequoia_openpgp::crypto::mpi::PublicKey;
use sequoia_openpgp::serialize::MarshalInto;
use sequoia_openpgp::types::Curve;
use sha2::{Digest, Sha256};

/// SHA-256 over the numbers of a public key.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Material([u8; 32]);

impl Material {
    /// One name for all forms in which OpenPGP writes a key down.
    pub(super) fn of(key: &PublicKey) -> Self {
        match key {
            // Whoever knows the secret of one exponent knows those of all.
            PublicKey::RSA { n, .. } => Self::hash(&[b"rsa", unpadded(n.value())]),
            PublicKey::Ed25519 { a } => Self::hash(&[b"ed25519", a]),
            PublicKey::EdDSA { curve: Curve::Ed25519, q } => {
                let point = q.decode_point(&Curve::Ed25519).map_or(q.value(), |(point, _)| point);
                Self::hash(&[b"ed25519", point])
            }
            PublicKey::EdDSA { curve, q } => Self::hash(&[b"eddsa", curve.oid(), q.value()]),
            PublicKey::ECDSA { curve, q } => Self::hash(&[b"ecdsa", curve.oid(), q.value()]),
            // Writing into memory does not fail; if it did, all such keys would be one signer's.
            other => Self::hash(&[b"other", &other.to_vec().unwrap_or_default()]),
        }
    }

    fn hash(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn unpadded(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use sequoia_openpgp::crypto::mpi::MPI;

    use super::*;

    #[test]
    fn both_forms_of_an_ed25519_key_are_one_key() {
        let point = [7; 32];
        let old = PublicKey::EdDSA {
            curve: Curve::Ed25519,
            q: MPI::new(&[&[0x40][..], &point].concat()),
        };
        assert_eq!(Material::of(&old), Material::of(&PublicKey::Ed25519 { a: point }));
        assert_ne!(Material::of(&old), Material::of(&PublicKey::Ed25519 { a: [8; 32] }));
    }

    #[test]
    fn one_modulus_under_two_exponents_is_one_key() {
        let rsa =
            |n: &[u8], e: &[u8]| Material::of(&PublicKey::RSA { e: MPI::new(e), n: MPI::new(n) });
        assert_eq!(rsa(&[0x81; 256], &[3]), rsa(&[0x81; 256], &[1, 0, 1]));
        assert_ne!(rsa(&[0x81; 256], &[3]), rsa(&[0x83; 256], &[3]));
    }

    #[test]
    fn the_same_numbers_on_another_curve_are_another_key() {
        let q = MPI::new(&[4; 65]);
        let on = |curve| Material::of(&PublicKey::ECDSA { curve, q: q.clone() });
        assert_ne!(on(Curve::NistP256), on(Curve::NistP384));
    }
}
