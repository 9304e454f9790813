//! The rules that a policy names: found, verified, compiled, linked to what they are granted, and asked.
//!
//! A rule that cannot be loaded is no obstacle to the others: it is against every image, with the reason. That is
//! a denial where the rule or its author is at fault, and an error where the world is: a registry that cannot be
//! reached, a file that cannot be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use guest_policy::digest::Digest;
use guest_policy::evaluation::{Failure, RuleAnswer};
use guest_policy::image::{Signature, Subject};
use guest_policy::rule::{
    Answer, Capability, Description, Documents, Question, RuleBudget, RuleUse, RuleUses,
};
use guest_policy::verdict::{Outcome, Reason, Verdict};

use crate::artifact::ArtifactError;
use crate::decide;
use crate::engine::{
    Budget, EngineError, Module, Policy, Rule, RuleEngine, RuleFault, RuleLimits, Run, Stop,
};
use crate::evidence::Directories;
use crate::image::{FileFault, read_limited};
use crate::policy::PolicyFile;
use crate::registry::{Client, RegistryError};

mod documents;
mod modules;
pub(crate) mod settings;

pub(crate) use documents::Fetched;
pub(crate) use modules::Found;
use settings::SchemaFault;

/// The rules of one loaded policy. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    uses: RuleUses,
    /// As many as `uses` has.
    rules: Vec<Result<Arc<Loaded>, Failure>>,
    warnings: Vec<String>,
    /// Why nobody knows which rules there are.
    unknown: Option<Failure>,
}

/// What rules are loaded with.
#[derive(Clone, Copy, Debug)]
pub struct Loading<'a> {
    /// Where the policy lies: relative paths of modules and data begin at its folder.
    pub file: &'a PolicyFile,
    /// The policy, loaded.
    pub policy: &'a Policy,
    /// What rules run on.
    pub engine: &'a RuleEngine,
    /// How modules of `oci://` are fetched.
    pub client: &'a Client,
    /// Where their signatures are.
    pub directories: &'a Directories,
    /// Whether modules may be named by tag: on a command line, and not in a server.
    pub tags: bool,
    /// The time at which their signatures are judged (seconds since 1970-01-01 UTC).
    pub now: u64,
}

/// What rules were made of, as it was found: enough to make them again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Material {
    /// By name as the policy spells it.
    pub(crate) modules: BTreeMap<String, Result<Found, Failure>>,
    /// Documents of capability `data`, by path as the policy spells it.
    pub(crate) data: BTreeMap<String, Result<Vec<u8>, Failure>>,
}

impl Rules {
    /// Load every rule of a policy. A rule that cannot be loaded is no obstacle: it is against every image, with
    /// the reason.
    pub async fn load(loading: Loading<'_>) -> Self {
        Self::make(loading.policy, loading.engine, loading.now, Source::World(loading), None).await
    }

    /// As [`Self::load`], and what they were made of.
    pub async fn load_and_keep(loading: Loading<'_>) -> (Self, Material) {
        let mut material = Material::default();
        let (policy, engine, source) = (loading.policy, loading.engine, Source::World(loading));
        let rules = Self::make(policy, engine, loading.now, source, Some(&mut material)).await;
        (rules, material)
    }

    /// Load them from what they were made of. Nothing is read or fetched.
    pub(crate) async fn load_again(
        material: &Material,
        policy: &Policy,
        engine: &RuleEngine,
        now: u64,
    ) -> Self {
        Self::make(policy, engine, now, Source::Kept(material), None).await
    }

