//! The registry's challenge and the token dance (distribution specification, "Token Authentication").
//!
//! Which credentials are offered, one after the other, until one is good enough: those of the keyring that
//! the client acts with, the most specific first; those that the process has itself; none.
//!
//! Who gets the credentials for a registry:
//! - the registry itself, over TLS (or without, if the user named it as insecure);
//! - its token server, the `realm` of its challenge, if that is the same host and port, or one of
//!   [`TOKEN_SERVERS`], which are known to belong together (CVE-2026-33540, CVE-2025-27403);
//! - nobody else. A token server elsewhere gets the credentials that are stored under its own name, if
//!   there are any (`podman login TOKEN-SERVER`), and is otherwise asked without.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use guest_policy::reference::Reference;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use tokio::time::Instant;

use super::RegistryError;
use super::client::{Client, Registry, authority, shown};
use super::credentials::{self, Credentials, Secret};
use super::limits::{self, AUTHORIZED_FOR, MAX_OFFERS, MAX_TOKEN_BYTES, TOKEN_FOR, TOKEN_MARGIN};

/// What is sent as `Authorization`.
#[derive(Clone, Debug)]
pub(super) struct Authorization {
    pub(super) header: HeaderValue,
    /// Until when it may be used again.
    pub(super) until: Instant,
}

/// What is to be done with a repository.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Access {
    Pull,
    /// Who may push has to pull, too: to know what is there.
    Push,
}

impl Access {
    /// As a token's scope spells it (distribution specification, "Token Scope Documentation").
    fn actions(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        }
    }
}

/// The authorizations that could answer a registry's challenges, for access to one repository. Each is
/// made when those before it were refused.
pub(super) struct Answers<'a> {
    client: &'a Client,
    registry: &'a Registry,
    repository: &'a Reference,
    access: Access,
    way: Way,
    offers: VecDeque<Offer>,
    /// Credentials that were offered: the same in two places are offered once.
    offered: Vec<Credentials>,
    /// Whether what was offered last was credentials, and what to tell the user if that is refused.
    with_credentials: bool,
    hint: String,
    /// The refusal to report: the first of credentials, else the first.
    refusal: Option<(bool, RegistryError)>,
}

/// How the registry wants to be answered.
enum Way {
    Basic,
    Bearer { challenge: Challenge, realm: Url },
    Unknown,
}

/// What may be offered.
enum Offer {
    Nothing,
    OfKeyring(Credentials),
    /// What the process itself has, which is looked up only now.
    Own,
}

impl<'a> Answers<'a> {
    /// Nothing is offered yet.
    pub(super) fn to(
        client: &'a Client,
        registry: &'a Registry,
        repository: &'a Reference,
        access: Access,
        mut challenges: Vec<Challenge>,
    ) -> Result<Self, RegistryError> {
        let mut challenge = |scheme: &str| {
            let place = challenges.iter().position(|c| c.scheme.eq_ignore_ascii_case(scheme))?;
            Some(challenges.swap_remove(place))
        };
        let (way, hint) = if let Some(challenge) = challenge("bearer") {
            let realm = realm(client, registry, &challenge)?;
            (Way::Bearer { challenge, realm }, String::new())
        } else if challenge("basic").is_some() {
            (Way::Basic, store_hint(client, repository.domain()))
        } else {
            (Way::Unknown, "it does not say how to authenticate".to_owned())
        };
        let mut answers = Self {
            client,
            registry,
            repository,
            access,
            way,
            offers: VecDeque::new(),
            offered: Vec::new(),
            with_credentials: false,
            hint,
            refusal: None,
        };
        let foreign = answers.foreign_token_server();
        if let Some(keyring) = client.keyring() {
            let found: Vec<_> = match &foreign {
                Some(host) => keyring.for_host(host).take(MAX_OFFERS).cloned().collect(),
                None => keyring.for_repository(repository).take(MAX_OFFERS).cloned().collect(),
            };
            answers.offers.extend(found.into_iter().map(Offer::OfKeyring));
        }
        answers.offers.push_back(Offer::Own);
        let anonymous_first = &client.settings().anonymous_first;
        if anonymous_first.iter().any(|host| host == repository.domain()) {
            answers.offers.push_front(Offer::Nothing);
        } else {
            answers.offers.push_back(Offer::Nothing);
        }
        Ok(answers)
    }

