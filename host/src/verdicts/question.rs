//! The way of a question whose answer is not remembered.
//!
//! It is the flow of [`crate::decide`], with a look into the memory before every step and the result of every
//! step put there. A name is resolved once for an answer: the digest that was judged is the answer's digest.
//!
//! What rules say is never put there: it is about one workload at one time. Everything that they are told, and
//! the documents that they want, is, so that asking them again costs no request and no signature.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use guest_policy::digest::Digest;
use guest_policy::evaluation::{Evaluation, State, Step};
use guest_policy::image::{Evidence, SignatureForm, Subject};
use guest_policy::manifest::{self, Instance};
use guest_policy::reference::Reference;
use guest_policy::rule::{Capability, Documents, LogLine, Workload};
use guest_policy::verdict::{Outcome, Reason, Verdict};
use sha2::Digest as _;
use tracing::Instrument as _;

use super::clock::Lifetime;
use super::memory::{Answer, AnswerRef, Content, Evaluated, Gathered, Key, Shelf, Top};
use super::{Basis, Inner, MultiArch};
use crate::decide::{Asked, Failure, Inquiry, MAX_CONCURRENT_IMAGES, Sandbox, Settled, sound};
use crate::engine::EngineError;
use crate::evidence::{self, EvidenceError, RegistriesD};
use crate::image::{ImageError, ImageName, Platform, PlatformSelection, Resolved};
use crate::registry::Client;
use crate::report::printable;
use crate::telemetry::Stage;

/// A question about one image, and all that it takes to answer it.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) inner: Arc<Inner>,
    pub(super) basis: Arc<Basis>,
    /// With the credentials of the one who asks.
    pub(super) client: Client,
    /// Whose credentials these are.
    pub(super) keyring: [u8; 32],
    /// What wants to run the image.
    pub(super) workload: Option<Arc<Workload>>,
}

impl Question {
    /// The answer about an image, which has a tag, a digest, or both.
    ///
    /// A name with both is judged as `name@digest`, as CRI-O does: the digest says what runs, and the tag is
    /// for the reader. But then a policy that has a scope for the tag, or accepts signatures for exactly the
    /// tag, would deny as `name:tag@digest` the very image that it allowed as `name:tag` before it was pinned.
    /// So if it is denied, and the tag means this digest at this moment, the answer about `name:tag` counts.
    pub(super) async fn answer(&self, image: &Reference) -> Arc<Answer> {
        let (Some(tag), Some(digest)) = (image.tag(), image.digest()) else {
            return self.about(image).await;
        };
        let pinned = self.about(&image.clone().without_tag()).await;
        let mut answer = Arc::clone(&pinned);
        if pinned.verdict.outcome == Outcome::Deny
            && let Ok(tagged) = Reference::parse_normalized(&format!("{}:{tag}", image.name()))
            && self.refused(&tagged).await.is_none()
            && let Ok((top, lifetime)) = self.top(&tagged).await
            && top.digest == *digest
        {
            let Answer { verdict, lifetime: holds, .. } = &*self.about_top(&tagged, &top).await;
            let lifetime = lifetime.and(*holds);
            answer = Arc::new(Answer {
                digest: Some(top.digest.clone()),
                verdict: Arc::clone(verdict),
                lifetime: match verdict.outcome {
                    Outcome::Allow if !pinned.lifetime.is_over() => lifetime,
                    Outcome::Allow | Outcome::Deny | Outcome::Error => {
                        lifetime.and(pinned.lifetime)
                    }
                },
            });
        }
        self.remember(self.key(image, None), &answer);
        answer
    }

    /// The answer about a name with a tag or a digest.
    async fn about(&self, name: &Reference) -> Arc<Answer> {
        let key = self.key(name, None);
        if let Some(answer) = self.inner.memory.answer(&key, self.inner.clock.now()) {
            return answer;
        }
        if let Some(Judged { verdict, lifetime }) = self.refused(name).await {
            let answer = Arc::new(Answer { digest: None, verdict, lifetime });
            self.remember(key, &answer);
            return answer;
        }
        let answer = match self.top(name).await {
            Err(failure) => {
                let Judged { verdict, lifetime } = self.failed(&failure, String::new(), None);
                Arc::new(Answer { digest: None, verdict, lifetime })
            }
            Ok((top, _)) if name.digest().is_some() => self.about_top(name, &top).await,
            Ok((top, resolved)) => {
                let Answer { digest, verdict, lifetime } = &*self.about_top(name, &top).await;
                Arc::new(Answer {
                    digest: digest.clone(),
                    verdict: Arc::clone(verdict),
                    lifetime: resolved.and(*lifetime),
                })
            }
        };
        self.remember(key, &answer);
        answer
    }

