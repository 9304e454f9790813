//! docs/metrics.md has every metric and alert; the dashboard and the alert rules ask for metrics that there
//! are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{markdown, read};
use crate::telemetry::metrics;
use crate::telemetry::openmetrics::{self, Family};

#[test]
fn every_metric_is_documented_with_its_type_and_labels() {
    let (_, prose) = markdown::split(&read(PAGE));
    let mut documented = BTreeMap::new();
    for row in markdown::rows(&prose, "metric") {
        let [name] = markdown::code(row[0])[..] else { wrong(&format!("no name in {row:?}")) };
        let labels: BTreeSet<&str> = markdown::code(row[2]).into_iter().collect();
        assert!(documented.insert(name, (row[1], labels)).is_none(), "{name} has two rows");
    }
    let families = families();
    let names: Vec<String> = families.iter().map(Family::known_as).collect();
    for (family, name) in families.iter().zip(&names) {
        let found = documented.remove(name.as_str());
        assert_eq!(found, Some((family.kind.as_str(), family.labels())), "{name} in {PAGE}");
    }
    assert!(documented.is_empty(), "{PAGE} explains what there is not: {documented:?}");
}

#[test]
fn every_value_of_a_label_is_documented() {
    let (_, prose) = markdown::split(&read(PAGE));
    let values: BTreeSet<&str> =
        markdown::rows(&prose, "label").iter().flat_map(|row| markdown::code(row[1])).collect();
    for family in families() {
        for (label, value) in family.samples.iter().flat_map(|sample| &sample.labels) {
            let open = ["le", "host", "rule", "version"].contains(&label.as_str())
                || label == "reason" && value != "none";
            assert!(open || values.contains(value.as_str()), "{PAGE}: no {label} {value}");
        }
    }
}

#[test]
fn dashboard_asks_for_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut identifiers = BTreeSet::new();
    let mut asked = BTreeSet::new();
    for panel in panels {
        assert!(identifiers.insert(panel["id"].as_u64()), "two panels {}", panel["id"]);
        assert!(panel["title"].is_string() && panel["gridPos"].is_object(), "{panel}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().expect("an expression");
            let found = metrics_in(expression);
            assert!(!found.is_empty(), "{expression} asks for nothing");
            asked.extend(found);
        }
    }
    assert_known(DASHBOARD, &asked);
    // And shows all of them.
    for family in families() {
        let shown = family.sample_names().iter().any(|name| asked.contains(name));
        assert!(shown, "{DASHBOARD} does not show {}", family.name);
    }
}

#[test]
fn alert_rules_ask_for_metrics_that_there_are() {
    for rule in rules(&yaml(RULES)) {
        let expression = rule["expr"].as_str().expect("an expression");
        let asked = metrics_in(expression);
        assert!(!asked.is_empty(), "{expression} asks for nothing");
        assert_known(RULES, &asked);
        assert_bounds_exist(expression);
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].is_string(), "{rule}: no {text}");
        }
        let severity = rule["labels"]["severity"].as_str().expect("a severity");
        assert!(["warning", "critical"].contains(&severity), "{severity}");
    }
}

#[test]
fn every_alert_is_documented() {
    let (_, prose) = markdown::split(&read(PAGE));
    let documented: Vec<&str> =
        markdown::rows(&prose, "alert").iter().flat_map(|row| markdown::code(row[0])).collect();
    let rules = rules(&yaml(RULES));
    let named: Vec<&str> = rules.iter().filter_map(|rule| rule["alert"].as_str()).collect();
    assert_eq!(named, documented);
}

#[test]
fn operator_gets_the_same_rules() {
    let manifest = yaml(MANIFEST);
    assert_eq!(manifest["kind"], "PrometheusRule");
    assert_eq!(manifest["apiVersion"], "monitoring.coreos.com/v1");
    assert_eq!(manifest["spec"], yaml(RULES));
}

/// What looks like one of our metrics in a query.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("countersign_")).map(str::to_owned).collect()
}

fn assert_known(file: &str, asked: &BTreeSet<String>) {
    let known: BTreeSet<String> = families().iter().flat_map(Family::sample_names).collect();
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
}

/// A bucket that is asked for has to be one, to the letter.
fn assert_bounds_exist(expression: &str) {
    let families = families();
    let samples = families.iter().flat_map(|family| &family.samples);
    let bounds: BTreeSet<&str> =
        samples.filter_map(|sample| Some(sample.labels.get("le")?.as_str())).collect();
    for bound in expression.split("le=\"").skip(1) {
        let bound = bound.split('"').next().unwrap_or_default();
        assert!(bounds.contains(bound), "{expression}: no bucket {bound} in {bounds:?}");
    }
}

fn families() -> Vec<Family> {
    openmetrics::parse(&metrics().encode()).expect("OpenMetrics")
}

fn rules(document: &Value) -> Vec<Value> {
    let groups = document["groups"].as_array().expect("groups");
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules"));
    rules.cloned().collect()
}

fn yaml(file: &str) -> Value {
    serde_saphyr::from_str(&read(file)).unwrap_or_else(|error| wrong(&format!("{file}: {error}")))
}

#[expect(clippy::panic, reason = "what is wrong is the failure of the test")]
fn wrong(what: &str) -> ! {
    panic!("{what}")
}

const PAGE: &str = "docs/metrics.md";
const DASHBOARD: &str = "deploy/grafana/countersign.json";
const RULES: &str = "deploy/alerts/rules.yaml";
const MANIFEST: &str = "deploy/alerts/countersign.yaml";
