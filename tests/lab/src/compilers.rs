//! The compilers of rules in JavaScript and Python, from their registries, with pinned hashes: those that new rules
//! name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{run, write};

/// A compiler for rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Compiler {
    /// componentize-js, from the npm registry. Node.js and npm have to be here.
    JavaScript,
    /// componentize-py, from the Python package index. Python has to be here.
    Python,
}

impl Compiler {
    /// All.
    pub const ALL: [Self; 2] = [Self::JavaScript, Self::Python];

    /// The folder for `countersign rule … --tools`, if [`Compiler::install`] has been here.
    #[must_use]
    pub fn find(self) -> Option<PathBuf> {
        let folder = folder();
        let installed = fs::read(folder.join(self.stamp())).ok()?;
        (installed == fs::read(self.pins()).ok()?).then_some(folder)
    }

    /// Fetch it, unless it is here.
    pub fn install(self) -> Result<PathBuf> {
        if let Some(folder) = self.find() {
            return Ok(folder);
        }
        let folder = folder();
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        match self {
            Self::JavaScript => {
                for file in ["package.json", "package-lock.json"] {
                    let from = template("js").join(file);
                    fs::copy(&from, folder.join(file))
                        .with_context(|| format!("cannot copy {}", from.display()))?;
                }
                // Only what the lock file has, and none of its scripts.
                run(Command::new("npm")
                    .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                    .current_dir(&folder))?;
            }
            Self::Python => {
                let environment = folder.join(".venv");
                run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
                run(Command::new(environment.join("bin/python"))
                    .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                    .args(["--require-hashes", "--requirement"])
                    .arg(self.pins()))?;
            }
        }
        write(&folder.join(self.stamp()), fs::read(self.pins())?)?;
        self.find().context("the compiler was not installed")
    }

    /// What says which version, with hashes.
    fn pins(self) -> PathBuf {
        match self {
            Self::JavaScript => template("js").join("package-lock.json"),
            Self::Python => template("python").join("requirements.txt"),
        }
    }

    /// A copy of the pins that were installed.
    fn stamp(self) -> &'static str {
        match self {
            Self::JavaScript => "installed-js",
            Self::Python => "installed-python",
        }
    }
}

/// What new rules are made of.
fn template(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../host/templates/rule").join(language)
}

/// In cargo's target folder, so that a clean tree fetches them again.
fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR");
    target.map_or_else(|| root.join("target"), |target| root.join(target)).join("compilers")
}
