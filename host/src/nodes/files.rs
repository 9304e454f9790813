//! The files of nodes: into a folder, into an archive, and compared with those that are there.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::diff::diff;
use crate::files;
use crate::image::{FileFault, read_limited};

/// Files by their absolute paths on a node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NodeFiles(BTreeMap<String, Vec<u8>>);

impl NodeFiles {
    /// Read the files of a node below `root`, of those folders that are written to. Names that begin with two dots
    /// are Kubernetes' own.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or there are too many.
    pub fn read(root: &Path) -> Result<Self, FilesError> {
        let mut files = Self::default();
        let mut folders: Vec<(String, usize)> =
            FOLDERS.iter().map(|folder| (folder.trim_end_matches('/').to_owned(), 0)).collect();
        while let Some((folder, depth)) = folders.pop() {
            let here = below(root, &folder);
            let fault = |source| {
                FilesError::Unreadable(FileFault::Io { path: here.display().to_string(), source })
            };
            let entries = match fs::read_dir(&here) {
                Ok(entries) => entries,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(fault(e)),
            };
            for entry in entries {
                let name = entry.map_err(fault)?.file_name();
                let name = name.to_str().ok_or_else(|| FilesError::Name(here.clone()))?;
                if name.starts_with("..") {
                    continue;
                }
                let path = format!("{folder}/{name}");
                // A ConfigMap has links to its files.
                if below(root, &path).is_dir() {
                    if depth < MAX_DEPTH {
                        folders.push((path, depth + 1));
                    }
                    continue;
                }
                let content = read_limited(&below(root, &path), MAX_FILE_BYTES)
                    .map_err(FilesError::Unreadable)?;
                files.insert(path, content);
                if files.0.len() > MAX_FILES {
                    return Err(FilesError::TooMany(root.to_owned()));
                }
            }
        }
        Ok(files)
    }

    /// In the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(path, content)| (path.as_str(), content.as_slice()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What would change below `root`, empty if nothing would.
    ///
    /// # Errors
    ///
    /// A file that is there cannot be read.
    pub fn diff(&self, root: &Path) -> Result<String, FilesError> {
        let mut text = String::new();
        for (path, content) in self.iter() {
            let at = below(root, path);
            let there = present(&at)?;
            if there.as_deref() == Some(content) {
                continue;
            }
            let before =
                there.as_ref().map_or_else(|| "/dev/null".to_owned(), |_| at.display().to_string());
            match (
                std::str::from_utf8(there.as_deref().unwrap_or_default()),
                std::str::from_utf8(content),
            ) {
                (Ok(old), Ok(new)) => text.push_str(&diff((&before, old), (path, new))),
                _ => text.push_str(&format!("Binary files {before} and {path} differ\n")),
            }
        }
        Ok(text)
    }

    /// Write them below `root`, each whole or not at all, `policy.json` last, so that it never names what is not
    /// there. The result has the paths of those that changed.
    ///
    /// # Errors
    ///
    /// A file cannot be written; or there is another one and `replace` is not set, and then nothing is written.
    pub fn write(&self, root: &Path, replace: bool) -> Result<Vec<String>, FilesError> {
        let mut changed = Vec::new();
        for (path, content) in self.iter() {
            let at = below(root, path);
            match present(&at)? {
                Some(there) if there == content => {}
                Some(_) if !replace => return Err(FilesError::Exists(at)),
                _ => changed.push((path, content)),
            }
        }
        changed.sort_by_key(|(path, _)| (path.ends_with("/policy.json"), path.contains(".d/")));
        for (path, content) in &changed {
            put(&below(root, path), content)?;
        }
        Ok(changed.into_iter().map(|(path, _)| path.to_owned()).collect())
    }

    /// An archive of them, the same for the same files, that is unpacked in the root folder of a node.
    ///
    /// # Errors
    ///
    /// A path is too long for an archive.
    pub fn tar(&self) -> Result<Vec<u8>, FilesError> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in self.iter() {
            // Without folders: those that are there keep their owners and modes.
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(MODE);
            header.set_mtime(0);
            let added = archive.append_data(&mut header, path.trim_start_matches('/'), content);
            added.map_err(FilesError::Archive)?;
        }
        archive.into_inner().map_err(FilesError::Archive)
    }

    pub(super) fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(Vec::as_slice)
    }

    pub(super) fn insert(&mut self, path: String, content: Vec<u8>) {
        self.0.insert(path, content);
    }
}

