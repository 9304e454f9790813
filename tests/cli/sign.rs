//! `countersign sign`.

use countersign::digest::Digest;
use sequoia_openpgp::Profile;
use sequoia_openpgp::cert::CertBuilder;
use sequoia_openpgp::serialize::SerializeInto as _;

use super::*;
use crate::support;
use crate::support::registry::Registry;
use crate::support::server::Answer;

/// Someone with a key, and an image in a registry.
pub(super) struct Signatory {
    pub(super) user: User,
    pub(super) registry: Registry,
}

impl Signatory {
    /// `signing.key` has no passphrase; signatures go into the folder `signatures`.
    pub(super) fn new() -> Self {
        let user = User::new();
        key_files(&user, "signing", None);
        let registries =
            format!("default-docker:\n  lookaside: file://{}\n", shown(&user.path("signatures")));
        user.write("registries.d/a.yaml", registries);
        let registry = Registry::start();
        Self { user, registry }
    }

    /// The name of an image of the registry.
    pub(super) fn name(&self, rest: &str) -> String {
        format!("{}/shop/{rest}", self.registry.host())
    }

    /// A command that may speak to the registry.
    pub(super) fn run(&self, words: &str) -> Ended {
        self.user.run(&format!("{words} --plain-http {}", self.registry.host()))
    }

    /// Sign by `signing.key`.
    fn sign(&self, words: &str) -> Ended {
        self.run(&format!("sign --sign-by signing.key --registries-d registries.d {words}"))
    }

    /// Ask for a signature by a key.
    pub(super) fn verify(&self, key: &str, words: &str) -> Ended {
        self.user.policy(json!({
            "type": "signedBy", "keyType": "GPGKeys", "keyPath": format!("{key}.gpg"),
        }));
        self.run(&format!("verify --policy policy.json --registries-d registries.d {words}"))
    }

    /// The names of the files in the folder for the signatures of a manifest.
    pub(super) fn signatures(&self, repository: &str, digest: &str) -> Vec<String> {
        let (_, hex) = digest.split_once(':').expect("a digest");
        let folder = self.user.path(&format!("signatures/shop/{repository}@sha256={hex}"));
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

/// `NAME.key`, secret and armoured, `NAME.gpg`, public; the fingerprint.
pub(super) fn key_files(user: &User, name: &str, passphrase: Option<&str>) -> String {
    let (cert, _) = CertBuilder::new()
        .set_profile(Profile::RFC4880)
        .expect("a profile")
        .add_userid(format!("{name}@example.com"))
        .add_signing_subkey()
        .set_password(passphrase.map(Into::into))
        .generate()
        .expect("a key");
    write_key(user, name, &cert)
}

fn write_key(user: &User, name: &str, cert: &sequoia_openpgp::Cert) -> String {
    user.write(&format!("{name}.key"), cert.as_tsk().armored().to_vec().expect("bytes"));
    let public = cert.clone().strip_secret_key_material().to_vec().expect("bytes");
    user.write(&format!("{name}.gpg"), public);
    cert.fingerprint().to_hex()
}

/// Put an image and an index of it into a registry by hand; the digests of both.
fn fill(registry: &Registry) -> [String; 2] {
    let image = support::manifest("web");
    let digest = Digest::sha256(image.as_bytes()).to_string();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": support::OCI_IMAGE,
            "digest": digest,
            "size": image.len(),
            "platform": {"os": "linux", "architecture": "amd64"},
        }],
    })
    .to_string();
    let both = [digest, Digest::sha256(index.as_bytes()).to_string()];
    for (digest, tag, content) in [(&both[0], "1", image), (&both[1], "all", index)] {
        registry.put("shop/web", digest, content.as_bytes());
        registry.put("shop/web", tag, content.as_bytes());
    }
    both
}

