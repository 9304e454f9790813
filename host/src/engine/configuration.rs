//! How wasmtime is set up: every choice that the sandbox's safety and speed rest on.

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
};

use super::limits::{Budget, Ceiling};

/// What a pool has a place for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    /// Components at the same time.
    pub(super) slots: usize,
    /// What each of them may hold.
    pub(super) ceiling: Ceiling,
    /// Memory that a free place keeps, to be cleared instead of given back and faulted in again.
    pub(super) keep_resident: usize,
}

impl Pool {
    /// For the engine's component.
    pub(super) fn of_engine(slots: usize) -> Self {
        let ceiling = Ceiling::of(&Budget::default());
        Self { slots, ceiling, keep_resident: KEEP_RESIDENT_BYTES }
    }
}

/// An engine whose instances come from a pool, or from the operating system one by one: if there is to be none,
/// and where the address space for it cannot be had.
pub(super) fn engine(pool: Option<Pool>) -> wasmtime::Result<Engine> {
    if let Some(pool) = pool {
        let mut config = base();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooled(pool)));
        // A container's limit on address space or a processor with little of it refuses the pool.
        if let Ok(engine) = Engine::new(&config) {
            return Ok(engine);
        }
    }
    let mut config = base();
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config)
}

/// An engine that compiles for every processor of this machine's architecture, the oldest included: what
/// it compiles is the same on every machine. It runs nothing.
pub(super) fn portable() -> wasmtime::Result<Engine> {
    let mut config = base();
    // With a target named, wasmtime does not look at this machine's processor. What it asks of the target
    // is the architecture and the operating system.
    config.target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH))?;
    Engine::new(&config)
}

/// What both have in common, so that compiled code fits either.
fn base() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);

    // Speed of cryptography in the guest.
    config.cranelift_opt_level(OptLevel::Speed);
    config.wasm_simd(true);
    config.wasm_wide_arithmetic(true);

    // The same answer on every node: no instruction whose result is the processor's choice.
    config.cranelift_nan_canonicalization(true);
    config.wasm_relaxed_simd(false);

    // A call past its deadline traps at the next loop or call.
    config.epoch_interruption(true);

    // What no guest needs is off: less to attack.
    config.wasm_memory64(false);
    config.wasm_multi_memory(false);
    config.wasm_tail_call(false);

    config.max_wasm_stack(MAX_WASM_STACK_BYTES);
    config.memory_init_cow(true);
    // Bounds checks by guard pages: the reservation is address space, not memory.
    config.memory_reservation(MEMORY_RESERVATION_BYTES);
    config.memory_may_move(false);
    // Nobody reads a guest's backtrace: a trap is an error by its kind alone.
    config.wasm_backtrace_max_frames(None);
    config
}

fn pooled(Pool { slots, ceiling, keep_resident }: Pool) -> PoolingAllocationConfig {
    let count = |per_slot: usize| u32::try_from(slots.saturating_mul(per_slot)).unwrap_or(u32::MAX);
    let each = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(count(1));
    pool.total_core_instances(count(ceiling.core_instances));
    pool.max_core_instances_per_component(each(ceiling.core_instances));
    pool.total_memories(count(ceiling.memories));
    pool.max_memories_per_component(each(ceiling.memories));
    pool.max_memory_size(ceiling.memory);
    pool.total_tables(count(ceiling.tables));
    pool.max_tables_per_component(each(ceiling.tables));
    pool.max_tables_per_module(each(ceiling.tables));
    pool.table_elements(ceiling.table_elements);
    pool.max_unused_warm_slots(count(1));
    pool.linear_memory_keep_resident(keep_resident);
    pool.table_keep_resident(ceiling.table_elements.saturating_mul(TABLE_ELEMENT_BYTES));
    pool.pagemap_scan(Enabled::Auto);
    pool
}

/// Wasmtime's default. Callers have at least 2 MiB of stack, so a guest's endless recursion meets this
/// limit, which traps, before the thread's end, which would abort the process.
const MAX_WASM_STACK_BYTES: usize = 512 << 10;

/// All that a 32-bit address can reach, so that no access needs a check.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;

/// What one evaluation of a usual image touches.
const KEEP_RESIDENT_BYTES: usize = 2 << 20;

/// A reference. The pool keeps full tables.
const TABLE_ELEMENT_BYTES: usize = 8;
