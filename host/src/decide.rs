//! The flow: resolve once, ask what is needed, gather, evaluate.
//!
//! [`Decider::decide`] is the only place that knows the whole path from a name to a verdict, and
//! [`Decider::inspect`] the same path to what each signature is worth. Whatever goes wrong on the way
//! ends in a verdict with [`Outcome::Error`], which never is an allow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use guest_policy::digest::Digest;
use guest_policy::evaluation::{self, Came, Evaluation, RuleAnswer, Step};
use guest_policy::image::{Evidence, Needs, Signature, Subject};
use guest_policy::reference::Reference;
use guest_policy::rule::{self, Documents, LogLine, Want, Workload};
use guest_policy::verdict::{Explanation, Finding, Outcome, Reason, Verdict};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::{Budget, EngineError, Policy, RuleFault, RuleLimits, Run, Stop};
use crate::evidence::{self, Directories, EvidenceError, RegistriesD};
use crate::image::{ImageError, ImageName, PlatformSelection, Resolved};
use crate::registry::{Client, RegistryError};
use crate::rules::{Fetched, Loaded as LoadedRule, Rules};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The image as the user named it.
    pub image: ImageName,
    /// Judge the image as though it had been pulled as `docker://REFERENCE`.
    pub judged_as: Option<Reference>,
    /// Which instances of an index are judged.
    pub platforms: PlatformSelection,
}

/// The answer about one image, or about one instance of an index.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The image as the user named it.
    pub image: ImageName,
    /// `os/architecture[/variant]`, if the image was chosen from an index that tells.
    pub platform: Option<String>,
    /// What the image was resolved to; absent if it was not.
    pub digest: Option<Digest>,
    /// The answer. If the question could not be put to the policy, the scope is empty.
    pub verdict: Verdict,
    /// How the policy came to it, if that was to be kept.
    pub course: Option<Box<Course>>,
}

/// How a policy came to its verdict, and what that rested on.
#[derive(Clone, Debug)]
pub struct Course {
    pub(crate) subject: Subject,
    pub(crate) evidence: Arc<Evidence>,
    pub(crate) evaluation: Arc<Evaluation>,
    /// How each node of the evaluation came out, and why not.
    pub(crate) outcomes: Vec<(Came, Vec<Reason>)>,
    pub(crate) documents: Documents,
    /// Why other documents were not there.
    pub(crate) failures: BTreeMap<Want, evaluation::Failure>,
    /// In the order in which they were asked.
    pub(crate) asked: Vec<Asked>,
}

/// A rule that was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) rule: u32,
    /// As it calls itself.
    pub(crate) name: String,
    /// Absent if the rule could not be asked.
    pub(crate) question: Option<Arc<rule::Question>>,
    pub(crate) answer: RuleAnswer,
    pub(crate) log: Vec<LogLine>,
    /// Of all its runs, without the fetching between them.
    pub(crate) took: Duration,
}

impl Decision {
    /// The answer when the question about `image` could not be put to a policy at all.
    pub fn unanswered(image: ImageName, code: &str, message: String) -> Self {
        let verdict = error(code, message, String::new(), None);
        Self { image, platform: None, digest: None, verdict, course: None }
    }
}

/// What every signature of one image, or of one instance of an index, is worth under the policy.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The image as the user named it.
    pub image: ImageName,
    /// As in [`Decision`].
    pub platform: Option<String>,
    /// What the image was resolved to.
    pub digest: Digest,
    /// What the policy requires of the image.
    pub explanation: Explanation,
    /// One for each signature that was found, in the order of the stores.
    pub findings: Vec<Finding>,
}

/// Answers questions under one policy.
#[derive(Debug)]
pub struct Decider {
    sandbox: Sandbox,
    client: Client,
    directories: Directories,
    keeps_course: bool,
}

impl Decider {
    /// Nothing is read or fetched before there is a question that needs it.
    pub fn new(policy: Policy, client: Client, directories: Directories, budget: Budget) -> Self {
        let sandbox = Sandbox::new(policy, budget);
        Self { sandbox, client, directories, keeps_course: false }
    }

