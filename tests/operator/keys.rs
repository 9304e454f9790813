//! A key is made: once, and only once.

use countersign::operator::resource::{ImageSigning, ImageSigningStatus};
use serde::Deserialize as _;

use super::*;

#[tokio::test]
async fn a_key_is_made_and_published_and_signs() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({}));
    lab.look(NOW).await;
    let fingerprint = lab.fingerprint(NOW);
    assert_eq!(lab.published("public.asc"), [fingerprint.as_str()]);
    assert_eq!(lab.published("trusted.asc"), [fingerprint.as_str()]);
    let status = lab.status("release");
    ImageSigningStatus::deserialize(&status).expect("a status");
    assert_eq!(status["fingerprint"], fingerprint.as_str());
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["expires"], "2028-11-24T09:46:40Z");
    assert_eq!(lab.ready("release"), ("True".to_owned(), "KeyPublished".to_owned()));
    assert_eq!(lab.condition("release", "Ready")["lastTransitionTime"], "2026-11-25T09:46:40Z");
    assert_eq!(lab.api.events(), ["KeyMade", "KeysPublished"]);
    let secret = lab.api.get("secrets/signature-secret-key");
    assert!(secret["metadata"]["ownerReferences"].is_null(), "the key outlives the resource");
    ImageSigning::deserialize(&lab.api.get("imagesignings/release")).expect("a resource");
    lab.assert_kept_secret();
}

#[tokio::test]
async fn a_key_is_made_once_however_often_the_operator_begins() {
    let mut lab = Lab::new().await;
    lab.wants_key(&json!({}));
    lab.look(NOW).await;
    let fingerprint = lab.fingerprint(NOW);
    let before = lab.api.server.requests().len();
    lab.restart().await;
    lab.look(NOW + DAY).await;
    assert_eq!(lab.fingerprint(NOW), fingerprint);
    let after = lab.api.server.requests();
    assert!(after[before..].iter().all(|request| request.method == "GET"), "nothing is written");

    // A resource that was made anew gets its key back, and so does one whose status was lost.
    lab.api.delete("imagesignings/release");
    lab.look(NOW + DAY).await;
    lab.wants_key(&json!({}));
    lab.look(NOW + DAY).await;
    assert_eq!(lab.fingerprint(NOW), fingerprint);
    assert_eq!(lab.status("release")["fingerprint"], fingerprint.as_str());
}

#[tokio::test]
async fn an_operator_that_is_cut_off_anywhere_goes_on_where_it_was() {
    for (method, part) in [
        ("POST", "/secrets"),
        ("POST", "/configmaps"),
        ("PATCH", "/status"),
        ("GET", "/configmaps"),
        ("GET", "/secrets"),
    ] {
        let mut lab = Lab::new().await;
        lab.wants_key(&json!({}));
        lab.api.lose_answer(method, part);
        assert_eq!(lab.operator.look(NOW).await.failures, 1, "{method} {part}");
        let made = lab.api.get("secrets/signature-secret-key");
        lab.restart().await;
        lab.look(NOW).await;
        let secret = lab.api.get("secrets/signature-secret-key");
        assert!(made.is_null() || made == secret, "{method} {part}: the key is another one");
        assert_eq!(lab.api.asked("POST /api/v1/namespaces/build/secrets").len(), 1);
        assert_eq!(lab.published("trusted.asc"), [lab.fingerprint(NOW)]);
        assert_eq!(lab.ready("release").0, "True");
    }
}

#[tokio::test]
async fn a_key_that_is_gone_is_not_replaced_unless_it_is_revoked() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({}));
    lab.look(NOW).await;
    let fingerprint = lab.fingerprint(NOW);
    lab.api.delete("secrets/signature-secret-key");
    lab.look(NOW).await;
    lab.assert_fault("release", "SecretMissing", &fingerprint);
    assert!(lab.api.get("secrets/signature-secret-key").is_null());
    assert_eq!(lab.status("release")["fingerprint"], fingerprint.as_str());
    lab.api.edit("imagesignings/release", |resource| {
        resource["spec"]["revoked"] = json!([fingerprint]);
    });
    lab.look(NOW).await;
    let next = lab.fingerprint(NOW);
    assert_ne!(next, fingerprint);
    assert_eq!(lab.published("trusted.asc"), [next]);
    assert_eq!(lab.ready("release").0, "True");
}

#[tokio::test]
async fn a_config_map_that_was_changed_or_deleted_is_written_again() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({"configMapName": "keys"}));
    lab.look(NOW).await;
    let there = lab.api.get("configmaps/keys");
    lab.api.edit("configmaps/keys", |map| map["data"]["trusted.asc"] = "another".into());
    lab.look(NOW).await;
    assert_eq!(lab.api.get("configmaps/keys")["data"], there["data"]);
    lab.api.delete("configmaps/keys");
    lab.look(NOW).await;
    assert_eq!(lab.api.get("configmaps/keys")["data"], there["data"]);
}

#[tokio::test]
async fn a_passphrase_protects_what_is_made() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({"passphrase": {"secretRef": {"name": "words"}}}));
    lab.look(NOW).await;
    lab.assert_fault("release", "NoPassphrase", "Secret \"words\" has no entry \"passphrase\"");
    lab.api.put("secrets", secret("words", &[("passphrase", b"s3cret\nmore")]));
    lab.look(NOW).await;
    let content = entry(&lab.api.get("secrets/signature-secret-key"), "secret.asc");
    SigningKey::read(&content, None, NOW).expect_err("protected");
    SigningKey::read(&content, Some(b"s3cret"), NOW).expect("a key");
    assert_eq!(lab.ready("release").0, "True");
    let everything = lab.api.written_elsewhere().iter().map(|r| r.everything()).collect::<String>();
    assert!(!everything.contains("s3cret"));
}

#[tokio::test]
async fn every_algorithm_makes_a_key_that_signs() {
    for (algorithm, expected) in [("p256", "nistp256"), ("rsa2048", "rsa2048")] {
        let lab = Lab::new().await;
        lab.wants_key(&json!({"algorithm": algorithm, "expires": "never"}));
        lab.look(NOW).await;
        lab.fingerprint(NOW);
        let content = entry(&lab.api.get("secrets/signature-secret-key"), "secret.asc");
        let key = SecretKey::read(&content).expect("a key").describe(NOW);
        assert_eq!(key.parts[0].algorithm, expected);
        assert_eq!(key.users, ["Release <release@example.com>"]);
        assert!(lab.status("release")["expires"].is_null());
    }
}

#[tokio::test]
async fn what_cannot_be_followed_makes_no_key_and_is_told_once() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({"expires": "tomorrow"}));
    for _ in 0..3 {
        lab.look(NOW).await;
    }
    lab.assert_fault("release", "InvalidSpec", "spec.expires");
    assert!(lab.api.get("secrets/signature-secret-key").is_null());
    assert_eq!(lab.api.events(), ["InvalidSpec"]);
    assert_eq!(lab.api.asked("PATCH").len(), 1, "what was said is not said again");
    lab.wants_key(&json!({}));
    lab.look(NOW + 60).await;
    assert_eq!(lab.ready("release").0, "True");
    assert_eq!(lab.condition("release", "Ready")["lastTransitionTime"], "2026-11-25T09:47:40Z");
}

#[tokio::test]
async fn a_key_that_has_ended_is_told() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({"expires": "30d"}));
    let round = lab.look(NOW).await;
    assert_eq!(round.again, Some(NOW + 30 * DAY));
    lab.look(NOW + 30 * DAY).await;
    lab.assert_fault("release", "KeyExpired", "spec.rotation");
}
