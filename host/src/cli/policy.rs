//! `countersign policy`: what is to know about a policy without an image's evidence.

use anyhow::Result;
use clap::Subcommand;

use super::Exit;

mod check;
mod explain;

/// Check a policy document, or see how it applies to an image
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Check(check::Args),
    Explain(explain::Args),
}

impl Command {
    pub(crate) fn run(self) -> Result<Exit> {
        match self {
            Self::Check(args) => args.run(),
            Self::Explain(args) => args.run(),
        }
    }
}
