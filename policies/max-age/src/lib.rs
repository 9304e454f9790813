//! The rule `max-age`: signatures are at most so old.

use countersign_rule::{Answer, Claim, Question, rule};
use schemars::JsonSchema;
use serde::Deserialize;

mod time;

rule! {
    purpose: "signatures are at most so old",
    settings: Settings,
    check: check,
    evaluate: evaluate,
}

/// How old is too old. One of `days` and `hours`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Settings {
    /// Of 24 hours.
    #[schemars(range(min = 1, max = 36_500))]
    days: Option<u32>,
    #[schemars(range(min = 1, max = 876_000))]
    hours: Option<u32>,
    /// Which of the image's signatures are looked at.
    #[serde(default)]
    signatures: Signatures,
    /// How far the signer's clock may be ahead.
    #[serde(default = "tolerance")]
    #[schemars(range(max = 86_400))]
    tolerance_seconds: u32,
}

/// Which signatures have to be young enough.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Signatures {
    /// One of them.
    #[default]
    Newest,
    /// All of them.
    Every,
}

fn tolerance() -> u32 {
    DEFAULT_TOLERANCE
}

fn check(settings: &Settings) -> Vec<String> {
    match (settings.days, settings.hours) {
        (Some(0), None) | (None, Some(0)) => {
            vec!["an age of 0 would deny everything; give at least 1".to_owned()]
        }
        (Some(_), None) | (None, Some(_)) => Vec::new(),
        (Some(_), Some(_)) => vec!["days and hours are both there; leave one out".to_owned()],
        (None, None) => vec!["the age is missing: \"days\" or \"hours\"".to_owned()],
    }
}

fn evaluate(question: &Question, settings: &Settings) -> Answer {
    if let Some(mistake) = check(settings).into_iter().next() {
        return Answer::deny("settings-invalid", mistake);
    }
    if question.claims.is_empty() {
        return Answer::deny(
            "no-signature",
            "the image has no signature that the policy accepts, so that there is none whose age could be told; the \
             policy needs a requirement like signedBy before this one",
        );
    }
    let judged = question.claims.iter().map(|claim| judge(claim, settings, question.now));
    let (good, bad): (Vec<_>, Vec<_>) = judged.partition(Result::is_ok);
    let ends = good.into_iter().flatten();
    let end = match settings.signatures {
        Signatures::Newest => ends.max(),
        Signatures::Every if bad.is_empty() => ends.min(),
        Signatures::Every => None,
    };
    match end {
        Some(end) => Answer::allow().valid_until(end),
        None => Answer::deny_all(bad.into_iter().filter_map(Result::err)),
    }
}

/// Until when a signature is young enough; or code and message of what is wrong with it.
fn judge(claim: &Claim, settings: &Settings, now: u64) -> Result<u64, (&'static str, String)> {
    let key = &claim.key;
    let Some(made) = claim.signed_at else {
        return Err(("signature-without-time", format!("the signature of {key} says no time")));
    };
    if made > now.saturating_add(settings.tolerance_seconds.into()) {
        let made = time::show(made);
        let message = format!("the signature of {key} says {made}, which is yet to come");
        return Err(("signature-from-the-future", message));
    }
    let (length, allowed) = match (settings.days, settings.hours) {
        (Some(days), _) => (u64::from(days) * DAY, words(days, "day")),
        (None, hours) => (u64::from(hours.unwrap_or(0)) * HOUR, words(hours.unwrap_or(0), "hour")),
    };
    let end = made.saturating_add(length);
    if end < now {
        let message = format!(
            "the signature of {key} was made at {}, {} ago, and {allowed} are allowed; sign the image again, or build it \
             anew",
            time::show(made),
            age(now - made),
        );
        return Err(("signature-too-old", message));
    }
    Ok(claim.valid_until.map_or(end, |valid| valid.min(end)))
}

fn age(seconds: u64) -> String {
    match seconds / DAY {
        0 | 1 => words(seconds / HOUR, "hour"),
        days => words(days, "day"),
    }
}

fn words(count: impl Into<u64>, unit: &str) -> String {
    match count.into() {
        1 => format!("1 {unit}"),
        count => format!("{count} {unit}s"),
    }
}

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// Clocks that are kept by NTP differ by less than a second; five minutes is what Kerberos tolerates (RFC 4120,
/// section 8.2).
const DEFAULT_TOLERANCE: u32 = 5 * 60;
