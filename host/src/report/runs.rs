//! One run of a rule, for its author.

use std::time::Duration;

use guest_policy::rule::{LogLine, RuleReason};
use guest_policy::verdict::Outcome;
use serde::Serialize;

use super::{Style, document, printable, time};
use crate::engine::RuleFault;
use crate::workbench::{Loaded, Timed};

/// One document: `image`, `rule`, `version`, `verdict`, `reasons`, `warnings`, `annotations`, `valid_until`, `log`,
/// `log_dropped`, `memory_bytes`, and the times `first_microseconds` and `again_microseconds`.
pub fn json(loaded: &Loaded, image: &str, timed: &Timed) -> String {
    let reasons = match &timed.run {
        Ok(run) => run.answer.reasons.clone(),
        Err(fault) => vec![stopped(fault)],
    };
    let run = timed.run.as_ref().ok();
    document(&Document {
        image,
        rule: &loaded.description.name,
        version: &loaded.description.version,
        verdict: verdict(timed).to_string(),
        reasons,
        warnings: run.map_or(&[], |run| &run.answer.warnings),
        annotations: run.map_or(&[], |run| &run.answer.annotations),
        valid_until: run.and_then(|run| run.answer.valid_until).map(time),
        log: run.map_or(&[], |run| &run.log),
        log_dropped: run.map_or(0, |run| run.log_dropped),
        memory_bytes: run.map(|run| run.memory),
        first_microseconds: timed.first.as_micros(),
        again_microseconds: timed.again.as_micros(),
    })
}

/// A heading with the verdict, and a line for each thing that is to know.
pub fn text(loaded: &Loaded, image: &str, timed: &Timed, style: Style) -> String {
    let rule = format!("{} {}", loaded.description.name, loaded.description.version);
    let mut text = format!(
        "{}{} {}\n",
        style.outcome(verdict(timed)),
        style.strong(&printable(image)),
        style.quiet(&printable(&format!("by {rule}"))),
    );
    let mut line = |label, words: &str| text.push_str(&style.line(label, words));
    match &timed.run {
        Ok(run) => {
            for RuleReason { code, message } in &run.answer.reasons {
                line("reason", &format!("{message} ({code})"));
            }
            run.answer.warnings.iter().for_each(|warning| line("warning", warning));
            for (name, value) in &run.answer.annotations {
                line("note", &format!("{name}: {value}"));
            }
            if let Some(end) = run.answer.valid_until {
                line("until", &time(end));
            }
            for LogLine { level, message } in &run.log {
                line("log", &format!("{level}: {message}"));
            }
            if run.log_dropped > 0 {
                line(
                    "log",
                    &format!("{} more lines, for which there was no room", run.log_dropped),
                );
            }
            line("memory", &format!("{} KiB", run.memory.div_ceil(1024)));
        }
        Err(fault) => line("reason", &format!("{fault} ({})", fault.code())),
    }
    let milliseconds = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1000.0);
    let (first, again) = (milliseconds(timed.first), milliseconds(timed.again));
    line("time", &format!("{first}, and {again} when asked again"));
    text
}

/// Whoever ends a rule denies.
fn verdict(timed: &Timed) -> Outcome {
    if timed.allowed() { Outcome::Allow } else { Outcome::Deny }
}

fn stopped(fault: &RuleFault) -> RuleReason {
    RuleReason { code: fault.code().to_owned(), message: fault.to_string() }
}

#[derive(Serialize)]
struct Document<'a> {
    image: &'a str,
    rule: &'a str,
    version: &'a str,
    verdict: String,
    reasons: Vec<RuleReason>,
    warnings: &'a [String],
    annotations: &'a [(String, String)],
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<String>,
    log: &'a [LogLine],
    log_dropped: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<usize>,
    first_microseconds: u128,
    again_microseconds: u128,
}
