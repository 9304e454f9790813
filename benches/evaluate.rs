//! One evaluation: in a fresh instance of the sandbox against the same code native, with a large policy
//! against a small one, and what an instance costs by itself.
//!
//! `cargo xtask bench` runs this and compares the figures with their targets.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use countersign::engine::{Budget, Engine, Policy, Settings};
use countersign::verdict::{Outcome, Verdict};
use countersign::vocabulary::{Evidence, KeyFile, Signature, SignatureForm, Subject};
use criterion::{Criterion, criterion_group, criterion_main};
use sequoia_openpgp::cert::CertBuilder;
use sequoia_openpgp::serialize::MarshalInto;
use serde_json::{Value, json};

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4));
    targets = evaluate, policy_size, instantiate, one_shot
}
criterion_main!(benches);

/// `evaluate-ALGORITHM/sandbox` against `evaluate-ALGORITHM/native`.
fn evaluate(criterion: &mut Criterion) {
    let engine = engine(Some(1));
    for (algorithm, vector, key) in ALGORITHMS {
        let case = Case::new(vector, &[key_file(key)]);
        let sandbox = case.load_snapshot(&engine);
        let native = guest_policy::Engine::load(&case.document, &case.files)
            .expect("the policy loads natively");
        let verdict = case.evaluate(&sandbox);
        assert_eq!(verdict.outcome, Outcome::Allow, "{algorithm}: {:?}", verdict.reasons);
        assert_eq!(verdict, native.evaluate(&case.subject, &case.evidence, NOW), "{algorithm}");

        let mut group = criterion.benchmark_group(format!("evaluate-{algorithm}"));
        group.bench_function("sandbox", |bencher| {
            bencher.iter(|| case.evaluate(black_box(&sandbox)));
        });
        group.bench_function("native", |bencher| {
            bencher.iter(|| {
                black_box(&native).evaluate(&case.subject, black_box(&case.evidence), NOW)
            });
        });
        group.finish();
    }
}

/// `policy/large` against `policy/small`: 1,000 scopes and 100 keys, all of which may have signed the
/// image, against one scope and one key.
fn policy_size(criterion: &mut Criterion) {
    let engine = engine(Some(1));
    let (_, vector, key) = ALGORITHMS[0];
    let small = Case::new(vector, &[key_file(key)]);
    let mut keys: Vec<KeyFile> = (1..100).map(other_key_file).collect();
    keys.push(key_file(key));
    let mut large = Case::new(vector, &keys);
    large.add_scopes(999);

    let mut group = criterion.benchmark_group("policy");
    for (size, case) in [("small", small), ("large", large)] {
        let policy = case.load_snapshot(&engine);
        let verdict = case.evaluate(&policy);
        assert_eq!(verdict.outcome, Outcome::Allow, "{size}: {:?}", verdict.reasons);
        group.bench_function(size, |bencher| {
            bencher.iter(|| case.evaluate(black_box(&policy)));
        });
    }
    group.finish();
}

/// `instance/fresh`: instantiate and drop.
fn instantiate(criterion: &mut Criterion) {
    let engine = engine(Some(1));
    let budget = Budget::default();
    let mut group = criterion.benchmark_group("instance");
    group.bench_function("fresh", |bencher| {
        bencher.iter(|| engine.instantiate(black_box(&budget)).expect("an instance"));
    });
    group.finish();
}

/// `one-shot/document`: load a policy and ask it one question, as the command line does.
fn one_shot(criterion: &mut Criterion) {
    let engine = engine(None);
    let (_, vector, key) = ALGORITHMS[0];
    let case = Case::new(vector, &[key_file(key)]);
    let mut group = criterion.benchmark_group("one-shot");
    group.bench_function("document", |bencher| {
        bencher.iter(|| {
            let policy = engine.load(&case.document, &case.files).expect("the policy loads");
            case.evaluate(&policy)
        });
    });
    group.finish();
}

/// An image with a signature that gpg made, and a policy that accepts it.
struct Case {
    document: Vec<u8>,
    files: Vec<KeyFile>,
    subject: Subject,
    evidence: Evidence,
}

impl Case {
    /// The image signed in `vector`, under a policy of one scope that wants one of `files` to have signed.
    fn new(vector: &str, files: &[KeyFile]) -> Self {
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let requirement = json!({"type": "signedBy", "keyType": "GPGKeys", "keyPaths": paths});
        let policy = json!({
            "default": [{"type": "reject"}],
            "transports": {"docker": {REPOSITORY: [requirement]}},
        });
        Self {
            document: policy.to_string().into_bytes(),
            files: files.to_owned(),
            subject: Subject {
                transport: "docker".into(),
                name: format!("docker://{REPOSITORY}:v1"),
                reference: Some(format!("{REPOSITORY}:v1")),
                path: None,
            },
            evidence: Evidence {
                manifest: read("manifests/amd64.json"),
                index: None,
                signatures: vec![Signature {
                    source: "signature-1".into(),
                    form: SignatureForm::Stored,
                    content: read(&format!("sigs/{vector}.sig")),
                }],
            },
        }
    }

    /// Scopes of other images, each with one of the policy's keys.
    fn add_scopes(&mut self, count: usize) {
        let mut policy: Value = serde_json::from_slice(&self.document).expect("a policy is JSON");
        for (number, file) in (0..count).zip(self.files.iter().cycle()) {
            policy["transports"]["docker"][format!("registry.example.com/team-{number}/app")] =
                json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": file.path}]);
        }
        self.document = policy.to_string().into_bytes();
    }

    fn load_snapshot(&self, engine: &Engine) -> Policy {
        engine.load_snapshot(&self.document, &self.files).expect("the policy loads")
    }

    fn evaluate(&self, policy: &Policy) -> Verdict {
        policy
            .evaluate(&self.subject, black_box(&self.evidence), NOW, &Budget::default())
            .expect("a verdict")
    }
}

fn engine(slots: Option<usize>) -> Engine {
    Engine::new(&Settings { slots, ..Settings::default() }).expect("the embedded engine starts")
}

/// A key of the vectors.
fn key_file(name: &str) -> KeyFile {
    KeyFile {
        path: format!("/keys/{name}.gpg"),
        content: Ok(read(&format!("keys/{name}.pub.gpg"))),
    }
}

/// The key of somebody who signed nothing.
fn other_key_file(number: usize) -> KeyFile {
    let (cert, _) = CertBuilder::new()
        .add_userid(format!("{number}@example.com"))
        .add_signing_subkey()
        .generate()
        .expect("a key");
    let content = cert.to_vec().expect("a key has a binary form");
    KeyFile { path: format!("/keys/other-{number}.gpg"), content: Ok(content) }
}

fn read(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/vectors/gpg"));
    std::fs::read(folder.join(name)).expect("a vector")
}

/// Name of the benchmark, signature and key.
const ALGORITHMS: [(&str, &str, &str); 4] = [
    ("rsa2048", "good-rsa2048-sha512", "rsa2048"),
    ("rsa4096", "good-rsa4096", "rsa4096"),
    ("ed25519", "good-ed25519", "ed25519"),
    ("p256", "good-p256", "p256"),
];

/// What the vectors are signed as, without the tag.
const REPOSITORY: &str = "127.0.0.1:5000/lab/amd64";

/// Evaluation time: two days after the signatures were made.
const NOW: u64 = 1_795_500_000;
