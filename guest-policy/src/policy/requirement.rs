//! Requirements: the entries of a scope's list.

use std::collections::BTreeSet;

use super::identity::IdentityMatch;

/// One entry of a scope's list of requirements.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Requirement {
    /// Holds if one of these does.
    AnyOf(Vec<Self>),
    /// Holds if enough distinct signers are behind those of its parts that hold.
    AtLeast(AtLeast),
    /// Holds for every image.
    InsecureAcceptAnything,
    /// Holds for no image.
    Reject,
    /// Holds if the rule with this index in the document says so.
    Rule(u32),
    /// `signedBaseLayer`. No implementation evaluates it: it holds for no image.
    SignedBaseLayer {
        /// The base layer's identity.
        base_layer_identity: IdentityMatch,
    },
    /// Holds if a simple signing signature by one of the keys vouches for the image.
    SignedBy(SignedBy),
    /// Holds if a sigstore signature vouches for the image.
    SigstoreSigned(SigstoreSigned),
}

/// The requirement `atLeast`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AtLeast {
    /// How many signers. Never 0.
    pub count: u32,
    /// The parts. Never empty.
    pub requirements: Vec<Requirement>,
}

/// The requirement `signedBy`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedBy {
    /// How `keys` are to be read.
    pub key_type: KeyType,
    /// The trusted keys.
    pub keys: KeySource,
    /// Which signed identities count.
    pub identity: IdentityMatch,
    /// Which `signedBy` of the document it is, from 0.
    pub number: usize,
}

/// `keyType` of [`SignedBy`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyType {
    /// OpenPGP keys that sign images. The only one that any implementation evaluates.
    GpgKeys,
    /// OpenPGP keys that certify the keys that sign images.
    SignedByGpgKeys,
    /// X.509 authorities that certify the certificates that sign images.
    SignedByX509Cas,
    /// X.509 certificates that sign images.
    X509Certificates,
}

impl KeyType {
    /// All, in the order of the specification.
    pub const ALL: [Self; 4] =
        [Self::GpgKeys, Self::SignedByGpgKeys, Self::X509Certificates, Self::SignedByX509Cas];

    /// As the document spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::GpgKeys => "GPGKeys",
            Self::SignedByGpgKeys => "signedByGPGKeys",
            Self::SignedByX509Cas => "signedByX509CAs",
            Self::X509Certificates => "X509Certificates",
        }
    }
}

/// Where the keys of [`SignedBy`] come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// `keyData`, decoded. May be empty: then no signature is ever accepted.
    Data(Vec<u8>),
    /// `keyPath`.
    Path(String),
    /// `keyPaths`. May be empty: then no signature is ever accepted.
    Paths(Vec<String>),
}

/// A key or certificate file: by name or by value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Material {
    /// Its decoded content.
    Data(Vec<u8>),
    /// A path exactly as the document spells it.
    Path(String),
}

/// The requirement `sigstoreSigned`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SigstoreSigned {
    /// Who may sign.
    pub trust: SigstoreTrust,
    /// Keys of the transparency log; none if it does not matter.
    pub rekor: Vec<Material>,
    /// Which signed identities count.
    pub identity: IdentityMatch,
}

/// Who may sign, in [`SigstoreSigned`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SigstoreTrust {
    /// Whoever Fulcio certified as the subject.
    Fulcio(Fulcio),
    /// The holders of these public keys.
    Keys(Vec<Material>),
    /// Whoever an authority certified as the subject.
    Pki(Pki),
}

/// `fulcio` of [`SigstoreSigned`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fulcio {
    /// Certificates of the authority.
    pub ca: Material,
    /// Who identified the subject.
    pub oidc_issuer: String,
    /// The subject's address.
    pub subject_email: String,
}

/// `pki` of [`SigstoreSigned`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pki {
    /// Certificates of the root authorities.
    pub roots: Material,
    /// Certificates of the intermediate authorities.
    pub intermediates: Option<Material>,
    /// The subject's address.
    pub subject_email: Option<String>,
    /// The subject's host name.
    pub subject_hostname: Option<String>,
}

impl Requirement {
    /// The requirements that this one is made of; none where it is not made of others.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::AnyOf(parts) | Self::AtLeast(AtLeast { requirements: parts, .. }) => parts,
            _ => &[],
        }
    }

    /// This requirement and all that it is made of, each before its parts.
    pub fn all(&self) -> Vec<&Self> {
        let parts = self.parts().iter().flat_map(Self::all);
        std::iter::once(self).chain(parts).collect()
    }

    /// Whether an evaluation of this requirement looks at signatures.
    pub fn needs_signatures(&self) -> bool {
        matches!(self, Self::SignedBy(_) | Self::SigstoreSigned(_))
            || self.parts().iter().any(Self::needs_signatures)
    }

    /// Whether it fails for every image, whatever its signatures are and whatever rules say.
    pub fn always_fails(&self) -> bool {
        match self {
            Self::Reject | Self::SignedBaseLayer { .. } | Self::SigstoreSigned(_) => true,
            Self::AnyOf(parts) => parts.iter().all(Self::always_fails),
            Self::AtLeast(at_least) => !at_least.can_be_reached(),
            Self::InsecureAcceptAnything | Self::Rule(_) | Self::SignedBy(_) => false,
        }
    }

    /// Whether it holds for every image.
    pub fn always_holds(&self) -> bool {
        match self {
            Self::AnyOf(parts) => parts.iter().any(Self::always_holds),
            _ => *self == Self::InsecureAcceptAnything,
        }
    }

    /// Whether a rule has a say in it.
    pub fn has_rule(&self) -> bool {
        matches!(self, Self::Rule(_)) || self.parts().iter().any(Self::has_rule)
    }

    /// Whether signers are counted in it.
    pub fn counts_signers(&self) -> bool {
        matches!(self, Self::AtLeast(_)) || self.parts().iter().any(Self::counts_signers)
    }

    /// Collect the rules that may be behind it. Whether there may be any number of other signers, too.
    fn signers<'a>(&'a self, rules: &mut BTreeSet<&'a u32>) -> bool {
        match self {
            Self::Rule(rule) => {
                rules.insert(rule);
                false
            }
            // Which keys are in a file is not known here.
            Self::SignedBy(signed_by) => {
                signed_by.key_type == KeyType::GpgKeys && !signed_by.keys.is_empty()
            }
            Self::AtLeast(at_least) if !at_least.can_be_reached() => false,
            _ => self.parts().iter().fold(false, |any, part| part.signers(rules) | any),
        }
    }
}

impl AtLeast {
    /// Whether so many signers can ever be behind the parts, as far as the document tells.
    pub fn can_be_reached(&self) -> bool {
        let mut rules = BTreeSet::new();
        let any = self.requirements.iter().fold(false, |any, part| part.signers(&mut rules) | any);
        any || rules.len() >= self.count as usize
    }
}

impl KeySource {
    /// Whether there is certainly no key.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Data(data) => data.is_empty(),
            Self::Path(_) => false,
            Self::Paths(paths) => paths.is_empty(),
        }
    }
}
