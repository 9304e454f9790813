//! The one list of cases whose recorded outcome is not ours: `deviations.json`, each with the reason.
//!
//! An entry names a suite (`containers-image`, `gpg`, `sq`, `policy`), its cases, what we answer instead and
//! why. A suite reports the entries that it did not come across, so that none outlives its case.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde::Deserialize;

/// Some cases of one suite that deviate for one reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deviation {
    suite: String,
    cases: Vec<String>,
    /// What we answer, as the suite spells its outcomes: `reject`, `accept`, `error`.
    pub(crate) ours: String,
    /// Why that is right.
    #[expect(dead_code, reason = "for readers of the file; its presence is checked by parsing")]
    why: String,
}

/// The deviation for a case, if it has one.
pub(crate) fn of(suite: &str, case: &str) -> Option<&'static Deviation> {
    all().iter().find(|d| d.suite == suite && d.cases.iter().any(|listed| listed == case))
}

/// The listed cases of a suite that are not among `seen`.
pub(crate) fn stale(suite: &str, seen: &BTreeSet<String>) -> Vec<String> {
    let listed = all().iter().filter(|d| d.suite == suite).flat_map(|d| &d.cases);
    listed.filter(|case| !seen.contains(*case)).cloned().collect()
}

fn all() -> &'static [Deviation] {
    static ALL: OnceLock<Vec<Deviation>> = OnceLock::new();
    ALL.get_or_init(|| {
        serde_json::from_str(include_str!("deviations.json")).expect("deviations.json is valid")
    })
}
