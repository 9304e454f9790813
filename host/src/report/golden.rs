//! How golden cases came out.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Style, document, printable};
use crate::workbench::Loaded;
use crate::workbench::cases::{Difference, Outcome};

/// `{"rule": …, "version": …, "digest": …, "cases": […]}`, with `name`, `passed` and the `differences` of each
/// case: `member`, what was `expected` and what was `found`.
pub fn json(loaded: &Loaded, results: &[(String, Outcome)]) -> String {
    document(&Document {
        rule: &loaded.description.name,
        version: &loaded.description.version,
        digest: format!("sha256:{}", loaded.module.sha256()),
        cases: results
            .iter()
            .map(|(name, outcome)| Entry {
                name,
                passed: outcome.differences.is_empty(),
                differences: &outcome.differences,
            })
            .collect(),
    })
}

/// A line for each case, with what is not as expected below it, and a line with the numbers.
pub fn text(loaded: &Loaded, results: &[(String, Outcome)], style: Style) -> String {
    let mut text = String::new();
    for (name, outcome) in results {
        let word = match outcome.differences.is_empty() {
            true => style.good("ok     "),
            false => style.bad("failed "),
        };
        let _ = writeln!(text, "{word}{}", printable(name));
        for Difference { member, expected, found } in &outcome.differences {
            text.push_str(&style.line(member, ""));
            text.push_str(&style.line("  expect", expected));
            text.push_str(&style.line("  found", found));
        }
        for line in
            outcome.run.iter().filter(|_| !outcome.differences.is_empty()).flat_map(|run| &run.log)
        {
            text.push_str(&style.line("  log", format!("{}: {}", line.level, line.message)));
        }
    }
    let failed = results.iter().filter(|(_, outcome)| !outcome.differences.is_empty()).count();
    let rule = format!("{} {}", loaded.description.name, loaded.description.version);
    let passed = results.len() - failed;
    let _ = writeln!(text, "\n{}: {passed} passed, {failed} failed", printable(&rule));
    text
}

#[derive(Serialize)]
struct Document<'a> {
    rule: &'a str,
    version: &'a str,
    digest: String,
    cases: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    passed: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    differences: &'a [Difference],
}
