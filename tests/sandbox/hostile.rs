//! Hostile components in the engine's place, one per threat. Each fails by itself, within its limits,
//! and leaves the host and its pool as they were.
//!
//! Nothing here waits for a clock: whatever hangs does so until the test has ticked often enough.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use countersign::engine::{
    Budget, Engine, EngineError, InUse, MAX_MEMORY_BYTES, MAX_OUTPUT_BYTES, MAX_TABLE_ELEMENTS,
    Places, Policy, Settings, Ticks,
};
use countersign::verdict::{Outcome, Verdict};
use countersign::vocabulary::Evidence;

use super::component::{Impostor, MISBEHAVE};
use super::subject;

#[test]
fn honest_impostor_answers() {
    let engine = engine_of(&Impostor::default()).expect("an engine");
    let policy = engine.load(b"{}", &[]).expect("a policy");
    assert_eq!(evaluate(&policy, MISBEHAVE).expect("a verdict").outcome, Outcome::Deny);
    assert_still_answers(&engine, &policy);
}

#[test]
fn endless_loop_meets_the_deadline() {
    let error = hang("(loop (br 0)) unreachable");
    assert_eq!(error, EngineError::Deadline(BUDGET.deadline));
}

#[test]
fn endless_recursion_traps() {
    let error = misbehaviour(
        "(call $deeper (i32.const 0))",
        "(func $deeper (param i32) (result i32)
            (i32.add (call $deeper (i32.add (local.get 0) (i32.const 1))) (local.get 0)))",
    );
    assert_eq!(error, EngineError::Trapped("call stack exhausted".into()));
}

/// A guest that gets no memory aborts.
#[test]
fn memory_growth_meets_the_limit() {
    let error = misbehaviour(
        "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
        "",
    );
    assert_eq!(error, EngineError::Memory(MAX_MEMORY_BYTES));
}

#[test]
fn memory_limit_of_a_call_counts() {
    let engine = engine_of(&Impostor {
        evaluate: "(drop (memory.grow (i32.const 32))) unreachable",
        ..Impostor::default()
    })
    .expect("an engine");
    let policy = engine.load(b"{}", &[]).expect("a policy");
    let small = Budget { memory: 1 << 20, ..BUDGET };
    let answer = policy.evaluate(&subject(), &Evidence::default(), MISBEHAVE, &small);
    assert_eq!(answer, Err(EngineError::Memory(1 << 20)));
    assert_still_answers(&engine, &policy);
}

#[test]
fn memory_that_starts_beyond_the_limit_is_refused() {
    let start = engine_of(&Impostor {
        memory: r#"(memory (export "memory") 40000)"#,
        ..Impostor::default()
    })
    .and_then(|engine| engine.instantiate(&BUDGET));
    assert!(matches!(start, Err(EngineError::Refused(_) | EngineError::Memory(_))), "{start:?}");
}

#[test]
fn table_growth_meets_the_limit() {
    let error = misbehaviour(
        "(loop (br_if 0 (i32.ne
            (table.grow $t (ref.null func) (i32.const 100)) (i32.const -1)))) unreachable",
        "(table $t 1 funcref)",
    );
    assert_eq!(error, EngineError::Table(MAX_TABLE_ELEMENTS));
}

#[test]
fn giant_answer_is_refused() {
    let error = misbehaviour(
        "(drop (memory.grow (i32.const 1600)))
         (i32.store (i32.const 1024) (i32.const 0))
         (i32.store (i32.const 1028) (i32.const 100000000))
         (i32.const 1024)",
        "",
    );
    assert_eq!(error, EngineError::Output(MAX_OUTPUT_BYTES));
}

/// The list's own elements are small; what they would take up in the host is not.
#[test]
fn giant_list_is_refused() {
    let error = misbehaviour(
        "(drop (memory.grow (i32.const 1600)))
         (i32.store (i32.const 1060) (i32.const 0))
         (i32.store (i32.const 1056) (i32.const 65536))
         (i32.store (i32.const 1060) (i32.const 2000000))
         (i32.const 1024)",
        "",
    );
    assert_eq!(error, EngineError::Output(MAX_OUTPUT_BYTES));
}

