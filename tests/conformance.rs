//! The reference implementation's cases, `conformance/containers-image` of the shared data: each is put to
//! the engine natively and in the sandbox, which must answer the same, byte for byte.
//!
//! A submodule exposes
//! - `OPS`, the cases it understands, as `kind/op`;
//! - `input`, a case's question as `guest_policy::probe` takes it, files inlined; `None` skips the case, and the
//!   printed counts say so;
//! - `agrees`, which compares a recorded outcome with our answer. Where a case recommends another outcome than
//!   the recorded one, or `deviations.json` says that ours is another, it gets `{"verdict": …}` instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{deviations, support};

mod policy;
mod signature;

#[test]
fn identities_match_as_in_the_reference_implementation() {
    run("identity-match", policy::OPS, policy::input, policy::agrees);
}

#[test]
fn policies_parse_as_in_the_reference_implementation() {
    run("policy-parse", policy::OPS, policy::input, policy::agrees);
}

#[test]
fn references_parse_as_in_the_reference_implementation() {
    run("reference-parse", policy::OPS, policy::input, policy::agrees);
}

#[test]
fn scopes_are_found_as_in_the_reference_implementation() {
    run("scope-lookup", policy::OPS, policy::input, policy::agrees);
}

#[test]
fn answers_about_signatures_as_the_reference_does() {
    for kind in ["manifest-digest", "payload-parse", "policy-eval", "signature-verify"] {
        run(kind, signature::OPS, signature::input, signature::agrees);
    }
}

#[test]
fn drops_no_case_silently() {
    let Some(folder) = folder() else { return };
    let cases = cases(&folder);
    let lists = [policy::OPS, signature::OPS, UNEVALUATED, ELSEWHERE];
    let known: Vec<&str> = lists.into_iter().flatten().copied().collect();
    let in_file: BTreeSet<String> = cases.iter().map(Case::question).collect();
    let dropped: Vec<&String> = in_file.iter().filter(|op| !known.contains(&op.as_str())).collect();
    assert!(dropped.is_empty(), "nobody answers {dropped:?}");
    let distinct: BTreeSet<&str> = known.iter().copied().collect();
    assert_eq!(known.len(), distinct.len(), "an operation is on two lists: {known:?}");
    for op in UNEVALUATED {
        let skipped = cases.iter().filter(|case| case.question() == *op).count();
        support::say(&format!("{op}: {skipped} skipped: sigstoreSigned is not evaluated yet"));
    }
    let seen = cases.into_iter().map(|case| case.id).collect();
    assert_eq!(deviations::stale(SUITE, &seen), [""; 0], "deviations of cases that do not exist");
}

/// Put every case of a kind, of those in `ops`, to both builds.
#[expect(clippy::panic, reason = "the failures are collected, and told together")]
fn run(
    kind: &str,
    ops: &[&str],
    input: impl Fn(&str, &Value, &Path) -> Option<Value>,
    agrees: impl Fn(&str, &Value, &Value) -> Result<(), String>,
) {
    let Some(folder) = folder() else { return };
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    let mut failures = String::new();
    for case in cases(&folder) {
        let op = case.question();
        if case.kind != kind || !ops.contains(&op.as_str()) {
            continue;
        }
        let count = counts.entry(op.clone()).or_default();
        let Some(question) = input(&op, &case.content(), &folder) else {
            count.skipped += 1;
            continue;
        };
        count.run += 1;
        match answer(&op, &question).and_then(|answer| judge(&op, &case, &answer, &agrees)) {
            Ok(Outcome::Recorded) => count.passed += 1,
            Ok(Outcome::Recommended) => count.recommended += 1,
            Ok(Outcome::Deviating) => count.deviating += 1,
            Err(difference) => {
                let _ = writeln!(failures, "{}: {difference}", case.id);
            }
        }
    }
    assert!(!counts.is_empty(), "there is no case of the kind {kind}");
    for (op, count) in &counts {
        let Counts { run, passed, recommended, deviating, skipped } = count;
        support::say(&format!(
            "{op}: {run} run, {passed} passed, {recommended} as recommended, {deviating} deviating, \
             {skipped} skipped"
        ));
    }
    if !failures.is_empty() {
        panic!("{} cases differ:\n{failures}", failures.lines().count());
    }
}

/// Both builds' answer.
fn answer(op: &str, question: &Value) -> Result<Value, String> {
    let question = question.to_string();
    let native = guest_policy::probe::run(op, &question);
    let sandboxed = support::probe(op, &question);
    if native != sandboxed {
        return Err(format!("natively {native:.300}, in the sandbox {sandboxed:.300}"));
    }
    let answer: Value = serde_json::from_str(&native).map_err(|e| format!("{e}: {native:.300}"))?;
    match answer.get("unsupported") {
        Some(what) => Err(format!("not understood: {what}")),
        None => Ok(answer),
    }
}

