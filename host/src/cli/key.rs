//! `countersign key`: what there is to do with a key that exists.

use anyhow::Result;
use clap::Subcommand;

use super::Exit;

mod export;
mod show;

/// Look at keys, and take their public halves out
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Export(export::Args),
    Show(show::Args),
}

impl Command {
    pub(crate) fn run(self) -> Result<Exit> {
        match self {
            Self::Export(args) => args.run(),
            Self::Show(args) => args.run(),
        }
    }
}
