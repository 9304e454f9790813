//! `countersign verify --record` and `--replay`: the same decisions, with nothing but the file.

use serde_json::{Value, json};

use super::rules::Registry;
use super::{Ended, User};

#[test]
fn replay_prints_the_same_bytes_without_network_and_policy() {
    let user = User::new();
    let server = Registry::start();
    user.policy(server.golden(&user, &json!({})));
    let mut printed = Vec::new();
    for (output, options) in
        [("text", ""), ("json", ""), ("text", "--explain"), ("json", "--explain")]
    {
        let ended = user.run(&server.command(output, &format!("--record record.json {options}")));
        assert_eq!(ended.status, Some(0), "{ended:?}");
        printed.push((output, options, ended.stdout));
    }
    drop(server);
    std::fs::remove_file(user.path("policy.json")).expect("removed");
    std::fs::remove_dir_all(user.path("rules")).expect("removed");
    for (output, options, stdout) in printed {
        let ended = user.run(&format!("verify --replay record.json --output {output} {options}"));
        assert_eq!((ended.status, ended.stdout), (Some(0), stdout), "{output} {options}");
    }
}

#[test]
fn replay_has_denials_and_errors_in_order() {
    let user = User::new();
    user.signed_by("rsa4096");
    user.image("good", &["good-rsa4096"]);
    user.image("bad", &[]);
    let images = "dir:good dir:bad dir:none";
    let ended = user.verify(&format!("--output json --record record.json {images}"));
    assert_eq!((ended.verdicts(), ended.status), (words(&["allow", "deny", "error"]), Some(2)));
    let again = user.run("verify --replay record.json --output json");
    assert_eq!((again.status, again.stdout), (Some(2), ended.stdout));
    assert_eq!(again.stderr, "");
}

#[test]
fn document_that_was_not_there_is_not_there_in_the_replay() {
    let user = User::new();
    let server = Registry::start();
    user.policy(server.golden(&user, &json!({})));
    server.always(server.config_path(), crate::support::server::Answer::status(500));
    let ended = user.verify_in(&server, "--record record.json");
    assert_eq!(ended.verdicts(), ["error"], "{ended:?}");
    let again = user.run("verify --replay record.json --output json");
    assert_eq!((again.status, again.stdout), (Some(2), ended.stdout));
}

#[test]
fn recording_that_contradicts_itself_is_refused() {
    let recorded = Recorded::new();
    for (pointer, value) in [
        ("/decisions/0/digest", json!(format!("sha256:{}", "0".repeat(64)))),
        ("/decisions/0/evidence/manifest", json!("e30=")),
        ("/decisions/0/evidence/documents/0/content", json!("e30=")),
        ("/decisions/0/evidence", Value::Null),
        ("/modules/0/found/content", json!("AGFzbQ==")),
        ("/modules/0/found/digest", json!(format!("sha256:{}", "0".repeat(64)))),
        ("/modules/0/found/sha256", json!("0".repeat(64))),
        ("/rules/uses/0/settings", json!(r#"{"answer":"allow"}"#)),
        ("/recording", json!(2)),
        ("/policy/document", json!("no base64!")),
        ("/now", json!("now")),
    ] {
        let ended = recorded.replay_with(pointer, &value);
        ended.assert_error(&[]);
        assert!(
            ended.stderr.contains("record.json") || ended.stderr.contains("recording"),
            "{ended:?}"
        );
    }
}

#[test]
fn replay_that_decides_otherwise_is_an_error() {
    let recorded = Recorded::new();
    let ended = recorded.replay_with("/decisions/0/verdict/outcome", &json!("deny"));
    assert_eq!(ended.status, Some(2), "{ended:?}");
    for said in ["otherwise", "was deny", "is allow"] {
        assert!(ended.stderr.contains(said), "{said}: {ended:?}");
    }
}

#[test]
fn options_that_a_replay_does_not_look_at_are_refused() {
    let user = User::new();
    for options in [
        "dir:app",
        "--record other.json",
        "--policy policy.json",
        "--as example.com/a",
        "--platform linux/amd64",
        "--all-platforms",
        "--at 0",
        "--registries-d none",
        "--plain-http localhost",
        "--authfile none",
        "--cert-dir none",
    ] {
        let ended = user.run(&format!("verify --replay record.json {options}"));
        ended.assert_error(&["cannot be used with"]);
    }
}

#[test]
fn recording_has_no_credentials() {
    let user = User::new();
    let server = Registry::start();
    user.policy(server.golden(&user, &json!({})));
    let auth = json!({"auths": {server.host(): {"auth": "dXNlcjpzM2NyZXQ="}}});
    user.write("auth.json", auth.to_string());
    let ended = user.verify_in(&server, "--record record.json --authfile auth.json");
    assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
    let text = std::fs::read_to_string(user.path("record.json")).expect("a recording");
    for secret in ["s3cret", "dXNlcjpzM2NyZXQ="] {
        assert!(!text.contains(secret), "{secret}");
    }
}

/// A user who has a recording of one decision, by the golden rule.
struct Recorded {
    user: User,
    recording: Value,
}

impl Recorded {
    fn new() -> Self {
        let user = User::new();
        let server = Registry::start();
        user.policy(server.golden(&user, &json!({})));
        let ended = user.verify_in(&server, "--record record.json");
        assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
        let text = std::fs::read_to_string(user.path("record.json")).expect("a recording");
        Self { user, recording: serde_json::from_str(&text).expect("JSON") }
    }

    /// Replay the recording with one value changed.
    fn replay_with(&self, pointer: &str, value: &Value) -> Ended {
        let mut recording = self.recording.clone();
        *recording.pointer_mut(pointer).expect(pointer) = value.clone();
        self.user.write("record.json", recording.to_string());
        self.user.run("verify --replay record.json")
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
