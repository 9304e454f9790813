//! Documents that lie with an image: its configuration, what refers to it, and what that names. Rules read them
//! (capability `artifact`).
//!
//! Of their contents only that is read which says where to find the next.

use guest_policy::digest::Digest;
use guest_policy::image::MAX_MANIFEST_BYTES;
use guest_policy::rule::Descriptor;
use serde::Deserialize;

use super::EvidenceError;
use crate::image::{ImageError, ImageName};
use crate::registry::Client;

/// The configuration that an image's manifest names.
pub(crate) async fn config(
    image: &ImageName,
    client: &Client,
    manifest: &[u8],
) -> Result<Vec<u8>, EvidenceError> {
    let digest = config_of(manifest).map_err(|fault| malformed(image, fault))?;
    Ok(image.document(client, &digest, false, MAX_CONFIG_BYTES).await?)
}

/// The digest of the configuration that a manifest names.
pub(crate) fn config_of(manifest: &[u8]) -> Result<Digest, String> {
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(|e| e.to_string())?;
    manifest.config.map(|config| config.digest).ok_or_else(|| {
        "its manifest names no configuration: it is that of an index, or of no image".to_owned()
    })
}

/// What refers to an image, in the order of the list. Images in folders and archives of docker have nothing.
pub(crate) async fn referrers(
    image: &ImageName,
    client: &Client,
    digest: &Digest,
) -> Result<Vec<Descriptor>, EvidenceError> {
    if let ImageName::Docker { reference } = image {
        let pages = client.referrers(reference, digest).await?;
        let mut all = Vec::new();
        for page in pages {
            all.extend(listed(&page).map_err(|fault| malformed(image, fault))?);
            check_count(image, all.len())?;
        }
        return Ok(all);
    }
    let Some(list) = image.neighbours().await? else { return Ok(Vec::new()) };
    let list = listed(&list).map_err(|fault| malformed(image, fault))?;
    check_count(image, list.len())?;
    let mut referring = Vec::new();
    for mut entry in list {
        let its_digest = entry.digest.parse().map_err(|_| {
            malformed(image, format!("index.json names {:?}, which is no digest", entry.digest))
        })?;
        if its_digest == *digest {
            continue;
        }
        let content = image.document(client, &its_digest, true, MAX_MANIFEST_BYTES).await?;
        // What is no manifest refers to nothing.
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&content) else { continue };
        if manifest.subject.is_some_and(|subject| subject.digest == *digest) {
            let config = manifest.config.and_then(|config| config.media_type);
            entry.artifact_type = entry.artifact_type.or(manifest.artifact_type).or(config);
            referring.push(entry);
        }
    }
    Ok(referring)
}

/// The manifest of a referrer.
pub(crate) async fn manifest(
    image: &ImageName,
    client: &Client,
    digest: &Digest,
) -> Result<Vec<u8>, EvidenceError> {
    Ok(image.document(client, digest, true, MAX_MANIFEST_BYTES).await?)
}

/// A blob that the manifest of a referrer names.
pub(crate) async fn blob(
    image: &ImageName,
    client: &Client,
    digest: &Digest,
) -> Result<Vec<u8>, EvidenceError> {
    Ok(image.document(client, digest, false, MAX_BLOB_BYTES).await?)
}

/// Whether a referrer's manifest names this blob. What is no manifest names none.
pub(crate) fn names(manifest: &[u8], blob: &Digest) -> bool {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(manifest) else { return false };
    let Manifest { config, layers, blobs, .. } = manifest;
    let lists = layers.into_iter().chain(blobs).flatten();
    config.into_iter().chain(lists).any(|part| part.digest == *blob)
}

/// The entries of an index.
fn listed(index: &[u8]) -> Result<Vec<Descriptor>, String> {
    let index: Index = serde_json::from_slice(index)
        .map_err(|e| format!("its list of referrers is not an OCI index: {e}"))?;
    let descriptor = |entry: Entry| Descriptor {
        digest: entry.digest.to_string(),
        media_type: entry.media_type,
        artifact_type: entry.artifact_type.filter(|name| !name.is_empty()),
        size: entry.size,
        annotations: entry.annotations.unwrap_or_default(),
    };
    Ok(index.manifests.into_iter().map(descriptor).collect())
}

fn check_count(image: &ImageName, count: usize) -> Result<(), EvidenceError> {
    if count > MAX_REFERRERS {
        let fault = format!(
            "{count} documents refer to it, more than the {MAX_REFERRERS} that are looked at"
        );
        return Err(malformed(image, fault));
    }
    Ok(())
}

fn malformed(image: &ImageName, fault: String) -> EvidenceError {
    EvidenceError::Attached(ImageError::Malformed { image: image.to_string(), fault })
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    digest: Digest,
    media_type: String,
    artifact_type: Option<String>,
    size: u64,
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    artifact_type: Option<String>,
    config: Option<Part>,
    layers: Option<Vec<Part>>,
    blobs: Option<Vec<Part>>,
    subject: Option<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    digest: Digest,
    media_type: Option<String>,
}

/// Largest configuration of an image, in bytes: as much as a manifest. A real one has a few thousand.
const MAX_CONFIG_BYTES: usize = 4 * 1024 * 1024;

/// Largest blob of an attached document, in bytes: a list of what is in a large image has some millions.
const MAX_BLOB_BYTES: usize = 8 * 1024 * 1024;

/// Most documents that refer to one image: one for each night of three years.
const MAX_REFERRERS: usize = 1000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(of: &str) -> Digest {
        Digest::sha256(of.as_bytes())
    }

    #[test]
    fn manifest_names_its_parts_and_nothing_else() {
        let part = |name: &str| json!({"mediaType": "x", "digest": digest(name), "size": 1});
        let manifest = json!({
            "config": part("config"),
            "layers": [part("first"), part("second")],
            "subject": part("image"),
        });
        let manifest = manifest.to_string();
        for name in ["config", "first", "second"] {
            assert!(names(manifest.as_bytes(), &digest(name)), "{name}");
        }
        for name in ["image", "other"] {
            assert!(!names(manifest.as_bytes(), &digest(name)), "{name}");
        }
        let old = json!({"blobs": [part("blob")]}).to_string();
        assert!(names(old.as_bytes(), &digest("blob")));
        assert!(!names(b"no manifest", &digest("blob")));
        assert_eq!(config_of(manifest.as_bytes()), Ok(digest("config")));
        assert!(config_of(b"{}").is_err());
    }

    #[test]
    fn list_of_referrers_is_read_as_it_is() {
        let entry = json!({
            "mediaType": "m", "digest": digest("a"), "size": 7, "artifactType": "t", "annotations": {"k": "v"},
        });
        let list = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
        let listed = listed(list.as_bytes()).expect("a list");
        assert_eq!(listed[0].digest, digest("a").to_string());
        assert_eq!(listed[0].artifact_type.as_deref(), Some("t"));
        assert_eq!(listed[0].annotations["k"], "v");
    }

    #[test]
    fn what_is_no_list_is_not_an_empty_one() {
        let bad = json!({"manifests": [{"mediaType": "m", "digest": "sha256:../x", "size": 1}]});
        for text in ["", "{}", "[]", r#"{"errors":[]}"#, r#"{"manifests":null}"#, &bad.to_string()]
        {
            assert!(listed(text.as_bytes()).is_err(), "{text}");
        }
    }
}
