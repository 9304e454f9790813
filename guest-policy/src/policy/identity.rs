//! `signedIdentity`: which identity a signature must claim for which image (containers-policy.json(5),
//! "signedBy").

use std::fmt;

use crate::reference::{Reference, is_domain, is_qualified_name};

/// How the identity in a signature is compared with that of the image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IdentityMatch {
    /// `matchExact`
    MatchExact,
    /// `matchRepoDigestOrExact`, the default.
    MatchRepoDigestOrExact,
    /// `matchRepository`
    MatchRepository,
    /// `exactReference`
    ExactReference(Reference),
    /// `exactRepository`
    ExactRepository(Reference),
    /// `remapIdentity`
    RemapIdentity {
        /// What to replace in the image's reference.
        prefix: Prefix,
        /// What to put there.
        signed_prefix: Prefix,
    },
}

impl IdentityMatch {
    /// Whether a signature for `signed`, exactly as signed, vouches for `image`; `None` if the transport
    /// has no Docker references. Whatever cannot be parsed does not match.
    ///
    /// Complete normalised references are compared, byte by byte: unlike scopes, where a host that is spelt
    /// otherwise would escape a rule, a signature for another spelling is one for another name.
    pub fn matches(&self, image: Option<&Reference>, signed: &str) -> bool {
        let Ok(signed) = Reference::parse_normalized(signed) else { return false };
        match self {
            Self::MatchExact => image.is_some_and(|image| equal(image, &signed)),
            Self::MatchRepoDigestOrExact => {
                image.is_some_and(|image| repository_of_digest_or_equal(image, &signed))
            }
            Self::MatchRepository => image.is_some_and(|image| image.name() == signed.name()),
            Self::ExactReference(exact) => equal(exact, &signed),
            Self::ExactRepository(exact) => exact.name() == signed.name(),
            Self::RemapIdentity { prefix, signed_prefix } => image
                .and_then(|image| prefix.remap(image, signed_prefix))
                .is_some_and(|image| repository_of_digest_or_equal(&image, &signed)),
        }
    }
}

impl fmt::Display for IdentityMatch {
    /// Which signed names vouch for an image, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MatchExact => f.write_str("exactly the image's name (matchExact)"),
            Self::MatchRepoDigestOrExact => f.write_str(
                "the image's name, or its repository where it is named by digest \
                 (matchRepoDigestOrExact)",
            ),
            Self::MatchRepository => f.write_str("the image's repository (matchRepository)"),
            Self::ExactReference(exact) => write!(f, "exactly {exact} (exactReference)"),
            Self::ExactRepository(exact) => {
                write!(f, "the repository {} (exactRepository)", exact.name())
            }
            Self::RemapIdentity { prefix, signed_prefix } => write!(
                f,
                "the image's name with {signed_prefix} in the place of {prefix} (remapIdentity)"
            ),
        }
    }
}

/// A complete domain, or a domain and a path: `prefix` and `signedPrefix` of `remapIdentity`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Prefix(String);

impl Prefix {
    /// Check that `text` is completely `host[:port]` or `host[:port]/path`, without a tag or digest.
    pub fn new(text: &str) -> Result<Self, InvalidPrefix> {
        if is_domain(text) || is_qualified_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPrefix { text: text.to_owned() })
        }
    }

    /// Whether `image` lies below, or is, this prefix.
    pub fn covers(&self, image: &Reference) -> bool {
        let name = image.name();
        name.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// `image` with this prefix replaced by `signed`; as it is where the prefix does not cover it. `None`
    /// if the result is not a reference in canonical form, which no signature can be for.
    pub fn remap(&self, image: &Reference, signed: &Self) -> Option<Reference> {
        if !self.covers(image) {
            return Some(image.clone());
        }
        let text = image.to_string();
        let rest = text.strip_prefix(&self.0)?;
        Reference::parse_canonical(&format!("{signed}{rest}")).ok()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text is not a prefix of `remapIdentity`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("prefix {text:?} is not valid")]
pub struct InvalidPrefix {
    text: String,
}

fn equal(image: &Reference, signed: &Reference) -> bool {
    !image.is_name_only() && !signed.is_name_only() && image == signed
}

/// A reference with a tag must be equal; one by digest alone accepts any tag or digest of its repository,
/// since the digest itself is compared with the manifest.
fn repository_of_digest_or_equal(image: &Reference, signed: &Reference) -> bool {
    if signed.is_name_only() {
        return false;
    }
    match (image.tag(), image.digest()) {
        (Some(_), _) => image == signed,
        (None, Some(_)) => image.name() == signed.name(),
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn image(text: &str) -> Reference {
        Reference::parse_normalized(text).expect("a reference")
    }

    #[test]
    fn an_image_without_reference_matches_only_exact_identities() {
        let exact = image("example.com/a:1");
        for (identity, expected) in [
            (IdentityMatch::MatchExact, false),
            (IdentityMatch::MatchRepoDigestOrExact, false),
            (IdentityMatch::MatchRepository, false),
            (IdentityMatch::ExactReference(exact.clone()), true),
            (IdentityMatch::ExactRepository(exact), true),
        ] {
            assert_eq!(identity.matches(None, "example.com/a:1"), expected, "{identity:?}");
        }
    }

    #[test]
    fn a_digest_reference_accepts_any_tag_of_its_repository_and_no_bare_name() {
        let matches = |signed: &str| {
            let image = image(&format!("example.com/a@{DIGEST}"));
            IdentityMatch::MatchRepoDigestOrExact.matches(Some(&image), signed)
        };
        assert!(matches("example.com/a:1"));
        assert!(!matches("example.com/a"));
        assert!(!matches("example.com/b:1"));
        assert!(!matches("UPPERCASEISINVALID"));
    }

    #[test]
    fn a_tag_must_be_signed_even_beside_a_digest() {
        let image = image(&format!("example.com/a:1@{DIGEST}"));
        let matches = |signed| IdentityMatch::MatchRepoDigestOrExact.matches(Some(&image), signed);
        assert!(!matches("example.com/a:1"));
        assert!(matches(&format!("example.com/a:1@{DIGEST}")));
    }

    #[test]
    fn remapping_to_a_name_that_is_not_canonical_matches_nothing() {
        let remap = |signed_prefix: &str| IdentityMatch::RemapIdentity {
            prefix: Prefix::new("mirror.local/x").expect("a prefix"),
            signed_prefix: Prefix::new(signed_prefix).expect("a prefix"),
        };
        let image = image("mirror.local/x/app:1");
        assert!(!remap("docker.io").matches(Some(&image), "docker.io/app:1"));
        assert!(remap("docker.io/library").matches(Some(&image), "docker.io/app:1"));
        assert!(!remap("vendor.example").matches(Some(&image), "mirror.local/x/app:1"));
    }

    #[test]
    fn a_prefix_ends_at_a_component() {
        let prefix = Prefix::new("example.com/ns").expect("a prefix");
        assert!(prefix.covers(&image("example.com/ns/app:1")));
        assert!(!prefix.covers(&image("example.com/nsx/app:1")));
        for text in
            ["", "a/", "*.a.com", "a.com/B", "a.com/b:1", "with_underscore", "https://a.com"]
        {
            assert!(Prefix::new(text).is_err(), "{text}");
        }
    }
}
