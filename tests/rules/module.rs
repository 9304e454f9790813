//! Modules of rules to ask: core modules in text form with the interface of rules.

use std::collections::BTreeSet;

use countersign::engine::{Module, Places, Rule, RuleEngine, RuleFault, RuleSettings, Ticks};
use countersign::rule::Capability;
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use crate::support::root;

/// A rule that has nothing against any image, except where a test makes it.
pub(crate) struct Text<'a> {
    /// What its world has beyond a rule's, in WIT.
    pub(crate) wit: &'a str,
    /// The module's imports.
    pub(crate) imports: &'a str,
    /// The module's memory.
    pub(crate) memory: &'a str,
    /// More items of the module.
    pub(crate) items: &'a str,
    /// What `describe` does: leaves the address of its answer on the stack.
    pub(crate) describe: &'a str,
    /// The same of `check-settings`, whose parameters are the address of the text and its length.
    pub(crate) check: &'a str,
    /// The same of `evaluate`, whose parameter is the address of the question.
    pub(crate) evaluate: &'a str,
    /// Of the interface.
    pub(crate) version: &'a str,
}

impl Default for Text<'_> {
    fn default() -> Self {
        Self {
            wit: "",
            imports: "",
            memory: r#"(memory (export "memory") 2)"#,
            items: "",
            describe: "i32.const 512",
            check: "i32.const 0",
            evaluate: "i32.const 0",
            version: "0.1.0",
        }
    }
}

impl Text<'_> {
    /// The component's bytes.
    pub(crate) fn build(&self) -> Vec<u8> {
        encode(&self.module(), self.wit, self.version)
    }

    /// The module's text. Addresses: 0 is all zeros, which is an empty answer, and one that allows; 512 is a
    /// description; what a test writes goes from 1024 up. Parameters go to 65536, each over the one before it.
    fn module(&self) -> String {
        let Self { imports, memory, items, describe, check, evaluate, version, wit: _ } = self;
        let face = format!("countersign:policy/ruling@{version}");
        format!(
            r#"(module
                {imports}
                {memory}
                {items}
                (data (i32.const 512) "\80\02\00\00\04\00\00\00\90\02\00\00\05\00\00\00"
                    "\a0\02\00\00\07\00\00\00\b0\02\00\00\02\00\00\00")
                (data (i32.const 640) "text") (data (i32.const 656) "1.2.3")
                (data (i32.const 672) "Nothing") (data (i32.const 688) "{{}}")
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 65536)
                (func (export "{face}#describe") (result i32) {describe})
                (func (export "{face}#check-settings") (param i32 i32) (result i32) {check})
                (func (export "{face}#evaluate") (param i32) (result i32) {evaluate}))"#
        )
    }
}

/// A component of a core module in text form, with the interface of rules in some version.
pub(crate) fn encode(module: &str, wit: &str, version: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).expect("a module");
    let (resolve, package) = resolve(wit, version);
    let world = resolve.select_world(&[package], Some("text")).expect("a world");
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("an interface");
    ComponentEncoder::default()
        .module(&module)
        .expect("a module with an interface")
        .validate(true)
        .encode()
        .expect("a component")
}

/// The frozen interface in some version, and a world of a rule that has `wit` beside.
pub(crate) fn resolve(wit: &str, version: &str) -> (Resolve, wit_parser::PackageId) {
    let frozen = std::fs::read_to_string(root().join("wit/0.1.0/rule.wit")).expect("a file");
    let frozen = frozen.replace("@0.1.0", &format!("@{version}"));
    let mut resolve = Resolve::default();
    resolve.push_str("rule.wit", &frozen).expect("the interface");
    let package = resolve
        .push_str(
            "text.wit",
            &format!(
                "package text:text;
                interface clock {{ now: func() -> u64; }}
                world text {{ include countersign:policy/rule@{version}; {wit} }}"
            ),
        )
        .expect("a world");
    (resolve, package)
}

/// How the rules of these tests run: in a pool, and in time that passes as a test says.
pub(crate) fn settings() -> RuleSettings {
    RuleSettings {
        slots: Some(2),
        places: Places::default(),
        ticks: Some(Ticks::Manual),
        compiler: None,
    }
}

pub(crate) fn engine() -> RuleEngine {
    RuleEngine::new(&settings()).expect("an engine")
}

/// A rule with all that its module imports.
pub(crate) fn rule(engine: &RuleEngine, wasm: &[u8]) -> Result<Rule, RuleFault> {
    let module = engine.compile(wasm)?;
    module.grant(&all())
}

/// Every capability.
pub(crate) fn all() -> BTreeSet<Capability> {
    Capability::ALL.into_iter().collect()
}

/// A module without any grant.
pub(crate) fn compiled(engine: &RuleEngine, text: &Text<'_>) -> Result<Module, RuleFault> {
    engine.compile(&text.build())
}
