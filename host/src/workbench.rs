//! The workbench for authors of rules: new folders, building, golden cases, a look into modules.

use std::collections::BTreeSet;
use std::time::Duration;

use guest_policy::digest::Digest;
use guest_policy::rule::{Capability, Description, LogLine};

use crate::engine::{
    EngineError, Module, Rule, RuleEngine, RuleFault, RuleLimits, RuleSettings, Run,
};

pub mod build;
pub mod cases;
mod language;
mod name;
pub mod scaffold;

pub use language::Language;
pub use name::{NameError, RuleName};

/// Runs modules of authors in the sandbox that policies run them in.
#[derive(Clone, Debug)]
pub struct Workbench {
    engine: RuleEngine,
    limits: RuleLimits,
}

/// A module that loads.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Compiled.
    pub module: Module,
    /// What it says of itself.
    pub description: Description,
    /// It has been granted all that it imports.
    pub rule: Rule,
    limits: RuleLimits,
}

/// What there is to see of a module, whether it loads or not.
#[derive(Debug)]
pub struct Inspection {
    /// In bytes.
    pub size: usize,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Names of interfaces, as far as the module can be read.
    pub imports: BTreeSet<String>,
    /// Names of interfaces, as far as the module can be read.
    pub exports: BTreeSet<String>,
    /// The module, or why no policy can load it.
    pub loaded: Result<Loaded, RuleFault>,
}

/// An answer, and what it took.
#[derive(Debug)]
pub struct Timed {
    /// What the rule did.
    pub run: Ran,
    /// Of this run, with the making of the instance.
    pub first: Duration,
    /// Of a run after it, when the memory that all instances share is warm.
    pub again: Duration,
}

/// What a rule did: it answered, or was ended after it had logged this.
pub type Ran = Result<Run, (RuleFault, Vec<LogLine>)>;

impl Workbench {
    /// Set up; nothing is compiled.
    ///
    /// # Errors
    ///
    /// The sandbox cannot be set up on this machine.
    pub fn new(settings: &RuleSettings) -> Result<Self, EngineError> {
        Ok(Self { engine: RuleEngine::new(settings)?, limits: RuleLimits::default() })
    }

    /// Look at a module.
    ///
    /// # Errors
    ///
    /// The sandbox failed.
    pub fn inspect(&self, wasm: &[u8]) -> Result<Inspection, EngineError> {
        let loaded = match self.load(wasm) {
            Err(RuleFault::Engine(error)) => return Err(error),
            loaded => loaded,
        };
        Ok(Inspection {
            size: wasm.len(),
            sha256: Digest::sha256(wasm).hex().to_owned(),
            imports: guest_build::imports(wasm).unwrap_or_default(),
            exports: guest_build::exports(wasm).unwrap_or_default(),
            loaded,
        })
    }

    /// Compile a module, ask it about itself, and grant it what it imports.
    ///
    /// # Errors
    ///
    /// No policy could load it.
    pub fn load(&self, wasm: &[u8]) -> Result<Loaded, RuleFault> {
        let module = self.engine.compile(wasm)?;
        let description = module.describe(&self.limits)?;
        let rule = module.grant(module.imports())?;
        Ok(Loaded { module, description, rule, limits: self.limits.clone() })
    }
}

impl Loaded {
    /// What a policy could stumble over, or its author: sentences.
    pub fn doubts(&self) -> Vec<String> {
        let Description { name, capabilities, .. } = &self.description;
        let mut doubts = Vec::new();
        if let Err(error) = name.parse::<RuleName>() {
            doubts.push(error.to_string());
        }
        for wanted in capabilities {
            if let Err(error) = wanted.parse::<Capability>() {
                doubts.push(format!("it says that it wants {error}"));
            }
        }
        for imported in self.module.imports() {
            if !capabilities.iter().any(|wanted| wanted == imported.name()) {
                doubts.push(format!(
                    "it imports {imported}, but does not say that it wants it: name it in `capabilities`, or in \
                     JavaScript and Python take it out of wit/world.wit"
                ));
            }
        }
        doubts
    }
}

impl Timed {
    /// Whether the rule has nothing against the image. One that was ended has.
    pub fn allowed(&self) -> bool {
        self.run.as_ref().is_ok_and(|run| run.answer.allow)
    }

    /// What the rule logged, however it ended.
    pub fn log(&self) -> &[LogLine] {
        match &self.run {
            Ok(run) => &run.log,
            Err((_, log)) => log,
        }
    }
}
