//! docs/policy.md: its examples are policies, and its wrong examples are wrong as it says.

use std::collections::BTreeSet;

use guest_policy::Engine;
use guest_policy::verdict::Severity;
use serde_json::{Value, json};

use super::markdown::Block;
use super::{markdown, read};

#[test]
fn every_example_is_accepted_without_a_word() {
    let examples: Vec<_> = blocks().into_iter().filter(|block| block.info == "json").collect();
    assert!(examples.len() > 10, "only {} examples were found", examples.len());
    for example in examples {
        let mistakes = Engine::check(document(&example).as_bytes(), &[]);
        assert!(mistakes.is_empty(), "{PAGE}:{}: {mistakes:#?}", example.line);
    }
}

#[test]
fn every_wrong_example_has_the_mistake_that_it_names() {
    let mut found = 0;
    for example in blocks() {
        let Some(words) = example.info.strip_prefix("json ") else { continue };
        let (severity, code) = words.split_once('=').expect("json error=CODE or json warning=CODE");
        let severity = match severity {
            "error" => Severity::Error,
            _ => Severity::Warning,
        };
        let mistakes = Engine::check(document(&example).as_bytes(), &[]);
        let told: Vec<_> = mistakes.iter().map(|m| (m.severity, m.code.as_str())).collect();
        assert_eq!(told, [(severity, code)], "{PAGE}:{}", example.line);
        found += 1;
    }
    assert!(found > 10, "only {found} wrong examples were found");
}

#[test]
fn every_type_has_an_example() {
    let mut shown = BTreeSet::new();
    for block in blocks().iter().filter(|block| !block.info.contains("error=")) {
        collect_types(&serde_json::from_str(&block.text).expect("JSON"), &mut shown);
    }
    for name in TYPES {
        assert!(shown.contains(name), "{PAGE} has no example of {name}");
    }
}

fn collect_types(value: &Value, types: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect_types(value, types)),
        Value::Object(members) => {
            if let Some(Value::String(name)) = members.get("type") {
                types.insert(name.clone());
            }
            members.values().for_each(|value| collect_types(value, types));
        }
        _ => {}
    }
}

/// An example as a whole document: a policy as it is; a requirement or an identity in the smallest policy
/// that has one.
fn document(example: &Block) -> String {
    let Ok(value) = serde_json::from_str::<Value>(&example.text) else {
        return example.text.clone();
    };
    let in_policy = |requirement: &str| format!("{{\"default\": [{requirement}]}}");
    match value.get("type").and_then(Value::as_str) {
        None => example.text.clone(),
        Some(name) if IDENTITIES.contains(&name) => in_policy(
            &json!({
                "type": "signedBy", "keyType": "GPGKeys", "keyPath": "key.gpg",
                "signedIdentity": value,
            })
            .to_string(),
        ),
        Some(_) => in_policy(&example.text),
    }
}

fn blocks() -> Vec<Block> {
    let (blocks, _) = markdown::split(&read(PAGE));
    blocks.into_iter().filter(|block| block.info.starts_with("json")).collect()
}

const PAGE: &str = "docs/policy.md";

const IDENTITIES: [&str; 6] = [
    "matchExact",
    "matchRepoDigestOrExact",
    "matchRepository",
    "exactReference",
    "exactRepository",
    "remapIdentity",
];

const TYPES: [&str; 14] = [
    "anyOf",
    "atLeast",
    "rule",
    "insecureAcceptAnything",
    "reject",
    "signedBaseLayer",
    "signedBy",
    "sigstoreSigned",
    "matchExact",
    "matchRepoDigestOrExact",
    "matchRepository",
    "exactReference",
    "exactRepository",
    "remapIdentity",
];
