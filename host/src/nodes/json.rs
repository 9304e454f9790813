//! JSON that is changed in places: members keep their order, and what is not touched keeps its spelling.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// A value, taken apart as far as somebody looked into it.
#[derive(Clone, Debug)]
pub(super) enum Json {
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
    /// As it is written.
    Raw(Box<RawValue>),
}

impl Json {
    /// Read one value. What is nested too deep for serde_json is refused, so that everything here may recurse.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<Value>(text)?;
        Ok(Self::Raw(serde_json::from_str(text)?))
    }

    pub(super) fn string(text: &str) -> Self {
        Self::of(&Value::from(text))
    }

    pub(super) fn array(items: impl IntoIterator<Item = Self>) -> Self {
        Self::Array(items.into_iter().collect())
    }

    pub(super) fn object<'a>(members: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// The members, if this is an object whose keys are all different.
    pub(super) fn members(&mut self) -> Option<&mut Vec<(String, Self)>> {
        if let Self::Raw(raw) = self
            && let Ok(Members(members)) = serde_json::from_str(raw.get())
        {
            *self = Self::Object(
                members.into_iter().map(|(key, value)| (key, Self::Raw(value))).collect(),
            );
        }
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The items, if this is an array.
    pub(super) fn items(&mut self) -> Option<&mut Vec<Self>> {
        if let Self::Raw(raw) = self
            && let Ok(items) = serde_json::from_str::<Vec<Box<RawValue>>>(raw.get())
        {
            *self = Self::Array(items.into_iter().map(Self::Raw).collect());
        }
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a member.
    pub(super) fn member(&mut self, key: &str) -> Option<&mut Self> {
        self.members()?.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Without order and spelling.
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Array(items) => items.iter().map(Self::value).collect(),
            Self::Object(members) => {
                members.iter().map(|(key, value)| (key.clone(), value.value())).collect()
            }
            // It was read before.
            Self::Raw(raw) => serde_json::from_str(raw.get()).unwrap_or_default(),
        }
    }

    /// Taken apart as a whole, so that it is written in the form of the document that it goes into.
    pub(super) fn unfolded(mut self) -> Self {
        if let Some(members) = self.members() {
            let members = std::mem::take(members).into_iter();
            return Self::Object(members.map(|(key, value)| (key, value.unfolded())).collect());
        }
        if let Some(items) = self.items() {
            return Self::Array(std::mem::take(items).into_iter().map(Self::unfolded).collect());
        }
        self
    }

    /// The value as text whose first line stands at `depth`.
    pub(super) fn write(&self, to: &mut String, indent: &str, depth: usize) {
        let line = |to: &mut String, depth: usize| {
            to.push('\n');
            to.extend(std::iter::repeat_n(indent, depth));
        };
        match self {
            Self::Raw(raw) => to.push_str(raw.get()),
            Self::Array(items) if items.is_empty() => to.push_str("[]"),
            Self::Object(members) if members.is_empty() => to.push_str("{}"),
            Self::Array(items) => {
                to.push('[');
                for (place, item) in items.iter().enumerate() {
                    to.push_str(if place > 0 { "," } else { "" });
                    line(to, depth + 1);
                    item.write(to, indent, depth + 1);
                }
                line(to, depth);
                to.push(']');
            }
            Self::Object(members) => {
                to.push('{');
                for (place, (key, value)) in members.iter().enumerate() {
                    to.push_str(if place > 0 { "," } else { "" });
                    line(to, depth + 1);
                    to.push_str(&Value::from(key.as_str()).to_string());
                    to.push_str(": ");
                    value.write(to, indent, depth + 1);
                }
                line(to, depth);
                to.push('}');
            }
        }
    }

    fn of(value: &Value) -> Self {
        match serde_json::value::to_raw_value(value) {
            Ok(raw) => Self::Raw(raw),
            // A value of JSON is JSON.
            Err(_) => Self::Array(Vec::new()),
        }
    }
}

/// The members of an object in their order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Box<RawValue>)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, _>()? {
                    if members.iter().any(|(other, _)| *other == key) {
                        return Err(A::Error::custom(format!("Duplicate key {key:?}")));
                    }
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &Json) -> String {
        let mut text = String::new();
        json.write(&mut text, "  ", 0);
        text
    }

    #[test]
    fn what_is_not_touched_keeps_order_and_spelling() {
        let text = "{\n  \"b\": [1.50, \"\\u00e9\",  true],\n  \"a\": {\"x\":   1E+9}\n}";
        let mut json = Json::parse(text).expect("JSON");
        assert_eq!(written(&json), text);
        json.members().expect("members").push(("c".to_owned(), Json::string("\n")));
        let expected = text.strip_suffix("\n}").expect("an end");
        assert_eq!(written(&json), format!("{expected},\n  \"c\": \"\\n\"\n}}"));
    }

    #[test]
    fn repeated_keys_are_not_taken_for_members() {
        let mut json = Json::parse(r#"{"a": 1, "\u0061": 2}"#).expect("JSON");
        assert!(json.members().is_none());
    }

    #[test]
    fn nesting_has_an_end() {
        assert!(Json::parse(&format!("{}1{}", "[".repeat(500), "]".repeat(500))).is_err());
    }

    #[test]
    fn unfolded_value_says_the_same() {
        let text = r#"{"a":[{"b":null},[]],"c":{}}"#;
        let json = Json::parse(text).expect("JSON").unfolded();
        assert_eq!(json.value(), serde_json::from_str::<Value>(text).expect("JSON"));
        assert!(written(&json).contains("\n      \"b\": null\n"), "{}", written(&json));
    }
}
