//! The sandbox: the only module that names wasmtime.
//!
//! [`Engine`] is the compiled component with the machinery to run it, [`Policy`] a policy loaded into
//! it. Every evaluation gets an instance of its own, which is dropped afterwards: nothing that
//! untrusted bytes did to one can reach the next. The component imports nothing, so an evaluation can
//! only compute, within its [`Budget`], and a call that fails in whatever way is an [`EngineError`].
//!
//! Calls run on the caller's thread, which needs 2 MiB of stack (the default of threads in Rust and of
//! tokio's blocking threads).

mod apart;
mod artifact;
mod bindings;
mod configuration;
mod limits;
mod rule;
mod slots;
mod snapshot;
mod ticker;

use std::borrow::Cow;
use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use guest_policy::digest::Digest;
use guest_policy::evaluation::Evaluation;
use guest_policy::image::{Evidence, KeyFile, Needs, Signature, Subject};
use guest_policy::rule::RuleUses;
use guest_policy::verdict::{Explanation, Finding, Mistake, Verdict};
use wasmtime::Store;
use wasmtime::component::{Component, InstancePre, Linker};

pub use self::artifact::{Origin, Places};
use self::bindings::{Face, World, WorldPre, mapped};
use self::configuration::Pool;
use self::limits::Limiter;
pub use self::limits::{
    Budget, DEFAULT_DEADLINE, MAX_MEMORY_BYTES, MAX_OUTPUT_BYTES, MAX_TABLE_ELEMENTS,
};
pub use self::rule::{
    DEFAULT_RULE_DEADLINE, DEFAULT_RULE_MEMORY_BYTES, DEFAULT_RULE_OUTPUT_BYTES,
    MAX_RULE_CORE_INSTANCES, MAX_RULE_DEADLINE, MAX_RULE_MEMORIES, MAX_RULE_MEMORY_BYTES,
    MAX_RULE_OUTPUT_BYTES, MAX_RULE_TABLE_ELEMENTS, MAX_RULE_TABLES, Module, Rule, RuleEngine,
    RuleFault, RuleLimits, RuleSettings, Run, Stop,
};
use self::slots::Slots;
use self::ticker::Ticker;

/// The compiled engine component and the machinery to run it. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

impl Engine {
    /// The embedded engine component: precompiled code beside the executable or in the private cache
    /// if there is any, compiled now otherwise.
    pub fn new(settings: &Settings) -> Result<Self, EngineError> {
        Self::assemble(Cow::Borrowed(EMBEDDED), EMBEDDED_SHA256.into(), settings)
    }

    /// Another component in the engine's place. Refused if it imports anything or lacks an export.
    pub fn from_component(wasm: &[u8], settings: &Settings) -> Result<Self, EngineError> {
        if wasm.len() > MAX_COMPONENT_BYTES {
            return Err(EngineError::Refused(format!(
                "it has {} bytes, more than {MAX_COMPONENT_BYTES}",
                wasm.len()
            )));
        }
        Self::assemble(Cow::Owned(wasm.to_owned()), artifact::sha256(wasm), settings)
    }

    /// Compile the embedded component, and the form of it that snapshots are taken of, for this machine's
    /// processor, and write the code into `folder`, where [`Places::packaged`] finds it. Returns the paths of
    /// the files.
    pub fn precompile(folder: &Path) -> Result<Vec<PathBuf>, EngineError> {
        let engine = configuration::engine(None).map_err(bug)?;
        let (_, instrumented) = snapshot::instrument(EMBEDDED).map_err(bug)?;
        let sha256 = artifact::sha256(&instrumented);
        [(EMBEDDED, EMBEDDED_SHA256), (&instrumented, &sha256)]
            .into_iter()
            .map(|(wasm, sha256)| artifact::precompile(&engine, wasm, sha256, folder).map_err(bug))
            .collect()
    }

