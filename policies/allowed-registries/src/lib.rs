//! The rule `allowed-registries`: images come from these places.

use countersign_rule::{Answer, Question, rule};
use schemars::JsonSchema;
use serde::Deserialize;

mod place;

use place::Place;

rule! {
    purpose: "images come from the listed registries and repositories",
    settings: Settings,
    check: check,
    evaluate: evaluate,
}

/// Where images may come from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Registries, or the beginnings of repositories: `registry.example.com`, `registry.example.com:5000/team`,
    /// `*.example.com`.
    #[schemars(length(min = 1))]
    allowed: Vec<String>,
    /// What is refused although it is allowed, written in the same way.
    #[serde(default)]
    except: Vec<String>,
}

fn check(settings: &Settings) -> Vec<String> {
    let mut mistakes = Vec::new();
    if settings.allowed.is_empty() {
        mistakes.push("allowed is empty, which would deny everything; list at least one place".to_owned());
    }
    for (name, list) in [("allowed", &settings.allowed), ("except", &settings.except)] {
        for (at, text) in list.iter().enumerate() {
            if let Err(mistake) = text.parse::<Place>() {
                mistakes.push(format!("{name}[{at}] is {text:?}: {mistake}"));
            }
        }
    }
    mistakes
}

fn evaluate(question: &Question, settings: &Settings) -> Answer {
    if let Some(mistake) = check(settings).into_iter().next() {
        return Answer::deny("settings-invalid", mistake);
    }
    let Some(repository) = question.image.repository.as_deref() else {
        return Answer::deny(
            "no-reference",
            "the image does not come from a registry; name the image that it is a copy of (--as)",
        );
    };
    let first = |list: &[String]| {
        let fits = |text: &&String| text.parse::<Place>().is_ok_and(|place| place.has(repository));
        list.iter().find(fits).cloned()
    };
    if let Some(except) = first(&settings.except) {
        return Answer::deny(
            "registry-excepted",
            format!("{repository} is in {except}, which this policy excepts from what is allowed"),
        );
    }
    match first(&settings.allowed) {
        Some(_) => Answer::allow(),
        None => Answer::deny(
            "registry-not-allowed",
            format!("{repository} is in none of the allowed places: {}", settings.allowed.join(", ")),
        ),
    }
}
