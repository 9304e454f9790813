//! A key that is there already.

use sequoia_openpgp::Cert;
use sequoia_openpgp::parse::Parse as _;
use sequoia_openpgp::serialize::SerializeInto as _;

use super::*;

fn import(name: &str) -> Value {
    json!({"import": {"secretRef": {"name": name}}})
}

#[tokio::test]
async fn a_key_is_taken_over_from_another_secret() {
    let lab = Lab::new().await;
    let key = key(None);
    lab.api.put("secrets", secret("old", &[("secret.asc", &armoured(&key))]));
    lab.wants("release", &import("old"));
    lab.look(NOW).await;
    assert_eq!(lab.fingerprint(NOW), key.fingerprint());
    assert_eq!(lab.published("trusted.asc"), [key.fingerprint()]);
    assert_eq!(lab.api.events(), ["KeyImported", "KeysPublished"]);
    lab.assert_kept_secret();
    // The other one is needed no longer, and another one there changes nothing.
    lab.api.put("secrets", secret("old", &[("secret.asc", b"no key")]));
    lab.look(NOW).await;
    assert_eq!(lab.fingerprint(NOW), key.fingerprint());
    lab.api.delete("secrets/old");
    lab.look(NOW).await;
    assert_eq!(lab.ready("release").0, "True");
}

#[tokio::test]
async fn a_key_is_looked_after_where_it_is() {
    let lab = Lab::new().await;
    let key = key(None);
    // As the old task wants it: binary.
    let cert = Cert::from_bytes(&armoured(&key)).expect("a key");
    let binary = cert.as_tsk().to_vec().expect("bytes");
    let mut there = secret("signature-secret-key", &[("secret.asc", &binary), ("registry", b"r")]);
    there["metadata"]["labels"] = json!({"team": "x"});
    lab.api.put("secrets", there);
    let wish = with(
        import("signature-secret-key"),
        &json!({"identity": identity(), "algorithm": "ed25519", "rotation": {"every": "90d"}}),
    );
    lab.wants("release", &wish);
    lab.look(NOW).await;
    let secret = lab.api.get("secrets/signature-secret-key");
    assert_eq!(entry(&secret, "secret.asc"), binary);
    assert_eq!(
        (entry(&secret, "registry"), &secret["metadata"]["labels"]["team"]),
        (b"r".to_vec(), &json!("x"))
    );
    assert_eq!(lab.api.events(), ["KeyAdopted", "KeysPublished"]);
    // Its time begins now.
    lab.look(NOW + 90 * DAY).await;
    let next = lab.fingerprint(NOW + 90 * DAY);
    assert_eq!(lab.published("trusted.asc"), [next, key.fingerprint()]);
}

#[tokio::test]
async fn a_secret_that_nobody_named_is_left_alone() {
    let lab = Lab::new().await;
    lab.api
        .put("secrets", secret("signature-secret-key", &[("secret.asc", &armoured(&key(None)))]));
    let there = lab.api.get("secrets/signature-secret-key");
    lab.wants_key(&json!({}));
    lab.look(NOW).await;
    lab.assert_fault("release", "SecretExists", "spec.import.secretRef");
    assert_eq!(lab.api.get("secrets/signature-secret-key"), there);
    assert!(lab.api.get("configmaps/signature-public-key").is_null());

    lab.api.put("secrets", secret("signature-secret-key", &[("password", b"x")]));
    lab.look(NOW).await;
    lab.assert_fault("release", "SecretUnusable", "secret.asc is not an OpenPGP key");
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
        "metadata": {"name": "signature-public-key", "namespace": "build"},
    });
    lab.api.put("configmaps", map);
    lab.api.delete("secrets/signature-secret-key");
    lab.look(NOW).await;
    lab.assert_fault("release", "ConfigMapExists", "spec.configMapName");
    assert_eq!(lab.api.get("configmaps/signature-public-key")["data"], json!({"a": "b"}));
}

#[tokio::test]
async fn what_is_imported_has_to_be_a_key_that_signs() {
    let (good, other, ended) = (key(None), key(None), key(Some(60)));
    let public = |key: &SecretKey| key.public().armoured().expect("a key").into_bytes();
    for (entries, words) in [
        (vec![("secret.asc", b"s3cret".to_vec())], "not an OpenPGP key"),
        (vec![("other", armoured(&good))], "has no entry \"secret.asc\""),
        (vec![("secret.asc", public(&good))], "it is a public key"),
        (vec![("secret.asc", [armoured(&good), armoured(&other)].concat())], "one is expected"),
        (vec![("secret.asc", armoured(&ended))], "xpired"),
        (
            vec![("secret.asc", armoured(&good)), ("public.asc", public(&other))],
            "does not belong to the secret one",
        ),
        (
            vec![("secret.asc", armoured(&good)), ("public.asc", b"x".to_vec())],
            "the public key is not",
        ),
    ] {
        let lab = Lab::new().await;
        let entries: Vec<_> =
            entries.iter().map(|(name, content)| (*name, content.as_slice())).collect();
        lab.api.put("secrets", secret("old", &entries));
        lab.wants("release", &import("old"));
        lab.look(NOW).await;
        lab.assert_fault("release", "ImportFailed", words);
        assert!(lab.api.get("secrets/signature-secret-key").is_null());
        lab.assert_kept_secret();
        assert!(!lab.status("release").to_string().contains("s3cret"));
    }
    let lab = Lab::new().await;
    lab.wants("release", &import("none"));
    lab.look(NOW).await;
    lab.assert_fault("release", "ImportFailed", "Secret \"none\" is not there");
}
