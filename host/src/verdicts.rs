//! Verdicts for servers: the flow of [`crate::decide`], with everything remembered that may be.
//!
//! One image is fetched once at a time, whoever asks; an answer is served again as long as it holds and
//! no longer than the [`Settings`] allow; a caller that runs out of time is told so while the work goes
//! on, so that its next question finds the answer.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use guest_policy::digest::Digest;
use guest_policy::reference::Reference;
use guest_policy::rule::Workload;
use guest_policy::verdict::Verdict;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use self::clock::Lifetime;
use self::flights::Flights;
use self::gates::Gates;
use self::memory::{Answer, AnswerRef, Asker, Gathered, Key, Memory, Top};
use self::question::Question;
use crate::decide::Failure;
use crate::engine::{Budget, EngineError, Policy};
use crate::evidence::{Directories, RegistriesD};
use crate::registry::{Client, Keyring};
use crate::rules::Rules;
use crate::telemetry::Metrics;

mod clock;
mod flights;
mod gates;
mod memory;
mod question;

pub use self::clock::Clock;

/// What may be remembered, and how images with several platforms are judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long an allow may be served again; never longer than it holds.
    pub allow_for: Duration,
    /// How long a deny may be served again.
    pub deny_for: Duration,
    /// How long an error may be served again.
    pub error_for: Duration,
    /// How long a tag is taken to mean the same digest.
    pub tag_for: Duration,
    /// How long gathered evidence of a digest is used again.
    pub evidence_for: Duration,
    /// Most bytes of all that is remembered, evidence included.
    pub memory: u64,
    /// What of an image with several platforms has to be allowed.
    pub multi_arch: MultiArch,
    /// `os/architecture[/variant]` of the instances that are judged; all of them if empty.
    pub platforms: Vec<String>,
}

/// What of an image with several platforms has to be allowed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MultiArch {
    /// The index itself, under its own digest.
    Index,
    /// Every selected instance.
    Instances,
    /// The index itself; if it is denied, every selected instance.
    #[default]
    IndexOrInstances,
}

/// What one generation of configuration decides by.
#[derive(Clone, Debug)]
pub struct Basis {
    /// The policy, loaded.
    pub policy: Policy,
    /// The rules that it names.
    pub rules: Rules,
    /// Names the policy, its keys, its rules and the stores' configuration: what is remembered under another
    /// one is not served.
    pub hash: String,
    /// Where signatures are kept.
    pub directories: Directories,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The image as the pod names it.
    pub image: Reference,
    /// With whose credentials it is fetched.
    pub keyring: Arc<Keyring>,
    /// What wants to run it: rules may look at that.
    pub workload: Option<Arc<Workload>>,
    /// When the asker needs the answer.
    pub deadline: Instant,
}

/// The answer about one image.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// What the image's name was resolved to, of a multi-platform image the index: what may be pinned.
    /// Absent if it was not resolved.
    pub digest: Option<Digest>,
    /// The answer; that of all instances together, if instances were judged.
    pub verdict: Arc<Verdict>,
    /// Where the answer came from.
    pub served: Served,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Served {
    /// It was remembered.
    Cache,
    /// It was found for this question, or for another one at the same time.
    Fresh,
}

/// Answers questions, and remembers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Verdicts {
    inner: Arc<Inner>,
}

impl Verdicts {
    /// Nothing is remembered yet.
    pub fn new(client: Client, settings: Settings, budget: Budget, metrics: Arc<Metrics>) -> Self {
        Self::with_clock(client, settings, budget, metrics, Clock::system())
    }

