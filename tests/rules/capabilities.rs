//! What a rule may import: every function of every capability, each behind its own grant.

use std::collections::{BTreeMap, BTreeSet};

use countersign::engine::{RuleFault, RuleLimits, Run, Stop};
use countersign::rule::{Capability, Document, Documents, Want};
use wit_parser::abi::{AbiVariant, WasmType};

use super::module::{Text, all, compiled, engine, question, resolve, rule};

/// Row 13: CVE-2026-22253 and its kin: a policy reached functions of its host that nobody had granted. Here each
/// function of each interface is imported by a module of its own, which links with its grant and with no other.
#[test]
fn row_13_each_function_needs_its_grant() {
    let engine = engine();
    let mut functions = Vec::new();
    for (capability, function, text) in imports() {
        let module = engine.compile(&text).expect("a module");
        assert_eq!(*module.imports(), BTreeSet::from([capability]), "{function}");
        let mut others = all();
        others.remove(&capability);
        for granted in [others, BTreeSet::new()] {
            let refused = module.grant(&granted).expect_err("no grant, no rule");
            assert_eq!(refused, RuleFault::Granted(vec![capability]), "{function}");
            assert_eq!(refused.code(), "rule-not-granted");
            assert!(refused.to_string().contains(capability.name()), "{refused}");
        }
        let rule = module.grant(&BTreeSet::from([capability])).expect("a grant");
        assert!(ask(&rule).expect("an answer").answer.allow, "{function}");
        functions.push(function);
    }
    let expected = [
        "artifact#manifest",
        "artifact#config",
        "artifact#referrers",
        "artifact#attached",
        "crypto#digest",
        "crypto#verify",
        "data#names",
        "data#read",
        "log#write",
    ];
    assert_eq!(functions.iter().collect::<BTreeSet<_>>(), BTreeSet::from(expected.map(str::to_owned)).iter().collect());
}

#[test]
fn rule_without_imports_needs_no_grant() {
    let module = compiled(&engine(), &Text::default()).expect("a module");
    assert_eq!(*module.imports(), BTreeSet::new());
    for granted in [BTreeSet::new(), all()] {
        let rule = module.grant(&granted).expect("a grant");
        assert!(ask(&rule).expect("an answer").answer.allow);
    }
}

/// A library of a later version makes rules that run on this one, as long as they use what it has.
#[test]
fn rule_of_a_later_patch_version_runs() {
    let text = Text { version: "0.1.7", ..LOGS };
    let wasm = text.build();
    let run = ask(&rule(&engine(), &wasm).expect("a rule")).expect("an answer");
    assert_eq!(run.log.len(), 1);
}

#[test]
fn function_of_a_later_version_is_named() {
    let text = Text {
        version: "0.1.7",
        grown: true,
        imports: r#"(import "countersign:policy/log@0.1.7" "shout" (func))"#,
        wit: "import countersign:policy/log@0.1.7;",
        ..Text::default()
    };
    let refused = compiled(&engine(), &text).expect_err("an unknown function");
    assert_eq!(refused, RuleFault::Imports(vec!["countersign:policy/log@0.1.7#shout".to_owned()]));
}

#[test]
fn rule_of_another_interface_is_refused() {
    let refused =
        compiled(&engine(), &Text { version: "0.2.0", ..Text::default() }).expect_err("no rule");
    assert!(
        matches!(&refused, RuleFault::Invalid(what) if what.contains("countersign:policy/ruling@0.1.0")),
        "{refused:?}"
    );
    let refused = compiled(&engine(), &Text { version: "0.2.0", ..LOGS }).expect_err("no rule");
    assert_eq!(refused, RuleFault::Imports(vec!["countersign:policy/log@0.2.0".to_owned()]));
}

