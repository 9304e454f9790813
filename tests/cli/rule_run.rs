//! `countersign rule run` and `rule test` about images and recordings.

use countersign::digest::Digest;
use serde_json::json;

use super::User;
use super::rules::Registry;
use crate::rules::golden::golden;
use crate::rules::module::Text;
use crate::support::server::Answer;

#[test]
fn rule_is_asked_about_an_image() {
    let user = User::new();
    let server = Registry::start();
    user.write("golden.wasm", golden());
    user.write("note.txt", "a note");
    let ended = user.run(&server.run(r#"--settings {"answer":"deny"} --data note=note.txt"#));
    assert_eq!(ended.status, Some(1), "{ended:?}");
    for words in [
        &format!("deny   docker://{}/ns/app:1 by golden ", server.host()),
        r#"reason   {"answer":"deny"} (deny)"#,
        "log      info: asked",
        "note     note: a note",
        " KiB\n",
        "when asked again\n",
    ] {
        assert!(ended.stdout.contains(words), "{words}: {ended:?}");
    }
    let ended = user.run(&server.run("--data note=note.txt --output json"));
    assert_eq!((ended.status, &ended.json()["verdict"]), (Some(0), &"allow".into()), "{ended:?}");
}

#[test]
fn rule_is_told_of_the_signatures_by_the_keys_that_are_named() {
    let user = User::new();
    user.signed_by("rsa4096");
    user.image("app", &["good-rsa4096"]);
    // It denies where there is no claim.
    let evaluate = "local.get 0 i32.const 68 i32.add i32.load i32.eqz if (result i32) i32.const 1024 else i32.const 0 end";
    let items = r#"(data (i32.const 1024) "\01\00\00\00\80\04\00\00\01\00\00\00")
        (data (i32.const 1152) "\c0\04\00\00\08\00\00\00\c0\04\00\00\08\00\00\00")
        (data (i32.const 1216) "unsigned")"#;
    user.write("text.wasm", Text { items, evaluate, ..Text::HONEST }.build());
    let asked = "rule run text.wasm dir:app --as 127.0.0.1:5000/lab/amd64:v1 --at 1795400000";
    let ended = user.run(asked);
    assert_eq!(ended.status, Some(1), "{ended:?}");
    let ended = user.run(&format!("{asked} --key rsa4096.gpg"));
    assert_eq!(ended.status, Some(0), "{ended:?}");
}

#[test]
fn what_cannot_be_asked_is_an_error_with_its_reason() {
    let user = User::new();
    let server = Registry::start();
    user.write("golden.wasm", golden());
    user.run("rule run golden.wasm").assert_error(&["IMAGE"]);
    user.run("rule run golden.wasm dir:none").assert_error(&["cannot be asked", "none"]);
    user.run("rule run golden.wasm dir:none --settings {").assert_error(&["--settings", "JSON"]);
    user.run("rule run golden.wasm dir:none --settings @none.json").assert_error(&["@none.json"]);
    user.run("rule run golden.wasm dir:none --data note").assert_error(&["NAME=FILE"]);
    user.run("rule run golden.wasm dir:none --key none.gpg").assert_error(&["--key", "none.gpg"]);
    user.run("rule run golden.wasm dir:none --case c.json").assert_error(&["cannot be used with"]);
    server.always(server.config_path(), Answer::status(500));
    let config = Digest::sha256(b"");
    let ended = user.run(&server.run(""));
    ended.assert_error(&["the rule cannot be asked", "500"]);
    assert!(!ended.stderr.contains(config.as_str()), "{ended:?}");
}

#[test]
fn rule_is_asked_again_what_was_recorded() {
    let user = User::new();
    let server = Registry::start();
    for answer in ["allow", "deny"] {
        user.policy(server.golden(&user, &json!({"settings": {"answer": answer}})));
        let ended = user.verify_in(&server, &format!("--record {answer}.json"));
        assert_eq!(ended.verdicts(), [answer], "{ended:?}");
    }
    drop(server);
    let ended = user.run("rule run rules/golden.wasm --recording deny.json");
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stdout.contains(r#"{"answer":"deny"} (deny)"#), "{ended:?}");

    let both = "--recording allow.json --recording deny.json";
    let ended = user.run(&format!("rule test rules/golden.wasm {both}"));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stdout.ends_with("2 passed, 0 failed\n"), "{ended:?}");

    // The next version of the rule has a rule's name, and says something else.
    let other = Text {
        describe: "i32.const 4096",
        items: r#"(data (i32.const 4096) "\00\11\00\00\06\00\00\00\50\02\00\00\05\00\00\00"
            "\60\02\00\00\07\00\00\00\70\02\00\00\02\00\00\00")
            (data (i32.const 4352) "golden")"#,
        ..Text::HONEST
    };
    user.write("next.wasm", other.build());
    let ended = user.run(&format!("rule test next.wasm {both}"));
    assert_eq!(ended.status, Some(1), "{ended:?}");
    for words in ["codes    expected [\"deny\"]", "found    []", "0 passed, 2 failed"] {
        assert!(ended.stdout.contains(words), "{words}: {ended:?}");
    }
    user.write("other.wasm", Text::HONEST.build());
    user.run(&format!("rule test other.wasm {both}")).assert_error(&["no answer of rule text"]);
    user.run("rule run other.wasm --recording deny.json")
        .assert_error(&["deny.json has no question"]);
}
