//! Everything that comes from files, as one generation: loaded, validated, swapped at once, the last good
//! one kept.
//!
//! A request is answered by the generation that was there when it began.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use guest_policy::image::KeyFile;
use guest_policy::rule::RuleUses;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::admission;
use crate::engine::{Budget, Engine, EngineError, RuleEngine, RuleSettings};
use crate::evidence::{Directories, RegistriesD, RegistriesDError};
use crate::kubernetes::Cluster;
use crate::policy::{PolicyError, PolicyFile};
use crate::registry::Client;
use crate::rules::{self, Rules};
use crate::telemetry::Metrics;
use crate::verdicts::{self, Basis, Verdicts};

use super::certificates::{Authorities, CertificateError, Certificates, Pair};
use super::configuration::{Configuration, Deadline, Decisions, Identity, Source};
use super::watch::{self, Watched};

/// What requests are answered by.
#[derive(Debug)]
pub(super) struct Generation {
    /// From 1.
    pub(super) number: u64,
    /// When it was loaded.
    pub(super) loaded: Timestamp,
    /// What decides; without it, why nothing can be decided.
    pub(super) basis: Result<Arc<Basis>, Arc<str>>,
    /// Whether evaluations begin with the policy loaded.
    pub(super) snapshot: bool,
    pub(super) rules: admission::Rules,
    pub(super) verdicts: Verdicts,
    /// Where pull secrets are read, if they are.
    pub(super) cluster: Option<Cluster>,
    pub(super) deadline: Deadline,
    pub(super) decisions: Decisions,
}

/// The generation that new requests are answered by.
#[derive(Debug)]
pub(super) struct Current {
    generation: RwLock<Arc<Generation>>,
}

impl Current {
    pub(super) fn new(generation: Generation) -> Self {
        Self { generation: RwLock::new(Arc::new(generation)) }
    }

    pub(super) fn get(&self) -> Arc<Generation> {
        Arc::clone(&self.generation.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, generation: Generation) {
        let generation = Arc::new(generation);
        *self.generation.write().unwrap_or_else(PoisonError::into_inner) = generation;
    }
}

/// What is to be known of a server besides its generation.
#[derive(Debug, Default)]
pub(super) struct Status {
    draining: AtomicBool,
    faults: Mutex<BTreeMap<&'static str, Fault>>,
}

/// Something did not work; what was there before goes on.
#[derive(Clone, Debug)]
struct Fault {
    at: Timestamp,
    words: String,
}

impl Status {
    /// The server is about to end.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Remember how something went. Whether this is news.
    pub(super) fn note(&self, what: &'static str, result: Result<(), String>) -> bool {
        match result {
            Ok(()) => self.faults().remove(what).is_some(),
            Err(words) => {
                let mut faults = self.faults();
                if faults.get(what).is_some_and(|fault| fault.words == words) {
                    return false;
                }
                faults.insert(what, Fault { at: Timestamp::now(), words });
                true
            }
        }
    }

    /// Why the server is not ready.
    pub(super) fn unready(&self, generation: &Generation) -> Option<String> {
        if self.is_draining() {
            return Some("this server is about to end".to_owned());
        }
        generation.basis.as_ref().err().map(|words| format!("no policy is loaded: {words}"))
    }

    /// All of it, in lines.
    pub(super) fn verbose(
        &self,
        generation: &Generation,
        expires: Option<i64>,
        now: Timestamp,
    ) -> String {
        let mut text = String::new();
        let Generation { number, loaded, .. } = generation;
        let age = now.duration_since(*loaded).as_secs();
        let _ = writeln!(text, "generation {number}, loaded at {loaded}, age {age} s");
        match &generation.basis {
            Ok(basis) => {
                let form = if generation.snapshot { "snapshot" } else { "document" };
                let _ = writeln!(text, "policy {} ({form})", basis.hash);
            }
            Err(words) => {
                let _ = writeln!(text, "policy not loaded: {words}");
            }
        }
        if let Some(expires) = expires.and_then(|at| Timestamp::from_second(at).ok()) {
            let _ = writeln!(text, "certificate ends at {expires}");
        }
        for (what, Fault { at, words }) in self.faults().iter() {
            let _ = writeln!(text, "last error of {what} at {at}: {words}");
        }
        if self.is_draining() {
            text.push_str("about to end\n");
        }
        text
    }

