//! `countersign demo`: needs nothing, leaves nothing.

use std::fs;

use super::User;

#[test]
fn demo_shows_one_allowed_and_three_denied() {
    let user = User::new();
    let ended = user.run("demo");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let count = |word: &str| ended.stdout.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!((count("allow  "), count("deny   "), count("error  ")), (1, 3, 0), "{ended:?}");
    for reason in [
        "A signature was required, but no signature exists",
        "Signature for digest sha256:",
        "Signature for identity \"registry.example.com/demo/app:1\" is not accepted",
    ] {
        assert!(ended.stdout.contains(reason), "{reason}: {ended:?}");
    }
    assert!(!ended.stdout.contains("UNEXPECTED"), "{ended:?}");
    assert_eq!(fs::read_dir(user.path("")).expect("a folder").count(), 0, "something is left");
}

#[test]
fn demo_that_is_kept_can_be_repeated() {
    let user = User::new();
    let ended = user.run("demo --keep");
    let folder =
        ended.stdout.lines().find_map(|line| line.strip_prefix("$ cd ")).expect("a folder");
    let command = ended
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("$ countersign verify "))
        .expect("a command");
    let mut verify = user.command(&format!("verify {command}"));
    let again = super::Ended::of(verify.current_dir(folder));
    assert_eq!(again.status, Some(0), "{again:?}");
    assert!(again.stdout.starts_with("allow  dir:app"), "{again:?}");
}

#[test]
fn demo_without_a_place_is_an_error() {
    let user = User::new();
    let mut command = user.command("demo");
    command.env("TMPDIR", user.path("none"));
    super::Ended::of(&mut command).assert_error(&["temporary folder", "$TMPDIR"]);
}
