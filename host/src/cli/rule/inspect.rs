//! `countersign rule inspect`: what a module is.

use std::path::PathBuf;

use anyhow::Result;
use countersign::report::modules;

use super::{ToolsArgs, module, workbench};
use crate::cli::options::Format;
use crate::cli::{Exit, print, style};

/// Show what a module is: name, purpose, settings, capabilities, digest, and whether a policy could load it
///
/// Exit status: 0 it loads, 1 it is refused, 2 error or misuse.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The module, or a rule's folder, which is built first
    #[arg(value_name = "MODULE|DIR")]
    module: PathBuf,

    /// The form of the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    tools: ToolsArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let wasm = module(&self.module, &self.tools)?;
        let inspection = workbench()?.inspect(&wasm)?;
        let name = self.module.display().to_string();
        print(&match self.output {
            Format::Text => modules::text(&name, &inspection, style()),
            Format::Json => modules::json(&name, &inspection),
        })?;
        Ok(if inspection.loaded.is_ok() { Exit::Success } else { Exit::No })
    }
}
