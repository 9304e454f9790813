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
        let (made, end) = (time::show(made), time::show(end));
        let message = format!(
            "the signature of {key} was made at {made} and is too old since {end}: {allowed} allowed; sign the image \
             again, or build it anew"
        );
        return Err(("signature-too-old", message));
    }
    Ok(claim.valid_until.map_or(end, |valid| valid.min(end)))
}

fn words(count: u32, unit: &str) -> String {
    match count {
        1 => format!("1 {unit} is"),
        count => format!("{count} {unit}s are"),
    }
}

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// Clocks that are kept by NTP differ by less than a second; five minutes is what Kerberos tolerates (RFC 4120,
/// section 8.2).
const DEFAULT_TOLERANCE: u32 = 5 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        serde_json::from_str(text).expect("settings")
    }

    fn claim(signed_at: Option<u64>, valid_until: Option<u64>) -> Claim {
        Claim { key: "AB".to_owned(), signed_at, valid_until, ..Claim::default() }
    }

    /// The end of an allow, or the codes of a denial.
    fn ask(claims: Vec<Claim>, settings: &Settings) -> Result<Option<u64>, Vec<String>> {
        let question = Question { claims, now: NOW, ..Question::default() };
        let answer = evaluate(&question, settings);
        let codes: Vec<_> = answer.reasons.into_iter().map(|reason| reason.code).collect();
        if codes.is_empty() { Ok(answer.valid_until) } else { Err(codes) }
    }

    #[test]
    fn a_signature_is_young_enough_up_to_the_last_second() {
        for (text, length) in [(r#"{"days":2}"#, 2 * DAY), (r#"{"hours":5}"#, 5 * HOUR)] {
            let settings = settings(text);
            assert_eq!(ask(vec![claim(Some(NOW - length), None)], &settings), Ok(Some(NOW)));
            let late = ask(vec![claim(Some(NOW - length - 1), None)], &settings);
            assert_eq!(late, Err(vec!["signature-too-old".to_owned()]));
        }
    }

    #[test]
    fn an_allow_ends_with_the_key_if_that_is_first() {
        let settings = settings(r#"{"days":2}"#);
        assert_eq!(ask(vec![claim(Some(NOW), Some(NOW + 5))], &settings), Ok(Some(NOW + 5)));
        assert_eq!(ask(vec![claim(Some(NOW), Some(u64::MAX))], &settings), Ok(Some(NOW + 2 * DAY)));
    }

    #[test]
    fn what_has_no_time_is_not_young() {
        for text in [r#"{"days":2}"#, r#"{"days":2,"signatures":"every"}"#] {
            let denied = Err(vec!["signature-without-time".to_owned()]);
            assert_eq!(ask(vec![claim(None, None)], &settings(text)), denied);
        }
    }

    #[test]
    fn what_is_yet_to_come_is_not_young_beyond_the_tolerance() {
        let settings = settings(r#"{"days":2,"toleranceSeconds":10}"#);
        let denied = Err(vec!["signature-from-the-future".to_owned()]);
        assert_eq!(ask(vec![claim(Some(NOW + 10), None)], &settings), Ok(Some(NOW + 10 + 2 * DAY)));
        assert_eq!(ask(vec![claim(Some(NOW + 11), None)], &settings), denied);
        assert_eq!(ask(vec![claim(Some(u64::MAX), None)], &settings), denied);
    }

    #[test]
    fn one_young_signature_is_enough_unless_every_one_counts() {
        let claims = || {
            let ages = [Some(NOW - 9 * DAY), Some(NOW - DAY), None, Some(NOW + DAY)];
            ages.map(|signed_at| claim(signed_at, None)).to_vec()
        };
        assert_eq!(ask(claims(), &settings(r#"{"days":2}"#)), Ok(Some(NOW + DAY)));
        let denied = ask(claims(), &settings(r#"{"days":2,"signatures":"every"}"#));
        let codes = ["signature-too-old", "signature-without-time", "signature-from-the-future"];
        assert_eq!(denied, Err(codes.map(str::to_owned).to_vec()));
    }

    #[test]
    fn the_end_is_that_of_the_last_or_of_the_first_to_go() {
        let claims = || vec![claim(Some(NOW - DAY), None), claim(Some(NOW), None)];
        assert_eq!(ask(claims(), &settings(r#"{"days":2}"#)), Ok(Some(NOW + 2 * DAY)));
        let every = settings(r#"{"days":2,"signatures":"every"}"#);
        assert_eq!(ask(claims(), &every), Ok(Some(NOW + DAY)));
    }

    #[test]
    fn without_signatures_nothing_is_young() {
        for text in [r#"{"days":2}"#, r#"{"days":2,"signatures":"every"}"#] {
            assert_eq!(ask(Vec::new(), &settings(text)), Err(vec!["no-signature".to_owned()]));
        }
    }

    #[test]
    fn settings_that_make_no_sense_deny() {
        for text in ["{}", r#"{"days":1,"hours":1}"#, r#"{"days":0}"#, r#"{"hours":0}"#] {
            let settings = settings(text);
            assert_eq!(check(&settings).len(), 1, "{text}");
            let denied = Err(vec!["settings-invalid".to_owned()]);
            assert_eq!(ask(vec![claim(Some(NOW), None)], &settings), denied, "{text}");
        }
        assert!(serde_json::from_str::<Settings>(r#"{"day":1}"#).is_err());
    }

    #[test]
    fn says_since_when_a_signature_is_too_old() {
        let question = Question {
            claims: vec![claim(Some(NOW - 93 * DAY), None)],
            now: NOW,
            ..Question::default()
        };
        let answer = evaluate(&question, &settings(r#"{"days":90}"#));
        assert_eq!(
            answer.reasons[0].message,
            "the signature of AB was made at 2026-09-30T00:00:00Z and is too old since 2026-12-29T00:00:00Z: 90 \
             days are allowed; sign the image again, or build it anew",
        );
    }

    /// 2027-01-01.
    const NOW: u64 = 1_798_761_600;
}
