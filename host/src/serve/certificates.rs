//! The server's certificate, and the authorities of its clients: loaded, checked, swapped while connections
//! go on.

mod issue;
mod rotation;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};

use crate::image::{FileFault, read_limited};
use crate::telemetry::Metrics;

pub(super) use self::rotation::{Keeper, Keeps, Kept, StoreError, Written};

/// What new connections are shown. Those that exist go on with what they were shown.
#[derive(Debug)]
pub(super) struct Certificates {
    shown: RwLock<Arc<Shown>>,
    made_of: Mutex<(Pair, Option<Authorities>)>,
}

impl Certificates {
    /// The first ones.
    ///
    /// # Errors
    ///
    /// As [`Shown::new`].
    pub(super) fn new(
        pair: Pair,
        authorities: Option<Authorities>,
        now: i64,
    ) -> Result<Self, CertificateError> {
        let shown = Shown::new(&pair, authorities.as_ref(), now)?;
        Ok(Self { shown: RwLock::new(Arc::new(shown)), made_of: Mutex::new((pair, authorities)) })
    }

    pub(super) fn current(&self) -> Arc<Shown> {
        Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Show others, or the same certificate to clients of others. Whether anything is different.
    ///
    /// # Errors
    ///
    /// As [`Shown::new`]: everything stays as it is.
    pub(super) fn replace(
        &self,
        pair: Option<Pair>,
        authorities: Option<Authorities>,
        now: i64,
    ) -> Result<bool, CertificateError> {
        let mut made_of = self.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = pair.unwrap_or_else(|| made_of.0.clone());
        self.swap(&mut made_of, pair, authorities, now)
    }

    /// Show another certificate to the same clients. Whether it is another one.
    ///
    /// # Errors
    ///
    /// As [`Shown::new`]: everything stays as it is.
    pub(super) fn show(&self, pair: Pair, now: i64) -> Result<bool, CertificateError> {
        let mut made_of = self.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        let authorities = made_of.1.clone();
        self.swap(&mut made_of, pair, authorities, now)
    }

    fn swap(
        &self,
        made_of: &mut (Pair, Option<Authorities>),
        pair: Pair,
        authorities: Option<Authorities>,
        now: i64,
    ) -> Result<bool, CertificateError> {
        let next = (pair, authorities);
        if *made_of == next {
            return Ok(false);
        }
        let shown = Arc::new(Shown::new(&next.0, next.1.as_ref(), now)?);
        *made_of = next;
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(true)
    }
}

/// What a client is shown in the handshake.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    pub(super) config: Arc<ServerConfig>,
    /// Whether clients of the webhook endpoints have to show a certificate.
    pub(super) clients: bool,
    /// When the certificate ends, in seconds since 1970-01-01 UTC.
    pub(super) expires: i64,
    /// When the first of the clients' authorities ends.
    pub(super) authority_expires: Option<i64>,
}

impl Shown {
    /// Check that everything fits together at the time `now`.
    ///
    /// # Errors
    ///
    /// The certificate is none, has ended, or is not the key's; an authority is none.
    pub(super) fn new(
        pair: &Pair,
        authorities: Option<&Authorities>,
        now: i64,
    ) -> Result<Self, CertificateError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let unusable =
            |fault: String| CertificateError::Unusable { what: pair.origin.clone(), fault };
        let certified = pair.certified(&provider).map_err(unusable)?;
        let leaf = Leaf::read(&certified).map_err(unusable)?;
        if leaf.ends <= now {
            return Err(unusable(format!(
                "the certificate ended at {}; renew it",
                time(leaf.ends)
            )));
        }
        let clients = authorities.map(|authorities| authorities.roots()).transpose()?;
        let rustls = |e: rustls::Error| unusable(e.to_string());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(rustls)?;
        let (builder, authority_expires) = match clients {
            None => (builder.with_no_client_auth(), None),
            Some((roots, ends)) => {
                // Probes need no certificate, so that this is checked where a request is answered.
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|e| unusable(e.to_string()))?;
                (builder.with_client_cert_verifier(verifier), Some(ends))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            clients: authorities.is_some(),
            expires: leaf.ends,
            authority_expires,
        })
    }

    /// Tell metrics when certificates end, and the log if that is soon.
    pub(super) fn tell(&self, metrics: &Metrics, now: i64) {
        metrics.certificate_expires("server", self.expires);
        let ends = [("server", Some(self.expires)), ("client-authority", self.authority_expires)];
        for (certificate, ends) in ends {
            let Some(ends) = ends else { continue };
            metrics.certificate_expires(certificate, ends);
            if ends - now < EXPIRES_SOON {
                let ends = time(ends);
                tracing::warn!(certificate, ends, "a certificate ends soon; renew it");
            }
        }
    }
}

/// A certificate with its chain, and its key.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Pair {
    /// PEM.
    pub(super) certificate: Vec<u8>,
    /// PEM.
    pub(super) key: Vec<u8>,
    /// Where they are from.
    pub(super) origin: String,
}

impl Pair {
    /// Read two files.
    pub(super) fn read(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        Ok(Self {
            origin: certificate.display().to_string(),
            certificate: read_limited(certificate, MAX_CERTIFICATE_BYTES)?,
            key: read_limited(key, MAX_CERTIFICATE_BYTES)?,
        })
    }

