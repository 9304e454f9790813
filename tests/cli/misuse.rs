//! Command lines that mean nothing: status 2, a message, and no result.

use super::User;

#[test]
fn unknown_words_are_refused() {
    for arguments in [
        "frobnicate",
        "verify",
        "verify --frobnicate x",
        "verify --output yaml x",
        "verify --platform linux/arm64 --all-platforms x",
        "policy",
        "policy explain",
        "lookaside url",
        "completions tcsh",
    ] {
        let ended = User::new().run(arguments);
        assert_eq!(ended.status, Some(2), "{arguments}: {ended:?}");
        assert_eq!(ended.stdout, "", "{arguments}");
        assert!(ended.stderr.contains("--help"), "{arguments}: {ended:?}");
    }
}

#[test]
fn no_word_at_all_gets_the_help_and_status_2() {
    let ended = User::new().run("");
    assert_eq!(ended.status, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("Usage: countersign"), "{ended:?}");
}

#[test]
fn values_that_mean_nothing_are_named_with_what_was_expected() {
    for (arguments, words) in [
        ("verify --at yesterday x", &["--at \"yesterday\"", "RFC 3339"][..]),
        ("verify --at -1 x", &["-1"]),
        ("verify --at 1960-01-01T00:00:00Z x", &["--at \"1960-01-01T00:00:00Z\""]),
        ("verify --platform linux x", &["\"linux\"", "OS/ARCHITECTURE"]),
        ("verify --as docker://x x", &["--as \"docker://x\"", "without docker://"]),
        ("verify --as UPPER/x:y:z x", &["--as \"UPPER/x:y:z\"", "expected"]),
        ("verify --plain-http http://x x", &["--plain-http \"http://x\"", "HOST[:PORT]"]),
        ("verify --authfile none.json x", &["none.json"]),
    ] {
        User::new().run(arguments).assert_error(words);
    }
    let both = format!("a:1@sha256:{}", "0".repeat(64));
    let ended = User::new().run(&format!("verify --as {both} x"));
    ended.assert_error(&["both a tag and a digest"]);
}

#[test]
fn names_that_are_no_image_are_refused_before_anything_is_done() {
    for (image, words) in [
        ("docker://", "invalid image name"),
        ("docker:busybox", "two slashes"),
        ("UPPER", "lowercase"),
        ("a..b//c", "[HOST[:PORT]/]PATH[:TAG|@DIGEST]"),
        ("x@sha256:../../etc", "invalid image name"),
        ("containers-storage:busybox", "expected docker://, oci:"),
        ("docker-daemon:busybox:1", "expected docker://, oci:"),
        ("ostree:x", "expected docker://, oci:"),
        ("ftp://example.com/x", "expected docker://, oci:"),
        ("dir:", "the path is missing"),
        ("oci:x:@y", "number"),
    ] {
        // There is no policy either: the name is complained about first.
        let ended = User::new().run(&format!("verify good.example.com/app {image}"));
        ended.assert_error(&[image, words]);
        assert_eq!(ended.stdout, "", "{image}");
    }
}
