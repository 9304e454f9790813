//! Keys: gpg takes what we make, we take what gpg makes; skopeo signs with our keys of sigstore.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign::sign::{SignError, SigningKey};
use lab::gpg::Home;
use serde_json::{Value, json};

use super::laboratory::laboratory;

/// A key ring of its own, and a folder.
struct Desk {
    gpg: Home,
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let gpg = Home::new(&folder.path().join("gpg")).expect("a gpg home");
        std::fs::write(folder.path().join("passphrase"), PASSPHRASE).expect("a file");
        Self { gpg, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `countersign ARGUMENTS` in the folder; what it prints.
    fn countersign<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Vec<u8> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        let output = lab::run(command.current_dir(self.folder.path()).args(arguments));
        output.expect("countersign does it").stdout
    }

    fn keygen(&self, out: &str, words: &str) {
        let mut arguments = vec!["keygen", "--out", out];
        arguments.extend(words.split(' ').filter(|word| !word.is_empty()));
        self.countersign(arguments);
    }

    fn gpg(&self, arguments: &[&str]) -> String {
        let mut gpg = self.gpg.gpg();
        gpg.current_dir(self.folder.path()).args(["--passphrase", PASSPHRASE]).args(arguments);
        let output = lab::run(&mut gpg).expect("gpg does it");
        // Notations are whatever their makers put in.
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// gpg accepts `message` as signed by `fingerprint`.
    fn assert_verifies(&self, message: &[u8], fingerprint: &str) {
        std::fs::write(self.path("message"), message).expect("a file");
        let status = self.gpg(&["--status-fd", "1", "--verify", "message"]);
        let valid = status.lines().find(|line| line.contains(" VALIDSIG ")).expect("VALIDSIG");
        // The last word is the primary key.
        assert_eq!(valid.split(' ').next_back(), Some(fingerprint), "{status}");
    }

    fn open(&self, key: &str, passphrase: bool) -> SigningKey {
        let passphrase = passphrase.then_some(PASSPHRASE);
        self.read(key, passphrase, now()).expect("a key that signs")
    }

    fn read(&self, key: &str, passphrase: Option<&str>, at: u64) -> Result<SigningKey, SignError> {
        let content = std::fs::read(self.path(key)).expect("a file");
        SigningKey::read(&content, passphrase.map(str::as_bytes), at)
    }

    fn remove(&self, fingerprint: &str) {
        self.gpg(&["--delete-secret-and-public-key", fingerprint]);
    }
}

const PASSPHRASE: &str = "s3cret";
const TYPES: [&str; 5] = ["rsa2048", "rsa3072", "rsa4096", "ed25519", "p256"];

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a time after 1970").as_secs()
}

fn ready() -> bool {
    laboratory().is_some()
}

#[test]
fn gpg_takes_every_key_that_we_make() {
    if !ready() {
        return;
    }
    let desk = Desk::new();
    for (place, kind) in TYPES.into_iter().enumerate() {
        // Every type, each way at least twice.
        let protected = place % 2 == 0;
        let subkey = place > 1;
        let (out, user) = (format!("{kind}.asc"), format!("{kind}@example.com"));
        let protection = if protected {
            ["--passphrase-file", "passphrase"].as_slice()
        } else {
            &["--no-passphrase"]
        };
        let subkeys = if subkey { ["--signing-subkey"].as_slice() } else { &[] };
        let user_id = format!("Release <{user}>");
        let make = ["keygen", "--type", kind, "--out", &out, "--user", &user_id, "--expires", "1y"];
        desk.countersign(make.iter().chain(protection).chain(subkeys));
        desk.gpg(&["--import", &out]);

        let listed = desk.gpg(&["--with-colons", "--list-secret-keys", &user]);
        let key = desk.open(&out, protected);
        assert!(listed.contains(&format!("fpr:::::::::{}:", key.fingerprint())), "{listed}");
        assert!(listed.contains(&user_id), "{listed}");
        assert_eq!(listed.matches("\nssb:").count(), usize::from(subkey), "{listed}");

        // gpg verifies what we sign, and signs with the secret that we wrote.
        let message = key.sign(b"payload", now()).expect("a signature");
        desk.assert_verifies(&message, &key.fingerprint());
        std::fs::write(desk.path("payload"), "payload").expect("a file");
        desk.gpg(&["--local-user", &user, "--output", "by-gpg", "--sign", "payload"]);
        let by_gpg = std::fs::read(desk.path("by-gpg")).expect("a message");
        desk.assert_verifies(&by_gpg, &key.fingerprint());

        // The public half, in every form, is the same key.
        for format in ["gpg", "armor"] {
            desk.remove(&key.fingerprint());
            let public = desk.countersign(["key", "export", &out, "--format", format]);
            std::fs::write(desk.path("public"), public).expect("a file");
            desk.gpg(&["--import", "public"]);
            desk.assert_verifies(&message, &key.fingerprint());
            let none = desk.gpg(&["--with-colons", "--list-secret-keys"]);
            assert!(!none.contains(&key.fingerprint()), "{none}");
        }
    }
}

