//! Every signature of an image, and what it is worth.

use std::fmt::Write as _;

use guest_policy::verdict::{Finding, Reason};
use serde::Serialize;

use super::decisions::{Signed, signed};
use super::{Style, document, explanation, printable};
use crate::decide::Inspection;

/// `{"results": […]}`, with one member for each image or instance: `image`, `platform` (of an instance),
/// `digest`, `scope`, `requirements`, and `signatures`, each with `source`, `format`, the key identifiers
/// that it names (`issuers`, not verified), a claim for each requirement that accepted it and reasons of
/// those that did not.
pub fn json(inspections: &[Inspection]) -> String {
    document(&Document { results: inspections.iter().map(Entry::from).collect() })
}

/// A paragraph for each image or instance, and one for each of its signatures.
pub fn text(inspections: &[Inspection], style: Style) -> String {
    inspections.iter().map(|i| paragraphs(i, style)).collect::<Vec<_>>().join("\n")
}

fn paragraphs(inspection: &Inspection, style: Style) -> String {
    let Inspection { image, platform, digest, explanation, findings } = inspection;
    let mut text = style.strong(&printable(&image.to_string()));
    if let Some(platform) = platform {
        let _ = write!(text, " ({})", printable(platform));
    }
    let _ = writeln!(text, "\n{digest}\n");
    text.push_str(&explanation::requirements(explanation, style));
    if findings.is_empty() {
        text.push_str("\nno signature was found\n");
    }
    for (place, finding) in findings.iter().enumerate() {
        text.push('\n');
        text.push_str(&paragraph(place + 1, finding, style));
    }
    text
}

fn paragraph(number: usize, finding: &Finding, style: Style) -> String {
    let Finding { source, format, issuers, claims, reasons } = finding;
    let heading = style.strong(&format!("signature {number}"));
    let mut text = format!("{heading} {}\n", printable(source));
    text.push_str(&style.line("format", format));
    let issuers = match issuers.as_slice() {
        [] => "it names no key".to_owned(),
        issuers => format!("{} (as the signature says)", issuers.join(", ")),
    };
    text.push_str(&style.line("issuer", issuers));
    for claim in claims {
        let accepted = style.good("accepted");
        let words = printable(&signed(claim));
        let _ = writeln!(text, "{:7}{accepted} by requirement {}: {words}", "", claim.requirement);
    }
    for reason in reasons {
        let rejected = style.bad("rejected");
        let by = match reason.requirement {
            Some(requirement) => format!(" by requirement {requirement}"),
            None => String::new(),
        };
        let _ = writeln!(text, "{:7}{rejected}{by}: {}", "", printable(&reason.message));
        if let Some(hint) = &reason.hint {
            text.push_str(&style.line("hint", hint));
        }
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
    digest: &'a str,
    scope: &'a str,
    requirements: Vec<String>,
    signatures: Vec<Signature<'a>>,
}

impl<'a> From<&'a Inspection> for Entry<'a> {
    fn from(inspection: &'a Inspection) -> Self {
        let Inspection { image, platform, digest, explanation, findings } = inspection;
        Self {
            image: image.to_string(),
            platform: platform.as_deref(),
            digest: digest.as_str(),
            scope: &explanation.scope,
            requirements: explanation::lines(explanation),
            signatures: findings.iter().map(Signature::from).collect(),
        }
    }
}

#[derive(Serialize)]
struct Signature<'a> {
    source: &'a str,
    format: &'a str,
    issuers: &'a [String],
    claims: Vec<Accepted<'a>>,
    reasons: &'a [Reason],
}

impl<'a> From<&'a Finding> for Signature<'a> {
    fn from(finding: &'a Finding) -> Self {
        let Finding { source, format, issuers, claims, reasons } = finding;
        let claims = claims
            .iter()
            .map(|claim| Accepted {
                requirement: claim.requirement,
                signing_key: &claim.signing_key,
                claim: Signed::from(claim),
            })
            .collect();
        Self { source, format, issuers, claims, reasons }
    }
}

#[derive(Serialize)]
struct Accepted<'a> {
    requirement: u32,
    signing_key: &'a str,
    #[serde(flatten)]
    claim: Signed<'a>,
}

#[cfg(test)]
mod tests {
    use guest_policy::digest::Digest;
    use guest_policy::verdict::{Claim, Explained, Explanation};

    use super::*;

    fn inspection(findings: Vec<Finding>) -> Inspection {
        Inspection {
            image: "dir:/srv/app".parse().expect("valid"),
            platform: None,
            digest: Digest::sha256(b"image"),
            explanation: Explanation {
                scope: "default".to_owned(),
                candidates: Vec::new(),
                requirements: ["signed by a.gpg", "signed by b.gpg"]
                    .map(|words| Explained { depth: 0, words: words.to_owned() })
                    .to_vec(),
            },
            findings,
        }
    }

    fn finding() -> Finding {
        Finding {
            source: "/srv/app/signature-1".to_owned(),
            format: "simple-signing".to_owned(),
            issuers: vec!["89AB".to_owned()],
            claims: vec![Claim {
                format: "simple-signing".to_owned(),
                key: "0123".to_owned(),
                signing_key: "0123".to_owned(),
                reference: "example.com/app:1".to_owned(),
                digest: Digest::sha256(b"image").to_string(),
                signed_at: None,
                creator: None,
                valid_until: None,
                requirement: 0,
                material: Vec::new(),
            }],
            reasons: vec![Reason {
                code: "key-not-accepted".to_owned(),
                requirement: Some(1),
                message: "signature by key 0123 is not accepted".to_owned(),
                hint: None,
            }],
        }
    }

    #[test]
    fn text_tells_what_each_requirement_thinks() {
        let text = text(&[inspection(vec![finding()])], Style::Plain);
        let digest = Digest::sha256(b"image");
        let expected = format!(
            "\
dir:/srv/app
{digest}

default requires all of:
  0  signed by a.gpg
  1  signed by b.gpg

signature 1 /srv/app/signature-1
       format   simple-signing
       issuer   89AB (as the signature says)
       accepted by requirement 0: by 0123 as example.com/app:1
       rejected by requirement 1: signature by key 0123 is not accepted
"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn absence_is_said() {
        assert!(text(&[inspection(vec![])], Style::Plain).contains("no signature was found"));
    }

    #[test]
    fn json_names_the_requirement_of_each_claim() {
        let written: serde_json::Value =
            serde_json::from_str(&json(&[inspection(vec![finding()])])).expect("JSON");
        let signature = &written["results"][0]["signatures"][0];
        assert_eq!(signature["issuers"][0], "89AB");
        assert_eq!(signature["claims"][0]["requirement"], 0);
        assert_eq!(signature["claims"][0]["reference"], "example.com/app:1");
        assert_eq!(signature["reasons"][0]["requirement"], 1);
    }
}
