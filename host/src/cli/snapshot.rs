//! `countersign snapshot`: what a server starts to prepare a policy in a process of its own.

use std::io;

use anyhow::Result;
use countersign::engine::Engine;

use super::Exit;

/// Prepare a policy that a server hands over on standard input; compiled code goes to standard output
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        Engine::serve_snapshot(io::stdin().lock(), io::stdout().lock())?;
        Ok(Exit::Success)
    }
}
