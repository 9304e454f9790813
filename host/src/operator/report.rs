//! What a resource's status says.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::step::{Fault, Settled};
use super::subject::{Shape, Subject};
use crate::report::time;

/// How it ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The key is there.
    Settled(Settled),
    /// It is not as it is wanted.
    Faulty(Fault),
    /// The API did not do as it was asked.
    Interrupted(String),
}

impl Outcome {
    /// When there is something to be done again, in seconds since 1970-01-01 UTC.
    pub(super) fn again(&self) -> Option<u64> {
        match self {
            Self::Settled(settled) => settled.again,
            _ => None,
        }
    }
}

/// What nobody was told yet.
#[derive(Debug, Default)]
pub(super) struct News {
    /// A merge patch (RFC 7386) for the status, if it changes.
    pub(super) patch: Option<Value>,
    /// Reasons and words.
    pub(super) warnings: Vec<(&'static str, String)>,
}

/// What is new about a resource at the time `now`, in seconds since 1970-01-01 UTC. There is never a private key in
/// it; one that stands in a status of Kabanero is taken out when it is safe.
pub(super) fn news(subject: &Subject, outcome: &Outcome, now: u64) -> News {
    let old = &subject.status;
    let mut fields = Map::new();
    let settled = match outcome {
        Outcome::Settled(settled) => Some(settled),
        _ => None,
    };
    if let Some(settled) = settled {
        fields.insert("fingerprint".to_owned(), settled.fingerprint.clone().into());
        match subject.shape {
            Shape::Countersign => countersign(&mut fields, settled),
            Shape::Kabanero => {
                fields.insert("publicKey".to_owned(), settled.public.clone().into());
            }
        }
    }
    let ready = ready(outcome);
    if subject.shape == Shape::Kabanero {
        let failed = ready.status != "True";
        let words = if failed { ready.message.clone().into() } else { Value::Null };
        fields.insert("errorMessage".to_owned(), words);
    } else {
        fields.insert("observedGeneration".to_owned(), subject.generation.into());
    }
    let stored = settled.is_some_and(|settled| settled.status_is_stored);
    let mut said = vec![ready];
    said.extend(exposed(subject, stored));
    let (conditions, warnings) = conditions(subject, said, now);
    fields.insert("conditions".to_owned(), conditions);
    fields.retain(|name, value| old.get(name).unwrap_or(&Value::Null) != value);
    if stored {
        fields.insert("secretKey".to_owned(), Value::Null);
    }
    News { patch: (!fields.is_empty()).then_some(Value::Object(fields)), warnings }
}

fn countersign(fields: &mut Map<String, Value>, settled: &Settled) {
    let at = |seconds: Option<u64>| seconds.map_or(Value::Null, |seconds| time(seconds).into());
    fields.insert("expires".to_owned(), at(settled.expires));
    fields.insert("nextRotation".to_owned(), at(settled.next_rotation));
    let next = settled.next_fingerprint.clone();
    fields.insert("nextFingerprint".to_owned(), next.map_or(Value::Null, Value::String));
    let previous = settled.previous.iter().map(
        |(fingerprint, until)| json!({"fingerprint": fingerprint, "trustedUntil": time(*until)}),
    );
    fields.insert("previous".to_owned(), previous.collect());
}

/// A condition before it has a time.
struct Said {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
    warns: bool,
}

fn ready(outcome: &Outcome) -> Said {
    let fault = match outcome {
        Outcome::Settled(Settled { fault: None, fingerprint, .. }) => {
            let message = format!("the key {fingerprint} signs, and its public half is published");
            return said("Ready", "True", "KeyPublished", message, false);
        }
        Outcome::Settled(Settled { fault: Some(fault), .. }) | Outcome::Faulty(fault) => fault,
        Outcome::Interrupted(words) => {
            return said("Ready", "Unknown", "ApiError", words.clone(), true);
        }
    };
    said("Ready", "False", fault.reason(), fault.to_string(), true)
}

/// A private key that stands where everybody can read it who may read the resource.
fn exposed(subject: &Subject, stored: bool) -> Option<Said> {
    if subject.in_spec {
        let words = "a private key stands in spec.keypair, or in a copy of it in an annotation: remove it there, and everywhere that this resource is \
                     kept, as soon as Ready is True; the Secret has it then. Whoever has read it can sign: replace \
                     the key";
        return Some(said("KeyExposed", "True", "KeyInSpec", words.to_owned(), true));
    }
    if subject.in_status.is_some() && !stored {
        let words = "a private key stands in the status that no Secret has, so that it is not taken out: is it of \
                     use to anybody, bring it to safety, and remove it";
        return Some(said("KeyExposed", "True", "KeyInStatus", words.to_owned(), true));
    }
    let before = subject.in_status.is_some() || condition(subject, "KeyExposed").is_some();
    let words = "no private key stands in the resource any more; whoever has read it can still sign: replace the key";
    before.then(|| said("KeyExposed", "False", "KeyRemoved", words.to_owned(), false))
}

fn said(
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
    warns: bool,
) -> Said {
    Said { kind, status, reason, message, warns }
}

/// All conditions, and those of which somebody has to hear. Those of others stay.
fn conditions(
    subject: &Subject,
    said: Vec<Said>,
    now: u64,
) -> (Value, Vec<(&'static str, String)>) {
    let mut warnings = Vec::new();
    let old = subject.status["conditions"].as_array().cloned().unwrap_or_default();
    let others = |condition: &Value| said.iter().all(|said| condition["type"] != said.kind);
    let mut all: Vec<_> = old.iter().filter(|condition| others(condition)).cloned().collect();
    for Said { kind, status, reason, message, warns } in &said {
        let before = condition(subject, kind);
        let same = |name: &str, value: &str| before.is_some_and(|before| before[name] == value);
        let since = before.filter(|_| same("status", status));
        let since = since.and_then(|before| before["lastTransitionTime"].as_str());
        let known = same("status", status) && same("reason", reason) && same("message", message);
        if *warns && !known {
            warnings.push((*reason, message.clone()));
        }
        all.push(json!({
            "type": kind,
            "status": status,
            "observedGeneration": subject.generation,
            "lastTransitionTime": since.map_or_else(|| time(now), str::to_owned),
            "reason": reason,
            "message": message,
        }));
    }
    (all.into(), warnings)
}

fn condition<'a>(subject: &'a Subject, kind: &str) -> Option<&'a Value> {
    let all = subject.status["conditions"].as_array()?;
    let valid = |condition: &&Value| {
        condition["lastTransitionTime"]
            .as_str()
            .is_some_and(|time| time.parse::<Timestamp>().is_ok())
    };
    all.iter().find(|condition| condition["type"] == kind).filter(valid)
}
