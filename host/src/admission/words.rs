//! What people read: denials, warnings, annotations of the audit log.

use std::borrow::Cow;
use std::collections::BTreeMap;

use guest_policy::verdict::{Outcome, Verdict};
use jiff::Timestamp;

use super::Mode;
use super::places::Place;
use crate::report::printable;

/// What was found about one place, in words.
#[derive(Debug)]
pub(super) struct Finding<'a> {
    pub(super) place: &'a Place,
    pub(super) outcome: Outcome,
    pub(super) code: String,
    /// Why not; empty if it is allowed.
    pub(super) words: String,
    pub(super) scope: &'a str,
    /// What it rests on, if it needed a judgement.
    pub(super) verdict: Option<&'a Verdict>,
    pub(super) mode: Mode,
    /// It is admitted although the question could not be answered.
    pub(super) let_through: bool,
}

impl Finding<'_> {
    /// Whether it keeps the object out.
    pub(super) fn refuses(&self) -> bool {
        self.outcome != Outcome::Allow && self.mode == Mode::Enforce && !self.let_through
    }

    /// `container "web": registry.example.com/app:1: …`
    fn line(&self) -> String {
        format!("{}: {}: {}", self.place, printable(&self.place.image), self.words)
    }
}

/// Why a verdict does not allow: every reason once, and what to do about the first.
pub(super) fn reasons(verdict: &Verdict) -> String {
    let mut said: Vec<&str> = Vec::new();
    for reason in &verdict.reasons {
        if !said.contains(&reason.message.as_str()) {
            said.push(&reason.message);
        }
    }
    let hint = verdict.reasons.iter().find_map(|reason| reason.hint.as_deref());
    let mut words = match said.is_empty() {
        true => "no answer could be found".to_owned(),
        false => said.join("; "),
    };
    if let Some(hint) = hint {
        words.push_str("; ");
        words.push_str(hint);
    }
    printable(&words)
}