    fn certified(&self, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|e| format!("its key is none in PEM: {e}"))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => {
                "certificate and key do not belong together".to_owned()
            }
            other => other.to_string(),
        })
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Authorities of clients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Authorities {
    path: PathBuf,
    pem: Vec<u8>,
}

impl Authorities {
    /// Read a file.
    pub(super) fn read(path: &Path) -> Result<Self, CertificateError> {
        Ok(Self { path: path.to_owned(), pem: read_limited(path, MAX_CERTIFICATE_BYTES)? })
    }

    /// With the time at which the first of them ends.
    fn roots(&self) -> Result<(RootCertStore, i64), CertificateError> {
        let what = self.path.display().to_string();
        let unusable = |fault| CertificateError::Unusable { what: what.clone(), fault };
        let mut roots = RootCertStore::empty();
        let mut ends = i64::MAX;
        for certificate in certificates(&self.pem).map_err(unusable)? {
            let leaf = Leaf::of(&certificate).map_err(unusable)?;
            ends = ends.min(leaf.ends);
            roots.add(certificate).map_err(|e| unusable(e.to_string()))?;
        }
        Ok((roots, ends))
    }
}

/// A certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read certificate: {0}")]
    Unreadable(#[from] FileFault),
    /// Its content is not usable.
    #[error("cannot use certificate {what}: {fault}")]
    Unusable {
        /// File or Secret.
        what: String,
        /// What is wrong, and what was expected.
        fault: String,
    },
}

/// What a certificate says.
struct Leaf {
    begins: i64,
    ends: i64,
    names: Vec<String>,
}

impl Leaf {
    fn read(certified: &CertifiedKey) -> Result<Self, String> {
        Self::of(certified.end_entity_cert().map_err(|e| e.to_string())?)
    }

    fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|e| format!("not an X.509 certificate: {e}"))?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let names = names.filter_map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        Ok(Self {
            begins: certificate.validity().not_before.timestamp(),
            ends: certificate.validity().not_after.timestamp(),
            names: names.collect(),
        })
    }
}

/// Never none.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err("there is no certificate in PEM in it".to_owned()),
        Ok(chain) => Ok(chain),
        Err(fault) => Err(format!("not PEM: {fault}")),
    }
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |t| t.to_string())
}

/// Largest file of certificates: four times the bundle of all public authorities.
const MAX_CERTIFICATE_BYTES: usize = 1024 * 1024;

/// Two weeks, in seconds: somebody can still do something on a working day.
const EXPIRES_SOON: i64 = 14 * 86_400;

#[cfg(test)]
mod tests {
    use super::issue::issue;
    use super::*;

    fn pair(now: i64) -> (Pair, String) {
        let kept = issue(&["localhost".to_owned()], now).expect("a certificate");
        let pair = Pair {
            certificate: kept.certificate.into_bytes(),
            key: kept.key.into_bytes(),
            origin: "tls.crt".to_owned(),
        };
        (pair, kept.authorities)
    }

    impl Certificates {
        /// One for `localhost`.
        pub(in crate::serve) fn for_test() -> Self {
            let now = jiff::Timestamp::now().as_second();
            Self::new(pair(now).0, None, now).expect("a certificate")
        }
    }

    fn refused(pair: &Pair, now: i64) -> String {
        Shown::new(pair, None, now).expect_err("no certificate").to_string()
    }

    #[test]
    fn certificate_with_its_key_is_shown() {
        let (pair, authorities) = pair(NOW);
        let shown = Shown::new(&pair, None, NOW).expect("a certificate");
        assert!(shown.expires > NOW && !shown.clients);
        let authorities = Authorities { path: "clients.crt".into(), pem: authorities.into() };
        let shown = Shown::new(&pair, Some(&authorities), NOW).expect("a certificate");
        assert!(shown.clients && shown.authority_expires > Some(NOW));
    }

    #[test]
    fn certificate_of_another_key_is_refused() {
        let (mut pair, _) = pair(NOW);
        pair.key = self::pair(NOW).0.key;
        assert!(refused(&pair, NOW).contains("do not belong together"));
        assert!(!format!("{pair:?}").contains("PRIVATE"));
    }

    #[test]
    fn expired_certificate_is_refused() {
        let (pair, _) = pair(NOW);
        let expires = Shown::new(&pair, None, NOW).expect("a certificate").expires;
        assert!(refused(&pair, expires).contains("ended at 2"));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let (good, _) = pair(NOW);
        for (certificate, key, words) in [
            (&b""[..], good.key.as_slice(), "no certificate"),
            (
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                &good.key,
                "tls.crt",
            ),
            (b"-----BEGIN CERTIFICATE-----\n!\n", &good.key, "PEM"),
            (&good.certificate, b"", "key"),
        ] {
            let (certificate, key) = (certificate.to_owned(), key.to_owned());
            let pair = Pair { certificate, key, origin: "tls.crt".to_owned() };
            let refused = refused(&pair, NOW);
            assert!(refused.contains(words), "{words}: {refused}");
        }
        let authorities = Authorities { path: "clients.crt".into(), pem: Vec::new() };
        let refused = Shown::new(&good, Some(&authorities), NOW).expect_err("no authority");
        assert!(refused.to_string().contains("clients.crt"), "{refused}");
    }

    const NOW: i64 = 1_795_564_800;
}
