//! The rule `base-image`: images are built on bases that were approved.

use countersign_rule::{Answer, Question, artifact, rule};
use image_config::Config;
use schemars::JsonSchema;
use serde::Deserialize;

mod found;
mod name;

use found::Found;
use name::Name;

rule! {
    purpose: "images are built on approved base images",
    settings: Settings,
    check: check,
    evaluate: evaluate,
    capabilities: [artifact],
}

/// What was approved.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// One of these has to be the base.
    #[schemars(length(min = 1))]
    approved: Vec<Base>,
}

/// A base image. All that is given has to fit.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Base {
    /// Its name, as the builder wrote it into the image: a repository, a folder of repositories, or a repository
    /// with a tag.
    name: Option<String>,
    /// Digests of its manifests, as the builder wrote them into the image.
    digests: Vec<String>,
    /// The digests of its layers' archives, the lowest first: the image has to have the same at the bottom. This
    /// needs no trust in who built it.
    diff_ids: Vec<String>,
}

fn check(settings: &Settings) -> Vec<String> {
    let mut mistakes = Vec::new();
    if settings.approved.is_empty() {
        mistakes.push(
            "approved is empty, which would deny everything; list at least one base".to_owned(),
        );
    }
    for (at, base) in settings.approved.iter().enumerate() {
        if base.name.is_none() && base.digests.is_empty() && base.diff_ids.is_empty() {
            mistakes.push(format!("approved[{at}] has neither name nor digests nor diffIds"));
        }
        if let Some(name) = &base.name
            && let Err(mistake) = name.parse::<Name>()
        {
            mistakes.push(format!("approved[{at}].name is {name:?}: {mistake}"));
        }
        for (list, digests) in [("digests", &base.digests), ("diffIds", &base.diff_ids)] {
            for digest in digests.iter().filter(|digest| !is_digest(digest)) {
                mistakes.push(format!(
                    "approved[{at}].{list} has {digest:?}, but digests are sha256: and 64 hexadecimal digits"
                ));
            }
        }
    }
    mistakes
}

fn evaluate(_question: &Question, settings: &Settings) -> Answer {
    if let Some(mistake) = check(settings).into_iter().next() {
        return Answer::deny("settings-invalid", mistake);
    }
    let config = match Config::read(&artifact::config()) {
        Ok(config) => config,
        Err(error) => {
            let message = format!("the image's configuration cannot be relied on: {error}");
            return Answer::deny("config-unusable", message);
        }
    };
    let annotations = match image_config::annotations(&artifact::manifest()) {
        Ok(annotations) => annotations,
        Err(error) => {
            let message = format!("the image's manifest cannot be relied on: {error}");
            return Answer::deny("manifest-unusable", message);
        }
    };
    judge(&Found::of(&config, &annotations), settings)
}

fn judge(found: &Found, settings: &Settings) -> Answer {
    if let Some(base) = settings.approved.iter().find(|base| base.is_of(found)) {
        return Answer::allow().annotate("base", base.words());
    }
    let wanted: Vec<String> = settings.approved.iter().map(Base::words).collect();
    let (code, what) = match found.says_nothing() {
        true => ("base-unknown", "nothing in the image says what it is built on".to_owned()),
        false => {
            ("base-not-approved", format!("the image is not built on an approved base: {found}"))
        }
    };
    let layers = match settings.approved.iter().any(|base| !base.diff_ids.is_empty()) {
        true => format!("; {}", found.layers()),
        false => String::new(),
    };
    Answer::deny(code, format!("{what}{layers}; approved: {}", wanted.join(", ")))
}

impl Base {
    fn is_of(&self, found: &Found) -> bool {
        let name = self.name.as_deref().map(str::parse::<Name>);
        let name_fits = name.is_none_or(|name| {
            name.is_ok_and(|name| found.name.as_deref().is_some_and(|found| name.has(found)))
        });
        let digest_fits = self.digests.is_empty()
            || found.digest.as_ref().is_some_and(|found| self.digests.contains(found));
        let something =
            self.name.is_some() || !self.digests.is_empty() || !self.diff_ids.is_empty();
        something && name_fits && digest_fits && found.diff_ids.starts_with(&self.diff_ids)
    }