    /// The answer about a name of which no image is allowed, if that can be told from the policy alone: its
    /// registry, which may be anybody's, is not asked anything then.
    async fn refused(&self, name: &Reference) -> Option<Judged> {
        let subject = ImageName::Docker { reference: name.clone() }.subject(None).ok()?;
        let Inner { memory, clock, .. } = &*self.inner;
        let key = self.needs_key(&subject);
        if memory.needs(&key, clock.now()).is_some() {
            return None;
        }
        let sandbox = self.sandbox();
        let needs = sandbox.needs(&subject).await.ok()?;
        let verdict = match needs.signatures {
            true => None,
            false => self.refusal(&sandbox, subject).await,
        };
        let Some(mut verdict) = verdict else {
            // Where rules are asked, every question comes by here.
            if !self.basis.rules.is_empty() {
                let now = clock.now();
                let lifetime = Lifetime::new(now, self.inner.settings.evidence_for, None);
                memory.put(key, Content::Needs(Arc::new(needs)), lifetime, now);
            }
            return None;
        };
        verdict.digest.clear();
        let lifetime = self.lifetime(&verdict);
        Some(Judged { verdict: Arc::new(verdict), lifetime })
    }

    /// The denial that holds whatever the evidence is, if there is one.
    async fn refusal(&self, sandbox: &Sandbox, subject: Subject) -> Option<Verdict> {
        let (nothing, now) = (Arc::new(Evidence::default()), self.inner.clock.now());
        let evaluation = sandbox.evaluation(subject, nothing, now.unix).await.ok()?;
        let Step::Done(verdict) = evaluation.conclude(&BTreeMap::new()) else { return None };
        // Without evidence, what a requirement says holds with any evidence. A reason that is no requirement's
        // is that the evidence is missing.
        let by_requirement = verdict.reasons.iter().all(|reason| reason.requirement.is_some());
        (verdict.outcome == Outcome::Deny && by_requirement && !verdict.reasons.is_empty())
            .then_some(verdict)
    }

    /// The answer about a name that was resolved: it holds for as long as the name means this.
    async fn about_top(&self, name: &Reference, top: &Arc<Top>) -> Arc<Answer> {
        let key = self.key(name, Some(&top.digest));
        if let Some(answer) = self.inner.memory.answer(&key, self.inner.clock.now()) {
            return answer;
        }
        let Judged { verdict, lifetime } = self.judge(name, top).await;
        let answer = Arc::new(Answer { digest: Some(top.digest.clone()), verdict, lifetime });
        self.remember(key, &answer);
        answer
    }

    /// Judge what of an image the settings want judged.
    async fn judge(&self, name: &Reference, top: &Arc<Top>) -> Judged {
        let Some(instances) = &top.instances else { return self.judge_one(name, top, None).await };
        match self.inner.settings.multi_arch {
            MultiArch::Index => self.judge_one(name, top, None).await,
            MultiArch::Instances => self.judge_instances(name, top, instances, None).await,
            MultiArch::IndexOrInstances => {
                let index = self.judge_one(name, top, None).await;
                match index.verdict.outcome {
                    Outcome::Deny => self.judge_instances(name, top, instances, Some(index)).await,
                    Outcome::Allow | Outcome::Error => index,
                }
            }
        }
    }

    /// Judge the selected instances of an index, some at the same time.
    async fn judge_instances(
        &self,
        name: &Reference,
        top: &Arc<Top>,
        instances: &[Instance],
        index: Option<Judged>,
    ) -> Judged {
        let selected = match self.select(name, instances) {
            Ok(selected) => selected,
            Err(failure) => {
                let mut judged = self.failed(&failure, String::new(), Some(&top.digest));
                if index.is_some_and(|index| index.lifetime.is_over()) {
                    judged.lifetime = Lifetime::OVER;
                }
                return judged;
            }
        };
        let judged: Vec<(String, Judged)> = stream::iter(selected)
            .map(|instance| self.judge_instance(name, top, instance))
            .buffered(MAX_CONCURRENT_IMAGES)
            .collect()
            .await;
        together(&top.digest, index, judged)
    }

