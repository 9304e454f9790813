//! What can be wrong with a rule's module, or with what it did.

use std::time::Duration;

use guest_policy::rule::Capability;

use super::{EngineError, Want};
use crate::engine::limits::Cause;

/// What is wrong with a module, or with what it did. The fault of the rule and of who wrote it, but for
/// [`RuleFault::Engine`].
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleFault {
    /// The answer is not what the interface and its limits say.
    #[error("the rule gave a malformed answer: {0}")]
    Answer(String),
    /// Compiling took more than it may.
    #[error("compiling the module took more than it may: {0}")]
    Compile(String),
    /// More was asked of capability `crypto` than one run may.
    #[error("the rule asked for more than {0} of capability crypto in one run")]
    Crypto(String),
    /// The deadline passed.
    #[error("the rule exceeded its deadline of {0:?}")]
    Deadline(Duration),
    /// More bytes of documents were asked for than one run may.
    #[error("the rule asked for more than {0} bytes of documents in one run")]
    Documents(usize),
    /// The sandbox failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The module imports capabilities that the policy does not grant.
    #[error("the module imports {}, which the policy does not grant", names(.0))]
    Granted(Vec<Capability>),
    /// The module wants something that no rule gets.
    #[error(
        "the module imports {}, but a rule can import nothing but countersign:policy/artifact, crypto, data and \
         log of version 0.1", .0.join(", ")
    )]
    Imports(Vec<String>),
    /// The module is no rule.
    #[error("the module is no rule: {0}")]
    Invalid(String),
    /// More linear memory was asked for than the rule's budget has.
    #[error("the rule exceeded its memory limit of {0} bytes")]
    Memory(usize),
    /// More bytes were handed over than the rule's budget has.
    #[error("the rule handed over more than {0} bytes")]
    Output(usize),
    /// The module is native code.
    #[error(
        "the module is compiled code; a rule is a WebAssembly component, which is compiled here"
    )]
    Precompiled,
    /// The rule stopped before it was asked anything.
    #[error("the rule cannot be started: {0}")]
    Start(String),
    /// More table elements were asked for than there may be.
    #[error("the rule exceeded its limit of {0} table elements")]
    Table(usize),
    /// The module needs more than there is a place for.
    #[error("the module is too large: {0}")]
    TooLarge(String),
    /// The rule stopped itself or did what WebAssembly forbids.
    #[error("the rule was stopped by the sandbox: {0}")]
    Trapped(String),
}

impl RuleFault {
    /// The reason's code, documented in docs/reasons.md.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Answer(_) => "rule-answer",
            Self::Compile(_) => "rule-compile-limit",
            Self::Crypto(_) => "rule-crypto",
            Self::Deadline(_) => "rule-deadline",
            Self::Documents(_) => "rule-documents",
            Self::Engine(EngineError::Busy(_)) => "evaluation-busy",
            Self::Engine(_) => "evaluation-failed",
            Self::Granted(_) => "rule-not-granted",
            Self::Imports(_) => "rule-imports",
            Self::Invalid(_) => "rule-invalid",
            Self::Memory(_) => "rule-memory",
            Self::Output(_) => "rule-output",
            Self::Precompiled => "rule-precompiled",
            Self::Start(_) => "rule-start",
            Self::Table(_) => "rule-table",
            Self::TooLarge(_) => "rule-too-large",
            Self::Trapped(_) => "rule-trapped",
        }
    }

    /// Of a start that failed.
    pub(super) fn at_start(cause: Cause) -> Self {
        match cause {
            Cause::Trapped(what) | Cause::Other(what) => Self::Start(what),
            cause => Self::in_call(cause, 0),
        }
    }

    /// Of a call that failed. `output` is the most that may be handed over at once.
    pub(super) fn in_call(cause: Cause, output: usize) -> Self {
        match cause {
            Cause::Count(what) => Self::TooLarge(what),
            Cause::Deadline(deadline) => Self::Deadline(deadline),
            Cause::Memory(bytes) => Self::Memory(bytes),
            Cause::Other(what) => Self::Answer(what),
            Cause::Output => Self::Output(output),
            Cause::Table(elements) => Self::Table(elements),
            Cause::Trapped(what) => Self::Trapped(what),
        }
    }
}

/// A rule has not answered.
#[derive(Debug, Eq, PartialEq)]
pub enum Stop {
    /// It did what it must not do.
    Fault(RuleFault),
    /// It needs a document: run it again with it.
    Wanted(Want),
}

impl From<RuleFault> for Stop {
    fn from(fault: RuleFault) -> Self {
        Self::Fault(fault)
    }
}

fn names(capabilities: &[Capability]) -> String {
    let names: Vec<_> = capabilities.iter().map(|capability| capability.name()).collect();
    names.join(", ")
}
