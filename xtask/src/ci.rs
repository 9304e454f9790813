//! Everything that has to pass before a change lands.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command::{self, cargo};
use crate::suite::{self, Extent};
use crate::{bench, deny, fuzz, rules, setup};

/// Run all stages; the first that fails ends the run.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    stage("format", || command::run(cargo().args(["fmt", "--all", "--check"])))?;
    stage("setup", || {
        setup::compiler()?;
        setup::tools()
    })?;
    let counts = stage("test", || suite::test(Extent::All))?;
    stage("clippy", || {
        command::run(cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]))
    })?;
    stage("doc", || {
        command::run(
            cargo()
                .args(["doc", "--workspace", "--no-deps", "--document-private-items"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    })?;
    stage("deny", deny::check)?;
    stage("rules", rules::build_and_test)?;
    stage("bench", || bench::run(bench::Subject::Everything, true, false))?;
    stage("fuzz", || fuzz::all(FUZZ_TIME))?;
    println!("ci: everything passed in {}", minutes(start.elapsed()));
    // The line by which the run is counted comes last.
    println!("{counts}");
    Ok(())
}

fn stage<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("=== {name}");
    let start = Instant::now();
    let result = work().with_context(|| format!("stage `{name}`"));
    println!(
        "=== {name}: {}, {}",
        if result.is_ok() { "passed" } else { "failed" },
        minutes(start.elapsed())
    );
    result
}

fn minutes(time: Duration) -> String {
    format!("{}:{:02} min", time.as_secs() / 60, time.as_secs() % 60)
}

/// For each target. Long enough to go well past the seeds, short enough to wait for.
const FUZZ_TIME: Duration = Duration::from_secs(60);