    async fn make(
        policy: &Policy,
        engine: &RuleEngine,
        now: u64,
        source: Source<'_>,
        mut keep: Option<&mut Material>,
    ) -> Self {
        let asked = policy.clone();
        let uses = match blocking(move || Ok(asked.rules(&Budget::default())?)).await {
            Ok(uses) => uses,
            Err(error) => {
                let unknown = Some(error.failure("the policy's rules"));
                return Self { inner: Arc::new(Inner { unknown, ..Inner::default() }) };
            }
        };
        let keeps = keep.is_some();
        let names: BTreeSet<&str> = uses.uses.iter().map(|rule| rule.module.as_str()).collect();
        let mut found = stream::iter(names)
            .map(async |module| {
                let found = source.module(module, uses.signed).await;
                let kept = keeps.then(|| found.clone());
                let loaded = match found {
                    Ok(found) => prepare(policy, engine, module, found, uses.signed, now).await,
                    Err(failure) => Err(failure),
                };
                (module, kept, loaded)
            })
            .buffered(MAX_CONCURRENT_MODULES);
        let mut modules = BTreeMap::new();
        while let Some((module, kept, loaded)) = found.next().await {
            if let (Some(material), Some(kept)) = (keep.as_deref_mut(), kept) {
                material.modules.insert(module.to_owned(), kept);
            }
            modules.insert(module, loaded);
        }
        drop(found);
        let paths = uses.uses.iter().flat_map(|rule| rule.data.values().cloned()).collect();
        let data = source.data(paths).await;
        let mut rules = Vec::with_capacity(uses.uses.len());
        for rule in &uses.uses {
            let prepared = match modules.get(rule.module.as_str()) {
                Some(prepared) => prepared.clone(),
                None => Err(RuleError::bug("a module was not looked for").failure(&rule.module)),
            };
            rules.push(match prepared {
                Ok(prepared) => prepared.fit(rule, &data).await.map(Arc::new),
                Err(failure) => Err(failure),
            });
        }
        if let Some(material) = keep {
            material.data = data;
        }
        let by_tag = |module: &&str| matches!(modules::named(module), Some(Ok(reference)) if reference.digest().is_none());
        let warning = |module: &str| {
            let digest = match modules.get(module) {
                Some(Ok(prepared)) => format!(": {}", prepared.digest),
                _ => String::new(),
            };
            format!(
                "rule {module} is named by a tag, which may be another module tomorrow; name it by digest{digest}"
            )
        };
        let warnings = modules.keys().copied().filter(by_tag).map(warning).collect();
        Self { inner: Arc::new(Inner { rules, warnings, unknown: None, uses }) }
    }

    /// Whether the policy names no rule at all.
    pub fn is_empty(&self) -> bool {
        self.inner.uses.uses.is_empty() && self.inner.unknown.is_none()
    }

    /// What is wrong with rules that were not loaded, in words.
    pub fn faults(&self) -> Vec<String> {
        let rules = self.inner.rules.iter().filter_map(|rule| rule.as_ref().err());
        let faults = self.inner.unknown.iter().chain(rules);
        let words = faults.flat_map(|failure| &failure.reasons).map(|reason| &reason.message);
        let distinct: BTreeSet<&String> = words.collect();
        distinct.into_iter().cloned().collect()
    }

    /// What whoever wrote the policy should know of rules that were loaded, in words.
    pub fn warnings(&self) -> &[String] {
        &self.inner.warnings
    }

    /// SHA-256 of every module and every document, of all of them together: other rules have another.
    pub(crate) fn hash(&self) -> Digest {
        let mut parts = Vec::new();
        for rule in self.inner.rules.iter().flatten() {
            parts.push(rule.sha256.clone());
            parts.extend(rule.data.values().map(|content| Digest::sha256(content).to_string()));
        }
        Digest::sha256(format!("{parts:?} {:?}", self.faults()).as_bytes())
    }

    /// The rules that the policy names.
    pub(crate) fn uses(&self) -> &RuleUses {
        &self.inner.uses
    }

    /// What a rule is called: by itself, or by the policy if it was not loaded.
    pub fn name(&self, index: u32) -> &str {
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        match (self.inner.rules.get(place), self.inner.uses.uses.get(place)) {
            (Some(Ok(loaded)), _) => &loaded.name,
            (_, Some(rule)) => &rule.module,
            _ => "",
        }
    }

    /// The rule of this index, or why it cannot be asked.
    pub(crate) fn rule(&self, index: u32) -> Result<Arc<Loaded>, Failure> {
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        match (&self.inner.unknown, self.inner.rules.get(place)) {
            (Some(failure), _) => Err(failure.clone()),
            (None, Some(rule)) => rule.clone(),
            (None, None) => {
                Err(RuleError::bug("the policy has no such rule")
                    .failure(&format!("number {index}")))
            }
        }
    }
}

