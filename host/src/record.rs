//! Recordings: everything that decisions rested on, in one file, so that they can be made again elsewhere and later.
//!
//! A recording has what was fetched and read, and nothing of how: no credentials. Whoever can change the file can
//! change what is decided by it, as with the policy itself; but parts that do not fit each other are refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use guest_policy::digest::Digest;
use guest_policy::evaluation::{Evaluation, Failure, RuleAnswer};
use guest_policy::image::{Evidence, KeyFile, Signature, SignatureForm, Subject};
use guest_policy::manifest::Kind;
use guest_policy::rule::{Descriptor, Document, Documents, Question, RuleUses, Want};
use guest_policy::verdict::{Outcome, Verdict};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decide::{Asked, Course, Decision, Inquiry, Sandbox};
use crate::engine::{Budget, Engine, EngineError, Policy, RuleEngine, RuleSettings};
use crate::evidence::attached;
use crate::files;
use crate::image::{FileFault, ImageName, InvalidImageName, read_limited};
use crate::policy::{PolicyError, PolicyFile};
use crate::registry::{self, Client};
use crate::rules::{Fetched, Found, Material, Rules};

/// What decisions rested on, and what they were.
#[derive(Clone, Debug)]
pub struct Recording {
    now: u64,
    file: PolicyFile,
    keys: Vec<KeyFile>,
    uses: RuleUses,
    material: Material,
    decisions: Vec<Decision>,
}

/// Decisions that were made again.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// In the order of the recording.
    pub decisions: Vec<Decision>,
    /// Where this version decides otherwise than was recorded, in words.
    pub differences: Vec<String>,
}

/// A rule that was asked when a recording was made.
#[derive(Clone, Copy, Debug)]
pub struct RecordedRule<'a> {
    /// Of the image that was asked about, as messages have it.
    pub image: &'a str,
    /// As it calls itself.
    pub name: &'a str,
    /// The module, as the policy spells it.
    pub module: &'a str,
    /// What it was asked.
    pub question: &'a Question,
    /// The image's manifest.
    pub manifest: &'a [u8],
    /// The image's documents, those that other rules wanted among them.
    pub documents: &'a Documents,
    /// Where the documents of capability `data` are in [`Recording::data`], by name.
    pub data: &'a BTreeMap<String, String>,
    /// What it answered, in the words in which it is shown.
    pub answer: &'a RuleAnswer,
    /// Whether its module had to be signed, and so to have an end.
    pub signed: bool,
}

impl Recording {
    /// Decisions of a [`crate::decide::Decider`] that keeps their courses, by this policy at this time, with what
    /// its rules were made of.
    pub fn new(
        file: PolicyFile,
        keys: Vec<KeyFile>,
        rules: &Rules,
        material: Material,
        now: u64,
        decisions: Vec<Decision>,
    ) -> Self {
        Self { now, file, keys, uses: rules.uses().clone(), material, decisions }
    }

    /// Read a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no recording, or its parts do not fit each other.
    pub fn read(path: &Path) -> Result<Self, RecordingError> {
        let content = read_limited(path, MAX_RECORDING_BYTES)?;
        Self::parse(&content)
            .map_err(|fault| RecordingError::Malformed { path: path.display().to_string(), fault })
    }

