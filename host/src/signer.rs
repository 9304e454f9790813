//! Signing what a registry has: where a signature goes, and that it is good for those who look there.
//!
//! A signature counts once it has been read back and verified: an OpenPGP signature by a policy that wants this key, this
//! digest and this identity and nothing else, one of sigstore against the same.

mod attached;

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use guest_policy::digest::Digest;
use guest_policy::manifest;
use guest_policy::reference::Reference;
use guest_policy::verdict::Outcome;
use serde_json::json;

use self::attached::Attached;
use crate::decide::{Decider, Question};
use crate::engine::{Budget, Engine, LoadError, Policy};
use crate::evidence::{
    Directories, Location, Place, RegistriesD, RegistriesDError, Store, StoreError,
};
use crate::image::{ImageError, ImageName, PlatformSelection};
use crate::keys::{SigstoreError, SigstoreKey};
use crate::registry::{Client, RegistryError};
use crate::sign::{SignError, SigningKey, payload};

/// What signs, and where signatures go.
#[derive(Clone, Copy, Debug)]
pub struct Signing<'a> {
    /// Who signs.
    pub key: Key<'a>,
    /// Where signatures are written.
    pub registries: &'a RegistriesD,
    /// Who verifies.
    pub engine: &'a Engine,
    /// In seconds since 1970-01-01 UTC.
    pub now: u64,
}

/// A key, and so the format of signatures and where they go.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// Simple signatures, in the registry's or a repository's own store.
    OpenPgp(&'a SigningKey),
    /// Sigstore's, which are attached to the image.
    Sigstore(&'a SigstoreKey),
}

/// A signature that was read back and found good.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Where it is; `None` if there was a signature by the same key already.
    pub place: Option<Place>,
    /// Where verifiers look for signatures, if that is not where they are written: they have to be brought there.
    pub read_from: Option<Location>,
}

/// An image in a registry, resolved once, with what there is of it to sign.
#[derive(Clone, Debug)]
pub struct Signable {
    /// The repository.
    pub reference: Reference,
    /// Of the manifest that the name means.
    pub digest: Digest,
    /// Of the manifests that it names, if it is an index.
    pub instances: Vec<Digest>,
}

impl Signable {
    /// Look a name up.
    ///
    /// # Errors
    ///
    /// It is not the name of an image in a registry, or the manifest cannot be read.
    pub async fn resolve(client: &Client, image: &ImageName) -> Result<Self, ImageError> {
        let malformed = |fault: String| ImageError::Malformed { image: image.to_string(), fault };
        let ImageName::Docker { reference } = image else {
            return Err(malformed(
                "it is not in a registry: expected docker://HOST/PATH".to_owned(),
            ));
        };
        let resolved = image.resolve(client, None, &PlatformSelection::Index).await?;
        let top = resolved.into_iter().next().ok_or_else(|| malformed("it has none".to_owned()))?;
        let instances = match manifest::Kind::of(&top.manifest, None) {
            Ok(manifest::Kind::Index(instances)) => instances,
            Ok(manifest::Kind::Image) => Vec::new(),
            Err(fault) => return Err(malformed(fault.to_string())),
        };
        let instances = instances.into_iter().map(|instance| instance.digest).collect();
        Ok(Self { reference: reference.clone(), digest: top.digest, instances })
    }
}

/// Who signs manifests of one repository as one image.
#[derive(Debug)]
pub struct Signer<'a>(Way<'a>);

#[derive(Debug)]
enum Way<'a> {
    Attached(Attached<'a>),
    Stored(Box<Stored<'a>>),
}

impl<'a> Signer<'a> {
    /// Who signs manifests of `repository` as `identity`. What would keep them from being signed is found here, as
    /// far as can be.
    ///
    /// # Errors
    ///
    /// There is nowhere to write signatures to, or nobody who verifies them.
    pub async fn new(
        client: &Client,
        signing: &Signing<'a>,
        repository: &'a Reference,
        identity: &'a Reference,
    ) -> Result<Self, SignerError> {
        let now = signing.now;
        match signing.key {
            Key::OpenPgp(key) => {
                let store = Store::of(client, signing.registries, repository).await?;
                let read_from = store.read_from(signing.registries)?;
                let directories = Directories::Loaded(Arc::new(store.staged()));
                let policy = policy(signing.engine, key, identity)?;
                let decider = Decider::new(policy, client.clone(), directories, Budget::default());
                let stored = Stored { key, now, repository, identity, store, decider, read_from };
                Ok(Self(Way::Stored(Box::new(stored))))
            }
            Key::Sigstore(key) => {
                let client = client.clone();
                Ok(Self(Way::Attached(Attached { client, key, repository, identity, now })))
            }
        }
    }

    /// Sign the manifest with this digest, which the repository has. If it is signed already, nothing is added.
    ///
    /// # Errors
    ///
    /// The signature is not made, not kept, or not one that a policy would accept.
    pub async fn sign(&self, digest: &Digest) -> Result<Signed, SignerError> {
        match &self.0 {
            Way::Attached(way) => way.sign(digest).await,
            Way::Stored(way) => way.sign(digest).await,
        }
    }
}

/// OpenPGP signatures, in a store.
#[derive(Debug)]
struct Stored<'a> {
    key: &'a SigningKey,
    now: u64,
    repository: &'a Reference,
    identity: &'a Reference,
    store: Store,
    decider: Decider,
    read_from: Option<Location>,
}

