//! `countersign rule`: the workbench for authors of rules.

use anyhow::Result;
use clap::Subcommand;

use super::Exit;

mod pull;
mod push;

/// Publish and fetch rules: verification rules that a policy names as modules
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Push(Box<push::Args>),
    Pull(pull::Args),
}

impl Command {
    pub(crate) fn run(self) -> Result<Exit> {
        match self {
            Self::Push(args) => args.run(),
            Self::Pull(args) => args.run(),
        }
    }
}
