//! The same servers, asked by the command: whatever fails ends in an error, and never in allow.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign::sign::{self, SigningKey};
use serde_json::{Value, json};

use super::*;
use crate::support::tls::Identity;

/// A user's home, with a policy.
struct Home {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

/// What a run came to.
struct Run {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Home {
    /// The policy accepts anything, so that only failures keep an image from being allowed.
    fn new() -> Self {
        Self::with_policy(&json!([{"type": "insecureAcceptAnything"}]))
    }

    /// The policy wants signatures of this key, which are kept in a lookaside.
    fn trusting(key: &SigningKey, lookaside: &str) -> Self {
        let key = BASE64_STANDARD.encode(key.export().expect("a public key"));
        Self::with_policy(&json!([{"type": "signedBy", "keyType": "GPGKeys", "keyData": key}]))
            .file(
                ".config/containers/registries.d/default.yaml",
                &format!("default-docker:\n  lookaside: {lookaside}\n"),
            )
    }

    fn with_policy(requirements: &Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Self { folder, variables: Vec::new() };
        home.file("policy.json", &json!({"default": requirements}).to_string())
    }

    /// With a file below it.
    fn file(self, name: &str, content: &str) -> Self {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        std::fs::write(path, content).expect("written");
        self
    }

    /// With a program on the search path.
    fn program(self, name: &str, script: &str) -> Self {
        let home = self.file(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
        let path = home.folder.path().join("bin").join(name);
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, executable).expect("executable");
        home
    }

    fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    fn verify(&self, arguments: &[&str]) -> Run {
        // The first run compiles the engine. Others at the same time would do so, too.
        static COMPILED: OnceLock<()> = OnceLock::new();
        COMPILED.get_or_init(|| {
            self.run(&["dir:/does/not/exist"]);
        });
        self.run(arguments)
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let home = self.folder.path();
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
        let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["verify", "--policy"])
            .arg(home.join("policy.json"))
            .args(arguments)
            .env_clear()
            .env("HOME", home)
            .env("PATH", home.join("bin"))
            .env("XDG_RUNTIME_DIR", home.join("run"))
            .env("XDG_CACHE_HOME", cache)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("the command runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Run {
            status: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Run {
    /// The only result of `--output json`.
    fn result(&self) -> Value {
        let document: Value = serde_json::from_str(&self.stdout).expect("a JSON document");
        let results = document["results"].as_array().expect("results");
        assert_eq!(results.len(), 1);
        results[0].clone()
    }

    fn everything(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The exit status and the verdict, which agree.
    fn verdict(&self) -> String {
        let verdict = self.result()["verdict"].as_str().expect("a verdict").to_owned();
        let expected = ["allow", "deny", "error"].iter().position(|known| *known == verdict);
        assert_eq!(self.status.and_then(|s| usize::try_from(s).ok()), expected, "{verdict}");
        verdict
    }
}

/// Verify `ns/app:1`: exit status 2 and an error that says all of this, in both forms of output.
fn assert_fails(home: &Home, host: &str, insecure: &[&str], parts: &[&str]) {
    let image = format!("docker://{host}/ns/app:1");
    let mut arguments: Vec<&str> = vec![&image];
    for host in insecure {
        arguments.extend(["--plain-http", host]);
    }
    let text = home.verify(&arguments);
    arguments.extend(["--output", "json"]);
    let json = home.verify(&arguments);
    let result = json.result();
    assert_eq!(result["verdict"], "error", "{result}");
    assert_eq!(result["image"], image.as_str());
    let reason = &result["reasons"][0];
    let code = reason["code"].as_str().expect("a code");
    assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code}");
    assert_says(reason["message"].as_str().expect("a message"), parts);
    assert_says(&text.everything(), parts);
    for run in [text, json] {
        assert_eq!(run.status, Some(2), "{}", run.everything());
        assert!(!run.everything().contains("allow\""), "{}", run.everything());
    }
}

#[test]
fn every_failing_answer_of_a_registry_is_an_error_and_exit_status_2() {
    let home = Home::new();
    let body = manifest("app");
    let lie = Digest::sha256(b"lie");
    for (answer, parts) in [
        (Answer::status(401), vec!["refuses access", "how to authenticate"]),
        (Answer::challenge("Basic realm=\"x\""), vec!["refuses access", "podman login"]),
        (Answer::error(403, "DENIED", "not for you"), vec!["refuses access", "not for you"]),
        (Answer::status(404), vec!["has no manifest", "check the name"]),
        (Answer::status(429).header("retry-after", "3600"), vec!["status 429", "wait"]),
        (Answer::status(500), vec!["status 500", "try again later"]),
        (Answer::status(204), vec!["status 204"]),
        (Answer::status(200).truncated(&body[..9], 99), vec!["cannot reach"]),
        (Answer::status(200).endless(), vec!["exceeded maximum allowed size"]),
        (Answer::redirect("http://registry.example.com/"), vec!["not followed", "--plain-http"]),
        (Answer::ok("<html>"), vec!["not a JSON manifest"]),
        (Answer::ok(r#"{"schemaVersion":1}"#), vec!["schema 1", "skopeo copy"]),
        (
            served(body.clone(), OCI_IMAGE).header("docker-content-digest", lie.as_str()),
            vec!["does not match", lie.as_str()],
        ),
        (served(body.clone(), OCI_INDEX), vec!["can be read in two ways"]),
        (served(index(&[]), OCI_INDEX), vec!["platform"]),
    ] {
        let (server, _) = registry();
        server.always(manifest_path("1"), answer);
        let host = server.host();
        let parts: Vec<&str> = parts.into_iter().chain([host.as_str()]).collect();
        assert_fails(&home, &host, &[&host], &parts);
    }
}

#[test]
fn an_unreachable_registry_is_an_error_and_exit_status_2() {
    let home = Home::new();
    let gone = Server::start().host();
    assert_fails(&home, &gone, &[&gone], &["cannot reach", &gone, "refused", "check the name"]);
    assert_fails(&home, "registry.invalid", &[], &["cannot reach registry.invalid"]);
}

#[test]
fn wrong_tls_is_an_error_and_exit_status_2() {
    let home = Home::new();
    let server = Server::start_tls(&Identity::self_signed(&["127.0.0.1"]));
    fill(&server);
    let host = server.host();
    let place = format!("/etc/containers/certs.d/{host}/ca.crt");
    assert_fails(&home, &host, &[], &["trusted TLS connection", &host, &place, "--plain-http"]);
    // No TLS at all, and not named.
    let (plain, _) = registry();
    let host = plain.host();
    assert_fails(&home, &host, &["127.0.0.1"], &["trusted TLS connection", &host, "--plain-http"]);
    assert!(server.requests().is_empty());
    assert!(plain.requests().is_empty());
}

#[test]
fn one_failing_image_of_several_is_exit_status_2_and_the_others_are_reported() {
    let (server, digest) = registry();
    let (good, bad) =
        (format!("{}/ns/app:1", server.host()), format!("{}/ns/app:2", server.host()));
    let run =
        Home::new().verify(&["--output", "json", "--plain-http", &server.host(), &bad, &good]);
    assert_eq!(run.status, Some(2));
    let document: Value = serde_json::from_str(&run.stdout).expect("a JSON document");
    assert_eq!(document["results"][0]["verdict"], "error");
    assert_eq!(document["results"][1]["verdict"], "allow");
    assert_eq!(document["results"][1]["digest"], digest.as_str());
}

/// A time at which everything that is signed here is valid.
const NOW: u64 = 1_795_564_800;

fn key() -> SigningKey {
    SigningKey::generate("A Signer <signer@example.com>", NOW - 1).expect("a key")
}

/// Keep a signature of a manifest as `ns/app:1` of the host.
fn sign(server: &Server, key: &SigningKey, manifest: &str) {
    let digest = Digest::sha256(manifest.as_bytes());
    let payload = sign::payload(&digest, &tagged(&server.host()), NOW);
    let signature = key.sign(payload.as_bytes(), NOW).expect("a signature");
    server.always(stored(&digest, 1), Answer::ok(signature));
}

fn stored(digest: &Digest, number: usize) -> String {
    format!("/la/ns/app@sha256={}/signature-{number}", digest.hex())
}

fn verify_signed(home: &Home, server: &Server) -> Run {
    let (host, now) = (server.host(), NOW.to_string());
    let image = format!("docker://{host}/ns/app:1");
    home.verify(&["--output", "json", "--at", &now, "--plain-http", &host, &image])
}

/// Also row 3 (CVE-2022-47633), from the tag to the reported digest. The tag flips from a signed image to
/// one that is not, and back.
#[test]
fn row_4_ghsa_wfqx_gjrf_g28r_reports_the_digest_that_was_verified() {
    let key = key();
    let (signed, unsigned) = (manifest("signed"), manifest("unsigned"));
    for (first, second, verdict) in [(&signed, &unsigned, "allow"), (&unsigned, &signed, "deny")] {
        let (server, _) = registry();
        sign(&server, &key, &signed);
        let answer = |manifest: &String| served(manifest.as_str(), OCI_IMAGE);
        server.in_turn(manifest_path("1"), [answer(first), answer(second)]);
        let home = Home::trusting(&key, &server.url("/la"));
        let run = verify_signed(&home, &server);
        assert_eq!(run.verdict(), verdict, "{}", run.everything());
        let result = run.result();
        assert_eq!(result["digest"], Digest::sha256(first.as_bytes()).as_str(), "{result}");
        let second = Digest::sha256(second.as_bytes());
        assert!(!run.everything().contains(second.hex()));
        assert_eq!(server.requests_to(&manifest_path("1")).len(), 1);
        assert!(server.requests().iter().all(|request| !request.path.contains(second.hex())));
    }
}

#[test]
fn a_signature_store_without_a_signature_denies() {
    let key = key();
    let (server, digest) = registry();
    let home = Home::trusting(&key, &server.url("/la"));
    let run = verify_signed(&home, &server);
    assert_eq!(run.verdict(), "deny");
    assert_says(&run.stdout, &["A signature was required, but no signature exists"]);
    // What is there but none; and one behind it that nobody may skip to.
    server.always(stored(&digest, 1), Answer::ok("<html>not found</html>"));
    assert_ne!(verify_signed(&home, &server).verdict(), "allow");
    sign(&server, &key, &manifest("app"));
    assert_eq!(verify_signed(&home, &server).verdict(), "allow");
}

#[test]
fn every_failure_of_a_signature_store_is_an_error_and_exit_status_2() {
    let key = key();
    for (answer, parts) in [
        (Answer::status(204), vec!["status 204"]),
        (Answer::status(401), vec!["status 401"]),
        (Answer::status(403), vec!["status 403"]),
        (Answer::status(410), vec!["status 410"]),
        (Answer::status(500), vec!["status 500", "try again later"]),
        (Answer::ok(vec![0xa3; MIB_4 + 1]), vec!["exceeded maximum allowed size of 4194304"]),
        (Answer::status(200).truncated("sig", 4), vec!["cannot reach"]),
        (Answer::redirect("http://registry.example.com/"), vec!["not followed"]),
    ] {
        // A good signature before the failure changes nothing.
        for number in [1, 2] {
            let (server, digest) = registry();
            sign(&server, &key, &manifest("app"));
            server.always(stored(&digest, number), answer.clone());
            let run = verify_signed(&Home::trusting(&key, &server.url("/la")), &server);
            assert_eq!(run.verdict(), "error", "{}", run.everything());
            let parts: Vec<&str> =
                parts.iter().copied().chain(["cannot read signatures"]).collect();
            assert_says(&run.stdout, &parts);
            assert_says(&run.stdout, &[&server.host()]);
        }
    }
}

#[test]
fn a_signature_store_that_is_not_there_or_is_none_is_an_error_and_exit_status_2() {
    let key = key();
    let gone = Server::start().url("/la");
    for (lookaside, part) in [
        (gone.as_str(), "cannot reach"),
        ("ftp://127.0.0.1/la", "Unsupported scheme"),
        ("'http://[::1'", "Invalid signature storage URL"),
        ("[a]", "registries.d"),
    ] {
        let (server, _) = registry();
        let run = verify_signed(&Home::trusting(&key, lookaside), &server);
        assert_eq!(run.verdict(), "error", "{}", run.everything());
        assert_says(&run.stdout, &[part]);
    }
}

/// The registry's image, for whoever shows `user:s3cret`.
fn guarded_registry() -> Server {
    let (server, _) = registry();
    server.on(manifest_path("1"), |request| match request.authorization() {
        Some("Basic dXNlcjpzM2NyZXQ=") => served(manifest("app"), OCI_IMAGE),
        _ => Answer::challenge("Basic realm=\"x\""),
    });
    server
}

/// Whether the registry's image is allowed, since it can be resolved; nothing that was printed has the secret.
fn resolves(home: &Home, server: &Server) -> bool {
    let image = format!("{}/ns/app:1", server.host());
    let run = home.verify(&["--output", "json", "--plain-http", &server.host(), &image]);
    assert!(!run.everything().contains("s3cret"), "{}", run.everything());
    run.verdict() == "allow"
}

const HELPER: &str = r#"read -r host
printf '%s' "$host" > "$HOME/asked"
printf '{"ServerURL":"%s","Username":"user","Secret":"s3cret"}' "$host""#;

#[test]
fn a_credential_helper_is_asked_for_its_host() {
    for key in ["credHelpers", "credsStore"] {
        let server = guarded_registry();
        let content = match key {
            "credHelpers" => json!({key: {server.host(): "test"}}),
            _ => json!({key: "test", "auths": {}}),
        };
        let home = Home::new()
            .program("docker-credential-test", HELPER)
            .file(".docker/config.json", &content.to_string());
        assert!(resolves(&home, &server), "{key}");
        let asked = std::fs::read_to_string(home.folder.path().join("asked")).expect("asked");
        assert_eq!(asked, server.host());
    }
}

#[test]
fn a_credential_helper_of_another_host_is_not_asked() {
    let server = guarded_registry();
    let content = json!({"credHelpers": {"registry.example.com": "test"}});
    let home = Home::new()
        .program("docker-credential-test", HELPER)
        .file(".docker/config.json", &content.to_string());
    assert!(!resolves(&home, &server));
    assert!(!home.folder.path().join("asked").exists());
}

#[test]
fn a_credential_helper_that_has_nothing_is_no_failure_and_any_other_failure_is_one() {
    let nothing = r#"printf 'credentials not found in native keychain\n'; exit 1"#;
    let locked = r#"printf 'the keychain is locked\n'; exit 1"#;
    let endless = r#"while printf 'endlessly endlessly endlessly'; do :; done"#;
    for (script, parts) in [
        (nothing, ["refuses access", "podman login"]),
        (locked, ["docker-credential-test", "the keychain is locked"]),
        (endless, ["docker-credential-test", "larger than 65536 bytes"]),
        ("printf '{}'", ["docker-credential-test", "not JSON"]),
    ] {
        let server = guarded_registry();
        let host = server.host();
        let content = json!({"credHelpers": {host.clone(): "test"}});
        let home = Home::new()
            .program("docker-credential-test", script)
            .file(".docker/config.json", &content.to_string());
        assert_fails(&home, &host, &[&host], &[&host, parts[0], parts[1]]);
    }
}

#[test]
fn files_with_credentials_are_found_where_podman_and_docker_keep_them() {
    for (place, variable) in [
        ("run/containers/auth.json", None),
        (".config/containers/auth.json", None),
        (".docker/config.json", None),
        ("elsewhere.json", Some("REGISTRY_AUTH_FILE")),
        ("elsewhere/config.json", Some("DOCKER_CONFIG")),
        ("elsewhere/containers/auth.json", Some("XDG_CONFIG_HOME")),
    ] {
        let server = guarded_registry();
        let auths = json!({"auths": {server.host(): {"auth": "dXNlcjpzM2NyZXQ="}}});
        let mut home = Home::new().file(place, &auths.to_string());
        if let Some(variable) = variable {
            let root = place.split('/').next().expect("a name");
            let value = home.folder.path().join(root).display().to_string();
            home = home.variable(variable, value);
        }
        assert!(resolves(&home, &server), "{place}");
    }
}

#[test]
fn a_file_with_broken_credentials_is_an_error_that_names_it_and_no_secret() {
    let server = guarded_registry();
    let host = server.host();
    let home = Home::new().file(".docker/config.json", r#"{"auths":{"x":{"auth":"s3cret"}"#);
    let file = home.folder.path().join(".docker/config.json").display().to_string();
    assert_fails(&home, &host, &[&host], &[&file, "cannot read credentials"]);
    assert!(!resolves(&home, &server));
}

#[test]
fn a_proxy_is_used_and_gets_its_own_credentials_alone() {
    let (proxy, _) = registry();
    let address = proxy.host();
    let home = Home::new().variable("http_proxy", format!("http://proxy:pa55@{address}"));
    let run = home.verify(&[
        "--output",
        "json",
        "--plain-http",
        "registry.example.com",
        "registry.example.com/ns/app:1",
    ]);
    assert_eq!(run.verdict(), "allow", "{}", run.everything());
    let asked = proxy.requests_to(&manifest_path("1"));
    assert_eq!(asked[0].target, "http://registry.example.com/v2/ns/app/manifests/1");
    // `proxy:pa55`.
    assert_eq!(asked[0].header("proxy-authorization"), Some("Basic cHJveHk6cGE1NQ=="));
    assert_eq!(asked[0].authorization(), None);
}

#[test]
fn a_proxy_is_not_used_for_hosts_that_are_excepted() {
    let (server, _) = registry();
    let proxy = Server::start();
    let home = Home::new()
        .variable("http_proxy", proxy.url(""))
        .variable("no_proxy", "registry.example.com,127.0.0.1");
    assert!(resolves(&home, &server));
    assert!(proxy.requests().is_empty());
}

#[test]
fn tls_goes_through_the_proxy_as_a_tunnel() {
    let proxy = Server::start();
    let auths = r#"{"auths":{"registry.example.com":{"auth":"dXNlcjpzM2NyZXQ="}}}"#;
    let home = Home::new()
        .variable("https_proxy", proxy.url("").replace("//", "//proxy:pa55@"))
        .file(".docker/config.json", auths);
    // This one makes no tunnels.
    assert_fails(
        &home,
        "registry.example.com",
        &[],
        &["cannot reach registry.example.com", "proxy"],
    );
    let asked = proxy.requests();
    assert!(!asked.is_empty());
    for request in asked {
        assert_eq!(request.method, "CONNECT");
        assert_eq!(request.target, "registry.example.com:443");
        assert!(!request.everything().contains("dXNlcjpzM2NyZXQ="));
    }
}

#[test]
fn a_proxy_that_is_not_there_is_an_error_without_its_password() {
    let gone = Server::start().host();
    let home = Home::new().variable("https_proxy", format!("http://proxy:pa55@{gone}"));
    let run = home.verify(&["registry.example.com/ns/app:1"]);
    assert_eq!(run.status, Some(2));
    assert_says(&run.everything(), &["cannot reach registry.example.com", "proxy settings"]);
    assert!(!run.everything().contains("pa55"), "{}", run.everything());
}
