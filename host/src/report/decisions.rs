//! Verdicts. The JSON form is a contract: members are added, never changed or left out.

use std::fmt::Write as _;

use guest_policy::verdict::{Claim, Outcome, Reason};
use serde::Serialize;

use super::{MARGIN, Style, document, printable, time};
use crate::decide::Decision;

/// `{"results": […]}`, with one member for each decision, in order.
pub fn json(decisions: &[Decision]) -> String {
    document(&Document { results: decisions.iter().map(Entry::from).collect() })
}

/// A paragraph for each decision.
pub fn text(decisions: &[Decision], style: Style) -> String {
    decisions.iter().map(|decision| paragraph(decision, style)).collect()
}

fn paragraph(decision: &Decision, style: Style) -> String {
    let Decision { image, platform, digest, verdict } = decision;
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
}

impl<'a> From<&'a Decision> for Entry<'a> {
    fn from(decision: &'a Decision) -> Self {
        let Decision { image, platform, digest, verdict } = decision;
        Self {
            image: image.to_string(),
            platform: platform.as_deref(),
            digest: digest.as_ref().map(|digest| digest.as_str()),
            verdict: verdict.outcome,
            scope: Some(verdict.scope.as_str()).filter(|scope| !scope.is_empty()),
            reasons: &verdict.reasons,
            claims: verdict.claims.iter().map(Signed::from).collect(),
            valid_until: verdict.valid_until.map(time),
        }
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
    use guest_policy::digest::Digest;
    use guest_policy::verdict::Verdict;

    use super::*;

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
                annotations: std::collections::BTreeMap::new(),
            },
            digest: Some(digest),
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
    fn colours_are_for_terminals() {
        let allow = decision(Outcome::Allow, vec![], vec![]);
        assert!(text(std::slice::from_ref(&allow), Style::Coloured).starts_with("\x1b[1;32mallow"));
        assert!(!text(&[allow], Style::Plain).contains('\x1b'));
    }
}