    async fn judge_instance(
        &self,
        name: &Reference,
        index: &Arc<Top>,
        instance: Instance,
    ) -> (String, Judged) {
        let label = instance.platform.as_ref().map(Platform::to_string);
        let label = label.unwrap_or_else(|| instance.digest.to_string());
        let judged = match self.top(&name.at(instance.digest.clone())).await {
            Ok((top, _)) if top.instances.is_some() => {
                let image = ImageName::Docker { reference: name.clone() };
                let fault = ImageError::malformed(&image, manifest::Fault::NestedIndex);
                self.failed(&fault.into(), String::new(), Some(&instance.digest))
            }
            Ok((top, _)) => self.judge_one(name, &top, Some((index, &label))).await,
            Err(failure) => self.failed(&failure, String::new(), Some(&instance.digest)),
        };
        (label, judged)
    }

    /// The instances that count. What builders attach to images as instances of the platform
    /// `unknown/unknown` (provenance, bills of material) is nothing that could run.
    fn select(&self, name: &Reference, instances: &[Instance]) -> Result<Vec<Instance>, Failure> {
        let runs = |instance: &&Instance| {
            let platform = instance.platform.as_ref();
            platform.is_none_or(|p| p.os != "unknown" || p.architecture != "unknown")
        };
        let able: Vec<Instance> = instances.iter().filter(runs).cloned().collect();
        let wanted = &self.inner.settings.platforms;
        if wanted.is_empty() {
            let image = || ImageName::Docker { reference: name.clone() }.to_string();
            let none = || Failure::EmptyIndex { image: image() };
            return if able.is_empty() { Err(none()) } else { Ok(able) };
        }
        let mut selected: Vec<Instance> = Vec::new();
        for platform in wanted {
            // A text that is no platform selects nothing.
            let Ok(platform) = platform.parse() else { continue };
            let found = PlatformSelection::Named(platform).select(able.clone());
            for instance in found.unwrap_or_default() {
                if selected.iter().all(|known| known.digest != instance.digest) {
                    selected.push(instance);
                }
            }
        }
        if selected.is_empty() {
            let image = ImageName::Docker { reference: name.clone() }.to_string();
            return Err(Failure::NoInstance { image, wanted: wanted.join(", ") });
        }
        Ok(selected)
    }

    /// Judge one manifest: an image, an index as an image, or an instance of an index.
    async fn judge_one(
        &self,
        name: &Reference,
        top: &Top,
        of: Option<(&Arc<Top>, &str)>,
    ) -> Judged {
        let mut scope = String::new();
        match self.evaluate(name, top, of, &mut scope).await {
            Ok(judged) => judged,
            Err(failure) => self.failed(&failure, scope, Some(&top.digest)),
        }
    }

