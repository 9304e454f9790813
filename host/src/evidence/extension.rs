//! Signatures that a registry keeps itself, as OpenShift's does (`X-Registry-Supports-Signatures`,
//! signature-protocols.md of containers/image).

use std::fmt;

use guest_policy::digest::Digest;
use guest_policy::image::{MAX_SIGNATURES, Signature, SignatureForm};
use guest_policy::lenient_base64;
use guest_policy::reference::Reference;
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use super::EvidenceError;
use crate::registry::Client;

/// Every simple signature that the registry keeps for a manifest.
pub(super) async fn read(
    client: &Client,
    repository: &Reference,
    digest: &Digest,
) -> Result<Vec<Signature>, EvidenceError> {
    let listed = client.kept_signatures(repository, digest).await?;
    let found = parse(&listed.content)
        .map_err(|e| EvidenceError::List { url: listed.url.clone(), fault: e.to_string() })?;
    if found.len() > MAX_SIGNATURES {
        return Err(EvidenceError::TooMany { store: listed.url, count: found.len() });
    }
    let signature = |(number, content)| Signature {
        source: format!("{}#{}", listed.url, number + 1),
        form: SignatureForm::Openpgp,
        content,
    };
    Ok(found.into_iter().enumerate().map(signature).collect())
}

/// The contents of the entries that are simple signatures; others are passed over, as in the reference
/// implementation.
fn parse(content: &[u8]) -> Result<Vec<Vec<u8>>, serde_json::Error> {
    let List { entries } = serde_json::from_slice(content)?;
    let simple = |entry: &Entry| entry.version == SCHEMA_VERSION && entry.kind == "atomic";
    Ok(entries.into_iter().filter(simple).map(|entry| entry.content.0).collect())
}

struct List {
    entries: Vec<Entry>,
}

#[derive(Default)]
struct Entry {
    version: i64,
    kind: String,
    content: Content,
}

/// An object whose member names count without regard to case and of which the last of a name counts, as
/// Go reads JSON. `$field` takes the value of the members named `$name`; `null` changes nothing.
macro_rules! lenient_object {
    ($type:ident, $default:expr, { $($name:literal => $field:ident),+ $(,)? }) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Read;
                impl<'de> Visitor<'de> for Read {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a JSON object")
                    }

                    fn visit_unit<E>(self) -> Result<$type, E> {
                        Ok($default)
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$type, A::Error> {
                        let mut read = $default;
                        while let Some(name) = map.next_key::<String>()? {
                            match name.to_ascii_lowercase().as_str() {
                                $($name => {
                                    if let Some(value) = map.next_value()? {
                                        read.$field = value;
                                    }
                                })+
                                _ => {
                                    map.next_value::<IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(read)
                    }
                }
                deserializer.deserialize_any(Read)
            }
        }
    };
}

lenient_object!(List, List { entries: Vec::new() }, { "signatures" => entries });
lenient_object!(Entry, Entry::default(), {
    "schemaversion" => version,
    "type" => kind,
    "content" => content,
});

/// Bytes in base64, as Go decodes them: padded, bits left over and line ends tolerated.
#[derive(Default)]
struct Content(Vec<u8>);

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        lenient_base64::decode(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The only version there is.
const SCHEMA_VERSION: i64 = 2;
