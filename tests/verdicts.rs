//! The flow for servers: what is remembered, for how long, what it costs a registry, and that nothing stale,
//! nobody else's and nothing unverified is ever served.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign::digest::Digest;
use countersign::engine::{Budget, Engine, Policy, Settings as EngineSettings};
use countersign::evidence::Directories;
use countersign::reference::Reference;
use countersign::registry::{Client, Keyring, Settings as RegistrySettings};
use countersign::rules::Rules;
use countersign::sign::{SigningKey, payload};
use countersign::telemetry::Metrics;
use countersign::verdict::{Outcome, Verdict};
use countersign::verdicts::{Ask, Basis, Clock, Judgement, MultiArch, Served, Settings, Verdicts};
use tempfile::TempDir;

use crate::support::server::{Answer, Gate, Server};
use crate::support::{OCI_IMAGE, manifest};

mod cost;
mod failures;
mod keyrings;
mod multi_arch;
mod pinned;
mod remembered;
mod rules;

/// A registry that keeps its own signatures, a server that asks it, and their time.
struct Bench {
    registry: Server,
    verdicts: Verdicts,
    clock: Clock,
    basis: Arc<Basis>,
    /// registries.d.
    folder: TempDir,
}

impl Bench {
    /// What is signed by the test's key for its own name is allowed, everything else denied.
    fn new() -> Self {
        Self::with(|_| {}, |_, _| {})
    }

    /// With settings of its own.
    fn with(
        change: impl FnOnce(&mut Settings),
        change_client: impl FnOnce(&mut RegistrySettings, &Server),
    ) -> Self {
        let registry = Server::start();
        registry.always("/v2/", Answer::ok("{}"));
        let (mut settings, mut client) = (settings(), client_settings(&[&registry]));
        change(&mut settings);
        change_client(&mut client, &registry);
        let clock = Clock::stopped_at(NOW);
        let verdicts = Verdicts::with_clock(
            Client::new(client),
            settings,
            Budget::default(),
            Arc::new(Metrics::default()),
            clock.clone(),
        );
        let folder = tempfile::tempdir().expect("a folder");
        let content = format!("default-docker:\n  lookaside: {}\n", registry.url("/la"));
        std::fs::write(folder.path().join("default.yaml"), content).expect("written");
        let basis = basis(&folder, signed_by(key(), "matchRepoDigestOrExact"), "generation 1");
        Self { registry, verdicts, clock, basis, folder }
    }

    /// The same with another policy.
    fn judged_by(self, policy: Policy) -> Self {
        let basis = basis(&self.folder, policy, "generation 1");
        Self { basis, ..self }
    }

    /// Put an image, or an index, into `ns/app` under a tag.
    fn push(&self, tag: &str, manifest: &str) -> Digest {
        let digest = Digest::sha256(manifest.as_bytes());
        let kind = if manifest.contains("\"manifests\"") { OCI_INDEX } else { OCI_IMAGE };
        for target in [tag, digest.as_str()] {
            let answer = Answer::ok(manifest).header("content-type", kind);
            self.registry.always(manifest_path(target), answer);
        }
        digest
    }

    /// Sign an image of `ns/app` as `ns/app:TAG`, with the test's key.
    fn sign(&self, digest: &Digest, tag: &str) {
        self.sign_with(key(), digest, tag);
    }

    fn sign_with(&self, key: &SigningKey, digest: &Digest, tag: &str) {
        let payload = payload(digest, &self.reference(&format!(":{tag}")), NOW);
        let signature = key.sign(payload.as_bytes(), NOW).expect("a signature");
        self.registry.always(signature_path(digest, 1), Answer::ok(signature));
    }

    /// `ns/app` with a tag, a digest, or both.
    fn reference(&self, rest: &str) -> Reference {
        let text = format!("{}/ns/app{rest}", self.registry.host());
        Reference::parse_normalized(&text).expect("a reference")
    }

    async fn ask(&self, rest: &str) -> Judgement {
        self.ask_about(self.reference(rest)).await
    }

