//! How a policy applies to an image.

use std::fmt::Write as _;

use guest_policy::verdict::{Candidate, Explained, Explanation};
use serde::Serialize;

use super::{Style, document, printable};
use crate::image::ImageName;

/// The image, the file, and what the engine says about both.
#[derive(Debug, Serialize)]
struct Document<'a> {
    image: String,
    policy: String,
    scope: &'a str,
    candidates: &'a [Candidate],
    requirements: Vec<String>,
}

/// One object: `image`, `policy` (the file), `scope`, `candidates` (each `scope` and `present`) and
/// `requirements`.
pub fn json(image: &ImageName, policy: &str, explanation: &Explanation) -> String {
    let Explanation { scope, candidates, .. } = explanation;
    let requirements = lines(explanation);
    let (image, policy) = (image.to_string(), policy.to_owned());
    document(&Document { image, policy, scope, candidates, requirements })
}

/// The scopes that were tried, with a mark at the one that decides, and its requirements.
pub fn text(image: &ImageName, policy: &str, explanation: &Explanation, style: Style) -> String {
    let image = style.strong(&printable(&image.to_string()));
    let mut text = format!("{image} under {}\n\n", printable(policy));
    if !explanation.candidates.is_empty() {
        text.push_str("scopes, from the most specific to the least:\n");
        text.push_str(&candidates(explanation, style));
        text.push('\n');
    }
    text.push_str(&requirements(explanation, style));
    text
}

fn candidates(explanation: &Explanation, style: Style) -> String {
    let mut text = String::new();
    let mut decided = false;
    let width = explanation.candidates.iter().map(|c| c.scope.chars().count()).max().unwrap_or(0);
    for candidate in &explanation.candidates {
        let scope = format!("{:<width$}", printable(&candidate.scope));
        let decides = candidate.present && !decided;
        decided |= candidate.present;
        text.push_str(&match (decides, candidate.present) {
            (true, _) => format!("  {} {}  decides\n", style.good("->"), style.strong(&scope)),
            (false, true) => format!("     {scope}  in the policy, but less specific\n"),
            (false, false) => {
                format!("     {}\n", style.quiet(&format!("{scope}  not in the policy")))
            }
        });
    }
    text
}

/// What a scope requires, a line for each requirement under its number.
pub(super) fn requirements(explanation: &Explanation, style: Style) -> String {
    let scope = style.strong(&printable(&explanation.scope));
    let all = match explanation.requirements.len() {
        0 | 1 => "requires",
        _ => "requires all of",
    };
    let mut text = format!("{scope} {all}:\n");
    for (number, requirement) in lines(explanation).iter().enumerate() {
        let _ = writeln!(text, "  {number}  {}", printable(requirement));
    }
    text
}

/// A line for each requirement and each part of one: parts are set in by two spaces.
pub(super) fn lines(explanation: &Explanation) -> Vec<String> {
    let line = |part: &Explained| format!("{}{}", "  ".repeat(part.depth as usize), part.words);
    explanation.requirements.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explanation() -> Explanation {
        let candidate = |scope: &str, present| Candidate { scope: scope.to_owned(), present };
        Explanation {
            scope: "docker/example.com".to_owned(),
            candidates: vec![
                candidate("docker/example.com/a:1", false),
                candidate("docker/example.com", true),
                candidate("default", true),
            ],
            requirements: vec![Explained { depth: 0, words: "every image is rejected".to_owned() }],
        }
    }

    #[test]
    fn first_scope_that_is_present_is_marked() {
        let image = "example.com/a:1".parse().expect("valid");
        let text = text(&image, "/p.json", &explanation(), Style::Plain);
        let expected = "\
docker://example.com/a:1 under /p.json

scopes, from the most specific to the least:
     docker/example.com/a:1  not in the policy
  -> docker/example.com      decides
     default                 in the policy, but less specific

docker/example.com requires:
  0  every image is rejected
";
        assert_eq!(text, expected);
    }

    #[test]
    fn json_has_everything() {
        let image = "example.com/a:1".parse().expect("valid");
        let written: serde_json::Value =
            serde_json::from_str(&json(&image, "/p.json", &explanation())).expect("JSON");
        assert_eq!(written["image"], "docker://example.com/a:1");
        assert_eq!(written["policy"], "/p.json");
        assert_eq!(written["candidates"][1]["present"], true);
        assert_eq!(written["requirements"][0], "every image is rejected");
    }
}
