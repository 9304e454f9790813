//! The rules that ship, in the server: the same verdicts as on the command line.

use countersign::digest::Digest;
use countersign::workbench::Language;
use serde_json::{Value, json};

use super::rules::{start, verdict_of_both};
use super::{Everything, Setup, signed_by_the_key};
use crate::shipped_rules::{module, rules};
use crate::support::OCI_IMAGE;
use crate::support::server::Answer;

#[test]
fn verdicts_through_command_line_and_webhook_are_the_same() {
    let rules = rules(Language::Rust);
    let modules: Vec<_> = rules.iter().map(|rule| (rule.as_str(), module(rule))).collect();
    allow_and_deny_on_both_ways(&modules);
}

/// Each of these rules allows one image and denies another.
pub(crate) fn allow_and_deny_on_both_ways(modules: &[(&str, &[u8])]) {
    let mut setup = Setup::new();
    let everything = setup.every_image();
    let host = everything.host();
    let mut scopes = serde_json::Map::new();
    let mut images = Vec::new();
    for &(rule, module) in modules {
        setup.write(&format!("policy/rules/{rule}.wasm"), module);
        let Asks { before, capabilities, yes, no } = asks(rule, &setup, &host);
        for (word, settings) in [("yes", yes), ("no", no)] {
            let mut requirement = json!({
                "type": "rule", "module": format!("rules/{rule}.wasm"), "settings": settings,
            });
            requirement["capabilities"] = json!(capabilities);
            let requirements: Vec<_> = before.iter().chain([&requirement]).cloned().collect();
            scopes.insert(format!("{host}/{rule}-{word}"), json!(requirements));
            give_documents(&everything, &format!("{rule}-{word}/app"), word == "yes");
            let tag = if (rule, word) == ("deny-latest", "no") { "latest" } else { "1" };
            images.push((format!("{host}/{rule}-{word}/app:{tag}"), word == "yes"));
        }
    }
    let policy = json!({"default": [{"type": "reject"}], "transports": {"docker": scopes}});
    setup.write_policy("policy", &policy);
    let webhook = start(&setup);
    for (image, expected) in images {
        assert_eq!(verdict_of_both(&setup, &webhook, &host, &image), expected, "{image}");
    }
}

/// What a rule is asked, and by which settings it has nothing against an image, and something against another.
struct Asks {
    before: Vec<Value>,
    capabilities: &'static [&'static str],
    yes: Value,
    no: Value,
}

fn asks(rule: &str, setup: &Setup, host: &str) -> Asks {
    let base = json!({"approved": [{"name": "registry.example.com/base"}]});
    let signers = |key: &str| json!({"signers": [{"name": "build", "key": key}]});
    let window =
        |to: &str| json!({"windows": [{"name": "w", "from": "2020-01-01T00:00:00Z", "to": to}]});
    let (capabilities, yes, no): (&[_], _, _) = match rule {
        "allowed-registries" => {
            (&[], json!({"allowed": [host]}), json!({"allowed": ["registry.example.com"]}))
        }
        "base-image" => (&["artifact"], base.clone(), base),
        "deny-latest" => (&[], json!({}), json!({})),
        "freeze" => (&["data"], window("2020-02-01T00:00:00Z"), window("2099-01-01T00:00:00Z")),
        "max-age" => (&[], json!({"days": 3650}), json!({"days": 1})),
        "no-root" => (&["artifact"], json!({}), json!({})),
        "require-signers" => (&[], signers(&setup.key.fingerprint()), signers(&"0".repeat(40))),
        other => unreachable!("{other} is new: say here what it allows and what it denies"),
    };
    let signed = signed_by_the_key()["default"][0].clone();
    let looks_at_signatures = ["max-age", "require-signers"].contains(&rule);
    let before = if looks_at_signatures { vec![signed] } else { Vec::new() };
    Asks { before, capabilities, yes, no }
}

/// A configuration that has nothing, or an image that says who runs it and what it is built on.
fn give_documents(everything: &Everything, repository: &str, good: bool) {
    let give = |path: String, answer: Answer| everything.server.always(path, answer);
    let blob =
        |content: &str| format!("/v2/{repository}/blobs/{}", Digest::sha256(content.as_bytes()));
    if !good || !["base-image", "no-root"].iter().any(|rule| repository.starts_with(rule)) {
        return give(blob("{}"), Answer::ok("{}"));
    }
    let labels = json!({"org.opencontainers.image.base.name": "registry.example.com/base:1"});
    let config = json!({"config": {"User": "1000", "Labels": labels}}).to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::sha256(config.as_bytes()),
            "size": config.len(),
        },
        "layers": [],
    })
    .to_string();
    let digest = Digest::sha256(manifest.as_bytes());
    for target in ["1", digest.as_str()] {
        let answer = Answer::ok(manifest.clone()).header("content-type", OCI_IMAGE);
        give(format!("/v2/{repository}/manifests/{target}"), answer);
    }
    give(blob(&config), Answer::ok(config.clone()));
}
