//! Signatures by gpg and sq, each as the only one in a lookaside, under a policy that trusts the case's keys.

use std::collections::BTreeMap;

use countersign::digest::Digest;
use countersign::verdict::{Outcome, Verdict};
use countersign::vocabulary::{Evidence, KeyFile, Signature, SignatureForm};
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Both, NOW, Observation, Tally, file, subject};
use crate::deviations;

#[test]
fn gpg_signatures_get_the_verdict_of_skopeo() {
    run("gpg");
}

#[test]
fn sq_signatures_get_the_verdict_of_skopeo() {
    run("sq");
}

/// Whoever must live with an old key needs to know that it is one.
#[test]
fn what_only_we_deny_has_a_code_of_its_own() {
    let (cases, codes) = (cases("gpg"), |case: &Case| codes(&case.judge("gpg", "gpg")));
    let by_id = |id: &str| cases.iter().find(|case| case.id == id).expect("a case");
    let broken = codes(by_id("tampered-signature"));
    let garbage = codes(by_id("truncated"));
    let mut found = 0;
    for case in cases.iter().filter(|case| case.observed().is_some_and(|o| o.verdict == "accept")) {
        let deviation = deviations::of("gpg", &case.id);
        if case.intent == "reject" || deviation.is_some_and(|d| d.ours == "reject") {
            let ours = codes(case);
            assert!(!ours.is_empty() && ours != broken && ours != garbage, "{}: {ours:?}", case.id);
            found += 1;
        }
    }
    assert!(found > 0, "no case that only we deny");
}

/// The left-out case `huge-junk-5m`: skopeo says `exceeded maximum allowed size of 4194304 bytes`.
#[test]
fn denies_huge_junk() {
    let cases = cases("gpg");
    let case = cases.iter().find(|case| case.id == "good-rsa2048-sha256").expect("a case");
    let policy = case.policy("gpg", "gpg");
    let content = file(&format!("gpg/{}", case.sig));
    let mut huge = content.clone();
    huge.resize(5 << 20, 0xa5);
    let judge = |content| policy.evaluate(&subject(&case.reference), &case.evidence(content), NOW);
    let verdict = judge(huge);
    assert_eq!(verdict.outcome, Outcome::Deny, "{verdict:?}");
    assert!(verdict.claims.is_empty(), "{verdict:?}");
    assert_eq!(judge(content).outcome, Outcome::Allow);
}

/// A signature over one image, or for one reference, is worth nothing for another.
#[test]
fn good_signature_is_bound_to_its_image_and_reference() {
    let cases = cases("gpg");
    let case = cases.iter().find(|case| case.id == "good-rsa2048-sha256").expect("a case");
    let policy = case.policy("gpg", "gpg");
    let good = case.evidence(file(&format!("gpg/{}", case.sig)));
    let mut changed = good.clone();
    changed.manifest.push(b'\n');
    let verdict = policy.evaluate(&subject(&case.reference), &changed, NOW);
    assert_eq!(verdict.outcome, Outcome::Deny, "{verdict:?}");
    let verdict = policy.evaluate(&subject("127.0.0.1:5000/lab/amd64:v2"), &good, NOW);
    assert_eq!(verdict.outcome, Outcome::Deny, "{verdict:?}");
    let verdict = policy.evaluate(&subject(&case.reference), &good, NOW);
    assert_eq!(verdict.outcome, Outcome::Allow, "{verdict:?}");
}

fn run(suite: &'static str) {
    let mut tally = Tally::new(suite);
    for case in cases(suite) {
        let Some(observed) = case.observed() else {
            tally.skip(&case.id);
            continue;
        };
        let verdict = case.judge(suite, "gpg");
        assert_eq!(verdict, case.judge(suite, "asc"), "{}: the key's encoding counts", case.id);
        assert_eq!(verdict.digest, case.digest, "{}", case.id);
        assert_eq!(verdict.reasons.is_empty(), verdict.outcome == Outcome::Allow, "{}", case.id);
        let expected = Answer::expected(Some(&case.intent), observed);
        tally.count(&case.id, expected, Answer::of(&verdict), &verdict);
        if verdict.outcome == Outcome::Allow {
            assert_eq!(verdict.claims.len(), 1, "{}: {verdict:?}", case.id);
            assert_eq!(verdict.claims[0].digest, case.digest, "{}", case.id);
        } else if let Some(text) = observed.fixed_text() {
            let ours: Vec<_> = verdict.reasons.iter().map(|r| r.message.as_str()).collect();
            tally.compare_text(&case.id, &text, &ours);
        }
    }
    tally.settle();
}

fn codes(verdict: &Verdict) -> Vec<String> {
    verdict.reasons.iter().map(|reason| reason.code.clone()).collect()
}

fn cases(suite: &str) -> Vec<Case> {
    let index: Index =
        serde_json::from_slice(&file(&format!("{suite}/cases.json"))).expect("an index of cases");
    index.cases
}

#[derive(Deserialize)]
struct Index {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    sig: String,
    /// Names of the trusted keys.
    keys: Vec<String>,
    manifest: String,
    digest: String,
    reference: String,
    intent: String,
    /// By tool, then by what it was asked.
    observed: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    #[serde(skip)]
    skopeo: std::cell::OnceCell<Option<Observation>>,
}

impl Case {
    fn observed(&self) -> Option<&Observation> {
        let read = || {
            let observed = self.observed.get("skopeo-1.22.0")?.get("policy-signedBy")?;
            Some(serde_json::from_value(observed.clone()).expect("an observation"))
        };
        self.skopeo.get_or_init(read).as_ref()
    }

    fn judge(&self, suite: &str, encoding: &str) -> Verdict {
        let evidence = self.evidence(file(&format!("{suite}/{}", self.sig)));
        let evidence =
            Evidence { manifest: file(&format!("{suite}/{}", self.manifest)), ..evidence };
        assert!(self.digest == Digest::sha256(&evidence.manifest).as_str(), "{}", self.id);
        self.policy(suite, encoding).evaluate(&subject(&self.reference), &evidence, NOW)
    }

    /// The policy that skopeo had: any of the keys, and the default identity.
    fn policy(&self, suite: &str, encoding: &str) -> Both {
        let path = |name: &String| format!("/keys/{name}");
        let files: Vec<_> = self
            .keys
            .iter()
            .map(|name| KeyFile {
                path: path(name),
                content: Ok(file(&format!("{suite}/keys/{name}.pub.{encoding}"))),
            })
            .collect();
        let document = json!({"default": [{
            "type": "signedBy",
            "keyType": "GPGKeys",
            "keyPaths": self.keys.iter().map(path).collect::<Vec<_>>(),
        }]});
        Both::load(document.to_string().as_bytes(), &files).expect("a policy")
    }

    /// The signature as the lookaside's only one, with the source that skopeo named.
    fn evidence(&self, content: Vec<u8>) -> Evidence {
        let repository = self.reference.split_once('/').and_then(|(_, path)| path.rsplit_once(':'));
        let (repository, _) = repository.expect("a reference with a tag");
        let store = format!("{repository}@{}", self.digest.replace(':', "="));
        let source = format!("$WORK/{}/lookaside/{store}/signature-1", self.id);
        Evidence {
            manifest: file("gpg/manifests/amd64.json"),
            index: None,
            signatures: vec![Signature { source, form: SignatureForm::Stored, content }],
        }
    }
}
