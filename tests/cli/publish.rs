//! `countersign rule push` and `countersign rule pull`.

use std::os::unix::fs::PermissionsExt as _;

use countersign::digest::Digest;
use sequoia_openpgp::Profile;
use sequoia_openpgp::cert::CertBuilder;
use sequoia_openpgp::serialize::SerializeInto as _;

use super::*;
use crate::support::registry::Registry;

/// A rule, and where it goes.
struct Author {
    user: User,
    registry: Registry,
}

impl Author {
    fn new() -> Self {
        let user = User::new();
        user.write("golden.wasm", module());
        Self { user, registry: Registry::start() }
    }

    fn name(&self, rest: &str) -> String {
        format!("oci://{}/rules/golden{rest}", self.registry.host())
    }

    /// `rule WORDS --plain-http HOST`.
    fn rule(&self, words: &str) -> Ended {
        self.user.run(&format!("rule {words} --plain-http {}", self.registry.host()))
    }

    /// Push `golden.wasm` as version 1; the name that is printed.
    fn push(&self, options: &str) -> String {
        let ended = self.rule(&format!("push golden.wasm {} {options}", self.name(":1")));
        assert_eq!(ended.status, Some(0), "{ended:?}");
        let name = ended.stdout.strip_suffix('\n').expect("a line");
        assert!(name.starts_with(&self.name("@sha256:")), "{ended:?}");
        name.to_owned()
    }

    /// The manifest that a name has.
    fn manifest(&self, name: &str) -> Value {
        let (_, digest) = name.split_once('@').expect("a digest");
        let manifest = self.registry.manifest("rules/golden", digest).expect("a manifest");
        assert_eq!(Digest::sha256(&manifest).as_str(), digest);
        serde_json::from_slice(&manifest).expect("JSON")
    }
}

fn module() -> Vec<u8> {
    fs::read(root().join("tests/data/rules/golden-0.1.0.wasm")).expect("the golden rule")
}

const CREATED: &str = "--created 2026-11-25T00:00:00Z";

#[test]
fn what_push_prints_is_what_pull_takes() {
    let author = Author::new();
    let pinned = author.push("");
    for (name, file) in [(pinned.as_str(), "by-digest.wasm"), (&author.name(":1"), "by-tag.wasm")] {
        let ended = author.rule(&format!("pull {name} -o {file}"));
        assert_eq!((ended.status, ended.stdout), (Some(0), format!("{pinned}\n")));
        let path = author.user.path(file);
        assert_eq!(fs::read(&path).expect("the module"), module());
        let mode = fs::metadata(&path).expect("the module").permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }
}

#[test]
fn the_rule_says_what_it_is_and_options_say_more() {
    let author = Author::new();
    let more = "--annotation source=https://example.com/golden --annotation com.example.team=rules \
                --annotation authors=Rules --annotation version=2.0.0";
    let manifest = author.manifest(&author.push(more));
    let expected = json!({
        "org.opencontainers.image.title": "golden",
        "org.opencontainers.image.description": "Uses everything that a rule can use",
        "org.opencontainers.image.version": "2.0.0",
        "org.opencontainers.image.source": "https://example.com/golden",
        "org.opencontainers.image.authors": "Rules",
        "com.example.team": "rules",
    });
    assert_eq!(manifest["annotations"], expected);
    let config = manifest["config"]["digest"].as_str().expect("a digest");
    let config = author.registry.blob("rules/golden", config).expect("a configuration");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!(config["author"], "Rules");
    assert_eq!(config["component"]["target"], "countersign:policy/rule@0.1.0");
    let imports = ["artifact", "crypto", "data", "log"];
    let imports = imports.map(|name| format!("countersign:policy/{name}@0.1.0"));
    let mut named: Vec<String> =
        serde_json::from_value(config["component"]["imports"].clone()).expect("a list");
    named.sort();
    assert_eq!(named, imports);
}

