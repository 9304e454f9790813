//! A copy in an OCI image layout, as a folder that may have other images, or as a tar file of its own.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use guest_policy::digest::Digest;
use guest_policy::image::MAX_MANIFEST_BYTES;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::blob::{Blob, Hash};
use super::directory::{folder_beside, new_file, parent, write_blob, write_file};
use super::{Carried, CopyError};
use crate::image::{ImageName, LayoutChoice, blob_name, read_limited};

pub(super) struct Layout {
    /// Where the layout is, or is made.
    folder: PathBuf,
    /// What the image is called in it.
    tag: Option<String>,
    archive: Option<Archive>,
}

/// The tar file that is made of the layout, and the folder that goes then.
struct Archive {
    path: PathBuf,
    _folder: TempDir,
}

impl Layout {
    pub(super) fn directory(
        name: &ImageName,
        path: &Path,
        choice: &LayoutChoice,
    ) -> Result<Self, CopyError> {
        Self { folder: path.to_owned(), tag: tag(name, choice)?, archive: None }.prepared()
    }

    pub(super) fn archive(
        name: &ImageName,
        path: &Path,
        choice: &LayoutChoice,
    ) -> Result<Self, CopyError> {
        match path.symlink_metadata() {
            Ok(_) => return Err(CopyError::Occupied { path: path.to_owned() }),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(CopyError::write(path)(e)),
        }
        let folder = folder_beside(path)?;
        let layout = Self {
            folder: folder.path().to_owned(),
            tag: tag(name, choice)?,
            archive: Some(Archive { path: path.to_owned(), _folder: folder }),
        };
        layout.prepared()
    }

    fn prepared(self) -> Result<Self, CopyError> {
        let blobs = self.blobs();
        fs::create_dir_all(&blobs).map_err(CopyError::write(&blobs))?;
        Ok(self)
    }

    fn blobs(&self) -> PathBuf {
        self.folder.join("blobs/sha256")
    }

    /// Whether it has a blob, whole and right.
    pub(super) async fn has(&self, digest: &Digest, size: u64) -> bool {
        let (path, digest) = (self.folder.join(blob_name(digest)), digest.clone());
        let check = move || {
            let file = File::open(&path).ok()?;
            let metadata = file.metadata().ok()?;
            if !metadata.is_file() || metadata.len() != size {
                return None;
            }
            let mut hash = Hash::new();
            std::io::copy(&mut std::io::BufReader::new(file), &mut hash).ok()?;
            Some(hash.hex() == digest.hex())
        };
        let checked = tokio::task::spawn_blocking(check).await;
        matches!(checked, Ok(Some(true)))
    }

    pub(super) async fn put_blob(&self, digest: &Digest, blob: Blob) -> Result<(), CopyError> {
        write_blob(&self.blobs(), digest.hex(), blob).await
    }

    pub(super) fn put_manifest(&self, manifest: &Carried) -> Result<(), CopyError> {
        write_file(&self.blobs(), manifest.digest.hex(), &manifest.content)
    }

    /// List the image, and have the tar file if that is what is wanted.
    pub(super) async fn finish(self, top: &Carried) -> Result<(), CopyError> {
        self.list(top)?;
        let Some(Archive { path, _folder }) = self.archive else { return Ok(()) };
        let (folder, to) = (self.folder, path.clone());
        let pack = move || pack(&folder, &to);
        match tokio::task::spawn_blocking(pack).await {
            Ok(packed) => packed.map_err(CopyError::write(&path)),
            Err(stopped) => Err(CopyError::write(&path)(std::io::Error::other(stopped))),
        }
    }

    /// Write `index.json` anew, with the image in place of what had its name.
    fn list(&self, top: &Carried) -> Result<(), CopyError> {
        let path = self.folder.join("index.json");
        let failed = || CopyError::write(&path);
        // Whoever else writes to the layout waits.
        let lock = File::open(&self.folder).map_err(failed())?;
        lock.lock().map_err(failed())?;
        write_file(&self.folder, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let mut index: Value = match path.exists() {
            true => {
                let invalid = |fault: String| failed()(std::io::Error::other(fault));
                let content =
                    read_limited(&path, MAX_MANIFEST_BYTES).map_err(|e| invalid(e.to_string()))?;
                serde_json::from_slice(&content)
                    .map_err(|e| invalid(format!("what is there is no OCI index: {e}")))?
            }
            false => json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [],
            }),
        };
        let Some(manifests) = index["manifests"].as_array_mut() else {
            let fault = "what is there is no OCI index: it has no list of manifests";
            return Err(failed()(std::io::Error::other(fault)));
        };
        let mut entry = json!({
            "mediaType": top.media_type, "digest": top.digest, "size": top.content.len(),
        });
        match &self.tag {
            Some(tag) => {
                manifests.retain(|known| known["annotations"][REF_NAME] != **tag);
                entry["annotations"] = json!({REF_NAME: tag});
            }
            None => manifests.retain(|known| {
                known["digest"] != top.digest.as_str() || known["annotations"][REF_NAME].is_string()
            }),
        }
        manifests.push(entry);
        write_file(&self.folder, "index.json", index.to_string().as_bytes())?;
        lock.sync_all().map_err(failed())
    }
}

fn tag(name: &ImageName, choice: &LayoutChoice) -> Result<Option<String>, CopyError> {
    match choice {
        LayoutChoice::Only => Ok(None),
        LayoutChoice::Name(tag) => Ok(Some(tag.clone())),
        LayoutChoice::Index(_) => Err(CopyError::Unwritable {
            image: name.to_string(),
            fault: "a new image has no number yet; expected a name, or none",
        }),
    }
}

/// A tar file of a layout, which has its name once it is complete. The same layout gives the same bytes.
fn pack(folder: &Path, path: &Path) -> std::io::Result<()> {
    let file = new_file(parent(path))?;
    let mut archive = tar::Builder::new(BufWriter::new(file));
    archive.mode(tar::HeaderMode::Deterministic);
    for name in ["oci-layout", "index.json"] {
        archive.append_path_with_name(folder.join(name), name)?;
    }
    let blobs = "blobs/sha256";
    let entries = fs::read_dir(folder.join(blobs))?;
    let mut names =
        entries.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        let name = Path::new(blobs).join(name);
        archive.append_path_with_name(folder.join(&name), &name)?;
    }
    let mut written = archive.into_inner()?;
    written.flush()?;
    let file = written.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|lost| lost.error)?;
    File::open(parent(path))?.sync_all()
}

const REF_NAME: &str = "org.opencontainers.image.ref.name";