/// A rule that can be asked.
#[derive(Debug)]
pub(crate) struct Loaded {
    name: String,
    rule: Rule,
    limits: RuleLimits,
    settings: String,
    data: BTreeMap<String, Vec<u8>>,
    sha256: String,
    /// How long the signatures of the module count.
    valid_until: Option<u64>,
    /// Whether the last run was quick.
    quick: AtomicBool,
}

impl Loaded {
    /// Whether its last run took no longer than it takes to wake a thread for it a few times.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick.load(Ordering::Relaxed)
    }

    /// Note how long a run took.
    pub(crate) fn took(&self, time: Duration) {
        self.quick.store(time <= QUICK_RUN, Ordering::Relaxed);
    }

    /// What one evaluation may use.
    pub(crate) fn limits(&self) -> &RuleLimits {
        &self.limits
    }

    /// JSON.
    pub(crate) fn settings(&self) -> &str {
        &self.settings
    }

    /// Run it once.
    pub(crate) fn run(
        &self,
        question: &Question,
        manifest: &[u8],
        documents: &Documents,
        limits: &RuleLimits,
    ) -> Result<Run, Stop> {
        self.rule.evaluate(question, manifest, documents, &self.data, limits)
    }

    /// What it said, in words that tell who said it.
    pub(crate) fn answer(&self, answer: Answer, now: u64) -> RuleAnswer {
        let Self { name, .. } = self;
        let ends = answer.valid_until.into_iter().chain(self.valid_until);
        let valid_until = ends.min();
        // Reasons are never passed over, whatever else is said.
        let failure = if !answer.allow || !answer.reasons.is_empty() {
            let reason = |code: &str, message: String| Reason {
                code: format!("{name}/{code}"),
                requirement: None,
                message,
                hint: None,
            };
            let mut reasons: Vec<_> =
                answer.reasons.into_iter().map(|one| reason(&one.code, one.message)).collect();
            if reasons.is_empty() {
                reasons.push(reason("unspecified", UNSPECIFIED.to_owned()));
            }
            Some(Failure { outcome: Outcome::Deny, reasons })
        } else if self.valid_until.is_some_and(|end| end < now) {
            let message =
                "a signature of its module, or the key that made it, has expired".to_owned();
            Some(RuleError::Expired(message).failure(name))
        } else if valid_until.is_some_and(|end| end < now) {
            Some(RuleError::Past.failure(name))
        } else {
            None
        };
        RuleAnswer {
            failure,
            warnings: answer.warnings.iter().map(|text| format!("{name}: {text}")).collect(),
            annotations: answer
                .annotations
                .into_iter()
                .map(|(key, value)| (format!("{name}/{key}"), value))
                .collect(),
            valid_until,
        }
    }

    /// It did not answer.
    pub(crate) fn failed(&self, fault: RuleFault) -> RuleAnswer {
        RuleAnswer::failed(RuleError::Fault(fault).failure(&self.name))
    }

    /// It has no answer, for a reason that lies elsewhere.
    pub(crate) fn failed_by(&self, mut failure: Failure) -> RuleAnswer {
        for reason in &mut failure.reasons {
            reason.message = format!("rule {}: {}", self.name, reason.message);
        }
        RuleAnswer::failed(failure)
    }
}

