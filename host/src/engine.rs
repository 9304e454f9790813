//! The sandbox: the only module that names wasmtime.

use std::sync::Arc;
use std::time::Duration;

use guest_policy::image::{Evidence, KeyFile, Needs, Subject};
use guest_policy::verdict::{Explanation, Finding, Mistake, Verdict};

/// The compiled engine component and the machinery to run it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    _inner: Arc<()>,
}

impl Engine {
    /// The embedded engine component: precompiled code beside the executable or in the private cache
    /// if there is any, compiled now otherwise.
    pub fn new(settings: &Settings) -> Result<Self, EngineError> {
        let _ = settings;
        Err(EngineError::Bug("not built yet".into()))
    }

    /// The files that a policy document names.
    pub fn key_paths(
        &self,
        document: &[u8],
    ) -> Result<Result<Vec<String>, Vec<Mistake>>, EngineError> {
        let _ = document;
        Err(EngineError::Bug("not built yet".into()))
    }

    /// Every mistake in a policy document.
    pub fn check(&self, document: &[u8], files: &[KeyFile]) -> Result<Vec<Mistake>, EngineError> {
        let _ = (document, files);
        Err(EngineError::Bug("not built yet".into()))
    }

    /// Load a policy for one process that asks a few questions: nothing is compiled.
    pub fn load(&self, document: &[u8], files: &[KeyFile]) -> Result<Policy, LoadError> {
        let _ = (document, files);
        Err(LoadError::Engine(EngineError::Bug("not built yet".into())))
    }

    /// Load a policy for a server: the loaded state is snapshotted into the component and compiled
    /// (about a second), so that an evaluation pays nothing for it.
    pub fn load_snapshot(&self, document: &[u8], files: &[KeyFile]) -> Result<Policy, LoadError> {
        let _ = (document, files);
        Err(LoadError::Engine(EngineError::Bug("not built yet".into())))
    }
}

/// A policy loaded into the engine. Every call runs in a fresh instance. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policy {
    _inner: Arc<()>,
}

impl Policy {
    /// Which evidence an evaluation of this image will look at.
    pub fn needs(&self, subject: &Subject, budget: &Budget) -> Result<Needs, EngineError> {
        let _ = (subject, budget);
        Err(EngineError::Bug("not built yet".into()))
    }

    /// Decide. `now` is the evaluation time, in seconds since 1970-01-01 UTC.
    pub fn evaluate(
        &self,
        subject: &Subject,
        evidence: &Evidence,
        now: u64,
        budget: &Budget,
    ) -> Result<Verdict, EngineError> {
        let _ = (subject, evidence, now, budget);
        Err(EngineError::Bug("not built yet".into()))
    }

    /// Judge each signature on its own.
    pub fn inspect(
        &self,
        subject: &Subject,
        evidence: &Evidence,
        now: u64,
        budget: &Budget,
    ) -> Result<Vec<Finding>, EngineError> {
        let _ = (subject, evidence, now, budget);
        Err(EngineError::Bug("not built yet".into()))
    }

    /// Which scope and requirements apply, and why.
    pub fn explain(&self, subject: &Subject, budget: &Budget) -> Result<Explanation, EngineError> {
        let _ = (subject, budget);
        Err(EngineError::Bug("not built yet".into()))
    }
}

/// How the engine runs.
#[derive(Clone, Debug, Default)]
pub struct Settings {}

/// What one call into the sandbox may use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Budget {
    /// Wall-clock time.
    pub deadline: Duration,
    /// Linear memory, in bytes.
    pub memory: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(5), memory: 128 << 20 }
    }
}

/// A policy was not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The sandbox failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The document is not a policy.
    #[error("invalid policy")]
    Invalid(Vec<Mistake>),
}

/// A call into the sandbox gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A fault of this program.
    #[error("internal error: {0}")]
    Bug(String),
    /// The deadline passed.
    #[error("evaluation exceeded its deadline of {0:?}")]
    Deadline(Duration),
}
