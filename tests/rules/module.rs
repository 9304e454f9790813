//! Modules of rules to ask: core modules in text form with the interface of rules.

use std::collections::{BTreeMap, BTreeSet};

use countersign::digest::Digest;
use countersign::engine::{
    Places, Rule, RuleEngine, RuleFault, RuleLimits, RuleSettings, Run, Stop, Ticks,
};
use countersign::rule::{Capability, Documents, Image, Question};
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
    /// What its interface has that the released one has not: text and what stands in its place.
    pub(crate) change: (&'a str, &'a str),
}

impl Text<'_> {
    /// It allows.
    pub(crate) const HONEST: Self = Self {
        wit: "",
        imports: "",
        memory: r#"(memory (export "memory") 2)"#,
        items: "",
        describe: "i32.const 512",
        check: "i32.const 0",
        evaluate: "i32.const 0",
        version: "0.1.0",
        change: ("", ""),
    };
}

impl Text<'_> {
    /// The component's bytes.
    pub(crate) fn build(&self) -> Vec<u8> {
        encode(&self.module(), self.wit, self.version, self.change)
    }

    /// The module's text. Addresses: 0 is all zeros, which is an empty answer, and one that allows; 512 is a
    /// description, and 576 the text `text`; what a test writes goes from 1024 up. Parameters go to 65536, each over the one before it.
    fn module(&self) -> String {
        let Self { imports, memory, items, describe, check, evaluate, version, .. } = self;
        let face = format!("countersign:policy/ruling@{version}");
        format!(
            r#"(module
                {imports}
                {memory}
                {items}
                (data (i32.const 512) "\40\02\00\00\04\00\00\00\50\02\00\00\05\00\00\00"
                    "\60\02\00\00\07\00\00\00\70\02\00\00\02\00\00\00")
                (data (i32.const 576) "text") (data (i32.const 592) "1.2.3")
                (data (i32.const 608) "Nothing") (data (i32.const 624) "{{}}")
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 65536)
                (func (export "{face}#describe") (result i32) {describe})
                (func (export "{face}#check-settings") (param i32 i32) (result i32) {check})
                (func (export "{face}#evaluate") (param i32) (result i32) {evaluate}))"#
        )
    }
}

/// A component of a core module in text form, with the interface of rules in some version.
pub(crate) fn encode(module: &str, wit: &str, version: &str, change: (&str, &str)) -> Vec<u8> {
    let mut module = wat::parse_str(module).expect("a module");
    let mut resolve = interface(version, change);
    let world = format!(
        "package text:text;
        interface clock {{ now: func() -> u64; }}
        interface things {{ resource thing; }}
        world text {{ include countersign:policy/rule@{version}; {wit} }}"
    );
    let package = resolve.push_str("text.wit", &world).expect("a world");
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

/// The released interface, with one change.
pub(crate) fn interface(version: &str, (old, new): (&str, &str)) -> Resolve {
    let released = std::fs::read_to_string(root().join("wit/0.1.0/rule.wit")).expect("a file");
    assert!(released.contains(old), "{old:?} is not in the interface");
    let text = released.replace("@0.1.0", &format!("@{version}"));
    let text = if old.is_empty() { text } else { text.replace(old, new) };
    let mut resolve = Resolve::default();
    resolve.push_str("rule.wit", &text).expect("the interface");
    resolve
}

/// A question about an image.
pub(crate) fn question() -> Question {
    Question {
        image: Image {
            name: "docker://registry.example.com/ns/app:1".to_owned(),
            digest: Digest::sha256(b"manifest").to_string(),
            ..Image::default()
        },
        claims: Vec::new(),
        attestations: Vec::new(),
        workload: None,
        settings: "{}".to_owned(),
        now: 1_000,
    }
}

/// Ask, with nothing but a manifest to give.
pub(crate) fn ask(rule: &Rule) -> Result<Run, Stop> {
    let (documents, data) = (Documents::new(), BTreeMap::new());
    rule.evaluate(&question(), b"manifest", &documents, &data, &RuleLimits::default())
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
