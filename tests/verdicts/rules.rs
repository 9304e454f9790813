//! Rules: what they say is never served again, and everything that they are told is.

use countersign::engine::{RuleEngine, RuleSettings};
use countersign::policy::PolicyFile;
use countersign::rule::Workload;
use countersign::rules::{Loading, Rules};
use serde_json::{Value, json};

use super::*;
use crate::rules::golden::golden;
use crate::rules::module::Text;

/// A bench whose policy has rules, and the folder of the policy.
struct Ruled {
    bench: Bench,
    engine: RuleEngine,
    _policy: TempDir,
}

impl Ruled {
    /// With the requirements of every image, of which the rules are modules in files.
    async fn new(requirements: &Value, modules: &[(&str, Vec<u8>)]) -> Self {
        Self::with(Bench::new(), requirements, modules).await
    }

    async fn with(bench: Bench, requirements: &Value, modules: &[(&str, Vec<u8>)]) -> Self {
        let document = json!({"default": requirements});
        Self::by(bench, &document, modules).await
    }

    async fn by(bench: Bench, document: &Value, modules: &[(&str, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("policy.json");
        std::fs::write(&path, document.to_string()).expect("a file");
        for (name, wasm) in modules {
            std::fs::write(folder.path().join(name), wasm).expect("a file");
        }
        let file = PolicyFile::read(&path).expect("a policy");
        let policy = file.load(engine()).expect("a policy");
        let settings = RuleSettings { slots: Some(2), ..RuleSettings::default() };
        let engine = RuleEngine::new(&settings).expect("an engine");
        let directories = Directories::Explicit(bench.folder.path().to_owned());
        let client = Client::new(client_settings(&[&bench.registry]));
        let loading = Loading {
            file: &file,
            policy: &policy,
            engine: &engine,
            client: &client,
            directories: &directories,
            tags: false,
            now: NOW,
        };
        let rules = Rules::load(loading).await;
        assert_eq!(rules.faults(), [""; 0]);
        let basis = Basis { policy, rules, hash: "generation 1".to_owned(), directories };
        Self { bench: Bench { basis: Arc::new(basis), ..bench }, engine, _policy: folder }
    }

    /// Ask for a workload of some kind.
    async fn ask_for(&self, kind: &str, rest: &str) -> Judgement {
        let workload = Workload { kind: kind.to_owned(), ..Workload::default() };
        let ask = Ask {
            image: self.bench.reference(rest),
            keyring: Arc::default(),
            workload: Some(Arc::new(workload)),
            deadline: Instant::now() + Duration::from_secs(60),
        };
        self.bench.verdicts.decide(&self.bench.basis, ask).await
    }
}

#[tokio::test]
async fn a_rule_is_asked_again_at_every_time_and_nothing_is_fetched_again() {
    let requirements = json!([signed(), rule("freeze.wasm")]);
    let ruled = Ruled::new(&requirements, &[("freeze.wasm", freeze(NOW + 3, NOW + 5))]).await;
    let bench = &ruled.bench;
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    let at = format!("@{digest}");
    assert_allows(&ruled.ask_for("Pod", &at).await, &digest);
    let cost = bench.registry.requests().len();
    for frozen in [false, false, true, true, false, false] {
        bench.pass(1);
        let judgement = ruled.ask_for("Pod", &at).await;
        match frozen {
            false => assert_allows(&judgement, &digest),
            true => assert_denies(&judgement, "text/frozen"),
        }
        assert_eq!(judgement.served, Served::Fresh);
    }
    assert_eq!(bench.registry.requests().len(), cost);
}

#[tokio::test]
async fn a_scope_without_rules_is_answered_from_memory_beside_scopes_with_them() {
    let bench = Bench::new();
    let host = bench.registry.host();
    let document = json!({
        "default": [rule("nothing.wasm")],
        "transports": {"docker": {format!("{host}/ns"): [signed()]}},
    });
    let ruled = Ruled::by(bench, &document, &[("nothing.wasm", Text::HONEST.build())]).await;
    let bench = &ruled.bench;
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    assert_allows(&ruled.ask_for("Pod", ":1").await, &digest);
    let another = ruled.ask_for("Deployment", ":1").await;
    assert_allows(&another, &digest);
    assert_eq!(another.served, Served::Cache);
}

/// What was quick the last time is run where others wait; what is not quick this time is not held against it.
#[tokio::test]
async fn a_rule_that_was_quick_may_take_all_of_its_time_the_next_time() {
    let evaluate =
        "local.get 0 i32.const 68 i32.add i32.load i32.eqz if (loop br 0) end i32.const 0";
    let loops_without_claims = Text { evaluate, ..Text::HONEST }.build();
    let mut asked = rule("rule.wasm");
    asked["budget"] = json!({"deadlineMilliseconds": 60});
    let modules = [("rule.wasm", loops_without_claims)];
    let ruled = Ruled::new(&json!([asked, signed()]), &modules).await;
    let bench = &ruled.bench;
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    bench.push("2", &manifest("other"));
    for _ in 0..2 {
        for _ in 0..3 {
            assert_allows(&ruled.ask_for("Pod", ":1").await, &digest);
        }
        let judgement = ruled.ask_for("Pod", ":2").await;
        assert_denies(&judgement, "rule-deadline");
        let message = &judgement.verdict.reasons[0].message;
        assert!(message.ends_with("exceeded its deadline of 60ms"), "{message}");
    }
    assert_eq!(ruled.engine.in_use().expect("a pool").component_instances, 0);
}

/// Two who ask about one image at once get what the rule says to each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_is_told_of_the_workload_that_asks() {
    let ruled = Ruled::new(&json!([golden_rule(&json!({}))]), &[("golden.wasm", golden())]).await;
    let digest = ruled.push_with_documents();
    let kinds = ["Pod", "Deployment", "CronJob"];
    let asks = kinds.iter().cycle().take(30).map(|kind| ruled.ask_for(kind, ":1"));
    for (judgement, kind) in
        futures_util::future::join_all(asks).await.iter().zip(kinds.iter().cycle())
    {
        assert_allows(judgement, &digest);
        assert_eq!(judgement.verdict.annotations["golden/kind"], *kind);
        assert_eq!(judgement.verdict.warnings, ["golden: {}"]);
        assert_eq!(judgement.verdict.valid_until, Some(NOW + 60));
    }
    let nobody = ruled.bench.ask(":1").await;
    assert_allows(&nobody, &digest);
    assert_eq!(nobody.verdict.annotations.get("golden/kind"), None);
}

#[tokio::test]
async fn documents_that_a_rule_wants_are_fetched_once() {
    let ruled = Ruled::new(&json!([golden_rule(&json!({}))]), &[("golden.wasm", golden())]).await;
    let digest = ruled.push_with_documents();
    let at = format!("@{digest}");
    let first = ruled.ask_for("Pod", &at).await;
    assert_allows(&first, &digest);
    assert_eq!(first.verdict.annotations["golden/config"], "{}");
    let cost = ruled.bench.cost();
    for kind in ["Pod", "Deployment"] {
        ruled.bench.pass(1);
        let again = ruled.ask_for(kind, &at).await;
        assert_allows(&again, &digest);
        assert_eq!(again.verdict.annotations["golden/config"], "{}");
    }
    assert_eq!(ruled.bench.cost(), cost);
    // No longer than signatures.
    ruled.bench.pass(60);
    assert_allows(&ruled.ask_for("Pod", &at).await, &digest);
    assert_eq!(ruled.bench.registry.requests_to(&config_path()).len(), 2);
}

/// A hundred at once are one fetch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_fetched_once_for_all_who_wait_for_them() {
    let ruled = Ruled::new(&json!([golden_rule(&json!({}))]), &[("golden.wasm", golden())]).await;
    let digest = ruled.push_with_documents();
    let kinds: Vec<_> = (0..100).map(|number| format!("Kind{number}")).collect();
    let asks = kinds.iter().map(|kind| ruled.ask_for(kind, ":1"));
    for judgement in futures_util::future::join_all(asks).await {
        assert_allows(&judgement, &digest);
    }
    assert_eq!(ruled.bench.registry.requests_to(&config_path()).len(), 1);
}

