//! What rules add to a decision, and what loading many of them takes.
//!
//! The laboratory is that of [`super::webhook`]. Everything about the image is remembered, so that the difference
//! between the server with a rule and without one is the rule: a fresh instance, the question, the answer.
//!
//! The peer's figures are those of Kubewarden 1.36 with a policy in Rust: every request pays for one there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Row;
use super::webhook::{self, Counted as _, Extent, Laboratory, Server, median, milliseconds};

/// Measure the server `binary`. In a `smoke` run everything is done, and nothing for long.
pub(super) fn measure(binary: &Path, smoke: bool) -> Result<Vec<Row>> {
    let extent = if smoke { Extent::SMOKE } else { Extent::FULL };
    webhook::pinned(|| {
        let lab = Laboratory::set_up(binary, webhook::FIRST_COLD)?;
        let mut rows = added(&lab, extent)?;
        rows.extend(many(&lab, extent)?);
        Ok(rows)
    })
}

/// A rule that ships, in one of the languages.
#[derive(Clone, Copy, Debug)]
struct Shipped {
    id: &'static str,
    language: &'static str,
    name: &'static str,
    settings: fn(&Laboratory) -> Value,
    capabilities: &'static [&'static str],
    /// Most milliseconds that it may add to a decision.
    limit: f64,
}

impl Shipped {
    /// The requirement that asks it.
    fn required(&self, module: &Path, lab: &Laboratory) -> Value {
        let settings = (self.settings)(lab);
        let capabilities = self.capabilities;
        json!({"type": "rule", "module": module, "settings": settings, "capabilities": capabilities})
    }
}

const SHIPPED: [Shipped; 3] = [
    Shipped {
        id: "rules-rust",
        language: "Rust",
        name: "allowed-registries",
        settings: |lab| json!({"allowed": [lab.registry_host()]}),
        capabilities: &[],
        limit: 0.06,
    },
    Shipped {
        id: "rules-javascript",
        language: "JavaScript",
        name: "deny-latest",
        settings: |_| json!({}),
        capabilities: &[],
        limit: 1.5,
    },
    Shipped {
        id: "rules-python",
        language: "Python",
        name: "freeze",
        settings: |_| {
            let (from, to) = ("2000-01-01T00:00:00Z", "2000-01-02T00:00:00Z");
            json!({"windows": [{"name": "long ago", "from": from, "to": to}]})
        },
        capabilities: &["data"],
        limit: 3.0,
    },
];

/// (a) A decision with a rule, less the same decision without one.
fn added(lab: &Laboratory, extent: Extent) -> Result<Vec<Row>> {
    let script = lab.script(&[lab.signed(0)], "true")?;
    // How long one client waits for a decision, in milliseconds, and how many a second eight get, who share the
    // work where they ask the same at once.
    let measure = |server: &Server| -> Result<(f64, f64)> {
        server.settle(extent)?;
        // A denial may be faster than an answer.
        for clients in [1, 8] {
            server.load(&script.counting, clients, 1)?.all_counted()?;
        }
        let one = server.load(&script.plain, 1, extent.seconds)?;
        let eight = server.load(&script.plain, 8, extent.seconds)?;
        Ok((milliseconds(one.p50), eight.per_second))
    };
    let (without, without_rate) = measure(&lab.serve()?)?;
    let mut rows = Vec::new();
    for rule in SHIPPED {
        let module = match module(rule.name) {
            Err(error) if rule.language != "Rust" => {
                println!(
                    "not measured: {error:#}, where a compiler for {} can be had",
                    rule.language
                );
                continue;
            }
            module => module?,
        };
        let policy = policy(lab, &[rule.required(&module, lab)])?;
        let measured = measure(&lab.serve_by(&policy)?);
        let (with, with_rate) = measured.with_context(|| format!("with rule {}", rule.name))?;
        rows.push(Row {
            id: rule.id,
            what: format!(
                "(a) a rule in {} adds to {without:.3} ms; {with_rate:.0}/s for 8 clients, without it {without_rate:.0}/s",
                rule.language
            ),
            unit: "ms",
            ours: with - without,
            other: Some(("a request to Kubewarden 1.36 with one policy, recorded", KUBEWARDEN)),
            limit: Some(rule.limit),
            compared: false,
        });
    }
    Ok(rows)
}

