//! One resource: what is in the cluster is looked at, a step taken, and looked again, until there is none to take.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::FINALIZER;
use super::report::{self, Outcome};
use super::step::{self, Fault, Seen, Step};
use super::subject::{Shape, Source, Subject, Wish};
use crate::keys::{Password, Plan, SecretKey, StoredKey, annotation};
use crate::kubernetes::{Cluster, ClusterError, Collection, ObjectPath};
use crate::report::time;

/// What steps are taken with.
pub(super) struct Hands {
    pub(super) cluster: Cluster,
    pub(super) recorder: Recorder,
}

/// Why a resource has to wait.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interruption {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("somebody else changes the same objects all the time")]
    Restless,
    #[error("internal error: {0}")]
    Bug(String),
}

impl Hands {
    /// See to a resource; `rival` has the right to the same objects. When there is something to be done again, in
    /// seconds since 1970-01-01 UTC, if that is known; an error if it has to be tried again soon.
    pub(super) async fn reconcile(
        &self,
        subject: Subject,
        rival: Option<String>,
        now: u64,
    ) -> Result<Option<u64>, Interruption> {
        let mut subject = subject;
        let outcome = self.steps(&mut subject, rival, now).await;
        let (outcome, result) = match outcome {
            Ok(Some(outcome)) => {
                let again = outcome.again();
                (outcome, Ok(again))
            }
            Ok(None) => return Ok(None),
            Err(interruption) => {
                let words = interruption.to_string();
                (Outcome::Interrupted(words), Err(interruption))
            }
        };
        let written = self.report(&subject, &outcome, now).await;
        match (result, written) {
            (Ok(_), Err(fault)) => Err(fault.into()),
            (result, _) => result,
        }
    }

    async fn steps(
        &self,
        subject: &mut Subject,
        rival: Option<String>,
        now: u64,
    ) -> Result<Option<Outcome>, Interruption> {
        for _ in 0..MAX_STEPS {
            let seen = self.look(subject, rival.clone()).await?;
            match step::next(subject, &seen, now) {
                Step::Gone => return Ok(None),
                Step::Settled(settled) => return Ok(Some(Outcome::Settled(settled))),
                Step::Faulty(fault) => return Ok(Some(Outcome::Faulty(fault))),
                step => self.take(subject, seen, step, now).await?,
            }
        }
        Err(Interruption::Restless)
    }

    async fn look(&self, subject: &Subject, rival: Option<String>) -> Result<Seen, ClusterError> {
        let Ok(wish) = &subject.wish else { return Ok(Seen { rival, ..Seen::default() }) };
        let secrets = Collection::secrets(&subject.namespace)?;
        let secret = self.cluster.object(&secrets.object(wish.secret.as_str())?).await?;
        let config_map = self.cluster.object(&config_map(subject, wish)?).await?;
        let source = match &wish.source {
            Some(Source::Entry(name, _)) if secret.is_none() => {
                self.cluster.object(&secrets.object(name.as_str())?).await?
            }
            _ => None,
        };
        let passphrase = match &wish.passphrase {
            Some((name, _)) => self.cluster.object(&secrets.object(name.as_str())?).await?,
            None => None,
        };
        Ok(Seen { secret, config_map, source, passphrase, rival })
    }

