//! A rule's module into a registry, signed: what `rulesFrom` of a policy asks for.
//!
//! Blobs, then the manifest by its digest, then the signature, and the tag last: whoever sees the tag sees
//! something complete. A signature counts once it has been read back and verified as by a policy that wants it.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use guest_policy::digest::Digest;
use guest_policy::reference::Reference;
use guest_policy::verdict::Outcome;
use serde_json::json;

use crate::artifact::{Artifact, MANIFEST_TYPE};
use crate::decide::{Decider, Question};
use crate::engine::{Budget, Engine, LoadError, Policy};
use crate::evidence::{
    Directories, Location, RegistriesD, RegistriesDError, Staging, StagingError,
};
use crate::image::{ImageName, PlatformSelection};
use crate::registry::{Client, RegistryError};
use crate::sign::{SignError, SigningKey, payload};

/// What signs, and where signatures go.
#[derive(Clone, Copy, Debug)]
pub struct Signing<'a> {
    /// Who signs.
    pub key: &'a SigningKey,
    /// Where signatures are written.
    pub registries: &'a RegistriesD,
    /// Who verifies.
    pub engine: &'a Engine,
    /// In seconds since 1970-01-01 UTC.
    pub now: u64,
}

/// A module that is in a registry.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The repository at the digest: how policies name the module, after `oci://`.
    pub pinned: Reference,
    /// What was signed, if anything was.
    pub signed: Option<Signed>,
}

/// A signature that was read back and found good.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The file; `None` if there was a signature by the same key already.
    pub path: Option<PathBuf>,
    /// Where verifiers look for signatures, if that is not where they are written: they have to be brought there.
    pub read_from: Option<Location>,
}

/// Push a module into the repository of `reference`, sign it if there is a key, and give it the tag of
/// `reference` if that has one.
///
/// # Errors
///
/// Something cannot be uploaded, signed or verified. Then the tag is as it was.
pub async fn push(
    client: &Client,
    reference: &Reference,
    artifact: &Artifact,
    signing: Option<&Signing<'_>>,
) -> Result<Pushed, PublishError> {
    let digest = artifact.digest();
    let pinned = reference.at(digest.clone());
    let signer = match signing {
        None => None,
        // What would keep it from being signed is found before anything is sent.
        Some(signing) => Some(Signer::new(client, signing, reference, digest).await?),
    };
    client.upload_blob(&pinned, artifact.config.clone()).await?;
    client.upload_blob(&pinned, artifact.module.clone()).await?;
    client.upload_manifest(&pinned, MANIFEST_TYPE, artifact.manifest.clone()).await?;
    let signed = match signer {
        None => None,
        Some(signer) => Some(signer.sign().await?),
    };
    if reference.tag().is_some() {
        client.upload_manifest(reference, MANIFEST_TYPE, artifact.manifest.clone()).await?;
    }
    Ok(Pushed { pinned, signed })
}

/// A module is not in the registry as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The sandbox failed, and nothing can be verified.
    #[error(transparent)]
    Engine(#[from] LoadError),
    /// The registry keeps signatures itself: nobody would look at those beside it.
    #[error(
        "{host} keeps signatures itself (X-Registry-Supports-Signatures), and verifiers look nowhere else: push \
         without a key, and sign with the registry's own tools"
    )]
    KeepsSignatures {
        /// The registry.
        host: String,
    },
    /// registries.d cannot be used.
    #[error(transparent)]
    Registries(#[from] RegistriesDError),
    /// The registry did not take it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The signature is not one that a policy would accept. It was removed again.
    #[error("the signature that was made is not accepted: {fault}; it was removed again")]
    Rejected {
        /// What the engine says.
        fault: String,
    },
    /// The key does not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The signature is not where it should be.
    #[error(transparent)]
    Staging(#[from] StagingError),
}

/// Who signs one manifest.
struct Signer<'a> {
    signing: Signing<'a>,
    staging: Staging,
    decider: Decider,
    reference: &'a Reference,
    digest: Digest,
    read_from: Option<Location>,
}

impl<'a> Signer<'a> {
    async fn new(
        client: &Client,
        signing: &Signing<'a>,
        reference: &'a Reference,
        digest: Digest,
    ) -> Result<Self, PublishError> {
        let registries = signing.registries;
        let staging = Staging::of(registries, reference)?;
        if client.keeps_signatures(reference).await? {
            return Err(PublishError::KeepsSignatures { host: reference.domain().to_owned() });
        }
        let read_from = registries.lookaside(reference)?;
        let directories = Directories::Loaded(Arc::new(registries.staged()));
        let policy = policy(signing)?;
        Ok(Self {
            signing: *signing,
            decider: Decider::new(policy, client.clone(), directories, Budget::default()),
            read_from: Some(read_from).filter(|read| read != staging.location()),
            staging,
            reference,
            digest,
        })
    }

    async fn sign(self) -> Result<Signed, PublishError> {
        let Signing { key, now, .. } = self.signing;
        if self.objection().await.is_none() {
            return Ok(Signed { path: None, read_from: self.read_from });
        }
        // With its tag, if it has one: whoever pulls by digest accepts any of the repository's.
        let name = match self.reference.tag() {
            Some(_) => self.reference.clone(),
            None => self.pinned(),
        };
        let signature = key.sign(payload(&self.digest, &name, now).as_bytes(), now)?;
        let path = self.staging.add(&self.digest, &signature)?;
        if let Some(fault) = self.objection().await {
            // It is of no use to anybody. If it stays, it is not accepted either.
            let _ = std::fs::remove_file(&path);
            return Err(PublishError::Rejected { fault });
        }
        Ok(Signed { path: Some(path), read_from: self.read_from })
    }

    /// What a policy that wants this key's signature has against the module.
    async fn objection(&self) -> Option<String> {
        let question = Question {
            image: ImageName::Docker { reference: self.pinned() },
            judged_as: self.reference.tag().map(|_| self.reference.clone()),
            platforms: PlatformSelection::Host,
        };
        let decisions = self.decider.decide(&question, self.signing.now).await;
        let Ok([decision]) = <[_; 1]>::try_from(decisions) else {
            return Some("it is an index of several".to_owned());
        };
        let reasons = decision.verdict.reasons.into_iter().map(|reason| reason.message);
        match decision.verdict.outcome {
            Outcome::Allow => None,
            Outcome::Deny | Outcome::Error => Some(reasons.collect::<Vec<_>>().join("; ")),
        }
    }

    fn pinned(&self) -> Reference {
        self.reference.at(self.digest.clone())
    }
}

/// The policy that accepts what the key signed, and nothing else.
fn policy(signing: &Signing<'_>) -> Result<Policy, PublishError> {
    let key = BASE64_STANDARD.encode(signing.key.export()?);
    let document = json!({
        "default": [{"type": "signedBy", "keyType": "GPGKeys", "keyData": key}],
    });
    Ok(signing.engine.load(document.to_string().as_bytes(), &[])?)
}