#[tokio::test]
async fn documents_are_looked_for_again_once_a_denial_would_be_forgotten() {
    let deny = golden_rule(&json!({"answer": "deny"}));
    let ruled = Ruled::new(&json!([deny]), &[("golden.wasm", golden())]).await;
    let digest = ruled.push_with_documents();
    let at = format!("@{digest}");
    assert_denies(&ruled.ask_for("Pod", &at).await, "golden/deny");
    let config = || ruled.bench.registry.requests_to(&config_path()).len();
    ruled.bench.pass(9);
    assert_denies(&ruled.ask_for("Pod", &at).await, "golden/deny");
    assert_eq!(config(), 1);
    ruled.bench.pass(1);
    assert_denies(&ruled.ask_for("Pod", &at).await, "golden/deny");
    assert_eq!(config(), 2);
}

/// Complaint 5 of the field, for documents: what cannot be fetched is not asked for at every request.
#[tokio::test]
async fn a_document_that_cannot_be_fetched_is_an_error_and_tried_again_when_its_time_is_over() {
    let ruled = Ruled::new(&json!([golden_rule(&json!({}))]), &[("golden.wasm", golden())]).await;
    let digest = ruled.push_with_documents();
    ruled.bench.registry.always(config_path(), Answer::status(500));
    let at = format!("@{digest}");
    let first = ruled.ask_for("Pod", &at).await;
    assert_eq!(first.verdict.outcome, Outcome::Error, "{:?}", first.verdict);
    let cost = ruled.bench.cost();
    for kind in ["Pod", "Deployment", "Job"] {
        let again = ruled.ask_for(kind, &at).await;
        assert_eq!(code(&again.verdict), code(&first.verdict));
    }
    assert_eq!(ruled.bench.cost(), cost);
    ruled.push_with_documents();
    ruled.bench.pass(2);
    assert_allows(&ruled.ask_for("Pod", &at).await, &digest);
}

