//! What is served again, for how long, and what is not.

use sequoia_openpgp as openpgp;

use super::*;

/// Complaint 4 of the field (policy-controller #647, #1887): every pod fetched everything again.
#[tokio::test]
async fn an_allow_is_served_again_without_any_request() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    let first = bench.ask(":1").await;
    assert_allows(&first, &digest);
    assert_eq!(first.served, Served::Fresh);
    let cost = bench.registry.requests().len();
    for _ in 0..10 {
        let again = bench.ask(":1").await;
        assert_allows(&again, &digest);
        assert_eq!(again.served, Served::Cache);
    }
    assert_eq!(bench.registry.requests().len(), cost);
}

/// Complaint 5 of the field (Kyverno #9580, #9503): unsigned images hammered the registry.
#[tokio::test]
async fn a_denial_is_served_again_without_any_request_until_its_time_is_over() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    let at = format!("@{digest}");
    assert_denies(&bench.ask(&at).await, "signature-missing");
    let cost = bench.cost();
    bench.pass(9);
    let again = bench.ask(&at).await;
    assert_denies(&again, "signature-missing");
    assert_eq!(again.served, Served::Cache);
    assert_eq!(bench.cost(), cost);
    // Meanwhile the image was signed: the evidence is gathered again, although allows may live longer on it.
    bench.sign(&digest, "1");
    bench.pass(1);
    assert_allows(&bench.ask(&at).await, &digest);
}

#[tokio::test]
async fn an_error_is_served_again_without_any_request_until_its_time_is_over() {
    let bench = Bench::new();
    assert_fails(&bench.ask(":1").await, "image-missing");
    let cost = bench.cost();
    bench.pass(1);
    assert_fails(&bench.ask(":1").await, "image-missing");
    assert_eq!(bench.cost(), cost);
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    bench.pass(1);
    assert_allows(&bench.ask(":1").await, &digest);
}

#[tokio::test]
async fn a_tag_that_moved_is_noticed_when_its_time_is_over() {
    let bench = Bench::new();
    let (old, new) = (bench.push("1", &manifest("old")), bench.push("1", &manifest("new")));
    bench.push("1", &manifest("old"));
    bench.sign(&old, "1");
    assert_allows(&bench.ask(":1").await, &old);
    bench.push("1", &manifest("new"));
    bench.pass(4);
    assert_allows(&bench.ask(":1").await, &old);
    bench.pass(1);
    assert_denies(&bench.ask(":1").await, "signature-missing");
    bench.sign(&new, "1");
    bench.pass(10);
    assert_allows(&bench.ask(":1").await, &new);
}

/// A tag that did not move costs one request, however often it is resolved again.
#[tokio::test]
async fn a_tag_that_did_not_move_costs_one_request_and_no_evidence() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    assert_allows(&bench.ask(":1").await, &digest);
    let cost = bench.cost();
    for round in 1..=20 {
        bench.pass(5);
        assert_allows(&bench.ask(":1").await, &digest);
        assert_eq!(bench.cost(), cost + round);
    }
    assert_eq!(bench.registry.requests_to(&manifest_path("1")).len(), 21);
}

#[tokio::test]
async fn an_allow_by_digest_needs_no_request_for_as_long_as_it_holds() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    let at = format!("@{digest}");
    assert_allows(&bench.ask(&at).await, &digest);
    let cost = bench.cost();
    bench.pass(299);
    assert_allows(&bench.ask(&at).await, &digest);
    assert_eq!(bench.cost(), cost);
    // Then the store is asked again, and the signature is gone.
    bench.registry.always(signature_path(&digest, 1), Answer::status(404));
    bench.pass(1);
    assert_denies(&bench.ask(&at).await, "signature-missing");
}

#[tokio::test]
async fn an_allow_is_never_served_after_its_end_nor_when_it_cannot_be_renewed() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    let expiring = Expiring::key(Duration::from_secs(200));
    let bench = bench.judged_by(expiring.policy());
    expiring.sign(&bench, &digest);
    let at = format!("@{digest}");
    let first = bench.ask(&at).await;
    assert_allows(&first, &digest);
    let end = first.verdict.valid_until.expect("an end");
    assert!(end > NOW && end - NOW > 60 && end - NOW <= 200, "{end}");
    bench.pass(end - NOW);
    assert_allows(&bench.ask(&at).await, &digest);
    // One second later the key has expired, the registry is gone, and allows may be served for 300 s.
    for path in [manifest_path(digest.as_str()), signature_path(&digest, 1)] {
        bench.registry.always(path, Answer::status(500));
    }
    bench.pass(1);
    assert_fails(&bench.ask(&at).await, "registry-failed");
    // It is back.
    bench.push("1", &manifest("app"));
    expiring.sign(&bench, &digest);
    bench.pass(2);
    assert_denies(&bench.ask(&at).await, "key-expired");
}