/// Row 61: CVE-2026-34941, CVE-2026-34942, CVE-2026-34943, CVE-2026-35195: lengths, pointers and
/// discriminants of an answer are the guest's word, and no lie may reach the host as more than an error.
#[test]
fn row_61_lying_answers_are_errors() {
    for (lie, write) in [
        (
            "string beyond memory",
            "(i32.store (i32.const 1024) (i32.const 65000))
                                  (i32.store (i32.const 1028) (i32.const 1000))",
        ),
        (
            "string wraps around",
            "(i32.store (i32.const 1024) (i32.const -16))
                                 (i32.store (i32.const 1028) (i32.const 32))",
        ),
        ("string of the largest length", "(i32.store (i32.const 1028) (i32.const -1))"),
        (
            "string that is not UTF-8",
            "(i32.store (i32.const 2048) (i32.const -1))
                                      (i32.store (i32.const 1024) (i32.const 2048))
                                      (i32.store (i32.const 1028) (i32.const 4))",
        ),
        (
            "list beyond memory",
            "(i32.store (i32.const 1056) (i32.const 65000))
                                (i32.store (i32.const 1060) (i32.const 100))",
        ),
        ("list of the largest length", "(i32.store (i32.const 1060) (i32.const -1))"),
        ("list whose size wraps around", "(i32.store (i32.const 1060) (i32.const 0x10000001))"),
        (
            "list that is not aligned",
            "(i32.store (i32.const 1056) (i32.const 2049))
                                      (i32.store (i32.const 1060) (i32.const 1))",
        ),
        (
            "outcome that does not exist",
            "(i32.store8 (i32.const 1040) (i32.const 1))
                                (i32.store8 (i32.const 1044) (i32.const 3))",
        ),
        ("option that is neither", "(i32.store8 (i32.const 1040) (i32.const 2))"),
    ] {
        let error = misbehaviour(&format!("{write} (i32.const 1024)"), "");
        assert!(
            matches!(error, EngineError::Answer(_) | EngineError::Trapped(_)),
            "{lie}: {error:?}"
        );
    }
    for address in ["65536", "65500", "-8", "1025"] {
        let error = misbehaviour(&format!("(i32.const {address})"), "");
        assert!(
            matches!(error, EngineError::Answer(_) | EngineError::Trapped(_)),
            "answer at {address}: {error:?}"
        );
    }
}

/// Parameters are written to where the guest says.
#[test]
fn row_61_lying_allocator_is_an_error() {
    let engine = engine_of(&Impostor::default()).expect("an engine");
    let policy = engine.load(b"{}", &[]).expect("a policy");
    // The impostor's allocator gives the same 32 KiB to everyone.
    let evidence = Evidence { manifest: vec![0; 64 << 10], ..Evidence::default() };
    let answer = policy.evaluate(&subject(), &evidence, 0, &BUDGET);
    assert!(matches!(answer, Err(EngineError::Answer(_) | EngineError::Trapped(_))), "{answer:?}");
    assert_still_answers(&engine, &policy);
}

/// A bulk operation cannot be interrupted, so one must be short: at most all of the memory.
#[test]
fn big_copies_meet_the_deadline() {
    let error = hang(
        "(drop (memory.grow (i32.const 1600)))
         (loop
            (memory.copy (i32.const 50000000) (i32.const 0) (i32.const 50000000))
            (memory.fill (i32.const 0) (i32.const 1) (i32.const 100000000))
            (br 0))
         unreachable",
    );
    assert_eq!(error, EngineError::Deadline(BUDGET.deadline));
}

#[test]
fn trap_at_start_is_an_error() {
    let engine = engine_of(&Impostor {
        items: "(func $start unreachable) (start $start)",
        ..Impostor::default()
    })
    .expect("an engine");
    let message = "wasm `unreachable` instruction executed";
    assert_eq!(engine.instantiate(&BUDGET), Err(EngineError::Trapped(message.into())));
    assert_eq!(engine.in_use(), Some(InUse::default()));
}

#[test]
fn endless_start_meets_the_deadline() {
    let engine = engine_of(&Impostor {
        items: "(func $start (loop (br 0))) (start $start)",
        ..Impostor::default()
    })
    .expect("an engine");
    let started = ticking(|| engine.tick(), || engine.instantiate(&BUDGET));
    assert_eq!(started, Err(EngineError::Deadline(BUDGET.deadline)));
    assert_eq!(engine.in_use(), Some(InUse::default()));
}

#[test]
fn imports_are_refused_with_the_list() {
    let refused = engine_of(&Impostor { wit: "import clock;", ..Impostor::default() });
    assert_eq!(refused.err(), Some(EngineError::Imports(vec!["impostor:impostor/clock".into()])));
}