#[test]
fn a_signed_image_satisfies_who_wants_the_signature_by_tag_and_by_digest() {
    let signatory = Signatory::new();
    let [digest, _] = fill(&signatory.registry);
    let image = signatory.name("web:1");
    assert_eq!(signatory.verify("signing", &image).status, Some(1));
    let ended = signatory.sign(&image);
    let pinned = signatory.name(&format!("web@{digest}"));
    assert_eq!((ended.status, ended.stdout.trim()), (Some(0), pinned.as_str()), "{ended:?}");
    assert_eq!(signatory.signatures("web", &digest), ["signature-1"]);
    for name in [&image, &pinned] {
        assert_eq!(signatory.verify("signing", name).status, Some(0), "{name}");
    }
    // Under another tag it was not signed.
    signatory.registry.put("shop/web", "2", support::manifest("web").as_bytes());
    assert_eq!(signatory.verify("signing", &signatory.name("web:2")).status, Some(1));
}

#[test]
fn the_same_key_signs_the_same_image_under_the_same_name_once() {
    let signatory = Signatory::new();
    let [digest, _] = fill(&signatory.registry);
    for keeps in [false, true] {
        if keeps {
            signatory.registry.keep_signatures();
        }
        let count = || match keeps {
            true => signatory.registry.signatures("shop/web", &digest).len(),
            false => signatory.signatures("web", &digest).len(),
        };
        let image = signatory.name("web:1");
        assert_eq!(signatory.sign(&image).status, Some(0));
        let again = signatory.sign(&image);
        assert_eq!(again.status, Some(0), "{again:?}");
        assert!(again.stderr.contains("there was a signature already"), "{again:?}");
        assert_eq!(count(), 1);
        // Another name is another signature, and so is another key.
        let other = format!("{image} --as {}", signatory.name("web:stable"));
        assert_eq!(signatory.sign(&other).status, Some(0));
        assert_eq!(count(), 2);
        key_files(&signatory.user, "other", None);
        let ended =
            signatory.run(&format!("sign --sign-by other.key --registries-d registries.d {image}"));
        assert_eq!(ended.status, Some(0), "{ended:?}");
        assert_eq!(count(), 3);
        assert_eq!(signatory.verify("other", &image).status, Some(0));
        assert_eq!(signatory.verify("signing", &image).status, Some(0));
    }
}

#[test]
fn a_registry_that_keeps_signatures_gets_them_as_openshift_expects() {
    let signatory = Signatory::new();
    let [digest, _] = fill(&signatory.registry);
    signatory.registry.keep_signatures();
    let ended = signatory.sign(&signatory.name("web:1"));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("/extensions/v2/shop/web/signatures/"), "{ended:?}");
    let kept = signatory.registry.signatures("shop/web", &digest);
    let [entry] = kept.as_slice() else { unreachable!("one signature: {kept:?}") };
    if let Some(shared) = support::shared() {
        let example = shared.join("conformance/kubernetes/openshift/xrss-put-request.json");
        let example: Value =
            serde_json::from_slice(&fs::read(example).expect("the example")).expect("JSON");
        let members = |value: &Value| -> Vec<String> {
            value.as_object().expect("an object").keys().cloned().collect()
        };
        assert_eq!(members(entry), members(&example));
        for member in ["schemaVersion", "type"] {
            assert_eq!(entry[member], example[member]);
        }
    }
    assert!(!signatory.user.path("signatures").exists(), "nobody would look there");
    assert_eq!(signatory.verify("signing", &signatory.name("web:1")).status, Some(0));
}

#[test]
fn a_name_that_is_taken_is_not_the_end() {
    for (answers, status) in [(1, 0), (9, 2)] {
        let signatory = Signatory::new();
        let [digest, _] = fill(&signatory.registry);
        signatory.registry.keep_signatures();
        signatory.registry.take_names(answers);
        let ended = signatory.sign(&signatory.name("web:1"));
        assert_eq!(ended.status, Some(status), "{ended:?}");
        let kept = signatory.registry.signatures("shop/web", &digest).len();
        assert_eq!(kept, usize::from(status == 0));
    }
}

