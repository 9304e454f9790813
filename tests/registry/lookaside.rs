//! Signature stores over HTTP and in files.

use countersign::evidence::EvidenceError;

use super::*;

/// Where a store has a signature of the image.
fn path(digest: &Digest, number: usize) -> String {
    format!("/la/ns/app@sha256={}/signature-{number}", digest.hex())
}

/// A registry that is its own signature store, with this many signatures.
fn with_signatures(count: usize) -> (Server, Digest) {
    let (server, digest) = registry();
    for number in 1..=count {
        server.always(path(&digest, number), Answer::ok(format!("signature {number}")));
    }
    (server, digest)
}

async fn found(server: &Server) -> Result<Vec<Signature>, EvidenceError> {
    let registries = store(&server.url("/la"));
    signatures(&server.host(), &client_for(&[server]), &registries).await
}

fn contents(signatures: &[Signature]) -> Vec<String> {
    signatures.iter().map(|s| String::from_utf8_lossy(&s.content).into_owned()).collect()
}

#[tokio::test]
async fn reads_until_the_first_404() {
    for count in [0, 1, 2, 5] {
        let (server, digest) = with_signatures(count);
        let found = found(&server).await.expect("signatures");
        let expected: Vec<_> = (1..=count).map(|number| format!("signature {number}")).collect();
        assert_eq!(contents(&found), expected);
        assert!(found.iter().all(|signature| signature.form == SignatureForm::Stored));
        let asked = server.requests_to(&path(&digest, count + 1)).len();
        assert_eq!(asked, 1, "the end was looked for once");
        assert!(server.requests_to(&path(&digest, count + 3)).is_empty());
    }
}

#[tokio::test]
async fn what_is_behind_a_gap_does_not_count() {
    let (server, digest) = with_signatures(4);
    server.always(path(&digest, 2), Answer::status(404));
    assert_eq!(contents(&found(&server).await.expect("signatures")), ["signature 1"]);
    server.always(path(&digest, 1), Answer::status(404));
    assert!(found(&server).await.expect("signatures").is_empty());
    // Not even an error behind it.
    server.always(path(&digest, 2), Answer::status(500));
    assert!(found(&server).await.expect("signatures").is_empty());
}

#[tokio::test]
async fn any_other_status_is_an_error() {
    for number in [1, 2] {
        for status in [204, 206, 400, 401, 403, 410, 429, 500, 503] {
            let (server, digest) = with_signatures(2);
            server.always(path(&digest, number), Answer::status(status));
            let fault = found(&server).await.expect_err("an error").to_string();
            let signature = format!("signature-{number}");
            let status = format!("status {status}");
            assert_says(&fault, &["cannot read signatures", &server.host(), &signature, &status]);
        }
    }
}

#[tokio::test]
async fn redirects_are_followed() {
    let (server, digest) = with_signatures(0);
    let elsewhere = Server::start();
    server.always(path(&digest, 1), Answer::redirect("/moved"));
    server.always("/moved", Answer::ok("on the same host"));
    server.always(path(&digest, 2), Answer::redirect(elsewhere.url("/away")));
    elsewhere.always("/away", Answer::ok("on another host"));
    // A redirect to what is missing ends the list, too.
    server.always(path(&digest, 3), Answer::redirect(elsewhere.url("/missing")));
    let registries = store(&server.url("/la"));
    let client = client_for(&[&server, &elsewhere]);
    let found = signatures(&server.host(), &client, &registries).await.expect("signatures");
    assert_eq!(contents(&found), ["on the same host", "on another host"]);
}

