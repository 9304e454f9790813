//! What is to be done next for a resource: a function of the resource, what is in the cluster, and the time.
//!
//! One step changes one object. After it everything is looked at anew, so that it does not matter where an operator
//! was interrupted, or what others did meanwhile.

use serde_json::Value;

use super::FINALIZER;
use super::import::{checked, inline};
use super::subject::{Shape, Source, Subject, Wish, entry};
use crate::keys::{KeyError, Password, Published, StoredKey, annotation};
use crate::kubernetes::MAX_PREVIOUS_KEYS;

/// What is in the cluster.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) secret: Option<Value>,
    pub(super) config_map: Option<Value>,
    /// The Secret to import from.
    pub(super) source: Option<Value>,
    /// The Secret with the passphrase.
    pub(super) passphrase: Option<Value>,
    /// Who has the right to the same objects, if somebody else has.
    pub(super) rival: Option<String>,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Step {
    /// Have the resource wait for the key to be deleted before it.
    Hold,
    /// Let the resource go.
    Release,
    /// Delete the Secret.
    DeleteSecret,
    /// Delete the ConfigMap.
    DeleteConfigMap,
    /// Make the first key.
    Make,
    /// Store this first key.
    Import(StoredKey),
    /// Look after the key that is in the Secret already.
    Adopt(StoredKey),
    /// Make the next key, and let it be known.
    Announce(StoredKey),
    /// Let the next key sign, and trust the one before it until then, or no longer.
    Switch(StoredKey, Option<u64>),
    /// Write the ConfigMap.
    Publish(Published),
    /// All is as it should be.
    Settled(Settled),
    /// Nothing can be done about this.
    Faulty(Fault),
    /// There is nothing more to look after.
    Gone,
}

/// How things are when all is done.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Settled {
    pub(super) fingerprint: String,
    pub(super) public: String,
    pub(super) expires: Option<u64>,
    pub(super) next_rotation: Option<u64>,
    pub(super) next_fingerprint: Option<String>,
    pub(super) previous: Vec<(String, u64)>,
    /// The private key in the status of a resource of Kabanero is safe in the Secret.
    pub(super) status_is_stored: bool,
    /// When there is something to be done again.
    pub(super) again: Option<u64>,
    /// What is not right although everything is there.
    pub(super) fault: Option<Fault>,
}

/// Why the key is not as it is wanted. Nothing of a key is in it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Fault {
    /// What is asked for cannot be followed.
    #[error("{0}")]
    InvalidSpec(String),
    /// Somebody else comes first.
    #[error(
        "{0} wants the same Secret or ConfigMap, and comes first: choose other names, or delete one of the two"
    )]
    Superseded(String),
    /// There is a key that nobody made for this resource.
    #[error(
        "there is a Secret {0:?} already, which {1}; it stays as it is. To look after its key, name it in \
         spec.import.secretRef; else choose another spec.secretName"
    )]
    SecretExists(String, String),
    /// There is a ConfigMap that is not ours.
    #[error(
        "there is a ConfigMap {0:?} already that has other things: choose another spec.configMapName"
    )]
    ConfigMapExists(String),
    /// The key is gone.
    #[error(
        "the Secret {0:?} with the key {1} is gone: restore it; or put the fingerprint into spec.revoked to have \
         another key made, whose signatures alone count then"
    )]
    SecretMissing(String, String),
    /// The Secret has no key.
    #[error("Secret {0:?}: {1}")]
    SecretUnusable(String, String),
    /// The key cannot be taken over.
    #[error("the key cannot be imported: {0}")]
    ImportFailed(String),
    /// There is no passphrase.
    #[error("the passphrase cannot be had: Secret {0:?} has no entry {1:?} with a line in it")]
    NoPassphrase(String, String),
    /// There is a key, and it is not to sign.
    #[error("the key {0} is revoked, and spec.identity does not say whose the next one is")]
    Revoked(String),
    /// Its time is over.
    #[error(
        "the key {0} is no longer good: set spec.rotation, or put its fingerprint into spec.revoked"
    )]
    KeyExpired(String),
    /// Rotating has to wait.
    #[error(
        "{MAX_PREVIOUS_KEYS} earlier keys are trusted: the next one has to wait until one of them has gone by"
    )]
    TooManyKeys,
    /// A key cannot be written.
    #[error("{0}")]
    Key(String),
}

