//! Who is asked, and who is not.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn the_token_goes_to_the_api_server_alone() {
    let api = Api::start();
    let elsewhere = Server::start();
    api.has_account(&[]);
    api.cluster().await.keyring(&puller(&[])).await.expect("a keyring");
    let requests = api.server.requests();
    assert!(requests.iter().all(|request| request.authorization() == Some("Bearer t0ken")));

    api.server.always(ACCOUNT, Answer::redirect(elsewhere.url(ACCOUNT)));
    let fault = fault(&api.cluster().await, &puller(&[])).await.to_string();
    assert!(fault.contains("status 307"), "{fault}");
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_server_that_nobody_trusted_vouches_for_is_not_asked() {
    let api = Api::start();
    api.has_account(&[]);
    let stranger = Authority::new();
    let config = kubeconfig(&api.server.url(""), Some(&stranger), &json!({})).await;
    let cluster = Cluster::from_config(config).expect("a configuration that can be used");
    let fault = fault(&cluster, &puller(&[])).await.to_string();
    assert!(fault.contains("certificate"), "{fault}");
    assert!(api.server.requests().is_empty());
}

#[tokio::test]
async fn configurations_that_do_not_keep_secrets_secret_are_refused() {
    let insecure = json!({"insecure-skip-tls-verify": true});
    let unverified = kubeconfig("https://127.0.0.1:1", None, &insecure).await;
    let plain = kubeconfig("http://127.0.0.1:1", None, &json!({})).await;
    for (config, words) in [(unverified, "insecure-skip-tls-verify"), (plain, "not https")] {
        let fault = Cluster::from_config(config).expect_err("refused").to_string();
        assert!(fault.contains(words), "{fault}");
    }
}

#[tokio::test]
async fn an_api_that_is_down_is_an_error_that_says_so() {
    let api = Api::start();
    let cluster = api.cluster().await;
    drop(api);
    let fault = fault(&cluster, &puller(&["a"])).await;
    assert!(matches!(fault, ClusterError::Unreadable { .. }), "{fault}");
    assert!(fault.to_string().contains("from the Kubernetes API"), "{fault}");
}

#[tokio::test]
async fn an_api_that_is_silent_is_given_up() {
    let api = Api::start();
    api.server.always(ACCOUNT, Answer::status(200).stalled("{"));
    let deadline = Duration::from_millis(50);
    let cluster = api.cluster().await.with_settings(Settings { deadline, ..Settings::default() });
    let fault = fault(&cluster, &puller(&[])).await;
    assert!(matches!(fault, ClusterError::Deadline { .. }), "{fault}");
    assert!(fault.to_string().contains("within 0.05 s"), "{fault}");
}

#[tokio::test]
async fn an_endless_answer_is_given_up() {
    let api = Api::start();
    api.server.always(ACCOUNT, Answer::status(200).endless());
    let fault = fault(&api.cluster().await, &puller(&[])).await.to_string();
    assert!(fault.contains("larger than 4194304 bytes"), "{fault}");
}

#[tokio::test]
async fn a_missing_right_is_named_with_what_to_do() {
    let api = Api::start();
    api.has_account(&[]);
    for code in [401, 403] {
        let message = "secrets \"a\" is forbidden: s3cret";
        api.server.always(secret_path("a"), status(code, "Forbidden", message));
        let fault = fault(&api.cluster().await, &puller(&["a"])).await;
        assert!(matches!(fault, ClusterError::Forbidden { verb: "get", .. }), "{fault}");
        let shown = format!("{fault} {fault:?}");
        assert!(shown.contains("Secret \"a\" of namespace \"prod\""), "{shown}");
        assert!(shown.contains("grant its service account that right"), "{shown}");
        assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
    }
}

#[tokio::test]
async fn debug_output_shows_no_token() {
    let api = Api::start();
    let shown = format!("{:?}", api.cluster().await);
    assert!(!shown.contains("t0ken"), "{shown}");
}
