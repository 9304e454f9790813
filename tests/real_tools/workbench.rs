//! New rules in JavaScript and Python, with the compilers that their READMEs name.

use std::process::Command;

use lab::compilers::Compiler;

use crate::support::say;
use crate::workbench::{json, out, rule};

#[test]
fn a_new_rule_in_javascript_builds_and_passes_its_tests() {
    let mut test = Command::new("node");
    test.args(["--test", "test/"]);
    new_rule(Compiler::JavaScript, "js", test);
}

#[test]
fn a_new_rule_in_python_builds_and_passes_its_tests() {
    let mut test = Command::new("python3");
    test.args(["-B", "-m", "unittest", "discover", "-s", "tests"]);
    new_rule(Compiler::Python, "python", test);
}

fn new_rule(compiler: Compiler, language: &str, mut test: Command) {
    let Some(tools) = compiler.find() else {
        say(&format!(
            "SKIPPED: the compiler of rules in {compiler:?} is not here, see `cargo xtask setup`; new rules in it are \
             not tested"
        ));
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    out(&rule(folder.path(), ["new", "my-rule", "--lang", language, "."]), 0);
    out(&test.current_dir(folder.path()).output().expect("the test starts"), 0);

    let tools = ["--tools".to_owned(), tools.display().to_string()];
    let with = |words: &[&str]| {
        let words = words.iter().map(|word| (*word).to_owned());
        rule(folder.path(), words.chain(tools.clone()))
    };
    out(&with(&["build"]), 0);
    let told = json(&out(&with(&["inspect", "my-rule.wasm", "--output", "json"]), 0));
    assert_eq!(told["imports"], serde_json::json!([]));
    assert_eq!(told["doubts"], serde_json::json!([]));
    let told = out(&with(&["test", "my-rule.wasm"]), 0);
    assert!(told.ends_with("my-rule 0.1.0: 4 passed, 0 failed\n"), "{told}");
}
