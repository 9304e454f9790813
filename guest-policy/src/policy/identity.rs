//! `signedIdentity`: which identity a signature must claim for which image.

use crate::reference::Reference;

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
    pub fn matches(&self, image: Option<&Reference>, signed: &str) -> bool {
        let _ = (image, signed);
        false
    }
}

/// A complete domain, or a domain and a path: `prefix` and `signedPrefix` of `remapIdentity`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Prefix(String);

impl std::fmt::Display for IdentityMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("x")
    }
}
