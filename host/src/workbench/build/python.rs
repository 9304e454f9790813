//! Rules in Python: componentize-py, a program of the package index, with WASI answered by stubs.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BuildError, absolute, find, read, run, scratch};

pub(super) fn build(folder: &Path, tools: Option<&Path>) -> Result<Vec<u8>, BuildError> {
    let folder = absolute(folder)?;
    let tools = tools.map(absolute).transpose()?;
    let places = tools.iter().chain([&folder]).map(|place| place.join(".venv"));
    let environment = places.into_iter().find(|place| program(place).is_file());
    let found = environment.as_deref().map(program).or_else(|| find(PROGRAM));
    let found = found.ok_or_else(|| BuildError::Missing {
        what: PROGRAM.to_owned(),
        install: format!(
            "in {}, run `python3 -m venv .venv && .venv/bin/pip install --requirement requirements.txt`",
            folder.display()
        ),
    })?;
    let scratch = scratch()?;
    let output = scratch.path().join("rule.wasm");
    let mut command = Command::new(found);
    command.args([
        "--quiet",
        "--wit-path",
        "wit",
        "componentize",
        "--stub-wasi",
        "app",
        "--output",
    ]);
    command.arg(&output);
    if let Some(environment) = environment {
        // Packages that the rule imports are those beside the compiler, and not those of this machine.
        command.env("VIRTUAL_ENV", environment);
    }
    run(&folder, &mut command)?;
    read(&output)
}

fn program(environment: &Path) -> PathBuf {
    environment.join("bin").join(PROGRAM)
}

/// It makes components of Python.
const PROGRAM: &str = "componentize-py";
