//! A key as a cluster keeps it: a Secret, and a ConfigMap that follows from it.
//!
//! The Secret has everything: the key that signs (`secret.asc`), the one that is about to (`next.asc`), and the
//! public halves of those before it (`previous.asc`), each with the time until which it is trusted. What the
//! ConfigMap is to say can so be told at any time, whatever became of it, and a key changes hands in one write.
//!
//! Secret and key in it have the names that Kabanero's tasks know: `signature-secret-key`, `secret.asc`.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Component, Description, KeyError, PublicKeys, SecretKey, Standing};
use crate::report::time;

/// What a Secret holds: a key, what comes after it, and what was before it.
pub struct StoredKey {
    current: Held,
    /// When it began to sign, in seconds since 1970-01-01 UTC; unknown of Secrets that others made.
    since: Option<u64>,
    next: Option<(Held, u64)>,
    previous: Vec<Previous>,
}

/// Keys whose time goes by.
#[derive(Clone, Debug)]
pub struct Previous {
    /// Their public halves.
    pub keys: PublicKeys,
    /// How long their signatures are to be trusted, in seconds since 1970-01-01 UTC.
    pub until: u64,
}

/// What everybody may know: entries and annotations of a ConfigMap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Published {
    /// `public.asc`: the key that signs. `trusted.asc`: it and all others whose signatures count. `previous.asc`,
    /// if there are any: those that signed before.
    pub data: BTreeMap<&'static str, String>,
    /// Fingerprints and times, for people and programs.
    pub annotations: BTreeMap<String, String>,
}