    fn faults(&self) -> MutexGuard<'_, BTreeMap<&'static str, Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a server consists of beside its connections.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) current: Arc<Current>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) status: Arc<Status>,
    pub(super) metrics: Arc<Metrics>,
    /// What rules run on, once a policy has named one.
    rules: Arc<OnceLock<RuleEngine>>,
}

impl Parts {
    /// Measure what is only known at the moment when somebody asks.
    pub(super) fn measure(&self) {
        self.metrics.ready(self.status.unready(&self.current.get()).is_none());
        if let Some(in_use) = self.rules.get().and_then(RuleEngine::in_use) {
            self.metrics.rule_slots_in_use(in_use.component_instances);
        }
    }
}

/// Loads, and loads again.
#[derive(Debug)]
pub(super) struct Loader {
    source: Source,
    configuration: Configuration,
    engines: Engines,
    cluster: Option<Cluster>,
    policy: Policy,
    /// The files of what was tried last, if it was not taken: when they change, it may be.
    refused: Vec<PathBuf>,
    /// When rules that could not be loaded are tried again.
    again: Option<Instant>,
    verdicts: Verdicts,
    number: u64,
    parts: Parts,
    watched: Subjects,
    /// Of the files of certs.d.
    certs_d: [u8; 32],
}

/// The files of each part.
#[derive(Debug, Default)]
struct Subjects {
    configuration: Watched,
    policy: Watched,
    registries: Watched,
    certificates: Watched,
}

impl Loader {
    /// Load for the first time. A policy that cannot be loaded is told by `/readyz`, and denies everything. One
    /// that names rules is not loaded before [`Self::begin`]: they may have to be compiled, or be far away, and a
    /// server that does not listen meanwhile is taken for one that hangs.
    pub(super) fn start(
        source: Source,
        configuration: Configuration,
        engines: Engines,
        cluster: Option<Cluster>,
        certificates: Arc<Certificates>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let status = Arc::new(Status::default());
        // Before they are read, so that no later change is missed.
        let mut watched = Subjects {
            configuration: Watched::begin(&configuration_paths(&source)),
            registries: Watched::begin(&configuration.registries.certs_d),
            certificates: Watched::begin(&certificate_paths(&configuration)),
            policy: Watched::default(),
        };
        let (mut policy, mut again) = (Policy::default(), None);
        let paths = policy.paths(&configuration);
        watched.policy = Watched::begin(&paths);
        let loaded = Loaded::read(&configuration, &engines);
        let later = loaded.as_ref().is_ok_and(|loaded| !loaded.uses.uses.is_empty());
        if !later {
            let whole = loaded.as_ref().is_ok_and(|loaded| loaded.faults().is_empty());
            metrics.reload("policy", whole);
        }
        match loaded {
            Ok(loaded) if later => {
                policy.basis = Err("its rules are being loaded".into());
                policy.paths = loaded.paths();
                again = Some(Instant::now());
            }
            Ok(loaded) => {
                loaded.log_faults();
                if let Some(words) = loaded.fault() {
                    status.note("policy", Err(words));
                }
                policy = Policy::of(loaded);
            }
            Err(error) => {
                let words = error.to_string();
                tracing::error!(error = words, "no policy is loaded: everything is denied");
                status.note("policy", Err(words.clone()));
                policy.basis = Err(words.into());
            }
        }
        // The files that it names are known only now.
        let all = policy.paths(&configuration);
        if all != paths {
            watched.policy = Watched::begin(&all);
        }
        let certs_d = watch::contents(&configuration.registries.certs_d);
        let verdicts = verdicts_of(&configuration, &metrics);
        let number = 1;
        let generation = generation(number, &configuration, &policy, &verdicts, cluster.as_ref());
        metrics.generation(number);
        let current = Arc::new(Current::new(generation));
        metrics.rule_slots(engines.settings.slots.unwrap_or_default());
        let rules = Arc::clone(&engines.rules);
        let parts = Parts { current, certificates, status, metrics, rules };
        Self {
            source,
            configuration,
            engines,
            cluster,
            refused: Vec::new(),
            again,
            policy,
            verdicts,
            number,
            parts,
            watched,
            certs_d,
        }
    }

