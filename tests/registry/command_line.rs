//! The same servers, asked by the command: whatever fails ends in an error, and never in allow.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::*;
use crate::support::tls::Identity;

/// A home with a policy that accepts anything, so that only failures keep an image from being allowed.
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
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let policy = br#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        std::fs::write(folder.path().join("policy.json"), policy).expect("written");
        Self { folder, variables: Vec::new() }
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
    assert_eq!(document["results"][1]["digest"], digest.as_str());
}

#[test]
fn row_4_ghsa_wfqx_gjrf_g28r_reports_the_digest_of_the_tag_s_only_resolution() {
    let (server, _) = registry();
    let (first, second) = (manifest("first"), manifest("second"));
    server.in_turn(
        manifest_path("1"),
        [served(first.clone(), OCI_IMAGE), served(second.clone(), OCI_IMAGE)],
    );
    let image = format!("{}/ns/app:1", server.host());
    let run = Home::new().verify(&["--output", "json", "--plain-http", &server.host(), &image]);
    let result = run.result();
    assert_eq!(result["digest"], Digest::sha256(first.as_bytes()).as_str(), "{result}");
    assert_eq!(server.requests_to(&manifest_path("1")).len(), 1);
    let second = Digest::sha256(second.as_bytes());
    assert!(!run.everything().contains(second.hex()));
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

/// Whether the registry's image was resolved; nothing that was printed has the secret.
fn resolves(home: &Home, server: &Server) -> bool {
    let image = format!("{}/ns/app:1", server.host());
    let run = home.verify(&["--output", "json", "--plain-http", &server.host(), &image]);
    assert!(!run.everything().contains("s3cret"), "{}", run.everything());
    run.result()["digest"].is_string()
}

const HELPER: &str = r#"read -r host
printf '%s' "$host" > "$HOME/asked"
printf '{"ServerURL":"%s","Username":"user","Secret":"s3cret"}' "$host""#;

#[test]
fn a_credential_helper_is_asked_for_its_host() {
    for key in ["credHelpers", "credsStore"] {
        let server = guarded_registry();
        let content = match key {
            "credHelpers" => serde_json::json!({key: {server.host(): "test"}}),
            _ => serde_json::json!({key: "test", "auths": {}}),
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
    let content = serde_json::json!({"credHelpers": {"registry.example.com": "test"}});
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
        let content = serde_json::json!({"credHelpers": {host.clone(): "test"}});
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
        let auths = serde_json::json!({"auths": {server.host(): {"auth": "dXNlcjpzM2NyZXQ="}}});
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
    assert!(run.result()["digest"].is_string(), "{}", run.everything());
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