    /// With the rules that the policy names. Without them, whoever has to be asked is an error.
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Self {
        Self { sandbox: self.sandbox.with_rules(rules), ..self }
    }

    /// Every decision tells how the policy came to it, which takes the memory of all evidence.
    #[must_use]
    pub fn keeping_courses(self) -> Self {
        Self { keeps_course: true, ..self }
    }

    /// Decide about an image at the time `now`, in seconds since 1970-01-01 UTC. There is at least one
    /// decision; more than one if instances of an index are judged.
    pub async fn decide(&self, question: &Question, now: u64) -> Vec<Decision> {
        let instances = match self.resolve(question).await {
            Ok(instances) => instances,
            Err(failure) => {
                let (code, message) = (failure.code(), failure.to_string());
                return vec![Decision::unanswered(question.image.clone(), code, message)];
            }
        };
        stream::iter(instances)
            .map(async |image| {
                let (platform, digest) = (image.platform.clone(), image.digest.clone());
                let (verdict, course) = self.judge(image, now).await;
                let image = question.image.clone();
                Decision { image, platform, digest: Some(digest), verdict, course }
            })
            .buffered(MAX_CONCURRENT_IMAGES)
            .collect()
            .await
    }

    /// Decide about several images, some at the same time. The answers are in the order of the questions;
    /// `progress` is told of each as soon as all before it are there.
    pub async fn decide_all(
        &self,
        questions: &[Question],
        now: u64,
        mut progress: impl FnMut(&[Decision]),
    ) -> Vec<Decision> {
        let mut decisions = Vec::with_capacity(questions.len());
        let mut answers = stream::iter(questions)
            .map(|question| self.decide(question, now))
            .buffered(MAX_CONCURRENT_IMAGES);
        while let Some(answer) = answers.next().await {
            progress(&answer);
            decisions.extend(answer);
        }
        decisions
    }

    /// Judge every signature of an image on its own, whether or not the policy looks at signatures.
    ///
    /// # Errors
    ///
    /// Some step on the way failed.
    pub async fn inspect(&self, question: &Question, now: u64) -> Result<Vec<Inspection>, Failure> {
        let mut inspections = Vec::new();
        for image in self.resolve(question).await? {
            let signatures = self.signatures(&image).await?;
            let (evidence, Bound { subject, digest, platform }) = gathered(image, signatures);
            let (explanation, findings) = self
                .sandbox
                .ask(move |policy, budget| {
                    let explanation = policy.explain(&subject, budget)?;
                    Ok((explanation, policy.inspect(&subject, &evidence, now, budget)?))
                })
                .await?;
            let image = question.image.clone();
            inspections.push(Inspection { image, platform, digest, explanation, findings });
        }
        Ok(inspections)
    }

    /// The image, or the selected instances of its index: never none.
    async fn resolve(&self, question: &Question) -> Result<Vec<Resolved>, Failure> {
        let Question { image, judged_as, platforms } = question;
        let instances = image.resolve(&self.client, judged_as.as_ref(), platforms).await?;
        if instances.is_empty() {
            return Err(Failure::EmptyIndex { image: image.to_string() });
        }
        Ok(instances)
    }

    async fn judge(&self, image: Resolved, now: u64) -> (Verdict, Option<Box<Course>>) {
        let digest = image.digest.clone();
        let needs = match self.sandbox.needs(&image.subject).await {
            Ok(needs) => needs,
            Err(failure) => return (failure.verdict(String::new(), Some(&digest)), None),
        };
        match self.evaluate(image, &needs, now).await {
            Ok(answer) => answer,
            Err(failure) => (failure.verdict(needs.scope, Some(&digest)), None),
        }
    }

