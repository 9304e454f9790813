//! The rules that ship in JavaScript and in Python.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use countersign::workbench::{Language, build};
use lab::compilers::Compiler;
use serde_json::json;

use crate::shipped_rules::{
    NOW, Trial, folder, is_what_its_page_says, rules, says_of_its_cases_what_they_say,
};
use crate::support::say;
use crate::webhook::shipped_rules::allow_and_deny_on_both_ways;

#[test]
fn every_rule_says_of_its_cases_what_they_say() {
    for (language, _) in LANGUAGES {
        for rule in rules(language) {
            let Some(module) = module(&rule) else { continue };
            says_of_its_cases_what_they_say(&rule, module);
            is_what_its_page_says(&rule, module);
        }
    }
}

#[test]
fn deny_latest_is_asked_by_the_command_line() {
    let Some(module) = module("deny-latest") else { return };
    let trial = Trial { keys: &[], ..Trial::of("deny-latest", module) };
    trial.allows(json!({}));
    let latest = Trial { reference: Some("registry.example.com/prod/app:latest"), ..trial };
    latest.denies(json!({}), "deny-latest/moving-tag");
    // As every program reads a name without a tag.
    let bare = Trial { reference: Some("registry.example.com/prod/app"), ..trial };
    bare.denies(json!({}), "deny-latest/moving-tag");
}

#[test]
fn freeze_is_asked_by_the_command_line() {
    let Some(module) = module("freeze") else { return };
    let calendar = r#"{"windows":[{"name":"year end","from":"2026-12-20T00:00:00Z","to":"2027-01-03T00:00:00Z"}]}"#;
    let settings = json!({"documents": ["calendar"]});
    let trial = Trial {
        keys: &[],
        capabilities: &["data"],
        calendar: Some(calendar),
        ..Trial::of("freeze", module)
    };
    trial.denies(settings.clone(), "freeze/frozen");
    let later = Trial { at: NOW + 7 * 24 * 60 * 60, ..trial };
    later.allows(settings.clone());
    let broken = Trial { calendar: Some("{}"), ..later };
    broken.denies(settings, "freeze/document-unusable");
}

#[test]
fn verdicts_through_command_line_and_webhook_are_the_same() {
    let names: Vec<_> = LANGUAGES.into_iter().flat_map(|(language, _)| rules(language)).collect();
    let modules = names.iter().filter_map(|rule| Some((rule.as_str(), module(rule)?)));
    allow_and_deny_on_both_ways(&modules.collect::<Vec<_>>());
}

/// The module of a rule, built once; `None`, said plainly, where its compiler is not here.
fn module(rule: &str) -> Option<&'static [u8]> {
    static MODULES: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    let modules = MODULES.get_or_init(|| {
        let mut modules = BTreeMap::new();
        for (language, compiler) in LANGUAGES {
            let Some(tools) = compiler.find() else {
                say(&format!(
                    "SKIPPED: the compiler of rules in {language} is not here, see `cargo xtask setup`; those that \
                     ship are not tested"
                ));
                continue;
            };
            for rule in rules(language) {
                let module = build::build(&folder(&rule), Some(&tools)).expect("a module");
                modules.insert(rule, module);
            }
        }
        modules
    });
    modules.get(rule).map(Vec::as_slice)
}

const LANGUAGES: [(Language, Compiler); 2] =
    [(Language::JavaScript, Compiler::JavaScript), (Language::Python, Compiler::Python)];
