//! Golden cases: one question, what the capabilities give, and the answer that is expected.
//!
//! docs/rules/testing.md describes the form. The library that rules in Rust are written with reads the same.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use guest_policy::rule::{Document, Documents, LogLine, Question, Want};

use super::{Loaded, Ran, Timed};
use crate::engine::{RuleFault, Stop};
use crate::image::{FileFault, read_limited};
use crate::rules::settings;

mod expectation;
mod format;
mod recorded;

pub use expectation::{Difference, Expectation};

/// A case, ready to be asked.
#[derive(Clone, Debug)]
pub struct Case {
    /// That of its file.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// What is asked.
    pub question: Question,
    /// What capability `artifact` gives as the manifest.
    pub manifest: Vec<u8>,
    /// What it gives besides.
    pub documents: Documents,
    /// What capability `data` gives.
    pub data: BTreeMap<String, Vec<u8>>,
    /// What should come out.
    pub expectation: Expectation,
}

/// How a case came out.
#[derive(Debug)]
pub struct Outcome {
    /// What is not as expected; nothing if the case passed.
    pub differences: Vec<Difference>,
    /// What the rule logged.
    pub log: Vec<LogLine>,
}

impl Case {
    /// Read one case.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no case.
    pub fn read(path: &Path) -> Result<Self, CaseError> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = read_limited(path, MAX_CASE_BYTES).map_err(CaseError::File)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        format::parse(name, &text, folder)
            .map_err(|what| CaseError::Malformed { path: path.to_owned(), what })
    }

    /// Every case of a folder: its files `*.json`, in the order of their names.
    ///
    /// # Errors
    ///
    /// There is none, or one cannot be read.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>, CaseError> {
        let unreadable =
            |source| CaseError::File(FileFault::Io { path: folder.display().to_string(), source });
        let mut paths = Vec::new();
        match folder.read_dir() {
            // Without a folder there is no case, either.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(error)),
            Ok(entries) => {
                for entry in entries {
                    paths.push(entry.map_err(unreadable)?.path());
                }
            }
        }
        paths.retain(|path| path.extension() == Some(OsStr::new("json")));
        paths.sort();
        if paths.is_empty() {
            return Err(CaseError::None { folder: folder.to_owned() });
        }
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// Ask a rule, and compare.
    ///
    /// # Errors
    ///
    /// The sandbox failed, or the case does not say what the rule asks for.
    pub fn ask(&self, loaded: &Loaded) -> Result<Outcome, CaseError> {
        let stopped = |fault: RuleFault, log| match fault {
            RuleFault::Engine(error) => Err(CaseError::Engine(error)),
            fault => Ok(Outcome { differences: vec![Difference::stopped(&fault)], log }),
        };
        // As a policy is loaded: first by the schema, and then by the rule.
        let settings = &self.question.settings;
        let mut mistakes = settings::mistakes(&loaded.description.settings_schema, settings)
            .map_err(|fault| CaseError::Schema(fault.to_string()))?;
        if mistakes.is_empty() {
            mistakes = match loaded.rule.check_settings(settings, &loaded.limits) {
                Ok(mistakes) => mistakes,
                Err(fault) => return stopped(fault, Vec::new()),
            };
        }
        if self.expectation.settings_refused() || !mistakes.is_empty() {
            let differences = self.expectation.settings(&mistakes);
            return Ok(Outcome { differences, log: Vec::new() });
        }
        match self.run(loaded)? {
            Ok(run) => {
                let differences = self.expectation.answer(&run.answer);
                Ok(Outcome { differences, log: run.log })
            }
            Err((fault, log)) => stopped(fault, log),
        }
    }

    /// Ask a rule, without a look at settings and expectation.
    ///
    /// # Errors
    ///
    /// The case does not say what the rule asks for.
    pub fn run(&self, loaded: &Loaded) -> Result<Ran, CaseError> {
        let mut documents = self.documents.clone();
        for _ in 0..MAX_ABSENT_DOCUMENTS {
            let asked = loaded.rule.evaluate(
                &self.question,
                &self.manifest,
                &documents,
                &self.data,
                &loaded.limits,
            );
            match asked {
                Ok(run) => return Ok(Ok(run)),
                Err(Stop::Fault(fault, log)) => return Ok(Err((fault, log))),
                // What the case does not have is not attached.
                Err(Stop::Wanted(want @ Want::Attached(_))) => {
                    documents.insert(want, Document::Absent);
                }
                Err(Stop::Wanted(Want::Config)) => return Err(self.unsaid("config")),
                Err(Stop::Wanted(Want::Referrers)) => return Err(self.unsaid("referrers")),
            }
        }
        Err(CaseError::TooManyDocuments { case: self.name.clone() })
    }

    /// As [`Case::run`], twice, with the time that it takes.
    ///
    /// # Errors
    ///
    /// The case does not say what the rule asks for.
    pub fn time(&self, loaded: &Loaded) -> Result<Timed, CaseError> {
        let begin = Instant::now();
        let run = self.run(loaded)?;
        let first = begin.elapsed();
        let begin = Instant::now();
        let _ = self.run(loaded)?;
        Ok(Timed { run, first, again: begin.elapsed() })
    }

    fn unsaid(&self, member: &'static str) -> CaseError {
        CaseError::Unsaid { case: self.name.clone(), member }
    }
}

/// A case cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaseError {
    /// The sandbox failed.
    #[error(transparent)]
    Engine(#[from] crate::engine::EngineError),
    /// The file cannot be read.
    #[error("cannot read {0}")]
    File(FileFault),
    /// The author's mistake.
    #[error("{} is no golden case: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The rule's fault.
    #[error("the rule's schema of settings cannot be used: {0}")]
    Schema(String),
    /// The author's mistake.
    #[error("there is no golden case in {}: write one into a file NAME.json there", folder.display())]
    None {
        /// The folder.
        folder: PathBuf,
    },
    /// The rule's fault.
    #[error(
        "case {case}: the rule asks for more than {MAX_ABSENT_DOCUMENTS} documents that are not there"
    )]
    TooManyDocuments {
        /// Its name.
        case: String,
    },
    /// The author's mistake.
    #[error(
        "case {case}: the rule asks for capabilities.artifact.{member}, which the case does not have"
    )]
    Unsaid {
        /// Its name.
        case: String,
        /// What to add.
        member: &'static str,
    },
}

/// A case with documents of the largest size that a rule gets.
const MAX_CASE_BYTES: usize = 4 * 1024 * 1024;

/// A rule that asks for this many documents that are not there asks at random.
const MAX_ABSENT_DOCUMENTS: usize = 64;
