//! Tar files: entries are found and read in place, nothing is unpacked, links are not followed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use guest_policy::digest::Digest;
use guest_policy::image::MAX_MANIFEST_BYTES;
use guest_policy::reference::Reference;
use serde::{Deserialize, Serialize};

use super::directory::check_digest;
use super::{ArchiveChoice, FileFault};

/// The entries of a tar file, by cleaned name; of several with one name, the first counts.
pub(super) struct TarFile {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    position: u64,
    size: u64,
}

impl TarFile {
    /// Find the entries.
    pub(super) fn open(path: &Path) -> Result<Self, FileFault> {
        let io = |source| FileFault::Io { path: path.display().to_string(), source };
        let malformed = |e: std::io::Error| FileFault::Malformed(format!("not a tar file: {e}"));
        if !path.metadata().map_err(io)?.is_file() {
            return Err(io(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "not a regular file",
            )));
        }
        let mut archive = tar::Archive::new(File::open(path).map_err(io)?);
        let mut entries = BTreeMap::new();
        // Raw: extension headers, whose size nobody limits, are passed over like any other entry. Names
        // that need them are longer than those that are looked for.
        let raw = archive.entries_with_seek().map_err(malformed)?.raw(true);
        for (count, entry) in raw.enumerate() {
            let entry = entry.map_err(malformed)?;
            if count == MAX_ENTRIES {
                return Err(FileFault::Malformed(format!("more than {MAX_ENTRIES} entries")));
            }
            let kind = entry.header().entry_type();
            let size = match kind {
                tar::EntryType::Regular | tar::EntryType::Continuous => entry.size(),
                // The reference implementation counts a linked layer as an empty one.
                tar::EntryType::Symlink | tar::EntryType::Link => 0,
                _ => continue,
            };
            let Ok(name) = String::from_utf8(entry.path_bytes().into_owned()) else { continue };
            let position = entry.raw_file_position();
            entries.entry(clean(&name)).or_insert(Entry { position, size });
        }
        Ok(Self { path: path.to_owned(), entries })
    }

    /// An entry of at most `limit` bytes.
    pub(super) fn read(&self, name: &str, limit: usize) -> Result<Vec<u8>, FileFault> {
        let entry = self.entry(name)?;
        if entry.size > limit as u64 {
            return Err(FileFault::TooLarge { path: name.to_owned(), limit });
        }
        let mut content = Vec::new();
        self.reader(entry)?.read_to_end(&mut content).map_err(|e| self.io(e))?;
        if content.len() as u64 != entry.size {
            return Err(FileFault::Malformed(format!("entry {name} is cut off")));
        }
        Ok(content)
    }

    /// Where an entry begins, and how many bytes it has.
    pub(super) fn open_entry(&self, name: &str) -> Result<(File, u64), FileFault> {
        let entry = self.entry(name)?;
        let mut file = File::open(&self.path).map_err(|e| self.io(e))?;
        file.seek(SeekFrom::Start(entry.position)).map_err(|e| self.io(e))?;
        Ok((file, entry.size))
    }

    /// What `docker save` says of an image, and the image's configuration.
    fn docker_image(&self, choice: &ArchiveChoice) -> Result<(Image, Vec<u8>), FileFault> {
        let images: Vec<Image> =
            serde_json::from_slice(&self.read("manifest.json", MAX_MANIFEST_BYTES)?)
                .map_err(|e| FileFault::Malformed(format!("manifest.json: {e}")))?;
        let image = choose(images, choice)?;
        let config = self.read(&clean(&image.config), MAX_MANIFEST_BYTES)?;
        Ok((image, config))
    }

    fn entry(&self, name: &str) -> Result<Entry, FileFault> {
        let missing = || FileFault::Malformed(format!("there is no entry {name:?}"));
        self.entries.get(name).copied().ok_or_else(missing)
    }

    fn reader(&self, entry: Entry) -> Result<impl Read + use<>, FileFault> {
        let mut file = File::open(&self.path).map_err(|e| self.io(e))?;
        file.seek(SeekFrom::Start(entry.position)).map_err(|e| self.io(e))?;
        Ok(file.take(entry.size))
    }

    fn io(&self, source: std::io::Error) -> FileFault {
        FileFault::Io { path: self.path.display().to_string(), source }
    }

    /// The size of a layer when it is not compressed.
    fn layer_size(&self, name: &str) -> Result<u64, FileFault> {
        let entry = self.entry(&clean(name))?;
        let mut magic = Vec::new();
        self.reader(entry)?.take(4).read_to_end(&mut magic).map_err(|e| self.io(e))?;
        let unsupported = match magic.as_slice() {
            [0x1f, 0x8b, ..] => "gzip",
            [b'B', b'Z', b'h', ..] => "bzip2",
            [0xfd, b'7', b'z', b'X'] => "xz",
            [0x28, 0xb5, 0x2f, 0xfd] => "zstd",
            _ => return Ok(entry.size),
        };
        Err(FileFault::Malformed(format!(
            "layer {name} is compressed with {unsupported}, which is not supported in archives of docker; \
             copy the image to an OCI layout with: skopeo copy docker-archive:… oci:…"
        )))
    }
}