/// Whether the answer is the one that it should be.
fn judge(
    op: &str,
    case: &Case,
    answer: &Value,
    agrees: impl Fn(&str, &Value, &Value) -> Result<(), String>,
) -> Result<Outcome, String> {
    let (due, outcome) = match &case.recommend {
        Some(recommended) => (recommended.clone(), Outcome::Recommended),
        None => (case.recorded(), Outcome::Recorded),
    };
    let Some(deviation) = deviations::of(SUITE, &case.id) else {
        return agrees(op, &due, answer).map(|()| outcome).map_err(|difference| {
            format!("{difference}\n    asked {:.600}\n    due {due:.300}", case.input)
        });
    };
    if agrees(op, &due, answer).is_ok() {
        return Err("agrees, but is listed as deviating".into());
    }
    agrees(op, &json!({"verdict": deviation.ours}), answer).map(|()| Outcome::Deviating)
}

/// The folder of the cases and their files.
pub(crate) fn folder() -> Option<PathBuf> {
    support::shared().map(|shared| shared.join("conformance").join(SUITE))
}

/// All cases.
pub(crate) fn cases(folder: &Path) -> Vec<Case> {
    #[derive(Deserialize)]
    struct Document {
        cases: Vec<Case>,
    }
    let text = std::fs::read(folder.join("cases.json")).expect("cases.json is there");
    serde_json::from_slice::<Document>(&text).expect("cases.json is of the known form").cases
}

/// One case. Members that are not named here only tell where it comes from.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    kind: String,
    op: String,
    pub(crate) input: Value,
    expect: Value,
    recommend: Option<Value>,
    /// The question about a part of a document, put as one about a whole document.
    as_policy: Option<Value>,
    /// When the question is asked, where that matters.
    time: Option<Value>,
    /// Who worded `expect.error`.
    error_text_from: Option<String>,
}

impl Case {
    /// `kind/op`.
    pub(crate) fn question(&self) -> String {
        format!("{}/{}", self.kind, self.op)
    }

    /// What a submodule's `input` gets: `input`, with the members that it may need beside it.
    fn content(&self) -> Value {
        json!({
            "id": self.id, "input": self.input, "as_policy": self.as_policy, "time": self.time,
            "expect": self.expect, "recommend": self.recommend,
            "error_text_from": self.error_text_from,
        })
    }

    /// What the reference implementation answers; its `error` only where the words are its own, not those of
    /// its JSON library.
    fn recorded(&self) -> Value {
        let mut recorded = match &self.as_policy {
            Some(whole) => whole["expect"].clone(),
            None => self.expect.clone(),
        };
        if let Some(members) = recorded.as_object_mut() {
            let own = |text: &str| {
                !["json: ", "invalid character "].iter().any(|other| text.starts_with(other))
                    && self.error_text_from.as_deref() == Some("containers-image")
            };
            if !members.get("error").and_then(Value::as_str).is_some_and(own) {
                members.remove("error");
            }
        }
        recorded
    }
}

/// How an answer is right.
enum Outcome {
    /// It is what the reference implementation answers.
    Recorded,
    /// It is what the case recommends instead.
    Recommended,
    /// It is what `deviations.json` says.
    Deviating,
}

#[derive(Default)]
struct Counts {
    run: usize,
    passed: usize,
    recommended: usize,
    deviating: usize,
    skipped: usize,
}

const SUITE: &str = "containers-image";

/// Cases about `sigstoreSigned`, which this build recognises but does not evaluate yet.
const UNEVALUATED: &[&str] = &[
    "payload-parse/rekor-payload",
    "payload-parse/rekor-set",
    "payload-parse/sigstore",
    "signature-verify/fulcio-certificate",
    "signature-verify/fulcio-issuer",
    "signature-verify/leaf-certificate",
    "signature-verify/pki-certificate",
    "signature-verify/rekor-fulcio",
    "signature-verify/rekor-set",
    "signature-verify/sigstore-payload",
];

/// Cases that other tests put to other parts of the project: what the host reads, under `tests/registry`.
const ELSEWHERE: &[&str] = &[
    "registries.d/attachment-tag",
    "registries.d/base-url",
    "registries.d/config",
    "registries.d/namespace-top-level",
    "registries.d/signature-url",
    "registries.d/top-level",
    "storage-protocol/lookaside",
    "storage-protocol/manifest-unknown-response",
    "storage-protocol/sigstore-attachment",
    "storage-protocol/x-r-s-s",
];
