//! What Tekton's own webhooks want: whatever a document refers to is declared, there, and used.

use std::collections::BTreeSet;

use super::catalog::entries;
use super::*;
use crate::support::tekton::{document, list, text};

#[test]
fn step_actions_use_what_they_declare() {
    for (_, action) in entries().iter().filter(|(_, document)| document["kind"] == "StepAction") {
        let spec = &action["spec"];
        let used = variables(&json!({"args": spec["args"], "env": spec["env"]}));
        let declared: BTreeSet<_> = names(&spec["params"], "params.", "")
            .into_iter()
            .chain(names(&spec["results"], "step.results.", ".path"))
            .collect();
        assert_eq!(used, declared);
    }
}

#[test]
fn tasks_use_what_they_declare_and_call_what_is_there() {
    for (parts, task) in entries().iter().filter(|(_, document)| document["kind"] == "Task") {
        let spec = &task["spec"];
        let used = variables(&json!({"steps": spec["steps"], "results": spec["results"]}));
        let mounted = |workspace: &&Value| workspace["mountPath"].is_string();
        let paths = list(&spec["workspaces"]).iter().filter(|it| !mounted(it)).cloned().collect();
        let mut declared: BTreeSet<_> = names(&spec["params"], "params.", "");
        declared.extend(names(&Value::Array(paths), "workspaces.", ".path"));
        for step in list(&spec["steps"]) {
            let members = step.as_object().expect("a step").keys();
            for member in members {
                // Beside a ref the webhook refuses image, command, args, script, env, volumeMounts and results.
                let allowed = ["name", "ref", "params", "computeResources", "onError"];
                assert!(allowed.contains(&member.as_str()), "{parts:?}: {member}");
            }
            let action = document("stepaction", text(&step["ref"]["name"]));
            assert_called(&action["spec"]["params"], &step["params"]);
            let results = format!("steps.{}.results.", text(&step["name"]));
            declared.extend(names(&action["spec"]["results"], &results, ""));
        }
        assert_eq!(used, declared, "{parts:?}");
    }
}

#[test]
fn pipelines_use_what_they_declare_and_call_what_is_there() {
    for (parts, pipeline) in entries().iter().filter(|(_, it)| it["kind"] == "Pipeline") {
        let spec = &pipeline["spec"];
        let params = names(&spec["params"], "params.", "");
        let mut known: BTreeSet<_> = params.clone();
        known.insert("context.pipelineRun.name".to_owned());
        let mut bound = BTreeSet::new();
        for task in list(&spec["tasks"]) {
            let results = format!("tasks.{}.results.", text(&task["name"]));
            let workspaces = list(&task["workspaces"]);
            bound.extend(workspaces.iter().map(|workspace| text(&workspace["workspace"])));
            let called = text(&task["taskRef"]["name"]);
            if called == "buildah" {
                known.insert(format!("{results}IMAGE_DIGEST"));
                continue;
            }
            let called = document("task", called);
            assert_called(&called["spec"]["params"], &task["params"]);
            assert_bound(&called["spec"]["workspaces"], workspaces, &spec["workspaces"]);
            known.extend(names(&called["spec"]["results"], &results, ""));
        }
        let used = variables(&json!({"tasks": spec["tasks"], "results": spec["results"]}));
        assert!(used.is_subset(&known), "{parts:?}: {used:?}");
        assert!(params.is_subset(&used), "{parts:?}: {used:?}");
        assert_eq!(
            names(&spec["workspaces"], "", ""),
            bound.iter().map(ToString::to_string).collect()
        );
    }
}

#[test]
fn samples_are_runs_of_what_is_there() {
    let samples =
        all().into_iter().filter(|(path, _)| path.parent().is_some_and(|p| p.ends_with("samples")));
    let mut tried = 0;
    for (path, run) in samples {
        let (kind, called) = match text(&run["kind"]) {
            "TaskRun" => ("task", &run["spec"]["taskRef"]),
            "PipelineRun" => ("pipeline", &run["spec"]["pipelineRef"]),
            other => unreachable!("{other}"),
        };
        let called = document(kind, text(&called["name"]));
        assert!(path.to_str().expect("UTF-8").contains(text(&called["metadata"]["name"])));
        assert_called(&called["spec"]["params"], &run["spec"]["params"]);
        let (declared, bound) = (&called["spec"]["workspaces"], list(&run["spec"]["workspaces"]));
        let there = names(declared, "", "");
        for workspace in list(declared) {
            let name = text(&workspace["name"]);
            let optional = workspace["optional"] == true;
            assert!(optional || bound.iter().any(|bound| bound["name"] == name), "{name}");
        }
        for workspace in bound {
            assert!(there.contains(text(&workspace["name"])), "{workspace}");
        }
        tried += 1;
    }
    assert!(tried >= 4, "{tried}");
}

/// Whoever calls gives every parameter that has no default, and none that is not declared.
fn assert_called(declared: &Value, given: &Value) {
    let given = names(given, "", "");
    for param in list(declared).iter().filter(|param| param["default"].is_null()) {
        assert!(given.contains(text(&param["name"])), "{param} is not given: {given:?}");
    }
    let declared = names(declared, "", "");
    assert!(given.is_subset(&declared), "{given:?}: only {declared:?} are known");
}

/// A task's workspaces are bound to those of its pipeline; one that has to be bound to none that may be left out.
fn assert_bound(declared: &Value, bound: &[Value], of_pipeline: &Value) {
    let known = names(declared, "", "");
    assert!(bound.iter().all(|bound| known.contains(text(&bound["name"]))), "{bound:?}");
    for workspace in list(declared).iter().filter(|workspace| workspace["optional"] != true) {
        let bound = bound.iter().find(|bound| bound["name"] == workspace["name"]).expect("bound");
        let of_pipeline = list(of_pipeline).iter().find(|of| of["name"] == bound["workspace"]);
        assert_ne!(of_pipeline.expect("declared")["optional"], true, "{bound}");
    }
}

/// The names of a list's members, with what stands around them in variables.
fn names(members: &Value, before: &str, after: &str) -> BTreeSet<String> {
    let name = |member: &Value| format!("{before}{}{after}", text(&member["name"]));
    list(members).iter().map(name).collect()
}

/// What stands in `$(…)`.
fn variables(value: &Value) -> BTreeSet<String> {
    let text = value.to_string();
    let variables = text.split("$(").skip(1).filter_map(|rest| rest.split_once(')'));
    variables.map(|(name, _)| name.to_owned()).collect()
}
