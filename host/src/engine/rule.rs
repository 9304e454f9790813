//! Rules in the sandbox: components of others, each linked to what the policy grants it and to nothing else.
//!
//! A rule never waits. A document that it wants and that is not there ends the run with [`Stop::Wanted`]; the
//! caller fetches it and runs the rule again, which, being given the same, does the same. So no place of the
//! pool is held while the network is slow, and what a verdict rested on is known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use guest_policy::rule::{Answer, Capability, Description, Documents, LogLine, Question, Want};

use super::{EngineError, Places, Ticks};

/// The machinery that rules run on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RuleEngine {}

impl RuleEngine {
    /// Set up; nothing is compiled.
    pub fn new(_settings: &RuleSettings) -> Result<Self, EngineError> {
        unimplemented!()
    }

    /// Check and compile a module, or take its code from the private cache: by content, whatever it is called.
    pub fn compile(&self, _wasm: &[u8]) -> Result<Module, RuleFault> {
        unimplemented!()
    }
}

/// How rules run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RuleSettings {
    /// As [`super::Settings::slots`].
    pub slots: Option<usize>,
    /// Where compiled code may lie.
    pub places: Places,
    /// As [`super::Settings::ticks`].
    pub ticks: Option<Ticks>,
    /// The program whose hidden command `compile` compiles in a process of its own, with limits of time and
    /// memory; without it this process does.
    pub compiler: Option<PathBuf>,
}

/// A compiled module, without any grant. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Module {}

impl Module {
    /// SHA-256 of the module's bytes, in hexadecimal.
    pub fn sha256(&self) -> &str {
        unimplemented!()
    }

    /// The capabilities that it imports.
    pub fn imports(&self) -> &BTreeSet<Capability> {
        unimplemented!()
    }

    /// Ask it about itself. Its imports trap if they are called.
    pub fn describe(&self, _budget: &RuleLimits) -> Result<Description, RuleFault> {
        unimplemented!()
    }

    /// Link it to these capabilities. Refused if it imports another one.
    pub fn grant(&self, _capabilities: &BTreeSet<Capability>) -> Result<Rule, RuleFault> {
        unimplemented!()
    }
}

/// A module that may be asked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rule {}

impl Rule {
    /// What the rule itself has against settings.
    pub fn check_settings(
        &self,
        _settings: &str,
        _limits: &RuleLimits,
    ) -> Result<Vec<String>, RuleFault> {
        unimplemented!()
    }

    /// Ask. `manifest` and `documents` are what capability `artifact` gives, `data` what capability `data` does.
    pub fn evaluate(
        &self,
        _question: &Question,
        _manifest: &[u8],
        _documents: &Documents,
        _data: &BTreeMap<String, Vec<u8>>,
        _limits: &RuleLimits,
    ) -> Result<Run, Stop> {
        unimplemented!()
    }
}

/// What one evaluation of a rule may use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleLimits {
    /// Wall-clock time of one run.
    pub deadline: Duration,
    /// Linear memory in bytes, over all memories.
    pub memory: usize,
    /// Bytes of the answer.
    pub output: usize,
}

/// A rule has answered.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it said.
    pub answer: Answer,
    /// What it logged, as far as there was room.
    pub log: Vec<LogLine>,
    /// Lines that there was no room for.
    pub log_dropped: u32,
    /// Most linear memory that it had, in bytes.
    pub memory: usize,
}

/// A rule has not answered.
#[derive(Debug)]
pub enum Stop {
    /// It did what it must not do.
    Fault(RuleFault),
    /// It needs a document: run it again with it.
    Wanted(Want),
}

/// What is wrong with a module, or with what it did. The fault of the rule and of who wrote it, but for
/// [`RuleFault::Engine`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuleFault {
    /// The sandbox failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl RuleFault {
    /// The reason's code, documented in docs/reasons.md.
    pub fn code(&self) -> &'static str {
        unimplemented!()
    }
}
