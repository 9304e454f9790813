//! Bodies that are too long, end too early or never.

use std::time::Duration;

use countersign::registry::{Client, RegistryError, Settings};

use super::*;

/// A manifest with so many bytes.
fn manifest_of(size: usize) -> Vec<u8> {
    let mut body = manifest("app").into_bytes();
    body.resize(size, b' ');
    body
}

async fn fetch(answer: Answer) -> Result<usize, RegistryError> {
    let (server, _) = registry();
    server.always(manifest_path("1"), answer);
    let fetched = client_for(&[&server]).manifest(&tagged(&server.host())).await?;
    Ok(fetched.content.len())
}

#[tokio::test]
async fn row_44_cve_2020_1702_reads_a_manifest_of_4_mib() {
    let body = manifest_of(MIB_4);
    assert_eq!(fetch(Answer::ok(body.clone())).await.expect("declared"), MIB_4);
    assert_eq!(fetch(Answer::status(200).chunked(body)).await.expect("not declared"), MIB_4);
}

#[tokio::test]
async fn row_44_cve_2020_1702_refuses_a_manifest_of_4_mib_and_one_byte() {
    let body = manifest_of(MIB_4 + 1);
    for answer in [Answer::ok(body.clone()), Answer::status(200).chunked(body)] {
        let fault = fetch(answer).await.expect_err("too large");
        assert!(matches!(fault, RegistryError::TooLarge { limit: MIB_4, .. }), "{fault}");
        assert_says(
            &fault.to_string(),
            &["exceeded maximum allowed size of 4194304 bytes", "/v2/ns/app/manifests/1"],
        );
    }
}

/// Also row 6 (CVE-2023-42813 to 42816: unbounded manifests).
#[tokio::test]
async fn row_44_cve_2020_1702_gives_an_endless_manifest_up() {
    let fault = fetch(Answer::status(200).endless()).await.expect_err("endless");
    assert!(matches!(fault, RegistryError::TooLarge { .. }), "{fault}");
}

#[tokio::test]
async fn row_44_cve_2020_1702_refuses_a_declared_terabyte_unread() {
    let server =
        Server::start_raw("HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\n{\"schemaVe");
    let fault = manifest_fault(&tagged(&server.host()), &client_for(&[&server])).await;
    assert!(matches!(fault, RegistryError::TooLarge { .. }), "{fault}");
}

#[tokio::test]
async fn row_44_cve_2020_1702_gives_an_endless_error_up() {
    let (server, _) = registry();
    server.always(manifest_path("1"), Answer::status(403).endless());
    let fault = manifest_fault(&tagged(&server.host()), &client_for(&[&server])).await;
    assert!(matches!(fault, RegistryError::Unauthorized { .. }), "{fault}");
}

#[tokio::test]
async fn gives_endless_headers_up() {
    let start = "HTTP/1.1 200 OK\r\n";
    let server = Server::start_raw_endless(start, "x-more: more\r\n");
    let fault = manifest_fault(&tagged(&server.host()), &client_for(&[&server])).await;
    assert!(matches!(fault, RegistryError::Unreachable { .. }), "{fault}");
    let server = Server::start_raw_endless("HTTP/1.1 200 OK\r\nx-long: ", "long");
    let fault = manifest_fault(&tagged(&server.host()), &client_for(&[&server])).await;
    assert!(matches!(fault, RegistryError::Unreachable { .. }), "{fault}");
}

#[tokio::test]
async fn bytes_behind_the_declared_length_are_not_read() {
    let body = manifest("app");
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {OCI_IMAGE}\r\ncontent-length: {}\r\n\r\n{body}{}",
        body.len(),
        manifest("smuggled"),
    );
    let server = Server::start_raw(answer);
    let resolved = resolve(&server.host(), &client_for(&[&server])).await.expect("resolved");
    assert_eq!(resolved.digest, Digest::sha256(body.as_bytes()));
    assert_eq!(resolved.manifest, body.as_bytes());
}

#[tokio::test]
async fn a_declared_length_that_is_too_short_gives_no_manifest() {
    let body = manifest("app");
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len() - 1);
    let server = Server::start_raw(answer);
    let message = resolve_fault(&server.host(), &client_for(&[&server])).await;
    assert_says(&message, &["cannot use the manifest", "not a JSON manifest"]);
}

#[tokio::test]
async fn a_truncated_manifest_is_an_error() {
    let body = manifest("app");
    let declared = body.len() as u64 + 1;
    for answer in [
        Answer::status(200).truncated(body.clone(), declared),
        Answer::status(200).truncated(&body[..20], declared),
    ] {
        let (server, _) = registry();
        server.always(manifest_path("1"), answer);
        let fault = manifest_fault(&tagged(&server.host()), &client_for(&[&server])).await;
        assert!(matches!(fault, RegistryError::Unreachable { .. }), "{fault}");
        assert_says(&fault.to_string(), &[&server.host(), "check the name, the network"]);
    }
}

#[tokio::test]
async fn a_stalled_manifest_is_an_error() {
    for answer in [
        Answer::status(200).stalled(Vec::new()),
        Answer::status(200).stalled(&manifest("app")[..20]),
        // Even a complete manifest is not taken before the answer has ended.
        Answer::status(200).stalled(manifest("app")),
    ] {
        let (server, _) = registry();
        server.always(manifest_path("1"), answer);
        let client = impatient_client_for(&server);
        let fault = manifest_fault(&tagged(&server.host()), &client).await;
        assert!(matches!(fault, RegistryError::Unreachable { .. }), "{fault}");
        assert_says(&fault.to_string(), &[&server.host(), "fell silent"]);
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_an_error() {
    let server = Server::start_silent();
    let fault = manifest_fault(&tagged(&server.host()), &impatient_client_for(&server)).await;
    assert_says(&fault.to_string(), &["cannot reach", &server.host(), "fell silent"]);
}

#[tokio::test]
async fn the_deadline_ends_what_the_read_timeout_would_allow() {
    let (server, _) = registry();
    server.always(manifest_path("1"), Answer::status(200).stalled("{"));
    let deadline = Duration::from_millis(300);
    let client = Client::new(Settings { deadline, ..settings_for(&[&server]) });
    let fault = manifest_fault(&tagged(&server.host()), &client).await;
    assert!(matches!(fault, RegistryError::Deadline { .. }), "{fault}");
    assert_says(&fault.to_string(), &[&server.host(), "0.3 s", "try again"]);
}

#[tokio::test]
async fn what_is_not_http_is_an_error() {
    for answer in ["", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 0 \r\n\r\n", "\u{0}\u{1}\u{2}"] {
        let server = Server::start_raw(answer);
        let fault = manifest_fault(&tagged(&server.host()), &client_for(&[&server])).await;
        assert!(matches!(fault, RegistryError::Unreachable { .. }), "{answer:?}: {fault}");
        assert_says(&fault.to_string(), &["cannot reach", &server.host()]);
    }
}
