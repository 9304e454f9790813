//! What an API server is started with: `AdmissionConfiguration` (apiserver.config.k8s.io/v1) and the
//! kubeconfigs that it names.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::{Client, HttpsUrl, Invalid, quoted};

/// The plugin `ImagePolicyWebhook`, which asks `/imagepolicy` about pods. It cannot pin digests, and never
/// asks about image volumes.
#[derive(Clone, Debug)]
pub struct ImagePolicy {
    /// Where the server is.
    pub url: HttpsUrl,
    /// The authority by which the server is known: a file of the API server's machine.
    pub ca: String,
    /// How the API server shows who it is.
    pub credentials: Option<Credentials>,
    /// Where the kubeconfig will be, on the API server's machine.
    pub kubeconfig: String,
    /// How long the API server itself remembers that a pod's images are allowed.
    pub allow_ttl: Ttl,
    /// How long it remembers that they are denied.
    pub deny_ttl: Ttl,
    /// How long it waits before it asks again when it got no answer.
    pub retry_backoff: RetryBackoff,
}

impl ImagePolicy {
    /// The two documents.
    pub fn yaml(&self) -> String {
        let cluster = Cluster {
            name: "countersign",
            server: &self.url.endpoint("/imagepolicy"),
            ca: &self.ca,
            credentials: self.credentials.as_ref(),
        };
        format!(
            "# For the file of --admission-control-config-file, on every API server, with\n\
             # --enable-admission-plugins=ImagePolicyWebhook and --runtime-config=imagepolicy.k8s.io/v1alpha1=true.\n\
             apiVersion: apiserver.config.k8s.io/v1\n\
             kind: AdmissionConfiguration\n\
             plugins:\n\
             \x20 - name: ImagePolicyWebhook\n\
             \x20   configuration:\n\
             \x20     imagePolicy:\n\
             \x20       kubeConfigFile: {}\n\
             \x20       # Seconds, 2 to 1800; 0 means 300 for allowTTL and 30 for denyTTL; -1: not remembered. Countersign\n\
             \x20       # remembers itself, no longer than signatures hold, and forgets when the policy changes.\n\
             \x20       allowTTL: {}\n\
             \x20       denyTTL: {}\n\
             \x20       # Milliseconds, at most 300000; 0 means 500; -1: not asked again.\n\
             \x20       retryBackoff: {}\n\
             \x20       # A pod that was not judged is not admitted.\n\
             \x20       defaultAllow: false\n\
             ---\n\
             # For the file {}.\n\
             {}",
            quoted(&self.kubeconfig),
            self.allow_ttl.0,
            self.deny_ttl.0,
            self.retry_backoff.0,
            quoted(&self.kubeconfig),
            cluster.kubeconfig(),
        )
    }
}

/// A client certificate and its key: files of the API server's machine.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The certificate.
    pub certificate: String,
    /// Its private key. It is named, never read.
    pub key: String,
}

impl Credentials {
    /// The documents by which an API server shows a client certificate to admission webhooks, for servers
    /// with `tls.clientAuthorities`. `kubeconfig` is where the second will be.
    pub fn yaml(&self, client: &Client, kubeconfig: &str) -> String {
        // The name is how the API server finds the entry: the host, with its port unless that is 443.
        let host = match client {
            Client::Service(service) if service.port == 443 => service.host(),
            Client::Service(service) => format!("{}:{}", service.host(), service.port),
            Client::Url(url) => url.host(),
        };
        let plugin = |name: &str| {
            format!(
                "  - name: {name}\n\
                 \x20   configuration:\n\
                 \x20     apiVersion: apiserver.config.k8s.io/v1\n\
                 \x20     kind: WebhookAdmissionConfiguration\n\
                 \x20     kubeConfigFile: {}\n",
                quoted(kubeconfig)
            )
        };
        format!(
            "# For the file of --admission-control-config-file, on every API server.\n\
             apiVersion: apiserver.config.k8s.io/v1\n\
             kind: AdmissionConfiguration\n\
             plugins:\n\
             {}{}\
             ---\n\
             # For the file {}.\n\
             apiVersion: v1\n\
             kind: Config\n\
             users:\n\
             \x20 - name: {}\n\
             {}",
            plugin("MutatingAdmissionWebhook"),
            plugin("ValidatingAdmissionWebhook"),
            quoted(kubeconfig),
            quoted(&host),
            self.user(),
        )
    }

    fn user(&self) -> String {
        format!(
            "    user:\n\
             \x20     client-certificate: {}\n\
             \x20     client-key: {}\n",
            quoted(&self.certificate),
            quoted(&self.key)
        )
    }
}

/// Seconds for which the API server's plugin remembers an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ttl(i32);

impl Default for Ttl {
    /// Not at all. A pod's annotations are part of what the plugin remembers by, the policy is not.
    fn default() -> Self {
        Self(OFF)
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Ttl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        number(text, &TTLS).map(Self).ok_or(Invalid(
            "seconds: 2 to 1800 (the API server refuses 1), 0 for its own default, or -1 for not at all",
        ))
    }
}

/// Milliseconds before the API server's plugin asks again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RetryBackoff(i32);

impl Default for RetryBackoff {
    /// The plugin's own.
    fn default() -> Self {
        Self(500)
    }
}

impl fmt::Display for RetryBackoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RetryBackoff {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        number(text, &BACKOFFS).map(Self).ok_or(Invalid(
            "milliseconds: 1 to 300000, 0 for the API server's own default, or -1 for no second try",
        ))
    }
}

/// One cluster with one user, as kubeconfigs for plugins have it.
struct Cluster<'a> {
    name: &'a str,
    server: &'a str,
    ca: &'a str,
    credentials: Option<&'a Credentials>,
}

impl Cluster<'_> {
    fn kubeconfig(&self) -> String {
        let name = quoted(self.name);
        let (server, ca) = (quoted(self.server), quoted(self.ca));
        let user = match self.credentials {
            Some(credentials) => credentials.user(),
            None => "    user: {}\n".to_owned(),
        };
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             \x20 - name: {name}\n\
             \x20   cluster:\n\
             \x20     certificate-authority: {ca}\n\
             \x20     server: {server}\n\
             users:\n\
             \x20 - name: kube-apiserver\n\
             {user}\
             contexts:\n\
             \x20 - name: {name}\n\
             \x20   context:\n\
             \x20     cluster: {name}\n\
             \x20     user: kube-apiserver\n\
             current-context: {name}\n",
        )
    }
}

/// A number of the range, 0, or -1.
fn number(text: &str, range: &RangeInclusive<i32>) -> Option<i32> {
    let number = text.parse().ok()?;
    (range.contains(&number) || number == DEFAULT || number == OFF).then_some(number)
}

/// `allowTTL` and `denyTTL`: the plugin refuses what is not greater than 1 s and at most 30 minutes.
const TTLS: RangeInclusive<i32> = 2..=1800;
/// `retryBackoff`: at most 5 minutes.
const BACKOFFS: RangeInclusive<i32> = 1..=300_000;
/// The plugin takes its own value.
const DEFAULT: i32 = 0;
/// The plugin does not do it.
const OFF: i32 = -1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_is_what_the_plugin_takes() {
        for text in ["-1", "0", "2", "50", "1800"] {
            assert_eq!(text.parse::<Ttl>().expect(text).to_string(), text);
        }
        for text in ["1", "1801", "-2", "50s", ""] {
            assert!(text.parse::<Ttl>().is_err(), "{text}");
        }
        assert!("300000".parse::<RetryBackoff>().is_ok());
        assert!("300001".parse::<RetryBackoff>().is_err());
    }
}
