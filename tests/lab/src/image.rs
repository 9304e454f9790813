//! Images of a few hundred bytes.

use std::path::Path;

use anyhow::Result;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::write;

/// An image with one layer of one file.
#[derive(Clone, Debug)]
pub struct Image {
    /// The raw OCI manifest.
    pub manifest: Vec<u8>,
    /// `sha256:` and the hexadecimal digest of `manifest`.
    pub digest: String,
    blobs: [Vec<u8>; 2],
}

impl Image {
    /// The image for linux/amd64 whose one file says `content`; other contents give other digests.
    pub fn new(content: &str) -> Result<Self> {
        Self::for_architecture(content, "amd64")
    }

    /// As [`Self::new`], for another architecture.
    pub fn for_architecture(content: &str, architecture: &str) -> Result<Self> {
        let mut layer = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len().try_into()?);
        header.set_mode(0o644);
        layer.append_data(&mut header, "content", content.as_bytes())?;
        let layer = layer.into_inner()?;
        let config = serde_json::to_vec(&json!({
            "architecture": architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(&config),
                "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": digest(&layer),
                "size": layer.len(),
            }],
        }))?;
        Ok(Self { digest: digest(&manifest), manifest, blobs: [config, layer] })
    }

    /// Write the image as the `dir:` transport reads it, with its signatures.
    pub fn write_dir(&self, folder: &Path, signatures: &[Vec<u8>]) -> Result<()> {
        write(&folder.join("version"), "Directory Transport Version: 1.1\n")?;
        write(&folder.join("manifest.json"), &self.manifest)?;
        self.write_blobs(folder)?;
        for (index, signature) in signatures.iter().enumerate() {
            write(&folder.join(format!("signature-{}", index + 1)), signature)?;
        }
        Ok(())
    }

    /// Write signatures of the image as a signature store keeps them, for the repository path
    /// (without host) `repository`.
    pub fn write_lookaside(
        &self,
        store: &Path,
        repository: &str,
        signatures: &[Vec<u8>],
    ) -> Result<()> {
        let folder = store.join(format!("{repository}@{}", self.digest.replace(':', "=")));
        for (index, signature) in signatures.iter().enumerate() {
            write(&folder.join(format!("signature-{}", index + 1)), signature)?;
        }
        Ok(())
    }

    fn write_blobs(&self, folder: &Path) -> Result<()> {
        for blob in &self.blobs {
            write(&folder.join(hex(&digest(blob))), blob)?;
        }
        Ok(())
    }

    /// The simple signing payload that binds this image to `reference`.
    #[must_use]
    pub fn payload(&self, reference: &str) -> String {
        json!({
            "critical": {
                "type": "atomic container signature",
                "image": {"docker-manifest-digest": self.digest},
                "identity": {"docker-reference": reference},
            },
            "optional": {"creator": "countersign tests", "timestamp": 1_700_000_000},
        })
        .to_string()
    }
}

/// One name for images of several architectures.
#[derive(Clone, Debug)]
pub struct Index {
    /// The raw OCI index.
    pub manifest: Vec<u8>,
    instances: Vec<Image>,
}

impl Index {
    /// The index of images made [`Image::for_architecture`].
    pub fn new(instances: Vec<(&str, Image)>) -> Result<Self> {
        let manifests: Vec<_> = instances
            .iter()
            .map(|(architecture, image)| {
                json!({
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": image.digest,
                    "size": image.manifest.len(),
                    "platform": {"architecture": architecture, "os": "linux"},
                })
            })
            .collect();
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        }))?;
        Ok(Self { manifest, instances: instances.into_iter().map(|(_, image)| image).collect() })
    }

    /// Write the index and its images as the `dir:` transport reads them.
    pub fn write_dir(&self, folder: &Path) -> Result<()> {
        write(&folder.join("version"), "Directory Transport Version: 1.1\n")?;
        write(&folder.join("manifest.json"), &self.manifest)?;
        for image in &self.instances {
            let name = format!("{}.manifest.json", hex(&image.digest));
            write(&folder.join(name), &image.manifest)?;
            image.write_blobs(folder)?;
        }
        Ok(())
    }
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

/// `sha256:` and the hexadecimal digest.
#[must_use]
pub fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
