//! Where signatures of a repository are kept: in the registry, if that keeps them itself, else in the folder or on the
//! server that `lookaside-staging` of registries.d names.

use std::fmt;
use std::path::PathBuf;

use guest_policy::digest::Digest;
use guest_policy::image::Signature;
use guest_policy::reference::Reference;

use super::{
    EvidenceError, Location, RegistriesD, RegistriesDError, Staging, StagingError, StagingServer,
    StagingServerError,
};
use super::{extension, lookaside};
use crate::registry::{Client, RegistryError};

/// What takes the signatures of one repository, and gives them as a verifier gets them.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    repository: Reference,
    kept: Kept,
}

#[derive(Clone, Debug)]
enum Kept {
    /// In a folder; the configuration of a verifier that looks there.
    Folder(Staging, Box<RegistriesD>),
    Registry,
    /// On a server; the configuration of verifiers, who may look under another name of it.
    Server(StagingServer, Box<RegistriesD>),
}

impl Store {
    /// What `registries` and the registry say of a repository.
    ///
    /// # Errors
    ///
    /// The registry does not tell, or signatures go to something that is neither a folder nor a server.
    pub async fn of(
        client: &Client,
        registries: &RegistriesD,
        repository: &Reference,
    ) -> Result<Self, StoreError> {
        let kept = match client.keeps_signatures(repository).await? {
            true => Kept::Registry,
            false => match StagingServer::of(registries, repository).map_err(StagingError::from)? {
                Some(server) => Kept::Server(server, Box::new(registries.clone())),
                None => {
                    let staging = Staging::of(registries, repository)?;
                    Kept::Folder(staging, Box::new(registries.staged()))
                }
            },
        };
        Ok(Self { client: client.clone(), repository: repository.clone(), kept })
    }

    /// A configuration with which verifiers look where this is. What a server took, it has to show to them as they are.
    pub(crate) fn staged(&self) -> RegistriesD {
        match &self.kept {
            Kept::Folder(_, looked) | Kept::Server(_, looked) => RegistriesD::clone(looked),
            Kept::Registry => RegistriesD::default(),
        }
    }

    /// Where verifiers look for signatures, if that is not where they are written.
    ///
    /// # Errors
    ///
    /// The configured value is no URL.
    pub fn read_from(
        &self,
        registries: &RegistriesD,
    ) -> Result<Option<Location>, RegistriesDError> {
        match &self.kept {
            Kept::Folder(staging, _) => {
                let read = registries.lookaside(&self.repository)?;
                Ok(Some(read).filter(|read| read != staging.location()))
            }
            Kept::Registry | Kept::Server(..) => Ok(None),
        }
    }

    /// Add a simple signature of the manifest with this digest. None is replaced.
    ///
    /// # Errors
    ///
    /// The store does not take it.
    pub async fn add(&self, digest: &Digest, signature: &[u8]) -> Result<Place, StoreError> {
        match &self.kept {
            Kept::Folder(staging, _) => Ok(Place::File(staging.add(digest, signature)?)),
            Kept::Registry => {
                let url = extension::add(&self.client, &self.repository, digest, signature).await?;
                Ok(Place::Registry(url))
            }
            Kept::Server(server, _) => {
                let count = async { Ok(self.read(digest).await?.len()) };
                let url = server.add(&self.client, digest, signature, count).await?;
                Ok(Place::Server(url))
            }
        }
    }

    /// Every signature of the manifest with this digest.
    ///
    /// # Errors
    ///
    /// The store cannot be read in full.
    pub async fn read(&self, digest: &Digest) -> Result<Vec<Signature>, EvidenceError> {
        match &self.kept {
            Kept::Folder(_, looked) | Kept::Server(_, looked) => {
                lookaside::read(&self.client, looked, &self.repository, digest).await
            }
            Kept::Registry => extension::read(&self.client, &self.repository, digest).await,
        }
    }
}

/// Where one signature is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// Attached to the image, under this name.
    Attached(String),
    /// A file.
    File(PathBuf),
    /// Among those that a registry keeps at this URL. Registries never remove one.
    Registry(String),
    /// What a lookaside server has at this URL.
    Server(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Attached(name) | Self::Registry(name) | Self::Server(name) => f.write_str(name),
        }
    }
}

/// A signature is not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The registry did not take it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// registries.d cannot be used, or the folder.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The server did not take it.
    #[error(transparent)]
    StagingServer(#[from] StagingServerError),
    /// The registry keeps simple signatures alone.
    #[error(
        "{host} keeps OpenPGP signatures alone, and this is none; copy the image without its signatures: \
         --remove-signatures"
    )]
    Unsupported {
        /// The registry.
        host: String,
    },
}
