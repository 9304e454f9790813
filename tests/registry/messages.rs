//! Every failure of a registry names the host, what happened and what to do.

use super::*;

/// The message for this answer to the manifest's request, and how often the manifest was asked for.
async fn message(answer: Answer) -> (String, String, usize) {
    let (server, _) = registry();
    server.always(manifest_path("1"), answer);
    let message = resolve_fault(&server.host(), &client_for(&[&server])).await;
    (server.host(), message, server.requests_to(&manifest_path("1")).len())
}

#[tokio::test]
async fn unauthorized_names_the_host_and_how_to_log_in() {
    let basic = Answer::challenge("Basic realm=\"x\"");
    let (host, said, _) = message(basic).await;
    let image = format!("docker://{host}/ns/app:1");
    let login = format!("podman login {host}");
    assert_says(&said, &[&image, &host, "refuses access to manifest", &login]);
    let (host, said, _) = message(Answer::status(401)).await;
    assert_says(&said, &[&host, "refuses access", "does not say how to authenticate"]);
}

#[tokio::test]
async fn forbidden_repeats_what_the_registry_says() {
    let (host, said, asked) = message(Answer::error(403, "DENIED", "not for you")).await;
    assert_says(&said, &[&host, "refuses access", "not for you", "may pull it"]);
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn not_found_tells_what_to_check() {
    let (host, said, asked) =
        message(Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown")).await;
    assert_says(
        &said,
        &[&host, "has no manifest", "ns/app:1", "manifest unknown", "check the name"],
    );
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn too_many_requests_is_tried_again_then_tells_to_wait() {
    let (host, said, asked) = message(Answer::error(429, "TOOMANYREQUESTS", "slow down")).await;
    assert_says(&said, &[&host, "status 429", "slow down", "wait, or use credentials"]);
    assert_eq!(asked, 3);
}

#[tokio::test]
async fn a_pause_beyond_the_deadline_is_not_waited_for() {
    for seconds in ["3600", &u64::MAX.to_string()] {
        let (_, said, asked) = message(Answer::status(429).header("retry-after", seconds)).await;
        assert_says(&said, &["status 429", "wait"]);
        assert_eq!(asked, 1, "{seconds}");
    }
}

/// The time that has passed and a pause without end have no sum.
#[tokio::test]
async fn a_pause_without_end_after_a_second_is_no_overflow() {
    let (server, _) = registry();
    let pause = |seconds: u64| Answer::status(429).header("retry-after", seconds.to_string());
    server.in_turn(manifest_path("1"), [pause(1), pause(u64::MAX)]);
    let said = resolve_fault(&server.host(), &client_for(&[&server])).await;
    assert_says(&said, &["status 429"]);
    assert_eq!(server.requests_to(&manifest_path("1")).len(), 2);
}

#[tokio::test]
async fn a_failure_that_passes_is_not_noticed() {
    for answer in [
        Answer::status(429).header("retry-after", "0"),
        Answer::status(429).header("retry-after", "soon"),
        Answer::status(500),
        Answer::status(503),
    ] {
        let (server, digest) = registry();
        server.in_turn(manifest_path("1"), [answer, served(manifest("app"), OCI_IMAGE)]);
        let resolved = resolve(&server.host(), &client_for(&[&server])).await;
        assert_eq!(resolved.expect("resolved").digest, digest);
    }
}

#[tokio::test]
async fn a_failing_server_is_tried_again_then_named() {
    for status in [500, 502, 503, 504] {
        let (host, said, asked) = message(Answer::status(status)).await;
        assert_says(&said, &[&host, &format!("status {status}"), "server failed", "try again"]);
        assert_eq!(asked, 3);
    }
}

#[tokio::test]
async fn statuses_without_a_meaning_are_errors() {
    for status in [201, 204, 206, 300, 304, 400, 405, 410, 418, 501] {
        let answer = Answer::status(status).header("content-type", OCI_IMAGE);
        let (host, said, asked) = message(answer).await;
        assert_says(&said, &[&host, &format!("status {status}"), "/v2/ns/app/manifests/1"]);
        assert_eq!(asked, 1);
    }
}

#[tokio::test]
async fn what_a_registry_says_cannot_take_the_terminal_over() {
    let evil = format!("\u{1b}[2J\u{7}\r\n{}", "long ".repeat(1000));
    let (_, said, _) = message(Answer::error(403, "DENIED", &evil)).await;
    assert!(!said.chars().any(char::is_control), "{said:?}");
    assert!(said.len() < 1000, "{said}");
}

#[tokio::test]
async fn a_refused_connection_names_the_host_and_the_network() {
    // An address of loopback where no other test listens, not even a moment later.
    let listener = std::net::TcpListener::bind("127.0.0.2:0").expect("a free port");
    let host = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let client = Client::new(Settings { plain_http: [&host].into_iter().collect(), ..settings() });
    let said = resolve_fault(&host, &client).await;
    assert_says(&said, &["cannot reach", &host, "refused", "check the name, the network"]);
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_named() {
    let said = resolve_fault("registry.invalid", &Client::new(settings())).await;
    assert_says(&said, &["cannot reach registry.invalid", "check the name"]);
}

#[tokio::test]
async fn a_host_that_is_none_is_an_error() {
    let said = resolve_fault("registry.example.com:99999", &Client::new(settings())).await;
    assert_says(&said, &["registry.example.com:99999", "not the name of a host"]);
}
