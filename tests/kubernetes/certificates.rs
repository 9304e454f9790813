//! The server's own certificate in a Secret, and its authority in webhook configurations.

use countersign::kubernetes::{TlsSecret, Written};

use super::*;

const SECRETS: &str = "/api/v1/namespaces/prod/secrets";
const MUTATING: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/countersign";
const VALIDATING: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/countersign";

fn secret() -> TlsSecret {
    TlsSecret::new("certificate".to_owned(), "s3cret".to_owned(), "authority".to_owned())
}

/// The Secret `tls` as the API stores it.
fn stored(version: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {
            "name": "tls", "namespace": "prod", "resourceVersion": version,
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
        },
        "data": {"tls.crt": "", "tls.key": "", "more": "bW9yZQ=="},
    })
}

fn filled(mut document: Value) -> Value {
    for (key, content) in
        [("tls.crt", "certificate"), ("tls.key", "s3cret"), ("ca.crt", "authority")]
    {
        document["data"][key] = BASE64_STANDARD.encode(content).into();
    }
    document
}

fn body(request: &crate::support::server::Recorded) -> Value {
    serde_json::from_str(&request.body).expect("JSON")
}

#[tokio::test]
async fn a_certificate_is_read_with_its_version() {
    let api = Api::start();
    let cluster = api.cluster().await;
    assert_eq!(cluster.tls_secret("prod", "tls").await.expect("an answer"), None);
    api.server.always(secret_path("tls"), Answer::ok(stored("7").to_string()));
    let empty = cluster.tls_secret("prod", "tls").await.expect("an answer").expect("a Secret");
    assert!(!empty.is_filled());
    api.server.always(secret_path("tls"), Answer::ok(filled(stored("8")).to_string()));
    let found = cluster.tls_secret("prod", "tls").await.expect("an answer").expect("a Secret");
    assert!(found.is_filled());
    assert_eq!(found, TlsSecret { version: Some("8".to_owned()), ..secret() });
    assert!(api.asked().iter().all(|line| line == &format!("GET {}", secret_path("tls"))));
}

#[tokio::test]
async fn a_secret_that_is_no_certificate_is_an_error_without_its_content() {
    let api = Api::start();
    let cluster = api.cluster().await;
    let mut opaque = filled(stored("1"));
    opaque["type"] = "Opaque".into();
    let mut broken = filled(stored("1"));
    broken["data"]["tls.key"] = "s3cret".into();
    for (document, words) in [(opaque, "type is \"Opaque\""), (broken, "tls.key is not text")] {
        api.server.always(secret_path("tls"), Answer::ok(document.to_string()));
        let fault = cluster.tls_secret("prod", "tls").await.expect_err("no certificate");
        let shown = format!("{fault} {fault:?}");
        assert!(fault.to_string().contains(words), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_created_and_the_second_replica_sees_a_conflict() {
    let api = Api::start();
    let cluster = api.cluster().await;
    let exists = status(409, "AlreadyExists", "secrets \"tls\" already exists");
    api.server.in_turn(SECRETS, [Answer::status(201).body("{}"), exists]);
    let store = async || cluster.store_tls_secret("prod", "tls", &secret(), None).await;
    assert_eq!(store().await.expect("an answer"), Written::Stored);
    assert_eq!(store().await.expect("an answer"), Written::Conflict);
    let first = &api.server.requests_to(SECRETS)[0];
    assert_eq!(
        (first.method.as_str(), first.header("content-type")),
        ("POST", Some("application/json"))
    );
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "tls", "namespace": "prod"},
        "data": {},
    });
    assert_eq!(body(first), filled(expected));
}

#[tokio::test]
async fn a_certificate_replaces_the_version_that_was_read_and_nothing_beside_it() {
    let api = Api::start();
    let cluster = api.cluster().await;
    api.server.always(secret_path("tls"), Answer::ok(stored("7").to_string()));
    let store =
        async |version| cluster.store_tls_secret("prod", "tls", &secret(), Some(version)).await;
    // Somebody else stored one: nothing is written.
    assert_eq!(store("6").await.expect("an answer"), Written::Conflict);
    assert!(api.server.requests().iter().all(|request| request.method == "GET"));
    assert_eq!(store("7").await.expect("an answer"), Written::Stored);
    let last = api.server.requests().pop().expect("a request");
    assert_eq!(last.method, "PUT");
    assert_eq!(body(&last), filled(stored("7")));
}

#[tokio::test]
async fn a_certificate_that_is_stored_in_between_or_gone_is_a_conflict() {
    let api = Api::start();
    let cluster = api.cluster().await;
    for (code, reason) in [(409, "Conflict"), (404, "NotFound")] {
        api.server.on(secret_path("tls"), move |request| match request.method.as_str() {
            "GET" => Answer::ok(stored("7").to_string()),
            _ => status(code, reason, ""),
        });
        let written = cluster.store_tls_secret("prod", "tls", &secret(), Some("7")).await;
        assert_eq!(written.expect("an answer"), Written::Conflict);
    }
    let gone = cluster.store_tls_secret("prod", "gone", &secret(), Some("7")).await;
    assert_eq!(gone.expect("an answer"), Written::Conflict);
}

