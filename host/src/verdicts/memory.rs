//! Everything remembered, in one store of bounded size.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use guest_policy::digest::Digest;
use guest_policy::evaluation::{Evaluation, Failure, State};
use guest_policy::image::{Evidence, Needs};
use guest_policy::manifest::Instance;
use guest_policy::reference::Reference;
use guest_policy::rule::{Descriptor, Document, Documents, Want, Workload};
use guest_policy::verdict::{Claim, Reason, Verdict};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use moka::{Equivalent, Expiry};

use super::clock::{Lifetime, Now};

/// What is remembered: what was used last stays longest.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    entries: Cache<Key, Entry>,
    largest: u32,
}

impl Memory {
    /// Of at most so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let entries = Cache::builder()
            .name("verdicts")
            .max_capacity(bytes)
            .weigher(|_, entry: &Entry| entry.weight)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(Forgetting)
            .build();
        let largest = u32::try_from(bytes / LEAST_ENTRIES).unwrap_or(u32::MAX);
        Self { entries, largest }
    }

    /// The answer about an image. This is the way of nearly every question: one look, nothing is copied.
    pub(super) fn answer(&self, question: &AnswerRef<'_>, now: Now) -> Option<Arc<Answer>> {
        let entry = self.entries.get(question).filter(|entry| entry.lifetime.covers(now))?;
        match entry.content {
            Content::Answer(answer) => Some(answer),
            _ => None,
        }
    }

    pub(super) fn top(&self, key: &Key, now: Now) -> Option<(Arc<Top>, Lifetime)> {
        let entry = self.living(key, now)?;
        match entry.content {
            Content::Top(top) => Some((top, entry.lifetime)),
            _ => None,
        }
    }

    pub(super) fn evidence(&self, key: &Key, now: Now) -> Option<(Arc<Gathered>, Lifetime)> {
        let entry = self.living(key, now)?;
        match entry.content {
            Content::Evidence(gathered) => Some((gathered, entry.lifetime)),
            _ => None,
        }
    }

    pub(super) fn evaluated(&self, key: &Key, now: Now) -> Option<(Evaluated, Lifetime)> {
        let entry = self.living(key, now)?;
        match entry.content {
            Content::Evaluated(evaluated) => Some((evaluated, entry.lifetime)),
            _ => None,
        }
    }

    pub(super) fn shelf(&self, key: &Key, now: Now) -> Option<(Arc<Shelf>, Lifetime)> {
        let entry = self.living(key, now)?;
        match entry.content {
            Content::Shelf(shelf) => Some((shelf, entry.lifetime)),
            _ => None,
        }
    }

    pub(super) fn needs(&self, key: &Key, now: Now) -> Option<Arc<Needs>> {
        match self.living(key, now)?.content {
            Content::Needs(needs) => Some(needs),
            _ => None,
        }
    }

    /// Remember. What would take the room of many others is not kept.
    pub(super) fn put(&self, key: Key, content: Content, lifetime: Lifetime, now: Now) {
        let bytes = OVERHEAD + key.size() + content.size();
        let weight = u32::try_from(bytes).unwrap_or(u32::MAX);
        if weight > self.largest || !lifetime.covers(now) {
            // What was known under this name may be older.
            self.entries.invalidate(&key);
            return;
        }
        let entry = Entry { content, lifetime, weight, keep_for: lifetime.rest(now) };
        self.entries.insert(key, entry);
    }

    /// Bytes in use.
    pub(super) fn size(&self) -> u64 {
        self.entries.weighted_size()
    }

    fn living(&self, key: &Key, now: Now) -> Option<Entry> {
        self.entries.get(key).filter(|entry| entry.lifetime.covers(now))
    }
}