    async fn evaluate(
        &self,
        name: &Reference,
        top: &Top,
        of: Option<(&Arc<Top>, &str)>,
        scope: &mut String,
    ) -> Result<Judged, Failure> {
        let Inner { memory, clock, metrics, .. } = &*self.inner;
        let image = ImageName::Docker { reference: name.clone() };
        let subject = image.subject(None)?;
        let sandbox = self.sandbox();
        let needs = match memory.needs(&self.needs_key(&subject), clock.now()) {
            Some(needs) => needs,
            None => Arc::new(sandbox.needs(&subject).await?),
        };
        scope.clone_from(&needs.scope);
        let resolved = Resolved {
            subject: subject.clone(),
            digest: top.digest.clone(),
            manifest: top.manifest.clone(),
            index: of.map(|(index, _)| index.manifest.clone()),
            platform: of.map(|(_, platform)| platform.to_owned()),
            name: image,
        };
        let found = if needs.signatures {
            self.evidence(name, resolved, of.map(|(index, _)| &index.digest)).await?
        } else {
            let Resolved { manifest, index, .. } = resolved;
            let evidence = Evidence { manifest, index, signatures: Vec::new() };
            Found { gathered: gathered(evidence), remembered: None }
        };
        let key = Key::Verdict {
            basis: self.basis.hash.clone(),
            subject: subject.name.clone(),
            evidence: found.gathered.hash,
        };
        let known = memory.evaluated(&key, clock.now());
        let (evaluated, lifetime, fresh) = match known {
            Some((evaluated, lifetime)) => (evaluated, lifetime, false),
            None => {
                let (started, now) = (Instant::now(), clock.now());
                let evidence = Arc::clone(&found.gathered.evidence);
                metrics.sandbox_in_use(1);
                let evaluating = sandbox.evaluation(subject.clone(), evidence, now.unix);
                let evaluation = evaluating.instrument(tracing::info_span!("evaluate")).await;
                metrics.sandbox_in_use(-1);
                let evaluation = evaluation?;
                metrics.stage(Stage::Evaluate, started.elapsed());
                let (evaluated, lifetime) = match evaluation.conclude(&BTreeMap::new()) {
                    Step::Done(verdict) => {
                        let verdict = sound(verdict, &top.digest, now.unix);
                        let lifetime = self.lifetime(&verdict);
                        (Evaluated::Closed(Arc::new(verdict)), lifetime)
                    }
                    Step::Ask(_) => {
                        let lifetime = self.lifetime_of_open(&evaluation);
                        (Evaluated::Open(Arc::new(evaluation)), lifetime)
                    }
                };
                memory.put(key, Content::Evaluated(evaluated.clone()), lifetime, clock.now());
                (evaluated, lifetime, true)
            }
        };
        let judged = match evaluated {
            Evaluated::Closed(verdict) => Judged { verdict, lifetime },
            Evaluated::Open(evaluation) => {
                let inquiry = Inquiry {
                    name: ImageName::Docker { reference: name.clone() },
                    subject,
                    platform: of.map(|(_, platform)| platform.to_owned()),
                    digest: top.digest.clone(),
                    evidence: Arc::clone(&found.gathered.evidence),
                    workload: self.workload.clone(),
                    documents: Documents::new(),
                    failures: BTreeMap::new(),
                    client: self.client.clone(),
                    now: clock.now().unix,
                };
                self.settle(&sandbox, name, evaluation, inquiry).await
            }
        };
        let asked = judged.lifetime.is_over();
        if judged.verdict.outcome == Outcome::Deny
            && (fresh || asked)
            && let Some((key, until)) = found.remembered
        {
            // Whoever is denied and signs the image finds a new signature as soon as the denial is forgotten.
            let content = Content::Evidence(found.gathered);
            let lifetime = if asked { self.lifetime(&judged.verdict) } else { lifetime };
            memory.put(key, content, until.and(lifetime), clock.now());
        }
        Ok(judged)
    }

    /// Ask the rules on which the verdict depends. What they say is about this workload at this time, and is not
    /// served to anybody else.
    async fn settle(
        &self,
        sandbox: &Sandbox,
        name: &Reference,
        evaluation: Arc<Evaluation>,
        inquiry: Inquiry,
    ) -> Judged {
        let (scope, digest) = (evaluation.scope.clone(), inquiry.digest.clone());
        let verdict = match self.settled(sandbox, name, evaluation, inquiry).await {
            Ok(verdict) => Arc::new(verdict),
            Err(failure) => self.failed(&failure, scope, Some(&digest)).verdict,
        };
        Judged { verdict, lifetime: Lifetime::OVER }
    }

    async fn settled(
        &self,
        sandbox: &Sandbox,
        name: &Reference,
        evaluation: Arc<Evaluation>,
        inquiry: Inquiry,
    ) -> Result<Verdict, Failure> {
        let Inner { memory, clock, turns, .. } = &*self.inner;
        let key = Key::Documents {
            repository: name.name(),
            digest: inquiry.digest.clone(),
            keyring: self.keyring,
        };
        let mut known = memory.shelf(&key, clock.now());
        let mut visit = None;
        let uses = self.basis.rules.uses();
        if known.is_none()
            && uses.uses.iter().any(|rule| rule.capabilities.contains(&Capability::Artifact))
        {
            // The first one fetches what rules want, and the others find it.
            let busy = |waiting| Failure::Busy { host: name.domain().to_owned(), waiting };
            let turn = turns.enter(&format!("{key:?}")).await.map_err(busy)?;
            known = memory.shelf(&key, clock.now());
            if known.is_none() {
                visit = Some((turn, self.enter(name).await?));
            }
        }
        let verdict = self.ask_rules(sandbox, evaluation, inquiry, key, known).await;
        drop(visit);
        verdict
    }

