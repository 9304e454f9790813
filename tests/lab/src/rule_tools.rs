//! The compilers of rules in JavaScript and Python: componentize-js and componentize-py, of exactly the versions
//! that the rules in policies/ name, whose hashes are pinned there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run;

/// The folder with what [`install`] installed, if that is what the rules name today.
#[must_use]
pub fn find() -> Option<PathBuf> {
    let folder = folder();
    // Written last: an installation that was interrupted has none.
    let current = PINNED.iter().all(|path| {
        let wanted = std::fs::read(root().join(path));
        let there = std::fs::read(folder.join(name(path)));
        wanted.ok().zip(there.ok()).is_some_and(|(wanted, there)| wanted == there)
    });
    current.then_some(folder)
}

/// Fetch them from the npm registry and the Python package index, unless they are here. npm and Python have to be.
pub fn install() -> Result<PathBuf> {
    if let Some(folder) = find() {
        return Ok(folder);
    }
    let folder = folder();
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let [package, lock, requirements] = PINNED;
    copy(package, &folder)?;
    copy(lock, &folder)?;
    run(Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&folder))?;
    let environment = folder.join(".venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    run(Command::new(environment.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--require-hashes"])
        .args(["--disable-pip-version-check", "--requirement"])
        .arg(root().join(requirements)))?;
    copy(requirements, &folder)?;
    Ok(folder)
}

fn copy(path: &str, folder: &Path) -> Result<()> {
    let (from, to) = (root().join(path), folder.join(name(path)));
    std::fs::copy(&from, &to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// In cargo's target folder, so that a clean tree fetches them again.
fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    target.map_or_else(|| root().join("target"), |target| root().join(target)).join("rule-tools")
}

/// What names versions and hashes.
const PINNED: [&str; 3] = [
    "policies/deny-latest/package.json",
    "policies/deny-latest/package-lock.json",
    "policies/freeze/requirements.txt",
];