#[test]
fn we_take_every_key_that_gpg_makes() {
    if !ready() {
        return;
    }
    let desk = Desk::new();
    for kind in ["rsa2048", "rsa3072", "rsa4096", "ed25519", "nistp256"] {
        for protected in [false, true] {
            let user = format!("{kind}-{protected}@example.com");
            let passphrase = if protected { PASSPHRASE } else { "" };
            let given = ["--passphrase", passphrase];
            let make = ["--quick-generate-key", &user, kind, "sign", "1y"];
            desk.gpg(&[given.as_slice(), &make].concat());
            for armour in [["--armor"].as_slice(), &[]] {
                let export = ["--output", "key", "--export-secret-keys", &user];
                desk.gpg(&[given.as_slice(), armour, &export].concat());
                let key = desk.open("key", protected);
                let message = key.sign(b"payload", now()).expect("a signature");
                desk.assert_verifies(&message, &key.fingerprint());
            }
            let shown = desk.countersign(["key", "show", "key"]);
            let shown = String::from_utf8(shown).expect("text");
            for words in [
                format!("algorithm  {kind}\n"),
                format!("user id    {user}\n"),
                format!("secret     yes, {}protected", if protected { "" } else { "not " }),
                "standing   good\n".to_owned(),
            ] {
                assert!(shown.contains(&words), "{words:?}: {shown}");
            }

            if protected {
                let wrong = desk.read("key", Some("another"), now());
                let fault = wrong.expect_err("another passphrase").to_string();
                assert!(fault.contains("the passphrase does not open it"), "{fault}");
                let none = desk.read("key", None, now());
                let fault = none.expect_err("no passphrase").to_string();
                assert!(fault.contains("it is protected"), "{fault}");
            }
            let passphrase = protected.then_some(PASSPHRASE);
            let late = desk.read("key", passphrase, now() + 366 * 86_400);
            let fault = late.expect_err("expired").to_string();
            assert!(fault.to_lowercase().contains("expired"), "{fault}");
        }
    }
}

#[test]
fn a_parameter_file_makes_the_same_key_here_and_with_gpg() {
    if !ready() {
        return;
    }
    let desk = Desk::new();
    for (place, parameters) in [
        // As Kabanero's script had it.
        "Key-Type: RSA\nKey-Length: 2048\nSubkey-Type: RSA\nSubkey-Length: 2048\nExpire-Date: 0\n",
        "Key-Type: 1\nKey-Usage: sign\nExpire-Date: 2099-12-31\n",
        "Key-Type: default\nSubkey-Type: default\nExpire-Date: 3w\n",
        "Key-Type: EDDSA\nKey-Curve: ed25519\nSubkey-Type: ECDH\nSubkey-Curve: cv25519\nExpire-Date: 2m\n",
        "Key-Type: ecdsa\nKey-Curve: nistp256\nKey-Usage: cert\nSubkey-Type: ECDSA\n\
         Subkey-Curve: nistp256\nSubkey-Usage: sign auth\nExpire-Date: 20991231T010203\n",
    ]
    .into_iter()
    .enumerate()
    {
        let protection = if place % 2 == 0 { "%no-protection" } else { "Passphrase: s3cret" };
        let file = format!(
            "%echo making a key\n{parameters}{protection}\nName-Real: Release Team\n\
             Name-Comment: image signing\nName-Email: release@example.com\n%commit\n%echo done\n"
        );
        std::fs::write(desk.path("key.conf"), file).expect("a file");
        let list = || {
            let listed = desk.gpg(&["--with-colons", "--fixed-list-mode", "--list-secret-keys"]);
            (facts(&listed), fingerprint(&listed))
        };
        desk.gpg(&["--full-generate-key", "key.conf"]);
        let (theirs, key) = list();
        desk.remove(&key);
        let out = format!("{place}.asc");
        desk.keygen(&out, "--batch key.conf");
        desk.gpg(&["--import", &out]);
        let (ours, key) = list();
        desk.remove(&key);
        assert_eq!(ours, theirs, "{parameters}");
    }
}