impl StoredKey {
    /// A key that signs from `now` on.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn new(key: SecretKey, previous: Vec<Previous>, now: u64) -> Result<Self, KeyError> {
        Ok(Self { current: Held::new(key)?, since: Some(now), next: None, previous })
    }

    /// What is in a Secret.
    ///
    /// # Errors
    ///
    /// It has no key, or something else in place of one. The message quotes nothing of it.
    pub fn read(secret: &Value) -> Result<Self, StoredFault> {
        let part = |name: &'static str| {
            let Some(encoded) = secret["data"][name].as_str() else { return Ok(None) };
            BASE64_STANDARD.decode(encoded).map(Some).map_err(|_| StoredFault::NoKey(name))
        };
        let current = part(SECRET)?.ok_or(StoredFault::NoKey(SECRET))?;
        let next = match part(NEXT)? {
            None => None,
            Some(content) => {
                let since = text(secret, "next-since").and_then(seconds);
                Some((Held::read(content, NEXT)?, since.ok_or(StoredFault::Dates)?))
            }
        };
        let mut previous = Vec::new();
        if let Some(content) = part(PREVIOUS)? {
            let keys = PublicKeys::read(&content).ok_or(StoredFault::NoKey(PREVIOUS))?;
            let words = |name| text(secret, name).unwrap_or_default().split(' ');
            let until: Option<Vec<u64>> = words("previous-trusted-until").map(seconds).collect();
            let until = until.ok_or(StoredFault::Dates)?;
            let named: Vec<_> = words("previous-fingerprint").zip(until).collect();
            for keys in keys.each() {
                let found = named.iter().find(|(name, _)| keys.fingerprints() == [*name]);
                let (_, until) = found.ok_or(StoredFault::Dates)?;
                previous.push(Previous { keys, until: *until });
            }
        }
        let since = text(secret, "since").map(|since| seconds(since).ok_or(StoredFault::Dates));
        let current = Held::read(current, SECRET)?;
        Ok(Self { current, since: since.transpose()?, next, previous })
    }

    /// Of the key that signs, in upper-case hexadecimal.
    pub fn fingerprint(&self) -> String {
        self.current.key.fingerprint()
    }

    /// The key that signs, as its file has it.
    pub fn secret(&self) -> &[u8] {
        &self.current.content
    }

    /// The public half of the key that signs.
    pub fn public(&self) -> PublicKeys {
        self.current.key.public()
    }

    /// When it began to sign, in seconds since 1970-01-01 UTC, if that is known.
    pub fn since(&self) -> Option<u64> {
        self.since
    }

    /// When it ends, in seconds since 1970-01-01 UTC, if it does; `now` if it is not good any longer.
    pub fn expires(&self, now: u64) -> Option<u64> {
        let Description { parts, .. } = self.current.key.describe(now);
        let good = |part: &&Component| part.standing == Standing::Good;
        let Some(primary) = parts.first().filter(good) else {
            return Some(parts.first().and_then(|part| part.expires).unwrap_or(now).min(now));
        };
        let signing = parts.iter().filter(good).filter(|part| part.usage.contains(&"sign"));
        // Of several that sign, the one that ends last counts.
        let Some(last) = signing.map(|part| part.expires.unwrap_or(u64::MAX)).max() else {
            return Some(now);
        };
        let ends = [primary.expires, Some(last).filter(|last| *last != u64::MAX)];
        ends.into_iter().flatten().min()
    }

    /// Fingerprint of the key that is about to sign, and when that was said, in seconds since 1970-01-01 UTC.
    pub fn next(&self) -> Option<(String, u64)> {
        self.next.as_ref().map(|(held, since)| (held.key.fingerprint(), *since))
    }

    /// The keys whose signatures still count at the time `now`.
    pub fn previous(&self, now: u64) -> impl Iterator<Item = &Previous> {
        self.previous.iter().filter(move |previous| previous.until > now)
    }

    /// That the key signs from `now` on, for a Secret that does not say when it began.
    pub fn begin(&mut self, now: u64) {
        self.since.get_or_insert(now);
    }

    /// Let another key be known before it signs.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn announce(&mut self, next: SecretKey, now: u64) -> Result<(), KeyError> {
        self.next = Some((Held::new(next)?, now));
        Ok(())
    }

    /// Let the key that was announced sign from `now` on. What the one before it signed counts until then, or
    /// no longer. Keys whose time has gone by are left out. Nothing happens if no key was announced.
    pub fn switch(&mut self, until: Option<u64>, now: u64) {
        let Some((next, _)) = self.next.take() else { return };
        let before = std::mem::replace(&mut self.current, next);
        self.since = Some(now);
        self.previous.retain(|previous| previous.until > now);
        if let Some(until) = until.filter(|until| *until > now) {
            self.previous.push(Previous { keys: before.key.public(), until });
        }
    }

    /// What everybody may know at the time `now`; what is `revoked`, named by fingerprint, is not trusted.
    ///
    /// # Errors
    ///
    /// A key cannot be written.
    pub fn published(&self, now: u64, revoked: &[String]) -> Result<Published, KeyError> {
        let good = |keys: &PublicKeys| keys.fingerprints().iter().all(|f| !revoked.contains(f));
        let previous: Vec<_> = self.previous(now).filter(|p| good(&p.keys)).cloned().collect();
        let current = self.public();
        let mut data = BTreeMap::from([(PUBLIC, current.armoured()?)]);
        let mut annotations = named("fingerprint", current.fingerprints().join(" "));
        let mut trusted = vec![current];
        if let Some((next, _)) = &self.next {
            annotations.extend(named("next-fingerprint", next.key.fingerprint()));
            trusted.push(next.key.public());
        }
        trusted.retain(&good);
        trusted.extend(previous.iter().map(|previous| previous.keys.clone()));
        data.insert(TRUSTED, PublicKeys::all(trusted).armoured()?);
        if !previous.is_empty() {
            let keys = previous.iter().map(|previous| previous.keys.clone()).collect();
            data.insert(PREVIOUS, PublicKeys::all(keys).armoured()?);
            annotations.extend(dates(&previous));
        }
        Ok(Published { data, annotations })
    }

    /// Put the key into a Secret, beside whatever else is in it; `Value::Null` becomes a new one.
    ///
    /// # Errors
    ///
    /// A key cannot be written.
    pub fn fill(&self, secret: &mut Value) -> Result<(), KeyError> {
        if secret.is_null() {
            *secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque"});
        }
        let mut data = BTreeMap::from([(SECRET, self.current.content.clone())]);
        let mut annotations = named("fingerprint", self.fingerprint());
        if let Some(since) = self.since {
            annotations.extend(named("since", time(since)));
        }
        if let Some((next, since)) = &self.next {
            data.insert(NEXT, next.content.clone());
            annotations.extend(named("next-since", time(*since)));
        }
        if !self.previous.is_empty() {
            let keys = self.previous.iter().map(|previous| previous.keys.clone()).collect();
            data.insert(PREVIOUS, PublicKeys::all(keys).armoured()?.into_bytes());
            annotations.extend(dates(&self.previous));
        }
        let encoded =
            data.into_iter().map(|(name, content)| (name, BASE64_STANDARD.encode(content)));
        put(&mut secret["data"], [SECRET, NEXT, PREVIOUS], encoded);
        let names = ["fingerprint", "since", "next-since", PREVIOUS_NAME, PREVIOUS_UNTIL];
        put(&mut secret["metadata"]["annotations"], names.map(annotation), annotations);
        Ok(())
    }
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKey")
            .field("current", &self.current.key)
            .field("since", &self.since)
            .field("next", &self.next())
            .field("previous", &self.previous)
            .finish()
    }
}