/// A denial by a rule that counts signers is heard as soon as any other, once somebody signs.
#[tokio::test]
async fn signatures_are_looked_for_again_once_a_denial_by_a_rule_would_be_forgotten() {
    let any = json!({"type": "anyOf", "requirements": [signed(), rule("never.wasm")]});
    let ruled = Ruled::new(&json!([any]), &[("never.wasm", freeze(0, u64::MAX))]).await;
    let bench = &ruled.bench;
    let digest = bench.push("1", &manifest("app"));
    let at = format!("@{digest}");
    assert_eq!(ruled.ask_for("Pod", &at).await.verdict.outcome, Outcome::Deny);
    bench.sign(&digest, "1");
    bench.pass(9);
    assert_eq!(ruled.ask_for("Pod", &at).await.verdict.outcome, Outcome::Deny);
    bench.pass(1);
    let allowed = ruled.ask_for("Pod", &at).await;
    assert_allows(&allowed, &digest);
    // The signature decides now, so that no rule is asked and the answer is everybody's.
    let again = ruled.ask_for("Deployment", &at).await;
    assert_allows(&again, &digest);
    assert_eq!(again.served, Served::Cache);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_loops_is_denied_and_holds_nobody_up() {
    let endless = Text { evaluate: "(loop br 0) unreachable", ..Text::HONEST }.build();
    let mut looping = rule("loop.wasm");
    looping["budget"] = json!({"deadlineMilliseconds": 20});
    let bench = Bench::new();
    let host = bench.registry.host();
    let document = json!({
        "default": [looping],
        "transports": {"docker": {format!("{host}/ns/app:good"): [rule("nothing.wasm")]}},
    });
    let modules = [("loop.wasm", endless), ("nothing.wasm", Text::HONEST.build())];
    let ruled = Ruled::by(bench, &document, &modules).await;
    let digest = ruled.bench.push("bad", &manifest("app"));
    ruled.bench.push("good", &manifest("app"));
    let kinds: Vec<_> = (0..8).map(|number| format!("Kind{number}")).collect();
    let bad = kinds.iter().map(|kind| ruled.ask_for(kind, ":bad"));
    for judgement in futures_util::future::join_all(bad).await {
        assert_denies(&judgement, "rule-deadline");
    }
    assert_allows(&ruled.ask_for("Pod", ":good").await, &digest);
    let in_use = ruled.engine.in_use().expect("a pool");
    assert_eq!((in_use.component_instances, in_use.memories, in_use.tables), (0, 0, 0));
}

#[tokio::test]
async fn every_instance_of_an_index_is_put_to_the_rule() {
    const AMD: &str = "linux/amd64";
    const ARM: &str = "linux/arm64";
    let bench = Bench::with(|settings| settings.multi_arch = MultiArch::Instances, |_, _| {});
    let modules = [("freeze.wasm", freeze(NOW + 3, NOW + 5))];
    let ruled = Ruled::with(bench, &json!([rule("freeze.wasm")]), &modules).await;
    let bench = &ruled.bench;
    let (for_amd, for_arm) = (manifest(AMD), manifest(ARM));
    bench.push("amd", &for_amd);
    bench.push("arm", &for_arm);
    let top = bench.push("1", &index(&[(AMD, &for_amd), (ARM, &for_arm)]));
    let at = format!("@{top}");
    assert_allows(&ruled.ask_for("Pod", &at).await, &top);
    bench.pass(3);
    let denied = ruled.ask_for("Pod", &at).await;
    assert_denies(&denied, "text/frozen");
    let told: Vec<_> = denied.verdict.reasons.iter().map(|r| r.message.as_str()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with(AMD) && told[1].starts_with(ARM), "{told:?}");
    bench.pass(3);
    assert_allows(&ruled.ask_for("Pod", &at).await, &top);
}

impl Ruled {
    /// Put an image into `ns/app:1`, with a configuration and a list of nothing that refers to it.
    fn push_with_documents(&self) -> Digest {
        let registry = &self.bench.registry;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_IMAGE,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::sha256(CONFIG), "size": CONFIG.len(),
            },
            "layers": [],
        });
        let digest = self.bench.push("1", &manifest.to_string());
        registry.always(config_path(), Answer::ok(CONFIG));
        let none = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []});
        let none = Answer::ok(none.to_string()).header("content-type", OCI_INDEX);
        registry.always(format!("/v2/ns/app/referrers/{digest}"), none);
        digest
    }
}

