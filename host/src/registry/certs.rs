//! TLS: the system's authorities, loaded when the first certificate is checked, and certificates for
//! single hosts (containers-certs.d(5)).

use std::fs::ReadDir;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::RegistryError;
use crate::image::read_limited;

/// `~/.config/containers/certs.d`, `/etc/containers/certs.d`, `/etc/docker/certs.d`.
pub(super) fn default_directories() -> Vec<PathBuf> {
    let home = std::env::home_dir().map(|home| home.join(".config/containers/certs.d"));
    home.into_iter()
        .chain(["/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()])
        .collect()
}

/// What the administrator laid down for one host.
#[derive(Debug, Default)]
pub(super) struct HostCertificates {
    authorities: Vec<CertificateDer<'static>>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl HostCertificates {
    /// Read the first directory that exists for `host[:port]`; `None` if there is none.
    pub(super) fn find(directories: &[PathBuf], host: &str) -> Result<Option<Self>, RegistryError> {
        for directory in directories {
            let directory = directory.join(host);
            return match std::fs::read_dir(&directory) {
                Ok(entries) => Self::read(&directory, entries).map(Some),
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                // The reference implementation passes over what this user may not read.
                Err(e) if e.kind() == ErrorKind::PermissionDenied => continue,
                Err(e) => Err(fault(&directory, e)),
            };
        }
        Ok(None)
    }

    /// Read one directory, which must exist.
    pub(super) fn of_directory(directory: &Path) -> Result<Self, RegistryError> {
        let entries = std::fs::read_dir(directory).map_err(|e| fault(directory, e))?;
        Self::read(directory, entries)
    }

    fn read(directory: &Path, entries: ReadDir) -> Result<Self, RegistryError> {
        let mut paths = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| fault(directory, e))?;
        paths.sort();
        let mut found = Self::default();
        for path in paths {
            match path.extension().and_then(|e| e.to_str()) {
                Some("crt") => found.authorities.extend(certificates(&path)?),
                Some("cert") => {
                    let key_path = path.with_extension("key");
                    let key = PrivateKeyDer::from_pem_slice(&read(&key_path)?)
                        .map_err(|e| fault(&key_path, e))?;
                    found.client = Some((certificates(&path)?, key));
                }
                Some("key") if !path.with_extension("cert").exists() => {
                    return Err(fault(&path, "there is no .cert file of the same name"));
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Trust the authorities of another host, too. Its client certificate stays with it.
    pub(super) fn trust(&mut self, other: Self) {
        self.authorities.extend(other.authorities);
    }
}

/// TLS as it is spoken to hosts with these certificates.
pub(super) fn tls(
    host: &str,
    certificates: HostCertificates,
) -> Result<ClientConfig, RegistryError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = SystemVerifier {
        provider: Arc::clone(&provider),
        extra: certificates.authorities,
        verifier: OnceLock::new(),
    };
    let unusable = |e: rustls::Error| RegistryError::Certificates {
        path: host.to_owned(),
        fault: e.to_string(),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match certificates.client {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(unusable)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The usual verification, whose authorities are read when they are needed first: a decision without TLS
/// does not pay for them.
#[derive(Debug)]
struct SystemVerifier {
    provider: Arc<CryptoProvider>,
    extra: Vec<CertificateDer<'static>>,
    verifier: OnceLock<Result<Arc<WebPkiServerVerifier>, String>>,
}

impl SystemVerifier {
    fn verifier(&self) -> Result<&WebPkiServerVerifier, rustls::Error> {
        let load = || {
            let mut roots = RootCertStore::empty();
            let system = rustls_native_certs::load_native_certs();
            // Odd certificates in the system's store are its administrator's business.
            roots.add_parsable_certificates(system.certs);
            for authority in &self.extra {
                roots.add(authority.clone()).map_err(|e| e.to_string())?;
            }
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|e| format!("no usable certificate authorities: {e}"))
        };
        match self.verifier.get_or_init(load) {
            Ok(verifier) => Ok(verifier),
            Err(fault) => Err(rustls::Error::General(fault.clone())),
        }
    }
}

impl ServerCertVerifier for SystemVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verifier = self.verifier()?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier()?.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier()?.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    let pem = read(path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|e| fault(path, e))?;
    if found.is_empty() {
        return Err(fault(path, "there is no certificate in it; expected PEM"));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, RegistryError> {
    read_limited(path, MAX_CERTIFICATE_BYTES).map_err(|e| fault(path, e))
}

fn fault(path: &Path, fault: impl ToString) -> RegistryError {
    RegistryError::Certificates { path: path.display().to_string(), fault: fault.to_string() }
}

/// Largest file of certs.d: four times the bundle of all public authorities.
const MAX_CERTIFICATE_BYTES: usize = 1024 * 1024;
