//! Rules' modules in a real registry, as real tools see them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ::countersign::digest::Digest;
use ::countersign::engine::{Budget, Engine, Settings};
use ::countersign::verdict::Outcome;
use ::countersign::vocabulary::{Signature, SignatureForm, Subject};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lab::registry::Registry;
use lab::skopeo::{self, Answer};
use serde_json::{Value, json};

use super::laboratory::{Kind, Laboratory, Place, laboratory, signed_by};
use crate::support::root;

fn module() -> PathBuf {
    root().join("tests/data/rules/golden-0.1.0.wasm").canonicalize().expect("the golden rule")
}

/// `countersign rule WORDS --plain-http HOST`, in a folder.
fn rule(laboratory: &Laboratory, host: &str, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.env("XDG_CACHE_HOME", laboratory.path("cache"));
    command.arg("rule").args(words).args(["--plain-http", host]);
    lab::attempt(&mut command).expect("the binary under test starts")
}

fn push(laboratory: &Laboratory, name: &str, options: &[&str]) -> String {
    let module = module();
    let name = format!("oci://{}/{name}", laboratory.host());
    let module = module.to_str().expect("UTF-8");
    let output = rule(laboratory, laboratory.host(), &[&["push", module, &name], options].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let pinned = String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned();
    pinned.strip_prefix("oci://").expect("a name").to_owned()
}

fn inspect_raw(reference: &str) -> Vec<u8> {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{reference}")]);
    lab::run(&mut skopeo).expect("skopeo inspects").stdout
}

/// A secret key as gpg exports it, protected by `passphrase` if there is one, and the public one.
fn key_files(folder: &Path, passphrase: &str) -> [PathBuf; 3] {
    let home = lab::gpg::Home::new(&folder.join("gpg")).expect("a gpg home");
    let gpg = |arguments: &[&str]| {
        let mut gpg = Command::new("gpg");
        gpg.env("GNUPGHOME", home.folder()).args(["--batch", "--yes", "--quiet", "--no-tty"]);
        gpg.args(["--pinentry-mode", "loopback", "--passphrase", passphrase]).args(arguments);
        lab::run(&mut gpg).expect("gpg runs").stdout
    };
    gpg(&["--quick-generate-key", "rules@example.com", "rsa3072", "cert", "never"]);
    let listed = gpg(&["--with-colons", "--list-keys", "rules@example.com"]);
    let listed = String::from_utf8(listed).expect("UTF-8");
    let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:")).expect("a key");
    let fingerprint = fingerprint.split(':').find(|field| !field.is_empty()).expect("a key");
    gpg(&["--quick-add-key", fingerprint, "ed25519", "sign", "never"]);
    let files = ["rules.key", "rules.gpg", "passphrase"].map(|name| folder.join(name));
    let [secret, public, phrase] = &files;
    let armoured = ["--armor", "--export-secret-keys", "rules@example.com"];
    lab::write(secret, gpg(&armoured)).expect("written");
    lab::write(public, gpg(&["--export", "rules@example.com"])).expect("written");
    lab::write(phrase, format!("{passphrase}\n")).expect("written");
    files
}

#[test]
fn skopeo_sees_a_pushed_module_and_carries_it() {
    let Some(laboratory) = laboratory() else { return };
    let pinned =
        push(&laboratory, "rules/golden:1", &["--annotation", "source=https://example.com"]);
    let manifest = inspect_raw(&format!("{}/rules/golden:1", laboratory.host()));
    assert_eq!(inspect_raw(&pinned), manifest);
    assert!(pinned.ends_with(Digest::sha256(&manifest).as_str()), "{pinned}");
    let parsed: Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(parsed["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(parsed["annotations"]["org.opencontainers.image.title"], "golden");
    // To another repository, as it is, and from there back.
    let carried = format!("{}/carried/golden:1", laboratory.host());
    let source = format!("docker://{pinned}");
    skopeo::convert(&source, &format!("docker://{carried}")).expect("skopeo copies");
    let file = laboratory.path("carried.wasm");
    let words = ["pull", &format!("oci://{carried}"), "-o", file.to_str().expect("UTF-8")];
    let output = rule(&laboratory, laboratory.host(), &words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read(&file).expect("pulled"), std::fs::read(module()).expect("there"));
}

#[test]
fn a_module_is_pushed_where_a_password_is_wanted() {
    let Some(laboratory) = laboratory() else { return };
    let folder = laboratory.path("rules-with-password");
    let registry = Registry::start_with_password(&folder).expect("a registry");
    let name = format!("oci://{}/rules/golden:1", registry.host);
    let module = module();
    let push = |authfile: &Path| {
        let authfile = authfile.to_str().expect("UTF-8");
        let module = module.to_str().expect("UTF-8");
        rule(&laboratory, &registry.host, &["push", module, &name, "--authfile", authfile])
    };
    let (none, known) = (folder.join("none.json"), folder.join("auth.json"));
    lab::write(&none, "{}").expect("written");
    let output = push(&none);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(&format!("podman login {}", registry.host)), "{stderr}");
    // user:s3cret
    let auths = json!({"auths": {&registry.host: {"auth": "dXNlcjpzM2NyZXQ="}}});
    lab::write(&known, auths.to_string()).expect("written");
    let output = push(&known);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn skopeo_accepts_a_module_that_a_key_of_gpg_signed() {
    let Some(laboratory) = laboratory() else { return };
    for (name, passphrase) in [("open", ""), ("protected", "s3cret")] {
        let folder = laboratory.path(&format!("rule-keys-{name}"));
        let [secret, public, phrase] = key_files(&folder, passphrase);
        let place =
            laboratory.place(&format!("rules-{name}"), &json!({"default": [signed_by(&public)]}));
        place.look_into_folder(laboratory.host());
        let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let (secret, phrase) = (path(&secret), path(&phrase));
        let registries = path(&place.registries_d);
        let mut options = vec!["--sign-by", &secret, "--registries-d", &registries];
        if !passphrase.is_empty() {
            options.extend(["--passphrase-file", &phrase]);
        }
        let pinned = push(&laboratory, &format!("rules/signed-{name}:1"), &options);
        let tagged = format!("{}/rules/signed-{name}:1", laboratory.host());
        for reference in [pinned, tagged] {
            let image = format!("docker://{reference}");
            assert_eq!(ask_skopeo(&place, &image), Answer::Allow, "{name}: {image}");
            assert_eq!(super::verdict(&laboratory, &place, &[&image]), Answer::Allow);
        }
        let stranger = laboratory.key(Kind::Stranger);
        let wants_other = laboratory.place(
            &format!("rules-{name}-stranger"),
            &json!({"default": [stranger.requirement()]}),
        );
        let wants_other = Place { policy: wants_other.policy, ..place };
        let image = format!("docker://{}/rules/signed-{name}:1", laboratory.host());
        assert!(matches!(ask_skopeo(&wants_other, &image), Answer::Deny(_)));
    }
}

#[test]
fn skopeo_signs_a_module_that_is_a_file() {
    let Some(laboratory) = laboratory() else { return };
    let key = laboratory.key(Kind::Ed25519);
    let wasm = std::fs::read(module()).expect("the module");
    let reference = "rules.example.com/golden";
    let content = skopeo::standalone_sign(&laboratory.gpg, &key.signing, &wasm, reference)
        .expect("skopeo signs");
    let mut requirement = key.requirement();
    requirement["signedIdentity"] =
        json!({"type": "exactRepository", "dockerRepository": reference});
    let public = std::fs::read(&key.binary).expect("the key");
    requirement["keyData"] = BASE64_STANDARD.encode(public).into();
    requirement.as_object_mut().expect("an object").remove("keyPath");
    let policy = json!({"default": [{"type": "reject"}], "rulesFrom": [requirement]}).to_string();
    let engine = Engine::new(&Settings::default()).expect("an engine");
    let policy = engine.load(policy.as_bytes(), &[]).expect("a policy");
    let subject = Subject {
        transport: "dir".to_owned(),
        name: "golden.wasm".to_owned(),
        reference: None,
        path: Some("/etc/rules/golden.wasm".to_owned()),
    };
    let source = "golden.wasm.signature-1".to_owned();
    let signatures = [Signature { source, form: SignatureForm::Stored, content }];
    let judge = |content: &[u8]| {
        let digest = Digest::sha256(content);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("after 1970").as_secs();
        let budget = Budget::default();
        let verdict = policy.judge_module(&subject, &digest, &signatures, now, &budget);
        verdict.expect("an answer").outcome
    };
    assert_eq!(judge(&wasm), Outcome::Allow);
    let mut altered = wasm.clone();
    altered[100] ^= 1;
    assert_eq!(judge(&altered), Outcome::Deny);
}

fn ask_skopeo(place: &Place, image: &str) -> Answer {
    skopeo::verdict(image, &place.policy, &place.registries_d).expect("skopeo runs")
}
