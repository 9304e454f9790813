//! Fuzzing with libFuzzer, as `cargo fuzz` lays it out in `fuzz/`.
//!
//! The targets are built here by the stable compiler: coverage instrumentation is a stable codegen
//! option, and only AddressSanitizer would need a nightly one. The engine is safe Rust throughout, so
//! what there is to find are panics, overflows, broken assertions, memory growth and hangs, which
//! libFuzzer finds without it. `cargo +nightly fuzz run TARGET` works on the same folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, host, root, run, target};

/// `cargo xtask fuzz [TARGET] [--seconds N]`.
pub(crate) fn command(options: &[&str]) -> Result<()> {
    let (chosen, seconds) = match *options {
        [] => (None, DEFAULT_SECONDS),
        ["--seconds", seconds] => (None, seconds.parse().context("--seconds wants a number")?),
        [name] => (Some(name), DEFAULT_SECONDS),
        [name, "--seconds", seconds] => {
            (Some(name), seconds.parse().context("--seconds wants a number")?)
        }
        _ => bail!("usage: cargo xtask fuzz [TARGET] [--seconds N]"),
    };
    let time = Duration::from_secs(seconds);
    match chosen {
        None => all(time),
        Some(name) => match TARGETS.iter().find(|target| target.name == name) {
            Some(target) => {
                build()?;
                finish(start(target, time)?)
            }
            None => bail!("there is no fuzz target `{name}`"),
        },
    }
}

/// Fuzz every target for this long, on as many cores as there are.
pub(crate) fn all(time: Duration) -> Result<()> {
    build()?;
    let cores = std::thread::available_parallelism()?.get();
    for targets in TARGETS.chunks(cores) {
        let running =
            targets.iter().map(|target| start(target, time)).collect::<Result<Vec<_>>>()?;
        // All are waited for, so that none goes on after a finding of another.
        let results: Vec<Result<()>> = running.into_iter().map(finish).collect();
        results.into_iter().collect::<Result<()>>()?;
    }
    Ok(())
}

/// A fuzz target of `fuzz/fuzz_targets`.
struct Target {
    name: &'static str,
    /// Longest input in bytes: enough for every form of the real thing, short enough to be tried often.
    max_len: u32,
    /// Where real inputs are, relative to the workspace, and how their files' names end.
    seeds: &'static [(&'static str, &'static str)],
}

struct Running {
    name: &'static str,
    process: std::process::Child,
    log: PathBuf,
    artifacts: PathBuf,
}

fn start(target: &Target, time: Duration) -> Result<Running> {
    let fuzz = root().join("fuzz");
    let corpus = fuzz.join("corpus").join(target.name);
    let artifacts = fuzz.join("artifacts").join(target.name);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let seeds = plant(target, &corpus)?;
    let log = artifacts.join("log");
    eprintln!("fuzz: {} for {} s, {seeds} seeds", target.name, time.as_secs());
    let process = Command::new(build_folder().join(host()?).join("release").join(target.name))
        .arg(&corpus)
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={}", time.as_secs()))
        .arg(format!("-max_len={}", target.max_len))
        .args([format!("-timeout={INPUT_SECONDS}"), format!("-rss_limit_mb={MEMORY_MIB}")])
        .args(["-print_final_stats=1", "-use_value_profile=1"])
        .stdin(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .spawn()
        .with_context(|| format!("cannot start the fuzz target {}", target.name))?;
    Ok(Running { name: target.name, process, log, artifacts })
}

fn finish(mut running: Running) -> Result<()> {
    let status = running.process.wait()?;
    let log = String::from_utf8_lossy(&fs::read(&running.log)?).into_owned();
    if !status.success() {
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        bail!(
            "{end}\n{} found something; the input is in {}",
            running.name,
            running.artifacts.display()
        );
    }
    let executions =
        log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let executions = executions.map_or("?", str::trim);
    println!("fuzz: {}: no finding in {executions} executions", running.name);
    if executions == "0" {
        bail!("{} executed nothing", running.name);
    }
    Ok(())
}

/// Copy real inputs into the corpus, named by their place among the seeds.
fn plant(target: &Target, corpus: &Path) -> Result<usize> {
    let mut files = Vec::new();
    for (folder, ending) in target.seeds {
        collect(&root().join(folder), ending, &mut files)?;
    }
    files.sort();
    files
        .retain(|file| file.metadata().is_ok_and(|found| found.len() <= u64::from(target.max_len)));
    for (number, file) in files.iter().enumerate() {
        fs::copy(file, corpus.join(format!("seed-{number}")))
            .with_context(|| format!("cannot copy {}", file.display()))?;
    }
    if files.is_empty() {
        bail!("there are no seeds for {}", target.name);
    }
    Ok(files.len())
}

fn collect(folder: &Path, ending: &str, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, ending, files)?;
        } else if path.to_string_lossy().ends_with(ending) {
            files.push(path);
        }
    }
    Ok(())
}

fn build() -> Result<()> {
    eprintln!("fuzz: building the targets");
    run(cargo()
        .args(["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml"])
        // With a target named, build scripts and macros are not instrumented.
        .args(["--target", &host()?])
        .arg("--target-dir")
        .arg(build_folder())
        .env("RUSTFLAGS", COVERAGE_FLAGS.join(" ")))
}

fn build_folder() -> PathBuf {
    target().join("fuzz")
}

const TARGETS: [Target; 5] = [
    Target { name: "signature_blob", max_len: 8192, seeds: &[("tests/data/vectors/gpg", ".sig")] },
    Target {
        name: "policy_document",
        max_len: 16384,
        seeds: &[("tests/data/vectors/policy", "policy.json")],
    },
    Target { name: "payload", max_len: 4096, seeds: &[("fuzz/seeds/payload", "")] },
    Target { name: "reference", max_len: 512, seeds: &[("fuzz/seeds/reference", "")] },
    Target {
        name: "manifest",
        max_len: 8192,
        seeds: &[("tests/data/vectors/gpg/manifests", ".json")],
    },
];

/// What `cargo fuzz` passes for a build without a sanitizer.
const COVERAGE_FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

const DEFAULT_SECONDS: u64 = 60;

/// One input that takes longer is a finding; the slowest honest one takes milliseconds.
const INPUT_SECONDS: u64 = 5;

/// More is a finding: the sandbox gives an evaluation 128 MiB, and libFuzzer's own tables take as much again.
const MEMORY_MIB: u64 = 512;

/// How much of a log shows a finding: the message and the stack.
const LOG_LINES: usize = 60;
