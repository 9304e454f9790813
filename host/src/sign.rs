//! Making what all the rest verifies: a key, and a simple signature of an image or of a rule's module
//! (containers-signature(5)).
//!
//! A signature is what `gpg --sign` makes of the payload: an OpenPGP message of one-pass signature,
//! literal data and signature. [`Engine`](crate::engine::Engine) is who judges it.

mod gpg;
mod keyring;

use std::fmt;
use std::io::Write;
use std::time::{Duration, SystemTime};

use guest_policy::digest::Digest;
use guest_policy::reference::Reference;
use sequoia_openpgp as openpgp;
use sequoia_openpgp::anyhow;
use sequoia_openpgp::cert::prelude::*;
use sequoia_openpgp::crypto::Password;
use sequoia_openpgp::packet::Key;
use sequoia_openpgp::packet::key::{SecretKeyMaterial, SecretParts, UnspecifiedRole};
use sequoia_openpgp::parse::Parse;
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::serialize::stream::{LiteralWriter, Message, Signer};
use sequoia_openpgp::types::{DataFormat, HashAlgorithm, KeyFlags, RevocationStatus};

pub use self::keyring::{Chosen, InvalidKeyName, KeyName, Keyring, KeyringError};

/// A key that signs. It shows its fingerprint alone.
pub struct SigningKey {
    cert: Cert,
    secret: Secret,
}

/// Who has the secret.
enum Secret {
    /// The agent of gpg.
    Gpg(gpg::Agent),
    /// This process: the primary key or the subkey that signs, its secret not protected.
    Here(Key<SecretParts, UnspecifiedRole>),
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
        let signer = cert.primary_key().key().clone().parts_into_secret();
        let signer = signer.map_err(SignError::Key)?.role_into_unspecified();
        Ok(Self { cert, secret: Secret::Here(signer) })
    }

    /// Read a secret key as `gpg --export-secret-keys` writes it, armoured or binary. If several of its keys may
    /// sign at the time `now`, in seconds since 1970-01-01 UTC, the subkey that was made last does, as with gpg.
    ///
    /// # Errors
    ///
    /// There is no such key, or its secret is protected by another passphrase.
    pub fn read(content: &[u8], passphrase: Option<&[u8]>, now: u64) -> Result<Self, SignError> {
        let keys: Vec<Cert> = CertParser::from_bytes(content)
            .and_then(Iterator::collect)
            .map_err(|e| unusable(format!("it is not an OpenPGP key: {e:#}")))?;
        let [cert] = <[Cert; 1]>::try_from(keys).map_err(|keys| {
            unusable(format!("there are {} keys in it, and one is expected", keys.len()))
        })?;
        if !cert.is_tsk() {
            let fault =
                "it is a public key, and the secret one is needed: gpg --export-secret-keys";
            return Err(unusable(fault));
        }
        let signer = signer(&cert, at(now))?;
        Self::open(cert, signer, passphrase.map(Password::from).as_ref())
    }

    fn open(
        cert: Cert,
        signer: Key<SecretParts, UnspecifiedRole>,
        passphrase: Option<&Password>,
    ) -> Result<Self, SignError> {
        let signer = match (signer.has_unencrypted_secret(), passphrase) {
            (true, _) => signer,
            (false, None) => {
                return Err(unusable("it is protected, and there is no passphrase for it"));
            }
            (false, Some(passphrase)) => signer
                .decrypt_secret(passphrase)
                .map_err(|e| unusable(format!("the passphrase does not open it: {e:#}")))?,
        };
        Ok(Self { cert, secret: Secret::Here(signer) })
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
        match &self.secret {
            // It has a clock of its own.
            Secret::Gpg(agent) => agent.sign(payload),
            Secret::Here(key) => signed(key, payload, at(now)).map_err(SignError::Sign),
        }
    }
}

/// The message that `key` makes of `payload`.
fn signed(
    key: &Key<SecretParts, UnspecifiedRole>,
    payload: &[u8],
    time: SystemTime,
) -> openpgp::Result<Vec<u8>> {
    let mut signed = Vec::new();
    let message = Message::new(&mut signed);
    let message = Signer::new(message, key.clone().into_keypair()?)?
        .hash_algo(HashAlgorithm::SHA512)?
        .creation_time(time)
        .build()?;
    let mut message = LiteralWriter::new(message).format(DataFormat::Binary).build()?;
    message.write_all(payload)?;
    message.finalize()?;
    Ok(signed)
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.fingerprint()).finish()
    }
}

/// What an OpenPGP key signs: that the manifest with this digest is the image `reference`.
pub fn payload(digest: &Digest, reference: &Reference, now: u64) -> String {
    payload_of("atomic container signature", digest, reference, now)
}

/// The same for a key of sigstore.
pub(crate) fn sigstore_payload(digest: &Digest, reference: &Reference, now: u64) -> String {
    payload_of("cosign container image signature", digest, reference, now)
}

