//! Making what all the rest verifies: a key, and a simple signature of an image (containers-signature(5)).
//!
//! A signature is what `gpg --sign` makes of the payload: an OpenPGP message of one-pass signature,
//! literal data and signature. [`Engine`](crate::engine::Engine) is who judges it.

use std::io::Write;
use std::time::{Duration, SystemTime};

use guest_policy::digest::Digest;
use guest_policy::reference::Reference;
use sequoia_openpgp as openpgp;
use sequoia_openpgp::anyhow;
use sequoia_openpgp::cert::prelude::*;
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::serialize::stream::{LiteralWriter, Message, Signer};
use sequoia_openpgp::types::{DataFormat, HashAlgorithm, KeyFlags};

/// A key that signs, with its secret, in memory.
#[derive(Debug)]
pub struct SigningKey {
    cert: Cert,
}

impl SigningKey {
    /// Make an Ed25519 key that never expires and that gpg can use. `user` is its user ID: `NAME <ADDRESS>`.
    ///
    /// # Errors
    ///
    /// The system has no random numbers, or does not know the algorithm.
    pub fn generate(user: &str, created: u64) -> Result<Self, SignError> {
        let (cert, _revocation) = CertBuilder::new()
            .set_cipher_suite(CipherSuite::Cv25519)
            .set_profile(openpgp::Profile::RFC4880)
            .and_then(|builder| {
                builder
                    .add_userid(user)
                    .set_creation_time(at(created))
                    .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
                    .generate()
            })
            .map_err(SignError::Key)?;
        Ok(Self { cert })
    }

    /// Of the primary key, in upper-case hexadecimal.
    pub fn fingerprint(&self) -> String {
        self.cert.fingerprint().to_hex()
    }

    /// The public key, as `gpg --export` writes it: what a policy's `keyPath` names.
    ///
    /// # Errors
    ///
    /// The key cannot be written.
    pub fn export(&self) -> Result<Vec<u8>, SignError> {
        self.cert.clone().strip_secret_key_material().export_to_vec().map_err(SignError::Key)
    }

    /// Sign `payload`, at the time `now` in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    ///
    /// The key cannot sign.
    pub fn sign(&self, payload: &[u8], now: u64) -> Result<Vec<u8>, SignError> {
        let mut signed = Vec::new();
        self.write_signed(&mut signed, payload, now).map_err(SignError::Sign)?;
        Ok(signed)
    }

    fn write_signed(&self, to: &mut Vec<u8>, payload: &[u8], now: u64) -> openpgp::Result<()> {
        let key = self.cert.primary_key().key().clone().parts_into_secret()?.into_keypair()?;
        let message = Message::new(to);
        let message = Signer::new(message, key)?
            .hash_algo(HashAlgorithm::SHA512)?
            .creation_time(at(now))
            .build()?;
        let mut message = LiteralWriter::new(message).format(DataFormat::Binary).build()?;
        message.write_all(payload)?;
        message.finalize()
    }
}

/// What is signed: that the manifest with this digest is the image `reference`.
pub fn payload(digest: &Digest, reference: &Reference, now: u64) -> String {
    serde_json::json!({
        "critical": {
            "type": "atomic container signature",
            "image": {"docker-manifest-digest": digest},
            "identity": {"docker-reference": reference.to_string()},
        },
        "optional": {
            "creator": concat!("countersign ", env!("CARGO_PKG_VERSION")),
            "timestamp": now,
        },
    })
    .to_string()
}

/// Nothing was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// There is no key.
    #[error("cannot make a signing key: {0}")]
    Key(anyhow::Error),
    /// The key is there and cannot sign.
    #[error("cannot sign: {0}")]
    Sign(anyhow::Error),
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use sequoia_openpgp::packet::Packet;
    use sequoia_openpgp::parse::Parse;
    use sequoia_openpgp::types::SignatureType;

    use super::*;

    const NOW: u64 = 1_795_400_000;

    #[test]
    fn signature_has_the_form_that_gpg_gives_it() {
        let key = SigningKey::generate("Test <test@example.com>", NOW).expect("a key");
        let signed = key.sign(b"payload", NOW).expect("a signature");
        let pile = openpgp::PacketPile::from_bytes(&signed).expect("packets");
        let packets: Vec<_> = pile.children().collect();
        let [Packet::OnePassSig(one_pass), Packet::Literal(literal), Packet::Signature(signature)] =
            packets.as_slice()
        else {
            unreachable!("{packets:?}")
        };
        assert!(one_pass.last());
        assert_eq!(literal.body(), b"payload");
        assert_eq!(literal.format(), DataFormat::Binary);
        assert_eq!(signature.version(), 4);
        assert_eq!(signature.typ(), SignatureType::Binary);
        assert_eq!(signature.hash_algo(), HashAlgorithm::SHA512);
        assert_eq!(signature.signature_creation_time(), Some(at(NOW)));
        assert_eq!(
            signature.issuer_fingerprints().next().map(|f| f.to_hex()),
            Some(key.fingerprint())
        );
    }

    #[test]
    fn exported_key_has_no_secret() {
        let key = SigningKey::generate("Test <test@example.com>", NOW).expect("a key");
        let public = Cert::from_bytes(&key.export().expect("a public key")).expect("a key");
        assert!(!public.is_tsk());
        assert_eq!(public.fingerprint().to_hex(), key.fingerprint());
    }

    #[test]
    fn payload_names_digest_and_reference_in_full() {
        let digest = Digest::sha256(b"image");
        let reference = Reference::parse_normalized("busybox:1").expect("valid");
        let payload: serde_json::Value =
            serde_json::from_str(&payload(&digest, &reference, NOW)).expect("JSON");
        let critical = &payload["critical"];
        assert_eq!(critical["type"], "atomic container signature");
        assert_eq!(critical["image"]["docker-manifest-digest"], digest.as_str());
        assert_eq!(critical["identity"]["docker-reference"], "docker.io/library/busybox:1");
        assert_eq!(payload["optional"]["timestamp"], NOW);
    }
}
