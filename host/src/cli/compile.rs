//! `countersign compile`: what is started to compile a rule's module in a process of its own.

use std::io;

use anyhow::Result;
use countersign::engine::{RuleEngine, RuleFault};

use super::Exit;

/// Compile a rule's module that is handed over on standard input, within limits; code goes to standard output
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        match RuleEngine::serve_compile(io::stdin().lock(), io::stdout().lock()) {
            Ok(()) => Ok(Exit::Success),
            Err(RuleFault::Engine(error)) => Err(error.into()),
            Err(refused) => {
                super::complain(&refused.to_string());
                Ok(Exit::No)
            }
        }
    }
}
