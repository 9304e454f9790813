//! Where policies come from: the file, and the key files that it names.
//!
//! The host reads, the engine judges: a key file that cannot be read is handed to the engine as such,
//! which makes it an error where a verdict rests on it.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use guest_policy::image::KeyFile;
use guest_policy::verdict::{Mistake, Severity};

use crate::engine::{Engine, EngineError, LoadError, Policy};
use crate::evidence::user_configuration;
use crate::image::{FileFault, read_limited};

/// A policy document as it was read.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    path: PathBuf,
    document: Vec<u8>,
}

impl PolicyFile {
    /// Read the file that `path` names; without one, the file that containers-policy.json(5) says:
    /// `$CONTAINERS_POLICY_JSON`, else the first that exists of `$XDG_CONFIG_HOME/containers/policy.json`,
    /// `/etc/containers/policy.json` and `/usr/share/containers/policy.json`. Nothing is merged.
    ///
    /// # Errors
    ///
    /// There is none, or the first one that exists cannot be read.
    pub fn find(path: Option<&Path>) -> Result<Self, PolicyError> {
        if let Some(path) = path {
            return Self::read(path);
        }
        if let Some(path) = std::env::var_os("CONTAINERS_POLICY_JSON").filter(|v| !v.is_empty()) {
            return Self::read(Path::new(&path));
        }
        Self::first(default_paths(user_configuration().as_deref()))
    }

    /// Read one file.
    ///
    /// # Errors
    ///
    /// It is missing, not a regular file, larger than [`MAX_POLICY_BYTES`], or may not be read.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let document = read_limited(path, MAX_POLICY_BYTES)
            .map_err(|fault| PolicyError::Unreadable { path: path.to_owned(), fault })?;
        Ok(Self { path: path.to_owned(), document })
    }

    /// One that is about to be written to `path`, or was recorded: what lies there is not looked at.
    pub fn of(path: PathBuf, document: Vec<u8>) -> Self {
        Self { path, document }
    }

    /// The path by which it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes.
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    /// Load the policy with its key files.
    ///
    /// # Errors
    ///
    /// The document is not a policy, or the engine gives no answer.
    pub fn load(&self, engine: &Engine) -> Result<Policy, PolicyError> {
        self.load_with(engine, &self.keys(engine)?)
    }

    /// The key files that the document names, read. One that cannot be read is among them, with the reason.
    ///
    /// # Errors
    ///
    /// The document is not a policy, or the engine gives no answer.
    pub fn keys(&self, engine: &Engine) -> Result<Vec<KeyFile>, PolicyError> {
        match engine.key_paths(&self.document).map_err(|e| self.unjudged(e))? {
            Ok(paths) => Ok(self.key_files(paths)),
            Err(mistakes) => Err(self.invalid(mistakes)),
        }
    }

    /// Where a key file is that the document names: a relative path is relative to the document's folder.
    pub fn key_path(&self, named: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(named)
    }

    /// Load the policy with key files that were read before.
    ///
    /// # Errors
    ///
    /// As [`PolicyFile::load`].
    pub fn load_with(&self, engine: &Engine, keys: &[KeyFile]) -> Result<Policy, PolicyError> {
        engine.load(&self.document, keys).map_err(|error| self.unloaded(error))
    }

    /// The same as a snapshot, which takes a second and makes every evaluation faster: for servers.
    ///
    /// # Errors
    ///
    /// As [`PolicyFile::load`].
    pub fn load_snapshot(&self, engine: &Engine, keys: &[KeyFile]) -> Result<Policy, PolicyError> {
        engine.load_snapshot(&self.document, keys).map_err(|error| self.unloaded(error))
    }

    /// Every mistake: errors, then warnings. With `keys`, the key files are opened and looked at, too.
    ///
    /// # Errors
    ///
    /// The engine gives no answer.
    pub fn check(&self, engine: &Engine, keys: bool) -> Result<Vec<Mistake>, PolicyError> {
        let files = match keys.then(|| engine.key_paths(&self.document)).transpose() {
            Ok(Some(Ok(paths))) => self.key_files(paths),
            // The mistakes are found again by `check`, with the warnings.
            Ok(Some(Err(_)) | None) => Vec::new(),
            Err(error) => return Err(self.unjudged(error)),
        };
        engine.check(&self.document, &files).map_err(|e| self.unjudged(e))
    }

    /// What of the document other implementations of containers-policy.json(5) refuse, though it is right here.
    ///
    /// # Errors
    ///
    /// The engine gives no answer.
    pub fn dialect(&self, engine: &Engine) -> Result<Vec<Mistake>, PolicyError> {
        engine.dialect(&self.document).map_err(|e| self.unjudged(e))
    }

    fn first(paths: Vec<PathBuf>) -> Result<Self, PolicyError> {
        for path in &paths {
            match Self::read(path) {
                // Anything else might hide a policy, and a less specific one could be laxer.
                Err(PolicyError::Unreadable { fault: FileFault::Io { source, .. }, .. })
                    if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                found => return found,
            }
        }
        Err(PolicyError::NotFound { searched: paths })
    }

    /// Read what the document names.
    fn key_files(&self, paths: Vec<String>) -> Vec<KeyFile> {
        let mut left = MAX_KEY_BYTES_TOTAL;
        let mut read = |path: &str| {
            let path = self.key_path(path);
            let content =
                read_limited(&path, MAX_KEY_FILE_BYTES).map_err(|f| in_words(&path, &f))?;
            left = left.checked_sub(content.len()).ok_or_else(|| {
                format!(
                    "open {}: key files have more than {MAX_KEY_BYTES_TOTAL} bytes in total",
                    path.display()
                )
            })?;
            Ok(content)
        };
        paths.into_iter().map(|path| KeyFile { content: read(&path), path }).collect()
    }

    fn unloaded(&self, error: LoadError) -> PolicyError {
        match error {
            LoadError::Engine(error) => self.unjudged(error),
            LoadError::Invalid(mistakes) => self.invalid(mistakes),
        }
    }

    fn invalid(&self, mistakes: Vec<Mistake>) -> PolicyError {
        PolicyError::Invalid { path: self.path.clone(), mistakes }
    }

    fn unjudged(&self, source: EngineError) -> PolicyError {
        PolicyError::Engine { path: self.path.clone(), source }
    }
}

