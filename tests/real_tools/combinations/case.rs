//! The combinations.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::real_tools::laboratory::{Kind, Laboratory, Place, REPOSITORY, signed_by};

/// Every combination, in the same order each time.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut keys = GOOD_KEYS.into_iter().cycle();
    let mut trusts = Trust::ALL.into_iter().cycle();
    let mut turn = |case: Case| {
        let key = keys.next().unwrap_or(case.key);
        let trust = trusts.next().unwrap_or(case.trust);
        Case { key, trust, ..case }
    };

    // Which identities are accepted for which images.
    for identity in Identity::ALL {
        for signed_as in SignedAs::ALL {
            cases.push(turn(Case { identity, signed_as, ..Case::GOOD }));
        }
        for signed_as in [SignedAs::Digest, SignedAs::OtherRepository, SignedAs::OtherTag] {
            let asked = Asked::Digest;
            cases.push(turn(Case { identity, signed_as, asked, ..Case::GOOD }));
        }
    }
    // Which requirements decide about which images.
    for scope in Scope::ALL {
        for asked in [Asked::Digest, Asked::Tag] {
            cases.push(turn(Case { scope, asked, ..Case::GOOD }));
        }
        let tampering = Tampering::WrongKey;
        cases.push(turn(Case { scope, tampering, ..Case::GOOD }));
    }
    // Which keys and ways of signing are accepted.
    for key in ALL_KEYS {
        for trust in [Trust::Armoured, Trust::TwoInOneFile] {
            let signed_as = SignedAs::Digest;
            cases.push(Case { key, trust, signed_as, asked: Asked::Digest, ..Case::GOOD });
        }
    }
    for style in Style::ALL {
        for key in [Kind::Rsa2048, Kind::Ed25519] {
            cases.push(Case { key, style, ..Case::GOOD });
        }
    }
    // What is not accepted, or not as it is.
    for tampering in Tampering::ALL {
        for key in [Kind::Rsa2048, Kind::Ed25519] {
            cases.push(Case { key, tampering, ..Case::GOOD });
        }
        let identity = Identity::MatchRepository;
        cases.push(turn(Case { tampering, identity, asked: Asked::Digest, ..Case::GOOD }));
    }
    // Some came up twice.
    cases.sort_unstable();
    cases.dedup();
    cases
}

/// One combination.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Case {
    pub(super) key: Kind,
    pub(super) trust: Trust,
    pub(super) identity: Identity,
    pub(super) scope: Scope,
    pub(super) asked: Asked,
    pub(super) signed_as: SignedAs,
    pub(super) style: Style,
    pub(super) tampering: Tampering,
}

impl Case {
    /// One that is allowed.
    const GOOD: Self = Self {
        key: Kind::Ed25519,
        trust: Trust::File,
        identity: Identity::Absent,
        scope: Scope::Repository,
        asked: Asked::Tag,
        signed_as: SignedAs::Tag,
        style: Style::Plain,
        tampering: Tampering::None,
    };

    /// Write its policy and signatures.
    pub(super) fn set_up(&self, laboratory: &Laboratory) -> Place {
        let place = laboratory.place(&self.file_name(), &self.policy(laboratory));
        let signatures = self.signatures(laboratory);
        laboratory
            .image
            .write_lookaside(&place.store, REPOSITORY, &signatures)
            .expect("a signature store");
        if self.tampering == Tampering::NumberedFromTwo {
            let folder = format!("{REPOSITORY}@{}", laboratory.image.digest.replace(':', "="));
            let folder = place.store.join(folder);
            std::fs::rename(folder.join("signature-1"), folder.join("signature-2"))
                .expect("the signature is renamed");
        }
        place
    }

    /// The image that is asked about.
    pub(super) fn image(&self, laboratory: &Laboratory) -> String {
        match self.asked {
            Asked::Digest => format!("docker://{}", laboratory.by_digest()),
            Asked::Tag => format!("docker://{}", laboratory.tagged()),
        }
    }

