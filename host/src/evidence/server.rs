//! Lookaside servers that take signatures: the URL that `lookaside-staging` of registries.d names.
//!
//! `POST …/staging/PATH@ALGORITHM=HEX/` has the server find the next number; a server that does not know it gets
//! `PUT …/signature-N` with the first number that nobody has.

use guest_policy::digest::Digest;
use guest_policy::reference::Reference;
use hyper::body::Bytes;
use reqwest::{Method, Url};

use super::location::redacted;
use super::lookaside::UNREASONABLE;
use super::{EvidenceError, Location, RegistriesD, RegistriesDError};
use crate::registry::{Client, RegistryError, Stored};

/// Where the signatures of one repository are sent.
#[derive(Clone, Debug)]
pub struct StagingServer {
    location: Location,
    registry: String,
}

impl StagingServer {
    /// What `lookaside-staging` of `registries` says of a repository, if it is a server. A server that signatures are
    /// read from is none that takes them.
    ///
    /// # Errors
    ///
    /// The configured value is no URL.
    pub fn of(
        registries: &RegistriesD,
        repository: &Reference,
    ) -> Result<Option<Self>, RegistriesDError> {
        let location = registries.staging(repository)?;
        let served =
            matches!(location.scheme(), "http" | "https") && registries.has_staging(repository);
        let registry = repository.domain().to_owned();
        Ok(served.then_some(Self { location, registry }))
    }

    /// Send a signature of the manifest with this digest: the URL where it is. How many there are already is asked of
    /// `count` if the server does not find a number itself.
    ///
    /// # Errors
    ///
    /// The server does not take it.
    pub async fn add(
        &self,
        client: &Client,
        digest: &Digest,
        signature: &[u8],
        count: impl Future<Output = Result<usize, EvidenceError>>,
    ) -> Result<String, StagingServerError> {
        let content = Bytes::copy_from_slice(signature);
        let send = async |method: Method, location: &Location| {
            let text = location.to_string();
            let no_url = |_| StagingServerError::NoUrl { url: redacted(&text) };
            let url = Url::parse(&text).map_err(no_url)?;
            let sent = client.send_file(&url, &self.registry, method, content.clone());
            match sent.await? {
                Stored::Refused { status, detail, token } => {
                    let url = redacted(&text);
                    Err(StagingServerError::Refused { url, status, detail, token })
                }
                answer => Ok(answer),
            }
        };
        let unknown = match send(Method::POST, &self.location.signatures(digest)).await? {
            Stored::There(url) => return Ok(url),
            Stored::Unknown(error) => error,
            _ => return Err(self.full(digest)),
        };
        for number in (count.await? + 1)..UNREASONABLE {
            match send(Method::PUT, &self.location.signature(digest, number)).await? {
                Stored::There(url) => return Ok(url),
                // It knows neither; what it says of the usual way is what helps.
                Stored::Unknown(_) => return Err(unknown.into()),
                _ => {}
            }
        }
        Err(self.full(digest))
    }

    fn full(&self, digest: &Digest) -> StagingServerError {
        let url = redacted(&self.location.signatures(digest).to_string());
        StagingServerError::Full { url, count: UNREASONABLE - 1 }
    }
}

/// A signature was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StagingServerError {
    /// Readers would take one more for a fault.
    #[error(
        "{url} takes no more signatures of this image; {count} are read at most: remove old ones"
    )]
    Full {
        /// Where they are.
        url: String,
        /// How many there may be.
        count: usize,
    },
    /// What is configured is no URL of the web.
    #[error(
        "cannot send signatures to {url}: it is no URL; correct lookaside-staging in registries.d"
    )]
    NoUrl {
        /// As it is configured.
        url: String,
    },
    /// Who asks may not.
    #[error(
        "{url} refuses the signature with status {status}{}: {}",
        if detail.is_empty() { String::new() } else { format!(" ({detail})") },
        if *token { "the token of --token-file may not write there" } else { "name a file with a token: --token-file" }
    )]
    Refused {
        /// Where it was sent.
        url: String,
        /// 401 or 403.
        status: u16,
        /// What the server says.
        detail: String,
        /// Whether there was a token.
        token: bool,
    },
    /// The server cannot be reached, or does not speak as expected.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The signatures that are there already cannot be read.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
}
