//! An image from one place to another, every byte of it checked on the way, with its signatures.
//!
//! Blobs first and several at a time, then manifests, an index after its instances, then signatures; and the name
//! last: whoever sees the name sees something complete. Manifests are copied byte for byte, so that what was signed
//! stays what was signed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};
use guest_policy::digest::Digest;
use guest_policy::image::Signature;
use guest_policy::reference::Reference;

use crate::evidence::{EvidenceError, RegistriesD, StoreError};
use crate::image::{ImageError, ImageName, PlatformSelection};
use crate::registry::{Client, RegistryError};
use crate::signer::{Signed, Signer, SignerError, Signing};

mod blob;
mod contents;
mod destination;
mod directory;
mod layout;
mod source;

use contents::Descriptor;
use destination::Destination;
use source::Source;

/// What to copy of an image, and what to do with it beside that.
#[derive(Debug)]
pub struct Options<'a> {
    /// Of an index, the instance to copy; `All` for the index with everything in it.
    pub platforms: PlatformSelection,
    /// Leave the signatures that there are behind.
    pub remove_signatures: bool,
    /// Where signatures are read and written.
    pub registries: &'a RegistriesD,
    /// Who signs what arrived.
    pub signing: Option<Signing<'a>>,
    /// Who is told how far it is.
    pub progress: Arc<Progress>,
}

/// How far a copy is.
#[derive(Debug, Default)]
pub struct Progress {
    /// The bytes of all blobs that are to be there in the end.
    pub total: AtomicU64,
    /// The bytes of those that are there, and of those under way.
    pub done: AtomicU64,
}

/// An image that has arrived.
#[derive(Debug)]
pub struct Copied {
    /// Of the manifest that the name means.
    pub digest: Digest,
    /// How many signatures came along.
    pub signatures: usize,
    /// What was signed, the manifest that the name means first.
    pub signed: Vec<(Digest, Signed)>,
}

/// Copy an image.
///
/// # Errors
///
/// It cannot be read, is not what its digests say, or cannot be written. Then the destination's name means what it
/// meant before.
pub async fn copy(
    client: &Client,
    from: &ImageName,
    to: &ImageName,
    options: &Options<'_>,
) -> Result<Copied, CopyError> {
    let source = Source::resolve(client, from, &options.platforms).await?;
    let signatures = match options.remove_signatures {
        true => Vec::new(),
        false => source.signatures(options.registries).await?,
    };
    let carried: usize = signatures.iter().map(|(_, found)| found.len()).sum();
    // What would keep it from being copied is found before anything is sent.
    let destination = Destination::open(client, to, &source, options, carried > 0).await?;
    let pinned = match to {
        ImageName::Docker { reference } => Some(reference.at(source.top().digest.clone())),
        _ => None,
    };
    let signer = match (&options.signing, &pinned, to) {
        (None, ..) => None,
        (Some(signing), Some(pinned), ImageName::Docker { reference }) => {
            let identity = reference.tag().map_or(pinned, |_| reference);
            Some(Signer::new(client, signing, pinned, identity).await?)
        }
        (Some(_), ..) => return Err(CopyError::Unsignable { image: to.to_string() }),
    };
    copy_blobs(client, &source, &destination, &options.progress).await?;
    for manifest in source.manifests() {
        destination.put_manifest(client, manifest).await?;
    }
    for (digest, found) in &signatures {
        destination.put_signatures(digest, found).await?;
    }
    let mut signed = Vec::new();
    if let Some(signer) = &signer {
        for manifest in source.manifests() {
            signed.push((manifest.digest.clone(), signer.sign(&manifest.digest).await?));
        }
        signed.reverse();
    }
    let digest = source.top().digest.clone();
    destination.finish(client, source.top()).await?;
    Ok(Copied { digest, signatures: carried, signed })
}

