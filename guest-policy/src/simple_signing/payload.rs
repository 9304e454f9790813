//! The signed payload, as strict as the reference implementation reads it: every object closed, no name
//! twice, nothing after the end.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::quoted::quoted;

/// What a simple signature says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Payload {
    /// `critical.image.docker-manifest-digest`
    pub digest: Digest,
    /// `critical.identity.docker-reference`, exactly as signed; any string.
    pub reference: String,
    /// `optional.creator`
    pub creator: Option<String>,
    /// `optional.timestamp`, in seconds since 1970-01-01 UTC.
    pub timestamp: Option<i64>,
}

impl Payload {
    /// Read the content of a verified message.
    ///
    /// # Errors
    ///
    /// The content is not a payload of simple signing.
    pub fn parse(content: &[u8]) -> Result<Self, PayloadError> {
        let text = std::str::from_utf8(content)
            .map_err(|_| PayloadError::Json("it is not UTF-8".to_owned()))?;
        if is_deep(text) {
            return Err(PayloadError::Json("exceeded max depth".to_owned()));
        }
        let top = object(text)?;
        let [critical, optional] = top.exactly(["critical", "optional"])?;
        let critical = object(critical)?;
        let [kind, image, identity] = critical.exactly(["type", "image", "identity"])?;
        let kind = string(kind)?;
        if kind != SIGNATURE_TYPE {
            return Err(PayloadError::Type(kind.chars().take(MAX_SHOWN).collect()));
        }
        let image = object(image)?;
        let [digest] = image.exactly(["docker-manifest-digest"])?;
        let digest = string(digest)?;
        let digest = digest.parse().map_err(|_| PayloadError::Digest(digest))?;
        let identity = object(identity)?;
        let [reference] = identity.exactly(["docker-reference"])?;
        let optional = object(optional)?;
        Ok(Self {
            digest,
            reference: string(reference)?,
            creator: optional.find("creator").map(string).transpose()?,
            timestamp: optional.find("timestamp").map(integer).transpose()?,
        })
    }
}

/// A payload is not one of simple signing. The fault of whoever signed it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The digest is none, or of an unknown algorithm.
    #[error("invalid docker-manifest-digest value {shown}", shown = quoted(.0))]
    Digest(String),
    /// A member appears twice.
    #[error("Duplicate key {shown}", shown = quoted(.0))]
    Duplicate(String),
    /// Not JSON, or a value of another type.
    #[error("{0}")]
    Json(String),
    /// A member is missing.
    #[error("Key {0:?} missing in a JSON object")]
    Missing(&'static str),
    /// Something else where an object has to be.
    #[error("JSON object expected, got {0}")]
    NotObject(String),
    /// The time is no whole number of seconds.
    #[error("Field optional.timestamp is not an integer")]
    Timestamp,
    /// Not a signature of a container image.
    #[error("Unrecognized signature type {0}")]
    Type(String),
    /// A member that the specification does not name.
    #[error("Unknown key {shown}", shown = quoted(.0))]
    Unknown(String),
}

/// The members of an object, none twice, their values not yet read.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// The values of these members, which have to be all there are.
    fn exactly<const N: usize>(
        &self,
        names: [&'static str; N],
    ) -> Result<[&'a str; N], PayloadError> {
        if let Some((name, _)) = self.0.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            return Err(PayloadError::Unknown(name.clone()));
        }
        let mut values = [""; N];
        for (value, name) in values.iter_mut().zip(names) {
            *value = self.find(name).ok_or(PayloadError::Missing(name))?;
        }
        Ok(values)
    }

    fn find(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.get())
    }
}

fn object(text: &str) -> Result<Members<'_>, PayloadError> {
    let value: &RawValue =
        serde_json::from_str(text).map_err(|error| PayloadError::Json(error.to_string()))?;
    if !value.get().starts_with('{') {
        return Err(PayloadError::NotObject(value.get().chars().take(MAX_SHOWN).collect()));
    }
    let Members(members) =
        serde_json::from_str(value.get()).map_err(|error| PayloadError::Json(error.to_string()))?;
    for (place, (name, _)) in members.iter().enumerate() {
        if members[..place].iter().any(|(earlier, _)| earlier == name) {
            return Err(PayloadError::Duplicate(name.clone()));
        }
    }
    Ok(Members(members))
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() == MAX_MEMBERS {
                        return Err(serde::de::Error::custom("too many members in an object"));
                    }
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A string; `null` is the empty one, as Go reads it.
fn string(text: &str) -> Result<String, PayloadError> {
    let read: Option<String> =
        serde_json::from_str(text).map_err(|error| PayloadError::Json(error.to_string()))?;
    Ok(read.unwrap_or_default())
}

/// A number without a fraction, in whatever form; `null` is 0, as Go reads it.
fn integer(text: &str) -> Result<i64, PayloadError> {
    let read: Option<f64> =
        serde_json::from_str(text).map_err(|error| PayloadError::Json(error.to_string()))?;
    let number = read.unwrap_or_default();
    let in_range = (-TWO_TO_63..TWO_TO_63).contains(&number);
    if in_range && number.fract() == 0.0 { Ok(number as i64) } else { Err(PayloadError::Timestamp) }
}

/// Whether arrays and objects are nested deeper than [`MAX_DEPTH`]; of what is no JSON, any answer will do.
fn is_deep(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

const SIGNATURE_TYPE: &str = "atomic container signature";

/// One more than the largest number of seconds.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// Deepest nesting, which only ignored members can have: the limit of Go's `encoding/json`.
const MAX_DEPTH: usize = 10_000;

/// Most members of one object. The specification names two; others are the signer's remarks.
const MAX_MEMBERS: usize = 1024;

/// Of what stands where an object or a type is expected, in characters.
const MAX_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_nested_deeper_than_go_reads() {
        let of = |depth: usize| {
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            format!(
                r#"{{"critical":{{"type":"atomic container signature","image":{{"docker-manifest-digest":"{}"}},"identity":{{"docker-reference":"a"}}}},"optional":{{"x":{deep},"y":"\"[[["}}}}"#,
                Digest::sha256(b""),
            )
        };
        // Within two objects.
        assert!(Payload::parse(of(MAX_DEPTH - 2).as_bytes()).is_ok());
        let error = Payload::parse(of(MAX_DEPTH - 1).as_bytes()).expect_err("too deep");
        assert_eq!(error, PayloadError::Json("exceeded max depth".to_owned()));
    }
}
