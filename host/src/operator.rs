//! Keys that sign, as resources of a cluster: made, imported, replaced and published by an operator.
//!
//! A resource ([`resource`]) of either shape becomes a wish (`subject`); what is to be done about it is a function of
//! the wish, of what is in the cluster, and of the time (`step`); it is done one object at a time (`reconcile`), and
//! told in the resource's status (`report`). Of several replicas the one that holds a Lease acts (`lease`).
//!
//! A private key is in Secrets alone: never in a resource, an event, a log or a message. Resources of Kabanero have
//! theirs in them, which is why these are not watched: what is watched is kept, and logged where it is not understood.

mod health;
mod import;
mod lease;
mod reconcile;
mod report;
pub mod resource;
mod step;
mod subject;

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::select_all;
use jiff::Timestamp;
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

pub use self::health::{Health, Pulse};
pub use self::lease::{Candidate, RENEW_DEADLINE};
pub use self::subject::Shape;

use self::reconcile::Hands;
use self::resource::ImageSigning;
use self::subject::Subject;
use crate::kubernetes::{Cluster, ClusterError, Collection};

/// What an operator looks after, and how often.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespaces whose resources are looked after; none for all of them.
    pub namespaces: Vec<String>,
    /// Where the Lease is that decides between replicas.
    pub lease_namespace: String,
    /// Its name.
    pub lease_name: String,
    /// Unlike that of any other process.
    pub identity: String,
    /// Between two attempts at the Lease.
    pub attempt_every: Duration,
    /// Between two looks at everything, if nothing is heard.
    pub look_every: Duration,
}

impl Settings {
    /// For the Lease `countersign-operator` of a namespace, with pauses as the cluster's own controllers have them.
    pub fn new(namespaces: Vec<String>, lease_namespace: String, identity: String) -> Self {
        Self {
            namespaces,
            lease_namespace,
            lease_name: LEASE.to_owned(),
            identity,
            attempt_every: ATTEMPT_EVERY,
            look_every: LOOK_EVERY,
        }
    }
}

/// Looks after resources.
pub struct Operator {
    hands: Hands,
    settings: Settings,
    collections: Vec<(Shape, Collection)>,
    pulse: Pulse,
}

/// What came of one look at everything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Round {
    /// When there is something to be done again, in seconds since 1970-01-01 UTC.
    pub again: Option<u64>,
    /// How much has to be tried again.
    pub failures: usize,
}

impl Operator {
    /// Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// A namespace has a name that none can have.
    pub fn new(cluster: Cluster, settings: Settings) -> Result<Self, ClusterError> {
        let mut collections = Vec::new();
        for shape in [Shape::Countersign, Shape::Kabanero] {
            let version = format!("/apis/{}", shape.api_version());
            let (plural, kind) = ("imagesignings", "ImageSigning");
            if settings.namespaces.is_empty() {
                collections.push((shape, Collection::everywhere(&version, plural, kind)));
            }
            for namespace in &settings.namespaces {
                collections.push((shape, Collection::new(&version, plural, kind, namespace)?));
            }
        }
        let reporter =
            Reporter { controller: LEASE.to_owned(), instance: Some(settings.identity.clone()) };
        let recorder = Recorder::new(cluster.client(), reporter);
        let pulse = Pulse::default();
        Ok(Self { hands: Hands { cluster, recorder }, settings, collections, pulse })
    }

    /// How it tells that it is alive.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Look after everything until `stop` says so, whenever no other replica does. The Lease is given back then.
    ///
    /// # Errors
    ///
    /// The Lease has a name that none can have.
    pub async fn run(&self, stop: impl Future<Output = ()>) -> Result<(), ClusterError> {
        let Settings { lease_namespace, lease_name, identity, .. } = &self.settings;
        let cluster = self.hands.cluster.clone();
        let mut candidate = Candidate::new(cluster, lease_namespace, lease_name, identity.clone())?;
        let mut stop = pin!(stop);
        loop {
            tracing::info!(identity, "waits for the Lease {lease_namespace}/{lease_name}");
            let since = tokio::select! {
                () = stop.as_mut() => return Ok(()),
                since = self.acquire(&mut candidate) => since,
            };
            tracing::info!(identity, "acts from now on");
            let stopped = tokio::select! {
                () = stop.as_mut() => true,
                // What is being written meanwhile is written by its version, or for the first time, or not at all.
                () = self.renew(&mut candidate, since) => false,
                () = self.look_after() => false,
            };
            if stopped {
                if let Err(fault) = candidate.release().await {
                    tracing::warn!(error = fault.to_string(), "the Lease was not given back");
                }
                return Ok(());
            }
            tracing::warn!(identity, "does not act any longer: the Lease was lost");
        }
    }

