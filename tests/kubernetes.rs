//! A Kubernetes API that answers by a script: what is asked of it, and what is made of its answers.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign::admission::Puller;
use countersign::kubernetes::{Cluster, ClusterError, SecretsFrom, Settings};
use countersign::registry::Keyring;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::support::server::{Answer, Server};
use crate::support::tls::Authority;

mod access;
mod apply;
mod certificates;
mod pull_secrets;
mod real_registry;

/// The API over TLS, and who vouches for it.
struct Api {
    server: Server,
    authority: Authority,
}

impl Api {
    fn start() -> Self {
        let authority = Authority::new();
        let server = Server::start_tls(&authority.issue(&["127.0.0.1"]));
        Self { server, authority }
    }

    /// Access with the token `t0ken`, as a kubeconfig says.
    async fn cluster(&self) -> Cluster {
        let config = kubeconfig(&self.server.url(""), Some(&self.authority), &json!({})).await;
        Cluster::from_config(config).expect("a configuration that can be used")
    }

    /// A Secret of namespace `prod`.
    fn has_secret(&self, name: &str, kind: &str, key: &str, content: &str) {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "prod", "resourceVersion": "1"},
            "type": kind,
            "data": {key: BASE64_STANDARD.encode(content)},
        });
        self.server.always(secret_path(name), Answer::ok(secret.to_string()));
    }

    /// A pull secret of namespace `prod` with one user for one key; the password is `s3cret`.
    fn has_pull_secret(&self, name: &str, key: &str, user: &str) {
        let config = json!({"auths": {key: {"username": user, "password": "s3cret"}}}).to_string();
        self.has_secret(name, "kubernetes.io/dockerconfigjson", ".dockerconfigjson", &config);
    }

    /// The service account `default` of namespace `prod` with these pull secrets.
    fn has_account(&self, pull_secrets: &[&str]) {
        let references: Vec<_> = pull_secrets.iter().map(|name| json!({"name": name})).collect();
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": "prod"},
            "imagePullSecrets": references,
        });
        self.server.always(ACCOUNT, Answer::ok(account.to_string()));
    }

    /// Methods and paths of what was asked so far, in the order of the alphabet.
    fn asked(&self) -> Vec<String> {
        let line = |r: &crate::support::server::Recorded| format!("{} {}", r.method, r.target);
        let mut asked: Vec<_> = self.server.requests().iter().map(line).collect();
        asked.sort();
        asked
    }
}

/// A configuration with the token `t0ken`; `more` is added to what it says about the cluster.
async fn kubeconfig(url: &str, authority: Option<&Authority>, more: &Value) -> Config {
    let mut cluster = json!({"server": url});
    if let Some(authority) = authority {
        cluster["certificate-authority-data"] = BASE64_STANDARD.encode(authority.pem()).into();
    }
    for (key, value) in more.as_object().expect("an object") {
        cluster[key] = value.clone();
    }
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": "t0ken"}}],
    });
    let kubeconfig = Kubeconfig::from_yaml(&document.to_string()).expect("a kubeconfig");
    let read = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = read.expect("a configuration");
    // Retries would go on until the deadline.
    config.default_retry = false;
    config
}

fn puller(pull_secrets: &[&str]) -> Puller {
    Puller {
        namespace: "prod".to_owned(),
        service_account: "default".to_owned(),
        pull_secrets: pull_secrets.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn secret_path(name: &str) -> String {
    format!("/api/v1/namespaces/prod/secrets/{name}")
}

/// What the API says when it refuses.
fn status(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "reason": reason, "message": message,
    });
    Answer::status(code).body(status.to_string())
}

/// Why there is no keyring.
async fn fault(cluster: &Cluster, puller: &Puller) -> ClusterError {
    cluster.keyring(puller).await.expect_err("no keyring")
}

/// The id of a keyring with these keys and users.
fn id_of(entries: &[(&str, &str)]) -> [u8; 32] {
    let configs = entries.iter().map(|(key, user)| {
        let config = json!({"auths": {*key: {"username": user, "password": "s3cret"}}});
        ("a secret", config.to_string())
    });
    *Keyring::from_docker_configs(configs).expect("a keyring").id()
}

const ACCOUNT: &str = "/api/v1/namespaces/prod/serviceaccounts/default";
