//! What older readers of policy.json refuse: an unknown word anywhere makes the whole file invalid, and then
//! every pull fails.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A version of the library by which podman, skopeo and CRI-O read policy.json (containers/image): `5.24`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version(u32, u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let version = text.split_once('.').and_then(|(major, minor)| {
            let minor = minor.split('.').next()?;
            Some(Self(major.parse().ok()?, minor.parse().ok()?))
        });
        version.ok_or_else(|| {
            "expected a version of containers/image, MAJOR.MINOR, for example 5.24".to_owned()
        })
    }
}

/// A word of a document that is not for everybody.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Word {
    /// The member or the type of requirement.
    pub name: String,
    /// The first version that knows it; `None`: Countersign alone does.
    pub since: Option<Version>,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.since {
            Some(since) => write!(
                f,
                "{}: podman, skopeo and CRI-O with containers/image before {since} refuse the whole file",
                self.name
            ),
            None => write!(
                f,
                "{}: podman, skopeo and CRI-O refuse the whole file: it is Countersign's own",
                self.name
            ),
        }
    }
}

/// Version 5.25 has the words `lookaside` and `lookaside-staging` in registries.d; before they were `sigstore` and
/// `sigstore-staging`.
pub const LOOKASIDE: Version = Version(5, 25);

/// The words of `policy` that a reader of the version `oldest` does not know; without one, those that any reader
/// may not know.
pub fn unknown(policy: &Value, oldest: Option<Version>) -> Vec<Word> {
    let mut words = Vec::new();
    if policy.get("rulesFrom").is_some() {
        words.push(Word { name: "rulesFrom".to_owned(), since: None });
    }
    let transports = policy.get("transports").and_then(Value::as_object).into_iter().flatten();
    let scopes = transports.filter_map(|(_, scopes)| scopes.as_object()).flatten();
    let lists = scopes.map(|(_, list)| list).chain(policy.get("default"));
    for requirement in lists.filter_map(Value::as_array).flatten() {
        look_at(requirement, &mut words);
    }
    words.retain(|word| word.since.is_none_or(|since| oldest.is_none_or(|oldest| oldest < since)));
    words.sort();
    words.dedup();
    words
}

fn look_at(requirement: &Value, words: &mut Vec<Word>) {
    let mut add = |name: &str, since| words.push(Word { name: name.to_owned(), since });
    let text = |value: &Value| value.get("type").and_then(Value::as_str).map(str::to_owned);
    let kind = text(requirement).unwrap_or_default();
    if OWN.contains(&kind.as_str()) {
        add(&kind, None);
    }
    let identity = requirement.get("signedIdentity").and_then(text);
    let members = requirement.as_object().into_iter().flatten().map(|(name, _)| name.clone());
    for name in members.chain([kind]).chain(identity) {
        if let Some((_, since)) = SINCE.iter().find(|(word, _)| *word == name) {
            add(&name, Some(*since));
        }
    }
}

/// Requirements of Countersign's own.
const OWN: [&str; 6] = ["anyOf", "atLeast", "attested", "notarySigned", "notationSigned", "rule"];

/// Which version of containers/image began to know a word.
const SINCE: [(&str, Version); 10] = [
    ("fulcio", Version(5, 24)),
    ("keyDatas", Version(5, 33)),
    ("keyPaths", Version(5, 22)),
    ("pki", Version(5, 35)),
    ("remapIdentity", Version(5, 9)),
    ("rekorPublicKeyData", Version(5, 24)),
    ("rekorPublicKeyDatas", Version(5, 33)),
    ("rekorPublicKeyPath", Version(5, 24)),
    ("rekorPublicKeyPaths", Version(5, 33)),
    ("sigstoreSigned", Version(5, 22)),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(policy: &Value, oldest: Option<&str>) -> Vec<String> {
        let oldest = oldest.map(|version| version.parse().expect("a version"));
        unknown(policy, oldest).into_iter().map(|word| word.name).collect()
    }

    #[test]
    fn words_are_told_once_and_only_to_readers_that_do_not_know_them() {
        let policy = json!({
            "default": [{"type": "reject"}],
            "rulesFrom": [{"type": "reject"}],
            "transports": {"docker": {
                "a.example": [{"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["a", "b"]}],
                "b.example": [
                    {"type": "sigstoreSigned", "keyPath": "k", "rekorPublicKeyData": "",
                     "signedIdentity": {"type": "remapIdentity"}},
                    {"type": "anyOf", "requirements": []},
                ],
                "c.example": [{"type": "sigstoreSigned", "keyPath": "k"}],
            }},
        });
        let all = [
            "anyOf",
            "keyPaths",
            "rekorPublicKeyData",
            "remapIdentity",
            "rulesFrom",
            "sigstoreSigned",
        ];
        let without = |known: &[&str]| -> Vec<&str> {
            all.iter().filter(|word| !known.contains(word)).copied().collect()
        };
        assert_eq!(names(&policy, Some("5.8")), all);
        assert_eq!(
            names(&policy, Some("5.22.0")),
            without(&["keyPaths", "remapIdentity", "sigstoreSigned"])
        );
        assert_eq!(names(&policy, Some("5.40")), ["anyOf", "rulesFrom"]);
    }

    #[test]
    fn what_everybody_knows_is_not_told() {
        let policy = json!({"default": [{"type": "insecureAcceptAnything"}, {"type": "reject"}]});
        assert_eq!(names(&policy, None), [""; 0]);
    }

    #[test]
    fn versions_have_two_numbers() {
        for text in ["", "5", "v5.24", "5.x"] {
            text.parse::<Version>().expect_err(text);
        }
    }
}