/// Copy what the destination does not have, each blob once.
async fn copy_blobs(
    client: &Client,
    source: &Source,
    destination: &Destination,
    progress: &Arc<Progress>,
) -> Result<(), CopyError> {
    let blobs: BTreeMap<&Digest, &Descriptor> =
        source.blobs().map(|blob| (&blob.digest, blob)).collect();
    let total = blobs.values().map(|blob| blob.size).fold(0, u64::saturating_add);
    progress.total.store(total, Ordering::Relaxed);
    let copy = |blob: Descriptor| async move {
        let mut pause = client.retry_pause();
        for attempt in 1.. {
            let counter = blob::Counter::new(Arc::clone(progress));
            match destination.put_blob(client, source, &blob, &counter).await {
                Err(fault) if attempt < MAX_ATTEMPTS && fault.is_passing() => {
                    counter.undo();
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                result => {
                    counter.complete(blob.size);
                    return result;
                }
            }
        }
        Ok(())
    };
    let copies = blobs.into_values().cloned().collect::<Vec<_>>().into_iter().map(copy);
    stream::iter(copies).buffer_unordered(MAX_BLOBS_AT_ONCE).try_collect::<()>().await
}

/// An image was not copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The destination has something that would be replaced.
    #[error("{} is there already: expected nothing, or an empty folder; name another place or remove it", .path.display())]
    Occupied {
        /// File or folder.
        path: PathBuf,
    },
    /// The destination cannot be written to.
    #[error("images cannot be written to {image}: {fault}")]
    Unwritable {
        /// The destination.
        image: String,
        /// Why.
        fault: &'static str,
    },
    /// The destination has a digest in its name, of something else.
    #[error(
        "{image} has another digest than the image that is to be copied there, {found}: leave it out"
    )]
    OtherDigest {
        /// The destination.
        image: String,
        /// What would be copied there.
        found: Digest,
    },
    /// Only what is in a registry is signed.
    #[error(
        "cannot sign what is copied to {image}: expected docker://HOST/PATH as its destination"
    )]
    Unsignable {
        /// The destination.
        image: String,
    },
    /// Signatures have no place there.
    #[error(
        "the image is signed, and {image} keeps no signatures; copy it without: --remove-signatures"
    )]
    KeepsNoSignatures {
        /// The destination.
        image: String,
    },
    /// The source is not what it should be, or cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Signatures of the source cannot be read.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The bytes of a blob are others.
    #[error(
        "blob {expected} of {image} has the digest {found}: it was changed or is damaged; do not use it before you \
         know why"
    )]
    Blob {
        /// The source.
        image: String,
        /// In the manifest.
        expected: Digest,
        /// What the bytes have.
        found: Digest,
    },
    /// There are more bytes, or fewer.
    #[error(
        "blob {digest} of {image} has {found} bytes, and its manifest says {expected}: it is damaged"
    )]
    Size {
        /// The source.
        image: String,
        /// Which blob.
        digest: Digest,
        /// In the manifest.
        expected: u64,
        /// As far as it was read.
        found: u64,
    },
    /// A file cannot be read.
    #[error("cannot read blob {digest} of {image}: {fault}")]
    Read {
        /// The source.
        image: String,
        /// Which blob.
        digest: Digest,
        /// Why.
        fault: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {fault}", .path.display())]
    Write {
        /// File or folder.
        path: PathBuf,
        /// Why.
        fault: io::Error,
    },
    /// The registry did not give or take something.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A signature is not kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A signature that came along is not where it was written.
    #[error(
        "a signature of {digest} was written and is not found again where verifiers look; do not use the copy before \
         you know why"
    )]
    Lost {
        /// Of the manifest.
        digest: Digest,
    },
    /// It is not signed.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl CopyError {
    /// Whether the same may succeed a moment later.
    fn is_passing(&self) -> bool {
        match self {
            Self::Registry(fault) | Self::Image(ImageError::Registry { source: fault, .. }) => {
                fault.is_passing()
            }
            _ => false,
        }
    }

    fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |fault| Self::Write { path, fault }
    }
}

/// A manifest that is copied.
#[derive(Clone, Debug)]
struct Carried {
    digest: Digest,
    media_type: String,
    content: Vec<u8>,
    /// Whether an index names it that is copied, too.
    is_instance: bool,
}

/// The signatures of one manifest.
type Found = (Digest, Vec<Signature>);

/// The repository that a registry could take blobs from, if that is where the source is.
fn neighbour<'a>(source: &'a ImageName, destination: &Reference) -> Option<&'a Reference> {
    match source {
        ImageName::Docker { reference } => Some(reference).filter(|reference| {
            reference.domain() == destination.domain() && reference.path() != destination.path()
        }),
        _ => None,
    }
}

/// Most blobs that are under way at the same time: as many as skopeo and podman copy at once, so that registries see
/// nothing new.
const MAX_BLOBS_AT_ONCE: usize = 6;

/// Most times that a blob is begun, if what failed may succeed a moment later: a registry that restarts is back by
/// then, and one that is gone is not waited for.
const MAX_ATTEMPTS: u32 = 3;
