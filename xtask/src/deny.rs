//! cargo-deny: licences, bans and sources, which need no network once it is installed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, root, run, target};

/// Check all dependencies of the workspace and of the fuzz targets against `deny.toml`.
pub(crate) fn check() -> Result<()> {
    let cargo_deny = find_or_install()?;
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        run(Command::new(&cargo_deny)
            .current_dir(root())
            .args(["--locked", "--manifest-path", manifest, "--config", "deny.toml"])
            .args(["check", "bans", "licenses", "sources"]))?;
    }
    Ok(())
}

/// The installed one, whatever its version, or [`VERSION`] built into the target folder. A
/// development build: checking takes a second either way, and building it half the time.
fn find_or_install() -> Result<PathBuf> {
    let installed = PathBuf::from("cargo-deny");
    if works(&installed) {
        return Ok(installed);
    }
    let tools = target().join("tools");
    let built = tools.join("bin/cargo-deny");
    if !works(&built) {
        eprintln!("deny: building cargo-deny {VERSION}");
        run(cargo()
            .args(["install", "cargo-deny", "--locked", "--debug", "--version", VERSION])
            .arg("--root")
            .arg(&tools)
            .arg("--target-dir")
            .arg(tools.join("build")))?;
    }
    Ok(built)
}

fn works(program: &PathBuf) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

const VERSION: &str = "0.20.2";
