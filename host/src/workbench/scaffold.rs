//! New rules: a folder that builds and passes its tests.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Language, RuleName};

mod templates;

/// Write the files of a new rule into `folder`, which must not exist, or be empty.
///
/// # Errors
///
/// There is something in the folder already, or it cannot be written.
pub fn scaffold(name: &RuleName, language: Language, folder: &Path) -> Result<(), ScaffoldError> {
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |source| ScaffoldError::Unwritable { path, source }
    };
    match fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(false) => {}
        Ok(true) => return Err(ScaffoldError::Taken { folder: folder.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unwritable(folder)(error)),
    }
    for (path, content) in templates::files(language) {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(unwritable(parent))?;
        }
        // Nothing is overwritten, whoever else writes at the same time.
        let mut file = fs::File::create_new(&path).map_err(unwritable(&path))?;
        let content = content.replace(templates::NAME, name.as_str());
        io::Write::write_all(&mut file, content.as_bytes()).map_err(unwritable(&path))?;
    }
    Ok(())
}

/// A new rule was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScaffoldError {
    /// The user's mistake.
    #[error("{} is not empty; nothing is overwritten, so name another folder", folder.display())]
    Taken {
        /// The folder.
        folder: PathBuf,
    },
    /// The machine's fault.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}
