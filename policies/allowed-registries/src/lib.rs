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
        mistakes.push(
            "allowed is empty, which would deny everything; list at least one place".to_owned(),
        );
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
            format!(
                "{repository} is in none of the allowed places: {}",
                settings.allowed.join(", ")
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(repository: Option<&str>, allowed: &[&str], except: &[&str]) -> String {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let settings = Settings { allowed: texts(allowed), except: texts(except) };
        let mut question = Question::default();
        question.image.repository = repository.map(str::to_owned);
        let reasons = evaluate(&question, &settings).reasons;
        reasons.into_iter().next().map(|reason| reason.code).unwrap_or_default()
    }

    #[test]
    fn allows_what_is_in_one_of_the_places() {
        let allowed = ["registry.example.com", "docker.io/library"];
        for repository in ["registry.example.com/a/b", "docker.io/library/debian"] {
            assert_eq!(code(Some(repository), &allowed, &[]), "", "{repository}");
        }
        for repository in ["docker.io/someone/debian", "quay.io/a"] {
            assert_eq!(
                code(Some(repository), &allowed, &[]),
                "registry-not-allowed",
                "{repository}"
            );
        }
    }

    #[test]
    fn an_exception_is_stronger() {
        let (allowed, except) = (["registry.example.com/team/app"], ["registry.example.com/team"]);
        assert_eq!(
            code(Some("registry.example.com/team/app"), &allowed, &except),
            "registry-excepted"
        );
    }

    #[test]
    fn what_comes_from_no_registry_is_not_allowed() {
        assert_eq!(code(None, &["registry.example.com"], &[]), "no-reference");
    }

    #[test]
    fn settings_that_make_no_sense_deny() {
        for (allowed, except) in
            [(&[][..], &[][..]), (&["a.example", "b"], &[]), (&["a.example"], &["b"])]
        {
            assert_eq!(
                code(Some("a.example/b"), allowed, except),
                "settings-invalid",
                "{allowed:?} {except:?}"
            );
        }
    }
}
