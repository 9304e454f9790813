//! Image names (containers-transports(5)) and their one resolution to a manifest.
//!
//! A name is resolved once for each decision: the digest of the bytes that were read is the digest
//! that is verified and reported, and whatever is fetched later is asked for by that digest.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use guest_policy::digest::Digest;
use guest_policy::image::{MAX_MANIFEST_BYTES, Subject};
use guest_policy::manifest;
use guest_policy::reference::{Reference, ReferenceError};

use crate::registry::{Client, Download, Manifest, RegistryError};

mod archive;
mod directory;
mod layout;
mod platform;

pub(crate) use directory::{file_stem, read_limited};
pub use guest_policy::platform::{InvalidPlatform, Platform};
pub(crate) use layout::blob_name;
pub use platform::PlatformSelection;

/// An image as users name it: `TRANSPORT:…`. Without a transport, `docker://` is meant.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ImageName {
    /// `dir:PATH`: manifest, blobs and signatures as plain files.
    Directory {
        /// As the user wrote it.
        path: PathBuf,
    },
    /// `docker://HOST/PATH[:TAG|@DIGEST]`: an image in a registry.
    Docker {
        /// With its default tag.
        reference: Reference,
    },
    /// `docker-archive:PATH[:REFERENCE|:@INDEX]`: what `docker save` writes.
    DockerArchive {
        /// As the user wrote it.
        path: PathBuf,
        /// Which image of the archive.
        choice: ArchiveChoice,
    },
    /// `oci:PATH[:NAME|:@INDEX]`: an OCI image layout.
    Oci {
        /// As the user wrote it.
        path: PathBuf,
        /// Which image of the layout.
        choice: LayoutChoice,
    },
    /// `oci-archive:PATH[:NAME|:@INDEX]`: an OCI image layout in a tar file.
    OciArchive {
        /// As the user wrote it.
        path: PathBuf,
        /// Which image of the layout.
        choice: LayoutChoice,
    },
}

impl ImageName {
    /// What the policy is asked about.
    ///
    /// Paths are made absolute and their symbolic links are followed, as the reference implementation
    /// does; a last component that does not exist is kept. With `judged_as`, everything is as though
    /// the image had been pulled as `docker://JUDGED_AS`.
    ///
    /// # Errors
    ///
    /// A path cannot be resolved.
    pub fn subject(&self, judged_as: Option<&Reference>) -> Result<Subject, ImageError> {
        if let Some(reference) = judged_as {
            return Ok(docker_subject(&reference.clone().with_default_tag()));
        }
        let subject = |transport: &str, reference: Option<&Reference>, path| Subject {
            transport: transport.to_owned(),
            name: self.to_string(),
            reference: reference.map(Reference::to_string),
            path,
        };
        Ok(match self {
            Self::Directory { path } => subject("dir", None, Some(explicit_path(path)?)),
            Self::Docker { reference } => docker_subject(reference),
            // The reference implementation gives archives of docker no identity.
            Self::DockerArchive { choice, .. } => {
                let reference = match choice {
                    ArchiveChoice::Reference(reference) => Some(reference),
                    ArchiveChoice::Only | ArchiveChoice::Index(_) => None,
                };
                subject("docker-archive", reference, None)
            }
            Self::Oci { path, .. } => subject("oci", None, Some(explicit_path(path)?)),
            Self::OciArchive { path, .. } => {
                subject("oci-archive", None, Some(explicit_path(path)?))
            }
        })
    }

