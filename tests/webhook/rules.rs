//! Rules in the server: what they are told, what they say, and what happens when their files change.

use std::process::Command;

use countersign::digest::Digest;
use countersign::reference::Reference;
use countersign::sign::{self, SigningKey};
use serde_json::{Value, json};

use super::{Everything, MANIFEST, SIGNED_AT, Setup, Webhook, pod, signed_by_the_key};
use crate::rules::golden::golden;
use crate::rules::module::Text;
use crate::support::server::Answer;

#[test]
fn verdicts_through_command_line_and_webhook_are_the_same() {
    let mut setup = Setup::new();
    let everything = setup.every_image();
    for (name, wasm) in
        [("deny", denies("not-today")), ("allow", Text::HONEST.build()), ("loop", endless())]
    {
        setup.write(&format!("policy/rules/{name}.wasm"), &wasm);
    }
    let mut policy = signed_by_the_key();
    let signed = policy["default"][0].clone();
    let either = json!({"type": "anyOf", "requirements": [rule("deny"), signed.clone()]});
    let host = everything.host();
    policy["transports"] = json!({"docker": {
        format!("{host}/denied"): [signed, rule("deny")],
        format!("{host}/allowed"): [signed, rule("allow")],
        format!("{host}/either"): [either],
        format!("{host}/loop"): [looping()],
    }});
    setup.write_policy("policy", &policy);
    let webhook = start(&setup);
    let names = ["denied/app", "allowed/app", "allowed/unsigned", "either/app", "either/unsigned"];
    for name in names.into_iter().chain(["loop/app", "other/app"]) {
        verdict_of_both(&setup, &webhook, &host, &format!("{host}/{name}:1"));
    }
}

#[test]
fn rule_sees_the_workload_and_is_heard_by_who_asks_and_by_the_audit_log() {
    let mut setup = Setup::new();
    let everything = setup.every_image();
    with_documents(&everything);
    setup.write("policy/rules/golden.wasm", &golden());
    setup.write_policy("policy", &json!({"default": [golden_rule()]}));
    let webhook = start(&setup);
    let image = format!("{}/ns/app:1", everything.host());
    for kind in ["Pod", "Deployment", "Pod"] {
        let mut review = pod(&[&image]);
        if kind == "Deployment" {
            review = deployment(&review);
        }
        let (_, answer) = webhook.ask("/mutate?timeout=10s", &review);
        let response = &answer["response"];
        assert_eq!(response["allowed"], true, "{answer}");
        assert_eq!(response["auditAnnotations"]["golden.kind"], kind, "{answer}");
        assert_eq!(response["warnings"][0], format!("{image}: golden: {{}}"));
    }
    let config = format!("/v2/ns/app/blobs/{}", Digest::sha256(b"{}"));
    assert_eq!(everything.server.requests_to(&config).len(), 1);
    let log = webhook.log();
    let line = log.lines().find(|line| line.contains("\"decided\"")).expect("a decision");
    assert!(line.contains("golden/kind=Pod") && line.contains("golden: {}"), "{line}");
    let metrics = webhook.get("/metrics").1;
    for sample in [
        "countersign_rule_evaluations_total{rule=\"golden\",outcome=\"allow\"} 3\n",
        "countersign_rule_slots_in_use 0\n",
    ] {
        assert!(metrics.contains(sample), "{sample}{metrics}");
    }
}

#[test]
fn object_that_rules_cannot_be_told_of_is_denied() {
    let mut setup = Setup::new();
    let everything = setup.every_image();
    setup.write("policy/rules/allow.wasm", &Text::HONEST.build());
    setup.write_policy("policy", &json!({"default": [rule("allow")]}));
    let webhook = start(&setup);
    let mut review = pod(&[&format!("{}/ns/app:1", everything.host())]);
    assert!(webhook.validate(&review).0);
    review["request"]["object"]["metadata"]["annotations"] = json!({"a": "x".repeat(300 << 10)});
    let (allowed, words) = webhook.validate(&review);
    assert!(!allowed && words.contains("annotations have 307201 bytes"), "{words}");
}

