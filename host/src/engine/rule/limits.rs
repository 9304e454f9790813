//! What rules may use.

use std::time::Duration;

use guest_policy::rule::RuleBudget;

use crate::engine::configuration::Pool;
use crate::engine::limits::{Ceiling, Limiter};

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

impl Default for RuleLimits {
    fn default() -> Self {
        Self {
            deadline: DEFAULT_RULE_DEADLINE,
            memory: DEFAULT_RULE_MEMORY_BYTES,
            output: DEFAULT_RULE_OUTPUT_BYTES,
        }
    }
}

/// What a policy says, the default where it says nothing, and never more than there may be.
impl From<RuleBudget> for RuleLimits {
    fn from(budget: RuleBudget) -> Self {
        let default = Self::default();
        let bytes = |count: Option<u32>, unit: usize, default| match count {
            Some(count) => usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(unit),
            None => default,
        };
        let deadline = budget.deadline_milliseconds.map(u64::from).map(Duration::from_millis);
        let wanted = Self {
            deadline: deadline.unwrap_or(default.deadline),
            memory: bytes(budget.memory_mib, 1 << 20, default.memory),
            output: bytes(budget.output_kib, 1 << 10, default.output),
        };
        wanted.capped()
    }
}

impl RuleLimits {
    /// These, as far as any rule may have them.
    pub(super) fn capped(&self) -> Self {
        Self {
            deadline: self.deadline.min(MAX_RULE_DEADLINE),
            memory: self.memory.min(MAX_RULE_MEMORY_BYTES),
            output: self.output.min(MAX_RULE_OUTPUT_BYTES),
        }
    }

    pub(super) fn limiter(&self) -> Limiter {
        Limiter::new(Ceiling { memory: self.memory, ..CEILING }, self.deadline)
    }
}

/// A pool of places for rules.
pub(super) fn pool(slots: usize) -> Pool {
    Pool { slots, ceiling: CEILING, keep_resident: KEEP_RESIDENT_BYTES }
}

/// The largest rule that there is a place for.
pub(super) const CEILING: Ceiling = Ceiling {
    memory: MAX_RULE_MEMORY_BYTES,
    table_elements: MAX_RULE_TABLE_ELEMENTS,
    core_instances: MAX_RULE_CORE_INSTANCES,
    tables: MAX_RULE_TABLES,
    memories: MAX_RULE_MEMORIES,
};

/// Time for one run, if the policy says nothing: hundreds of times what a rule in Python takes, and a tenth of
/// what a webhook is given.
pub const DEFAULT_RULE_DEADLINE: Duration = Duration::from_secs(1);

/// The longest time that a policy can give a run: what an API server gives a webhook if nobody says otherwise.
pub const MAX_RULE_DEADLINE: Duration = Duration::from_secs(10);

/// Linear memory, if the policy says nothing: a rule in Python starts with a tenth of it.
pub const DEFAULT_RULE_MEMORY_BYTES: usize = 128 << 20;

/// The most linear memory that a policy can give: the documents of the largest size, parsed by an interpreter.
pub const MAX_RULE_MEMORY_BYTES: usize = 256 << 20;

/// Bytes of an answer, if the policy says nothing: almost twice what all reasons of the largest size have.
pub const DEFAULT_RULE_OUTPUT_BYTES: usize = 64 << 10;

/// The most bytes of an answer that a policy can give: room for the largest schema of settings.
pub const MAX_RULE_OUTPUT_BYTES: usize = 1 << 20;

/// Most elements of all tables: an interpreter brings thousands of functions that are called indirectly, and
/// that of Python three times as many as the engine.
pub const MAX_RULE_TABLE_ELEMENTS: usize = 60_000;

/// Core modules of a component: one made of Python has one for each library of its interpreter, and some that
/// tie them together.
pub const MAX_RULE_CORE_INSTANCES: usize = 64;

/// Tables of a component: those of the program and of what ties its modules together.
pub const MAX_RULE_TABLES: usize = 8;

/// Memories of a component: programs have one; one more for what brings its own runtime as a module.
pub const MAX_RULE_MEMORIES: usize = 2;

/// Resource handles that a component may hold: interfaces of rules have none.
pub(super) const MAX_RULE_HANDLES: usize = 64;

/// Bytes that may be handed over in one call: a message for capability `crypto`, twice a manifest of the largest
/// size.
pub(super) const MAX_HANDED_BYTES: usize = 8 << 20;

/// What the rules of a project touch when they run.
const KEEP_RESIDENT_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use guest_policy::rule::{
        MAX_RULE_DEADLINE_MILLISECONDS, MAX_RULE_MEMORY_MIB, MAX_RULE_OUTPUT_KIB,
    };

    use super::*;

    /// A policy that grants more than there is would be accepted, and not kept.
    #[test]
    fn policies_grant_what_there_is() {
        assert_eq!(u128::from(MAX_RULE_DEADLINE_MILLISECONDS), MAX_RULE_DEADLINE.as_millis());
        assert_eq!(
            usize::try_from(MAX_RULE_MEMORY_MIB).expect("small") << 20,
            MAX_RULE_MEMORY_BYTES
        );
        assert_eq!(
            usize::try_from(MAX_RULE_OUTPUT_KIB).expect("small") << 10,
            MAX_RULE_OUTPUT_BYTES
        );
    }
}