#[tokio::test]
async fn another_policy_judges_anew_and_gathers_nothing_again() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    assert_allows(&bench.ask(":1").await, &digest);
    let cost = bench.cost();
    let other = SigningKey::generate(USER, NOW - 86_400).expect("a key");
    let strict = basis(&bench.folder, signed_by(&other, "matchExact"), "generation 2");
    let strict = Bench { basis: strict, ..bench };
    assert_denies(&strict.ask(":1").await, "signature-key-unknown");
    assert_eq!(strict.cost(), cost);
    // What the first policy allowed is still known under it.
    let back = basis(&strict.folder, signed_by(key(), "matchExact"), "generation 1");
    let back = Bench { basis: back, ..strict };
    let again = back.ask(":1").await;
    assert_allows(&again, &digest);
    assert_eq!(again.served, Served::Cache);
}

/// Where the store's configuration changed, what the old store had is no evidence.
#[tokio::test]
async fn another_store_is_asked_for_its_own_signatures() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    assert_allows(&bench.ask(":1").await, &digest);
    let content = format!("default-docker:\n  lookaside: {}\n", bench.registry.url("/other"));
    std::fs::write(bench.folder.path().join("default.yaml"), content).expect("written");
    let moved = basis(&bench.folder, signed_by(key(), "matchExact"), "generation 2");
    let bench = Bench { basis: moved, ..bench };
    assert_denies(&bench.ask(":1").await, "signature-missing");
}

#[tokio::test]
async fn many_images_take_no_more_memory_than_they_may() {
    let bench = Bench::with(|settings| settings.memory = 256 << 10, |_, _| {});
    let bench = bench.judged_by(policy(&serde_json::json!([{"type": "insecureAcceptAnything"}])));
    for number in 0..300 {
        let tag = number.to_string();
        let digest = bench.push(&tag, &manifest(&tag));
        assert_allows(&bench.ask(&format!(":{tag}")).await, &digest);
    }
    let cost = bench.cost();
    assert_eq!(bench.ask(":299").await.served, Served::Cache);
    assert_eq!(bench.cost(), cost);
    assert_eq!(bench.ask(":0").await.served, Served::Fresh, "the oldest is forgotten");
}

/// A key that expires, with which the library cannot sign.
struct Expiring {
    cert: openpgp::Cert,
}

impl Expiring {
    fn key(after: Duration) -> Self {
        let created = std::time::UNIX_EPOCH + Duration::from_secs(NOW - 50);
        let (cert, _) = openpgp::cert::CertBuilder::new()
            .set_profile(openpgp::Profile::RFC4880)
            .expect("a profile")
            .add_userid(USER)
            .set_creation_time(created)
            .set_validity_period(after)
            .set_primary_key_flags(
                openpgp::types::KeyFlags::empty().set_certification().set_signing(),
            )
            .generate()
            .expect("a key");
        Self { cert }
    }

    fn policy(&self) -> Policy {
        use openpgp::serialize::SerializeInto as _;
        let public = self.cert.clone().strip_secret_key_material().export_to_vec();
        let key = BASE64_STANDARD.encode(public.expect("a public key"));
        policy(&serde_json::json!([{"type": "signedBy", "keyType": "GPGKeys", "keyData": key}]))
    }

    fn sign(&self, bench: &Bench, digest: &Digest) {
        use openpgp::serialize::stream::{LiteralWriter, Message, Signer};
        use std::io::Write as _;
        let payload = payload(digest, &bench.reference(":1"), NOW);
        let key = self.cert.primary_key().key().clone().parts_into_secret().expect("a secret");
        let pair = key.into_keypair().expect("a key pair");
        let mut signature = Vec::new();
        let signer = Signer::new(Message::new(&mut signature), pair).expect("a signer");
        let now = std::time::UNIX_EPOCH + Duration::from_secs(NOW);
        let message = signer.creation_time(now).build().expect("a message");
        let mut message = LiteralWriter::new(message).build().expect("a message");
        message.write_all(payload.as_bytes()).expect("written");
        message.finalize().expect("signed");
        bench.registry.always(signature_path(digest, 1), Answer::ok(signature));
    }
}