/// What something is remembered under. Keys are compared in full: no hash stands for one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Key {
    Answer {
        /// [`super::Basis::hash`].
        basis: String,
        image: Reference,
        /// What the image's tag was resolved to; absent if the answer is about the name alone.
        at: Option<Digest>,
        keyring: [u8; 32],
    },
    /// What rules want of the image with this digest.
    Documents {
        repository: String,
        digest: Digest,
        keyring: [u8; 32],
    },
    /// What an evaluation of images of this name will look at.
    Needs {
        /// [`super::Basis::hash`].
        basis: String,
        subject: String,
    },
    Top {
        image: Reference,
        keyring: [u8; 32],
    },
    Evidence {
        repository: String,
        digest: Digest,
        /// The index that it was chosen from.
        index: Option<Digest>,
        /// Where the repository's signatures are.
        store: String,
        keyring: [u8; 32],
    },
    Verdict {
        /// [`super::Basis::hash`].
        basis: String,
        subject: String,
        /// [`Gathered::hash`].
        evidence: [u8; 32],
    },
}

impl Key {
    fn size(&self) -> usize {
        let digest = |digest: &Option<Digest>| digest.as_ref().map_or(0, |d| d.as_str().len());
        match self {
            Self::Answer { basis, image, at, .. } => basis.len() + length(image) + digest(at),
            Self::Top { image, .. } => length(image),
            Self::Evidence { repository, index, store, .. } => {
                repository.len() + 71 + digest(index) + store.len()
            }
            Self::Documents { repository, .. } => repository.len() + 71,
            Self::Needs { basis, subject } | Self::Verdict { basis, subject, .. } => {
                basis.len() + subject.len()
            }
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Answer { basis, image, at, keyring } => {
                AnswerRef { basis, image, at: at.as_ref(), keyring }.hash(state);
            }
            Self::Top { image, keyring } => (1_u8, image, keyring).hash(state),
            Self::Evidence { repository, digest, index, store, keyring } => {
                (2_u8, repository, digest, index, store, keyring).hash(state);
            }
            Self::Verdict { basis, subject, evidence } => {
                (3_u8, basis, subject, evidence).hash(state);
            }
            Self::Documents { repository, digest, keyring } => {
                (4_u8, repository, digest, keyring).hash(state);
            }
            Self::Needs { basis, subject } => (5_u8, basis, subject).hash(state),
        }
    }
}

/// A borrowed [`Key::Answer`].
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct AnswerRef<'a> {
    pub(super) basis: &'a str,
    pub(super) image: &'a Reference,
    pub(super) at: Option<&'a Digest>,
    pub(super) keyring: &'a [u8; 32],
}

impl AnswerRef<'_> {
    pub(super) fn to_key(self) -> Key {
        Key::Answer {
            basis: self.basis.to_owned(),
            image: self.image.clone(),
            at: self.at.cloned(),
            keyring: *self.keyring,
        }
    }
}

impl Equivalent<Key> for AnswerRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        match key {
            Key::Answer { basis, image, at, keyring } => {
                self.image == image
                    && self.basis == basis
                    && self.at == at.as_ref()
                    && self.keyring == keyring
            }
            _ => false,
        }
    }
}

/// What is remembered.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Answer(Arc<Answer>),
    Evaluated(Evaluated),
    Evidence(Arc<Gathered>),
    Needs(Arc<Needs>),
    Shelf(Arc<Shelf>),
    Top(Arc<Top>),
}

/// What the engine found out.
#[derive(Clone, Debug)]
pub(super) enum Evaluated {
    /// All that there is to say.
    Closed(Arc<Verdict>),
    /// It depends on rules.
    Open(Arc<Evaluation>),
}

/// What rules wanted to see of an image.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    pub(super) documents: Documents,
    /// Why others are not there.
    pub(super) failures: BTreeMap<Want, Failure>,
    /// When these are tried again.
    pub(super) again: Lifetime,
}

impl Shelf {
    pub(super) fn empty() -> Self {
        Self { documents: Documents::new(), failures: BTreeMap::new(), again: Lifetime::OVER }
    }

    fn size(&self) -> usize {
        let failures = self.failures.values().flat_map(|failure| &failure.reasons);
        let documents: usize = self.documents.iter().map(document_weight).sum();
        documents + failures.map(|reason| 128 + reason_weight(reason)).sum::<usize>()
    }
}

