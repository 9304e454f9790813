//! `countersign keygen` and `countersign key`.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign::sign::{SignError, SigningKey};
use sequoia_openpgp::Cert;
use sequoia_openpgp::parse::Parse as _;

use super::*;
use crate::support::cluster::ApiServer;

/// `keygen WORDS` for somebody.
fn keygen(user: &User, words: &str) -> Command {
    let mut command = user.command(&format!("keygen {words}"));
    command.args(["--user", "Release <release@example.com>"]);
    command
}

/// What a line of the summary says.
fn said<'a>(ended: &'a Ended, label: &str) -> &'a str {
    let line = ended.stdout.lines().find_map(|line| line.strip_prefix(label));
    line.expect("a line of the summary").trim()
}

fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a time after 1970")
        .as_secs()
}

fn open(user: &User, key: &str, passphrase: Option<&str>) -> Result<SigningKey, SignError> {
    open_at(user, key, passphrase, now())
}

/// The first line of the file `passphrase` opens it.
fn open_at(
    user: &User,
    key: &str,
    passphrase: Option<&str>,
    at: u64,
) -> Result<SigningKey, SignError> {
    let read = |name: &str| fs::read(user.path(name)).expect("a file");
    let passphrase = passphrase.map(read);
    let line = passphrase.as_deref().and_then(|text| text.split(|byte| *byte == b'\n').next());
    SigningKey::read(&read(key), line, at)
}

fn mode(user: &User, name: &str) -> u32 {
    fs::metadata(user.path(name)).expect("a file").permissions().mode() & 0o777
}

#[test]
fn a_new_key_signs_and_a_policy_takes_it() {
    let user = User::new();
    user.write("passphrase", "s3cret\nmore\n");
    user.write("other", "another\n");
    let options = "--type ed25519 --signing-subkey --expires 30d --passphrase-file passphrase";
    let ended = Ended::of(&mut keygen(&user, &format!("{options} --out .")));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(!format!("{ended:?}").contains("s3cret"), "{ended:?}");
    assert_eq!((mode(&user, "secret.asc"), mode(&user, "public.asc")), (0o600, 0o644));

    let key = open(&user, "secret.asc", Some("passphrase")).expect("a key");
    assert_eq!(said(&ended, "fingerprint"), key.fingerprint());
    key.sign(b"payload", now()).expect("a signature");
    for (passphrase, words) in [(None, "protected"), (Some("other"), "does not open it")] {
        let fault = open(&user, "secret.asc", passphrase).expect_err(words).to_string();
        assert!(fault.contains(words), "{fault}");
    }
    let late = open_at(&user, "secret.asc", Some("passphrase"), now() + 31 * 86_400);
    let late = late.expect_err("expired").to_string();
    assert!(late.to_lowercase().contains("expired"), "{late}");

    let requirement = said(&ended, "policy.json");
    let requirement: Value = serde_json::from_str(requirement).expect("JSON");
    assert_eq!(
        requirement["keyPath"],
        shown(&user.path("public.asc").canonicalize().expect("there"))
    );
    user.policy(requirement);
    let ended = user.run("policy check policy.json");
    assert_eq!(ended.status, Some(0), "{ended:?}");
}

#[test]
fn a_key_is_not_replaced() {
    let user = User::new();
    let make = || Ended::of(&mut keygen(&user, "--type ed25519 --no-passphrase --out release.asc"));
    assert_eq!(make().status, Some(0));
    let key = fs::read(user.path("release.asc")).expect("a key");
    make().assert_error(&["release.asc", "there already"]);
    assert_eq!(fs::read(user.path("release.asc")).expect("a key"), key);
    fs::rename(user.path("release.asc"), user.path("kept")).expect("renamed");
    make().assert_error(&["release.pub.asc", "there already"]);
    assert!(!user.path("release.asc").exists());
    let ended = Ended::of(&mut keygen(&user, "--no-passphrase --out none/release.asc"));
    ended.assert_error(&["cannot write none/release.asc"]);
}

