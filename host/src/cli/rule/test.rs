//! `countersign rule test`: golden cases.

use std::path::PathBuf;

use anyhow::Result;
use countersign::report::golden;
use countersign::workbench::cases::Case;

use super::{ToolsArgs, module, workbench};
use crate::cli::options::Format;
use crate::cli::{Exit, print, style};

/// Ask a rule its golden cases, in the sandbox
///
/// A case is a JSON file that has a question, what the capabilities give, and the answer that is expected; see
/// docs/rules/testing.md. Exit status: 0 all came out as expected, 1 at least one did not, 2 error or misuse.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The rule's folder, which is built first, or its module
    #[arg(value_name = "DIR|MODULE", default_value = ".")]
    rule: PathBuf,

    /// The folder with the cases [default: cases in DIR, or beside MODULE]
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,

    /// The form of the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    tools: ToolsArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let beside =
            if self.rule.is_dir() { Some(self.rule.as_path()) } else { self.rule.parent() };
        let folder = self.cases.unwrap_or_else(|| beside.unwrap_or(&self.rule).join("cases"));
        // A mistake in a case is found before anything is built.
        let cases = Case::read_all(&folder)?;
        let loaded = workbench()?.load(&module(&self.rule, &self.tools)?)?;
        let mut results = Vec::new();
        for case in &cases {
            results.push((case.name.clone(), case.ask(&loaded)?));
        }
        print(&match self.output {
            Format::Text => golden::text(&loaded, &results, style()),
            Format::Json => golden::json(&loaded, &results),
        })?;
        let failed = results.iter().any(|(_, outcome)| !outcome.differences.is_empty());
        Ok(if failed { Exit::No } else { Exit::Success })
    }
}
