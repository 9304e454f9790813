//! Where a copy goes.

use guest_policy::digest::Digest;
use guest_policy::image::Signature;
use guest_policy::reference::Reference;
use hyper::body::Bytes;

use super::blob::{Blob, Counter, Fault};
use super::contents::Descriptor;
use super::directory::Directory;
use super::layout::Layout;
use super::source::Source;
use super::{Carried, CopyError, Options, neighbour};
use crate::evidence::Store;
use crate::image::ImageName;
use crate::registry::{Client, RegistryError, Upload};

pub(super) enum Destination {
    Directory(Directory),
    Layout(Layout),
    Registry { reference: Reference, store: Option<Box<Store>> },
}

impl Destination {
    /// Find out whether it takes the image.
    pub(super) async fn open(
        client: &Client,
        name: &ImageName,
        source: &Source,
        options: &Options<'_>,
        with_signatures: bool,
    ) -> Result<Self, CopyError> {
        match name {
            ImageName::Directory { path } => Directory::new(path).map(Self::Directory),
            ImageName::Docker { reference } => {
                let found = &source.top().digest;
                if reference.digest().is_some_and(|named| named != found) {
                    let (image, found) = (name.to_string(), found.clone());
                    return Err(CopyError::OtherDigest { image, found });
                }
                let store = match with_signatures {
                    true => Some(Box::new(Store::of(client, options.registries, reference).await?)),
                    false => None,
                };
                Ok(Self::Registry { reference: reference.clone(), store })
            }
            ImageName::DockerArchive { .. } => Err(CopyError::Unwritable {
                image: name.to_string(),
                fault: "such archives are only read; expected docker://, oci:, oci-archive: or dir:",
            }),
            ImageName::Oci { .. } | ImageName::OciArchive { .. } if with_signatures => {
                Err(CopyError::KeepsNoSignatures { image: name.to_string() })
            }
            ImageName::Oci { path, choice } => {
                Layout::directory(name, path, choice).map(Self::Layout)
            }
            ImageName::OciArchive { path, choice } => {
                Layout::archive(name, path, choice).map(Self::Layout)
            }
        }
    }

    /// Have a blob there.
    pub(super) async fn put_blob(
        &self,
        client: &Client,
        source: &Source,
        blob: &Descriptor,
        counter: &Counter,
    ) -> Result<(), CopyError> {
        match self {
            Self::Directory(directory) => {
                directory.put_blob(&blob.digest, source.open(blob, counter).await?).await
            }
            Self::Layout(layout) => {
                if layout.has(&blob.digest, blob.size).await {
                    return Ok(());
                }
                layout.put_blob(&blob.digest, source.open(blob, counter).await?).await
            }
            Self::Registry { reference, .. } => {
                upload(client, reference, source, blob, counter).await
            }
        }
    }

    /// Have a manifest there, under its digest.
    pub(super) async fn put_manifest(
        &self,
        client: &Client,
        manifest: &Carried,
    ) -> Result<(), CopyError> {
        match self {
            Self::Directory(directory) => directory.put_manifest(manifest),
            Self::Layout(layout) => layout.put_manifest(manifest),
            Self::Registry { reference, .. } => {
                let pinned = reference.at(manifest.digest.clone());
                let content = manifest.content.clone();
                client.upload_manifest(&pinned, &manifest.media_type, content).await?;
                Ok(())
            }
        }
    }

