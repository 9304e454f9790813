//! `countersign precompile`: for packagers.

use std::path::PathBuf;

use anyhow::{Context, Result};
use countersign::engine::Engine;

use super::{Exit, print};

/// Compile the engine into a folder, from which a package ships it beside the executable
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Compile for every processor of this architecture, not for that of this machine
    #[arg(long)]
    portable: bool,
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let compile = if self.portable { Engine::precompile_portably } else { Engine::precompile };
        let paths = compile(&self.folder)
            .with_context(|| format!("cannot compile into {}", self.folder.display()))?;
        for path in paths {
            print(&format!("{}\n", path.display()))?;
        }
        Ok(Exit::Success)
    }
}