    /// Write a file. One that is there already is replaced as a whole.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), RecordingError> {
        let write = || -> std::io::Result<()> {
            let mut text = serde_json::to_vec_pretty(&self.document())?;
            text.push(b'\n');
            files::write(path, &text, files::PRIVATE)
        };
        write().map_err(|source| RecordingError::Unwritable {
            path: path.display().to_string(),
            source,
        })
    }

    /// Make the decisions again. Nothing is read or fetched.
    ///
    /// # Errors
    ///
    /// The policy cannot be loaded any more, or names other rules than were recorded.
    pub async fn replay(
        &self,
        engine: &Engine,
        rules: &RuleSettings,
    ) -> Result<Replayed, RecordingError> {
        let policy = self.file.load_with(engine, &self.keys)?;
        let rules = self.rules(&policy, rules).await?;
        let sandbox = Sandbox::new(policy, Budget::default()).with_rules(rules);
        let mut replayed = Replayed { decisions: Vec::new(), differences: Vec::new() };
        for recorded in &self.decisions {
            let decision = self.again(&sandbox, recorded).await;
            if decision.verdict != recorded.verdict {
                let Verdict { outcome, reasons, .. } = &decision.verdict;
                let now = reasons.first().map(|reason| format!(": {}", reason.message));
                replayed.differences.push(format!(
                    "this version decides otherwise about {} than was recorded: the verdict was {}, and is {outcome}{}",
                    recorded.image,
                    recorded.verdict.outcome,
                    now.unwrap_or_default()
                ));
            }
            replayed.decisions.push(decision);
        }
        Ok(replayed)
    }

    /// Every rule that was asked, in order.
    pub fn asked(&self) -> impl Iterator<Item = RecordedRule<'_>> {
        let courses = self.decisions.iter().filter_map(|decision| decision.course.as_deref());
        courses.flat_map(move |course| {
            course.asked.iter().filter_map(move |asked| {
                let rule = self.uses.uses.get(usize::try_from(asked.rule).ok()?)?;
                Some(RecordedRule {
                    image: &course.subject.name,
                    name: &asked.name,
                    module: &rule.module,
                    question: asked.question.as_deref()?,
                    manifest: &course.evidence.manifest,
                    documents: &course.documents,
                    data: &rule.data,
                    answer: &asked.answer,
                    signed: self.uses.signed,
                })
            })
        })
    }

    /// A document of capability `data`, by path as the policy spells it; absent if it could not be read.
    pub fn data(&self, path: &str) -> Option<&[u8]> {
        self.material.data.get(path)?.as_deref().ok()
    }

    async fn rules(
        &self,
        policy: &Policy,
        settings: &RuleSettings,
    ) -> Result<Rules, RecordingError> {
        let uses = policy.rules(&Budget::default())?;
        if uses != self.uses {
            return Err(RecordingError::Rules);
        }
        if uses.uses.is_empty() {
            return Ok(Rules::default());
        }
        let engine = RuleEngine::new(settings)?;
        Ok(Rules::load_again(&self.material, policy, &engine, self.now).await)
    }

    async fn again(&self, sandbox: &Sandbox, recorded: &Decision) -> Decision {
        // What did not get as far as the policy is not decided by it.
        let (Some(course), Some(digest)) = (&recorded.course, &recorded.digest) else {
            return recorded.clone();
        };
        let inquiry = Inquiry {
            name: recorded.image.clone(),
            subject: course.subject.clone(),
            platform: recorded.platform.clone(),
            digest: digest.clone(),
            evidence: Arc::clone(&course.evidence),
            workload: None,
            documents: Documents::new(),
            failures: BTreeMap::new(),
            client: Client::new(registry::Settings::isolated()),
            now: self.now,
        };
        let known = Fetched::recorded(course.documents.clone(), course.failures.clone());
        match sandbox.follow_with(inquiry, known).await {
            Ok((verdict, course)) => {
                Decision { verdict, course: Some(Box::new(course)), ..recorded.clone() }
            }
            Err(failure) => Decision {
                verdict: failure.verdict(recorded.verdict.scope.clone(), Some(digest)),
                course: None,
                ..recorded.clone()
            },
        }
    }

    fn parse(content: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            recording: u32,
        }
        let version: Version = serde_json::from_slice(content)
            .map_err(|e| format!("it is no recording of countersign verify: {e}"))?;
        if version.recording != VERSION {
            return Err(format!(
                "it is a recording of version {}, and this program reads version {VERSION}",
                version.recording
            ));
        }
        let written: Written = serde_json::from_slice(content).map_err(|e| e.to_string())?;
        written.try_into()
    }

    fn document(&self) -> Written {
        let Self { now, file, keys, uses, material, decisions } = self;
        let module = |(module, found): (&String, &Result<Found, Failure>)| {
            let (found, failure) = halves(found.clone());
            WrittenModule { module: module.clone(), found: found.map(Into::into), failure }
        };
        let data = |(path, content): (&String, &Result<Vec<u8>, Failure>)| {
            let (content, failure) = halves(content.clone());
            WrittenData { path: path.clone(), content: content.map(Bytes), failure }
        };
        Written {
            recording: VERSION,
            made_by: concat!("countersign ", env!("CARGO_PKG_VERSION")).to_owned(),
            now: *now,
            policy: WrittenPolicy {
                path: file.path().display().to_string(),
                document: Bytes(file.document().to_vec()),
                keys: keys.iter().cloned().map(Into::into).collect(),
            },
            rules: uses.clone(),
            modules: material.modules.iter().map(module).collect(),
            data: material.data.iter().map(data).collect(),
            decisions: decisions.iter().map(Into::into).collect(),
        }
    }
}