impl Published {
    /// Put it into a ConfigMap, beside whatever else is in it; `Value::Null` becomes a new one.
    pub fn fill(&self, config_map: &mut Value) {
        if config_map.is_null() {
            *config_map = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        }
        let data = self.data.iter().map(|(name, text)| (*name, text.clone()));
        put(&mut config_map["data"], [PUBLIC, TRUSTED, PREVIOUS], data);
        let names = ["fingerprint", "next-fingerprint", PREVIOUS_NAME, PREVIOUS_UNTIL];
        let annotations = self.annotations.clone();
        put(&mut config_map["metadata"]["annotations"], names.map(annotation), annotations);
    }
}

/// A Secret has no key that can be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoredFault {
    /// The notes on it contradict each other.
    #[error(
        "its annotations countersign/… do not fit the keys in it; restore them, or make a new key under another name"
    )]
    Dates,
    /// There is none under this name.
    #[error(
        "its entry {0} is not an OpenPGP key with its secret; expected what gpg --export-secret-keys writes"
    )]
    NoKey(&'static str),
}

/// The full name of an annotation.
pub fn annotation(name: &str) -> String {
    format!("{PREFIX}/{name}")
}

/// A key with its secret, and the bytes in which it came.
struct Held {
    key: SecretKey,
    content: Vec<u8>,
}

impl Held {
    fn new(key: SecretKey) -> Result<Self, KeyError> {
        let content = key.armoured()?;
        Ok(Self { key, content })
    }

    fn read(content: Vec<u8>, name: &'static str) -> Result<Self, StoredFault> {
        let key = SecretKey::read(&content).ok_or(StoredFault::NoKey(name))?;
        Ok(Self { key, content })
    }
}

fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][annotation(name)].as_str()
}

fn named(name: &str, value: String) -> BTreeMap<String, String> {
    BTreeMap::from([(annotation(name), value)])
}

/// Two lists of the same length, in the same order.
fn dates(previous: &[Previous]) -> BTreeMap<String, String> {
    let pairs = previous.iter().flat_map(|previous| {
        previous.keys.fingerprints().into_iter().map(|name| (name, time(previous.until)))
    });
    let (names, until): (Vec<_>, Vec<_>) = pairs.unzip();
    let mut both = named(PREVIOUS_NAME, names.join(" "));
    both.extend(named(PREVIOUS_UNTIL, until.join(" ")));
    both
}

fn seconds(text: &str) -> Option<u64> {
    let time: Timestamp = text.parse().ok()?;
    u64::try_from(time.as_second()).ok()
}

/// Take out what is ours, and put it in anew.
fn put<K: AsRef<str> + Ord, N: Into<String>>(
    object: &mut Value,
    ours: impl IntoIterator<Item = K>,
    entries: impl IntoIterator<Item = (N, String)>,
) {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(map) = object.as_object_mut() else { return };
    for name in ours {
        map.remove(name.as_ref());
    }
    map.extend(entries.into_iter().map(|(name, value)| (name.into(), Value::String(value))));
}

const SECRET: &str = "secret.asc";

const NEXT: &str = "next.asc";

const PREVIOUS: &str = "previous.asc";

const PUBLIC: &str = "public.asc";

const TRUSTED: &str = "trusted.asc";

const PREVIOUS_NAME: &str = "previous-fingerprint";

const PREVIOUS_UNTIL: &str = "previous-trusted-until";

