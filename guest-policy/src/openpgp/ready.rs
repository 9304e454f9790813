//! Keys made ready when they are loaded, so that an evaluation, which runs on a snapshot of them, need not.
//!
//! In the sandbox alone: the native build, which exists to be tested against, leaves every signature to
//! sequoia, so that a test that compares the two builds compares what is here with sequoia.

use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use sequoia_openpgp::crypto::mpi::{self, PublicKey};
use sequoia_openpgp::types::{Curve, HashAlgorithm};

use super::rsa;

/// A key with all that depends on it alone computed.
#[derive(Debug)]
pub(crate) enum Ready {
    /// With its point decompressed.
    Ed25519(VerifyingKey),
    Rsa(rsa::PublicKey),
}

impl Ready {
    /// `None` for a key of another kind, and in the native build.
    pub(super) fn new(key: &PublicKey) -> Option<Self> {
        if cfg!(target_family = "wasm") { Self::of(key) } else { None }
    }

    fn of(key: &PublicKey) -> Option<Self> {
        let point = |bytes: &[u8]| VerifyingKey::from_bytes(bytes.try_into().ok()?).ok();
        match key {
            PublicKey::Ed25519 { a } => point(a).map(Self::Ed25519),
            PublicKey::EdDSA { curve: Curve::Ed25519, q } => {
                let (bytes, _) = q.decode_point(&Curve::Ed25519).ok()?;
                point(bytes).map(Self::Ed25519)
            }
            PublicKey::RSA { e, n } => rsa::PublicKey::new(n.value(), e.value()).map(Self::Rsa),
            _ => None,
        }
    }

    /// Whether `signature` is this key's over `digest`; `None` if it is of another kind.
    pub(super) fn verify(
        &self,
        signature: &mpi::Signature,
        hash: HashAlgorithm,
        digest: &[u8],
    ) -> Option<bool> {
        Some(match (self, signature) {
            (Self::Ed25519(key), mpi::Signature::Ed25519 { s }) => {
                key.verify(digest, &Signature::from_bytes(s)).is_ok()
            }
            (Self::Ed25519(key), mpi::Signature::EdDSA { r, s }) => {
                let (Ok(r), Ok(s)) = (r.value_padded(HALF_BYTES), s.value_padded(HALF_BYTES))
                else {
                    return Some(false);
                };
                let (Ok(r), Ok(s)) = ((&*r).try_into(), (&*s).try_into()) else {
                    return Some(false);
                };
                key.verify(digest, &Signature::from_components(r, s)).is_ok()
            }
            (Self::Rsa(key), mpi::Signature::RSA { s }) => {
                hash.oid().is_ok_and(|algorithm| key.verify(s.value(), algorithm, digest))
            }
            _ => return None,
        })
    }
}

/// OpenPGP keeps the two halves of a signature as numbers, without the zeros that they begin with.
const HALF_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use sequoia_openpgp::Cert;
    use sequoia_openpgp::parse::Parse;

    use super::*;
    use crate::openpgp::message::SignedMessage;

    #[test]
    fn agrees_with_sequoia_about_real_signatures_and_changed_ones() {
        for (key, message) in [
            (
                &include_bytes!("../../../tests/data/vectors/gpg/keys/ed25519.pub.gpg")[..],
                &include_bytes!("../../../tests/data/vectors/gpg/sigs/good-ed25519.sig")[..],
            ),
            (
                &include_bytes!("../../../tests/data/vectors/gpg/keys/rsa4096.pub.gpg")[..],
                &include_bytes!("../../../tests/data/vectors/gpg/sigs/good-rsa4096.sig")[..],
            ),
        ] {
            let cert = Cert::from_bytes(key).expect("a key");
            let key = cert.primary_key().key();
            let ready = Ready::of(key.mpis()).expect("a key that can be made ready");
            let message = SignedMessage::parse(message).expect("a message");
            let digest = crate::openpgp::digest(&message).expect("a digest");
            let (signature, hash) = (message.signature.mpis(), message.signature.hash_algo());
            assert_eq!(ready.verify(signature, hash, &digest), Some(true));
            for place in [0, digest.len() - 1] {
                let mut changed = digest.clone();
                changed[place] ^= 1;
                assert!(key.verify(signature, hash, &changed).is_err());
                assert_eq!(ready.verify(signature, hash, &changed), Some(false));
            }
        }
    }
}