    /// What requests are answered by.
    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Load what has changed. `pause` waits for files to come to rest.
    pub(super) fn poll(&mut self, pause: &dyn Fn(Duration)) {
        let mut swap = false;
        if self.watched.configuration.changed(&configuration_paths(&self.source), pause) {
            swap |= self.reload_configuration();
        }
        // Before the policy, whose rules may be far away.
        if self.watched.certificates.changed(&certificate_paths(&self.configuration), pause) {
            self.reload_certificates();
        }
        if self.watched.registries.changed(&self.configuration.registries.certs_d, pause) {
            swap |= self.renew_client();
        }
        let mut paths = self.policy.paths(&self.configuration);
        paths.extend(self.refused.iter().cloned());
        let due = self.again.is_some_and(|again| again <= Instant::now());
        if self.watched.policy.changed(&paths, pause) || due {
            swap |= self.reload_policy();
        }
        if swap {
            self.swap();
        }
    }

    /// Load what was left for later.
    pub(super) fn begin(&mut self) {
        if self.again.is_some() && self.reload_policy() {
            // Nothing was decided before.
            self.parts.current.replace(self.generation());
            tracing::info!("loaded, with the policy's rules");
        }
    }

    /// Make evaluations begin with the policy loaded, if they do not yet. This takes a second.
    pub(super) fn snapshot(&mut self) {
        let Some((file, keys)) = self.policy.unsnapped.take() else { return };
        let Ok(basis) = &self.policy.basis else { return };
        match file.load_snapshot(&self.engines.policy, &keys) {
            Ok(policy) => {
                self.policy.basis = Ok(Arc::new(Basis { policy, ..Basis::clone(basis) }));
                self.policy.snapshot = true;
                // The same answers, faster: no generation of its own.
                let current = self.parts.current.get();
                let mut next = self.generation();
                next.loaded = current.loaded;
                self.parts.current.replace(next);
                self.parts.status.note("snapshot", Ok(()));
                tracing::info!("evaluations begin with the policy loaded");
            }
            Err(error) => {
                let words = error.to_string();
                tracing::warn!(error = words, "the policy is loaded for each evaluation");
                self.parts.status.note("snapshot", Err(words));
            }
        }
    }

    fn reload_configuration(&mut self) -> bool {
        match self.source.load() {
            Ok(configuration) => {
                self.told("configuration", Ok(()));
                let old = std::mem::replace(&mut self.configuration, configuration);
                self.adopt(&old)
            }
            Err(error) => {
                self.told("configuration", Err(error.to_string()));
                false
            }
        }
    }

    /// See to what the new configuration means for the other parts.
    fn adopt(&mut self, old: &Configuration) -> bool {
        let new = &self.configuration;
        let before = format!("{old:?}");
        if before == format!("{new:?}") {
            return false;
        }
        for (key, same) in restart(old, new) {
            if !same {
                tracing::warn!(key, "this change takes effect at the next start");
            }
        }
        let remade = old.registries != new.registries
            || format!("{:?}", old.verdicts) != format!("{:?}", new.verdicts);
        if remade {
            self.verdicts = verdicts_of(&self.configuration, &self.parts.metrics);
        }
        true
    }

    /// Connections and everything remembered begin anew: they rest on certificates that have changed.
    fn renew_client(&mut self) -> bool {
        let contents = watch::contents(&self.configuration.registries.certs_d);
        if std::mem::replace(&mut self.certs_d, contents) == contents {
            return false;
        }
        self.verdicts = verdicts_of(&self.configuration, &self.parts.metrics);
        true
    }

    fn reload_policy(&mut self) -> bool {
        let loaded = Loaded::load(&self.configuration, &self.engines).map_err(|e| e.to_string());
        self.refused.clear();
        self.again = None;
        // A key that cannot be read would turn allows into errors, a rule that cannot be loaded into denials: what
        // is there goes on, unless it is no better.
        let loaded = loaded.and_then(|loaded| match loaded.fault() {
            Some(words) if loaded.faults().len() > self.policy.faults => {
                self.again = loaded.again();
                self.refused = loaded.paths();
                Err(words)
            }
            _ => Ok(loaded),
        });
        match loaded {
            Ok(loaded) => {
                self.again = loaded.again();
                self.tell_adopted(&loaded);
                if self.policy.basis.as_ref().is_ok_and(|basis| basis.hash == loaded.basis.hash) {
                    return false;
                }
                self.policy = Policy::of(loaded);
                true
            }
            Err(words) => {
                self.told("policy", Err(words.clone()));
                let news = self.policy.basis.as_ref().is_err_and(|old| **old != *words);
                if news {
                    self.policy.basis = Err(words.into());
                }
                news
            }
        }
    }

