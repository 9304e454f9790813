//! Verdicts. The JSON form is a contract: members are added, never changed or left out.

use std::fmt::Write as _;

use guest_policy::evaluation::{Came, Node};
use guest_policy::rule::LogLine;
use guest_policy::verdict::{Claim, Outcome, Reason};
use serde::Serialize;

use super::explanation::branches;
use super::{MARGIN, Style, document, printable, time};
use crate::decide::{Course, Decision};

/// `{"results": […]}`, with one member for each decision, in order.
pub fn json(decisions: &[Decision]) -> String {
    document(&Document { results: decisions.iter().map(Entry::from).collect() })
}

/// As [`json`], and how each requirement came out.
pub fn json_explained(decisions: &[Decision]) -> String {
    let explained = |decision| Entry { course: Some(Way::of(decision)), ..Entry::from(decision) };
    document(&Document { results: decisions.iter().map(explained).collect() })
}

/// A paragraph for each decision.
pub fn text(decisions: &[Decision], style: Style) -> String {
    decisions.iter().map(|decision| paragraph(decision, style)).collect()
}

/// As [`text`], and how each requirement came out, as a tree.
pub fn text_explained(decisions: &[Decision], style: Style) -> String {
    let explained = |decision: &Decision| {
        let course = decision.course.as_deref().map(|course| tree(course, style));
        paragraph(decision, style) + &course.unwrap_or_default()
    };
    decisions.iter().map(explained).collect()
}

/// A line for each requirement and each part of one, with the reasons of those that do not hold, and what rules
/// logged.
fn tree(course: &Course, style: Style) -> String {
    let mut text = String::new();
    let nodes = &course.evaluation.nodes;
    let depths: Vec<u32> = nodes.iter().map(|node| node.depth).collect();
    let mut number = 0;
    for (at, (node, branch)) in nodes.iter().zip(branches(&depths)).enumerate() {
        let (came, reasons) = match course.outcomes.get(at) {
            Some((came, reasons)) => (*came, reasons.as_slice()),
            None => (Came::Skipped, [].as_slice()),
        };
        let (mark, note) = match came {
            Came::Held => (style.good("✓"), ""),
            Came::Failed => (style.bad("✗"), ""),
            Came::Skipped => (style.quiet("-"), " (not looked at)"),
        };
        let start = match node.depth {
            0 => format!("{number:<2} "),
            _ => format!("   {branch}"),
        };
        number += u32::from(node.depth == 0);
        let words = printable(&node.words);
        let _ = writeln!(text, "{:MARGIN$}{mark} {}{words}{note}", "", style.quiet(&start));
        // The reasons of what has parts are those of its parts.
        let is_leaf = depths.get(at + 1).is_none_or(|next| *next <= node.depth);
        if came == Came::Failed && is_leaf {
            let below: String = start.chars().map(continued).collect();
            for reason in reasons {
                let words = printable(&format!("{} ({})", reason.message, reason.code));
                let _ = writeln!(text, "{:MARGIN$}  {}  {words}", "", style.quiet(&below));
            }
        }
    }
    for asked in &course.asked {
        for LogLine { level, message } in &asked.log {
            text.push_str(&style.line("log", format!("{} {level}: {message}", asked.name)));
        }
    }
    text
}

/// What stands below a character of the tree.
fn continued(character: char) -> char {
    match character {
        '├' | '│' => '│',
        _ => ' ',
    }
}