/// A recording was not read, written or replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The sandbox gave no answer.
    #[error("cannot replay the recording: {0}")]
    Engine(#[from] EngineError),
    /// The file is not what it should be.
    #[error("cannot use recording {path}: {fault}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        fault: String,
    },
    /// The policy cannot be loaded.
    #[error("cannot replay the recording: {0}")]
    Policy(#[from] PolicyError),
    /// The recording contradicts itself.
    #[error("cannot replay the recording: its policy names other rules than were recorded")]
    Rules,
    /// The file cannot be read.
    #[error("cannot read recording: {0}")]
    Unreadable(#[from] FileFault),
    /// The file cannot be written.
    #[error("cannot write recording {path}: {source}")]
    Unwritable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    recording: u32,
    made_by: String,
    now: u64,
    policy: WrittenPolicy,
    rules: RuleUses,
    modules: Vec<WrittenModule>,
    data: Vec<WrittenData>,
    decisions: Vec<WrittenDecision>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenPolicy {
    path: String,
    document: Bytes,
    keys: Vec<WrittenKey>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    path: String,
    content: Option<Bytes>,
    fault: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenModule {
    module: String,
    found: Option<WrittenFound>,
    failure: Option<Failure>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenFound {
    subject: Subject,
    digest: Digest,
    sha256: String,
    manifest: Option<Bytes>,
    content: Bytes,
    signatures: Vec<WrittenSignature>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenSignature {
    source: String,
    form: SignatureForm,
    content: Bytes,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenData {
    path: String,
    content: Option<Bytes>,
    failure: Option<Failure>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenDecision {
    image: String,
    platform: Option<String>,
    digest: Option<Digest>,
    /// Absent if the question did not get as far as the policy.
    evidence: Option<WrittenEvidence>,
    verdict: Verdict,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenEvidence {
    subject: Subject,
    manifest: Bytes,
    index: Option<Bytes>,
    signatures: Vec<WrittenSignature>,
    documents: Vec<WrittenDocument>,
    asked: Vec<WrittenRule>,
}

/// Without any of the three it was looked for and is not there.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenDocument {
    document: Want,
    content: Option<Bytes>,
    list: Option<Vec<Descriptor>>,
    failure: Option<Failure>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    rule: u32,
    name: String,
    question: Option<Question>,
    answer: RuleAnswer,
}

/// Bytes, as base64.
#[derive(Clone)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl From<KeyFile> for WrittenKey {
    fn from(KeyFile { path, content }: KeyFile) -> Self {
        let (content, fault) = halves(content);
        Self { path, content: content.map(Bytes), fault }
    }
}

impl From<Found> for WrittenFound {
    fn from(found: Found) -> Self {
        let Found { subject, digest, manifest, wasm, signatures } = found;
        let sha256 = Digest::sha256(&wasm).hex().to_owned();
        let signatures = signatures.into_iter().map(Into::into).collect();
        let (manifest, content) = (manifest.map(Bytes), Bytes(wasm));
        Self { subject, digest, sha256, manifest, content, signatures }
    }
}

impl From<Signature> for WrittenSignature {
    fn from(Signature { source, form, content }: Signature) -> Self {
        Self { source, form, content: Bytes(content) }
    }
}

impl From<WrittenSignature> for Signature {
    fn from(WrittenSignature { source, form, content }: WrittenSignature) -> Self {
        Self { source, form, content: content.0 }
    }
}

impl From<&Decision> for WrittenDecision {
    fn from(decision: &Decision) -> Self {
        let Decision { image, platform, digest, verdict, course } = decision;
        Self {
            image: image.to_string(),
            platform: platform.clone(),
            digest: digest.clone(),
            evidence: course.as_deref().map(Into::into),
            verdict: verdict.clone(),
        }
    }
}

impl From<&Course> for WrittenEvidence {
    fn from(course: &Course) -> Self {
        let Course { subject, evidence, documents, failures, asked, .. } = course;
        let Evidence { manifest, index, signatures } = evidence.as_ref();
        let there = documents.iter().map(|(want, document)| {
            let (content, list) = match document {
                Document::Absent => (None, None),
                Document::Bytes(bytes) => (Some(Bytes(bytes.to_vec())), None),
                Document::Descriptors(list) => (None, Some(list.to_vec())),
            };
            WrittenDocument { document: want.clone(), content, list, failure: None }
        });
        let missing = failures.iter().map(|(want, failure)| WrittenDocument {
            document: want.clone(),
            content: None,
            list: None,
            failure: Some(failure.clone()),
        });
        let asked = asked.iter().map(|Asked { rule, name, question, answer, .. }| WrittenRule {
            rule: *rule,
            name: name.clone(),
            question: question.as_deref().cloned(),
            answer: answer.clone(),
        });
        Self {
            subject: subject.clone(),
            manifest: Bytes(manifest.clone()),
            index: index.clone().map(Bytes),
            signatures: signatures.iter().cloned().map(Into::into).collect(),
            documents: there.chain(missing).collect(),
            asked: asked.collect(),
        }
    }
}

impl TryFrom<Written> for Recording {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { now, policy, rules: uses, modules, data, decisions, .. } = written;
        let mut keys = Vec::with_capacity(policy.keys.len());
        for WrittenKey { path, content, fault } in policy.keys {
            let content =
                whole(content.map(|bytes| bytes.0), fault, || format!("key file {path}"))?;
            keys.push(KeyFile { path, content });
        }
        let mut material = Material::default();
        for WrittenModule { module, found, failure } in modules {
            let found = found.map(|found| found.checked(&module)).transpose()?;
            let found = whole(found, failure, || format!("module {module}"))?;
            material.modules.insert(module, found);
        }
        for WrittenData { path, content, failure } in data {
            let content =
                whole(content.map(|bytes| bytes.0), failure, || format!("document {path}"))?;
            material.data.insert(path, content);
        }
        let decisions = decisions.into_iter().map(Decision::try_from);
        let decisions = decisions.collect::<Result<Vec<_>, String>>()?;
        let file = PolicyFile::of(PathBuf::from(policy.path), policy.document.0);
        Ok(Self { now, file, keys, uses, material, decisions })
    }
}

impl WrittenFound {
    fn checked(self, module: &str) -> Result<Found, String> {
        let Self { subject, digest, sha256, manifest, content, signatures } = self;
        if Digest::sha256(&content.0).hex() != sha256 {
            return Err(format!("the content of module {module} is not what its digest says"));
        }
        let signatures = signatures.into_iter().map(Into::into).collect();
        let (manifest, wasm) = (manifest.map(|bytes| bytes.0), content.0);
        let found = Found { subject, digest, manifest, wasm, signatures };
        found.is_whole(module)?;
        Ok(found)
    }
}

impl TryFrom<WrittenDecision> for Decision {
    type Error = String;

    fn try_from(written: WrittenDecision) -> Result<Self, String> {
        let WrittenDecision { image: name, platform, digest, evidence, verdict } = written;
        let image: ImageName = name.parse().map_err(|e: InvalidImageName| e.to_string())?;
        let course = match (evidence, &digest) {
            (Some(evidence), Some(digest)) => Some(Box::new(evidence.checked(&name, digest)?)),
            (None, _) if verdict.outcome == Outcome::Error => None,
            _ => return Err(format!("it does not say by what image {name} was judged")),
        };
        Ok(Self { image, platform, digest, verdict, course })
    }
}

impl WrittenEvidence {
    /// What was recorded of an image, if its parts are those that their digests say.
    fn checked(self, image: &str, digest: &Digest) -> Result<Course, String> {
        let Self { subject, manifest, index, signatures, documents: written, asked } = self;
        let fault =
            |what: &str| Err(format!("{what} of image {image} is not what its digest says"));
        if !digest.matches(&manifest.0) {
            return fault("the manifest");
        }
        if let Some(index) = &index {
            let kind =
                Kind::of(&index.0, None).map_err(|e| format!("the index of {image}: {e}"))?;
            let has = |instance: &guest_policy::manifest::Instance| instance.digest == *digest;
            if !matches!(kind, Kind::Index(instances) if instances.iter().any(has)) {
                return Err(format!("the index of image {image} does not have the manifest"));
            }
        }
        let (mut documents, mut failures) = (Documents::new(), BTreeMap::new());
        for WrittenDocument { document: want, content, list, failure } in written {
            let content = content.map(|bytes| bytes.0);
            let document = match (content, list, failure) {
                (None, None, Some(failure)) => {
                    failures.insert(want, failure);
                    continue;
                }
                (None, None, None) => Document::Absent,
                (None, Some(list), None) => Document::Descriptors(list.into()),
                (Some(content), None, None) => Document::Bytes(content.into()),
                _ => return Err(format!("a document of image {image} is two things at once")),
            };
            let fits = match (&want, &document) {
                (Want::Attached(_), Document::Absent)
                | (Want::Referrers, Document::Descriptors(_)) => true,
                (Want::Attached(named), Document::Bytes(bytes)) => {
                    named.parse().is_ok_and(|named: Digest| named.matches(bytes))
                }
                (Want::Config, Document::Bytes(bytes)) => {
                    attached::config_of(&manifest.0).is_ok_and(|named| named.matches(bytes))
                }
                _ => false,
            };
            if !fits {
                return fault("a document");
            }
            documents.insert(want, document);
        }
        let asked = asked.into_iter().map(|WrittenRule { rule, name, question, answer }| Asked {
            rule,
            name,
            question: question.map(Arc::new),
            answer,
            log: Vec::new(),
            took: Duration::ZERO,
        });
        let signatures = signatures.into_iter().map(Into::into).collect();
        let (manifest, index) = (manifest.0, index.map(|bytes| bytes.0));
        Ok(Course {
            subject,
            evidence: Arc::new(Evidence { manifest, index, signatures }),
            // Both are found again.
            evaluation: Arc::new(Evaluation {
                scope: String::new(),
                digest: digest.to_string(),
                failure: None,
                nodes: Vec::new(),
            }),
            outcomes: Vec::new(),
            documents,
            failures,
            asked: asked.collect(),
        })
    }
}

/// A result as two members of which one is there.
fn halves<T, E>(result: Result<T, E>) -> (Option<T>, Option<E>) {
    match result {
        Ok(value) => (Some(value), None),
        Err(error) => (None, Some(error)),
    }
}

/// The result that two members are.
fn whole<T, E>(
    value: Option<T>,
    error: Option<E>,
    what: impl FnOnce() -> String,
) -> Result<Result<T, E>, String> {
    match (value, error) {
        (Some(value), None) => Ok(Ok(value)),
        (None, Some(error)) => Ok(Err(error)),
        (None, None) => Err(format!("{} is missing", what())),
        (Some(_), Some(_)) => Err(format!("{} is there, and a reason why it is not", what())),
    }
}

/// The version of the form that is written and read.
const VERSION: u32 = 1;

/// Largest recording, in bytes: a dozen rules made of Python, or the evidence of thousands of images.
const MAX_RECORDING_BYTES: usize = 512 * 1024 * 1024;
