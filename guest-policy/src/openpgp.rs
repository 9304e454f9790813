//! OpenPGP signatures over content (RFC 9580), by keys that the policy trusts.
//!
//! The content and the signature come from an attacker until a trusted key says otherwise. Issuer names in a
//! signature are hints where to look and nothing else: every key that could be meant is tried. Times come
//! from the hashed part of the signature and from the caller; there is no clock.

mod keyring;
mod material;
mod message;
mod profile;
mod ready;
mod rsa;
mod subpackets;

use sequoia_openpgp::Fingerprint;
use sequoia_openpgp::cert::prelude::*;
use sequoia_openpgp::crypto::hash::Hash;
use sequoia_openpgp::packet::Signature;
use sequoia_openpgp::policy::{HashAlgoSecurity, Policy};
use sequoia_openpgp::types::SignatureType;

pub(crate) use keyring::{Candidate, Keyring};
pub(crate) use material::Material;
use message::{MessageError, SignedMessage, key_id};

use crate::verdict::Reason;

/// What a verified signature says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Verified {
    /// The signed content.
    pub(crate) content: Vec<u8>,
    /// Fingerprint of the primary key, upper-case hexadecimal.
    pub(crate) key: String,
    /// Fingerprint of the key or subkey that signed.
    pub(crate) signing_key: String,
    /// When the signature was made, in seconds since 1970-01-01 UTC.
    pub(crate) signed_at: u64,
    /// The earliest expiry among signature, key and primary key.
    pub(crate) valid_until: Option<u64>,
    /// Of the primary key.
    pub(crate) primary: Material,
    /// Of the key or subkey that signed.
    pub(crate) signer: Material,
}

/// Verify a signed message at the time `now` in seconds since 1970-01-01 UTC. `candidates` are the trusted keys with
/// an identifier.
pub(crate) fn verify<'a, I>(
    candidates: impl Fn([u8; 8]) -> I,
    message: &[u8],
    now: u64,
) -> Result<Verified, Rejection>
where
    I: IntoIterator<Item = Candidate<'a>>,
{
    let message = SignedMessage::parse(message)?;
    let signature = &message.signature;
    check_form(signature)?;
    let digest = digest(&message)?;

    let mut last = None;
    for id in issuers(signature) {
        for Candidate { cert, key: place, ready, primary, signer } in candidates(id) {
            let Some(key) = cert.keys().nth(place) else { continue };
            if let Some(fault) = profile::unsupported_key(key.key().mpis()) {
                let key = hexadecimal(&key.key().fingerprint());
                last.get_or_insert(Rejection::KeyUnsupported { key, fault });
                continue;
            }
            let (numbers, hash) = (signature.mpis(), signature.hash_algo());
            let is_signed = ready
                .and_then(|ready| ready.verify(numbers, hash, &digest))
                .unwrap_or_else(|| key.key().verify(numbers, hash, &digest).is_ok());
            if !is_signed {
                let key = hexadecimal(&key.key().fingerprint());
                last.get_or_insert(Rejection::Invalid { key });
                continue;
            }
            // The signature is this key's, so what is wrong now is the answer; no other key helps.
            let valid_until = check_times(signature, cert, &key, now)?;
            return Ok(Verified {
                key: hexadecimal(&cert.fingerprint()),
                signing_key: hexadecimal(&key.key().fingerprint()),
                signed_at: signature.signature_creation_time().map_or(0, profile::seconds),
                valid_until,
                primary,
                signer,
                content: message.content,
            });
        }
    }
    Err(last.unwrap_or_else(|| Rejection::UnknownKey { key: named(signature) }))
}

/// The keys that a message names as its signers, upper-case hexadecimal; none if it is no signed message.
/// Nothing is verified.
pub(crate) fn named_issuers(message: &[u8]) -> Vec<String> {
    let Ok(message) = SignedMessage::parse(message) else { return Vec::new() };
    let issuers = message.signature.get_issuers();
    issuers.iter().take(MAX_ISSUERS).map(|issuer| format!("{issuer:X}")).collect()
}

/// The content of a message and the identifier of the key that it names. Nothing is verified.
#[cfg(feature = "probe")]
pub(crate) fn unverified(message: &[u8]) -> Result<(Vec<u8>, String), Rejection> {
    let message = SignedMessage::parse(message)?;
    let id = issuers(&message.signature).first().copied().unwrap_or_default();
    let id = id.iter().map(|byte| format!("{byte:02X}")).collect();
    Ok((message.content, id))
}

