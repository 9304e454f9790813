//! `countersign verify` by a policy with rules: real modules, beside the policy and in a registry.

use countersign::artifact::{About, Artifact};
use countersign::digest::Digest;
use countersign::reference::Reference;
use countersign::sign::{self, SigningKey};
use serde_json::{Value, json};

use super::{Ended, User};
use crate::rules::golden::golden;
use crate::rules::module::Text;
use crate::support::server::{Answer, Server};
use crate::support::{OCI_IMAGE, manifest};

#[test]
fn allows_what_a_rule_in_a_file_has_nothing_against() {
    let user = User::new();
    user.with_rule(&json!({}));
    let ended = user.verify("--output json dir:app");
    assert_eq!((ended.verdicts(), ended.status), (vec!["allow".into()], Some(0)), "{ended:?}");
    assert_eq!(ended.stderr, "");
    assert_eq!(ended.json()["results"][0]["valid_until"], Value::Null);
}

#[test]
fn reason_has_the_name_of_the_rule_and_its_own_code() {
    let user = User::new();
    let server = Registry::start();
    user.policy(server.golden(&user, &json!({"settings": {"answer": "deny"}})));
    let ended = user.verify_in(&server, "");
    assert_eq!((ended.verdicts(), ended.status), (vec!["deny".into()], Some(1)), "{ended:?}");
    let result = &ended.json()["results"][0];
    let reason = &result["reasons"][0];
    assert_eq!(reason["code"], "golden/deny");
    assert_eq!(reason["requirement"], 0);
    assert_eq!(reason["message"], r#"{"answer":"deny"}"#);
    assert_eq!(result["warnings"], json!([r#"golden: {"answer":"deny"}"#]));
    let text = user.run(&server.command("text", ""));
    assert!(text.stdout.contains("       warning  golden: {\"answer\""), "{text:?}");
}

#[test]
fn allow_holds_as_long_as_the_rule_says() {
    let user = User::new();
    let server = Registry::start();
    user.policy(server.golden(&user, &json!({})));
    let ended = user.verify_in(&server, "");
    assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
    assert_eq!(ended.json()["results"][0]["valid_until"], "2026-11-23T02:14:20Z");
}

#[test]
fn what_is_wrong_with_a_rule_has_a_code_of_its_own() {
    let user = User::new();
    user.image("app", &[]);
    user.write("data.json", "{}");
    user.write("rules/golden.wasm", golden());
    user.write("rules/text.wasm", Text::HONEST.build());
    user.write("rules/core.wasm", wat::parse_str("(module)").expect("a module"));
    let loops = Text { evaluate: "(loop (br 0)) i32.const 0", ..Text::HONEST };
    user.write("rules/loops.wasm", loops.build());
    let all = json!(["artifact", "crypto", "data", "log"]);
    for (rule, verdict, code, words) in [
        (json!({"module": "rules/none.wasm"}), "error", "rule-unreadable", "none.wasm"),
        (json!({"module": "rules/core.wasm"}), "deny", "rule-invalid", "rules/core.wasm"),
        (
            json!({"module": "rules/golden.wasm", "capabilities": ["log", "data", "crypto"]}),
            "deny",
            "rule-capabilities",
            "artifact",
        ),
        (
            json!({"module": "rules/golden.wasm", "capabilities": all, "settings": {"days": 3}}),
            "deny",
            "rule-settings",
            "days",
        ),
        (
            json!({
                "module": "rules/golden.wasm", "capabilities": all, "data": {"a": "data.json", "b": "none.json"},
            }),
            "error",
            "rule-data",
            "none.json",
        ),
        (
            json!({"module": "rules/loops.wasm", "budget": {"deadlineMilliseconds": 50}}),
            "deny",
            "rule-deadline",
            "50ms",
        ),
        (
            json!({"module": "oci://registry.invalid/rules/text:1"}),
            "error",
            "rule-unreachable",
            "registry.invalid",
        ),
    ] {
        user.policy(with(&json!({"type": "rule"}), &rule));
        let ended = user.verify("--output json dir:app");
        assert_eq!(ended.verdicts(), [verdict], "{ended:?}");
        let reason = &ended.json()["results"][0]["reasons"][0];
        assert_eq!(reason["code"], code, "{reason}");
        assert!(reason["message"].as_str().expect("a text").contains(words), "{reason}");
        assert_eq!(reason["requirement"], 0, "{reason}");
    }
}

#[test]
fn rule_on_which_nothing_depends_is_no_obstacle() {
    let user = User::new();
    user.image("app", &[]);
    let missing = json!({"type": "rule", "module": "rules/none.wasm"});
    let anything = json!({"type": "insecureAcceptAnything"});
    user.policy(json!({"type": "anyOf", "requirements": [anything, missing]}));
    let ended = user.verify("--output json --explain dir:app");
    assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
    let requirements = &ended.json()["results"][0]["requirements"];
    let outcomes: Vec<_> = requirements.as_array().expect("a list").iter().collect();
    assert_eq!(outcomes.len(), 3);
    let came: Vec<_> = outcomes.iter().map(|one| one["outcome"].as_str()).collect();
    assert_eq!(came, [Some("held"), Some("held"), Some("skipped")]);
}

#[test]
fn tree_shows_each_requirement_and_what_rules_logged() {
    let user = User::new();
    let server = Registry::start();
    let rule = server.golden(&user, &json!({"settings": {"answer": "deny"}}));
    let accept = json!({"type": "insecureAcceptAnything"});
    let either = json!({"type": "anyOf", "requirements": [rule, accept]});
    user.write("policy.json", json!({"default": [either, {"type": "reject"}]}).to_string());
    let ended = user.run(&server.command("text", "--explain"));
    assert_eq!(ended.status, Some(1), "{ended:?}");
    for line in ["       ✗ 1  ", "(golden/deny)", "       log      golden info: asked\n"] {
        // `reject` decides alone, so that nobody asked the rule.
        let shown = ended.stdout.contains(line);
        assert_eq!(shown, line.starts_with("       ✗"), "{line:?}: {ended:?}");
    }
    user.policy(either.clone());
    let ended = user.run(&server.command("text", "--explain"));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    for line in [
        "       ✓ 0  ",
        "       ✗    ├─ ",
        "            │    {\"answer\":\"deny\"} (golden/deny)\n",
        "       ✓    └─ ",
        "       log      golden info: asked\n",
    ] {
        assert!(ended.stdout.contains(line), "{line:?}: {ended:?}");
    }
    let json = user.run(&server.command("json", "--explain")).json();
    assert_eq!(json["results"][0]["log"][0]["rule"], "golden");
    assert!(!user.run(&server.command("text", "")).stdout.contains('✓'));
}

#[test]
fn module_in_a_registry_is_named_by_its_digest() {
    let user = User::new();
    user.image("app", &[]);
    let server = Registry::start();
    let module = server.push("text", &unique(&user));
    user.policy(json!({"type": "rule", "module": module.by_digest}));
    let ended = user.verify_module(&server);
    assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
    assert_eq!(ended.stderr, "");
    // It is kept, so that nobody has to be asked the next time.
    let requests = server.requests().len();
    assert!(requests > 0);
    assert_eq!(user.verify_module(&server).verdicts(), ["allow"]);
    assert_eq!(server.requests().len(), requests);
}

#[test]
fn tag_in_place_of_a_digest_is_warned_of() {
    let user = User::new();
    user.image("app", &[]);
    let server = Registry::start();
    let module = server.push("text", &unique(&user));
    user.policy(json!({"type": "rule", "module": module.by_tag}));
    let ended = user.verify_module(&server);
    assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
    for words in ["warning: ", "tag", module.digest.as_str()] {
        assert!(ended.stderr.contains(words), "{words}: {ended:?}");
    }
}

#[test]
fn module_altered_by_one_bit_is_denied() {
    let user = User::new();
    user.image("app", &[]);
    let server = Registry::start();
    let wasm = unique(&user);
    let module = server.push("text", &wasm);
    user.policy(json!({"type": "rule", "module": module.by_digest}));
    let mut altered = wasm.clone();
    *altered.last_mut().expect("a byte") ^= 1;
    server.always(format!("/v2/rules/text/blobs/{}", Digest::sha256(&wasm)), Answer::ok(altered));
    let ended = user.verify_module(&server);
    assert_eq!(ended.verdicts(), ["deny"], "{ended:?}");
    assert_eq!(ended.code(), "rule-digest-mismatch", "{ended:?}");
    // What was refused is not kept.
    server.push("text", &wasm);
    assert_eq!(user.verify_module(&server).verdicts(), ["allow"]);
}

#[test]
fn image_in_place_of_a_module_is_denied() {
    let user = User::new();
    user.image("app", &[]);
    let server = Registry::start();
    let digest = Digest::sha256(manifest("app").as_bytes());
    let module = format!("oci://{}/ns/app@{digest}", server.host());
    user.policy(json!({"type": "rule", "module": module}));
    let ended = user.verify_module(&server);
    assert_eq!((ended.verdicts(), ended.code()), (vec!["deny".into()], "rule-layout".into()));
}

#[test]
fn registry_that_does_not_give_the_module_is_an_error() {
    let user = User::new();
    user.image("app", &[]);
    let server = Registry::start();
    let digest = Digest::sha256(user.path("").display().to_string().as_bytes());
    let module = format!("oci://{}/rules/text@{digest}", server.host());
    user.policy(json!({"type": "rule", "module": module}));
    for answer in [Answer::status(404), Answer::status(500), Answer::status(401)] {
        server.always(format!("/v2/rules/text/manifests/{digest}"), answer);
        let ended = user.verify_module(&server);
        assert_eq!((ended.verdicts(), ended.status), (vec!["error".into()], Some(2)), "{ended:?}");
        assert_eq!(ended.code(), "rule-unreachable");
    }
}

#[test]
fn module_in_a_file_needs_the_signature_that_the_policy_demands() {
    let user = User::new();
    user.image("app", &[]);
    let wasm = Text::HONEST.build();
    user.write("rules/text.wasm", &wasm);
    let (key, other) = (key("a"), key("b"));
    let rule = json!({"type": "rule", "module": "rules/text.wasm"});
    user.rules_from(&key, &rule, "registry.example.com/rules/text:1");
    let verify = || {
        let ended = user.verify("--output json dir:app");
        (ended.verdicts().remove(0), ended.status, ended)
    };
    let unsigned = |ended: &Ended| {
        assert_eq!(ended.code(), "rule-unsigned", "{ended:?}");
    };
    let (verdict, status, ended) = verify();
    assert_eq!((verdict.as_str(), status), ("deny", Some(1)), "{ended:?}");
    unsigned(&ended);

    let name = "registry.example.com/rules/text:1";
    user.write("rules/text.wasm.signature-1", signature(&other, &Digest::sha256(&wasm), name));
    let (verdict, _, ended) = verify();
    assert_eq!(verdict, "deny");
    unsigned(&ended);

    user.write("rules/text.wasm.signature-2", signature(&key, &Digest::sha256(&wasm), name));
    let (verdict, _, ended) = verify();
    assert_eq!(verdict, "allow", "{ended:?}");

    // A name in a custom section: the module does the same, and is another one.
    let mut altered = wasm.clone();
    custom_section(&mut altered, "altered");
    user.write("rules/text.wasm", altered);
    let (verdict, _, ended) = verify();
    assert_eq!(verdict, "deny");
    unsigned(&ended);
}

#[test]
fn module_in_a_registry_needs_the_signature_that_the_policy_demands() {
    let user = User::new();
    user.image("app", &[]);
    let server = Registry::start();
    let module = server.push("text", &unique(&user));
    let (key, other) = (key("a"), key("b"));
    let rule = json!({"type": "rule", "module": module.by_digest});
    let name = format!("{}/rules/text", server.host());
    user.rules_from_repository(&key, &rule, &name);
    let store = format!("docker:\n  {}:\n    lookaside: {}\n", server.host(), server.url("/sigs"));
    user.write("registries.d/store.yaml", store);
    let path = |number| {
        let digest = module.digest.as_str().replace(':', "=");
        format!("/sigs/rules/text@{digest}/signature-{number}")
    };
    let signed = format!("{name}:1");

    let ended = user.verify_module(&server);
    assert_eq!((ended.verdicts(), ended.code()), (vec!["deny".into()], "rule-unsigned".into()));
    server.always(path(1), Answer::ok(signature(&other, &module.digest, &signed)));
    let ended = user.verify_module(&server);
    assert_eq!((ended.verdicts(), ended.code()), (vec!["deny".into()], "rule-unsigned".into()));
    server.always(path(1), Answer::status(503));
    let ended = user.verify_module(&server);
    assert_eq!(ended.verdicts(), ["deny"], "what was kept has no good signature: {ended:?}");

    server.always(path(1), Answer::ok(signature(&key, &module.digest, &signed)));
    let ended = user.verify_module(&server);
    assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
    // The store is away, and the signatures that it had are kept with the module.
    server.always(path(1), Answer::status(503));
    let ended = user.verify_module(&server);
    assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
}

#[test]
fn rule_sees_the_documents_of_the_image() {
    let user = User::new();
    let server = Registry::start();
    user.policy(server.golden(&user, &json!({})));
    let attached = attach(&server, "application/example", "first");
    let ended = user.verify_in(&server, "--record record.json");
    assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
    let seen = user.annotations();
    assert_eq!(seen["golden/config"], CONFIG);
    assert_eq!(seen["golden/manifest"], server.manifest);
    assert_eq!(seen["golden/referrers"], Digest::sha256(attached.as_bytes()).to_string());
    assert_eq!(seen["golden/attached"], attached);
    // Each is fetched once, however often the rule is run.
    for path in [server.config_path(), server.referrers_path()] {
        assert_eq!(server.requests_to(&path).len(), 1, "{path}");
    }
}

#[test]
fn list_of_referrers_goes_on_on_the_next_page() {
    let user = User::new();
    let server = Registry::start();
    user.policy(server.golden(&user, &json!({})));
    let attached = attach(&server, "application/example", "first");
    let last = list(&[("application/example", &attached)]);
    let first = list(&[("application/other", "another")]);
    server.on(server.referrers_path(), move |request| {
        if request.query.contains("last=1") {
            Answer::ok(last.clone())
        } else {
            let next = format!("<{}?last=1>; rel=\"next\"", request.path);
            Answer::ok(first.clone()).header("link", next)
        }
    });
    let ended = user.verify_in(&server, "--record record.json");
    assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
    assert_eq!(user.annotations()["golden/attached"], attached);

    // It would go on for ever, or elsewhere.
    for next in ["</v2/ns/app/referrers/again>; rel=next", "<https://example.com/>; rel=next"] {
        let page = Answer::ok(list(&[])).header("link", next);
        server.always("/v2/ns/app/referrers/again", page.clone());
        server.always(server.referrers_path(), page);
        let ended = user.verify_in(&server, "");
        assert_eq!(ended.verdicts(), ["error"], "{ended:?}");
        assert_eq!(ended.code(), "rule-document-unusable");
    }
}

#[test]
fn old_registry_has_the_list_under_a_tag() {
    let user = User::new();
    let server = Registry::start();
    user.policy(server.golden(&user, &json!({})));
    let attached = attach(&server, "application/example", "first");
    server.always(server.referrers_path(), Answer::status(404));
    let fallback = server.fallback_path();
    server.always(&fallback, Answer::ok(list(&[("application/example", &attached)])));
    let ended = user.verify_in(&server, "--record record.json");
    assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
    assert_eq!(user.annotations()["golden/attached"], attached);

    server.always(&fallback, Answer::error(404, "MANIFEST_UNKNOWN", "none"));
    let ended = user.verify_in(&server, "--record record.json");
    assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
    assert_eq!(user.annotations()["golden/referrers"], Value::Null);
}

#[test]
fn list_that_cannot_be_had_is_not_an_empty_one() {
    let user = User::new();
    let server = Registry::start();
    user.policy(server.golden(&user, &json!({})));
    let denied = Answer::error(403, "DENIED", "not you");
    let busy = Answer::error(429, "TOOMANYREQUESTS", "later");
    for (answer, code) in [
        (denied.clone(), "rule-document-unreachable"),
        (busy.clone(), "rule-document-unreachable"),
        (Answer::status(400), "rule-document-unreachable"),
        (Answer::ok("{}"), "rule-document-unusable"),
        (Answer::ok(r#"{"errors":[]}"#), "rule-document-unusable"),
        (Answer::ok(vec![b' '; 5 * 1024 * 1024]), "rule-document-unusable"),
    ] {
        server.always(server.referrers_path(), answer);
        let ended = user.verify_in(&server, "");
        assert_eq!((ended.verdicts(), ended.status), (vec!["error".into()], Some(2)), "{ended:?}");
        assert_eq!(ended.code(), code, "{ended:?}");
    }
    server.always(server.referrers_path(), Answer::status(404));
    for answer in [denied, busy, Answer::ok(manifest("no list"))] {
        server.always(server.fallback_path(), answer);
        let ended = user.verify_in(&server, "");
        assert_eq!(ended.verdicts(), ["error"], "{ended:?}");
    }
}

#[test]
fn document_that_is_not_what_its_digest_says_is_an_error() {
    let user = User::new();
    let server = Registry::start();
    user.policy(server.golden(&user, &json!({})));
    for (answer, code) in [
        (Answer::ok("another configuration"), "rule-document-unusable"),
        (Answer::ok(vec![b' '; 5 * 1024 * 1024]), "rule-document-unusable"),
        (Answer::status(404), "rule-document-unreachable"),
    ] {
        server.always(server.config_path(), answer);
        let ended = user.verify_in(&server, "");
        assert_eq!(ended.verdicts(), ["error"], "{ended:?}");
        assert_eq!(ended.code(), code, "{ended:?}");
    }
    server.always(server.config_path(), Answer::ok(CONFIG));
    let attached = attach(&server, "application/example", "first");
    let path = format!("/v2/ns/app/manifests/{}", Digest::sha256(attached.as_bytes()));
    server.always(path, Answer::ok("another document"));
    let ended = user.verify_in(&server, "");
    assert_eq!(
        (ended.verdicts(), ended.code()),
        (vec!["error".into()], "rule-document-unusable".into())
    );
}

#[test]
fn documents_of_a_layout_lie_beside_the_image() {
    let user = User::new();
    let server = Registry::start();
    user.policy(server.golden(&user, &json!({})));
    let image = server.manifest.clone();
    let digest = Digest::sha256(image.as_bytes());
    let referrer = json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "artifactType": "application/example",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}"), "size": 2},
        "layers": [],
        "subject": {"mediaType": OCI_IMAGE, "digest": digest, "size": image.len()},
    })
    .to_string();
    for content in [image.as_str(), &referrer, CONFIG] {
        let name = format!("layout/blobs/sha256/{}", Digest::sha256(content.as_bytes()).hex());
        user.write(&name, content);
    }
    let entry = |content: &str| json!({"mediaType": OCI_IMAGE, "digest": Digest::sha256(content.as_bytes()), "size": content.len()});
    let index = json!({"schemaVersion": 2, "manifests": [entry(&image), entry(&referrer)]});
    user.write("layout/index.json", index.to_string());
    let ended = user.verify("--output json --record record.json oci:layout:@0");
    assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
    let seen = user.annotations();
    assert_eq!(seen["golden/config"], CONFIG);
    assert_eq!(seen["golden/attached"], referrer);

    // In a folder nothing is attached, and the configuration is a file.
    user.write("folder/manifest.json", &image);
    user.write(&format!("folder/{}", Digest::sha256(CONFIG.as_bytes()).hex()), CONFIG);
    let ended = user.verify("--output json --record record.json dir:folder");
    assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
    assert_eq!(user.annotations()["golden/config"], CONFIG);
    assert_eq!(user.annotations()["golden/referrers"], Value::Null);
}

/// A registry with an image, `ns/app:1`, that has a configuration and no referrers.
pub(super) struct Registry {
    server: Server,
    manifest: String,
}

/// A module that a registry has.
pub(super) struct Pushed {
    by_digest: String,
    by_tag: String,
    digest: Digest,
}

impl Registry {
    pub(super) fn start() -> Self {
        let server = Server::start();
        server.always("/v2/", Answer::ok("{}"));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_IMAGE,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::sha256(CONFIG.as_bytes()),
                "size": CONFIG.len(),
            },
            "layers": [],
        })
        .to_string();
        let digest = Digest::sha256(manifest.as_bytes());
        for target in ["1", digest.as_str()] {
            let answer = Answer::ok(manifest.clone()).header("content-type", OCI_IMAGE);
            server.always(format!("/v2/ns/app/manifests/{target}"), answer);
        }
        let other = Digest::sha256(crate::support::manifest("app").as_bytes());
        let answer = Answer::ok(crate::support::manifest("app")).header("content-type", OCI_IMAGE);
        server.always(format!("/v2/ns/app/manifests/{other}"), answer);
        let registry = Self { server, manifest };
        registry.always(registry.config_path(), Answer::ok(CONFIG));
        registry.always(registry.referrers_path(), Answer::ok(list(&[])));
        registry
    }

    pub(super) fn config_path(&self) -> String {
        format!("/v2/ns/app/blobs/{}", Digest::sha256(CONFIG.as_bytes()))
    }

    fn referrers_path(&self) -> String {
        format!("/v2/ns/app/referrers/{}", Digest::sha256(self.manifest.as_bytes()))
    }

    fn fallback_path(&self) -> String {
        let digest = Digest::sha256(self.manifest.as_bytes());
        format!("/v2/ns/app/manifests/sha256-{}", digest.hex())
    }

    /// Have a module.
    fn push(&self, name: &str, wasm: &[u8]) -> Pushed {
        let about = About { created: "2026-11-25T00:00:00Z".to_owned(), ..About::default() };
        let artifact = Artifact::pack(wasm.to_vec(), &about).expect("a component");
        let digest = artifact.digest();
        let repository = format!("rules/{name}");
        for target in ["1", digest.as_str()] {
            let answer = Answer::ok(artifact.manifest.clone()).header("content-type", OCI_IMAGE);
            self.always(format!("/v2/{repository}/manifests/{target}"), answer);
        }
        for blob in [&artifact.config, &artifact.module] {
            let path = format!("/v2/{repository}/blobs/{}", Digest::sha256(blob));
            self.always(path, Answer::ok(blob.clone()));
        }
        let place = format!("oci://{}/{repository}", self.host());
        let (by_digest, by_tag) = (format!("{place}@{digest}"), format!("{place}:1"));
        Pushed { by_digest, by_tag, digest }
    }

    /// The command that asks the golden rule about the image.
    pub(super) fn run(&self, options: &str) -> String {
        let host = self.host();
        format!("rule run golden.wasm docker://{host}/ns/app:1 --plain-http {host} {options}")
    }

    /// The requirement that asks the golden rule, which is in a file of the user's.
    pub(super) fn golden(&self, user: &User, more: &Value) -> Value {
        user.write("rules/golden.wasm", golden());
        user.write("rules/note.txt", "a note");
        let rule = json!({
            "type": "rule",
            "module": "rules/golden.wasm",
            "capabilities": ["artifact", "crypto", "data", "log"],
            "data": {"note": "rules/note.txt"},
        });
        with(&rule, more)
    }

    /// `verify` of the image.
    pub(super) fn command(&self, output: &str, options: &str) -> String {
        let host = self.host();
        format!(
            "verify --policy policy.json --registries-d registries.d --plain-http {host} --at {NOW} \
             --output {output} {options} docker://{host}/ns/app:1"
        )
    }
}