#[test]
fn a_passphrase_comes_from_a_descriptor_or_somebody_who_can_be_asked() {
    let user = User::new();
    let mut command = keygen(&user, "--type ed25519 --passphrase-fd 0 --out .");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    child.stdin.take().expect("a pipe").write_all(b"s3cret\n").expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    user.write("passphrase", "s3cret");
    open(&user, "secret.asc", Some("passphrase")).expect("a key");

    user.write("empty", "\ns3cret\n");
    let more = "--type ed25519 --out more.asc";
    for (words, faults) in [
        ("", ["no terminal", "--no-passphrase"]),
        ("--passphrase-file empty", ["empty", "first line"]),
        ("--passphrase-file none", ["cannot read the passphrase of none", ""]),
        ("--passphrase-fd 9", ["descriptor 9", ""]),
        ("--passphrase-fd 0", ["standard input is empty", ""]),
        ("--passphrase-file empty --no-passphrase", ["cannot be used with", ""]),
    ] {
        let ended = Ended::of(&mut keygen(&user, &format!("{more} {words}")));
        ended.assert_error(&faults);
        assert!(!user.path("more.asc").exists());
    }
}

#[test]
fn options_that_make_no_key_are_refused() {
    let user = User::new();
    for (words, fault) in [
        ("--user x@example.com --out .", "NAME <EMAIL>"),
        ("--out .", "--user"),
        ("--type rsa1024 --out .", "rsa2048"),
        ("--expires tomorrow --out .", "expected never, a duration"),
        ("--expires 2001-01-01 --no-passphrase --out . --batch x", "cannot be used with"),
        ("--sigstore --kubernetes", "cannot be used with"),
        ("--kubernetes --out . --batch x", "leave out --out"),
        ("--kubernetes --namespace A_B --batch x", "the name of a namespace"),
        ("--kubernetes --previous x --batch x", "--until"),
        ("--namespace build --out . --batch x", "--kubernetes"),
    ] {
        user.run(&format!("keygen {words}")).assert_error(&[fault]);
    }
    let past = Ended::of(&mut keygen(&user, "--expires 2001-01-01 --no-passphrase --out ."));
    past.assert_error(&["invalid --expires", "after the key is made"]);
}

#[test]
fn a_parameter_file_of_gpg_says_everything() {
    let user = User::new();
    let parameters = "%echo Making the key\nKey-Type: EDDSA\nKey-Curve: ed25519\nKey-Usage: sign\n\
                      Name-Real: Release\nName-Email: release@example.com\nExpire-Date: 0\n\
                      Passphrase: s3cret\n%commit\n";
    user.write("key.conf", parameters);
    let ended = user.run("keygen --batch key.conf --out .");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(ended.stderr, "Making the key\n");
    assert_eq!(said(&ended, "expires"), "never");
    user.write("passphrase", "s3cret");
    open(&user, "secret.asc", Some("passphrase")).expect("a key");

    let twice = user.run("keygen --batch key.conf --no-passphrase --out more.asc");
    twice.assert_error(&["key.conf says how the key is protected"]);
    user.write("dry.conf", format!("%dry-run\n{parameters}"));
    let ended = user.run("keygen --batch dry.conf --out more.asc");
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(0), ""), "{ended:?}");
    user.write("bad.conf", "Key-Type: DSA\nPasphrase: s3cret\nExpire-Date: soon\n");
    let ended = user.run("keygen --batch bad.conf --out more.asc");
    ended.assert_error(&[
        "bad.conf:1: Key-Type",
        "\nbad.conf:2: unknown",
        "\nbad.conf:3: Expire-Date",
    ]);
    assert!(!ended.stderr.contains("s3cret"), "{ended:?}");
    user.run("keygen --batch none --out more.asc").assert_error(&["cannot read none"]);
    assert!(!user.path("more.asc").exists());
}