    fn reload_certificates(&mut self) {
        let now = Timestamp::now().as_second();
        let result = certificates(&self.configuration)
            .and_then(|(pair, authorities)| self.parts.certificates.replace(pair, authorities, now))
            .map_err(|error| error.to_string());
        let swapped = matches!(result, Ok(true));
        self.told("certificate", result.map(drop));
        if swapped {
            tracing::info!("new connections are shown the new certificate");
            self.parts.certificates.current().tell(&self.parts.metrics, now);
        }
    }

    /// Metrics, log and `/readyz` learn what of a policy that decides from now on could not be loaded.
    fn tell_adopted(&self, loaded: &Loaded) {
        let Some(words) = loaded.fault() else { return self.told("policy", Ok(())) };
        if self.parts.status.note("policy", Err(words)) {
            loaded.log_faults();
            self.parts.metrics.reload("policy", false);
        }
    }

    /// Metrics, log and `/readyz` learn how loading went; the same thing twice is no news.
    fn told(&self, what: &'static str, result: Result<(), String>) {
        let loaded = result.is_ok();
        let words = result.clone().err();
        let news = self.parts.status.note(what, result);
        if let Some(words) = words.filter(|_| news) {
            tracing::error!(what, error = words, "not loaded; what was there before goes on");
        }
        if news || loaded {
            self.parts.metrics.reload(what, loaded);
        }
    }

    fn swap(&mut self) {
        self.number += 1;
        self.parts.current.replace(self.generation());
        self.parts.metrics.generation(self.number);
        let policy = self.policy.basis.as_ref().map_or("none", |basis| basis.hash.as_str());
        tracing::info!(generation = self.number, policy, "loaded");
    }

    fn generation(&self) -> Generation {
        let Self { number, configuration, policy, verdicts, cluster, .. } = self;
        generation(*number, configuration, policy, verdicts, cluster.as_ref())
    }
}

/// Certificate and authorities as the configuration names them; no certificate if the server makes its own.
pub(super) fn certificates(
    configuration: &Configuration,
) -> Result<(Option<Pair>, Option<Authorities>), CertificateError> {
    let pair = match &configuration.identity {
        Identity::Files { certificate, key } => Some(Pair::read(certificate, key)?),
        Identity::SelfManaged(_) => None,
    };
    let authorities = configuration.client_authorities.as_deref().map(Authorities::read);
    Ok((pair, authorities.transpose()?))
}

/// What policies and rules run on.
#[derive(Debug)]
pub(super) struct Engines {
    policy: Engine,
    settings: RuleSettings,
    /// Set up when a policy names a rule for the first time: without any it takes nothing.
    rules: Arc<OnceLock<RuleEngine>>,
}

impl Engines {
    pub(super) fn new(policy: Engine, settings: RuleSettings) -> Self {
        Self { policy, settings, rules: Arc::default() }
    }

    fn rules(&self) -> Result<&RuleEngine, EngineError> {
        if let Some(engine) = self.rules.get() {
            return Ok(engine);
        }
        let engine = RuleEngine::new(&self.settings)?;
        Ok(self.rules.get_or_init(|| engine))
    }
}

/// A policy that was read and loaded with everything beside it.
pub(super) struct Loaded {
    basis: Basis,
    file: PolicyFile,
    keys: Vec<KeyFile>,
    uses: RuleUses,
}

impl Loaded {
    /// Read and load. Not among asynchronous tasks: this waits for registries that have rules.
    pub(super) fn load(
        configuration: &Configuration,
        engines: &Engines,
    ) -> Result<Self, UnusablePolicy> {
        let mut loaded = Self::read(configuration, engines)?;
        if !loaded.uses.uses.is_empty() {
            loaded.add_rules(configuration, engines)?;
        }
        Ok(loaded)
    }

