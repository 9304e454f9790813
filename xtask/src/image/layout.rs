//! An image as an OCI image layout (OCI image specification 1.1). The same entries give the same bytes:
//! everything is in order, of one time and of root, and compressed by code whose version is locked.

use std::fs;
use std::path::{Component, Path};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What becomes an image.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// The name by which the layout lists it.
    pub(super) tag: String,
    /// As Go names it.
    pub(super) architecture: &'static str,
    /// RFC 3339.
    pub(super) created: String,
    /// `UID:GID`.
    pub(super) user: String,
    pub(super) entrypoint: Vec<String>,
    pub(super) labels: Vec<(&'static str, &'static str)>,
    /// Lowest first.
    pub(super) layers: Vec<Vec<Entry>>,
}

/// A file or folder of a layer. It belongs to root.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// From the root, without a slash at its beginning.
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    File(Vec<u8>),
    Folder,
}

/// The files of a layout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Layout {
    index: Vec<u8>,
    /// The manifest last.
    blobs: Vec<Blob>,
    digest: String,
}

impl Layout {
    /// Of the image's manifest.
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    /// Bytes of all that a registry keeps.
    pub(super) fn size(&self) -> usize {
        self.blobs.iter().map(|blob| blob.content.len()).sum()
    }

    /// Write it into a folder, in place of what is there.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder)
                .with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("cannot create {}", blobs.display()))?;
        for blob in &self.blobs {
            write(&blobs.join(hex(&blob.digest)), &blob.content)?;
        }
        write(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        write(&folder.join("index.json"), &self.index)
    }
}

/// Make a layout. `time` of the files is in seconds since 1970-01-01 UTC.
pub(super) fn pack(image: &Image, time: u64) -> Result<Layout> {
    let mut blobs = Vec::new();
    let mut contents = Vec::new();
    let mut layers = Vec::new();
    for entries in &image.layers {
        let layer = archive(entries, time)?;
        contents.push(digest(&layer));
        let blob = Blob::new(gzip(&layer)?);
        layers.push(blob.descriptor(&format!("{IMAGE}.layer.v1.tar+gzip")));
        blobs.push(blob);
    }
    let labels: serde_json::Map<String, Value> =
        image.labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let history: Vec<_> = layers
        .iter()
        .map(|_| json!({"created": image.created, "created_by": "cargo xtask image"}))
        .collect();
    let config = Blob::new(serde_json::to_vec(&json!({
        "created": image.created,
        "architecture": image.architecture,
        "os": "linux",
        "config": {
            "User": image.user,
            "Entrypoint": image.entrypoint,
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": contents},
        "history": history,
    }))?);
    let kind = format!("{IMAGE}.manifest.v1+json");
    let manifest = Blob::new(serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": config.descriptor(&format!("{IMAGE}.config.v1+json")),
        "layers": layers,
        "annotations": labels,
    }))?);
    let mut listed = manifest.descriptor(&kind);
    listed["annotations"] = json!({"org.opencontainers.image.ref.name": image.tag});
    listed["platform"] = json!({"architecture": image.architecture, "os": "linux"});
    let index = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": format!("{IMAGE}.index.v1+json"),
        "manifests": [listed],
    }))?;
    let digest = manifest.digest.clone();
    blobs.extend([config, manifest]);
    Ok(Layout { index, blobs, digest })
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Blob {
    digest: String,
    content: Vec<u8>,
}

impl Blob {
    fn new(content: Vec<u8>) -> Self {
        Self { digest: digest(&content), content }
    }

    fn descriptor(&self, kind: &str) -> Value {
        json!({"mediaType": kind, "digest": self.digest, "size": self.content.len()})
    }
}

/// An archive in the order of paths, whatever the order of the entries.
fn archive(entries: &[Entry], time: u64) -> Result<Vec<u8>> {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        let plain = Path::new(&entry.path).components().all(|c| matches!(c, Component::Normal(_)));
        if entry.path.is_empty() || !plain {
            bail!("`{}` is not a path below the image's root", entry.path);
        }
        let mut header = tar::Header::new_ustar();
        header.set_mode(entry.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(time);
        let (path, content) = match &entry.content {
            Content::File(content) => (entry.path.clone(), content.as_slice()),
            Content::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                (format!("{}/", entry.path), &[][..])
            }
        };
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content)?;
    }
    Ok(archive.into_inner()?)
}

/// As RFC 1952 has it, without a name or time.
fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let size = u32::try_from(content.len()).context("a layer of more than 4 GiB")?;
    let mut compressed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, UNKNOWN_SYSTEM];
    compressed.extend(miniz_oxide::deflate::compress_to_vec(content, BEST));
    compressed.extend(crc32(content).to_le_bytes());
    compressed.extend(size.to_le_bytes());
    Ok(compressed)
}

/// The check sum of RFC 1952, section 8.
fn crc32(content: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|at| {
        (0..8).fold(at as u32, |c, _| if c & 1 == 1 { POLYNOMIAL ^ (c >> 1) } else { c >> 1 })
    });
    !content.iter().fold(u32::MAX, |c, byte| table[usize::from(c as u8 ^ *byte)] ^ (c >> 8))
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(content))
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// How all media types of images begin.
const IMAGE: &str = "application/vnd.oci.image";

