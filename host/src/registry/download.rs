//! A blob on its way, which goes on where it broke off.

use guest_policy::digest::Digest;
use guest_policy::reference::Reference;
use hyper::body::Bytes;
use reqwest::{Response, Url, header};

use super::auth::Access;
use super::client::{Outgoing, failure, transfer_error};
use super::limits::MAX_RETRIES;
use super::{Client, RegistryError};

impl Client {
    /// A blob of a repository, as a stream that nobody has checked yet.
    ///
    /// # Errors
    ///
    /// Every [`RegistryError`].
    pub(crate) async fn download(
        &self,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<Download, RegistryError> {
        let (response, url) = self.ask_for_blob(repository, digest, 0).await?;
        let (client, repository, digest) = (self.clone(), repository.clone(), digest.clone());
        Ok(Download { response, url, client, repository, digest, read: 0, resumed: 0 })
    }

    /// The answer with a blob's bytes from this one on, or with all of them if the registry does not know better.
    async fn ask_for_blob(
        &self,
        repository: &Reference,
        digest: &Digest,
        first: u64,
    ) -> Result<(Response, Url), RegistryError> {
        let registry = self.registry(repository)?;
        let url = registry.url(&format!("v2/{}/blobs/{digest}", repository.path()))?;
        let what = format!("blob {digest} of {}", repository.name());
        let ask = async {
            let request = Outgoing::get_from(first);
            let asked = self.ask(&registry, repository, Access::Pull, &url, &request, &what);
            let (response, last) = asked.await?;
            match response.status().as_u16() {
                200 => Ok((response, last)),
                206 if first > 0 => Ok((response, last)),
                _ => Err(failure(&registry, response, &last, &what).await),
            }
        };
        self.within_deadline(registry.host(), ask).await
    }
}

/// A body on its way. A server that falls silent in the middle is given up.
#[derive(Debug)]
pub(crate) struct Download {
    response: Response,
    url: Url,
    client: Client,
    repository: Reference,
    digest: Digest,
    read: u64,
    resumed: u32,
}

impl Download {
    /// The next bytes; `None` at the end. If the connection breaks, the rest is asked for, a few times.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let fault = match self.response.chunk().await {
                Ok(bytes) => {
                    self.read += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
                    return Ok(bytes);
                }
                Err(fault) => transfer_error(&self.url, &fault),
            };
            if self.read == 0 || self.resumed == MAX_RETRIES {
                return Err(fault);
            }
            tokio::time::sleep(self.client.retry_pause() * 2_u32.pow(self.resumed)).await;
            self.resumed += 1;
            let Ok((response, url)) =
                self.client.ask_for_blob(&self.repository, &self.digest, self.read).await
            else {
                // Why it broke off says more than why it does not go on.
                return Err(fault);
            };
            if !begins_at(&response, self.read) {
                return Err(fault);
            }
            (self.response, self.url) = (response, url);
        }
    }
}

/// Whether an answer has the bytes from this one on (RFC 9110, section 14.4).
fn begins_at(response: &Response, first: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let range = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next());
    response.status().as_u16() == 206 && range.and_then(|n| n.parse().ok()) == Some(first)
}