/// The manifest of an image that `docker save` wrote.
///
/// Such an archive has none in the sense of a registry, so that no signature can cover it. Like the
/// reference implementation, this makes the Docker schema 2 manifest that the image would have with
/// uncompressed layers, byte for byte.
pub(super) fn docker_manifest(path: &Path, choice: &ArchiveChoice) -> Result<Vec<u8>, FileFault> {
    let archive = TarFile::open(path)?;
    let malformed = |what: &str, e: serde_json::Error| FileFault::Malformed(format!("{what}: {e}"));
    let (image, config) = archive.docker_image(choice)?;
    let parsed: Config =
        serde_json::from_slice(&config).map_err(|e| malformed(&image.config, e))?;
    let diff_ids = parsed.rootfs.diff_ids;
    if diff_ids.len() != image.layers.len() {
        return Err(FileFault::Malformed(format!(
            "manifest.json names {} layers, {} names {}",
            image.layers.len(),
            image.config,
            diff_ids.len()
        )));
    }
    let mut sizes = BTreeMap::new();
    let mut layers = Vec::with_capacity(diff_ids.len());
    for (digest, name) in diff_ids.into_iter().zip(&image.layers) {
        let size = match sizes.get(&digest) {
            Some(size) => *size,
            None => archive.layer_size(name)?,
        };
        sizes.insert(digest.clone(), size);
        layers.push(Descriptor { media_type: LAYER, size, digest });
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: Descriptor {
            media_type: CONFIG,
            size: config.len() as u64,
            digest: Digest::sha256(&config),
        },
        layers,
    };
    serde_json::to_vec(&manifest).map_err(|e| malformed("manifest", e))
}

/// The configuration of an image that `docker save` wrote, if it has this digest.
pub(super) fn docker_config(
    path: &Path,
    choice: &ArchiveChoice,
    digest: &Digest,
) -> Result<Vec<u8>, FileFault> {
    let (image, config) = TarFile::open(path)?.docker_image(choice)?;
    check_digest(Path::new(&image.config), digest, config)
}

/// The configuration or a layer of an image that `docker save` wrote, where it lies, and how many bytes it has.
pub(super) fn docker_blob(
    path: &Path,
    choice: &ArchiveChoice,
    digest: &Digest,
) -> Result<(File, u64), FileFault> {
    let archive = TarFile::open(path)?;
    let (image, config) = archive.docker_image(choice)?;
    if digest.matches(&config) {
        return archive.open_entry(&clean(&image.config));
    }
    let parsed: Config = serde_json::from_slice(&config)
        .map_err(|e| FileFault::Malformed(format!("{}: {e}", image.config)))?;
    let mut layers = parsed.rootfs.diff_ids.iter().zip(&image.layers);
    let layer = layers.find(|(known, _)| *known == digest);
    let missing = || FileFault::Malformed(format!("there is no layer {digest}"));
    archive.open_entry(&clean(layer.ok_or_else(missing)?.1))
}

fn choose(mut images: Vec<Image>, choice: &ArchiveChoice) -> Result<Image, FileFault> {
    let tags = images.iter().flat_map(|image| image.repo_tags.iter().flatten());
    let names = tags.map(|tag| format!(":{tag}")).collect::<Vec<_>>().join(", ");
    let found = match choice {
        ArchiveChoice::Index(place) => Some(*place).filter(|place| *place < images.len()),
        ArchiveChoice::Only => match images.len() {
            0 | 1 => images.len().checked_sub(1),
            _ => return Err(FileFault::Ambiguous { choices: names }),
        },
        ArchiveChoice::Reference(wanted) => images.iter().position(|image| {
            image.repo_tags.iter().flatten().any(|tag| {
                Reference::parse_normalized(tag).is_ok_and(|tag| tag.with_default_tag() == *wanted)
            })
        }),
    };
    let missing = || FileFault::Missing {
        choice: format!("{:?}", choice.to_string()),
        choices: format!("; it has {names}"),
    };
    found.map(|place| images.swap_remove(place)).ok_or_else(missing)
}

/// A name as `path.Clean` would have it, as far as archives use it: without `./` and doubled slashes.
fn clean(name: &str) -> String {
    name.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    size: u64,
    digest: Digest,
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Most entries of an archive. `docker save` writes four for each layer and an image has at most 127
/// layers; a layout in a tar file has one for each blob.
const MAX_ENTRIES: usize = 100_000;
