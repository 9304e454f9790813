//! Real tools to test and measure against, on loopback and in temporary folders: [`gpg`] with
//! throw-away keys, a [`registry`] and a [`lookaside`] server, a [`proxy`]
//! that counts and delays, [`skopeo`], [`podman`], and [`image`]s small
//! enough to push in milliseconds. Everything started here ends when its value is dropped.

pub mod compilers;
pub mod gpg;
pub mod helm;
pub mod image;
pub mod lookaside;
pub mod podman;
pub mod proxy;
pub mod registry;
pub mod skopeo;
pub mod tools;
pub mod wrk;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Run a command to its end with nothing on its standard input. The error of one that fails says
/// what it printed.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = attempt(command)?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}

/// Run a command to its end, whatever its end.
pub fn attempt(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))
}

/// Write a file, with the folders that lead to it.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