    /// For people.
    fn words(&self) -> String {
        let digest = self.digests.first().or(self.diff_ids.last());
        match (&self.name, digest) {
            (Some(name), _) => name.clone(),
            (None, Some(digest)) => digest.clone(),
            (None, None) => "nothing".to_owned(),
        }
    }
}

fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    let good = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    digits.len() == 64 && digits.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NAME: &str = "org.opencontainers.image.base.name";
    const DIGEST: &str = "org.opencontainers.image.base.digest";

    fn digest(of: char) -> String {
        format!("sha256:{}", of.to_string().repeat(64))
    }

    fn found(name: Option<&str>, digest: Option<String>, layers: &[char]) -> Found {
        let mut annotations = BTreeMap::new();
        annotations.extend(name.map(|name| (NAME.to_owned(), name.to_owned())));
        annotations.extend(digest.map(|digest| (DIGEST.to_owned(), digest)));
        let diff_ids = layers.iter().copied().map(self::digest).collect();
        Found::of(&Config { diff_ids, ..Config::default() }, &annotations)
    }

    fn named(name: &str) -> Base {
        Base { name: Some(name.to_owned()), ..Base::default() }
    }

    #[test]
    fn a_name_is_enough_where_nothing_else_is_given() {
        let base = named("registry.example.com/base");
        assert!(base.is_of(&found(Some("registry.example.com/base/debian:12"), None, &[])));
        assert!(!base.is_of(&found(Some("docker.io/library/debian:12"), None, &[])));
        assert!(!base.is_of(&found(None, None, &['a'])));
    }

    #[test]
    fn all_that_is_given_has_to_fit() {
        let base = Base {
            digests: vec![digest('1'), digest('2')],
            diff_ids: vec![digest('a'), digest('b')],
            ..named("registry.example.com/base")
        };
        let name = Some("registry.example.com/base/debian:12");
        assert!(base.is_of(&found(name, Some(digest('2')), &['a', 'b', 'c'])));
        assert!(!base.is_of(&found(name, Some(digest('3')), &['a', 'b', 'c'])));
        assert!(!base.is_of(&found(name, None, &['a', 'b', 'c'])));
        assert!(!base.is_of(&found(None, Some(digest('2')), &['a', 'b', 'c'])));
        assert!(!base.is_of(&found(name, Some(digest('2')), &['a', 'c'])));
    }

    #[test]
    fn layers_have_to_be_the_lowest_and_all_of_them() {
        let base = Base { diff_ids: vec![digest('a'), digest('b')], ..Base::default() };
        assert!(base.is_of(&found(None, None, &['a', 'b'])));
        assert!(base.is_of(&found(None, None, &['a', 'b', 'a'])));
        for layers in [&['a'][..], &['b', 'a'], &['c', 'a', 'b'], &['a', 'c', 'b'], &[]] {
            assert!(!base.is_of(&found(None, None, layers)), "{layers:?}");
        }
    }

    #[test]
    fn a_base_without_anything_is_none() {
        assert!(!Base::default().is_of(&found(Some("a.example/b"), Some(digest('1')), &['a'])));
    }

    #[test]
    fn finds_mistakes_in_settings() {
        let mistakes = |approved: Vec<Base>| check(&Settings { approved }).len();
        assert_eq!(mistakes(vec![named("registry.example.com")]), 0);
        assert_eq!(mistakes(vec![]), 1);
        assert_eq!(mistakes(vec![Base::default()]), 1);
        assert_eq!(mistakes(vec![named("debian")]), 1);
        for text in ["sha256:abc", &"a".repeat(64), &digest('A'), &digest('g'), "sha512:"] {
            let bases = vec![
                Base { digests: vec![text.to_owned()], ..Base::default() },
                Base { diff_ids: vec![text.to_owned()], ..Base::default() },
            ];
            assert_eq!(mistakes(bases), 2, "{text}");
        }
    }
}
