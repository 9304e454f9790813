//! Several resources, and what becomes of keys when they are deleted.

use super::*;

impl Lab {
    fn wants_since(&self, name: &str, created: &str, more: &Value) {
        let spec = with(json!({"identity": identity(), "algorithm": "ed25519"}), more);
        let mut resource = resource("countersign.dev/v1", name, &spec);
        resource["metadata"]["creationTimestamp"] = created.into();
        self.api.put("imagesignings", resource);
    }
}

const FINALIZER: &str = "countersign.dev/key";

#[tokio::test]
async fn several_resources_have_keys_of_their_own() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({}));
    lab.wants("other", &json!({
        "identity": identity(), "algorithm": "ed25519", "secretName": "other-key", "configMapName": "other-public",
    }));
    lab.look(NOW).await;
    assert_ne!(lab.fingerprint(NOW), lab.key_at("other-key", NOW).fingerprint());
    assert_eq!(
        (lab.ready("release").0, lab.ready("other").0),
        ("True".to_owned(), "True".to_owned())
    );
}

#[tokio::test]
async fn of_two_that_want_the_same_the_older_one_gets_it() {
    for more in [json!({}), json!({"secretName": "another"}), json!({"configMapName": "another"})] {
        let lab = Lab::new().await;
        lab.wants_since("a-younger", "2026-11-25T00:00:00Z", &json!({}));
        lab.wants_since("older", "2026-11-24T00:00:00Z", &more);
        lab.look(NOW).await;
        lab.assert_fault("a-younger", "Superseded", "ImageSigning.countersign.dev/older");
        assert_eq!(lab.ready("older").0, "True");
        // When the older one goes, its key stays, and is not the younger one's but by its wish.
        lab.api.delete("imagesignings/older");
        lab.look(NOW).await;
        let (status, reason) = lab.ready("a-younger");
        let kept = ["SecretExists", "ConfigMapExists"].contains(&reason.as_str());
        assert!(status == "False" && kept, "{status} {reason}");
    }
}

#[tokio::test]
async fn a_key_outlives_its_resource_unless_it_is_told_otherwise() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({}));
    lab.look(NOW).await;
    let resource = lab.api.get("imagesignings/release");
    assert!(resource["metadata"]["finalizers"].is_null(), "{resource}");
    let there = lab.api.get("secrets/signature-secret-key");
    lab.api.delete("imagesignings/release");
    lab.look(NOW).await;
    assert_eq!(lab.api.get("secrets/signature-secret-key"), there);
    assert!(!lab.published("trusted.asc").is_empty());
}

#[tokio::test]
async fn a_key_is_deleted_before_a_resource_that_says_so() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({"deletionPolicy": "Delete"}));
    lab.look(NOW).await;
    lab.fingerprint(NOW);
    assert_eq!(lab.api.get("imagesignings/release")["metadata"]["finalizers"], json!([FINALIZER]));
    lab.api.edit("imagesignings/release", |r| {
        r["metadata"]["deletionTimestamp"] = "2026-11-25T10:00:00Z".into();
    });
    lab.look(NOW).await;
    for gone in
        ["imagesignings/release", "secrets/signature-secret-key", "configmaps/signature-public-key"]
    {
        assert!(lab.api.get(gone).is_null(), "{gone}");
    }
    assert!(lab.api.events().contains(&"KeyDeleted".to_owned()));
    let deletions = lab.api.server.requests().into_iter().filter(|r| r.method == "DELETE");
    assert!(deletions.into_iter().all(|r| r.body.contains("resourceVersion")), "by version alone");
}

#[tokio::test]
async fn a_resource_that_no_longer_wants_it_deletes_nothing() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({"deletionPolicy": "Delete"}));
    lab.look(NOW).await;
    lab.api.edit("imagesignings/release", |r| r["spec"]["deletionPolicy"] = "Retain".into());
    lab.look(NOW).await;
    let finalizers = lab.api.get("imagesignings/release")["metadata"]["finalizers"].clone();
    assert!(finalizers.as_array().is_none_or(Vec::is_empty), "{finalizers}");
    assert_eq!(lab.ready("release").0, "True");
}

#[tokio::test]
async fn nobody_deletes_the_key_of_somebody_else() {
    let lab = Lab::new().await;
    lab.wants_since("older", "2026-11-24T00:00:00Z", &json!({}));
    lab.look(NOW).await;
    let fingerprint = lab.fingerprint(NOW);
    lab.wants_key(&json!({"deletionPolicy": "Delete"}));
    lab.api.edit("imagesignings/release", |r| {
        r["metadata"]["finalizers"] = json!(["other.example.com/x", FINALIZER]);
        r["metadata"]["deletionTimestamp"] = "2026-11-25T10:00:00Z".into();
    });
    lab.look(NOW).await;
    assert_eq!(lab.fingerprint(NOW), fingerprint);
    let finalizers = lab.api.get("imagesignings/release")["metadata"]["finalizers"].clone();
    assert_eq!(finalizers, json!(["other.example.com/x"]));
}