/// (b) A start with fifty rules whose code is in the cache.
fn many(lab: &Laboratory, extent: Extent) -> Result<Vec<Row>> {
    let wasm = std::fs::read(module("allowed-registries")?)?;
    let mut requirements = Vec::new();
    for number in 0..RULES {
        let path = lab.file(&format!("policy/rule-{number}.wasm"));
        lab::write(&path, distinct(&wasm, number))?;
        requirements.push(SHIPPED[0].required(&path, lab));
    }
    let policy = policy(lab, &requirements)?;
    // This one compiles them.
    let filled = lab.serve_by(&policy)?;
    let script = lab.script(&[lab.signed(0)], "true")?;
    filled.load(&script.counting, 1, 1)?.all_counted()?;
    drop(filled);
    let (mut times, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..extent.starts {
        let server = lab.serve_by(&policy)?;
        times.push(milliseconds(server.ready_after()));
        peaks.push(server.peak()?);
    }
    Ok(vec![
        Row {
            id: "rules-start",
            what: format!("(b) start to ready with {RULES} rules from the cache"),
            unit: "ms",
            ours: median(times),
            other: Some(("Kubewarden 1.36, one policy, recorded", 1000.0)),
            limit: Some(milliseconds(LONGEST_START)),
            compared: false,
        },
        Row {
            id: "rules-memory",
            what: format!("(b) most resident memory until then, {RULES} rules"),
            unit: "MiB",
            ours: median(peaks),
            other: Some(("Kubewarden 1.36, one policy, recorded", 69.0)),
            limit: Some(256.0),
            compared: false,
        },
    ])
}

/// A module that `cargo xtask rules` has built.
fn module(name: &str) -> Result<PathBuf> {
    let path = crate::command::target().join("rules").join(format!("{name}.wasm"));
    let found = path.metadata().with_context(|| {
        format!("{} is missing; build the rules with `cargo xtask rules`", path.display())
    });
    found.map(|_| path)
}

/// The laboratory's policy, with rules before the signature.
fn policy(lab: &Laboratory, rules: &[Value]) -> Result<PathBuf> {
    let path = lab.file("policy/policy.json");
    let mut document: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let scope = document["default"].as_array_mut().context("the policy has no default scope")?;
    scope.splice(0..0, rules.iter().cloned());
    let path = lab.file("policy/with-rules.json");
    lab::write(&path, document.to_string())?;
    Ok(path)
}

/// The same module with other bytes: a custom section at the end, which nobody reads.
fn distinct(wasm: &[u8], number: usize) -> Vec<u8> {
    let text = format!("bench {number:05}");
    // Identifier, size of the rest, length of the name, the name: each fits one byte.
    let mut section = vec![0, text.len() as u8 + 1, text.len() as u8];
    section.extend_from_slice(text.as_bytes());
    [wasm, &section].concat()
}

/// Milliseconds for a request to Kubewarden 1.36 with a small policy in Rust, 8 clients, HTTPS.
const KUBEWARDEN: f64 = 1e3 / 2315.0;

/// As many rules as a large organisation has.
const RULES: usize = 50;

const LONGEST_START: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_modules_are_components_with_one_more_section() {
        let empty = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
        let (one, two) = (distinct(&empty, 1), distinct(&empty, 2));
        assert_ne!(one, two);
        assert!(one.starts_with(&empty));
        assert_eq!(one[8..11], [0, 12, 11]);
        assert_eq!(&one[11..], b"bench 00001");
    }
}
