//! Modules become code in a process of its own, within limits, and code is kept.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use countersign::engine::{Places, RuleEngine, RuleFault, RuleSettings};

use super::golden::golden;
use super::module::{Text, ask, rule, settings};

#[test]
fn code_is_kept_and_compiled_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let places = Places { cache: Some(folder.path().join("cache")), packaged: None };
    let compiler = |program: &Path| RuleSettings {
        places: places.clone(),
        compiler: Some(program.to_owned()),
        ..settings()
    };
    let engine = RuleEngine::new(&compiler(PROGRAM.as_ref())).expect("an engine");
    let first = engine.compile(&golden()).expect("a module");
    let kept: Vec<_> = fs::read_dir(folder.path().join("cache"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    let [file] = &kept[..] else { panic_of(&kept) };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    assert!(name.starts_with(first.sha256()), "{name}");
    assert_eq!(fs::metadata(file).expect("a file").permissions().mode() & 0o777, 0o400);

    // Nobody is left who could compile it.
    let engine = RuleEngine::new(&compiler("/nonexistent".as_ref())).expect("an engine");
    let second = engine.compile(&golden()).expect("a module");
    assert_eq!(second.sha256(), first.sha256());
    // What is not the same bytes is another module, whatever it does.
    let mut altered = golden();
    altered.extend([0, 5, 4, b'n', b'o', b't', b'e']);
    let fault = engine.compile(&altered).expect_err("nobody compiles it");
    assert!(matches!(fault, RuleFault::Engine(_)), "{fault:?}");
}

#[test]
fn code_in_a_folder_that_others_may_write_to_is_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    let places = Places { cache: Some(cache.clone()), packaged: None };
    let settings = RuleSettings { places, ..settings() };
    let wasm = Text::HONEST.build();
    RuleEngine::new(&settings).expect("an engine").compile(&wasm).expect("a module");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).expect("permissions");
    let nobody = RuleSettings { compiler: Some("/nonexistent".into()), ..settings };
    let fault = RuleEngine::new(&nobody).expect("an engine").compile(&wasm).expect_err("no code");
    assert!(matches!(fault, RuleFault::Engine(_)), "{fault:?}");
}

#[test]
fn process_of_its_own_compiles_without_a_cache() {
    let engine = engine_with(PROGRAM.as_ref());
    let rule = rule(&engine, &Text::HONEST.build()).expect("a rule");
    assert!(ask(&rule).expect("an answer").answer.allow);
}

/// The same program, with a limit that a test can wait for.
#[test]
fn module_that_takes_long_to_compile_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let limited = script(folder.path(), "ulimit -t 1");
    let engine = engine_with(&limited);
    let fault = engine.compile(&slow()).expect_err("it takes long");
    assert_eq!(fault.code(), "rule-compile-limit", "{fault:?}");
    assert!(rule(&engine, &Text::HONEST.build()).is_ok());
}

#[test]
fn module_that_takes_much_memory_to_compile_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let limited = script(folder.path(), "ulimit -v 100000");
    let engine = engine_with(&limited);
    let fault = engine.compile(&slow()).expect_err("it takes much memory");
    assert_eq!(fault.code(), "rule-compile-limit", "{fault:?}");
    assert!(rule(&engine, &Text::HONEST.build()).is_ok());
}

/// What a process that compiles may use, as the system sees it. It waits for its input.
#[test]
fn process_limits_itself() {
    let mut child = Command::new(PROGRAM)
        .arg("compile")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    let limits = format!("/proc/{}/limits", child.id());
    let limit = |name: &str| {
        let limits = fs::read_to_string(&limits).expect("limits");
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("a limit");
        let values = line.split_whitespace();
        values.take(2).map(|value| value.parse().unwrap_or(u64::MAX)).collect::<Vec<_>>()
    };
    // That of files is set after the others.
    wait_until("limit of files", || limit("Max file size") == [256 << 20, 256 << 20]);
    assert_eq!(limit("Max cpu time"), [60, 60]);
    assert_eq!(limit("Max address space"), [2 << 30, 2 << 30]);
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(&Text::HONEST.build()).expect("the process reads");
    drop(stdin);
    assert!(child.wait().expect("the process ends").success());
}