/// The message of a denial: of one image in one line, of several after a line that sums up.
pub(super) fn denial(findings: &[Finding<'_>]) -> String {
    let refused: Vec<_> = findings.iter().filter(|finding| finding.refuses()).collect();
    // Containers with the same image and the same fault are told of together.
    let mut groups: Vec<(Vec<&Finding<'_>>, String)> = Vec::new();
    for finding in &refused {
        let text = format!("{}: {}", printable(&finding.place.image), finding.words);
        match groups.iter_mut().find(|(_, known)| *known == text) {
            Some((members, _)) => members.push(finding),
            None => groups.push((vec![finding], text)),
        }
    }
    let mut lines = groups.into_iter().map(|(members, text)| {
        let places: Vec<_> = members.iter().map(|member| member.place.to_string()).collect();
        format!("{}: {text}", printable(&places.join(", ")))
    });
    let (Some(first), count) = (lines.next(), refused.len()) else { return String::new() };
    if count == 1 {
        return cut(&first, MAX_MESSAGE_BYTES);
    }
    let mut message = format!("{count} of {} images are not allowed:", findings.len());
    let mut left = lines.len() + 1;
    for line in std::iter::once(first).chain(lines) {
        let room = MAX_MESSAGE_BYTES.saturating_sub(message.len() + MORE_BYTES);
        // The first is told in any case, as much of it as there is room for.
        let line = match line.len() + 3 <= room {
            true => line,
            false if !message.contains('\n') => cut(&line, room.saturating_sub(3)),
            false => break,
        };
        message.push_str("\n- ");
        message.push_str(&line);
        left -= 1;
    }
    if left > 0 {
        message.push_str(&format!("\n... and {left} more"));
    }
    message
}

/// Shown to whoever made the request; more and longer ones than API servers show are left out.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    texts: Vec<String>,
    runes: usize,
}

impl Warnings {
    pub(super) fn add(&mut self, text: &str) {
        let mut text: String = printable(text);
        if text.chars().count() > MAX_WARNING_RUNES {
            text = text.chars().take(MAX_WARNING_RUNES - 3).chain("...".chars()).collect();
        }
        let runes = text.chars().count();
        if self.runes + runes <= MAX_WARNINGS_RUNES && !self.texts.contains(&text) {
            self.runes += runes;
            self.texts.push(text);
        }
    }

    /// Of an image that is admitted although it is not allowed.
    pub(super) fn add_admitted(&mut self, finding: &Finding<'_>) {
        self.add(&format!("not allowed, but admitted: {}", finding.line()));
    }

    /// What rules have to say, whatever the decision.
    pub(super) fn add_said(&mut self, finding: &Finding<'_>) {
        for warning in finding.verdict.iter().flat_map(|verdict| &verdict.warnings) {
            self.add(&format!("{}: {warning}", finding.place.image));
        }
    }

    pub(super) fn into_texts(self) -> Vec<String> {
        self.texts
    }
}

/// `X will be denied from TIME on: key FPR expires`, if that is before `limit`.
pub(super) fn expiry(image: &str, verdict: &Verdict, limit: u64) -> Option<String> {
    let end = verdict.valid_until.filter(|end| *end < limit)?;
    let time = i64::try_from(end).ok().and_then(|end| Timestamp::from_second(end).ok());
    let time = time.map_or_else(|| "soon".to_owned(), |time| time.to_string());
    let claim = verdict.claims.iter().find(|claim| claim.valid_until == Some(end));
    let what = claim.map_or_else(
        || "what it rests on ends".to_owned(),
        |claim| format!("its signature by key {} or that key ends", claim.key),
    );
    Some(format!("{image} will be denied after {time}: {what}"))
}

/// Annotations of the audit log: key to value.
pub(super) type Annotations = BTreeMap<Cow<'static, str>, String>;

/// Annotations of the audit log. Their keys have no slash: API servers put the webhook's name before them.
pub(super) fn audit(findings: &[Finding<'_>], policy: &str) -> Annotations {
    let mut annotations = said(findings);
    let worst = [Outcome::Error, Outcome::Deny]
        .into_iter()
        .find(|outcome| findings.iter().any(|finding| finding.outcome == *outcome));
    let mut insert = |key: &'static str, value| annotations.insert(key.into(), value);
    insert("verdict", worst.unwrap_or(Outcome::Allow).to_string());
    let mut scopes: Vec<&str> =
        findings.iter().map(|f| f.scope).filter(|s| !s.is_empty()).collect();
    scopes.sort_unstable();
    scopes.dedup();
    if !scopes.is_empty() {
        insert("scope", cut(&printable(&scopes.join(", ")), MAX_ANNOTATION_BYTES));
    }
    if !policy.is_empty() {
        insert("policy", policy.to_owned());
    }
    let refused = findings.iter().filter(|finding| finding.outcome != Outcome::Allow);
    let refused: Vec<_> = refused
        .map(|f| format!("{} {} {}", printable(&f.place.image), f.outcome, printable(&f.code)))
        .collect();
    if !refused.is_empty() {
        insert("images", cut(&refused.join(", "), MAX_ANNOTATION_BYTES));
        let mode = findings.iter().filter(|f| f.outcome != Outcome::Allow).map(|f| f.mode);
        // The strictest tells whether the object came in.
        let mode = mode.min_by_key(|mode| *mode as u8);
        insert("mode", mode.unwrap_or_default().name().to_owned());
    }
    if findings.iter().any(|finding| finding.let_through) {
        insert("admitted-on-error", "true".to_owned());
    }
    annotations
}

/// What rules want in the audit log, by `RULE.KEY`. No key of ours has a dot.
fn said(findings: &[Finding<'_>]) -> Annotations {
    let mut values: BTreeMap<String, Vec<(&str, &str)>> = BTreeMap::new();
    for finding in findings {
        for (key, value) in finding.verdict.iter().flat_map(|verdict| &verdict.annotations) {
            let Some(key) = annotation_key(key) else { continue };
            if values.len() < MAX_RULE_ANNOTATIONS || values.contains_key(&key) {
                values.entry(key).or_default().push((&finding.place.image, value));
            }
        }
    }
    let written = values.into_iter().map(|(key, values)| {
        // Of several images each value is told with the image, unless all are the same.
        let value = match values.as_slice() {
            [(_, first), rest @ ..] if rest.iter().all(|(_, value)| value == first) => {
                (*first).to_owned()
            }
            values => {
                let mut told: Vec<_> =
                    values.iter().map(|(image, value)| format!("{image} {value}")).collect();
                told.dedup();
                told.join(", ")
            }
        };
        (key.into(), cut(&printable(&value), MAX_ANNOTATION_BYTES))
    });
    written.collect()
}

/// A key as API servers accept it (a qualified name): at most 63 letters, digits, `-`, `_` and `.`, the first and
/// the last no sign. A rule's slash becomes a dot.
fn annotation_key(key: &str) -> Option<String> {
    let (rule, key) = key.split_once('/')?;
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let sign = |c: char| !c.is_ascii_alphanumeric();
    let [rule, key] = [rule, key].map(|text| text.chars().map(plain).collect::<String>());
    let (rule, key) = (rule.trim_start_matches(sign), key.trim_end_matches(sign));
    if rule.is_empty() || key.is_empty() {
        return None;
    }
    let whole: String = format!("{rule}.{key}").chars().take(MAX_KEY_BYTES).collect();
    Some(whole.trim_end_matches(sign).to_owned()).filter(|whole| whole.contains('.'))
}

/// At most so many bytes, with a sign that something is missing.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub(3);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &text[..end])
}

/// Longest message of a denial. A controller's event, where the message of a pod that was denied is looked for,
/// is cut after 1,024 bytes, some of which the API server's own words take.
const MAX_MESSAGE_BYTES: usize = 900;

/// Room for `... and 1000 more`.
const MORE_BYTES: usize = 24;

/// Longest warning (Kubernetes, `AdmissionResponse.warnings`: longer ones may be cut).
const MAX_WARNING_RUNES: usize = 256;

/// All warnings of an answer (Kubernetes: 4,096 for all webhooks together; what is over is left out).
const MAX_WARNINGS_RUNES: usize = 2048;

/// Most annotations of the audit log that rules write for one request: a handful of rules with a few each.
const MAX_RULE_ANNOTATIONS: usize = 32;

/// Longest key of an annotation (Kubernetes, the name of a qualified name).
const MAX_KEY_BYTES: usize = 63;

/// Longest annotation of the audit log: it lies in a log for years.
const MAX_ANNOTATION_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::super::places::Role;
    use super::*;

    fn place(name: &str, image: &str) -> Place {
        Place {
            pointer: format!("/spec/{name}"),
            role: Role::Container,
            name: name.to_owned(),
            image: image.to_owned(),
        }
    }

    fn finding<'a>(place: &'a Place, outcome: Outcome, words: &str) -> Finding<'a> {
        Finding {
            place,
            outcome,
            code: "signature-missing".to_owned(),
            words: words.to_owned(),
            scope: "default",
            verdict: None,
            mode: Mode::Enforce,
            let_through: false,
        }
    }

    #[test]
    fn one_denial_is_one_line() {
        let (good, bad) = (place("a", "x:1"), place("b", "y:1"));
        let findings = [
            finding(&good, Outcome::Allow, ""),
            finding(
                &bad,
                Outcome::Deny,
                "A signature was required, but no signature exists; sign it",
            ),
        ];
        let expected =
            "container \"b\": y:1: A signature was required, but no signature exists; sign it";
        assert_eq!(denial(&findings), expected);
    }

    #[test]
    fn many_denials_are_summed_up_and_fit() {
        let places: Vec<_> = (0..24)
            .map(|n| place(&format!("c{n}"), &format!("registry.example.com/{}:1", n / 2)))
            .collect();
        let findings: Vec<_> =
            places.iter().map(|p| finding(p, Outcome::Deny, &"no signature ".repeat(5))).collect();
        let message = denial(&findings);
        let mut lines = message.lines();
        assert_eq!(lines.next(), Some("24 of 24 images are not allowed:"));
        let second = lines.next().expect("a line");
        assert!(
            second.starts_with("- container \"c0\", container \"c1\": registry.example.com/0:1: "),
            "{second}"
        );
        assert!(message.len() <= MAX_MESSAGE_BYTES, "{}", message.len());
        assert!(message.lines().last().expect("a line").starts_with("... and "), "{message}");
    }

    #[test]
    fn giant_words_are_cut_and_hostile_ones_shown() {
        let bad = place("b\u{1b}[31m", "y:1");
        let words = format!("{}é", "x".repeat(5000));
        let message = denial(&[finding(&bad, Outcome::Deny, &words)]);
        assert!(message.len() <= MAX_MESSAGE_BYTES && message.ends_with("..."));
        assert!(!message.contains('\u{1b}'), "{message}");
        let two = [finding(&bad, Outcome::Deny, &words), finding(&bad, Outcome::Error, "e")];
        let message = denial(&two);
        assert!(message.len() <= MAX_MESSAGE_BYTES, "{}", message.len());
        assert!(message.starts_with("2 of 2 images are not allowed:\n- container"), "{message}");
    }

    #[test]
    fn warnings_are_as_long_as_api_servers_show() {
        let mut warnings = Warnings::default();
        for number in 0..100 {
            warnings.add(&format!("{number} {}", "é".repeat(400)));
        }
        let texts = warnings.into_texts();
        assert!(texts.iter().all(|text| text.chars().count() <= 256 && text.ends_with("...")));
        assert!(texts.iter().map(|text| text.chars().count()).sum::<usize>() <= 4096);
    }
}
