//! `countersign policy`: what is to know about a policy without an image's evidence, and how one is written.

use anyhow::Result;
use clap::Subcommand;

use super::Exit;

mod add_key;
mod change;
mod check;
mod explain;
mod init;
mod merge;

pub(super) use add_key::read;
pub(super) use change::{complain_of, replace, warn};
pub(super) use init::DefaultName;
pub(super) use merge::PreferName;

/// Check a policy document, see how it applies to an image, or write one
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Check(check::Args),
    Explain(explain::Args),
    Init(init::Args),
    AddKey(add_key::Args),
    Merge(merge::Args),
}

impl Command {
    pub(crate) fn run(self) -> Result<Exit> {
        match self {
            Self::Check(args) => args.run(),
            Self::Explain(args) => args.run(),
            Self::Init(args) => args.run(),
            Self::AddKey(args) => args.run(),
            Self::Merge(args) => args.run(),
        }
    }
}