#[test]
fn component_without_the_interface_is_refused() {
    let wasm = wat::parse_str("(component)").expect("a component");
    let refused = Engine::from_component(&wasm, &settings()).err();
    assert!(matches!(refused, Some(EngineError::Refused(_))), "{refused:?}");
}

#[test]
fn bytes_that_are_no_component_are_refused() {
    for wasm in [&b""[..], b"\0asm\x01\0\0\0", b"not wasm", &[0xff; 4096]] {
        let refused = Engine::from_component(wasm, &settings()).err();
        assert!(matches!(refused, Some(EngineError::Refused(_))), "{refused:?}");
    }
}

/// Compiled code is native code: from anywhere but the places of compiled code it is never run.
#[test]
fn compiled_code_in_place_of_a_component_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for path in Engine::precompile(folder.path()).expect("compiled code") {
        let code = std::fs::read(path).expect("a file");
        let refused = Engine::from_component(&code, &settings()).err();
        assert!(matches!(refused, Some(EngineError::Refused(_))), "{refused:?}");
    }
}

#[test]
fn giant_module_is_refused_before_it_is_read() {
    let mut wasm = Impostor::default().build();
    // A custom section that fills the file: id 0, size in LEB128, an empty name.
    let size = 40 << 20;
    wasm.extend([0, 0x80 | (size & 0x7f) as u8, 0x80 | (size >> 7 & 0x7f) as u8]);
    wasm.extend([0x80 | (size >> 14 & 0x7f) as u8, (size >> 21 & 0x7f) as u8]);
    wasm.resize(wasm.len() + size, 0);
    let refused = Engine::from_component(&wasm, &settings()).err();
    assert!(
        matches!(&refused, Some(EngineError::Refused(message)) if message.contains("bytes")),
        "{refused:?}"
    );
}

#[test]
fn too_many_instances_are_refused() {
    let mut wasm = Impostor::default().build();
    let module = wat::parse_str("(module)").expect("a module");
    let index = wasmparser::Parser::new(0)
        .parse_all(&wasm)
        .filter(|part| matches!(part, Ok(wasmparser::Payload::ModuleSection { .. })))
        .count() as u8;
    // Section 1, a core module; section 2, instances of it without arguments.
    wasm.extend([1, module.len() as u8]);
    wasm.extend(module);
    let count = 40;
    wasm.extend([2, 1 + 3 * count, count]);
    for _ in 0..count {
        wasm.extend([0, index, 0]);
    }
    for slots in [None, Some(2)] {
        let started = Engine::from_component(&wasm, &Settings { slots, ..settings() })
            .and_then(|engine| engine.instantiate(&BUDGET));
        assert!(
            matches!(&started, Err(EngineError::Refused(message)) if message.contains("instance")),
            "{started:?}"
        );
    }
}

/// Row 61: CVE-2026-34988: what one instance wrote, the next must not see.
#[test]
fn row_61_nothing_is_kept_between_instances() {
    for slots in [None, Some(1)] {
        let impostor = Impostor {
            // The length of `scope` is how often this instance, its memory and its table were here before.
            items:
                "(global $seen (mut i64) (i64.const 0)) (table $t 8 funcref) (elem declare func $f)
                    (func $f)",
            evaluate: "(i32.store8 (i32.const 1040) (i32.const 1))
                (i32.store8 (i32.const 1044) (i32.const 1))
                (i32.store (i32.const 1028) (i32.wrap_i64 (i64.add (global.get $seen)
                    (i64.add (i64.load (i32.const 60000))
                        (i64.extend_i32_u (i32.eqz (ref.is_null (table.get $t (i32.const 7)))))))))
                (global.set $seen (i64.const 1))
                (i64.store (i32.const 60000) (i64.const 1))
                (table.set $t (i32.const 7) (ref.func $f))
                (i32.const 1024)",
            ..Impostor::default()
        };
        let engine = Engine::from_component(&impostor.build(), &Settings { slots, ..settings() })
            .expect("an engine");
        let policy = engine.load(b"{}", &[]).expect("a policy");
        for _ in 0..3 {
            let verdict = evaluate(&policy, MISBEHAVE).expect("a verdict");
            assert_eq!((verdict.outcome, verdict.scope.len()), (Outcome::Deny, 0));
        }
    }
}