    /// As [`Self::precompile`], for every processor of this machine's architecture: somewhat slower code,
    /// and the same on whichever machine it is made. The form that snapshots are taken of is left out: its
    /// code is not the same every time.
    pub fn precompile_portably(folder: &Path) -> Result<Vec<PathBuf>, EngineError> {
        let engine = configuration::portable().map_err(bug)?;
        let path = artifact::precompile(&engine, EMBEDDED, EMBEDDED_SHA256, folder);
        Ok(vec![path.map_err(bug)?])
    }

    fn assemble(
        wasm: Cow<'static, [u8]>,
        sha256: String,
        settings: &Settings,
    ) -> Result<Self, EngineError> {
        let engine = configuration::engine(settings.slots.map(Pool::of_engine)).map_err(bug)?;
        let (component, origin) = artifact::component(&engine, &wasm, &sha256, &settings.places)
            .map_err(|error| EngineError::Refused(format!("{error:#}")))?;
        let inner = Inner {
            pre: link(&engine, &component)?,
            ticker: match settings.ticks {
                Ticks::Clock => Some(Ticker::start(&engine).map_err(|error| bug(error.into()))?),
                Ticks::Manual => None,
            },
            slots: settings.slots.map(Slots::new),
            places: settings.places.clone(),
            apart: settings.apart.clone(),
            instrumented: OnceLock::new(),
            engine,
            origin,
            wasm,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The component itself.
    pub fn wasm(&self) -> &[u8] {
        &self.inner.wasm
    }

    /// Where the compiled code came from.
    pub fn origin(&self) -> Origin {
        self.inner.origin
    }

    /// Advance the epoch by one tick. Only where nothing else does: [`Ticks::Manual`].
    pub fn tick(&self) {
        self.inner.engine.increment_epoch();
    }

    /// How many instances and memories of the pool are in use; `None` without a pool.
    pub fn in_use(&self) -> Option<InUse> {
        InUse::of(&self.inner.engine)
    }

    /// Make an instance and drop it: what every evaluation pays beside its work.
    pub fn instantiate(&self, budget: &Budget) -> Result<(), EngineError> {
        let _permit = self.enter(budget)?;
        Live::new(&self.inner.pre, budget).map(drop)
    }

    /// The files that a policy document names.
    pub fn key_paths(
        &self,
        document: &[u8],
    ) -> Result<Result<Vec<String>, Vec<Mistake>>, EngineError> {
        let budget = Budget::default();
        let _permit = self.enter(&budget)?;
        Live::new(&self.inner.pre, &budget)?
            .call(&budget, |face, store| face.call_key_paths(store, document))
            .map(|paths| paths.map_err(mapped))
    }

    /// Every mistake in a policy document.
    pub fn check(&self, document: &[u8], files: &[KeyFile]) -> Result<Vec<Mistake>, EngineError> {
        let budget = Budget::default();
        let files: Vec<_> = files.iter().map(bindings::key_file).collect();
        let _permit = self.enter(&budget)?;
        Live::new(&self.inner.pre, &budget)?
            .call(&budget, |face, store| face.call_check(store, document, &files))
            .map(mapped)
    }

    /// What of a document other implementations of containers-policy.json(5) refuse, though it is right here.
    pub fn dialect(&self, document: &[u8]) -> Result<Vec<Mistake>, EngineError> {
        let budget = Budget::default();
        let _permit = self.enter(&budget)?;
        Live::new(&self.inner.pre, &budget)?
            .call(&budget, |face, store| face.call_dialect(store, document))
            .map(mapped)
    }

    /// Load a policy for one process that asks a few questions: nothing is compiled.
    pub fn load(&self, document: &[u8], files: &[KeyFile]) -> Result<Policy, LoadError> {
        let budget = Budget::default();
        let _permit = self.enter(&budget)?;
        let mut live = Live::new(&self.inner.pre, &budget)?;
        live.load(document, files, &budget)?;
        // An instance that waits for its question must not hold a place of the pool meanwhile.
        let spare = self.inner.slots.is_none().then_some(live);
        let state = State::Document {
            document: document.to_owned(),
            files: files.to_owned(),
            spare: Mutex::new(spare),
        };
        Ok(Policy { inner: Arc::new(Loaded { engine: self.clone(), state }) })
    }

    /// Load a policy for a server: the loaded state is snapshotted into the component and compiled
    /// (about a second), so that an evaluation pays nothing for it. The work, which takes more than 100 MiB
    /// for a moment, is that of the process that [`Settings::apart`] names, or of this one.
    pub fn load_snapshot(&self, document: &[u8], files: &[KeyFile]) -> Result<Policy, LoadError> {
        let engine = &self.inner.engine;
        let component = match &self.inner.apart {
            Some(program) => apart::component(engine, program, document, files),
            None => Component::from_binary(engine, &self.snapshot(document, files)?),
        };
        let state = State::Snapshot(link(engine, &component.map_err(bug)?)?);
        Ok(Policy { inner: Arc::new(Loaded { engine: self.clone(), state }) })
    }

    /// Do what [`Engine::load_snapshot`] asks of a process of its own: read it from `input`, write compiled
    /// code to `output`.
    pub fn serve_snapshot(input: impl Read, output: impl Write) -> Result<(), LoadError> {
        let (document, files) = apart::asked(input).map_err(|error| bug(error.into()))?;
        let engine = Self::new(&Settings { slots: None, ..Settings::default() })?;
        let wasm = engine.snapshot(&document, &files)?;
        apart::answer(&engine.inner.engine, &wasm, output).map_err(bug)?;
        Ok(())
    }

    fn snapshot(&self, document: &[u8], files: &[KeyFile]) -> Result<Vec<u8>, LoadError> {
        let budget = Budget::default();
        let _permit = self.enter(&budget)?;
        let (context, wasm) = snapshot::instrument(&self.inner.wasm).map_err(bug)?;
        let instrumented = self.instrumented(&wasm)?;
        let mut store = store(&self.inner.engine, &budget);
        let instance = instrumented
            .instantiate(&mut store)
            .map_err(|error| store.data().classify(Stage::Start, &error))?;
        let world = World::new(&mut store, &instance).map_err(bug)?;
        let mut live = Live { store, world };
        live.load(document, files, &budget)?;
        // The whole memory is read out in one call.
        live.store.set_hostcall_fuel(budget.memory);
        Ok(snapshot::take(&context, &mut live.store, instance).map_err(bug)?)
    }

    /// The instrumented form of the component, compiled at its first use.
    fn instrumented(&self, wasm: &[u8]) -> Result<&InstancePre<Limiter>, EngineError> {
        if let Some(instrumented) = self.inner.instrumented.get() {
            return Ok(instrumented);
        }
        let sha256 = artifact::sha256(wasm);
        let (component, _) =
            artifact::component(&self.inner.engine, wasm, &sha256, &self.inner.places)
                .map_err(bug)?;
        let pre = Linker::new(&self.inner.engine).instantiate_pre(&component).map_err(bug)?;
        Ok(self.inner.instrumented.get_or_init(|| pre))
    }

    /// Wait for a place, and have the ticker run until the answer is dropped.
    fn enter(&self, budget: &Budget) -> Result<Permit<'_>, EngineError> {
        Permit::take(self.inner.slots.as_ref(), self.inner.ticker.as_ref(), budget.deadline)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("origin", &self.inner.origin).finish_non_exhaustive()
    }
}

/// A policy loaded into the engine. Every evaluation runs in a fresh instance. Cheap to clone.
#[derive(Clone)]
pub struct Policy {
    inner: Arc<Loaded>,
}

impl Policy {
    /// How many evaluations may run at the same time; `None` if there is no limit.
    pub fn slots(&self) -> Option<usize> {
        self.inner.engine.inner.slots.as_ref().map(Slots::count)
    }

