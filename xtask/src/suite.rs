//! The test suite, and how many tests it ran.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::command::cargo;
use crate::setup;

/// Set up what the tests need, run them all, and fail if one fails.
pub(crate) fn test(extent: Extent) -> Result<Counts> {
    setup::compiler()?;
    let mut cargo = cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]);
    match extent {
        Extent::All => setup::tools()?,
        Extent::Fast => {
            cargo.args(["--", "--skip", "real_tools::"]);
        }
    }
    let mut tests = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo test")?;
    let stdout = tests.stdout.take().context("cargo test has no standard output")?;
    let mut counts = Counts::default();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        if let Some(more) = Counts::parse(&line) {
            counts += more;
        }
    }
    let status = tests.wait()?;
    println!("{counts}");
    if !status.success() {
        bail!("cargo test failed: {status}");
    }
    if counts.passed == 0 {
        bail!("no test ran");
    }
    Ok(counts)
}

/// How much of the suite to run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Extent {
    /// Everything.
    All,
    /// All but the tests against real tools.
    Fast,
}

impl Extent {
    pub(crate) fn from_fast(fast: bool) -> Self {
        if fast { Self::Fast } else { Self::All }
    }
}

/// Results of test binaries, added up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Counts {
    /// Read libtest's closing line.
    fn parse(line: &str) -> Option<Self> {
        let (_, results) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |name: &str| {
            let result = results.split("; ").find_map(|result| result.strip_suffix(name))?;
            result.trim().parse().ok()
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            skipped: count("ignored")?,
        })
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn reads_the_closing_line_of_a_test_binary() {
        let line = "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.10s";
        assert_eq!(Counts::parse(line), Some(Counts { passed: 12, failed: 1, skipped: 2 }));
        assert_eq!(Counts::parse("test reads_the_closing_line ... ok"), None);
    }
}