/// There is no policy to decide by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The sandbox gave no answer about the document.
    #[error("cannot load policy \"{}\": {source}", .path.display())]
    Engine {
        /// The file.
        path: PathBuf,
        /// Why.
        source: EngineError,
    },
    /// The document is not a policy.
    #[error("invalid policy in \"{}\": {}", .path.display(), told(.mistakes))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        mistakes: Vec<Mistake>,
    },
    /// No file is where policies are searched.
    #[error(
        "no policy.json file found; searched paths: [{}]; write one, or name one with --policy",
        listed(.searched)
    )]
    NotFound {
        /// The places.
        searched: Vec<PathBuf>,
    },
    /// The file cannot be read.
    #[error(
        "cannot read policy \"{}\": {}; expected a file as containers-policy.json(5) describes it",
        .path.display(), without_path(.fault)
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        fault: FileFault,
    },
}

impl PolicyError {
    /// The reason's code, documented in docs/reasons.md.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Engine { .. } => "evaluation-failed",
            Self::Invalid { .. } => "policy-invalid",
            Self::NotFound { .. } => "policy-missing",
            Self::Unreadable { .. } => "policy-unreadable",
        }
    }
}

/// The files of the user, the administrator and the distribution, in lookup order.
fn default_paths(user_configuration: Option<&Path>) -> Vec<PathBuf> {
    let user = user_configuration.map(|folder| folder.join("containers/policy.json"));
    user.into_iter()
        .chain(["/etc/containers/policy.json".into(), "/usr/share/containers/policy.json".into()])
        .collect()
}

/// The mistakes that make a document invalid: the first where it is read first, each with its place.
fn told(mistakes: &[Mistake]) -> String {
    let errors: Vec<_> = mistakes.iter().filter(|m| m.severity == Severity::Error).collect();
    let mut text = String::new();
    for (place, mistake) in errors.iter().enumerate() {
        if place > 0 {
            text.push_str("\n  ");
        }
        text.push_str(&mistake.message);
        let _ = match mistake.line {
            0 => write!(text, " (at {})", mistake.path),
            line => write!(text, " (line {line}, column {}, at {})", mistake.column, mistake.path),
        };
        if let Some(hint) = &mistake.hint {
            let _ = write!(text, "; {hint}");
        }
    }
    match errors.as_slice() {
        [] => "the engine refuses it and gives no reason".to_owned(),
        _ => text,
    }
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
}

