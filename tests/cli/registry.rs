//! Images and signatures that are fetched: what the options about registries do.

use serde_json::json;

use super::{AMD64, RSA4096, User, vector};
use crate::support::server::{Answer, Server};
use crate::support::tls::Authority;

/// Make a server a registry whose only image is the vectors' `lab/amd64:v1`.
fn fill(server: &Server) {
    server.always("/v2/", Answer::ok("{}"));
    for target in ["v1", AMD64] {
        server.always(path(target), manifest());
    }
}

fn manifest() -> Answer {
    let manifest = std::fs::read(vector("gpg/manifests/amd64.json")).expect("a manifest");
    Answer::ok(manifest).header("content-type", "application/vnd.oci.image.manifest.v1+json")
}

fn path(target: &str) -> String {
    format!("/v2/lab/amd64/manifests/{target}")
}

/// The path of a signature in a store.
fn signature(number: usize) -> String {
    format!("/lab/amd64@{}/signature-{number}", AMD64.replace(':', "="))
}

/// A user whose policy accepts every image, or wants the signature of the vectors' key.
fn user(accept: bool) -> User {
    let user = User::new();
    match accept {
        true => user.policy(json!({"type": "insecureAcceptAnything"})),
        false => user.signed_by("rsa4096"),
    };
    user
}

#[test]
fn image_is_judged_with_the_signatures_of_its_lookaside() {
    let (registry, store) = (Server::start(), Server::start());
    fill(&registry);
    let content = std::fs::read(vector("gpg/sigs/good-rsa4096.sig")).expect("a signature");
    store.always(signature(1), Answer::ok(content));
    let user = user(false);
    let registries = format!("default-docker:\n  lookaside: {}\n", store.url(""));
    user.write("registries.d/x.yaml", registries);
    // The vectors are signed for another port: the policy says which name counts.
    user.policy(json!({
        "type": "signedBy", "keyType": "GPGKeys", "keyPath": "rsa4096.gpg",
        "signedIdentity": {
            "type": "exactReference", "dockerReference": "127.0.0.1:5000/lab/amd64:v1",
        },
    }));
    let host = registry.host();
    let verify = |options: &str| {
        user.run(&format!(
            "verify --policy policy.json --registries-d registries.d --at 1795400000 --output json \
             --plain-http {host} {options} {host}/lab/amd64:v1"
        ))
    };
    let ended = verify("");
    assert_eq!((ended.verdicts(), ended.status), (vec!["allow".into()], Some(0)), "{ended:?}");
    let document = ended.json();
    assert_eq!(document["results"][0]["image"], format!("docker://{host}/lab/amd64:v1"));
    assert_eq!(document["results"][0]["digest"], AMD64);
    assert_eq!(document["results"][0]["claims"][0]["key"], RSA4096);
    assert_eq!(registry.requests_to(&path("v1")).len(), 1, "the tag is resolved once");

    store.always(signature(1), Answer::status(500));
    let ended = verify("");
    assert_eq!((ended.verdicts(), ended.status), (vec!["error".into()], Some(2)), "{ended:?}");
    let document = ended.json();
    let reason = &document["results"][0]["reasons"][0];
    assert_eq!(reason["code"], "signatures-unreachable");
    assert!(reason["message"].as_str().expect("text").contains(&store.host()), "{reason}");

    store.always(signature(1), Answer::status(404));
    let ended = verify("");
    assert_eq!((ended.verdicts(), ended.status), (vec!["deny".into()], Some(1)), "{ended:?}");
}

#[test]
fn registry_without_tls_has_to_be_named() {
    let registry = Server::start();
    fill(&registry);
    let (user, host) = (user(true), registry.host());
    let verify = |options: &str| {
        user.run(&format!("verify --policy policy.json {options} {host}/lab/amd64:v1"))
    };
    for options in ["", "--plain-http other.example.com"] {
        let refused = verify(options);
        assert_eq!(refused.status, Some(2), "{refused:?}");
        assert!(refused.stdout.contains("--plain-http"), "{refused:?}");
    }
    let both = format!("--plain-http other.example.com --plain-http {host}");
    assert_eq!(verify(&both).status, Some(0));
}

#[test]
fn signatures_are_not_fetched_if_the_policy_looks_at_none() {
    let (registry, store) = (Server::start(), Server::start());
    fill(&registry);
    let user = user(true);
    user.write("d/x.yaml", format!("default-docker:\n  lookaside: {}\n", store.url("")));
    let host = registry.host();
    let ended = user.run(&format!(
        "verify --policy policy.json --registries-d d --plain-http {host} {host}/lab/amd64:v1"
    ));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(store.requests().is_empty());
}

#[test]
fn certificates_of_cert_dir_are_trusted_and_shown_to_the_registry_alone() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let identity = || authority.issue(&["127.0.0.1"]).asking_for_clients_of(&clients);
    let (registry, store) = (Server::start_tls(&identity()), Server::start_tls(&identity()));
    fill(&registry);
    let user = user(false);
    user.write("d/x.yaml", format!("default-docker:\n  lookaside: {}\n", store.url("")));
    let (certificate, key) = clients.client();
    user.write("certs/ca.crt", authority.pem());
    user.write("certs/client.cert", certificate);
    user.write("certs/client.key", key);
    let verify = |options: &str| {
        let image = format!("{}/lab/amd64:v1", registry.host());
        user.run(&format!("verify --policy policy.json --registries-d d {options} {image}"))
    };
    let refused = verify("");
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(registry.requests().is_empty());

    let trusted = verify("--cert-dir certs");
    assert_eq!(trusted.status, Some(1), "{trusted:?}");
    assert!(trusted.stdout.contains("no signature exists"), "{trusted:?}");
    let shown = |server: &Server| -> Vec<bool> {
        server.requests().iter().map(|request| request.client_certificate).collect()
    };
    assert!(!shown(&registry).is_empty() && shown(&registry).iter().all(|shown| *shown));
    assert!(!shown(&store).is_empty() && shown(&store).iter().all(|shown| !shown));

    let missing = verify("--cert-dir none");
    assert_eq!(missing.status, Some(2), "{missing:?}");
    assert!(missing.stdout.contains("none"), "{missing:?}");
}

#[test]
fn credentials_of_authfile_are_used() {
    let registry = Server::start();
    // USER:PASSWORD
    let authorized = "Basic VVNFUjpQQVNTV09SRA==";
    registry.always("/v2/", Answer::ok("{}"));
    registry.on(path("v1"), move |request| match request.authorization() {
        Some(given) if given == authorized => manifest(),
        _ => Answer::challenge("Basic realm=\"lab\""),
    });
    let (user, host) = (user(true), registry.host());
    let auth = json!({"auths": {&host: {"auth": authorized.trim_start_matches("Basic ")}}});
    user.write("auth.json", auth.to_string());
    let verify = |options: &str| {
        let options = format!("--plain-http {host} {options}");
        user.run(&format!("verify --policy policy.json {options} {host}/lab/amd64:v1"))
    };
    let refused = verify("");
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(refused.stdout.contains(&format!("{host} refuses access")), "{refused:?}");
    assert_eq!(verify("--authfile auth.json").status, Some(0));
}
