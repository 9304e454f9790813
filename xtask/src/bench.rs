//! Speed and memory, against the peers and against the targets.

mod criterion;
mod processes;
mod rules;
mod webhook;

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde_json::json;

use crate::command::{cargo, run as run_command, target};
use crate::{dist, setup};

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Subject {
    /// Single evaluations and whole processes, and the server.
    Everything,
    /// The server with rules.
    Rules,
    /// The server under load.
    Webhook,
}

/// Measure and print a table. `target/bench/bench.json` is written after everything was measured,
/// `benches/RESULTS.md` after the server was, `benches/RULES.md` after rules were. A missed target fails the run only if `strict`. `smoke`
/// measures the development build in few rounds: it shows that everything works and says nothing about speed.
pub(crate) fn run(subject: Subject, smoke: bool, strict: bool) -> Result<()> {
    setup::compiler()?;
    setup::tools()?;
    let (binary, rounds) = if smoke {
        run_command(cargo().args(["build", "--package", "countersign"]))?;
        (target().join("debug/countersign"), SMOKE_ROUNDS)
    } else {
        (dist::build()?.join("countersign"), ROUNDS)
    };
    let mut rows = Vec::new();
    if subject == Subject::Everything {
        rows.extend(processes::measure(&binary, rounds)?);
        rows.extend(criterion::measure(smoke)?);
    }
    let served = match subject {
        Subject::Everything | Subject::Webhook => webhook::measure(&binary, smoke)?,
        Subject::Rules => Vec::new(),
    };
    let ruled = match subject {
        Subject::Everything | Subject::Rules => rules::measure(&binary, smoke)?,
        Subject::Webhook => Vec::new(),
    };
    rows.extend(served.iter().chain(&ruled).cloned());
    print!("{}", table(&rows));
    if smoke {
        println!("a smoke run of the development build: the figures say nothing about speed");
        return Ok(());
    }
    for (results, title, command, file) in [
        (&served, "The webhook server under load", "cargo xtask bench webhook", "RESULTS.md"),
        (&ruled, "Rules in the webhook server", "cargo xtask bench rules", "RULES.md"),
    ] {
        if !results.is_empty() {
            let path = webhook::write(title, command, file, results)?;
            println!("written to {}", path.display());
        }
    }
    if subject == Subject::Everything {
        println!("written to {}", write(&rows)?.display());
    }
    let missed: Vec<&str> = rows.iter().filter(|row| !row.is_met()).map(|row| row.id).collect();
    if strict && !missed.is_empty() {
        bail!("targets missed: {}", missed.join(", "));
    }
    Ok(())
}

/// One measured figure and what is asked of it.
#[derive(Clone, Debug)]
struct Row {
    /// Stable, for whoever reads the JSON.
    id: &'static str,
    what: String,
    unit: &'static str,
    ours: f64,
    /// What it is compared with; `None` where the figure itself is limited.
    other: Option<(&'static str, f64)>,
    /// Largest `ours / other`, or largest `ours`; `None` where the figure is for information.
    limit: Option<f64>,
    /// Whether the limit is for the ratio; otherwise `other` is told beside it.
    compared: bool,
}

impl Row {
    /// What the limit is for: the ratio, or the figure itself.
    fn limited(&self) -> f64 {
        self.ratio().filter(|_| self.compared).unwrap_or(self.ours)
    }

    fn ratio(&self) -> Option<f64> {
        self.other.map(|(_, other)| self.ours / other)
    }

    fn is_met(&self) -> bool {
        self.limit.is_none_or(|limit| self.limited() <= limit)
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<52} {:>12} {:>34} {:>8} {:>8}\n",
        "measured", "countersign", "against", "ratio", "at most"
    );
    for row in rows {
        let other = row
            .other
            .map_or(String::new(), |(name, value)| format!("{name} {value:.3} {}", row.unit));
        let ratio = row.ratio().map_or(String::new(), |ratio| format!("{ratio:.3}"));
        let limit = row.limit.map_or(String::new(), |limit| format!("{limit:.3}"));
        let verdict = match row.limit {
            None => "",
            Some(_) if row.is_met() => "met",
            Some(_) => "MISSED",
        };
        text += &format!(
            "{:<52} {:>12} {:>34} {:>8} {:>8} {verdict}\n",
            row.what,
            format!("{:.3} {}", row.ours, row.unit),
            other,
            ratio,
            limit,
        );
    }
    text
}

fn write(rows: &[Row]) -> Result<PathBuf> {
    let measured: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "id": row.id,
                "what": row.what,
                "unit": row.unit,
                "countersign": row.ours,
                "against": row.other.map(|(name, value)| json!({"name": name, "value": value})),
                "ratio": row.ratio(),
                "limit": row.limit,
                "met": row.is_met(),
            })
        })
        .collect();
    let path = target().join("bench/bench.json");
    lab::write(
        &path,
        serde_json::to_vec_pretty(&json!({"measured": measured, "processor": processor()}))?,
    )?;
    Ok(path)
}

/// The processor's name, where Linux tells it.
fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(": ")?.1.to_owned())
}

/// Of each command, after [`processes`]'s warm-up; odd, so that the median is one of them.
const ROUNDS: usize = 41;

const SMOKE_ROUNDS: usize = 3;
