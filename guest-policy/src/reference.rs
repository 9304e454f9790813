//! Docker references, as the reference implementation's `docker/reference` package parses them:
//! `[domain[:port]/]path[:tag][@digest]`.

use std::fmt;

use crate::digest::Digest;

/// A reference in normalised form: with its domain, `library/` where Docker Hub implies it.
///
/// The host is kept as it was written; comparing it without regard to case is the business of
/// whoever looks up scopes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parse a reference as a user may write it: `busybox` means `docker.io/library/busybox`.
    pub fn parse_normalized(text: &str) -> Result<Self, ReferenceError> {
        if text.len() == 64 && text.bytes().all(is_lower_hex) {
            return Err(ReferenceError::Identifier { text: text.to_owned() });
        }
        let (domain, remainder) = split_docker_domain(text);
        let remote_name = match remainder.split_once(['@', ':']) {
            Some((name, _)) => name,
            None => remainder.as_str(),
        };
        if remote_name.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::UpperCase);
        }
        let parsed = Parsed::parse(&format!("{domain}/{remainder}"))?;
        match parsed.domain {
            Some(domain) => {
                Ok(Self { domain, path: parsed.path, tag: parsed.tag, digest: parsed.digest })
            }
            None => Err(ReferenceError::Format),
        }
    }

    /// Parse a reference that must already be in normalised form (`ParseNamed`).
    pub fn parse_canonical(text: &str) -> Result<Self, ReferenceError> {
        let reference = Self::parse_normalized(text)?;
        if reference.to_string() == text {
            Ok(reference)
        } else {
            Err(ReferenceError::NotCanonical)
        }
    }

    /// `host[:port]`, as written.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path below the domain: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `domain/path`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if there is one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Whether there is neither a tag nor a digest.
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    /// With tag `latest` if there is neither a tag nor a digest.
    pub fn with_default_tag(mut self) -> Self {
        if self.is_name_only() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// Without the tag.
    pub fn without_tag(mut self) -> Self {
        self.tag = None;
        self
    }

    /// The same repository at `digest`, without a tag.
    pub fn at(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The short form that users know: `busybox:latest` for `docker.io/library/busybox:latest`.
    pub fn familiar(&self) -> String {
        let mut text = if self.domain == DEFAULT_DOMAIN {
            match self.path.strip_prefix(OFFICIAL_PREFIX) {
                Some(rest) if !rest.contains('/') => rest.to_owned(),
                _ => self.path.clone(),
            }
        } else {
            self.name()
        };
        self.push_suffix(&mut text);
        text
    }

    fn push_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.name();
        self.push_suffix(&mut text);
        f.write_str(&text)
    }
}

/// A text is not a reference.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The digest part is malformed.
    #[error("invalid digest in reference: {0}")]
    Digest(#[from] crate::digest::InvalidDigest),
    /// Nothing at all.
    #[error("repository name must have at least one component")]
    Empty,
    /// Not of the form `[host[:port]/]path[:tag][@digest]`.
    #[error("invalid reference format")]
    Format,
    /// 64 hexadecimal digits are an image identifier.
    #[error("invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")]
    Identifier {
        /// What was given.
        text: String,
    },
    /// Not in canonical form where that is needed.
    #[error("repository name must be canonical")]
    NotCanonical,
    /// The name is longer than [`MAX_NAME_LENGTH`].
    #[error("repository name must not be more than {MAX_NAME_LENGTH} characters")]
    TooLong,
    /// The path has upper-case letters.
    #[error("invalid reference format: repository name must be lowercase")]
    UpperCase,
}

/// A reference as the grammar gives it, before normalisation (`reference.Parse`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parsed {
    /// `host[:port]`, if the first component can be one.
    pub domain: Option<String>,
    /// What is left of the name.
    pub path: String,
    /// The tag.
    pub tag: Option<String>,
    /// The digest.
    pub digest: Option<Digest>,
}