    /// Ask with the documents that are known, and remember the others.
    async fn ask_rules(
        &self,
        sandbox: &Sandbox,
        evaluation: Arc<Evaluation>,
        inquiry: Inquiry,
        key: Key,
        known: Option<(Arc<Shelf>, Lifetime)>,
    ) -> Result<Verdict, Failure> {
        let Inner { memory, clock, metrics, settings, .. } = &*self.inner;
        let (shelf, until) = match known {
            Some((shelf, until)) => (shelf, Some(until)),
            None => (Arc::new(Shelf::empty()), None),
        };
        let again = shelf.again;
        let failures =
            if again.covers(clock.now()) { shelf.failures.clone() } else { BTreeMap::new() };
        let given = (shelf.documents.len(), failures.len());
        let documents = shelf.documents.clone();
        let image = inquiry.subject.name.clone();
        let alone = (given.0 > 0).then(|| (Arc::clone(&evaluation), inquiry.clone()));
        let started = Instant::now();
        let asking = sandbox.settle(evaluation, Inquiry { documents, failures, ..inquiry });
        let settled = asking.instrument(tracing::info_span!("rules")).await;
        metrics.stage(Stage::Rules, started.elapsed());
        let Settled { verdict, documents, failures, asked } = settled?;
        if verdict.reasons.iter().any(|reason| reason.code == "rule-documents")
            && let Some((evaluation, inquiry)) = alone
        {
            // There may be too many only together with those that somebody else wanted.
            return Box::pin(self.ask_rules(sandbox, evaluation, inquiry, key, None)).await;
        }
        asked.iter().for_each(|asked| self.told(&image, asked));
        let fetched = documents.len() > given.0;
        if given.0 > 0 || fetched {
            metrics.cache("documents", !fetched);
        }
        let denied = verdict.outcome == Outcome::Deny && !documents.is_empty();
        let failed = failures.len() > given.1;
        if until.is_none() || fetched || failed || denied {
            // None lives longer than the first that was fetched; and whoever is denied and attaches what is missing
            // is heard as soon as a denial would be forgotten.
            let now = clock.now();
            let new = Lifetime::new(now, settings.evidence_for, None);
            let mut lifetime = until.map_or(new, |until| until.and(new));
            if denied {
                lifetime = lifetime.and(Lifetime::new(now, settings.deny_for, None));
            }
            let again = match failed {
                true => Lifetime::new(now, settings.error_for, None),
                false => again,
            };
            let shelf = Arc::new(Shelf { documents, failures, again });
            memory.put(key, Content::Shelf(shelf), lifetime, now);
        }
        Ok(verdict)
    }

    /// Tell what a rule has done.
    fn told(&self, image: &str, asked: &Asked) {
        let Asked { name, answer, log, took, .. } = asked;
        let code = answer.failure.as_ref().and_then(|failure| failure.reasons.first());
        let code = code.map(|reason| reason.code.as_str());
        // What a rule says itself has its name before it.
        let fault = code.filter(|code| !code.contains('/'));
        let outcome = match (code, fault) {
            (None, _) => "allow",
            (Some(_), None) => "deny",
            (Some(_), Some(_)) => "fault",
        };
        self.inner.metrics.rule(name, outcome, *took);
        if let Some(code) = fault {
            self.inner.metrics.rule_fault(code);
            tracing::warn!(rule = name, image, code, "a rule gave no answer");
        }
        for LogLine { level, message } in log {
            let message = printable(message);
            match level.as_str() {
                "error" => tracing::error!(rule = name, image, "{message}"),
                "warn" => tracing::warn!(rule = name, image, "{message}"),
                "info" => tracing::info!(rule = name, image, "{message}"),
                _ => tracing::debug!(rule = name, image, "{message}"),
            }
        }
    }

