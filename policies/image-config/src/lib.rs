//! An image's configuration (OCI image specification, "Image Configuration"), as the rules that ship read it.
//!
//! Programs in Go, which run images, take `user` for `User`, and of two members the last. A rule that read one and
//! a runtime that read the other would disagree about the same document, so one that leaves room for that is
//! refused.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// What rules look at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// `config.User`; empty if there is none.
    pub user: String,
    /// `config.Labels`.
    pub labels: BTreeMap<String, String>,
    /// `rootfs.diff_ids`: digests of the layers' archives, the lowest first.
    pub diff_ids: Vec<String>,
    /// `history[].comment`, the oldest first, where there is one.
    pub comments: Vec<String>,
}

/// A document that cannot be relied on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(#[from] serde_json::Error);

impl Config {
    /// Read a configuration. Members that rules do not look at may be anything.
    pub fn read(document: &[u8]) -> Result<Self, Unreadable> {
        let mut top = object(document)?;
        let mut config = match top.take("config") {
            Some(config) => config.object("config")?,
            None => Object::default(),
        };
        let user = match config.take("User") {
            Some(user) => user.text("config.User")?,
            None => String::new(),
        };
        let labels = match config.take("Labels") {
            Some(labels) => labels.texts("config.Labels")?,
            None => BTreeMap::new(),
        };
        let mut diff_ids = Vec::new();
        if let Some(rootfs) = top.take("rootfs")
            && let Some(list) = rootfs.object("rootfs")?.take("diff_ids")
        {
            for id in list.list("rootfs.diff_ids")? {
                diff_ids.push(id.text("rootfs.diff_ids")?);
            }
        }
        let mut comments = Vec::new();
        if let Some(history) = top.take("history") {
            for entry in history.list("history")? {
                if let Some(comment) = entry.object("history")?.take("comment") {
                    comments.push(comment.text("history.comment")?);
                }
            }
        }
        Ok(Self { user, labels, diff_ids, comments })
    }
}

/// The annotations of a manifest.
pub fn annotations(manifest: &[u8]) -> Result<BTreeMap<String, String>, Unreadable> {
    match object(manifest)?.take("annotations") {
        Some(annotations) => annotations.texts("annotations"),
        None => Ok(BTreeMap::new()),
    }
}

/// A text of the image in a message: quoted, and cut where it is longer than any sensible one.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn object(document: &[u8]) -> Result<Object, Unreadable> {
    Ok(serde_json::from_slice::<Value>(document)?.object("the document")?)
}

/// Any JSON; numbers and truth values are of no interest. `null` is as good as absent, as in Go.
enum Value {
    Absent,
    Text(String),
    List(Vec<Value>),
    Object(Object),
    Other,
}

/// Members by their names, as Go finds them in a structure, with the spelling that they have.
#[derive(Default)]
struct Object(Vec<(String, Value)>);

impl Object {
    /// The member of this name; `Absent` and nothing are one.
    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(member, _)| member == name)?;
        match self.0.swap_remove(at).1 {
            Value::Absent => None,
            value => Some(value),
        }
    }
}

impl Value {
    fn object(self, place: &str) -> Result<Object, serde_json::Error> {
        match self {
            Self::Object(object) => {
                for (at, (name, _)) in object.0.iter().enumerate() {
                    let known = KNOWN.iter().find(|known| fold(known) == fold(name));
                    if known.is_some_and(|known| known != name) {
                        let message = format!(
                            "{place} has {name:?}, which others read as {:?}",
                            known.unwrap_or(&"")
                        );
                        return Err(serde_json::Error::custom(message));
                    }
                    if object.0[..at].iter().any(|(other, _)| other == name) {
                        return Err(serde_json::Error::custom(format!(
                            "{place} has {name:?} twice"
                        )));
                    }
                }
                Ok(object)
            }
            _ => Err(serde_json::Error::custom(format!("{place} is no object"))),
        }
    }

    fn list(self, place: &str) -> Result<Vec<Self>, serde_json::Error> {
        match self {
            Self::List(values) => Ok(values),
            _ => Err(serde_json::Error::custom(format!("{place} is no list"))),
        }
    }

