//! `countersign lookaside url`: where signatures are kept.

use super::{AMD64, ARM64, User, vector};

const REGISTRIES: &str = "\
docker:
  registry.example.com:
    lookaside: https://sigs.example.com/store
    lookaside-staging: file:///srv/sigs
";

fn hex(digest: &str) -> &str {
    digest.strip_prefix("sha256:").expect("a digest")
}

#[test]
fn image_with_a_digest_needs_no_registry() {
    let user = User::new();
    user.write("d/x.yaml", REGISTRIES);
    let url = format!("lookaside url --registries-d d registry.example.com/ns/app@{AMD64}");
    let ended = user.run(&url);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let expected =
        format!("https://sigs.example.com/store/ns/app@sha256={}/signature-1\n", hex(AMD64));
    assert_eq!(ended.stdout, expected);
    let staging = user.run(&format!("{url} --staging"));
    let expected = format!("file:///srv/sigs/ns/app@sha256={}/signature-1\n", hex(AMD64));
    assert_eq!(staging.stdout, expected);
}

#[test]
fn local_image_is_looked_up_as_another_one() {
    let user = User::new();
    user.write("d/x.yaml", REGISTRIES);
    let image = format!("oci:{}", vector("images/multi").display());
    let url = "lookaside url --registries-d d --as registry.example.com/ns/app:1 --all-platforms";
    let ended = user.run(&format!("{url} {image}"));
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{ended:?}");
    assert!(lines[0].contains(hex(AMD64)) && lines[1].contains(hex(ARM64)), "{ended:?}");
    user.run(&format!("lookaside url --registries-d d {image}")).assert_error(&["--as"]);
}

#[test]
fn registry_that_cannot_be_reached_is_an_error_that_names_the_store() {
    let user = User::new();
    user.write("d/x.yaml", "default-docker:\n  lookaside: https://sigs.example.com\n");
    let ended = user.run("lookaside url --registries-d d 127.0.0.1:1/app:1");
    ended.assert_error(&["cannot reach 127.0.0.1:1", "https://sigs.example.com/app@"]);
    assert_eq!(ended.stdout, "");
}

#[test]
fn configuration_that_is_malformed_is_named() {
    let user = User::new();
    user.write("d/broken.yaml", "docker: [");
    let ended = user.run(&format!("lookaside url --registries-d d app@{AMD64}"));
    ended.assert_error(&["broken.yaml", "containers-registries.d(5)"]);
}