/// Whether a path is one that is written on nodes: without any way out of its folder.
pub(super) fn is_of_nodes(path: &str) -> bool {
    let inside = FOLDERS.iter().any(|folder| path.starts_with(folder));
    inside && path.split('/').skip(1).all(|part| !["", ".", ".."].contains(&part))
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn present(path: &Path) -> Result<Option<Vec<u8>>, FilesError> {
    match read_limited(path, MAX_FILE_BYTES) {
        Ok(content) => Ok(Some(content)),
        Err(FileFault::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(FilesError::Unreadable(fault)),
    }
}

/// A file that everybody may read, whole or not at all.
fn put(path: &Path, content: &[u8]) -> Result<(), FilesError> {
    let unwritable = |source| FilesError::Unwritable { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(unwritable)?;
    // A reader that cannot read a policy runs nothing.
    files::write(path, content, MODE).map_err(unwritable)
}

/// Files cannot be brought where they belong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// There is another file.
    #[error(
        "cannot write {}: there is another file; look at it with --diff, keep what it says with --merge, replace it \
         with --force", .0.display()
    )]
    Exists(PathBuf),
    /// A name is not text.
    #[error("cannot use a file in {}: expected a name in UTF-8", .0.display())]
    Name(PathBuf),
    /// There is too much.
    #[error("cannot use {}: expected at most {MAX_FILES} files", .0.display())]
    TooMany(PathBuf),
    /// An archive cannot be made.
    #[error("cannot make an archive: {0}")]
    Archive(std::io::Error),
    /// The operating system lets nobody read.
    #[error("cannot read a node's file: {0}")]
    Unreadable(FileFault),
    /// The operating system lets nobody write.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where something is written on nodes.
pub(super) const FOLDERS: [&str; 2] = ["/etc/containers/", "/etc/pki/containers/"];

const MODE: u32 = 0o644;

/// Largest file of a node: that of a policy or a key, which both have the same limit.
const MAX_FILE_BYTES: usize = 1 << 20;

/// Most files of a node: a key for each of a thousand teams, and their registries' authorities.
const MAX_FILES: usize = 4096;

/// Folders in a node's folders: certs.d has one for each host.
const MAX_DEPTH: usize = 4;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn files(content: &[(&str, &str)]) -> NodeFiles {
        let owned =
            |(path, content): &(&str, &str)| ((*path).to_owned(), content.as_bytes().to_vec());
        NodeFiles(content.iter().map(owned).collect())
    }

    #[test]
    fn policy_is_written_last_and_again_is_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        let files = files(&[
            ("/etc/containers/policy.json", "{}"),
            ("/etc/containers/registries.d/a.yaml", ""),
            ("/etc/pki/containers/a.gpg", "key"),
        ]);
        let written = files.write(root.path(), false).expect("written");
        assert_eq!(written.last().map(String::as_str), Some("/etc/containers/policy.json"));
        assert_eq!(written.first().map(String::as_str), Some("/etc/pki/containers/a.gpg"));
        assert_eq!(files.write(root.path(), false).expect("nothing"), [""; 0]);
        assert_eq!(NodeFiles::read(root.path()).expect("files"), files);
        let mode =
            root.path().join("etc/pki/containers/a.gpg").metadata().expect("it").permissions();
        assert_eq!(mode.mode() & 0o7777, 0o644);
        assert_eq!(files.diff(root.path()).expect("a comparison"), "");
    }

    #[test]
    fn other_file_is_kept_and_nothing_is_written() {
        let root = tempfile::tempdir().expect("a folder");
        files(&[("/etc/containers/policy.json", "{}\n")])
            .write(root.path(), false)
            .expect("written");
        let other =
            files(&[("/etc/containers/policy.json", "[]\n"), ("/etc/pki/containers/a", "b")]);
        let error = other.write(root.path(), false).expect_err("another file");
        assert!(error.to_string().contains("--force"), "{error}");
        assert!(!root.path().join("etc/pki").exists());
        let diff = other.diff(root.path()).expect("a comparison");
        assert!(diff.contains("-{}\n+[]\n") && diff.contains("--- /dev/null\n"), "{diff}");
        assert_eq!(other.write(root.path(), true).expect("written").len(), 2);
    }

    #[test]
    fn archive_has_the_files_alone() {
        let files = files(&[("/etc/containers/policy.json", "{}"), ("/etc/pki/containers/a", "b")]);
        let archive = files.tar().expect("an archive");
        assert_eq!(archive, files.tar().expect("an archive"));
        let mut archive = tar::Archive::new(archive.as_slice());
        let paths: Vec<_> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("an entry");
                assert_eq!(entry.header().mode().expect("a mode"), 0o644);
                entry.path().expect("a path").display().to_string()
            })
            .collect();
        assert_eq!(paths, ["etc/containers/policy.json", "etc/pki/containers/a"]);
    }

    #[test]
    fn paths_of_nodes_have_no_way_out() {
        assert!(is_of_nodes("/etc/pki/containers/a.gpg"));
        for path in
            ["/etc/passwd", "/etc/containers/../passwd", "etc/containers/a", "/etc/containers/"]
        {
            assert!(!is_of_nodes(path), "{path}");
        }
    }
}
