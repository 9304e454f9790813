//! `countersign demo`.
use anyhow::Result;

use super::Exit;

/// demo
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        Ok(Exit::Error)
    }
}
