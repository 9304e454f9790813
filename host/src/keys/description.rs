//! What a key is.

use std::time::SystemTime;

use sequoia_openpgp::cert::amalgamation::key::{ErasedKeyAmalgamation, ValidErasedKeyAmalgamation};
use sequoia_openpgp::cert::prelude::*;
use sequoia_openpgp::crypto::mpi::PublicKey;
use sequoia_openpgp::packet::Key;
use sequoia_openpgp::packet::key::{PublicParts, SecretKeyMaterial, UnspecifiedRole};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::types::{Curve, KeyFlags, RevocationStatus};

/// A key: the primary key and its subkeys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Description {
    /// Its user IDs, as they are written.
    pub users: Vec<String>,
    /// The primary key, then its subkeys.
    pub parts: Vec<Component>,
}

impl Description {
    pub(super) fn of(cert: &Cert, now: SystemTime) -> Self {
        let users =
            cert.userids().map(|user| String::from_utf8_lossy(user.userid().value()).into());
        let parts = cert.keys().map(|key| component(&key, now));
        Self { users: users.collect(), parts: parts.collect() }
    }
}

/// A primary key or a subkey.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Component {
    /// In upper-case hexadecimal.
    pub fingerprint: String,
    /// As gpg names it: `rsa3072`, `ed25519`, `nistp256`.
    pub algorithm: String,
    /// `certify`, `sign`, `encrypt`, `authenticate`; none if the key is not usable.
    pub usage: Vec<&'static str>,
    /// In seconds since 1970-01-01 UTC.
    pub created: u64,
    /// When it ends, in seconds since 1970-01-01 UTC, if it does.
    pub expires: Option<u64>,
    /// Whether the secret is there.
    pub secret: Secret,
    /// Whether it is good now.
    pub standing: Standing,
}

/// What a file has of a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Secret {
    /// Nothing: it is the public half.
    Absent,
    /// A note that it is somewhere else: on a smart card, or kept offline.
    Elsewhere,
    /// All of it, for whoever can read the file.
    Open,
    /// All of it, for whoever knows the passphrase, too.
    Protected,
}

/// Whether a key is good.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Its time is over.
    Expired,
    /// It is good.
    Good,
    /// It is not usable, for this reason.
    Invalid(String),
    /// Its owner took it back.
    Revoked,
}

fn component(key: &ErasedKeyAmalgamation<'_, PublicParts>, now: SystemTime) -> Component {
    let packet = key.key();
    let policy = StandardPolicy::at(now);
    let valid = key.clone().with_policy(&policy, now);
    let usage = valid.as_ref().ok().and_then(|key| key.key_flags()).map(|flags| names(&flags));
    let expires = valid.as_ref().ok().and_then(|key| key.key_expiration_time());
    Component {
        fingerprint: packet.fingerprint().to_hex(),
        algorithm: algorithm(packet.mpis()),
        usage: usage.unwrap_or_default(),
        created: seconds(packet.creation_time()),
        expires: expires.map(seconds),
        secret: secret(packet),
        standing: match valid {
            Ok(key) => standing(&key, now),
            Err(fault) => Standing::Invalid(format!("{fault:#}")),
        },
    }
}

fn standing(key: &ValidErasedKeyAmalgamation<'_, PublicParts>, now: SystemTime) -> Standing {
    let cert = key.valid_cert();
    let revoked = |status| matches!(status, RevocationStatus::Revoked(_));
    if revoked(cert.revocation_status()) || revoked(key.revocation_status()) {
        return Standing::Revoked;
    }
    // A subkey is good no longer than its primary key.
    let ends = [key.key_expiration_time(), cert.primary_key().key_expiration_time()];
    if ends.into_iter().flatten().any(|end| end <= now) {
        return Standing::Expired;
    }
    match cert.alive().and_then(|()| key.alive()) {
        Ok(()) => Standing::Good,
        Err(fault) => Standing::Invalid(format!("{fault:#}")),
    }
}

fn secret(key: &Key<PublicParts, UnspecifiedRole>) -> Secret {
    match key.optional_secret() {
        None => Secret::Absent,
        Some(SecretKeyMaterial::Unencrypted(_)) => Secret::Open,
        Some(SecretKeyMaterial::Encrypted(secret)) if secret.s2k().is_supported() => {
            Secret::Protected
        }
        Some(SecretKeyMaterial::Encrypted(_)) => Secret::Elsewhere,
    }
}

fn algorithm(key: &PublicKey) -> String {
    match key {
        PublicKey::RSA { n, .. } => format!("rsa{}", n.bits()),
        PublicKey::DSA { p, .. } => format!("dsa{}", p.bits()),
        PublicKey::ElGamal { p, .. } => format!("elg{}", p.bits()),
        PublicKey::EdDSA { curve, .. }
        | PublicKey::ECDSA { curve, .. }
        | PublicKey::ECDH { curve, .. } => match curve {
            Curve::NistP256 => "nistp256".to_owned(),
            Curve::NistP384 => "nistp384".to_owned(),
            Curve::NistP521 => "nistp521".to_owned(),
            Curve::Ed25519 => "ed25519".to_owned(),
            Curve::Cv25519 => "cv25519".to_owned(),
            other => other.to_string(),
        },
        other => other.algo().map_or_else(|| "unknown".to_owned(), |algo| algo.to_string()),
    }
}

fn names(flags: &KeyFlags) -> Vec<&'static str> {
    let encrypts = flags.for_storage_encryption() || flags.for_transport_encryption();
    let all = [
        (flags.for_certification(), "certify"),
        (flags.for_signing(), "sign"),
        (encrypts, "encrypt"),
        (flags.for_authentication(), "authenticate"),
    ];
    all.into_iter().filter(|(may, _)| *may).map(|(_, name)| name).collect()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
