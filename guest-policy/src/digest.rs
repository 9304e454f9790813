//! Content digests (OCI image specification, "Digests").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A validated content digest: a known algorithm and lower-case hexadecimal of the exact length.
///
/// Validation happens before a digest may become part of a path or URL (CVE-2024-3727).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest {
    text: String,
    algorithm: Algorithm,
}

impl Digest {
    /// The SHA-256 digest of `content`.
    pub fn sha256(content: &[u8]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(7 + 64);
        text.push_str("sha256:");
        for byte in sha2::Sha256::digest(content) {
            let _ = write!(text, "{byte:02x}");
        }
        Self { text, algorithm: Algorithm::Sha256 }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal part.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.name().len() + 1..]
    }

    /// `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is the digest of `content`. Only SHA-256 is ever computed, as in the reference
    /// implementation: any other algorithm never matches.
    pub fn matches(&self, content: &[u8]) -> bool {
        self.algorithm == Algorithm::Sha256 && *self == Self::sha256(content)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let invalid = || InvalidDigest { text: text.chars().take(MAX_SHOWN).collect() };
        let (name, hex) = text.split_once(':').ok_or_else(invalid)?;
        let algorithm =
            Algorithm::ALL.into_iter().find(|a| a.name() == name).ok_or_else(invalid)?;
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() != algorithm.hex_len() || !hex.bytes().all(lower_hex) {
            return Err(invalid());
        }
        Ok(Self { text: text.to_owned(), algorithm })
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.text
    }
}

/// The registered digest algorithms.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    /// `sha256`
    Sha256,
    /// `sha384`
    Sha384,
    /// `sha512`
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

/// A text is not a digest.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "invalid digest {text:?}: expected sha256:, sha384: or sha512: and lower-case hexadecimal digits"
)]
pub struct InvalidDigest {
    text: String,
}

/// An invalid digest is shown up to this many characters: longer than any valid one.
const MAX_SHOWN: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_escape_a_path() {
        for text in
            ["", "sha256:", "sha256:../../x", "sha256", "md5:d41d8cd98f00b204e9800998ecf8427e"]
        {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        let upper = Digest::sha256(b"").as_str().to_uppercase().replace("SHA256", "sha256");
        assert!(upper.parse::<Digest>().is_err());
    }

    #[test]
    fn sha512_never_matches_content() {
        let digest: Digest = format!("sha512:{}", "0".repeat(128)).parse().expect("well-formed");
        assert!(!digest.matches(b""));
        assert!(Digest::sha256(b"x").matches(b"x"));
    }
}
