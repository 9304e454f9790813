//! A rule's module into a registry, signed: what `rulesFrom` of a policy asks for.
//!
//! Blobs, then the manifest by its digest, then the signature, and the tag last: whoever sees the tag sees
//! something complete. A signature counts once it has been read back and verified as by a policy that wants it.

use guest_policy::reference::Reference;

use crate::artifact::{Artifact, MANIFEST_TYPE};
use crate::registry::{Client, RegistryError};
use crate::signer::{Signed, Signer, SignerError, Signing};

/// A module that is in a registry.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The repository at the digest: how policies name the module, after `oci://`.
    pub pinned: Reference,
    /// What was signed, if anything was.
    pub signed: Option<Signed>,
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
    // Of several tags, each is signed; whoever pulls by digest accepts any of the repository's.
    let identity = reference.tag().map_or(&pinned, |_| reference);
    let signer = match signing {
        None => None,
        // What would keep it from being signed is found before anything is sent.
        Some(signing) => Some(Signer::new(client, signing, &pinned, identity).await?),
    };
    client.upload_blob(&pinned, artifact.config.clone()).await?;
    client.upload_blob(&pinned, artifact.module.clone()).await?;
    client.upload_manifest(&pinned, MANIFEST_TYPE, artifact.manifest.clone()).await?;
    let signed = match signer {
        None => None,
        Some(signer) => Some(signer.sign(&digest).await?),
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
    /// The registry did not take it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It is not signed.
    #[error(transparent)]
    Signer(#[from] SignerError),
}
