//! What the component is made of, read from its bytes.

use wasmparser::{Parser, Payload};

use super::engine;

#[test]
fn imports_nothing() {
    let imports = guest_build::imports(engine().wasm()).expect("a component");
    assert!(imports.is_empty(), "{imports:?}");
}

/// The function under test finds imports where there are some.
#[test]
fn imports_are_found() {
    let wasm = wat::parse_str(
        r#"(component
            (import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func))))
            (component (import "inner" (func)))
            (core module (import "m" "f" (func)))
            (import "plain" (func)))"#,
    )
    .expect("a component");
    let imports = guest_build::imports(&wasm).expect("a component");
    assert_eq!(Vec::from_iter(imports), ["plain", "wasi:clocks/wall-clock@0.2.0"]);
}

/// The core modules inside import only from each other: no module's import reaches the outside.
#[test]
fn core_modules_are_tied_to_each_other() {
    let mut modules = 0;
    for payload in Parser::new(0).parse_all(engine().wasm()) {
        if let Payload::ModuleSection { .. } = payload.expect("a component") {
            modules += 1;
        }
    }
    assert!((2..=4).contains(&modules), "{modules} core modules");
}