    /// Read the manifest, once. Of an index, the instances that `platforms` selects; the index itself is
    /// judged only if that is what is selected (skopeo and podman never judge it).
    ///
    /// # Errors
    ///
    /// The image cannot be read, is malformed, is not what its digest says, or has no instance for the
    /// platform.
    pub async fn resolve(
        &self,
        client: &Client,
        judged_as: Option<&Reference>,
        platforms: &PlatformSelection,
    ) -> Result<Vec<Resolved>, ImageError> {
        let subject = self.subject(judged_as)?;
        let source = self.open(client).await?;
        let (kind, top) = self.read(&source, None).await?;
        let resolved = |digest: Digest, manifest: Vec<u8>, platform: Option<&Platform>| Resolved {
            subject: subject.clone(),
            digest,
            manifest,
            index: None,
            platform: platform.map(Platform::to_string),
            name: self.clone(),
        };
        let instances = match kind {
            manifest::Kind::Index(instances) if *platforms != PlatformSelection::Index => platforms
                .select(instances)
                .map_err(|wanted| ImageError::NoInstance { image: self.to_string(), wanted })?,
            manifest::Kind::Image | manifest::Kind::Index(_) => {
                return Ok(vec![resolved(Digest::sha256(&top), top, None)]);
            }
        };
        let mut all = Vec::with_capacity(instances.len());
        for instance in instances {
            let (kind, body) = self.read(&source, Some(&instance.digest)).await?;
            if let manifest::Kind::Index(_) = kind {
                return Err(ImageError::malformed(self, manifest::Fault::NestedIndex));
            }
            all.push(Resolved {
                index: Some(top.clone()),
                ..resolved(instance.digest, body, instance.platform.as_ref())
            });
        }
        Ok(all)
    }

    /// What lies with the image under this digest, of at most `limit` bytes: one of its blobs or a manifest beside
    /// it. Only a registry knows the two apart, so `manifest` says which is meant.
    ///
    /// # Errors
    ///
    /// It cannot be read, is larger, or has another digest.
    pub(crate) async fn document(
        &self,
        client: &Client,
        digest: &Digest,
        manifest: bool,
        limit: usize,
    ) -> Result<Vec<u8>, ImageError> {
        match self {
            Self::Docker { reference } if manifest => {
                let found = client.manifest(&reference.at(digest.clone())).await;
                found.map(|manifest| manifest.content).map_err(|e| self.registry(e))
            }
            Self::Docker { reference } => {
                client.blob(reference, digest, limit).await.map_err(|e| self.registry(e))
            }
            Self::Directory { path } => {
                let (path, digest) = (path.clone(), digest.clone());
                self.blocking(move || directory::blob(&path, &digest, limit)).await
            }
            Self::DockerArchive { path, choice } => {
                let (path, choice, digest) = (path.clone(), choice.clone(), digest.clone());
                self.blocking(move || archive::docker_config(&path, &choice, &digest)).await
            }
            Self::Oci { .. } | Self::OciArchive { .. } => {
                let (layout, digest) = (self.layout(), digest.clone());
                self.blocking(move || layout()?.blob(&digest, limit)).await
            }
        }
    }

