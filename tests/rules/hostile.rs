//! Hostile rules, one per threat. Each ends by itself with a code of its own, within its limits, and leaves the
//! host and its pool as they were.
//!
//! Nothing here waits for a clock: whatever hangs does so until the test has ticked often enough.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use countersign::engine::{
    Engine, EngineError, InUse, MAX_RULE_CORE_INSTANCES, MAX_RULE_MEMORY_BYTES,
    MAX_RULE_TABLE_ELEMENTS, Rule, RuleEngine, RuleFault, RuleLimits, RuleSettings, Run, Stop,
    Ticks,
};
use countersign::rule::{Document, Documents, RuleBudget, Want};

use super::module::{Text, all, ask, engine, question, rule, settings};

#[test]
fn endless_loop_meets_the_deadline() {
    let fault = hang("(loop (br 0)) unreachable");
    assert_eq!(fault, RuleFault::Deadline(RuleLimits::default().deadline));
    assert_eq!(fault.code(), "rule-deadline");
}

/// The bytes are moved by the host, and a rule may have it move many.
#[test]
fn endless_questions_to_a_capability_meet_the_deadline() {
    let fault = hang_with(&Text {
        evaluate: "(loop (call $write (i32.const 0) (i32.const 576) (i32.const 4)) (br 0)) unreachable",
        ..LOGS
    });
    assert_eq!(fault.code(), "rule-deadline");
}

#[test]
fn endless_recursion_traps() {
    let fault = misbehaviour(&Text {
        items: "(func $deeper (param i32) (result i32)
            (i32.add (call $deeper (i32.add (local.get 0) (i32.const 1))) (local.get 0)))",
        evaluate: "(call $deeper (i32.const 0))",
        ..Text::HONEST
    });
    assert_eq!(fault, RuleFault::Trapped("call stack exhausted".into()));
    assert_eq!(fault.code(), "rule-trapped");
}

#[test]
fn memory_growth_meets_the_limit() {
    let fault = misbehaviour(&Text {
        evaluate: "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
        ..Text::HONEST
    });
    assert_eq!(fault, RuleFault::Memory(RuleLimits::default().memory));
    assert_eq!(fault.code(), "rule-memory");
}

#[test]
fn memory_of_a_budget_counts() {
    let engine = engine();
    let text = Text { evaluate: "(drop (memory.grow (i32.const 32))) unreachable", ..Text::HONEST };
    let rule = rule(&engine, &text.build()).expect("a rule");
    let small = RuleLimits::from(RuleBudget { memory_mib: Some(1), ..RuleBudget::default() });
    assert_eq!(fault_of(with_limits(&rule, &small)), RuleFault::Memory(1 << 20));
    let all = RuleLimits::from(RuleBudget { memory_mib: Some(u32::MAX), ..RuleBudget::default() });
    assert_eq!(all.memory, MAX_RULE_MEMORY_BYTES);
    assert_eq!(fault_of(with_limits(&rule, &all)).code(), "rule-trapped");
    assert_still_answers(&engine);
}

/// Before the first instruction there is a memory, too.
#[test]
fn memory_that_starts_beyond_the_limit_is_refused() {
    let text = Text { memory: r#"(memory (export "memory") 5000)"#, ..Text::HONEST };
    for slots in [None, Some(2)] {
        let engine = RuleEngine::new(&RuleSettings { slots, ..settings() }).expect("an engine");
        let fault = engine.compile(&text.build()).expect_err("too much memory");
        assert_eq!(fault.code(), "rule-too-large", "{fault:?}");
    }
    let engine = engine();
    let text = Text { memory: r#"(memory (export "memory") 100)"#, ..Text::HONEST };
    let rule = rule(&engine, &text.build()).expect("a rule");
    let small = RuleLimits { memory: 1 << 20, ..RuleLimits::default() };
    assert_eq!(fault_of(with_limits(&rule, &small)), RuleFault::Memory(1 << 20));
    assert_still_answers(&engine);
}

#[test]
fn table_growth_meets_the_limit() {
    let fault = misbehaviour(&Text {
        items: "(table $t 1 funcref)",
        evaluate: "(loop (br_if 0 (i32.ne
            (table.grow $t (ref.null func) (i32.const 100)) (i32.const -1)))) unreachable",
        ..Text::HONEST
    });
    assert_eq!(fault, RuleFault::Table(MAX_RULE_TABLE_ELEMENTS));
    assert_eq!(fault.code(), "rule-table");
}