    /// What did not happen because somebody else was first is seen at the next look.
    async fn take(
        &self,
        subject: &mut Subject,
        seen: Seen,
        step: Step,
        now: u64,
    ) -> Result<(), Interruption> {
        let bug = || Interruption::Bug("a step without a wish".to_owned());
        match step {
            Step::Hold => return self.finalizers(subject, true).await,
            Step::Release => return self.finalizers(subject, false).await,
            _ => {}
        }
        let Ok(wish) = &subject.wish else { return Err(bug()) };
        let secret = secret(subject, wish)?;
        let config_map = config_map(subject, wish)?;
        let there = seen.secret.clone().unwrap_or_default();
        let passphrase = step::passphrase(wish, &seen).ok().flatten();
        match step {
            Step::Make => {
                let key = StoredKey::new(make(wish, passphrase, now).await?, Vec::new(), now);
                let key = key.map_err(unwritable)?;
                let words = format!("made the key {} in Secret {}", key.fingerprint(), wish.secret);
                if self.create(subject, &secret, &key).await? {
                    self.tell(subject, "KeyMade", "Make", words).await;
                }
            }
            Step::Import(key) => {
                let words =
                    format!("took over the key {} into Secret {}", key.fingerprint(), wish.secret);
                if self.create(subject, &secret, &key).await? {
                    self.tell(subject, "KeyImported", "Import", words).await;
                }
            }
            Step::Adopt(key) => {
                let words =
                    format!("looks after the key {} in Secret {}", key.fingerprint(), wish.secret);
                if self.replace(subject, &secret, there, &key).await? {
                    self.tell(subject, "KeyAdopted", "Import", words).await;
                }
            }
            Step::Announce(mut key) => {
                let next = make(wish, passphrase, now).await?;
                let words = format!(
                    "made the key {}, which is to take the place of {}",
                    next.fingerprint(),
                    key.fingerprint()
                );
                key.announce(next, now).map_err(unwritable)?;
                if self.replace(subject, &secret, there, &key).await? {
                    self.tell(subject, "KeyAnnounced", "Rotate", words).await;
                }
            }
            Step::Switch(mut key, until) => {
                let before = key.fingerprint();
                key.switch(until, now);
                let trusted = match until {
                    Some(until) => format!("is trusted until {}", time(until)),
                    None => "is not trusted any more".to_owned(),
                };
                let words =
                    format!("{} signs from now on, and {before} {trusted}", key.fingerprint());
                if self.replace(subject, &secret, there, &key).await? {
                    self.tell(subject, "KeyRotated", "Rotate", words).await;
                }
            }
            Step::Publish(published) => {
                let mut document = seen.config_map.clone().unwrap_or_default();
                published.fill(&mut document);
                mark(subject, &mut document);
                let written = match seen.config_map {
                    None => self.cluster.create_object(&config_map, &document).await?,
                    Some(_) => self.cluster.replace_object(&config_map, &document).await?,
                };
                if written {
                    let words = format!("wrote the public keys into ConfigMap {}", wish.config_map);
                    self.tell(subject, "KeysPublished", "Publish", words).await;
                }
            }
            Step::DeleteSecret => {
                if self.cluster.delete_object(&secret, &there).await? {
                    let words = format!("deleted Secret {}, as deletionPolicy says", wish.secret);
                    self.tell(subject, "KeyDeleted", "Delete", words).await;
                }
            }
            Step::DeleteConfigMap => {
                let there = seen.config_map.unwrap_or_default();
                self.cluster.delete_object(&config_map, &there).await?;
            }
            Step::Hold | Step::Release | Step::Settled(_) | Step::Faulty(_) | Step::Gone => {}
        }
        Ok(())
    }

    async fn create(
        &self,
        subject: &Subject,
        place: &ObjectPath,
        key: &StoredKey,
    ) -> Result<bool, Interruption> {
        let mut document = Value::Null;
        key.fill(&mut document).map_err(unwritable)?;
        mark(subject, &mut document);
        Ok(self.cluster.create_object(place, &document).await?)
    }

    async fn replace(
        &self,
        subject: &Subject,
        place: &ObjectPath,
        mut document: Value,
        key: &StoredKey,
    ) -> Result<bool, Interruption> {
        key.fill(&mut document).map_err(unwritable)?;
        mark(subject, &mut document);
        Ok(self.cluster.replace_object(place, &document).await?)
    }