/// Where modules and data come from.
enum Source<'a> {
    Kept(&'a Material),
    World(Loading<'a>),
}

impl Source<'_> {
    async fn module(&self, module: &str, signed: bool) -> Result<Found, Failure> {
        match self {
            Self::World(loading) => {
                modules::find(loading, module, signed).await.map_err(|error| error.failure(module))
            }
            Self::Kept(material) => match material.modules.get(module) {
                Some(found) => found.clone(),
                None => Err(RuleError::Unkept.failure(module)),
            },
        }
    }

    async fn data(&self, paths: BTreeSet<String>) -> BTreeMap<String, Result<Vec<u8>, Failure>> {
        match self {
            Self::World(loading) => {
                let files: Vec<_> =
                    paths.into_iter().map(|path| (loading.file.key_path(&path), path)).collect();
                let read = move || {
                    let mut left = MAX_DATA_BYTES_TOTAL;
                    let mut read = |file: &Path, path: &str| {
                        let fault = |fault: String| RuleError::Data(fault).failure(path);
                        let content = read_limited(file, MAX_DATA_BYTES);
                        let content = content.map_err(|error| fault(error.to_string()))?;
                        left = left.checked_sub(content.len()).ok_or_else(|| {
                            fault(format!(
                                "documents have more than {MAX_DATA_BYTES_TOTAL} bytes in total"
                            ))
                        })?;
                        Ok(content)
                    };
                    let mut all = BTreeMap::new();
                    for (file, path) in files {
                        let content = read(&file, &path);
                        all.insert(path, content);
                    }
                    Ok(all)
                };
                // What is missing is told where it is looked for.
                blocking(read).await.unwrap_or_default()
            }
            Self::Kept(material) => material.data.clone(),
        }
    }
}

/// A module that was judged, compiled and asked about itself.
#[derive(Clone)]
struct Prepared {
    module: Module,
    description: Arc<Description>,
    digest: Digest,
    valid_until: Option<u64>,
}

/// Judge a module's signatures; only then compile it.
async fn prepare(
    policy: &Policy,
    engine: &RuleEngine,
    name: &str,
    found: Found,
    signed: bool,
    now: u64,
) -> Result<Prepared, Failure> {
    let (policy, engine) = (policy.clone(), engine.clone());
    let prepare = move || {
        let Found { subject, digest, wasm, signatures, .. } = found;
        let valid_until = match signed {
            true => judge(&policy, &subject, &digest, &signatures, now)?,
            false => None,
        };
        let module = engine.compile(&wasm)?;
        drop(wasm);
        let description = module.describe(&RuleLimits::from(RuleBudget::default()))?;
        check(&description)?;
        Ok(Prepared { module, description: Arc::new(description), digest, valid_until })
    };
    blocking(prepare).await.map_err(|error| error.failure(name))
}

/// Whether the signatures of a module are those that the policy wants; until when they count.
fn judge(
    policy: &Policy,
    subject: &Subject,
    digest: &Digest,
    signatures: &[Signature],
    now: u64,
) -> Result<Option<u64>, RuleError> {
    let verdict = policy.judge_module(subject, digest, signatures, now, &Budget::default())?;
    let Verdict { outcome, reasons, valid_until, .. } = verdict;
    match outcome {
        Outcome::Allow if verdict.digest != digest.as_str() || !reasons.is_empty() => {
            Err(RuleError::bug("the engine's answer about the module contradicts itself"))
        }
        Outcome::Allow if valid_until.is_some_and(|end| end < now) => {
            Err(RuleError::bug("the engine accepts a signature that has expired"))
        }
        Outcome::Allow => Ok(valid_until),
        Outcome::Deny => Err(RuleError::Unsigned(told(&reasons))),
        Outcome::Error => {
            let code = reasons.first().map(|reason| reason.code.clone());
            let code = code.unwrap_or_else(|| "evaluation-failed".to_owned());
            Err(RuleError::Unjudged { code, fault: told(&reasons) })
        }
    }
}

fn told(reasons: &[Reason]) -> String {
    let messages: Vec<_> = reasons.iter().map(|reason| reason.message.as_str()).collect();
    messages.join("; ")
}