    /// What a name is resolved to, and until when that is believed.
    async fn top(&self, name: &Reference) -> Result<(Arc<Top>, Lifetime), Failure> {
        let key = Key::Top { image: name.clone(), keyring: self.keyring };
        let known = self.inner.memory.top(&key, self.inner.clock.now());
        self.inner.metrics.cache("tags", known.is_some());
        if let Some(known) = known {
            return Ok(known);
        }
        let (question, name) = (self.clone(), name.clone());
        let span = tracing::Span::current();
        let fetch =
            || async move { question.fetch_top(&name).await.map_err(Arc::new) }.instrument(span);
        let flight = self.inner.resolutions.join(key, usize::MAX, fetch);
        landed(flight).await
    }

    async fn fetch_top(&self, name: &Reference) -> Result<(Arc<Top>, Lifetime), Failure> {
        let Inner { memory, clock, metrics, settings, .. } = &*self.inner;
        let pass = self.enter(name).await?;
        let started = Instant::now();
        let image = ImageName::Docker { reference: name.clone() };
        let resolving = image.resolve(&self.client, None, &PlatformSelection::Index);
        let resolved = resolving.instrument(tracing::info_span!("resolve")).await?;
        drop(pass);
        metrics.stage(Stage::Resolve, started.elapsed());
        let empty = || Failure::EmptyIndex { image: image.to_string() };
        let Resolved { digest, manifest, .. } = resolved.into_iter().next().ok_or_else(empty)?;
        let kind = manifest::Kind::of(&manifest, None);
        let instances = match kind.map_err(|fault| ImageError::malformed(&image, fault))? {
            manifest::Kind::Image => None,
            manifest::Kind::Index(instances) => Some(instances),
        };
        let top = Arc::new(Top { digest, manifest, instances });
        let now = clock.now();
        // What a digest means never changes; it is kept for as long as the evidence that goes with it.
        let pinned = Lifetime::new(now, settings.evidence_for, None);
        let key = |image| Key::Top { image, keyring: self.keyring };
        let at = key(name.at(top.digest.clone()));
        memory.put(at, Content::Top(Arc::clone(&top)), pinned, now);
        if name.digest().is_some() {
            return Ok((top, pinned));
        }
        let lifetime = Lifetime::new(now, settings.tag_for, None);
        memory.put(key(name.clone()), Content::Top(Arc::clone(&top)), lifetime, now);
        Ok((top, lifetime))
    }

    /// The evidence about a manifest.
    async fn evidence(
        &self,
        name: &Reference,
        image: Resolved,
        index: Option<&Digest>,
    ) -> Result<Found, Failure> {
        let Inner { memory, clock, metrics, gathering, .. } = &*self.inner;
        let registries = self.registries()?;
        let store = registries.lookaside(name).map_err(EvidenceError::from)?.to_string();
        let key = Key::Evidence {
            repository: name.name(),
            digest: image.digest.clone(),
            index: index.cloned(),
            store,
            keyring: self.keyring,
        };
        let known = memory.evidence(&key, clock.now());
        metrics.cache("evidence", known.is_some());
        let (gathered, lifetime) = match known {
            Some(known) => known,
            None => {
                let (question, name, at) = (self.clone(), name.clone(), key.clone());
                let span = tracing::Span::current();
                let gather = || {
                    async move {
                        let gathered = question.gather(&name, image, &registries, at).await;
                        gathered.map_err(Arc::new)
                    }
                    .instrument(span)
                };
                landed(gathering.join(key.clone(), usize::MAX, gather)).await?
            }
        };
        Ok(Found { gathered, remembered: Some((key, lifetime)) })
    }

    async fn gather(
        &self,
        name: &Reference,
        image: Resolved,
        registries: &RegistriesD,
        key: Key,
    ) -> Result<(Arc<Gathered>, Lifetime), Failure> {
        let Inner { memory, clock, metrics, settings, .. } = &*self.inner;
        let pass = self.enter(name).await?;
        let started = Instant::now();
        let gathering = evidence::signatures(&image, &self.client, registries);
        let signatures = gathering.instrument(tracing::info_span!("evidence")).await?;
        drop(pass);
        metrics.stage(Stage::Evidence, started.elapsed());
        let Resolved { manifest, index, .. } = image;
        let gathered = gathered(Evidence { manifest, index, signatures });
        let now = clock.now();
        let lifetime = Lifetime::new(now, settings.evidence_for, None);
        memory.put(key, Content::Evidence(Arc::clone(&gathered)), lifetime, now);
        Ok((gathered, lifetime))
    }

