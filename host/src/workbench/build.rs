//! From the source of a rule to a component.
//!
//! Each language's own compiler does the work. What comes out imports no WASI: the standard library of Rust is
//! answered by the engine's adapter, the runtimes of JavaScript and Python have everything switched off.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use super::Language;

mod javascript;
mod python;
mod rust;

/// Build the rule in `folder`: the bytes of a component. What the compilers say goes to standard error.
///
/// `tools` is a folder that has the compilers for JavaScript (`node_modules`) and Python (`.venv`), for who does
/// not want them in each rule's folder.
///
/// # Errors
///
/// The folder has no rule, a tool is missing, or the source does not compile.
pub fn build(folder: &Path, tools: Option<&Path>) -> Result<Vec<u8>, BuildError> {
    match Language::of(folder) {
        None => Err(BuildError::NoRule { folder: folder.to_owned() }),
        Some(Language::Rust) => rust::build(folder),
        Some(Language::JavaScript) => javascript::build(folder, tools),
        Some(Language::Python) => python::build(folder, tools),
    }
}

/// A rule was not built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The user's mistake.
    #[error(
        "{} has no rule: expected Cargo.toml (Rust), package.json (JavaScript) or app.py (Python); \
         `countersign rule new` makes a folder that has one",
        folder.display()
    )]
    NoRule {
        /// The folder.
        folder: PathBuf,
    },
    /// The user's mistake.
    #[error("{} is no rule: {what}", folder.display())]
    NotARule {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The compiler has said why.
    #[error("{} was not built: {program} ended with {status}", folder.display())]
    Failed {
        /// The folder.
        folder: PathBuf,
        /// What ran.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The machine lacks something.
    #[error("{what} is missing; {install}")]
    Missing {
        /// What is not there.
        what: String,
        /// The command that installs it.
        install: String,
    },
    /// The machine's fault.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

/// Run a compiler in the rule's folder. All that it says goes to standard error: results are for standard output.
fn run(folder: &Path, command: &mut Command) -> Result<(), BuildError> {
    let program = name(command);
    command.current_dir(folder).stdin(Stdio::null()).stdout(io::stderr());
    let status = command
        .status()
        .map_err(|source| BuildError::Io { what: format!("start {program}"), source })?;
    if !status.success() {
        return Err(BuildError::Failed { folder: folder.to_owned(), program, status });
    }
    Ok(())
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    std::fs::read(path)
        .map_err(|source| BuildError::Io { what: format!("read {}", path.display()), source })
}

/// A folder for what compilers write.
fn scratch() -> Result<tempfile::TempDir, BuildError> {
    tempfile::tempdir()
        .map_err(|source| BuildError::Io { what: "make a temporary folder".to_owned(), source })
}

/// A program of the PATH.
fn find(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program.as_ref()))
        .find(|file| file.is_file())
}

/// A path that means the same from another folder.
fn absolute(path: &Path) -> Result<PathBuf, BuildError> {
    std::path::absolute(path)
        .map_err(|source| BuildError::Io { what: format!("find {}", path.display()), source })
}
