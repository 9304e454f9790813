//! Manifests that are not what they claim to be.

use countersign::registry::RegistryError;

use super::*;

/// Serve `body` as the manifest of tag 1 and tell what comes of it.
async fn judged(answer: Answer) -> String {
    let (server, _) = registry();
    server.always(manifest_path("1"), answer);
    resolve_fault(&server.host(), &client_for(&[&server])).await
}

#[tokio::test]
async fn resolves_an_image_by_tag_and_by_digest() {
    let (server, digest) = registry();
    let client = client_for(&[&server]);
    assert_eq!(resolve(&server.host(), &client).await.expect("by tag").digest, digest);
    let name = format!("{}/ns/app@{digest}", server.host()).parse().expect("a name");
    assert_eq!(resolve_name(&name, &client).await.expect("by digest").digest, digest);
}

#[tokio::test]
async fn row_7_cve_2023_47630_refuses_a_docker_content_digest_that_lies() {
    let lie = Digest::sha256(b"something else");
    let (server, digest) = registry();
    let client = client_for(&[&server]);
    for target in ["1", digest.as_str()] {
        let answer = served(manifest("app"), OCI_IMAGE);
        server.always(manifest_path(target), answer.header("docker-content-digest", lie.as_str()));
    }
    let by_digest = tagged(&server.host()).at(digest.clone());
    for reference in [tagged(&server.host()), by_digest] {
        let fault = manifest_fault(&reference, &client).await;
        assert!(
            matches!(&fault, RegistryError::Digest { expected, found, .. }
                if *expected == lie && *found == digest),
            "{fault}"
        );
        let found = digest.to_string();
        assert_says(&fault.to_string(), &[&server.host(), lie.as_str(), &found, "do not use"]);
    }
}

#[tokio::test]
async fn row_7_cve_2023_47630_refuses_another_manifest_than_the_one_asked_for_by_digest() {
    let (server, digest) = registry();
    let other = manifest("other");
    let found = Digest::sha256(other.as_bytes());
    // With and without a header that claims the right digest, and with one that tells the truth.
    let honest = served(other, OCI_IMAGE);
    for answer in [
        honest.clone(),
        honest.clone().header("docker-content-digest", digest.as_str()),
        honest.header("docker-content-digest", found.as_str()),
    ] {
        server.always(manifest_path(digest.as_str()), answer);
        let reference = tagged(&server.host()).at(digest.clone());
        let fault = manifest_fault(&reference, &client_for(&[&server])).await;
        assert!(matches!(&fault, RegistryError::Digest { expected, .. } if *expected == digest));
        assert_says(&fault.to_string(), &["does not match provided manifest digest"]);
    }
}

#[tokio::test]
async fn row_45_cve_2024_3727_refuses_announced_digests_that_are_none() {
    for lie in ["sha256:../../x", "sha256:", "x", &Digest::sha256(b"").as_str().to_uppercase()] {
        let message =
            judged(served(manifest("app"), OCI_IMAGE).header("docker-content-digest", lie)).await;
        assert_says(&message, &["Docker-Content-Digest", "invalid digest"]);
    }
}

#[tokio::test]
async fn row_45_cve_2024_3727_refuses_an_index_with_digests_that_are_none() {
    let upper = Digest::sha256(b"").as_str().to_uppercase().replace("SHA256", "sha256");
    for digest in ["sha256:../../x", "", "sha256:", "../../../v2/", &upper] {
        let body = serde_json::json!({"schemaVersion": 2, "manifests": [{
            "digest": digest, "platform": {"os": "linux", "architecture": "amd64"},
        }]});
        let (server, _) = registry();
        server.always(manifest_path("1"), served(body.to_string(), OCI_INDEX));
        let message = resolve_fault(&server.host(), &client_for(&[&server])).await;
        assert_says(&message, &["cannot use the manifest", "invalid digest"]);
        let manifests = server.requests().iter().filter(|r| r.path != "/v2/").count();
        assert_eq!(manifests, 1, "nothing was asked for by that digest");
    }
}

#[tokio::test]
async fn row_45_cve_2024_3727_refuses_references_with_digests_that_are_none() {
    for digest in ["sha256:../../x", "sha256:", "", "sha256:ABCDEF"] {
        let name = format!("docker://registry.example.com/ns/app@{digest}");
        assert!(name.parse::<ImageName>().is_err(), "{name}");
    }
}