    async fn evaluate(
        &self,
        image: Resolved,
        needs: &Needs,
        now: u64,
    ) -> Result<(Verdict, Option<Box<Course>>), Failure> {
        let signatures = if needs.signatures { self.signatures(&image).await? } else { Vec::new() };
        let name = image.name.clone();
        let (evidence, Bound { subject, digest, platform }) = gathered(image, signatures);
        let evidence = Arc::new(evidence);
        if !self.keeps_course && self.sandbox.rules.is_empty() {
            let verdict = self.sandbox.evaluate(subject, &digest, evidence, now).await?;
            return Ok((verdict, None));
        }
        let inquiry = Inquiry {
            name,
            subject,
            platform,
            digest,
            evidence,
            workload: None,
            documents: Documents::new(),
            failures: BTreeMap::new(),
            client: self.client.clone(),
            now,
        };
        let (verdict, course) = self.sandbox.follow(inquiry).await?;
        Ok((verdict, self.keeps_course.then(|| Box::new(course))))
    }

    async fn signatures(&self, image: &Resolved) -> Result<Vec<Signature>, Failure> {
        // Only registries have signature stores beside them.
        let registries = match image.subject.transport.as_str() {
            "docker" => RegistriesD::load(&self.directories).map_err(EvidenceError::from)?,
            _ => RegistriesD::default(),
        };
        Ok(evidence::signatures(image, &self.client, &registries).await?)
    }
}

/// What rules are asked about.
#[derive(Clone, Debug)]
pub(crate) struct Inquiry {
    /// Where documents are fetched from.
    pub(crate) name: ImageName,
    pub(crate) subject: Subject,
    pub(crate) platform: Option<String>,
    pub(crate) digest: Digest,
    pub(crate) evidence: Arc<Evidence>,
    /// What wants to run the image, if a cluster asks.
    pub(crate) workload: Option<Arc<Workload>>,
    /// Documents that were fetched before.
    pub(crate) documents: Documents,
    /// Why others were not there, which are not tried again.
    pub(crate) failures: BTreeMap<Want, evaluation::Failure>,
    /// With the credentials of the one who asks.
    pub(crate) client: Client,
    pub(crate) now: u64,
}

impl Inquiry {
    /// The documents of the image, as far as they are known, and where others are.
    fn fetched(&self) -> Fetched {
        Fetched::new(
            self.name.clone(),
            self.client.clone(),
            self.digest.clone(),
            Arc::clone(&self.evidence),
            self.documents.clone(),
            self.failures.clone(),
        )
    }

    /// What a rule is asked.
    fn question(&self, evaluation: &Evaluation, settings: &str) -> rule::Question {
        let Subject { name, reference, .. } = &self.subject;
        let parsed = reference.as_deref().and_then(|text| Reference::parse_normalized(text).ok());
        let image = rule::Image {
            name: name.clone(),
            reference: reference.clone(),
            repository: parsed.as_ref().map(Reference::name),
            tag: parsed.as_ref().and_then(Reference::tag).map(str::to_owned),
            digest: self.digest.to_string(),
            platform: self.platform.clone(),
        };
        rule::Question {
            image,
            claims: evaluation.claims(),
            attestations: Vec::new(),
            workload: self.workload.as_deref().cloned(),
            settings: settings.to_owned(),
            now: self.now,
        }
    }
}

/// The verdict, and what rules needed for it.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) verdict: Verdict,
    /// Those that were given, and those that were fetched.
    pub(crate) documents: Documents,
    /// Why others were not there.
    pub(crate) failures: BTreeMap<Want, evaluation::Failure>,
    /// In the order in which they were asked.
    pub(crate) asked: Vec<Asked>,
}

/// A policy in the engine, asked on threads that may compute.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    policy: Policy,
    rules: Rules,
    budget: Budget,
    /// Who may ask at the same time. The others wait here, where waiting takes no thread.
    places: Option<Arc<Semaphore>>,
}

impl Sandbox {
    /// Any number of callers may ask at the same time.
    pub(crate) fn new(policy: Policy, budget: Budget) -> Self {
        Self { policy, rules: Rules::default(), budget, places: None }
    }

    /// Only as many callers as `places` has may ask at the same time.
    pub(crate) fn with_places(self, places: Arc<Semaphore>) -> Self {
        Self { places: Some(places), ..self }
    }

