//! The form in which stores keep one signature: the first byte tells the format (containers/image,
//! `internal/signature`).

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use crate::lenient_base64;

/// One signature of a store, its format told apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stored<'a> {
    /// An OpenPGP message.
    SimpleSigning(&'a [u8]),
    /// A sigstore signature with its payload and annotations.
    Sigstore(Sigstore),
}

impl<'a> Stored<'a> {
    /// Tell the format of a signature as a store keeps it.
    ///
    /// # Errors
    ///
    /// The format is unknown, or a sigstore signature cannot be read.
    pub fn parse(content: &'a [u8]) -> Result<Self, StoredError> {
        match content.first() {
            None => Err(StoredError::Empty),
            Some(0) => Self::parse_named(&content[1..]),
            Some(first) if OPENPGP_FIRST_BYTES.contains(first) => Ok(Self::SimpleSigning(content)),
            Some(first) => Err(StoredError::FirstByte(*first)),
        }
    }

    /// `NAME\nDATA`
    fn parse_named(rest: &'a [u8]) -> Result<Self, StoredError> {
        let newline = rest.iter().position(|b| *b == b'\n').ok_or(StoredError::NoNewline)?;
        let (name, data) = (&rest[..newline], &rest[newline + 1..]);
        let printable = |b: &u8| b.is_ascii_graphic() || *b == b' ';
        if let Some(byte) = name.iter().find(|b| !printable(b)) {
            return Err(StoredError::NonAscii(*byte));
        }
        match name {
            b"simple-signing" => Ok(Self::SimpleSigning(data)),
            b"sigstore-json" => serde_json::from_slice(data)
                .map(Self::Sigstore)
                .map_err(|error| StoredError::Sigstore(error.to_string())),
            _ => {
                let shown = &name[..name.len().min(MAX_NAME_SHOWN)];
                Err(StoredError::Name(String::from_utf8_lossy(shown).into_owned()))
            }
        }
    }
}

/// A sigstore signature as stores keep it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sigstore {
    /// What the payload is.
    pub mime_type: String,
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// The signature itself and what belongs to it, by name.
    pub annotations: Option<BTreeMap<String, String>>,
}

impl<'de> Deserialize<'de> for Sigstore {
    /// As Go reads JSON: names without regard to case, the last of a name counts, unknown ones are ignored,
    /// `null` changes nothing.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Sigstore;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sigstore, A::Error> {
                let mut read = Sigstore::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.to_ascii_lowercase().as_str() {
                        "mimetype" => {
                            read.mime_type =
                                map.next_value::<Option<_>>()?.unwrap_or(read.mime_type)
                        }
                        "payload" => {
                            if let Some(text) = map.next_value::<Option<String>>()? {
                                read.payload = lenient_base64::decode(&text)
                                    .map_err(serde::de::Error::custom)?;
                            }
                        }
                        "annotations" => read.annotations = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(read)
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// A stored signature is of no known format. The fault of whoever wrote it into the store.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoredError {
    /// Nothing.
    #[error("empty signature blob")]
    Empty,
    /// Neither an OpenPGP message nor a named format: armoured, say, or the page of a web server.
    #[error("unrecognized signature format, starting with binary {0:#x}")]
    FirstByte(u8),
    /// A named format that is not known, up to 64 bytes of its name.
    #[error("unrecognized signature format {0:?}")]
    Name(String),
    /// A named format whose name does not end.
    #[error("invalid signature format, missing newline")]
    NoNewline,
    /// A named format whose name is not one.
    #[error("invalid signature format, non-ASCII byte {0:#x}")]
    NonAscii(u8),
    /// A sigstore signature that is not the JSON it should be.
    #[error("invalid sigstore signature: {0}")]
    Sigstore(String),
}

/// How an OpenPGP message can begin: a compressed, one-pass-signature or signature packet of either header
/// format. 0x3d is no such packet, but the reference implementation takes it for one.
const OPENPGP_FIRST_BYTES: [u8; 15] =
    [0x88, 0x89, 0x8a, 0x8b, 0x90, 0x91, 0x92, 0xa0, 0xa1, 0xa2, 0xa3, 0xc2, 0xc4, 0xc8, 0x3d];

/// Of the name of an unknown format, in bytes: more than any has.
const MAX_NAME_SHOWN: usize = 64;