impl std::ops::Deref for Registry {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl User {
    /// A policy by which a rule decides that has nothing against any image, and an image.
    fn with_rule(&self, more: &Value) {
        self.image("app", &[]);
        self.write("rules/text.wasm", Text::HONEST.build());
        self.policy(with(&json!({"type": "rule", "module": "rules/text.wasm"}), more));
    }

    /// A policy by which this rule decides, if its module is signed by this key as `name`.
    fn rules_from(&self, key: &SigningKey, rule: &Value, name: &str) {
        let identity = json!({"type": "exactReference", "dockerReference": name});
        self.with_rules_from(key, rule, &identity);
    }

    /// The same for a module in a registry, signed with any tag.
    fn rules_from_repository(&self, key: &SigningKey, rule: &Value, name: &str) {
        let identity = json!({"type": "exactRepository", "dockerRepository": name});
        self.with_rules_from(key, rule, &identity);
    }

    fn with_rules_from(&self, key: &SigningKey, rule: &Value, identity: &Value) {
        self.write("rules.gpg", key.export().expect("a key"));
        let from = json!({
            "type": "signedBy", "keyType": "GPGKeys", "keyPath": "rules.gpg", "signedIdentity": identity,
        });
        let policy = json!({"default": [rule], "rulesFrom": [from]});
        self.write("policy.json", policy.to_string());
    }

