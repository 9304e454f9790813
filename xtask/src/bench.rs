//! Speed and memory, against the peers and against the targets.

mod copy;
mod criterion;
mod processes;
mod rules;
mod webhook;

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde_json::json;

use crate::command::{cargo, root, run as run_command, target};
use crate::{dist, setup};

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Subject {
    /// Copying and signing.
    Copy,
    /// Single evaluations and whole processes, copying, and the server.
    Everything,
    /// The server with rules.
    Rules,
    /// The server under load.
    Webhook,
}

/// Measure and print a table. `target/bench/bench.json` is written after everything was measured, the pages of
/// `benches/` after their subjects were. A missed target fails the run only if `strict`. `smoke`
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
    let wanted = |other| subject == Subject::Everything || subject == other;
    let (mut copied, mut served, mut ruled) = (Vec::new(), Vec::new(), Vec::new());
    if wanted(Subject::Copy) {
        copied = copy::measure(&binary, smoke)?;
    }
    if wanted(Subject::Webhook) {
        served = webhook::measure(&binary, smoke)?;
    }
    if wanted(Subject::Rules) {
        ruled = rules::measure(&binary, smoke)?;
    }
    rows.extend(copied.iter().chain(&served).chain(&ruled).cloned());
    print!("{}", table(&rows));
    if smoke {
        println!("a smoke run of the development build: the figures say nothing about speed");
        return Ok(());
    }
    for (page, rows) in [(&SERVED, &served), (&RULED, &ruled), (&COPIED, &copied)] {
        if !rows.is_empty() {
            println!("written to {}", page.write(rows)?.display());
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

/// A page of `benches/`.
struct Page {
    title: &'static str,
    command: &'static str,
    file: &'static str,
    /// How it is measured.
    how: &'static str,
}

impl Page {
    fn write(&self, rows: &[Row]) -> Result<PathBuf> {
        let Self { title, command, file, how } = self;
        let processor = processor().unwrap_or_else(|| "an unknown processor".to_owned());
        let mut text = format!(
            "# {title}\n\nWritten by `{command}` on {processor}: {how}\n\n\
             | measured | countersign | against | at most | |\n|---|---|---|---|---|\n",
        );
        for row in rows {
            let other = row.other.map(|(name, value)| format!("{name}: {value:.2} {}", row.unit));
            let limit = row.limit.map(|limit| match row.compared {
                true => format!("{limit:.2} times that"),
                false => format!("{limit:.2} {}", row.unit),
            });
            text += &format!(
                "| {} | {:.2} {} | {} | {} | {} |\n",
                row.what,
                row.ours,
                row.unit,
                other.unwrap_or_default().trim_end(),
                limit.unwrap_or_default().trim_end(),
                if row.is_met() { "met" } else { "missed" },
            );
        }
        let path = root().join("benches").join(file);
        lab::write(&path, text)?;
        Ok(path)
    }
}

const SERVED: Page = Page {
    title: "The webhook server under load",
    command: "cargo xtask bench webhook",
    file: "RESULTS.md",
    how: SERVER,
};

const RULED: Page = Page {
    title: "Rules in the webhook server",
    command: "cargo xtask bench rules",
    file: "RULES.md",
    how: SERVER,
};

const COPIED: Page = Page {
    title: "Copying and signing",
    command: "cargo xtask bench copy",
    file: "COPY.md",
    how: "whole processes, in turn with skopeo's; Debian's\n\
          docker-registry on loopback, a new one for each copy; layers of random bytes, which nobody compresses.",
};

const SERVER: &str = "the server alone on one processor; wrk, Debian's\n\
    docker-registry and the lookaside on the other; HTTPS with connections kept alive, reviews of 5 KB.\n\
    The figures of Kubewarden 1.36 were recorded the same way on such a machine.";

/// The processor's name, where Linux tells it.
fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(": ")?.1.to_owned())
}

/// Of each command, after [`processes`]'s warm-up; odd, so that the median is one of them.
const ROUNDS: usize = 41;

const SMOKE_ROUNDS: usize = 3;
