//! Names with a tag and a digest, as `/mutate` leaves them.

use super::*;

#[tokio::test]
async fn a_pinned_name_is_judged_by_its_digest_and_costs_nothing_more() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    assert_allows(&bench.ask(":1").await, &digest);
    let cost = bench.cost();
    assert_allows(&bench.ask(&format!(":1@{digest}")).await, &digest);
    assert_eq!(bench.cost(), cost, "what was fetched for the tag serves the digest");
    // The tag is for the reader: it need not exist.
    assert_allows(&bench.ask(&format!(":gone@{digest}")).await, &digest);
    assert_eq!(bench.cost(), cost);
}

/// A policy that accepts signatures for exactly the tag denies the digest: the tag's answer counts, as long as
/// the tag means this digest.
#[tokio::test]
async fn what_was_allowed_by_its_tag_is_allowed_when_it_is_pinned() {
    let bench = Bench::new().judged_by(signed_by(key(), "matchExact"));
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    assert_allows(&bench.ask(":1").await, &digest);
    assert_denies(&bench.ask(&format!("@{digest}")).await, "identity-mismatch");
    assert_allows(&bench.ask(&format!(":1@{digest}")).await, &digest);
    assert_denies(&bench.ask(&format!(":2@{digest}")).await, "identity-mismatch");
}

#[tokio::test]
async fn a_tag_that_means_another_digest_does_not_speak_for_this_one() {
    let bench = Bench::new().judged_by(signed_by(key(), "matchExact"));
    let (old, new) = (bench.push("1", &manifest("old")), bench.push("1", &manifest("new")));
    bench.sign(&old, "1");
    bench.sign(&new, "1");
    assert_allows(&bench.ask(&format!(":1@{new}")).await, &new);
    let judgement = bench.ask(&format!(":1@{old}")).await;
    assert_denies(&judgement, "identity-mismatch");
    assert_eq!(judgement.digest, Some(old));
}

#[tokio::test]
async fn a_denial_stays_a_denial_when_the_tag_cannot_be_resolved() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.registry.always(manifest_path("1"), Answer::status(500));
    assert_denies(&bench.ask(&format!(":1@{digest}")).await, "signature-missing");
}
