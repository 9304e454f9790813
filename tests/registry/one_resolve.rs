//! A tag is resolved once: what was verified is what is reported.

use super::*;

fn flipping(server: &Server) -> (Digest, Digest) {
    let (first, second) = (manifest("first"), manifest("second"));
    server.in_turn(
        manifest_path("1"),
        [served(first.clone(), OCI_IMAGE), served(second.clone(), OCI_IMAGE)],
    );
    for manifest in [&first, &second] {
        let digest = Digest::sha256(manifest.as_bytes());
        server.always(manifest_path(digest.as_str()), served(manifest.as_str(), OCI_IMAGE));
    }
    (Digest::sha256(first.as_bytes()), Digest::sha256(second.as_bytes()))
}

/// Row 4 (GHSA-wfqx-gjrf-g28r) is the same flaw.
#[tokio::test]
async fn row_3_cve_2022_47633_asks_for_a_tag_once() {
    let (server, _) = registry();
    let (first, second) = flipping(&server);
    let stored = |digest: &Digest| format!("/la/ns/app@sha256={}/signature-1", digest.hex());
    server.always(stored(&first), Answer::ok("of the first"));
    server.always(stored(&second), Answer::ok("of the second"));
    let client = client_for(&[&server]);
    let resolved = resolve(&server.host(), &client).await.expect("resolved");
    let registries = store(&server.url("/la"));
    let found = countersign::evidence::signatures(&resolved, &client, &registries).await;

    assert_eq!(resolved.digest, first);
    assert_eq!(resolved.digest, Digest::sha256(&resolved.manifest));
    let found = found.expect("signatures");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].content, b"of the first");
    assert_eq!(server.requests_to(&manifest_path("1")).len(), 1);
    assert!(server.requests().iter().all(|request| !request.path.contains(second.hex())));
}

#[tokio::test]
async fn row_3_cve_2022_47633_asks_for_the_instances_of_a_flipping_index_by_digest() {
    let (server, _) = registry();
    let (first, second) = (manifest("first"), manifest("second"));
    server.in_turn(
        manifest_path("1"),
        [
            served(index(&[("amd64", &first)]), OCI_INDEX),
            served(index(&[("amd64", &second)]), OCI_INDEX),
        ],
    );
    for manifest in [&first, &second] {
        let digest = Digest::sha256(manifest.as_bytes());
        server.always(manifest_path(digest.as_str()), served(manifest.as_str(), OCI_IMAGE));
    }
    let resolved = resolve(&server.host(), &client_for(&[&server])).await.expect("resolved");
    assert_eq!(resolved.digest, Digest::sha256(first.as_bytes()));
    assert_eq!(resolved.manifest, first.as_bytes());
    assert_eq!(resolved.index, Some(index(&[("amd64", &first)]).into_bytes()));
    assert_eq!(server.requests_to(&manifest_path("1")).len(), 1);
}

/// A challenge and a failure of the server are no answers: of the tag's answers, one counts.
#[tokio::test]
async fn row_3_cve_2022_47633_takes_one_answer_after_a_challenge_and_a_retry() {
    let (server, _) = registry();
    let (auth, path) =
        auth_file(&format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, server.host()));
    let first = manifest("first");
    server.in_turn(
        manifest_path("1"),
        [
            Answer::challenge("Basic realm=\"x\""),
            Answer::status(503),
            served(first.clone(), OCI_IMAGE),
            served(manifest("second"), OCI_IMAGE),
        ],
    );
    let client = Client::new(Settings { auth_files: vec![path], ..settings_for(&[&server]) });
    let resolved = resolve(&server.host(), &client).await.expect("resolved");
    assert_eq!(resolved.digest, Digest::sha256(first.as_bytes()));
    assert_eq!(server.requests_to(&manifest_path("1")).len(), 3);
    drop(auth);
}
