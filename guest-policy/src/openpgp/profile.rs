//! Which OpenPGP is good enough: algorithms, sizes, times. Nothing here depends on a clock: what is
//! accepted changes with a release, not with a date.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use sequoia_openpgp::crypto::mpi::PublicKey;
use sequoia_openpgp::packet::Tag;
use sequoia_openpgp::policy::{HashAlgoSecurity, StandardPolicy};
use sequoia_openpgp::types::HashAlgorithm;

/// Sequoia's policy, less what would refuse keys that the field lives with: a key's own signatures may be
/// over SHA-1 (nobody can forge one without a second pre-image, and the operator chose the key), and
/// signatures may be of version 3.
///
/// Made once, when keys are loaded: evaluations find it in the snapshot.
pub(crate) fn policy() -> &'static StandardPolicy<'static> {
    static POLICY: LazyLock<StandardPolicy<'static>> = LazyLock::new(|| {
        let mut policy = StandardPolicy::at(SystemTime::UNIX_EPOCH + PROFILE_TIME);
        let as_self_signature = HashAlgoSecurity::SecondPreImageResistance;
        policy.accept_hash_property(HashAlgorithm::SHA1, as_self_signature);
        policy.accept_packet_tag_version(Tag::Signature, 3);
        policy
    });
    &POLICY
}

/// The evaluation time as sequoia wants it; `None` beyond what OpenPGP can express (2106).
pub(crate) fn time(seconds: u64) -> Option<SystemTime> {
    u32::try_from(seconds).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Seconds since 1970-01-01 UTC.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |duration| duration.as_secs())
}

/// The end of OpenPGP's time.
pub(crate) fn latest_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u32::MAX.into())
}

/// Why a hash over content that others chose is not good enough.
pub(crate) fn weak_hash(hash: HashAlgorithm) -> bool {
    !matches!(
        hash,
        HashAlgorithm::SHA224
            | HashAlgorithm::SHA256
            | HashAlgorithm::SHA384
            | HashAlgorithm::SHA512
            | HashAlgorithm::SHA3_256
            | HashAlgorithm::SHA3_512
    )
}

/// What is too weak about a key, in words.
pub(crate) fn weak_key(key: &PublicKey) -> Option<String> {
    match key {
        PublicKey::RSA { n, .. } if n.bits() < MIN_RSA_BITS => {
            Some(format!("RSA with {} bits; at least {MIN_RSA_BITS} are needed", n.bits()))
        }
        PublicKey::RSA { n, .. } if n.bits() > MAX_RSA_BITS => {
            Some(format!("RSA with {} bits; at most {MAX_RSA_BITS} are looked at", n.bits()))
        }
        PublicKey::DSA { .. } => Some("DSA".to_owned()),
        _ => None,
    }
}

/// What about a key nobody can verify with here, in words.
pub(crate) fn unsupported_key(key: &PublicKey) -> Option<String> {
    match key {
        PublicKey::ECDSA { curve, .. } | PublicKey::EdDSA { curve, .. }
            if !curve.is_supported() =>
        {
            Some(curve.to_string())
        }
        PublicKey::Unknown { .. } => Some("its algorithm is unknown".to_owned()),
        _ => None,
    }
}

/// How far a signer's clock may be ahead: machines that keep their clocks by NTP differ by less than a
/// second, others by minutes.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// 2026-01-01: everything that sequoia's policy cuts off by then is cut off, whatever the evaluation time.
const PROFILE_TIME: Duration = Duration::from_secs(1_767_225_600);

/// NIST SP 800-131A: less is disallowed for signatures.
const MIN_RSA_BITS: usize = 2048;

/// gpg makes no larger key without being patched; verification time grows with the square.
pub(super) const MAX_RSA_BITS: usize = 16384;
