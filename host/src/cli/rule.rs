//! `countersign rule`: the workbench for authors of rules.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use countersign::engine::RuleSettings;
use countersign::workbench::build::build;
use countersign::workbench::{Loaded, Workbench, read_module};

use super::Exit;

mod build;
mod inspect;
mod new;
mod run;
mod test;

/// Write, build, test and look into rules: verification rules that a policy names as modules
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    New(new::Args),
    Build(build::Args),
    Test(test::Args),
    Run(Box<run::Args>),
    Inspect(inspect::Args),
}

impl Command {
    pub(crate) fn run(self) -> Result<Exit> {
        match self {
            Self::New(args) => args.run(),
            Self::Build(args) => args.run(),
            Self::Test(args) => args.run(),
            Self::Run(args) => args.run(),
            Self::Inspect(args) => args.run(),
        }
    }
}

/// How rules in JavaScript and Python find their compilers.
#[derive(clap::Args, Debug)]
struct ToolsArgs {
    /// The folder with the compilers for JavaScript (node_modules) and Python (.venv)
    ///
    /// Default: for JavaScript the rule's folder and those above; for Python the rule's folder, then PATH.
    #[arg(long, value_name = "DIR")]
    tools: Option<PathBuf>,
}

/// The bytes of a module: a file, or what is built of a folder.
fn module(path: &Path, tools: &ToolsArgs) -> Result<Vec<u8>> {
    if path.is_dir() {
        return Ok(build(path, tools.tools.as_deref())?);
    }
    Ok(read_module(path)?)
}

/// The machinery that rules run on.
fn workbench() -> Result<Workbench> {
    // Modules are compiled in a process of its own, with limits: they may come from elsewhere.
    let compiler = std::env::current_exe().ok();
    Ok(Workbench::new(&RuleSettings { compiler, ..RuleSettings::default() })?)
}

/// Write a module beside its source, all of it or nothing.
fn write(path: &Path, wasm: &[u8]) -> Result<()> {
    let unwritable = || format!("cannot write {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .with_context(unwritable)?;
    file.write_all(wasm).with_context(unwritable)?;
    file.persist(path).with_context(unwritable)?;
    Ok(())
}

/// Refuse a module that its author has to look at again.
fn without_doubts(loaded: &Loaded) -> Result<()> {
    let doubts = loaded.doubts();
    if !doubts.is_empty() {
        bail!("the rule is not ready: {}", doubts.join("; "));
    }
    Ok(())
}
