//! One policy in both builds of the engine.

use countersign::engine::{Budget, Engine, EngineError, LoadError, Policy};
use countersign::verdict::{Mistake, Verdict};
use countersign::vocabulary::{Evidence, KeyFile, Subject};
use serde::Serialize;

use crate::sandbox;

/// A policy loaded natively and into the sandbox. Whatever is asked, both must answer the same, byte for
/// byte.
pub(crate) struct Both {
    native: guest_policy::Engine,
    sandboxed: Policy,
}

impl Both {
    /// Load into the embedded engine as the command line runs it.
    pub(crate) fn load(document: &[u8], files: &[KeyFile]) -> Result<Self, Vec<Mistake>> {
        Self::load_into(sandbox::engine(), document, files)
    }

    pub(crate) fn load_into(
        engine: &Engine,
        document: &[u8],
        files: &[KeyFile],
    ) -> Result<Self, Vec<Mistake>> {
        let native = guest_policy::Engine::load(document, files);
        let sandboxed = match engine.load(document, files) {
            Ok(policy) => Ok(policy),
            Err(LoadError::Invalid(mistakes)) => Err(mistakes),
            Err(error) => failed(&error),
        };
        match (native, sandboxed) {
            (Ok(native), Ok(sandboxed)) => Ok(Self { native, sandboxed }),
            (native, sandboxed) => {
                let mistakes = sandboxed.err();
                assert_eq!(bytes(&native.err()), bytes(&mistakes), "native is left, sandbox right");
                Err(mistakes.unwrap_or_default())
            }
        }
    }

    pub(crate) fn evaluate(&self, subject: &Subject, evidence: &Evidence, now: u64) -> Verdict {
        match self.try_evaluate(subject, evidence, now) {
            Ok(verdict) => verdict,
            Err(error) => failed(&error),
        }
    }

    /// For input that may exhaust the sandbox: then only the native build answers, and that answer is
    /// not returned.
    pub(crate) fn try_evaluate(
        &self,
        subject: &Subject,
        evidence: &Evidence,
        now: u64,
    ) -> Result<Verdict, EngineError> {
        let native = self.native.evaluate(subject, evidence, now);
        let sandboxed = self.sandboxed.evaluate(subject, evidence, now, &Budget::default())?;
        assert_eq!(bytes(&native), bytes(&sandboxed), "native is left, sandbox right");
        Ok(sandboxed)
    }

    /// The sandboxed one.
    pub(crate) fn sandboxed(&self) -> &Policy {
        &self.sandboxed
    }
}

fn bytes(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("answers can be serialised")
}

#[expect(clippy::panic, reason = "the failure of the test that asks")]
fn failed<T>(error: &dyn std::error::Error) -> T {
    panic!("the sandbox gave no answer: {error}")
}