    /// Where signatures are kept, as this generation of configuration says.
    fn registries(&self) -> Result<Arc<RegistriesD>, Failure> {
        let mut known = super::lock(&self.inner.registries);
        if let Some((hash, registries)) = &*known
            && *hash == self.basis.hash
        {
            return Ok(Arc::clone(registries));
        }
        let loaded = RegistriesD::load(&self.basis.directories).map_err(EvidenceError::from)?;
        let loaded = Arc::new(loaded);
        *known = Some((self.basis.hash.clone(), Arc::clone(&loaded)));
        Ok(loaded)
    }

    async fn enter(&self, name: &Reference) -> Result<super::gates::Pass, Failure> {
        let pass = self.inner.gates.enter(name.domain()).await;
        pass.map_err(|waiting| Failure::Busy { host: name.domain().to_owned(), waiting })
    }

    fn sandbox(&self) -> Sandbox {
        let Basis { policy, rules, .. } = &*self.basis;
        Sandbox::new(policy.clone(), self.inner.budget.clone())
            .with_rules(rules.clone())
            .with_places(self.inner.places(policy.slots()))
    }

    fn failed(&self, failure: &Failure, scope: String, digest: Option<&Digest>) -> Judged {
        if let Failure::Engine(_) = failure {
            self.inner.metrics.sandbox_failure(failure.code());
        }
        let verdict = failure.verdict(scope, digest);
        let lifetime = self.lifetime(&verdict);
        Judged { verdict: Arc::new(verdict), lifetime }
    }

    /// How long a verdict may be served again.
    fn lifetime(&self, verdict: &Verdict) -> Lifetime {
        let time = self.time_for(verdict.outcome);
        Lifetime::new(self.inner.clock.now(), time, verdict.valid_until)
    }

    /// How long an evaluation may be used again: no longer than a verdict may be served that rests on any part.
    fn lifetime_of_open(&self, evaluation: &Evaluation) -> Lifetime {
        let now = self.inner.clock.now();
        let whole = Lifetime::new(now, self.time_for(Outcome::Allow), None);
        evaluation.nodes.iter().fold(whole, |lifetime, node| match &node.state {
            State::Held(claims) => claims.iter().fold(lifetime, |lifetime, claim| {
                let time = self.time_for(Outcome::Allow);
                lifetime.and(Lifetime::new(now, time, claim.valid_until))
            }),
            State::Failed(failure) => {
                lifetime.and(Lifetime::new(now, self.time_for(failure.outcome), None))
            }
            State::AnyOf | State::AtLeast(_) | State::Skipped | State::Rule(_) => lifetime,
        })
    }

    fn time_for(&self, outcome: Outcome) -> Duration {
        let settings = &self.inner.settings;
        match outcome {
            Outcome::Allow => settings.allow_for,
            Outcome::Deny => settings.deny_for,
            Outcome::Error => settings.error_for,
        }
    }

    fn needs_key(&self, subject: &Subject) -> Key {
        Key::Needs { basis: self.basis.hash.clone(), subject: subject.name.clone() }
    }

    fn key<'a>(&'a self, image: &'a Reference, at: Option<&'a Digest>) -> AnswerRef<'a> {
        AnswerRef { basis: &self.basis.hash, image, at, keyring: &self.keyring }
    }

    fn remember(&self, key: AnswerRef<'_>, answer: &Arc<Answer>) {
        // Nothing older is known either: it would have been served.
        if answer.lifetime.is_over() {
            return;
        }
        let Inner { memory, clock, metrics, .. } = &*self.inner;
        let content = Content::Answer(Arc::clone(answer));
        memory.put(key.to_key(), content, answer.lifetime, clock.now());
        metrics.cache_size("verdicts", memory.size());
    }
}

/// A verdict, and until when it may be served.
struct Judged {
    verdict: Arc<Verdict>,
    lifetime: Lifetime,
}

/// Evidence, and where it is remembered.
struct Found {
    gathered: Arc<Gathered>,
    remembered: Option<(Key, Lifetime)>,
}

