//! Tasks of `deploy/tekton` as Tekton starts their steps: with parameters, workspaces and results filled in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::root;

/// What a step is started with.
pub(crate) struct Step {
    /// Without the program.
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// The files of its results.
    pub(crate) results: BTreeMap<String, PathBuf>,
}

impl Step {
    /// The one step of a Task, run with these parameters and workspaces; its results go into a folder. A workspace that
    /// is not bound is an empty path.
    pub(crate) fn of(
        task: &str,
        params: &[(&str, &str)],
        workspaces: &[(&str, &Path)],
        folder: &Path,
    ) -> Self {
        let task = document("task", task);
        let mut values = values(&task["spec"]["params"], params);
        for workspace in list(&task["spec"]["workspaces"]) {
            let name = text(&workspace["name"]);
            let bound = workspaces.iter().find(|(bound, _)| *bound == name);
            assert!(bound.is_some() || workspace["optional"] == true, "{name} has to be bound");
            let path = bound.map(|(_, path)| path.to_str().expect("UTF-8")).unwrap_or_default();
            values.insert(format!("workspaces.{name}.path"), path.to_owned());
        }
        let [step] = list(&task["spec"]["steps"]) else { unreachable!("one step") };
        let params: Vec<_> = list(&step["params"])
            .iter()
            .map(|param| (text(&param["name"]), fill(text(&param["value"]), &values)))
            .collect();
        let params: Vec<_> = params.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Self::of_action(text(&step["ref"]["name"]), &params, folder)
    }

    /// A StepAction, run with these parameters.
    pub(crate) fn of_action(action: &str, params: &[(&str, &str)], folder: &Path) -> Self {
        let action = document("stepaction", action);
        let spec = &action["spec"];
        let mut values = values(&spec["params"], params);
        let results: BTreeMap<_, _> = list(&spec["results"])
            .iter()
            .map(|result| text(&result["name"]))
            .map(|name| (name.to_owned(), folder.join(name)))
            .collect();
        for (name, path) in &results {
            let path = path.to_str().expect("UTF-8").to_owned();
            values.insert(format!("step.results.{name}.path"), path);
        }
        assert_eq!(spec["command"], serde_json::json!(["/countersign"]));
        let arguments =
            list(&spec["args"]).iter().map(|argument| fill(text(argument), &values)).collect();
        let variable =
            |it: &Value| (text(&it["name"]).to_owned(), fill(text(&it["value"]), &values));
        let environment = list(&spec["env"]).iter().map(variable).collect();
        Self { arguments, environment, results }
    }

    /// What it wrote as a result.
    pub(crate) fn result(&self, name: &str) -> String {
        std::fs::read_to_string(&self.results[name]).expect("a result")
    }
}

/// A document of the catalog.
pub(crate) fn document(kind: &str, name: &str) -> Value {
    let path = format!("deploy/tekton/{kind}/{name}/0.1/{name}.yaml");
    let text = std::fs::read_to_string(root().join(path)).expect("a document");
    serde_saphyr::from_str(&text).expect("YAML")
}

/// The items of a list; none if there is no list.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A text.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

/// Of all declared parameters: what was given, or their defaults.
fn values(declared: &Value, given: &[(&str, &str)]) -> BTreeMap<String, String> {
    let names: Vec<_> = list(declared).iter().map(|param| text(&param["name"])).collect();
    for (name, _) in given {
        assert!(names.contains(name), "{name} is no parameter");
    }
    let value = |param: &Value| {
        let name = text(&param["name"]);
        let given = given.iter().find(|(given, _)| *given == name).map(|(_, value)| *value);
        let value = given.or(param["default"].as_str());
        (format!("params.{name}"), value.expect("a value or a default").to_owned())
    };
    list(declared).iter().map(value).collect()
}

/// Every variable becomes its value, whatever that contains.
pub(crate) fn fill(template: &str, values: &BTreeMap<String, String>) -> String {
    let (mut filled, mut rest) = (String::new(), template);
    while let Some((before, variable)) = rest.split_once("$(") {
        let (name, after) = variable.split_once(')').expect("the end of a variable");
        filled.push_str(before);
        filled.push_str(values.get(name).unwrap_or_else(|| unreachable!("{name} of {template}")));
        rest = after;
    }
    filled + rest
}
