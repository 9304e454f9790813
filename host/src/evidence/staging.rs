//! Where signatures are written: the folder that `lookaside-staging` of registries.d names.
//!
//! A signature that is there is never replaced, and one that was acknowledged is on the disk.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use guest_policy::digest::Digest;
use guest_policy::reference::Reference;

use super::location::redacted;
use super::lookaside::UNREASONABLE;
use super::{Location, RegistriesD, RegistriesDError};

/// The folder for the signatures of one repository.
#[derive(Clone, Debug)]
pub struct Staging {
    location: Location,
}

impl Staging {
    /// What `registries` says of a repository.
    ///
    /// # Errors
    ///
    /// It says something that is not a folder.
    pub fn of(registries: &RegistriesD, repository: &Reference) -> Result<Self, StagingError> {
        let location = registries.staging(repository)?;
        match location.scheme() {
            "file" => Ok(Self { location }),
            _ => Err(StagingError::NoFolder {
                repository: repository.name(),
                url: redacted(&location.to_string()),
            }),
        }
    }

    /// Where it is, as registries.d spells it.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Write a signature of the manifest with this digest, beside those that there are.
    ///
    /// # Errors
    ///
    /// There are too many, or the file cannot be written.
    pub fn add(&self, digest: &Digest, signature: &[u8]) -> Result<PathBuf, StagingError> {
        let path = |number| PathBuf::from(self.location.signature(digest, number).path());
        let first = path(1);
        let folder = first.parent().unwrap_or(Path::new("/"));
        let fault = |path: &Path, source| StagingError::Io { path: path.to_owned(), source };
        let write = || -> io::Result<tempfile::NamedTempFile> {
            std::fs::create_dir_all(folder)?;
            let mut file = tempfile::Builder::new()
                // Whoever serves the folder has to read it.
                .permissions(Permissions::from_mode(0o644))
                .prefix(".signature-")
                .tempfile_in(folder)?;
            file.write_all(signature)?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        let mut file = write().map_err(|e| fault(folder, e))?;
        // Readers take as many as `UNREASONABLE` for a fault of the store.
        for number in 1..UNREASONABLE {
            let path = path(number);
            match file.persist_noclobber(&path) {
                Ok(_) => {
                    let sync = File::open(folder).and_then(|folder| folder.sync_all());
                    return sync.map(|()| path).map_err(|e| fault(folder, e));
                }
                Err(kept) if kept.error.kind() == ErrorKind::AlreadyExists => file = kept.file,
                Err(lost) => return Err(fault(&path, lost.error)),
            }
        }
        Err(StagingError::Full { folder: folder.to_owned(), count: UNREASONABLE - 1 })
    }
}

/// A signature was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StagingError {
    /// Readers would take one more for a fault.
    #[error("{} has {count} signatures, and more are not read: remove old ones", .folder.display())]
    Full {
        /// The folder.
        folder: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// The operating system refused.
    #[error("cannot write signature {}: {source}", .path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Signatures go somewhere else than into a folder.
    #[error(
        "cannot write signatures of {repository} to {url}: expected lookaside-staging: file:///FOLDER or \
         https://SERVER for it in registries.d"
    )]
    NoFolder {
        /// Whose signatures.
        repository: String,
        /// What is configured.
        url: String,
    },
    /// registries.d cannot be used.
    #[error(transparent)]
    Registries(#[from] RegistriesDError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Directories;

    fn repository() -> Reference {
        Reference::parse_normalized("example.com/rules/max-age").expect("a reference")
    }

    fn registries(configuration: &str) -> RegistriesD {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.yaml"), configuration).expect("written");
        RegistriesD::load(&Directories::Explicit(folder.path().to_owned())).expect("registries.d")
    }

    fn staging(folder: &Path) -> Staging {
        let configuration =
            format!("default-docker:\n  lookaside-staging: file://{}\n", folder.display());
        Staging::of(&registries(&configuration), &repository()).expect("a folder")
    }

    #[test]
    fn signatures_get_the_next_free_number_and_replace_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let staging = staging(folder.path());
        let digest = Digest::sha256(b"manifest");
        let place = format!("rules/max-age@sha256={}", digest.hex());
        for (number, content) in ["first", "second", "third"].into_iter().enumerate() {
            let path = staging.add(&digest, content.as_bytes()).expect("written");
            let expected = format!("{place}/signature-{}", number + 1);
            assert_eq!(path, folder.path().join(expected));
        }
        let read = |name: &str| std::fs::read(folder.path().join(&place).join(name));
        assert_eq!(read("signature-1").expect("there"), b"first");
        assert_eq!(read("signature-3").expect("there"), b"third");
        let left = std::fs::read_dir(folder.path().join(&place)).expect("a folder").count();
        assert_eq!(left, 3, "nothing else is left behind");
        let mode = std::fs::metadata(folder.path().join(&place).join("signature-1"));
        assert_eq!(mode.expect("there").permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn more_signatures_than_are_read_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let staging = staging(folder.path());
        let digest = Digest::sha256(b"manifest");
        for _ in 1..UNREASONABLE {
            staging.add(&digest, b"signature").expect("written");
        }
        let fault = staging.add(&digest, b"signature").expect_err("full").to_string();
        assert!(fault.contains("127 signatures"), "{fault}");
    }

    #[test]
    fn signatures_are_written_into_folders_alone() {
        let registries =
            registries("default-docker:\n  lookaside: https://u:s3cret@example.com/s\n");
        let fault = Staging::of(&registries, &repository()).expect_err("no folder").to_string();
        assert!(fault.contains("https://u:xxxxx@example.com/s/rules/max-age"), "{fault}");
        assert!(fault.contains("lookaside-staging: file:///"), "{fault}");
    }

    #[test]
    fn a_staged_configuration_reads_where_signatures_are_written() {
        let registries = registries(
            "default-docker:\n  lookaside: https://example.com/a\ndocker:\n  example.com/rules:\n    \
             lookaside: https://example.com/b\n    lookaside-staging: file:///b\n  example.com/rules/max-age:\n    \
             use-sigstore-attachments: true\n  example.com/other:\n    sigstore-staging: file:///c\n",
        );
        let staged = registries.staged();
        for (name, store) in [
            ("example.com/rules/max-age", "file:///b/rules/max-age"),
            ("example.com/other", "file:///c/other"),
            ("example.org/x", "https://example.com/a/x"),
        ] {
            let reference = Reference::parse_normalized(name).expect("a reference");
            let read = staged.lookaside(&reference).expect("a URL").to_string();
            assert_eq!(read, store);
            let written = registries.staging(&reference).expect("a URL").to_string();
            assert_eq!(read, written);
        }
    }
}
