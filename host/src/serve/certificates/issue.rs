//! Making a certificate, and the authority that vouches for it.
//!
//! The authority signs one certificate, and its key is gone: it lies in no Secret, and nobody can make a
//! second certificate with it.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::Kept;

/// A certificate for a server of these names, good from `now` (seconds since 1970-01-01 UTC) on.
///
/// # Errors
///
/// A name is none of DNS.
pub(super) fn issue(names: &[String], now: i64) -> Result<Kept, rcgen::Error> {
    let mut authority = params(Vec::new(), "countersign authority", now)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let name = names.first().map_or("countersign", String::as_str);
    let mut server = params(names.to_vec(), name, now)?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &authority)?;
    Ok(Kept {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        authorities: authority.pem(),
    })
}

fn params(names: Vec<String>, name: &str, now: i64) -> Result<CertificateParams, rcgen::Error> {
    let at = |seconds: i64| {
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        date_time_ymd(1970, 1, 1) + since
    };
    let mut params = CertificateParams::new(names)?;
    // A common name has at most 64 characters; clients do not look at it.
    let name: String = name.chars().take(64).collect();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = at(now - CLOCK_SKEW);
    params.not_after = at(now + LIFE);
    Ok(params)
}

/// 90 days, in seconds: as public authorities have it.
pub(super) const LIFE: i64 = 90 * 86_400;

/// An hour, in seconds: how far behind the clock of an API server may be.
const CLOCK_SKEW: i64 = 3_600;