#[test]
fn rule_that_loops_is_denied_and_the_next_request_is_fine() {
    let mut setup = Setup::new();
    let everything = setup.every_image();
    setup.write("policy/rules/loop.wasm", &endless());
    setup.write("policy/rules/allow.wasm", &Text::HONEST.build());
    let host = everything.host();
    setup.write_policy(
        "policy",
        &json!({
            "default": [looping()],
            "transports": {"docker": {format!("{host}/good"): [rule("allow")]}},
        }),
    );
    let webhook = start(&setup);
    let (bad, good) = (format!("{host}/ns/app:1"), format!("{host}/good/app:1"));
    let reviews: Vec<_> = (0..16)
        .map(|number| match number % 2 {
            0 => pod(&[&good]),
            _ => pod(&[&bad]),
        })
        .collect();
    let asked =
        reviews.iter().map(|review| webhook.ask_async("/validate?timeout=30s", review.to_string()));
    let answers = webhook.runtime.block_on(futures_util::future::join_all(asked));
    for (number, (_, answer)) in answers.iter().enumerate() {
        let response = &answer["response"];
        assert_eq!(response["allowed"], number % 2 == 0, "{answer}");
        if number % 2 == 1 {
            let told = &response["auditAnnotations"]["images"];
            assert_eq!(*told, format!("{bad} deny rule-deadline"), "{answer}");
        }
    }
    assert!(webhook.validate(&pod(&[&good])).0);
    let metrics = webhook.get("/metrics").1;
    assert!(metrics.contains("countersign_rule_slots_in_use 0\n"), "{metrics}");
    assert!(
        metrics.contains("countersign_rule_faults_total{reason=\"rule-deadline\"}"),
        "{metrics}"
    );
}

#[test]
fn module_that_changes_is_loaded() {
    let mut setup = Setup::new();
    let everything = setup.every_image();
    setup.write("policy/rules/rule.wasm", &Text::HONEST.build());
    setup.write_policy("policy", &json!({"default": [rule("rule")]}));
    let webhook = start(&setup);
    let review = pod(&[&format!("{}/ns/app:1", everything.host())]);
    assert!(webhook.validate(&review).0);
    setup.write("policy/rules/rule.wasm", &denies("changed"));
    webhook.wait_until("the new rule", |webhook| webhook.validate(&review).1.contains("changed"));
    // What is no rule at all leaves the last good one, and says so.
    setup.write("policy/rules/rule.wasm", b"nonsense");
    webhook.wait_until("an error", |webhook| {
        webhook.get("/readyz?verbose").1.contains("last error of policy")
    });
    assert!(webhook.validate(&review).1.contains("changed"));
    assert_eq!(webhook.get("/readyz").0, 200);
    let metrics = webhook.get("/metrics").1;
    assert!(metrics.contains("countersign_reload_failing{what=\"policy\"} 1\n"), "{metrics}");
    setup.write("policy/rules/rule.wasm", &Text::HONEST.build());
    webhook.wait_until("the old rule", |webhook| webhook.validate(&review).0);
    assert!(!webhook.get("/readyz?verbose").1.contains("last error"));
}

/// Security history, rows 47 and 48: what runs in the server is what somebody trusted has signed.
#[test]
fn module_without_a_good_signature_leaves_the_last_good_one() {
    let mut setup = Setup::new();
    let everything = setup.every_image();
    let (good, changed) = (denies("signed"), Text::HONEST.build());
    let identity = "rules.example.com/rule:1";
    let sign = |key: &SigningKey, wasm: &[u8]| {
        let identity = Reference::parse_normalized(identity).expect("a reference");
        let payload = sign::payload(&Digest::sha256(wasm), &identity, SIGNED_AT);
        key.sign(payload.as_bytes(), SIGNED_AT).expect("a signature")
    };
    setup.write("policy/rules/rule.wasm", &good);
    setup.write("policy/rules/rule.wasm.signature-1", &sign(&setup.key, &good));
    let from = json!([{
        "type": "signedBy", "keyType": "GPGKeys", "keyPath": "key.gpg",
        "signedIdentity": {"type": "exactReference", "dockerReference": identity},
    }]);
    setup.write_policy("policy", &json!({"default": [rule("rule")], "rulesFrom": from}));
    let webhook = start(&setup);
    let review = pod(&[&format!("{}/ns/app:1", everything.host())]);
    assert!(webhook.validate(&review).1.contains("signed"));
    let fails =
        |webhook: &Webhook| webhook.get("/readyz?verbose").1.contains("last error of policy");
    setup.write("policy/rules/rule.wasm", &changed);
    webhook.wait_until("an error", fails);
    assert!(webhook.validate(&review).1.contains("signed"));
    // By somebody else.
    let stranger = SigningKey::generate("Somebody <a@example.com>", SIGNED_AT).expect("a key");
    setup.write("policy/rules/rule.wasm.signature-1", &sign(&stranger, &changed));
    let another = start(&setup);
    let (allowed, words) = another.validate(&review);
    assert!(!allowed && !words.contains("signed\""), "{words}");
    let (status, text) = another.get("/readyz?verbose");
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("last error of policy"), "{text}");
    assert!(webhook.validate(&review).1.contains("signed"));
    // A second signature, beside the wrong one, is noticed.
    setup.write("policy/rules/rule.wasm.signature-2", &sign(&setup.key, &changed));
    for webhook in [&webhook, &another] {
        webhook.wait_until("the new rule", |webhook| webhook.validate(&review).0);
        assert!(!webhook.get("/readyz?verbose").1.contains("last error"));
    }
}