    /// The next authorization to try; `None` if there is none left.
    pub(super) async fn next(&mut self) -> Result<Option<Authorization>, RegistryError> {
        while let Some(offer) = self.offers.pop_front() {
            let credentials = match offer {
                Offer::Nothing => None,
                Offer::OfKeyring(credentials) => Some(credentials),
                Offer::Own => match self.own().await? {
                    Some(credentials) => Some(credentials),
                    None => continue,
                },
            };
            if let Some(credentials) = &credentials {
                if self.offered.contains(credentials) {
                    continue;
                }
                self.offered.push(credentials.clone());
            }
            let authorization = match &self.way {
                Way::Basic => self.basic(credentials)?,
                Way::Bearer { .. } => self.bearer(credentials).await?,
                Way::Unknown => return Ok(None),
            };
            if authorization.is_some() {
                return Ok(authorization);
            }
        }
        Ok(None)
    }

    /// What was offered last was refused; `error` makes the error of a hint for the user.
    pub(super) fn refused(&mut self, error: impl FnOnce(String) -> RegistryError) {
        let replaces = match self.refusal {
            None => true,
            Some((with_credentials, _)) => self.with_credentials && !with_credentials,
        };
        if replaces {
            self.refusal = Some((self.with_credentials, error(self.hint.clone())));
        }
    }

    /// The error once nothing is left to offer; `error` makes it if nothing was offered at all.
    pub(super) fn error(&mut self, error: impl FnOnce(String) -> RegistryError) -> RegistryError {
        match self.refusal.take() {
            Some((_, refusal)) => refusal,
            None => error(self.hint.clone()),
        }
    }

    fn basic(
        &mut self,
        credentials: Option<Credentials>,
    ) -> Result<Option<Authorization>, RegistryError> {
        match credentials {
            Some(Credentials::Password { user, password }) => {
                self.with_credentials = true;
                self.hint = CHECK_HINT.to_owned();
                let header = header("Basic", &basic(&user, &password), self.registry.base())?;
                Ok(Some(Authorization { header, until: Instant::now() + AUTHORIZED_FOR }))
            }
            Some(Credentials::IdentityToken(_)) => {
                self.hint =
                    "it wants a password, and the credentials stored for it are a token".to_owned();
                Ok(None)
            }
            // The request that was challenged had none.
            None => Ok(None),
        }
    }