impl Stored<'_> {
    async fn sign(&self, digest: &Digest) -> Result<Signed, SignerError> {
        let read_from = self.read_from.clone();
        if self.objection(digest).await.is_none() {
            return Ok(Signed { place: None, read_from });
        }
        let payload = payload(digest, self.identity, self.now);
        let signature = self.key.sign(payload.as_bytes(), self.now)?;
        let place = self.store.add(digest, &signature).await?;
        let Some(fault) = self.objection(digest).await else {
            return Ok(Signed { place: Some(place), read_from });
        };
        // It is of no use to anybody. If it stays, it is not accepted either.
        let fate = match &place {
            Place::File(path) => match std::fs::remove_file(path) {
                Ok(()) => "it was removed again".to_owned(),
                Err(e) => format!("remove it: {place}: {e}"),
            },
            Place::Server(url) => format!(
                "the server keeps it, {url}, and verifiers who look at lookaside of registries.d do not find it"
            ),
            Place::Attached(_) | Place::Registry(_) => {
                "the registry keeps it, and it counts for nothing".to_owned()
            }
        };
        Err(SignerError::Rejected { fault, fate })
    }

    /// What a policy that wants this key's signature has against the manifest with this digest.
    async fn objection(&self, digest: &Digest) -> Option<String> {
        let question = Question {
            image: ImageName::Docker { reference: self.repository.at(digest.clone()) },
            judged_as: None,
            platforms: PlatformSelection::Index,
        };
        let decisions = self.decider.decide(&question, self.now).await;
        let Ok([decision]) = <[_; 1]>::try_from(decisions) else {
            return Some("there is no one answer about it".to_owned());
        };
        let reasons = decision.verdict.reasons.into_iter().map(|reason| reason.message);
        match decision.verdict.outcome {
            Outcome::Allow => None,
            Outcome::Deny | Outcome::Error => Some(reasons.collect::<Vec<_>>().join("; ")),
        }
    }
}

/// A manifest is not signed as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// The sandbox failed, and nothing can be verified.
    #[error(transparent)]
    Engine(#[from] LoadError),
    /// What was attached is gone each time that it is looked for.
    #[error(
        "what was attached to {place} is not there any more, again and again: others sign at the same time; try again"
    )]
    Lost {
        /// Tag for the signatures.
        place: String,
    },
    /// What is attached to the image is not what it should be.
    #[error("cannot attach a signature to {place}: {fault}")]
    Malformed {
        /// Tag for the signatures.
        place: String,
        /// What is wrong.
        fault: String,
    },
    /// registries.d cannot be used.
    #[error(transparent)]
    Registries(#[from] RegistriesDError),
    /// The registry does not do it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The signature is not one that a policy would accept.
    #[error("the signature that was made is not accepted: {fault}; {fate}")]
    Rejected {
        /// What the engine says.
        fault: String,
        /// What became of the signature.
        fate: String,
    },
    /// The key does not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The key of sigstore does not sign.
    #[error(transparent)]
    Sigstore(#[from] SigstoreError),
    /// The signature is not where it should be.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The policy that accepts what the key signed as `identity`, and nothing else.
fn policy(engine: &Engine, key: &SigningKey, identity: &Reference) -> Result<Policy, SignerError> {
    let key = BASE64_STANDARD.encode(key.export()?);
    // Whoever pulls by digest accepts any tag of the repository.
    let identity = match identity.tag() {
        Some(_) => json!({"type": "exactReference", "dockerReference": identity.to_string()}),
        None => json!({"type": "exactRepository", "dockerRepository": identity.name()}),
    };
    let requirement = json!({
        "type": "signedBy", "keyType": "GPGKeys", "keyData": key, "signedIdentity": identity,
    });
    let document = json!({"default": [requirement]});
    Ok(engine.load(document.to_string().as_bytes(), &[])?)
}
