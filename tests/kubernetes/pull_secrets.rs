//! The credentials of pods.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn secrets_are_got_by_name_in_the_pod_s_namespace_and_nothing_else_is_asked() {
    let api = Api::start();
    api.has_account(&["b", "a"]);
    api.has_pull_secret("a", "h.example", "of a");
    api.has_pull_secret("b", "h.example", "of b");
    let keyring = api.cluster().await.keyring(&puller(&["a", "a", ""])).await.expect("a keyring");
    // The pod's own come first, and nothing is asked twice.
    assert_eq!(*keyring.id(), id_of(&[("h.example", "of a"), ("h.example", "of b")]));
    assert!(keyring.warnings().is_empty());
    let secret = |name| format!("GET {}", secret_path(name));
    assert_eq!(api.asked(), [secret("a"), secret("b"), format!("GET {ACCOUNT}")]);
}

#[tokio::test]
async fn both_types_of_pull_secrets_are_read() {
    let api = Api::start();
    api.has_account(&["default-dockercfg-x"]);
    let config = json!({"h.example": {"username": "u", "password": "s3cret"}}).to_string();
    api.has_secret("default-dockercfg-x", "kubernetes.io/dockercfg", ".dockercfg", &config);
    let keyring = api.cluster().await.keyring(&puller(&[])).await.expect("a keyring");
    assert_eq!(*keyring.id(), id_of(&[("h.example", "u")]));
}

#[tokio::test]
async fn what_does_not_exist_is_passed_over_and_told() {
    let api = Api::start();
    api.has_pull_secret("a", "h.example", "u");
    api.has_secret("opaque", "Opaque", ".dockerconfigjson", "s3cret");
    api.has_secret("empty", "kubernetes.io/dockerconfigjson", "other", "s3cret");
    let names = ["missing", "a", "opaque", "empty"];
    let keyring = api.cluster().await.keyring(&puller(&names)).await.expect("a keyring");
    assert_eq!(*keyring.id(), id_of(&[("h.example", "u")]));
    let told = keyring.warnings().join("\n");
    for words in [
        "Secret \"missing\" of namespace \"prod\" does not exist",
        "service account \"default\" of namespace \"prod\" does not exist",
        "Secret \"opaque\" of namespace \"prod\" has type \"Opaque\"",
        "Secret \"empty\" of namespace \"prod\" has no .dockerconfigjson",
    ] {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }
    assert!(!told.contains("s3cret"));
}

