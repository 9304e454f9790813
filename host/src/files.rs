//! Files that are written whole: a name leads to all of a content, or to what it led to before.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

/// A file for `path` that has everything but its name, and is on the disk. Nobody whom `mode` does not let could read
/// it at any time, and the umask takes nothing away from `mode`.
///
/// # Errors
///
/// The operating system refuses.
pub fn prepare(path: &Path, content: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let permissions = Permissions::from_mode(mode);
    let mut file = tempfile::Builder::new()
        .permissions(permissions.clone())
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(content)?;
    file.as_file().set_permissions(permissions)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Write a file. What has its name is replaced.
///
/// # Errors
///
/// The operating system refuses; then everything is as it was.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    prepare(path, content, mode)?.persist(path)?;
    Ok(())
}

/// For what everybody may read.
pub const READABLE: u32 = 0o644;

/// For what its owner alone may read.
pub const PRIVATE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_mode_and_replaces_what_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        for (content, mode) in [("first", READABLE), ("second", PRIVATE)] {
            write(&path, content.as_bytes(), mode).expect("written");
            assert_eq!(std::fs::read_to_string(&path).expect("a file"), content);
            let found = path.metadata().expect("a file").permissions().mode() & 0o777;
            assert_eq!(found, mode);
        }
        prepare(&path, b"third", READABLE).expect("a file");
        let left = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 1, "what gets no name is gone");
        write(&folder.path().join("none/file"), b"", READABLE).expect_err("no folder");
    }
}
