//! Images with several platforms: the index itself, or every instance.

use super::*;

const AMD: &str = "linux/amd64";
const ARM: &str = "linux/arm64";

/// A bench with an index of two platforms, and the digests of index and instances.
struct Index {
    bench: Bench,
    top: Digest,
    amd: Digest,
    arm: Digest,
}

fn with_index(mode: MultiArch, platforms: &[&str]) -> Index {
    with_index_and(mode, platforms, &[])
}

fn with_index_and(mode: MultiArch, platforms: &[&str], more: &[(&str, &str)]) -> Index {
    let bench = Bench::with(
        |settings| {
            settings.multi_arch = mode;
            settings.platforms = platforms.iter().map(|p| (*p).to_owned()).collect();
        },
        |_, _| {},
    );
    let (for_amd, for_arm) = (manifest(AMD), manifest(ARM));
    let mut entries = vec![(AMD, for_amd.as_str()), (ARM, for_arm.as_str())];
    entries.extend(more);
    let (amd, arm) = (bench.push("amd", &for_amd), bench.push("arm", &for_arm));
    let top = bench.push("1", &index(&entries));
    Index { bench, top, amd, arm }
}

#[tokio::test]
async fn what_has_to_be_signed_is_what_the_settings_say() {
    use MultiArch::{Index as OfIndex, IndexOrInstances, Instances};
    use Outcome::{Allow, Deny};
    for (mode, signed, expected) in [
        (OfIndex, "", Deny),
        (OfIndex, "top", Allow),
        (OfIndex, "amd arm", Deny),
        (Instances, "", Deny),
        (Instances, "top", Deny),
        (Instances, "amd", Deny),
        (Instances, "top amd", Deny),
        (Instances, "amd arm", Allow),
        (IndexOrInstances, "", Deny),
        (IndexOrInstances, "top", Allow),
        (IndexOrInstances, "arm", Deny),
        (IndexOrInstances, "amd arm", Allow),
        (IndexOrInstances, "top amd arm", Allow),
    ] {
        let Index { bench, top, amd, arm } = with_index(mode, &[]);
        for (name, digest) in [("top", &top), ("amd", &amd), ("arm", &arm)] {
            if signed.split(' ').any(|word| word == name) {
                bench.sign(digest, "1");
            }
        }
        let judgement = bench.ask(":1").await;
        assert_eq!(judgement.verdict.outcome, expected, "{mode:?} {signed:?}");
        assert_eq!(judgement.digest.as_ref(), Some(&top), "what may be pinned is the index");
        if expected == Allow {
            assert_allows(&judgement, &top);
            let cost = bench.cost();
            assert_allows(&bench.ask(&format!(":1@{top}")).await, &top);
            assert_eq!(bench.cost(), cost, "{mode:?} {signed:?}");
        }
    }
}

#[tokio::test]
async fn a_denial_names_the_platforms_that_are_to_blame() {
    let Index { bench, amd, .. } = with_index(MultiArch::IndexOrInstances, &[]);
    bench.sign(&amd, "1");
    let judgement = bench.ask(":1").await;
    let messages: Vec<_> =
        judgement.verdict.reasons.iter().map(|reason| reason.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "linux/arm64: A signature was required, but no signature exists",
            "index: A signature was required, but no signature exists",
        ]
    );
    assert_eq!(code(&judgement.verdict), "signature-missing");
}

#[tokio::test]
async fn only_the_wanted_platforms_count() {
    let Index { bench, top, amd, .. } = with_index(MultiArch::Instances, &[AMD]);
    bench.sign(&amd, "1");
    assert_allows(&bench.ask(":1").await, &top);
    let Index { bench, amd, .. } = with_index(MultiArch::Instances, &[AMD, ARM]);
    bench.sign(&amd, "1");
    assert_denies(&bench.ask(":1").await, "signature-missing");
    let Index { bench, .. } = with_index(MultiArch::Instances, &["linux/s390x"]);
    assert_fails(&bench.ask(":1").await, "platform-missing");
    let Index { bench, .. } = with_index(MultiArch::Instances, &["nonsense"]);
    assert_fails(&bench.ask(":1").await, "platform-missing");
}

/// What buildkit attaches cannot run, and nobody signs it.
#[tokio::test]
async fn attestations_are_no_instances() {
    let attestation = manifest("attestation");
    let more = [("unknown/unknown", attestation.as_str())];
    let Index { bench, top, amd, arm } = with_index_and(MultiArch::Instances, &[], &more);
    bench.sign(&amd, "1");
    bench.sign(&arm, "1");
    assert_allows(&bench.ask(":1").await, &top);
    let asked = Digest::sha256(attestation.as_bytes());
    assert!(bench.registry.requests_to(&manifest_path(asked.as_str())).is_empty());
    // An index of nothing else has nothing that could be allowed.
    bench.push("2", &index(&more));
    assert_fails(&bench.ask(":2").await, "manifest-unusable");
    bench.push("3", &index(&[]));
    assert_fails(&bench.ask(":3").await, "manifest-unusable");
}

#[tokio::test]
async fn a_denial_of_one_instance_outweighs_an_error_of_another() {
    let Index { bench, amd, arm, .. } = with_index(MultiArch::Instances, &[]);
    bench.registry.always(manifest_path(amd.as_str()), Answer::status(500));
    assert_denies(&bench.ask(":1").await, "signature-missing");
    bench.sign(&arm, "1");
    bench.pass(10);
    assert_fails(&bench.ask(":1").await, "registry-failed");
}

/// An error about the index is not made good by its instances.
#[tokio::test]
async fn an_error_about_the_index_is_an_error() {
    let Index { bench, top, amd, arm } = with_index(MultiArch::IndexOrInstances, &[]);
    bench.sign(&amd, "1");
    bench.sign(&arm, "1");
    bench.registry.always(signature_path(&top, 1), Answer::status(500));
    assert_fails(&bench.ask(":1").await, "signatures-unreachable");
}

#[tokio::test]
async fn an_index_inside_of_an_index_is_refused() {
    let bench = Bench::with(|settings| settings.multi_arch = MultiArch::Instances, |_, _| {});
    let inner = index(&[(AMD, &manifest("app"))]);
    bench.push("inner", &inner);
    bench.push("1", &index(&[(ARM, &inner)]));
    assert_fails(&bench.ask(":1").await, "manifest-unusable");
}
