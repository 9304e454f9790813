//! The API does not do as it is asked.

use super::*;

#[tokio::test]
async fn errors_of_the_api_are_shown_and_tried_again() {
    for (method, part, code, words) in [
        ("POST", "/secrets", 403, "create Secret"),
        ("POST", "/configmaps", 500, "ConfigMap"),
        ("GET", "/secrets", 403, "get Secret"),
    ] {
        let lab = Lab::new().await;
        lab.wants_key(&json!({}));
        lab.api.fail(method, part, code, 1);
        assert_eq!(lab.operator.look(NOW).await.failures, 1);
        let ready = lab.condition("release", "Ready");
        assert_eq!((&ready["status"], &ready["reason"]), (&json!("Unknown"), &json!("ApiError")));
        assert!(ready["message"].as_str().is_some_and(|m| m.contains(words)), "{ready}");
        lab.look(NOW).await;
        assert_eq!(lab.ready("release").0, "True");
    }
}

#[tokio::test]
async fn one_resource_in_trouble_does_not_hold_up_others() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({"secretName": "a-first"}));
    lab.wants("second", &json!({
        "identity": identity(), "algorithm": "ed25519", "secretName": "b-second", "configMapName": "second",
    }));
    lab.api.fail("GET", "/secrets/a-first", 500, 1);
    assert_eq!(lab.operator.look(NOW).await.failures, 1);
    assert_eq!(lab.ready("second").0, "True");
}

#[tokio::test]
async fn nothing_is_done_while_it_is_not_known_who_comes_first() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({}));
    lab.api.fail("GET", "/apis/security.kabanero.io", 403, 1);
    assert_eq!(lab.operator.look(NOW).await.failures, 1);
    assert!(lab.api.get("secrets/signature-secret-key").is_null());
    lab.look(NOW).await;
    lab.fingerprint(NOW);
}

#[tokio::test]
async fn events_are_not_needed() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({}));
    lab.api.fail("POST", "/events", 403, 9);
    lab.look(NOW).await;
    assert_eq!(lab.ready("release").0, "True");
}

#[tokio::test]
async fn what_somebody_else_writes_first_is_looked_at_again() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({"rotation": {"every": "90d"}}));
    lab.look(NOW).await;
    lab.api.fail("PUT", "/secrets", 409, 1);
    lab.api.fail("PUT", "/configmaps", 409, 1);
    lab.look(NOW + 90 * DAY).await;
    assert_eq!(lab.published("trusted.asc").len(), 2);
    lab.api.fail("PUT", "/secrets", 409, 99);
    assert_eq!(lab.operator.look(NOW + 180 * DAY).await.failures, 1);
    assert_eq!(lab.ready("release"), ("Unknown".to_owned(), "ApiError".to_owned()));
}