#[test]
fn table_that_starts_beyond_the_limit_is_refused() {
    let text = Text { items: "(table $t 70000 funcref)", ..Text::HONEST };
    let fault = engine().compile(&text.build()).expect_err("a large table");
    assert_eq!(fault.code(), "rule-too-large", "{fault:?}");
}

#[test]
fn giant_answer_is_refused() {
    for evaluate in [
        // The message of a reason.
        "(drop (memory.grow (i32.const 1600)))
         (i32.store8 (i32.const 1024) (i32.const 1))
         (i32.store (i32.const 1028) (i32.const 1536)) (i32.store (i32.const 1032) (i32.const 1))
         (i32.store (i32.const 1548) (i32.const 100000000))
         i32.const 1024",
        // Warnings that have no words, and take up room in the host.
        "(drop (memory.grow (i32.const 1600)))
         (i32.store (i32.const 1036) (i32.const 65536)) (i32.store (i32.const 1040) (i32.const 10000000))
         i32.const 1024",
        // A little more than the budget has.
        "(i32.store (i32.const 1036) (i32.const 1536)) (i32.store (i32.const 1040) (i32.const 1))
         (i32.store (i32.const 1540) (i32.const 65537))
         i32.const 1024",
    ] {
        let fault = misbehaviour(&Text { evaluate, ..Text::HONEST });
        assert_eq!(fault.code(), "rule-output", "{fault:?}");
    }
}

#[test]
fn output_of_a_budget_counts() {
    let text = Text {
        // Sixteen warnings of 1,024 bytes.
        evaluate: "(local $n i32)
            (loop
                (i32.store (i32.add (i32.const 1540) (i32.shl (local.get $n) (i32.const 3))) (i32.const 1024))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if 0 (i32.lt_u (local.get $n) (i32.const 16))))
            (i32.store (i32.const 1036) (i32.const 1536)) (i32.store (i32.const 1040) (i32.const 16))
            i32.const 1024",
        ..Text::HONEST
    };
    let rule = rule(&engine(), &text.build()).expect("a rule");
    let limits = |output_kib| RuleLimits::from(RuleBudget { output_kib, ..RuleBudget::default() });
    assert_eq!(fault_of(with_limits(&rule, &limits(Some(15)))), RuleFault::Output(15 << 10));
    for enough in [Some(16), None] {
        let run = with_limits(&rule, &limits(enough)).expect("an answer");
        assert_eq!(run.answer.warnings.len(), 16);
    }
}

/// As long as any text of it is short, an answer may still have too many.
#[test]
fn answer_of_too_many_or_too_long_parts_is_refused() {
    for (what, evaluate) in [
        (
            "reasons",
            "(i32.store8 (i32.const 1024) (i32.const 1))
             (i32.store (i32.const 1028) (i32.const 8192)) (i32.store (i32.const 1032) (i32.const 33))",
        ),
        ("warnings", "(i32.store (i32.const 1036) (i32.const 8192)) (i32.store (i32.const 1040) (i32.const 17))"),
        ("annotations", "(i32.store (i32.const 1044) (i32.const 8192)) (i32.store (i32.const 1048) (i32.const 33))"),
        (
            "code of a reason",
            "(i32.store8 (i32.const 1024) (i32.const 1))
             (i32.store (i32.const 1028) (i32.const 8192)) (i32.store (i32.const 1032) (i32.const 1))
             (i32.store (i32.const 8196) (i32.const 65))",
        ),
        (
            "message of a reason",
            "(i32.store8 (i32.const 1024) (i32.const 1))
             (i32.store (i32.const 1028) (i32.const 8192)) (i32.store (i32.const 1032) (i32.const 1))
             (i32.store (i32.const 8204) (i32.const 1025))",
        ),
        (
            "warning",
            "(i32.store (i32.const 1036) (i32.const 8192)) (i32.store (i32.const 1040) (i32.const 1))
             (i32.store (i32.const 8196) (i32.const 1025))",
        ),
        (
            "name of an annotation",
            "(i32.store (i32.const 1044) (i32.const 8192)) (i32.store (i32.const 1048) (i32.const 1))
             (i32.store (i32.const 8196) (i32.const 64))",
        ),
        // A name without any letter, and one that has a space.
        (
            "name of an annotation",
            "(i32.store (i32.const 1044) (i32.const 8192)) (i32.store (i32.const 1048) (i32.const 1))",
        ),
        (
            "name of an annotation",
            "(i32.store (i32.const 1044) (i32.const 8192)) (i32.store (i32.const 1048) (i32.const 1))
             (i32.store (i32.const 8192) (i32.const 576)) (i32.store (i32.const 8196) (i32.const 5))",
        ),
        (
            "annotation",
            "(i32.store (i32.const 1044) (i32.const 8192)) (i32.store (i32.const 1048) (i32.const 1))
             (i32.store (i32.const 8192) (i32.const 576)) (i32.store (i32.const 8196) (i32.const 4))
             (i32.store (i32.const 8204) (i32.const 1025))",
        ),
    ] {
        let evaluate = format!("{evaluate} i32.const 1024");
        let fault = misbehaviour(&Text { evaluate: &evaluate, ..Text::HONEST });
        assert_eq!(fault.code(), "rule-answer", "{what}: {fault:?}");
        assert!(fault.to_string().contains(what), "{what}: {fault}");
    }
}