/// Whether what a rule says of itself may be used in messages.
fn check(description: &Description) -> Result<(), RuleError> {
    let Description { name, version, purpose, capabilities, .. } = description;
    let fault = |what: String| Err(RuleError::Description(what));
    let kebab = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    if name.len() > MAX_NAME_LENGTH || !name.split('-').all(kebab) {
        return fault(format!(
            "its name is {:?}, and a name has lower-case letters and digits in words with - between them, \
             at most {MAX_NAME_LENGTH} characters",
            short(name)
        ));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-+.".contains(&b);
    if version.is_empty() || version.len() > MAX_VERSION_LENGTH || !version.bytes().all(plain) {
        return fault(format!("its version is {:?}, and a version is like 1.0.0", short(version)));
    }
    if purpose.len() > MAX_PURPOSE_LENGTH || purpose.chars().any(char::is_control) {
        return fault(format!("its purpose is not one line of at most {MAX_PURPOSE_LENGTH} bytes"));
    }
    if capabilities.len() > MAX_CAPABILITIES {
        return fault(format!("it wants {} capabilities", capabilities.len()));
    }
    Ok(())
}

/// The words of a stranger in a message.
fn short(text: &str) -> String {
    text.chars().take(MAX_NAME_LENGTH).collect()
}

impl Prepared {
    /// Link the module as a policy uses it.
    async fn fit(
        self,
        rule: &RuleUse,
        data: &BTreeMap<String, Result<Vec<u8>, Failure>>,
    ) -> Result<Loaded, Failure> {
        let mut documents = BTreeMap::new();
        for (name, path) in &rule.data {
            let content = match data.get(path) {
                Some(content) => content.clone()?,
                None => return Err(RuleError::bug("a document was not read").failure(path)),
            };
            documents.insert(name.clone(), content);
        }
        let (given, module) = (rule.clone(), rule.module.clone());
        blocking(move || self.link(given, documents)).await.map_err(|error| error.failure(&module))
    }

    fn link(self, rule: RuleUse, data: BTreeMap<String, Vec<u8>>) -> Result<Loaded, RuleError> {
        let RuleUse { settings, capabilities, budget, .. } = rule;
        let granted: BTreeSet<Capability> = capabilities.into_iter().collect();
        let missing = missing(&self.description.capabilities, self.module.imports(), &granted);
        if !missing.is_empty() {
            return Err(RuleError::Capabilities(missing));
        }
        let linked = self.module.grant(&granted)?;
        let mistakes = settings::mistakes(&self.description.settings_schema, &settings)?;
        if !mistakes.is_empty() {
            return Err(RuleError::Settings(mistakes));
        }
        let limits = RuleLimits::from(budget);
        let mistakes = linked.check_settings(&settings, &limits)?;
        if !mistakes.is_empty() {
            return Err(RuleError::Settings(mistakes));
        }
        Ok(Loaded {
            name: self.description.name.clone(),
            rule: linked,
            limits,
            settings,
            data,
            sha256: self.module.sha256().to_owned(),
            valid_until: self.valid_until,
            quick: AtomicBool::new(false),
        })
    }
}

/// What a rule wants, by its own words or by its imports, and is not granted.
fn missing(
    wanted: &[String],
    imports: &BTreeSet<Capability>,
    granted: &BTreeSet<Capability>,
) -> Vec<String> {
    let imported = imports.iter().map(|capability| capability.name());
    let wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).chain(imported).collect();
    let is_granted = |name: &str| granted.iter().any(|capability| capability.name() == name);
    wanted.into_iter().filter(|name| !is_granted(name)).map(short).collect()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuleError> + Send + 'static,
) -> Result<T, RuleError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => Err(RuleError::bug(stopped.to_string())),
    }
}