/// A signature that does not count.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("signature has a critical part that is not understood: {fault}")]
    Critical { fault: String },
    #[error("signed OpenPGP message expands too far: {fault}")]
    ExpandsTooFar { fault: String },
    #[error("signature by key {key} does not fit its content")]
    Invalid { key: String },
    #[error("key {key} has expired at {at}")]
    KeyExpired { key: String, at: Time },
    #[error("key {key} cannot be used at this time: {fault}")]
    KeyNotValid { key: String, fault: String },
    #[error("key {key} is not a signing key")]
    KeyNotForSigning { key: String },
    #[error("key {key} is revoked")]
    KeyRevoked { key: String },
    #[error("key {key} is of a kind that is not supported: {fault}")]
    KeyUnsupported { key: String, fault: String },
    #[error("key {key} is too weak: {fault}")]
    KeyWeak { key: String, fault: String },
    #[error(
        "not a signed OpenPGP message in the form that containers-signature(5) demands: {fault}"
    )]
    Malformed { fault: String },
    #[error("signature has expired at {at}")]
    SignatureExpired { at: Time },
    #[error("signature was made at {at}, which is in the future")]
    SignatureFromFuture { at: Time },
    #[error("signature was made at {at}, before its key {key}")]
    SignaturePredatesKey { key: String, at: Time },
    #[error("signature is over a {hash} hash, which is too weak")]
    SignatureHashWeak { hash: String },
    #[error("evaluation time {now} is beyond the year 2106, where OpenPGP's times end")]
    TimeOutOfRange { now: u64 },
    #[error("signature by key {key} is not accepted")]
    UnknownKey { key: String },
}

impl Rejection {
    /// As [`Reason::code`].
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Critical { .. } => "signature-critical",
            Self::ExpandsTooFar { .. } => "signature-expands-too-far",
            Self::Invalid { .. } => "signature-invalid",
            Self::KeyExpired { .. } => "key-expired",
            Self::KeyNotValid { .. } => "key-not-valid",
            Self::KeyNotForSigning { .. } => "key-not-for-signing",
            Self::KeyRevoked { .. } => "key-revoked",
            Self::KeyUnsupported { .. } => "key-unsupported",
            Self::KeyWeak { .. } => "key-weak",
            Self::Malformed { .. } => "signature-malformed",
            Self::SignatureExpired { .. } => "signature-expired",
            Self::SignatureFromFuture { .. } => "signature-from-future",
            Self::SignaturePredatesKey { .. } => "signature-predates-key",
            Self::SignatureHashWeak { .. } => "signature-hash-weak",
            Self::TimeOutOfRange { .. } => "time-out-of-range",
            Self::UnknownKey { .. } => "signature-key-unknown",
        }
    }

    /// As [`Reason::hint`].
    fn hint(&self) -> &'static str {
        match self {
            Self::Critical { .. } => "sign again without critical notations",
            Self::ExpandsTooFar { .. } => {
                "this is an attack or an accident, and no signature: remove it from the signature store"
            }
            Self::Invalid { .. } => {
                "the signature or its content was changed: sign the image again"
            }
            Self::KeyExpired { .. } => {
                "extend the key's expiry and update the key file, or sign again with a valid key"
            }
            Self::KeyNotValid { .. } | Self::KeyNotForSigning { .. } => {
                "sign with a key or subkey that has the signing capability and a valid self-signature"
            }
            Self::KeyRevoked { .. } => "sign again with another key, and replace the key file",
            Self::KeyUnsupported { .. } | Self::KeyWeak { .. } => {
                "sign again with RSA of at least 2048 bits, Ed25519 or a NIST curve"
            }
            Self::Malformed { .. } => {
                "sign with `gpg --sign`, skopeo or podman: binary, one signature, nothing after it"
            }
            Self::SignatureExpired { .. } => "sign the image again",
            Self::SignatureFromFuture { .. } => {
                "check the clocks of the signer and of this machine"
            }
            Self::SignaturePredatesKey { .. } => "check the signer's clock, and sign again",
            Self::SignatureHashWeak { .. } => "sign again with SHA-256 or better",
            Self::TimeOutOfRange { .. } => "check the evaluation time",
            Self::UnknownKey { .. } => {
                "add the signer's public key to the requirement's keys, or sign with one of them"
            }
        }
    }

    /// As the reason why a requirement does not hold.
    pub(crate) fn reason(&self, requirement: Option<u32>) -> Reason {
        Reason {
            code: self.code().to_owned(),
            requirement,
            message: self.to_string(),
            hint: Some(self.hint().to_owned()),
        }
    }
}

impl From<MessageError> for Rejection {
    fn from(error: MessageError) -> Self {
        let fault = error.to_string();
        match error {
            MessageError::TooDeep | MessageError::TooLarge => Self::ExpandsTooFar { fault },
            _ => Self::Malformed { fault },
        }
    }
}

/// A time in seconds since 1970-01-01 UTC, shown as RFC 3339 does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Time(u64);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match i64::try_from(self.0).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()) {
            Some(time) => time.fmt(f),
            None => write!(f, "second {}", self.0),
        }
    }
}

/// A key that no signature of today will be accepted by: a code as [`Reason::code`] and words.
pub(crate) fn unusable(keyring: &Keyring) -> Option<(&'static str, String)> {
    keyring.certs().iter().find_map(|cert| {
        let key = hexadecimal(&cert.fingerprint());
        let mpis = cert.primary_key().key().mpis();
        let rejection = if let Some(fault) = profile::unsupported_key(mpis) {
            Rejection::KeyUnsupported { key, fault }
        } else if let Some(fault) = profile::weak_key(mpis) {
            Rejection::KeyWeak { key, fault }
        } else if cert.primary_key().self_revocations().next().is_some() {
            Rejection::KeyRevoked { key }
        } else {
            return None;
        };
        Some((rejection.code(), rejection.to_string()))
    })
}

