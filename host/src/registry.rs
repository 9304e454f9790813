//! Size-limited access to registries and signature stores over HTTP.
//!
//! `oci-client` knows the protocol's types; its client reads bodies without limit and sends credentials
//! wherever a registry's challenge points. So the few requests that a decision needs are made here: every
//! body is limited, every operation has a deadline, and credentials of one host go to no other host.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use guest_policy::digest::Digest;

use crate::telemetry::Metrics;

mod auth;
mod certs;
mod client;
mod credentials;
mod download;
mod keyring;
mod limits;
mod referrers;
mod throttle;
mod upload;

pub use client::{Client, InvalidToken, Manifest};
pub(crate) use client::{Stored, shown};
pub use credentials::CredentialsError;
pub(crate) use credentials::effective_user;
pub(crate) use download::Download;
pub use keyring::{DockerConfig, Keyring};
pub(crate) use upload::Upload;

/// TLS as it is spoken to hosts for which no certificates were laid down.
pub(crate) fn system_tls() -> Result<rustls::ClientConfig, RegistryError> {
    certs::tls("any host", certs::HostCertificates::default())
}

/// What the client may use, and for how long. Nothing is read before it is needed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Hosts (`host[:port]`, as references spell them) that are spoken to without TLS.
    pub plain_http: Insecure,
    /// Files with credentials, in lookup order (containers-auth.json(5)).
    pub auth_files: Vec<PathBuf>,
    /// Hosts (`host[:port]`, as references spell them) of which images are asked for without credentials
    /// first, even if there are some.
    pub anonymous_first: Vec<String>,
    /// Directories with certificates for hosts, in lookup order (containers-certs.d(5)).
    pub certs_d: Vec<PathBuf>,
    /// A directory with certificates that count instead of those in `certs_d`, whatever the host. A client
    /// certificate in it is shown to registries only.
    pub cert_dir: Option<PathBuf>,
    /// Whether the proxies that the process's environment names are used (`HTTPS_PROXY`, `HTTP_PROXY`,
    /// `ALL_PROXY`, and `NO_PROXY` against them).
    pub environment_proxies: bool,
    /// Longest time for a connection to be made, TLS included.
    pub connect_timeout: Duration,
    /// Longest silence of a server in the middle of an answer.
    pub read_timeout: Duration,
    /// Longest time for one operation, with its redirects, tokens and retries.
    pub deadline: Duration,
    /// Longest time for one upload, with all that belongs to it; of a blob that is streamed, for which it may stand
    /// still.
    pub upload_deadline: Duration,
    /// Pause before the first retry when the server names none; it doubles.
    pub retry_pause: Duration,
    /// Most requests to one host, on average; as many as there are if it is absent. With it, a host that
    /// asks to be left alone (429, or 503 with `Retry-After`) is.
    pub requests_per_second: Option<u32>,
    /// Most requests to one host at once, before the average counts.
    pub burst: u32,
    /// Who is told of every request.
    pub metrics: Option<Arc<Metrics>>,
}

impl Settings {
    /// The places that skopeo and podman use, as the process's environment tells them.
    pub fn from_environment() -> Self {
        Self {
            auth_files: credentials::default_files(),
            certs_d: certs::default_directories(),
            environment_proxies: true,
            ..Self::isolated()
        }
    }

    /// No credentials, no proxies, and no certificates but the system's.
    pub fn isolated() -> Self {
        Self {
            plain_http: Insecure::default(),
            auth_files: Vec::new(),
            anonymous_first: Vec::new(),
            certs_d: Vec::new(),
            cert_dir: None,
            environment_proxies: false,
            connect_timeout: limits::CONNECT_TIMEOUT,
            read_timeout: limits::READ_TIMEOUT,
            deadline: limits::DEADLINE,
            upload_deadline: limits::UPLOAD_DEADLINE,
            retry_pause: limits::RETRY_PAUSE,
            requests_per_second: None,
            burst: 1,
            metrics: None,
        }
    }
}

/// The hosts that the user named as insecure: plain HTTP is spoken to them, and to no other, not even on
/// the loopback interface.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Insecure {
    hosts: BTreeSet<String>,
}

impl Insecure {
    /// Whether `host[:port]` was named.
    pub fn contains(&self, host: &str) -> bool {
        self.hosts.contains(&host.to_ascii_lowercase())
    }
}

impl<S: AsRef<str>> FromIterator<S> for Insecure {
    fn from_iter<I: IntoIterator<Item = S>>(hosts: I) -> Self {
        Self { hosts: hosts.into_iter().map(|h| h.as_ref().to_ascii_lowercase()).collect() }
    }
}

