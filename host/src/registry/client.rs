//! The one HTTP client: connections, redirects, retries, manifests and files.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use guest_policy::digest::{Algorithm, Digest};
use guest_policy::image::{MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES};
use guest_policy::reference::{DEFAULT_DOMAIN, Reference};
use hyper::body::Bytes;
use moka::sync::Cache;
use oci_client::errors::OciEnvelope;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, Response, Url};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::auth::{Access, Answers, Authorization, Challenge};
use super::certs::{self, HostCertificates};
use super::limits::{
    self, MAX_AUTHORIZATION_BYTES, MAX_HOSTS, MAX_REDIRECTS, MAX_RETRIES, MAX_TOKEN_BYTES,
};
use super::throttle::{Throttle, retry_after};
use super::{Keyring, RegistryError, Settings};

/// Access to registries and to signature stores over HTTP. Connections, tokens and what is known of a
/// registry are shared by all clones; nothing is set up before it is needed.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
    keyring: Option<Arc<Keyring>>,
    /// For signature stores that take signatures.
    store_token: Option<Arc<HeaderValue>>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    throttle: Option<Throttle>,
    ordinary: OnceLock<reqwest::Client>,
    ordinary_for_uploads: OnceLock<reqwest::Client>,
    with_certificates: Mutex<HashMap<String, reqwest::Client>>,
    registries: Mutex<HashMap<String, Arc<Registry>>>,
    authorizations: Cache<Purpose, Authorization>,
}

/// What an authorization is for. One that was got with a keyring is used with that keyring alone.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Purpose {
    keyring: Option<[u8; 32]>,
    host: String,
    path: String,
    access: Access,
}