/// What can be said about a signature before a key is known.
fn check_form(signature: &Signature) -> Result<(), Rejection> {
    let malformed = |fault: &str| Rejection::Malformed { fault: fault.to_owned() };
    match signature.typ() {
        SignatureType::Binary | SignatureType::Text => {}
        _ => return Err(malformed("it is not a signature over a document")),
    }
    if signature.signature_creation_time().is_none() {
        return Err(malformed("the signed part of the signature does not say when it was made"));
    }
    if profile::weak_hash(signature.hash_algo()) {
        return Err(Rejection::SignatureHashWeak { hash: signature.hash_algo().to_string() });
    }
    profile::policy()
        .signature(signature, HashAlgoSecurity::CollisionResistance)
        .map_err(|error| Rejection::Critical { fault: error.to_string() })
}

fn digest(message: &SignedMessage) -> Result<Vec<u8>, Rejection> {
    let signature = &message.signature;
    let malformed =
        |error: &dyn std::fmt::Display| Rejection::Malformed { fault: error.to_string() };
    let context = signature.hash_algo().context().map_err(|e| malformed(&e))?;
    let mut context = context.for_signature(signature.version());
    context.update(&message.signed_bytes());
    signature.hash(&mut context).map_err(|e| malformed(&e))?;
    context.into_digest().map_err(|e| malformed(&e))
}

/// Whether signature, key and primary key are good at `now`; the time until which they are.
fn check_times(
    signature: &Signature,
    cert: &Cert,
    key: &ErasedKeyAmalgamation<'_, sequoia_openpgp::packet::key::PublicParts>,
    now: u64,
) -> Result<Option<u64>, Rejection> {
    let time = profile::time(now).ok_or(Rejection::TimeOutOfRange { now })?;
    let primary = hexadecimal(&cert.fingerprint());
    let signing = hexadecimal(&key.key().fingerprint());

    let made = signature.signature_creation_time().unwrap_or(std::time::SystemTime::UNIX_EPOCH);
    let at = Time(profile::seconds(made));
    if made < key.key().creation_time() || made < cert.primary_key().key().creation_time() {
        return Err(Rejection::SignaturePredatesKey { key: signing, at });
    }
    if made > time + profile::CLOCK_SKEW {
        return Err(Rejection::SignatureFromFuture { at });
    }
    let signature_end = signature.signature_validity_period().filter(|p| !p.is_zero());
    let signature_end = signature_end.map(|period| Time(at.0.saturating_add(period.as_secs())));
    if let Some(at) = signature_end.filter(|end| end.0 <= now) {
        return Err(Rejection::SignatureExpired { at });
    }

    for key in [cert.primary_key().key().mpis(), key.key().mpis()] {
        if let Some(fault) = profile::weak_key(key) {
            return Err(Rejection::KeyWeak { key: signing, fault });
        }
    }
    // Any revocation by the key itself counts, whatever its reason and date, as with gpg.
    if cert.primary_key().self_revocations().next().is_some() {
        return Err(Rejection::KeyRevoked { key: primary });
    }
    if key.self_revocations().next().is_some() {
        return Err(Rejection::KeyRevoked { key: signing });
    }

    let policy = profile::policy();
    let not_valid = |error: sequoia_openpgp::anyhow::Error| Rejection::KeyNotValid {
        key: signing.clone(),
        fault: error.to_string(),
    };
    let valid_cert = cert.with_policy(policy, time).map_err(not_valid)?;
    let valid_key = key.clone().with_policy(policy, time).map_err(not_valid)?;
    let ends = [
        (primary, valid_cert.primary_key().key_expiration_time()),
        (signing.clone(), valid_key.key_expiration_time()),
    ];
    for (key, end) in &ends {
        if let Some(end) = end.map(profile::seconds).filter(|end| *end <= now) {
            return Err(Rejection::KeyExpired { key: key.clone(), at: Time(end) });
        }
    }
    if !valid_key.for_signing() {
        return Err(Rejection::KeyNotForSigning { key: signing });
    }
    let key_ends = ends.iter().filter_map(|(_, end)| end.map(profile::seconds));
    Ok(key_ends.chain(signature_end.map(|end| end.0)).min())
}

/// Identifiers of the keys that may have made a signature, each once.
fn issuers(signature: &Signature) -> Vec<[u8; 8]> {
    let mut ids = Vec::new();
    for id in signature.get_issuers().iter().filter_map(key_id) {
        if !ids.contains(&id) && ids.len() < MAX_ISSUERS {
            ids.push(id);
        }
    }
    ids
}

/// The signer as the signature names it, the most telling form first.
fn named(signature: &Signature) -> String {
    signature.get_issuers().first().map_or("that is not named".to_owned(), |i| format!("{i:X}"))
}

fn hexadecimal(fingerprint: &Fingerprint) -> String {
    format!("{fingerprint:X}")
}

/// A signature names its key by fingerprint and by identifier, which are the same key; more are an attempt
/// to make the verifier work.
const MAX_ISSUERS: usize = 4;