    /// With the rules that the policy names.
    pub(crate) fn with_rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// Which evidence an evaluation of this image will look at.
    pub(crate) async fn needs(&self, subject: &Subject) -> Result<Needs, Failure> {
        let subject = subject.clone();
        self.ask(move |policy, budget| policy.needs(&subject, budget)).await
    }

    /// Decide about the image with this digest. An answer that contradicts itself is an error.
    pub(crate) async fn evaluate(
        &self,
        subject: Subject,
        digest: &Digest,
        evidence: Arc<Evidence>,
        now: u64,
    ) -> Result<Verdict, Failure> {
        let verdict = self
            .ask(move |policy, budget| policy.evaluate(&subject, &evidence, now, budget))
            .await?;
        Ok(sound(verdict, digest, now))
    }

    /// What the engine finds out, but for what rules will say.
    pub(crate) async fn evaluation(
        &self,
        subject: Subject,
        evidence: Arc<Evidence>,
        now: u64,
    ) -> Result<Evaluation, Failure> {
        self.ask(move |policy, budget| policy.evaluation(&subject, &evidence, now, budget)).await
    }

    /// Close what the engine left open: ask the rules that the verdict depends on, and fetch what they want.
    /// An answer that contradicts itself is an error.
    pub(crate) async fn settle(
        &self,
        evaluation: Arc<Evaluation>,
        inquiry: Inquiry,
    ) -> Result<Settled, Failure> {
        let mut fetched = inquiry.fetched();
        let (verdict, asked) = self.settle_with(&evaluation, &inquiry, &mut fetched).await?;
        let (documents, failures) = fetched.into_parts();
        Ok(Settled { verdict, documents, failures, asked })
    }

    /// Evaluate, and settle: the verdict, with everything by which it can be followed.
    pub(crate) async fn follow(&self, inquiry: Inquiry) -> Result<(Verdict, Course), Failure> {
        let fetched = inquiry.fetched();
        self.follow_with(inquiry, fetched).await
    }

    /// As [`Self::follow`], with these documents.
    pub(crate) async fn follow_with(
        &self,
        inquiry: Inquiry,
        mut fetched: Fetched,
    ) -> Result<(Verdict, Course), Failure> {
        let (subject, evidence) = (inquiry.subject.clone(), Arc::clone(&inquiry.evidence));
        let evaluation = Arc::new(self.evaluation(subject, evidence, inquiry.now).await?);
        let (verdict, asked) = self.settle_with(&evaluation, &inquiry, &mut fetched).await?;
        let answers = asked.iter().map(|asked| (asked.rule, asked.answer.clone())).collect();
        let outcomes = evaluation.outcomes(&answers);
        let (documents, failures) = fetched.into_parts();
        let Inquiry { subject, evidence, .. } = inquiry;
        let course = Course { subject, evidence, evaluation, outcomes, documents, failures, asked };
        Ok((verdict, course))
    }

    async fn settle_with(
        &self,
        evaluation: &Evaluation,
        inquiry: &Inquiry,
        fetched: &mut Fetched,
    ) -> Result<(Verdict, Vec<Asked>), Failure> {
        let mut answers = BTreeMap::new();
        let mut all = Vec::new();
        let verdict = loop {
            let rule = match evaluation.conclude(&answers) {
                Step::Done(verdict) => break verdict,
                Step::Ask(rule) if answers.contains_key(&rule) => {
                    let what = "a rule that has answered is to be asked again".to_owned();
                    return Err(EngineError::Bug(what).into());
                }
                Step::Ask(rule) => rule,
            };
            let asked = self.ask_rule(rule, evaluation, inquiry, fetched).await?;
            answers.insert(rule, asked.answer.clone());
            all.push(asked);
        };
        Ok((sound(verdict, &inquiry.digest, inquiry.now), all))
    }