    /// Read and load, but for rules.
    fn read(configuration: &Configuration, engines: &Engines) -> Result<Self, UnusablePolicy> {
        let file = PolicyFile::read(&configuration.policy)?;
        let keys = file.keys(&engines.policy)?;
        let registries = RegistriesD::load(&configuration.directories)?;
        let policy = file.load_with(&engines.policy, &keys)?;
        let uses = policy.rules(&Budget::default())?;
        let hash = hash(&file, &keys, &registries, &configuration.verdicts);
        let directories = Directories::Loaded(Arc::new(registries));
        let basis = Basis { policy, rules: Rules::default(), hash, directories };
        Ok(Self { basis, file, keys, uses })
    }

    fn add_rules(
        &mut self,
        configuration: &Configuration,
        engines: &Engines,
    ) -> Result<(), UnusablePolicy> {
        let rules = wait(Rules::load(rules::Loading {
            file: &self.file,
            policy: &self.basis.policy,
            engine: engines.rules()?,
            client: &Client::new(configuration.registries.settings()),
            directories: &self.basis.directories,
            tags: false,
            // Before 1970 nothing was signed.
            now: u64::try_from(Timestamp::now().as_second()).unwrap_or_default(),
        }))?;
        let mut hash = Sha256::new();
        hash.update(&self.basis.hash);
        hash.update(rules.hash().as_str());
        self.basis.hash = name(hash);
        self.basis.rules = rules;
        Ok(())
    }

    /// Key files that cannot be read and rules that cannot be loaded, in words.
    pub(super) fn faults(&self) -> Vec<String> {
        let keys = self.keys.iter().filter_map(|key| {
            let fault = key.content.as_ref().err()?;
            Some(format!("key file of {}: {fault}", self.file.path().display()))
        });
        keys.chain(self.basis.rules.faults()).collect()
    }

    /// Of these, the rules.
    pub(super) fn rule_faults(&self) -> Vec<String> {
        self.basis.rules.faults()
    }

    fn log_faults(&self) {
        for words in self.faults() {
            tracing::error!(error = words, "not loaded: what needs it is not allowed");
        }
    }

    /// All of them as one.
    fn fault(&self) -> Option<String> {
        Some(self.faults().join("; ")).filter(|words| !words.is_empty())
    }

    /// The files that it names.
    fn paths(&self) -> Vec<PathBuf> {
        let keys = self.keys.iter().map(|key| self.file.key_path(&key.path));
        keys.chain(rule_paths(&self.file, &self.uses)).collect()
    }

    /// When rules that cannot be loaded are tried again.
    fn again(&self) -> Option<Instant> {
        let faulty = !self.basis.rules.faults().is_empty();
        faulty.then(|| Instant::now() + RETRY_PAUSE)
    }
}

/// Modules, their signatures with the place of the next one, and documents, as far as they are files.
fn rule_paths(file: &PolicyFile, uses: &RuleUses) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for used in &uses.uses {
        if !used.module.contains("://") {
            paths.push(file.key_path(&used.module));
            for number in 1..=MAX_WATCHED_SIGNATURES {
                let signature = file.key_path(&format!("{}.signature-{number}", used.module));
                let last = !signature.exists();
                paths.push(signature);
                if last {
                    break;
                }
            }
        }
        paths.extend(used.data.values().map(|path| file.key_path(path)));
    }
    paths.sort();
    paths.dedup();
    paths
}

/// Wait for what is asynchronous, on a thread that may wait.
fn wait<T>(future: impl Future<Output = T>) -> Result<T, UnusablePolicy> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => Ok(runtime.block_on(future)),
        Err(_) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            Ok(runtime.map_err(UnusablePolicy::Runtime)?.block_on(future))
        }
    }
}

/// There is nothing to decide by.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnusablePolicy {
    #[error("cannot load the policy's rules: {0}")]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Registries(#[from] RegistriesDError),
    #[error("cannot load the policy's rules: {0}")]
    Runtime(io::Error),
}

/// What decides, with what it was made of.
#[derive(Debug)]
struct Policy {
    basis: Result<Arc<Basis>, Arc<str>>,
    snapshot: bool,
    /// What a snapshot is to be made of.
    unsnapped: Option<(PolicyFile, Vec<KeyFile>)>,
    /// How much of it could not be loaded; without a basis more than of any other.
    faults: usize,
    /// The files that it names.
    paths: Vec<PathBuf>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            basis: Err("it is being loaded".into()),
            snapshot: false,
            unsnapped: None,
            faults: usize::MAX,
            paths: Vec::new(),
        }
    }
}