impl Client {
    /// A client that has done nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            inner: Arc::new(Inner {
                throttle: Throttle::new(&settings),
                settings,
                ordinary: OnceLock::new(),
                ordinary_for_uploads: OnceLock::new(),
                with_certificates: Mutex::default(),
                registries: Mutex::default(),
                authorizations: Cache::builder()
                    .max_capacity(MAX_AUTHORIZATION_BYTES)
                    .weigher(weight)
                    .build(),
            }),
            keyring: None,
            store_token: None,
        }
    }

    /// A client for a workload that has these credentials. It shares everything with this one but what
    /// was got by credentials.
    #[must_use]
    pub fn acting_as(&self, keyring: Arc<Keyring>) -> Self {
        Self { keyring: Some(keyring), ..self.clone() }
    }

    /// A client that shows this bearer token to the server that a signature is sent to, and to nobody else.
    ///
    /// # Errors
    ///
    /// It has characters that no token has. The message does not show it.
    pub fn with_store_token(&self, token: &str) -> Result<Self, InvalidToken> {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidToken);
        }
        let mut value =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| InvalidToken)?;
        value.set_sensitive(true);
        Ok(Self { store_token: Some(Arc::new(value)), ..self.clone() })
    }

    /// A manifest, by tag or digest. Its digest is computed here; what the reference or the registry says
    /// about it has to agree.
    ///
    /// # Errors
    ///
    /// Every [`RegistryError`].
    pub async fn manifest(&self, reference: &Reference) -> Result<Manifest, RegistryError> {
        let registry = self.registry(reference)?;
        self.ask_for_extension_early(&registry);
        let target = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.as_str(),
            (None, tag) => tag.unwrap_or("latest"),
        };
        let url = registry.url(&format!("v2/{}/manifests/{target}", reference.path()))?;
        let what = format!("manifest {}", reference.familiar());
        let accept = Some(ACCEPTED_MANIFESTS);
        let fetch = self.get(&registry, reference, &url, accept, &what, MAX_MANIFEST_BYTES);
        let (headers, content) = self.within_deadline(registry.host(), fetch).await?;
        let found = Digest::sha256(&content);
        let announced = announced(&url, &headers)?;
        for expected in reference.digest().into_iter().chain(&announced) {
            if *expected != found {
                let (host, expected) = (registry.host().to_owned(), expected.clone());
                return Err(RegistryError::Digest { host, expected, found });
            }
        }
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Ok(Manifest { content_type: content_type.map(str::to_owned), content })
    }

    /// A blob of a repository, of at most `limit` bytes. It has this digest, which has to be of SHA-256.
    ///
    /// # Errors
    ///
    /// Every [`RegistryError`].
    pub async fn blob(
        &self,
        repository: &Reference,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<u8>, RegistryError> {
        let registry = self.registry(repository)?;
        let url = registry.url(&format!("v2/{}/blobs/{digest}", repository.path()))?;
        let what = format!("blob {digest} of {}", repository.name());
        let fetch = self.get(&registry, repository, &url, None, &what, limit);
        let (_, content) = self.within_deadline(registry.host(), fetch).await?;
        if digest.matches(&content) {
            return Ok(content);
        }
        let (host, expected) = (registry.host().to_owned(), digest.clone());
        Err(RegistryError::Blob { host, expected, found: Digest::sha256(&content) })
    }

    /// Whether the registry keeps signatures itself (`X-Registry-Supports-Signatures`).
    pub(crate) async fn keeps_signatures(
        &self,
        repository: &Reference,
    ) -> Result<bool, RegistryError> {
        let registry = self.registry(repository)?;
        self.extension(&registry).await
    }

    /// The list of signatures of a registry that keeps them itself.
    pub(crate) async fn kept_signatures(
        &self,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<Listed, RegistryError> {
        let registry = self.registry(repository)?;
        let path = format!("extensions/v2/{}/signatures/{digest}", repository.path());
        let url = registry.url(&path)?;
        let what = format!("list of signatures of {digest}");
        let accept = Some(ACCEPTED_MANIFESTS);
        let fetch = self.get(&registry, repository, &url, accept, &what, MAX_SIGNATURE_BYTES);
        let (_, content) = self.within_deadline(registry.host(), fetch).await?;
        Ok(Listed { url: shown(&url), content })
    }

    /// Have a registry that keeps signatures itself keep one: the URL where it is listed, or `None` if the registry
    /// has one of this name.
    pub(crate) async fn keep_signature(
        &self,
        repository: &Reference,
        digest: &Digest,
        entry: String,
    ) -> Result<Option<String>, RegistryError> {
        let registry = self.registry(repository)?;
        let path = format!("extensions/v2/{}/signatures/{digest}", repository.path());
        let url = registry.url(&path)?;
        let what = format!("place for a signature of {digest}");
        let request = Outgoing::put("application/json", entry.into());
        let put = async {
            let asked = self.ask(&registry, repository, Access::Push, &url, &request, &what);
            let (response, last) = asked.await?;
            match response.status().as_u16() {
                201 => Ok(Some(shown(&url))),
                409 => Ok(None),
                _ => Err(failure(&registry, response, &last, &what).await),
            }
        };
        self.within_deadline(registry.host(), put).await
    }

    /// A file of a signature store, without any credentials but those in `url`; `None` for 404.
    ///
    /// Authorities that are trusted for the registry are trusted for its signature store, too.
    pub(crate) async fn file(
        &self,
        url: &Url,
        registry: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let host = authority(url);
        let fetch = async {
            let http = self.http_for(url, registry, Direction::Down)?;
            let request = Outgoing::get(None);
            let (response, url) = self.send(&http, registry, url, &request, None).await?;
            match response.status().as_u16() {
                200 => {
                    let body = limits::read(response, limit).await;
                    body.map(Some).map_err(|fault| fault.into_error(&url, limit))
                }
                404 => {
                    // A connection is used again only if its answer was read to the end.
                    let _ = limits::read(response, MAX_TOKEN_BYTES).await;
                    Ok(None)
                }
                status => {
                    let body = limits::read(response, MAX_TOKEN_BYTES).await;
                    Err(status_error(&url, status, &body.unwrap_or_default()))
                }
            }
        };
        self.within_deadline(&host, fetch).await
    }

    /// Send a file to a signature store: with PUT, if it is not there, or with POST, and then the store finds a name.
    pub(crate) async fn send_file(
        &self,
        url: &Url,
        registry: &str,
        method: Method,
        content: Bytes,
    ) -> Result<Stored, RegistryError> {
        let host = authority(url);
        self.check_scheme(url).map_err(|fault| RegistryError::Scheme { url: shown(url), fault })?;
        let send = async {
            let http = self.http_for(url, Some(registry), Direction::Up)?;
            let request = Outgoing::new_file(method, content);
            let token = self.store_token.as_deref();
            let (response, last) = self.send(&http, Some(registry), url, &request, token).await?;
            let location = response.headers().get(header::LOCATION);
            let location = location.and_then(|value| value.to_str().ok());
            let location = location.and_then(|value| last.join(value).ok());
            let status = response.status().as_u16();
            let body = limits::read(response, MAX_TOKEN_BYTES).await.unwrap_or_default();
            Ok(match status {
                200 | 201 => Stored::There(shown(location.as_ref().unwrap_or(&last))),
                401 | 403 => {
                    Stored::Refused { status, detail: detail(&body), token: token.is_some() }
                }
                404 | 405 | 501 => Stored::Unknown(status_error(&last, status, &body)),
                409 | 412 => Stored::Taken,
                _ => return Err(status_error(&last, status, &body)),
            })
        };
        self.within_deadline(&host, send).await
    }

    /// How long one operation may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.settings().deadline
    }

    /// How long to wait before something is tried again.
    pub(crate) fn retry_pause(&self) -> Duration {
        self.settings().retry_pause
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(super) fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_deref()
    }

    /// Whether a URL may be asked for: https, or http to a host that the user named as insecure.
    pub(super) fn check_scheme(&self, url: &Url) -> Result<(), String> {
        let named = || {
            // A URL leaves its scheme's own port out, a user need not.
            let with_port = format!("{}:80", authority(url));
            let insecure = &self.settings().plain_http;
            insecure.contains(&authority(url))
                || (url.port().is_none() && insecure.contains(&with_port))
        };
        match url.scheme() {
            "https" => Ok(()),
            "http" if named() => Ok(()),
            "http" => Err(format!(
                "it has no TLS; if that is intended, name the host with --plain-http {}",
                authority(url)
            )),
            _ => Err("its scheme is not https".to_owned()),
        }
    }

    /// The HTTP client for a host over TLS; authorities of `friend`, a registry, are trusted for it, too.
    /// The host is a registry itself if it is its own friend.
    pub(super) fn http(
        &self,
        host: &str,
        friend: Option<&str>,
    ) -> Result<reqwest::Client, RegistryError> {
        self.http_with(host, friend, Direction::Down)
    }

    fn http_with(
        &self,
        host: &str,
        friend: Option<&str>,
        direction: Direction,
    ) -> Result<reqwest::Client, RegistryError> {
        let is_registry = friend == Some(host);
        let friend = friend.filter(|friend| *friend != host);
        let key = format!("{host} {} {is_registry} {direction:?}", friend.unwrap_or_default());
        let mut known = lock(&self.inner.with_certificates);
        if let Some(http) = known.get(&key) {
            return Ok(http.clone());
        }
        let Settings { certs_d, cert_dir, .. } = self.settings();
        let (own, friends) = match (cert_dir, friend) {
            (Some(directory), _) => {
                let given = Some(HostCertificates::of_directory(directory)?);
                if is_registry { (given, None) } else { (None, given) }
            }
            (None, Some(friend)) => {
                (HostCertificates::find(certs_d, host)?, HostCertificates::find(certs_d, friend)?)
            }
            (None, None) => (HostCertificates::find(certs_d, host)?, None),
        };
        let http = if own.is_none() && friends.is_none() {
            self.ordinary(direction)?
        } else {
            let mut certificates = own.unwrap_or_default();
            certificates.trust(friends.unwrap_or_default());
            self.build(host, certificates, direction)?
        };
        if known.len() >= MAX_HOSTS {
            known.clear();
        }
        known.insert(key, http.clone());
        Ok(http)
    }

    /// The HTTP client for a URL's host, with certificates only where there is TLS.
    fn http_for(
        &self,
        url: &Url,
        friend: Option<&str>,
        direction: Direction,
    ) -> Result<reqwest::Client, RegistryError> {
        match url.scheme() {
            "https" => self.http_with(&authority(url), friend, direction),
            _ => self.ordinary(direction),
        }
    }

    /// Send a request as it is, with retries, when its host's turn is.
    pub(super) async fn send_once(
        &self,
        url: &Url,
        mut request: reqwest::RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let started = Instant::now();
        let host = authority(url);
        let deadline = self.settings().deadline;
        let mut pause = self.settings().retry_pause;
        let mut retries = 0;
        loop {
            if let Some(throttle) = &self.inner.throttle {
                // Who would wait longer could not do much with what is left.
                throttle.turn(&host, (deadline / 2).saturating_sub(started.elapsed())).await?;
            }
            // Only a body that is a stream could not be sent again, and there is none.
            let again = request.try_clone();
            let response = self.send_now(url, &host, request).await?;
            let status = response.status().as_u16();
            let transient = matches!(status, 429 | 500 | 502..=504);
            let named = retry_after(response.headers());
            let wait = named.unwrap_or(pause);
            let mut throttled = None;
            if let Some(throttle) = &self.inner.throttle
                && (status == 429 || (status == 503 && named.is_some()))
            {
                let after = throttle.pause(&host, wait);
                throttled = Some(RegistryError::Throttled { host: host.clone(), after });
            }
            // The server may name any number of seconds.
            let too_late = started.elapsed().saturating_add(wait) >= deadline;
            request = match again {
                Some(again) if transient && retries < MAX_RETRIES && !too_late => again,
                _ => return throttled.map_or(Ok(response), Err),
            };
            drop(response);
            if throttled.is_none() {
                tokio::time::sleep(wait).await;
            }
            retries += 1;
            pause *= 2;
        }
    }

    async fn send_now(
        &self,
        url: &Url,
        host: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let started = Instant::now();
        let sent = request.send().await;
        if let Some(metrics) = &self.settings().metrics {
            let outcome = match sent.as_ref().map(|response| response.status().as_u16()) {
                Ok(200..=399) => "ok",
                Ok(401 | 403) => "refused",
                Ok(404) => "missing",
                Ok(429) => "throttled",
                _ => "failed",
            };
            metrics.registry_request(host, outcome, started.elapsed());
        }
        sent.map_err(|e| transfer_error(url, &e))
    }

    fn ordinary(&self, direction: Direction) -> Result<reqwest::Client, RegistryError> {
        let known = match direction {
            Direction::Down => &self.inner.ordinary,
            Direction::Up => &self.inner.ordinary_for_uploads,
        };
        if let Some(http) = known.get() {
            return Ok(http.clone());
        }
        let http = self.build("any host", HostCertificates::default(), direction)?;
        Ok(known.get_or_init(|| http).clone())
    }

    fn build(
        &self,
        host: &str,
        certificates: HostCertificates,
        direction: Direction,
    ) -> Result<reqwest::Client, RegistryError> {
        let builder = match self.settings().environment_proxies {
            true => reqwest::Client::builder(),
            false => reqwest::Client::builder().no_proxy(),
        };
        let builder = match direction {
            Direction::Down => builder.read_timeout(self.settings().read_timeout),
            // The server is silent for as long as it takes to send.
            Direction::Up => builder,
        };
        builder
            .tls_backend_preconfigured(certs::tls(host, certificates)?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.settings().connect_timeout)
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| RegistryError::Unreachable {
                host: host.to_owned(),
                fault: format!("no HTTP client: {}", root_cause(&e)),
            })
    }

    pub(super) fn registry(&self, reference: &Reference) -> Result<Arc<Registry>, RegistryError> {
        let host = reference.domain();
        let mut known = lock(&self.inner.registries);
        if let Some(registry) = known.get(host) {
            return Ok(Arc::clone(registry));
        }
        let plain = self.settings().plain_http.contains(host);
        let server = if host == DEFAULT_DOMAIN { DOCKER_HUB } else { host };
        let scheme = if plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{server}/"));
        let base = base.map_err(|e| RegistryError::Unreachable {
            host: host.to_owned(),
            fault: format!("not the name of a host: {e}"),
        })?;
        let http =
            if plain { self.ordinary(Direction::Down)? } else { self.http(host, Some(host))? };
        let registry =
            Arc::new(Registry { host: host.to_owned(), base, http, extension: OnceCell::new() });
        if known.len() >= MAX_HOSTS {
            // Those that are being asked stay.
            known.retain(|_, registry| Arc::strong_count(registry) > 1);
        }
        known.insert(host.to_owned(), Arc::clone(&registry));
        Ok(registry)
    }

    /// Ask while the manifest is on its way, so that nobody has to wait for the answer later. Should that
    /// fail, whoever needs the answer asks again and sees the error.
    fn ask_for_extension_early(&self, registry: &Arc<Registry>) {
        if !registry.extension.initialized() {
            let (client, registry) = (self.clone(), Arc::clone(registry));
            tokio::spawn(async move { client.extension(&registry).await.is_ok() });
        }
    }

    async fn extension(&self, registry: &Registry) -> Result<bool, RegistryError> {
        let ask = async || {
            let url = registry.url("v2/")?;
            let request = Outgoing::get(None);
            let sent = self.send(&registry.http, Some(&registry.host), &url, &request, None);
            let (response, url) = sent.await?;
            match response.status().as_u16() {
                200 | 401 => {
                    let value = response.headers().get("x-registry-supports-signatures");
                    let kept = value.is_some_and(|value| value.as_bytes().trim_ascii() == b"1");
                    // A connection is used again only if its answer was read to the end.
                    let _ = limits::read(response, MAX_TOKEN_BYTES).await;
                    Ok(kept)
                }
                status => {
                    let body = limits::read(response, MAX_TOKEN_BYTES).await;
                    Err(status_error(&url, status, &body.unwrap_or_default()))
                }
            }
        };
        let answer = registry.extension.get_or_try_init(ask);
        self.within_deadline(registry.host(), answer).await.copied()
    }

    /// GET from a registry: its headers and a body of at most `limit` bytes, if it answers 200.
    pub(super) async fn get(
        &self,
        registry: &Registry,
        repository: &Reference,
        url: &Url,
        accept: Option<&'static str>,
        what: &str,
        limit: usize,
    ) -> Result<(HeaderMap, Vec<u8>), RegistryError> {
        let request = Outgoing::get(accept);
        let asked = self.ask(registry, repository, Access::Pull, url, &request, what);
        let (response, last) = asked.await?;
        if response.status().as_u16() != 200 {
            return Err(failure(registry, response, &last, what).await);
        }
        let headers = response.headers().clone();
        let body = limits::read(response, limit).await;
        Ok((headers, body.map_err(|fault| fault.into_error(&last, limit))?))
    }

    /// Ask a registry, authenticating only when it wants that. An authorization that was good once is used
    /// again until it ends or is refused; then a new one is got, once. The answer, with the URL that gave it, is
    /// any but 401 and 403.
    ///
    /// `url` may lead to another host, if the registry said so. That gets no authorization.
    pub(super) async fn ask(
        &self,
        registry: &Registry,
        repository: &Reference,
        access: Access,
        url: &Url,
        request: &Outgoing<'_>,
        what: &str,
    ) -> Result<(Response, Url), RegistryError> {
        let known = &self.inner.authorizations;
        let purpose = Purpose {
            keyring: self.keyring().map(|keyring| *keyring.id()),
            host: registry.host.clone(),
            path: repository.path().to_owned(),
            access,
        };
        let friend = Some(registry.host.as_str());
        let at_home = url.origin() == registry.base.origin();
        let http = match request.direction() {
            Direction::Down if at_home => registry.http.clone(),
            direction => self.http_for(url, friend, direction)?,
        };
        let usable = |authorization: &Authorization| authorization.until > Instant::now();
        let mut authorization = known.get(&purpose).filter(usable).filter(|_| at_home);
        let mut answers: Option<Answers<'_>> = None;
        loop {
            let header = authorization.as_ref().map(|authorization| &authorization.header);
            let (response, last) = self.send(&http, friend, url, request, header).await?;
            let status = response.status().as_u16();
            if !matches!(status, 401 | 403) {
                if answers.is_some()
                    && let Some(good) = authorization
                {
                    known.insert(purpose, good);
                }
                return Ok((response, last));
            }
            // A challenge of another host, to which the registry led, is not answered.
            if !at_home || last.origin() != registry.base.origin() {
                let body = limits::read(response, MAX_TOKEN_BYTES).await.unwrap_or_default();
                return Err(refused(&authority(&last), what, &body, access, None));
            }
            let values = response.headers().get_all(header::WWW_AUTHENTICATE);
            let values = values.iter().filter_map(|value| value.to_str().ok());
            let challenges: Vec<_> = values.flat_map(Challenge::parse_all).collect();
            let host = &registry.host;
            let answers = match &mut answers {
                Some(answers) => {
                    let body = limits::read(response, MAX_TOKEN_BYTES).await.unwrap_or_default();
                    answers.refused(|hint| refused(host, what, &body, access, Some(hint)));
                    answers
                }
                none => {
                    if authorization.take().is_some() {
                        known.invalidate(&purpose);
                        if challenges.is_empty() {
                            // Whoever has no authorization is told how to get one.
                            continue;
                        }
                    } else if status == 403 {
                        let body = limits::read(response, MAX_TOKEN_BYTES).await;
                        return Err(refused(host, what, &body.unwrap_or_default(), access, None));
                    }
                    none.insert(Answers::to(self, registry, repository, access, challenges)?)
                }
            };
            match answers.next().await? {
                Some(next) => authorization = Some(next),
                None => {
                    return Err(answers.error(|hint| refused(host, what, &[], access, Some(hint))));
                }
            }
        }
    }

    /// Send with redirects. `first` and `authorization` are for the first host only; authorities of
    /// `friend` are trusted for every host. Also gives the URL that answered.
    async fn send(
        &self,
        first: &reqwest::Client,
        friend: Option<&str>,
        url: &Url,
        request: &Outgoing<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<(Response, Url), RegistryError> {
        let mut current = url.clone();
        let mut http = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let spent = || RegistryError::Spent { host: authority(&current) };
            let mut sent = request.to(&http, &current).ok_or_else(spent)?;
            if let Some(authorization) = authorization
                && current.origin() == url.origin()
            {
                sent = sent.header(header::AUTHORIZATION, authorization);
            }
            let response = self.send_once(&current, sent).await?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, current));
            }
            let refused = |to: &str, fault: String| RegistryError::Redirect {
                host: authority(&current),
                to: to.to_owned(),
                fault,
            };
            let location = response.headers().get(header::LOCATION);
            let Some(location) = location.and_then(|value| value.to_str().ok()) else {
                return Err(refused("nowhere", "there is no header Location".to_owned()));
            };
            let next = current.join(location).map_err(|e| refused(location, e.to_string()))?;
            if request.direction() == Direction::Up
                && matches!(response.status().as_u16(), 301..=303)
            {
                let fault = "what is sent would not be sent there (status 307 and 308 mean that)";
                return Err(refused(&shown(&next), fault.to_owned()));
            }
            if next.origin() != current.origin() {
                self.check_scheme(&next).map_err(|fault| refused(&shown(&next), fault))?;
            }
            http = match next.origin() == url.origin() {
                true => first.clone(),
                false => self.http_for(&next, friend, request.direction())?,
            };
            current = next;
        }
        Err(RegistryError::Redirect {
            host: authority(url),
            to: shown(&current),
            fault: format!("that would be redirect number {}", MAX_REDIRECTS + 1),
        })
    }

    /// Give an operation with `host` up when it takes too long.
    pub(crate) async fn within_deadline<T, E: From<RegistryError>>(
        &self,
        host: &str,
        operation: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        Self::within(self.settings().deadline, host, operation).await
    }

    /// Give an operation with `host` up after this time.
    pub(super) async fn within<T, E: From<RegistryError>>(
        after: Duration,
        host: &str,
        operation: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match tokio::time::timeout(after, operation).await {
            Ok(result) => result,
            Err(_) => Err(RegistryError::Deadline { host: host.to_owned(), after }.into()),
        }
    }
}

