//! Credentials that come with a question, beside those that the process has itself.
//!
//! Keys are read as the kubelet reads them
//! (kubernetes.io/docs/concepts/containers/images, "Interpretation of config.json"): a URL, a host, a
//! host with the beginning of a path, a host with wildcards. Credentials are for the host of their key
//! and for no other.

use std::collections::BTreeMap;
use std::fmt;

use guest_policy::reference::Reference;
use sha2::{Digest as _, Sha256};

use super::CredentialsError;
use super::credentials::{Auth, AuthFile, Credentials, MAX_FILE_BYTES, json_fault, normal_host};

/// Credentials of one workload, in lookup order. What is fetched with one keyring is not shown to those
/// who ask with another.
pub struct Keyring {
    id: [u8; 32],
    /// Those with the longest paths first, and exact hosts before wildcards: the order of lookup.
    entries: Vec<Entry>,
    warnings: Vec<String>,
}

impl Keyring {
    /// Read the configurations of a workload, in its order: of several entries that fit an image equally
    /// well, those of earlier configurations are tried first. Credential helpers are not run, since the
    /// configurations are not the administrator's; [`Self::warnings`] tells.
    ///
    /// # Errors
    ///
    /// A configuration is not JSON of its form, or has `auth` that is not `USER:PASSWORD` in base64 (the
    /// kubelet refuses to pull then, too), or they are too large.
    pub fn from_docker_configs<C: Into<DockerConfig>>(
        configs: impl IntoIterator<Item = C>,
    ) -> Result<Self, CredentialsError> {
        let (mut entries, mut warnings, mut bytes) = (Vec::new(), Vec::new(), 0);
        for config in configs {
            let config = config.into();
            bytes += config.content.len();
            if config.content.len() > MAX_FILE_BYTES {
                return Err(config.fault(format!("it is larger than {MAX_FILE_BYTES} bytes")));
            }
            if bytes > MAX_BYTES_TOTAL {
                let limit =
                    format!("with those before it, it is larger than {MAX_BYTES_TOTAL} bytes");
                return Err(config.fault(limit));
            }
            for (key, auth) in config.auths(&mut warnings)? {
                let credentials = auth.credentials().map_err(|_| {
                    config.fault(format!("\"auth\" of {key:?} is not USER:PASSWORD in base64"))
                })?;
                let Some(credentials) = credentials else { continue };
                match Entry::new(&key, credentials) {
                    Some(entry) => entries.push(entry),
                    None => warnings.push(format!("{} has {key:?}, which is no host", config.name)),
                }
            }
            if entries.len() > MAX_ENTRIES {
                return Err(config.fault(format!("there are more than {MAX_ENTRIES} credentials")));
            }
        }
        // Stable, so that what fits equally well stays in order.
        entries.sort_by_key(|entry| (usize::MAX - entry.path.len(), entry.has_wildcard()));
        Ok(Self::of(entries, warnings))
    }

    /// Tells keyrings apart: equal exactly if their content is. Says nothing about the content.
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// What was passed over, for the log: names and hosts, no secrets.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Also tell this.
    pub(crate) fn warn(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    /// About what it takes in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        let warnings: usize = self.warnings.iter().map(String::len).sum();
        self.entries.iter().map(Entry::size).sum::<usize>() + warnings
    }

    /// What fits a repository, the most specific first.
    pub(super) fn for_repository(
        &self,
        repository: &Reference,
    ) -> impl Iterator<Item = &Credentials> {
        self.entries
            .iter()
            .filter(|entry| {
                entry.is_for_host(repository.domain()) && entry.is_for_path(repository.path())
            })
            .map(|entry| &entry.credentials)
    }

    /// What is for a host itself, as a token server is one.
    pub(super) fn for_host(&self, host: &str) -> impl Iterator<Item = &Credentials> {
        self.entries
            .iter()
            .filter(move |entry| entry.path.is_empty() && entry.is_for_host(host))
            .map(|entry| &entry.credentials)
    }