    /// Which evidence an evaluation of this image will look at.
    pub fn needs(&self, subject: &Subject, budget: &Budget) -> Result<Needs, EngineError> {
        let subject = bindings::subject(subject);
        self.ask(Trust::Operator, budget, |face, store| face.call_needs(store, subject))
            .map(Into::into)
    }

    /// The rules that the policy names.
    pub fn rules(&self, budget: &Budget) -> Result<RuleUses, EngineError> {
        self.ask(Trust::Operator, budget, |face, store| face.call_rules(store)).map(Into::into)
    }

    /// Judge the signatures of a rule's module by the policy's `rulesFrom`. `digest` is that of the artifact's
    /// manifest, or of the module itself where it lies in a file.
    pub fn judge_module(
        &self,
        subject: &Subject,
        digest: &Digest,
        signatures: &[Signature],
        now: u64,
        budget: &Budget,
    ) -> Result<Verdict, EngineError> {
        let subject = bindings::subject(subject);
        let signatures: Vec<_> = signatures.iter().map(bindings::signature).collect();
        let evaluation = self.ask(Trust::Nobody, budget, |face, store| {
            face.call_judge_module(store, subject, digest.as_str(), &signatures, now)
        })?;
        Ok(Evaluation::from(evaluation).without_rules())
    }

