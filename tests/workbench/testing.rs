//! `rule test`, `rule run`.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::{complaint, json, my_rule, out, rule};

/// A folder with one case of the new rule, changed.
fn cases(change: impl FnOnce(&mut Value)) -> TempDir {
    let text = fs::read_to_string(my_rule().join("cases/denies-another-registry.json"));
    let mut case = json(&text.expect("a case"));
    change(&mut case);
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("case.json"), case.to_string()).expect("a file");
    folder
}

fn test(cases: &Path) -> std::process::Output {
    let cases = cases.to_str().expect("text");
    rule(my_rule(), ["test", "my-rule.wasm", "--cases", cases, "--output", "json"])
}

#[test]
fn a_new_rule_passes_its_golden_cases() {
    let told = out(&rule(my_rule(), ["test", "my-rule.wasm"]), 0);
    assert!(told.starts_with("ok     allows-a-known-registry\n"), "{told}");
    assert!(told.ends_with("\nmy-rule 0.1.0: 4 passed, 0 failed\n"), "{told}");
}

#[test]
fn a_folder_is_built_before_it_is_tested() {
    let told = out(&rule(my_rule(), ["test"]), 0);
    assert!(told.ends_with("4 passed, 0 failed\n"), "{told}");
}

#[test]
fn says_what_did_not_come_out_as_expected() {
    let folder = cases(|case| case["expect"]["codes"] = serde_json::json!(["registry-missing"]));
    let told = json(&out(&test(folder.path()), 1));
    assert_eq!(told["cases"][0]["passed"], false);
    let differences = serde_json::json!([
        {"member": "codes", "expected": "[\"registry-missing\"]", "found": "[\"registry-unknown\"]"}
    ]);
    assert_eq!(told["cases"][0]["differences"], differences);

    let cases = folder.path().to_str().expect("text");
    let told = out(&rule(my_rule(), ["test", "my-rule.wasm", "--cases", cases]), 1);
    assert!(told.starts_with("failed case\n"), "{told}");
    assert!(told.contains("found    [\"registry-unknown\"]\n"), "{told}");
}

#[test]
fn settings_that_are_refused_fail_a_case_that_expects_an_answer() {
    let folder = cases(|case| case["question"]["settings"]["hosts"] = serde_json::json!([]));
    let told = json(&out(&test(folder.path()), 1));
    assert_eq!(told["cases"][0]["differences"][0]["member"], "settings");
}

#[test]
fn a_mistake_in_a_case_is_an_error() {
    let folder = cases(|case| case["question"]["image"]["tags"] = serde_json::json!(["1"]));
    let refused = test(folder.path());
    out(&refused, 2);
    assert!(complaint(&refused).contains("unknown field `tags`"), "{}", complaint(&refused));
}

#[test]
fn no_case_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    for folder in [folder.path().to_owned(), folder.path().join("absent")] {
        let refused = test(&folder);
        out(&refused, 2);
        assert!(complaint(&refused).contains("there is no golden case"), "{}", complaint(&refused));
    }
}

#[test]
fn runs_one_case_with_time_and_memory() {
    let case = ["run", "my-rule.wasm", "--case", "cases/denies-another-registry.json"];
    let told = out(&rule(my_rule(), case), 1);
    assert!(
        told.starts_with("deny   docker://elsewhere.example.net/ns/app:1 by my-rule 0.1.0\n"),
        "{told}"
    );
    for words in ["(registry-unknown)", "memory ", " KiB", "time ", "when asked again"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let told = json(&out(&rule(my_rule(), case.into_iter().chain(["--output", "json"])), 1));
    assert_eq!(
        (&told["verdict"], &told["reasons"][0]["code"]),
        (&"deny".into(), &"registry-unknown".into())
    );
    assert!(
        told["memory_bytes"].as_u64() > Some(0) && told["first_microseconds"].as_u64() > Some(0),
        "{told}"
    );
    out(
        &rule(my_rule(), ["run", "my-rule.wasm", "--case", "cases/allows-a-known-registry.json"]),
        0,
    );
}