    /// A blob that lies with the image, as a stream that nobody has checked yet.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub(crate) async fn open_blob(
        &self,
        client: &Client,
        digest: &Digest,
    ) -> Result<Opened, ImageError> {
        let digest = digest.clone();
        let (file, size) = match self {
            Self::Docker { reference } => {
                let download = client.download(reference, &digest).await;
                return download
                    .map(|d| Opened::Download(Box::new(d)))
                    .map_err(|e| self.registry(e));
            }
            Self::Directory { path } => {
                let path = path.join(file_stem(&digest));
                self.blocking(move || directory::open(&path)).await?
            }
            Self::DockerArchive { path, choice } => {
                let (path, choice) = (path.clone(), choice.clone());
                self.blocking(move || archive::docker_blob(&path, &choice, &digest)).await?
            }
            Self::Oci { .. } | Self::OciArchive { .. } => {
                let layout = self.layout();
                self.blocking(move || layout()?.open_blob(&digest)).await?
            }
        };
        Ok(Opened::File(file, size))
    }

    /// The manifest of an instance of the index that this is the name of.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has another digest.
    pub(crate) async fn instance(
        &self,
        client: &Client,
        digest: &Digest,
    ) -> Result<Vec<u8>, ImageError> {
        match self {
            Self::Directory { path } => {
                let (path, digest) = (path.clone(), digest.clone());
                self.blocking(move || directory::manifest(&path, Some(&digest))).await
            }
            _ => self.document(client, digest, true, MAX_MANIFEST_BYTES).await,
        }
    }

    /// The list of everything that lies beside an image in its layout: an index of OCI, not read. Only layouts
    /// have one.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(crate) async fn neighbours(&self) -> Result<Option<Vec<u8>>, ImageError> {
        match self {
            Self::Oci { .. } | Self::OciArchive { .. } => {
                let layout = self.layout();
                self.blocking(move || layout()?.index()).await.map(Some)
            }
            Self::Directory { .. } | Self::Docker { .. } | Self::DockerArchive { .. } => Ok(None),
        }
    }

    /// How the layout is opened that the image is in.
    fn layout(&self) -> impl FnOnce() -> Result<layout::Layout, FileFault> + Send + 'static {
        let (is_archive, path) = match self {
            Self::OciArchive { path, .. } | Self::DockerArchive { path, .. } => {
                (true, path.clone())
            }
            Self::Oci { path, .. } | Self::Directory { path } => (false, path.clone()),
            Self::Docker { .. } => (false, PathBuf::new()),
        };
        move || match is_archive {
            true => layout::Layout::archive(&path),
            false => Ok(layout::Layout::directory(&path)),
        }
    }

    async fn read(
        &self,
        source: &Source<'_>,
        instance: Option<&Digest>,
    ) -> Result<(manifest::Kind, Vec<u8>), ImageError> {
        let Manifest { content, content_type } = source.manifest(instance).await?;
        let kind = manifest::Kind::of(&content, content_type.as_deref());
        Ok((kind.map_err(|fault| ImageError::malformed(self, fault))?, content))
    }

    async fn open<'a>(&'a self, client: &'a Client) -> Result<Source<'a>, ImageError> {
        Ok(match self {
            Self::Directory { path } => Source::Directory { name: self, path },
            Self::Docker { reference } => {
                let top = client.manifest(reference).await.map_err(|e| self.registry(e))?;
                Source::Docker { name: self, client, reference, top }
            }
            Self::DockerArchive { path, choice } => {
                let (path, choice) = (path.clone(), choice.clone());
                let read = move || archive::docker_manifest(&path, &choice);
                Source::Read { name: self, top: self.blocking(read).await? }
            }
            Self::Oci { path, choice } => {
                let layout = layout::Layout::directory(path);
                let descriptor = layout.choose(choice).map_err(|f| self.file(f))?;
                Source::Layout { name: self, layout, descriptor }
            }
            Self::OciArchive { path, choice } => {
                let (path, choice) = (path.clone(), choice.clone());
                let read = move || {
                    let layout = layout::Layout::archive(&path)?;
                    let descriptor = layout.choose(&choice)?;
                    Ok((layout, descriptor))
                };
                let (layout, descriptor) = self.blocking(read).await?;
                Source::Layout { name: self, layout, descriptor }
            }
        })
    }

    /// Archives can be large: they are read on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, FileFault> + Send + 'static,
    ) -> Result<T, ImageError> {
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => result.map_err(|fault| self.file(fault)),
            Err(stopped) => Err(self.file(FileFault::Malformed(stopped.to_string()))),
        }
    }

    fn file(&self, fault: FileFault) -> ImageError {
        ImageError::File { image: self.to_string(), fault }
    }

    fn registry(&self, source: RegistryError) -> ImageError {
        ImageError::Registry { image: self.to_string(), source }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path } => write!(f, "dir:{}", path.display()),
            Self::Docker { reference } => write!(f, "docker://{}", reference.familiar()),
            Self::DockerArchive { path, choice } => {
                write!(f, "docker-archive:{}{choice}", path.display())
            }
            Self::Oci { path, choice } => write!(f, "oci:{}{choice}", path.display()),
            Self::OciArchive { path, choice } => {
                write!(f, "oci-archive:{}{choice}", path.display())
            }
        }
    }
}

impl FromStr for ImageName {
    type Err = InvalidImageName;

    fn from_str(text: &str) -> Result<Self, InvalidImageName> {
        let invalid = |fault| InvalidImageName { text: text.to_owned(), fault };
        if let Some((transport, rest)) = text.split_once(':') {
            if let Some(read) = reader(transport) {
                return read(rest).map_err(invalid);
            }
            if UNREADABLE_TRANSPORTS.contains(&transport) {
                return Err(invalid(NameFault::Transport { transport: transport.to_owned() }));
            }
            // `host:5000/x` and `busybox:1` are bare names; `scheme://` is not.
            if rest.starts_with("//") {
                return Err(invalid(NameFault::Transport { transport: transport.to_owned() }));
            }
        }
        docker_name(text).map_err(invalid)
    }
}