fn paragraph(decision: &Decision, style: Style) -> String {
    let Decision { image, platform, digest, verdict, course: _ } = decision;
    let image = style.strong(&printable(&image.to_string()));
    let mut text = format!("{}{image}", style.outcome(verdict.outcome));
    if let Some(platform) = platform {
        let _ = write!(text, " ({})", printable(platform));
    }
    text.push('\n');
    for (place, reason) in verdict.reasons.iter().enumerate() {
        // The words in which copying tools report a denial, once for all of its reasons.
        let rejected = place == 0 && verdict.outcome == Outcome::Deny;
        let prefix = if rejected { "Source image rejected: " } else { "" };
        let _ = writeln!(text, "{:MARGIN$}{prefix}{}", "", printable(&reason.message));
        if let Some(hint) = &reason.hint {
            text.push_str(&style.line("hint", hint));
        }
    }
    for warning in &verdict.warnings {
        text.push_str(&style.line("warning", warning));
    }
    for claim in &verdict.claims {
        text.push_str(&style.line("signed", signed(claim)));
    }
    if !verdict.scope.is_empty() {
        text.push_str(&style.line("scope", &verdict.scope));
    }
    if let Some(digest) = digest {
        text.push_str(&style.line("digest", digest));
    }
    if let Some(end) = verdict.valid_until {
        text.push_str(&style.line("until", time(end)));
    }
    text
}

/// What a claim says, in a line.
pub(super) fn signed(claim: &Claim) -> String {
    let mut text = format!("by {}", claim.key);
    if claim.signing_key != claim.key {
        let _ = write!(text, " (subkey {})", claim.signing_key);
    }
    if let Some(at) = claim.signed_at {
        let _ = write!(text, " at {}", time(at));
    }
    let _ = write!(text, " as {}", claim.reference);
    if let Some(creator) = &claim.creator {
        let _ = write!(text, " with {creator}");
    }
    text
}

#[derive(Serialize)]
struct Document<'a> {
    results: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    digest: Option<&'a str>,
    verdict: Outcome,
    scope: Option<&'a str>,
    reasons: &'a [Reason],
    claims: Vec<Signed<'a>>,
    valid_until: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
    #[serde(flatten)]
    course: Option<Way<'a>>,
}

impl<'a> From<&'a Decision> for Entry<'a> {
    fn from(decision: &'a Decision) -> Self {
        let Decision { image, platform, digest, verdict, course: _ } = decision;
        Self {
            image: image.to_string(),
            platform: platform.as_deref(),
            digest: digest.as_ref().map(|digest| digest.as_str()),
            verdict: verdict.outcome,
            scope: Some(verdict.scope.as_str()).filter(|scope| !scope.is_empty()),
            reasons: &verdict.reasons,
            claims: verdict.claims.iter().map(Signed::from).collect(),
            valid_until: verdict.valid_until.map(time),
            warnings: &verdict.warnings,
            course: None,
        }
    }
}

/// How the policy came to its verdict.
#[derive(Serialize)]
struct Way<'a> {
    requirements: Vec<Requirement<'a>>,
    log: Vec<Logged<'a>>,
}

#[derive(Serialize)]
struct Requirement<'a> {
    depth: u32,
    words: &'a str,
    outcome: Came,
    reasons: &'a [Reason],
}

#[derive(Serialize)]
struct Logged<'a> {
    rule: &'a str,
    level: &'a str,
    message: &'a str,
}

impl<'a> Way<'a> {
    fn of(decision: &'a Decision) -> Self {
        let Some(course) = &decision.course else {
            return Self { requirements: Vec::new(), log: Vec::new() };
        };
        let nodes = course.evaluation.nodes.iter().zip(&course.outcomes);
        let requirement = |(node, (came, reasons)): (&'a Node, &'a (Came, Vec<Reason>))| {
            let Node { depth, words, .. } = node;
            Requirement { depth: *depth, words, outcome: *came, reasons }
        };
        let lines = course.asked.iter().flat_map(|asked| {
            asked.log.iter().map(|LogLine { level, message }| Logged {
                rule: &asked.name,
                level,
                message,
            })
        });
        Self { requirements: nodes.map(requirement).collect(), log: lines.collect() }
    }
}

/// A claim as programs see it.
#[derive(Serialize)]
pub(super) struct Signed<'a> {
    format: &'a str,
    key: &'a str,
    reference: &'a str,
    signed_at: Option<String>,
    creator: Option<&'a str>,
}

