//! Signatures that a registry keeps itself, as OpenShift's does (`X-Registry-Supports-Signatures`,
//! signature-protocols.md of containers/image).

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use guest_policy::digest::Digest;
use guest_policy::image::{MAX_SIGNATURES, Signature, SignatureForm};
use guest_policy::lenient_base64;
use guest_policy::reference::Reference;
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use super::{EvidenceError, StoreError};
use crate::registry::{Client, RegistryError};

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

/// Have the registry keep a simple signature of a manifest; the URL of the list that it is in then.
pub(super) async fn add(
    client: &Client,
    repository: &Reference,
    digest: &Digest,
    signature: &[u8],
) -> Result<String, StoreError> {
    // Every OpenPGP packet begins with a byte like this (RFC 9580, section 4.2).
    if signature.first().is_none_or(|byte| *byte < 0x80) {
        return Err(StoreError::Unsupported { host: repository.domain().to_owned() });
    }
    for _ in 0..MAX_NAMES {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| RegistryError::Malformed {
            url: repository.name(),
            fault: "no random number for the signature's name".to_owned(),
        })?;
        let entry = serde_json::json!({
            "schemaVersion": SCHEMA_VERSION,
            "name": format!("{digest}@{:032x}", u128::from_be_bytes(random)),
            "type": "atomic",
            "content": BASE64_STANDARD.encode(signature),
        });
        let kept = client.keep_signature(repository, digest, entry.to_string()).await?;
        if let Some(url) = kept {
            return Ok(url);
        }
        // The name is taken. It may be by this very signature, if only the answer to it was lost.
        let listed = client.kept_signatures(repository, digest).await?;
        if parse(&listed.content).is_ok_and(|known| known.iter().any(|known| known == signature)) {
            return Ok(listed.url);
        }
    }
    Err(StoreError::Registry(RegistryError::Malformed {
        url: repository.name(),
        fault: format!(
            "it says of {MAX_NAMES} random names of signatures that it has them already"
        ),
    }))
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

/// Most names that are tried for a signature. One of 128 random bits is never taken but by a repeated request.
const MAX_NAMES: usize = 2;
