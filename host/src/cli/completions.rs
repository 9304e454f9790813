//! `countersign completions`: scripts for shells.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Exit, print};

/// Print a script that makes a shell complete this command
///
/// For example: countersign completions bash > /usr/share/bash-completion/completions/countersign
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "countersign", &mut script);
        print(&String::from_utf8(script)?)?;
        Ok(Exit::Success)
    }
}