impl Policy {
    fn of(loaded: Loaded) -> Self {
        let (faults, paths) = (loaded.faults().len(), loaded.paths());
        let Loaded { basis, file, keys, .. } = loaded;
        let basis = Ok(Arc::new(basis));
        Self { basis, snapshot: false, unsnapped: Some((file, keys)), faults, paths }
    }

    /// The files that it rests on.
    fn paths(&self, configuration: &Configuration) -> Vec<PathBuf> {
        let mut paths = vec![configuration.policy.clone()];
        match &configuration.directories {
            Directories::Explicit(folder) => paths.push(folder.clone()),
            Directories::Layers(folders) => paths.extend(folders.iter().cloned()),
            Directories::Loaded(_) => {}
        }
        paths.extend(self.paths.iter().cloned());
        paths
    }
}

fn generation(
    number: u64,
    configuration: &Configuration,
    policy: &Policy,
    verdicts: &Verdicts,
    cluster: Option<&Cluster>,
) -> Generation {
    Generation {
        number,
        loaded: Timestamp::now(),
        basis: policy.basis.clone(),
        snapshot: policy.snapshot,
        rules: configuration.rules.clone(),
        verdicts: verdicts.clone(),
        cluster: cluster.filter(|_| configuration.registries.pull_secrets).cloned(),
        deadline: configuration.deadline,
        decisions: configuration.log.decisions,
    }
}

fn verdicts_of(configuration: &Configuration, metrics: &Arc<Metrics>) -> Verdicts {
    let mut settings = configuration.registries.settings();
    settings.metrics = Some(Arc::clone(metrics));
    let client = Client::new(settings);
    let settings = configuration.verdicts.clone();
    Verdicts::new(client, settings, Budget::default(), Arc::clone(metrics))
}

fn configuration_paths(source: &Source) -> Vec<PathBuf> {
    source.file.iter().cloned().collect()
}

fn certificate_paths(configuration: &Configuration) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = configuration.client_authorities.iter().cloned().collect();
    if let Identity::Files { certificate, key } = &configuration.identity {
        paths.extend([certificate.clone(), key.clone()]);
    }
    paths
}

/// What is fixed while the process lives, and whether two configurations agree on it.
fn restart(old: &Configuration, new: &Configuration) -> [(&'static str, bool); 8] {
    let kind = |configuration: &Configuration| match &configuration.identity {
        Identity::Files { .. } => None,
        Identity::SelfManaged(own) => Some(own.clone()),
    };
    [
        ("listen", old.listen == new.listen),
        ("plainListen", old.plain_listen == new.plain_listen),
        ("tls.selfManaged", kind(old) == kind(new)),
        ("registries.pullSecrets", old.registries.pull_secrets == new.registries.pull_secrets),
        ("log", (old.log.json, old.log.level) == (new.log.json, new.log.level)),
        ("traces", old.traces == new.traces),
        ("drain", old.drain == new.drain),
        ("workers", old.workers == new.workers),
    ]
}

/// Names what verdicts rest on: the first half of a SHA-256, which is enough to tell policies apart and fits
/// an audit annotation.
fn hash(
    file: &PolicyFile,
    keys: &[KeyFile],
    registries: &RegistriesD,
    settings: &verdicts::Settings,
) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    add(file.document());
    for key in keys {
        add(key.path.as_bytes());
        match &key.content {
            Ok(content) => add(content),
            Err(fault) => add(format!("unreadable: {fault}").as_bytes()),
        }
    }
    add(format!("{registries:?}").as_bytes());
    add(format!("{:?} {:?}", settings.multi_arch, settings.platforms).as_bytes());
    name(hash)
}