    fn text(self, place: &str) -> Result<String, serde_json::Error> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(serde_json::Error::custom(format!("{place} is no text"))),
        }
    }

    /// A map, whose keys are told apart exactly.
    fn texts(self, place: &str) -> Result<BTreeMap<String, String>, Unreadable> {
        let Self::Object(Object(members)) = self else {
            return Err(serde_json::Error::custom(format!("{place} is no object")).into());
        };
        let mut texts = BTreeMap::new();
        for (name, value) in members {
            let text = value.text(place)?;
            if texts.insert(name.clone(), text).is_some() {
                return Err(serde_json::Error::custom(format!("{place} has {name:?} twice")).into());
            }
        }
        Ok(texts)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(member) = members.next_entry()? {
            list.push(member);
        }
        Ok(Value::Object(Object(list)))
    }
}

/// As encoding/json compares names: capitals do not matter, nor do the two letters beyond ASCII whose small or
/// capital letter is in ASCII.
fn fold(name: &str) -> String {
    let ascii = |character| match character {
        '\u{017f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    name.chars().map(ascii).collect()
}

/// The members that are looked at.
const KNOWN: [&str; 8] =
    ["annotations", "comment", "config", "diff_ids", "history", "Labels", "rootfs", "User"];

/// Characters. References have at most 255 and a digest of 71.
const SHOWN: usize = 340;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: &str) -> Result<Config, String> {
        Config::read(document.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_a_builder_writes() {
        let config = read(
            r#"{"architecture":"amd64","os":"linux","config":{"User":"1000:1000","Env":["A=b"],"Labels":{"a":"b","A":"c"},
                "ExposedPorts":{"80/tcp":{}}},"rootfs":{"type":"layers","diff_ids":["sha256:1","sha256:2"]},
                "history":[{"created_by":"x"},{"comment":"FROM a.example/b:1","empty_layer":true}]}"#,
        );
        let config = config.expect("a configuration");
        assert_eq!(config.user, "1000:1000");
        assert_eq!(config.labels.len(), 2);
        assert_eq!(config.diff_ids, ["sha256:1", "sha256:2"]);
        assert_eq!(config.comments, ["FROM a.example/b:1"]);
    }

    #[test]
    fn what_is_not_there_is_empty() {
        for document in ["{}", r#"{"config":null}"#, r#"{"config":{"User":null,"Labels":null}}"#] {
            assert_eq!(read(document), Ok(Config::default()), "{document}");
        }
    }

    #[test]
    fn refuses_members_that_others_read_otherwise() {
        for document in [
            r#"{"config":{"User":"1000","user":"0"}}"#,
            r#"{"config":{"user":"1000"}}"#,
            r#"{"config":{"U\u017fer":"0"}}"#,
            r#"{"config":{"User":"1000","User":"0"}}"#,
            r#"{"config":{"User":"1000"},"Config":{"User":"0"}}"#,
            r#"{"config":{"User":"1000"},"config":{"User":"0"}}"#,
            r#"{"config":{"labels":{}}}"#,
            r#"{"config":{"Labels":{"a":"b","a":"c"}}}"#,
            r#"{"rootfs":{"Diff_IDs":[]}}"#,
            r#"{"history":[{"Comment":"FROM x.example/y"}]}"#,
        ] {
            assert!(read(document).is_err(), "{document}");
        }
    }

    #[test]
    fn refuses_other_types() {
        for document in [
            "",
            "[]",
            "null",
            "{} {}",
            r#"{"config":[]}"#,
            r#"{"config":{"User":0}}"#,
            r#"{"config":{"Labels":[]}}"#,
            r#"{"config":{"Labels":{"a":1}}}"#,
            r#"{"rootfs":{"diff_ids":"sha256:1"}}"#,
            r#"{"rootfs":{"diff_ids":[null]}}"#,
            r#"{"history":{}}"#,
            r#"{"history":[{"comment":["FROM x"]}]}"#,
        ] {
            assert!(read(document).is_err(), "{document}");
        }
        assert!(read(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn shows_texts_in_bounds() {
        assert_eq!(shown("a\nb"), r#""a\nb""#);
        assert_eq!(shown(&"é".repeat(SHOWN)), format!("{:?}", "é".repeat(SHOWN)));
        assert_eq!(shown(&"é".repeat(SHOWN + 1)), format!("{:?}…", "é".repeat(SHOWN)));
    }

    #[test]
    fn reads_annotations() {
        let annotations =
            |manifest: &str| annotations(manifest.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(annotations(r#"{"annotations":{"a":"b"}}"#).expect("annotations")["a"], "b");
        assert_eq!(annotations("{}"), Ok(BTreeMap::new()));
        for manifest in [r#"{"Annotations":{}}"#, r#"{"annotations":{"a":"b","a":"c"}}"#, "[]"] {
            assert!(annotations(manifest).is_err(), "{manifest}");
        }
    }
}