    fn of(entries: Vec<Entry>, warnings: Vec<String>) -> Self {
        let mut hash = Sha256::new();
        for entry in &entries {
            for part in entry.parts() {
                // With its length, so that no two contents look the same.
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        Self { id: hash.finalize().into(), entries, warnings }
    }
}

impl Default for Keyring {
    fn default() -> Self {
        Self::of(Vec::new(), Vec::new())
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

/// The content of a file or Secret with credentials, not looked at yet.
pub struct DockerConfig {
    name: String,
    form: Form,
    content: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Form {
    ConfigJson,
    Cfg,
}

impl DockerConfig {
    /// A `config.json`, as Secrets of type `kubernetes.io/dockerconfigjson` have it. `name` is for
    /// messages.
    pub fn config_json(name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), form: Form::ConfigJson, content: content.into() }
    }

    /// A `.dockercfg`, as Secrets of type `kubernetes.io/dockercfg` have it: what is below `auths` in a
    /// `config.json`.
    pub fn cfg(name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), form: Form::Cfg, content: content.into() }
    }

    fn auths(
        &self,
        warnings: &mut Vec<String>,
    ) -> Result<BTreeMap<String, Auth>, CredentialsError> {
        let parsed = match self.form {
            Form::Cfg => serde_json::from_slice(&self.content),
            Form::ConfigJson => serde_json::from_slice(&self.content).map(|file: AuthFile| {
                if file.creds_store.is_some() || !file.cred_helpers.is_empty() {
                    warnings
                        .push(format!("{} names credential helpers, which are not run", self.name));
                }
                file.auths
            }),
        };
        parsed.map_err(|e| self.fault(json_fault(&e)))
    }

    fn fault(&self, fault: String) -> CredentialsError {
        CredentialsError::Config { name: self.name.clone(), fault }
    }
}

impl<N: Into<String>, B: Into<Vec<u8>>> From<(N, B)> for DockerConfig {
    /// A `config.json` with its name.
    fn from((name, content): (N, B)) -> Self {
        Self::config_json(name, content)
    }
}

impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Credentials, and what they are for.
struct Entry {
    /// `host[:port]` in lower case; `*` and `?` stand for what is between dots.
    host: String,
    /// The beginning of a repository's path, in whole components; empty for all.
    path: String,
    credentials: Credentials,
}

impl Entry {
    fn new(key: &str, credentials: Credentials) -> Option<Self> {
        let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
        let (host, path) = bare.unwrap_or(key).split_once('/').unwrap_or((bare.unwrap_or(key), ""));
        // Docker wrote the versions of the registry's interface into its keys.
        let path = ["v1", "v2"]
            .iter()
            .find_map(|version| match path.strip_prefix(version)? {
                "" => Some(""),
                rest => rest.strip_prefix('/'),
            })
            .unwrap_or(path);
        if host.is_empty() || host.contains(['@', ' ']) {
            return None;
        }
        let host = normal_host(&host.to_ascii_lowercase()).to_owned();
        Some(Self { host, path: path.trim_matches('/').to_owned(), credentials })
    }

    fn has_wildcard(&self) -> bool {
        self.host.contains(['*', '?'])
    }

    fn is_for_host(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let (pattern, port) = split_port(&self.host);
        let (host, wanted_port) = split_port(normal_host(&host));
        let (mut patterns, mut labels) = (pattern.split('.'), host.split('.'));
        port == wanted_port
            && loop {
                match (patterns.next(), labels.next()) {
                    (None, None) => break true,
                    (Some(pattern), Some(label)) if fits(pattern.as_bytes(), label.as_bytes()) => {}
                    _ => break false,
                }
            }
    }

    fn is_for_path(&self, path: &str) -> bool {
        match path.strip_prefix(self.path.as_str()) {
            Some(rest) => self.path.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }

    fn parts(&self) -> [&[u8]; 5] {
        let (kind, user, secret) = match &self.credentials {
            Credentials::IdentityToken(token) => ("token", "", token),
            Credentials::Password { user, password } => ("password", user.as_str(), password),
        };
        [&self.host, &self.path, kind, user, secret.expose()].map(str::as_bytes)
    }

    fn size(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum::<usize>() + size_of::<Self>()
    }
}

/// A host without its port, and the port.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, Some(port)),
        _ => (host, None),
    }
}