/// Which image of an archive of docker is meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ArchiveChoice {
    /// The only one.
    Only,
    /// The one tagged so.
    Reference(Reference),
    /// The one at this place, from 0.
    Index(usize),
}

impl fmt::Display for ArchiveChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => Ok(()),
            Self::Reference(reference) => write!(f, ":{reference}"),
            Self::Index(index) => write!(f, ":@{index}"),
        }
    }
}

/// Which image of an OCI layout is meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LayoutChoice {
    /// The only one.
    Only,
    /// The one whose annotation `org.opencontainers.image.ref.name` is this.
    Name(String),
    /// The one at this place, from 0.
    Index(usize),
}

impl fmt::Display for LayoutChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The reference implementation prints the colon in any case.
            Self::Only => f.write_str(":"),
            Self::Name(name) => write!(f, ":{name}"),
            Self::Index(index) => write!(f, ":@{index}"),
        }
    }
}

/// A blob that can be read.
#[derive(Debug)]
pub(crate) enum Opened {
    /// From a registry.
    Download(Box<Download>),
    /// From where the file stands, so many bytes.
    File(std::fs::File, u64),
}

/// An image with its manifest, resolved once.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Who asks about what.
    pub subject: Subject,
    /// Digest of `manifest`.
    pub digest: Digest,
    /// Raw manifest.
    pub manifest: Vec<u8>,
    /// Raw index that the manifest was chosen from.
    pub index: Option<Vec<u8>>,
    /// `os/architecture[/variant]`, if the index tells.
    pub platform: Option<String>,
    /// Where it was read from; its signatures may lie there, too.
    pub name: ImageName,
}

/// An image was not resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The image lies in a file that cannot be read or is not what it should be.
    #[error("cannot read image {image}: {fault}")]
    File {
        /// The image.
        image: String,
        /// What is wrong.
        fault: FileFault,
    },
    /// The manifest is not one that may be judged.
    #[error("cannot use the manifest of image {image}: {fault}")]
    Malformed {
        /// The image.
        image: String,
        /// What is wrong.
        fault: String,
    },
    /// No instance of the index is made for the platform.
    #[error(
        "cannot choose an instance of image {image}: no image found in manifest list for {wanted}; \
         choose one with --platform, or judge all with --all-platforms"
    )]
    NoInstance {
        /// The image.
        image: String,
        /// The platform.
        wanted: Platform,
    },
    /// A path could not be made absolute.
    #[error("cannot resolve path {path}: {source}")]
    Path {
        /// The path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The registry refused or failed.
    #[error("cannot read image {image}: {source}")]
    Registry {
        /// The image.
        image: String,
        /// Why.
        source: RegistryError,
    },
}

impl ImageError {
    pub(crate) fn malformed(name: &ImageName, fault: manifest::Fault) -> Self {
        Self::Malformed { image: name.to_string(), fault: fault.to_string() }
    }
}

/// What is wrong with the file of an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileFault {
    /// The layout or archive has several images.
    #[error("more than one image in it, choose one: {choices}")]
    Ambiguous {
        /// How to name each.
        choices: String,
    },
    /// The bytes are not those that their digest promises.
    #[error("{path} has digest {found}, expected {expected}: the image was changed or is damaged")]
    Digest {
        /// The file.
        path: String,
        /// What was asked for.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The content is not what the format demands.
    #[error("{0}")]
    Malformed(String),
    /// The layout or archive has no such image.
    #[error("no image {choice} in it{choices}")]
    Missing {
        /// What was asked for.
        choice: String,
        /// What is there, in words.
        choices: String,
    },
    /// Larger than allowed.
    #[error("{path} exceeded maximum allowed size of {limit} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// In bytes.
        limit: usize,
    },
}