#[test]
fn a_store_that_refuses_is_an_error() {
    let path = |digest: &str| format!("/extensions/v2/shop/web/signatures/{digest}");
    for (answer, words) in [
        (Answer::error(400, "SIGNATURE_INVALID", "invalid image signature"), "invalid image"),
        (Answer::error(403, "DENIED", "no signing here"), "no signing here"),
        (Answer::status(200), "status 200"),
        (Answer::status(404), "no place for a signature"),
    ] {
        let signatory = Signatory::new();
        let [digest, _] = fill(&signatory.registry);
        signatory.registry.keep_signatures();
        signatory.registry.server.on(path(&digest), move |request| match request.method.as_str() {
            "GET" => Answer::ok(r#"{"signatures":[]}"#),
            _ => answer.clone(),
        });
        let ended = signatory.sign(&signatory.name("web:1"));
        ended.assert_error(&["cannot sign docker://", "web:1", words]);
        assert_eq!(ended.stdout, "");
    }
    // A folder that nobody can make.
    let signatory = Signatory::new();
    fill(&signatory.registry);
    signatory.user.write("signatures", "a file");
    let ended = signatory.sign(&signatory.name("web:1"));
    ended.assert_error(&["cannot sign docker://", "signatures/shop/web@sha256="]);
}

#[test]
fn a_signature_that_is_not_found_again_is_an_error() {
    let signatory = Signatory::new();
    let [digest, _] = fill(&signatory.registry);
    // It says that it took it, and shows another one.
    signatory.registry.keep_signatures();
    let other = json!({"signatures": [{
        "schemaVersion": 2, "name": format!("{digest}@{:032}", 1), "type": "atomic",
        "content": "kA0DAAgBIG5vdCBhIHJlYWwgT3BlblBHUCBtZXNzYWdl",
    }]});
    let path = format!("/extensions/v2/shop/web/signatures/{digest}");
    signatory.registry.server.on(path, move |request| match request.method.as_str() {
        "GET" => Answer::ok(other.to_string()),
        _ => Answer::status(201),
    });
    let ended = signatory.sign(&signatory.name("web:1"));
    ended.assert_error(&["the signature that was made is not accepted", "counts for nothing"]);
}

#[test]
fn of_an_index_all_instances_are_signed_if_that_is_asked_for() {
    let signatory = Signatory::new();
    let [image, index] = fill(&signatory.registry);
    let name = signatory.name("web:all");
    let ended = signatory.sign(&name);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("--all"), "{ended:?}");
    assert_eq!(signatory.signatures("web", &index), ["signature-1"]);
    assert_eq!(signatory.signatures("web", &image), [] as [&str; 0]);
    let verify = format!("--platform linux/amd64 {name}");
    assert_eq!(signatory.verify("signing", &verify).status, Some(1));
    let ended = signatory.sign(&format!("--all {name}"));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stdout.trim().ends_with(&index), "{ended:?}");
    assert_eq!(signatory.signatures("web", &index), ["signature-1"]);
    assert_eq!(signatory.signatures("web", &image), ["signature-1"]);
    assert_eq!(signatory.verify("signing", &verify).status, Some(0));
}

#[test]
fn a_key_that_cannot_sign_asks_nobody() {
    let signatory = Signatory::new();
    let Signatory { user, .. } = &signatory;
    key_files(user, "protected", Some("s3cret"));
    user.write("passphrase", "another\n");
    let day = std::time::Duration::from_secs(86_400);
    let (expired, _) = CertBuilder::new()
        .set_profile(Profile::RFC4880)
        .expect("a profile")
        .add_userid("expired@example.com")
        .set_creation_time(std::time::SystemTime::UNIX_EPOCH + day * 19_000)
        .set_validity_period(day)
        .add_signing_subkey()
        .generate()
        .expect("a key");
    write_key(user, "expired", &expired);
    let image = signatory.name("web:1");
    for (options, words) in [
        ("--sign-by none.key", "none.key"),
        ("--sign-by signing.gpg", "public key"),
        ("--sign-by protected.key", "protected"),
        ("--sign-by protected.key --passphrase-file passphrase", "passphrase does not open it"),
        ("--sign-by expired.key", "xpired"),
    ] {
        let ended = signatory.run(&format!("sign {options} {image}"));
        ended.assert_error(&[words]);
        assert!(!ended.stderr.contains("another"), "{ended:?}");
    }
    for (words, fault) in [
        (format!("sign {image}"), "--sign-by"),
        ("sign --sign-by signing.key dir:x".to_owned(), "copy --sign-by"),
        (format!("sign --sign-by signing.key --as UPPER {image}"), "invalid --as"),
    ] {
        signatory.run(&words).assert_error(&[fault]);
    }
    assert!(signatory.registry.server.requests().is_empty());
}
