//! `countersign policy check`: every mistake in a policy document.

use std::path::PathBuf;

use anyhow::Result;
use countersign::policy::PolicyFile;
use countersign::report::mistakes;
use countersign::verdict::Severity;

use crate::cli::options::{Format, engine};
use crate::cli::{Exit, print, style};

/// Point at every mistake in a policy document
///
/// Errors make podman, skopeo and countersign refuse the document; warnings are about what it accepts, but
/// probably does not mean. Exit status: 0 no errors, 1 errors, 2 the document could not be looked at.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The document [default: the policy that verify would use]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Look at the document alone, without opening the key files that it names
    #[arg(long)]
    syntax_only: bool,

    /// The form of the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let file = PolicyFile::find(self.file.as_deref())?;
        let found = file.check(&engine(&file)?, !self.syntax_only)?;
        let name = file.path().display().to_string();
        print(&match self.output {
            Format::Text => mistakes::text(&name, file.document(), &found, style()),
            Format::Json => mistakes::json(&name, &found),
        })?;
        let refused = found.iter().any(|mistake| mistake.severity == Severity::Error);
        Ok(if refused { Exit::No } else { Exit::Success })
    }
}