#[tokio::test]
async fn row_46_cve_2021_41190_refuses_a_body_that_is_manifest_and_index() {
    let digest = Digest::sha256(b"x");
    for (body, media_type) in [
        (format!(r#"{{"schemaVersion":2,"layers":[],"manifests":[{{"digest":"{digest}"}}]}}"#), ""),
        (r#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#.to_owned(), OCI_IMAGE),
        (r#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#.to_owned(), OCI_INDEX),
        (format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_IMAGE}","manifests":[]}}"#), OCI_IMAGE),
        (format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","layers":[]}}"#), OCI_INDEX),
        (r#"{"schemaVersion":2,"config":{},"layers":[],"Layers":[]}"#.to_owned(), OCI_IMAGE),
        (r#"{"schemaVersion":2,"manifests":[{"digest":"a","Digest":"b"}]}"#.to_owned(), OCI_INDEX),
    ] {
        let message = judged(served(body.clone(), media_type)).await;
        assert_says(&message, &["cannot use the manifest", "can be read in two ways"]);
    }
}

#[tokio::test]
async fn row_46_cve_2021_41190_refuses_a_media_type_that_contradicts_the_content() {
    for (body, media_type) in [
        (manifest("app"), OCI_INDEX),
        (index(&[("amd64", &manifest("app"))]), OCI_IMAGE),
        (index(&[("amd64", &manifest("app"))]), DOCKER_IMAGE),
    ] {
        let message = judged(served(body, media_type)).await;
        assert_says(&message, &["can be read in two ways", "served as", media_type]);
    }
}

#[tokio::test]
async fn row_46_cve_2021_41190_refuses_an_instance_that_is_served_as_an_index() {
    let (server, digest) = registry();
    server.always(manifest_path("1"), served(index(&[("amd64", &manifest("app"))]), OCI_INDEX));
    server.always(manifest_path(digest.as_str()), served(manifest("app"), OCI_INDEX));
    let message = resolve_fault(&server.host(), &client_for(&[&server])).await;
    assert_says(&message, &["can be read in two ways", "served as", OCI_INDEX]);
}

#[tokio::test]
async fn refuses_an_index_inside_of_an_index() {
    let (server, _) = registry();
    let inner = index(&[("amd64", &manifest("app"))]);
    let digest = Digest::sha256(inner.as_bytes());
    server.always(manifest_path("1"), served(index(&[("amd64", &inner)]), OCI_INDEX));
    server.always(manifest_path(digest.as_str()), served(inner, OCI_INDEX));
    let message = resolve_fault(&server.host(), &client_for(&[&server])).await;
    assert_says(&message, &["index inside of an index", "by its digest"]);
}

#[tokio::test]
async fn refuses_an_instance_with_another_digest_than_the_index_says() {
    let (server, digest) = registry();
    server.always(manifest_path("1"), served(index(&[("amd64", &manifest("app"))]), OCI_INDEX));
    server.always(manifest_path(digest.as_str()), served(manifest("other"), OCI_IMAGE));
    let message = resolve_fault(&server.host(), &client_for(&[&server])).await;
    assert_says(&message, &["does not match provided manifest digest", digest.as_str()]);
}

#[tokio::test]
async fn refuses_schema_1_and_tells_how_to_convert() {
    let jws = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let v1 = r#"{"schemaVersion":1,"name":"ns/app","tag":"1","fsLayers":[],"history":[]}"#;
    for (body, media_type) in [(v1, jws), (v1, "application/json"), (v1, OCI_IMAGE), ("{}", jws)] {
        let message = judged(served(body, media_type)).await;
        assert_says(&message, &["schema 1", "convert the image with", "skopeo copy", "sign"]);
    }
}

#[tokio::test]
async fn refuses_what_is_no_json_object() {
    for body in ["", "null", "[]", "\"x\"", "<html>not found</html>", "{\"schemaVersion\":2} x"] {
        let message = judged(served(body, OCI_IMAGE)).await;
        assert_says(&message, &["cannot use the manifest", "not a JSON manifest"]);
    }
}

#[tokio::test]
async fn refuses_deep_nesting_in_bounded_time() {
    let deep = format!(r#"{{"schemaVersion":2,"layers":{}"#, "[".repeat(1024 * 1024));
    assert_says(&judged(served(deep, OCI_IMAGE)).await, &["not a JSON manifest"]);
}

#[tokio::test]
async fn refuses_an_index_with_more_instances_than_are_looked_at() {
    let names: Vec<String> = (0..257).map(|n| manifest(&n.to_string())).collect();
    let instances: Vec<_> = names.iter().map(|manifest| ("amd64", manifest.as_str())).collect();
    let message = judged(served(index(&instances), OCI_INDEX)).await;
    assert_says(&message, &["257 entries", "more than the 256"]);
}

#[tokio::test]
async fn an_index_without_the_platform_tells_how_to_choose() {
    let message = judged(served(index(&[("s390x", &manifest("app"))]), OCI_INDEX)).await;
    assert_says(&message, &["linux/amd64", "--platform", "--all-platforms"]);
}

#[tokio::test]
async fn every_instance_of_an_index_is_resolved_when_all_are_wanted() {
    let (server, _) = registry();
    let (amd, arm) = (manifest("amd"), manifest("arm"));
    let top = index(&[("amd64", &amd), ("arm64", &arm)]);
    server.always(manifest_path("1"), served(top.clone(), OCI_INDEX));
    for instance in [&amd, &arm] {
        let digest = Digest::sha256(instance.as_bytes());
        server.always(manifest_path(digest.as_str()), served(instance.as_str(), OCI_IMAGE));
    }
    let name = image(&server.host());
    let client = client_for(&[&server]);
    let all = name.resolve(&client, None, &PlatformSelection::All).await.expect("resolved");
    let digests: Vec<_> = all.iter().map(|resolved| resolved.digest.clone()).collect();
    assert_eq!(digests, [Digest::sha256(amd.as_bytes()), Digest::sha256(arm.as_bytes())]);
    assert!(all.iter().all(|resolved| resolved.index.as_deref() == Some(top.as_bytes())));
}
