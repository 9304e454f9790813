//! Registries that stall, lie, throttle, die and return.

use super::*;

/// Complaint 1 of the field (Kyverno #5714, #5184, #8635): verification was slower than the webhook's timeout,
/// and every attempt began anew.
#[tokio::test]
async fn a_deadline_ends_the_waiting_and_not_the_work() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    let gate = Gate::new();
    let image = Answer::ok(manifest("app")).header("content-type", OCI_IMAGE);
    bench.registry.always(manifest_path("1"), image.behind(&gate));
    let ask = Ask {
        image: bench.reference(":1"),
        keyring: Arc::default(),
        workload: None,
        deadline: Instant::now(),
    };
    let late = bench.verdicts.decide(&bench.basis, ask).await;
    assert_fails(&late, "deadline");
    assert_eq!(late.digest, None);
    let message = &late.verdict.reasons[0].message;
    assert!(message.contains("ns/app:1") && message.contains("try again"), "{message}");
    gate.open();
    assert_allows(&bench.ask(":1").await, &digest);
    let asked = bench.cost();
    let again = bench.ask(":1").await;
    assert_allows(&again, &digest);
    assert_eq!(again.served, Served::Cache);
    assert_eq!((asked, bench.cost()), (3, 3), "the work was done once");
}

/// Row 3 (CVE-2022-47633, Kyverno): a registry that answers differently every time is asked once for each
/// decision, and what was verified is what is returned.
#[tokio::test]
async fn row_3_cve_2022_47633_returns_the_digest_that_was_verified() {
    let bench = Bench::new();
    let (good, evil) = (manifest("good"), manifest("evil"));
    let digest = bench.push("1", &good);
    bench.push("1", &evil);
    bench.sign(&digest, "1");
    let answer = |manifest: &str| Answer::ok(manifest).header("content-type", OCI_IMAGE);
    bench
        .registry
        .in_turn(manifest_path("1"), [answer(&good), answer(&evil), answer(&good), answer(&evil)]);
    for round in 1..=4 {
        let judgement = bench.ask(":1").await;
        if round % 2 == 1 {
            assert_allows(&judgement, &digest);
        } else {
            assert_denies(&judgement, "signature-missing");
            assert_eq!(judgement.digest, Some(Digest::sha256(evil.as_bytes())));
        }
        assert_eq!(bench.registry.requests_to(&manifest_path("1")).len(), round);
        bench.pass(10);
    }
}

#[tokio::test]
async fn a_registry_that_lies_about_a_digest_is_an_error() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    let other = Answer::ok(manifest("evil")).header("content-type", OCI_IMAGE);
    bench.registry.always(manifest_path(digest.as_str()), other.clone());
    assert_fails(&bench.ask(&format!("@{digest}")).await, "manifest-digest-mismatch");
    let announced = other.header("docker-content-digest", digest.as_str());
    bench.registry.always(manifest_path("1"), announced);
    assert_fails(&bench.ask(":1").await, "manifest-digest-mismatch");
}

#[tokio::test]
async fn a_registry_that_dies_is_an_error_and_is_asked_again_when_it_may_be_back() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    bench.registry.always(manifest_path("1"), Answer::status(200).truncated("{", 100));
    assert_fails(&bench.ask(":1").await, "registry-unreachable");
    bench.push("1", &manifest("app"));
    bench.pass(2);
    assert_allows(&bench.ask(":1").await, &digest);
    // A store that dies, likewise.
    bench.registry.always(signature_path(&digest, 1), Answer::status(200).truncated("x", 100));
    bench.pass(300);
    assert_fails(&bench.ask(":1").await, "signatures-unreachable");
    bench.sign(&digest, "1");
    bench.pass(2);
    assert_allows(&bench.ask(":1").await, &digest);
}

/// Kubewarden let a cached image wait for 9.6 s while another registry hung.
#[tokio::test]
async fn a_registry_that_hangs_keeps_nobody_else_waiting() {
    let hanging = Server::start();
    let gate = Gate::new();
    hanging.always("/v2/", Answer::ok("{}"));
    let bench =
        Bench::with(|_| {}, |client, registry| *client = client_settings(&[registry, &hanging]));
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    for number in 0..100 {
        let path = format!("/v2/ns/app/manifests/{number}");
        hanging.always(&path, Answer::status(404).behind(&gate));
        let image = Reference::parse_normalized(&format!("{}/ns/app:{number}", hanging.host()));
        let ask = Ask {
            image: image.expect("a reference"),
            keyring: Arc::default(),
            workload: None,
            deadline: Instant::now(),
        };
        assert_fails(&bench.verdicts.decide(&bench.basis, ask).await, "deadline");
    }
    assert_allows(&bench.ask(":1").await, &digest);
    let waiting = hanging.requests().iter().filter(|request| request.path != "/v2/").count();
    assert!(waiting <= 16, "{waiting} at once");
    gate.open();
}

/// Complaint 3 of the field (Kyverno #6123, #7224): 429 was not obeyed.
#[tokio::test]
async fn a_registry_that_asks_to_be_left_alone_is() {
    let bench = Bench::with(
        |_| {},
        |client, _| {
            client.requests_per_second = Some(1000);
            client.burst = 1000;
        },
    );
    let busy = Answer::status(429).header("retry-after", "3600");
    bench.registry.always(manifest_path("1"), busy);
    let judgement = bench.ask(":1").await;
    assert_fails(&judgement, "registry-throttled");
    let message = &judgement.verdict.reasons[0].message;
    assert!(message.contains(&bench.registry.host()) && message.contains("300 s"), "{message}");
    assert_eq!(bench.registry.requests_to(&manifest_path("1")).len(), 1);
    // Nor is it asked for another image, nor later while it holds.
    let digest = bench.push("2", &manifest("app"));
    bench.sign(&digest, "2");
    let asked = bench.cost();
    assert_fails(&bench.ask(":2").await, "registry-throttled");
    bench.pass(2);
    assert_fails(&bench.ask(":1").await, "registry-throttled");
    assert_eq!(bench.cost(), asked);
}

#[tokio::test]
async fn a_short_retry_after_is_waited_for() {
    let bench = Bench::with(
        |_| {},
        |client, _| {
            client.requests_per_second = Some(1000);
            client.burst = 1000;
        },
    );
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    let image = Answer::ok(manifest("app")).header("content-type", OCI_IMAGE);
    let busy = Answer::status(429).header("retry-after", "0");
    bench.registry.in_turn(manifest_path("1"), [busy, image]);
    assert_allows(&bench.ask(":1").await, &digest);
}

#[tokio::test]
async fn a_fault_of_the_stores_configuration_is_an_error() {
    let bench = Bench::new();
    bench.push("1", &manifest("app"));
    let path = bench.folder.path().join("default.yaml");
    std::fs::write(path, "default-docker: [").expect("written");
    assert_fails(&bench.ask(":1").await, "lookaside-misconfigured");
}
