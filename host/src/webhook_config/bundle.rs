//! The authorities by which the API server knows the server.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::image::read_limited;

/// Certificates of authorities, PEM.
#[derive(Clone, Debug)]
pub struct Bundle(Vec<u8>);

impl Bundle {
    /// Read a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, has no certificate, one that is malformed, or a private key.
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        let pem = read_limited(path, MAX_BUNDLE_BYTES)
            .map_err(|fault| BundleError::Unreadable(fault.to_string()))?;
        Self::parse(pem).map_err(|fault| BundleError::Unusable { path: path.to_owned(), fault })
    }

    fn parse(pem: Vec<u8>) -> Result<Self, String> {
        // Everybody who may read webhook configurations would read it there.
        if pem.windows(PRIVATE_KEY.len()).any(|window| window == PRIVATE_KEY) {
            return Err("there is a private key in it; expected certificates alone".to_owned());
        }
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            count += 1;
            let certificate = certificate.map_err(|e| e.to_string())?;
            x509_parser::parse_x509_certificate(&certificate)
                .map_err(|e| format!("certificate {count} is malformed: {e}"))?;
        }
        if count == 0 {
            return Err("there is no certificate in it; expected PEM".to_owned());
        }
        Ok(Self(pem))
    }

    /// As it was read.
    pub fn pem(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn base64(&self) -> String {
        STANDARD.encode(&self.0)
    }
}

/// A file is no bundle of authorities.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It cannot be read.
    #[error("cannot read authorities: {0}")]
    Unreadable(String),
    /// There is something else in it.
    #[error("cannot use the authorities of {}: {fault}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is in it, and was expected.
        fault: String,
    },
}

const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";

/// Largest bundle: an object of the Kubernetes API has at most 1.5 MiB, and this is in it twice as long.
const MAX_BUNDLE_BYTES: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new(vec!["ca.example.com".to_owned()]);
        let certificate = parameters.expect("parameters").self_signed(&key).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn certificates_are_taken_as_they_are() {
        let (one, _) = certificate();
        let pem = format!("# ours\n{one}{one}");
        let bundle = Bundle::parse(pem.clone().into_bytes()).expect("a bundle");
        assert_eq!(bundle.base64(), STANDARD.encode(pem));
    }

    #[test]
    fn private_key_is_refused() {
        let (certificate, key) = certificate();
        let fault = Bundle::parse(format!("{certificate}{key}").into_bytes()).expect_err("a key");
        assert!(fault.contains("private key"), "{fault}");
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for pem in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Bundle::parse(pem.into()).is_err(), "{pem}");
        }
    }
}