/// Of annotations.
const PREFIX: &str = "countersign";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Algorithm, Plan};
    use crate::sign::SigningKey;

    const NOW: u64 = 1_795_400_000;

    fn key(validity: Option<u64>) -> SecretKey {
        let user = "Test <test@example.com>".parse().expect("a user");
        let plan = Plan::signing(user, Algorithm::Ed25519, false, NOW, validity);
        plan.generate(None).expect("a key")
    }

    fn stored() -> StoredKey {
        StoredKey::new(key(None), Vec::new(), NOW).expect("a key")
    }

    fn read_again(stored: &StoredKey, secret: &mut Value) -> StoredKey {
        stored.fill(secret).expect("a Secret");
        StoredKey::read(secret).expect("a key")
    }

    #[test]
    fn a_secret_says_what_was_put_into_it() {
        let mut secret = Value::Null;
        let stored = stored();
        let read = read_again(&stored, &mut secret);
        assert_eq!((read.fingerprint(), read.since()), (stored.fingerprint(), Some(NOW)));
        let signer = SigningKey::read(read.secret(), None, NOW).expect("it signs");
        assert_eq!(signer.fingerprint(), stored.fingerprint());
        assert_eq!(secret["kind"], "Secret");
        assert!(!format!("{read:?}").contains("PRIVATE"), "{read:?}");

        secret["data"]["more"] = "bW9yZQ==".into();
        secret["metadata"]["labels"] = json!({"team": "x"});
        stored.fill(&mut secret).expect("a Secret");
        assert_eq!(
            (&secret["data"]["more"], &secret["metadata"]["labels"]["team"]),
            (&json!("bW9yZQ=="), &json!("x"))
        );
    }

    #[test]
    fn a_key_is_known_before_it_signs_and_trusted_after_it_did() {
        let mut secret = Value::Null;
        let mut stored = stored();
        let (first, second, third) = (stored.fingerprint(), key(None), key(None));
        let names = (second.fingerprint(), third.fingerprint());
        stored.announce(second, NOW + 1).expect("a key");
        let stored = read_again(&stored, &mut secret);
        assert_eq!(stored.next(), Some((names.0.clone(), NOW + 1)));
        let published = stored.published(NOW + 1, &[]).expect("keys");
        let trusted = |published: &Published| {
            PublicKeys::read(published.data[TRUSTED].as_bytes()).expect("keys").fingerprints()
        };
        assert_eq!(trusted(&published), [first.clone(), names.0.clone()]);
        assert!(published.data[PUBLIC] != published.data[TRUSTED] && published.data.len() == 2);

        let mut stored = stored;
        stored.switch(Some(NOW + 100), NOW + 2);
        stored.announce(third, NOW + 3).expect("a key");
        stored.switch(Some(NOW + 200), NOW + 3);
        let stored = read_again(&stored, &mut secret);
        assert_eq!(
            (stored.fingerprint(), stored.since(), stored.next()),
            (names.1.clone(), Some(NOW + 3), None)
        );
        assert!(secret["data"].get(NEXT).is_none(), "the key that signs is there once");
        let at = |now, revoked: &[String]| trusted(&stored.published(now, revoked).expect("keys"));
        assert_eq!(at(NOW + 3, &[]), [names.1.clone(), first.clone(), names.0.clone()]);
        assert_eq!(at(NOW + 100, &[]), [names.1.clone(), names.0.clone()]);
        assert_eq!(at(NOW + 200, &[]), [names.1.as_str()]);
        assert_eq!(at(NOW + 3, std::slice::from_ref(&names.0)), [names.1.clone(), first.clone()]);
        let published = stored.published(NOW + 3, &[]).expect("keys");
        assert_eq!(
            published.annotations["countersign/previous-fingerprint"],
            format!("{first} {}", names.0)
        );
        assert!(!format!("{published:?}").contains("PRIVATE"));

        let mut config_map = Value::Null;
        published.fill(&mut config_map);
        assert!(config_map["data"].get(PREVIOUS).is_some());
        stored.published(NOW + 200, &[]).expect("keys").fill(&mut config_map);
        assert!(config_map["data"].get(PREVIOUS).is_none(), "{config_map}");
        let annotations = config_map["metadata"]["annotations"].as_object().expect("annotations");
        assert_eq!(annotations.keys().collect::<Vec<_>>(), ["countersign/fingerprint"]);
    }

    #[test]
    fn a_secret_without_a_key_is_told_without_what_is_in_it() {
        let encoded = BASE64_STANDARD.encode("s3cret");
        let public = BASE64_STANDARD.encode(stored().public().armoured().expect("a key"));
        for data in [
            json!({}),
            json!({"secret.asc": "!"}),
            json!({"secret.asc": encoded}),
            json!({"secret.asc": public}),
        ] {
            let fault = StoredKey::read(&json!({"data": data})).expect_err("no key");
            assert_eq!(fault, StoredFault::NoKey("secret.asc"));
        }
        let mut secret = Value::Null;
        let mut stored = stored();
        stored.announce(key(None), NOW).expect("a key");
        stored.switch(Some(NOW + 9), NOW);
        stored.fill(&mut secret).expect("a Secret");
        secret["metadata"]["annotations"]["countersign/previous-trusted-until"] = "soon".into();
        assert_eq!(StoredKey::read(&secret).expect_err("no date"), StoredFault::Dates);
    }

    #[test]
    fn a_key_tells_when_it_ends() {
        let of = |validity| StoredKey::new(key(validity), Vec::new(), NOW).expect("a key");
        assert_eq!(of(None).expires(NOW), None);
        assert_eq!(of(Some(60)).expires(NOW), Some(NOW + 60));
        assert!(of(Some(60)).expires(NOW + 61).is_some_and(|ends| ends <= NOW + 61));
    }
}