impl Parsed {
    /// Parse by the grammar alone.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let Some((name, tag, digest)) = split_suffixes(text) else {
            let lower = text.to_lowercase();
            let only_case = lower != text
                && split_suffixes(&lower).is_some_and(|(n, ..)| split_name(n).is_some());
            return Err(if only_case { ReferenceError::UpperCase } else { ReferenceError::Format });
        };
        let Some((domain, path)) = split_name(name) else {
            let only_case = split_name(&name.to_lowercase()).is_some();
            return Err(if only_case { ReferenceError::UpperCase } else { ReferenceError::Format });
        };
        if name.len() > MAX_NAME_LENGTH {
            return Err(ReferenceError::TooLong);
        }
        let digest = digest.map(str::parse).transpose()?;
        Ok(Self {
            domain: domain.map(str::to_owned),
            path: path.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

#[cfg(feature = "probe")]
impl Parsed {
    /// `[domain/]path`.
    pub(crate) fn name(&self) -> String {
        match &self.domain {
            Some(domain) => format!("{domain}/{}", self.path),
            None => self.path.clone(),
        }
    }
}

/// Longest `domain/path`, in characters (distribution's `NameTotalLengthMax`).
pub const MAX_NAME_LENGTH: usize = 255;

/// Longest tag, in characters (distribution's grammar).
const MAX_TAG_LENGTH: usize = 128;

/// The registry of names without a domain.
pub const DEFAULT_DOMAIN: &str = "docker.io";

const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";

/// Whether `text` is completely a domain: `host[:port]`.
pub fn is_domain(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let component = |c: &str| {
        let bytes = c.as_bytes();
        let alphanumeric = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        alphanumeric(bytes.first())
            && alphanumeric(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    };
    host.split('.').all(component)
        && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether `text` is completely a name: `[domain/]path`.
pub fn is_name(text: &str) -> bool {
    split_name(text).is_some()
}

/// Whether `text` is completely a name with its domain: `domain/path`.
pub fn is_qualified_name(text: &str) -> bool {
    matches!(split_name(text), Some((Some(_), _)))
}

/// `[domain/]path`: a first component that can be a domain is one, if a path follows.
pub(crate) fn split_name(name: &str) -> Option<(Option<&str>, &str)> {
    if let Some((first, rest)) = name.split_once('/')
        && is_domain(first)
        && is_path(rest)
    {
        return Some((Some(first), rest));
    }
    is_path(name).then_some((None, name))
}

fn is_path(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !word(*first) || !word(*last) {
        return false;
    }
    bytes.split(|b| word(*b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

/// Cut `@digest` and `:tag` off; `None` if either is not of its grammar.
fn split_suffixes(text: &str) -> Option<(&str, Option<&str>, Option<&str>)> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) if is_digest_grammar(digest) => (rest, Some(digest)),
        Some(_) => return None,
        None => (text, None),
    };
    // A colon after the last slash starts a tag; before it, a port.
    let name_end = rest.rfind('/').map_or(0, |i| i + 1);
    match rest[name_end..].split_once(':') {
        Some((_, tag)) if is_tag(tag) => {
            Some((&rest[..rest.len() - tag.len() - 1], Some(tag), digest))
        }
        Some(_) => None,
        None => Some((rest, None, digest)),
    }
}

/// `[\w][\w.-]{0,127}`
fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = text.bytes();
    text.len() <= MAX_TAG_LENGTH
        && bytes.next().is_some_and(word)
        && bytes.all(|b| word(b) || b == b'.' || b == b'-')
}

/// `[A-Za-z][A-Za-z0-9]*([-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}`
fn is_digest_grammar(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let part = |p: &str| {
        p.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
            && p.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(part)
        && hex.len() >= 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The domain that a user's spelling implies, and the rest (`splitDockerDomain`).
fn split_docker_domain(text: &str) -> (String, String) {
    let (domain, remainder) = match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (DEFAULT_DOMAIN, text),
    };
    let domain = if domain == LEGACY_DEFAULT_DOMAIN { DEFAULT_DOMAIN } else { domain };
    if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
        (domain.to_owned(), format!("{OFFICIAL_PREFIX}{remainder}"))
    } else {
        (domain.to_owned(), remainder.to_owned())
    }
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_what_users_write() {
        let of = |text: &str| Reference::parse_normalized(text).expect("valid").to_string();
        assert_eq!(of("busybox"), "docker.io/library/busybox");
        assert_eq!(of("index.docker.io/a/b:1"), "docker.io/a/b:1");
        assert_eq!(of("localhost:5000/x"), "localhost:5000/x");
        assert_eq!(of("127.0.0.1:5000/lab/amd64:v1"), "127.0.0.1:5000/lab/amd64:v1");
    }

    #[test]
    fn refuses_what_is_no_reference() {
        for text in [
            "",
            "a//b",
            "[::1]:5000/x",
            "x@sha256:../..",
            "example.com/UPPER",
            "Localhost/a",
            "a:b:c",
        ] {
            assert!(Reference::parse_normalized(text).is_err(), "{text}");
        }
    }

    #[test]
    fn familiar_form_drops_the_implied_parts() {
        let familiar = |text: &str| Reference::parse_normalized(text).expect("valid").familiar();
        assert_eq!(familiar("docker.io/library/busybox:1"), "busybox:1");
        assert_eq!(familiar("docker.io/a/b"), "a/b");
        assert_eq!(familiar("example.com/a"), "example.com/a");
    }
}