/// Length, algorithm, life, abilities, curve and user IDs of what gpg lists.
fn facts(listed: &str) -> Vec<String> {
    let mut facts = Vec::new();
    for line in listed.lines() {
        let fields: Vec<_> = line.split(':').collect();
        match fields[0] {
            "sec" | "ssb" => {
                let number = |place: usize| fields[place].parse::<u64>().ok();
                // An end that was given as a date is that date; otherwise so long after the beginning.
                let life = number(6).zip(number(5)).map(|(end, start)| match end {
                    date if date > 4_000_000_000 => date,
                    end => end - start,
                });
                let [length, algorithm, curve] = [2, 3, 16].map(|place| fields[place]);
                // What the whole key can do depends on who trusts it; lower case is the key's own.
                let mut abilities: Vec<_> =
                    fields[11].chars().filter(char::is_ascii_lowercase).collect();
                abilities.sort_unstable();
                facts.push(format!("{length} {algorithm} {life:?} {abilities:?} {curve}"));
            }
            "uid" => facts.push(fields[9].to_owned()),
            _ => {}
        }
    }
    facts
}

fn fingerprint(listed: &str) -> String {
    let line = listed.lines().find(|line| line.starts_with("fpr:")).expect("a fingerprint");
    line.split(':').nth(9).expect("a fingerprint").to_owned()
}

#[test]
fn openssl_reads_the_public_half_of_a_sigstore_key() {
    if !ready() {
        return;
    }
    let desk = Desk::new();
    desk.keygen(".", "--sigstore --passphrase-file passphrase");
    let mut openssl = Command::new("openssl");
    openssl.args(["pkey", "-pubin", "-noout", "-text", "-in"]).arg(desk.path("cosign.pub"));
    let output = lab::run(&mut openssl).expect("openssl reads it");
    assert!(String::from_utf8_lossy(&output.stdout).contains("prime256v1"), "{output:?}");
}

