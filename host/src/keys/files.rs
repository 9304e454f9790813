//! The two files of a key: whole or not at all, and never in place of others.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::files::{PRIVATE, READABLE, prepare};

/// Where a key goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Places {
    /// The file with the secret, which its owner alone may read.
    pub secret: PathBuf,
    /// The file with the public half.
    pub public: PathBuf,
    /// Their folder, if that is to be made first.
    pub folder: Option<PathBuf>,
}

impl Places {
    /// Of an OpenPGP key: `secret.asc` and `public.asc` in a folder; else a file, and `NAME.pub.asc` beside it.
    pub fn openpgp(out: &Path) -> Self {
        Self::new(out, ["secret.asc", "public.asc"], "pub.asc")
    }

    /// Of a sigstore key: `cosign.key` and `cosign.pub` in a folder, as cosign names them; else a file, and
    /// `NAME.pub` beside it.
    pub fn sigstore(out: &Path) -> Self {
        Self::new(out, ["cosign.key", "cosign.pub"], "pub")
    }

    fn new(out: &Path, [secret, public]: [&str; 2], extension: &str) -> Self {
        let exists = out.is_dir();
        if exists || out.as_os_str().as_encoded_bytes().ends_with(b"/") {
            let folder = (!exists).then(|| out.to_owned());
            return Self { secret: out.join(secret), public: out.join(public), folder };
        }
        Self { secret: out.to_owned(), public: out.with_extension(extension), folder: None }
    }

    /// See that nothing is there yet, before a key is made in vain.
    ///
    /// # Errors
    ///
    /// Something is.
    pub fn check(&self) -> Result<(), FilesError> {
        for path in [&self.secret, &self.public] {
            if path.symlink_metadata().is_ok() {
                return Err(FilesError::Exists { path: path.clone() });
            }
        }
        if self.secret == self.public {
            return Err(FilesError::Same { path: self.secret.clone() });
        }
        Ok(())
    }

    /// Write both files.
    ///
    /// # Errors
    ///
    /// One of them cannot be written; then neither is there.
    pub fn write(&self, secret: &[u8], public: &[u8]) -> Result<(), FilesError> {
        self.check()?;
        if let Some(folder) = &self.folder {
            let made = DirBuilder::new().mode(0o700).create(folder);
            made.map_err(|source| fault(folder, source))?;
        }
        let written = [(&self.secret, secret, PRIVATE), (&self.public, public, READABLE)]
            .map(|(path, content, mode)| (path, prepare(path, content, mode)));
        let mut ready = Vec::new();
        for (path, file) in written {
            ready.push((path, file.map_err(|source| fault(path, source))?));
        }
        // A public half that nobody has the secret of is the lesser evil, so it is the first.
        let mut done: Vec<&PathBuf> = Vec::new();
        for (path, file) in ready.into_iter().rev() {
            if let Err(failed) = file.persist_noclobber(path) {
                for path in done {
                    // What cannot be removed either is of no use to anybody.
                    let _ = std::fs::remove_file(path);
                }
                return Err(fault(path, failed.error));
            }
            done.push(path);
        }
        Ok(())
    }
}

/// A key has no files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// There is something that would be lost.
    #[error("cannot write {}: it is there already, and a key is never replaced: name another file", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// Both halves would have one name.
    #[error("cannot write {}: the public half would have the same name: name another file", path.display())]
    Same {
        /// Where.
        path: PathBuf,
    },
    /// The system does not let us.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn fault(path: &Path, source: io::Error) -> FilesError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::AlreadyExists => FilesError::Exists { path },
        _ => FilesError::Io { path, source },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_has_the_usual_names_and_a_file_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = Places::openpgp(folder.path());
        assert_eq!(places.secret, folder.path().join("secret.asc"));
        assert_eq!(places.public, folder.path().join("public.asc"));
        assert_eq!(Places::openpgp(Path::new("new/")).secret, Path::new("new/secret.asc"));
        let places = Places::openpgp(Path::new("a/release.asc"));
        assert_eq!(places.public, Path::new("a/release.pub.asc"));
        assert_eq!(Places::sigstore(Path::new("release.key")).public, Path::new("release.pub"));
        assert_eq!(Places::sigstore(folder.path()).secret, folder.path().join("cosign.key"));
    }

    #[test]
    fn the_secret_is_the_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = Places::openpgp(folder.path());
        places.write(b"secret", b"public").expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&places.secret), mode(&places.public)), (0o600, 0o644));
        assert_eq!(fs::read(&places.secret).expect("there"), b"secret");
        assert_eq!(fs::read(&places.public).expect("there"), b"public");
    }

    #[test]
    fn nothing_is_replaced_and_nothing_half_written_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        for taken in ["secret.asc", "public.asc"] {
            let folder = folder.path().join(taken.replace('.', "-"));
            fs::create_dir(&folder).expect("a folder");
            fs::write(folder.join(taken), "mine").expect("a file");
            let fault = Places::openpgp(&folder).write(b"secret", b"public").expect_err(taken);
            assert!(fault.to_string().contains(taken), "{fault}");
            let left: Vec<_> = fs::read_dir(&folder).expect("a folder").collect();
            assert_eq!(left.len(), 1, "{left:?}");
            assert_eq!(fs::read(folder.join(taken)).expect("there"), b"mine");
        }
        let fault = Places::openpgp(Path::new("/proc/none/x")).write(b"", b"").expect_err("none");
        assert!(matches!(fault, FilesError::Io { .. }), "{fault}");
        Places::sigstore(Path::new("x.pub")).check().expect_err("one name for two");
    }
}
