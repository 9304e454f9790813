//! registries.d: which signature store belongs to which registry (containers-registries.d(5)).
//!
//! Like the reference implementation and unlike its manual, each value is looked up by itself: what the
//! most specific section does not say, a less specific one does.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guest_policy::reference::Reference;
use guest_policy::scope::{docker_identity, docker_namespaces};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

use super::location::{InvalidLocation, Location, redacted};
use crate::image::read_limited;
use crate::registry::effective_user;

/// The merged configuration.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct RegistriesD {
    default: Option<Section>,
    docker: BTreeMap<String, Section>,
    unconfigured: String,
}

impl RegistriesD {
    /// Read and merge every file.
    ///
    /// # Errors
    ///
    /// A directory or file cannot be read, is not valid, or contradicts another one.
    pub fn load(directories: &Directories) -> Result<Self, RegistriesDError> {
        if let Directories::Loaded(loaded) = directories {
            return Ok(Self::clone(loaded));
        }
        let mut merged = Self { unconfigured: default_store(), ..Self::default() };
        let mut default_from = None;
        let mut docker_from: BTreeMap<String, PathBuf> = BTreeMap::new();
        for path in directories.files()? {
            let document = Document::read(&path)?;
            let twice = |what: String, first: &Path| RegistriesDError::Twice {
                what,
                first: first.display().to_string(),
                second: path.display().to_string(),
            };
            if let Some(section) = document.default_docker {
                if let Some(first) = default_from.replace(path.clone()) {
                    return Err(twice("\"default-docker\"".to_owned(), &first));
                }
                merged.default = Some(section);
            }
            for (namespace, section) in document.docker.unwrap_or_default() {
                if let Some(first) = docker_from.insert(namespace.clone(), path.clone()) {
                    return Err(twice(format!("\"docker\" namespace {namespace:?}"), &first));
                }
                merged.docker.insert(namespace, section.unwrap_or_default());
            }
        }
        Ok(merged)
    }

    /// Where the signatures of a repository are read, below which [`Location::signature`] are the single
    /// ones. There always is one.
    ///
    /// # Errors
    ///
    /// The configured value is no URL.
    pub fn lookaside(&self, reference: &Reference) -> Result<Location, RegistriesDError> {
        self.location(reference, Access::Read)
    }

    /// Where signatures of a repository are written.
    ///
    /// # Errors
    ///
    /// The configured value is no URL.
    pub fn staging(&self, reference: &Reference) -> Result<Location, RegistriesDError> {
        self.location(reference, Access::Write)
    }

    /// Whether it is said where signatures are written, not only where they are read.
    pub fn has_staging(&self, reference: &Reference) -> bool {
        let said = |section: &Section| {
            let staging = [&section.lookaside_staging, &section.sigstore_staging];
            let staged = staging.into_iter().flatten().any(|store| !store.is_empty());
            section.store(Access::Write).map(|_| staged)
        };
        self.first(reference, said).unwrap_or(false)
    }

    /// The configuration of a verifier that reads where this one has signatures written.
    #[must_use]
    pub fn staged(&self) -> Self {
        // What a section does not say, another one does: so each by itself.
        let staged = |section: &Section| Section {
            lookaside: section.store(Access::Write).map(str::to_owned),
            use_sigstore_attachments: section.use_sigstore_attachments,
            ..Section::default()
        };
        Self {
            default: self.default.as_ref().map(staged),
            docker: self
                .docker
                .iter()
                .map(|(name, section)| (name.clone(), staged(section)))
                .collect(),
            unconfigured: self.unconfigured.clone(),
        }
    }

    /// The configured store, without the repository's path.
    pub fn store(&self, reference: &Reference, access: Access) -> Option<&str> {
        self.first(reference, |section| section.store(access))
    }

    /// Whether signatures are attached to images in the registry, as cosign does.
    pub fn uses_attachments(&self, reference: &Reference) -> bool {
        self.first(reference, |section| section.use_sigstore_attachments).unwrap_or(false)
    }

    /// The section that holds where no namespace does.
    pub fn default_section(&self) -> Option<&Section> {
        self.default.as_ref()
    }

    /// The sections by namespace.
    pub fn sections(&self) -> &BTreeMap<String, Section> {
        &self.docker
    }

    fn location(
        &self,
        reference: &Reference,
        access: Access,
    ) -> Result<Location, RegistriesDError> {
        let store = self.store(reference, access).unwrap_or(&self.unconfigured);
        let base: Location = store
            .parse()
            .map_err(|source| RegistriesDError::Location { store: redacted(store), source })?;
        Ok(base.repository(reference.path()))
    }

    fn first<'a, T>(
        &'a self,
        reference: &Reference,
        value: impl Fn(&'a Section) -> Option<T>,
    ) -> Option<T> {
        let keys = std::iter::once(docker_identity(reference)).chain(docker_namespaces(reference));
        let sections = keys.filter_map(|key| self.docker.get(&key)).chain(&self.default);
        sections.map(value).find(Option::is_some).flatten()
    }
}

/// One entry of registries.d.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct Section {
    /// Where signatures are read, and written if nothing else is said.
    pub lookaside: Option<String>,
    /// Where signatures are written.
    pub lookaside_staging: Option<String>,
    /// The name of `lookaside` before containers/image 5.25.
    pub sigstore: Option<String>,
    /// The name of `lookaside-staging` before containers/image 5.25.
    pub sigstore_staging: Option<String>,
    /// Whether signatures are attached to images, as cosign does.
    #[serde(default, deserialize_with = "boolean")]
    pub use_sigstore_attachments: Option<bool>,
}

