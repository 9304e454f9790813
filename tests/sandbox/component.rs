//! Components to put in the engine's place: core modules in text form with the engine's interface.

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use crate::support::root;

/// A component that answers like the engine, except where a test makes it misbehave.
pub(crate) struct Impostor<'a> {
    /// The module's memory.
    pub(crate) memory: &'a str,
    /// More items of the module.
    pub(crate) items: &'a str,
    /// What `evaluate` does if `now` is [`MISBEHAVE`]: leaves the address of its answer on the stack.
    pub(crate) evaluate: &'a str,
    /// What its world has beyond the engine's, in WIT.
    pub(crate) wit: &'a str,
}

impl Default for Impostor<'_> {
    fn default() -> Self {
        Self {
            memory: r#"(memory (export "memory") 1)"#,
            items: "",
            evaluate: "i32.const 256",
            wit: "",
        }
    }
}

impl Impostor<'_> {
    /// The component's bytes.
    pub(crate) fn build(&self) -> Vec<u8> {
        let Self { memory, items, evaluate, wit } = self;
        // Addresses: 0 is all zeros, which is an empty answer to everything but `evaluate`; 256 is a
        // verdict without texts that denies; what a test writes goes from 1024 up. Parameters go to
        // 32768, each call over the one before it.
        let text = format!(
            r#"(module
                {imports}
                {memory}
                {items}
                (data (i32.const 256) "\01")
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 32768)
                (func (export "{FACE}#key-paths") (param i32 i32) (result i32) i32.const 0)
                (func (export "{FACE}#check") (param i32 i32 i32 i32) (result i32) i32.const 0)
                (func (export "{FACE}#dialect") (param i32 i32) (result i32) i32.const 0)
                (func (export "{FACE}#load") (param i32 i32 i32 i32) (result i32) i32.const 0)
                (func (export "{FACE}#rules") (result i32) i32.const 0)
                (func (export "{FACE}#judge-module")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64)
                    (result i32) i32.const 256)
                (func (export "{FACE}#needs")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)
                (func (export "{FACE}#explain")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)
                (func (export "{FACE}#inspect") (param i32) (result i32) i32.const 0)
                (func $misbehave (result i32) {evaluate})
                (func (export "{FACE}#evaluate") (param i32) (result i32)
                    (if (result i32) (i64.eq (i64.load offset=72 (local.get 0)) (i64.const {MISBEHAVE}))
                        (then (call $misbehave))
                        (else (i32.const 256)))))"#,
            imports = if wit.is_empty() { "" } else { IMPORTED_CLOCK },
        );
        let mut module = wat::parse_str(&text).expect("a module");
        let mut resolve = Resolve::default();
        resolve.push_dir(root().join("wit")).expect("the interface");
        let package = resolve
            .push_str(
                "impostor.wit",
                &format!(
                    "package impostor:impostor;
                    interface clock {{ now: func() -> u64; }}
                    world impostor {{ include countersign:policy/engine@0.1.0; {wit} }}"
                ),
            )
            .expect("a world");
        let world = resolve.select_world(&[package], Some("impostor")).expect("a world");
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .expect("an interface");
        ComponentEncoder::default()
            .module(&module)
            .expect("a module with an interface")
            .validate(true)
            .encode()
            .expect("a component")
    }
}

/// The evaluation time at which an impostor misbehaves.
pub(crate) const MISBEHAVE: u64 = 666;

const FACE: &str = "countersign:policy/evaluator@0.1.0";

const IMPORTED_CLOCK: &str = r#"(import "impostor:impostor/clock" "now" (func (result i64)))"#;