/// A text is not the name of an image that can be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid image name {text:?}: {fault}")]
pub struct InvalidImageName {
    text: String,
    fault: NameFault,
}

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum NameFault {
    #[error(
        "expected docker://HOST/PATH[:TAG|@DIGEST], with two slashes (or the name without docker:)"
    )]
    DockerSlashes,
    #[error("expected a number from 0 after @, got {0:?}")]
    Index(String),
    #[error("the path is missing")]
    NoPath,
    #[error("{0}; expected [HOST[:PORT]/]PATH[:TAG|@DIGEST]")]
    Reference(#[from] ReferenceError),
    #[error(
        "Docker references with both a tag and digest are currently not supported: leave one of them out"
    )]
    TagAndDigest,
    #[error(
        "images of transport {transport:?} cannot be read; expected docker://, oci:, oci-archive:, dir: or docker-archive: \
         (skopeo copy can bring an image into one of these)"
    )]
    Transport { transport: String },
}

/// Where manifests of an image are read from.
enum Source<'a> {
    Directory { name: &'a ImageName, path: &'a Path },
    Docker { name: &'a ImageName, client: &'a Client, reference: &'a Reference, top: Manifest },
    Layout { name: &'a ImageName, layout: layout::Layout, descriptor: Digest },
    Read { name: &'a ImageName, top: Vec<u8> },
}

impl Source<'_> {
    /// The top-level manifest, or the instance with this digest. The bytes have the digest.
    async fn manifest(&self, instance: Option<&Digest>) -> Result<Manifest, ImageError> {
        let content = match (self, instance) {
            (Self::Directory { name, path }, _) => {
                directory::manifest(path, instance).map_err(|fault| name.file(fault))?
            }
            (Self::Docker { top, .. }, None) => return Ok(top.clone()),
            (Self::Docker { name, client, reference, .. }, Some(digest)) => {
                let reference = reference.at(digest.clone());
                return client.manifest(&reference).await.map_err(|e| name.registry(e));
            }
            (Self::Layout { name, layout, descriptor }, _) => layout
                .blob(instance.unwrap_or(descriptor), MAX_MANIFEST_BYTES)
                .map_err(|fault| name.file(fault))?,
            (Self::Read { top, .. }, None) => top.clone(),
            (Self::Read { name, .. }, Some(_)) => {
                return Err(ImageError::malformed(name, manifest::Fault::NestedIndex));
            }
        };
        Ok(Manifest { content, content_type: None })
    }
}

fn docker_subject(reference: &Reference) -> Subject {
    Subject {
        transport: "docker".to_owned(),
        name: format!("docker://{}", reference.familiar()),
        reference: Some(reference.to_string()),
        path: None,
    }
}

/// Absolute, symbolic links followed; a last component that does not exist is kept.
fn explicit_path(path: &Path) -> Result<String, ImageError> {
    let error = |source| ImageError::Path { path: path.display().to_string(), source };
    let resolved = match path.symlink_metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let leaf = path.file_name().ok_or_else(|| error(e))?;
            let parent = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            parent.canonicalize().map_err(error)?.join(leaf)
        }
        _ => path.canonicalize().map_err(error)?,
    };
    resolved.into_os_string().into_string().map_err(|_| {
        error(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "it resolves to a path that is not UTF-8",
        ))
    })
}

type Reader = fn(&str) -> Result<ImageName, NameFault>;

fn reader(transport: &str) -> Option<Reader> {
    Some(match transport {
        "dir" => |rest| Ok(ImageName::Directory { path: nonempty(rest)? }),
        "docker" => |rest| docker_name(rest.strip_prefix("//").ok_or(NameFault::DockerSlashes)?),
        "docker-archive" => |rest| {
            let (path, choice) = rest.split_once(':').unwrap_or((rest, ""));
            let choice = match choice.strip_prefix('@') {
                Some(index) => ArchiveChoice::Index(number(index)?),
                None if choice.is_empty() => ArchiveChoice::Only,
                None => {
                    let reference = Reference::parse_normalized(choice)?;
                    ArchiveChoice::Reference(reference.with_default_tag())
                }
            };
            Ok(ImageName::DockerArchive { path: nonempty(path)?, choice })
        },
        "oci" => |rest| {
            let (path, choice) = layout_name(rest)?;
            Ok(ImageName::Oci { path, choice })
        },
        "oci-archive" => |rest| {
            let (path, choice) = layout_name(rest)?;
            Ok(ImageName::OciArchive { path, choice })
        },
        _ => return None,
    })
}