fn config_path() -> String {
    format!("/v2/ns/app/blobs/{}", Digest::sha256(CONFIG))
}

/// A rule that is against every image from one time until another.
fn freeze(from: u64, to: u64) -> Vec<u8> {
    let evaluate = format!(
        "(if (result i32)
            (i32.and
                (i64.ge_u (i64.load offset=192 (local.get 0)) (i64.const {from}))
                (i64.lt_u (i64.load offset=192 (local.get 0)) (i64.const {to})))
            (then (i32.const 1024))
            (else (i32.const 0)))"
    );
    // A denial with one reason: code and message.
    let items = r#"
        (data (i32.const 1024) "\01\00\00\00\80\04\00\00\01\00\00\00")
        (data (i32.const 1152) "\c0\04\00\00\06\00\00\00\00\05\00\00\06\00\00\00")
        (data (i32.const 1216) "frozen") (data (i32.const 1280) "frozen")"#;
    Text { items, evaluate: &evaluate, ..Text::HONEST }.build()
}

fn rule(module: &str) -> Value {
    json!({"type": "rule", "module": module})
}

fn golden_rule(settings: &Value) -> Value {
    json!({
        "type": "rule", "module": "golden.wasm", "settings": settings,
        "capabilities": ["artifact", "crypto", "data", "log"],
    })
}

/// The test's key has to have signed.
fn signed() -> Value {
    let key = BASE64_STANDARD.encode(key().export().expect("a public key"));
    json!({"type": "signedBy", "keyType": "GPGKeys", "keyData": key})
}

const CONFIG: &[u8] = b"{}";
