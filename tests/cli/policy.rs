//! `countersign policy`: mistakes with their places, and explanations.

use serde_json::json;

use super::{RSA4096, User, vector};

const BROKEN: &str = r#"{
  "default": [{"type": "reject"}],
  "transports": {
    "docker": {
      "example.com": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "a.gpg",
                       "identity": 1}]
    }
  }
}
"#;

#[test]
fn check_points_at_the_mistake() {
    let user = User::new();
    user.write("policy.json", BROKEN);
    let ended = user.run("policy check policy.json");
    assert_eq!(ended.status, Some(1), "{ended:?}");
    let lines: Vec<_> = ended.stdout.lines().collect();
    // A place is that of the value.
    let column = BROKEN.lines().nth(5).and_then(|line| line.find("1}")).expect("it") + 1;
    let place = "$.transports.docker[\"example.com\"][0].identity";
    let expected = format!("policy.json:6:{column}: error: Unknown key \"identity\" (at {place})");
    assert_eq!(lines[0], expected, "{ended:?}");
    let mark = lines[2].find('^').expect("a mark");
    assert!(lines[1][mark..].starts_with("1}"), "{ended:?}");
}

#[test]
fn check_of_a_good_document_is_silent() {
    let user = User::new();
    user.signed_by("rsa4096");
    let ended = user.run("policy check policy.json");
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(0), ""), "{ended:?}");
    let ended = user.run("policy check --output json policy.json");
    assert_eq!(ended.json(), json!({"file": "policy.json", "mistakes": []}));
}

#[test]
fn check_without_a_file_looks_at_the_policy_that_counts() {
    let user = User::new();
    user.write(".config/containers/policy.json", BROKEN);
    let ended = user.run("policy check");
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stdout.contains(".config/containers/policy.json:6:"), "{ended:?}");
}

#[test]
fn check_opens_key_files_unless_told_otherwise() {
    let user = User::new();
    user.policy(json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "gone.gpg"}));
    let opened = user.run("policy check policy.json");
    assert!(opened.stdout.contains("gone.gpg"), "{opened:?}");
    let alone = user.run("policy check --syntax-only policy.json");
    assert_eq!((alone.status, alone.stdout.as_str()), (Some(0), ""), "{alone:?}");
}

#[test]
fn check_as_json_has_every_mistake() {
    let user = User::new();
    user.write("policy.json", BROKEN);
    let ended = user.run("policy check --output json policy.json");
    assert_eq!(ended.status, Some(1), "{ended:?}");
    let document = ended.json();
    let mistake = &document["mistakes"][0];
    assert_eq!(mistake["severity"], "error");
    assert_eq!(mistake["line"], 6);
    assert!(mistake["code"].is_string() && mistake["path"].is_string(), "{mistake}");
}

#[test]
fn check_of_a_document_that_cannot_be_read_is_an_error() {
    User::new().run("policy check none.json").assert_error(&["none.json", "No such file"]);
}

#[test]
fn explain_marks_the_scope_that_decides() {
    let user = User::new();
    let reject = json!([{"type": "reject"}]);
    let accept = json!([{"type": "insecureAcceptAnything"}]);
    let document = json!({"default": reject, "transports": {"docker": {"*.example.com": accept}}});
    user.write("policy.json", document.to_string());
    // The host does not exist: nothing is fetched.
    let ended = user.run("policy explain --policy policy.json nowhere.example.com/ns/app:1");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let decides = ended.stdout.lines().find(|line| line.contains("->")).expect("a mark");
    assert!(decides.contains("docker/*.example.com"), "{ended:?}");
    let tried: Vec<_> = ended
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("scopes"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .collect();
    assert!(tried[0].contains("docker/nowhere.example.com/ns/app:1"), "{ended:?}");
    assert!(tried.last().expect("one").contains("default"), "{ended:?}");

    let ended = user.run("policy explain --policy policy.json --output json dir:/srv");
    assert_eq!(ended.json()["scope"], "default");
}

#[test]
fn explain_says_each_requirement_in_words() {
    let user = User::new();
    user.signed_by("rsa4096");
    let image = format!("oci:{}", vector("images/amd64").display());
    let ended = user.run(&format!("policy explain --policy policy.json --output json {image}"));
    let document = ended.json();
    let requirements = document["requirements"].as_array().expect("requirements");
    assert_eq!(requirements.len(), 1, "{document}");
    assert!(requirements[0].as_str().expect("text").contains(RSA4096), "{document}");
}

#[test]
fn explain_draws_requirements_as_a_tree() {
    let user = User::new();
    user.policy(json!({"type": "atLeast", "count": 1, "requirements": [
        {"type": "anyOf", "requirements": [{"type": "reject"}, {"type": "rule", "module": "a.wasm"}]},
        {"type": "rule", "module": "b.wasm", "settings": {"days": 90}, "capabilities": ["log"]},
    ]}));
    let ended = user.run("policy explain --policy policy.json dir:/srv");
    let drawn: Vec<_> =
        ended.stdout.lines().skip_while(|line| !line.contains("requires")).skip(1).collect();
    let expected = [
        "  0  atLeast: a signer is behind one of these",
        "     ├─ anyOf: one of these holds",
        "     │  ├─ reject: holds for no image",
        "     │  └─ rule: a.wasm",
        "     └─ rule: b.wasm with {\"days\":90}, which may use log",
    ];
    assert_eq!(drawn, expected, "{ended:?}");
    let ended = user.run("policy explain --policy policy.json --output json dir:/srv");
    assert_eq!(ended.json()["requirements"][3], "    rule: a.wasm");
}

#[test]
fn check_tells_what_others_refuse_if_it_is_asked() {
    let user = User::new();
    let rule = json!({"type": "rule", "module": "a.wasm"});
    let document = json!({
        "default": [{"type": "anyOf", "requirements": [rule]}],
        "rulesFrom": [{"type": "reject"}],
    });
    user.write("policy.json", document.to_string());
    let own = user.run("policy check policy.json");
    assert_eq!((own.status, own.stdout.as_str()), (Some(0), ""), "{own:?}");
    let ended = user.run("policy check --dialect containers --output json policy.json");
    assert_eq!(ended.status, Some(1), "{ended:?}");
    let told = ended.json();
    let told = told["mistakes"].as_array().expect("mistakes");
    let codes: Vec<_> = told.iter().map(|mistake| &mistake["code"]).collect();
    assert_eq!(codes, ["dialect-requirement", "dialect-member"], "{ended:?}");
    user.signed_by("rsa4096");
    let plain = user.run("policy check --dialect containers policy.json");
    assert_eq!((plain.status, plain.stdout.as_str()), (Some(0), ""), "{plain:?}");
}
