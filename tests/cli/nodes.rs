//! `countersign policy init|add-key|merge` and `countersign node-config`: documents as administrators get them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{Ended, User, vector};
use crate::support;

/// OpenShift's conformance data.
fn openshift() -> Option<PathBuf> {
    support::shared().map(|shared| shared.join("conformance/kubernetes/openshift"))
}

fn key(user: &User, name: &str) {
    let content = fs::read(vector(&format!("gpg/keys/{name}.pub.gpg"))).expect("a key");
    user.write(&format!("{name}.gpg"), content);
}

fn done(ended: Ended) -> Ended {
    assert_eq!(ended.status, Some(0), "{ended:?}");
    ended
}

/// The documents of a YAML text.
fn documents(yaml: &str) -> Vec<Value> {
    let read = |text: &str| serde_saphyr::from_str(text).expect("YAML");
    yaml.split("---\n").map(read).collect()
}

/// The bytes of a data URL (RFC 2397).
fn decoded(url: &str) -> Vec<u8> {
    let (kind, data) =
        url.strip_prefix("data:").and_then(|rest| rest.split_once(',')).expect("data");
    if kind.ends_with(";base64") {
        return BASE64_STANDARD.decode(data).expect("base64");
    }
    let mut bytes = data.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next().expect("a digit"), bytes.next().expect("a digit")];
                let digits = std::str::from_utf8(&digits).expect("digits");
                u8::from_str_radix(digits, 16).expect("digits")
            }
            byte => {
                assert!(
                    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte),
                    "{}",
                    byte as char
                );
                byte
            }
        });
    }
    decoded
}

/// The files that a MachineConfig has, with their modes.
fn files_of(document: &Value) -> Vec<(String, Vec<u8>)> {
    let files = document["spec"]["config"]["storage"]["files"].as_array().expect("files");
    let file = |file: &Value| {
        assert_eq!(file["mode"], 420, "{file}");
        let source = file["contents"]["source"].as_str().expect("a URL");
        (file["path"].as_str().expect("a path").to_owned(), decoded(source))
    };
    files.iter().map(file).collect()
}

#[test]
fn policy_of_the_seed_is_made_byte_for_byte() {
    let Some(folder) = openshift() else { return };
    let user = User::new();
    key(&user, "rsa2048");
    done(user.run("policy init --default accept --output policy.json"));
    let default = fs::read_to_string(folder.join("policy-openshift-node-default.json"));
    let made = fs::read_to_string(user.path("policy.json")).expect("a policy");
    assert_eq!(made, default.expect("a policy"));
    let scope = "image-registry.openshift-image-registry.svc:5000/kabanero-signed";
    let added = done(user.run(&format!(
        "policy add-key --policy policy.json --key-path /etc/pki/rpm-gpg/signingkey.pub {scope} rsa2048.gpg"
    )));
    let expected = fs::read_to_string(folder.join("policy-seed-kabanero.json")).expect("a policy");
    assert_eq!(added.stdout, expected);
}

#[test]
fn machine_configs_are_those_of_the_conformance_data() {
    let Some(folder) = openshift() else { return };
    let user = User::new();
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a file");
    user.write("policy.json", read("policy-seed-kabanero.json"));
    let made = done(user.run(
        "node-config --policy policy.json --keys left --form machineconfig --name 51-POOL-image-signature-policy \
         --lookaside registry.example.com:5000=https://signature-server.apps.example.com/signatures/registry.example.com=5000",
    ));
    let (made, expected) =
        (documents(&made.stdout), documents(&read("machineconfig-policy-ign3.yaml")));
    assert_eq!(made.len(), 2);
    for (made, expected) in made.iter().zip(&expected) {
        assert_eq!(made["metadata"], expected["metadata"]);
        let [policy, registries] = [0, 1].map(|n| &made["spec"]["config"]["storage"]["files"][n]);
        let theirs = &expected["spec"]["config"]["storage"]["files"];
        assert_eq!(policy, &theirs[0]);
        // Its folder is read whole, whatever the name, and encodings are a matter of taste.
        let content = |file: &Value| decoded(file["contents"]["source"].as_str().expect("a URL"));
        assert_eq!(content(registries), content(&theirs[1]));
        assert_eq!(registries["overwrite"], true);
    }
    assert_eq!(made[0]["spec"]["config"]["ignition"], expected[0]["spec"]["config"]["ignition"]);
}