#[tokio::test]
async fn row_9_cve_2025_46342_a_failed_lookup_is_an_error_and_not_an_empty_answer() {
    let api = Api::start();
    api.has_pull_secret("a", "h.example", "u");
    let cluster = api.cluster().await;
    for path in [ACCOUNT.to_owned(), secret_path("a")] {
        for answer in [
            status(500, "InternalError", "etcd is away"),
            status(429, "TooManyRequests", "later"),
            status(410, "Gone", "gone"),
            Answer::ok(""),
            Answer::ok("s3cret"),
            Answer::ok(r#"{"imagePullSecrets":[{"name":["s3cret"]}],"data":["s3cret"]}"#),
            Answer::ok(r#"{"type":"#).truncated("{", 100),
        ] {
            api.has_account(&[]);
            api.has_pull_secret("a", "h.example", "u");
            api.server.always(path.clone(), answer);
            let fault = fault(&cluster, &puller(&["a"])).await;
            assert!(matches!(fault, ClusterError::Unreadable { .. }), "{fault}");
            let shown = format!("{fault} {fault:?}");
            assert!(shown.contains("namespace \\\"prod\\\""), "{shown}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
    // An error is not remembered.
    api.has_account(&[]);
    api.has_pull_secret("a", "h.example", "u");
    cluster.keyring(&puller(&["a"])).await.expect("a keyring");
}

#[tokio::test]
async fn a_pull_secret_that_cannot_be_understood_is_an_error_without_its_content() {
    let api = Api::start();
    api.has_account(&[]);
    let cluster = api.cluster().await;
    for content in ["s3cret", r#"{"auths":{"h":{"auth":"s3cret"}}}"#, r#"{"auths":["s3cret"]}"#] {
        let kind = "kubernetes.io/dockerconfigjson";
        api.has_secret("a", kind, ".dockerconfigjson", content);
        let fault = fault(&cluster, &puller(&["a"])).await;
        assert!(matches!(fault, ClusterError::Credentials(_)), "{fault}");
        let shown = format!("{fault} {fault:?}");
        assert!(shown.contains("Secret \"a\" of namespace \"prod\""), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[tokio::test]
async fn row_12_cve_2026_22039_names_that_lead_to_another_namespace_are_not_asked_for() {
    let api = Api::start();
    api.has_account(&[]);
    let cluster = api.cluster().await;
    let elsewhere = "../../kube-system/secrets/token";
    let mut pullers = vec![puller(&[elsewhere]), puller(&["a/b"]), puller(&["a?watch=true"])];
    pullers.push(Puller { namespace: "../x".to_owned(), ..puller(&[]) });
    pullers.push(Puller { namespace: String::new(), ..puller(&[]) });
    pullers.push(Puller { service_account: elsewhere.to_owned(), ..puller(&[]) });
    for puller in &pullers {
        let fault = fault(&cluster, puller).await;
        assert!(matches!(fault, ClusterError::Name { .. }), "{fault}");
    }
    assert!(api.server.requests().is_empty());
    // Nor those that a service account names.
    api.has_account(&[elsewhere]);
    assert!(matches!(fault(&cluster, &puller(&[])).await, ClusterError::Name { .. }));
    assert_eq!(api.asked(), [format!("GET {ACCOUNT}")]);
}

#[tokio::test]
async fn row_12_cve_2026_22039_other_namespaces_than_the_configured_are_not_read() {
    let api = Api::start();
    api.has_account(&[]);
    api.has_pull_secret("a", "h.example", "u");
    let from = |namespace: &str| Settings {
        secrets_from: SecretsFrom::Namespaces(vec![namespace.to_owned()]),
        ..Settings::default()
    };
    let cluster = api.cluster().await.with_settings(from("pro"));
    let keyring = cluster.keyring(&puller(&["a"])).await.expect("an empty keyring");
    assert_eq!(keyring.id(), Keyring::default().id());
    assert!(keyring.warnings()[0].contains("namespace \"prod\" are not read"));
    assert!(api.server.requests().is_empty());

    let cluster = api.cluster().await.with_settings(from("prod"));
    let keyring = cluster.keyring(&puller(&["a"])).await.expect("a keyring");
    assert_eq!(*keyring.id(), id_of(&[("h.example", "u")]));
}

#[tokio::test]
async fn there_is_an_end_to_the_pull_secrets_of_a_pod() {
    let api = Api::start();
    api.has_account(&[]);
    let names: Vec<String> = (0..33).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cluster = api.cluster().await;
    let too_many = fault(&cluster, &puller(&names)).await;
    assert!(matches!(too_many, ClusterError::TooMany { limit: 32, .. }), "{too_many}");
    assert!(api.server.requests().is_empty());
    cluster.keyring(&puller(&names[..32])).await.expect("a keyring");
    api.has_account(&names);
    let too_many = fault(&cluster, &puller(&[])).await;
    assert!(matches!(too_many, ClusterError::TooMany { limit: 32, .. }), "{too_many}");
}

#[tokio::test]
async fn a_keyring_is_remembered_for_its_puller_alone() {
    let api = Api::start();
    api.has_account(&[]);
    api.has_pull_secret("a", "h.example", "of a");
    api.has_pull_secret("b", "h.example", "of b");
    let cluster = api.cluster().await;
    for _ in 0..3 {
        let a = cluster.keyring(&puller(&["a"])).await.expect("a keyring");
        assert_eq!(*a.id(), id_of(&[("h.example", "of a")]));
        let b = cluster.clone().keyring(&puller(&["b"])).await.expect("a keyring");
        assert_eq!(*b.id(), id_of(&[("h.example", "of b")]));
    }
    assert_eq!(api.server.requests_to(&secret_path("a")).len(), 1);
    assert_eq!(api.server.requests_to(ACCOUNT).len(), 2);
    let other = Puller { namespace: "dev".to_owned(), ..puller(&["a"]) };
    let other = cluster.keyring(&other).await.expect("a keyring");
    assert_eq!(other.id(), Keyring::default().id());
}

#[tokio::test]
async fn a_keyring_past_its_time_is_not_used_when_the_api_is_down() {
    let api = Api::start();
    api.has_account(&[]);
    let settings = Settings { keyrings_for: Duration::ZERO, ..Settings::default() };
    let cluster = api.cluster().await.with_settings(settings);
    cluster.keyring(&puller(&[])).await.expect("a keyring");
    api.server.always(ACCOUNT, status(503, "ServiceUnavailable", ""));
    let fault = fault(&cluster, &puller(&[])).await;
    assert!(fault.to_string().contains("status 503 (ServiceUnavailable)"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_at_the_same_time_are_one_question() {
    let api = Api::start();
    // The API answers when all have asked.
    let (all_asked, gate) = std::sync::mpsc::channel();
    let account = json!({"imagePullSecrets": []}).to_string();
    api.server.on(ACCOUNT, move |_| {
        gate.recv().expect("all have asked");
        Answer::ok(account.clone())
    });
    let cluster = api.cluster().await;
    let puller = puller(&[]);
    let mut waiting: Vec<_> = (0..16).map(|_| Box::pin(cluster.keyring(&puller))).collect();
    for question in &mut waiting {
        assert!(futures_util::poll!(question.as_mut()).is_pending());
    }
    // One of them runs out of time; the others do not mind.
    drop(waiting.remove(0));
    all_asked.send(()).expect("the API waits");
    let answers = futures_util::future::join_all(waiting).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(api.server.requests_to(ACCOUNT).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_any_more_is_remembered_still() {
    let api = Api::start();
    let (given_up, gate) = std::sync::mpsc::channel();
    let account = json!({"imagePullSecrets": []}).to_string();
    api.server.on(ACCOUNT, move |_| {
        gate.recv().expect("the question is given up");
        Answer::ok(account.clone())
    });
    let cluster = api.cluster().await;
    let puller = puller(&[]);
    let mut question = Box::pin(cluster.keyring(&puller));
    assert!(futures_util::poll!(question.as_mut()).is_pending());
    drop(question);
    given_up.send(()).expect("the API waits");
    cluster.keyring(&puller).await.expect("a keyring");
    assert_eq!(api.server.requests_to(ACCOUNT).len(), 1);
}

#[tokio::test]
async fn an_error_is_shared_by_those_who_wait_and_by_nobody_after() {
    let api = Api::start();
    api.server.in_turn(ACCOUNT, [status(500, "InternalError", ""), Answer::ok("{}")]);
    let cluster = api.cluster().await;
    let puller = puller(&[]);
    let both = futures_util::future::join(cluster.keyring(&puller), cluster.keyring(&puller)).await;
    assert!(both.0.is_err() && both.1.is_err());
    cluster.keyring(&puller).await.expect("a keyring");
}
