//! What a cluster asks and is answered, without a server: reviews in, judgements in, answers out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use countersign::admission::{
    BreakGlass, Children, CustomResource, Endpoint, KINDS, Mode, Mutation, Response, Review, Rule,
    Rules, Task, Treatment,
};
use countersign::digest::Digest;
use countersign::reference::Reference;
use countersign::verdict::{Claim, Outcome, Reason, Verdict};
use countersign::verdicts::{Judgement, Served};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::shared;

mod objects;
mod rules;
mod treatment;
mod words;

/// Ask, with judgements by `judge`.
fn ask_with(
    endpoint: Endpoint,
    review: &Value,
    rules: &Rules,
    judge: impl Fn(&Reference) -> Judgement,
) -> (Value, Response) {
    let body = review.to_string();
    let review = Review::parse(endpoint, body.as_bytes()).expect("a review");
    let judgements = match review.task(rules) {
        Task::Answer => Vec::new(),
        Task::Judge(references) => references.iter().map(judge).collect(),
    };
    let response = review.respond(rules, &judgements, "hash", NOW);
    (serde_json::from_slice(&response.body).expect("JSON"), response)
}

/// Ask; images of `good.example.com` are allowed, of `broken.example.com` in error, all others denied.
fn ask(endpoint: Endpoint, review: &Value, rules: &Rules) -> (Value, Response) {
    ask_with(endpoint, review, rules, judge)
}

fn judge(reference: &Reference) -> Judgement {
    match reference.domain() {
        "good.example.com" => judgement(reference, Outcome::Allow, None),
        "broken.example.com" => judgement(reference, Outcome::Error, None),
        _ => judgement(reference, Outcome::Deny, None),
    }
}

fn judgement(reference: &Reference, outcome: Outcome, valid_until: Option<u64>) -> Judgement {
    let digest = reference.digest().cloned().unwrap_or_else(digest);
    let reason = Reason {
        code: if outcome == Outcome::Deny { "signature-missing" } else { "registry-unreachable" }
            .to_owned(),
        requirement: None,
        message: "A signature was required, but no signature exists".to_owned(),
        hint: Some("sign the image".to_owned()),
    };
    let claim = Claim {
        format: "simple-signing".to_owned(),
        key: "ABCD".to_owned(),
        signing_key: "ABCD".to_owned(),
        reference: reference.to_string(),
        digest: digest.to_string(),
        signed_at: None,
        creator: None,
        valid_until,
        requirement: 0,
        material: Vec::new(),
    };
    let allowed = outcome == Outcome::Allow;
    let verdict = Verdict {
        outcome,
        scope: format!("docker/{}", reference.domain()),
        digest: digest.to_string(),
        reasons: if allowed { Vec::new() } else { vec![reason] },
        claims: if allowed { vec![claim] } else { Vec::new() },
        valid_until,
        warnings: Vec::new(),
        annotations: BTreeMap::new(),
    };
    Judgement { digest: Some(digest), verdict: Arc::new(verdict), served: Served::Fresh }
}

fn digest() -> Digest {
    Digest::sha256(b"verified")
}

/// A review of an object of the core or of `apps`.
fn review(resource: &str, kind: &str, object: &Value) -> Value {
    let group = if ["pods", "podtemplates"].contains(&resource) { "" } else { "apps" };
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "u-1",
            "kind": {"group": group, "version": "v1", "kind": kind},
            "resource": {"group": group, "version": "v1", "resource": resource},
            "namespace": "apps", "operation": "CREATE", "userInfo": {"username": "alice"},
            "object": object, "oldObject": null,
        },
    })
}

fn pod(images: &[&str]) -> Value {
    let containers: Vec<_> = images
        .iter()
        .enumerate()
        .map(|(n, image)| json!({"name": format!("c{n}"), "image": image}))
        .collect();
    review("pods", "Pod", &json!({"metadata": {}, "spec": {"containers": containers}}))
}

fn treated(treatment: Treatment) -> Rules {
    Rules { otherwise: treatment, ..Rules::default() }
}

fn allowed(answer: &Value) -> bool {
    answer["response"]["allowed"].as_bool().expect("an answer")
}

fn message(answer: &Value) -> &str {
    answer["response"]["status"]["message"].as_str().unwrap_or_default()
}

/// The operations of a patch; none without one.
fn patch(answer: &Value) -> Vec<Value> {
    let Some(patch) = answer["response"]["patch"].as_str() else { return Vec::new() };
    let patch = base64::prelude::BASE64_STANDARD.decode(patch).expect("base64");
    serde_json::from_slice(&patch).expect("operations")
}

/// RFC 6902, of what is used.
fn apply(object: &Value, operations: &[Value]) -> Value {
    let mut object = object.clone();
    for operation in operations {
        let path = operation["path"].as_str().expect("a path");
        let place = object.pointer_mut(path).expect("the path leads somewhere");
        match operation["op"].as_str() {
            Some("test") => assert_eq!(*place, operation["value"], "{path}"),
            Some("replace") => *place = operation["value"].clone(),
            other => assert_eq!(other, Some("an operation that is used")),
        }
    }
    object
}

const NOW: u64 = 1_795_564_800;
