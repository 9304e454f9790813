//! `countersign verify`: verdicts, exit status, and the form of results.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{AMD64, ARM64, Ended, RSA4096, User, vector};

const MISSING: &str = "A signature was required, but no signature exists";

#[test]
fn allows_signed_image() {
    let user = User::new();
    user.signed_by("rsa4096");
    user.image("app", &["good-rsa4096"]);
    let ended = user.verify("--output json dir:app");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(ended.stderr, "");
    let document = ended.json();
    let result = &document["results"][0];
    assert_eq!(result["image"], "dir:app");
    assert_eq!(result["verdict"], "allow");
    assert_eq!(result["digest"], AMD64);
    assert_eq!(result["scope"], "default");
    assert_eq!(result["reasons"], json!([]));
    let claim = &result["claims"][0];
    assert_eq!(claim["format"], "simple-signing");
    assert_eq!(claim["key"], RSA4096);
    assert_eq!(claim["reference"], "127.0.0.1:5000/lab/amd64:v1");
    assert_eq!(claim["signed_at"], "2026-11-22T04:27:11Z");

    let text = user.verify("dir:app");
    assert_eq!(text.status, Some(0), "{text:?}");
    assert!(text.stdout.starts_with("allow  dir:app\n"), "{text:?}");
    assert!(text.stdout.contains(RSA4096) && text.stdout.contains(AMD64), "{text:?}");
}

#[test]
fn denies_unsigned_image_in_known_words() {
    let user = User::new();
    user.signed_by("rsa4096");
    user.image("app", &[]);
    let ended = user.verify("dir:app");
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stdout.starts_with("deny   dir:app\n"), "{ended:?}");
    assert!(ended.stdout.contains(&format!("Source image rejected: {MISSING}\n")), "{ended:?}");
    for said in ["hint", "scope    default", AMD64] {
        assert!(ended.stdout.contains(said), "{said}: {ended:?}");
    }
    assert!(!ended.stdout.contains('\x1b'), "no colours but on a terminal: {ended:?}");

    let document = user.verify("--output json dir:app").json();
    let reason = &document["results"][0]["reasons"][0];
    assert_eq!(reason["message"], MISSING);
    assert_eq!(reason["requirement"], 0);
}

#[test]
fn denies_signature_by_another_key() {
    let user = User::new();
    user.signed_by("ed25519");
    user.image("app", &["good-rsa4096"]);
    let ended = user.verify("dir:app");
    assert_eq!(ended.status, Some(1), "{ended:?}");
}

#[test]
fn denies_signature_for_another_name() {
    let user = User::new();
    user.signed_by("rsa4096");
    user.image("app", &["good-rsa4096"]);
    let ended = user.run(
        "verify --policy policy.json --registries-d none --as 127.0.0.1:5000/lab/amd64:v2 \
         --at 1795400000 dir:app",
    );
    assert_eq!(ended.status, Some(1), "{ended:?}");
    let words = "Signature for identity \"127.0.0.1:5000/lab/amd64:v1\" is not accepted";
    assert!(ended.stdout.contains(words), "{ended:?}");
}

#[test]
fn signature_in_the_lookaside_counts() {
    let user = User::new();
    user.signed_by("rsa4096");
    user.image("app", &[]);
    let signature = std::fs::read(vector("gpg/sigs/good-rsa4096.sig")).expect("a signature");
    let place = format!("store/lab/amd64@{}/signature-1", AMD64.replace(':', "="));
    user.write(&place, signature);
    let store = user.path("store");
    let registries =
        format!("docker:\n  127.0.0.1:5000:\n    lookaside: file://{}\n", store.display());
    user.write("registries.d/lab.yaml", registries);
    let ended = user.verify("--output json dir:app");
    assert_eq!(ended.verdicts(), ["allow"], "{ended:?}");
}

#[test]
fn results_are_in_order_and_the_worst_decides_the_status() {
    let user = User::new();
    user.signed_by("rsa4096");
    user.image("good", &["good-rsa4096"]);
    user.image("bad", &[]);
    let good = user.verify("--output json dir:good dir:good");
    assert_eq!((good.verdicts(), good.status), (vec!["allow".into(); 2], Some(0)));
    let denied = user.verify("--output json dir:good dir:bad dir:good");
    assert_eq!(denied.verdicts(), ["allow", "deny", "allow"]);
    assert_eq!(denied.status, Some(1));
    let failed = user.verify("--output json dir:good dir:none dir:bad dir:good");
    assert_eq!(failed.verdicts(), ["allow", "error", "deny", "allow"]);
    assert_eq!(failed.status, Some(2));
    let many = vec!["dir:good"; 20].join(" ");
    assert_eq!(user.verify(&format!("--output json {many} dir:bad")).verdicts().len(), 21);
}

#[test]
fn signatures_are_left_alone_where_the_policy_looks_at_none() {
    let user = User::new();
    user.image("app", &[]);
    user.write("registries.d/broken.yaml", "docker: [");
    user.policy(json!({"type": "reject"}));
    assert_eq!(user.verify("dir:app").status, Some(1));
    user.policy(json!({"type": "insecureAcceptAnything"}));
    assert_eq!(user.verify("dir:app").status, Some(0));
}

#[test]
fn signatures_that_cannot_be_read_are_an_error() {
    let user = User::new();
    user.signed_by("rsa4096");
    user.image("app", &["good-rsa4096"]);
    user.write("registries.d/broken.yaml", "docker: [");
    let ended = user.verify("--output json dir:app");
    assert_eq!((ended.verdicts(), ended.status), (vec!["error".into()], Some(2)));
    let document = ended.json();
    let reason = &document["results"][0]["reasons"][0];
    assert_eq!(reason["code"], "lookaside-misconfigured");
    assert!(reason["message"].as_str().expect("text").contains("broken.yaml"), "{reason}");
}

