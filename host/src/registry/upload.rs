//! Uploads (OCI distribution specification, "Push").
//!
//! Blobs go first and in one piece, and only if the registry does not have them. A registry may lead an upload
//! to another host, its storage: that gets the bytes and no credentials. Nothing has a name before its manifest
//! is there, so that what breaks off in the middle leaves nothing that anybody would pull.

use guest_policy::digest::Digest;
use guest_policy::reference::Reference;
use hyper::body::Bytes;
use reqwest::{Url, header};

use super::auth::Access;
use super::client::{Client, Outgoing, Registry, announced, authority, failure, shown};
use super::limits::MAX_UPLOADS;
use super::{RegistryError, limits};

impl Client {
    /// Have a blob in a repository.
    ///
    /// # Errors
    ///
    /// Every [`RegistryError`].
    pub async fn upload_blob(
        &self,
        repository: &Reference,
        content: impl Into<Bytes>,
    ) -> Result<Digest, RegistryError> {
        let content: Bytes = content.into();
        let digest = Digest::sha256(&content);
        let registry = self.registry(repository)?;
        let upload = self.upload(&registry, repository, &digest, &content);
        Self::within(self.settings().upload_deadline, registry.host(), upload).await?;
        Ok(digest)
    }

    /// Have a manifest in a repository, under the tag or the digest that `reference` has. Everything that it
    /// names has to be there.
    ///
    /// # Errors
    ///
    /// Every [`RegistryError`].
    pub async fn upload_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        content: impl Into<Bytes>,
    ) -> Result<Digest, RegistryError> {
        let content: Bytes = content.into();
        let digest = Digest::sha256(&content);
        let registry = self.registry(reference)?;
        let target = reference.tag().unwrap_or(digest.as_str());
        if let Some(named) = reference.digest().filter(|named| **named != digest) {
            let (host, expected) = (registry.host().to_owned(), named.clone());
            return Err(RegistryError::Digest { host, expected, found: digest });
        }
        let url = registry.url(&format!("v2/{}/manifests/{target}", reference.path()))?;
        let what = format!("place for a manifest {}", reference.familiar());
        let request = Outgoing::put(media_type, content);
        let put = self.put(&registry, reference, &url, &request, &what);
        match Self::within(self.settings().upload_deadline, registry.host(), put).await? {
            Put::Stored(said) => agree(&registry, &digest, said)?,
            Put::Unknown(error) => return Err(error),
        }
        Ok(digest)
    }

    async fn upload(
        &self,
        registry: &Registry,
        repository: &Reference,
        digest: &Digest,
        content: &Bytes,
    ) -> Result<(), RegistryError> {
        if self.has(registry, repository, digest).await? {
            return Ok(());
        }
        let what = format!("upload of {digest} to {}", repository.name());
        let mut begun = 0;
        loop {
            let mut url = self.begin(registry, repository).await?;
            begun += 1;
            url.query_pairs_mut().append_pair("digest", digest.as_str());
            let request = Outgoing::put("application/octet-stream", content.clone());
            match self.put(registry, repository, &url, &request, &what).await? {
                Put::Stored(said) => return agree(registry, digest, said),
                Put::Unknown(_) if begun < MAX_UPLOADS => {}
                Put::Unknown(error) => return Err(error),
            }
        }
    }

    /// Whether a repository has a blob.
    async fn has(
        &self,
        registry: &Registry,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let url = registry.url(&format!("v2/{}/blobs/{digest}", repository.path()))?;
        let what = repository.name();
        let request = Outgoing::head();
        let asked = self.ask(registry, repository, Access::Push, &url, &request, &what);
        let (response, last) = asked.await?;
        match response.status().as_u16() {
            200 => {
                let said = announced(&last, response.headers())?;
                agree(registry, digest, said).map(|()| true)
            }
            404 => Ok(false),
            _ => Err(failure(registry, response, &last, &what).await),
        }
    }

    /// Begin an upload: where to put it.
    async fn begin(
        &self,
        registry: &Registry,
        repository: &Reference,
    ) -> Result<Url, RegistryError> {
        let url = registry.url(&format!("v2/{}/blobs/uploads/", repository.path()))?;
        let what = format!("repository {}", repository.name());
        let request = Outgoing::post();
        let asked = self.ask(registry, repository, Access::Push, &url, &request, &what);
        let (response, last) = asked.await?;
        if response.status().as_u16() != 202 {
            return Err(failure(registry, response, &last, &what).await);
        }
        let location = response.headers().get(header::LOCATION);
        let location =
            location.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        // A connection is used again only if its answer was read to the end.
        let _ = limits::read(response, limits::MAX_TOKEN_BYTES).await;
        let refused = |to: &str, fault: String| RegistryError::Redirect {
            host: authority(&last),
            to: to.to_owned(),
            fault,
        };
        if location.is_empty() {
            let fault = "it begins an upload and does not say where, in a header Location";
            return Err(RegistryError::Malformed { url: shown(&last), fault: fault.to_owned() });
        }
        let place = last.join(&location).map_err(|e| refused(&location, e.to_string()))?;
        if place.origin() != registry.base().origin() {
            self.check_scheme(&place).map_err(|fault| refused(&shown(&place), fault))?;
        }
        Ok(place)
    }

    async fn put(
        &self,
        registry: &Registry,
        repository: &Reference,
        url: &Url,
        request: &Outgoing<'_>,
        what: &str,
    ) -> Result<Put, RegistryError> {
        let asked = self.ask(registry, repository, Access::Push, url, request, what);
        let (response, last) = asked.await?;
        let status = response.status().as_u16();
        match status {
            200 | 201 | 204 => {
                let said = announced(&last, response.headers())?;
                // As above.
                let _ = limits::read(response, limits::MAX_TOKEN_BYTES).await;
                Ok(Put::Stored(said))
            }
            404 | 416 => Ok(Put::Unknown(failure(registry, response, &last, what).await)),
            _ => Err(failure(registry, response, &last, what).await),
        }
    }
}

/// What came of bytes that were sent.
enum Put {
    /// They are there; the digest, if the registry told it.
    Stored(Option<Digest>),
    /// The registry does not know the place that it named: it was taken away meanwhile.
    Unknown(RegistryError),
}

/// What the registry says is what was sent, if it says anything.
fn agree(registry: &Registry, sent: &Digest, said: Option<Digest>) -> Result<(), RegistryError> {
    match said {
        Some(said) if said != *sent => {
            let host = registry.host().to_owned();
            Err(RegistryError::Stored { host, sent: sent.clone(), said })
        }
        _ => Ok(()),
    }
}