/// Row 11: CVE-2025-47281, CVE-2026-23881, CVE-2026-41485: an expression that panics or asks for more
/// and more memory costs its own evaluation and nothing else: never an allow, and the host goes on.
#[test]
fn row_11_trap_in_one_evaluation_leaves_the_others() {
    let engine =
        engine_of(&Impostor { evaluate: "unreachable", ..Impostor::default() }).expect("an engine");
    let policy = engine.load(b"{}", &[]).expect("a policy");
    thread::scope(|scope| {
        for turn in 0..4 {
            let policy = &policy;
            scope.spawn(move || {
                for _ in 0..50 {
                    let now = if turn % 2 == 0 { MISBEHAVE } else { 0 };
                    let answer = evaluate(policy, now);
                    assert_eq!(answer.is_err(), turn % 2 == 0, "{answer:?}");
                }
            });
        }
    });
    assert_still_answers(&engine, &policy);
}

/// With all places taken, a question waits as long as its deadline allows, and then is an error.
#[test]
fn question_without_a_place_is_an_error() {
    let engine = Engine::from_component(
        &Impostor { evaluate: "(loop (br 0)) unreachable", ..Impostor::default() }.build(),
        &Settings { slots: Some(1), ..settings() },
    )
    .expect("an engine");
    let policy = engine.load(b"{}", &[]).expect("a policy");
    thread::scope(|scope| {
        let hanging = scope.spawn(|| evaluate(&policy, MISBEHAVE));
        while engine.in_use() == Some(InUse::default()) {
            thread::yield_now();
        }
        let impatient = Budget { deadline: Duration::ZERO, ..BUDGET };
        let answer = policy.evaluate(&subject(), &Evidence::default(), 0, &impatient);
        assert_eq!(answer, Err(EngineError::Busy(Duration::ZERO)));
        while !hanging.is_finished() {
            engine.tick();
            thread::yield_now();
        }
    });
    assert_still_answers(&engine, &policy);
}

/// The one test of the real ticker, with a margin of a hundred times.
#[test]
fn ticker_ends_what_hangs() {
    let impostor = Impostor { evaluate: "(loop (br 0)) unreachable", ..Impostor::default() };
    let engine =
        Engine::from_component(&impostor.build(), &Settings { ticks: Ticks::Clock, ..settings() })
            .expect("an engine");
    let policy = engine.load(b"{}", &[]).expect("a policy");
    let short = Budget { deadline: Duration::from_millis(20), ..BUDGET };
    for _ in 0..2 {
        let answer = policy.evaluate(&subject(), &Evidence::default(), MISBEHAVE, &short);
        assert_eq!(answer, Err(EngineError::Deadline(short.deadline)));
        assert_still_answers(&engine, &policy);
    }
}

/// What `evaluate` comes to when it does `body`, after which the same engine must still answer.
fn misbehaviour(body: &str, items: &str) -> EngineError {
    let impostor = Impostor { evaluate: body, items, ..Impostor::default() };
    let engine = engine_of(&impostor).expect("an engine");
    let policy = engine.load(b"{}", &[]).expect("a policy");
    let error = evaluate(&policy, MISBEHAVE).expect_err("no answer");
    assert_still_answers(&engine, &policy);
    error
}

/// The same for what would never end by itself.
fn hang(body: &str) -> EngineError {
    let impostor = Impostor { evaluate: body, ..Impostor::default() };
    let engine = engine_of(&impostor).expect("an engine");
    let policy = engine.load(b"{}", &[]).expect("a policy");
    let error = ticking(|| engine.tick(), || evaluate(&policy, MISBEHAVE)).expect_err("no answer");
    assert_still_answers(&engine, &policy);
    error
}

fn engine_of(impostor: &Impostor<'_>) -> Result<Engine, EngineError> {
    Engine::from_component(&impostor.build(), &settings())
}

fn settings() -> Settings {
    Settings { slots: Some(2), places: Places::default(), ticks: Ticks::Manual, apart: None }
}

fn evaluate(policy: &Policy, now: u64) -> Result<Verdict, EngineError> {
    policy.evaluate(&subject(), &Evidence::default(), now, &BUDGET)
}

fn assert_still_answers(engine: &Engine, policy: &Policy) {
    assert_eq!(engine.in_use(), Some(InUse::default()));
    assert_eq!(evaluate(policy, 0).expect("a verdict").outcome, Outcome::Deny);
    assert_eq!(engine.in_use(), Some(InUse::default()));
}

/// Do something while an engine's time passes as fast as it can: `tick` lets it pass.
pub(crate) fn ticking<T>(tick: impl Fn() + Sync, something: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                tick();
                thread::yield_now();
            }
        });
        let result = something();
        done.store(true, Ordering::Release);
        result
    })
}

const BUDGET: Budget = Budget { deadline: Duration::from_secs(10), memory: MAX_MEMORY_BYTES };