impl Section {
    /// The store that this section alone names.
    pub fn store(&self, access: Access) -> Option<&str> {
        let staging = match access {
            Access::Read => [None, None],
            Access::Write => [self.lookaside_staging.as_deref(), self.sigstore_staging.as_deref()],
        };
        let stores =
            staging.into_iter().chain([self.lookaside.as_deref(), self.sigstore.as_deref()]);
        stores.flatten().find(|store| !store.is_empty())
    }
}

/// What a signature store is wanted for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Verifying.
    Read,
    /// Signing.
    Write,
}

/// Where the files of registries.d are.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Directories {
    /// One directory, which need not exist.
    Explicit(PathBuf),
    /// The layers of the system and the user: a file in a later one replaces the file of the same name in
    /// all earlier ones.
    Layers(Vec<PathBuf>),
    /// They were read, and are not read again: for servers, whose answers of one generation rest on the same
    /// files.
    Loaded(Arc<RegistriesD>),
}

impl Directories {
    /// `/usr/share/containers`, `/etc/containers` and the user's, with the directories for root or for
    /// other users.
    pub fn from_environment() -> Self {
        Self::layers(Path::new("/"), super::user_configuration().as_deref(), effective_user())
    }

    /// The layers below `root`, for a user and that user's configuration directory.
    pub fn layers(root: &Path, user_configuration: Option<&Path>, user: Option<u32>) -> Self {
        let mut layers = Vec::new();
        for base in ["usr/share/containers", "etc/containers"] {
            let base = root.join(base);
            layers.push(base.join("registries.d"));
            match user {
                Some(0) => layers.push(base.join("registries.rootful.d")),
                Some(user) => {
                    layers.push(base.join("registries.rootless.d"));
                    layers.push(base.join("registries.rootless.d").join(user.to_string()));
                }
                None => layers.push(base.join("registries.rootless.d")),
            }
        }
        layers.extend(user_configuration.map(|dir| dir.join("containers/registries.d")));
        Self::Layers(layers)
    }

    /// The files, by name.
    fn files(&self) -> Result<Vec<PathBuf>, RegistriesDError> {
        let directories = match self {
            Self::Explicit(directory) => std::slice::from_ref(directory),
            Self::Layers(directories) => directories.as_slice(),
            Self::Loaded(_) => &[],
        };
        let mut files = BTreeMap::new();
        for directory in directories {
            let fault = |e: std::io::Error| RegistriesDError::Unreadable {
                path: directory.display().to_string(),
                fault: e.to_string(),
            };
            let entries = match std::fs::read_dir(directory) {
                Ok(entries) => entries,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(fault(e)),
            };
            for entry in entries {
                let path = entry.map_err(fault)?.path();
                if let Some(name) = path.file_name()
                    && name.as_encoded_bytes().ends_with(b".yaml")
                {
                    files.insert(name.to_owned(), path);
                }
            }
        }
        Ok(files.into_values().collect())
    }
}

/// registries.d cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistriesDError {
    /// A file is not what containers-registries.d(5) describes.
    #[error("cannot use {path}: {fault}; see containers-registries.d(5)")]
    Invalid {
        /// The file.
        path: String,
        /// What is wrong, and where.
        fault: String,
    },
    /// A value is no URL.
    #[error("Invalid signature storage URL {store}: {source}")]
    Location {
        /// The value.
        store: String,
        /// What is wrong.
        source: InvalidLocation,
    },
    /// Two files contradict each other.
    #[error(
        "Error parsing signature storage configuration: {what} defined both in {first:?} and {second:?}; remove one"
    )]
    Twice {
        /// What they both define.
        what: String,
        /// The one file.
        first: String,
        /// The other file.
        second: String,
    },
    /// The operating system refused.
    #[error("cannot read {path}: {fault}")]
    Unreadable {
        /// File or directory.
        path: String,
        /// Why.
        fault: String,
    },
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    default_docker: Option<Section>,
    docker: Option<BTreeMap<String, Option<Section>>>,
}

impl Document {
    fn read(path: &Path) -> Result<Self, RegistriesDError> {
        let content = read_limited(path, MAX_FILE_BYTES).map_err(|e| {
            RegistriesDError::Unreadable { path: path.display().to_string(), fault: e.to_string() }
        })?;
        let invalid =
            |fault: String| RegistriesDError::Invalid { path: path.display().to_string(), fault };
        // Only the first document counts.
        let mut content = content.as_slice();
        let options = serde_saphyr::options! { with_snippet: false };
        let first =
            serde_saphyr::read_with_options::<_, Option<Self>>(&mut content, options).next();
        match first {
            Some(document) => {
                document.map(Option::unwrap_or_default).map_err(|e| invalid(e.to_string()))
            }
            None => Ok(Self::default()),
        }
    }
}

/// A YAML boolean or null; the text `"true"` is none, as in the reference implementation.
fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    struct Boolean;
    impl Visitor<'_> for Boolean {
        type Value = Option<bool>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true or false, without quotation marks")
        }

        fn visit_bool<E>(self, value: bool) -> Result<Option<bool>, E> {
            Ok(Some(value))
        }

        fn visit_unit<E>(self) -> Result<Option<bool>, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Boolean)
}

/// Where signatures are when nothing is configured.
fn default_store() -> String {
    match (effective_user(), std::env::home_dir()) {
        (Some(0), _) | (_, None) => "file:///var/lib/containers/sigstore".to_owned(),
        (_, Some(home)) => format!("file://{}/.local/share/containers/sigstore", home.display()),
    }
}

/// Largest file of registries.d: thousands of sections.
const MAX_FILE_BYTES: usize = 1024 * 1024;
