//! Where signatures live, and how they are gathered.
//!
//! Everything found is untrusted and opaque here: it is limited in size and number and handed to the
//! engine as it was found.

use std::path::{Path, PathBuf};

use guest_policy::image::{MAX_SIGNATURE_BYTES_TOTAL, Signature};
use guest_policy::reference::Reference;

use crate::image::{FileFault, ImageError, ImageName, Resolved};
use crate::registry::{Client, RegistryError};

pub(crate) mod attached;
mod directory;
mod extension;
mod location;
mod lookaside;
mod registries_d;
mod server;
mod staging;
mod store;

pub use location::{InvalidLocation, Location};
pub use registries_d::{Access, Directories, RegistriesD, RegistriesDError, Section};
pub use server::{StagingServer, StagingServerError};
pub use staging::{Staging, StagingError};
pub use store::{Place, Store, StoreError};

/// Every signature of a resolved image, in the order of its stores.
///
/// A registry that keeps signatures itself is asked, and nobody else; for any other image that is judged
/// as one of a registry, the lookaside that `registries` names. Signatures that lie with a `dir:` image
/// count whatever it is judged as.
///
/// # Errors
///
/// A store cannot be read in full. That there is no signature is no error.
pub async fn signatures(
    image: &Resolved,
    client: &Client,
    registries: &RegistriesD,
) -> Result<Vec<Signature>, EvidenceError> {
    let mut found = Vec::new();
    if let ImageName::Directory { path } = &image.name {
        let instance = image.index.is_some().then_some(&image.digest);
        found = directory::read(path, instance)?;
    }
    if image.subject.transport == "docker"
        && let Some(reference) = &image.subject.reference
    {
        let logical = Reference::parse_normalized(reference)
            .map_err(|e| EvidenceError::Bug { fault: format!("subject {reference}: {e}") })?;
        let pulled =
            matches!(&image.name, ImageName::Docker { reference } if *reference == logical);
        if pulled && client.keeps_signatures(&logical).await? {
            return extension::read(client, &logical, &image.digest).await;
        }
        found.extend(lookaside::read(client, registries, &logical, &image.digest).await?);
    }
    check_total(&image.subject.name, &found)?;
    Ok(found)
}

/// Every signature that lies beside a file: `FILE.signature-1`, `FILE.signature-2`, …
pub(crate) fn beside(file: &Path) -> Result<Vec<Signature>, EvidenceError> {
    let found = directory::beside(file)?;
    check_total(&file.display().to_string(), &found)?;
    Ok(found)
}

fn check_total(image: &str, found: &[Signature]) -> Result<(), EvidenceError> {
    let total: usize = found.iter().map(|signature| signature.content.len()).sum();
    if total > MAX_SIGNATURE_BYTES_TOTAL {
        return Err(EvidenceError::TooMuch { image: image.to_owned(), total });
    }
    Ok(())
}

/// Signatures were not gathered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// A document that lies with the image cannot be read.
    #[error(transparent)]
    Attached(#[from] ImageError),
    /// A fault of this program.
    #[error("internal error: {fault}")]
    Bug {
        /// What is wrong.
        fault: String,
    },
    /// A file of signatures cannot be read.
    #[error("cannot read signature: {0}")]
    File(#[from] FileFault),
    /// What the registry keeps is not a list of signatures.
    #[error("cannot use the signatures of {url}: decoding signature list: {fault}")]
    List {
        /// Where it was.
        url: String,
        /// What is wrong.
        fault: String,
    },
    /// The lookaside's configuration cannot be used.
    #[error(transparent)]
    Registries(#[from] RegistriesDError),
    /// The registry or lookaside cannot be read.
    #[error("cannot read signatures: {0}")]
    Registry(#[from] RegistryError),
    /// Neither file nor http nor https.
    #[error(
        "Unsupported scheme when reading signature from {url}; expected file://, http:// or https:// in registries.d"
    )]
    Scheme {
        /// The signature's URL.
        url: String,
    },
    /// More signatures than an image can reasonably have.
    #[error(
        "server provided {count} signatures, assuming that's unreasonable and a server error ({store})"
    )]
    TooMany {
        /// Where they are.
        store: String,
        /// How many were found before giving up.
        count: usize,
    },
    /// More bytes than fit the sandbox.
    #[error(
        "the signatures of {image} have {total} bytes in total, more than the {MAX_SIGNATURE_BYTES_TOTAL} \
         that are looked at; remove those that are not signatures"
    )]
    TooMuch {
        /// The image.
        image: String,
        /// In bytes.
        total: usize,
    },
}

/// A place of signatures for messages: without password and query, which may be secrets.
pub fn shown(location: &Location) -> String {
    location::redacted(&location.to_string())
}

/// The default configuration directory of the user: `$XDG_CONFIG_HOME`, else `~/.config`.
pub(crate) fn user_configuration() -> Option<PathBuf> {
    let variable = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty());
    variable.map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".config")))
}