#[test]
fn older_ignition_is_that_of_the_conformance_data() {
    let Some(folder) = openshift() else { return };
    let user = User::new();
    let expected =
        fs::read_to_string(folder.join("machineconfig-kabanero-mc-test-style-ign2.yaml"));
    let expected = documents(&expected.expect("a file")).remove(0);
    // Its policy is in one line.
    user.write("policy.json", &files_of(&expected)[0].1);
    let made = done(user.run(
        "node-config --policy policy.json --keys left --form machineconfig --pool worker --ignition 2.2 \
         --name 89-policy-json-POOL",
    ));
    assert_eq!(documents(&made.stdout)[0]["spec"], expected["spec"]);
    assert_eq!(documents(&made.stdout)[0]["metadata"]["name"], expected["metadata"]["name"]);
    assert!(made.stderr.contains("99-worker-generated-registries"), "{made:?}");
}

#[test]
fn attachments_are_said_as_the_operator_of_openshift_does() {
    let Some(folder) = openshift() else { return };
    let user = User::new();
    done(user.run(
        "node-config --default accept --attachments registry.example.com/team --attachments *.mirror.example.com \
         --attachments registry.example.com/mirror --attachments registry.example.com/other/web:1.0 --output node",
    ));
    let made = fs::read_to_string(user.path("node/etc/containers/registries.d/countersign.yaml"));
    let expected =
        fs::read_to_string(folder.join("expected-registries.d-sigstore-registries.yaml"));
    assert_eq!(made.expect("a file").trim(), expected.expect("a file").trim());
}

#[test]
fn policies_that_the_operator_makes_are_merged_without_loss() {
    let Some(folder) = openshift() else { return };
    for name in [
        "expected-policy.json-from-clusterimagepolicies.json",
        "policy-seed-openshift-proposal.json",
    ] {
        let user = User::new();
        key(&user, "rsa2048");
        let before = fs::read_to_string(folder.join(name)).expect("a policy");
        user.write("node.json", &before);
        let made = done(user.run(
            "node-config --merge node.json --trust registry.example.com/ours=rsa2048.gpg --form machineconfig",
        ));
        for document in documents(&made.stdout) {
            let mut policy: Value =
                serde_json::from_slice(&files_of(&document)[0].1).expect("JSON");
            let scopes = policy["transports"]["docker"].as_object_mut().expect("scopes");
            let ours = scopes.remove("registry.example.com/ours").expect("ours");
            assert_eq!(ours[0]["type"], "signedBy");
            assert_eq!(policy, serde_json::from_str::<Value>(&before).expect("JSON"));
        }
        assert!(!made.stderr.contains("give it to --merge"), "{made:?}");
    }
}

#[test]
fn key_is_added_in_place_only_when_asked_and_the_change_is_shown() {
    let user = User::new();
    key(&user, "rsa2048");
    key(&user, "rsa4096");
    let before = "{\"default\": [ {\"type\":\"reject\"} ],\n  \"transports\": {}}\n";
    let path = user.write("policy.json", before);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");
    symlink("policy.json", user.path("link.json")).expect("a link");
    let shown = user.run("policy add-key --policy link.json --diff example.com rsa2048.gpg");
    assert_eq!(shown.status, Some(1), "{shown:?}");
    assert!(shown.stdout.contains("+            \"keyPath\"") || shown.stdout.contains("keyPath"));
    let printed = done(user.run("policy add-key --policy link.json example.com rsa2048.gpg"));
    assert!(printed.stderr.contains("+++ "), "{printed:?}");
    assert_eq!(fs::read_to_string(&path).expect("a policy"), before);
    done(user.run("policy add-key --policy link.json --in-place example.com rsa2048.gpg"));
    let after = fs::read_to_string(&path).expect("a policy");
    assert_eq!(after, printed.stdout);
    assert!(after.starts_with("{\n  \"default\": [ {\"type\":\"reject\"} ],\n"), "{after}");
    assert!(user.path("link.json").symlink_metadata().expect("it").is_symlink());
    assert_eq!(path.metadata().expect("it").permissions().mode() & 0o777, 0o640);
    // Again is nothing; another key is an alternative, of which older readers are told.
    let again = user.run("policy add-key --policy policy.json --diff example.com rsa2048.gpg");
    assert_eq!((again.status, again.stdout.as_str()), (Some(0), ""), "{again:?}");
    let second = done(user.run("policy add-key --policy policy.json example.com rsa4096.gpg"));
    assert!(second.stderr.contains("keyPaths: podman, skopeo and CRI-O"), "{second:?}");
    assert_eq!(
        second.json()["transports"]["docker"]["example.com"][0]["keyPaths"][1],
        user.path("rsa4096.gpg").display().to_string()
    );
    let known =
        done(user.run(
            "policy add-key --policy policy.json --oldest-reader 5.22 example.com rsa4096.gpg",
        ));
    assert!(!known.stderr.contains("warning: keyPaths"), "{known:?}");
}