    async fn bearer(
        &mut self,
        credentials: Option<Credentials>,
    ) -> Result<Option<Authorization>, RegistryError> {
        self.with_credentials = credentials.is_some();
        self.hint = match &credentials {
            Some(_) => CHECK_HINT.to_owned(),
            None => self.hint_without().await?,
        };
        let Way::Bearer { challenge, realm } = &self.way else { return Ok(None) };
        let asked = Instant::now();
        match self.token(realm, challenge, credentials).await {
            Ok(Token { content, good_for }) => {
                let until = asked + good_for.min(AUTHORIZED_FOR).saturating_sub(TOKEN_MARGIN);
                let header = header("Bearer", &content, realm)?;
                Ok(Some(Authorization { header, until }))
            }
            Err(refusal @ RegistryError::Unauthorized { .. }) => {
                self.refused(|_| refusal);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Have the token server exchange credentials, or nothing, for a token.
    async fn token(
        &self,
        realm: &Url,
        challenge: &Challenge,
        credentials: Option<Credentials>,
    ) -> Result<Token, RegistryError> {
        let Self { client, registry, repository, access, hint, .. } = self;
        let scope = format!("repository:{}:{}", repository.path(), access.actions());
        let service = challenge.parameter("service");
        let http = match realm.origin() == registry.base().origin() {
            true => registry.http().clone(),
            false => client.http(&authority(realm), None)?,
        };
        let mut url = realm.clone();
        let request = match &credentials {
            // RFC 6749 form, which only token servers of Docker's distribution understand.
            Some(Credentials::IdentityToken(token)) => {
                // A form is written like a query.
                let mut form = realm.clone();
                form.set_query(None);
                form.query_pairs_mut()
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "countersign")
                    .append_pair("service", service.unwrap_or_default())
                    .append_pair("scope", &scope)
                    .append_pair("refresh_token", token.expose());
                let content_type = "application/x-www-form-urlencoded";
                let form = form.query().unwrap_or_default().to_owned();
                http.post(url).header(reqwest::header::CONTENT_TYPE, content_type).body(form)
            }
            other => {
                if let Some(service) = service {
                    url.query_pairs_mut().append_pair("service", service);
                }
                url.query_pairs_mut().append_pair("scope", &scope);
                // A scope of another kind is one that this registry's token server cannot do without.
                if let Some(extra) = challenge.parameter("scope")
                    && !extra.starts_with("repository:")
                {
                    url.query_pairs_mut().append_pair("scope", extra);
                }
                let request = http.get(url);
                match other {
                    Some(Credentials::Password { user, password }) => {
                        let header = header("Basic", &basic(user, password), realm)?;
                        request.header(reqwest::header::AUTHORIZATION, header)
                    }
                    _ => request,
                }
            }
        };
        // A redirect is not followed: it could lead credentials away, and token servers have no need of it.
        let response = client.send_once(realm, request).await?;
        let status = response.status().as_u16();
        let body = limits::read(response, MAX_TOKEN_BYTES)
            .await
            .map_err(|fault| fault.into_error(realm, MAX_TOKEN_BYTES))?;
        // RFC 6749, section 5.2: a refresh token that is none is a bad request.
        let bad_grant = status == 400 && matches!(credentials, Some(Credentials::IdentityToken(_)));
        match status {
            200 => {}
            _ if bad_grant || matches!(status, 401 | 403) => {
                return Err(RegistryError::Unauthorized {
                    host: format!("token server {} of {}", authority(realm), registry.host()),
                    what: repository.name(),
                    detail: super::client::detail(&body),
                    hint: hint.clone(),
                });
            }
            _ => return Err(super::client::status_error(realm, status, &body)),
        }
        let malformed =
            |fault: &str| RegistryError::Malformed { url: shown(realm), fault: fault.to_owned() };
        let answer: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| malformed("it is no token"))?;
        let good_for = answer.good_for();
        let content = answer.token.filter(|t| !t.is_empty()).or(answer.access_token);
        let content = content.filter(|t| !t.is_empty()).map(Secret::new);
        let content = content.ok_or_else(|| malformed("the token is empty"))?;
        Ok(Token { content, good_for })
    }

    /// What to tell the user who has no credentials for whom they would be shown to.
    async fn hint_without(&self) -> Result<String, RegistryError> {
        let registry = self.repository.domain();
        let Some(host) = self.foreign_token_server() else {
            return Ok(store_hint(self.client, registry));
        };
        let files = &self.client.settings().auth_files;
        let keyring = self.client.keyring();
        let stored = keyring.is_some_and(|k| k.for_repository(self.repository).next().is_some())
            || credentials::find(files, self.repository).await?.is_some();
        Ok(match stored {
            true => format!(
                "its token server {host} is another host and did not get the credentials for \
                 {registry}; if you trust it with them, store them under its name, too: podman login \
                 {host}"
            ),
            false => format!("store credentials for its token server with: podman login {host}"),
        })
    }

    /// What the process itself has for whom it would be shown to.
    async fn own(&self) -> Result<Option<Credentials>, RegistryError> {
        let files = &self.client.settings().auth_files;
        Ok(match self.foreign_token_server() {
            Some(host) => credentials::find_for_host(files, &host).await?,
            None => credentials::find(files, self.repository).await?,
        })
    }

    /// The host of a token server that does not get the registry's credentials.
    fn foreign_token_server(&self) -> Option<String> {
        match &self.way {
            Way::Bearer { realm, .. } if !belongs_to(self.registry, realm) => {
                Some(authority(realm))
            }
            _ => None,
        }
    }
}

/// What to do without credentials for a registry.
fn store_hint(client: &Client, host: &str) -> String {
    match client.keyring() {
        Some(_) => format!(
            "give the pod or its service account a pull secret for {host}, or the server credentials \
             for it"
        ),
        None => format!("store credentials with: podman login {host}"),
    }
}

/// One challenge of a `WWW-Authenticate` header (RFC 9110, section 11.6.1).
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Every challenge of a header's value. What cannot be understood is left out.
    pub(super) fn parse_all(value: &str) -> Vec<Self> {
        let mut challenges: Vec<Self> = Vec::new();
        let mut rest = value;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            if word.is_empty() {
                return challenges;
            }
            let Some(tail) = tail.trim_start().strip_prefix('=') else {
                challenges.push(Self { scheme: word.to_owned(), parameters: Vec::new() });
                rest = tail;
                continue;
            };
            let tail = tail.trim_start();
            let (content, tail) = match tail.strip_prefix('"') {
                Some(quoted) => unquote(quoted),
                None => {
                    let end = tail.find([' ', '\t', ',']).unwrap_or(tail.len());
                    (tail[..end].to_owned(), &tail[end..])
                }
            };
            if let Some(challenge) = challenges.last_mut() {
                challenge.parameters.push((word.to_ascii_lowercase(), content));
            }
            rest = tail;
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let named = self.parameters.iter().find(|(n, _)| n == name);
        named.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// The content up to the closing quote, and what follows it.
fn unquote(text: &str) -> (String, &str) {
    let mut content = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return (content, &text[place + 1..]),
            '\\' => content.extend(characters.next().map(|(_, escaped)| escaped)),
            other => content.push(other),
        }
    }
    (content, "")
}

