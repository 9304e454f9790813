//! A resource of either shape, and what it asks for.
//!
//! Kabanero's shape has the private key in it. It is read from the API as Secrets are, and shown nowhere.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize as _;
use serde_json::Value;

use super::resource::{
    DeletionPolicy, Identity, ImageSigningSpec, KeyAlgorithm, config_map_name, secret_name,
};
use crate::keys::{Algorithm, Expiry, ObjectName, SecretKey, UserId};
use crate::kubernetes::{ClusterError, Collection, MAX_PREVIOUS_KEYS, ObjectPath};

/// Which of the two kinds of this name a resource is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Shape {
    /// `countersign.dev/v1`. It comes before the other one.
    Countersign,
    /// `security.kabanero.io/v1alpha1`.
    Kabanero,
}

impl Shape {
    pub(super) fn group(self) -> &'static str {
        match self {
            Self::Countersign => "countersign.dev",
            Self::Kabanero => "security.kabanero.io",
        }
    }

    /// Group and version, as objects name them.
    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::Countersign => "countersign.dev/v1",
            Self::Kabanero => "security.kabanero.io/v1alpha1",
        }
    }
}

/// A resource.
pub(super) struct Subject {
    pub(super) shape: Shape,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) version: String,
    pub(super) created: String,
    pub(super) generation: i64,
    pub(super) finalizers: Vec<String>,
    pub(super) deleting: bool,
    /// Without a private key.
    pub(super) status: Value,
    /// Of the private key in the status, if there is one: of what cannot be read, nothing.
    pub(super) in_status: Option<Option<String>>,
    /// Whether there is a private key in the spec, or in a copy of it among the annotations.
    pub(super) in_spec: bool,
    /// What is asked for, or what is wrong with it.
    pub(super) wish: Result<Wish, String>,
}

/// What is asked for.
pub(super) struct Wish {
    pub(super) secret: ObjectName,
    pub(super) config_map: ObjectName,
    pub(super) maker: Option<Maker>,
    pub(super) rotation: Option<Rotation>,
    pub(super) source: Option<Source>,
    pub(super) passphrase: Option<(ObjectName, String)>,
    pub(super) revoked: Vec<String>,
    pub(super) delete: bool,
}

/// What keys are made of.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    pub(super) user: UserId,
    pub(super) algorithm: Algorithm,
    pub(super) expires: Expiry,
}

/// When keys are replaced, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation {
    pub(super) every: u64,
    pub(super) keep: u64,
    pub(super) announce: u64,
}

/// Where a first key comes from.
pub(super) enum Source {
    /// From an entry of a Secret.
    Entry(ObjectName, String),
    /// From the resource itself: the key, and the public half that is said to be its.
    Inline(Vec<u8>, Option<Vec<u8>>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(name, key) => f.debug_tuple("Entry").field(name).field(key).finish(),
            Self::Inline(..) => f.debug_tuple("Inline").finish_non_exhaustive(),
        }
    }
}