/// RFC 1952: the archive does not say where it was made.
const UNKNOWN_SYSTEM: u8 = 255;

/// The level of compression: an image is made once and pulled often.
const BEST: u8 = 9;

const POLYNOMIAL: u32 = 0xedb8_8320;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn same_entries_give_same_bytes_in_any_order() {
        let image = image(vec![file("b", "2"), file("a", "1"), folder("c")]);
        let turned = Image {
            layers: vec![image.layers[0].iter().rev().cloned().collect()],
            ..image.clone()
        };
        let layout = pack(&image, 0).expect("a layout");
        assert_eq!(layout, pack(&turned, 0).expect("a layout"));
        assert_ne!(layout, pack(&image, 1).expect("a layout"), "the time is that of the files");
    }

    #[test]
    fn files_belong_to_root_and_have_their_mode_and_time() {
        let layer = archive(&[folder("tmp"), file("etc/x", "content")], 7).expect("a layer");
        let mut archive = tar::Archive::new(layer.as_slice());
        let mut seen = Vec::new();
        for entry in archive.entries().expect("entries") {
            let entry = entry.expect("an entry");
            let header = entry.header();
            assert_eq!((header.uid().expect("uid"), header.gid().expect("gid")), (0, 0));
            assert_eq!(header.mtime().expect("a time"), 7);
            let path = entry.path().expect("a path").display().to_string();
            seen.push((path, header.mode().expect("a mode"), header.size().expect("a size")));
        }
        assert_eq!(seen, [("etc/x".to_owned(), 0o444, 7), ("tmp/".to_owned(), 0o1777, 0)]);
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for path in ["", "/etc", "../etc", "a/../../b", "."] {
            archive(&[file(path, "")], 0).expect_err(path);
        }
    }

    #[test]
    fn descriptors_name_what_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = pack(&image(vec![file("a", "1")]), 0).expect("a layout");
        layout.write(folder.path()).expect("written");
        let json = |path: &str| -> Value {
            serde_json::from_slice(&fs::read(folder.path().join(path)).expect(path)).expect("JSON")
        };
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().expect("a digest");
            let path = format!("blobs/sha256/{}", hex(digest));
            let content = fs::read(folder.path().join(&path)).expect("a blob");
            assert_eq!(super::digest(&content), digest);
            assert_eq!(descriptor["size"], content.len());
            path
        };
        let listed = &json("index.json")["manifests"][0];
        assert_eq!(listed["annotations"]["org.opencontainers.image.ref.name"], "1");
        assert_eq!(listed["digest"], layout.digest());
        let manifest = json(&blob(listed));
        let config = json(&blob(&manifest["config"]));
        assert_eq!(config["config"]["User"], "65532:65532");
        blob(&manifest["layers"][0]);
        assert_eq!(json("oci-layout")["imageLayoutVersion"], "1.0.0");
    }

    #[test]
    fn compressed_layer_is_read_by_gzip_as_it_was() {
        // RFC 1952's own example of a check sum is code; this value is known from everywhere.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let compressed = gzip(b"content content content").expect("compressed");
        let body = &compressed[10..compressed.len() - 8];
        let content = miniz_oxide::inflate::decompress_to_vec(body).expect("deflate");
        assert_eq!(content, b"content content content");
    }

    #[test]
    fn skopeo_reads_the_layout_and_its_layers() {
        if lab::tools::missing().iter().any(|tool| tool.program == "skopeo") {
            eprintln!("SKIPPED: skopeo is not here");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let layout = pack(&image(vec![file("a", &"1".repeat(100_000))]), 0).expect("a layout");
        layout.write(&folder.path().join("image")).expect("written");
        let from = format!("oci:{}:1", folder.path().join("image").display());
        let copy = folder.path().join("copy");
        let to = format!("dir:{}", copy.display());
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--dest-decompress", &from, &to]);
        lab::run(&mut skopeo).expect("skopeo copies the image");
        let copied = fs::read(copy.join("manifest.json")).expect("a manifest");
        let copied: Value = serde_json::from_slice(&copied).expect("JSON");
        let config = layout.blobs.iter().rev().nth(1).expect("a configuration");
        let config: Value = serde_json::from_slice(&config.content).expect("JSON");
        assert_eq!(copied["layers"][0]["digest"], config["rootfs"]["diff_ids"][0]);
        let inspected =
            lab::run(Command::new("skopeo").args(["inspect", &from])).expect("inspected");
        let inspected: Value = serde_json::from_slice(&inspected.stdout).expect("JSON");
        assert_eq!(inspected["Digest"], layout.digest());
        assert_eq!(inspected["Labels"]["title"], "test");
    }

    fn image(entries: Vec<Entry>) -> Image {
        Image {
            tag: "1".to_owned(),
            architecture: "amd64",
            created: "1970-01-01T00:00:00Z".to_owned(),
            user: "65532:65532".to_owned(),
            entrypoint: vec!["/a".to_owned()],
            labels: vec![("title", "test")],
            layers: vec![entries],
        }
    }

    fn file(path: &str, content: &str) -> Entry {
        let content = Content::File(content.as_bytes().to_owned());
        Entry { path: path.to_owned(), mode: 0o444, content }
    }

    fn folder(path: &str) -> Entry {
        Entry { path: path.to_owned(), mode: 0o1777, content: Content::Folder }
    }
}
