//! Help, completions, manual pages, and code for packages.

use super::User;

#[test]
fn help_and_version_are_results() {
    let user = User::new();
    for arguments in ["--help", "verify --help", "help policy check", "demo -h"] {
        let ended = user.run(arguments);
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{arguments}");
        assert!(ended.stdout.contains("Usage: countersign"), "{ended:?}");
    }
    let version = user.run("--version");
    assert_eq!(version.stdout, format!("countersign {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_of_verify_tells_every_default_and_has_examples() {
    let help = User::new().run("verify --help").stdout;
    for word in ["--as", "--at", "--platform", "--all-platforms", "--policy", "--registries-d"] {
        assert!(help.contains(word), "{word}");
    }
    for option in help.split("\n      --").skip(1) {
        let option = option.split("\n\n").take(2).collect::<Vec<_>>().join(" ");
        assert!(option.contains("efault"), "no default is told: --{option}");
    }
    assert!(help.contains("Examples:") && help.contains("Exit status: 0"), "{help}");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ended = User::new().run(&format!("completions {shell}"));
        assert_eq!(ended.status, Some(0), "{shell}");
        assert!(
            ended.stdout.contains("verify") && ended.stdout.contains("registries-d"),
            "{shell}"
        );
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let user = User::new();
    assert!(user.run("man").stdout.contains(".SH NAME"));
    let ended = user.run("man pages");
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(0), ""), "{ended:?}");
    for page in ["countersign", "countersign-verify", "countersign-policy-check"] {
        assert!(user.path(&format!("pages/{page}.1")).exists(), "{page}");
    }
    user.write("file", "");
    user.run("man file/pages").assert_error(&["file/pages"]);
}

#[test]
fn precompiled_engine_is_written_where_the_package_wants_it() {
    let user = User::new();
    std::fs::create_dir(user.path("package")).expect("a folder");
    let ended = user.run("precompile package");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    // The engine, and the form of it that snapshots are taken of.
    assert_eq!(ended.stdout.lines().count(), 2, "{ended:?}");
    assert!(ended.stdout.lines().all(|path| user.path(path).exists()), "{ended:?}");
    let portable = user.run("precompile --portable package");
    assert_eq!(portable.status, Some(0), "{portable:?}");
    assert!(ended.stdout.starts_with(&portable.stdout), "{portable:?}");
    user.run("precompile none").assert_error(&["none"]);
    assert!(!user.run("--help").stdout.contains("precompile"));
}
