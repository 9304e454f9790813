//! Requirements: the entries of a scope's list.

use super::identity::IdentityMatch;

/// One entry of a scope's list of requirements.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Requirement {
    /// Holds for every image.
    InsecureAcceptAnything,
    /// Holds for no image.
    Reject,
    /// `signedBaseLayer`. No implementation evaluates it: it holds for no image.
    SignedBaseLayer {
        /// The base layer's identity.
        base_layer_identity: IdentityMatch,
    },
    /// Holds if a simple signing signature by one of the keys vouches for the image.
    SignedBy(SignedBy),
    /// Holds if a sigstore signature vouches for the image.
    SigstoreSigned(SigstoreSigned),
    /// Holds if the rule allows the image: its number in [`super::Policy::rules`].
    Rule(u32),
    /// Holds if one of the parts does. Never empty.
    AnyOf(Vec<Requirement>),
    /// Holds if so many distinct signers are behind the parts that hold.
    AtLeast(AtLeast),
}

/// The requirement `atLeast`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AtLeast {
    /// At least 1.
    pub count: u32,
    /// Never empty.
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
    /// Whether an evaluation of this requirement looks at signatures.
    pub fn needs_signatures(&self) -> bool {
        matches!(self, Self::SignedBy(_) | Self::SigstoreSigned(_))
            || self.parts().iter().any(Self::needs_signatures)
    }

    /// The requirements that this one is made of; none for most.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::AnyOf(parts) => parts,
            Self::AtLeast(AtLeast { requirements, .. }) => requirements,
            _ => &[],
        }
    }

    /// This requirement and all its parts, each before its own.
    pub(crate) fn all(&self) -> Vec<&Self> {
        let mut all = vec![self];
        all.extend(self.parts().iter().flat_map(Self::all));
        all
    }

    /// Whether signers are counted, or told to a rule: then all that signed have to be found.
    pub(crate) fn wants_all_signers(&self) -> bool {
        matches!(self, Self::AtLeast(_) | Self::Rule(_))
            || self.parts().iter().any(Self::wants_all_signers)
    }

    /// Whether the requirement holds for every image, signed or not.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::InsecureAcceptAnything => true,
            Self::AnyOf(parts) => parts.iter().any(Self::is_open),
            _ => false,
        }
    }
}
