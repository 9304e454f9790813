//! policies/: the rules that ship, as the project's own commands build them. In Rust here; those in other languages
//! are among the tests against real tools.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use countersign::engine::{Places, RuleLimits, RuleSettings};
use countersign::workbench::cases::Case;
use countersign::workbench::{Language, Loaded, Workbench, build};
use guest_policy::Engine;
use guest_policy::rule::Capability;
use sequoia_openpgp::Cert;
use sequoia_openpgp::parse::Parse as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::cli::User;
use crate::support::root;

#[test]
fn every_rule_says_of_its_cases_what_they_say() {
    for rule in rules(Language::Rust) {
        says_of_its_cases_what_they_say(&rule, module(&rule));
    }
}

#[test]
fn every_rule_is_what_its_page_says() {
    for rule in rules(Language::Rust) {
        is_what_its_page_says(&rule, module(&rule));
    }
}

#[test]
fn every_page_shows_a_policy_that_is_accepted() {
    let all: Vec<_> = Language::ALL.into_iter().flat_map(rules).collect();
    assert_eq!(all.len(), 7, "{all:?}");
    for rule in all {
        let policy = policy_of_page(&rule).to_string();
        let mistakes = Engine::check(policy.as_bytes(), &[]);
        assert!(mistakes.is_empty(), "{rule}: {mistakes:#?}");
        let engine = Engine::load(policy.as_bytes(), &[]).expect("a policy");
        assert_eq!(engine.rules().uses.len(), 1, "{rule}");
    }
}

#[test]
fn every_page_explains_the_codes_that_its_rule_gives() {
    for rule in Language::ALL.into_iter().flat_map(rules) {
        let page = page(&rule);
        let codes = codes(&rule);
        assert!(!codes.is_empty(), "{rule}: no case is denied");
        for code in codes {
            assert!(page.contains(&format!("`{rule}/{code}`")), "{rule}: {code} has no row");
        }
    }
}

#[test]
fn the_interface_beside_a_rule_is_the_released_one() {
    let released = fs::read(root().join("wit/0.1.0/rule.wit")).expect("the interface");
    for rule in [Language::JavaScript, Language::Python].into_iter().flat_map(rules) {
        let own = folder(&rule).join("wit/deps/countersign-policy/rule.wit");
        assert_eq!(fs::read(&own).expect("an interface"), released, "{}", own.display());
    }
}

#[test]
fn max_age_is_asked_by_the_command_line() {
    let trial = Trial { signatures: &["build"], ..Trial::of("max-age", module("max-age")) };
    trial.allows(json!({"days": 365}));
    trial.denies(json!({"hours": 1}), "max-age/signature-too-old");
    let unsigned = Trial { keys: &[], signatures: &[], ..trial };
    unsigned.denies(json!({"days": 365}), "max-age/no-signature");
}

#[test]
fn require_signers_is_asked_by_the_command_line() {
    let settings = json!({"signers": [
        {"name": "build", "key": fingerprint("build")},
        {"name": "review", "key": fingerprint("review")},
    ]});
    let both = Trial {
        keys: &["build", "review"],
        signatures: &["build", "review"],
        ..Trial::of("require-signers", module("require-signers"))
    };
    both.allows(settings.clone());
    let one = Trial { signatures: &["build"], ..both };
    one.denies(settings.clone(), "require-signers/signers-missing");
    // The same signature twice is one signer's.
    let twice = Trial { signatures: &["build", "build"], ..both };
    twice.denies(settings, "require-signers/signers-missing");
}

#[test]
fn allowed_registries_is_asked_by_the_command_line() {
    let trial =
        Trial { keys: &[], ..Trial::of("allowed-registries", module("allowed-registries")) };
    let settings = json!({"allowed": ["registry.example.com/prod"]});
    trial.allows(settings.clone());
    let elsewhere = Trial { reference: Some("registry.example.com/production/app:1"), ..trial };
    elsewhere.denies(settings.clone(), "allowed-registries/registry-not-allowed");
    let nowhere = Trial { reference: None, ..trial };
    nowhere.denies(settings, "allowed-registries/no-reference");
}

#[test]
fn base_image_is_asked_by_the_command_line() {
    let settings = json!({"approved": [{"name": "registry.example.com/base"}]});
    let config = r#"{"config":{"Labels":{"org.opencontainers.image.base.name":"registry.example.com/base/debian:12"}}}"#;
    let trial = Trial {
        keys: &[],
        config,
        capabilities: &["artifact"],
        ..Trial::of("base-image", module("base-image"))
    };
    trial.allows(settings.clone());
    let silent = Trial { config: "{}", ..trial };
    silent.denies(settings, "base-image/base-unknown");
}