impl Fault {
    /// In one word, for programs.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::InvalidSpec(_) => "InvalidSpec",
            Self::Superseded(_) => "Superseded",
            Self::SecretExists(..) => "SecretExists",
            Self::ConfigMapExists(_) => "ConfigMapExists",
            Self::SecretMissing(..) => "SecretMissing",
            Self::SecretUnusable(..) => "SecretUnusable",
            Self::ImportFailed(_) => "ImportFailed",
            Self::NoPassphrase(..) => "NoPassphrase",
            Self::Revoked(_) => "KeyRevoked",
            Self::KeyExpired(_) => "KeyExpired",
            Self::TooManyKeys => "TooManyKeys",
            Self::Key(_) => "KeyUnusable",
        }
    }
}

impl From<KeyError> for Fault {
    fn from(fault: KeyError) -> Self {
        Self::Key(fault.to_string())
    }
}

/// What is to be done next for `subject` at the time `now`, in seconds since 1970-01-01 UTC.
pub(super) fn next(subject: &Subject, seen: &Seen, now: u64) -> Step {
    step(subject, seen, now).unwrap_or_else(Step::Faulty)
}

/// The passphrase, if one is wanted.
pub(super) fn passphrase(wish: &Wish, seen: &Seen) -> Result<Option<Password>, Fault> {
    Ok(passphrase_line(wish, seen)?.map(Password::from))
}

fn step(subject: &Subject, seen: &Seen, now: u64) -> Result<Step, Fault> {
    if subject.deleting {
        return Ok(last_step(subject, seen));
    }
    let wish = subject.wish.as_ref().map_err(|fault| Fault::InvalidSpec(fault.clone()))?;
    if let Some(rival) = &seen.rival {
        return Err(Fault::Superseded(rival.clone()));
    }
    match (wish.delete, held(subject)) {
        (true, false) => return Ok(Step::Hold),
        (false, true) => return Ok(Step::Release),
        _ => {}
    }
    let Some(secret) = &seen.secret else { return first_step(subject, wish, seen, now) };
    let stored = StoredKey::read(secret);
    let unusable = |fault: String| Fault::SecretUnusable(wish.secret.to_string(), fault);
    let stored = stored.map_err(|fault| unusable(fault.to_string()))?;
    if let Some(Source::Inline(content, public)) = &wish.source {
        let inline = inline(content, public.as_deref())?;
        if inline.fingerprint() != stored.fingerprint() {
            return Err(Fault::ImportFailed(format!(
                "Secret {:?} has another one, {}, and stays as it is",
                wish.secret.as_str(),
                stored.fingerprint()
            )));
        }
    }
    if !belongs_to(subject, secret) || stored.since().is_none() {
        return adopt(subject, wish, seen, secret, stored, now);
    }
    key_steps(wish, seen, subject, stored, now)
}

