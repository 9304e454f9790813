//! `countersign rule test`: golden cases, and recordings.

use std::path::PathBuf;

use anyhow::{Result, bail};
use countersign::record::Recording;
use countersign::report::golden;
use countersign::workbench::cases::{Case, Expectation};

use super::{ToolsArgs, module, workbench};
use crate::cli::options::Format;
use crate::cli::{Exit, complain, print, style};

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
    #[arg(long, value_name = "DIR", conflicts_with = "recordings")]
    cases: Option<PathBuf>,

    /// Ask what the rule was asked when `countersign verify --record` wrote this file; may be repeated
    ///
    /// It has to answer as it did then. Default: golden cases are asked.
    #[arg(long = "recording", value_name = "FILE")]
    recordings: Vec<PathBuf>,

    /// The form of the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    tools: ToolsArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        // A mistake in a case is found before anything is built.
        let recordings = self.recordings.iter().map(|path| Recording::read(path));
        let recordings: Vec<_> = recordings.collect::<Result<_, _>>()?;
        let golden = match recordings.is_empty() {
            true => Case::read_all(&self.folder())?,
            false => Vec::new(),
        };
        let loaded = workbench()?.load(&module(&self.rule, &self.tools)?)?;
        let name = &loaded.description.name;
        let recorded = recordings.iter().flat_map(|recording| Case::recorded(recording, name));
        let mut results = Vec::new();
        let mut left_out = 0;
        for case in golden.into_iter().chain(recorded) {
            match case.expectation {
                Expectation::Unknown => left_out += 1,
                _ => results.push((case.name.clone(), case.ask(&loaded)?)),
            }
        }
        if left_out > 0 {
            complain(&format!(
                "questions that the rule did not answer itself then: {left_out}, not asked"
            ));
        }
        if results.is_empty() {
            bail!("the recordings have no answer of rule {name}");
        }
        print(&match self.output {
            Format::Text => golden::text(&loaded, &results, style()),
            Format::Json => golden::json(&loaded, &results),
        })?;
        let failed = results.iter().any(|(_, outcome)| !outcome.differences.is_empty());
        Ok(if failed { Exit::No } else { Exit::Success })
    }

    fn folder(&self) -> PathBuf {
        let beside =
            if self.rule.is_dir() { Some(self.rule.as_path()) } else { self.rule.parent() };
        self.cases.clone().unwrap_or_else(|| beside.unwrap_or(&self.rule).join("cases"))
    }
}
