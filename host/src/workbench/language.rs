//! The languages that rules are written in.

use std::fmt;
use std::path::Path;

/// A language that the workbench knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Language {
    /// A crate that uses `countersign-rule`.
    Rust,
    /// A package that componentize-js makes a component of.
    JavaScript,
    /// A module that componentize-py makes a component of.
    Python,
}

impl Language {
    /// All.
    pub const ALL: [Self; 3] = [Self::Rust, Self::JavaScript, Self::Python];

    /// The language of a rule's folder, by the file that every such folder has. `None` if it is no such folder.
    pub fn of(folder: &Path) -> Option<Self> {
        Self::ALL.into_iter().find(|language| folder.join(language.mark()).is_file())
    }

    /// The file by which a folder is known to have a rule in this language.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::JavaScript => "package.json",
            Self::Python => "app.py",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::JavaScript => "JavaScript",
            Self::Python => "Python",
        })
    }
}
