//! `rule build`, `rule inspect`.

use std::fs;
use std::process::Command;

use countersign::digest::Digest;

use super::{complaint, json, my_rule, out, rule};

#[test]
fn a_new_rule_in_rust_passes_its_own_tests() {
    let tested = Command::new(env!("CARGO"))
        .args(["test", "--offline", "--quiet"])
        .current_dir(my_rule())
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .expect("cargo starts");
    let told = format!("{}{}", out(&tested, 0), complaint(&tested));
    assert!(!told.contains("warning"), "{told}");
}

#[test]
fn a_new_rule_in_rust_imports_nothing_and_loads() {
    let told = json(&out(&rule(my_rule(), ["inspect", "my-rule.wasm", "--output", "json"]), 0));
    let wasm = fs::read(my_rule().join("my-rule.wasm")).expect("a module");
    assert_eq!(told["digest"], Digest::sha256(&wasm).as_str());
    assert_eq!(told["size"], wasm.len());
    assert_eq!(told["imports"], serde_json::json!([]));
    assert_eq!(told["exports"], serde_json::json!(["countersign:policy/ruling@0.1.0"]));
    assert_eq!((&told["name"], &told["version"]), (&"my-rule".into(), &"0.1.0".into()));
    assert_eq!(told["settings_schema"]["required"], serde_json::json!(["hosts"]));
    assert_eq!(told["doubts"], serde_json::json!([]));
    let text = out(&rule(my_rule(), ["inspect", "my-rule.wasm"]), 0);
    assert!(text.starts_with("my-rule 0.1.0\nsha256:"), "{text}");
}

#[test]
fn the_same_source_gives_the_same_module_elsewhere() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    out(&rule(elsewhere.path(), ["new", "my-rule", "--lang", "rust", "deep/er"]), 0);
    let told = out(&rule(elsewhere.path(), ["build", "deep/er", "--output", "out.wasm"]), 0);
    let built = fs::read(elsewhere.path().join("out.wasm")).expect("a module");
    assert_eq!(told, format!("out.wasm\n{}\n", Digest::sha256(&built).as_str()));
    assert!(built == fs::read(my_rule().join("my-rule.wasm")).expect("a module"));
}

#[test]
fn says_why_a_module_does_not_load() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("empty.wasm"), wat::parse_str("(component)").expect("WAT"))
        .expect("a file");
    let told = out(&rule(folder.path(), ["inspect", "empty.wasm"]), 1);
    assert!(told.contains("loads    no\n"), "{told}");
    let told = json(&out(&rule(folder.path(), ["inspect", "empty.wasm", "--output", "json"]), 1));
    assert_eq!((&told["loads"], &told["reason"]["code"]), (&false.into(), &"rule-invalid".into()));
}

#[test]
fn a_folder_without_a_rule_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = rule(folder.path(), ["build"]);
    out(&refused, 2);
    assert!(complaint(&refused).contains("countersign rule new"), "{}", complaint(&refused));
}

#[test]
fn tools_that_are_missing_are_named_with_what_installs_them() {
    let folder = tempfile::tempdir().expect("a folder");
    for (language, lacks, install) in [
        ("js", "node", "Node.js"),
        ("python", "componentize-py", "pip install --requirement requirements.txt"),
    ] {
        out(&rule(folder.path(), ["new", "my-rule", "--lang", language, language]), 0);
        let refused = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["rule", "build", language])
            .current_dir(folder.path())
            .env("PATH", "/nonexistent")
            .output()
            .expect("the program starts");
        out(&refused, 2);
        let told = complaint(&refused);
        assert!(told.contains(&format!("{lacks} is missing")) && told.contains(install), "{told}");
    }
}

#[test]
fn source_that_does_not_compile_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    out(&rule(folder.path(), ["new", "broken", "--lang", "rust", "."]), 0);
    fs::write(folder.path().join("src/lib.rs"), "rule!").expect("a file");
    let refused = rule(folder.path(), ["build"]);
    out(&refused, 2);
    assert!(!folder.path().join("broken.wasm").exists());
    assert!(
        complaint(&refused).contains("was not built: cargo ended with"),
        "{}",
        complaint(&refused)
    );
}
