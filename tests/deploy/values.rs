//! The chart's values, its schema and its templates know the same keys.

use std::collections::BTreeSet;

use serde_json::Value;

use super::documents;
use crate::docs::{files, read};

#[test]
fn schema_has_the_values_that_there_are_and_no_others() {
    let values = &documents(&read(&format!("{CHART}/values.yaml")))[0];
    let schema: Value =
        serde_json::from_str(&read(&format!("{CHART}/values.schema.json"))).expect("JSON");
    compare("", values, &schema);
}

#[test]
fn templates_use_every_value() {
    let schema: Value =
        serde_json::from_str(&read(&format!("{CHART}/values.schema.json"))).expect("JSON");
    let mut templates: String =
        files(&format!("{CHART}/templates"), "yaml").iter().map(|file| read(file)).collect();
    templates.push_str(&read(&format!("{CHART}/templates/_helpers.tpl")));
    let mut paths = Vec::new();
    leaves("", &schema, &mut paths);
    assert!(paths.len() > 40, "only {} values were found", paths.len());
    for path in paths {
        // Of what is passed on as a whole, the whole is named.
        let named = templates.contains(&format!(".Values{path}"));
        assert!(named, "no template uses {path}");
    }
}

/// Helm's own value, which every chart is given.
const HELM: &str = "global";

fn compare(path: &str, values: &Value, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else { return };
    assert_eq!(schema["additionalProperties"], false, "{path} is not closed");
    let values = values.as_object().unwrap_or_else(|| missing(&format!("{path} is no object")));
    // What is empty has no keys to compare.
    if values.is_empty() {
        return;
    }
    let known: BTreeSet<_> = properties.keys().filter(|key| *key != HELM).collect();
    assert_eq!(values.keys().collect::<BTreeSet<_>>(), known, "below {path:?}");
    for (key, value) in values {
        compare(&format!("{path}.{key}"), value, &properties[key]);
    }
}

fn leaves(path: &str, schema: &Value, paths: &mut Vec<String>) {
    match schema["properties"].as_object() {
        Some(properties) if !path.ends_with(".issuerRef") => {
            for (key, schema) in properties.iter().filter(|(key, _)| *key != HELM) {
                leaves(&format!("{path}.{key}"), schema, paths);
            }
        }
        _ => paths.push(path.to_owned()),
    }
}

#[expect(clippy::panic, reason = "what is missing is the failure of the test")]
fn missing(what: &str) -> ! {
    panic!("{what}")
}

const CHART: &str = "deploy/helm/countersign";