    /// Look at every resource, at the time `now` in seconds since 1970-01-01 UTC, and do what there is to be done.
    pub async fn look(&self, now: u64) -> Round {
        let mut round = Round::default();
        let mut subjects = Vec::new();
        for (shape, collection) in &self.collections {
            match self.subjects(*shape, collection).await {
                Ok(found) => subjects.extend(found),
                Err(fault) => {
                    tracing::error!(error = fault.to_string(), "resources cannot be looked after");
                    // Somebody who is not seen could come first.
                    return Round { again: None, failures: 1 };
                }
            }
        }
        let rivals: Vec<Option<String>> =
            subjects.iter().map(|one| rival(one, &subjects)).collect();
        for (subject, rival) in subjects.into_iter().zip(rivals) {
            let (namespace, name) = (subject.namespace.clone(), subject.name.clone());
            match self.hands.reconcile(subject, rival, now).await {
                Ok(again) => round.again = [round.again, again].into_iter().flatten().min(),
                Err(fault) => {
                    tracing::error!(namespace, name, error = fault.to_string(), "tried again soon");
                    round.failures += 1;
                }
            }
            self.pulse.beat();
        }
        round
    }

    async fn subjects(
        &self,
        shape: Shape,
        collection: &Collection,
    ) -> Result<Vec<Subject>, ClusterError> {
        let found = self.hands.cluster.objects(collection).await?;
        let found = match (found, shape) {
            (Some(found), _) => found,
            // Most clusters never had it.
            (None, Shape::Kabanero) => Vec::new(),
            (None, Shape::Countersign) => {
                let fault = "the definition of ImageSigning is not installed: apply deploy/operator/crds.yaml";
                let what = collection.what();
                return Err(ClusterError::Unreadable { what, fault: fault.to_owned() });
            }
        };
        Ok(found.iter().filter_map(|object| Subject::read(shape, object)).collect())
    }

    /// Wait for the Lease; since when it is held.
    async fn acquire(&self, candidate: &mut Candidate) -> Instant {
        loop {
            self.pulse.beat();
            let now = Instant::now();
            match candidate.attempt(now).await {
                Ok(true) => return now,
                Ok(false) => {}
                Err(fault) => tracing::warn!(error = fault.to_string(), "the Lease cannot be had"),
            }
            sleep(self.settings.attempt_every).await;
        }
    }

    /// Hold the Lease as long as that goes.
    async fn renew(&self, candidate: &mut Candidate, mut since: Instant) {
        loop {
            sleep(self.settings.attempt_every).await;
            let now = Instant::now();
            let left = RENEW_DEADLINE.saturating_sub(now.saturating_duration_since(since));
            match timeout(left, candidate.attempt(now)).await {
                Ok(Ok(true)) => since = now,
                Ok(Err(fault)) => {
                    tracing::warn!(error = fault.to_string(), "the Lease is not renewed");
                }
                // Somebody else holds it, or writes there, or will think so soon.
                Ok(Ok(false)) | Err(_) => return,
            }
        }
    }

    /// Look again whenever something changes, or its time has come.
    async fn look_after(&self) {
        let changed = Notify::new();
        tokio::select! {
            () = self.listen(&changed) => {}
            () = self.look_often(&changed) => {}
        }
    }

    async fn look_often(&self, changed: &Notify) {
        loop {
            let round = self.look(now()).await;
            self.pulse.beat();
            let mut pause = self.settings.look_every;
            if round.failures > 0 {
                pause = pause.min(RETRY_PAUSE);
            }
            if let Some(again) = round.again {
                // A second later it is certainly over.
                pause =
                    pause.min(Duration::from_secs(again.saturating_sub(now()).saturating_add(1)));
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = changed.notified() => {}
            }
        }
    }

    /// Say when a resource has changed: by its metadata alone, which has no secret.
    async fn listen(&self, changed: &Notify) {
        let client = self.hands.cluster.client();
        let mut apis: Vec<Api<PartialObjectMeta<ImageSigning>>> = Vec::new();
        if self.settings.namespaces.is_empty() {
            apis.push(Api::all(client.clone()));
        }
        for namespace in &self.settings.namespaces {
            apis.push(Api::namespaced(client.clone(), namespace));
        }
        let config = watcher::Config::default();
        let streams =
            apis.into_iter().map(|api| watcher(api, config.clone()).default_backoff().boxed());
        let mut events = select_all(streams);
        while let Some(event) = events.next().await {
            match event {
                Ok(_) => changed.notify_one(),
                Err(fault) => tracing::warn!(error = fault.to_string(), "changes are not heard of"),
            }
        }
        // Streams of watchers do not end; without any there is nothing to hear.
        std::future::pending().await
    }
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Some letters and digits that nobody else draws; `None` if the system has no random numbers.
pub fn random_word() -> Option<String> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Who has the right to what `subject` wants, if somebody else has.
fn rival(subject: &Subject, all: &[Subject]) -> Option<String> {
    let before = all.iter().filter(|other| subject.rivals(other) && other.rank() < subject.rank());
    before.min_by_key(|other| other.rank()).map(Subject::owner)
}

/// Seconds since 1970-01-01 UTC.
fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or_default()
}

/// By it the resource waits for its key to be deleted.
const FINALIZER: &str = "countersign.dev/key";

/// Of the Lease, and of who reports events.
const LEASE: &str = "countersign-operator";

/// Between two attempts at the Lease: as the cluster's own controllers have it.
const ATTEMPT_EVERY: Duration = Duration::from_secs(2);

/// Between two looks at everything: Secrets and resources of Kabanero are not watched.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// After something that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
