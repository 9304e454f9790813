//! `countersign inspect`: every signature, and what it is worth.

use serde_json::json;

use super::{AMD64, LAB, RSA4096, User};

#[test]
fn every_signature_is_shown_with_its_worth() {
    let user = User::new();
    user.signed_by("rsa4096");
    user.image("app", &["good-ed25519", "good-rsa4096"]);
    let ended = user.run(&format!("inspect {LAB} --output json dir:app"));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let document = ended.json();
    let result = &document["results"][0];
    assert_eq!(result["digest"], AMD64);
    let signatures = result["signatures"].as_array().expect("signatures");
    assert_eq!(signatures.len(), 2, "{document}");
    let [ed25519, rsa4096] = [&signatures[0], &signatures[1]];
    assert!(ed25519["source"].as_str().expect("text").ends_with("app/signature-1"));
    assert_eq!(ed25519["claims"], json!([]));
    assert_eq!(ed25519["reasons"][0]["requirement"], 0);
    assert_eq!(rsa4096["claims"][0]["key"], RSA4096);
    assert_eq!(rsa4096["claims"][0]["requirement"], 0);
    assert_eq!(rsa4096["reasons"], json!([]));
    assert!(!rsa4096["issuers"].as_array().expect("issuers").is_empty(), "{document}");

    let text = user.run(&format!("inspect {LAB} dir:app"));
    assert!(text.stdout.contains("accepted by requirement 0"), "{text:?}");
    assert!(text.stdout.contains("rejected by requirement 0"), "{text:?}");
}

#[test]
fn signatures_are_shown_even_if_the_policy_looks_at_none() {
    let user = User::new();
    user.policy(json!({"type": "reject"}));
    user.image("app", &["good-rsa4096"]);
    let document = user.run(&format!("inspect {LAB} --output json dir:app")).json();
    assert_eq!(document["results"][0]["signatures"].as_array().expect("some").len(), 1);
}

#[test]
fn absence_is_said_and_no_error() {
    let user = User::new();
    user.signed_by("rsa4096");
    user.image("app", &[]);
    let ended = user.run(&format!("inspect {LAB} dir:app"));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("no signature was found"), "{ended:?}");
}

#[test]
fn image_that_is_missing_is_an_error() {
    let user = User::new();
    user.policy(json!({"type": "reject"}));
    user.run(&format!("inspect {LAB} dir:none")).assert_error(&["dir:none", "No such file"]);
}