    /// Decide, where no rule is asked: one that would have to be makes the verdict an error. `now` is the
    /// evaluation time, in seconds since 1970-01-01 UTC.
    pub fn evaluate(
        &self,
        subject: &Subject,
        evidence: &Evidence,
        now: u64,
        budget: &Budget,
    ) -> Result<Verdict, EngineError> {
        Ok(self.evaluation(subject, evidence, now, budget)?.without_rules())
    }

    /// Evaluate everything but rules. `now` is the evaluation time, in seconds since 1970-01-01 UTC.
    pub fn evaluation(
        &self,
        subject: &Subject,
        evidence: &Evidence,
        now: u64,
        budget: &Budget,
    ) -> Result<Evaluation, EngineError> {
        let subject = bindings::subject(subject);
        let signatures: Vec<_> = evidence.signatures.iter().map(bindings::signature).collect();
        let evidence = bindings::evidence(evidence, &signatures);
        self.ask(Trust::Nobody, budget, |face, store| {
            face.call_evaluate(store, subject, evidence, now)
        })
        .map(Into::into)
    }

    /// Judge each signature on its own.
    pub fn inspect(
        &self,
        subject: &Subject,
        evidence: &Evidence,
        now: u64,
        budget: &Budget,
    ) -> Result<Vec<Finding>, EngineError> {
        let subject = bindings::subject(subject);
        let signatures: Vec<_> = evidence.signatures.iter().map(bindings::signature).collect();
        let evidence = bindings::evidence(evidence, &signatures);
        self.ask(Trust::Nobody, budget, |face, store| {
            face.call_inspect(store, subject, evidence, now)
        })
        .map(mapped)
    }

    /// Which scope and requirements apply, and why.
    pub fn explain(&self, subject: &Subject, budget: &Budget) -> Result<Explanation, EngineError> {
        let subject = bindings::subject(subject);
        self.ask(Trust::Operator, budget, |face, store| face.call_explain(store, subject))
            .map(Into::into)
    }