/// What is wrong with a file that is named already.
fn without_path(fault: &FileFault) -> String {
    match fault {
        FileFault::Io { source, .. } => source.to_string(),
        FileFault::TooLarge { limit, .. } => {
            format!("exceeded maximum allowed size of {limit} bytes")
        }
        other => other.to_string(),
    }
}

/// Why a key file was not read, in the form that the reference implementation gives it: the system's words
/// in lower case, without their number.
fn in_words(path: &Path, fault: &FileFault) -> String {
    let text = without_path(fault);
    let text = match fault {
        FileFault::Io { .. } => text.split(" (os error").next().unwrap_or_default().to_lowercase(),
        _ => text,
    };
    format!("open {}: {text}", path.display())
}

/// Largest policy document. One of 1,000 scopes has less than a third of it; keys lie in files.
pub const MAX_POLICY_BYTES: usize = 1024 * 1024;

/// Largest key file. The public key ring of a distribution with dozens of large keys has a tenth of it.
pub const MAX_KEY_FILE_BYTES: usize = 1024 * 1024;

/// Most bytes of all key files together, so that they fit the sandbox's memory several times over.
pub const MAX_KEY_BYTES_TOTAL: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_file_that_exists_is_the_whole_policy() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("second"), "2").expect("a file");
        std::fs::write(path("third"), "3").expect("a file");
        let found = PolicyFile::first(vec![path("first"), path("second"), path("third")]);
        assert_eq!(found.expect("a policy").document(), b"2");
    }

    #[test]
    fn file_that_cannot_be_read_hides_no_laxer_one() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("lax"), "{}").expect("a file");
        let found = PolicyFile::first(vec![folder.path().to_owned(), folder.path().join("lax")]);
        assert!(matches!(found, Err(PolicyError::Unreadable { .. })), "{found:?}");
    }

    #[test]
    fn absence_names_every_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = default_paths(Some(folder.path()));
        let user = format!("{}/containers/policy.json", folder.path().display());
        assert_eq!(paths.first().expect("the user's").display().to_string(), user);
        let error = PolicyFile::first(vec![folder.path().join("a"), folder.path().join("b/c")])
            .expect_err("no file");
        let text = error.to_string();
        assert!(text.starts_with("no policy.json file found; searched paths: ["), "{text}");
        assert!(text.contains("/a ") && text.contains("b/c]"), "{text}");
    }

    #[test]
    fn policy_of_one_byte_too_many_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("policy.json");
        std::fs::write(&path, vec![b' '; MAX_POLICY_BYTES]).expect("a file");
        assert!(PolicyFile::read(&path).is_ok());
        std::fs::write(&path, vec![b' '; MAX_POLICY_BYTES + 1]).expect("a file");
        let error = PolicyFile::read(&path).expect_err("too large");
        assert!(error.to_string().contains("exceeded maximum allowed size of 1048576 bytes"));
    }

    #[test]
    fn key_files_are_found_beside_the_policy_and_faults_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("policy.json"), "{}").expect("a file");
        std::fs::write(folder.path().join("a.gpg"), "key").expect("a file");
        let policy = PolicyFile::read(&folder.path().join("policy.json")).expect("a policy");
        let files = policy.key_files(vec!["a.gpg".into(), "none.gpg".into(), ".".into()]);
        assert_eq!(files[0].content, Ok(b"key".to_vec()));
        assert_eq!(files[1].path, "none.gpg");
        let missing = folder.path().join("none.gpg");
        let words = format!("open {}: no such file or directory", missing.display());
        assert_eq!(files[1].content, Err(words));
        assert!(files[2].content.is_err());
    }

    #[test]
    fn key_files_are_limited_in_total() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("policy.json"), "{}").expect("a file");
        std::fs::write(folder.path().join("key"), vec![0; MAX_KEY_FILE_BYTES]).expect("a file");
        let policy = PolicyFile::read(&folder.path().join("policy.json")).expect("a policy");
        let allowed = MAX_KEY_BYTES_TOTAL / MAX_KEY_FILE_BYTES;
        let files = policy.key_files(vec!["key".to_owned(); allowed + 1]);
        let read = files.iter().filter(|file| file.content.is_ok()).count();
        assert_eq!(read, allowed);
    }
}
