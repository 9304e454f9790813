//! Resources of Kabanero, with private keys where they do not belong.

use super::*;

const VERSION: &str = "security.kabanero.io/v1alpha1";

impl Lab {
    fn kabanero_wants(&self, name: &str, spec: &Value, status: &Value) {
        let mut resource = resource(VERSION, name, spec);
        if !status.is_null() {
            resource["status"] = status.clone();
        }
        self.api.put("imagesignings", resource);
    }
}

fn text(key: &SecretKey) -> String {
    String::from_utf8(armoured(key)).expect("armour")
}

fn public(key: &SecretKey) -> String {
    key.public().armoured().expect("a key")
}

#[tokio::test]
async fn a_key_of_the_spec_is_taken_over_and_its_owner_told_to_remove_it() {
    let lab = Lab::new().await;
    let key = key(None);
    let pair = json!({"keypair": {"secretKey": text(&key), "publicKey": public(&key)}});
    lab.kabanero_wants("old", &pair, &Value::Null);
    lab.look(NOW).await;
    assert_eq!(lab.fingerprint(NOW), key.fingerprint());
    assert_eq!(lab.published("trusted.asc"), [key.fingerprint()]);
    assert_eq!(lab.ready("old").0, "True");
    let exposed = lab.condition("old", "KeyExposed");
    assert_eq!((&exposed["status"], &exposed["reason"]), (&json!("True"), &json!("KeyInSpec")));
    assert!(exposed["message"].as_str().is_some_and(|m| m.contains("remove it")), "{exposed}");
    assert!(lab.api.events().contains(&"KeyInSpec".to_owned()));
    let status = lab.status("old");
    assert!(status["secretKey"].is_null() && !status.to_string().contains("PRIVATE"));
    assert_eq!(status["publicKey"], public(&key));
    lab.assert_kept_secret();

    let applied = "kubectl.kubernetes.io/last-applied-configuration";
    lab.api.edit("imagesignings/old", |resource| {
        resource["metadata"]["annotations"][applied] = resource["spec"].to_string().into();
        resource["spec"] = json!({});
    });
    lab.look(NOW).await;
    assert_eq!(lab.condition("old", "KeyExposed")["reason"], "KeyInSpec");
    lab.api.edit("imagesignings/old", |resource| {
        resource["metadata"]["annotations"] = json!({});
    });
    lab.look(NOW).await;
    assert_eq!(lab.condition("old", "KeyExposed")["status"], "False");
    assert_eq!(lab.fingerprint(NOW), key.fingerprint());
    assert_eq!(lab.ready("old").0, "True");
}

#[tokio::test]
async fn a_key_of_the_status_is_taken_out_when_the_secret_has_it() {
    let lab = Lab::new().await;
    let key = key(None);
    let spec = json!({"identity": identity()});
    let status = json!({"generated": true, "secretKey": text(&key), "publicKey": public(&key)});
    lab.kabanero_wants("old", &spec, &status);
    // As the old operator made it: it would be deleted with the resource.
    let mut there = secret("signature-secret-key", &[("secret.asc", &armoured(&key))]);
    there["metadata"]["ownerReferences"] = json!([
        {"apiVersion": VERSION, "kind": "ImageSigning", "name": "old", "uid": "u", "controller": true},
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "v"},
    ]);
    lab.api.put("secrets", there);
    lab.look(NOW).await;
    assert_eq!(lab.fingerprint(NOW), key.fingerprint());
    let owners = lab.api.get("secrets/signature-secret-key")["metadata"]["ownerReferences"].clone();
    assert_eq!(owners.as_array().map(Vec::len), Some(1), "{owners}");
    let status = lab.status("old");
    assert!(status["secretKey"].is_null(), "{status}");
    assert_eq!((&status["generated"], &status["publicKey"]), (&json!(true), &json!(public(&key))));
    assert_eq!(lab.condition("old", "KeyExposed")["reason"], "KeyRemoved");
    let writes = lab.api.asked("PATCH").len();
    lab.look(NOW).await;
    assert_eq!(lab.api.asked("PATCH").len(), writes);
    lab.assert_kept_secret();

    lab.api.delete("imagesignings/old");
    lab.look(NOW).await;
    assert_eq!(lab.fingerprint(NOW), key.fingerprint());
}