/// Who asks, and when: what rules may look at beside the image.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Asker {
    pub(super) workload: Option<Arc<Workload>>,
    /// Seconds since 1970-01-01 UTC.
    pub(super) at: u64,
}

impl Content {
    fn size(&self) -> usize {
        match self {
            Self::Answer(answer) => weight(&answer.verdict),
            Self::Top(top) => {
                top.manifest.len() + top.instances.as_ref().map_or(0, |i| i.len() * 200)
            }
            Self::Evidence(gathered) => {
                let Evidence { manifest, index, signatures } = &*gathered.evidence;
                let signatures: usize =
                    signatures.iter().map(|s| s.content.len() + s.source.len() + 64).sum();
                manifest.len() + index.as_ref().map_or(0, Vec::len) + signatures
            }
            Self::Evaluated(Evaluated::Closed(verdict)) => weight(verdict),
            Self::Evaluated(Evaluated::Open(evaluation)) => evaluation_weight(evaluation),
            Self::Shelf(shelf) => shelf.size(),
            Self::Needs(needs) => needs.scope.len(),
        }
    }
}

/// The answer about an image.
#[derive(Debug)]
pub(super) struct Answer {
    /// What its name was resolved to.
    pub(super) digest: Option<Digest>,
    pub(super) verdict: Arc<Verdict>,
    pub(super) lifetime: Lifetime,
}

/// What a name was resolved to.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) digest: Digest,
    pub(super) manifest: Vec<u8>,
    /// Of an index.
    pub(super) instances: Option<Vec<Instance>>,
}

/// Evidence, and a name for exactly this evidence.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) evidence: Arc<Evidence>,
    /// SHA-256 over all of it.
    pub(super) hash: [u8; 32],
}

#[derive(Clone, Debug)]
struct Entry {
    content: Content,
    lifetime: Lifetime,
    weight: u32,
    keep_for: Duration,
}

/// Takes the room of what has ended, which nobody may ask for again. What may be served is not decided here:
/// an entry says so itself.
struct Forgetting;

impl Expiry<Key, Entry> for Forgetting {
    fn expire_after_create(&self, _: &Key, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.keep_for)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        entry: &Entry,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.keep_for)
    }
}

fn length(image: &Reference) -> usize {
    let digest = image.digest().map_or(0, |digest| digest.as_str().len());
    image.domain().len() + image.path().len() + image.tag().map_or(0, str::len) + digest
}

/// The bytes of a verdict, about.
fn weight(verdict: &Verdict) -> usize {
    let reasons: usize = verdict.reasons.iter().map(reason_weight).sum();
    let claims: usize = verdict.claims.iter().map(claim_weight).sum();
    verdict.scope.len() + verdict.digest.len() + reasons + claims
}

/// The bytes of an evaluation, about.
fn evaluation_weight(evaluation: &Evaluation) -> usize {
    let failed = |failure: &Failure| failure.reasons.iter().map(reason_weight).sum::<usize>();
    let node = |state: &State| match state {
        State::Held(claims) => claims.iter().map(claim_weight).sum(),
        State::Failed(failure) => failed(failure),
        State::AnyOf | State::AtLeast(_) | State::Skipped | State::Rule(_) => 0,
    };
    let nodes = evaluation.nodes.iter().map(|n| 96 + n.words.len() + node(&n.state));
    evaluation.scope.len()
        + evaluation.digest.len()
        + evaluation.failure.as_ref().map_or(0, failed)
        + nodes.sum::<usize>()
}

fn reason_weight(reason: &Reason) -> usize {
    128 + reason.code.len() + reason.message.len() + reason.hint.as_ref().map_or(0, String::len)
}

fn claim_weight(claim: &Claim) -> usize {
    256 + claim.key.len() * 2
        + claim.reference.len()
        + claim.digest.len()
        + claim.creator.as_ref().map_or(0, String::len)
        + claim.material.iter().map(|name| 24 + name.len()).sum::<usize>()
}

