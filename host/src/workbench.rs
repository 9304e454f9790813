//! The workbench for authors of rules: new folders, building, golden cases, a look into modules.

use guest_policy::rule::{Capability, Description};

use crate::engine::{EngineError, Module, Rule, RuleEngine, RuleFault, RuleLimits, RuleSettings};

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

impl Workbench {
    /// Set up; nothing is compiled. `limits` are those of each evaluation.
    ///
    /// # Errors
    ///
    /// The sandbox cannot be set up on this machine.
    pub fn new(settings: &RuleSettings, limits: RuleLimits) -> Result<Self, EngineError> {
        Ok(Self { engine: RuleEngine::new(settings)?, limits })
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