/// A manifest as a registry sent it. Its digest has been checked.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The bytes.
    pub content: Vec<u8>,
    /// As the registry calls it.
    pub content_type: Option<String>,
}

/// What a signature store says to a file.
pub(crate) enum Stored {
    /// Who asks may not.
    Refused {
        status: u16,
        /// What the store says of it.
        detail: String,
        /// Whether there was a token.
        token: bool,
    },
    /// There is another file of this name.
    Taken,
    /// It is kept, there.
    There(String),
    /// The store does not know such a request.
    Unknown(RegistryError),
}

/// What was given is no bearer token (RFC 6750, section 2.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is no bearer token: expected one word of printable characters")]
pub struct InvalidToken;

/// A request without its address and without what authorizes it, so that it can be made again.
pub(super) struct Outgoing<'a> {
    method: Method,
    accept: Option<&'static str>,
    content_type: Option<&'a str>,
    /// The first byte that is wanted, if that is not the very first.
    wanted_from: Option<u64>,
    /// Which bytes of a whole these are.
    range: Option<String>,
    /// Whether there must be nothing yet.
    anew: bool,
    body: Content,
}

/// What is sent.
enum Content {
    Bytes(Bytes),
    /// Of this length; there is none any more once it was sent.
    Stream(u64, Mutex<Option<reqwest::Body>>),
}

