//! What an image says of its base.

use std::collections::BTreeMap;
use std::fmt;

use image_config::{Config, shown};

/// What was found, and where.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Found {
    pub(crate) name: Option<String>,
    pub(crate) digest: Option<String>,
    source: &'static str,
    /// Of the image itself, the lowest first.
    pub(crate) diff_ids: Vec<String>,
}

impl Found {
    /// The annotations say more than the labels, and those more than the history: an image inherits its base's
    /// labels and history, so that those may speak of the base's base. What two places say is never mixed.
    pub(crate) fn of(config: &Config, annotations: &BTreeMap<String, String>) -> Self {
        let diff_ids = config.diff_ids.clone();
        for (source, members) in [("annotation", annotations), ("label", &config.labels)] {
            let (name, digest) = (members.get(NAME), members.get(DIGEST));
            if name.is_some() || digest.is_some() {
                return Self { name: name.cloned(), digest: digest.cloned(), source, diff_ids };
            }
        }
        // Buildah notes each image that a stage begins with.
        let last = config.comments.iter().rev().find_map(|comment| comment.strip_prefix("FROM "));
        Self {
            name: last.map(|name| name.trim().to_owned()),
            digest: None,
            source: "history",
            diff_ids,
        }
    }

    /// Whether there is neither name nor digest.
    pub(crate) fn says_nothing(&self) -> bool {
        self.name.is_none() && self.digest.is_none()
    }

    /// What the layers say, for people.
    pub(crate) fn layers(&self) -> String {
        match self.diff_ids.first() {
            Some(first) => {
                format!("of its {} layers, the lowest is {}", self.diff_ids.len(), shown(first))
            }
            None => "its configuration names no layers".to_owned(),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its {} names", self.source)?;
        if let Some(name) = &self.name {
            write!(f, " {}", shown(name))?;
        }
        if let Some(digest) = &self.digest {
            write!(f, " {}", shown(digest))?;
        }
        Ok(())
    }
}

/// OCI image specification, "Pre-Defined Annotation Keys".
const NAME: &str = "org.opencontainers.image.base.name";
const DIGEST: &str = "org.opencontainers.image.base.digest";

#[cfg(test)]
mod tests {
    use super::*;

    fn map(members: &[(&str, &str)]) -> BTreeMap<String, String> {
        members.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn annotations_come_before_labels_and_those_before_history() {
        let comments = vec![
            "FROM a.example/first".to_owned(),
            "buildkit".to_owned(),
            "FROM a.example/last".to_owned(),
        ];
        let mut config = Config { comments, ..Config::default() };
        assert_eq!(Found::of(&config, &map(&[])).name.as_deref(), Some("a.example/last"));
        config.labels = map(&[(NAME, "a.example/label")]);
        assert_eq!(Found::of(&config, &map(&[])).name.as_deref(), Some("a.example/label"));
        let annotations = map(&[(NAME, "a.example/annotation")]);
        assert_eq!(Found::of(&config, &annotations).name.as_deref(), Some("a.example/annotation"));
    }

    #[test]
    fn a_digest_of_one_place_does_not_go_with_a_name_of_another() {
        let config = Config { labels: map(&[(DIGEST, "sha256:inherited")]), ..Config::default() };
        let found = Found::of(&config, &map(&[(NAME, "a.example/annotation")]));
        assert_eq!(found.digest, None);
    }

    #[test]
    fn says_what_was_found() {
        let config = Config {
            labels: map(&[(NAME, "a.example/b:1"), (DIGEST, "sha256:1")]),
            diff_ids: vec!["sha256:2".to_owned()],
            ..Config::default()
        };
        let found = Found::of(&config, &map(&[]));
        assert_eq!(found.to_string(), r#"its label names "a.example/b:1" "sha256:1""#);
        assert_eq!(found.layers(), "of its 1 layers, the lowest is \"sha256:2\"");
        assert!(Found::of(&Config::default(), &map(&[])).says_nothing());
    }
}