#[test]
fn evaluation_time_counts() {
    let user = User::new();
    user.signed_by("rsa4096");
    user.image("app", &["good-rsa4096"]);
    let at = |time: &str| {
        user.run(&format!(
            "verify --policy policy.json --registries-d none --as 127.0.0.1:5000/lab/amd64:v1 \
             --at {time} dir:app"
        ))
    };
    assert_eq!(at("2026-11-23T00:00:00Z").status, Some(0));
    // Before the signature was made.
    assert_eq!(at("2020-01-01T00:00:00Z").status, Some(1));
}

#[test]
fn instances_of_an_index_are_chosen_by_platform() {
    let user = User::new();
    user.policy(json!({"type": "insecureAcceptAnything"}));
    let image = format!("oci:{}", vector("images/multi").display());
    let judged = |options: &str| {
        let ended =
            user.run(&format!("verify --policy policy.json --output json {options} {image}"));
        let document = ended.json();
        let results = document["results"].as_array().expect("results").clone();
        let member = |result: &Value, name: &str| {
            result[name].as_str().map(str::to_owned).unwrap_or_default()
        };
        let pairs = results.iter().map(|r| (member(r, "platform"), member(r, "digest")));
        (ended.status, pairs.collect::<Vec<_>>())
    };
    let amd64 = ("linux/amd64".to_owned(), AMD64.to_owned());
    let (status, results) = judged("--platform linux/amd64");
    assert_eq!((status, &results), (Some(0), &vec![amd64.clone()]));
    let (status, results) = judged("--platform linux/arm64");
    assert_eq!(status, Some(0));
    assert_eq!(results.len(), 1);
    assert_eq!(results[0].1, ARM64);
    let (status, results) = judged("--all-platforms");
    assert_eq!(status, Some(0));
    assert_eq!(results.len(), 2);
    assert_eq!((&results[0], results[1].1.as_str()), (&amd64, ARM64));
    let (status, _) = judged("--platform plan9/mips");
    assert_eq!(status, Some(2));
}

#[test]
fn index_of_nothing_is_an_error() {
    let user = User::new();
    user.policy(json!({"type": "insecureAcceptAnything"}));
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    user.write("app/manifest.json", index);
    for options in ["", "--all-platforms"] {
        let ended = user.verify(&format!("--output json {options} dir:app"));
        assert_eq!((ended.verdicts(), ended.status), (vec!["error".into()], Some(2)));
    }
}

#[test]
fn json_has_the_members_of_the_contract() {
    let user = User::new();
    user.signed_by("rsa4096");
    user.image("app", &["good-rsa4096"]);
    user.image("bad", &[]);
    let document = user.verify("--output json dir:app dir:bad dir:none").json();
    assert_eq!(members(&document), ["results"]);
    let results = document["results"].as_array().expect("results");
    assert_eq!(results.len(), 3);
    let all = ["claims", "digest", "image", "reasons", "scope", "valid_until", "verdict"];
    for result in results {
        assert_eq!(members(result), all);
        for reason in result["reasons"].as_array().expect("reasons") {
            for known in ["code", "message"] {
                assert!(reason[known].is_string(), "{reason}");
            }
            let known = ["code", "hint", "message", "requirement"];
            assert!(members(reason).iter().all(|m| known.contains(&m.as_str())), "{reason}");
        }
    }
    let claim = &results[0]["claims"][0];
    assert_eq!(members(claim), ["creator", "format", "key", "reference", "signed_at"]);
}

#[test]
fn policy_is_found_where_the_manual_says() {
    let user = User::new();
    user.image("app", &[]);
    let verify = || user.command("verify dir:app");
    let accept = json!({"default": [{"type": "insecureAcceptAnything"}]}).to_string();
    let reject = json!({"default": [{"type": "reject"}]}).to_string();

    user.write(".config/containers/policy.json", &reject);
    assert_eq!(Ended::of(&mut verify()).status, Some(1), "~/.config");
    user.write("xdg/containers/policy.json", &accept);
    let mut xdg = verify();
    xdg.env("XDG_CONFIG_HOME", user.path("xdg"));
    assert_eq!(Ended::of(&mut xdg).status, Some(0), "$XDG_CONFIG_HOME");
    let named = user.write("named.json", &reject);
    xdg.env("CONTAINERS_POLICY_JSON", named);
    assert_eq!(Ended::of(&mut xdg).status, Some(1), "$CONTAINERS_POLICY_JSON");
    xdg.arg("--policy").arg(user.path("xdg/containers/policy.json"));
    assert_eq!(Ended::of(&mut xdg).status, Some(0), "--policy");
}

#[test]
fn reader_that_leaves_early_does_not_change_the_status() {
    let user = User::new();
    user.signed_by("rsa4096");
    user.image("bad", &[]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = user.command(&format!("verify {} dir:bad", super::LAB));
    let status = command.stdout(writer).stderr(Stdio::null()).status().expect("it starts");
    assert_eq!(status.code(), Some(1));
}

#[test]
fn result_that_cannot_be_written_is_an_error() {
    let user = User::new();
    user.policy(json!({"type": "insecureAcceptAnything"}));
    user.image("app", &[]);
    let full = OpenOptions::new().write(true).open("/dev/full").expect("a full device");
    let mut command = user.command(&format!("verify {} dir:app", super::LAB));
    let status = command.stdout(full).stderr(Stdio::null()).status().expect("it starts");
    assert_eq!(status.code(), Some(2));
}

fn members(object: &Value) -> Vec<String> {
    let names: BTreeSet<_> = object.as_object().expect("an object").keys().cloned().collect();
    names.into_iter().collect()
}