    fn policy(&self, laboratory: &Laboratory) -> Value {
        let host = laboratory.host();
        let mut requirement = self.requirement(laboratory);
        if let Some(identity) = self.identity.document(laboratory) {
            requirement["signedIdentity"] = identity;
        }
        let accept = json!({"type": "insecureAcceptAnything"});
        let reject = json!({"type": "reject"});
        let only = |scope: &str| json!({"default": [&reject], "transports": {"docker": {scope: [&requirement]}}});
        match self.scope {
            Scope::AndAnother => {
                let another = laboratory.key(Kind::Stranger).requirement();
                json!({"default": [&requirement, another]})
            }
            Scope::AndAnything => json!({"default": [&accept, &requirement]}),
            Scope::Default => json!({"default": [&requirement]}),
            Scope::Digest => only(&laboratory.by_digest()),
            Scope::Host => only(host),
            Scope::HostWithoutPort => only("127.0.0.1"),
            Scope::Namespace => only(&format!("{host}/ns")),
            Scope::OpenElsewhere => json!({
                "default": [&accept],
                "transports": {"docker": {format!("{host}/ns/tea"): [&requirement]}},
            }),
            Scope::OpenTag => json!({
                "default": [&reject],
                "transports": {"docker": {
                    format!("{host}/{REPOSITORY}"): [&requirement],
                    laboratory.tagged(): [&accept],
                }},
            }),
            Scope::OtherTransport => json!({
                "default": [&requirement],
                "transports": {"dir": {"": [&accept]}, "docker": {"example.com": [&accept]}},
            }),
            Scope::RejectedRepository => json!({
                "default": [&accept],
                "transports": {"docker": {
                    format!("{host}/ns"): [&requirement],
                    format!("{host}/{REPOSITORY}"): [&reject],
                }},
            }),
            Scope::Repository => only(&format!("{host}/{REPOSITORY}")),
            Scope::SimilarNamespace => only(&format!("{host}/ns/tea")),
            Scope::Tag => only(&laboratory.tagged()),
            Scope::Transport => only(""),
            Scope::Wildcard => only("*.0.0.1"),
            Scope::WildcardAbove => only("*.1"),
        }
    }

    fn requirement(&self, laboratory: &Laboratory) -> Value {
        let key = laboratory.key(self.key);
        let read = |path| std::fs::read(path).expect("a key file");
        let another = laboratory.key(Kind::Colleague);
        match self.trust {
            Trust::Armoured => signed_by(&key.armoured),
            Trust::Data => {
                let data = STANDARD.encode(read(&key.binary));
                json!({"type": "signedBy", "keyType": "GPGKeys", "keyData": data})
            }
            Trust::File => key.requirement(),
            Trust::Files => {
                let paths = [&another.binary, &key.binary];
                json!({"type": "signedBy", "keyType": "GPGKeys", "keyPaths": paths})
            }
            Trust::TwoInOneFile => {
                let file = laboratory.path("rings").join(self.file_name());
                let ring = [read(&another.binary), read(&key.binary)].concat();
                lab::write(&file, ring).expect("a key ring");
                signed_by(&file)
            }
        }
    }

    fn file_name(&self) -> String {
        self.to_string().replace(' ', "_")
    }