    async fn ask_about(&self, image: Reference) -> Judgement {
        let keyring = Arc::new(Keyring::default());
        let deadline = Instant::now() + Duration::from_secs(60);
        self.verdicts.decide(&self.basis, Ask { image, keyring, workload: None, deadline }).await
    }

    /// How many requests there were so far, beside the one question about the registry's abilities.
    fn cost(&self) -> usize {
        self.registry.requests().iter().filter(|request| request.path != "/v2/").count()
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn settings() -> Settings {
    Settings {
        allow_for: Duration::from_secs(300),
        deny_for: Duration::from_secs(10),
        error_for: Duration::from_secs(2),
        tag_for: Duration::from_secs(5),
        evidence_for: Duration::from_secs(60),
        memory: 16 << 20,
        multi_arch: MultiArch::IndexOrInstances,
        platforms: Vec::new(),
    }
}

fn client_settings(servers: &[&Server]) -> RegistrySettings {
    RegistrySettings {
        plain_http: servers.iter().map(|server| server.host()).collect(),
        retry_pause: Duration::from_millis(1),
        ..RegistrySettings::isolated()
    }
}

fn basis(folder: &TempDir, policy: Policy, hash: &str) -> Arc<Basis> {
    let directories = Directories::Explicit(folder.path().to_owned());
    Arc::new(Basis { policy, rules: Rules::default(), hash: hash.to_owned(), directories })
}

/// A policy that wants a signature by a key.
fn signed_by(key: &SigningKey, identity: &str) -> Policy {
    let key = BASE64_STANDARD.encode(key.export().expect("a public key"));
    policy(&serde_json::json!([{
        "type": "signedBy",
        "keyType": "GPGKeys",
        "keyData": key,
        "signedIdentity": {"type": identity},
    }]))
}

fn policy(requirements: &serde_json::Value) -> Policy {
    let document = serde_json::json!({
        "default": [{"type": "reject"}],
        "transports": {"docker": {"": requirements}},
    });
    engine().load(document.to_string().as_bytes(), &[]).expect("a policy")
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let settings = EngineSettings { slots: Some(2), ..EngineSettings::default() };
        Engine::new(&settings).expect("an engine")
    })
}

fn key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate(USER, NOW - 86_400).expect("a key"))
}

/// An index of manifests, each for a platform.
fn index(instances: &[(&str, &str)]) -> String {
    let entry = |(platform, manifest): &(&str, &str)| {
        let (os, architecture) = platform.split_once('/').expect("a platform");
        serde_json::json!({
            "mediaType": OCI_IMAGE,
            "digest": Digest::sha256(manifest.as_bytes()),
            "size": manifest.len(),
            "platform": {"os": os, "architecture": architecture},
        })
    };
    let entries: Vec<_> = instances.iter().map(entry).collect();
    serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        .to_string()
}

fn manifest_path(target: &str) -> String {
    format!("/v2/ns/app/manifests/{target}")
}

fn signature_path(digest: &Digest, number: usize) -> String {
    format!("/la/ns/app@sha256={}/signature-{number}", digest.hex())
}

/// The first reason's code; empty for an allow.
fn code(verdict: &Verdict) -> &str {
    verdict.reasons.first().map_or("", |reason| reason.code.as_str())
}

fn assert_allows(judgement: &Judgement, digest: &Digest) {
    assert_eq!(judgement.verdict.outcome, Outcome::Allow, "{:?}", judgement.verdict.reasons);
    assert_eq!(judgement.digest.as_ref(), Some(digest));
    assert_eq!(judgement.verdict.digest, digest.as_str());
}

fn assert_denies(judgement: &Judgement, with: &str) {
    assert_eq!(judgement.verdict.outcome, Outcome::Deny, "{:?}", judgement.verdict);
    assert_eq!(code(&judgement.verdict), with, "{:?}", judgement.verdict.reasons);
}

fn assert_fails(judgement: &Judgement, with: &str) {
    assert_eq!(judgement.verdict.outcome, Outcome::Error, "{:?}", judgement.verdict);
    assert_eq!(code(&judgement.verdict), with, "{:?}", judgement.verdict.reasons);
}

/// Noon of a day in November 2026.
const NOW: u64 = 1_795_348_800;

const USER: &str = "Release Team <release@example.com>";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
