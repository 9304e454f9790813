//! `deploy/tekton`: what the API of Tekton takes, laid out as its catalog wants, and steps that do what they say.

mod catalog;
mod references;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::documents;
use crate::cli::{AMD64, LAB, User};
use crate::support::tekton::Step;
use crate::support::{root, say, shared};

#[test]
fn documents_are_valid() {
    let Some(shared) = shared() else {
        say(
            "SKIPPED: ../shared is not here; documents for Tekton are not compared with its schemas",
        );
        return;
    };
    let folder = shared.join("conformance/kubernetes/tekton/schemas");
    for (path, document) in all() {
        let text = |name: &str| document[name].as_str().expect("text").replace('/', "_");
        let name = format!("{}_{}.openapiv3.json", text("apiVersion"), text("kind"));
        let schema = std::fs::read(folder.join(&name)).expect("a schema");
        let mut schema: Value = serde_json::from_slice(&schema).expect("JSON");
        close(&mut schema);
        let validator = jsonschema::draft4::new(&schema).expect("a schema");
        let mistakes: Vec<_> = validator
            .iter_errors(&document)
            .map(|mistake| format!("{}: {mistake}", mistake.instance_path()))
            .collect();
        assert!(mistakes.is_empty(), "{}: {mistakes:#?}", path.display());
    }
}

#[test]
fn a_field_that_nobody_knows_is_a_mistake() {
    let Some(shared) = shared() else {
        return say("SKIPPED: ../shared is not here; schemas of Tekton are not looked at");
    };
    let schema = "conformance/kubernetes/tekton/schemas/tekton.dev_v1_Task.openapiv3.json";
    let schema = std::fs::read(shared.join(schema)).expect("a schema");
    let mut schema: Value = serde_json::from_slice(&schema).expect("JSON");
    close(&mut schema);
    let validator = jsonschema::draft4::new(&schema).expect("a schema");
    assert!(validator.is_valid(&json!({"spec": {"steps": [{"name": "a", "image": "b"}]}})));
    assert!(!validator.is_valid(&json!({"spec": {"steps": [{"name": "a", "picture": "b"}]}})));
}

/// Security of a policy's verdict: results of a step that has not allowed are empty.
#[test]
fn the_step_writes_the_verdict_and_what_was_verified() {
    let user = User::new();
    user.signed_by("rsa4096");
    user.image("good", &["good-rsa4096"]);
    user.image("bad", &[]);
    for (image, status, verdict, digest) in
        [("dir:good", 0, "allow", AMD64), ("dir:bad", 1, "deny", ""), ("dir:none", 2, "error", "")]
    {
        for name in ["VERDICT", "VERIFIED_DIGEST"] {
            user.write(name, "of an earlier run");
        }
        let step = verifying(&user, image);
        // Of the tests' images, whose signatures are for another name, long ago.
        let (verify, rest) = step.arguments.split_first().expect("a command");
        let named = LAB.split(' ').skip_while(|word| *word != "--as");
        let ended =
            program(&user, &step).arg(verify).args(named).args(rest).output().expect("it runs");
        assert_eq!(ended.status.code(), Some(status), "{ended:?}");
        let results = ["VERDICT", "VERIFIED_DIGEST"].map(|name| step.result(name));
        assert_eq!(results, [verdict, digest], "{image}");
    }
    // A name that looks like an option is a name.
    let step = verifying(&user, "--replay=x");
    let ended = program(&user, &step).args(&step.arguments).output().expect("it runs");
    let words = String::from_utf8_lossy(&ended.stderr);
    assert!(
        !ended.status.success() && words.contains("--replay=x") && !words.contains("recording"),
        "{words}"
    );
}

#[test]
fn results_are_about_one_image() {
    let user = User::new();
    for option in ["--verdict-file v", "--digest-file d"] {
        user.run(&format!("verify {option} dir:a dir:b")).assert_error(&["about one image"]);
        user.run(&format!("verify {option} --all-platforms dir:a"))
            .assert_error(&["--all-platforms"]);
        user.run(&format!("verify {option} --replay x")).assert_error(&["--replay"]);
    }
    user.run("verify --verdict-file none/v dir:a").assert_error(&["none/v"]);
}

/// The step of countersign-verify, for a task without optional workspaces.
fn verifying(user: &User, image: &str) -> Step {
    let folder = user.path("");
    Step::of("countersign-verify", &[("image", image)], &[("policy", &folder)], &folder)
}

/// The program in the environment of a step.
fn program(user: &User, step: &Step) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_countersign"));
    program.env_clear().envs(step.environment.iter().cloned()).current_dir(user.path(""));
    // What a pod has at /tekton/home, this machine has not.
    program.env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    program
}

/// All documents, with their files.
fn all() -> Vec<(PathBuf, Value)> {
    let mut all = Vec::new();
    for path in below(&root().join("deploy/tekton")) {
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).expect("a file");
            all.extend(documents(&text).into_iter().map(|document| (path.clone(), document)));
        }
    }
    assert!(all.len() >= 11, "{}", all.len());
    all
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}

/// Let objects have nothing but what their schema names, as `kubectl apply --validate=strict` does.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.values_mut().for_each(close);
            let open = ["additionalProperties", "x-kubernetes-preserve-unknown-fields"];
            let is_open = open.iter().any(|name| members.contains_key(*name));
            if members.get("properties").is_some_and(Value::is_object)
                && members.get("type") == Some(&json!("object"))
                && !is_open
            {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