impl<'a> From<&'a Claim> for Signed<'a> {
    fn from(claim: &'a Claim) -> Self {
        Self {
            format: &claim.format,
            key: &claim.key,
            reference: &claim.reference,
            signed_at: claim.signed_at.map(time),
            creator: claim.creator.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use guest_policy::digest::Digest;
    use guest_policy::evaluation::{Evaluation, RuleAnswer, State};
    use guest_policy::image::Subject;
    use guest_policy::verdict::Verdict;

    use super::*;
    use crate::decide::Asked;

    fn decision(outcome: Outcome, reasons: Vec<Reason>, claims: Vec<Claim>) -> Decision {
        let digest = Digest::sha256(b"image");
        Decision {
            image: "registry.example.com/ns/app:1".parse().expect("valid"),
            platform: None,
            verdict: Verdict {
                outcome,
                scope: "docker/registry.example.com/ns".to_owned(),
                digest: digest.to_string(),
                reasons,
                claims,
                valid_until: Some(1_795_564_800),
                warnings: Vec::new(),
                annotations: BTreeMap::new(),
            },
            digest: Some(digest),
            course: None,
        }
    }

    fn reason(message: &str, hint: Option<&str>) -> Reason {
        Reason {
            code: "signature-missing".to_owned(),
            requirement: Some(0),
            message: message.to_owned(),
            hint: hint.map(str::to_owned),
        }
    }

    fn claim() -> Claim {
        Claim {
            format: "simple-signing".to_owned(),
            key: "0123".to_owned(),
            signing_key: "4567".to_owned(),
            reference: "registry.example.com/ns/app:1".to_owned(),
            digest: Digest::sha256(b"image").to_string(),
            signed_at: Some(0),
            creator: Some("atomic 1".to_owned()),
            valid_until: None,
            requirement: 0,
            material: Vec::new(),
        }
    }

    const MISSING: &str = "A signature was required, but no signature exists";

    #[test]
    fn json_is_what_the_contract_says() {
        let deny = decision(Outcome::Deny, vec![reason(MISSING, None)], vec![claim()]);
        let expected = serde_json::json!({"results": [{
            "image": "docker://registry.example.com/ns/app:1",
            "digest": Digest::sha256(b"image"),
            "verdict": "deny",
            "scope": "docker/registry.example.com/ns",
            "reasons": [{"code": "signature-missing", "requirement": 0, "message": MISSING}],
            "claims": [{
                "format": "simple-signing",
                "key": "0123",
                "reference": "registry.example.com/ns/app:1",
                "signed_at": "1970-01-01T00:00:00Z",
                "creator": "atomic 1",
            }],
            "valid_until": "2026-11-25T00:00:00Z",
        }]});
        let written: serde_json::Value = serde_json::from_str(&json(&[deny])).expect("JSON");
        assert_eq!(written, expected);
    }

    #[test]
    fn what_is_unknown_is_null() {
        let image = "dir:/srv/image".parse().expect("valid");
        let error = Decision::unanswered(image, "image-unreadable", "cannot read".to_owned());
        let written: serde_json::Value = serde_json::from_str(&json(&[error])).expect("JSON");
        let result = &written["results"][0];
        assert_eq!(result["verdict"], "error");
        for member in ["digest", "scope", "valid_until"] {
            assert_eq!(result.get(member), Some(&serde_json::Value::Null), "{member}");
        }
    }

    #[test]
    fn denial_is_told_in_known_words_with_what_to_do() {
        let deny = decision(Outcome::Deny, vec![reason(MISSING, Some("sign the image"))], vec![]);
        let digest = Digest::sha256(b"image");
        let expected = format!(
            "deny   docker://registry.example.com/ns/app:1\n       \
             Source image rejected: A signature was required, but no signature exists\n       \
             hint     sign the image\n       \
             scope    docker/registry.example.com/ns\n       \
             digest   {digest}\n       \
             until    2026-11-25T00:00:00Z\n"
        );
        assert_eq!(text(&[deny], Style::Plain), expected);
    }

    #[test]
    fn allow_tells_who_signed() {
        let allow = decision(Outcome::Allow, vec![], vec![claim()]);
        let text = text(&[allow], Style::Plain);
        assert!(text.starts_with("allow  docker://registry.example.com/ns/app:1\n"), "{text}");
        let signed = "by 0123 (subkey 4567) at 1970-01-01T00:00:00Z as \
                      registry.example.com/ns/app:1 with atomic 1";
        assert!(text.contains(signed), "{text}");
    }

    #[test]
    fn words_of_a_signature_cannot_begin_a_line() {
        let deny =
            decision(Outcome::Deny, vec![reason("a\nallow  docker://evil\x1b", None)], vec![]);
        let text = text(&[deny], Style::Plain);
        assert!(text.contains("a\\nallow  docker://evil\\u{1b}"), "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn warnings_are_there_if_there_are_any() {
        let mut warned = decision(Outcome::Allow, vec![], vec![]);
        assert!(!json(std::slice::from_ref(&warned)).contains("warnings"));
        warned.verdict.warnings = vec!["max-age: 3 days\nleft".to_owned()];
        let written: serde_json::Value =
            serde_json::from_str(&json(std::slice::from_ref(&warned))).expect("JSON");
        assert_eq!(written["results"][0]["warnings"][0], "max-age: 3 days\nleft");
        let text = text(&[warned], Style::Plain);
        assert!(text.contains("\n       warning  max-age: 3 days\\nleft\n"), "{text}");
    }

    #[test]
    fn tree_shows_how_each_requirement_came_out() {
        let node =
            |depth, words: &str| Node { depth, words: words.to_owned(), state: State::Skipped };
        let failed = |message| (Came::Failed, vec![reason(message, None)]);
        let nodes =
            vec![node(0, "anyOf"), node(1, "signedBy"), node(1, "rule x"), node(0, "rule y")];
        let evaluation =
            Evaluation { scope: String::new(), digest: String::new(), failure: None, nodes };
        let line = LogLine { level: "info".to_owned(), message: "so\nit is".to_owned() };
        let subject = Subject {
            transport: "docker".to_owned(),
            name: String::new(),
            reference: None,
            path: None,
        };
        let course = Course {
            subject,
            evidence: Arc::default(),
            evaluation: Arc::new(evaluation),
            outcomes: vec![
                (Came::Held, vec![]),
                failed("none"),
                (Came::Held, vec![]),
                (Came::Skipped, vec![]),
            ],
            documents: BTreeMap::new(),
            failures: BTreeMap::new(),
            asked: vec![Asked {
                rule: 0,
                name: "x".to_owned(),
                question: None,
                answer: RuleAnswer {
                    failure: None,
                    warnings: Vec::new(),
                    annotations: BTreeMap::new(),
                    valid_until: None,
                },
                log: vec![line],
                took: Duration::ZERO,
            }],
        };
        let allow = decision(Outcome::Allow, vec![], vec![]);
        let allow = Decision { course: Some(Box::new(course)), ..allow };
        let text = text_explained(std::slice::from_ref(&allow), Style::Plain);
        let expected = "
       ✓ 0  anyOf
       ✗    ├─ signedBy
            │    none (signature-missing)
       ✓    └─ rule x
       - 1  rule y (not looked at)
       log      x info: so\\nit is
";
        assert!(text.ends_with(expected), "{text}");
        let written: serde_json::Value =
            serde_json::from_str(&json_explained(&[allow])).expect("JSON");
        let requirements = &written["results"][0]["requirements"];
        assert_eq!(requirements[1]["outcome"], "failed");
        assert_eq!(requirements[1]["depth"], 1);
        assert_eq!(requirements[1]["reasons"][0]["message"], "none");
        assert_eq!(written["results"][0]["log"][0]["rule"], "x");
    }

    #[test]
    fn colours_are_for_terminals() {
        let allow = decision(Outcome::Allow, vec![], vec![]);
        assert!(text(std::slice::from_ref(&allow), Style::Coloured).starts_with("\x1b[1;32mallow"));
        assert!(!text(&[allow], Style::Plain).contains('\x1b'));
    }
}