/// The result of work that others may have begun.
async fn landed<T: Clone>(
    flight: Option<super::flights::Flight<Result<T, Arc<Failure>>>>,
) -> Result<T, Failure> {
    let result = match flight {
        Some(flight) => flight.await,
        None => None,
    };
    match result {
        Some(Ok(result)) => Ok(result),
        Some(Err(failure)) => Err(Failure::Shared(failure)),
        None => Err(EngineError::Bug("the work on this image broke down".to_owned()).into()),
    }
}

/// Evidence with its name: SHA-256 over every part, each with its length before it.
fn gathered(evidence: Evidence) -> Arc<Gathered> {
    let mut hash = sha2::Sha256::new();
    let mut part = |content: &[u8]| {
        hash.update((content.len() as u64).to_be_bytes());
        hash.update(content);
    };
    part(&evidence.manifest);
    match &evidence.index {
        None => part(b"no index"),
        Some(index) => {
            part(b"index");
            part(index);
        }
    }
    for signature in &evidence.signatures {
        part(signature.source.as_bytes());
        part(match signature.form {
            SignatureForm::Openpgp => b"openpgp",
            SignatureForm::Stored => b"stored",
        });
        part(&signature.content);
    }
    Arc::new(Gathered { hash: hash.finalize().into(), evidence: Arc::new(evidence) })
}

/// The verdict about an index whose instances were judged: every one has to be allowed. A denial is a denial
/// whatever else went wrong, since an error may be treated more leniently.
fn together(top: &Digest, index: Option<Judged>, instances: Vec<(String, Judged)>) -> Judged {
    let outcome = |outcome| instances.iter().any(|(_, j)| j.verdict.outcome == outcome);
    let outcome = match (outcome(Outcome::Deny), outcome(Outcome::Error)) {
        (true, _) => Outcome::Deny,
        (false, true) => Outcome::Error,
        (false, false) => Outcome::Allow,
    };
    let mut all = Verdict {
        outcome,
        scope: String::new(),
        digest: top.to_string(),
        reasons: Vec::new(),
        claims: Vec::new(),
        valid_until: None,
        warnings: Vec::new(),
        annotations: BTreeMap::new(),
    };
    let prefixed = |label: &str, reason: &Reason| Reason {
        message: format!("{label}: {}", reason.message),
        ..reason.clone()
    };
    let mut lifetime: Option<Lifetime> = None;
    // The reasons for the outcome first, then the others.
    for (label, Judged { verdict, lifetime: holds }) in instances
        .iter()
        .filter(|(_, judged)| judged.verdict.outcome == outcome)
        .chain(instances.iter().filter(|(_, judged)| judged.verdict.outcome != outcome))
    {
        lifetime = Some(lifetime.map_or(*holds, |known| known.and(*holds)));
        if all.scope.is_empty() {
            all.scope.clone_from(&verdict.scope);
        }
        noted(&mut all, verdict);
        match outcome {
            Outcome::Allow => {
                all.claims.extend(verdict.claims.iter().cloned());
                all.valid_until = all.valid_until.into_iter().chain(verdict.valid_until).min();
            }
            Outcome::Deny | Outcome::Error => {
                all.reasons.extend(verdict.reasons.iter().map(|reason| prefixed(label, reason)));
            }
        }
    }
    if let Some(Judged { verdict, lifetime: holds }) = index {
        // That the index is denied matters only as long as its instances are not allowed.
        if outcome != Outcome::Allow {
            all.reasons.extend(verdict.reasons.iter().map(|reason| prefixed("index", reason)));
            noted(&mut all, &verdict);
        }
        if outcome != Outcome::Allow || holds.is_over() {
            lifetime = lifetime.map(|known| known.and(holds));
        }
    }
    Judged { verdict: Arc::new(all), lifetime: lifetime.unwrap_or(Lifetime::OVER) }
}

/// What rules said about one instance is said about the whole: each thing once.
fn noted(all: &mut Verdict, verdict: &Verdict) {
    for warning in &verdict.warnings {
        if !all.warnings.contains(warning) {
            all.warnings.push(warning.clone());
        }
    }
    for (key, value) in &verdict.annotations {
        let said = all.annotations.entry(key.clone()).or_default();
        if said.is_empty() {
            said.clone_from(value);
        } else if said.split("; ").all(|known| known != value) {
            said.push_str("; ");
            said.push_str(value);
        }
    }
}
