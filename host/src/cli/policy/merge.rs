//! `countersign policy merge`: one document of several.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use countersign::nodes::Prefer;
use countersign::policy::PolicyFile;

use super::add_key::read;
use super::change::OutputArgs;
use crate::cli::Exit;

/// Add what other policy documents say to one
///
/// Nothing is lost: what documents say of the same scope, and not the same, is a mistake that is told, unless --prefer
/// says whose word holds. Paths of keys stay as they are. Exit status: 0 done, 1 something would change (--diff), 2
/// error or misuse.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The document whose order and spelling stay
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What is added, in this order
    #[arg(value_name = "ADDED", required = true)]
    added: Vec<PathBuf>,

    /// Whose word holds where two documents contradict each other [default: that is an error]
    #[arg(long, value_name = "WHOM", value_enum)]
    prefer: Option<PreferName>,

    /// Write FILE itself [default: the document goes to --output]
    #[arg(long, conflicts_with_all = ["output", "diff"])]
    in_place: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let file = PolicyFile::read(&self.file)?;
        let mut document = read(&file)?;
        for path in &self.added {
            let added = read(&PolicyFile::read(path)?)?;
            document
                .merge(&added, self.prefer.map(|name| name.0))
                .with_context(|| format!("cannot merge {}", path.display()))?;
        }
        self.output.write(&document, Some(&file), self.in_place)
    }
}

/// `existing` or `added`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PreferName(pub(crate) Prefer);

impl ValueEnum for PreferName {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(Prefer::Existing), Self(Prefer::Added)]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(match self.0 {
            Prefer::Existing => "existing".into(),
            Prefer::Added => "added".into(),
        })
    }
}

const EXAMPLES: &str = "\
Examples:
  Bring a team's scopes into the policy of a node, and see what changes:
    countersign policy merge --diff /etc/containers/policy.json team.json

  Do it; where both say something, the team's word holds:
    countersign policy merge --in-place --prefer added /etc/containers/policy.json team.json
";