    fn signatures(&self, laboratory: &Laboratory) -> Vec<Vec<u8>> {
        let payload = laboratory.image.payload(&self.signed_as.reference(laboratory));
        let sign = |kind: Kind, payload: &str, how: &[&str]| {
            let mut options = self.style.options();
            if kind == Kind::Expired {
                options.extend(["--faked-system-time", IN_ITS_TIME]);
            }
            options.extend(how);
            let key = laboratory.key(kind);
            laboratory.gpg.sign(&[&key.signing], payload.as_bytes(), &options).expect("gpg signs")
        };
        let good = || sign(self.key, &payload, &["--sign"]);
        let altered = |from: &str, to: &str| {
            assert!(payload.contains(from), "{payload}");
            vec![sign(self.key, &payload.replacen(from, to, 1), &["--sign"])]
        };
        match self.tampering {
            Tampering::AppendedLine => vec![[good(), b"\n".to_vec()].concat()],
            Tampering::Armoured => vec![sign(self.key, &payload, &["--armor", "--sign"])],
            Tampering::Cleartext => vec![sign(self.key, &payload, &["--clearsign"])],
            Tampering::Detached => vec![sign(self.key, &payload, &["--detach-sign"])],
            Tampering::DuplicateMember => {
                altered(r#""optional":{"#, r#""optional":{"creator":"somebody else","#)
            }
            Tampering::EditedIdentity => {
                let elsewhere = payload.replacen("/app:v1", "/bad:v1", 1);
                let how = ["--compress-algo", "none", "--sign"];
                vec![replaced(&sign(self.key, &elsewhere, &how), b"/bad:v1", b"/app:v1")]
            }
            Tampering::Expired => {
                let how =
                    ["--faked-system-time", IN_ITS_TIME, "--default-sig-expire", "1d", "--sign"];
                vec![sign(self.key, &payload, &how)]
            }
            Tampering::FromTheFuture => {
                vec![sign(
                    self.key,
                    &payload,
                    &["--faked-system-time", "20400101T000000!", "--sign"],
                )]
            }
            Tampering::GoodThenJunk => vec![good(), JUNK.to_vec()],
            Tampering::JunkThenGood => vec![JUNK.to_vec(), good()],
            Tampering::MissingOptional => {
                vec![sign(self.key, &without_optional(&payload), &["--sign"])]
            }
            Tampering::None | Tampering::NumberedFromTwo => vec![good()],
            Tampering::NullOptional => {
                let payload = without_optional(&payload).replacen('{', r#"{"optional":null,"#, 1);
                vec![sign(self.key, &payload, &["--sign"])]
            }
            Tampering::OtherImages => {
                let reference = self.signed_as.reference(laboratory);
                let payload = laboratory.other_image.payload(&reference);
                vec![sign(self.key, &payload, &["--sign"])]
            }
            Tampering::SpaceAfterPayload => {
                vec![sign(self.key, &format!("{payload}\n \t"), &["--sign"])]
            }
            Tampering::Truncated => {
                let mut signature = good();
                signature.truncate(signature.len() / 2);
                vec![signature]
            }
            Tampering::TwoSigners => {
                let (own, other) = (laboratory.key(self.key), laboratory.key(Kind::Stranger));
                let keys = [&own.signing, &other.signing];
                let signature = laboratory.gpg.sign(&keys, payload.as_bytes(), &["--sign"]);
                vec![signature.expect("gpg signs")]
            }
            Tampering::UnknownMember => {
                altered(r#""critical":{"#, r#""critical":{"approved-by":"somebody","#)
            }
            Tampering::UnknownOptionalMember => {
                altered(r#""optional":{"#, r#""optional":{"approved-by":"somebody","#)
            }
            Tampering::Unsigned => Vec::new(),
            Tampering::UpperCaseDigest => {
                let digest = &laboratory.image.digest["sha256:".len()..];
                altered(digest, &digest.to_uppercase())
            }
            Tampering::WrongKey => vec![sign(Kind::Stranger, &payload, &["--sign"])],
            Tampering::WrongThenGood => {
                vec![sign(Kind::Stranger, &payload, &["--sign"]), good()]
            }
            Tampering::WrongThenOtherImages => {
                let other = laboratory.other_image.payload(&self.signed_as.reference(laboratory));
                let wrong = sign(Kind::Stranger, &payload, &["--sign"]);
                vec![wrong, sign(self.key, &other, &["--sign"])]
            }
            Tampering::WrongType => altered("atomic container signature", "atomic signature"),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, trust, identity, scope, asked, signed_as, style, tampering } = self;
        write!(
            f,
            "{key:?}-{style:?} {trust:?} {identity:?} {scope:?} asked-{asked:?} signed-{signed_as:?} {tampering:?}"
        )
    }
}

/// How the question names the image.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Asked {
    Digest,
    Tag,
}

/// `signedIdentity`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Identity {
    Absent,
    ExactReference,
    ExactRepository,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapElsewhere,
    RemapHost,
    RemapNamespace,
}

impl Identity {
    const ALL: [Self; 9] = [
        Self::Absent,
        Self::ExactReference,
        Self::ExactRepository,
        Self::MatchExact,
        Self::MatchRepoDigestOrExact,
        Self::MatchRepository,
        Self::RemapElsewhere,
        Self::RemapHost,
        Self::RemapNamespace,
    ];

    fn document(self, laboratory: &Laboratory) -> Option<Value> {
        let host = laboratory.host();
        let remap = |prefix: &str, signed_prefix: &str| json!({"type": "remapIdentity", "prefix": prefix, "signedPrefix": signed_prefix});
        Some(match self {
            Self::Absent => return None,
            Self::ExactReference => {
                let reference = SignedAs::Vendor.reference(laboratory);
                json!({"type": "exactReference", "dockerReference": reference})
            }
            Self::ExactRepository => {
                let repository = format!("{host}/{REPOSITORY}");
                json!({"type": "exactRepository", "dockerRepository": repository})
            }
            Self::MatchExact => json!({"type": "matchExact"}),
            Self::MatchRepoDigestOrExact => json!({"type": "matchRepoDigestOrExact"}),
            Self::MatchRepository => json!({"type": "matchRepository"}),
            Self::RemapElsewhere => remap("example.com/ns", VENDOR),
            Self::RemapHost => remap(host, VENDOR),
            Self::RemapNamespace => remap(&format!("{host}/ns"), &format!("{VENDOR}/products")),
        })
    }
}

/// Where in the policy the requirement is, beside what else.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Scope {
    /// Another requirement holds as well: a signature by another key.
    AndAnother,
    /// Another requirement holds as well: nothing.
    AndAnything,
    Default,
    Digest,
    Host,
    HostWithoutPort,
    Namespace,
    /// The scope is another repository's, and everything else is accepted.
    OpenElsewhere,
    /// The image's tag is exempt.
    OpenTag,
    /// The exemptions are for others.
    OtherTransport,
    /// The requirement is for the namespace, and the repository is rejected.
    RejectedRepository,
    Repository,
    /// The scope is a prefix of the repository's name, but not of its path.
    SimilarNamespace,
    Tag,
    Transport,
    Wildcard,
    WildcardAbove,
}

impl Scope {
    const ALL: [Self; 17] = [
        Self::AndAnother,
        Self::AndAnything,
        Self::Default,
        Self::Digest,
        Self::Host,
        Self::HostWithoutPort,
        Self::Namespace,
        Self::OpenElsewhere,
        Self::OpenTag,
        Self::OtherTransport,
        Self::RejectedRepository,
        Self::Repository,
        Self::SimilarNamespace,
        Self::Tag,
        Self::Transport,
        Self::Wildcard,
        Self::WildcardAbove,
    ];
}

/// What the signature says the image is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum SignedAs {
    Digest,
    OtherRepository,
    OtherTag,
    RepositoryOnly,
    Tag,
    Unparsable,
    Vendor,
    VendorNamespace,
}

