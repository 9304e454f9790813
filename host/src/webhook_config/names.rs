//! Names in these documents, as far as the API server would check them: what it would refuse later is
//! refused here, with the reason.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use reqwest::Url;

/// What was written is not what is expected there.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected {0}")]
pub struct Invalid(pub(super) &'static str);

/// The Service before the server: `NAMESPACE/NAME[:PORT]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Where Service and server are.
    pub namespace: Namespace,
    /// The Service's name.
    pub name: String,
    /// The Service's port, not the container's. Default: 443.
    pub port: u16,
}

impl Service {
    /// The name that the server's certificate has to have: the API server asks for it.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

impl FromStr for Service {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid =
            Invalid("NAMESPACE/NAME or NAMESPACE/NAME:PORT, for example countersign/countersign");
        let (namespace, name) = text.split_once('/').ok_or_else(|| invalid.clone())?;
        let (name, port) = match name.split_once(':') {
            None => (name, 443),
            Some((name, port)) => match port.parse() {
                Ok(port) if port > 0 => (name, port),
                _ => return Err(invalid),
            },
        };
        if !is_label(name) || !is_label(namespace) {
            return Err(invalid);
        }
        if namespace == EVERYBODYS {
            return Err(Invalid(
                "a namespace of the server's own: nothing is ever asked about it, so that whoever may create \
                 pods in it runs any image",
            ));
        }
        Ok(Self { namespace: Namespace(namespace.to_owned()), name: name.to_owned(), port })
    }
}

/// The name of a namespace.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Namespace(String);

impl Namespace {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Namespace {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if !is_label(text) {
            return Err(Invalid(
                "the name of a namespace: the API server knows no patterns, only the server's own \
                 configuration does",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Objects of a custom resource: `GROUP/RESOURCE`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Resource {
    /// The API group.
    pub group: String,
    /// The plural name.
    pub resource: String,
}

impl FromStr for Resource {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // A wildcard would send what the server knows nothing about, and make that depend on it.
        let invalid = Invalid("GROUP/RESOURCE with the plural name, for example tekton.dev/tasks");
        let (group, resource) = text.split_once('/').ok_or_else(|| invalid.clone())?;
        if !group.contains('.') || !group.split('.').all(is_label) || !is_label(resource) {
            return Err(invalid);
        }
        Ok(Self { group: group.to_owned(), resource: resource.to_owned() })
    }
}

/// Where the server is, for API servers that reach no Services: `https://HOST[:PORT][/PATH]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpsUrl(Url);

impl HttpsUrl {
    /// The URL of an endpoint below this one.
    pub(super) fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.0.as_str().trim_end_matches('/'))
    }

    /// `host[:port]`, as kubeconfigs name it.
    pub(super) fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl FromStr for HttpsUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = Invalid(
            "https://HOST[:PORT][/PATH], without user, query and fragment, which the API server refuses",
        );
        let url = Url::parse(text).map_err(|_| invalid.clone())?;
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if url.scheme() != "https" || !url.has_host() || !bare {
            return Err(invalid);
        }
        Ok(Self(url))
    }
}

/// How long the API server waits for an answer, in whole seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeout(u8);

impl Timeout {
    pub(super) fn seconds(self) -> u8 {
        self.0
    }
}

impl Default for Timeout {
    /// What the API server takes unless told: long enough for a cold image at a slow registry.
    fn default() -> Self {
        Self(10)
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

impl FromStr for Timeout {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let seconds = text.strip_suffix('s').unwrap_or(text).parse().ok();
        let seconds = seconds.filter(|seconds| TIMEOUTS.contains(seconds));
        seconds.map(Self).ok_or(Invalid("1s to 30s, in whole seconds, as the API server takes it"))
    }
}

/// A DNS label (RFC 1123), as names of namespaces and Services are.
pub(crate) fn is_label(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    bytes.len() <= 63
        && ends.is_some_and(|(first, last)| letter(*first) && letter(*last))
        && bytes.iter().all(|byte| letter(*byte) || *byte == b'-')
}

/// The namespace of whoever names none.
const EVERYBODYS: &str = "default";
/// `timeoutSeconds` of webhooks (admissionregistration.k8s.io/v1).
const TIMEOUTS: RangeInclusive<u8> = 1..=30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_is_namespace_name_and_port() {
        let service: Service = "security/countersign".parse().expect("a service");
        assert_eq!((service.host().as_str(), service.port), ("countersign.security.svc", 443));
        let service: Service = "a/b:8443".parse().expect("a service");
        assert_eq!(service.port, 8443);
        for text in
            ["", "a", "a/", "/b", "a/b/c", "default/b", "a/b:0", "a/b:", "a/b:65536", "A/b", "a/-b"]
        {
            assert!(text.parse::<Service>().is_err(), "{text}");
        }
    }

    #[test]
    fn namespace_is_a_name_and_no_pattern() {
        assert!("openshift-dns".parse::<Namespace>().is_ok());
        for text in ["openshift-*", "", "a.b", &"a".repeat(64)] {
            assert!(text.parse::<Namespace>().is_err(), "{text}");
        }
    }

    #[test]
    fn custom_resource_is_named_in_full() {
        assert!("tekton.dev/tasks".parse::<Resource>().is_ok());
        for text in ["tasks", "apps/deployments", "tekton.dev/*", "tekton.dev/", "*/*"] {
            assert!(text.parse::<Resource>().is_err(), "{text}");
        }
    }

    #[test]
    fn url_is_one_that_the_api_server_takes() {
        let url: HttpsUrl = "https://images.example.com:8443/countersign/".parse().expect("a URL");
        assert_eq!(url.endpoint("/mutate"), "https://images.example.com:8443/countersign/mutate");
        assert_eq!(url.host(), "images.example.com:8443");
        let url: HttpsUrl = "https://images.example.com".parse().expect("a URL");
        assert_eq!(url.endpoint("/mutate"), "https://images.example.com/mutate");
        for text in ["images.example.com", "http://a", "https://u@a", "https://a?b", "https://a#b"]
        {
            assert!(text.parse::<HttpsUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn timeout_is_what_the_api_server_takes() {
        assert_eq!("30".parse::<Timeout>().expect("a timeout").seconds(), 30);
        assert_eq!("1s".parse::<Timeout>().expect("a timeout").to_string(), "1s");
        for text in ["0", "31s", "1m", "", "s", "1.5"] {
            assert!(text.parse::<Timeout>().is_err(), "{text}");
        }
    }
}
