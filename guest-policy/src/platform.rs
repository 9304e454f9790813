//! Platforms that images are made for (OCI image specification, "Image Index").

use std::fmt;
use std::str::FromStr;

/// `os/architecture[/variant]`, in Go's words: `linux/arm/v7`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Platform {
    /// `linux`, …
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, …
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let invalid = || InvalidPlatform { text: text.to_owned() };
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(*variant)),
            _ => return Err(invalid()),
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(invalid());
        }
        let variant = variant.map(str::to_owned);
        Ok(Self { os: (*os).to_owned(), architecture: (*architecture).to_owned(), variant })
    }
}

/// A text is not a platform.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid platform {text:?}: expected OS/ARCHITECTURE[/VARIANT], for example linux/arm64")]
pub struct InvalidPlatform {
    text: String,
}
