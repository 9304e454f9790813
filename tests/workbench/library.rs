//! A rule that uses every capability: what it gets natively and in the sandbox is the same.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{complaint, json, out, rule};

#[test]
fn every_capability_works_natively_and_in_the_sandbox() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = everything(folder.path());
    let tested = Command::new(env!("CARGO"))
        .args(["test", "--offline", "--quiet"])
        .current_dir(folder)
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .expect("cargo starts");
    out(&tested, 0);

    out(&rule(folder, ["build"]), 0);
    let told = json(&out(&rule(folder, ["inspect", "everything.wasm", "--output", "json"]), 0));
    let imports =
        ["artifact", "data", "log"].map(|name| format!("countersign:policy/{name}@0.1.0"));
    assert_eq!(told["imports"], serde_json::json!(imports));
    let told = out(&rule(folder, ["test", "everything.wasm"]), 0);
    assert!(told.ends_with("1 passed, 0 failed\n"), "{told}");
    let told = out(&rule(folder, ["run", "everything.wasm", "--case", "cases/all.json"]), 0);
    assert!(told.contains("log      info: was here\n"), "{told}");
}

#[test]
fn a_capability_that_is_used_has_to_be_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = everything(folder.path());
    let source = folder.join("src/lib.rs");
    let text = fs::read_to_string(&source).expect("source");
    fs::write(&source, text.replace("[artifact, data, log]", "[artifact, log]")).expect("a file");
    let refused = rule(folder, ["build"]);
    out(&refused, 2);
    let told = complaint(&refused);
    assert!(told.contains("imports data, but does not say that it wants it"), "{told}");
    assert!(!folder.join("everything.wasm").exists());
}

#[test]
fn a_rule_that_panics_fails_its_case() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = everything(folder.path());
    let case = folder.join("cases/all.json");
    let mut changed = json(&fs::read_to_string(&case).expect("a case"));
    changed["capabilities"]["data"] = serde_json::json!({});
    fs::write(&case, changed.to_string()).expect("a file");
    let told = out(&rule(folder, ["test"]), 1);
    assert!(told.contains("rule-trapped"), "{told}");
}

/// A rule that asks for everything that there is without crypto, with its case.
fn everything(folder: &Path) -> &Path {
    out(&rule(folder, ["new", "everything", "--lang", "rust", "."]), 0);
    fs::write(folder.join("src/lib.rs"), SOURCE).expect("a file");
    fs::remove_dir_all(folder.join("cases")).expect("the cases");
    fs::create_dir(folder.join("cases")).expect("a folder");
    fs::write(folder.join("cases/all.json"), CASE).expect("a file");
    folder
}

const SOURCE: &str = r#"
use countersign_rule::{Answer, NoSettings, Question, artifact, data, log, rule};

rule! {
    purpose: "asks for everything",
    settings: NoSettings,
    evaluate: evaluate,
    capabilities: [artifact, data, log],
}

fn evaluate(question: &Question, _settings: &NoSettings) -> Answer {
    log::info("was here");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let sbom = artifact::referrers(Some("sbom")).remove(0);
    assert_eq!(artifact::referrers(None).len(), 2);
    assert_eq!(artifact::attached("sha256:absent"), None);
    assert_eq!(data::read("absent"), None);
    let workload = question.workload.as_ref().unwrap();
    Answer::allow()
        .annotate("manifest", text(artifact::manifest()))
        .annotate("config", text(artifact::config()))
        .annotate("sbom", text(artifact::attached(&sbom.digest).unwrap()))
        .annotate("names", data::names().join(" "))
        .annotate("data", text(data::read("a").unwrap()))
        .annotate("workload", format!("{} {}", workload.kind, question.label("tier").unwrap()))
        .annotate("predicate", &question.attestations_of("t").next().unwrap().predicate)
        .warn(format!("{} signers", question.signers().len()))
        .valid_until(question.claims[0].valid_until.unwrap())
}
"#;

const CASE: &str = r#"{
  "question": {
    "image": {"name": "docker://a.example/b:1", "digest": "sha256:1"},
    "claims": [
      {"format": "f", "key": "A", "signing_key": "A", "reference": "r", "digest": "d", "valid_until": 1795564800, "material": ["m"]},
      {"format": "f", "key": "B", "signing_key": "C", "reference": "r", "digest": "d", "material": ["m"]}
    ],
    "attestations": [
      {"predicate_type": "t", "predicate": {"a": [1, "b"]}, "signed_by": {"format": "f", "key": "A", "signing_key": "A", "reference": "r", "digest": "d"}}
    ],
    "workload": {"kind": "Pod", "labels": {"tier": "web"}},
    "now": "2026-11-25T00:00:00Z"
  },
  "capabilities": {
    "artifact": {
      "manifest": {"json": {"m": 1}},
      "config": {"base64": "Yw=="},
      "referrers": [
        {"digest": "sha256:2", "media_type": "m", "artifact_type": "sbom", "size": 1},
        {"digest": "sha256:3", "media_type": "m", "artifact_type": "other", "size": 1}
      ],
      "attached": {"sha256:2": {"text": "sbom"}}
    },
    "data": {"a": {"text": "data"}, "b": {"text": ""}}
  },
  "expect": {
    "allow": true,
    "warnings": ["1 signers"],
    "annotations": {
      "manifest": "{\"m\":1}", "config": "c", "sbom": "sbom", "names": "a b", "data": "data",
      "workload": "Pod web", "predicate": "{\"a\":[1,\"b\"]}"
    },
    "valid_until": "2026-11-25T00:00:00Z"
  }
}"#;