#[test]
fn a_cluster_gets_a_secret_and_a_config_map() {
    let user = User::new();
    let ended = Ended::of(&mut keygen(&user, "--type ed25519 --no-passphrase --out old.asc"));
    let old = said(&ended, "fingerprint").to_owned();
    let words = "--type ed25519 --no-passphrase --kubernetes --namespace build \
                 --previous old.pub.asc --until 2099-12-31";
    let ended = Ended::of(&mut keygen(&user, words));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let documents: Vec<Value> = serde_saphyr::from_multiple(&ended.stdout).expect("YAML");
    let [secret, config_map] = documents.as_slice() else { unreachable!("{ended:?}") };

    assert_eq!((&secret["apiVersion"], &secret["kind"]), (&json!("v1"), &json!("Secret")));
    assert_eq!(secret["metadata"]["name"], "signature-secret-key");
    assert_eq!(secret["metadata"]["namespace"], "build");
    let data = secret["data"]["secret.asc"].as_str().expect("a key");
    let data = BASE64_STANDARD.decode(data).expect("base64");
    let key = SigningKey::read(&data, None, now()).expect("a key");
    assert!(data.starts_with(b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n"));

    let new = key.fingerprint();
    assert_eq!(config_map["kind"], "ConfigMap");
    assert_eq!(config_map["metadata"]["name"], "signature-public-key");
    let expected = json!({
        "countersign/fingerprint": new,
        "countersign/previous-fingerprint": old,
        "countersign/previous-trusted-until": "2099-12-31T12:00:00Z",
    });
    assert_eq!(config_map["metadata"]["annotations"], expected);
    for (name, fingerprint) in [("public.asc", new), ("previous.asc", old)] {
        let armour = config_map["data"][name].as_str().expect("a key");
        let cert = Cert::from_bytes(armour).expect("a key");
        assert!(!cert.is_tsk());
        assert_eq!(cert.fingerprint().to_hex(), fingerprint);
    }

    let plain = "--type ed25519 --no-passphrase --kubernetes --name a.b --config-map c";
    let ended = Ended::of(&mut keygen(&user, plain));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&ended.stdout).expect("YAML");
    assert_eq!(documents[0]["metadata"]["name"], "a.b");
    assert_eq!(documents[1]["metadata"]["name"], "c");
    assert_eq!(documents[1]["metadata"].get("namespace"), None);
    assert_eq!(documents[1]["data"]["public.asc"], documents[1]["data"]["trusted.asc"]);
    assert_eq!(documents[1]["data"].as_object().map(serde_json::Map::len), Some(2));
    let past = format!("{plain} --previous old.asc --until 2001-01-01");
    Ended::of(&mut keygen(&user, &past)).assert_error(&["invalid --until"]);
}

#[test]
fn export_takes_out_the_public_half_in_every_form() {
    let user = User::new();
    user.write("passphrase", "s3cret");
    for (out, protection) in
        [("a.asc", "--no-passphrase"), ("b.asc", "--passphrase-file passphrase")]
    {
        let make = format!("--type ed25519 --signing-subkey {protection} --out {out}");
        let ended = Ended::of(&mut keygen(&user, &make));
        let fingerprint = said(&ended, "fingerprint");
        let export = |format| {
            let export = format!("key export {out} --format {format}");
            let output = user.command(&export).output().expect("the command starts");
            assert!(output.status.success(), "{output:?}");
            output.stdout
        };
        let policy: Value = serde_json::from_slice(&export("policy")).expect("JSON");
        assert_eq!((&policy["type"], &policy["keyType"]), (&json!("signedBy"), &json!("GPGKeys")));
        let data =
            BASE64_STANDARD.decode(policy["keyData"].as_str().expect("data")).expect("base64");
        assert_eq!(data, export("gpg"));
        for bytes in [data, export("armor")] {
            let cert = Cert::from_bytes(&bytes).expect("a key");
            assert!(!cert.is_tsk());
            assert_eq!(cert.fingerprint().to_hex(), fingerprint);
            assert_eq!(cert.keys().count(), 2);
        }
        user.policy(policy);
        assert_eq!(user.run("policy check policy.json").status, Some(0));
    }
    user.write("junk", "no key");
    user.run("key export junk")
        .assert_error(&["cannot read the key junk", "expected an OpenPGP key"]);
    user.run("key export none").assert_error(&["cannot read the key: none"]);
    let needless = user.run("key export a.asc --passphrase-file passphrase");
    needless.assert_error(&["needs no passphrase"]);
}

#[test]
fn show_tells_what_a_key_is() {
    let user = User::new();
    user.write("passphrase", "s3cret");
    let make =
        "--type p256 --signing-subkey --passphrase-file passphrase --expires 2099-12-31 --out .";
    let ended = Ended::of(&mut keygen(&user, make));
    let fingerprint = said(&ended, "fingerprint");
    let shown = user.run("key show secret.asc");
    assert_eq!(shown.status, Some(0), "{shown:?}");
    let lines: Vec<_> = shown.stdout.lines().collect();
    assert_eq!(lines[0], format!("key          {fingerprint}"));
    for line in [
        "  user id    Release <release@example.com>",
        "  algorithm  nistp256",
        "  for        certify",
        "  for        sign",
        "  expires    2099-12-31T12:00:00Z",
        "  secret     yes, protected by a passphrase",
        "  standing   good",
    ] {
        assert!(lines.contains(&line), "{line:?}: {shown:?}");
    }
    assert!(lines.iter().any(|line| line.starts_with("subkey       ")), "{shown:?}");
    let public = user.run("key show public.asc --at 2100-01-01T00:00:00Z").stdout;
    assert!(public.contains("secret     no, this is the public half"), "{public}");
    assert!(public.contains("standing   expired"), "{public}");
    let early = user.run("key show public.asc --at 2001-01-01T00:00:00Z");
    assert!(early.stdout.contains("standing   not usable: "), "{early:?}");
}

#[test]
fn a_key_pair_of_sigstore_has_its_public_half_beside_it() {
    let user = User::new();
    user.write("passphrase", "s3cret\n");
    user.write("other", "another\n");
    let ended = user.run("keygen --sigstore --passphrase-file passphrase --out .");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!((mode(&user, "cosign.key"), mode(&user, "cosign.pub")), (0o600, 0o644));
    let requirement: Value = serde_json::from_str(said(&ended, "policy.json")).expect("JSON");
    assert_eq!(requirement["type"], "sigstoreSigned");

    let export = user.run("key export cosign.key --format pem --passphrase-file passphrase");
    assert_eq!(export.status, Some(0), "{export:?}");
    assert_eq!(export.stdout, fs::read_to_string(user.path("cosign.pub")).expect("a key"));
    let wrong = user.run("key export cosign.key --format pem --passphrase-file other");
    wrong.assert_error(&["cosign.key", "the passphrase does not open it"]);
    let public = user.run("key export cosign.pub --format pem --passphrase-file passphrase");
    public.assert_error(&["cosign.pub", "not a private key of sigstore"]);
    let open = user.run("keygen --sigstore --no-passphrase --out open.key");
    assert_eq!(open.status, Some(0), "{open:?}");
    let export = user.run("key export open.key --format pem --no-passphrase");
    assert_eq!(export.stdout, fs::read_to_string(user.path("open.pub")).expect("a key"));
    let again = user.run("keygen --sigstore --no-passphrase --out .");
    again.assert_error(&["there already"]);
}

/// `keygen WORDS` for somebody who may use this API.
fn keygen_at(api: &ApiServer, user: &User, words: &str) -> Ended {
    user.write("kubeconfig", api.kubeconfig());
    let mut command = keygen(user, &format!("--type ed25519 --kubernetes --apply {words}"));
    command.env("KUBECONFIG", user.path("kubeconfig"));
    Ended::of(&mut command)
}

/// The key in a Secret's entry.
fn stored(secret: &Value) -> SigningKey {
    let data = BASE64_STANDARD.decode(secret["data"]["secret.asc"].as_str().expect("a key"));
    SigningKey::read(&data.expect("base64"), None, now()).expect("a key that signs")
}

/// The fingerprints of an entry of a ConfigMap.
fn published(config_map: &Value, entry: &str) -> Vec<String> {
    let armour = config_map["data"][entry].as_str().expect("keys");
    let keys = sequoia_openpgp::cert::CertParser::from_bytes(armour).expect("keys");
    keys.map(|key| key.expect("a key").fingerprint().to_hex()).collect()
}

#[test]
fn a_key_is_created_in_a_cluster_once_and_shown_nowhere() {
    let (api, user) = (ApiServer::start(), User::new());
    let ended = keygen_at(&api, &user, "--no-passphrase");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(!format!("{ended:?}").contains("PGP"), "{ended:?}");
    let (secret, config_map) =
        (api.get("secrets/signature-secret-key"), api.get("configmaps/signature-public-key"));
    let key = stored(&secret);
    key.sign(b"payload", now()).expect("a signature");
    assert_eq!(said(&ended, "fingerprint"), key.fingerprint());
    assert_eq!(published(&config_map, "trusted.asc"), [key.fingerprint()]);
    assert!(ended.stdout.contains("Secret signature-secret-key of namespace build"), "{ended:?}");
    assert!(api.written_elsewhere().iter().all(|r| !r.body.contains("PRIVATE")));

    let again = keygen_at(&api, &user, "--no-passphrase");
    again.assert_error(&["Secret \"signature-secret-key\"", "choose another --name", "--rotate"]);
    assert_eq!(api.get("secrets/signature-secret-key"), secret);
    let other = keygen_at(&api, &user, "--no-passphrase --name other");
    other.assert_error(&["ConfigMap \"signature-public-key\"", "--config-map"]);
    assert_eq!(api.get("secrets/other"), Value::Null);
    let other = keygen_at(&api, &user, "--no-passphrase --name other --config-map other-public");
    assert_eq!(other.status, Some(0), "{other:?}");
    let rest = keygen_at(&api, &user, "--no-passphrase --name a --config-map b --namespace sign");
    assert_eq!(rest.status, Some(0), "{rest:?}");
    assert!(!api.asked("POST /api/v1/namespaces/sign/secrets").is_empty());
}

#[test]
fn rotation_keeps_the_old_public_key_and_publishes_the_new_one_first() {
    let (api, user) = (ApiServer::start(), User::new());
    let rotate = "--no-passphrase --rotate --until 30d";
    keygen_at(&api, &user, rotate).assert_error(&["leave out --rotate"]);
    let first = said(&keygen_at(&api, &user, "--no-passphrase"), "fingerprint").to_owned();
    let ended = keygen_at(&api, &user, rotate);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let key = stored(&api.get("secrets/signature-secret-key"));
    assert_ne!(key.fingerprint(), first);
    assert_eq!(said(&ended, "fingerprint"), key.fingerprint());
    assert!(ended.stdout.contains(&format!("previous     {first}, trusted until ")), "{ended:?}");
    let config_map = api.get("configmaps/signature-public-key");
    assert_eq!(published(&config_map, "public.asc"), [key.fingerprint()]);
    assert_eq!(published(&config_map, "previous.asc"), [first.as_str()]);
    assert_eq!(published(&config_map, "trusted.asc"), [key.fingerprint(), first.clone()]);
    let writes: Vec<_> = api.asked("PUT ").into_iter().collect();
    let place = "PUT /api/v1/namespaces/build/";
    let expected = [
        "configmaps/signature-public-key",
        "secrets/signature-secret-key",
        "configmaps/signature-public-key",
    ];
    assert_eq!(writes, expected.map(|name| format!("{place}{name}")));

    // Somebody else is faster: the key stays, and asking again brings it to its end.
    api.fail("PUT", "secrets", 409, 1);
    keygen_at(&api, &user, rotate).assert_error(&["changed meanwhile by somebody else"]);
    assert_eq!(stored(&api.get("secrets/signature-secret-key")).fingerprint(), key.fingerprint());
    let ended = keygen_at(&api, &user, rotate);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let third = stored(&api.get("secrets/signature-secret-key")).fingerprint();
    let trusted = published(&api.get("configmaps/signature-public-key"), "trusted.asc");
    assert_eq!(trusted, [third, first, key.fingerprint()]);

    api.edit("secrets/signature-secret-key", |secret| {
        secret["metadata"]["annotations"]["countersign/owner"] = "ImageSigning x".into();
    });
    keygen_at(&api, &user, rotate).assert_error(&["looked after by ImageSigning x"]);
}

#[test]
fn a_key_that_cannot_be_stored_is_told_with_what_to_do() {
    let (api, user) = (ApiServer::start(), User::new());
    api.fail("POST", "configmaps", 403, 1);
    let ended = keygen_at(&api, &user, "--no-passphrase");
    ended.assert_error(&["ConfigMap", "was not written", "create", "delete it and try again"]);
    api.delete("secrets/signature-secret-key");
    api.fail("GET", "secrets", 403, 1);
    keygen_at(&api, &user, "--no-passphrase").assert_error(&["get Secret"]);
    assert_eq!(api.get("secrets/signature-secret-key"), Value::Null);
    for (words, fault) in [
        ("--rotate --no-passphrase", "--until"),
        ("--until 30d --no-passphrase", "--until needs --previous or --rotate"),
        ("--rotate --until never --no-passphrase", "expected a date or a duration"),
        ("--rotate --until 30d --previous x --no-passphrase", "cannot be used with"),
    ] {
        keygen_at(&api, &user, words).assert_error(&[fault]);
    }
    let mut nowhere = keygen(&user, "--kubernetes --apply --no-passphrase");
    nowhere.env("KUBECONFIG", user.path("none"));
    Ended::of(&mut nowhere).assert_error(&["cannot use the Kubernetes API"]);
}
