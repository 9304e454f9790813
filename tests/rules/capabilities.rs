//! What a rule may import: every function of every capability, each behind its own grant.

use std::collections::{BTreeMap, BTreeSet};

use countersign::engine::{RuleFault, RuleLimits, Run, Stop};
use countersign::rule::{Capability, Document, Documents, Want};
use wit_parser::abi::{AbiVariant, WasmType};

use super::module::{Text, all, ask, engine, interface, question, rule};

/// Row 13: CVE-2026-29773, CVE-2026-42541: a policy reached functions of its host that nobody had granted. Here each
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
    assert_eq!(
        functions.iter().collect::<BTreeSet<_>>(),
        BTreeSet::from(expected.map(str::to_owned)).iter().collect()
    );
}

#[test]
fn rule_without_imports_needs_no_grant() {
    let module = engine().compile(&Text::HONEST.build()).expect("a module");
    assert_eq!(*module.imports(), BTreeSet::new());
    for granted in [BTreeSet::new(), all()] {
        let rule = module.grant(&granted).expect("a grant");
        assert!(ask(&rule).expect("an answer").answer.allow);
    }
}

/// A library of a later version makes rules that run on this one, as long as they use what it has.
#[test]
fn rule_of_a_later_patch_version_runs() {
    let imports = WRITE.replace("0.1.0", "0.1.7");
    let wit = "import countersign:policy/log@0.1.7;";
    let text = Text { version: "0.1.7", wit, imports: &imports, ..LOGS };
    let run = ask(&rule(&engine(), &text.build()).expect("a rule")).expect("an answer");
    assert_eq!(run.log.len(), 1);
}

#[test]
fn function_of_a_later_version_is_named() {
    let text = Text {
        version: "0.1.7",
        change: ("write: func(", "shout: func(); write: func("),
        imports: r#"(import "countersign:policy/log@0.1.7" "shout" (func))"#,
        wit: "import countersign:policy/log@0.1.7;",
        ..Text::HONEST
    };
    let refused = engine().compile(&text.build()).expect_err("an unknown function");
    assert_eq!(refused, RuleFault::Imports(vec!["countersign:policy/log@0.1.7#shout".to_owned()]));
}

#[test]
fn rule_of_another_interface_is_refused() {
    let refused =
        engine().compile(&Text { version: "0.2.0", ..Text::HONEST }.build()).expect_err("no rule");
    assert!(
        matches!(&refused, RuleFault::Invalid(what) if what.contains("countersign:policy/ruling@0.1.0")),
        "{refused:?}"
    );
    let imports = WRITE.replace("0.1.0", "0.2.0");
    let wit = "import countersign:policy/log@0.2.0;";
    let text = Text { version: "0.2.0", wit, imports: &imports, ..LOGS };
    let refused = engine().compile(&text.build()).expect_err("no rule");
    assert_eq!(refused, RuleFault::Imports(vec!["countersign:policy/log@0.2.0".to_owned()]));
}

/// The name is that of a function, and its type is another one.
#[test]
fn function_of_another_type_is_refused() {
    let text = Text {
        imports: r#"(import "countersign:policy/log@0.1.0" "write" (func (param i64)))"#,
        wit: "import countersign:policy/log@0.1.0;",
        change: ("write: func(level: level, message: string);", "write: func(x: u64);"),
        ..Text::HONEST
    };
    let refused = engine().compile(&text.build()).expect_err("another function");
    assert_eq!(refused.code(), "rule-imports");
    assert!(refused.to_string().contains("write"), "{refused}");
}

/// Asked about itself it has nothing, whatever it will be granted.
#[test]
fn describe_has_no_capability() {
    let text = Text {
        describe: "(call $write (i32.const 0) (i32.const 0) (i32.const 0)) i32.const 512",
        ..LOGS
    };
    let module = engine().compile(&text.build()).expect("a module");
    let refused = module.describe(&RuleLimits::default()).expect_err("no capability");
    assert_eq!(refused.code(), "rule-trapped", "{refused:?}");
}

#[test]
fn settings_are_checked_without_an_image() {
    let text = Text {
        wit: "import countersign:policy/artifact@0.1.0;",
        imports: r#"(import "countersign:policy/artifact@0.1.0" "config" (func $config (param i32)))"#,
        check: "(call $config (i32.const 1024)) i32.const 0",
        ..Text::HONEST
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
            (call $write (i32.const 3) (i32.const 576) (i32.const 1024))
            (call $write (i32.const 3) (i32.const 576) (i32.const 1025))
            (loop
                (call $write (i32.const 0) (i32.const 576) (i32.const 4))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if 0 (i32.lt_u (local.get $n) (i32.const 1000))))
            i32.const 0",
        ..LOGS
    };
    let run = ask(&rule(&engine(), &text.build()).expect("a rule")).expect("an answer");
    assert!(run.answer.allow);
    assert_eq!(run.log.len(), 101);
    assert_eq!(run.log[100].message, "902 more lines were left out");
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
        ..Text::HONEST
    };
    let rule = rule(&engine(), &text.build()).expect("a rule");
    let given = Documents::from([(Want::Config, Document::Absent)]);
    let stop = rule.evaluate(&question(), b"", &given, &BTreeMap::new(), &RuleLimits::default());
    let Err(Stop::Fault(fault @ RuleFault::Engine(_), _)) = stop else { panic_of(&stop) };
    assert_eq!(fault.code(), "evaluation-failed");
}

/// A module for each function, which imports that one and calls nothing.
fn imports() -> Vec<(Capability, String, Vec<u8>)> {
    let resolve = interface("0.1.0", ("", ""));
    let mut modules = Vec::new();
    for (_, interface) in &resolve.interfaces {
        let of = interface.name.clone().unwrap_or_default();
        if of == "ruling" {
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
                ..Text::HONEST
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

#[expect(clippy::panic, reason = "what came instead is the failure of the test")]
fn panic_of(stop: &Result<Run, Stop>) -> ! {
    panic!("{stop:?}")
}

/// Logs one line.
const LOGS: Text<'static> = Text {
    wit: "import countersign:policy/log@0.1.0;",
    imports: WRITE,
    evaluate: "(call $write (i32.const 0) (i32.const 576) (i32.const 4)) i32.const 0",
    ..Text::HONEST
};

const WRITE: &str =
    r#"(import "countersign:policy/log@0.1.0" "write" (func $write (param i32 i32 i32)))"#;
