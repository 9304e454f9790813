//! `deploy/tekton`: what the API of Tekton takes, laid out as its catalog wants, and steps that do what they say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use super::documents;
use crate::cli::{AMD64, LAB, User};
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

#[test]
fn files_lie_where_the_catalog_wants_them() {
    for (path, document) in all() {
        let path = path.strip_prefix(root().join("deploy/tekton")).expect("below");
        let parts: Vec<_> = path.iter().map(|part| part.to_str().expect("UTF-8")).collect();
        let [kind, name, version, rest @ ..] = parts.as_slice() else { unreachable!("{parts:?}") };
        if rest.first() == Some(&"samples") {
            continue;
        }
        assert_eq!(rest, [format!("{name}.yaml")]);
        let about = &document["metadata"];
        assert_eq!(document["kind"].as_str().expect("a kind").to_lowercase(), *kind);
        assert_eq!(
            (&about["name"], &about["labels"]["app.kubernetes.io/version"]),
            (&json!(name), &json!(version))
        );
        for annotation in ["pipelines.minVersion", "categories", "tags", "displayName", "platforms"]
        {
            assert!(
                about["annotations"][format!("tekton.dev/{annotation}")].is_string(),
                "{annotation}"
            );
        }
        assert!(document["spec"]["description"].is_string());
    }
}

#[test]
fn steps_need_no_rights_and_no_shell() {
    for (path, document) in all() {
        let spec = &document["spec"];
        let text = document.to_string();
        assert!(!text.contains("\"script\":"), "{}", path.display());
        for result in ["IMAGE_URL", "IMAGE_DIGEST"] {
            assert!(!text.contains(&format!("\"{result}\"")), "Chains would take it for a build");
        }
        if document["kind"] != "StepAction" {
            continue;
        }
        let security = &spec["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
        // Whatever a user says is behind the end of the options.
        let arguments = spec["args"].as_array().expect("arguments");
        let end = arguments.iter().position(|argument| argument == "--").expect("an end");
        assert_eq!(arguments[end + 1..], [json!("$(params.image)")]);
    }
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
        let results = ["VERDICT", "VERIFIED_DIGEST"].map(|name| (name, user.path(name)));
        for (_, path) in &results {
            std::fs::write(path, "of an earlier run").expect("written");
        }
        let arguments = arguments(&user, image, &results.clone().into());
        let mut step = Command::new(env!("CARGO_BIN_EXE_countersign"));
        step.env_clear()
            .env("HOME", "/nonexistent")
            .env("DOCKER_CONFIG", "")
            .current_dir(user.path(""));
        // Of the tests' images, whose signatures are for another name, long ago.
        let (verify, rest) = arguments.split_first().expect("a command");
        let named = LAB.split(' ').skip_while(|word| *word != "--as");
        let ended = step.arg(verify).args(named).args(rest).output().expect("it runs");
        assert_eq!(ended.status.code(), Some(status), "{ended:?}");
        let read = |name: &str| std::fs::read_to_string(user.path(name)).expect("a result");
        assert_eq!(
            (read("VERDICT").as_str(), read("VERIFIED_DIGEST").as_str()),
            (verdict, digest),
            "{image}"
        );
    }
    // A name that looks like an option is a name.
    let arguments = arguments(&user, "--replay=x", &BTreeMap::new());
    let mut step = Command::new(env!("CARGO_BIN_EXE_countersign"));
    let ended =
        step.env_clear().args(arguments).current_dir(user.path("")).output().expect("it runs");
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

/// The arguments of the step, as Tekton fills them in for a task without optional workspaces.
fn arguments(user: &User, image: &str, results: &BTreeMap<&str, PathBuf>) -> Vec<String> {
    let path = "deploy/tekton/stepaction/countersign-verify/0.1/countersign-verify.yaml";
    let step = documents(&std::fs::read_to_string(root().join(path)).expect("a step")).remove(0);
    assert_eq!(step["spec"]["command"], json!(["/countersign"]));
    let mut values = Map::new();
    values.insert("$(params.image)".to_owned(), json!(image));
    values.insert("$(params.policy-path)".to_owned(), json!(user.path("")));
    values.insert("$(params.registries-d)".to_owned(), json!(""));
    for name in ["VERDICT", "VERIFIED_DIGEST"] {
        let path = results.get(name).cloned().unwrap_or_else(|| user.path(name));
        values.insert(format!("$(step.results.{name}.path)"), json!(path));
    }
    let arguments = step["spec"]["args"].as_array().expect("arguments");
    let fill = |argument: &Value| {
        let argument = argument.as_str().expect("text").to_owned();
        values.iter().fold(argument, |text, (variable, value)| {
            text.replace(variable, value.as_str().expect("text"))
        })
    };
    arguments.iter().map(fill).collect()
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
    assert!(all.len() >= 3, "{}", all.len());
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