#[tokio::test]
async fn a_store_without_tls_is_read_where_registries_d_says_so_and_does_not_lead_on() {
    let (server, digest) = registry();
    let (lookaside, elsewhere) = (Server::start(), Server::start());
    lookaside.always(path(&digest, 1), Answer::ok("signature"));
    lookaside.always(path(&digest, 2), Answer::redirect(elsewhere.url("/away")));
    let registries = store(&lookaside.url("/la"));
    let fault = signatures(&server.host(), &client_for(&[&server]), &registries).await;
    let advice = format!("--plain-http {}", elsewhere.host());
    let fault = fault.expect_err("not followed").to_string();
    assert_says(&fault, &[&lookaside.host(), "not followed", &advice]);
    assert_eq!(lookaside.requests_to(&path(&digest, 1)).len(), 1);
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn row_44_cve_2020_1702_reads_a_signature_of_4_mib() {
    let (server, digest) = with_signatures(0);
    server.always(path(&digest, 1), Answer::ok(vec![0xa3; MIB_4]));
    assert_eq!(found(&server).await.expect("signatures")[0].content.len(), MIB_4);
}

#[tokio::test]
async fn row_44_cve_2020_1702_refuses_a_signature_of_4_mib_and_one_byte() {
    let (server, digest) = with_signatures(0);
    for answer in [
        Answer::ok(vec![0xa3; MIB_4 + 1]),
        Answer::status(200).chunked(vec![0xa3; MIB_4 + 1]),
        Answer::status(200).endless(),
    ] {
        server.always(path(&digest, 1), answer);
        let fault = found(&server).await.expect_err("too large").to_string();
        assert_says(&fault, &["exceeded maximum allowed size of 4194304 bytes", "signature-1"]);
    }
}

#[tokio::test]
async fn all_signatures_together_have_to_fit_the_sandbox() {
    let (server, digest) = with_signatures(0);
    for number in 1..=5 {
        server.always(path(&digest, number), Answer::ok(vec![0xa3; MIB_4]));
    }
    let fault = found(&server).await.expect_err("too much").to_string();
    assert_says(&fault, &["ns/app:1", "16777216", "remove those that are not signatures"]);
}

#[tokio::test]
async fn a_truncated_or_stalled_signature_is_an_error() {
    let (server, digest) = with_signatures(2);
    server.always(path(&digest, 2), Answer::status(200).truncated("sig", 4));
    let fault = found(&server).await.expect_err("truncated").to_string();
    assert_says(&fault, &["cannot reach", &server.host()]);
    server.always(path(&digest, 2), Answer::status(200).stalled("sig"));
    let registries = store(&server.url("/la"));
    let client = impatient_client_for(&server);
    let fault = signatures(&server.host(), &client, &registries).await.expect_err("stalled");
    assert_says(&fault.to_string(), &[&server.host(), "fell silent"]);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_an_error() {
    let (server, _) = registry();
    let gone = Server::start().url("/la");
    let fault = signatures(&server.host(), &client_for(&[&server]), &store(&gone)).await;
    assert_says(&fault.expect_err("refused").to_string(), &["cannot read signatures", "refused"]);
}

#[tokio::test]
async fn reads_127_signatures() {
    let (server, _) = with_signatures(127);
    assert_eq!(found(&server).await.expect("signatures").len(), 127);
}

#[tokio::test]
async fn takes_128_signatures_or_more_for_a_fault_of_the_server() {
    for count in [128, 129] {
        let (server, digest) = with_signatures(count);
        let fault = found(&server).await.expect_err("too many").to_string();
        let text =
            "server provided 128 signatures, assuming that's unreasonable and a server error";
        assert_says(&fault, &[text, &server.host()]);
        assert!(server.requests_to(&path(&digest, 129)).is_empty());
    }
}

#[tokio::test]
async fn other_schemes_are_refused_with_advice() {
    let (server, _) = registry();
    for url in ["ftp://127.0.0.1/la", "/just/a/path", "s3://bucket"] {
        let fault = signatures(&server.host(), &client_for(&[&server]), &store(url)).await;
        let fault = fault.expect_err("unsupported").to_string();
        assert_says(
            &fault,
            &["Unsupported scheme", "file://, http:// or https://", "registries.d"],
        );
    }
}

#[tokio::test]
async fn a_value_that_is_no_url_is_named() {
    let (server, _) = registry();
    let registries = store("'http://[::1'");
    let fault = signatures(&server.host(), &client_for(&[&server]), &registries).await;
    let fault = fault.expect_err("no URL").to_string();
    assert_says(&fault, &["Invalid signature storage URL", "http://[::1", "missing ']' in host"]);
}

/// The signatures of a store in files, with this many and perhaps something else.
async fn found_in_files(
    count: usize,
    prepare: impl FnOnce(&std::path::Path),
) -> Result<Vec<Signature>, EvidenceError> {
    let (server, digest) = registry();
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("ns").join(format!("app@sha256={}", digest.hex()));
    std::fs::create_dir_all(&place).expect("created");
    for number in 1..=count {
        let content = format!("signature {number}");
        std::fs::write(place.join(format!("signature-{number}")), content).expect("written");
    }
    prepare(&place);
    let registries = store(&format!("file://{}", folder.path().display()));
    signatures(&server.host(), &client_for(&[&server]), &registries).await
}

#[tokio::test]
async fn files_are_read_until_the_first_that_is_missing() {
    let found = found_in_files(3, |_| {}).await.expect("signatures");
    assert_eq!(contents(&found), ["signature 1", "signature 2", "signature 3"]);
    let gap = |place: &std::path::Path| {
        std::fs::remove_file(place.join("signature-2")).expect("removed");
    };
    assert_eq!(contents(&found_in_files(3, gap).await.expect("signatures")), ["signature 1"]);
    let nothing = |place: &std::path::Path| std::fs::remove_dir(place).expect("removed");
    assert!(found_in_files(0, nothing).await.expect("signatures").is_empty());
}

#[tokio::test]
async fn files_have_the_limits_of_other_stores() {
    assert_eq!(found_in_files(127, |_| {}).await.expect("signatures").len(), 127);
    for count in [128, 129] {
        let fault = found_in_files(count, |_| {}).await.expect_err("too many").to_string();
        assert_says(&fault, &["server provided 128 signatures"]);
    }
    let write = |size: usize| {
        move |place: &std::path::Path| {
            std::fs::write(place.join("signature-1"), vec![0xa3; size]).expect("written");
        }
    };
    assert_eq!(found_in_files(0, write(MIB_4)).await.expect("signatures")[0].content.len(), MIB_4);
    let fault = found_in_files(0, write(MIB_4 + 1)).await.expect_err("too large").to_string();
    assert_says(&fault, &["signature-1 exceeded maximum allowed size of 4194304 bytes"]);
}

#[tokio::test]
async fn a_file_that_is_none_is_an_error() {
    let directory = |place: &std::path::Path| {
        std::fs::create_dir(place.join("signature-1")).expect("created");
    };
    let fault = found_in_files(0, directory).await.expect_err("a directory").to_string();
    assert_says(&fault, &["cannot read signature", "signature-1", "not a regular file"]);
    let circle = |place: &std::path::Path| {
        std::os::unix::fs::symlink("signature-1", place.join("signature-1")).expect("linked");
    };
    let fault = found_in_files(0, circle).await.expect_err("a circle").to_string();
    assert_says(&fault, &["cannot read signature", "signature-1"]);
}

#[tokio::test]
async fn the_scope_of_the_image_chooses_the_store() {
    let (server, digest) = with_signatures(1);
    let host = server.host();
    let registries = registries(&format!(
        "default-docker:\n  lookaside: http://{host}/wrong\n\
         docker:\n  {host}/ns:\n    lookaside: http://{host}/la\n  {host}:\n    lookaside: http://{host}/wrong\n"
    ));
    let found = signatures(&host, &client_for(&[&server]), &registries).await;
    assert_eq!(contents(&found.expect("signatures")), ["signature 1"]);
    assert_eq!(server.requests_to(&path(&digest, 1)).len(), 1);
    assert!(server.requests().iter().all(|request| !request.path.starts_with("/wrong")));
}