/// A rule cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuleError {
    // The policy.
    /// It grants less than the rule wants.
    #[error("it wants the capabilities {}, which the policy does not grant", .0.join(", "))]
    Capabilities(Vec<String>),
    /// It names no module.
    #[error("this names no module: {0}")]
    Name(String),
    /// Its settings are not the rule's.
    #[error("its settings are wrong: {}", .0.join("; "))]
    Settings(Vec<String>),
    /// It names a tag.
    #[error(
        "a tag may be another module tomorrow, so that a server wants oci://host/path@sha256:…"
    )]
    Tag,

    // The module, and who made it.
    /// It does not have the layout of a module.
    #[error(transparent)]
    Artifact(ArtifactError),
    /// What it says of itself cannot be used.
    #[error("{0}")]
    Description(String),
    /// Its signatures do not count any more.
    #[error("{0}")]
    Expired(String),
    /// It cannot be run, or did what it must not do.
    #[error(transparent)]
    Fault(#[from] RuleFault),
    /// Its allow was over before it was given.
    #[error("it allows until a time that is past")]
    Past,
    /// Its schema cannot be used.
    #[error("its schema of settings cannot be used: {0}")]
    Schema(#[from] SchemaFault),
    /// No signature counts.
    #[error("its signatures are not those that rulesFrom demands: {0}")]
    Unsigned(String),

    // The world.
    /// A document of capability `data` cannot be read.
    #[error("this document cannot be read: {0}")]
    Data(String),
    /// The module's file cannot be read.
    #[error("the module cannot be read: {0}")]
    File(FileFault),
    /// The registry does not give the module.
    #[error("the module cannot be fetched: {0}")]
    Registry(RegistryError),
    /// The signatures cannot be gathered, or the engine gives no answer.
    #[error(transparent)]
    Signatures(Box<decide::Failure>),
    /// The signatures cannot be judged.
    #[error("its signatures cannot be judged: {fault}")]
    Unjudged {
        /// The engine's.
        code: String,
        /// In words.
        fault: String,
    },
    /// A recording does not have it.
    #[error("the recording does not have it")]
    Unkept,
}

impl From<decide::Failure> for RuleError {
    fn from(failure: decide::Failure) -> Self {
        Self::Signatures(Box::new(failure))
    }
}

impl RuleError {
    fn bug(what: impl Into<String>) -> Self {
        decide::Failure::from(EngineError::Bug(what.into())).into()
    }

    /// The reason's code, documented in docs/reasons.md.
    fn code(&self) -> &str {
        match self {
            Self::Artifact(ArtifactError::TooLarge { .. }) => "rule-too-large",
            Self::Artifact(_) => "rule-layout",
            Self::Capabilities(_) => "rule-capabilities",
            Self::Data(_) => "rule-data",
            Self::Description(_) => "rule-description",
            Self::Expired(_) | Self::Unsigned(_) => "rule-unsigned",
            Self::Fault(fault) => fault.code(),
            Self::File(_) | Self::Name(_) | Self::Unkept => "rule-unreadable",
            Self::Past => "rule-past",
            Self::Registry(RegistryError::Blob { .. } | RegistryError::Digest { .. }) => {
                "rule-digest-mismatch"
            }
            Self::Registry(_) => "rule-unreachable",
            Self::Schema(_) => "rule-schema",
            Self::Settings(_) => "rule-settings",
            Self::Signatures(failure) => failure.code(),
            Self::Tag => "rule-tag",
            Self::Unjudged { code, .. } => code,
        }
    }

    /// Whether it says no, or nothing at all.
    fn outcome(&self) -> Outcome {
        match self {
            Self::Fault(RuleFault::Engine(_)) => Outcome::Error,
            Self::Registry(RegistryError::Blob { .. } | RegistryError::Digest { .. }) => {
                Outcome::Deny
            }
            Self::Data(_)
            | Self::File(_)
            | Self::Name(_)
            | Self::Registry(_)
            | Self::Signatures(_)
            | Self::Unjudged { .. }
            | Self::Unkept => Outcome::Error,
            Self::Artifact(_)
            | Self::Capabilities(_)
            | Self::Description(_)
            | Self::Expired(_)
            | Self::Fault(_)
            | Self::Past
            | Self::Schema(_)
            | Self::Settings(_)
            | Self::Tag
            | Self::Unsigned(_) => Outcome::Deny,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Capabilities(_) => "add them to its capabilities, if it may have them",
            Self::Settings(_) => "countersign rule inspect shows the schema of its settings",
            Self::Unsigned(_) => {
                "sign the module, and check that its signatures are where they are looked for"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// As an answer about `what`, a rule by one of its names.
    fn failure(&self, what: &str) -> Failure {
        let reason = Reason {
            code: self.code().to_owned(),
            requirement: None,
            message: format!("rule {what}: {self}"),
            hint: self.hint(),
        };
        Failure { outcome: self.outcome(), reasons: vec![reason] }
    }
}

impl From<ArtifactError> for RuleError {
    fn from(error: ArtifactError) -> Self {
        match error {
            ArtifactError::Registry(error) => Self::Registry(error),
            error => Self::Artifact(error),
        }
    }
}

impl From<EngineError> for RuleError {
    fn from(error: EngineError) -> Self {
        decide::Failure::from(error).into()
    }
}

/// A run that is quick.
const QUICK_RUN: Duration = Duration::from_micros(200);

/// What is said for a rule that denies without a reason.
pub(crate) const UNSPECIFIED: &str = "the rule does not say why";

/// Modules that are found and compiled at the same time: a round trip is hidden, and their bytes, of at most
/// 32 MiB each, fit a small container.
const MAX_CONCURRENT_MODULES: usize = 4;

/// Largest document of capability `data`, in bytes: lists of a few ten thousand lines.
const MAX_DATA_BYTES: usize = 4 * 1024 * 1024;

/// Most bytes of all documents of capability `data`, so that they fit a rule's memory several times over.
const MAX_DATA_BYTES_TOTAL: usize = 16 * 1024 * 1024;

/// Longest name of a rule: a label of Kubernetes.
const MAX_NAME_LENGTH: usize = 63;

/// Longest version of a rule.
const MAX_VERSION_LENGTH: usize = 64;

/// Longest purpose of a rule, in bytes: three lines of a terminal.
const MAX_PURPOSE_LENGTH: usize = 240;

/// Most capabilities that a rule may want: several times as many as there are.
const MAX_CAPABILITIES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn description(name: &str, version: &str, purpose: &str) -> Description {
        Description {
            name: name.to_owned(),
            version: version.to_owned(),
            purpose: purpose.to_owned(),
            settings_schema: "{}".to_owned(),
            capabilities: Vec::new(),
        }
    }

    #[test]
    fn description_can_be_shown() {
        for name in ["max-age", "a", "rule-2"] {
            check(&description(name, "1.0.0-rc.1+build", "what it is for")).expect(name);
        }
        let long = "x".repeat(300);
        for (name, version, purpose) in [
            ("", "1", ""),
            ("Max-Age", "1", ""),
            ("-a", "1", ""),
            ("a--b", "1", ""),
            ("a/b", "1", ""),
            ("a\nb", "1", ""),
            (&long, "1", ""),
            ("a", "", ""),
            ("a", "1 0", ""),
            ("a", &long, ""),
            ("a", "1", "two\nlines"),
            ("a", "1", &long),
        ] {
            let fault = check(&description(name, version, purpose)).expect_err(name);
            assert!(fault.to_string().len() < 300, "{fault}");
        }
    }

    #[test]
    fn capabilities_are_missing_whether_they_are_told_or_imported() {
        let granted = BTreeSet::from([Capability::Log]);
        let imports = BTreeSet::from([Capability::Log, Capability::Artifact]);
        assert_eq!(missing(&["log".into()], &BTreeSet::new(), &granted), [""; 0]);
        assert_eq!(missing(&[], &imports, &granted), ["artifact"]);
        let told = ["network".to_owned(), "artifact".to_owned()];
        assert_eq!(missing(&told, &imports, &granted), ["artifact", "network"]);
    }

    #[test]
    fn fault_of_the_world_is_an_error_and_of_the_rule_a_denial() {
        let host = || "example.com".to_owned();
        let digest = Digest::sha256(b"x");
        let away = RegistryError::Unreachable { host: host(), fault: "away".to_owned() };
        let altered = RegistryError::Blob { host: host(), expected: digest.clone(), found: digest };
        for (error, outcome, code) in [
            (RuleError::Registry(away), Outcome::Error, "rule-unreachable"),
            (RuleError::Registry(altered), Outcome::Deny, "rule-digest-mismatch"),
            (RuleError::Tag, Outcome::Deny, "rule-tag"),
            (RuleError::Data("none".to_owned()), Outcome::Error, "rule-data"),
            (RuleError::bug("x"), Outcome::Error, "evaluation-failed"),
        ] {
            let failure = error.failure("max-age");
            assert_eq!(failure.outcome, outcome, "{error}");
            assert_eq!(failure.reasons[0].code, code);
            assert!(failure.reasons[0].message.starts_with("rule max-age: "), "{failure:?}");
        }
    }

    #[test]
    fn rule_that_nobody_knows_is_an_error() {
        let failure = Rules::default().rule(7).expect_err("no rules");
        assert_eq!(failure.outcome, Outcome::Error);
    }
}