/// The name is that of a capability, and what is behind it is something else.
#[test]
fn function_of_another_type_is_refused() {
    let wasm = wat::parse_str(
        r#"(component
            (import "countersign:policy/log@0.1.0" (instance (export "write" (func (param "x" u64))))))"#,
    )
    .expect("a component");
    let refused = engine().compile(&wasm).expect_err("another function");
    assert_eq!(refused.code(), "rule-invalid", "{refused:?}");
    let text = Text { imports: "", wit: "", ..Text::default() };
    let mut wasm = text.build();
    wasm.extend(component_imports(r#"(instance (export "write" (func (param "x" u64))))"#));
    let refused = engine().compile(&wasm).expect_err("another function");
    assert_eq!(refused.code(), "rule-imports", "{refused:?}");
}

/// Asked about itself it has nothing, whatever it will be granted.
#[test]
fn describe_has_no_capability() {
    let text = Text { describe: "(call $write (i32.const 0) (i32.const 0) (i32.const 0)) i32.const 512", ..LOGS };
    let module = compiled(&engine(), &text).expect("a module");
    let refused = module.describe(&RuleLimits::default()).expect_err("no capability");
    assert_eq!(refused.code(), "rule-trapped", "{refused:?}");
}

#[test]
fn settings_are_checked_without_an_image() {
    let text = Text {
        wit: "import countersign:policy/artifact@0.1.0;",
        imports: r#"(import "countersign:policy/artifact@0.1.0" "config" (func $config (param i32)))"#,
        check: "(call $config (i32.const 1024)) i32.const 0",
        ..Text::default()
    };
    let rule = rule(&engine(), &text.build()).expect("a rule");
    let refused = rule.check_settings("{}", &RuleLimits::default()).expect_err("no image");
    assert_eq!(refused.code(), "rule-answer", "{refused:?}");
}

/// A line that is too long is dropped, as is every line after the last that there is room for.
#[test]
fn log_drops_what_there_is_no_room_for() {
    let text = Text {
        evaluate: "(local $n i32)
            (call $write (i32.const 3) (i32.const 640) (i32.const 1024))
            (call $write (i32.const 3) (i32.const 640) (i32.const 1025))
            (loop
                (call $write (i32.const 0) (i32.const 640) (i32.const 4))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if 0 (i32.lt_u (local.get $n) (i32.const 1000))))
            i32.const 0",
        ..LOGS
    };
    let run = ask(&rule(&engine(), &text.build()).expect("a rule")).expect("an answer");
    assert!(run.answer.allow);
    assert_eq!((run.log.len(), run.log_dropped), (100, 902));
    assert_eq!((run.log[0].level.as_str(), run.log[0].message.len()), ("error", 1024));
    assert_eq!((run.log[1].level.as_str(), run.log[1].message.as_str()), ("debug", "text"));
}

/// A caller that gives something else than was wanted is at fault, and no rule takes it for an absent document.
#[test]
fn misfit_is_an_error_and_nobodys_denial() {
    let text = Text {
        wit: "import countersign:policy/artifact@0.1.0;",
        imports: r#"(import "countersign:policy/artifact@0.1.0" "config" (func $config (param i32)))"#,
        evaluate: "(call $config (i32.const 1024)) i32.const 0",
        ..Text::default()
    };
    let rule = rule(&engine(), &text.build()).expect("a rule");
    let given = Documents::from([(Want::Config, Document::Absent)]);
    let stop = rule.evaluate(&question(), b"", &given, &BTreeMap::new(), &RuleLimits::default());
    let Err(Stop::Fault(fault @ RuleFault::Engine(_))) = stop else { panic_of(&stop) };
    assert_eq!(fault.code(), "evaluation-failed");
}

/// A module for each function, which imports that one and calls nothing.
fn imports() -> Vec<(Capability, String, Vec<u8>)> {
    let (resolve, _) = resolve("", "0.1.0", false);
    let mut modules = Vec::new();
    for (_, interface) in &resolve.interfaces {
        let of = interface.name.clone().unwrap_or_default();
        if ["ruling", "clock"].contains(&of.as_str()) {
            continue;
        }
        let capability: Capability = of.parse().expect("an interface of rule.wit is a capability");
        for (name, function) in &interface.functions {
            let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
            let types = |types: &[WasmType]| {
                let names: Vec<_> = types.iter().map(name_of).collect();
                names.join(" ")
            };
            let import = format!(
                r#"(import "countersign:policy/{of}@0.1.0" "{name}" (func (param {}) (result {})))"#,
                types(&signature.params),
                types(&signature.results)
            );
            let text = Text {
                wit: &format!("import countersign:policy/{of}@0.1.0;"),
                imports: &import,
                ..Text::default()
            };
            modules.push((capability, format!("{of}#{name}"), text.build()));
        }
    }
    modules
}

fn name_of(ty: &WasmType) -> &'static str {
    match ty {
        WasmType::I64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
        _ => "i32",
    }
}

/// The section of an import of `log` of some type, to put at a component's end.
fn component_imports(ty: &str) -> Vec<u8> {
    let text = format!(r#"(component (import "countersign:policy/log@0.1.0" {ty}))"#);
    let wasm = wat::parse_str(text).expect("a component");
    // After the header: the type and the import, which counts types from the first of the component that it is put
    // into. That one has others, so the number is put in anew.
    wasm[8..].to_vec()
}

fn ask(rule: &countersign::engine::Rule) -> Result<Run, Stop> {
    rule.evaluate(
        &question(),
        b"manifest",
        &Documents::new(),
        &BTreeMap::new(),
        &RuleLimits::default(),
    )
}

#[expect(clippy::panic, reason = "what came instead is the failure of the test")]
fn panic_of(stop: &Result<Run, Stop>) -> ! {
    panic!("{stop:?}")
}

/// Logs one line.
const LOGS: Text<'static> = Text {
    wit: "",
    ..Text::DEFAULT
};