/// The key is there, and it is ours.
fn key_steps(
    wish: &Wish,
    seen: &Seen,
    subject: &Subject,
    stored: StoredKey,
    now: u64,
) -> Result<Step, Fault> {
    // What verifiers know comes first: no key signs that they do not know, and none that is revoked is trusted.
    let published = stored.published(now, &wish.revoked)?;
    match &seen.config_map {
        None => return Ok(Step::Publish(published)),
        Some(there) => {
            let ours = belongs_to(subject, there);
            let shown = there["metadata"]["annotations"][annotation("fingerprint")].as_str();
            // Of keygen, or of whoever looked after this key before.
            let left = shown.is_some() && owner(there).is_none()
                || shown == Some(stored.fingerprint().as_str());
            if !ours && !left {
                return Err(Fault::ConfigMapExists(wish.config_map.to_string()));
            }
            let mut wanted = there.clone();
            published.fill(&mut wanted);
            if !ours || wanted != *there {
                return Ok(Step::Publish(published));
            }
        }
    }
    let revoked = wish.revoked.contains(&stored.fingerprint());
    let since = stored.since().unwrap_or(now);
    let due = wish.rotation.map(|rotation| since.saturating_add(rotation.every));
    let announce = wish.rotation.map_or(0, |rotation| rotation.announce);
    let announced = stored.next().filter(|(next, _)| !wish.revoked.contains(next));
    if let Some((_, announced)) = announced {
        // A rotation that was begun is finished, whatever was asked for since.
        let ready = announced.saturating_add(announce).max(due.unwrap_or(0));
        if revoked || now >= ready {
            let keep = wish.rotation.map_or(KEEP_PREVIOUS_FOR, |rotation| rotation.keep);
            let until = Some(now.saturating_add(keep)).filter(|_| !revoked);
            return Ok(Step::Switch(stored, until));
        }
    } else if revoked || due.is_some_and(|due| now >= due.saturating_sub(announce)) {
        if wish.maker.is_none() {
            return Err(Fault::Revoked(stored.fingerprint()));
        }
        if !revoked && stored.previous(now).count() >= MAX_PREVIOUS_KEYS {
            return Err(Fault::TooManyKeys);
        }
        passphrase(wish, seen)?;
        return Ok(Step::Announce(stored));
    }
    Ok(Step::Settled(settled(subject, wish, &stored, published.data["public.asc"].clone(), now)))
}

fn settled(
    subject: &Subject,
    wish: &Wish,
    stored: &StoredKey,
    public: String,
    now: u64,
) -> Settled {
    let fingerprint = stored.fingerprint();
    let rotation = wish.rotation;
    let since = stored.since().unwrap_or(now);
    let due = rotation.map(|rotation| since.saturating_add(rotation.every));
    let announce = rotation.map_or(0, |rotation| rotation.announce);
    let next_rotation = match stored.next() {
        Some((_, announced)) => Some(announced.saturating_add(announce).max(due.unwrap_or(0))),
        None => due,
    };
    let trusted = stored.previous(now).flat_map(|previous| {
        previous.keys.fingerprints().into_iter().map(|name| (name, previous.until))
    });
    let previous: Vec<_> = trusted.filter(|(name, _)| !wish.revoked.contains(name)).collect();
    let expires = stored.expires(now);
    let ended = expires.is_some_and(|expires| expires <= now);
    let times = previous.iter().map(|(_, until)| Some(*until));
    let times = times.chain([expires, next_rotation, due.map(|due| due.saturating_sub(announce))]);
    Settled {
        public,
        expires,
        next_rotation,
        next_fingerprint: stored.next().map(|(next, _)| next),
        again: times.flatten().filter(|time| *time > now).min(),
        previous,
        status_is_stored: subject.in_status == Some(Some(fingerprint.clone())),
        fault: ended.then(|| Fault::KeyExpired(fingerprint.clone())),
        fingerprint,
    }
}