#[test]
fn skopeo_signs_with_a_sigstore_key_and_accepts_that() {
    let Some(laboratory) = laboratory() else { return };
    let desk = Desk::new();
    desk.keygen(".", "--sigstore --passphrase-file passphrase");
    // skopeo 1.9 knows the older name of the same form alone.
    let pem = std::fs::read_to_string(desk.path("cosign.key")).expect("a key");
    let pem = pem.replace("SIGSTORE PRIVATE", "COSIGN PRIVATE");
    std::fs::write(desk.path("older.key"), pem).expect("a file");
    let exported =
        ["key", "export", "older.key", "--format", "pem", "--passphrase-file", "passphrase"];
    assert_eq!(desk.countersign(exported), std::fs::read(desk.path("cosign.pub")).expect("a key"));

    let reference = format!("{}/skopeo/sigstore:v1", laboratory.host());
    let registries =
        format!("docker:\n  {}:\n    use-sigstore-attachments: true\n", laboratory.host());
    lab::write(&desk.path("registries.d/a.yaml"), registries).expect("a file");
    let skopeo = |policy: &Path, arguments: &[&str]| {
        let mut skopeo = Command::new("skopeo");
        skopeo.current_dir(desk.folder.path()).arg("--policy").arg(policy);
        skopeo.args(["--registries.d", "registries.d", "copy", "--quiet"]).args(arguments);
        lab::attempt(&mut skopeo).expect("skopeo starts")
    };
    let anything = desk.path("anything.json");
    let write = |path: &Path, requirement: Value| {
        lab::write(path, json!({"default": [requirement]}).to_string()).expect("a policy");
    };
    write(&anything, json!({"type": "insecureAcceptAnything"}));
    let destination = format!("docker://{reference}");
    let sign =
        ["--sign-by-sigstore-private-key", "older.key", "--sign-passphrase-file", "passphrase"];
    let push = ["--dest-tls-verify=false", &laboratory.image_dir(), &destination];
    let output = skopeo(&anything, &[sign.as_slice(), &push].concat());
    if String::from_utf8_lossy(&output.stderr).contains("sigstore disabled") {
        // Debian builds skopeo so.
        crate::support::say("SKIPPED: this skopeo is built without signatures of sigstore");
        return;
    }
    assert!(output.status.success(), "{output:?}");

    desk.keygen("other.key", "--sigstore --no-passphrase");
    for (public, accepted) in [("cosign.pub", true), ("other.pub", false)] {
        let policy = desk.path("policy.json");
        write(&policy, json!({"type": "sigstoreSigned", "keyPath": desk.path(public)}));
        let target = format!("dir:{}", desk.path(&format!("copy-{accepted}")).display());
        let output = skopeo(&policy, &["--src-tls-verify=false", &destination, &target]);
        assert_eq!(output.status.success(), accepted, "{output:?}");
    }
}

#[test]
fn cosign_accepts_what_our_keys_of_sigstore_sign_and_signs_with_them() {
    let Some(laboratory) = laboratory() else { return };
    if Command::new("cosign").arg("version").output().is_err() {
        crate::support::say("SKIPPED: there is no cosign on this machine");
        return;
    }
    let desk = Desk::new();
    desk.keygen(".", "--sigstore --passphrase-file passphrase");
    desk.keygen("other.key", "--sigstore --no-passphrase");
    let image = format!("docker://{}/cosign/app:v1", laboratory.host());
    let plain = ["--plain-http", laboratory.host()];
    let words = ["copy", &laboratory.image_dir(), &image, "--sign-by", "cosign.key"];
    desk.countersign([&words[..], &["--passphrase-file", "passphrase"], &plain].concat());
    let reference = image.trim_start_matches("docker://");
    let cosign = |words: &[&str]| {
        let mut cosign = Command::new("cosign");
        cosign.current_dir(desk.folder.path()).env("COSIGN_PASSWORD", PASSPHRASE);
        // It keeps what it learns of sigstore's own services at home.
        cosign.env("HOME", desk.folder.path()).args(words).arg("--allow-http-registry");
        lab::attempt(&mut cosign).expect("cosign starts")
    };
    let verify =
        |key: &str| cosign(&["verify", "--key", key, "--insecure-ignore-tlog=true", reference]);
    let accepted = verify("cosign.pub");
    assert!(accepted.status.success(), "{accepted:?}");
    let claims: Value = serde_json::from_slice(&accepted.stdout).expect("JSON");
    let identity = &claims[0]["critical"]["identity"]["docker-reference"];
    assert_eq!(identity, reference, "{claims}");
    assert!(!verify("other.pub").status.success());

    // Beside a signature of cosign, which we leave where it is.
    let pinned = format!("{}@{}", reference.trim_end_matches(":v1"), laboratory.image.digest);
    let old = ["--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format=false"];
    let words = [&["sign", "--yes", "--key", "cosign.key"][..], &old, &[&pinned]].concat();
    let signed = cosign(&words);
    assert!(signed.status.success(), "{signed:?}");
    let words = ["sign", &image, "--sign-by", "other.key"];
    desk.countersign([&words[..], &plain].concat());
    for key in ["cosign.pub", "other.pub"] {
        assert!(verify(key).status.success(), "{key}");
    }
}