#[test]
fn what_would_be_refused_is_not_written() {
    let user = User::new();
    key(&user, "rsa2048");
    user.write("secret.key", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n");
    user.write("broken.json", "{\"default\": []}");
    user.write("damaged.gpg", b"\x99\x01\x0d");
    user.policy(json!({"type": "reject"}));
    for (arguments, words) in [
        ("--policy policy.json example.com secret.key", ["private key", "secret.key"]),
        ("--policy policy.json example.com damaged.gpg", ["damaged.gpg", "export the key again"]),
        ("--policy policy.json https://example.com rsa2048.gpg", ["invalid scope", "https://"]),
        ("--policy broken.json example.com rsa2048.gpg", ["broken.json", "must not be empty"]),
        ("--policy policy.json example.com policy.json", ["policy.json", "public key"]),
        (
            "--policy policy.json --output policy.json example.com rsa2048.gpg",
            ["there already", "--force"],
        ),
    ] {
        let before = fs::read(user.path("policy.json")).expect("a policy");
        user.run(&format!("policy add-key {arguments}")).assert_error(&words);
        assert_eq!(fs::read(user.path("policy.json")).expect("a policy"), before);
    }
}

#[test]
fn policies_are_merged_and_contradictions_are_told() {
    let user = User::new();
    let anything = json!([{"type": "insecureAcceptAnything"}]);
    user.write("node.json", json!({"default": anything}).to_string());
    user.write(
        "team.json",
        json!({"default": [{"type": "reject"}], "transports": {"docker": {"a.example": anything}}})
            .to_string(),
    );
    user.run("policy merge node.json team.json").assert_error(&["$.default", "--prefer"]);
    let merged = done(user.run("policy merge --prefer existing --in-place node.json team.json"));
    assert!(merged.stderr.contains("+"), "{merged:?}");
    let policy: Value =
        serde_json::from_slice(&fs::read(user.path("node.json")).expect("it")).expect("JSON");
    assert_eq!(
        policy,
        json!({"default": anything, "transports": {"docker": {"a.example": anything}}})
    );
    let again = user.run("policy merge --prefer existing --diff node.json team.json");
    assert_eq!(again.status, Some(0), "{again:?}");
}

#[test]
fn own_requirements_are_told_to_be_refused_by_others() {
    let user = User::new();
    user.policy(json!({"type": "anyOf", "requirements": [{"type": "reject"}]}));
    let ended = done(user.run("node-config --policy policy.json --form tar --output node.tar"));
    assert!(
        ended.stderr.contains("anyOf: podman, skopeo and CRI-O refuse the whole file"),
        "{ended:?}"
    );
}

const TRUST: &str = "--trust registry.example.com=rsa2048.gpg --trust registry.example.com=rsa4096.gpg \
    --lookaside registry.example.com=https://signatures.example.com --ca registry.example.com:5000=ca.pem";

fn user_with_keys() -> User {
    let user = User::new();
    key(&user, "rsa2048");
    key(&user, "rsa4096");
    let authority = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["ca.example.com".to_owned()])
        .and_then(|parameters| parameters.self_signed(&authority))
        .expect("a certificate");
    user.write("ca.pem", certificate.pem());
    user
}

const FILES: [&str; 5] = [
    "etc/containers/certs.d/registry.example.com:5000/ca.crt",
    "etc/containers/policy.json",
    "etc/containers/registries.d/countersign.yaml",
    "etc/pki/containers/rsa2048.gpg",
    "etc/pki/containers/rsa4096.gpg",
];

#[test]
fn folder_is_written_once_and_compared() {
    let user = user_with_keys();
    let shown = user.run(&format!("node-config {TRUST} --diff node"));
    assert_eq!(shown.status, Some(1), "{shown:?}");
    assert!(shown.stdout.contains("+++ /etc/containers/policy.json"), "{shown:?}");
    assert!(!user.path("node").exists());
    done(user.run(&format!("node-config {TRUST} --output node")));
    for file in FILES {
        let mode = user.path("node").join(file).metadata().expect(file).permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "{file}");
    }
    let again = done(user.run(&format!("node-config {TRUST} --output node")));
    assert!(!again.stderr.contains("wrote"), "{again:?}");
    let none = user.run(&format!("node-config {TRUST} --diff node"));
    assert_eq!((none.status, none.stdout.as_str()), (Some(0), ""), "{none:?}");
    user.write("node/etc/containers/policy.json", "{}");
    user.run(&format!("node-config {TRUST} --output node")).assert_error(&[
        "another file",
        "--merge",
        "--force",
    ]);
    done(user.run(&format!("node-config {TRUST} --output node --force")));
    user.run("node-config").assert_error(&["--output DIR"]);
}

#[test]
fn archive_has_the_same_files() {
    let user = user_with_keys();
    done(user.run(&format!("node-config {TRUST} --output node")));
    done(user.run(&format!("node-config {TRUST} --form tar --output node.tar")));
    let archive = fs::read(user.path("node.tar")).expect("an archive");
    let mut names = Vec::new();
    for entry in tar::Archive::new(archive.as_slice()).entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").display().to_string();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).expect("content");
        assert_eq!(content, fs::read(user.path("node").join(&name)).expect("a file"), "{name}");
        names.push(name);
    }
    assert_eq!(names, FILES);
}

