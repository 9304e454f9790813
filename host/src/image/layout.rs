//! OCI image layouts, as a directory or in a tar file (`oci:`, `oci-archive:`).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use guest_policy::digest::Digest;
use guest_policy::image::MAX_MANIFEST_BYTES;
use serde::Deserialize;

use super::archive::TarFile;
use super::directory::{check_digest, read_limited};
use super::{FileFault, LayoutChoice, directory};

/// A layout whose files can be read.
pub(super) enum Layout {
    Archive(TarFile),
    Directory(PathBuf),
}

impl Layout {
    pub(super) fn directory(path: &Path) -> Self {
        Self::Directory(path.to_owned())
    }

    /// The tar file is not unpacked: its entries are found once and read where they are.
    pub(super) fn archive(path: &Path) -> Result<Self, FileFault> {
        TarFile::open(path).map(Self::Archive)
    }

    /// The digest of the manifest or index that `choice` means.
    pub(super) fn choose(&self, choice: &LayoutChoice) -> Result<Digest, FileFault> {
        let index = self.index()?;
        let index: Index = serde_json::from_slice(&index)
            .map_err(|e| FileFault::Malformed(format!("index.json is not an OCI index: {e}")))?;
        let descriptor = match choice {
            LayoutChoice::Index(place) => index.manifests.get(*place),
            LayoutChoice::Name(name) => {
                index.manifests.iter().find(|d| d.name() == Some(name.as_str()))
            }
            LayoutChoice::Only => match index.manifests.as_slice() {
                [] => None,
                [only] => Some(only),
                several => {
                    let choices = several.iter().enumerate().map(|(i, d)| d.choice(i));
                    let choices = choices.collect::<Vec<_>>().join(", ");
                    return Err(FileFault::Ambiguous { choices });
                }
            },
        };
        let missing = || {
            let names: Vec<_> =
                index.manifests.iter().enumerate().map(|(i, d)| d.choice(i)).collect();
            let choices = match names.as_slice() {
                [] => "; it has none".to_owned(),
                names => format!("; it has {}", names.join(", ")),
            };
            FileFault::Missing { choice: format!("{:?}", choice.to_string()), choices }
        };
        let digest = &descriptor.ok_or_else(missing)?.digest;
        digest.parse().map_err(|e| FileFault::Malformed(format!("index.json: {e}")))
    }

    /// The list of what is in the layout, not read.
    pub(super) fn index(&self) -> Result<Vec<u8>, FileFault> {
        self.read("index.json", MAX_MANIFEST_BYTES)
    }

    /// A blob, where it lies, and how many bytes it has.
    pub(super) fn open_blob(&self, digest: &Digest) -> Result<(File, u64), FileFault> {
        let name = blob_name(digest);
        match self {
            Self::Archive(archive) => archive.open_entry(&name),
            Self::Directory(path) => directory::open(&path.join(name)),
        }
    }

    /// A blob of at most `limit` bytes, with the digest that was asked for.
    pub(super) fn blob(&self, digest: &Digest, limit: usize) -> Result<Vec<u8>, FileFault> {
        let name = blob_name(digest);
        check_digest(Path::new(&name), digest, self.read(&name, limit)?)
    }

    fn read(&self, name: &str, limit: usize) -> Result<Vec<u8>, FileFault> {
        match self {
            Self::Archive(archive) => archive.read(name, limit),
            Self::Directory(path) => read_limited(&path.join(name), limit),
        }
    }
}

/// Where a layout has a blob.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    fn name(&self) -> Option<&str> {
        self.annotations.as_ref()?.get("org.opencontainers.image.ref.name").map(String::as_str)
    }

    /// What a user appends to the path to choose it.
    fn choice(&self, place: usize) -> String {
        match self.name() {
            Some(name) => format!(":{name}"),
            None => format!(":@{place}"),
        }
    }
}
