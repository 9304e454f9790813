//! Images come from these registries.

use countersign_rule::{Answer, Question, rule};
use schemars::JsonSchema;
use serde::Deserialize;

rule! {
    purpose: "images come from these registries",
    settings: Settings,
    check: check,
    evaluate: evaluate,
    // Those that the rule uses, of log, artifact, crypto and data. The policy has to grant each.
    capabilities: [],
}

/// What the policy says.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// `registry.example.com`, or with a port: `registry.example.com:5000`.
    hosts: Vec<String>,
}

/// What is wrong with settings beyond what their type can say.
fn check(settings: &Settings) -> Vec<String> {
    match settings.hosts.is_empty() {
        true => vec!["hosts is empty, which would deny every image".to_owned()],
        false => Vec::new(),
    }
}

/// The answer about one image.
fn evaluate(question: &Question, settings: &Settings) -> Answer {
    match question.image.host() {
        Some(host) if settings.hosts.iter().any(|known| known == host) => Answer::allow(),
        Some(host) => Answer::deny(
            "registry-unknown",
            format!("the image comes from {host}; expected {}", settings.hosts.join(" or ")),
        ),
        None => Answer::deny("registry-missing", "the image does not come from a registry"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denies_what_has_no_registry() {
        let settings = Settings { hosts: vec!["registry.example.com".to_owned()] };
        assert!(!evaluate(&Question::default(), &settings).allow);
    }
}
