//! `countersign rule`: the workbench for authors of rules.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use countersign::artifact::read_module;
use countersign::engine::{Places, RuleSettings};
use countersign::files;
use countersign::workbench::build::build;
use countersign::workbench::{Loaded, Workbench};

use super::Exit;
use super::options::rule_settings;

mod build;
mod inspect;
mod new;
mod pull;
mod push;
mod run;
mod test;

/// Write, build, test and publish rules: verification rules that a policy names as modules
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    New(new::Args),
    Build(build::Args),
    Test(test::Args),
    Run(Box<run::Args>),
    Inspect(inspect::Args),
    Push(Box<push::Args>),
    Pull(pull::Args),
}

impl Command {
    pub(crate) fn run(self) -> Result<Exit> {
        match self {
            Self::New(args) => args.run(),
            Self::Build(args) => args.run(),
            Self::Test(args) => args.run(),
            Self::Run(args) => args.run(),
            Self::Inspect(args) => args.run(),
            Self::Push(args) => args.run(),
            Self::Pull(args) => args.run(),
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
    // The fault has the file's name and the reason.
    read_module(path).map_err(|fault| anyhow!("cannot read module {fault}"))
}

/// The machinery that rules run on.
fn workbench() -> Result<Workbench> {
    Ok(Workbench::new(&settings())?)
}

/// How modules of authors run: compiled in a process of its own, with limits, since they may come from elsewhere;
/// and not kept, since the next build is another module.
fn settings() -> RuleSettings {
    RuleSettings { places: Places::default(), ..rule_settings() }
}

/// Write a module's file, all of it or nothing. One that is there is an error, or replaced.
fn write(path: &Path, wasm: &[u8], replace: bool) -> Result<()> {
    let unwritable = || format!("cannot write {}", path.display());
    let file = files::prepare(path, wasm, files::READABLE).with_context(unwritable)?;
    let written = match replace {
        true => file.persist(path),
        false => file.persist_noclobber(path),
    };
    match written {
        // Somebody else was faster.
        Err(fault) if fault.error.kind() == ErrorKind::AlreadyExists => Err(exists(path)),
        written => written.map(drop).with_context(unwritable),
    }
}

fn exists(path: &Path) -> anyhow::Error {
    let path = path.display();
    anyhow!("cannot write {path}: it is there already; name another file, or use --force")
}

/// Refuse a module that its author has to look at again.
fn without_doubts(loaded: &Loaded) -> Result<()> {
    let doubts = loaded.doubts();
    if !doubts.is_empty() {
        bail!("the rule is not ready: {}", doubts.join("; "));
    }
    Ok(())
}
