//! `countersign policy init`: a document to begin with.

use anyhow::Result;
use clap::ValueEnum;
use countersign::nodes::{DefaultRule, PolicyDocument};

use super::change::OutputArgs;
use crate::cli::Exit;

/// Write a policy document to begin with
///
/// Without scopes: policy add-key adds them. Exit status: 0 done, 2 error or misuse.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// What holds where no scope decides
    ///
    /// With accept, the document is the one that distributions and nodes of OpenShift begin with.
    #[arg(long = "default", value_name = "RULE", value_enum, default_value = "reject")]
    rule: DefaultName,

    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        self.output.write(&PolicyDocument::new(self.rule.0), None, false)
    }
}

/// `accept` or `reject`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DefaultName(pub(crate) DefaultRule);

impl ValueEnum for DefaultName {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(DefaultRule::Accept), Self(DefaultRule::Reject)]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(match self.0 {
            DefaultRule::Accept => "accept".into(),
            DefaultRule::Reject => "reject".into(),
        })
    }
}

const EXAMPLES: &str = "\
Examples:
  Begin with a policy that accepts nothing:
    countersign policy init --output policy.json

  See what distributions begin with:
    countersign policy init --default accept
";
