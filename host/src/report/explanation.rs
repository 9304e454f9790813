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
    let all = match explanation.requirements.iter().filter(|part| part.depth == 0).count() {
        0 | 1 => "requires",
        _ => "requires all of",
    };
    let mut text = format!("{scope} {all}:\n");
    let depths: Vec<u32> = explanation.requirements.iter().map(|part| part.depth).collect();
    let mut number = 0;
    for (part, branch) in explanation.requirements.iter().zip(branches(&depths)) {
        let words = printable(&part.words);
        if part.depth == 0 {
            let _ = writeln!(text, "  {number}  {words}");
            number += 1;
        } else {
            let _ = writeln!(text, "     {}{words}", style.quiet(&branch));
        }
    }
    text
}

/// What is drawn before each node of a tree in pre-order, so that its parts hang below it; nothing before those at
/// the top.
pub(crate) fn branches(depths: &[u32]) -> Vec<String> {
    let branch = |(at, depth): (usize, &u32)| {
        // Whether another one follows at this level, below the same node.
        let goes_on = |level: u32| {
            let next = depths[at + 1..].iter().find(|depth| **depth <= level);
            next == Some(&level)
        };
        let trunk: String =
            (1..*depth).map(|level| if goes_on(level) { "│  " } else { "   " }).collect();
        match depth {
            0 => String::new(),
            _ if goes_on(*depth) => format!("{trunk}├─ "),
            _ => format!("{trunk}└─ "),
        }
    };
    depths.iter().enumerate().map(branch).collect()
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
    fn parts_hang_below_what_they_are_parts_of() {
        let part = |depth, words: &str| Explained { depth, words: words.to_owned() };
        let requirements = vec![
            part(0, "two of"),
            part(1, "any of"),
            part(2, "a"),
            part(2, "b"),
            part(1, "c"),
            part(0, "any of"),
            part(1, "all"),
            part(2, "d"),
        ];
        let explanation = Explanation { requirements, ..explanation() };
        let expected = "\
docker/example.com requires all of:
  0  two of
     ├─ any of
     │  ├─ a
     │  └─ b
     └─ c
  1  any of
     └─ all
        └─ d
";
        assert_eq!(super::requirements(&explanation, Style::Plain), expected);
        let lines = ["two of", "  any of", "    a", "    b", "  c", "any of", "  all", "    d"];
        assert_eq!(super::lines(&explanation), lines);
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