fn payload_of(kind: &str, digest: &Digest, reference: &Reference, now: u64) -> String {
    serde_json::json!({
        "critical": {
            "type": kind,
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
    /// gpg does not sign.
    #[error("gpg does not sign: {0}")]
    Gpg(String),
    /// There is no key.
    #[error("cannot make a signing key: {0}")]
    Key(anyhow::Error),
    /// The key is there and cannot sign.
    #[error("cannot sign: {0}")]
    Sign(anyhow::Error),
    /// What was given is not a key that can sign.
    #[error("cannot sign with this key: {0}")]
    Unusable(String),
}

/// The key of a certificate that signs, with its secret.
fn signer(cert: &Cert, now: SystemTime) -> Result<Key<SecretParts, UnspecifiedRole>, SignError> {
    check(cert, now)?;
    let policy = StandardPolicy::at(now);
    let readable = |key: &Key<SecretParts, UnspecifiedRole>| match key.secret() {
        SecretKeyMaterial::Unencrypted(_) => true,
        // What lies on a smart card is not here.
        SecretKeyMaterial::Encrypted(secret) => secret.s2k().is_supported(),
    };
    cert.keys()
        .secret()
        .with_policy(&policy, now)
        .supported()
        .alive()
        .revoked(false)
        .for_signing()
        .map(|key| (!key.primary(), key.key().creation_time(), key.key().clone()))
        .filter(|(.., key)| readable(key))
        .max_by_key(|(subkey, made, _)| (*subkey, *made))
        .map(|(.., key)| key)
        .ok_or_else(|| unusable("none of its keys may sign now, with a secret that is in the file"))
}

/// That a certificate is good.
fn check(cert: &Cert, now: SystemTime) -> Result<(), SignError> {
    let policy = StandardPolicy::at(now);
    let valid = cert.with_policy(&policy, now).map_err(|e| unusable(format!("{e:#}")))?;
    valid.alive().map_err(|e| unusable(format!("{e:#}")))?;
    match valid.revocation_status() {
        RevocationStatus::Revoked(_) => Err(unusable("it is revoked")),
        _ => Ok(()),
    }
}

fn unusable(fault: impl Into<String>) -> SignError {
    SignError::Unusable(fault.into())
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use sequoia_openpgp::packet::Packet;
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

    /// With what builds the certificate beyond its user ID, and with this passphrase.
    fn secret(
        with: impl FnOnce(CertBuilder<'static>) -> CertBuilder<'static>,
        passphrase: Option<&str>,
    ) -> (Cert, Vec<u8>) {
        let builder = CertBuilder::new()
            .set_profile(openpgp::Profile::RFC4880)
            .expect("a profile")
            .add_userid("Test <test@example.com>")
            .set_creation_time(at(NOW))
            .set_password(passphrase.map(Into::into));
        let (cert, _) = with(builder).generate().expect("a key");
        let bytes = cert.as_tsk().to_vec().expect("bytes");
        (cert, bytes)
    }

    fn signs() -> KeyFlags {
        KeyFlags::empty().set_certification().set_signing()
    }

    fn read_fault(content: &[u8], passphrase: Option<&[u8]>, now: u64) -> String {
        SigningKey::read(content, passphrase, now).expect_err("no key that can sign").to_string()
    }

    #[test]
    fn reads_a_secret_key_binary_or_armoured() {
        let (cert, binary) = secret(|builder| builder.set_primary_key_flags(signs()), None);
        let armoured = cert.as_tsk().armored().to_vec().expect("bytes");
        for content in [binary, armoured] {
            let key = SigningKey::read(&content, None, NOW).expect("a key");
            assert_eq!(key.fingerprint(), cert.fingerprint().to_hex());
            key.sign(b"payload", NOW).expect("a signature");
        }
    }

    #[test]
    fn the_signing_subkey_signs_if_there_is_one() {
        let (cert, content) = secret(CertBuilder::add_signing_subkey, None);
        let subkey = cert.keys().subkeys().next().expect("a subkey").key().fingerprint();
        let key = SigningKey::read(&content, None, NOW).expect("a key");
        let Secret::Here(signer) = &key.secret else { unreachable!("it is in the file") };
        assert_eq!(signer.fingerprint(), subkey);
        assert_eq!(key.fingerprint(), cert.fingerprint().to_hex());
    }

    #[test]
    fn a_protected_key_needs_its_passphrase() {
        let (_, content) = secret(CertBuilder::add_signing_subkey, Some("s3cret"));
        let key = SigningKey::read(&content, Some(b"s3cret"), NOW).expect("a key");
        key.sign(b"payload", NOW).expect("a signature");
        assert!(read_fault(&content, None, NOW).contains("protected"));
        let wrong = read_fault(&content, Some(b"secret"), NOW);
        assert!(wrong.contains("passphrase does not open it"), "{wrong}");
    }

    #[test]
    fn refuses_what_cannot_sign() {
        let (cert, content) = secret(|builder| builder.set_primary_key_flags(signs()), None);
        let public = cert.to_vec().expect("bytes");
        assert!(read_fault(&public, None, NOW).contains("public key"));
        assert!(
            read_fault(&[content.clone(), content.clone()].concat(), None, NOW).contains("2 keys")
        );
        assert!(read_fault(b"no key", None, NOW).contains("not an OpenPGP key"));
        assert!(read_fault(b"", None, NOW).contains("0 keys"));
        let (_, certifies) = secret(|builder| builder, None);
        assert!(read_fault(&certifies, None, NOW).contains("none of its keys may sign"));
        let early = read_fault(&content, None, NOW - 1);
        assert!(early.starts_with("cannot sign with this key"), "{early}");
        let day = Duration::from_secs(86_400);
        let (_, expires) = secret(|builder| builder.set_validity_period(day), None);
        let late = read_fault(&expires, None, NOW + 86_401);
        assert!(late.contains("xpired"), "{late}");
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
