//! Registries that keep signatures themselves (`X-Registry-Supports-Signatures`).

use countersign::evidence::EvidenceError;

use super::*;

fn list_path(digest: &Digest) -> String {
    format!("/extensions/v2/ns/app/signatures/{digest}")
}

/// A list of so many signatures.
fn list(count: usize) -> String {
    let entry = serde_json::json!({"schemaVersion": 2, "type": "atomic", "content": "owFzaWc="});
    serde_json::json!({"signatures": vec![entry; count]}).to_string()
}

fn keeping_registry(answer: Answer) -> (Server, Digest) {
    let (server, digest) = registry();
    server.always("/v2/", Answer::ok("{}").header("x-registry-supports-signatures", "1"));
    server.always(list_path(&digest), answer);
    (server, digest)
}

async fn found(server: &Server) -> Result<Vec<Signature>, EvidenceError> {
    let registries = store(&server.url("/la"));
    signatures(&server.host(), &client_for(&[server]), &registries).await
}

#[tokio::test]
async fn the_registry_is_asked_and_nobody_else() {
    for count in [0, 2] {
        let (server, digest) = keeping_registry(Answer::ok(list(count)));
        let found = found(&server).await.expect("signatures");
        assert_eq!(found.len(), count);
        for signature in found {
            assert_eq!(signature.form, SignatureForm::Openpgp);
            assert_eq!(signature.content, b"\xa3\x01sig");
            assert_says(&signature.source, &[&server.host(), digest.as_str()]);
        }
        assert!(server.requests().iter().all(|request| !request.path.starts_with("/la")));
    }
}

#[tokio::test]
async fn a_registry_that_demands_authentication_tells_that_it_keeps_signatures() {
    let (server, digest) = keeping_registry(Answer::ok(list(1)));
    let challenge = Answer::challenge("Basic realm=\"x\"");
    server.always("/v2/", challenge.clone().header("x-registry-supports-signatures", " 1 "));
    server.on(list_path(&digest), move |request| match request.authorization() {
        Some("Basic dTpw") => Answer::ok(list(1)),
        _ => challenge.clone(),
    });
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, server.host());
    let (_folder, path) = auth_file(&auths);
    let client = Client::new(Settings { auth_files: vec![path], ..settings_for(&[&server]) });
    let found = signatures(&server.host(), &client, &store(&server.url("/la"))).await;
    assert_eq!(found.expect("signatures").len(), 1);
}

#[tokio::test]
async fn a_registry_that_does_not_answer_the_question_is_an_error() {
    for answer in [Answer::status(404), Answer::status(500), Answer::status(403)] {
        let (server, _) = keeping_registry(Answer::ok(list(1)));
        server.always("/v2/", answer);
        let fault = found(&server).await.expect_err("an error").to_string();
        assert_says(&fault, &["cannot read signatures", &server.host(), "/v2/", "status"]);
    }
}

#[tokio::test]
async fn a_list_that_is_none_is_an_error() {
    for body in ["", "[]", "<html>", r#"{"signatures":{}}"#, r#"{"signatures":[]} x"#] {
        let (server, _) = keeping_registry(Answer::ok(body));
        let fault = found(&server).await.expect_err(body).to_string();
        assert_says(&fault, &["decoding signature list", &server.host()]);
    }
    for status in [204, 401, 403, 404, 500] {
        let (server, _) = keeping_registry(Answer::status(status));
        let fault = found(&server).await.expect_err("an error").to_string();
        assert_says(&fault, &["cannot read signatures", &server.host()]);
    }
}

#[tokio::test]
async fn row_44_cve_2020_1702_refuses_a_list_of_4_mib_and_one_byte() {
    let mut body = list(1).into_bytes();
    body.resize(MIB_4, b' ');
    let (server, _) = keeping_registry(Answer::ok(body.clone()));
    assert_eq!(found(&server).await.expect("signatures").len(), 1);
    body.push(b' ');
    for answer in [Answer::status(200).chunked(body), Answer::status(200).endless()] {
        let (server, _) = keeping_registry(answer);
        let fault = found(&server).await.expect_err("too large").to_string();
        assert_says(&fault, &["exceeded maximum allowed size of 4194304 bytes"]);
    }
}

#[tokio::test]
async fn refuses_more_than_128_signatures() {
    let (server, _) = keeping_registry(Answer::ok(list(128)));
    assert_eq!(found(&server).await.expect("signatures").len(), 128);
    let (server, _) = keeping_registry(Answer::ok(list(129)));
    let fault = found(&server).await.expect_err("too many").to_string();
    assert_says(&fault, &["server provided 129 signatures", &server.host()]);
}

/// A registry that keeps signatures is asked about images that are pulled from it, and about no others.
#[tokio::test]
async fn an_image_judged_as_one_of_the_registry_does_not_ask_it() {
    let (server, _) = keeping_registry(Answer::ok(list(1)));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("manifest.json"), manifest("app")).expect("written");
    let name: ImageName = format!("dir:{}", folder.path().display()).parse().expect("a name");
    let client = client_for(&[&server]);
    let judged_as = tagged(&server.host());
    let resolved = name.resolve(&client, Some(&judged_as), &PlatformSelection::Host).await;
    let resolved = resolved.expect("resolved").remove(0);
    let digest = Digest::sha256(manifest("app").as_bytes());
    let stored = format!("/la/ns/app@sha256={}/signature-1", digest.hex());
    server.always(stored, Answer::ok("of the store"));
    let registries = store(&server.url("/la"));
    let found = countersign::evidence::signatures(&resolved, &client, &registries).await;
    assert_eq!(found.expect("signatures")[0].content, b"of the store");
    assert!(server.requests().iter().all(|request| request.path.starts_with("/la/")));
}
