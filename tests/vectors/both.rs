//! One policy in both builds of the engine.

use std::time::Duration;

use countersign::engine::{Budget, DEFAULT_DEADLINE, Engine, LoadError, Policy};
use countersign::evaluation::Evaluation;
use countersign::verdict::{Finding, Mistake, Verdict};
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
        let sandboxed = match in_time(|| engine.load(document, files)) {
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
        let budget = Budget::default();
        let native = self.native.evaluate(subject, evidence, now);
        match in_time(|| self.sandboxed.evaluate(subject, evidence, now, &budget)) {
            Ok(sandboxed) => {
                assert_eq!(bytes(&native), bytes(&sandboxed), "native is left, sandbox right");
                sandboxed
            }
            Err(error) => failed(&error),
        }
    }

    pub(crate) fn evaluation(
        &self,
        subject: &Subject,
        evidence: &Evidence,
        now: u64,
    ) -> Evaluation {
        let budget = Budget::default();
        let native = self.native.evaluation(subject, evidence, now);
        match in_time(|| self.sandboxed.evaluation(subject, evidence, now, &budget)) {
            Ok(sandboxed) => {
                assert_eq!(bytes(&native), bytes(&sandboxed), "native is left, sandbox right");
                sandboxed
            }
            Err(error) => failed(&error),
        }
    }

    pub(crate) fn inspect(&self, subject: &Subject, evidence: &Evidence, now: u64) -> Vec<Finding> {
        let budget = Budget::default();
        let native = self.native.inspect(subject, evidence, now);
        match in_time(|| self.sandboxed.inspect(subject, evidence, now, &budget)) {
            Ok(sandboxed) => {
                assert_eq!(bytes(&native), bytes(&sandboxed), "native is left, sandbox right");
                sandboxed
            }
            Err(error) => failed(&error),
        }
    }

    /// The sandboxed one.
    pub(crate) fn sandboxed(&self) -> &Policy {
        &self.sandboxed
    }
}

/// Fails if it takes longer than an evaluation may: not by the clock, which on a busy machine says little,
/// but in time of a processor, where the system tells it.
fn in_time<T>(something: impl FnOnce() -> T) -> T {
    let before = processor_time();
    let result = something();
    if let (Some(before), Some(after)) = (before, processor_time()) {
        let taken = after - before;
        assert!(taken < DEFAULT_DEADLINE, "the sandbox took {taken:?}");
    }
    result
}

/// What this thread has used so far (proc(5), `schedstat`).
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn bytes(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("answers can be serialised")
}

#[expect(clippy::panic, reason = "the failure of the test that asks")]
fn failed<T>(error: &dyn std::error::Error) -> T {
    panic!("the sandbox gave no answer: {error}")
}