/// Which way the bulk of the bytes goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Direction {
    Down,
    Up,
}

impl<'a> Outgoing<'a> {
    pub(super) fn get(accept: Option<&'static str>) -> Self {
        let body = Content::Bytes(Bytes::new());
        Self {
            method: Method::GET,
            accept,
            content_type: None,
            wanted_from: None,
            range: None,
            anew: false,
            body,
        }
    }

    /// The bytes from this one on.
    pub(super) fn get_from(first: u64) -> Self {
        Self { wanted_from: Some(first).filter(|first| *first > 0), ..Self::get(None) }
    }

    pub(super) fn head() -> Self {
        Self { method: Method::HEAD, ..Self::get(None) }
    }

    pub(super) fn post() -> Self {
        Self { method: Method::POST, ..Self::get(None) }
    }

    pub(super) fn put(content_type: &'a str, body: Bytes) -> Self {
        let body = Content::Bytes(body);
        Self { method: Method::PUT, content_type: Some(content_type), body, ..Self::get(None) }
    }

    /// A file of a signature store, which must not be in place of another one.
    fn new_file(method: Method, body: Bytes) -> Self {
        let anew = method == Method::PUT;
        Self { method, anew, ..Self::put("application/octet-stream", body) }
    }

    /// Bytes of a larger whole, from this one on.
    pub(super) fn patch(content_type: &'a str, from: u64, body: Bytes) -> Self {
        // Both ends are part of it (OCI distribution specification, "Pushing a blob in chunks").
        let last = (from + body.len() as u64).saturating_sub(1);
        let range = Some(format!("{from}-{last}"));
        Self { method: Method::PATCH, range, ..Self::put(content_type, body) }
    }