fn name(hash: Sha256) -> String {
    let hash = hash.finalize();
    hash.iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// After rules could not be loaded: a registry that was away for a moment costs a minute, and one that is away for
/// long is asked seldom.
const RETRY_PAUSE: Duration = Duration::from_secs(60);

/// Most signatures of one module whose files are watched: as many as are looked at.
const MAX_WATCHED_SIGNATURES: usize = 64;

#[cfg(test)]
mod tests {
    use guest_policy::reference::Reference;

    use super::*;
    use crate::engine;

    /// A site with a policy, a key and a folder of registries.d.
    struct Site {
        folder: tempfile::TempDir,
        engine: Engine,
    }

    impl Site {
        fn new() -> Self {
            let engine = Engine::new(&engine::Settings::default()).expect("an engine");
            let site = Self { folder: tempfile::tempdir().expect("a folder"), engine };
            site.write("policy.json", r#"{"default": [{"type": "reject"}]}"#);
            site.write("registries.d/a.yaml", "default-docker: {lookaside: 'https://a.example'}\n");
            site
        }

        fn write(&self, name: &str, content: &str) {
            let path = self.folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, content).expect("a file");
        }

        fn source(&self) -> Source {
            let path = |name| Some(self.folder.path().join(name));
            let (policy, registries_d) = (path("policy.json"), path("registries.d"));
            Source { policy, registries_d, ..Source::default() }
        }

        fn load(&self) -> Loaded {
            let configuration = self.source().load().expect("a configuration");
            Loaded::load(&configuration, &self.engines()).expect("a policy")
        }

        fn engines(&self) -> Engines {
            Engines::new(self.engine.clone(), RuleSettings::default())
        }

        fn loader(&self) -> Loader {
            let source = self.source();
            let configuration = source.load().expect("a configuration");
            let certificates = Arc::new(Certificates::for_test());
            let engines = self.engines();
            Loader::start(source, configuration, engines, None, certificates, Arc::default())
        }
    }

    #[test]
    fn verdicts_rest_on_files_as_they_were_loaded() {
        let site = Site::new();
        let directories = site.load().basis.directories;
        site.write("registries.d/a.yaml", "nonsense: [");
        let registries = RegistriesD::load(&directories).expect("what was loaded");
        let image = Reference::parse_normalized("example.com/a").expect("a name");
        let store = registries.store(&image, crate::evidence::Access::Read);
        assert_eq!(store, Some("https://a.example"));
    }

    #[test]
    fn hash_names_everything_that_a_verdict_rests_on() {
        let site = Site::new();
        let mut hashes = vec![site.load().basis.hash];
        assert_eq!(hashes[0].len(), 32);
        assert_eq!(site.load().basis.hash, hashes[0]);
        site.write("policy.json", r#"{"default": [{"type": "reject"}] }"#);
        hashes.push(site.load().basis.hash);
        site.write("registries.d/a.yaml", "default-docker: {lookaside: 'https://b.example'}\n");
        hashes.push(site.load().basis.hash);
        let signed = r#"{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "k"}]}"#;
        site.write("policy.json", signed);
        hashes.push(site.load().basis.hash);
        site.write("k", "a key");
        hashes.push(site.load().basis.hash);
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), 5);
    }

    #[test]
    fn snapshot_answers_under_the_same_hash_in_the_same_generation() {
        let site = Site::new();
        let mut loader = site.loader();
        let current = Arc::clone(&loader.parts().current);
        let before = current.get();
        assert!(!before.snapshot && before.number == 1);
        loader.snapshot();
        let after = current.get();
        assert!(after.snapshot);
        assert_eq!((after.number, after.loaded), (1, before.loaded));
        let hash =
            |generation: &Generation| generation.basis.as_ref().expect("a basis").hash.clone();
        assert_eq!(hash(&before), hash(&after));
        // And there is nothing left to do.
        loader.snapshot();
        assert!(Arc::ptr_eq(&after, &current.get()));
    }

    #[test]
    fn the_same_files_make_no_new_generation() {
        let site = Site::new();
        let mut loader = site.loader();
        let current = Arc::clone(&loader.parts().current);
        let before = current.get();
        // They are so young that they are read again.
        loader.poll(&|_| ());
        loader.poll(&|_| ());
        assert!(Arc::ptr_eq(&before, &current.get()));
        site.write("policy.json", r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
        loader.poll(&|_| ());
        assert_eq!(current.get().number, 2);
        assert_eq!(before.number, 1);
    }

    #[test]
    fn the_same_fault_twice_is_no_news() {
        let status = Status::default();
        assert!(status.note("policy", Err("a".to_owned())));
        assert!(!status.note("policy", Err("a".to_owned())));
        assert!(status.note("policy", Err("b".to_owned())));
        assert!(status.note("policy", Ok(())));
        assert!(!status.note("policy", Ok(())));
    }
}
