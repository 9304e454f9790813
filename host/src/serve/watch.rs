//! Whether files have changed, and whether whoever changes them has finished.
//!
//! Files are looked at by name, through every link: Kubernetes changes a mounted volume by turning one link,
//! which no watch on a file notices.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use crate::image::read_limited;

/// Some files, as they were looked at last.
#[derive(Debug, Default)]
pub(super) struct Watched {
    stamp: Stamp,
    /// They changed so lately that a later change might look the same.
    young: bool,
}

impl Watched {
    /// Look at files and folders for the first time.
    pub(super) fn begin(paths: &[PathBuf]) -> Self {
        let stamp = Stamp::of(paths);
        Self { young: stamp.is_young(SystemTime::now()), stamp }
    }

    /// Whether they may have changed, after they have come to rest: half of a change is none. `pause` waits.
    pub(super) fn changed(&mut self, paths: &[PathBuf], pause: &dyn Fn(Duration)) -> bool {
        let mut stamp = Stamp::of(paths);
        if stamp == self.stamp && !self.young {
            return false;
        }
        if stamp != self.stamp {
            for _ in 0..MAX_ROUNDS {
                pause(SETTLE);
                let later = Stamp::of(paths);
                if later == stamp {
                    break;
                }
                stamp = later;
            }
        }
        self.young = stamp.is_young(SystemTime::now());
        self.stamp = stamp;
        true
    }
}

/// Names files and what is in them: another value if any of it is another. One that cannot be read counts as
/// such.
pub(super) fn contents(paths: &[PathBuf]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (path, entry) in Stamp::of(paths).entries {
        hash.update(path.as_os_str().as_encoded_bytes());
        if entry.is_none() || path.is_dir() {
            continue;
        }
        match read_limited(&path, MAX_FILE_BYTES) {
            Ok(content) => hash.update(Sha256::digest(content)),
            Err(fault) => hash.update(fault.to_string()),
        }
    }
    hash.finalize().into()
}

/// What the file system says of files.
#[derive(Debug, Default, Eq, PartialEq)]
struct Stamp {
    entries: Vec<(PathBuf, Option<Entry>)>,
}

impl Stamp {
    fn of(paths: &[PathBuf]) -> Self {
        let mut stamp = Self::default();
        for path in paths {
            stamp.add(path, MAX_DEPTH);
        }
        stamp
    }

    fn add(&mut self, path: &Path, depth: usize) {
        let metadata = path.metadata().ok();
        let folder = metadata.as_ref().is_some_and(Metadata::is_dir);
        self.entries.push((path.to_owned(), metadata.as_ref().map(Entry::of)));
        if !folder || depth == 0 {
            return;
        }
        let Ok(entries) = path.read_dir() else { return };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        // Where Kubernetes keeps what the links of a volume lead to.
        paths.retain(|path| {
            !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."))
        });
        paths.sort();
        for path in paths.iter().take(MAX_ENTRIES) {
            self.add(path, depth - 1);
        }
    }

    fn is_young(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let oldest = i64::try_from(now.saturating_sub(YOUNG).as_secs()).unwrap_or(i64::MAX);
        self.entries.iter().filter_map(|(_, entry)| entry.as_ref()).any(|e| e.changed.0 >= oldest)
    }
}

#[derive(Debug, Eq, PartialEq)]
struct Entry {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// Seconds and nanoseconds: also of attributes, and not to be set back.
    changed: (i64, i64),
}

impl Entry {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Between two looks at files: a change holds a second later.
pub(super) const POLL: Duration = Duration::from_secs(1);

/// Files that do not change for so long have come to rest: thousands of times what a copy needs between two
/// files.
const SETTLE: Duration = Duration::from_millis(100);

/// Looks at files that never come to rest, before they are read as they are: two seconds.
const MAX_ROUNDS: usize = 20;

/// Coarser than the clock of any file system.
const YOUNG: Duration = Duration::from_secs(2);

/// Folders below a watched one: certs.d has one for each host.
const MAX_DEPTH: usize = 2;

/// Largest file whose content is looked at: that of a certificate.
const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Entries of one folder that are looked at: more than a ConfigMap of 1 MiB can hold.
const MAX_ENTRIES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// As though its files had been there for long.
    fn rested(paths: &[PathBuf]) -> Watched {
        Watched { young: false, ..Watched::begin(paths) }
    }

    #[test]
    fn notices_a_link_that_is_turned() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(path(version)).expect("a folder");
            fs::write(path(version).join("policy.json"), "{}").expect("a file");
        }
        symlink("..1", path("..data")).expect("a link");
        symlink("..data/policy.json", path("policy.json")).expect("a link");
        for paths in [vec![path("policy.json")], vec![folder.path().to_owned()]] {
            let mut watched = rested(&paths);
            assert!(!watched.changed(&paths, &|_| ()));
            let other = if path("..data").read_link().expect("a link") == Path::new("..1") {
                "..2"
            } else {
                "..1"
            };
            symlink(other, path("..tmp")).expect("a link");
            fs::rename(path("..tmp"), path("..data")).expect("a swap");
            assert!(watched.changed(&paths, &|_| ()));
        }
    }

    #[test]
    fn notices_files_that_come_and_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = [folder.path().join("a")];
        let mut watched = rested(&paths);
        assert!(!watched.changed(&paths, &|_| ()));
        fs::write(&paths[0], "1").expect("a file");
        assert!(watched.changed(&paths, &|_| ()));
        fs::remove_file(&paths[0]).expect("no file");
        assert!(watched.changed(&paths, &|_| ()));
        assert!(!watched.changed(&paths, &|_| ()));
    }

    #[test]
    fn contents_are_another_value_if_anything_is_different() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = [folder.path().to_owned()];
        let path = folder.path().join("host:5000/ca.crt");
        let none = contents(&paths);
        fs::create_dir(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, "1").expect("a file");
        let one = contents(&paths);
        fs::write(&path, "2").expect("a file");
        let two = contents(&paths);
        fs::write(&path, "1").expect("a file");
        assert!(none != one && one != two && one == contents(&paths));
    }

    #[test]
    fn what_changed_just_now_is_looked_at_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = [folder.path().join("a")];
        fs::write(&paths[0], "1").expect("a file");
        let mut watched = Watched::begin(&paths);
        assert!(watched.changed(&paths, &|_| ()));
    }

    #[test]
    fn waits_until_files_have_come_to_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = [folder.path().join("a")];
        let mut watched = rested(&paths);
        fs::write(&paths[0], "").expect("a file");
        let pauses = Cell::new(0);
        let write = |_| {
            pauses.set(pauses.get() + 1);
            if pauses.get() < 4 {
                fs::write(&paths[0], vec![b' '; pauses.get()]).expect("a file");
            }
        };
        assert!(watched.changed(&paths, &write));
        assert_eq!(pauses.get(), 4);
    }
}