    /// So many bytes, which can be sent once.
    pub(super) fn stream(content_type: &'a str, length: u64, body: reqwest::Body) -> Self {
        let body = Content::Stream(length, Mutex::new(Some(body)));
        Self { body, ..Self::put(content_type, Bytes::new()) }
    }

    fn direction(&self) -> Direction {
        match self.method {
            Method::GET | Method::HEAD => Direction::Down,
            _ => Direction::Up,
        }
    }

    /// The request; `None` if its body was a stream and has been sent.
    fn to(&self, http: &reqwest::Client, url: &Url) -> Option<reqwest::RequestBuilder> {
        let mut request = http.request(self.method.clone(), url.clone());
        if let Some(accept) = self.accept {
            request = request.header(header::ACCEPT, accept);
        }
        if let Some(content_type) = self.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(first) = self.wanted_from {
            request = request.header(header::RANGE, format!("bytes={first}-"));
        }
        if let Some(range) = &self.range {
            request = request.header(header::CONTENT_RANGE, range);
        }
        if self.anew {
            request = request.header(header::IF_NONE_MATCH, "*");
        }
        match (self.direction(), &self.body) {
            (Direction::Down, _) => Some(request),
            (Direction::Up, Content::Bytes(body)) => Some(request.body(body.clone())),
            (Direction::Up, Content::Stream(length, body)) => {
                let body = lock(body).take()?;
                Some(request.header(header::CONTENT_LENGTH, *length).body(body))
            }
        }
    }
}

