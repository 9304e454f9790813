//! Bad input: each a message that names the file or host, what was expected and what to do; status 2;
//! never an allow.

use std::net::TcpListener;

use serde_json::json;

use super::{User, shown, vector};
use crate::support::root;

#[test]
fn policy_that_is_missing_is_an_error_before_anything_is_fetched() {
    let user = User::new();
    // Nobody answers there: an attempt would be in the message.
    let ended = user.run("verify --policy none.json --output json localhost:1/app");
    ended.assert_error(&["none.json", "No such file", "containers-policy.json(5)"]);
    assert!(!ended.stderr.contains("localhost"), "{ended:?}");
    let document = ended.json();
    let result = &document["results"][0];
    assert_eq!(result["image"], "docker://localhost:1/app:latest");
    assert_eq!(result["verdict"], "error");
    assert_eq!(result["reasons"][0]["code"], "policy-unreadable");
    assert_eq!(user.run("verify --policy none.json dir:app").stdout, "");
}

#[test]
fn no_policy_at_all_names_every_place() {
    if ["/etc", "/usr/share"]
        .iter()
        .any(|folder| std::path::Path::new(folder).join("containers/policy.json").exists())
    {
        eprintln!("SKIPPED: this machine has a policy of its own");
        return;
    }
    let user = User::new();
    let ended = user.run("verify dir:app");
    let own = shown(&user.path(".config/containers/policy.json"));
    ended.assert_error(&[
        "no policy.json file found; searched paths: [",
        &own,
        "/etc/containers/policy.json /usr/share/containers/policy.json]",
        "--policy",
    ]);
}

#[test]
fn policy_that_is_no_file_or_too_large_is_refused() {
    let user = User::new();
    std::fs::create_dir(user.path("folder")).expect("a folder");
    user.run("verify --policy folder dir:app").assert_error(&["\"folder\"", "not a regular file"]);
    user.write("large.json", vec![b' '; 1024 * 1024 + 1]);
    let ended = user.run("verify --policy large.json dir:app");
    ended.assert_error(&["\"large.json\"", "exceeded maximum allowed size of 1048576 bytes"]);
}

#[test]
fn policy_that_is_invalid_is_refused_in_known_words() {
    let user = User::new();
    for (document, words) in [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("{}", "Default policy is missing"),
        (r#"{"default":[]}"#, "List of verification policy requirements must not be empty"),
        (r#"{"default":[{"type":"reject"}],"x":1}"#, "Unknown key \"x\""),
        (
            r#"{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}"#,
            "Duplicate key \"default\"",
        ),
        (r#"{"default":[{"type":"foo"}]}"#, "Unknown policy requirement type \"foo\""),
    ] {
        let policy = user.write("policy.json", document);
        let ended = user.run(&format!("verify --policy {} dir:app", policy.display()));
        let prefix = format!("invalid policy in \"{}\": {words}", policy.display());
        ended.assert_error(&[&prefix]);
    }
}

#[test]
fn policy_that_contradicts_itself_is_refused() {
    let user = User::new();
    let policy = user.policy(json!({
        "type": "signedBy", "keyType": "GPGKeys", "keyPath": "a.gpg", "keyData": "AAAA",
    }));
    let ended = user.run(&format!("verify --policy {} dir:app", policy.display()));
    ended.assert_error(&[&shown(&policy), "keyPath", "keyData", "$.default[0]"]);
}

#[test]
fn scope_of_an_unknown_transport_is_pointed_at() {
    let user = User::new();
    let policy = root().join("tests/data/vectors/policy/syn-transport-unknown/policy.json");
    let ended = user.run(&format!("policy check {}", policy.display()));
    assert!(ended.stdout.contains("warning") && ended.stdout.contains("nosuch"), "{ended:?}");
    // As in the reference implementation, it is accepted and never decides.
    assert_eq!(ended.status, Some(0), "{ended:?}");
}

#[test]
fn scope_that_its_transport_does_not_know_is_refused() {
    let user = User::new();
    let reject = json!([{"type": "reject"}]);
    let document = json!({"default": reject, "transports": {"dir": {"relative": reject}}});
    let policy = user.write("policy.json", document.to_string());
    let ended = user.run(&format!("verify --policy {} dir:app", policy.display()));
    ended.assert_error(&[&shown(&policy), "relative"]);
}

#[test]
fn key_file_that_is_missing_is_named() {
    let user = User::new();
    user.policy(json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "gone.gpg"}));
    user.image("app", &["good-rsa4096"]);
    let ended = user.verify("dir:app");
    assert_eq!(ended.status, Some(2), "{ended:?}");
    assert!(ended.stdout.starts_with("error  dir:app\n"), "{ended:?}");
    assert!(ended.stdout.contains("gone.gpg"), "{ended:?}");
}

#[test]
fn key_file_without_a_key_is_told() {
    let user = User::new();
    for (content, words) in [
        ("empty", "No public keys imported"),
        (
            "garbage",
            "cannot use key file \"key.gpg\": neither a binary nor an ASCII-armoured OpenPGP",
        ),
    ] {
        let key = std::fs::read(vector(&format!("gpg/keys/{content}.pub.gpg"))).expect("a file");
        user.write("key.gpg", key);
        user.policy(json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "key.gpg"}));
        user.image("app", &["good-rsa4096"]);
        let ended = user.verify("dir:app");
        assert_eq!(ended.status, Some(2), "{content}: {ended:?}");
        assert!(ended.stdout.starts_with("error  dir:app\n"), "{content}: {ended:?}");
        assert!(ended.stdout.contains(words), "{content}: {ended:?}");
        assert!(ended.stdout.contains("hint"), "{content}: {ended:?}");
    }
}

#[test]
fn registry_that_cannot_be_reached_is_named() {
    let user = User::new();
    user.policy(json!({"type": "insecureAcceptAnything"}));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    drop(listener);
    for options in ["", &format!("--plain-http {host}")] {
        let ended = user
            .run(&format!("verify --policy policy.json --output json {options} {host}/ns/app:1"));
        assert_eq!((ended.verdicts(), ended.status), (vec!["error".into()], Some(2)), "{ended:?}");
        let document = ended.json();
        let reason = &document["results"][0]["reasons"][0];
        assert_eq!(reason["code"], "registry-unreachable", "{reason}");
        let message = reason["message"].as_str().expect("text");
        assert!(message.contains(&format!("cannot reach {host}")), "{message}");
        assert!(message.contains("check the name, the network"), "{message}");
    }
}

#[test]
fn image_that_is_missing_or_damaged_is_named() {
    let user = User::new();
    user.policy(json!({"type": "insecureAcceptAnything"}));
    user.write("damaged/manifest.json", "<html>");
    user.write("file", "not a tar file");
    for (image, code, words) in [
        ("dir:none", "image-unreadable", "none"),
        ("dir:damaged", "manifest-unusable", "not a JSON manifest"),
        ("oci:none", "image-unreadable", "none/index.json"),
        ("oci-archive:file", "image-unreadable", "file"),
        ("docker-archive:none", "image-unreadable", "none"),
    ] {
        let ended = user.run(&format!("verify --policy policy.json --output json {image}"));
        assert_eq!((ended.verdicts(), ended.status), (vec!["error".into()], Some(2)), "{ended:?}");
        let document = ended.json();
        let reason = &document["results"][0]["reasons"][0];
        assert_eq!(reason["code"], code, "{image}: {reason}");
        assert!(reason["message"].as_str().expect("text").contains(words), "{image}: {reason}");
    }
}
