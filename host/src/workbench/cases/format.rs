//! The form in which golden cases are written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use guest_policy::digest::Digest;
use guest_policy::rule::{self, Descriptor, Documents, Image, Want, Workload};
use guest_policy::verdict;
use jiff::Timestamp;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Case, Expectation, MAX_CASE_BYTES};
use crate::image::read_limited;

/// A case from its text. Files that it names lie in `folder`. The error is a sentence.
pub(super) fn parse(name: String, text: &[u8], folder: &Path) -> Result<Case, String> {
    let written: Written = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let expectation = written.expect.checked()?;
    let question = written.question;
    let artifact = written.capabilities.artifact;
    let mut documents = Documents::new();
    if let Some(config) = artifact.config {
        documents.insert(Want::Config, found(config.bytes(folder)?));
    }
    if let Some(referrers) = artifact.referrers {
        documents.insert(Want::Referrers, rule::Document::Descriptors(referrers.into()));
    }
    for (digest, document) in artifact.attached {
        // Whoever asks for what is no digest is told that nothing is attached by it.
        let parsed = digest.parse::<Digest>().map_err(|fault| format!("attached: {fault}"))?;
        documents.insert(Want::Attached(parsed.to_string()), found(document.bytes(folder)?));
    }
    let data = written.capabilities.data.into_iter();
    let data = data.map(|(name, document)| Ok((name, document.bytes(folder)?)));
    Ok(Case {
        name,
        description: written.description,
        question: rule::Question {
            image: question.image,
            claims: question.claims.into_iter().map(Into::into).collect(),
            attestations: question.attestations.into_iter().map(Into::into).collect(),
            workload: question.workload,
            settings: question.settings.to_string(),
            now: question.now.0,
        },
        manifest: artifact
            .manifest
            .map(|document| document.bytes(folder))
            .transpose()?
            .unwrap_or_default(),
        documents,
        data: data.collect::<Result<_, String>>()?,
        expectation,
    })
}

fn found(bytes: Vec<u8>) -> rule::Document {
    rule::Document::Bytes(Arc::from(bytes))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    description: Option<String>,
    question: Question,
    #[serde(default)]
    capabilities: Capabilities,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    image: Image,
    #[serde(default)]
    claims: Vec<Claim>,
    #[serde(default)]
    attestations: Vec<Attestation>,
    #[serde(default)]
    workload: Option<Workload>,
    #[serde(default = "empty")]
    settings: Value,
    now: Time,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    format: String,
    key: String,
    signing_key: String,
    reference: String,
    digest: String,
    #[serde(default)]
    signed_at: Option<Time>,
    #[serde(default)]
    creator: Option<String>,
    #[serde(default)]
    valid_until: Option<Time>,
    #[serde(default)]
    material: Vec<String>,
}