/// A registry or signature store gave no usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The bytes of a blob are not those that were asked for.
    #[error(
        "{host} sent a blob with digest {found} in place of {expected}; do not use it before you know why"
    )]
    Blob {
        /// Who sent it.
        host: String,
        /// What was asked for.
        expected: Digest,
        /// What the bytes have.
        found: Digest,
    },
    /// A certificate of certs.d cannot be used.
    #[error("cannot use certificates of {path}: {fault}; see containers-certs.d(5)")]
    Certificates {
        /// File or directory.
        path: String,
        /// What is wrong.
        fault: String,
    },
    /// Credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The operation took too long.
    #[error("{host} did not answer in full within {} s; try again, or allow more time", .after.as_secs_f32())]
    Deadline {
        /// Who was asked.
        host: String,
        /// The time allowed.
        after: Duration,
    },
    /// The bytes are not those that were asked for or announced.
    #[error(
        "manifest does not match provided manifest digest {expected}: {host} sent bytes with digest {found}; \
         do not use this image before you know why"
    )]
    Digest {
        /// Who sent them.
        host: String,
        /// In the reference or the header `Docker-Content-Digest`.
        expected: Digest,
        /// What the bytes have.
        found: Digest,
    },
    /// The answer is not one that the protocol knows.
    #[error("{url} sent an answer that cannot be used: {fault}")]
    Malformed {
        /// What was asked for.
        url: String,
        /// What is wrong.
        fault: String,
    },
    /// 404.
    #[error("{host} has no {what}{}; check the name and the tag", said(.detail))]
    NotFound {
        /// Who was asked.
        host: String,
        /// What is missing.
        what: String,
        /// What the registry said.
        detail: String,
    },
    /// An answer would have led off https, off http, or around in circles.
    #[error("{host} redirects to {to}, which is not followed: {fault}")]
    Redirect {
        /// Who redirects.
        host: String,
        /// Where to.
        to: String,
        /// Why it is not followed.
        fault: String,
    },
    /// Nothing is sent without TLS, unless the user wants it.
    #[error("nothing is sent to {url}: {fault}")]
    Scheme {
        /// Where to.
        url: String,
        /// What is wrong.
        fault: String,
    },
    /// It wants to have again, or somewhere else, what was streamed to it.
    #[error("{host} wants an upload to be sent again in the middle; try again")]
    Spent {
        /// Who was asked.
        host: String,
    },
    /// Any other status.
    #[error("{host} answered {url} with status {status}{}{}", said(.detail), advice(*.status))]
    Status {
        /// Who was asked.
        host: String,
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
        /// What the server said.
        detail: String,
    },
    /// What was uploaded is not what the registry says that it has.
    #[error(
        "{host} says that it stored {said}, but was sent {sent}; do not use it before you know why"
    )]
    Stored {
        /// Who was sent it.
        host: String,
        /// The digest of what was sent.
        sent: Digest,
        /// What the registry says.
        said: Digest,
    },
    /// The host wants to be left alone, or its budget of requests is used up.
    #[error(
        "{host} is not asked at this moment, since it was asked too often; it will be again in {} s: wait, or use \
         credentials with a higher limit", .after.as_secs_f32().ceil()
    )]
    Throttled {
        /// Who was to be asked.
        host: String,
        /// When it may be.
        after: Duration,
    },
    /// No trust in the server's certificate, or no TLS at all.
    #[error(
        "cannot make a trusted TLS connection to {host}: {fault}; put the authority's certificate into \
         /etc/containers/certs.d/{host}/ca.crt, or name the host with --plain-http if it has no TLS"
    )]
    Tls {
        /// Who was asked.
        host: String,
        /// What is wrong.
        fault: String,
    },
    /// Larger than allowed.
    #[error("{url}: exceeded maximum allowed size of {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// In bytes.
        limit: usize,
    },
    /// 401 or 403.
    #[error("{host} refuses access to {what}{}; {hint}", said(.detail))]
    Unauthorized {
        /// Who was asked.
        host: String,
        /// What is refused.
        what: String,
        /// What the server said.
        detail: String,
        /// What the user can do.
        hint: String,
    },
    /// Name resolution, connection or transfer failed.
    #[error("cannot reach {host}: {fault}; check the name, the network and the proxy settings")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// What happened.
        fault: String,
    },
}

impl RegistryError {
    /// Whether the same may succeed a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Spent { .. } | Self::Throttled { .. } | Self::Unreachable { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502..=504),
            _ => false,
        }
    }
}

fn said(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

fn advice(status: u16) -> &'static str {
    match status {
        405 => "; it takes no uploads there",
        413 => "; it takes nothing so large",
        429 => "; too many requests were made: wait, or use credentials with a higher limit",
        500..=599 => "; the server failed: try again later",
        _ => "",
    }
}