impl SignedAs {
    const ALL: [Self; 8] = [
        Self::Digest,
        Self::OtherRepository,
        Self::OtherTag,
        Self::RepositoryOnly,
        Self::Tag,
        Self::Unparsable,
        Self::Vendor,
        Self::VendorNamespace,
    ];

    fn reference(self, laboratory: &Laboratory) -> String {
        let host = laboratory.host();
        match self {
            Self::Digest => laboratory.by_digest(),
            Self::OtherRepository => format!("{host}/ns/team/another:v1"),
            Self::OtherTag => format!("{host}/{REPOSITORY}:v2"),
            Self::RepositoryOnly => format!("{host}/{REPOSITORY}"),
            Self::Tag => laboratory.tagged(),
            Self::Unparsable => format!("{host}/NS/app:v1"),
            Self::Vendor => format!("{VENDOR}/{REPOSITORY}:v1"),
            Self::VendorNamespace => format!("{VENDOR}/products/team/app:v1"),
        }
    }
}

/// How gpg is told to sign.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Style {
    Bzip2,
    Plain,
    Ripemd160,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    TextMode,
    Uncompressed,
    Zlib,
}

impl Style {
    const ALL: [Self; 10] = [
        Self::Bzip2,
        Self::Plain,
        Self::Ripemd160,
        Self::Sha1,
        Self::Sha224,
        Self::Sha256,
        Self::Sha384,
        Self::TextMode,
        Self::Uncompressed,
        Self::Zlib,
    ];