fn docker_name(text: &str) -> Result<ImageName, NameFault> {
    let reference = Reference::parse_normalized(text)?;
    if reference.tag().is_some() && reference.digest().is_some() {
        return Err(NameFault::TagAndDigest);
    }
    Ok(ImageName::Docker { reference: reference.with_default_tag() })
}

fn layout_name(rest: &str) -> Result<(PathBuf, LayoutChoice), NameFault> {
    let (path, choice) = rest.split_once(':').unwrap_or((rest, ""));
    let choice = match choice.strip_prefix('@') {
        Some(index) => LayoutChoice::Index(number(index)?),
        None if choice.is_empty() => LayoutChoice::Only,
        None => LayoutChoice::Name(choice.to_owned()),
    };
    Ok((nonempty(path)?, choice))
}

fn nonempty(path: &str) -> Result<PathBuf, NameFault> {
    if path.is_empty() { Err(NameFault::NoPath) } else { Ok(PathBuf::from(path)) }
}

fn number(text: &str) -> Result<usize, NameFault> {
    text.parse().map_err(|_| NameFault::Index(text.to_owned()))
}

/// Transports of containers-transports(5) that name images which this program cannot read.
const UNREADABLE_TRANSPORTS: [&str; 6] =
    ["atomic", "containers-storage", "docker-daemon", "ostree", "sif", "tarball"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_print_as_messages_know_them() {
        for (text, printed) in [
            ("busybox", "docker://busybox:latest"),
            ("docker://example.com:5000/a/b", "docker://example.com:5000/a/b:latest"),
            ("localhost:5000/x:1", "docker://localhost:5000/x:1"),
            ("dir:/srv/image", "dir:/srv/image"),
            ("oci:/srv/layout", "oci:/srv/layout:"),
            ("oci:/srv/layout:v1:2", "oci:/srv/layout:v1:2"),
            ("oci-archive:/a.tar:@3", "oci-archive:/a.tar:@3"),
            ("docker-archive:/a.tar", "docker-archive:/a.tar"),
            (
                "docker-archive:/a.tar:busybox",
                "docker-archive:/a.tar:docker.io/library/busybox:latest",
            ),
        ] {
            let name: ImageName = text.parse().expect("valid");
            assert_eq!(name.to_string(), printed);
        }
    }

    #[test]
    fn refuses_names_that_cannot_be_read() {
        for text in [
            "",
            "docker:busybox",
            "dir:",
            "oci:",
            "oci::x",
            "containers-storage:x",
            "https://example.com/x",
            "oci:/x:@y",
            "docker://x:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "example.com/UPPER",
        ] {
            assert!(text.parse::<ImageName>().is_err(), "{text}");
        }
    }

    #[test]
    fn subject_of_a_path_follows_symbolic_links_and_keeps_a_missing_leaf() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let root = folder.path().canonicalize().expect("exists");
        std::fs::create_dir(root.join("real")).expect("created");
        std::os::unix::fs::symlink("real", root.join("link")).expect("linked");
        let subject = |leaf: &str| {
            let path = root.join("link").join(leaf);
            ImageName::Directory { path }.subject(None).expect("resolved").path
        };
        assert_eq!(subject("new"), Some(root.join("real/new").display().to_string()));
        assert_eq!(subject("."), Some(root.join("real").display().to_string()));
        std::os::unix::fs::symlink("nowhere", root.join("dangling")).expect("linked");
        assert!(ImageName::Directory { path: root.join("dangling") }.subject(None).is_err());
    }

    #[test]
    fn judged_as_replaces_the_subject_completely() {
        let name: ImageName = "dir:/nowhere/at/all".parse().expect("valid");
        let reference = Reference::parse_normalized("example.com/a").expect("valid");
        let subject = name.subject(Some(&reference)).expect("no path is looked at");
        assert_eq!(subject.transport, "docker");
        assert_eq!(subject.name, "docker://example.com/a:latest");
        assert_eq!(subject.reference.as_deref(), Some("example.com/a:latest"));
        assert_eq!(subject.path, None);
    }
}
