//! What an image costs its registry.

use futures_util::future::join_all;

use super::*;

#[tokio::test]
async fn a_cold_image_costs_four_requests() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    assert_allows(&bench.ask(":1").await, &digest);
    let mut asked: Vec<_> = bench.registry.requests().into_iter().map(|r| r.path).collect();
    asked.sort();
    let signatures = [signature_path(&digest, 1), signature_path(&digest, 2)];
    let [first, second] = signatures;
    assert_eq!(asked, [first, second, "/v2/".to_owned(), manifest_path("1")]);
}

/// Three round trips at most: the signatures are asked for together, and the question about the registry's
/// abilities goes along with the manifest.
#[tokio::test]
async fn what_can_be_asked_together_is() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    let (first, second) = (Gate::new(), Gate::new());
    let image = Answer::ok(manifest("app")).header("content-type", OCI_IMAGE);
    bench.registry.always(manifest_path("1"), image.behind(&first));
    bench.registry.always("/v2/", Answer::ok("{}").behind(&first));
    for number in [1, 2] {
        let answer = Answer::status(404).behind(&second);
        bench.registry.always(signature_path(&digest, number), answer);
    }
    let ask = bench.ask(":1");
    let watch = async {
        bench.registry.asked(&manifest_path("1"), 1).await;
        bench.registry.asked("/v2/", 1).await;
        first.open();
        bench.registry.asked(&signature_path(&digest, 1), 1).await;
        bench.registry.asked(&signature_path(&digest, 2), 1).await;
        second.open();
    };
    let (judgement, ()) = tokio::join!(ask, watch);
    assert_denies(&judgement, "signature-missing");
}

#[tokio::test]
async fn a_registry_is_asked_about_its_abilities_once_and_connections_are_used_again() {
    let bench = Bench::new();
    for number in 0..20 {
        let tag = number.to_string();
        let digest = bench.push(&tag, &manifest(&tag));
        bench.sign(&digest, &tag);
        let missing =
            Answer::status(404).body("<html>a page that says that there is nothing</html>");
        bench.registry.always(signature_path(&digest, 2), missing);
        assert_allows(&bench.ask(&format!(":{tag}")).await, &digest);
    }
    assert_eq!(bench.registry.requests_to("/v2/").len(), 1);
    assert_eq!(bench.cost(), 60);
    assert!(bench.registry.connections() <= 4, "{}", bench.registry.connections());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_questions_about_one_image_are_one() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    let gate = Gate::new();
    let image = Answer::ok(manifest("app")).header("content-type", OCI_IMAGE);
    bench.registry.always(manifest_path("1"), image.behind(&gate));
    let asks = join_all((0..100).map(|_| bench.ask(":1")));
    let watch = async {
        bench.registry.asked(&manifest_path("1"), 1).await;
        gate.open();
    };
    let (judgements, ()) = tokio::join!(asks, watch);
    for judgement in &judgements {
        assert_allows(judgement, &digest);
    }
    assert_eq!(bench.registry.requests_to(&manifest_path("1")).len(), 1);
    assert_eq!(bench.cost(), 3);
}

/// Several names of one manifest share its evidence.
#[tokio::test]
async fn tags_of_one_image_share_its_evidence() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.push("2", &manifest("app"));
    bench.sign(&digest, "1");
    assert_allows(&bench.ask(":1").await, &digest);
    assert_denies(&bench.ask(":2").await, "identity-mismatch");
    let asked = bench.registry.requests_to(&signature_path(&digest, 1)).len();
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_policy_that_accepts_anything_costs_the_manifest_alone() {
    let bench = Bench::new();
    let bench = bench.judged_by(policy(&serde_json::json!([{"type": "insecureAcceptAnything"}])));
    let digest = bench.push("1", &manifest("app"));
    assert_allows(&bench.ask(":1").await, &digest);
    assert_eq!(bench.cost(), 1);
}

/// Whoever may name an image may name anybody's server: it is asked only if the policy could allow the image.
#[tokio::test]
async fn a_registry_whose_images_are_rejected_is_asked_nothing() {
    let (reject, accept) = ("reject", "insecureAcceptAnything");
    for requirements in [vec![reject], vec![accept, reject]] {
        let types: Vec<_> = requirements.iter().map(|t| serde_json::json!({"type": t})).collect();
        let bench = Bench::new().judged_by(policy(&serde_json::Value::from(types)));
        let digest = bench.push("1", &manifest("app"));
        for name in [":1".to_owned(), format!("@{digest}"), format!(":other@{digest}")] {
            let judgement = bench.ask(&name).await;
            assert_denies(&judgement, "rejected-by-policy");
            assert_eq!(judgement.digest, None);
            assert_eq!(judgement.verdict.digest, "");
        }
        assert!(bench.registry.requests().is_empty());
    }
}

/// Complaint 35 of the field (Connaisseur #583): under load, one image got the digest of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_image_gets_the_digest_of_another_under_load() {
    let bench = Bench::new();
    let tags: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let digests: Vec<Digest> = tags
        .iter()
        .map(|tag| {
            let digest = bench.push(tag, &manifest(tag));
            bench.sign(&digest, tag);
            digest
        })
        .collect();
    for _ in 0..3 {
        let tags = tags.iter().cycle().take(200);
        let judgements = join_all(tags.map(async |tag| bench.ask(&format!(":{tag}")).await)).await;
        for (judgement, digest) in judgements.iter().zip(digests.iter().cycle()) {
            assert_allows(judgement, digest);
        }
        bench.pass(5);
    }
}