    fn options(self) -> Vec<&'static str> {
        match self {
            Self::Bzip2 => vec!["--compress-algo", "bzip2"],
            Self::Plain => Vec::new(),
            Self::Ripemd160 => vec!["--digest-algo", "RIPEMD160"],
            Self::Sha1 => vec!["--digest-algo", "SHA1"],
            Self::Sha224 => vec!["--digest-algo", "SHA224"],
            Self::Sha256 => vec!["--digest-algo", "SHA256"],
            Self::Sha384 => vec!["--digest-algo", "SHA384"],
            Self::TextMode => vec!["--textmode"],
            Self::Uncompressed => vec!["--compress-algo", "none"],
            Self::Zlib => vec!["--compress-algo", "zlib"],
        }
    }
}

/// What is wrong with the signatures.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Tampering {
    AppendedLine,
    Armoured,
    Cleartext,
    Detached,
    DuplicateMember,
    /// Another image's name was overwritten with this one's after signing.
    EditedIdentity,
    Expired,
    FromTheFuture,
    GoodThenJunk,
    JunkThenGood,
    MissingOptional,
    None,
    NullOptional,
    /// The signature store begins with `signature-2`.
    NumberedFromTwo,
    /// It was made for another image of the same name.
    OtherImages,
    SpaceAfterPayload,
    Truncated,
    /// One message with two signatures.
    TwoSigners,
    UnknownMember,
    UnknownOptionalMember,
    Unsigned,
    UpperCaseDigest,
    WrongKey,
    WrongThenGood,
    WrongThenOtherImages,
    WrongType,
}

impl Tampering {
    const ALL: [Self; 26] = [
        Self::AppendedLine,
        Self::Armoured,
        Self::Cleartext,
        Self::Detached,
        Self::DuplicateMember,
        Self::EditedIdentity,
        Self::Expired,
        Self::FromTheFuture,
        Self::GoodThenJunk,
        Self::JunkThenGood,
        Self::MissingOptional,
        Self::None,
        Self::NullOptional,
        Self::NumberedFromTwo,
        Self::OtherImages,
        Self::SpaceAfterPayload,
        Self::Truncated,
        Self::TwoSigners,
        Self::UnknownMember,
        Self::UnknownOptionalMember,
        Self::Unsigned,
        Self::UpperCaseDigest,
        Self::WrongKey,
        Self::WrongThenGood,
        Self::WrongThenOtherImages,
        Self::WrongType,
    ];
}

/// How the policy names the key.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Trust {
    Armoured,
    Data,
    File,
    /// One file with another key, one with this one.
    Files,
    TwoInOneFile,
}

impl Trust {
    const ALL: [Self; 5] =
        [Self::Armoured, Self::Data, Self::File, Self::Files, Self::TwoInOneFile];
}

fn replaced(content: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let position = content.windows(from.len()).position(|window| window == from);
    let position = position.expect("what is to be replaced is there");
    let mut content = content.to_owned();
    content[position..position + from.len()].copy_from_slice(to);
    content
}

fn without_optional(payload: &str) -> String {
    let mut payload: Value = serde_json::from_str(payload).expect("a payload is JSON");
    payload.as_object_mut().expect("an object").remove("optional").expect("it had the member");
    payload.to_string()
}

/// Keys that everybody accepts.
const GOOD_KEYS: [Kind; 7] = [
    Kind::Ed25519,
    Kind::Nistp256,
    Kind::Nistp384,
    Kind::Nistp521,
    Kind::Rsa2048,
    Kind::Rsa3072,
    Kind::Rsa4096,
];

const ALL_KEYS: [Kind; 13] = [
    Kind::BrainpoolP256,
    Kind::Dsa2048,
    Kind::Ed25519,
    Kind::Expired,
    Kind::Nistp256,
    Kind::Nistp384,
    Kind::Nistp521,
    Kind::Revoked,
    Kind::Rsa2048,
    Kind::Rsa3072,
    Kind::Rsa4096,
    Kind::Secp256k1,
    Kind::SigningSubkey,
];

const JUNK: &[u8] = b"not a signature";

/// A time, in gpg's spelling, when all keys were valid.
const IN_ITS_TIME: &str = "20240601T000000!";

const VENDOR: &str = "vendor.example.com";
