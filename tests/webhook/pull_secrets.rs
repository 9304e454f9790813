//! Pods whose images need credentials: the server reads them through the Kubernetes API.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::{MANIFEST, OCI_IMAGE, Setup, Webhook, pod, signature};
use crate::support::server::{Answer, Server};
use crate::support::tls::Authority;

/// Complaint 19, and security history, rows 9 and 12: a pod's own pull secret is used for it and for nobody else, and
/// a lookup that fails denies.
#[test]
fn private_image_is_judged_with_the_pod_s_own_pull_secret() {
    let mut setup = Setup::new();
    let registry = private_registry(&setup);
    let store = format!("http://{}/signatures", registry.host());
    setup.trust_plain(&[registry.host()], Some(&store));
    setup.configuration["registries"]["pullSecrets"] = json!(true);
    let api = Api::start(&setup, &registry.host());
    let webhook = setup.start();
    let image = format!("{}/ns/app:1", registry.host());

    let (allowed, words) = webhook.validate(&pod(&[&image]));
    assert!(!allowed && words.contains("refuses access"), "{words}");

    let mut with_secret = pod(&[&image]);
    with_secret["request"]["object"]["spec"]["imagePullSecrets"] = json!([{"name": "regcred"}]);
    assert_eq!(webhook.validate(&with_secret), (true, String::new()));

    // What was fetched with it is not shown to those who have none.
    assert!(!webhook.validate(&pod(&[&image])).0);
    // A Secret of that name in another namespace is another one.
    let mut elsewhere = with_secret.clone();
    elsewhere["request"]["namespace"] = json!("other");
    assert!(!webhook.validate(&elsewhere).0);

    let mut broken = with_secret.clone();
    broken["request"]["object"]["spec"]["imagePullSecrets"] = json!([{"name": "forbidden"}]);
    let (allowed, words) = webhook.validate(&broken);
    assert!(!allowed && words.contains("forbidden"), "{words}");
    // The log is read by another thread.
    webhook.wait_until("a line of the log", |webhook| {
        webhook.log().contains("pull-secrets-unreadable")
    });

    for request in api.server.requests() {
        assert_eq!(request.method, "GET", "{request:?}");
        assert_eq!(request.authorization(), Some("Bearer t0ken"));
    }
    for request in registry.requests() {
        assert!(!request.everything().contains("t0ken"), "{request:?}");
    }
    shows_no_secret(&webhook);
}

/// A registry that gives its images to one user alone; its signatures are for everybody.
fn private_registry(setup: &Setup) -> Server {
    let registry = Server::start();
    let signature =
        signature(&setup.key, &countersign::digest::Digest::sha256(MANIFEST.as_bytes()));
    registry.otherwise(move |request| {
        if request.path.ends_with("/signature-1") {
            return Answer::ok(signature.clone());
        }
        if request.path.starts_with("/signatures/") {
            return Answer::status(404);
        }
        let known = format!("Basic {}", BASE64_STANDARD.encode("puller:s3cret"));
        match request.authorization() {
            Some(credentials) if credentials == known => {
                Answer::ok(MANIFEST).header("content-type", OCI_IMAGE)
            }
            _ => Answer::challenge("Basic realm=\"registry\""),
        }
    });
    registry
}

/// The API of a cluster with a pull secret in the namespace `apps`.
struct Api {
    server: Server,
}

impl Api {
    fn start(setup: &Setup, registry: &str) -> Self {
        let authority = Authority::new();
        let server = Server::start_tls(&authority.issue(&["127.0.0.1"]));
        let config = json!({"auths": {registry: {"username": "puller", "password": "s3cret"}}});
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
            "metadata": {"name": "regcred", "namespace": "apps"},
            "data": {".dockerconfigjson": BASE64_STANDARD.encode(config.to_string())},
        });
        server.always("/api/v1/namespaces/apps/secrets/regcred", Answer::ok(secret.to_string()));
        let status = |code: u16, reason: &str| {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "reason": reason, "message": reason,
            });
            Answer::status(code).body(status.to_string())
        };
        let forbidden = status(403, "Forbidden");
        server.always("/api/v1/namespaces/apps/secrets/forbidden", forbidden);
        let missing = status(404, "NotFound");
        server.otherwise(move |_| missing.clone());
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {
                "server": server.url(""),
                "certificate-authority-data": BASE64_STANDARD.encode(authority.pem()),
            }}],
            "users": [{"name": "u", "user": {"token": "t0ken"}}],
        });
        setup.write("kubeconfig", kubeconfig.to_string().as_bytes());
        Self { server }
    }
}

fn shows_no_secret(webhook: &Webhook) {
    let (_, metrics) = webhook.get("/metrics");
    for shown in [webhook.log(), metrics] {
        for secret in ["s3cret", "t0ken", &BASE64_STANDARD.encode("puller:s3cret")] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