impl Subject {
    /// What the API has of a resource; `None` if it is not even an object.
    pub(super) fn read(shape: Shape, object: &Value) -> Option<Self> {
        let metadata = &object["metadata"];
        let text = |name: &str| metadata[name].as_str().map(str::to_owned);
        let finalizers = metadata["finalizers"].as_array().into_iter().flatten();
        let mut status = object["status"].clone();
        let key = status.as_object_mut().and_then(|status| status.remove("secretKey"));
        let in_status = key.as_ref().and_then(Value::as_str).filter(|key| !key.is_empty());
        let in_status = in_status.filter(|_| shape == Shape::Kabanero);
        let fingerprint = |key: &str| SecretKey::read(key.as_bytes()).map(|key| key.fingerprint());
        // kubectl keeps what was applied in an annotation.
        let mut annotations = metadata["annotations"].as_object().into_iter().flatten();
        let in_annotation = annotations
            .any(|(_, text)| text.as_str().is_some_and(|text| text.contains("PRIVATE KEY")));
        let in_spec = object["spec"]["keypair"]["secretKey"].as_str();
        let in_spec = in_spec.is_some_and(|key| !key.is_empty()) || in_annotation;
        let wish = match shape {
            Shape::Countersign => Wish::of_countersign(&object["spec"]),
            Shape::Kabanero => Wish::of_kabanero(&object["spec"], &object["status"]),
        };
        Some(Self {
            shape,
            namespace: text("namespace")?,
            name: text("name")?,
            uid: text("uid").unwrap_or_default(),
            version: text("resourceVersion").unwrap_or_default(),
            created: text("creationTimestamp").unwrap_or_default(),
            generation: metadata["generation"].as_i64().unwrap_or_default(),
            finalizers: finalizers.filter_map(|name| Some(name.as_str()?.to_owned())).collect(),
            deleting: metadata["deletionTimestamp"].is_string(),
            status,
            in_status: in_status.map(fingerprint),
            in_spec: shape == Shape::Kabanero && in_spec,
            wish,
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> Result<ObjectPath, ClusterError> {
        let version = format!("/apis/{}", self.shape.api_version());
        Collection::new(&version, "imagesignings", "ImageSigning", &self.namespace)?
            .object(&self.name)
    }

    /// What is written on objects that are made for it. A resource of the same name that comes later gets them back.
    pub(super) fn owner(&self) -> String {
        format!("ImageSigning.{}/{}", self.shape.group(), self.name)
    }

    /// Of several that want the same objects, the one that gets them is the least.
    pub(super) fn rank(&self) -> (Shape, &str, &str) {
        (self.shape, &self.created, &self.name)
    }

    /// Whether both want the same Secret or ConfigMap.
    pub(super) fn rivals(&self, other: &Self) -> bool {
        let (Ok(wish), Ok(others)) = (&self.wish, &other.wish) else { return false };
        self.namespace == other.namespace
            && self.owner() != other.owner()
            && (wish.secret == others.secret || wish.config_map == others.config_map)
    }

    /// Of the key that it was told of last.
    pub(super) fn known(&self) -> Option<&str> {
        self.status["fingerprint"].as_str().filter(|fingerprint| !fingerprint.is_empty())
    }
}

impl Wish {
    fn of_countersign(spec: &Value) -> Result<Self, String> {
        // The parser's own message could quote what was pasted into the wrong place.
        let spec = ImageSigningSpec::deserialize(spec).map_err(|_| {
            "spec is not as the definition of ImageSigning describes it; apply the definitions of this version of \
             the operator"
                .to_owned()
        })?;
        let name = |field: &str, text: &str| {
            text.parse::<ObjectName>().map_err(|fault| format!("{field}: {fault}"))
        };
        let maker = spec.identity.as_ref().map(|identity| {
            Ok::<_, String>(Maker {
                user: user(identity)?,
                algorithm: algorithm(spec.algorithm),
                expires: match spec.expires.parse() {
                    Ok(Expiry::At(_)) => Err("expected never or a duration".to_owned()),
                    Ok(expires) => Ok(expires),
                    Err(fault) => Err(format!("{fault}")),
                }
                .map_err(|fault| format!("spec.expires: {fault}"))?,
            })
        });
        let maker = maker.transpose()?;
        let rotation = spec.rotation.as_ref().map(|rotation| {
            let seconds = |field, text| duration(&format!("spec.rotation.{field}"), text);
            let rotation = Rotation {
                every: seconds("every", &rotation.every)?,
                keep: seconds("keepPreviousFor", &rotation.keep_previous_for)?,
                announce: seconds("announceFor", &rotation.announce_for)?,
            };
            rotation.check(maker.as_ref()).map(|()| rotation)
        });
        let source = spec.import.as_ref().map(|import| {
            let reference = &import.secret_ref;
            let name = name("spec.import.secretRef.name", &reference.name)?;
            Ok::<_, String>(Source::Entry(name, reference.key.clone()))
        });
        let source = source.transpose()?;
        if source.is_none() && maker.is_none() {
            return Err(
                "spec.identity is missing: say whose key is to be made, or import one with \
                        spec.import"
                    .to_owned(),
            );
        }
        let passphrase = spec.passphrase.as_ref().map(|passphrase| {
            let reference = &passphrase.secret_ref;
            let name = name("spec.passphrase.secretRef.name", &reference.name)?;
            Ok::<_, String>((name, reference.key.clone()))
        });
        let revoked = spec.revoked.iter().map(|fingerprint| {
            let plain: String = fingerprint.split_whitespace().collect();
            let right =
                plain.len() == FINGERPRINT_LETTERS && plain.bytes().all(|b| b.is_ascii_hexdigit());
            right.then(|| plain.to_ascii_uppercase()).ok_or_else(|| {
                "spec.revoked: expected fingerprints, of 40 hexadecimal digits each".to_owned()
            })
        });
        Ok(Self {
            secret: name("spec.secretName", &spec.secret_name)?,
            config_map: name("spec.configMapName", &spec.config_map_name)?,
            maker,
            rotation: rotation.transpose()?,
            source,
            passphrase: passphrase.transpose()?,
            revoked: revoked.collect::<Result<_, _>>()?,
            delete: spec.deletion_policy == DeletionPolicy::Delete,
        })
    }

    /// A pair in the spec counts more than one in the status, and that more than an identity.
    fn of_kabanero(spec: &Value, status: &Value) -> Result<Self, String> {
        let text = |value: &Value| value.as_str().map(str::trim).unwrap_or_default().to_owned();
        let source = [&spec["keypair"], status].into_iter().find_map(|pair| {
            let (secret, public) = (text(&pair["secretKey"]), text(&pair["publicKey"]));
            let public = Some(public).filter(|public| !public.is_empty());
            let inline =
                Source::Inline(secret.clone().into_bytes(), public.map(String::into_bytes));
            (!secret.is_empty()).then_some(inline)
        });
        let identity = Identity {
            name: text(&spec["identity"]["name"]),
            email: text(&spec["identity"]["email"]),
            comment: text(&spec["identity"]["comment"]),
        };
        let maker = spec["identity"].is_object().then(|| {
            Ok::<_, String>(Maker {
                user: user(&identity)?,
                algorithm: algorithm(KeyAlgorithm::default()),
                expires: Expiry::After(KABANERO_EXPIRES),
            })
        });
        let named = |name: String| name.parse().map_err(|fault| format!("{fault}"));
        Ok(Self {
            secret: named(secret_name())?,
            config_map: named(config_map_name())?,
            maker: maker.transpose()?,
            rotation: None,
            source,
            passphrase: None,
            revoked: Vec::new(),
            delete: false,
        })
    }
}

impl Rotation {
    fn check(&self, maker: Option<&Maker>) -> Result<(), String> {
        let Some(maker) = maker else {
            return Err("spec.rotation needs spec.identity: whose the next key is to be".to_owned());
        };
        if self.every < MIN_ROTATION_SECONDS {
            return Err("spec.rotation.every: expected a day or more".to_owned());
        }
        if self.announce >= self.every {
            return Err(
                "spec.rotation.announceFor: expected less than spec.rotation.every".to_owned()
            );
        }
        let trusted = self.announce.saturating_add(self.every).saturating_add(self.keep);
        if self.keep / self.every >= MAX_PREVIOUS_KEYS as u64 {
            return Err(format!(
                "spec.rotation: with these times more than {MAX_PREVIOUS_KEYS} keys would be trusted at once; rotate \
                 less often, or keep them for less long"
            ));
        }
        match maker.expires {
            Expiry::After(life) if life < trusted => Err(format!(
                "spec.expires: a key is announced, signs, and is trusted after that for {0} days, so expected at \
                 least {0}d",
                trusted.div_ceil(DAY)
            )),
            _ => Ok(()),
        }
    }
}

/// The content of an entry of a Secret.
pub(super) fn entry(secret: &Value, name: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(secret["data"][name].as_str()?).ok()
}

fn user(identity: &Identity) -> Result<UserId, String> {
    let Identity { name, email, comment } = identity;
    if name.is_empty() || email.is_empty() {
        return Err("spec.identity: expected a name and an e-mail address".to_owned());
    }
    UserId::new(name, comment, email).map_err(|fault| format!("spec.identity: {fault}"))
}

fn algorithm(algorithm: KeyAlgorithm) -> Algorithm {
    match algorithm {
        KeyAlgorithm::Ed25519 => Algorithm::Ed25519,
        KeyAlgorithm::P256 => Algorithm::P256,
        KeyAlgorithm::Rsa2048 => Algorithm::Rsa2048,
        KeyAlgorithm::Rsa3072 => Algorithm::Rsa3072,
        KeyAlgorithm::Rsa4096 => Algorithm::Rsa4096,
    }
}

fn duration(field: &str, text: &str) -> Result<u64, String> {
    let expected = || format!("{field}: expected a duration, for example 90d, 12w, 6m or 2y");
    // `0` alone means never to gpg, and `0d` nothing at all.
    match text.parse() {
        Ok(Expiry::After(seconds)) => Ok(seconds),
        _ => Err(expected()),
    }
}

/// In seconds.
const DAY: u64 = 24 * 60 * 60;

/// Shortest time that a key signs, in seconds: whoever verifies has to hear of the next one.
const MIN_ROTATION_SECONDS: u64 = 24 * 60 * 60;

/// How long a key of Kabanero's identity lives, in seconds: two years, as others.
const KABANERO_EXPIRES: u64 = 730 * 24 * 60 * 60;

/// Of a key of version 4.
const FINGERPRINT_LETTERS: usize = 40;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(spec: Value) -> String {
        Wish::of_countersign(&spec).err().expect("a fault")
    }

    #[test]
    fn a_spec_needs_little_and_its_defaults_are_those_of_keygen() {
        let wish = Wish::of_countersign(&json!({"identity": {"name": "a", "email": "a@b"}}));
        let wish = wish.expect("a wish");
        assert_eq!(
            (wish.secret.as_str(), wish.config_map.as_str()),
            ("signature-secret-key", "signature-public-key")
        );
        let maker = wish.maker.expect("a maker");
        assert_eq!(
            (maker.algorithm, maker.expires),
            (Algorithm::Rsa3072, Expiry::After(730 * DAY))
        );
        assert!(!wish.delete && wish.rotation.is_none() && wish.source.is_none());
    }

    #[test]
    fn what_cannot_be_followed_is_told_with_the_field() {
        let with = |more: Value| {
            let mut spec = json!({"identity": {"name": "a", "email": "a@b"}});
            spec.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
            spec
        };
        for (more, words) in [
            (json!({"expires": "tomorrow"}), "spec.expires"),
            (json!({"expires": "2027-12-31"}), "spec.expires"),
            (json!({"secretName": "A B"}), "spec.secretName"),
            (json!({"rotation": {"every": "1h"}}), "spec.rotation.every"),
            (json!({"rotation": {"every": "0d"}}), "a day or more"),
            (json!({"rotation": {"every": "9d", "announceFor": "9d"}}), "announceFor"),
            (json!({"rotation": {"every": "1d"}}), "keys would be trusted at once"),
            (json!({"rotation": {"every": "700d"}}), "at least 790d"),
            (json!({"revoked": ["x"]}), "spec.revoked"),
            (json!({"identity": {"name": "a", "email": ""}}), "spec.identity"),
            (json!({"identity": {"name": "a<", "email": "a@b"}}), "spec.identity"),
            (json!({"algorithm": "-----BEGIN s3cret"}), "definition"),
        ] {
            let fault = fault(with(more));
            assert!(fault.contains(words) && !fault.contains("s3cret"), "{fault}");
        }
        assert!(fault(json!({})).contains("spec.identity is missing"));
        let import = json!({"import": {"secretRef": {"name": "a"}}, "rotation": {"every": "90d"}});
        assert!(fault(import).contains("needs spec.identity"));
    }

    #[test]
    fn nothing_of_kabaneros_keys_is_shown() {
        let object = json!({
            "metadata": {"name": "a", "namespace": "b"},
            "spec": {"keypair": {"secretKey": "s3cret", "publicKey": "x"}},
            "status": {"secretKey": "t0psecret", "generated": true},
        });
        let subject = Subject::read(Shape::Kabanero, &object).expect("a resource");
        assert!(subject.in_spec && subject.in_status == Some(None));
        assert!(!subject.status.to_string().contains("t0psecret"));
        let wish = subject.wish.expect("a wish");
        assert!(!format!("{:?}", wish.source).contains("s3cret"));
    }
}
