//! The flow: resolve once, ask what is needed, gather, evaluate.
//!
//! [`Decider::decide`] is the only place that knows the whole path from a name to a verdict, and
//! [`Decider::inspect`] the same path to what each signature is worth. Whatever goes wrong on the way
//! ends in a verdict with [`Outcome::Error`], which never is an allow.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use guest_policy::digest::Digest;
use guest_policy::evaluation::{Came, Evaluation};
use guest_policy::image::{Evidence, Needs, Signature, Subject};
use guest_policy::reference::Reference;
use guest_policy::rule::{Documents, LogLine, Workload};
use guest_policy::verdict::{Explanation, Finding, Outcome, Reason, Verdict};
use tokio::sync::Semaphore;

use crate::engine::{Budget, EngineError, Policy};
use crate::evidence::{self, Directories, EvidenceError, RegistriesD};
use crate::image::{ImageError, ImageName, PlatformSelection, Resolved};
use crate::registry::{Client, RegistryError};

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
}

impl Decision {
    /// The answer when the question about `image` could not be put to a policy at all.
    pub fn unanswered(image: ImageName, code: &str, message: String) -> Self {
        let verdict = error(code, message, String::new(), None);
        Self { image, platform: None, digest: None, verdict }
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
}

impl Decider {
    /// Nothing is read or fetched before there is a question that needs it.
    pub fn new(policy: Policy, client: Client, directories: Directories, budget: Budget) -> Self {
        Self { sandbox: Sandbox::new(policy, budget), client, directories }
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
                let verdict = self.judge(image, now).await;
                let image = question.image.clone();
                Decision { image, platform, digest: Some(digest), verdict }
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

    async fn judge(&self, image: Resolved, now: u64) -> Verdict {
        let digest = image.digest.clone();
        let needs = match self.sandbox.needs(&image.subject).await {
            Ok(needs) => needs,
            Err(failure) => return failure.verdict(String::new(), Some(&digest)),
        };
        match self.evaluate(image, &needs, now).await {
            Ok(verdict) => verdict,
            Err(failure) => failure.verdict(needs.scope, Some(&digest)),
        }
    }

    async fn evaluate(&self, image: Resolved, needs: &Needs, now: u64) -> Result<Verdict, Failure> {
        let signatures = if needs.signatures { self.signatures(&image).await? } else { Vec::new() };
        let (evidence, Bound { subject, digest, .. }) = gathered(image, signatures);
        self.sandbox.evaluate(subject, &digest, Arc::new(evidence), now).await
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
    /// With the credentials of the one who asks.
    pub(crate) client: Client,
    pub(crate) now: u64,
}

/// The verdict, and what rules needed for it.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) verdict: Verdict,
    /// How each node of the evaluation came out, and why not.
    pub(crate) outcomes: Vec<(Came, Vec<Reason>)>,
    /// Those that were given, and those that were fetched.
    pub(crate) documents: Documents,
    /// What rules logged, by index of the rule.
    pub(crate) log: Vec<(u32, LogLine)>,
}

/// A policy in the engine, asked on threads that may compute.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    policy: Policy,
    budget: Budget,
    /// Who may ask at the same time. The others wait here, where waiting takes no thread.
    places: Option<Arc<Semaphore>>,
}

impl Sandbox {
    /// Any number of callers may ask at the same time.
    pub(crate) fn new(policy: Policy, budget: Budget) -> Self {
        Self { policy, budget, places: None }
    }

    /// Only as many callers as `places` has may ask at the same time.
    pub(crate) fn with_places(self, places: Arc<Semaphore>) -> Self {
        Self { places: Some(places), ..self }
    }

    /// With the rules that the policy names.
    pub(crate) fn with_rules(self, _rules: crate::rules::Rules) -> Self {
        self
    }

    /// Evaluate everything but rules.
    pub(crate) async fn evaluation(
        &self,
        subject: Subject,
        evidence: Arc<Evidence>,
        now: u64,
    ) -> Result<Evaluation, Failure> {
        self.ask(move |policy, budget| policy.evaluation(&subject, &evidence, now, budget)).await
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

    /// Close what the engine left open: ask the rules that the verdict depends on, and fetch what they want.
    /// An answer that contradicts itself is an error.
    pub(crate) async fn settle(
        &self,
        _evaluation: Arc<Evaluation>,
        _inquiry: Inquiry,
    ) -> Result<Settled, Failure> {
        unimplemented!()
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Policy, &Budget) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, Failure> {
        let stopped = |what: String| Failure::from(EngineError::Bug(what));
        let place = match &self.places {
            None => None,
            Some(places) => {
                let place = Arc::clone(places).acquire_owned().await;
                Some(place.map_err(|closed| stopped(closed.to_string()))?)
            }
        };
        let (policy, budget) = (self.policy.clone(), self.budget.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let answer = question(&policy, &budget);
            // Whoever asked may have gone away; the place is taken until the thread is free.
            drop(place);
            answer
        });
        match asked.await {
            Ok(answer) => Ok(answer?),
            Err(error) => Err(stopped(error.to_string())),
        }
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