#[tokio::test]
async fn a_refused_write_is_an_error_that_does_not_show_the_key() {
    let api = Api::start();
    let cluster = api.cluster().await;
    for (code, reason, words) in [
        (403, "Forbidden", "does not let the server create Secret \"tls\""),
        (422, "Invalid", "status 422 (Invalid)"),
        (404, "NotFound", "status 404 (NotFound)"),
    ] {
        api.server.always(SECRETS, status(code, reason, "data: Invalid value: s3cret"));
        let fault = cluster.store_tls_secret("prod", "tls", &secret(), None).await;
        let fault = fault.expect_err("refused");
        let shown = format!("{fault} {fault:?}");
        assert!(fault.to_string().contains(words), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

/// A webhook configuration whose webhooks have these bundles.
fn configuration(bundles: &[Option<&str>]) -> Value {
    let webhooks: Vec<_> = bundles
        .iter()
        .enumerate()
        .map(|(place, bundle)| {
            let mut webhook = json!({
                "name": format!("w{place}.countersign.example"),
                "clientConfig": {"service": {"name": "countersign", "namespace": "prod"}},
            });
            if let Some(bundle) = bundle {
                webhook["clientConfig"]["caBundle"] = BASE64_STANDARD.encode(bundle).into();
            }
            webhook
        })
        .collect();
    json!({"metadata": {"name": "countersign", "resourceVersion": "1"}, "webhooks": webhooks})
}

/// Serve a configuration, and what it becomes by patches.
fn has_configuration(api: &Api, path: &str, mut configuration: Value) {
    api.server.on(path, move |request| {
        if request.method == "PATCH" {
            for operation in body(request).as_array().expect("operations") {
                let pointer = operation["path"].as_str().expect("a pointer");
                match operation["op"].as_str() {
                    Some("test") if configuration.pointer(pointer) == Some(&operation["value"]) => {
                    }
                    Some("add") => {
                        let (parent, key) = pointer.rsplit_once('/').expect("a parent");
                        let parent = configuration.pointer_mut(parent).expect("a parent");
                        parent[key] = operation["value"].clone();
                    }
                    _ => return status(422, "Invalid", "the test failed"),
                }
            }
        }
        Answer::ok(configuration.to_string())
    });
}

fn patches(api: &Api, path: &str) -> Vec<Value> {
    let requests = api.server.requests_to(path);
    requests.iter().filter(|request| request.method == "PATCH").map(body).collect()
}

#[tokio::test]
async fn an_authority_is_published_where_it_is_missing_and_only_once() {
    let api = Api::start();
    let cluster = api.cluster().await;
    let (old, new) = (Authority::new().pem(), Authority::new().pem());
    let both = format!("{new}{old}");
    has_configuration(&api, MUTATING, configuration(&[Some(&both), Some(&old), None]));
    has_configuration(&api, VALIDATING, configuration(&[Some(&both)]));
    let names = ["countersign".to_owned()];
    for _ in 0..2 {
        cluster.publish_authority(&names, &both).await.expect("published");
    }
    let encoded = BASE64_STANDARD.encode(&both);
    let expected = json!([
        {"op": "test", "path": "/webhooks/1/name", "value": "w1.countersign.example"},
        {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": encoded},
        {"op": "test", "path": "/webhooks/2/name", "value": "w2.countersign.example"},
        {"op": "add", "path": "/webhooks/2/clientConfig/caBundle", "value": encoded},
    ]);
    assert_eq!(patches(&api, MUTATING), [expected]);
    assert!(patches(&api, VALIDATING).is_empty());
    let patch = api.server.requests_to(MUTATING).into_iter().find(|r| r.method == "PATCH");
    let patch = patch.expect("a patch");
    assert_eq!(patch.header("content-type"), Some("application/json-patch+json"));
    assert!(
        api.asked().iter().all(|line| line.starts_with("GET /apis/admission")
            || line.starts_with("PATCH /apis/admission"))
    );
}

#[tokio::test]
async fn a_configuration_of_one_kind_is_enough_and_none_is_an_error() {
    let api = Api::start();
    let cluster = api.cluster().await;
    let authority = Authority::new().pem();
    let names = ["countersign".to_owned()];
    let fault = cluster.publish_authority(&names, &authority).await.expect_err("none");
    assert!(fault.to_string().contains("webhook configuration \"countersign\""), "{fault}");
    has_configuration(&api, VALIDATING, configuration(&[None]));
    cluster.publish_authority(&names, &authority).await.expect("published");
    assert_eq!(patches(&api, VALIDATING).len(), 1);
}

#[tokio::test]
async fn a_configuration_that_is_changed_meanwhile_is_patched_anew_and_not_for_ever() {
    let api = Api::start();
    let cluster = api.cluster().await;
    let authority = Authority::new().pem();
    let names = ["countersign".to_owned()];
    let (mut gets, mut patched) = (0, false);
    api.server.on(MUTATING, move |request| {
        if request.method == "PATCH" {
            patched |= gets > 1;
            return if patched { Answer::ok("{}") } else { status(422, "Invalid", "") };
        }
        gets += 1;
        Answer::ok(configuration(&[None]).to_string())
    });
    cluster.publish_authority(&names, &authority).await.expect("published");
    assert_eq!(patches(&api, MUTATING).len(), 2);

    api.server.on(MUTATING, |request| match request.method.as_str() {
        "PATCH" => status(409, "Conflict", ""),
        _ => Answer::ok(configuration(&[None]).to_string()),
    });
    let fault = cluster.publish_authority(&names, &authority).await.expect_err("never");
    assert!(fault.to_string().contains("status 409 (Conflict)"), "{fault}");
    assert_eq!(patches(&api, MUTATING).len(), 5);
}

#[tokio::test]
async fn nothing_but_certificates_is_published() {
    let api = Api::start();
    let cluster = api.cluster().await;
    let (certificate, key) = Authority::new().client();
    for bundle in [String::new(), "s3cret".to_owned(), format!("{certificate}{key}")] {
        let fault = cluster.publish_authority(&["countersign".to_owned()], &bundle).await;
        let fault = fault.expect_err("refused");
        assert!(matches!(fault, ClusterError::Authority { .. }), "{fault}");
    }
    assert!(api.server.requests().is_empty());
}
