//! Credentials: files of containers-auth.json(5) and of docker, and credential helpers.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use guest_policy::reference::Reference;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::image::{FileFault, read_limited};

/// A text that no log, message or debug output shows.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What proves to one host who the user is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Credentials {
    /// A long-lived token that is exchanged for short-lived ones at the token server.
    IdentityToken(Secret),
    /// Name and password.
    Password { user: String, password: Secret },
}

/// Credentials cannot be read. Their content is never shown.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file cannot be read or understood.
    #[error("cannot read credentials of {path}: {fault}; see containers-auth.json(5)")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        fault: String,
    },
    /// A workload's credentials cannot be understood.
    #[error(
        "cannot use {name}: {fault}; make it with: kubectl create secret docker-registry, and see \
         kubernetes.io/docs/concepts/containers/images"
    )]
    Config {
        /// The secret.
        name: String,
        /// What is wrong.
        fault: String,
    },
    /// The helper failed.
    #[error("cannot get credentials for {host} from {helper}: {fault}")]
    Helper {
        /// The host.
        host: String,
        /// The program.
        helper: String,
        /// What is wrong.
        fault: String,
    },
}

/// `$REGISTRY_AUTH_FILE` alone, else the files of podman and of docker.
pub(super) fn default_files() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(file) = variable("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let home = std::env::home_dir();
    let runtime = variable("XDG_RUNTIME_DIR")
        .or_else(|| Some(PathBuf::from(format!("/run/containers/{}", effective_user()?))));
    // The run-time directory of podman is its own, that of the user is shared.
    let runtime = runtime.map(|dir| match dir.starts_with("/run/containers") {
        true => dir.join("auth.json"),
        false => dir.join("containers/auth.json"),
    });
    let config = variable("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let docker = variable("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
    [
        runtime,
        config.map(|dir| dir.join("containers/auth.json")),
        docker.map(|dir| dir.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The user that this process acts as; `None` where `/proc` is missing.
pub(crate) fn effective_user() -> Option<u32> {
    Some(Path::new("/proc/self").metadata().ok()?.uid())
}

/// The credentials for a repository: the first file that has any decides. In a file, a credential helper
/// of the host comes first, then the most specific key, then the store of docker.
pub(super) async fn find(
    files: &[PathBuf],
    repository: &Reference,
) -> Result<Option<Credentials>, CredentialsError> {
    let mut keys = vec![repository.name()];
    while let Some((parent, _)) = keys.last().and_then(|key| key.rsplit_once('/')) {
        keys.push(parent.to_owned());
    }
    first(files, repository.domain(), &keys).await
}

/// The credentials that are stored for a host itself.
pub(super) async fn find_for_host(
    files: &[PathBuf],
    host: &str,
) -> Result<Option<Credentials>, CredentialsError> {
    first(files, host, &[host.to_owned()]).await
}

async fn first(
    files: &[PathBuf],
    host: &str,
    keys: &[String],
) -> Result<Option<Credentials>, CredentialsError> {
    for path in files {
        let Some(file) = AuthFile::read(path)? else { continue };
        if let Some(helper) = file.cred_helpers.get(host) {
            return ask_helper(helper, host).await;
        }
        if let Some(found) = file.stored(path, host, keys)? {
            return Ok(Some(found));
        }
        if let Some(store) = &file.creds_store
            && let Some(found) = ask_helper(store, store_key(host)).await?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// A configuration file of docker or podman.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthFile {
    #[serde(default)]
    pub(super) auths: BTreeMap<String, Auth>,
    #[serde(default)]
    pub(super) cred_helpers: BTreeMap<String, String>,
    pub(super) creds_store: Option<String>,
}

/// What such a file has for one key.
#[derive(Deserialize)]
pub(super) struct Auth {
    auth: Option<String>,
    identitytoken: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl Auth {
    /// The credentials; `None` if there are none, as where a store has them. Where both forms are given,
    /// `auth` counts, as it does for the kubelet.
    pub(super) fn credentials(&self) -> Result<Option<Credentials>, NotAuth> {
        let given = |member: &Option<String>| member.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credentials::IdentityToken(Secret::new(token))));
        }
        if let Some(encoded) = given(&self.auth) {
            let decoded = LENIENT_PADDING.decode(encoded.trim()).map_err(|_| NotAuth)?;
            let decoded = String::from_utf8(decoded).map_err(|_| NotAuth)?;
            let (user, password) = decoded.split_once(':').ok_or(NotAuth)?;
            let password = Secret::new(password.trim_end_matches('\0'));
            return Ok(Some(Credentials::Password { user: user.to_owned(), password }));
        }
        Ok(given(&self.username).map(|user| Credentials::Password {
            user,
            password: Secret::new(self.password.as_deref().unwrap_or_default()),
        }))
    }
}

/// `auth` is not `USER:PASSWORD` in base64.
pub(super) struct NotAuth;

impl AuthFile {
    fn read(path: &Path) -> Result<Option<Self>, CredentialsError> {
        let fault =
            |fault: String| CredentialsError::File { path: path.display().to_string(), fault };
        let content = match read_limited(path, MAX_FILE_BYTES) {
            Ok(content) => content,
            Err(FileFault::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(e) => return Err(fault(e.to_string())),
        };
        serde_json::from_slice(&content).map(Some).map_err(|e| fault(json_fault(&e)))
    }

    fn stored(
        &self,
        path: &Path,
        host: &str,
        keys: &[String],
    ) -> Result<Option<Credentials>, CredentialsError> {
        let exact = keys.iter().find_map(|key| self.auths.get_key_value(key.as_str()));
        // Docker keys Docker Hub by a URL of old, and files of its first years have URLs for all.
        let by_url =
            || self.auths.iter().find(|(key, _)| normal_host(bare_host(key)) == normal_host(host));
        let Some((key, entry)) = exact.or_else(by_url) else { return Ok(None) };
        entry.credentials().map_err(|NotAuth| CredentialsError::File {
            path: path.display().to_string(),
            fault: format!("\"auth\" of {key:?} is not USER:PASSWORD in base64"),
        })
    }
}

/// What is wrong with JSON that has secrets: the parser's own message could quote one.
pub(super) fn json_fault(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    format!("not the JSON that was expected, line {line} column {column}")
}

/// The host of a key that is a URL; any other key as it is.
fn bare_host(key: &str) -> &str {
    match key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")) {
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        None => key,
    }
}

/// One name for all that Docker Hub has.
pub(super) fn normal_host(host: &str) -> &str {
    match host {
        "docker.io" | "registry-1.docker.io" => "index.docker.io",
        other => other,
    }
}

/// The name under which docker keeps the credentials of a host in its store.
fn store_key(host: &str) -> &str {
    if normal_host(host) == "index.docker.io" { "https://index.docker.io/v1/" } else { host }
}

/// Ask `docker-credential-NAME get`.
async fn ask_helper(name: &str, host: &str) -> Result<Option<Credentials>, CredentialsError> {
    let helper = format!("docker-credential-{name}");
    let fault = |fault: String| CredentialsError::Helper {
        host: host.to_owned(),
        helper: helper.clone(),
        fault,
    };
    if name.is_empty() || name.contains('/') {
        return Err(fault("it is not the name of a program".to_owned()));
    }
    let run = async {
        let mut child = tokio::process::Command::new(&helper)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that answers without reading its input is none of our business.
            let _ = stdin.write_all(host.as_bytes()).await;
        }
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_HELPER_BYTES as u64 + 1).read_to_end(&mut output).await?;
        }
        if output.len() > MAX_HELPER_BYTES {
            return Ok((false, output));
        }
        Ok::<_, std::io::Error>((child.wait().await?.success(), output))
    };
    let (success, output) = match tokio::time::timeout(HELPER_DEADLINE, run).await {
        Ok(result) => result.map_err(|e| fault(e.to_string()))?,
        Err(_) => return Err(fault(format!("no answer within {} s", HELPER_DEADLINE.as_secs()))),
    };
    if output.len() > MAX_HELPER_BYTES {
        return Err(fault(format!("its answer is larger than {MAX_HELPER_BYTES} bytes")));
    }
    if !success {
        let said = String::from_utf8_lossy(&output);
        return match said.trim() {
            NOT_STORED => Ok(None),
            said => Err(fault(said.chars().filter(|c| !c.is_control()).take(200).collect())),
        };
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&output).map_err(|_| fault("its answer is not JSON".to_owned()))?;
    let secret = Secret::new(answer.secret);
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::IdentityToken(secret),
        _ => Credentials::Password { user: answer.username, password: secret },
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Tools leave the padding out, and the kubelet takes that.
const LENIENT_PADDING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What helpers print when they have nothing.
const NOT_STORED: &str = "credentials not found in native keychain";

/// Largest file with credentials: hundreds of hosts with long tokens. A Secret of Kubernetes has no more.
pub(super) const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Largest answer of a helper: tokens of cloud registries have a few thousand characters.
const MAX_HELPER_BYTES: usize = 64 * 1024;

/// Longest time for a helper; those of clouds ask a server.
const HELPER_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);