    /// Have signatures of a manifest there, beside those that there are.
    pub(super) async fn put_signatures(
        &self,
        digest: &Digest,
        signatures: &[Signature],
    ) -> Result<(), CopyError> {
        match self {
            Self::Directory(directory) => directory.put_signatures(digest, signatures),
            Self::Registry { store: Some(store), .. } => {
                let known = store.read(digest).await?;
                let has = |known: &[Signature], wanted: &Signature| {
                    known.iter().any(|known| known.content == wanted.content)
                };
                for signature in signatures.iter().filter(|signature| !has(&known, signature)) {
                    store.add(digest, &signature.content).await?;
                }
                let found = store.read(digest).await?;
                match signatures.iter().all(|signature| has(&found, signature)) {
                    true => Ok(()),
                    false => Err(CopyError::Lost { digest: digest.clone() }),
                }
            }
            // Whether there is a place for them has been asked before.
            Self::Layout(_) | Self::Registry { store: None, .. } => {
                Err(CopyError::KeepsNoSignatures { image: digest.to_string() })
            }
        }
    }

    /// Give what is there its name.
    pub(super) async fn finish(self, client: &Client, top: &Carried) -> Result<(), CopyError> {
        match self {
            Self::Directory(directory) => directory.finish(),
            Self::Layout(layout) => layout.finish(top).await,
            Self::Registry { reference, .. } => {
                if reference.tag().is_some() {
                    let content = top.content.clone();
                    client.upload_manifest(&reference, &top.media_type, content).await?;
                }
                Ok(())
            }
        }
    }
}

/// Have a blob in a repository: it may be there, the registry may take it from the repository where the source is;
/// else it is sent, as one stream or in parts, as the registry wants it.
async fn upload(
    client: &Client,
    repository: &Reference,
    source: &Source,
    blob: &Descriptor,
    counter: &Counter,
) -> Result<(), CopyError> {
    let from = neighbour(source.name(), repository);
    let Some(begun) = client.begin_blob(repository, &blob.digest, from).await? else {
        return Ok(());
    };
    if begun.least.is_some() {
        let bytes = source.open(blob, counter).await?;
        return send_in_parts(client, repository, blob, bytes, begun).await;
    }
    let fault = Fault::default();
    let body = source.open(blob, counter).await?.into_body(&fault);
    let sent = client.stream_blob(repository, &blob.digest, begun, blob.size, body);
    let sent = counter.watch(repository.domain(), client.patience(), sent).await;
    match sent {
        // It takes no stream, or not so much at once.
        Err(RegistryError::Status { status: 405 | 411 | 413, .. }) => {
            counter.undo();
            let Some(begun) = client.begin_blob(repository, &blob.digest, None).await? else {
                return Ok(());
            };
            let bytes = source.open(blob, counter).await?;
            send_in_parts(client, repository, blob, bytes, begun).await
        }
        sent => fault.or(sent),
    }
}

async fn send_in_parts(
    client: &Client,
    repository: &Reference,
    blob: &Descriptor,
    mut bytes: Blob,
    mut upload: Upload,
) -> Result<(), CopyError> {
    let least = upload.least.unwrap_or_default().max(PART_BYTES as u64);
    if least > MAX_PART_BYTES as u64 {
        return Err(CopyError::Registry(RegistryError::Malformed {
            url: repository.name(),
            fault: format!(
                "it wants parts of {least} bytes, and {MAX_PART_BYTES} are sent at most"
            ),
        }));
    }
    let mut sent = 0;
    loop {
        let mut part = Vec::new();
        let mut ended = false;
        while !ended && (part.len() as u64) < least {
            match bytes.chunk().await? {
                Some(chunk) => part.extend_from_slice(&chunk),
                None => ended = true,
            }
        }
        if !part.is_empty() {
            let length = part.len() as u64;
            let part = Bytes::from(part);
            upload = client.send_chunk(repository, &blob.digest, upload, sent, part).await?;
            sent += length;
        }
        if ended {
            return Ok(client.end_chunks(repository, &blob.digest, upload).await?);
        }
    }
}

/// How much is sent at once where a registry wants parts: few requests, and no more than stays in memory well.
const PART_BYTES: usize = 4 * 1024 * 1024;

/// Largest part that a registry may want, in bytes: what storage services want at least is 5 MiB.
const MAX_PART_BYTES: usize = 16 * 1024 * 1024;
