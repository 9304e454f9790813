//! policies/: what ships loads, and says of its cases what they say.

use std::fs;

use countersign::image::ImageName;
use guest_policy::Engine;
use guest_policy::image::{Evidence, KeyFile, Signature, SignatureForm};
use guest_policy::verdict::Outcome;
use serde::Deserialize;

use super::{files, read};
use crate::support::root;

#[test]
fn every_policy_is_accepted_without_a_word() {
    for path in policies() {
        let mistakes = Engine::check(read(&path).as_bytes(), &[]);
        assert!(mistakes.is_empty(), "{path}: {mistakes:#?}");
    }
}

#[test]
fn every_policy_says_of_its_cases_what_they_say() {
    for path in policies() {
        let cases: Vec<Case> =
            serde_json::from_str(&read(&path.replace("policy.json", "cases.json"))).expect("cases");
        assert!(cases.iter().any(|case| case.verdict == Outcome::Allow), "{path}: nothing allowed");
        assert!(cases.iter().any(|case| case.verdict == Outcome::Deny), "{path}: nothing denied");
        let document = read(&path);
        let paths = Engine::key_paths(document.as_bytes()).expect("a policy");
        let keys: Vec<_> = paths.into_iter().map(key).collect();
        let engine = Engine::load(document.as_bytes(), &keys).expect("a policy");
        for case in cases {
            let image: ImageName = case.image.parse().expect("an image");
            let subject = image.subject(None).expect("a subject");
            let evidence = Evidence {
                manifest: data("manifest.json"),
                index: None,
                signatures: case.signatures.iter().map(|name| signature(name)).collect(),
            };
            let verdict = engine.evaluate(&subject, &evidence, case.at.unwrap_or(NOW));
            let place = format!("{path}: {}: {:#?}", case.name, verdict.reasons);
            assert_eq!(verdict.outcome, case.verdict, "{place}");
            assert_eq!(verdict.scope, case.scope, "{place}");
            assert_eq!(verdict.valid_until, case.valid_until, "{place}");
            let codes: Vec<_> = verdict.reasons.iter().map(|reason| &reason.code).collect();
            assert_eq!(codes, case.codes.iter().collect::<Vec<_>>(), "{place}");
        }
    }
}

/// A case of a policy, as policies/README.md describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    at: Option<u64>,
    image: String,
    signatures: Vec<String>,
    verdict: Outcome,
    scope: String,
    codes: Vec<String>,
    valid_until: Option<u64>,
}

fn policies() -> Vec<String> {
    let policies: Vec<_> = files("policies", "json")
        .into_iter()
        .filter(|path| path.ends_with("/policy.json"))
        .collect();
    assert!(policies.len() >= 3, "only {} policies were found", policies.len());
    policies
}

/// The key that the cases have in place of an administrator's file.
fn key(path: String) -> KeyFile {
    let name = path.strip_prefix("/etc/pki/containers/").expect("the folder for keys");
    KeyFile { content: Ok(data(name)), path }
}

fn signature(name: &str) -> Signature {
    Signature { source: name.to_owned(), form: SignatureForm::Stored, content: data(name) }
}

fn data(name: &str) -> Vec<u8> {
    fs::read(root().join("policies/cases").join(name)).expect("a file of policies/cases")
}

/// 2027-01-01, after the signatures were made.
const NOW: u64 = 1_798_761_600;
