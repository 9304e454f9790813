//! As much of a manifest as is needed to copy it: what it is called, and the blobs that it names.

use guest_policy::digest::{Algorithm, Digest};
use serde::Deserialize;

use crate::image::{ImageError, ImageName};

/// A blob as a manifest names it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    urls: Option<Vec<String>>,
}

impl Descriptor {
    /// Layers that may not be distributed lie where their URLs say, not in registries.
    fn is_elsewhere(&self) -> bool {
        let kept = |kind: &str| self.media_type.starts_with(kind);
        self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
            && (kept("application/vnd.docker.image.rootfs.foreign.diff")
                || kept("application/vnd.oci.image.layer.nondistributable"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// The blobs of an image.
pub(super) fn blobs(name: &ImageName, manifest: &[u8]) -> Result<Vec<Descriptor>, ImageError> {
    let malformed = |fault: String| ImageError::Malformed { image: name.to_string(), fault };
    let manifest: Manifest = serde_json::from_slice(manifest)
        .map_err(|e| malformed(format!("it does not say what belongs to the image: {e}")))?;
    let Manifest { config, mut layers } = manifest;
    layers.retain(|layer| !layer.is_elsewhere());
    layers.push(config);
    for Descriptor { digest, .. } in &layers {
        if digest.algorithm() != Algorithm::Sha256 {
            let fault = format!("blob {digest} cannot be checked: expected a digest of SHA-256");
            return Err(malformed(fault));
        }
    }
    Ok(layers)
}

/// What a manifest is called where it is sent. One that does not say it itself is OCI's.
pub(super) fn media_type(manifest: &[u8], is_index: bool) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        media_type: Option<String>,
    }
    let named = serde_json::from_slice::<Named>(manifest).ok().and_then(|named| named.media_type);
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        let kind = if is_index { OCI_INDEX } else { crate::artifact::MANIFEST_TYPE };
        kind.to_owned()
    })
}

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name() -> ImageName {
        "dir:/image".parse().expect("a name")
    }

    #[test]
    fn layers_that_lie_elsewhere_are_not_copied() {
        let digest = |text: &str| Digest::sha256(text.as_bytes());
        let manifest = json!({
            "config": {"digest": digest("config"), "size": 1},
            "layers": [
                {"digest": digest("layer"), "size": 2, "urls": ["https://example.com/"]},
                {
                    "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                    "digest": digest("foreign"), "size": 3, "urls": ["https://example.com/"],
                },
            ],
        });
        let found = blobs(&name(), manifest.to_string().as_bytes()).expect("blobs");
        let digests: Vec<_> = found.into_iter().map(|blob| blob.digest).collect();
        assert_eq!(digests, [digest("layer"), digest("config")]);
    }

    #[test]
    fn refuses_what_cannot_be_checked() {
        let config = json!({"digest": Digest::sha256(b"config"), "size": 1});
        let long = format!("sha512:{}", "0".repeat(128));
        for (manifest, words) in [
            (json!({"layers": []}), "missing field `config`"),
            (json!({"config": config, "layers": [{"digest": long, "size": 1}]}), "SHA-256"),
            (json!({"config": {"digest": "sha256:../x", "size": 1}}), "invalid digest"),
            (json!({"config": {"digest": Digest::sha256(b""), "size": -1}}), "u64"),
        ] {
            let fault = blobs(&name(), manifest.to_string().as_bytes()).expect_err(words);
            assert!(fault.to_string().contains(words), "{fault}");
        }
    }
}
