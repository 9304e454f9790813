//! What is copied: an image that was resolved once, with everything that belongs to it.

use guest_policy::digest::Digest;
use guest_policy::manifest;
use serde_json::json;

use super::blob::{Blob, Counter};
use super::contents::{self, Descriptor};
use super::{Carried, CopyError, Found};
use crate::artifact::MANIFEST_TYPE;
use crate::evidence::{self, RegistriesD};
use crate::image::{ImageError, ImageName, Opened, PlatformSelection, Resolved};
use crate::registry::Client;

pub(super) struct Source {
    client: Client,
    name: ImageName,
    /// What each manifest was resolved to, the one that the name means last.
    resolved: Vec<Resolved>,
    manifests: Vec<Carried>,
    blobs: Vec<Descriptor>,
}

impl Source {
    /// Find everything that belongs to the image: of an index one instance, or all of it.
    pub(super) async fn resolve(
        client: &Client,
        name: &ImageName,
        platforms: &PlatformSelection,
    ) -> Result<Self, ImageError> {
        let selected = match platforms {
            PlatformSelection::All => &PlatformSelection::Index,
            one => one,
        };
        let mut resolved = name.resolve(client, None, selected).await?;
        let malformed = |fault: manifest::Fault| ImageError::malformed(name, fault);
        let top = resolved.pop().ok_or_else(|| ImageError::Malformed {
            image: name.to_string(),
            fault: "there is none".to_owned(),
        })?;
        let mut source = Self {
            client: client.clone(),
            name: name.clone(),
            resolved: Vec::new(),
            manifests: Vec::new(),
            blobs: Vec::new(),
        };
        let instances = match manifest::Kind::of(&top.manifest, None).map_err(malformed)? {
            manifest::Kind::Image => {
                source.add_image(top, false)?;
                return Ok(source);
            }
            manifest::Kind::Index(instances) => instances,
        };
        for instance in instances {
            if source.manifests.iter().any(|known| known.digest == instance.digest) {
                continue;
            }
            let content = name.instance(client, &instance.digest).await?;
            if let manifest::Kind::Index(_) =
                manifest::Kind::of(&content, None).map_err(malformed)?
            {
                return Err(malformed(manifest::Fault::NestedIndex));
            }
            let resolved = Resolved {
                digest: instance.digest,
                manifest: content,
                index: Some(top.manifest.clone()),
                ..top.clone()
            };
            source.add_image(resolved, true)?;
        }
        source.manifests.push(Carried {
            digest: top.digest.clone(),
            media_type: contents::media_type(&top.manifest, true),
            content: top.manifest.clone(),
            is_instance: false,
        });
        source.resolved.push(top);
        Ok(source)
    }

    fn add_image(&mut self, mut resolved: Resolved, is_instance: bool) -> Result<(), ImageError> {
        if let ImageName::DockerArchive { .. } = self.name {
            resolved.manifest = as_oci(&self.name, &resolved.manifest)?;
            resolved.digest = Digest::sha256(&resolved.manifest);
        }
        self.blobs.extend(contents::blobs(&self.name, &resolved.manifest)?);
        self.manifests.push(Carried {
            digest: resolved.digest.clone(),
            media_type: contents::media_type(&resolved.manifest, false),
            content: resolved.manifest.clone(),
            is_instance,
        });
        self.resolved.push(resolved);
        Ok(())
    }

    pub(super) fn name(&self) -> &ImageName {
        &self.name
    }

    /// Every manifest, an index after its instances.
    pub(super) fn manifests(&self) -> &[Carried] {
        &self.manifests
    }

    /// The manifest that the name means.
    pub(super) fn top(&self) -> &Carried {
        // `resolve` adds one in any case.
        &self.manifests[self.manifests.len() - 1]
    }

    /// Every blob that a manifest names.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.blobs.iter()
    }

    /// A blob that is read.
    pub(super) async fn open(
        &self,
        blob: &Descriptor,
        counter: &Counter,
    ) -> Result<Blob, CopyError> {
        let opened = self.name.open_blob(&self.client, &blob.digest).await?;
        if let Opened::File(_, found) = &opened
            && *found != blob.size
        {
            let (image, digest) = (self.name.to_string(), blob.digest.clone());
            return Err(CopyError::Size { image, digest, expected: blob.size, found: *found });
        }
        Ok(Blob::new(&self.name, blob, opened, counter))
    }

    /// The signatures of every manifest that has some.
    pub(super) async fn signatures(
        &self,
        registries: &RegistriesD,
    ) -> Result<Vec<Found>, CopyError> {
        let mut all = Vec::new();
        for resolved in &self.resolved {
            let found = evidence::signatures(resolved, &self.client, registries).await?;
            if !found.is_empty() {
                all.push((resolved.digest.clone(), found));
            }
        }
        Ok(all)
    }
}

/// The manifest of what `docker save` wrote, with uncompressed layers that are called so. There is none in the archive
/// that could be copied as it is.
fn as_oci(name: &ImageName, manifest: &[u8]) -> Result<Vec<u8>, ImageError> {
    let malformed = |e: serde_json::Error| ImageError::Malformed {
        image: name.to_string(),
        fault: e.to_string(),
    };
    let mut manifest: serde_json::Value = serde_json::from_slice(manifest).map_err(malformed)?;
    manifest["mediaType"] = json!(MANIFEST_TYPE);
    manifest["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    for layer in manifest["layers"].as_array_mut().into_iter().flatten() {
        layer["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar");
    }
    serde_json::to_vec(&manifest).map_err(malformed)
}