/// Whether a label is what a pattern with `*` and `?` describes.
fn fits(pattern: &[u8], label: &[u8]) -> bool {
    let (mut at, mut place) = (0, 0);
    // Where the last star was, and what it has swallowed so far.
    let mut star = None;
    while place < label.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == label[place] => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((star_at, swallowed)) = star else { return false };
                star = Some((star_at, swallowed + 1));
                (at, place) = (star_at + 1, swallowed + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Most credentials of one workload: its Secrets have a few each, one with all of a company's registries
/// some dozens.
const MAX_ENTRIES: usize = 1024;

/// Most bytes of all configurations of one workload: four Secrets of the largest size.
const MAX_BYTES_TOTAL: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::credentials::Secret;

    fn keyring(configs: &[serde_json::Value]) -> Keyring {
        let configs = configs.iter().map(|config| ("a secret", config.to_string()));
        Keyring::from_docker_configs(configs).expect("a keyring")
    }

    /// A keyring with a user named after each key.
    fn keys(keys: &[&str]) -> Keyring {
        let auths: serde_json::Map<_, _> = keys
            .iter()
            .map(|key| ((*key).to_owned(), json!({"username": key, "password": "p"})))
            .collect();
        keyring(&[json!({"auths": auths})])
    }

    fn users<'a>(found: impl Iterator<Item = &'a Credentials>) -> Vec<&'a str> {
        let user = |credentials: &'a Credentials| match credentials {
            Credentials::Password { user, .. } => user.as_str(),
            Credentials::IdentityToken(_) => "a token",
        };
        found.map(user).collect()
    }

    fn users_for<'a>(keyring: &'a Keyring, repository: &str) -> Vec<&'a str> {
        let repository = Reference::parse_normalized(repository).expect("a reference");
        users(keyring.for_repository(&repository))
    }

    #[test]
    fn the_most_specific_key_comes_first_and_wildcards_last() {
        let keyring = keys(&[
            "*.example.com",
            "registry.example.com",
            "registry.example.com/ns",
            "registry.example.com/ns/app",
            "registry.example.com/n",
            "registry.example.com/ns/app/more",
            "other.example.com",
        ]);
        assert_eq!(
            users_for(&keyring, "registry.example.com/ns/app:1"),
            [
                "registry.example.com/ns/app",
                "registry.example.com/ns",
                "registry.example.com",
                "*.example.com"
            ]
        );
        assert_eq!(
            users(keyring.for_host("other.example.com")),
            ["other.example.com", "*.example.com"]
        );
    }

    #[test]
    fn what_fits_equally_well_is_in_the_order_of_the_secrets() {
        let secret =
            |user: &str| json!({"auths": {"h.example": {"username": user, "password": "p"}}});
        let keyring = keyring(&[secret("z"), secret("a"), secret("m")]);
        assert_eq!(users_for(&keyring, "h.example/x"), ["z", "a", "m"]);
    }

    #[test]
    fn a_wildcard_stands_for_one_label_of_a_host() {
        for (pattern, host, expected) in [
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "b.a.example.com", false),
            ("*.*.example.com", "b.a.example.com", true),
            ("reg*.example.com", "registry.example.com", true),
            ("reg*y.example.com", "registry2.example.com", false),
            ("reg?.example.com", "reg1.example.com", true),
            ("reg?.example.com", "reg.example.com", false),
            ("*.example.com", "a.example.com.attacker.example", false),
            ("*.example.com", "a.example.com:5000", false),
            ("*.example.com:5000", "a.example.com:5000", true),
            ("registry.*", "registry.io", true),
            ("Registry.Example.com", "registry.example.com", true),
            ("registry.example.com", "registry-example.com", false),
        ] {
            let found = keys(&[pattern]).for_host(host).count() == 1;
            assert_eq!(found, expected, "{pattern} and {host}");
        }
    }

    #[test]
    fn every_name_of_docker_hub_counts_for_it() {
        for key in
            ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "http://docker.io/v2/"]
        {
            assert_eq!(users_for(&keys(&[key]), "busybox"), [key]);
            assert_eq!(users_for(&keys(&[key]), "registry.example.com/busybox").len(), 0);
        }
        assert_eq!(users_for(&keys(&["docker.io/library"]), "ns/app").len(), 0);
    }

    #[test]
    fn keys_that_are_urls_lose_the_version_and_nothing_else() {
        for key in
            ["https://h.example/v1/", "https://h.example/v2", "http://h.example", "h.example/"]
        {
            assert_eq!(users_for(&keys(&[key]), "h.example/ns/app"), [key]);
        }
        assert_eq!(users_for(&keys(&["h.example/v10"]), "h.example/ns/app").len(), 0);
        assert_eq!(users_for(&keys(&["h.example/v1/ns"]), "h.example/ns/app").len(), 1);
    }

    #[test]
    fn both_forms_of_secrets_and_all_forms_of_credentials_are_read() {
        let entries = json!({
            "a.example": {"auth": "dXNlcjpwYTpzcw"},
            "b.example": {"username": "b", "password": "p"},
            "c.example": {"identitytoken": "t", "auth": "ignored"},
            "d.example": {},
            "e.example": {"auth": "dXNlcjpwYTpzcw==", "username": "x", "password": "y"},
        });
        let cfg = DockerConfig::cfg("s", entries.to_string());
        let json = DockerConfig::config_json("s", json!({"auths": entries}).to_string());
        for config in [cfg, json] {
            let keyring = Keyring::from_docker_configs([config]).expect("a keyring");
            let expected =
                Credentials::Password { user: "user".into(), password: Secret::new("pa:ss") };
            assert_eq!(keyring.for_host("a.example").next(), Some(&expected));
            assert_eq!(users(keyring.for_host("b.example")), ["b"]);
            assert_eq!(users(keyring.for_host("c.example")), ["a token"]);
            assert_eq!(keyring.for_host("d.example").count(), 0);
            assert_eq!(users(keyring.for_host("e.example")), ["user"]);
            assert_eq!(keyring.warnings().len(), 0);
        }
    }

    #[test]
    fn helpers_of_a_workload_are_not_run_and_that_is_told() {
        for config in [json!({"credsStore": "x"}), json!({"credHelpers": {"h.example": "x"}})] {
            let keyring = keyring(&[config]);
            assert_eq!(keyring.for_host("h.example").count(), 0);
            assert!(keyring.warnings()[0].contains("a secret names credential helpers"));
        }
    }

    #[test]
    fn ids_are_equal_exactly_if_the_content_is() {
        let one = |host: &str, user: &str, password: &str| {
            keyring(&[json!({"auths": {host: {"username": user, "password": password}}})])
        };
        let id = |keyring: Keyring| *keyring.id();
        assert_eq!(id(one("h", "u", "p")), id(one("https://h/v1/", "u", "p")));
        let empty: [DockerConfig; 0] = [];
        assert_eq!(id(Keyring::default()), id(Keyring::from_docker_configs(empty).expect("one")));
        let different = [
            id(Keyring::default()),
            id(one("h", "u", "p")),
            id(one("h", "up", "")),
            id(one("h", "u", "p2")),
            id(one("h2", "u", "p")),
            id(one("h/u", "u", "p")),
            id(keyring(&[json!({"auths": {"h": {"identitytoken": "p"}}})])),
        ];
        for (place, id) in different.iter().enumerate() {
            assert!(!different[..place].contains(id), "number {place}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_and_its_secrets_are_not() {
        for content in [
            r#"{"auths":{"h":{"auth":"s3cret"#.to_owned(),
            r#"{"auths":{"h":{"auth":"s3cret!"}}}"#.to_owned(),
            r#"{"auths":{"h":{"auth":"czNjcmV0"}}}"#.to_owned(),
            r#"{"auths":{"h":"s3cret"}}"#.to_owned(),
            format!("{}s3cret", " ".repeat(MAX_FILE_BYTES)),
        ] {
            let fault =
                Keyring::from_docker_configs([("secret \"a\"", content)]).expect_err("none");
            assert!(fault.to_string().contains("cannot use secret \"a\""), "{fault}");
            let shown = format!("{fault} {fault:?}");
            assert!(!shown.contains("s3cret") && !shown.contains("czNjcmV0"), "{shown}");
        }
    }

    #[test]
    fn there_is_an_end_to_the_number_and_size_of_configurations() {
        let largest = || ("s", " ".repeat(MAX_FILE_BYTES - 2) + "{}");
        let four = Keyring::from_docker_configs(std::iter::repeat_with(largest).take(4));
        assert!(four.is_ok());
        let five = Keyring::from_docker_configs(std::iter::repeat_with(largest).take(5));
        assert!(five.expect_err("too large").to_string().contains("larger than 4194304 bytes"));
        let many: BTreeMap<_, _> =
            (0..=MAX_ENTRIES).map(|n| (format!("h{n}"), json!({"username": "u"}))).collect();
        let many = Keyring::from_docker_configs([("s", json!({"auths": many}).to_string())]);
        assert!(many.expect_err("too many").to_string().contains("more than 1024"));
    }

    #[test]
    fn debug_shows_no_content() {
        let keyring = keyring(&[json!({"auths": {"h.example": {"auth": "dXNlcjpzM2NyZXQ="}}})]);
        assert_eq!(format!("{keyring:?}"), "Keyring { entries: 1, .. }");
        let config = DockerConfig::cfg("name", "s3cret");
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
