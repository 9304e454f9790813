//! Files that change while the server runs.

use serde_json::json;

use super::{Running, Site, Volume, block};

#[test]
fn policy_that_is_swapped_as_kubernetes_does_is_loaded() {
    let site = Site::new();
    let mut volume = Volume::mount(&site.user, "volume", &[("policy.json", REJECT)]);
    let mut running = site.serve("--policy volume/policy.json");
    let first = readyz(&site, &running).1;
    volume.turn(&[("policy.json", ACCEPT)]);
    running.wait_for("\"message\":\"loaded\",\"generation\":2");
    let (status, second) = readyz(&site, &running);
    assert_eq!(status, 200);
    assert!(second.contains("generation 2,"), "{second}");
    assert_ne!(policy(&first), policy(&second));
    volume.turn(&[("policy.json", REJECT)]);
    running.wait_for("\"message\":\"loaded\",\"generation\":3");
    let (_, third) = readyz(&site, &running);
    assert_eq!(policy(&first), policy(&third));
}

#[test]
fn policy_that_cannot_be_loaded_leaves_the_last_good_one() {
    let site = Site::new();
    let mut volume = Volume::mount(&site.user, "volume", &[("policy.json", REJECT)]);
    let mut running = site.serve("--policy volume/policy.json");
    let good = policy(&readyz(&site, &running).1);
    for bad in ["{\"default\": [", "{\"default\": [{\"type\": \"rejct\"}]}", UNREADABLE_KEY] {
        volume.turn(&[("policy.json", bad)]);
        running.wait_for("what was there before goes on");
        let (status, text) = readyz(&site, &running);
        assert_eq!(status, 200, "{text}");
        assert!(text.contains("last error of policy"), "{text}");
        assert_eq!(policy(&text), good);
    }
    volume.turn(&[("policy.json", ACCEPT)]);
    running.wait_for("\"message\":\"loaded\"");
    let (_, text) = readyz(&site, &running);
    assert!(!text.contains("last error") && policy(&text) != good, "{text}");
}

#[test]
fn server_without_a_policy_is_not_ready_until_there_is_one() {
    let site = Site::new();
    let mut volume = Volume::mount(&site.user, "volume", &[("policy.json", "nonsense")]);
    let mut running = site.serve("--policy volume/policy.json");
    let (status, text) = readyz(&site, &running);
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("not ready: no policy is loaded: invalid policy in"), "{text}");
    let client = site.client("h2");
    assert_eq!(block(running.get(&client, "/livez")).0, 200);
    volume.turn(&[("policy.json", REJECT)]);
    running.wait_for("\"message\":\"loaded\"");
    assert_eq!(readyz(&site, &running).0, 200);
}

#[test]
fn signature_stores_and_keys_belong_to_the_policy() {
    let site = Site::new();
    site.user.write(
        "key.gpg",
        std::fs::read(crate::cli::vector("gpg/keys/rsa4096.pub.gpg")).expect("a key"),
    );
    let requirement = json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "key.gpg"});
    site.user.policy(requirement);
    let mut running = site.serve("");
    let first = policy(&readyz(&site, &running).1);
    site.user
        .write("registries.d/a.yaml", "default-docker: {lookaside: 'https://a.example.com'}\n");
    running.wait_for("\"message\":\"loaded\"");
    let second = policy(&readyz(&site, &running).1);
    site.user.write(
        "key.gpg",
        std::fs::read(crate::cli::vector("gpg/keys/ed25519.pub.gpg")).expect("a key"),
    );
    running.wait_for("\"message\":\"loaded\"");
    let third = policy(&readyz(&site, &running).1);
    assert!(first != second && second != third && first != third, "{first} {second} {third}");
    site.user.write("registries.d/a.yaml", "default-docker: [\n");
    running.wait_for("what was there before goes on");
    assert_eq!(policy(&readyz(&site, &running).1), third);
}

#[test]
fn certificate_that_is_swapped_is_shown_and_a_bad_one_is_not() {
    let mut site = Site::new();
    let pair = |site: &Site| site.authority.issue(&["127.0.0.1"]).pem();
    let (certificate, key) = pair(&site);
    let files = [("tls.crt", certificate.as_str()), ("tls.key", key.as_str())];
    let mut volume = Volume::mount(&site.user, "tls", &files);
    let mut running = site.serve("--certificate tls/tls.crt --key tls/tls.key");
    assert_eq!(readyz(&site, &running).0, 200);
    let (_, other) = pair(&site);
    volume.turn(&[("tls.crt", &certificate), ("tls.key", &other)]);
    let line = running.wait_for("what was there before goes on");
    assert!(line.contains("do not belong together"), "{line}");
    assert!(readyz(&site, &running).1.contains("last error of certificate"));
    // By another authority, which the next client trusts alone.
    site.authority = crate::support::tls::Authority::new();
    let (certificate, key) = pair(&site);
    volume.turn(&[("tls.crt", &certificate), ("tls.key", &key)]);
    running.wait_for("new connections are shown the new certificate");
    let (status, text) = readyz(&site, &running);
    assert_eq!((status, text.contains("last error")), (200, false), "{text}");
}

#[test]
fn configuration_is_loaded_again_and_a_bad_one_is_not() {
    let site = Site::new();
    let config = |mode: &str| format!("admission: {{default: {{mode: {mode}}}}}\n");
    let file = [("config.yaml", config("enforce"))];
    let mut volume = Volume::mount(&site.user, "config", &[("config.yaml", &file[0].1)]);
    let mut running = site.serve("--config config/config.yaml");
    volume.turn(&[("config.yaml", "admission: {default: {mod: warn}}\n")]);
    let line = running.wait_for("what was there before goes on");
    assert!(line.contains("did you mean"), "{line}");
    assert!(readyz(&site, &running).1.contains("last error of configuration"));
    volume.turn(&[("config.yaml", &config("warn"))]);
    running.wait_for("\"message\":\"loaded\"");
    let (_, text) = readyz(&site, &running);
    assert!(text.contains("generation 2,") && !text.contains("last error"), "{text}");
    volume.turn(&[("config.yaml", &(config("warn") + "workers: 7\n"))]);
    assert!(running.wait_for("takes effect at the next start").contains("workers"));
}

fn readyz(site: &Site, running: &Running) -> (u16, String) {
    block(running.get(&site.client("http/1.1"), "/readyz?verbose"))
}

/// The hash of the policy.
fn policy(text: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix("policy ")).expect("a policy");
    line.split(' ').next().expect("a hash").to_owned()
}

const REJECT: &str = r#"{"default": [{"type": "reject"}]}"#;
const ACCEPT: &str = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
const UNREADABLE_KEY: &str =
    r#"{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "none.gpg"}]}"#;
