//! Sigstore signatures, attached to an image as cosign and containers/image have it: an OCI manifest under the tag
//! `sha256-HEX.sig` of the image's own repository, with a layer for each signature
//! (cosign's SIGNATURE_SPEC.md, "Storage").
//!
//! A registry has no way to change a manifest only if nobody else has: who signs at the same moment may be overwritten.
//! So what was written is looked for until it is there.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use guest_policy::digest::Digest;
use guest_policy::image::MAX_SIGNATURE_BYTES;
use guest_policy::reference::Reference;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Signed, SignerError};
use crate::evidence::Place;
use crate::keys::SigstoreKey;
use crate::registry::{Client, RegistryError};
use crate::sign::sigstore_payload;

/// Who signs manifests of one repository as one image.
#[derive(Debug)]
pub(super) struct Attached<'a> {
    pub(super) client: Client,
    pub(super) key: &'a SigstoreKey,
    pub(super) repository: &'a Reference,
    pub(super) identity: &'a Reference,
    pub(super) now: u64,
}

impl Attached<'_> {
    /// Sign the manifest with this digest. If it is signed already, nothing is added.
    pub(super) async fn sign(&self, digest: &Digest) -> Result<Signed, SignerError> {
        let name = format!(
            "{}:{}-{}.sig",
            self.repository.name(),
            digest.algorithm().name(),
            digest.hex()
        );
        let tag = Reference::parse_normalized(&name)
            .map_err(|fault| malformed(&name, &format!("it is no name: {fault}")))?;
        let mut place = None;
        for _ in 0..=MAX_ATTEMPTS {
            let list = self.read(&tag).await?;
            if self.is_signed(&list, digest).await? {
                return Ok(Signed { place, read_from: None });
            }
            self.add(&tag, list, digest).await?;
            place = Some(Place::Attached(name.clone()));
        }
        Err(SignerError::Lost { place: name })
    }

    /// The manifest with the signatures; a new one if there is none.
    async fn read(&self, tag: &Reference) -> Result<Value, SignerError> {
        let manifest = match self.client.manifest(tag).await {
            Ok(manifest) => manifest,
            Err(RegistryError::NotFound { .. }) => return Ok(json!({"layers": []})),
            Err(fault) => return Err(fault.into()),
        };
        let name = tag.familiar();
        let kind = manifest.content_type.as_deref().unwrap_or_default();
        if kind != MANIFEST_TYPE {
            let fault = format!("its type is {kind:?}, and expected was {MANIFEST_TYPE}");
            return Err(malformed(&name, &fault));
        }
        let list: Value = serde_json::from_slice(&manifest.content)
            .map_err(|fault| malformed(&name, &fault.to_string()))?;
        let count = list["layers"].as_array().map(Vec::len);
        match count.ok_or_else(|| malformed(&name, "it has no list of layers"))? {
            count if count < MAX_ATTACHED => Ok(list),
            count => Err(malformed(&name, &format!("it has {count} signatures: remove old ones"))),
        }
    }

    /// Whether one of the signatures is ours, of this digest, under this name.
    async fn is_signed(&self, list: &Value, digest: &Digest) -> Result<bool, SignerError> {
        for layer in list["layers"].as_array().into_iter().flatten() {
            // What is something else counts for nothing, and stays.
            let Ok(layer) = Layer::deserialize(layer) else { continue };
            let signature = BASE64_STANDARD.decode(&layer.annotations.signature);
            let (Ok(signature), true) = (signature, layer.media_type == PAYLOAD_TYPE) else {
                continue;
            };
            let blob = self.client.blob(self.repository, &layer.digest, MAX_SIGNATURE_BYTES);
            let content = blob.await?;
            if !self.key.verifies(&content, &signature) {
                continue;
            }
            // Ours, since we know what we write.
            let Ok(signed) = serde_json::from_slice::<Value>(&content) else { continue };
            let named = signed["critical"]["identity"]["docker-reference"].as_str();
            let of = signed["critical"]["image"]["docker-manifest-digest"].as_str();
            if named == Some(&self.identity.to_string()) && of == Some(digest.as_str()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn add(
        &self,
        tag: &Reference,
        mut list: Value,
        digest: &Digest,
    ) -> Result<(), SignerError> {
        let name = tag.familiar();
        let payload = sigstore_payload(digest, self.identity, self.now).into_bytes();
        let signature = BASE64_STANDARD.encode(self.key.sign(&payload)?);
        let mut config = self.config(&name, &list).await?;
        let ids = config["rootfs"]["diff_ids"].as_array_mut();
        ids.ok_or_else(|| malformed(&name, "its configuration has no rootfs.diff_ids"))?
            .push(json!(Digest::sha256(&payload)));
        let layer = json!({
            "mediaType": PAYLOAD_TYPE,
            "size": payload.len(),
            "digest": self.client.upload_blob(self.repository, payload).await?,
            "annotations": {SIGNATURE: signature},
        });
        let layers = list["layers"].as_array_mut();
        layers.ok_or_else(|| malformed(&name, "it has no list of layers"))?.push(layer);
        let config = config.to_string().into_bytes();
        list["schemaVersion"] = json!(2);
        list["mediaType"] = json!(MANIFEST_TYPE);
        list["config"] = json!({
            "mediaType": CONFIG_TYPE,
            "size": config.len(),
            "digest": self.client.upload_blob(self.repository, config).await?,
        });
        self.client.upload_manifest(tag, MANIFEST_TYPE, list.to_string().into_bytes()).await?;
        Ok(())
    }

    /// The configuration that a manifest names; a new one if it names none.
    async fn config(&self, name: &str, list: &Value) -> Result<Value, SignerError> {
        let Some(digest) = list["config"]["digest"].as_str() else {
            return Ok(json!({
                "architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []},
            }));
        };
        let digest = digest.parse().map_err(|_| malformed(name, "its config has no digest"))?;
        let content = self.client.blob(self.repository, &digest, MAX_SIGNATURE_BYTES).await?;
        serde_json::from_slice(&content).map_err(|fault| malformed(name, &fault.to_string()))
    }
}

/// What matters of a layer.
#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: Digest,
    annotations: Annotations,
}

#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "dev.cosignproject.cosign/signature")]
    signature: String,
}

fn malformed(name: &str, fault: &str) -> SignerError {
    SignerError::Malformed { place: name.to_owned(), fault: fault.to_owned() }
}

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// How often a signature is attached before it is given up: so often somebody else may have been faster.
const MAX_ATTEMPTS: usize = 5;

/// Most signatures that an image may have: as many as readers take from a signature store.
const MAX_ATTACHED: usize = 128;