    /// Ask one rule, as often as it takes until it has the documents that it wants.
    async fn ask_rule(
        &self,
        rule: u32,
        evaluation: &Evaluation,
        inquiry: &Inquiry,
        fetched: &mut Fetched,
    ) -> Result<Asked, Failure> {
        let name = self.rules.name(rule).to_owned();
        let loaded = match self.rules.rule(rule) {
            Ok(loaded) => loaded,
            Err(failure) => {
                let (answer, took) = (RuleAnswer::failed(failure), Duration::ZERO);
                return Ok(Asked { rule, name, question: None, answer, log: Vec::new(), took });
            }
        };
        let question = Arc::new(inquiry.question(evaluation, loaded.settings()));
        let whole = loaded.limits().deadline;
        let mut left = whole;
        let mut taken = Duration::ZERO;
        let mut log = Vec::new();
        let answer = loop {
            let run = {
                let (loaded, question) = (Arc::clone(&loaded), Arc::clone(&question));
                let evidence = Arc::clone(&inquiry.evidence);
                let documents = fetched.documents().clone();
                move |deadline| {
                    let limits = RuleLimits { deadline, ..loaded.limits().clone() };
                    loaded.run(&question, &evidence.manifest, &documents, &limits)
                }
            };
            let (ran, took) = self.run_rule(&loaded, left, run).await?;
            taken += took;
            match ran {
                Ok(run) => {
                    log = run.log;
                    break loaded.answer(run.answer, inquiry.now);
                }
                Err(Stop::Fault(fault, lines)) => {
                    log = lines;
                    break loaded.failed(match fault {
                        // The policy's number says more than what was left of it.
                        RuleFault::Deadline(_) => RuleFault::Deadline(whole),
                        fault => fault,
                    });
                }
                Err(Stop::Wanted(want)) => {
                    if let Err(failure) = fetched.fetch(&want).await {
                        break loaded.failed_by(failure);
                    }
                    // The budget is for all runs together.
                    left = left.saturating_sub(took);
                    if left.is_zero() {
                        break loaded.failed(RuleFault::Deadline(whole));
                    }
                }
            }
        };
        Ok(Asked { rule, name, question: Some(question), answer, log, took: taken })
    }

    /// Run a rule once, and how long it took. One that was quick the last time runs at once on this thread, where
    /// nobody has to be woken; if it is not quick this time, it is run again where it may take all of its time. It is
    /// a pure function, so that nobody can tell.
    async fn run_rule(
        &self,
        loaded: &LoadedRule,
        left: Duration,
        run: impl Fn(Duration) -> Result<Run, Stop> + Send + 'static,
    ) -> Result<(Result<Run, Stop>, Duration), Failure> {
        let timed = move |deadline| {
            let started = Instant::now();
            let ran = run(deadline);
            (ran, started.elapsed())
        };
        if loaded.is_quick()
            && left > QUICK_RUN_DEADLINE
            && let Some(place) = self.free_place()
        {
            let (ran, took) = timed(QUICK_RUN_DEADLINE);
            drop(place);
            loaded.took(took);
            if !matches!(ran, Err(Stop::Fault(RuleFault::Deadline(_), _))) {
                return Ok((ran, took));
            }
        }
        let (ran, took) = self.compute(move || timed(left)).await?;
        loaded.took(took);
        Ok((ran, took))
    }

    /// A place to compute, if there is one without waiting.
    fn free_place(&self) -> Option<Option<OwnedSemaphorePermit>> {
        match &self.places {
            None => Some(None),
            Some(places) => Arc::clone(places).try_acquire_owned().ok().map(Some),
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Policy, &Budget) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, Failure> {
        let (policy, budget) = (self.policy.clone(), self.budget.clone());
        Ok(self.compute(move || question(&policy, &budget)).await??)
    }

    /// Compute on a thread that may, as soon as there is a place.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let stopped = |what: String| Failure::from(EngineError::Bug(what));
        let place = match &self.places {
            None => None,
            Some(places) => {
                let place = Arc::clone(places).acquire_owned().await;
                Some(place.map_err(|closed| stopped(closed.to_string()))?)
            }
        };
        let done = tokio::task::spawn_blocking(move || {
            let answer = work();
            // Whoever asked may have gone away; the place is taken until the thread is free.
            drop(place);
            answer
        });
        done.await.map_err(|error| stopped(error.to_string()))
    }
}

