//! `countersign rule run`: one question, and all that there is to know about the answer.

use std::path::PathBuf;

use anyhow::Result;
use countersign::report::runs;
use countersign::workbench::cases::Case;

use super::{ToolsArgs, module, workbench};
use crate::cli::options::Format;
use crate::cli::{Exit, print, style};

/// Ask a rule about one golden case, and show the answer with log, time and memory
///
/// Exit status: 0 the rule allows, 1 it denies or was ended, 2 error or misuse.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The module, or a rule's folder, which is built first
    #[arg(value_name = "MODULE|DIR")]
    module: PathBuf,

    /// The golden case; what it expects is not looked at
    #[arg(long, value_name = "FILE")]
    case: PathBuf,

    /// The form of the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    tools: ToolsArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let case = Case::read(&self.case)?;
        let loaded = workbench()?.load(&module(&self.module, &self.tools)?)?;
        let timed = case.time(&loaded)?;
        print(&match self.output {
            Format::Text => runs::text(&loaded, &case.question.image.name, &timed, style()),
            Format::Json => runs::json(&loaded, &case.question.image.name, &timed),
        })?;
        Ok(if timed.allowed() { Exit::Success } else { Exit::No })
    }
}