#[tokio::test]
async fn a_key_of_the_status_that_no_secret_has_stays() {
    let lab = Lab::new().await;
    let (in_spec, in_status) = (key(None), key(None));
    let pair = json!({"keypair": {"secretKey": text(&in_spec), "publicKey": public(&in_spec)}});
    lab.kabanero_wants("old", &pair, &json!({"secretKey": text(&in_status)}));
    lab.look(NOW).await;
    assert_eq!(lab.fingerprint(NOW), in_spec.fingerprint());
    assert_eq!(lab.status("old")["secretKey"], text(&in_status));
    lab.api.edit("imagesignings/old", |resource| resource["spec"] = json!({}));
    lab.look(NOW).await;
    lab.assert_fault("old", "ImportFailed", &in_spec.fingerprint());
    assert_eq!(lab.condition("old", "KeyExposed")["reason"], "KeyInStatus");
    assert_eq!(lab.fingerprint(NOW), in_spec.fingerprint());
    lab.assert_kept_secret();
}

#[tokio::test]
async fn a_pair_that_does_not_fit_or_is_none_is_an_error() {
    let (one, other) = (key(None), key(None));
    for (pair, words) in [
        (json!({"secretKey": text(&one), "publicKey": public(&other)}), "does not belong"),
        (json!({"secretKey": "s3cret", "publicKey": ""}), "not an OpenPGP key"),
        (json!({"secretKey": public(&one)}), "it is a public key"),
    ] {
        let lab = Lab::new().await;
        lab.kabanero_wants("old", &json!({"keypair": pair, "identity": identity()}), &Value::Null);
        lab.look(NOW).await;
        lab.assert_fault("old", "ImportFailed", words);
        assert!(lab.api.get("secrets/signature-secret-key").is_null());
        let status = lab.status("old").to_string();
        assert!(!status.contains("s3cret"), "{status}");
        lab.assert_kept_secret();
    }
}

#[tokio::test]
async fn an_identity_makes_a_key_that_is_not_in_the_resource() {
    let lab = Lab::new().await;
    lab.kabanero_wants("old", &json!({"identity": identity()}), &Value::Null);
    lab.look(NOW).await;
    let status = lab.status("old");
    assert_eq!(status["fingerprint"], lab.fingerprint(NOW).as_str());
    assert!(status["secretKey"].is_null() && status["errorMessage"].is_null());
    assert!(lab.condition("old", "KeyExposed").is_null());
    lab.assert_kept_secret();
}

#[tokio::test]
async fn a_resource_of_our_own_takes_the_place_of_one_of_kabanero() {
    let lab = Lab::new().await;
    lab.kabanero_wants("old", &json!({"identity": identity()}), &Value::Null);
    lab.look(NOW).await;
    let fingerprint = lab.fingerprint(NOW);
    lab.wants_key(&json!({}));
    lab.look(NOW).await;
    lab.assert_fault("release", "SecretExists", "ImageSigning.security.kabanero.io/old");
    lab.assert_fault("old", "Superseded", "ImageSigning.countersign.dev/release");
    lab.wants_key(&json!({"import": {"secretRef": {"name": "signature-secret-key"}}}));
    lab.look(NOW).await;
    assert_eq!(lab.fingerprint(NOW), fingerprint);
    assert_eq!(lab.ready("release").0, "True");
    lab.api.delete("imagesignings/old");
    lab.look(NOW).await;
    assert_eq!(lab.ready("release").0, "True");
}

#[tokio::test]
async fn clusters_that_never_had_kabanero_are_looked_after() {
    let lab = Lab::new().await;
    lab.api.without("security.kabanero.io");
    lab.wants_key(&json!({}));
    lab.look(NOW).await;
    assert_eq!(lab.ready("release").0, "True");
    lab.api.without("countersign.dev");
    assert_eq!(lab.operator.look(NOW).await.failures, 1);
}