/// It works on the bytes of strangers, and need not know what the server knows.
#[test]
fn process_gets_nothing_of_the_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let seen = folder.path().join("environment");
    let program = script(folder.path(), &format!("/usr/bin/env > '{}'", seen.display()));
    let engine = engine_with(&program);
    engine.compile(&Text::HONEST.build()).expect("a module");
    let seen = fs::read_to_string(seen).expect("an environment");
    assert!(std::env::var_os("PATH").is_some_and(|path| !path.is_empty()));
    // What is left is what the shell of the script sets by itself.
    for line in seen.lines() {
        let name = line.split('=').next().unwrap_or_default();
        assert!(["RAYON_NUM_THREADS", "PWD", "SHLVL", "_", "OLDPWD"].contains(&name), "{line}");
    }
}

/// A process that fails for its own reasons says nothing of the module.
#[test]
fn failure_of_the_process_is_nobodys_denial() {
    let folder = tempfile::tempdir().expect("a folder");
    for program in [PathBuf::from("/nonexistent"), script(folder.path(), "exit 2")] {
        let fault = engine_with(&program).compile(&Text::HONEST.build()).expect_err("no code");
        assert!(matches!(fault, RuleFault::Engine(_)), "{fault:?}");
        assert_eq!(fault.code(), "evaluation-failed");
    }
}

/// What the process refuses, it refuses in words. (Here nothing looks at the module before.)
#[test]
fn hidden_command_refuses_what_is_no_component() {
    for wasm in [&b"not wasm"[..], b"\x7fELF", b"\0asm\x0d\0\x01\0\xff"] {
        let mut child = Command::new(PROGRAM)
            .arg("compile")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        child.stdin.take().expect("a pipe").write_all(wasm).expect("the process reads");
        let output = child.wait_with_output().expect("the process ends");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(output.stdout, b"");
        assert!(output.stderr.starts_with(b"countersign: the module is "), "{output:?}");
    }
}

fn engine_with(compiler: &Path) -> RuleEngine {
    let settings = RuleSettings { compiler: Some(compiler.to_owned()), ..settings() };
    RuleEngine::new(&settings).expect("an engine")
}

/// The program, after something else.
fn script(folder: &Path, before: &str) -> PathBuf {
    let path = folder.join("compiler");
    let text = format!("#!/bin/sh\n{before}\nexec '{PROGRAM}' \"$@\"\n");
    // Written by a process of its own: one that is written here could be open for writing in a child of another
    // test at the moment that it is run, which the system refuses.
    let mut child = Command::new("/bin/sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("the shell reads");
    assert!(child.wait().expect("the shell ends").success());
    path
}

/// A module of 4 MiB that says nothing and takes many seconds: one function of calculations that depend on one
/// another.
fn slow() -> Vec<u8> {
    let step = "(local.set 0 (i64.add (i64.mul (local.get 0) (local.get 1)) (i64.rotl (local.get 2) (local.get 0))))
        (local.set 1 (i64.xor (local.get 0) (i64.shr_u (local.get 1) (local.get 2))))
        (if (i64.eqz (local.get 1)) (then (local.set 2 (i64.sub (local.get 0) (local.get 1)))))";
    let function =
        format!("(func (param i64 i64 i64) (result i64) {} local.get 0)", step.repeat(2_000));
    Text { items: &function.repeat(40), ..Text::HONEST }.build()
}

/// Look until another process has done something.
fn wait_until(what: &str, happened: impl Fn() -> bool) {
    for _ in 0..600 {
        if happened() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(happened(), "{what}: it never came");
}

#[expect(clippy::panic, reason = "what is there instead is the failure of the test")]
fn panic_of(kept: &[PathBuf]) -> ! {
    panic!("{kept:?}")
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign");
