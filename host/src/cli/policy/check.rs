//! `countersign policy check`: every mistake in a policy document.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use countersign::policy::PolicyFile;
use countersign::report::mistakes;
use countersign::verdict::Severity;

use crate::cli::options::{Format, engine};
use crate::cli::{Exit, print, style};

/// Point at every mistake in a policy document
///
/// Errors make countersign refuse the document; warnings are about what it accepts, but probably does not mean.
/// Podman and skopeo refuse the same, and more: see --dialect. Exit status: 0 no errors, 1 errors, 2 the document
/// could not be looked at.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The document [default: the policy that verify would use]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Look at the document alone, without opening the key files that it names
    #[arg(long)]
    syntax_only: bool,

    /// For whom the document is
    ///
    /// What one of them refuses is an error. Default: countersign.
    #[arg(long, value_name = "WHOM", value_enum, hide_default_value = true, default_value_t)]
    dialect: Dialect,

    /// The form of the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// Who reads a document.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum Dialect {
    /// Podman, skopeo, CRI-O and others, too: what containers-policy.json(5) has
    Containers,
    /// With anyOf, atLeast, rule and rulesFrom
    #[default]
    Countersign,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let file = PolicyFile::find(self.file.as_deref())?;
        let engine = engine(&file)?;
        let mut found = file.check(&engine, !self.syntax_only)?;
        if self.dialect == Dialect::Containers {
            // Errors are told before warnings.
            let errors = found.iter().take_while(|mistake| mistake.severity == Severity::Error);
            let place = errors.count();
            found.splice(place..place, file.dialect(&engine)?);
        }
        let name = file.path().display().to_string();
        print(&match self.output {
            Format::Text => mistakes::text(&name, file.document(), &found, style()),
            Format::Json => mistakes::json(&name, &found),
        })?;
        let refused = found.iter().any(|mistake| mistake.severity == Severity::Error);
        Ok(if refused { Exit::No } else { Exit::Success })
    }
}
