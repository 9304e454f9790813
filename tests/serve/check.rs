//! What is wrong with configuration is told before anything runs.

use std::fs;

use super::Site;
use crate::cli::User;
use crate::support::root;

#[test]
fn schema_in_the_documentation_is_that_of_the_code() {
    let published = fs::read_to_string(root().join("docs/countersign.schema.json"));
    assert!(
        published.expect("a schema") == countersign::serve::schema(),
        "renew it: countersign serve --print-schema > docs/countersign.schema.json"
    );
    let printed = User::new().run("serve --print-schema");
    assert_eq!(printed.stdout, countersign::serve::schema());
}

#[test]
fn configuration_in_the_documentation_is_understood() {
    let page = fs::read_to_string(root().join("docs/serve.md")).expect("a page");
    let blocks: Vec<&str> = page.split("```yaml\n").skip(1).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let text = block.split("```").next().expect("a block");
        let user = User::new();
        let file = Some(user.write("config.yaml", text));
        let loaded = countersign::serve::Source { file, ..Default::default() }.load();
        assert!(loaded.is_ok(), "{}", loaded.expect_err("a mistake"));
    }
}

#[test]
fn mistakes_in_the_file_are_told_with_their_place() {
    for (text, words) in [
        ("listen: 127.0.0.1:0\nlisen: x\n", &["line 2, column 1", "did you mean \"listen\"?"][..]),
        ("cache: {allow: 5m, allow: 6m}\n", &["line 1", "\"allow\"", "twice"]),
        ("workers: [1]\n", &["line 1"]),
        (
            "deadline: {margin: 20s}\nimages: {platforms: [x]}\n",
            &["deadline.margin", "images.plat"],
        ),
    ] {
        let user = User::new();
        user.write("config.yaml", text);
        for arguments in ["serve --config config.yaml", "serve --check --config config.yaml"] {
            user.run(arguments).assert_error(words);
        }
    }
    User::new().run("serve --config none.yaml").assert_error(&["none.yaml"]);
}

#[test]
fn check_tells_what_is_wrong_with_certificate_policy_and_keys() {
    let site = Site::new();
    let command = "serve --check --policy policy.json --certificate tls.crt --key tls.key";
    let good = site.user.run(command);
    assert_eq!(good.status, Some(0), "{good:?}");
    let (_, key) = site.authority.issue(&["127.0.0.1"]).pem();
    site.user.write("tls.key", key);
    site.user.write("policy.json", "{\"default\": [{\"type\": \"rejct\"}]}");
    site.user.run(command).assert_error(&["do not belong together", "rejct", "line 1"]);
    let missing =
        r#"{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "none.gpg"}]}"#;
    site.user.write("policy.json", missing);
    site.user.run(command).assert_error(&["none.gpg"]);
    let (certificate, key) = site.authority.issue_expired(&["127.0.0.1"]).pem();
    site.user.write("tls.crt", certificate);
    site.user.write("tls.key", key);
    site.user.run(command).assert_error(&["ended at 2001-01-01"]);
    site.user.run("serve --check").assert_error(&["/etc/countersign/tls/tls.crt"]);
}

#[test]
fn environment_counts_less_than_options_and_more_than_the_file() {
    let site = Site::new();
    site.user.write("config.yaml", "listen: 192.0.2.1:1\nlog: {level: error}\n");
    let files = "serve --policy policy.json --certificate tls.crt --key tls.key";
    let mut command = site.user.command(&format!("{files} --log-level info"));
    command.env("COUNTERSIGN_CONFIG", "config.yaml");
    command.env("COUNTERSIGN_LISTEN", "127.0.0.1:0");
    command.env("COUNTERSIGN_LOG_LEVEL", "nonsense");
    // It starts, on another port than the file says, and with a log.
    let running = super::Running::start(&mut command);
    assert!(running.url.starts_with("https://127.0.0.1:"));
    let mut command = site.user.command(&format!("{files} --check"));
    command.env("COUNTERSIGN_WORKERS", "many");
    let ended = crate::cli::Ended::of(&mut command);
    ended.assert_error(&["COUNTERSIGN_WORKERS=\"many\""]);
}

#[test]
fn port_that_is_taken_is_named() {
    let site = Site::new();
    let running = site.serve("");
    let port = running.url.trim_start_matches("https://");
    let again = "serve --policy policy.json --certificate tls.crt --key tls.key --listen";
    site.user.run(&format!("{again} {port}")).assert_error(&[port, "--listen"]);
}
