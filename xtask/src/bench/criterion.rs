//! Single evaluations, measured by `benches/evaluate.rs`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Row;
use crate::command::{cargo, run, target};

/// Run the benchmark and read what criterion estimated. A smoke run measures nothing.
pub(super) fn measure(smoke: bool) -> Result<Vec<Row>> {
    if smoke {
        run(cargo().args(["test", "--package", "countersign", "--bench", "evaluate"]))?;
        return Ok(Vec::new());
    }
    run(cargo()
        .args(["bench", "--package", "countersign", "--profile", "dist", "--bench", "evaluate"])
        .env("CRITERION_HOME", home()))?;
    rows()
}

/// In (c), the native build verifies RSA with sequoia's arithmetic, the sandboxed one with its own, which the tests
/// compare with sequoia's.
fn rows() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (id, name, group, native) in ALGORITHMS {
        rows.push(Row {
            id,
            what: format!("(c) evaluate in a fresh instance, {name}"),
            unit: "µs",
            ours: median(group, "sandbox")?,
            other: Some((native, median(group, "native")?)),
            limit: Some(1.5),
            compared: true,
        });
    }
    rows.push(Row {
        id: "d",
        what: "(d) evaluate with 1,000 scopes and 100 keys".into(),
        unit: "µs",
        ours: median("policy", "large")?,
        other: Some(("1 and 1", median("policy", "small")?)),
        limit: Some(1.3),
        compared: true,
    });
    rows.push(Row {
        id: "e",
        what: "(e) instantiate and drop".into(),
        unit: "µs",
        ours: median("instance", "fresh")?,
        other: None,
        limit: Some(30.0),
        compared: true,
    });
    rows.push(Row {
        id: "load",
        what: "load a policy and evaluate once, no snapshot".into(),
        unit: "µs",
        ours: median("one-shot", "document")?,
        other: None,
        limit: None,
        compared: true,
    });
    Ok(rows)
}

/// criterion's estimate of the median time, in microseconds.
fn median(group: &str, benchmark: &str) -> Result<f64> {
    let path = home().join(group).join(benchmark).join("new/estimates.json");
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let estimates: Value = serde_json::from_slice(&text)
        .with_context(|| format!("cannot parse {}", path.display()))?;
    let nanoseconds = estimates["median"]["point_estimate"]
        .as_f64()
        .with_context(|| format!("{} has no median", path.display()))?;
    Ok(nanoseconds / 1000.0)
}

/// Where criterion keeps its estimates.
fn home() -> PathBuf {
    target().join("criterion")
}

/// Row, name, benchmark group, and what the native build is called: the table has to say where it does not run the
/// sandbox's arithmetic.
const ALGORITHMS: [(&str, &str, &str, &str); 4] = [
    ("c1", "RSA-2048", "evaluate-rsa2048", "native, sequoia's RSA"),
    ("c2", "RSA-4096", "evaluate-rsa4096", "native, sequoia's RSA"),
    ("c3", "Ed25519", "evaluate-ed25519", "native"),
    ("c4", "P-256", "evaluate-p256", "native"),
];
