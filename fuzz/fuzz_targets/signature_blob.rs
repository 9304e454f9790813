//! Signatures as stores keep them, judged under a policy with real keys: any bytes give the same verdict
//! twice, and allow only the image and the name that one of the keys signed.
#![no_main]

use std::sync::OnceLock;

use guest_policy::Engine;
use guest_policy::image::{Evidence, KeyFile, Signature, SignatureForm, Subject};
use guest_policy::verdict::Outcome;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let files: Vec<KeyFile> = KEYS
            .iter()
            .map(|(path, content)| KeyFile { path: (*path).to_owned(), content: Ok(content.to_vec()) })
            .collect();
        Engine::load(POLICY, &files).expect("the policy is valid")
    });
    let subject = Subject {
        transport: "docker".to_owned(),
        name: format!("docker://{REFERENCE}"),
        reference: Some(REFERENCE.to_owned()),
        path: None,
    };
    let evidence = Evidence {
        manifest: MANIFEST.to_vec(),
        index: None,
        signatures: vec![Signature {
            source: "signature-1".to_owned(),
            form: SignatureForm::Stored,
            content: content.to_vec(),
        }],
    };
    let verdict = engine.evaluate(&subject, &evidence, NOW);
    assert_eq!(verdict, engine.evaluate(&subject, &evidence, NOW));
    assert_eq!(verdict.outcome == Outcome::Allow, verdict.reasons.is_empty());
    if verdict.outcome == Outcome::Allow {
        let claim = verdict.claims.first().expect("an allow rests on a claim");
        assert_eq!(claim.digest, verdict.digest);
        assert_eq!(claim.reference, REFERENCE);
    }
    engine.inspect(&subject, &evidence, NOW);
});

const POLICY: &[u8] = br#"{"default": [{"type": "signedBy", "keyType": "GPGKeys",
    "keyPaths": ["rsa2048", "ed25519", "p256"], "signedIdentity": {"type": "matchExact"}}]}"#;

const KEYS: [(&str, &[u8]); 3] = [
    ("rsa2048", include_bytes!("../../tests/data/vectors/gpg/keys/rsa2048.pub.gpg")),
    ("ed25519", include_bytes!("../../tests/data/vectors/gpg/keys/ed25519.pub.gpg")),
    ("p256", include_bytes!("../../tests/data/vectors/gpg/keys/p256.pub.gpg")),
];

const MANIFEST: &[u8] = include_bytes!("../../tests/data/vectors/gpg/manifests/amd64.json");

const REFERENCE: &str = "127.0.0.1:5000/lab/amd64:v1";

/// 2026-11-24, after the vectors were made.
const NOW: u64 = 1_795_500_000;
