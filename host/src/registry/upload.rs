//! Uploads (OCI distribution specification, "Push").
//!
//! Blobs go first and in one piece, and only if the registry does not have them. A registry may lead an upload
//! to another host, its storage: that gets the bytes and no credentials. Nothing has a name before its manifest
//! is there, so that what breaks off in the middle leaves nothing that anybody would pull.

use std::time::Duration;

use guest_policy::digest::Digest;
use guest_policy::reference::Reference;
use hyper::body::Bytes;
use reqwest::{Response, Url, header};

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
            let Some(Upload { mut url, .. }) = self.begin(registry, repository, None).await? else {
                return Ok(());
            };
            begun += 1;
            url.query_pairs_mut().append_pair("digest", digest.as_str());
            let request = Outgoing::put(OCTETS, content.clone());
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

    /// Begin the upload of a blob that is to be sent in parts or as a stream, unless the repository has it already
    /// or the registry takes it from the repository `from`. Then there is nothing to do.
    pub(crate) async fn begin_blob(
        &self,
        repository: &Reference,
        digest: &Digest,
        from: Option<&Reference>,
    ) -> Result<Option<Upload>, RegistryError> {
        let registry = self.registry(repository)?;
        let begin = async {
            if self.has(&registry, repository, digest).await? {
                return Ok(None);
            }
            if let Some(from) = from {
                match self.begin(&registry, repository, Some((digest, from))).await {
                    // To push here is one thing, and to pull there another.
                    Err(RegistryError::Unauthorized { .. }) => {}
                    begun => return begun,
                }
            }
            self.begin(&registry, repository, None).await
        };
        self.within_deadline(registry.host(), begin).await
    }

    /// Send a blob in one piece. Who calls has to see that it goes on.
    pub(crate) async fn stream_blob(
        &self,
        repository: &Reference,
        digest: &Digest,
        upload: Upload,
        length: u64,
        body: reqwest::Body,
    ) -> Result<(), RegistryError> {
        let request = Outgoing::stream(OCTETS, length, body);
        self.finish(repository, digest, upload, &request).await
    }

    /// Send the bytes of a blob that come next; where the ones after them go.
    pub(crate) async fn send_chunk(
        &self,
        repository: &Reference,
        digest: &Digest,
        upload: Upload,
        from: u64,
        chunk: Bytes,
    ) -> Result<Upload, RegistryError> {
        let registry = self.registry(repository)?;
        let what = format!("upload of {digest} to {}", repository.name());
        let request = Outgoing::patch(OCTETS, from, chunk);
        let send = async {
            let asked = self.ask(&registry, repository, Access::Push, &upload.url, &request, &what);
            let (response, last) = asked.await?;
            match response.status().as_u16() {
                202 | 204 => self.place(&registry, response, &last).await,
                _ => Err(failure(&registry, response, &last, &what).await),
            }
        };
        Self::within(self.settings().upload_deadline, registry.host(), send).await
    }

    /// End a blob whose bytes were sent in parts.
    pub(crate) async fn end_chunks(
        &self,
        repository: &Reference,
        digest: &Digest,
        upload: Upload,
    ) -> Result<(), RegistryError> {
        let request = Outgoing::put(OCTETS, Bytes::new());
        let finish = self.finish(repository, digest, upload, &request);
        Self::within(self.settings().upload_deadline, repository.domain(), finish).await
    }

    /// Longest time for which an upload may stand still.
    pub(crate) fn patience(&self) -> Duration {
        self.settings().upload_deadline
    }

    async fn finish(
        &self,
        repository: &Reference,
        digest: &Digest,
        upload: Upload,
        request: &Outgoing<'_>,
    ) -> Result<(), RegistryError> {
        let registry = self.registry(repository)?;
        let what = format!("upload of {digest} to {}", repository.name());
        let mut url = upload.url;
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        match self.put(&registry, repository, &url, request, &what).await? {
            Put::Stored(said) => agree(&registry, digest, said),
            Put::Unknown(error) => Err(error),
        }
    }

    /// Begin an upload: where to put it; `None` if the registry has taken the blob from the other repository.
    async fn begin(
        &self,
        registry: &Registry,
        repository: &Reference,
        mount: Option<(&Digest, &Reference)>,
    ) -> Result<Option<Upload>, RegistryError> {
        let mut url = registry.url(&format!("v2/{}/blobs/uploads/", repository.path()))?;
        if let Some((digest, from)) = mount {
            let mut query = url.query_pairs_mut();
            query.append_pair("mount", digest.as_str()).append_pair("from", from.path());
        }
        let what = format!("repository {}", repository.name());
        let request = Outgoing::post();
        let asked = self.ask(registry, repository, Access::Push, &url, &request, &what);
        let (response, last) = asked.await?;
        match response.status().as_u16() {
            201 if mount.is_some() => Ok(None),
            202 => self.place(registry, response, &last).await.map(Some),
            _ => Err(failure(registry, response, &last, &what).await),
        }
    }

    /// Where the bytes that come next go, as the answer says.
    async fn place(
        &self,
        registry: &Registry,
        response: Response,
        last: &Url,
    ) -> Result<Upload, RegistryError> {
        let least = response.headers().get("oci-chunk-min-length");
        let least = least.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let location = response.headers().get(header::LOCATION);
        let location =
            location.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        // A connection is used again only if its answer was read to the end.
        let _ = limits::read(response, limits::MAX_TOKEN_BYTES).await;
        let refused = |to: &str, fault: String| RegistryError::Redirect {
            host: authority(last),
            to: to.to_owned(),
            fault,
        };
        if location.is_empty() {
            let fault = "it begins an upload and does not say where, in a header Location";
            return Err(RegistryError::Malformed { url: shown(last), fault: fault.to_owned() });
        }
        let place = last.join(&location).map_err(|e| refused(&location, e.to_string()))?;
        if place.origin() != registry.base().origin() {
            self.check_scheme(&place).map_err(|fault| refused(&shown(&place), fault))?;
        }
        Ok(Upload { url: place, least })
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

/// An upload that is under way.
#[derive(Debug)]
pub(crate) struct Upload {
    /// Where what comes next goes.
    url: Url,
    /// The fewest bytes of one part, if the registry wants parts and says so (`OCI-Chunk-Min-Length`).
    pub(crate) least: Option<u64>,
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

const OCTETS: &str = "application/octet-stream";