#[test]
fn the_same_module_with_the_same_time_has_the_same_name() {
    let author = Author::new();
    let pinned = author.push(CREATED);
    assert_eq!(author.push("--created 1795564800"), pinned);
    let push = format!(
        "rule push golden.wasm {} --plain-http {}",
        author.name(""),
        author.registry.host()
    );
    let ended = Ended::of(author.user.command(&push).env("SOURCE_DATE_EPOCH", "1795564800"));
    assert_eq!(ended.stdout, format!("{pinned}\n"), "{ended:?}");
    let ended = Ended::of(author.user.command(&push).env("SOURCE_DATE_EPOCH", "yesterday"));
    ended.assert_error(&["$SOURCE_DATE_EPOCH \"yesterday\"", "seconds since"]);
}

#[test]
fn pull_replaces_nothing_that_it_is_not_told_to() {
    let author = Author::new();
    let pinned = author.push("");
    fs::write(author.user.path("golden.wasm"), "mine").expect("written");
    let before = author.registry.server.requests().len();
    author.rule(&format!("pull {pinned}")).assert_error(&["golden.wasm", "already", "--force"]);
    assert_eq!(author.registry.server.requests().len(), before, "nothing was fetched for it");
    assert_eq!(fs::read(author.user.path("golden.wasm")).expect("there"), b"mine");
    assert_eq!(author.rule(&format!("pull {pinned} --force")).status, Some(0));
    assert_eq!(fs::read(author.user.path("golden.wasm")).expect("there"), module());
}

#[test]
fn row_61_pull_refuses_a_module_that_was_altered_by_one_bit() {
    let author = Author::new();
    let pinned = author.push("");
    let digest = Digest::sha256(&module());
    author.registry.alter_blobs(|named, content| {
        if named == digest.as_str() {
            content[100] ^= 4;
        }
    });
    for name in [&pinned, &author.name(":1")] {
        let ended = author.rule(&format!("pull {name} -o pulled.wasm"));
        ended.assert_error(&["cannot pull", digest.as_str(), "before you know why"]);
        assert!(!author.user.path("pulled.wasm").exists());
    }
    let left = fs::read_dir(author.user.path("")).expect("a folder");
    let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".tmp")), "{left:?}");
}

#[test]
fn what_no_policy_could_load_is_not_pushed() {
    let author = Author::new();
    let core = wat::parse_str("(module)").expect("a core module");
    let other = wat::parse_str("(component)").expect("a component");
    for (content, words) in [
        (core, "the module is no rule: "),
        (other, "does not export countersign:policy/ruling"),
        (b"\x7fELF compiled ahead".to_vec(), "the module is compiled code"),
        (Vec::new(), "it is not WebAssembly"),
    ] {
        author.user.write("golden.wasm", content);
        let ended = author.rule(&format!("push golden.wasm {}", author.name(":1")));
        ended.assert_error(&["cannot push golden.wasm", words]);
        assert_eq!(ended.stdout, "");
    }
    assert!(author.registry.server.requests().is_empty(), "nothing was sent");
}

#[test]
fn names_that_are_none_are_refused_before_anything_is_read() {
    let digest = Digest::sha256(b"x");
    for (words, faults) in [
        ("push none.wasm docker://example.com/a:1".to_owned(), ["oci://HOST", "docker://"]),
        (
            format!("push none.wasm oci://example.com/a@{digest}"),
            ["the digest follows", "a@sha256"],
        ),
        ("push none.wasm oci://golden:1".to_owned(), ["it has no host", "oci://golden:1"]),
        ("pull oci://example.com/a".to_owned(), [":TAG or @sha256", "oci://example.com/a"]),
        (format!("pull oci://example.com/a:1@{digest}"), ["both a tag and a digest", "a:1@"]),
        ("push none.wasm oci://127.0.0.1:1/a".to_owned(), ["cannot push none.wasm", "none.wasm: "]),
    ] {
        User::new().run(&format!("rule {words}")).assert_error(&faults);
    }
    for words in ["--annotation x", "--annotation =x", "--passphrase-file x", "--created soon"] {
        let author = Author::new();
        let ended = author.rule(&format!("push golden.wasm {} {words}", author.name("")));
        let option = words.split(' ').next().expect("an option");
        ended.assert_error(&[if option == "--passphrase-file" { "--sign-by" } else { option }]);
        assert!(author.registry.server.requests().is_empty());
    }
}

