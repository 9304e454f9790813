//! Rules in Rust: a core module for WASI, whose few calls the engine's adapter answers.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use guest_build::{TARGET, Toolchain};
use serde::Deserialize;

use super::{BuildError, absolute, read};

pub(super) fn build(folder: &Path) -> Result<Vec<u8>, BuildError> {
    let folder = absolute(folder)?;
    let wrong = |what: String| BuildError::NotARule { folder: folder.clone(), what };
    let toolchain = Toolchain::find().map_err(|error| wrong(format!("{error:#}")))?;
    let toolchain = toolchain.ok_or_else(|| BuildError::Missing {
        what: format!("a Rust compiler for {TARGET}"),
        install: format!(
            "run `rustup target add {TARGET}` (rustup is at https://rustup.rs), and see that cargo is on the PATH"
        ),
    })?;
    let module = compile(&folder, &toolchain)?;
    guest_build::componentize(&read(&module)?).map_err(|error| wrong(format!("{error:#}")))
}

/// The core module of the package in `folder`.
fn compile(folder: &Path, toolchain: &Toolchain) -> Result<PathBuf, BuildError> {
    let mut cargo = toolchain.cargo_for_rules();
    cargo
        .args(["rustc", "--lib", "--crate-type", "cdylib", "--release", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = cargo
        .output()
        .map_err(|source| BuildError::Io { what: "start cargo".to_owned(), source })?;
    if !output.status.success() {
        let program = "cargo".to_owned();
        return Err(BuildError::Failed {
            folder: folder.to_owned(),
            program,
            status: output.status,
        });
    }
    artifact(&output.stdout).ok_or_else(|| BuildError::NotARule {
        folder: folder.to_owned(),
        what: "cargo built no module of it".to_owned(),
    })
}

/// The last module that cargo says it made: dependencies come before what depends on them.
fn artifact(messages: &[u8]) -> Option<PathBuf> {
    let messages = messages.split(|byte| *byte == b'\n');
    let artifacts = messages.filter_map(|line| serde_json::from_slice::<Message>(line).ok());
    let mut files = artifacts
        .filter(|message| message.reason == "compiler-artifact")
        .flat_map(|message| message.filenames);
    files.rfind(|file| file.extension().is_some_and(|extension| extension == "wasm"))
}

/// What cargo tells in `--message-format json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}