/// A denial is one, although nobody can say what it is about.
#[test]
fn denial_without_a_reason_has_one() {
    let text = Text {
        evaluate: "(i32.store8 (i32.const 1024) (i32.const 1)) i32.const 1024",
        ..Text::HONEST
    };
    let answer = ask(&rule(&engine(), &text.build()).expect("a rule")).expect("an answer").answer;
    assert!(!answer.allow);
    let codes: Vec<_> = answer.reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["unspecified"]);
}

/// Row 61: CVE-2026-34941, CVE-2026-34942, CVE-2026-34943, CVE-2026-35195: lengths, pointers and discriminants of an
/// answer are the rule's word, and no lie may reach the host as more than a denial.
#[test]
fn row_61_lying_answers_are_denials() {
    for (lie, evaluate) in [
        ("reasons beyond memory", "(i32.store8 (i32.const 1024) (i32.const 1))
            (i32.store (i32.const 1028) (i32.const 131000)) (i32.store (i32.const 1032) (i32.const 30))"),
        ("reasons of the largest number", "(i32.store8 (i32.const 1024) (i32.const 1))
            (i32.store (i32.const 1032) (i32.const -1))"),
        ("reasons whose size wraps around", "(i32.store8 (i32.const 1024) (i32.const 1))
            (i32.store (i32.const 1032) (i32.const 0x10000001))"),
        ("reasons that are not aligned", "(i32.store8 (i32.const 1024) (i32.const 1))
            (i32.store (i32.const 1028) (i32.const 2049)) (i32.store (i32.const 1032) (i32.const 1))"),
        ("a warning beyond memory", "(i32.store (i32.const 1036) (i32.const 2048))
            (i32.store (i32.const 1040) (i32.const 1))
            (i32.store (i32.const 2048) (i32.const 131000)) (i32.store (i32.const 2052) (i32.const 1000))"),
        ("a warning that is not UTF-8", "(i32.store (i32.const 1036) (i32.const 2048))
            (i32.store (i32.const 1040) (i32.const 1)) (i32.store (i32.const 3000) (i32.const -1))
            (i32.store (i32.const 2048) (i32.const 3000)) (i32.store (i32.const 2052) (i32.const 4))"),
        ("a decision that does not exist", "(i32.store8 (i32.const 1024) (i32.const 2))"),
        ("an option that is neither", "(i32.store8 (i32.const 1056) (i32.const 2))"),
    ] {
        let evaluate = format!("{evaluate} i32.const 1024");
        let fault = misbehaviour(&Text { evaluate: &evaluate, ..Text::HONEST });
        assert_eq!(fault.code(), "rule-answer", "{lie}: {fault:?}");
    }
    for address in ["131072", "131060", "-8", "1025"] {
        let evaluate = format!("i32.const {address}");
        let fault = misbehaviour(&Text { evaluate: &evaluate, ..Text::HONEST });
        assert_eq!(fault.code(), "rule-answer", "answer at {address}: {fault:?}");
    }
}

/// Row 61: what a capability gives goes to where the rule says.
#[test]
fn row_61_lying_allocator_is_a_denial() {
    let engine = engine();
    let text = Text { evaluate: "(call $manifest (i32.const 1024)) i32.const 0", ..READS };
    let rule = rule(&engine, &text.build()).expect("a rule");
    // The module's allocator gives the same 64 KiB to everyone.
    let giant = vec![0; 100 << 10];
    let limits = RuleLimits::default();
    let stop = rule.evaluate(&question(), &giant, &Documents::new(), &BTreeMap::new(), &limits);
    let fault = fault_of(stop);
    assert!(matches!(fault, RuleFault::Answer(_) | RuleFault::Trapped(_)), "{fault:?}");
    assert_still_answers(&engine);
}

/// A module that says nothing true of itself, or too much.
#[test]
fn lying_description_is_refused() {
    let engine = engine();
    for (describe, code) in [
        (
            "(drop (memory.grow (i32.const 1600))) (i32.store (i32.const 1028) (i32.const 100000000)) i32.const 1024",
            "rule-output",
        ),
        ("(i32.store (i32.const 1028) (i32.const 65537)) i32.const 1024", "rule-output"),
        ("(i32.store (i32.const 1056) (i32.const -1)) i32.const 1024", "rule-answer"),
        ("unreachable", "rule-trapped"),
        ("i32.const -1", "rule-answer"),
    ] {
        let module = engine.compile(&Text { describe, ..Text::HONEST }.build()).expect("a module");
        let fault = module.describe(&RuleLimits::default()).expect_err("no description");
        assert_eq!(fault.code(), code, "{describe}: {fault:?}");
    }
    assert_still_answers(&engine);
}

/// What it says it wants is not what it gets.
#[test]
fn capabilities_are_those_of_the_imports_and_not_of_the_description() {
    let module = engine().compile(&LOGS.build()).expect("a module");
    let description = module.describe(&RuleLimits::default()).expect("a description");
    assert_eq!(description.capabilities, [""; 0]);
    assert_eq!(module.grant(&[].into()).expect_err("no grant").code(), "rule-not-granted");
}

#[test]
fn lying_check_of_settings_is_refused() {
    let engine = engine();
    for (check, code) in [
        (
            "(i32.store (i32.const 1024) (i32.const 8192)) (i32.store (i32.const 1028) (i32.const 101)) i32.const 1024",
            "rule-answer",
        ),
        ("(i32.store (i32.const 1028) (i32.const -1)) i32.const 1024", "rule-answer"),
        ("unreachable", "rule-trapped"),
    ] {
        let rule = rule(&engine, &Text { check, ..Text::HONEST }.build()).expect("a rule");
        let fault = rule.check_settings("{}", &RuleLimits::default()).expect_err("no answer");
        assert_eq!(fault.code(), code, "{check}: {fault:?}");
    }
    assert_still_answers(&engine);
}

/// A bulk operation cannot be interrupted, so one must be short: at most all of the memory.
#[test]
fn big_copies_meet_the_deadline() {
    let fault = hang(
        "(drop (memory.grow (i32.const 1600)))
         (loop
            (memory.copy (i32.const 50000000) (i32.const 0) (i32.const 50000000))
            (memory.fill (i32.const 0) (i32.const 1) (i32.const 100000000))
            (br 0))
         unreachable",
    );
    assert_eq!(fault.code(), "rule-deadline");
}

#[test]
fn trap_at_start_is_told() {
    let text = Text { items: "(func $start unreachable) (start $start)", ..Text::HONEST };
    let fault = misbehaviour(&text);
    assert_eq!(fault, RuleFault::Start("wasm `unreachable` instruction executed".into()));
    assert_eq!(fault.code(), "rule-start");
}

#[test]
fn endless_start_meets_the_deadline() {
    let text = Text { items: "(func $start (loop (br 0))) (start $start)", ..Text::HONEST };
    assert_eq!(hang_with(&text).code(), "rule-deadline");
}

#[test]
fn start_that_uses_a_capability_is_bounded() {
    let items = r#"(func (export "_initialize")
        (loop (call $write (i32.const 0) (i32.const 576) (i32.const 4)) (br 0)))"#;
    assert_eq!(hang_with(&Text { items, ..LOGS }).code(), "rule-deadline");
}

/// Handles live in the host.
#[test]
fn flood_of_handles_is_refused() {
    let fault = misbehaviour(&Text {
        wit: "export things;",
        imports: r#"(import "[export]text:text/things" "[resource-new]thing" (func $new (param i32) (result i32)))"#,
        evaluate: "(loop (drop (call $new (i32.const 1))) (br 0)) unreachable",
        ..Text::HONEST
    });
    assert_eq!(fault.code(), "rule-trapped");
    assert!(fault.to_string().contains("handle"), "{fault}");
}

#[test]
fn flood_of_log_lines_is_dropped() {
    let engine = engine();
    let evaluate = "(local $n i32)
        (loop
            (call $write (i32.const 0) (i32.const 576) (i32.const 4))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $n) (i32.const 100000))))
        i32.const 0";
    let run = ask(&rule(&engine, &Text { evaluate, ..LOGS }.build()).expect("a rule"));
    let run = run.expect("an answer");
    assert_eq!((run.log.len(), run.log_dropped), (100, 99_900));
    assert_still_answers(&engine);
}

#[test]
fn giant_log_line_is_refused() {
    let evaluate = "(drop (memory.grow (i32.const 1600)))
        (call $write (i32.const 0) (i32.const 0) (i32.const 100000000)) i32.const 0";
    assert_eq!(misbehaviour(&Text { evaluate, ..LOGS }).code(), "rule-output");
}

/// Documents are copied into the rule each time that it asks.
#[test]
fn flood_of_documents_is_refused() {
    let engine = engine();
    let text = Text {
        memory: r#"(memory (export "memory") 100)"#,
        evaluate: "(loop (call $config (i32.const 1024)) (br 0)) unreachable",
        ..READS
    };
    let rule = rule(&engine, &text.build()).expect("a rule");
    let document = Document::Bytes(vec![0; 4 << 20].into());
    let documents = Documents::from([(Want::Config, document)]);
    let limits = RuleLimits::default();
    let stop = rule.evaluate(&question(), b"", &documents, &BTreeMap::new(), &limits);
    let fault = fault_of(stop);
    assert_eq!((&fault, fault.code()), (&RuleFault::Documents(64 << 20), "rule-documents"));
    assert_still_answers(&engine);
}

/// Wants are told one by one, so a rule that wants without end is run without end by nobody: each run ends.
#[test]
fn wanted_document_ends_the_run() {
    let engine = engine();
    let text =
        Text { evaluate: "(loop (call $config (i32.const 1024)) (br 0)) unreachable", ..READS };
    let rule = rule(&engine, &text.build()).expect("a rule");
    for _ in 0..3 {
        assert_eq!(ask(&rule).err(), Some(Stop::Wanted(Want::Config)));
    }
    assert_still_answers(&engine);
}

/// Neither bytes to hash nor signatures to verify are without end.
#[test]
fn flood_of_cryptography_is_refused() {
    let imports = r#"
        (import "countersign:policy/crypto@0.1.0" "digest" (func $digest (param i32 i32 i32 i32)))
        (import "countersign:policy/crypto@0.1.0" "verify"
            (func $verify (param i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;
    for (evaluate, what) in [
        (
            "(loop (call $digest (i32.const 0) (i32.const 0) (i32.const 1000000) (i32.const 1024)) (br 0)) unreachable",
            "67108864 bytes",
        ),
        (
            "(loop
                (drop (call $verify (i32.const 8) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1000000)
                    (i32.const 0) (i32.const 0)))
                (br 0))
             unreachable",
            "67108864 bytes",
        ),
        (
            "(loop
                (drop (call $verify (i32.const 8) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                    (i32.const 0) (i32.const 0)))
                (br 0))
             unreachable",
            "256 signatures",
        ),
    ] {
        let fault = misbehaviour(&Text {
            wit: "import countersign:policy/crypto@0.1.0;",
            memory: r#"(memory (export "memory") 100)"#,
            imports,
            evaluate,
            ..Text::HONEST
        });
        assert_eq!((&fault, fault.code()), (&RuleFault::Crypto(what.into()), "rule-crypto"));
    }
}

#[test]
fn unknown_imports_are_refused_with_the_list() {
    let text = Text {
        wit: "import clock;",
        imports: r#"(import "text:text/clock" "now" (func (result i64)))"#,
        ..Text::HONEST
    };
    let fault = engine().compile(&text.build()).expect_err("a clock");
    assert_eq!(fault, RuleFault::Imports(vec!["text:text/clock".into()]));
    assert_eq!(fault.code(), "rule-imports");
}

/// What compilers bring along if nobody tells them not to.
#[test]
fn wasi_is_refused_with_the_list() {
    let wasm = wat::parse_str(
        r#"(component
            (import "wasi:cli/environment@0.2.0" (instance))
            (import "wasi:clocks/monotonic-clock@0.2.3" (instance))
            (import "countersign:policy/log@0.1.0" (instance))
            (import "countersign:policy/loge@0.1.0" (instance))
            (import "countersign:policy/log" (func))
            (import "wasi:sockets/tcp@0.2.0" (instance
                (export "socket" (type (sub resource)))))
        )"#,
    )
    .expect("a component");
    let fault = engine().compile(&wasm).expect_err("WASI");
    let expected = [
        "wasi:cli/environment@0.2.0",
        "wasi:clocks/monotonic-clock@0.2.3",
        "countersign:policy/loge@0.1.0",
        "countersign:policy/log",
        "wasi:sockets/tcp@0.2.0",
    ];
    assert_eq!(fault, RuleFault::Imports(expected.map(str::to_owned).into()));
}

#[test]
fn component_without_the_interface_is_refused() {
    let wasm = wat::parse_str("(component)").expect("a component");
    let fault = engine().compile(&wasm).expect_err("no rule");
    assert_eq!(fault.code(), "rule-invalid");
    assert!(fault.to_string().contains("countersign:policy/ruling@0.1.0"), "{fault}");
}

#[test]
fn component_with_another_interface_is_refused() {
    let text = Text {
        change: (
            "check-settings: func(settings: string) -> list<string>;",
            "check-settings: func(settings: string) -> list<u8>;",
        ),
        ..Text::HONEST
    };
    let module = engine().compile(&text.build()).expect("a module");
    let fault = module.describe(&RuleLimits::default()).expect_err("another type");
    assert_eq!(fault.code(), "rule-invalid", "{fault:?}");
    assert!(fault.to_string().contains("type mismatch"), "{fault}");
}

#[test]
fn bytes_that_are_no_component_are_refused() {
    let mut cut = Text::HONEST.build();
    cut.truncate(cut.len() / 2);
    for wasm in
        [&b""[..], b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0\xff", b"not wasm", &[0xff; 4096], &cut]
    {
        let fault = engine().compile(wasm).expect_err("no component");
        assert_eq!(fault.code(), "rule-invalid", "{fault:?}");
    }
}

/// Compiled code is native code: from anywhere but the places of compiled code it is never run.
#[test]
fn compiled_code_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for path in Engine::precompile(folder.path()).expect("compiled code") {
        let code = std::fs::read(path).expect("a file");
        let fault = engine().compile(&code).expect_err("compiled code");
        assert_eq!((&fault, fault.code()), (&RuleFault::Precompiled, "rule-precompiled"));
    }
    let program = std::fs::read(env!("CARGO_BIN_EXE_countersign")).expect("a program");
    let fault = engine().compile(&program[..4096]).expect_err("a program");
    assert_eq!(fault, RuleFault::Precompiled);
}

#[test]
fn giant_module_is_refused_before_it_is_read() {
    let fault = engine().compile(&vec![0; (32 << 20) + 1]).expect_err("too much");
    assert_eq!(fault.code(), "rule-too-large");
    assert!(fault.to_string().contains("bytes"), "{fault}");
}

#[test]
fn too_many_instances_are_refused() {
    let count = u8::try_from(MAX_RULE_CORE_INSTANCES).expect("a small number") + 20;
    let wasm = with_instances("(module)", count);
    for slots in [None, Some(2)] {
        let engine = RuleEngine::new(&RuleSettings { slots, ..settings() }).expect("an engine");
        let fault = engine
            .compile(&wasm)
            .and_then(|module| module.describe(&RuleLimits::default()))
            .expect_err("too many");
        assert_eq!(fault.code(), "rule-too-large", "{fault:?}");
        assert!(fault.to_string().contains("instance"), "{fault}");
    }
}

#[test]
fn too_many_memories_and_tables_are_refused() {
    for (module, what) in
        [("(module (memory 1))", "memories"), ("(module (table 1 funcref))", "tables")]
    {
        let wasm = with_instances(module, 20);
        for slots in [None, Some(2)] {
            let engine = RuleEngine::new(&RuleSettings { slots, ..settings() }).expect("an engine");
            let fault = engine.compile(&wasm).expect_err("too many");
            assert_eq!(fault.code(), "rule-too-large", "{what}: {fault:?}");
            assert!(fault.to_string().contains(what), "{fault}");
        }
    }
}

/// Row 61: CVE-2026-34988: what one evaluation wrote, the next must not see.
#[test]
fn row_61_nothing_is_kept_between_evaluations() {
    let text = Text {
        items: "(global $seen (mut i64) (i64.const 0)) (table $t 8 funcref) (elem declare func $f) (func $f)
            (global $grown (mut i32) (i32.const 0))",
        // The time until which it holds is how often this instance, its memory and its table were here before.
        evaluate: "(i32.store8 (i32.const 1056) (i32.const 1))
            (i64.store (i32.const 1064) (i64.add (global.get $seen)
                (i64.add (i64.load (i32.const 60000)) (i64.add
                    (i64.extend_i32_u (i32.ne (memory.size) (i32.const 2)))
                    (i64.extend_i32_u (i32.eqz (ref.is_null (table.get $t (i32.const 7)))))))))
            (global.set $seen (i64.const 1))
            (i64.store (i32.const 60000) (i64.const 1))
            (drop (memory.grow (i32.const 1)))
            (i64.store (i32.const 131072) (i64.const 1))
            (table.set $t (i32.const 7) (ref.func $f))
            (i32.const 1024)",
        ..Text::HONEST
    };
    for slots in [None, Some(1)] {
        let engine = RuleEngine::new(&RuleSettings { slots, ..settings() }).expect("an engine");
        let rule = rule(&engine, &text.build()).expect("a rule");
        for _ in 0..3 {
            assert_eq!(ask(&rule).expect("an answer").answer.valid_until, Some(0));
        }
    }
}

/// Row 61: one place serves the instances of several modules, one after another.
#[test]
fn row_61_nothing_is_kept_between_modules() {
    let engine =
        RuleEngine::new(&RuleSettings { slots: Some(1), ..settings() }).expect("an engine");
    let writes = Text {
        evaluate: "(memory.fill (i32.const 1024) (i32.const 255) (i32.const 130048)) i32.const 0",
        ..Text::HONEST
    };
    let reads = Text {
        evaluate: "(local $at i32)
            (i32.store8 (i32.const 1056) (i32.const 1))
            (local.set $at (i32.const 2048))
            (loop
                (i64.store (i32.const 1064) (i64.or (i64.load (i32.const 1064)) (i64.load (local.get $at))))
                (local.set $at (i32.add (local.get $at) (i32.const 8)))
                (br_if 0 (i32.lt_u (local.get $at) (i32.const 65536))))
            i32.const 1024",
        ..Text::HONEST
    };
    let writes = rule(&engine, &writes.build()).expect("a rule");
    let reads = rule(&engine, &reads.build()).expect("a rule");
    for _ in 0..3 {
        ask(&writes).expect("an answer");
        assert_eq!(ask(&reads).expect("an answer").answer.valid_until, Some(0));
    }
}

/// Row 11: CVE-2025-47281, CVE-2026-23881, CVE-2026-41485: a rule that panics or asks for more and more memory costs
/// its own evaluation and nothing else: never an allow, and the host goes on.
#[test]
fn row_11_trap_in_one_rule_leaves_the_others() {
    let engine = engine();
    let traps = Text { evaluate: "unreachable", ..Text::HONEST };
    let grows = Text {
        evaluate: "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
        ..Text::HONEST
    };
    let rules = [&Text::HONEST, &traps, &Text::HONEST, &grows];
    let rules = rules.map(|text| rule(&engine, &text.build()).expect("a rule"));
    thread::scope(|scope| {
        for (turn, rule) in rules.iter().enumerate() {
            scope.spawn(move || {
                for _ in 0..50 {
                    let answer = ask(rule);
                    assert_eq!(answer.is_ok_and(|run| run.answer.allow), turn % 2 == 0);
                }
            });
        }
    });
    assert_still_answers(&engine);
}

/// With all places taken, a question waits as long as its deadline allows, and then is an error: the fault of no
/// rule.
#[test]
fn question_without_a_place_is_an_error() {
    let engine =
        RuleEngine::new(&RuleSettings { slots: Some(1), ..settings() }).expect("an engine");
    let text = Text { evaluate: "(loop (br 0)) unreachable", ..Text::HONEST };
    let hangs = rule(&engine, &text.build()).expect("a rule");
    let answers = rule(&engine, &Text::HONEST.build()).expect("a rule");
    thread::scope(|scope| {
        let hanging = scope.spawn(|| ask(&hangs));
        while engine.in_use() == Some(InUse::default()) {
            thread::yield_now();
        }
        let impatient = RuleLimits { deadline: Duration::ZERO, ..RuleLimits::default() };
        let fault = fault_of(with_limits(&answers, &impatient));
        assert_eq!(fault, RuleFault::Engine(EngineError::Busy(Duration::ZERO)));
        assert_eq!(fault.code(), "evaluation-busy");
        while !hanging.is_finished() {
            engine.tick();
            thread::yield_now();
        }
    });
    assert_still_answers(&engine);
}

/// The one test of the real ticker, with a margin of fifty times.
#[test]
fn ticker_ends_what_hangs() {
    let engine = RuleEngine::new(&RuleSettings { ticks: Some(Ticks::Clock), ..settings() })
        .expect("an engine");
    let text = Text { evaluate: "(loop (br 0)) unreachable", ..Text::HONEST };
    let rule = rule(&engine, &text.build()).expect("a rule");
    let short = RuleLimits { deadline: Duration::from_millis(20), ..RuleLimits::default() };
    for _ in 0..2 {
        assert_eq!(fault_of(with_limits(&rule, &short)), RuleFault::Deadline(short.deadline));
        assert_still_answers(&engine);
    }
}

/// No policy gives a rule more than there may be.
#[test]
fn budgets_are_capped() {
    let limits = RuleLimits::from(RuleBudget {
        deadline_milliseconds: Some(u32::MAX),
        memory_mib: Some(u32::MAX),
        output_kib: Some(u32::MAX),
    });
    let most = RuleLimits { deadline: Duration::from_secs(10), memory: 256 << 20, output: 1 << 20 };
    assert_eq!(limits, most);
    let default =
        RuleLimits { deadline: Duration::from_secs(1), memory: 128 << 20, output: 64 << 10 };
    assert_eq!(RuleLimits::from(RuleBudget::default()), default);
}

/// What `evaluate` comes to, after which the same engine must still answer.
fn misbehaviour(text: &Text<'_>) -> RuleFault {
    let engine = engine();
    let rule = rule(&engine, &text.build()).expect("a rule");
    let fault = fault_of(ask(&rule));
    assert_still_answers(&engine);
    fault
}

/// The same for what would never end by itself.
fn hang_with(text: &Text<'_>) -> RuleFault {
    let engine = engine();
    let rule = rule(&engine, &text.build()).expect("a rule");
    let fault = fault_of(ticking(&engine, || ask(&rule)));
    assert_still_answers(&engine);
    fault
}

fn hang(evaluate: &str) -> RuleFault {
    hang_with(&Text { evaluate, ..Text::HONEST })
}

#[expect(clippy::panic, reason = "an answer is the failure of the test that asks")]
fn fault_of(answer: Result<Run, Stop>) -> RuleFault {
    match answer {
        Err(Stop::Fault(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

fn with_limits(rule: &Rule, limits: &RuleLimits) -> Result<Run, Stop> {
    rule.evaluate(&question(), b"manifest", &Documents::new(), &BTreeMap::new(), limits)
}

fn assert_still_answers(engine: &RuleEngine) {
    assert_eq!(engine.in_use(), Some(InUse::default()));
    let module = engine.compile(&Text::HONEST.build()).expect("a module");
    let rule = module.grant(&all()).expect("a rule");
    assert!(ask(&rule).expect("an answer").answer.allow);
    assert_eq!(engine.in_use(), Some(InUse::default()));
}

/// Do something while the engine's time passes as fast as it can.
fn ticking<T>(engine: &RuleEngine, something: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                engine.tick();
                thread::yield_now();
            }
        });
        let result = something();
        done.store(true, Ordering::Release);
        result
    })
}

