//! `countersign rule new`: a folder that builds and passes its tests.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use countersign::workbench::scaffold::scaffold;
use countersign::workbench::{Language, RuleName};

use crate::cli::{Exit, print};

/// Begin a new rule: a folder that builds and passes its tests, with a README that says how to go on
///
/// Nothing is overwritten: the folder must not exist, or be empty.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The rule's name: lower-case letters and digits, with - between words
    #[arg(value_name = "NAME")]
    name: RuleName,

    /// The language
    #[arg(long, value_name = "LANG", value_enum)]
    lang: LanguageName,

    /// The folder [default: NAME]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LanguageName {
    /// Rust: small and fast modules
    Rust,
    /// JavaScript, with componentize-js from the npm registry
    Js,
    /// Python, with componentize-py from the Python package index
    Python,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let language = match self.lang {
            LanguageName::Rust => Language::Rust,
            LanguageName::Js => Language::JavaScript,
            LanguageName::Python => Language::Python,
        };
        let folder = self.folder.unwrap_or_else(|| self.name.as_str().into());
        scaffold(&self.name, language, &folder)?;
        let folder = folder.display();
        print(&format!("{folder}: a rule in {language}; {folder}/README.md says how to go on\n"))?;
        Ok(Exit::Success)
    }
}