#[test]
fn machine_config_decodes_to_the_bytes_meant() {
    let user = user_with_keys();
    done(user.run(&format!("node-config {TRUST} --keys files --output node")));
    let made = done(
        user.run(&format!("node-config {TRUST} --keys files --form machineconfig --pool infra")),
    );
    let [document] = documents(&made.stdout).try_into().expect("one document");
    let document: Value = document;
    assert_eq!(document["metadata"]["name"], "99-zz-infra-image-policy");
    assert_eq!(document["metadata"]["labels"]["machineconfiguration.openshift.io/role"], "infra");
    let files = files_of(&document);
    assert_eq!(files.len(), FILES.len());
    for (path, content) in files {
        let path = path.trim_start_matches('/');
        assert_eq!(content, fs::read(user.path("node").join(path)).expect("a file"), "{path}");
    }
    for words in
        ["drained and rebooted", "image.config.openshift.io", "quay.io/openshift-release-dev"]
    {
        assert!(made.stderr.contains(words), "{words}: {made:?}");
        assert!(made.stdout.contains(words), "{words} is not in the document");
    }
    // Without files of keys, only the authorities want a reboot.
    let inline = done(user.run(&format!("node-config {TRUST} --form machineconfig --pool infra")));
    assert_eq!(files_of(&documents(&inline.stdout)[0]).len(), 3);
}

#[test]
fn daemon_set_writes_the_same_files_with_least_rights() {
    let user = user_with_keys();
    done(user.run(&format!("node-config {TRUST} --output node")));
    let image = format!("registry.example.com/countersign@{}", super::AMD64);
    let made = done(user.run(&format!("node-config {TRUST} --form daemonset --image {image}")));
    assert!(made.stderr.contains("containerd does not read policy.json"), "{made:?}");
    let [namespace, config, set] = documents(&made.stdout).try_into().expect("three documents");
    let (namespace, config, set): (Value, Value, Value) = (namespace, config, set);
    assert_eq!(namespace["metadata"]["name"], config["metadata"]["namespace"]);
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    let container = &pod["containers"][0];
    assert_eq!(container["image"], image);
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
    // As a kubelet mounts it: links to links.
    let items = pod["volumes"][0]["configMap"]["items"].as_array().expect("items");
    for item in items {
        let key = item["key"].as_str().expect("a key");
        let content = match config["data"][key].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => BASE64_STANDARD
                .decode(config["binaryData"][key].as_str().expect("content"))
                .expect("base64"),
        };
        user.write(&format!("files/..2026/{}", item["path"].as_str().expect("a path")), content);
    }
    symlink("..2026", user.path("files/..data")).expect("a link");
    symlink("..data/etc", user.path("files/etc")).expect("a link");
    let arguments: Vec<_> = container["args"]
        .as_array()
        .expect("arguments")
        .iter()
        .map(|a| a.as_str().expect("text"))
        .collect();
    assert_eq!(arguments, ["node-config", "apply", "--from", "/files", "--to", "/host", "--stay"]);
    user.write("host/etc/containers/policy.json", "{}");
    user.write("host/etc/containers/other", "stays");
    done(user.run("node-config apply --from files --to host"));
    for file in FILES {
        let read = |root: &str| fs::read(user.path(root).join(file)).expect(file);
        assert_eq!(read("host"), read("node"), "{file}");
    }
    assert_eq!(fs::read(user.path("host/etc/containers/other")).expect("it"), b"stays");
    user.run("node-config apply --from none --to host").assert_error(&["no files"]);
}

#[test]
fn keys_of_a_policy_come_with_it() {
    let user = User::new();
    user.signed_by("rsa4096");
    done(user.run("node-config --policy policy.json --output node"));
    let policy = fs::read(user.path("node/etc/containers/policy.json")).expect("a policy");
    let policy: Value = serde_json::from_slice(&policy).expect("JSON");
    assert_eq!(policy["default"][0]["keyPath"], "/etc/pki/containers/rsa4096.gpg");
    assert!(Path::new(&user.path("node/etc/pki/containers/rsa4096.gpg")).exists());
    user.policy(json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "gone.gpg"}));
    user.run("node-config --policy policy.json --output other").assert_error(&["gone.gpg"]);
    assert!(!user.path("other").exists());
    user.policy(json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/none/gone.gpg"}));
    let ended = done(user.run("node-config --policy policy.json --output other"));
    assert!(ended.stderr.contains("/none/gone.gpg is not on this machine"), "{ended:?}");
}