/// An honest component that makes so many instances of another module.
fn with_instances(module: &str, count: u8) -> Vec<u8> {
    let mut wasm = Text::HONEST.build();
    let index = wasmparser::Parser::new(0)
        .parse_all(&wasm)
        .filter(|part| matches!(part, Ok(wasmparser::Payload::ModuleSection { .. })))
        .count();
    let index = u8::try_from(index).expect("a small number");
    let module = wat::parse_str(module).expect("a module");
    // Section 1, a core module; section 2, instances of it without arguments; sizes in LEB128.
    wasm.extend([1, u8::try_from(module.len()).expect("a small module")]);
    wasm.extend(module);
    let size = 1 + 3 * u16::from(count);
    wasm.extend([2, 0x80 | (size & 0x7f) as u8, (size >> 7) as u8, count]);
    for _ in 0..count {
        wasm.extend([0, index, 0]);
    }
    wasm
}

/// May log.
const LOGS: Text<'static> = Text {
    wit: "import countersign:policy/log@0.1.0;",
    imports: r#"(import "countersign:policy/log@0.1.0" "write" (func $write (param i32 i32 i32)))"#,
    ..Text::HONEST
};

/// May read of the image.
const READS: Text<'static> = Text {
    wit: "import countersign:policy/artifact@0.1.0;",
    imports: r#"
        (import "countersign:policy/artifact@0.1.0" "manifest" (func $manifest (param i32)))
        (import "countersign:policy/artifact@0.1.0" "config" (func $config (param i32)))"#,
    ..Text::HONEST
};