/// A tag may mean another module tomorrow, and a server asks nobody before it takes it.
#[test]
fn module_that_is_named_by_tag_guards_by_denying() {
    let mut setup = Setup::new();
    let everything = setup.every_image();
    let module = format!("oci://{}/rules/rule:1", everything.host());
    setup.write_policy("policy", &json!({"default": [{"type": "rule", "module": module}]}));
    let webhook = start(&setup);
    let (allowed, words) = webhook.validate(&pod(&[&format!("{}/ns/app:1", everything.host())]));
    assert!(!allowed && words.contains("sha256"), "{words}");
    assert!(everything.server.requests_to("/v2/rules/rule/manifests/1").is_empty());
}

/// A server that has loaded its rules, or found out that it cannot.
pub(super) fn start(setup: &Setup) -> Webhook {
    let webhook = setup.start();
    webhook.wait_until("the policy", |webhook| webhook.get("/readyz").0 == 200);
    webhook
}

/// Whether an image is allowed, on the command line and by the server, for the same reasons.
pub(super) fn verdict_of_both(setup: &Setup, webhook: &Webhook, host: &str, image: &str) -> bool {
    let verified = verify(setup, host, image);
    let (allowed, words) = webhook.validate(&pod(&[image]));
    assert_eq!(verified["verdict"] == "allow", allowed, "{image}: {verified} {words}");
    for reason in verified["reasons"].as_array().into_iter().flatten() {
        let message = reason["message"].as_str().expect("a message");
        assert!(words.contains(message), "{image}: {message} is not in {words}");
    }
    let (_, answer) = webhook.ask("/validate?timeout=10s", &pod(&[image]));
    let told = answer["response"]["auditAnnotations"]["images"].as_str().unwrap_or_default();
    let code = verified["reasons"][0]["code"].as_str().unwrap_or_default();
    assert!(told.ends_with(code), "{image}: {code} is not in {told}");
    allowed
}

/// The reason that the command line gives for an image.
fn verify(setup: &Setup, host: &str, image: &str) -> Value {
    let mut verify = Command::new(env!("CARGO_BIN_EXE_countersign"));
    verify.args(["verify", "--output", "json", "--plain-http", host, "--policy"]);
    verify.arg(setup.path("policy/policy.json"));
    verify.arg("--registries-d").arg(setup.path("registries.d")).arg(format!("docker://{image}"));
    verify.env_remove("HTTP_PROXY").env_remove("http_proxy");
    let output = verify.output().expect("it runs");
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    document["results"][0].clone()
}

/// A configuration, and a list of nothing that refers to the image.
fn with_documents(everything: &Everything) {
    let digest = Digest::sha256(MANIFEST.as_bytes());
    let config = format!("/v2/ns/app/blobs/{}", Digest::sha256(b"{}"));
    everything.server.always(config, Answer::ok("{}"));
    let index = "application/vnd.oci.image.index.v1+json";
    let none = json!({"schemaVersion": 2, "mediaType": index, "manifests": []});
    let none = Answer::ok(none.to_string()).header("content-type", index);
    everything.server.always(format!("/v2/ns/app/referrers/{digest}"), none);
}

/// The same containers in a Deployment.
fn deployment(pod: &Value) -> Value {
    let mut review = pod.clone();
    let request = &mut review["request"];
    request["kind"] = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    request["resource"] = json!({"group": "apps", "version": "v1", "resource": "deployments"});
    request["object"] = json!({
        "kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"},
        "spec": {"template": {"spec": pod["request"]["object"]["spec"]}},
    });
    review
}

fn rule(name: &str) -> Value {
    json!({"type": "rule", "module": format!("rules/{name}.wasm")})
}

fn looping() -> Value {
    let mut rule = rule("loop");
    rule["budget"] = json!({"deadlineMilliseconds": 20});
    rule
}

fn golden_rule() -> Value {
    let mut rule = rule("golden");
    rule["capabilities"] = json!(["artifact", "crypto", "data", "log"]);
    rule
}

fn endless() -> Vec<u8> {
    Text { evaluate: "(loop br 0) unreachable", ..Text::HONEST }.build()
}

/// A rule that is against every image, with a word of at most 15 letters as code and message.
fn denies(word: &str) -> Vec<u8> {
    let length = word.len();
    let items = format!(
        r#"(data (i32.const 1024) "\01\00\00\00\80\04\00\00\01\00\00\00")
        (data (i32.const 1152) "\c0\04\00\00\{length:02x}\00\00\00\c0\04\00\00\{length:02x}\00\00\00")
        (data (i32.const 1216) "{word}")"#
    );
    Text { items: &items, evaluate: "i32.const 1024", ..Text::HONEST }.build()
}