fn document_weight((want, document): (&Want, &Document)) -> usize {
    let descriptor = |d: &Descriptor| {
        let annotations = d.annotations.iter().map(|(key, value)| 48 + key.len() + value.len());
        128 + d.digest.len()
            + d.media_type.len()
            + d.artifact_type.as_ref().map_or(0, String::len)
            + annotations.sum::<usize>()
    };
    let named = match want {
        Want::Attached(digest) => digest.len(),
        Want::Config | Want::Referrers => 0,
    };
    96 + named
        + match document {
            Document::Absent => 0,
            Document::Bytes(bytes) => bytes.len(),
            Document::Descriptors(descriptors) => descriptors.iter().map(descriptor).sum(),
        }
}

/// Bytes that an entry takes beside its content: the store's own, and those of what is counted above.
const OVERHEAD: usize = 768;

/// The least number of entries that have room: nothing larger than this part of the whole is kept, so that
/// whoever may attach large signatures to an image cannot have everything else forgotten with it.
const LEAST_ENTRIES: u64 = 16;

#[cfg(test)]
mod tests {
    use super::super::clock::Clock;
    use super::*;

    fn key(number: usize) -> Key {
        let image = Reference::parse_normalized(&format!("example.com/a:{number}")).expect("valid");
        Key::Top { image, keyring: [0; 32] }
    }

    fn top(bytes: usize) -> Content {
        Content::Top(Arc::new(Top {
            digest: Digest::sha256(b""),
            manifest: vec![0; bytes],
            instances: None,
        }))
    }

    #[test]
    fn a_borrowed_key_is_the_key() {
        use std::hash::BuildHasher as _;
        let image = Reference::parse_normalized("example.com/a:1").expect("valid");
        let digest = Digest::sha256(b"x");
        let borrowed =
            AnswerRef { basis: "b", image: &image, at: Some(&digest), keyring: &[7; 32] };
        let key = borrowed.to_key();
        let state = std::hash::RandomState::new();
        assert_eq!(state.hash_one(borrowed), state.hash_one(&key));
        assert!(borrowed.equivalent(&key));
        assert!(!AnswerRef { at: None, ..borrowed }.equivalent(&key));
        assert!(!AnswerRef { basis: "c", ..borrowed }.equivalent(&key));
        assert!(!AnswerRef { keyring: &[8; 32], ..borrowed }.equivalent(&key));
    }

    #[test]
    fn never_holds_more_than_it_may() {
        let clock = Clock::stopped_at(0);
        let memory = Memory::new(1 << 20);
        let lifetime = Lifetime::new(clock.now(), Duration::from_secs(60), None);
        for number in 0..10_000 {
            memory.put(key(number), top(number % 4096), lifetime, clock.now());
        }
        memory.entries.run_pending_tasks();
        assert!(memory.size() <= 1 << 20, "{}", memory.size());
        assert!(memory.entries.entry_count() > 100);
        assert!(memory.top(&key(9_999), clock.now()).is_some(), "the latest is there");
        assert!(memory.top(&key(0), clock.now()).is_none(), "the oldest is not");
    }

    #[test]
    fn what_is_too_large_takes_nobodys_place() {
        let clock = Clock::stopped_at(0);
        let memory = Memory::new(1 << 20);
        let lifetime = Lifetime::new(clock.now(), Duration::from_secs(60), None);
        memory.put(key(1), top(10), lifetime, clock.now());
        memory.put(key(2), top(1 << 17), lifetime, clock.now());
        assert!(memory.top(&key(1), clock.now()).is_some());
        assert!(memory.top(&key(2), clock.now()).is_none());
        memory.put(key(1), top(1 << 17), lifetime, clock.now());
        assert!(memory.top(&key(1), clock.now()).is_none(), "nor is the older one served");
    }

    #[test]
    fn what_has_ended_is_not_served() {
        let clock = Clock::stopped_at(0);
        let memory = Memory::new(1 << 20);
        let lifetime = Lifetime::new(clock.now(), Duration::from_secs(2), None);
        memory.put(key(1), top(1), lifetime, clock.now());
        assert!(memory.top(&key(1), clock.now()).is_some());
        clock.advance(Duration::from_secs(2));
        assert!(memory.top(&key(1), clock.now()).is_none());
    }
}