/// The answer of a registry that keeps signatures itself.
pub(crate) struct Listed {
    /// Where from, for messages.
    pub(crate) url: String,
    /// JSON.
    pub(crate) content: Vec<u8>,
}

/// One registry, and what has been learnt about it.
#[derive(Debug)]
pub(super) struct Registry {
    host: String,
    base: Url,
    http: reqwest::Client,
    extension: OnceCell<bool>,
}

impl Registry {
    /// `host[:port]` as references spell it.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(super) fn url(&self, path: &str) -> Result<Url, RegistryError> {
        self.base.join(path).map_err(|e| RegistryError::Malformed {
            url: format!("{}{path}", self.base),
            fault: e.to_string(),
        })
    }
}

/// `host[:port]` of a URL.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// A URL for messages: without password and query, which may be secrets.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    if url.password().is_some() {
        // Fails for URLs that cannot have a password.
        let _ = url.set_password(Some("xxxxx"));
    }
    url.into()
}

/// What a failed request means to the user.
pub(super) fn transfer_error(url: &Url, error: &reqwest::Error) -> RegistryError {
    let host = authority(url);
    if let Some(fault) = tls_fault(error) {
        return RegistryError::Tls { host, fault };
    }
    let fault = match (error.is_timeout(), error.is_connect()) {
        (true, true) => "no connection was made in time".to_owned(),
        (true, false) => "the server fell silent".to_owned(),
        (false, _) => root_cause(error),
    };
    RegistryError::Unreachable { host, fault }
}

