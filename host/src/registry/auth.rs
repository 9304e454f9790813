//! The registry's challenge and the token dance (distribution specification, "Token Authentication").
//!
//! Who gets the user's credentials for a registry:
//! - the registry itself, over TLS (or without, if the user named it as insecure);
//! - its token server, the `realm` of its challenge, if that is the same host and port, or one of
//!   [`TOKEN_SERVERS`], which are known to belong together (CVE-2026-33540, CVE-2025-27403);
//! - nobody else. A token server elsewhere gets the credentials that are stored under its own name, if
//!   there are any (`podman login TOKEN-SERVER`), and is otherwise asked without.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use guest_policy::reference::Reference;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::RegistryError;
use super::client::{Client, Registry, authority, shown};
use super::credentials::{self, Credentials, Secret};
use super::limits::{self, MAX_TOKEN_BYTES};

/// What is sent as `Authorization`, and what to tell the user if it is refused.
pub(super) struct Authorization {
    pub(super) header: Option<HeaderValue>,
    pub(super) hint: String,
}

/// Answer the challenges of a registry, for pulling from one repository.
pub(super) async fn answer(
    client: &Client,
    registry: &Registry,
    repository: &Reference,
    challenges: &[Challenge],
) -> Result<Authorization, RegistryError> {
    let files = &client.settings().auth_files;
    let challenge =
        |scheme: &str| challenges.iter().find(|c| c.scheme.eq_ignore_ascii_case(scheme));
    if let Some(bearer) = challenge("bearer") {
        let realm = realm(client, registry, bearer)?;
        let own = credentials::find(files, repository).await?;
        let (sent, hint) = if belongs_to(registry, &realm) {
            let hint = match own {
                Some(_) => "check the credentials stored for it".to_owned(),
                None => format!("store credentials with: podman login {}", repository.domain()),
            };
            (own, hint)
        } else {
            let host = authority(&realm);
            let hint = match own {
                Some(_) => format!(
                    "its token server {host} is another host and did not get the credentials for {}; \
                     if you trust it with them, store them under its name, too: podman login {host}",
                    repository.domain()
                ),
                None => format!("store credentials for its token server with: podman login {host}"),
            };
            (credentials::find_for_host(files, &host).await?, hint)
        };
        let token = token(client, registry, &realm, bearer, repository, sent, &hint).await?;
        return Ok(Authorization { header: Some(header("Bearer", &token, &realm)?), hint });
    }
    if challenge("basic").is_some() {
        return Ok(match credentials::find(files, repository).await? {
            Some(Credentials::Password { user, password }) => Authorization {
                header: Some(header("Basic", &basic(&user, &password), registry.base())?),
                hint: "check the credentials stored for it".to_owned(),
            },
            Some(Credentials::IdentityToken(_)) => Authorization {
                header: None,
                hint: "it wants a password, and the credentials stored for it are a token"
                    .to_owned(),
            },
            None => Authorization {
                header: None,
                hint: format!("store credentials with: podman login {}", repository.domain()),
            },
        });
    }
    Ok(Authorization { header: None, hint: "it does not say how to authenticate".to_owned() })
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

async fn token(
    client: &Client,
    registry: &Registry,
    realm: &Url,
    challenge: &Challenge,
    repository: &Reference,
    credentials: Option<Credentials>,
    hint: &str,
) -> Result<Secret, RegistryError> {
    let scope = format!("repository:{}:pull", repository.path());
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
    match status {
        200 => {}
        401 | 403 => {
            return Err(RegistryError::Unauthorized {
                host: format!("token server {} of {}", authority(realm), registry.host()),
                what: repository.name(),
                detail: super::client::detail(&body),
                hint: hint.to_owned(),
            });
        }
        _ => return Err(super::client::status_error(realm, status, &body)),
    }
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let malformed =
        |fault: &str| RegistryError::Malformed { url: shown(realm), fault: fault.to_owned() };
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| malformed("it is no token"))?;
    let token = answer.token.filter(|t| !t.is_empty()).or(answer.access_token);
    token.filter(|t| !t.is_empty()).map(Secret::new).ok_or_else(|| malformed("the token is empty"))
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
    fn survives_challenges_that_are_none() {
        for value in ["", "=", "a=b", "Bearer realm=\"", "Bearer realm=\"\\", ",,,", "=\"", "é=é"]
        {
            for challenge in Challenge::parse_all(value) {
                assert!(challenge.parameter("realm").is_none(), "{value}");
            }
        }
    }
}
