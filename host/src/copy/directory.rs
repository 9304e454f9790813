//! A copy as a `dir:` image: written beside the place where it goes, and brought there whole.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use guest_policy::digest::Digest;
use guest_policy::image::Signature;
use tempfile::{NamedTempFile, TempDir};
use tokio::io::AsyncWriteExt as _;

use super::blob::Blob;
use super::{Carried, CopyError};
use crate::files;
use crate::image::file_stem;

pub(super) struct Directory {
    path: PathBuf,
    folder: TempDir,
}

impl Directory {
    pub(super) fn new(path: &Path) -> Result<Self, CopyError> {
        if !is_free(path)? {
            return Err(CopyError::Occupied { path: path.to_owned() });
        }
        let directory = Self { path: path.to_owned(), folder: folder_beside(path)? };
        directory.write("version", b"Directory Transport Version: 1.1\n")?;
        Ok(directory)
    }

    pub(super) async fn put_blob(&self, digest: &Digest, blob: Blob) -> Result<(), CopyError> {
        write_blob(self.folder.path(), &file_stem(digest), blob).await
    }

    pub(super) fn put_manifest(&self, manifest: &Carried) -> Result<(), CopyError> {
        let name = match manifest.is_instance {
            true => format!("{}.manifest.json", file_stem(&manifest.digest)),
            false => "manifest.json".to_owned(),
        };
        self.write(&name, &manifest.content)
    }

    pub(super) fn put_signatures(
        &self,
        digest: &Digest,
        signatures: &[Signature],
    ) -> Result<(), CopyError> {
        let stem = file_stem(digest);
        let is_instance = self.folder.path().join(format!("{stem}.manifest.json")).exists();
        let prefix = if is_instance { format!("{stem}.") } else { String::new() };
        for (place, signature) in signatures.iter().enumerate() {
            self.write(&format!("{prefix}signature-{}", place + 1), &signature.content)?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), CopyError> {
        let Self { path, folder } = self;
        let failed = CopyError::write(&path);
        let finish = || {
            fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
            File::open(folder.path())?.sync_all()?;
            // An empty folder is replaced, one that has something in it is not.
            fs::rename(folder.path(), &path)?;
            File::open(parent(&path))?.sync_all()
        };
        finish().map_err(failed)?;
        // It has another name now.
        let _ = folder.keep();
        Ok(())
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), CopyError> {
        write_file(self.folder.path(), name, content)
    }
}

/// Whether nothing is lost if a folder is put there.
fn is_free(path: &Path) -> Result<bool, CopyError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotADirectory => Ok(false),
        Err(e) => Err(CopyError::write(path)(e)),
    }
}

/// A folder for what is going to be at `path`. It goes unless it is kept.
pub(super) fn folder_beside(path: &Path) -> Result<TempDir, CopyError> {
    let folder = tempfile::Builder::new().prefix(".countersign-").tempdir_in(parent(path));
    folder.map_err(CopyError::write(path))
}

/// The folder that something is in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that has its name once it is complete.
pub(super) fn write_file(folder: &Path, name: &str, content: &[u8]) -> Result<(), CopyError> {
    let path = folder.join(name);
    files::write(&path, content, files::READABLE).map_err(CopyError::write(&path))
}

/// A blob as a file that has its name once everything is there and right.
pub(super) async fn write_blob(folder: &Path, name: &str, mut blob: Blob) -> Result<(), CopyError> {
    let path = folder.join(name);
    let failed = || CopyError::write(&path);
    let file = new_file(folder).map_err(failed())?;
    let mut to = tokio::fs::File::from_std(file.reopen().map_err(failed())?);
    while let Some(bytes) = blob.chunk().await? {
        to.write_all(&bytes).await.map_err(failed())?;
    }
    to.flush().await.map_err(failed())?;
    to.sync_all().await.map_err(failed())?;
    file.persist(&path).map_err(|lost| failed()(lost.error))?;
    Ok(())
}

/// A file for what everybody may read.
pub(super) fn new_file(folder: &Path) -> std::io::Result<NamedTempFile> {
    let readable = Permissions::from_mode(files::READABLE);
    tempfile::Builder::new().permissions(readable).prefix(".countersign-").tempfile_in(folder)
}