    /// Ask in an instance that has seen nothing untrusted, and that is not used again once it has.
    fn ask<T>(
        &self,
        trust: Trust,
        budget: &Budget,
        question: impl FnOnce(&Face, &mut Store<Limiter>) -> wasmtime::Result<T>,
    ) -> Result<T, EngineError> {
        let Loaded { engine, state } = &*self.inner;
        let _permit = engine.enter(budget)?;
        match state {
            State::Document { document, files, spare } => {
                let lock = || spare.lock().unwrap_or_else(PoisonError::into_inner);
                let waiting = lock().take();
                let mut live = match waiting {
                    Some(live) => live,
                    None => {
                        let mut live = Live::new(&engine.inner.pre, budget)?;
                        live.load(document, files, budget).map_err(|error| match error {
                            LoadError::Engine(error) => error,
                            LoadError::Invalid(_) => EngineError::Bug(
                                "the engine refuses a policy that it accepted before".into(),
                            ),
                        })?;
                        live
                    }
                };
                let answer = live.call(budget, question)?;
                if trust == Trust::Operator && engine.inner.slots.is_none() {
                    *lock() = Some(live);
                }
                Ok(answer)
            }
            State::Snapshot(pre) => Live::new(pre, budget)?.call(budget, question),
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.inner.state {
            State::Document { .. } => "document",
            State::Snapshot(_) => "snapshot",
        };
        f.debug_struct("Policy").field("form", &form).finish_non_exhaustive()
    }
}

/// How the engine runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// How many evaluations may run at the same time, each in a place of a pool that is set up ahead:
    /// for servers. Without it there is no limit and no pool: for processes that ask a few questions.
    pub slots: Option<usize>,
    /// Where compiled code may lie.
    pub places: Places,
    /// What advances the time that deadlines are measured in.
    pub ticks: Ticks,
    /// The program whose hidden command `snapshot` takes and compiles snapshots in a process of its own;
    /// without it this process does.
    pub apart: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { slots: None, places: Places::of_this_process(), ticks: Ticks::Clock, apart: None }
    }
}

/// What advances the time that deadlines are measured in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ticks {
    /// A thread, while calls are running.
    Clock,
    /// [`Engine::tick`] alone.
    Manual,
}

/// What is in use of an engine's pool.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct InUse {
    /// Instances of components.
    pub component_instances: u64,
    /// Instances of the modules that components are made of.
    pub core_instances: u64,
    /// Linear memories.
    pub memories: usize,
    /// Tables.
    pub tables: usize,
}

impl InUse {
    fn of(engine: &wasmtime::Engine) -> Option<Self> {
        engine.pooling_allocator_metrics().map(|metrics| Self {
            component_instances: metrics.component_instances(),
            core_instances: metrics.core_instances(),
            memories: metrics.memories(),
            tables: metrics.tables(),
        })
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
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The component's answer breaks the rules of the interface.
    #[error("the sandboxed component gave a malformed answer: {0}")]
    Answer(String),
    /// A fault of this program.
    #[error("internal error: {0}")]
    Bug(String),
    /// All places of the pool were taken for as long as the deadline allowed.
    #[error(
        "no evaluation slot became free within {0:?}; more slots or a longer deadline would help"
    )]
    Busy(Duration),
    /// The deadline passed.
    #[error("evaluation exceeded its deadline of {0:?}")]
    Deadline(Duration),
    /// The component wants something from outside the sandbox.
    #[error("the component imports {}, but a sandboxed component may import nothing", .0.join(", "))]
    Imports(Vec<String>),
    /// More linear memory was asked for than the budget has.
    #[error("evaluation exceeded its memory limit of {0} bytes")]
    Memory(usize),
    /// The answer is larger than any honest one.
    #[error("the sandboxed component's answer exceeded {0} bytes")]
    Output(usize),
    /// The component cannot be run here.
    #[error("the component is not accepted: {0}")]
    Refused(String),
    /// More table elements were asked for than there may be.
    #[error("evaluation exceeded its limit of {0} table elements")]
    Table(usize),
    /// The component stopped itself or did what WebAssembly forbids.
    #[error("evaluation was stopped by the sandbox: {0}")]
    Trapped(String),
}

struct Inner {
    engine: wasmtime::Engine,
    wasm: Cow<'static, [u8]>,
    origin: Origin,
    places: Places,
    apart: Option<PathBuf>,
    pre: WorldPre<Limiter>,
    instrumented: OnceLock<InstancePre<Limiter>>,
    ticker: Option<Ticker>,
    slots: Option<Slots>,
}

struct Loaded {
    engine: Engine,
    state: State,
}