#[test]
fn no_root_is_asked_by_the_command_line() {
    let trial = Trial {
        keys: &[],
        config: r#"{"config":{"User":"1000"}}"#,
        capabilities: &["artifact"],
        ..Trial::of("no-root", module("no-root"))
    };
    trial.allows(json!({}));
    let root = Trial { config: r#"{"config":{"User":"0:0"}}"#, ..trial };
    root.denies(json!({}), "no-root/user-root");
    let silent = Trial { config: "{}", ..trial };
    silent.denies(json!({}), "no-root/user-missing");
}

/// Each golden case, in the sandbox.
pub(crate) fn says_of_its_cases_what_they_say(rule: &str, module: &[u8]) {
    let loaded = load(rule, module);
    let mut failures = Vec::new();
    let cases = cases(rule);
    assert!(cases.len() >= 10, "{rule}: only {} cases", cases.len());
    for case in cases {
        let outcome = case.ask(&loaded).expect("a case that can be asked");
        if !outcome.differences.is_empty() {
            failures.push(format!("{}: {:?}", case.name, outcome.differences));
        }
    }
    assert!(failures.is_empty(), "{rule}:\n{}", failures.join("\n"));
}

/// Name, capabilities and the settings of the policy on its page.
pub(crate) fn is_what_its_page_says(rule: &str, module: &[u8]) {
    let loaded = load(rule, module);
    assert_eq!(loaded.doubts(), Vec::<String>::new(), "{rule}");
    assert_eq!(loaded.description.name, rule);
    let schema: Value =
        serde_json::from_str(&loaded.description.settings_schema).expect("a schema");
    assert_eq!(schema["additionalProperties"], false, "{rule}");
    let shown = rule_of_page(rule);
    let granted: BTreeSet<Capability> = match shown.get("capabilities") {
        Some(granted) => serde_json::from_value(granted.clone()).expect("capabilities"),
        None => BTreeSet::new(),
    };
    assert_eq!(loaded.module.imports(), &granted, "{rule}");
    let mistakes =
        loaded.rule.check_settings(&shown["settings"].to_string(), &RuleLimits::default());
    assert_eq!(mistakes.expect("an answer"), Vec::<String>::new(), "{rule}");
}

/// A policy with one rule, an image, and what the command line says.
#[derive(Clone, Copy)]
pub(crate) struct Trial<'a> {
    pub(crate) rule: &'a str,
    pub(crate) module: &'a [u8],
    /// Of policies/cases: those of `signedBy` before the rule.
    pub(crate) keys: &'a [&'a str],
    /// Whose signatures the image has; these are over a configuration of `{}`.
    pub(crate) signatures: &'a [&'a str],
    /// As what the image is judged.
    pub(crate) reference: Option<&'a str>,
    pub(crate) config: &'a str,
    pub(crate) capabilities: &'a [&'a str],
    /// The document `calendar` of capability `data`.
    pub(crate) calendar: Option<&'a str>,
    pub(crate) at: u64,
}

impl<'a> Trial<'a> {
    pub(crate) fn of(rule: &'a str, module: &'a [u8]) -> Self {
        Self {
            rule,
            module,
            keys: &["build"],
            signatures: &[],
            reference: Some("registry.example.com/prod/app:1"),
            config: "{}",
            capabilities: &[],
            calendar: None,
            at: NOW,
        }
    }

    pub(crate) fn allows(&self, settings: Value) {
        let (status, codes) = self.verify(&settings);
        assert_eq!((status, codes), (Some(0), Vec::new()), "{} {settings}", self.rule);
    }

    pub(crate) fn denies(&self, settings: Value, code: &str) {
        let (status, codes) = self.verify(&settings);
        assert_eq!((status, codes), (Some(1), vec![code.to_owned()]), "{} {settings}", self.rule);
    }

    fn verify(&self, settings: &Value) -> (Option<i32>, Vec<String>) {
        let user = User::new();
        user.write("rules/rule.wasm", self.module);
        let mut rule = json!({
            "type": "rule", "module": "rules/rule.wasm", "settings": settings,
            "capabilities": self.capabilities,
        });
        if let Some(calendar) = self.calendar {
            user.write("calendar.json", calendar);
            rule["data"] = json!({"calendar": "calendar.json"});
        }
        let mut requirements = Vec::new();
        if !self.keys.is_empty() {
            for key in self.keys {
                user.write(&format!("{key}.gpg"), of_cases(&format!("{key}.gpg")));
            }
            let paths: Vec<_> = self.keys.iter().map(|key| format!("{key}.gpg")).collect();
            requirements.push(json!({"type": "signedBy", "keyType": "GPGKeys", "keyPaths": paths}));
        }
        requirements.push(rule);
        user.write("policy.json", json!({"default": requirements}).to_string());
        self.image(&user);
        let name = self.reference.map(|reference| format!("--as {reference}")).unwrap_or_default();
        let at = self.at;
        let ended = user.run(&format!(
            "verify --policy policy.json --registries-d none {name} --at {at} --output json dir:app"
        ));
        let document = ended.json();
        let reasons = document["results"][0]["reasons"].as_array().expect("reasons");
        let code = |reason: &Value| reason["code"].as_str().expect("a code").to_owned();
        (ended.status, reasons.iter().map(code).collect())
    }

