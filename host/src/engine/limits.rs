//! What one call into the sandbox may use, and what became of a call that wanted more.

use std::time::Duration;

use wasmtime::{ResourceLimiter, Trap};

use super::{EngineError, Stage};

/// What one call into the sandbox may use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Budget {
    /// Wall-clock time, rounded up to steps of the engine's ticker.
    pub deadline: Duration,
    /// Linear memory in bytes, over all memories of the component; at most [`MAX_MEMORY_BYTES`].
    pub memory: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { deadline: DEFAULT_DEADLINE, memory: MAX_MEMORY_BYTES }
    }
}

/// What the instances of one store may hold together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ceiling {
    /// Bytes of linear memory.
    pub(super) memory: usize,
    pub(super) table_elements: usize,
    pub(super) core_instances: usize,
    pub(super) tables: usize,
    pub(super) memories: usize,
}

impl Ceiling {
    /// That of the engine's component.
    pub(super) fn of(budget: &Budget) -> Self {
        Self {
            memory: budget.memory.min(MAX_MEMORY_BYTES),
            table_elements: MAX_TABLE_ELEMENTS,
            core_instances: MAX_CORE_INSTANCES,
            tables: MAX_TABLES,
            memories: MAX_MEMORIES,
        }
    }
}

/// Counts what the instances of one store hold, and remembers the first thing that was refused.
#[derive(Debug)]
pub(super) struct Limiter {
    ceiling: Ceiling,
    deadline: Duration,
    memory: usize,
    table_elements: usize,
    refused: Option<Refused>,
}

impl Limiter {
    pub(super) fn new(ceiling: Ceiling, deadline: Duration) -> Self {
        Self { ceiling, deadline, memory: 0, table_elements: 0, refused: None }
    }

    pub(super) fn of(budget: &Budget) -> Self {
        Self::new(Ceiling::of(budget), budget.deadline)
    }

    /// The budget of the next call into the same store.
    pub(super) fn renew(&mut self, budget: &Budget) {
        self.ceiling = Ceiling::of(budget);
        self.deadline = budget.deadline;
        self.refused = None;
    }

    /// The most linear memory that there was. Memories never shrink while their store lives.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Why a call failed: the one place where wasmtime's errors are told apart.
    pub(super) fn cause(&self, error: &wasmtime::Error) -> Cause {
        match (error.downcast_ref::<Trap>(), self.refused) {
            (Some(Trap::Interrupt), _) => Cause::Deadline(self.deadline),
            // A guest that is refused memory aborts, which shows as an `unreachable` instruction.
            (_, Some(Refused::Memory)) => Cause::Memory(self.ceiling.memory),
            (_, Some(Refused::TableElements)) => Cause::Table(self.ceiling.table_elements),
            (Some(trap), None) => {
                Cause::Trapped(trap.to_string().trim_start_matches("wasm trap: ").to_owned())
            }
            (None, None) => {
                let message = format!("{error:#}");
                if message.contains(HOSTCALL_FUEL_MESSAGE) {
                    Cause::Output
                } else if message.contains(COUNT_MESSAGE) {
                    Cause::Count(message)
                } else {
                    Cause::Other(message)
                }
            }
        }
    }

    /// Why a call into the engine's component failed.
    pub(super) fn classify(&self, stage: Stage, error: &wasmtime::Error) -> EngineError {
        match self.cause(error) {
            Cause::Deadline(deadline) => EngineError::Deadline(deadline),
            Cause::Memory(bytes) => EngineError::Memory(bytes),
            Cause::Table(elements) => EngineError::Table(elements),
            Cause::Trapped(trap) => EngineError::Trapped(trap),
            Cause::Output => EngineError::Output(MAX_OUTPUT_BYTES),
            Cause::Count(message) | Cause::Other(message) => match stage {
                Stage::Start => EngineError::Refused(message),
                Stage::Call => EngineError::Answer(message),
            },
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Memories never shrink while their store lives, so the sum only grows.
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        if total > self.ceiling.memory {
            self.refused.get_or_insert(Refused::Memory);
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > self.ceiling.table_elements {
            self.refused.get_or_insert(Refused::TableElements);
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.ceiling.core_instances
    }

    fn tables(&self) -> usize {
        self.ceiling.tables
    }

    fn memories(&self) -> usize {
        self.ceiling.memories
    }
}

/// Why a call into a sandbox failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    /// More instances, tables or memories than there may be.
    Count(String),
    /// The deadline passed.
    Deadline(Duration),
    /// More linear memory was asked for than so many bytes.
    Memory(usize),
    /// Anything that is no trap: what was handed over is not what the interface says.
    Other(String),
    /// More was handed over at once than there may be.
    Output,
    /// More table elements were asked for than so many.
    Table(usize),
    /// The guest stopped itself or did what WebAssembly forbids.
    Trapped(String),
}

#[derive(Clone, Copy, Debug)]
enum Refused {
    Memory,
    TableElements,
}

/// Time for one evaluation. A verdict over the most signatures that count (128, RSA-4096) takes a
/// third of a second on a slow core; registries and webhooks wait ten seconds for an answer.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// Most linear memory of one instance: evidence of the largest size (4 MiB of manifest, as much of
/// index, 16 MiB of signatures), held twice while it is converted and four times while it is parsed.
pub const MAX_MEMORY_BYTES: usize = 128 << 20;

/// Most bytes that one call may hand to the host. The largest honest answer, the mistakes of a policy
/// of several thousand scopes, has less than half of it.
pub const MAX_OUTPUT_BYTES: usize = 4 << 20;

/// Most elements of all tables. A component's table holds the functions that are called indirectly;
/// the engine has about 3,000.
pub const MAX_TABLE_ELEMENTS: usize = 20_000;

/// A component made by wit-component is four core modules: the program, what stands in for WASI, and
/// two that tie them together. Wizer's instrumentation adds some.
pub(super) const MAX_CORE_INSTANCES: usize = 16;

/// The program's table and the one that ties its modules together.
pub(super) const MAX_TABLES: usize = 4;

/// Programs have one memory; one more is for languages that bring their own runtime as a module.
pub(super) const MAX_MEMORIES: usize = 2;

/// Resource handles that a component may hold: the engine has none.
pub(super) const MAX_HANDLES: usize = 64;

/// Part of wasmtime's message for an answer beyond the store's limit, which has no type. A test with
/// a giant answer fails if the words change.
const HOSTCALL_FUEL_MESSAGE: &str = "fuel allocated for hostcalls has been exhausted";

/// Part of wasmtime's message for a store with too many instances, tables or memories, which has no type, either.
const COUNT_MESSAGE: &str = "resource limit exceeded";