enum State {
    /// Each instance loads the document anew, except for one that has already.
    Document { document: Vec<u8>, files: Vec<KeyFile>, spare: Mutex<Option<Live>> },
    /// Instances are born loaded.
    Snapshot(WorldPre<Limiter>),
}

/// Whose words a question carries into an instance.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Trust {
    Nobody,
    Operator,
}

/// When an error arose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Start,
    Call,
}

/// Held while a call runs.
struct Permit<'a> {
    _slot: Option<slots::Slot<'a>>,
    _watched: Option<ticker::Watched<'a>>,
}

impl<'a> Permit<'a> {
    fn take(
        slots: Option<&'a Slots>,
        ticker: Option<&'a Ticker>,
        patience: Duration,
    ) -> Result<Self, EngineError> {
        let slot = match slots {
            Some(slots) => Some(slots.take(patience).ok_or(EngineError::Busy(patience))?),
            None => None,
        };
        Ok(Self { _slot: slot, _watched: ticker.map(Ticker::watch) })
    }
}

/// An instance with its store.
struct Live {
    store: Store<Limiter>,
    world: World,
}

impl Live {
    fn new(pre: &WorldPre<Limiter>, budget: &Budget) -> Result<Self, EngineError> {
        let mut store = store(pre.engine(), budget);
        let world = pre
            .instantiate(&mut store)
            .map_err(|error| store.data().classify(Stage::Start, &error))?;
        Ok(Self { store, world })
    }

    fn load(
        &mut self,
        document: &[u8],
        files: &[KeyFile],
        budget: &Budget,
    ) -> Result<(), LoadError> {
        let files: Vec<_> = files.iter().map(bindings::key_file).collect();
        self.call(budget, |face, store| face.call_load(store, document, &files))?
            .map_err(|mistakes| LoadError::Invalid(mapped(mistakes)))
    }

    fn call<T>(
        &mut self,
        budget: &Budget,
        question: impl FnOnce(&Face, &mut Store<Limiter>) -> wasmtime::Result<T>,
    ) -> Result<T, EngineError> {
        self.store.data_mut().renew(budget);
        self.store.set_epoch_deadline(ticker::ticks(budget.deadline));
        question(self.world.countersign_policy_evaluator(), &mut self.store)
            .map_err(|error| self.store.data().classify(Stage::Call, &error))
    }
}

fn store(engine: &wasmtime::Engine, budget: &Budget) -> Store<Limiter> {
    let mut store = Store::new(engine, Limiter::of(budget));
    store.limiter(|limiter| limiter);
    store.set_epoch_deadline(ticker::ticks(budget.deadline));
    store.set_hostcall_fuel(MAX_OUTPUT_BYTES);
    store.set_max_component_handles(limits::MAX_HANDLES);
    store
}

/// Check that a component exports what the engine does and imports nothing.
fn link(
    engine: &wasmtime::Engine,
    component: &Component,
) -> Result<WorldPre<Limiter>, EngineError> {
    let imports: Vec<String> =
        component.component_type().imports(engine).map(|(name, _)| name.to_owned()).collect();
    if !imports.is_empty() {
        return Err(EngineError::Imports(imports));
    }
    Linker::new(engine)
        .instantiate_pre(component)
        .and_then(WorldPre::new)
        .map_err(|error| EngineError::Refused(format!("{error:#}")))
}

fn bug(error: wasmtime::Error) -> EngineError {
    EngineError::Bug(format!("{error:#}"))
}

/// The sealed component that the build script made of `guest-policy`.
const EMBEDDED: &[u8] = include_bytes!(env!("COUNTERSIGN_ENGINE"));
const EMBEDDED_SHA256: &str = env!("COUNTERSIGN_ENGINE_SHA256");

/// Largest component that is compiled. One made of JavaScript, which brings its interpreter along, has
/// 12 MB, one of Python 18 MB.
pub const MAX_COMPONENT_BYTES: usize = 32 << 20;
