//! Keys as resources of a cluster, before an API server that does what a real one does.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign::keys::{Algorithm, Plan, PublicKeys, SecretKey};
use countersign::operator::{Operator, Round, Settings};
use countersign::sign::SigningKey;
use serde_json::{Value, json};

use crate::support::cluster::ApiServer;

mod faults;
mod import;
mod kabanero;
mod keys;
mod ownership;
mod replicas;
mod rights;
mod rotation;

/// 2026-11-25T09:46:40Z.
const NOW: u64 = 1_795_600_000;

const DAY: u64 = 86_400;

/// A cluster, and an operator that looks when it is told to.
struct Lab {
    api: ApiServer,
    operator: Operator,
}

impl Lab {
    async fn new() -> Self {
        let api = ApiServer::start();
        let operator = operator(&api).await;
        Self { api, operator }
    }

    /// The operator's process ended, and another one begins.
    async fn restart(&mut self) {
        self.operator = operator(&self.api).await;
    }

    /// A resource of `countersign.dev/v1`.
    fn wants(&self, name: &str, spec: &Value) {
        self.api.put("imagesignings", resource("countersign.dev/v1", name, spec));
    }

    /// The resource `release`, with what there is to say beside whose key it is.
    fn wants_key(&self, more: &Value) {
        self.wants("release", &with(json!({"identity": identity(), "algorithm": "ed25519"}), more));
    }

    /// A look that leaves nothing to be tried again.
    async fn look(&self, now: u64) -> Round {
        let round = self.operator.look(now).await;
        assert_eq!(round.failures, 0, "{:?}", self.status("release"));
        round
    }

    fn status(&self, name: &str) -> Value {
        self.api.get(&format!("imagesignings/{name}"))["status"].clone()
    }

    /// Reason and message of a condition.
    fn condition(&self, name: &str, kind: &str) -> Value {
        let conditions = self.status(name)["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
    }

    fn ready(&self, name: &str) -> (String, String) {
        let ready = self.condition(name, "Ready");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&ready["status"]), text(&ready["reason"]))
    }

    /// What the condition `Ready` of `release` says is `False` for this reason, in these words.
    fn assert_fault(&self, name: &str, reason: &str, words: &str) {
        let ready = self.condition(name, "Ready");
        assert_eq!(
            (&ready["status"], &ready["reason"]),
            (&json!("False"), &json!(reason)),
            "{ready}"
        );
        let message = ready["message"].as_str().expect("a message");
        assert!(message.contains(words), "{message}");
        assert!(self.api.events().iter().any(|event| event == reason), "{:?}", self.api.events());
    }

    /// The key in the entry of a Secret, which signs.
    fn key_at(&self, secret: &str, now: u64) -> SigningKey {
        let content = entry(&self.api.get(&format!("secrets/{secret}")), "secret.asc");
        let key = SigningKey::read(&content, None, now).expect("a key that signs");
        key.sign(b"payload", now).expect("a signature");
        key
    }

    /// Of the key of `release`.
    fn fingerprint(&self, now: u64) -> String {
        self.key_at("signature-secret-key", now).fingerprint()
    }

    /// The fingerprints in an entry of the ConfigMap of `release`.
    fn published(&self, entry: &str) -> Vec<String> {
        let config_map = self.api.get("configmaps/signature-public-key");
        let Some(armour) = config_map["data"][entry].as_str() else { return Vec::new() };
        assert!(!armour.contains("PRIVATE"), "{config_map}");
        PublicKeys::read(armour.as_bytes()).expect("keys").fingerprints()
    }

    /// No private key was written anywhere but into Secrets.
    fn assert_kept_secret(&self) {
        for request in self.api.written_elsewhere() {
            let everything = request.everything();
            assert!(!everything.contains("PRIVATE KEY"), "{everything}");
            // The same in base64, wherever a triple of letters begins.
            for start in 0..3 {
                let encoded = BASE64_STANDARD.encode(&"PRIVATE KEY BLOCK"[start..start + 12]);
                assert!(!everything.contains(&encoded), "{everything}");
            }
        }
    }
}

async fn operator(api: &ApiServer) -> Operator {
    let settings =
        Settings::new(vec!["build".to_owned()], "countersign".to_owned(), "one".to_owned());
    Operator::new(api.cluster().await, settings).expect("an operator")
}

fn resource(version: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": version,
        "kind": "ImageSigning",
        "metadata": {"name": name, "namespace": "build"},
        "spec": spec,
    })
}

fn identity() -> Value {
    json!({"name": "Release", "email": "release@example.com"})
}

/// With the members of `more`, too.
fn with(mut spec: Value, more: &Value) -> Value {
    spec.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    spec
}

/// A Secret of namespace `build`.
fn secret(name: &str, entries: &[(&str, &[u8])]) -> Value {
    let data: serde_json::Map<_, _> = entries
        .iter()
        .map(|(key, content)| ((*key).to_owned(), BASE64_STANDARD.encode(content).into()))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": name, "namespace": "build"}, "data": data,
    })
}

fn entry(secret: &Value, name: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(secret["data"][name].as_str().expect("an entry")).expect("base64")
}

/// A key that somebody made before, for so many seconds.
fn key(validity: Option<u64>) -> SecretKey {
    let user = "Somebody <somebody@example.com>".parse().expect("a user");
    let plan = Plan::signing(user, Algorithm::Ed25519, false, NOW - DAY, validity);
    plan.generate(None).expect("a key")
}

/// As its file has it.
fn armoured(key: &SecretKey) -> Vec<u8> {
    key.armoured().expect("a key")
}
