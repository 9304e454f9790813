//! `countersign lookaside`: signature stores beside registries.

use anyhow::Result;
use clap::Subcommand;

use super::Exit;

mod url;

/// Look at signature stores
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Url(url::Args),
}

impl Command {
    pub(crate) fn run(self) -> Result<Exit> {
        match self {
            Self::Url(args) => args.run(),
        }
    }
}
