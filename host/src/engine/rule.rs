//! Rules in the sandbox: components of others, each linked to what the policy grants it and to nothing else.
//!
//! A rule never waits. A document that it wants and that is not there ends the run with [`Stop::Wanted`]; the
//! caller fetches it and runs the rule again, which, being given the same, does the same. So no place of the
//! pool is held while the network is slow, and what a verdict rested on is known.

mod answer;
mod bindings;
mod capability;
mod compile;
mod crypto;
mod fault;
mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use guest_policy::rule::{Answer, Capability, Description, Documents, LogLine, Question, Want};
use wasmtime::Store;
use wasmtime::component::{Component, Linker};

use self::bindings::{Face, World, WorldPre};
use self::capability::{Given, State};
use self::compile::Compiler;
pub use self::fault::{RuleFault, Stop};
pub use self::limits::{
    DEFAULT_RULE_DEADLINE, DEFAULT_RULE_MEMORY_BYTES, DEFAULT_RULE_OUTPUT_BYTES,
    MAX_RULE_CORE_INSTANCES, MAX_RULE_DEADLINE, MAX_RULE_MEMORIES, MAX_RULE_MEMORY_BYTES,
    MAX_RULE_OUTPUT_BYTES, MAX_RULE_TABLE_ELEMENTS, MAX_RULE_TABLES, RuleLimits,
};
use super::slots::Slots;
use super::ticker::{self, Ticker};
use super::{EngineError, InUse, Permit, Places, Ticks, artifact, bug, configuration};

/// The machinery that rules run on. Cheap to clone.
#[derive(Clone)]
pub struct RuleEngine {
    inner: Arc<Inner>,
}

impl RuleEngine {
    /// Set up; nothing is compiled.
    pub fn new(settings: &RuleSettings) -> Result<Self, EngineError> {
        let engine = configuration::engine(settings.slots.map(limits::pool)).map_err(bug)?;
        let inner = Inner {
            ticker: match settings.ticks.unwrap_or(Ticks::Clock) {
                Ticks::Clock => Some(Ticker::start(&engine).map_err(|error| bug(error.into()))?),
                Ticks::Manual => None,
            },
            slots: settings.slots.map(Slots::new),
            compiler: Compiler {
                places: settings.places.clone(),
                program: settings.compiler.clone(),
                turn: Mutex::new(()),
            },
            engine,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Check and compile a module, or take its code from the private cache: by content, whatever it is called.
    pub fn compile(&self, wasm: &[u8]) -> Result<Module, RuleFault> {
        let sha256 = artifact::sha256(wasm);
        let component = self.inner.compiler.component(&self.inner.engine, wasm, &sha256)?;
        let imports = capability::imports(&component)?;
        self.check(&component, &imports)?;
        component.initialize_copy_on_write_image().map_err(bug)?;
        let inner = Compiled { engine: self.clone(), component, sha256, imports };
        Ok(Module { inner: Arc::new(inner) })
    }

    /// Do what [`RuleEngine::compile`] asks of a process of its own, [`RuleSettings::compiler`]: read a module
    /// from `input`, write its code to `output`. Limits this process for the rest of its life.
    pub fn serve_compile(input: impl Read, output: impl Write) -> Result<(), RuleFault> {
        compile::serve(input, output)
    }

    /// Advance the epoch by one tick. Only where nothing else does: [`Ticks::Manual`].
    pub fn tick(&self) {
        self.inner.engine.increment_epoch();
    }

    /// How many instances and memories of the pool are in use; `None` without a pool.
    pub fn in_use(&self) -> Option<InUse> {
        InUse::of(&self.inner.engine)
    }

    /// Whether a component exports what rules do, and imports capabilities as they are.
    fn check(
        &self,
        component: &Component,
        imports: &BTreeSet<Capability>,
    ) -> Result<(), RuleFault> {
        let engine = &self.inner.engine;
        let exported = component.component_type();
        let mut exported = exported.exports(engine).map(|(name, _)| name.to_owned());
        if !exported.any(|name| capability::is_version_of(RULING, &name)) {
            return Err(RuleFault::Invalid(format!("it does not export {RULING}")));
        }
        let linked = capability::linker(engine, imports).map_err(bug)?;
        let pre = linked
            .instantiate_pre(component)
            .map_err(|error| RuleFault::Imports(vec![format!("{error:#}")]))?;
        WorldPre::new(pre).map_err(|error| RuleFault::Invalid(format!("{error:#}")))?;
        Ok(())
    }
}

impl fmt::Debug for RuleEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleEngine").finish_non_exhaustive()
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
#[derive(Clone)]
pub struct Module {
    inner: Arc<Compiled>,
}

impl Module {
    /// SHA-256 of the module's bytes, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.inner.sha256
    }

    /// The capabilities that it imports.
    pub fn imports(&self) -> &BTreeSet<Capability> {
        &self.inner.imports
    }

    /// Ask it about itself. Its imports trap if they are called.
    pub fn describe(&self, budget: &RuleLimits) -> Result<Description, RuleFault> {
        let Compiled { engine, component, .. } = &*self.inner;
        let mut linker = Linker::new(&engine.inner.engine);
        linker.define_unknown_imports_as_traps(component).map_err(bug)?;
        let pre = linker.instantiate_pre(component).and_then(WorldPre::new).map_err(bug)?;
        let limits = budget.capped();
        let mut live = Live::new(engine, &pre, Given::default(), &limits).map_err(fault)?;
        let description = live.call(|face, store| face.call_describe(store)).map_err(fault)?;
        answer::description(description.into(), limits.output)
    }

    /// Link it to these capabilities. Refused if it imports another one.
    pub fn grant(&self, capabilities: &BTreeSet<Capability>) -> Result<Rule, RuleFault> {
        let Compiled { engine, component, imports, .. } = &*self.inner;
        let missing: Vec<_> = imports.difference(capabilities).copied().collect();
        if !missing.is_empty() {
            return Err(RuleFault::Granted(missing));
        }
        let pre = capability::linker(&engine.inner.engine, capabilities)
            .and_then(|linker| linker.instantiate_pre(component))
            .and_then(WorldPre::new)
            .map_err(bug)?;
        Ok(Rule { inner: Arc::new(Linked { module: self.clone(), pre }) })
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compiled { sha256, imports, .. } = &*self.inner;
        f.debug_struct("Module")
            .field("sha256", sha256)
            .field("imports", imports)
            .finish_non_exhaustive()
    }
}

/// A module that may be asked. Cheap to clone.
#[derive(Clone)]
pub struct Rule {
    inner: Arc<Linked>,
}

impl Rule {
    /// What the rule itself has against settings.
    pub fn check_settings(
        &self,
        settings: &str,
        limits: &RuleLimits,
    ) -> Result<Vec<String>, RuleFault> {
        let limits = limits.capped();
        let mut live = self.live(Given::default(), &limits).map_err(fault)?;
        let complaints =
            live.call(|face, store| face.call_check_settings(store, settings)).map_err(fault)?;
        answer::complaints(complaints, limits.output)
    }

