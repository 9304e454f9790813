//! Lists of referrers (OCI distribution specification, "Listing Referrers").
//!
//! Rules decide by what is *not* attached, too. So only a registry that says that it has nothing has nothing:
//! whatever else it answers is an error.

use guest_policy::digest::Digest;
use guest_policy::image::MAX_MANIFEST_BYTES;
use guest_policy::reference::Reference;
use reqwest::Url;
use reqwest::header::{self, HeaderMap};

use super::RegistryError;
use super::client::{Client, Registry, shown};
use super::limits::MAX_PAGES;

impl Client {
    /// The documents that refer to a manifest, as pages of a list: indexes of OCI, not read.
    ///
    /// A registry that does not know the request has them under a tag that is made of the digest, if it has any.
    ///
    /// # Errors
    ///
    /// Every [`RegistryError`] but [`RegistryError::NotFound`] of the registry itself.
    pub(crate) async fn referrers(
        &self,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<Vec<Vec<u8>>, RegistryError> {
        let registry = self.registry(repository)?;
        // One deadline holds for all pages: a registry could be slow with each of them.
        let read = async {
            if let Some(pages) = self.referrers_pages(&registry, repository, digest).await? {
                return Ok(pages);
            }
            let tag = format!("{}-{}", digest.algorithm().name(), digest.hex());
            let url = registry.url(&format!("v2/{}/manifests/{tag}", repository.path()))?;
            let what = format!("list of referrers {}:{tag}", repository.name());
            let fetch =
                self.get(&registry, repository, &url, Some(OCI_INDEX), &what, MAX_MANIFEST_BYTES);
            Ok(known(&registry, fetch.await)?.map(|(_, list)| list).into_iter().collect())
        };
        self.within_deadline(registry.host(), read).await
    }

    /// `None` if the registry does not know the request.
    async fn referrers_pages(
        &self,
        registry: &Registry,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<Option<Vec<Vec<u8>>>, RegistryError> {
        let mut url = registry.url(&format!("v2/{}/referrers/{digest}", repository.path()))?;
        let what = format!("list of referrers of {digest}");
        let mut pages = Vec::new();
        loop {
            let fetch =
                self.get(registry, repository, &url, Some(OCI_INDEX), &what, MAX_MANIFEST_BYTES);
            let (headers, page) = match known(registry, fetch.await) {
                Ok(Some(answer)) => answer,
                Ok(None) if pages.is_empty() => return Ok(None),
                // The list has changed meanwhile; its first half is none.
                Ok(None) => return Err(malformed(&url, "the next page is missing".to_owned())),
                Err(error) => return Err(error),
            };
            pages.push(page);
            let Some(next) = next(&url, &headers)? else { return Ok(Some(pages)) };
            if pages.len() == MAX_PAGES {
                return Err(malformed(&url, format!("it has more than {MAX_PAGES} pages")));
            }
            url = next;
        }
    }
}

/// An answer; `None` if the registry itself does not have it.
fn known<T>(
    registry: &Registry,
    answer: Result<T, RegistryError>,
) -> Result<Option<T>, RegistryError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        // Where a registry leads to is not to tell what the registry has.
        Err(RegistryError::NotFound { host, .. }) if host == registry.host() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the next page is (RFC 8288, `rel="next"`): with the same registry, or nowhere.
fn next(url: &Url, headers: &HeaderMap) -> Result<Option<Url>, RegistryError> {
    for value in headers.get_all(header::LINK) {
        let value = value.to_str().map_err(|e| malformed(url, format!("header Link: {e}")))?;
        for link in value.split(',') {
            let mut parts = link.split(';').map(str::trim);
            let target = parts.next().unwrap_or_default();
            let is_next = parts.any(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap_or_default();
                name.trim().eq_ignore_ascii_case("rel")
                    && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
            });
            if !is_next {
                continue;
            }
            let target = target.strip_prefix('<').and_then(|target| target.strip_suffix('>'));
            let next = target.and_then(|target| url.join(target).ok());
            return match next {
                Some(next) if next.origin() == url.origin() => Ok(Some(next)),
                _ => Err(malformed(url, format!("header Link leads nowhere here: {value}"))),
            };
        }
    }
    Ok(None)
}

fn malformed(url: &Url, fault: String) -> RegistryError {
    RegistryError::Malformed { url: shown(url), fault }
}

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn next_of(link: &'static str) -> Result<Option<String>, RegistryError> {
        let url = Url::parse("https://example.com/v2/a/referrers/x?n=1").expect("a URL");
        let headers = HeaderMap::from_iter([(header::LINK, HeaderValue::from_static(link))]);
        Ok(next(&url, &headers)?.map(String::from))
    }

    #[test]
    fn next_page_is_with_the_same_registry() {
        for (link, expected) in [
            (
                "</v2/a/referrers/x?last=2>; rel=\"next\"",
                "https://example.com/v2/a/referrers/x?last=2",
            ),
            ("<https://example.com/z>; a=b; REL=next", "https://example.com/z"),
            (
                "</first>; rel=first, <?p=2>;rel=\"next\"",
                "https://example.com/v2/a/referrers/x?p=2",
            ),
        ] {
            assert_eq!(next_of(link).expect(link).as_deref(), Some(expected));
        }
        assert_eq!(next_of("</first>; rel=\"first\"").expect("a link"), None);
        for link in [
            "<https://example.org/z>; rel=next",
            "<http://example.com/z>; rel=next",
            "/z; rel=next",
        ] {
            assert!(next_of(link).is_err(), "{link}");
        }
    }
}