#[test]
fn a_signed_module_satisfies_a_policy_that_wants_the_signature() {
    let author = Author::new();
    let key = key_files(&author.user, Some("s3cret"));
    let staging = author.user.path("signatures");
    let registries = format!("default-docker:\n  lookaside: file://{}\n", shown(&staging));
    author.user.write("registries.d/a.yaml", registries);
    let sign = "--sign-by rules.key --passphrase-file passphrase --registries-d registries.d";
    let ended = author.rule(&format!("push golden.wasm {} {sign} {CREATED}", author.name(":1")));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let pinned = ended.stdout.trim().to_owned();
    let (_, digest) = pinned.split_once("@sha256:").expect("a digest");
    let file = staging.join(format!("rules/golden@sha256={digest}/signature-1"));
    assert!(ended.stderr.contains(&format!("signed by {key}: {}", shown(&file))), "{ended:?}");
    assert!(!ended.stderr.contains("s3cret"));

    // As verifiers see it.
    author.user.policy(json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "rules.gpg"}));
    let host = author.registry.host();
    let verify =
        format!("verify --policy policy.json --registries-d registries.d --plain-http {host}");
    for name in [&pinned, &author.name(":1")] {
        let image = name.strip_prefix("oci://").expect("a name");
        let ended = author.user.run(&format!("{verify} {image}"));
        assert_eq!(ended.status, Some(0), "{ended:?}");
    }

    let again = author.rule(&format!("push golden.wasm {} {sign} {CREATED}", author.name(":1")));
    assert_eq!((again.status, again.stdout.trim()), (Some(0), pinned.as_str()), "{again:?}");
    assert!(again.stderr.contains("there was a signature already"), "{again:?}");
}

#[test]
fn verifiers_that_look_elsewhere_are_pointed_out() {
    let author = Author::new();
    key_files(&author.user, None);
    let staging = shown(&author.user.path("signatures"));
    let registries = format!(
        "default-docker:\n  lookaside: https://user:s3cret@example.com/s\n  lookaside-staging: file://{staging}\n"
    );
    author.user.write("registries.d/a.yaml", registries);
    let sign = "--sign-by rules.key --registries-d registries.d";
    let ended = author.rule(&format!("push golden.wasm {} {sign}", author.name(":1")));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let (_, digest) = ended.stdout.trim().split_once("@sha256:").expect("a digest");
    let place =
        format!("https://user:xxxxx@example.com/s/rules/golden@sha256={digest}/signature-1");
    assert!(ended.stderr.contains(&place), "{ended:?}");
}

#[test]
fn a_key_that_cannot_sign_leaves_everything_as_it_was() {
    let author = Author::new();
    key_files(&author.user, Some("s3cret"));
    author.user.write("passphrase", "another\n");
    for (options, words) in [
        ("--sign-by none.key", "none.key"),
        ("--sign-by rules.gpg", "public key"),
        ("--sign-by rules.key", "no terminal to ask for the passphrase"),
        ("--sign-by rules.key --passphrase-file none", "cannot read the passphrase of none"),
        ("--sign-by rules.key --passphrase-file passphrase", "passphrase does not open it"),
        ("--sign-by golden.wasm", "not an OpenPGP key"),
    ] {
        let push = format!("push golden.wasm {} {options}", author.name(":1"));
        author.rule(&push).assert_error(&[words]);
    }
    assert!(author.registry.server.requests().is_empty());
}

/// `rules.key`, secret and armoured, `rules.gpg`, public, and `passphrase`; the key's fingerprint.
fn key_files(user: &User, passphrase: Option<&str>) -> String {
    let (cert, _) = CertBuilder::new()
        .set_profile(Profile::RFC4880)
        .expect("a profile")
        .add_userid("Rules <rules@example.com>")
        .add_signing_subkey()
        .set_password(passphrase.map(Into::into))
        .generate()
        .expect("a key");
    user.write("rules.key", cert.as_tsk().armored().to_vec().expect("bytes"));
    user.write("rules.gpg", cert.clone().strip_secret_key_material().to_vec().expect("bytes"));
    user.write("passphrase", format!("{}\nand more\n", passphrase.unwrap_or_default()));
    cert.fingerprint().to_hex()
}