    async fn finalizers(&self, subject: &mut Subject, hold: bool) -> Result<(), Interruption> {
        let mut finalizers = subject.finalizers.clone();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if hold {
            finalizers.push(FINALIZER.to_owned());
        }
        let patch = json!({
            "metadata": {"finalizers": finalizers, "resourceVersion": subject.version},
        });
        let place = subject.path()?;
        if !self.cluster.merge_object(&place, "", &patch).await? {
            // The next look begins with the resource as it is then.
            return Err(Interruption::Restless);
        }
        subject.finalizers = finalizers;
        if let Some(resource) = self.cluster.object(&place).await? {
            resource["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut subject.version);
        }
        Ok(())
    }

    /// Write how things are, if that is news.
    async fn report(
        &self,
        subject: &Subject,
        outcome: &Outcome,
        now: u64,
    ) -> Result<(), ClusterError> {
        let news = report::news(subject, outcome, now);
        if let Some(patch) = news.patch {
            let place = subject.path()?;
            self.cluster.merge_object(&place, "/status", &json!({"status": patch})).await?;
        }
        for (reason, words) in news.warnings {
            let (namespace, name) = (&subject.namespace, &subject.name);
            tracing::warn!(namespace, name, reason, "{words}");
            self.publish(subject, EventType::Warning, reason, "Reconcile", words).await;
        }
        Ok(())
    }

    async fn tell(&self, subject: &Subject, reason: &str, action: &str, words: String) {
        let (namespace, name) = (&subject.namespace, &subject.name);
        tracing::info!(namespace, name, reason, "{words}");
        self.publish(subject, EventType::Normal, reason, action, words).await;
    }

    /// Nothing depends on events.
    async fn publish(
        &self,
        subject: &Subject,
        kind: EventType,
        reason: &str,
        action: &str,
        words: String,
    ) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(words.chars().take(MAX_NOTE).collect()),
            action: action.to_owned(),
            secondary: None,
        };
        let about = ObjectReference {
            api_version: Some(subject.shape.api_version().to_owned()),
            kind: Some("ImageSigning".to_owned()),
            name: Some(subject.name.clone()),
            namespace: Some(subject.namespace.clone()),
            uid: Some(subject.uid.clone()),
            ..ObjectReference::default()
        };
        let published = timeout(EVENT_TIMEOUT, self.recorder.publish(&event, &about)).await;
        let fault = match published {
            Ok(Ok(())) => return,
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => "the Kubernetes API does not answer".to_owned(),
        };
        tracing::warn!(fault, "an event was not published");
    }
}

/// A key as it is asked for. Making one takes a second of computing.
async fn make(
    wish: &Wish,
    passphrase: Option<Password>,
    now: u64,
) -> Result<SecretKey, Interruption> {
    let bug = |words: &str| Interruption::Bug(words.to_owned());
    let maker = wish.maker.clone().ok_or_else(|| bug("nobody to make a key for"))?;
    let validity = maker.expires.validity(now).map_err(|fault| bug(&fault.to_string()))?;
    let plan = Plan::signing(maker.user, maker.algorithm, false, now, validity);
    let made = tokio::task::spawn_blocking(move || plan.generate(passphrase.as_ref())).await;
    made.map_err(|fault| bug(&fault.to_string()))?.map_err(unwritable)
}

/// Whose it is. It outlives the resource, and what made it before.
fn mark(subject: &Subject, object: &mut Value) {
    object["metadata"]["annotations"][annotation("owner")] = subject.owner().into();
    if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
        let kabanero = format!("{}/", Shape::Kabanero.group());
        owners.retain(|owner| {
            owner["apiVersion"].as_str().is_none_or(|version| !version.starts_with(&kabanero))
        });
    }
}

fn secret(subject: &Subject, wish: &Wish) -> Result<ObjectPath, ClusterError> {
    Collection::secrets(&subject.namespace)?.object(wish.secret.as_str())
}

fn config_map(subject: &Subject, wish: &Wish) -> Result<ObjectPath, ClusterError> {
    Collection::config_maps(&subject.namespace)?.object(wish.config_map.as_str())
}

fn unwritable(fault: crate::keys::KeyError) -> Interruption {
    Interruption::Bug(Fault::from(fault).to_string())
}

/// Most steps for one resource at a time: a rotation takes six.
const MAX_STEPS: usize = 12;

/// Nothing waits longer for an event.
const EVENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest note of an event, as the API has it.
const MAX_NOTE: usize = 1024;