    /// By a clock of one's own.
    pub fn with_clock(
        client: Client,
        settings: Settings,
        budget: Budget,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let inner = Inner {
            memory: Memory::new(settings.memory),
            answers: Flights::default(),
            resolutions: Flights::default(),
            gathering: Flights::default(),
            gates: Gates::of_hosts(),
            turns: Gates::for_one(),
            places: OnceLock::new(),
            registries: Mutex::default(),
            client,
            settings,
            budget,
            metrics,
            clock,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Decide about an image. Whatever goes wrong is a verdict of outcome error.
    pub async fn decide(&self, basis: &Arc<Basis>, ask: Ask) -> Judgement {
        let Ask { image, keyring, workload, deadline } = ask;
        let image = image.with_default_tag();
        let question =
            AnswerRef { basis: &basis.hash, image: &image, at: None, keyring: keyring.id() };
        let now = self.inner.clock.now();
        let known = self.inner.memory.answer(&question, now);
        self.inner.metrics.cache("verdicts", known.is_some());
        if let Some(answer) = known {
            return judgement(&answer, Served::Cache);
        }
        // What a rule says may depend on who asks and when, so only the same question at the same time is one.
        let asker =
            (!basis.rules.is_empty()).then(|| Asker { workload: workload.clone(), at: now.unix });
        let flight = self.inner.answers.join((question.to_key(), asker), MAX_QUESTIONS, || {
            let question = Question {
                inner: Arc::clone(&self.inner),
                basis: Arc::clone(basis),
                client: self.inner.client.acting_as(Arc::clone(&keyring)),
                keyring: *keyring.id(),
                workload,
            };
            let image = image.clone();
            let span = tracing::Span::current();
            async move { question.answer(&image).await }.instrument(span)
        });
        let Some(flight) = flight else {
            let host = image.domain().to_owned();
            return unanswered(&Failure::Busy { host, waiting: MAX_QUESTIONS });
        };
        match tokio::time::timeout_at(deadline.into(), flight).await {
            Ok(Some(answer)) => judgement(&answer, Served::Fresh),
            Ok(None) => {
                let fault = "the work on this image broke down".to_owned();
                unanswered(&EngineError::Bug(fault).into())
            }
            Err(_) => unanswered(&Failure::Deadline { image: image.familiar() }),
        }
    }
}

#[derive(Debug)]
struct Inner {
    client: Client,
    settings: Settings,
    budget: Budget,
    metrics: Arc<Metrics>,
    clock: Clock,
    memory: Memory,
    /// Questions under way.
    answers: Flights<(Key, Option<Asker>), Arc<Answer>>,
    /// Names that are being resolved.
    resolutions: Flights<Key, Step<Top>>,
    /// Evidence that is being gathered.
    gathering: Flights<Key, Step<Gathered>>,
    gates: Gates,
    /// For those who fetch what rules want to see of an image.
    turns: Gates,
    /// Who may compute at the same time.
    places: OnceLock<Arc<Semaphore>>,
    /// Where signatures are kept, by the hash of the latest basis.
    registries: Mutex<Option<(String, Arc<RegistriesD>)>>,
}

impl Inner {
    /// As many as the engine has: who waited for one in the engine would hold a thread meanwhile.
    fn places(&self, slots: Option<usize>) -> Arc<Semaphore> {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        let places = || Arc::new(Semaphore::new(slots.unwrap_or_else(processors)));
        Arc::clone(self.places.get_or_init(places))
    }
}

/// The result of a step on the way, and until when it may be used.
type Step<T> = Result<(Arc<T>, Lifetime), Arc<Failure>>;

fn judgement(answer: &Answer, served: Served) -> Judgement {
    Judgement { digest: answer.digest.clone(), verdict: Arc::clone(&answer.verdict), served }
}

/// There is no answer, and that is not remembered: the next one who asks may have more luck.
fn unanswered(failure: &Failure) -> Judgement {
    let verdict = Arc::new(failure.verdict(String::new(), None));
    Judgement { digest: None, verdict, served: Served::Fresh }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Questions under way at the same time: as many as fifteen registries that hang can hold, so that those of
/// other registries still find a place. One takes a few kilobytes while it waits.
const MAX_QUESTIONS: usize = 4096;
