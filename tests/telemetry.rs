//! What operators see, as their programs read it.

use std::time::Duration;

use countersign::admission::{Endpoint, Mode};
use countersign::telemetry::{Metrics, Stage};

pub(crate) mod openmetrics;
mod traces;

#[test]
fn metrics_are_openmetrics() {
    let text = metrics().encode();
    let families = openmetrics::parse(&text).expect("OpenMetrics");
    assert!(families.len() > 20, "only {} families", families.len());
    // Before anything has happened, too.
    openmetrics::parse(&Metrics::default().encode()).expect("OpenMetrics");
}

#[test]
fn names_say_whose_and_in_which_unit() {
    for family in openmetrics::parse(&metrics().encode()).expect("OpenMetrics") {
        assert!(family.name.starts_with("countersign_"), "{}", family.name);
        let has_unit = family.name.ends_with("_seconds") || family.name.ends_with("_bytes");
        assert_eq!(has_unit, family.unit.is_some(), "{}", family.name);
    }
}

#[test]
fn label_cannot_break_out_of_its_line() {
    let metrics = Metrics::new();
    metrics.registry_request("x\"} 1\ny{z=\"\\", "ok", Duration::ZERO);
    openmetrics::parse(&metrics.encode()).expect("OpenMetrics");
}

#[test]
fn failing_load_is_seen_until_one_succeeds() {
    let metrics = Metrics::new();
    let failing = |text: &str| text.contains("countersign_reload_failing{what=\"policy\"} 1\n");
    metrics.reload("policy", false);
    assert!(failing(&metrics.encode()), "{}", metrics.encode());
    metrics.reload("policy", true);
    assert!(!failing(&metrics.encode()), "{}", metrics.encode());
}

/// Metrics in which everything has happened once.
pub(crate) fn metrics() -> Metrics {
    let metrics = Metrics::new();
    let took = Duration::from_millis(7);
    metrics.review(Endpoint::Mutate, true, took);
    metrics.decision(Endpoint::Mutate, "allow", "", Mode::Enforce);
    metrics.decision(Endpoint::Validate, "deny", "signature-missing", Mode::Warn);
    metrics.break_glass();
    metrics.stage(Stage::Evaluate, took);
    metrics.cache("verdicts", true);
    metrics.cache_size("verdicts", 1 << 20);
    metrics.registry_request("registry.example:5000", "ok", took);
    metrics.sandbox_failure("sandbox-memory");
    metrics.sandbox_slots(4);
    metrics.sandbox_in_use(1);
    metrics.rule("max-age", "deny", took);
    metrics.rule_fault("rule-deadline");
    metrics.rule_slots(4);
    metrics.rule_slots_in_use(1);
    metrics.reload("policy", true);
    metrics.generation(1);
    metrics.ready(true);
    metrics.certificate_expires("server", 4_000_000_000);
    metrics.in_flight(1);
    metrics
}
