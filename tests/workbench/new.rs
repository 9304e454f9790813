//! `rule new`.

use std::fs;

use super::{complaint, out, root, rule};

#[test]
fn says_where_to_go_on() {
    for (language, word) in [("rust", "Rust"), ("js", "JavaScript"), ("python", "Python")] {
        let folder = tempfile::tempdir().expect("a folder");
        let told = out(&rule(folder.path(), ["new", "my-rule", "--lang", language, "here"]), 0);
        assert_eq!(told, format!("here: a rule in {word}; here/README.md says how to go on\n"));
        let readme = fs::read_to_string(folder.path().join("here/README.md")).expect("a README");
        assert!(readme.starts_with("# my-rule\n"), "{readme}");
    }
}

#[test]
fn overwrites_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("my-rule")).expect("a folder");
    fs::write(folder.path().join("my-rule/mine"), "mine").expect("a file");
    let refused = rule(folder.path(), ["new", "my-rule", "--lang", "js"]);
    out(&refused, 2);
    assert!(complaint(&refused).contains("my-rule is not empty"), "{}", complaint(&refused));
    assert_eq!(fs::read_dir(folder.path().join("my-rule")).expect("a folder").count(), 1);
}

#[test]
fn takes_an_empty_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    out(&rule(folder.path(), ["new", "my-rule", "--lang", "python", "."]), 0);
    assert!(folder.path().join("app.py").is_file());
}

#[test]
fn refuses_names_that_no_rule_has() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["My-Rule", "my_rule", "-x", "../x", "2fa", ""] {
        let refused = rule(folder.path(), ["new", "--lang", "rust", "--", name]);
        out(&refused, 2);
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn the_interface_of_new_rules_is_the_frozen_one() {
    let frozen = fs::read(root().join("wit/0.1.0/rule.wit")).expect("the interface");
    let folder = tempfile::tempdir().expect("a folder");
    for (language, path) in [
        ("rust", "countersign-rule/wit/rule.wit"),
        ("js", "wit/deps/countersign-policy/rule.wit"),
        ("python", "wit/deps/countersign-policy/rule.wit"),
    ] {
        out(&rule(folder.path(), ["new", "my-rule", "--lang", language, language]), 0);
        let written = fs::read(folder.path().join(language).join(path)).expect("a file");
        assert!(written == frozen, "{language}");
    }
}