    fn image(&self, user: &User) {
        let mut manifest: Value =
            serde_json::from_slice(&of_cases("manifest.json")).expect("a manifest");
        let digest: String =
            Sha256::digest(self.config).iter().map(|byte| format!("{byte:02x}")).collect();
        user.write(&format!("app/{digest}"), self.config);
        let manifest = match self.config {
            // The bytes that are signed.
            "{}" => of_cases("manifest.json"),
            config => {
                manifest["config"]["digest"] = json!(format!("sha256:{digest}"));
                manifest["config"]["size"] = json!(config.len());
                manifest.to_string().into_bytes()
            }
        };
        user.write("app/manifest.json", manifest);
        user.write("app/version", "Directory Transport Version: 1.1\n");
        for (place, signer) in self.signatures.iter().enumerate() {
            let signature = of_cases(&format!("{signer}-prod-app-1.sig"));
            user.write(&format!("app/signature-{}", place + 1), signature);
        }
    }
}

/// The rules that are written in a language, in order of their names.
pub(crate) fn rules(language: Language) -> Vec<String> {
    let entries = fs::read_dir(root().join("policies")).expect("policies");
    let folders = entries.map(|entry| entry.expect("an entry").path());
    let rules = folders
        .filter(|folder| folder.join("cases").is_dir() && Language::of(folder) == Some(language));
    let name =
        |folder: PathBuf| folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut rules: Vec<_> = rules.map(name).collect();
    rules.sort();
    rules
}

pub(crate) fn folder(rule: &str) -> PathBuf {
    root().join("policies").join(rule)
}

/// The module of a rule in Rust, built once.
pub(crate) fn module(rule: &str) -> &'static [u8] {
    static MODULES: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    let modules = MODULES.get_or_init(|| {
        let built = rules(Language::Rust).into_iter().map(|rule| {
            let module = build::build(&folder(&rule), None).expect("a module");
            (rule, module)
        });
        built.collect()
    });
    &modules[rule]
}

fn load(rule: &str, module: &[u8]) -> Loaded {
    static BENCH: OnceLock<Workbench> = OnceLock::new();
    let bench = BENCH.get_or_init(|| {
        let cache = Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rules"));
        let settings = RuleSettings {
            places: Places { cache, ..Places::default() },
            ..RuleSettings::default()
        };
        Workbench::new(&settings).expect("a workbench")
    });
    bench.load(module).map_err(|fault| format!("{rule}: {fault}")).expect("a rule")
}

fn cases(rule: &str) -> Vec<Case> {
    Case::read_all(&folder(rule).join("cases")).expect("cases")
}

/// The codes of all reasons that a rule's cases expect.
fn codes(rule: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder(rule).join("cases")).expect("cases");
    let texts = entries.map(|entry| fs::read(entry.expect("an entry").path()).expect("a case"));
    let cases = texts.map(|text| serde_json::from_slice::<Value>(&text).expect("JSON"));
    let codes =
        cases.flat_map(|case| case["expect"]["codes"].as_array().cloned().unwrap_or_default());
    codes.map(|code| code.as_str().expect("a code").to_owned()).collect()
}

fn page(rule: &str) -> String {
    fs::read_to_string(folder(rule).join("README.md")).expect("a page")
}

/// The first JSON on a rule's page.
fn policy_of_page(rule: &str) -> Value {
    let page = page(rule);
    let (_, json) = page.split_once("```json\n").expect("a policy");
    let (json, _) = json.split_once("```").expect("its end");
    serde_json::from_str(json).expect("JSON")
}

fn rule_of_page(rule: &str) -> Value {
    fn find(value: &Value) -> Option<Value> {
        match value {
            Value::Object(members) if members.get("type") == Some(&json!("rule")) => {
                Some(value.clone())
            }
            Value::Object(members) => members.values().find_map(find),
            Value::Array(values) => values.iter().find_map(find),
            _ => None,
        }
    }
    find(&policy_of_page(rule)).expect("a rule")
}

fn of_cases(name: &str) -> Vec<u8> {
    fs::read(root().join("policies/cases").join(name)).expect("a file of policies/cases")
}

/// The fingerprint of a key of policies/cases.
fn fingerprint(key: &str) -> String {
    let certificate = Cert::from_bytes(&of_cases(&format!("{key}.gpg")));
    certificate.expect("a key").fingerprint().to_hex()
}

/// 2027-01-01, after the signatures of policies/cases were made.
pub(crate) const NOW: u64 = 1_798_761_600;
