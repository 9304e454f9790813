//! The documents of an image that rules want (capability `artifact`): fetched when the first rule wants them, and
//! never too many.
//!
//! What a rule takes for absent is absent: something that cannot be fetched, or is too large, ends in an answer
//! that allows nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guest_policy::digest::Digest;
use guest_policy::evaluation::Failure;
use guest_policy::image::Evidence;
use guest_policy::rule::{Descriptor, Document, Documents, Want};
use guest_policy::verdict::{Outcome, Reason};

use crate::evidence::{EvidenceError, attached};
use crate::image::{FileFault, ImageError, ImageName};
use crate::registry::{Client, RegistryError};

/// The documents of one image.
#[derive(Debug)]
pub(crate) struct Fetched {
    documents: Documents,
    /// Why others are not there. They are not tried again.
    failures: BTreeMap<Want, Failure>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// There is nowhere to fetch from: what was not recorded was not wanted.
    Recording,
    World(Box<World>),
}

/// Where documents are fetched.
#[derive(Debug)]
struct World {
    image: ImageName,
    client: Client,
    digest: Digest,
    evidence: Arc<Evidence>,
    /// One time for all: a registry could be slow with each of them.
    left: Duration,
}

impl Fetched {
    /// Those that are known, why others were not there, and where all else is.
    pub(crate) fn new(
        image: ImageName,
        client: Client,
        digest: Digest,
        evidence: Arc<Evidence>,
        documents: Documents,
        failures: BTreeMap<Want, Failure>,
    ) -> Self {
        let left = client.deadline();
        let world = World { image, client, digest, evidence, left };
        Self { documents, failures, source: Source::World(Box::new(world)) }
    }

    /// Those of a recording, and why others were not there.
    pub(crate) fn recorded(documents: Documents, failures: BTreeMap<Want, Failure>) -> Self {
        Self { documents, failures, source: Source::Recording }
    }

    pub(crate) fn documents(&self) -> &Documents {
        &self.documents
    }

    /// The documents, and why others are not there.
    pub(crate) fn into_parts(self) -> (Documents, BTreeMap<Want, Failure>) {
        (self.documents, self.failures)
    }

    /// Have a document that a rule wants.
    pub(crate) async fn fetch(&mut self, want: &Want) -> Result<(), Failure> {
        if self.documents.contains_key(want) {
            // It was given, and is wanted again: to run the rule once more would change nothing.
            return Err(failure(
                Outcome::Error,
                "evaluation-failed",
                "internal error: it wants a document that it was given".to_owned(),
            ));
        }
        if let Some(failure) = self.failures.get(want) {
            return Err(failure.clone());
        }
        let found = self.find(want).await;
        if let Err(failure) = &found {
            self.failures.insert(want.clone(), failure.clone());
        }
        found
    }

    async fn find(&mut self, want: &Want) -> Result<(), Failure> {
        let document = match want {
            Want::Config | Want::Referrers => self.world(want).await?,
            Want::Attached(digest) => self.attached(digest).await?,
        };
        self.add(want.clone(), document)
    }

    /// A document by digest: the manifest of a referrer, or a blob that one of them names. To know that it is
    /// neither, all of them are looked at, so that the answer does not depend on what was asked before.
    async fn attached(&mut self, digest: &str) -> Result<Document, Failure> {
        let Ok(wanted) = digest.parse::<Digest>() else { return Ok(Document::Absent) };
        let referrers = self.referrers().await?;
        if referrers.iter().any(|referrer| referrer.digest == digest) {
            return self.world(&Want::Attached(digest.to_owned())).await;
        }
        for referrer in referrers.iter() {
            let at = Want::Attached(referrer.digest.clone());
            if !self.documents.contains_key(&at) {
                let manifest = self.world(&at).await?;
                self.add(at.clone(), manifest)?;
            }
            if let Some(Document::Bytes(manifest)) = self.documents.get(&at)
                && attached::names(manifest, &wanted)
            {
                return self.blob(&wanted).await;
            }
        }
        Ok(Document::Absent)
    }

    async fn referrers(&mut self) -> Result<Arc<[Descriptor]>, Failure> {
        if !self.documents.contains_key(&Want::Referrers) {
            let list = self.world(&Want::Referrers).await?;
            self.add(Want::Referrers, list)?;
        }
        match self.documents.get(&Want::Referrers) {
            Some(Document::Descriptors(list)) => Ok(Arc::clone(list)),
            _ => Ok(Arc::from([])),
        }
    }

    /// The configuration, the list, or the manifest of a referrer.
    async fn world(&mut self, want: &Want) -> Result<Document, Failure> {
        self.room()?;
        let world = self.source.world(want)?;
        let World { image, client, digest, evidence, left } = world;
        let found = async {
            match want {
                Want::Config => {
                    attached::config(image, client, &evidence.manifest).await.map(bytes)
                }
                Want::Referrers => {
                    let list = attached::referrers(image, client, digest).await?;
                    Ok(Document::Descriptors(list.into()))
                }
                Want::Attached(manifest) => match manifest.parse() {
                    Ok(manifest) => attached::manifest(image, client, &manifest).await.map(bytes),
                    Err(_) => Ok(Document::Absent),
                },
            }
        };
        within(left, want, found).await
    }

