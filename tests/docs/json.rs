//! docs/json.md: its examples have the members that the output has.

use std::collections::{BTreeMap, BTreeSet};

use countersign::decide::{Decision, Inspection};
use countersign::digest::Digest;
use countersign::report;
use countersign::verdict::{
    Candidate, Claim, Explained, Explanation, Finding, Mistake, Outcome, Reason, Severity, Verdict,
};
use serde_json::Value;

use super::{markdown, read};

#[test]
fn example_of_verify_has_the_members_of_the_output() {
    assert_same_members("verify", &report::decisions::json(&[decision()]));
}

#[test]
fn example_of_inspect_has_the_members_of_the_output() {
    let inspection = Inspection {
        image: decision().image,
        platform: Some("linux/amd64".to_owned()),
        digest: Digest::sha256(b"image"),
        explanation: explanation(),
        findings: vec![Finding {
            source: "x".to_owned(),
            format: "simple-signing".to_owned(),
            issuers: vec!["x".to_owned()],
            claims: vec![claim()],
            reasons: Vec::new(),
        }],
    };
    assert_same_members("inspect", &report::inspections::json(&[inspection]));
}

#[test]
fn example_of_check_has_the_members_of_the_output() {
    let mistake = Mistake {
        severity: Severity::Error,
        code: "x".to_owned(),
        path: "$".to_owned(),
        line: 1,
        column: 1,
        message: "x".to_owned(),
        hint: Some("x".to_owned()),
    };
    assert_same_members("check", &report::mistakes::json("policy.json", &[mistake]));
}

#[test]
fn example_of_explain_has_the_members_of_the_output() {
    let text = report::explanation::json(&decision().image, "policy.json", &explanation());
    assert_same_members("explain", &text);
}

#[test]
fn every_member_is_described() {
    let (blocks, prose) = markdown::split(&read(PAGE));
    let described: BTreeSet<_> =
        markdown::rows(&prose, "member").iter().flat_map(|row| markdown::code(row[0])).collect();
    for block in blocks.iter().filter(|block| block.info.starts_with("json ")) {
        for path in members(&serde_json::from_str(&block.text).expect("JSON")) {
            let member = path.rsplit('.').next().unwrap_or_default();
            let known = described.contains(member) || prose.contains(&format!("`{member}`"));
            assert!(known, "{PAGE} does not describe {path}");
        }
    }
}

fn assert_same_members(example: &str, output: &str) {
    let (blocks, _) = markdown::split(&read(PAGE));
    let block = blocks.iter().find(|block| block.info == format!("json {example}"));
    let shown = members(&serde_json::from_str(&block.expect("an example").text).expect("JSON"));
    let written = members(&serde_json::from_str(output).expect("JSON"));
    assert_eq!(shown, written, "example of {example} in {PAGE}");
}

/// The paths of all members, without regard to places in lists.
fn members(value: &Value) -> BTreeSet<String> {
    fn collect(value: &Value, above: &str, paths: &mut BTreeSet<String>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| collect(value, above, paths)),
            Value::Object(members) => {
                for (name, value) in members {
                    let path = format!("{above}.{name}");
                    collect(value, &path, paths);
                    paths.insert(path);
                }
            }
            _ => {}
        }
    }
    let mut paths = BTreeSet::new();
    collect(value, "", &mut paths);
    paths
}

fn decision() -> Decision {
    let digest = Digest::sha256(b"image");
    Decision {
        image: "registry.example.com/ns/app:1".parse().expect("an image"),
        platform: Some("linux/amd64".to_owned()),
        verdict: Verdict {
            outcome: Outcome::Deny,
            scope: "default".to_owned(),
            digest: digest.to_string(),
            reasons: vec![Reason {
                code: "x".to_owned(),
                requirement: Some(0),
                message: "x".to_owned(),
                hint: Some("x".to_owned()),
            }],
            claims: vec![claim()],
            valid_until: Some(0),
            warnings: vec!["x".to_owned()],
            annotations: BTreeMap::new(),
        },
        digest: Some(digest),
        course: None,
    }
}

fn explanation() -> Explanation {
    Explanation {
        scope: "default".to_owned(),
        candidates: vec![Candidate { scope: "default".to_owned(), present: true }],
        requirements: vec![Explained { depth: 0, words: "x".to_owned() }],
    }
}

fn claim() -> Claim {
    Claim {
        format: "simple-signing".to_owned(),
        key: "0123".to_owned(),
        signing_key: "4567".to_owned(),
        reference: "x".to_owned(),
        digest: "x".to_owned(),
        signed_at: Some(0),
        creator: Some("x".to_owned()),
        valid_until: Some(0),
        requirement: 0,
        material: Vec::new(),
    }
}

const PAGE: &str = "docs/json.md";