    /// Ask. `manifest` and `documents` are what capability `artifact` gives, `data` what capability `data` does.
    pub fn evaluate(
        &self,
        question: &Question,
        manifest: &[u8],
        documents: &Documents,
        data: &BTreeMap<String, Vec<u8>>,
        limits: &RuleLimits,
    ) -> Result<Run, Stop> {
        let mut given = Given::default();
        // What it does not import it cannot ask for.
        let imports = self.inner.module.imports();
        if imports.contains(&Capability::Artifact) {
            given.manifest = manifest.into();
            given.documents = documents.clone();
        }
        if imports.contains(&Capability::Data) {
            let shared = data.iter().map(|(name, bytes)| (name.clone(), bytes[..].into()));
            given.data = shared.collect();
        }
        let limits = limits.capped();
        let mut live = self.live(given, &limits)?;
        let answer = bindings::ask(question, |question| {
            live.call(|face, store| face.call_evaluate(store, question))
        })?;
        let answer = answer::checked(answer, limits.output)?;
        let state = live.into_state();
        let memory = state.limiter.memory();
        let (log, log_dropped) = state.into_log();
        Ok(Run { answer, log, log_dropped, memory })
    }

    fn live(&self, given: Given, limits: &RuleLimits) -> Result<Live<'_>, Stop> {
        Live::new(&self.inner.module.inner.engine, &self.inner.pre, given, limits)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("module", &self.inner.module).finish_non_exhaustive()
    }
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

struct Inner {
    engine: wasmtime::Engine,
    ticker: Option<Ticker>,
    slots: Option<Slots>,
    compiler: Compiler,
}

struct Compiled {
    engine: RuleEngine,
    component: Component,
    sha256: String,
    imports: BTreeSet<Capability>,
}

struct Linked {
    module: Module,
    pre: WorldPre<State>,
}

/// An instance with its store, in its place of the pool. The place is given back last.
struct Live<'a> {
    store: Store<State>,
    world: World,
    _permit: Permit<'a>,
}

impl<'a> Live<'a> {
    fn new(
        engine: &'a RuleEngine,
        pre: &WorldPre<State>,
        given: Given,
        limits: &RuleLimits,
    ) -> Result<Self, Stop> {
        let Inner { slots, ticker, .. } = &*engine.inner;
        let permit = Permit::take(slots.as_ref(), ticker.as_ref(), limits.deadline)
            .map_err(RuleFault::Engine)?;
        let mut store = Store::new(pre.engine(), State::new(limits.limiter(), given));
        store.limiter(|state| &mut state.limiter);
        // For the start and the call together.
        store.set_epoch_deadline(ticker::ticks(limits.deadline));
        store.set_hostcall_fuel(limits::MAX_HANDED_BYTES);
        store.set_max_component_handles(limits::MAX_RULE_HANDLES);
        match pre.instantiate(&mut store) {
            Ok(world) => Ok(Self { store, world, _permit: permit }),
            Err(error) => {
                let state = store.data_mut();
                let cause = state.limiter.cause(&error);
                Err(state.take_stop().unwrap_or_else(|| RuleFault::at_start(cause).into()))
            }
        }
    }

    fn call<T>(
        &mut self,
        question: impl FnOnce(&Face, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, Stop> {
        let answer = question(self.world.countersign_policy_ruling(), &mut self.store);
        let state = self.store.data_mut();
        match (answer, state.take_stop()) {
            // A rule that was told to stop and answers has not been told by wasmtime; it does not count.
            (_, Some(stop)) => Err(stop),
            (Ok(answer), None) => Ok(answer),
            (Err(error), None) => {
                let cause = state.limiter.cause(&error);
                Err(RuleFault::in_call(cause, limits::MAX_HANDED_BYTES).into())
            }
        }
    }

    /// What is left when the instance is gone.
    fn into_state(self) -> State {
        let Self { store, world: _, _permit } = self;
        store.into_data()
    }
}

/// What a call said that could not want a document.
fn fault(stop: Stop) -> RuleFault {
    match stop {
        Stop::Fault(fault) => fault,
        Stop::Wanted(want) => {
            RuleFault::Answer(format!("it asks for {want:?} without having been asked of an image"))
        }
    }
}

/// What every rule exports.
const RULING: &str = "countersign:policy/ruling@0.1.0";