/// A step on the way to a verdict failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// More work waits than is useful.
    #[error(
        "too many images of {host} are waited for: {waiting} at this moment; try again, or find out why {host} is slow"
    )]
    Busy {
        /// The registry.
        host: String,
        /// How many.
        waiting: usize,
    },
    /// The time of the one who asks is over.
    #[error(
        "the answer about image {image} was not ready in time; the work goes on, so try again in a few seconds"
    )]
    Deadline {
        /// The image.
        image: String,
    },
    /// There is nothing to judge.
    #[error("cannot use the manifest of image {image}: its index names no images")]
    EmptyIndex {
        /// The image.
        image: String,
    },
    /// The sandbox gave no answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Signatures were not gathered.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The image was not resolved.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The index has no instance for any of the platforms that count.
    #[error(
        "cannot choose an instance of image {image}: its index has none for {wanted}; \
         build the image for one of them, or change images.platforms"
    )]
    NoInstance {
        /// The image.
        image: String,
        /// The platforms.
        wanted: String,
    },
    /// It failed for others, too, who waited for the same.
    #[error(transparent)]
    Shared(Arc<Failure>),
}

impl Failure {
    /// The reason's code, documented in docs/reasons.md.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Shared(failure) => failure.code(),
            Self::Busy { .. } => "registry-busy",
            Self::Deadline { .. } => "deadline",
            Self::EmptyIndex { .. } | Self::Image(ImageError::Malformed { .. }) => {
                "manifest-unusable"
            }
            Self::Engine(EngineError::Deadline(_)) => "evaluation-deadline",
            Self::Engine(EngineError::Memory(_)) => "evaluation-memory",
            Self::Engine(EngineError::Busy(_)) => "evaluation-busy",
            Self::Engine(_) => "evaluation-failed",
            Self::Evidence(EvidenceError::Registries(_) | EvidenceError::Scheme { .. }) => {
                "lookaside-misconfigured"
            }
            Self::Evidence(EvidenceError::Registry(RegistryError::Throttled { .. })) => {
                "registry-throttled"
            }
            Self::Evidence(EvidenceError::Registry(_)) => "signatures-unreachable",
            Self::Evidence(_) => "signatures-unreadable",
            Self::NoInstance { .. } | Self::Image(ImageError::NoInstance { .. }) => {
                "platform-missing"
            }
            Self::Image(ImageError::Registry { source, .. }) => registry_code(source),
            Self::Image(_) => "image-unreadable",
        }
    }

    pub(crate) fn verdict(&self, scope: String, digest: Option<&Digest>) -> Verdict {
        error(self.code(), self.to_string(), scope, digest)
    }
}

fn registry_code(error: &RegistryError) -> &'static str {
    match error {
        RegistryError::Certificates { .. } => "certificates-unusable",
        RegistryError::Credentials(_) => "credentials-unusable",
        RegistryError::Deadline { .. } | RegistryError::Unreachable { .. } => {
            "registry-unreachable"
        }
        RegistryError::Digest { .. } => "manifest-digest-mismatch",
        RegistryError::NotFound { .. } => "image-missing",
        RegistryError::Throttled { .. } => "registry-throttled",
        RegistryError::Tls { .. } => "registry-untrusted",
        RegistryError::Unauthorized { .. } => "registry-unauthorized",
        _ => "registry-failed",
    }
}

/// What of a resolved image is not evidence.
struct Bound {
    subject: Subject,
    digest: Digest,
    platform: Option<String>,
}

fn gathered(image: Resolved, signatures: Vec<Signature>) -> (Evidence, Bound) {
    let Resolved { subject, digest, manifest, index, platform, .. } = image;
    (Evidence { manifest, index, signatures }, Bound { subject, digest, platform })
}