impl From<Claim> for verdict::Claim {
    fn from(claim: Claim) -> Self {
        Self {
            format: claim.format,
            key: claim.key,
            signing_key: claim.signing_key,
            reference: claim.reference,
            digest: claim.digest,
            signed_at: claim.signed_at.map(|time| time.0),
            creator: claim.creator,
            valid_until: claim.valid_until.map(|time| time.0),
            requirement: 0,
            material: claim.material,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attestation {
    predicate_type: String,
    predicate: Value,
    signed_by: Claim,
}

impl From<Attestation> for rule::Attestation {
    fn from(attestation: Attestation) -> Self {
        let Attestation { predicate_type, predicate, signed_by } = attestation;
        Self { predicate_type, predicate: predicate.to_string(), signed_by: signed_by.into() }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Capabilities {
    artifact: Artifact,
    data: BTreeMap<String, Document>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Artifact {
    manifest: Option<Document>,
    config: Option<Document>,
    referrers: Option<Vec<Descriptor>>,
    attached: BTreeMap<String, Document>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Document {
    /// Written here, and given to the rule without insignificant space.
    Json(Value),
    Text(String),
    Base64(String),
    /// Relative to the case.
    File(String),
}

impl Document {
    fn bytes(self, folder: &Path) -> Result<Vec<u8>, String> {
        match self {
            Self::Json(value) => Ok(value.to_string().into_bytes()),
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Base64(text) => {
                STANDARD.decode(&text).map_err(|error| format!("a document is no base64: {error}"))
            }
            Self::File(name) => {
                read_limited(&folder.join(name), MAX_CASE_BYTES).map_err(|fault| fault.to_string())
            }
        }
    }
}

/// Either `settings` alone, or the rest.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Expect {
    allow: Option<bool>,
    codes: Vec<String>,
    messages: Option<Vec<String>>,
    warnings: Vec<String>,
    annotations: BTreeMap<String, String>,
    valid_until: Option<Time>,
    settings: Option<Refused>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Refused {
    Refused,
}

impl Expect {
    fn checked(self) -> Result<Expectation, String> {
        let Self { allow, codes, messages, warnings, annotations, valid_until, settings } = self;
        let silent = codes.is_empty()
            && messages.is_none()
            && warnings.is_empty()
            && annotations.is_empty()
            && valid_until.is_none();
        let mistake = match (settings, allow) {
            (Some(Refused::Refused), None) if silent => return Ok(Expectation::SettingsRefused),
            (Some(Refused::Refused), _) => {
                "settings that are refused have no answer: leave the rest of `expect` out"
            }
            (None, None) => "`expect` needs `allow`, or \"settings\": \"refused\"",
            (None, Some(true)) if !codes.is_empty() || messages.is_some() => {
                "an allow has no `codes` and no `messages`"
            }
            (None, Some(false)) if codes.is_empty() => {
                "a denial needs `codes`: those of its reasons, in order"
            }
            (None, Some(allow)) => {
                let valid_until = Some(valid_until.map(|time| time.0));
                return Ok(Expectation::Answer {
                    allow,
                    codes,
                    messages,
                    warnings,
                    annotations,
                    valid_until,
                });
            }
        };
        Err(mistake.to_owned())
    }
}

/// Seconds since 1970-01-01 UTC, written as a number or as RFC 3339 in UTC.
#[derive(Clone, Copy, Default)]
struct Time(u64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let time = match Value::deserialize(deserializer)? {
            Value::Number(seconds) => seconds.as_u64(),
            // One spelling, which the library for rules reads, too.
            Value::String(text)
                if text.len() == "2026-11-25T00:00:00Z".len() && text.ends_with('Z') =>
            {
                let time = text.parse::<Timestamp>().ok();
                time.and_then(|time| u64::try_from(time.as_second()).ok())
            }
            _ => None,
        };
        time.map(Self).ok_or_else(|| {
            D::Error::custom("expected a time: 2026-11-25T00:00:00Z, or seconds since 1970")
        })
    }
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn case(change: impl FnOnce(&mut Value)) -> Result<Case, String> {
        let claim = json!({
            "format": "simple-signing", "key": "K", "signing_key": "S", "reference": "r", "digest": "d",
            "signed_at": "1970-01-01T00:00:07Z",
        });
        let mut case = json!({
            "description": "all of it",
            "question": {
                "image": {"name": "docker://a/b:1", "digest": "sha256:1"},
                "claims": [claim],
                "attestations": [{"predicate_type": "t", "predicate": {"a": 1}, "signed_by": claim}],
                "workload": {"kind": "Pod", "labels": {"a": "b"}},
                "settings": {"days": 1},
                "now": "2026-11-25T00:00:00Z",
            },
            "capabilities": {
                "artifact": {
                    "manifest": {"json": {"a": 1}},
                    "config": {"text": "c"},
                    "referrers": [{"digest": TWO, "media_type": "m", "size": 1}],
                    "attached": {TWO: {"base64": "Zm9v"}},
                },
                "data": {"this": {"file": "Cargo.toml"}},
            },
            "expect": {"allow": false, "codes": ["too-old"]},
        });
        change(&mut case);
        parse("case".to_owned(), case.to_string().as_bytes(), Path::new(env!("CARGO_MANIFEST_DIR")))
    }

    const TWO: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

    #[test]
    fn reads_everything_that_a_case_can_say() {
        let case = case(|_| {}).expect("a case");
        assert_eq!(case.question.now, 1_795_564_800);
        assert_eq!(case.question.claims[0].signed_at, Some(7));
        assert_eq!(case.question.attestations[0].predicate, r#"{"a":1}"#);
        assert_eq!(case.question.settings, r#"{"days":1}"#);
        assert_eq!(case.manifest, br#"{"a":1}"#);
        let bytes = |want| match case.documents.get(&want) {
            Some(rule::Document::Bytes(bytes)) => bytes.to_vec(),
            other => format!("{other:?}").into_bytes(),
        };
        assert_eq!(bytes(Want::Config), b"c");
        assert_eq!(bytes(Want::Attached(TWO.to_owned())), b"foo");
        assert!(
            matches!(case.documents.get(&Want::Referrers), Some(rule::Document::Descriptors(one)) if one.len() == 1)
        );
        assert!(case.data["this"].starts_with(b"[package]"));
    }

    #[test]
    fn unknown_members_and_wrong_types_are_mistakes() {
        let wrong: [fn(&mut Value); 14] = [
            |case| case["more"] = json!(1),
            |case| case["question"]["more"] = json!(1),
            |case| case["question"]["image"]["more"] = json!(1),
            |case| case["question"]["claims"][0]["more"] = json!(1),
            |case| case["question"]["workload"]["more"] = json!(1),
            |case| case["question"]["now"] = json!("2026-11-25T00:00:00+01:00"),
            |case| case["question"]["now"] = json!(-1),
            |case| case["capabilities"]["log"] = json!({}),
            |case| case["capabilities"]["artifact"]["more"] = json!({}),
            |case| case["capabilities"]["artifact"]["attached"] = json!({"sha256:2": {"text": ""}}),
            |case| case["capabilities"]["data"]["this"] = json!({"file": "absent"}),
            |case| case["capabilities"]["data"]["this"] = json!({"text": "a", "json": 1}),
            |case| case["capabilities"]["data"]["this"] = json!({"base64": "Zg"}),
            |case| case["expect"]["more"] = json!(1),
        ];
        for (at, change) in wrong.into_iter().enumerate() {
            assert!(case(change).is_err(), "{at}");
        }
    }

    #[test]
    fn an_expectation_does_not_contradict_itself() {
        for expect in [
            json!({}),
            json!({"allow": false}),
            json!({"allow": true, "codes": ["x"]}),
            json!({"allow": true, "messages": []}),
            json!({"allow": true, "settings": "refused"}),
            json!({"settings": "refused", "warnings": ["w"]}),
            json!({"settings": "accepted"}),
        ] {
            assert!(case(|case| case["expect"] = expect.clone()).is_err(), "{expect}");
        }
        assert!(case(|case| case["expect"] = json!({"settings": "refused"})).is_ok());
        assert!(case(|case| case["expect"] = json!({"allow": true, "valid_until": 5})).is_ok());
    }
}