/// The token server that a challenge names.
fn realm(
    client: &Client,
    registry: &Registry,
    challenge: &Challenge,
) -> Result<Url, RegistryError> {
    let text = challenge.parameter("realm").unwrap_or_default();
    let refused = |fault: &str| RegistryError::Redirect {
        host: registry.host().to_owned(),
        to: format!("token server {text:?}"),
        fault: fault.to_owned(),
    };
    let url = Url::parse(text).map_err(|_| refused("it is not a URL"))?;
    if url.cannot_be_a_base() || !url.username().is_empty() || url.password().is_some() {
        return Err(refused("it is not the URL of a token server"));
    }
    client.check_scheme(&url).map_err(|fault| refused(&fault))?;
    Ok(url)
}

/// Whether the registry and the token server are one party.
fn belongs_to(registry: &Registry, realm: &Url) -> bool {
    let known = || {
        let (host, realm) = (authority(registry.base()), authority(realm));
        TOKEN_SERVERS.iter().any(|(r, t)| *r == host && *t == realm)
    };
    realm.origin() == registry.base().origin() || (realm.scheme() == "https" && known())
}

struct Token {
    content: Secret,
    good_for: Duration,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    /// In seconds. Some servers send it as text or with a fraction.
    #[serde(default)]
    expires_in: serde_json::Value,
}

impl TokenAnswer {
    fn good_for(&self) -> Duration {
        let seconds = self.expires_in.as_f64();
        let seconds = seconds.or_else(|| self.expires_in.as_str()?.trim().parse().ok());
        let good_for = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        good_for.unwrap_or(TOKEN_FOR)
    }
}

fn basic(user: &str, password: &Secret) -> Secret {
    Secret::new(BASE64_STANDARD.encode(format!("{user}:{}", password.expose())))
}

fn header(scheme: &str, secret: &Secret, from: &Url) -> Result<HeaderValue, RegistryError> {
    let value = HeaderValue::from_str(&format!("{scheme} {}", secret.expose()));
    let mut value = value.map_err(|_| RegistryError::Malformed {
        url: shown(from),
        fault: "its token has characters that no token may have".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

const CHECK_HINT: &str = "check the credentials stored for it";

/// Registries whose token server is another host that is known to be theirs. Any other pair is made
/// known by storing credentials under the token server's own name.
const TOKEN_SERVERS: [(&str, &str); 3] = [
    ("registry-1.docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
    ("registry.digitalocean.com", "api.digitalocean.com"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(scheme: &str, parameters: &[(&str, &str)]) -> Challenge {
        let parameters = parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Challenge { scheme: scheme.to_owned(), parameters: parameters.collect() }
    }

    #[test]
    fn parses_what_registries_send() {
        let value = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull,push""#;
        let expected = [
            ("realm", "https://auth.docker.io/token"),
            ("service", "registry.docker.io"),
            ("scope", "repository:a:pull,push"),
        ];
        assert_eq!(Challenge::parse_all(value), [challenge("Bearer", &expected)]);
        let two = r#"Basic realm="a \"b\"", Bearer  Realm = x , service=y"#;
        let expected = [
            challenge("Basic", &[("realm", "a \"b\"")]),
            challenge("Bearer", &[("realm", "x"), ("service", "y")]),
        ];
        assert_eq!(Challenge::parse_all(two), expected);
    }

    #[test]
    fn a_token_is_good_for_as_long_as_it_says_and_else_for_a_minute() {
        for (answer, seconds) in [
            (r#"{"expires_in":300}"#, 300.0),
            (r#"{"expires_in":"3600"}"#, 3600.0),
            (r#"{"expires_in":0.5}"#, 0.5),
            (r#"{"expires_in":0}"#, 0.0),
            ("{}", 60.0),
            (r#"{"expires_in":null}"#, 60.0),
            (r#"{"expires_in":-1}"#, 60.0),
            (r#"{"expires_in":1e300}"#, 60.0),
            (r#"{"expires_in":"soon"}"#, 60.0),
            (r#"{"expires_in":[1]}"#, 60.0),
        ] {
            let parsed: TokenAnswer = serde_json::from_str(answer).expect("an answer");
            assert_eq!(parsed.good_for().as_secs_f64(), seconds, "{answer}");
        }
    }

    #[test]
    fn survives_challenges_that_are_none() {
        for value in ["", "=", "a=b", "Bearer realm=\"", "Bearer realm=\"\\", ",,,", "=\"", "é=é"]
        {
            for challenge in Challenge::parse_all(value) {
                assert!(challenge.parameter("realm").is_none(), "{value}");
            }
        }
    }
}