/// The engine's verdict, if it keeps what the interface promises; an error otherwise. An answer that
/// contradicts itself is no answer.
pub(crate) fn sound(mut verdict: Verdict, digest: &Digest, now: u64) -> Verdict {
    let contradiction = |what: String| {
        let message = format!("the engine's answer contradicts itself: {what}");
        error("evaluation-failed", message, verdict.scope.clone(), Some(digest))
    };
    let reason = |code: &str, message: &str| Reason {
        code: code.to_owned(),
        requirement: None,
        message: message.to_owned(),
        hint: None,
    };
    match verdict.outcome {
        Outcome::Allow if verdict.digest != digest.as_str() => {
            contradiction(format!("it allows {:?}, and was asked about {digest}", verdict.digest))
        }
        Outcome::Allow if !verdict.reasons.is_empty() => {
            contradiction("it allows, and gives reasons against it".to_owned())
        }
        Outcome::Allow if verdict.valid_until.is_some_and(|end| end < now) => {
            contradiction("it allows until a time that is past".to_owned())
        }
        Outcome::Deny if verdict.reasons.is_empty() => {
            verdict.reasons.push(reason("unspecified", "the policy denies without a reason"));
            verdict
        }
        Outcome::Error if verdict.reasons.is_empty() => {
            verdict.reasons.push(reason(
                "evaluation-failed",
                "the engine could not answer, and gives no reason",
            ));
            verdict
        }
        Outcome::Allow | Outcome::Deny | Outcome::Error => verdict,
    }
}

fn error(code: &str, message: String, scope: String, digest: Option<&Digest>) -> Verdict {
    Verdict {
        outcome: Outcome::Error,
        scope,
        digest: digest.map(Digest::to_string).unwrap_or_default(),
        reasons: vec![Reason { code: code.to_owned(), requirement: None, message, hint: None }],
        claims: Vec::new(),
        valid_until: None,
        warnings: Vec::new(),
        annotations: BTreeMap::new(),
    }
}

/// How long a rule that was quick may run on a thread that others wait for: one tick of the sandbox's clock, a
/// hundred times as long as a small rule takes.
const QUICK_RUN_DEADLINE: Duration = Duration::from_millis(2);

/// Images that are fetched and judged at the same time: enough to hide a round trip to the registry, and
/// few enough that their evidence, of at most 24 MiB each, fits a small container.
pub(crate) const MAX_CONCURRENT_IMAGES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(outcome: Outcome, digest: &Digest) -> Verdict {
        Verdict {
            outcome,
            scope: "default".to_owned(),
            digest: digest.to_string(),
            reasons: Vec::new(),
            claims: Vec::new(),
            valid_until: Some(100),
            warnings: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn decisions_can_be_made_on_any_thread() {
        fn sendable(_: impl Send) {}
        let _ = |decider: &Decider, question: &Question| sendable(decider.decide(question, 0));
    }

    #[test]
    fn allow_of_the_resolved_digest_is_kept() {
        let digest = Digest::sha256(b"image");
        let allow = verdict(Outcome::Allow, &digest);
        assert_eq!(sound(allow.clone(), &digest, 100), allow);
    }

    #[test]
    fn allow_of_another_digest_is_an_error() {
        let digest = Digest::sha256(b"image");
        let other = verdict(Outcome::Allow, &Digest::sha256(b"another"));
        let answer = sound(other, &digest, 1);
        assert_eq!(answer.outcome, Outcome::Error);
        assert_eq!(answer.digest, digest.as_str());
        assert_eq!(answer.valid_until, None);
    }

    #[test]
    fn allow_with_reasons_or_past_its_end_is_an_error() {
        let digest = Digest::sha256(b"image");
        let mut reasoned = verdict(Outcome::Allow, &digest);
        reasoned.reasons = error("x", "y".to_owned(), String::new(), None).reasons;
        assert_eq!(sound(reasoned, &digest, 1).outcome, Outcome::Error);
        assert_eq!(sound(verdict(Outcome::Allow, &digest), &digest, 101).outcome, Outcome::Error);
    }

    #[test]
    fn deny_and_error_have_a_reason() {
        let digest = Digest::sha256(b"image");
        for outcome in [Outcome::Deny, Outcome::Error] {
            let answer = sound(verdict(outcome, &digest), &digest, 1);
            assert_eq!(answer.outcome, outcome);
            assert_eq!(answer.reasons.len(), 1);
        }
    }
}