/// 401 or 403 of `host`.
fn refused(
    host: &str,
    what: &str,
    body: &[u8],
    access: Access,
    hint: Option<String>,
) -> RegistryError {
    let may = match access {
        Access::Pull => "pull it",
        Access::Push => "push there",
    };
    RegistryError::Unauthorized {
        host: host.to_owned(),
        what: what.to_owned(),
        detail: detail(body),
        hint: hint.unwrap_or_else(|| format!("check that your account may {may}")),
    }
}

/// What it means that a registry, or whoever it led to, did not answer as hoped.
pub(super) async fn failure(
    registry: &Registry,
    response: Response,
    last: &Url,
    what: &str,
) -> RegistryError {
    let status = response.status().as_u16();
    let body = limits::read(response, MAX_TOKEN_BYTES).await.unwrap_or_default();
    if status != 404 {
        return status_error(last, status, &body);
    }
    let redirected = last.origin() != registry.base.origin();
    let host = if redirected { authority(last) } else { registry.host.clone() };
    RegistryError::NotFound { host, what: what.to_owned(), detail: detail(&body) }
}

/// What a registry says is the digest. Digests of other algorithms are never computed, as in the reference
/// implementation.
pub(super) fn announced(url: &Url, headers: &HeaderMap) -> Result<Option<Digest>, RegistryError> {
    let Some(value) = headers.get("docker-content-digest") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let digest: Digest = text.parse().map_err(|e| RegistryError::Malformed {
        url: shown(url),
        fault: format!("header Docker-Content-Digest: {e}"),
    })?;
    Ok(Some(digest).filter(|digest| digest.algorithm() == Algorithm::Sha256))
}