    async fn blob(&mut self, digest: &Digest) -> Result<Document, Failure> {
        self.room()?;
        let want = Want::Attached(digest.to_string());
        let World { image, client, left, .. } = self.source.world(&want)?;
        within(left, &want, async { attached::blob(image, client, digest).await.map(bytes) }).await
    }

    /// Whether there may be one more. What is absent counts, too: it was looked for.
    fn room(&self) -> Result<(), Failure> {
        if self.documents.len() < MAX_ATTACHED_DOCUMENTS {
            return Ok(());
        }
        Err(failure(
            Outcome::Deny,
            "rule-documents",
            format!("more than {MAX_ATTACHED_DOCUMENTS} documents of the image were asked for"),
        ))
    }

    fn add(&mut self, want: Want, document: Document) -> Result<(), Failure> {
        self.room()?;
        let size = |document: &Document| match document {
            Document::Absent => 0,
            Document::Bytes(bytes) => bytes.len(),
            Document::Descriptors(list) => list.iter().map(weight).sum(),
        };
        let total = self.documents.values().map(size).sum::<usize>() + size(&document);
        if total > MAX_ATTACHED_BYTES_TOTAL {
            return Err(failure(
                Outcome::Deny,
                "rule-documents",
                format!(
                    "documents of the image with more than {MAX_ATTACHED_BYTES_TOTAL} bytes in total were asked for"
                ),
            ));
        }
        self.documents.insert(want, document);
        Ok(())
    }
}

impl Source {
    fn world(&mut self, want: &Want) -> Result<&mut World, Failure> {
        match self {
            Self::World(world) => Ok(world),
            Self::Recording => Err(failure(
                Outcome::Error,
                "rule-document-unreachable",
                format!("the recording does not have {}", told(want)),
            )),
        }
    }
}

/// What a descriptor takes in memory.
fn weight(descriptor: &Descriptor) -> usize {
    let Descriptor { digest, media_type, artifact_type, annotations, .. } = descriptor;
    let notes = annotations.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let kind = artifact_type.as_ref().map_or(0, String::len);
    size_of::<Descriptor>() + digest.len() + media_type.len() + kind + notes
}

fn bytes(content: Vec<u8>) -> Document {
    Document::Bytes(content.into())
}

/// Fetch in what is left of the time.
async fn within(
    left: &mut Duration,
    want: &Want,
    fetch: impl Future<Output = Result<Document, EvidenceError>>,
) -> Result<Document, Failure> {
    let started = Instant::now();
    let fetched = tokio::time::timeout(*left, fetch).await;
    *left = left.saturating_sub(started.elapsed());
    match fetched {
        Ok(Ok(document)) => Ok(document),
        Ok(Err(error)) => {
            let message = format!("{} cannot be had: {error}", told(want));
            Err(failure(Outcome::Error, code(&error), message))
        }
        Err(_) => Err(failure(
            Outcome::Error,
            "rule-document-unreachable",
            format!("{} was not there in time; try again", told(want)),
        )),
    }
}

fn code(error: &EvidenceError) -> &'static str {
    let registry = match error {
        EvidenceError::Registry(error)
        | EvidenceError::Attached(ImageError::Registry { source: error, .. }) => error,
        EvidenceError::Attached(ImageError::File { fault: FileFault::Io { .. }, .. }) => {
            return "rule-document-unreachable";
        }
        _ => return "rule-document-unusable",
    };
    match registry {
        RegistryError::Blob { .. }
        | RegistryError::Digest { .. }
        | RegistryError::Malformed { .. }
        | RegistryError::TooLarge { .. } => "rule-document-unusable",
        _ => "rule-document-unreachable",
    }
}

fn told(want: &Want) -> String {
    match want {
        Want::Attached(digest) => format!("the attached document {digest}"),
        Want::Config => "the image's configuration".to_owned(),
        Want::Referrers => "the list of what is attached to the image".to_owned(),
    }
}

fn failure(outcome: Outcome, code: &str, message: String) -> Failure {
    let reason = Reason { code: code.to_owned(), requirement: None, message, hint: None };
    Failure { outcome, reasons: vec![reason] }
}

/// Most documents of one image: its configuration, a list, and a few of each kind that is attached (signatures,
/// attestations, lists of contents), each with its manifest.
const MAX_ATTACHED_DOCUMENTS: usize = 64;

/// Most bytes of all documents of one image: two of the largest size, or 64 of 256 KiB.
const MAX_ATTACHED_BYTES_TOTAL: usize = 16 * 1024 * 1024;