/// There is no key.
fn first_step(subject: &Subject, wish: &Wish, seen: &Seen, now: u64) -> Result<Step, Fault> {
    let inline = matches!(wish.source, Some(Source::Inline(..)));
    let known = subject.known();
    let revoked = known.is_some_and(|known| wish.revoked.iter().any(|revoked| revoked == known));
    if let Some(known) = known.filter(|_| !inline && !revoked) {
        return Err(Fault::SecretMissing(wish.secret.to_string(), known.to_owned()));
    }
    let words = passphrase_line(wish, seen)?;
    let key = match &wish.source {
        _ if revoked => None,
        None => None,
        Some(Source::Inline(content, public)) => {
            Some(checked(content, public.as_deref(), None, now)?)
        }
        Some(Source::Entry(name, key)) => {
            let missing =
                |what: &str| Fault::ImportFailed(format!("Secret {:?} {what}", name.as_str()));
            let source = seen.source.as_ref().ok_or_else(|| missing("is not there"))?;
            let content =
                entry(source, key).ok_or_else(|| missing(&format!("has no entry {key:?}")))?;
            let public = entry(source, "public.asc");
            Some(checked(&content, public.as_deref(), words.as_deref(), now)?)
        }
    };
    match key {
        Some(key) => Ok(Step::Import(StoredKey::new(key, Vec::new(), now)?)),
        None if wish.maker.is_some() => Ok(Step::Make),
        None => Err(Fault::InvalidSpec(
            "spec.identity is missing: say whose key is to be made".to_owned(),
        )),
    }
}

/// There is a key that somebody else made, or that does not say when it began.
fn adopt(
    subject: &Subject,
    wish: &Wish,
    seen: &Seen,
    secret: &Value,
    mut stored: StoredKey,
    now: u64,
) -> Result<Step, Fault> {
    let asked = match &wish.source {
        Some(Source::Entry(name, _)) => *name == wish.secret,
        Some(Source::Inline(..)) => true,
        // The old operator's own.
        None => subject.shape == Shape::Kabanero && made_by_kabanero(secret),
    };
    if !asked && !belongs_to(subject, secret) {
        let whose = match owner(secret) {
            Some(owner) => format!("was made for {owner}"),
            None => "nobody made for this resource".to_owned(),
        };
        return Err(Fault::SecretExists(wish.secret.to_string(), whose));
    }
    let words = passphrase_line(wish, seen)?;
    let public = entry(secret, "public.asc");
    checked(stored.secret(), public.as_deref(), words.as_deref(), now)?;
    stored.begin(now);
    Ok(Step::Adopt(stored))
}

/// The resource is being deleted. What is not known for certain to be unwanted stays.
fn last_step(subject: &Subject, seen: &Seen) -> Step {
    if !held(subject) {
        return Step::Gone;
    }
    let ours =
        |object: &Option<Value>| object.as_ref().is_some_and(|object| belongs_to(subject, object));
    match &subject.wish {
        Ok(wish) if wish.delete && seen.rival.is_none() => {
            if ours(&seen.secret) {
                Step::DeleteSecret
            } else if ours(&seen.config_map) {
                Step::DeleteConfigMap
            } else {
                Step::Release
            }
        }
        _ => Step::Release,
    }
}

fn passphrase_line(wish: &Wish, seen: &Seen) -> Result<Option<Vec<u8>>, Fault> {
    let Some((name, key)) = &wish.passphrase else { return Ok(None) };
    let content = seen.passphrase.as_ref().and_then(|secret| entry(secret, key));
    let line = content.and_then(|text| text.split(|b| *b == b'\n').next().map(<[u8]>::to_vec));
    let line = line.filter(|line| !line.is_empty());
    line.map(Some).ok_or_else(|| Fault::NoPassphrase(name.to_string(), key.clone()))
}

fn held(subject: &Subject) -> bool {
    subject.finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

fn belongs_to(subject: &Subject, object: &Value) -> bool {
    owner(object) == Some(subject.owner().as_str())
}

fn owner(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][annotation("owner")].as_str()
}

fn made_by_kabanero(secret: &Value) -> bool {
    let owners = secret["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    owners.filter_map(|owner| owner["apiVersion"].as_str()).any(|version| {
        version.split_once('/').is_some_and(|(group, _)| group == Shape::Kabanero.group())
    })
}

/// How long signatures count of a key whose rotation was begun and then taken out of the spec, in seconds: what a
/// spec says that says nothing else.
const KEEP_PREVIOUS_FOR: u64 = 90 * 24 * 60 * 60;