/// An answer with a status that has no meaning of its own here.
pub(super) fn status_error(url: &Url, status: u16, body: &[u8]) -> RegistryError {
    RegistryError::Status { host: authority(url), url: shown(url), status, detail: detail(body) }
}

/// What an error body of a registry says, fit for a terminal.
pub(super) fn detail(body: &[u8]) -> String {
    let Ok(envelope) = serde_json::from_slice::<OciEnvelope>(body) else { return String::new() };
    let said: Vec<_> = envelope.errors.iter().map(|error| error.message.trim()).collect();
    let printable = said.join("; ");
    printable.chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect()
}

/// What a remembered authorization takes in memory, in bytes.
fn weight(purpose: &Purpose, authorization: &Authorization) -> u32 {
    let texts = purpose.host.len() + purpose.path.len() + authorization.header.len();
    let records = size_of::<Purpose>() + size_of::<Authorization>();
    u32::try_from(texts + records).unwrap_or(u32::MAX)
}

fn tls_fault(error: &reqwest::Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls.to_string());
        }
        // An I/O error hides what it carries from `source`.
        let carried = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match carried {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    None
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What the locks guard are caches, whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the images of `docker.io` are.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// What can be judged. Schema 1 is not asked for: its digest is not that of its bytes.
const ACCEPTED_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Longest message of a server that is shown, in characters: three lines of a terminal.
const MAX_DETAIL: usize = 240;