    /// `verify` of the image of a registry.
    pub(super) fn verify_in(&self, registry: &Registry, options: &str) -> Ended {
        self.run(&registry.command("json", options))
    }

    /// `verify` of the image in a folder, by a rule of a registry.
    fn verify_module(&self, registry: &Registry) -> Ended {
        self.run(&format!(
            "verify --policy policy.json --registries-d registries.d --plain-http {} --at {NOW} \
             --output json dir:app",
            registry.host()
        ))
    }

    /// What the golden rule saw, by the recording.
    fn annotations(&self) -> Value {
        let text = std::fs::read_to_string(self.path("record.json")).expect("a recording");
        let recording: Value = serde_json::from_str(&text).expect("JSON");
        recording["decisions"][0]["evidence"]["asked"][0]["answer"]["annotations"].clone()
    }
}

impl Ended {
    /// The code of the first reason of the first result.
    fn code(&self) -> String {
        let document = self.json();
        let code = document["results"][0]["reasons"][0]["code"].as_str();
        code.unwrap_or_default().to_owned()
    }
}

/// An object with more members.
fn with(object: &Value, more: &Value) -> Value {
    let mut object = object.clone();
    let members = object.as_object_mut().expect("an object");
    members.extend(more.as_object().expect("an object").clone());
    object
}

/// A rule that no other user has.
fn unique(user: &User) -> Vec<u8> {
    let mut wasm = Text::HONEST.build();
    custom_section(&mut wasm, &user.path("").display().to_string());
    wasm
}

/// Append a custom section: the module does the same, and has another digest.
fn custom_section(wasm: &mut Vec<u8>, name: &str) {
    let length = u8::try_from(name.len()).expect("a short name");
    wasm.extend([0, length + 1, length]);
    wasm.extend(name.as_bytes());
}

fn key(name: &str) -> SigningKey {
    SigningKey::generate(&format!("{name} <{name}@example.com>"), NOW - 100).expect("a key")
}

fn signature(key: &SigningKey, digest: &Digest, name: &str) -> Vec<u8> {
    let reference = Reference::parse_normalized(name).expect("a reference");
    let payload = sign::payload(digest, &reference, NOW - 50);
    key.sign(payload.as_bytes(), NOW - 50).expect("a signature")
}

/// Have a document attached to the image; its manifest.
fn attach(server: &Registry, kind: &str, name: &str) -> String {
    let attached = manifest(name);
    let path = format!("/v2/ns/app/manifests/{}", Digest::sha256(attached.as_bytes()));
    server.always(path, Answer::ok(attached.clone()));
    server.always(server.referrers_path(), Answer::ok(list(&[(kind, &attached)])));
    attached
}

/// A list of referrers: types and manifests.
fn list(referrers: &[(&str, &str)]) -> String {
    let entries: Vec<_> = referrers
        .iter()
        .map(|(kind, content)| {
            json!({
                "mediaType": OCI_IMAGE,
                "artifactType": kind,
                "digest": Digest::sha256(content.as_bytes()),
                "size": content.len(),
            })
        })
        .collect();
    let media_type = "application/vnd.oci.image.index.v1+json";
    json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).to_string()
}

const CONFIG: &str = r#"{"architecture":"amd64","os":"linux"}"#;

/// When the vectors' signatures are good: 2026-11-23T02:13:20Z.
const NOW: u64 = 1_795_400_000;
