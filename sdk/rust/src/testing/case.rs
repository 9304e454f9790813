//! Golden cases: one question, and the answer that is expected. docs/rules/testing.md describes the form.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::time::Time;
use super::{Capabilities, base64};
use crate::artifact::Descriptor;
use crate::{Answer, Image, Rule, Workload};

/// The cases of a folder by name, or what is wrong with them.
pub(super) fn read(folder: &Path) -> Result<Vec<(String, Case)>, Vec<String>> {
    let entries =
        fs::read_dir(folder).map_err(|error| vec![format!("cannot read the folder: {error}")])?;
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let (mut cases, mut mistakes) = (Vec::new(), Vec::new());
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).map_err(|error| error.to_string());
        match text.and_then(|text| Case::parse(&text, folder)) {
            Ok(case) => cases.push((name, case)),
            Err(mistake) => mistakes.push(format!("{name}: {mistake}")),
        }
    }
    if cases.is_empty() && mistakes.is_empty() {
        mistakes.push("there is no case; write one into NAME.json".to_owned());
    }
    if mistakes.is_empty() { Ok(cases) } else { Err(mistakes) }
}

/// A case, ready to be asked.
#[derive(Debug)]
pub(super) struct Case {
    question: crate::Question,
    settings: String,
    capabilities: Capabilities,
    expect: Expect,
}

impl Case {
    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
        written.expect.contradiction()?;
        let question = written.question;
        Ok(Self {
            settings: question.settings.to_string(),
            question: crate::Question {
                image: question.image,
                claims: question.claims.into_iter().map(Into::into).collect(),
                attestations: question.attestations.into_iter().map(Into::into).collect(),
                workload: question.workload,
                now: question.now.0,
            },
            capabilities: written.capabilities.given(folder)?,
            expect: written.expect,
        })
    }

    /// Ask. What did not come out as expected.
    pub(super) fn failure<R: Rule>(&self, name: &str) -> Option<String> {
        let mistakes = crate::check_settings::<R>(&self.settings);
        let differences = match (&self.expect.settings, mistakes.is_empty()) {
            (Some(Refused::Refused), true) => "  the settings are accepted\n".to_owned(),
            (Some(Refused::Refused), false) => String::new(),
            (None, false) => format!("  the settings are refused: {}\n", mistakes.join("; ")),
            (None, true) => {
                let given = self.capabilities.clone();
                let answer = given.during(|| crate::evaluate::<R>(&self.question, &self.settings));
                self.expect.differences(answer)
            }
        };
        (!differences.is_empty()).then(|| format!("{name}:\n{differences}"))
    }
}

/// A case, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// For people.
    #[serde(default, rename = "description")]
    _description: Option<String>,
    question: Question,
    #[serde(default)]
    capabilities: Given,
    expect: Expect,
}

#[derive(Debug, Deserialize)]
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

#[derive(Debug, Deserialize)]
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

impl From<Claim> for crate::Claim {
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
            material: claim.material,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attestation {
    predicate_type: String,
    predicate: Value,
    signed_by: Claim,
}

impl From<Attestation> for crate::Attestation {
    fn from(attestation: Attestation) -> Self {
        let Attestation { predicate_type, predicate, signed_by } = attestation;
        Self { predicate_type, predicate: predicate.to_string(), signed_by: signed_by.into() }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Given {
    artifact: Option<Artifact>,
    data: BTreeMap<String, Document>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Artifact {
    manifest: Option<Document>,
    config: Option<Document>,
    referrers: Option<Vec<Descriptor>>,
    attached: BTreeMap<String, Document>,
}

impl Given {
    fn given(self, folder: &Path) -> Result<Capabilities, String> {
        let all = |documents: BTreeMap<String, Document>| {
            let bytes =
                documents.into_iter().map(|(name, document)| Ok((name, document.bytes(folder)?)));
            bytes.collect::<Result<BTreeMap<_, _>, String>>()
        };
        let artifact = self.artifact.unwrap_or_default();
        Ok(Capabilities {
            manifest: artifact.manifest.map(|document| document.bytes(folder)).transpose()?,
            config: artifact.config.map(|document| document.bytes(folder)).transpose()?,
            referrers: artifact.referrers,
            attached: all(artifact.attached)?,
            data: all(self.data)?,
            digest: None,
            verify: None,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Document {
    Json(Value),
    Text(String),
    Base64(String),
    File(String),
}

impl Document {
    fn bytes(self, folder: &Path) -> Result<Vec<u8>, String> {
        match self {
            Self::Json(value) => Ok(value.to_string().into_bytes()),
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Base64(text) => {
                base64::decode(&text).ok_or_else(|| "a document is no canonical base64".to_owned())
            }
            Self::File(name) => {
                fs::read(folder.join(&name)).map_err(|error| format!("cannot read {name}: {error}"))
            }
        }
    }
}

/// The answer that is expected.
#[derive(Debug, Default, Deserialize)]
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

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Refused {
    Refused,
}

impl Expect {
    fn contradiction(&self) -> Result<(), String> {
        let silent = self.codes.is_empty()
            && self.messages.is_none()
            && self.warnings.is_empty()
            && self.annotations.is_empty()
            && self.valid_until.is_none();
        let mistake = match (self.settings, self.allow) {
            (Some(_), None) if silent => return Ok(()),
            (Some(_), _) => {
                "settings that are refused have no answer: leave the rest of `expect` out"
            }
            (None, None) => "`expect` needs `allow`, or \"settings\": \"refused\"",
            (None, Some(true)) if !self.codes.is_empty() || self.messages.is_some() => {
                "an allow has no `codes` and no `messages`"
            }
            (None, Some(false)) if self.codes.is_empty() => {
                "a denial needs `codes`: those of its reasons, in order"
            }
            (None, Some(_)) => return Ok(()),
        };
        Err(mistake.to_owned())
    }

    fn differences(&self, answer: Answer) -> String {
        let mut told = String::new();
        let mut compare = |what: &str, expected: String, found: String| {
            if expected != found {
                // Writing into a string does not fail.
                let _ = writeln!(told, "  {what}: expected {expected}, found {found}");
            }
        };
        let (codes, messages): (Vec<_>, Vec<_>) =
            answer.reasons.into_iter().map(|reason| (reason.code, reason.message)).unzip();
        let annotations: Vec<_> = self.annotations.clone().into_iter().collect();
        let mut found = answer.annotations;
        found.sort();
        compare("allow", show(&self.allow), show(&Some(answer.allow)));
        compare("codes", show(&self.codes), show(&codes));
        if let Some(expected) = &self.messages {
            compare("messages", show(expected), show(&messages));
        }
        compare("warnings", show(&self.warnings), show(&answer.warnings));
        compare("annotations", show(&annotations), show(&found));
        compare(
            "valid_until",
            show(&self.valid_until.map(|time| time.0)),
            show(&answer.valid_until),
        );
        told
    }
}

fn show(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{artifact, data};

    struct Echo;

    impl Rule for Echo {
        type Settings = crate::NoSettings;
        const NAME: &str = "echo";
        const VERSION: &str = "1.0.0";
        const PURPOSE: &str = "answers what it is given";
        const CAPABILITIES: &[&str] = &["artifact", "data"];

        fn prepare() {}

        fn evaluate(question: &crate::Question, _settings: &crate::NoSettings) -> Answer {
            match question.claims.first() {
                None => {
                    let text = |bytes| String::from_utf8(bytes).expect("text");
                    let documents =
                        ["json", "base64"].map(|name| text(data::read(name).expect("data")));
                    Answer::deny("documents", documents.join(" ")).warn(text(artifact::config()))
                }
                Some(claim) => {
                    Answer::allow().valid_until(claim.signed_at.unwrap_or(1)).annotate("a", "b")
                }
            }
        }
    }

    fn case(question: Value, expect: Value) -> Value {
        let mut case = json!({
            "question": {"image": {"name": "docker://a/b:1", "digest": "sha256:1"}, "now": 5},
            "capabilities": {
                "artifact": {"config": {"text": "c"}},
                "data": {"json": {"json": {"a": [1]}}, "base64": {"base64": "Zm9v"}},
            },
            "expect": expect,
        });
        for (name, value) in question.as_object().expect("an object") {
            case["question"][name] = value.clone();
        }
        case
    }

    fn failure(case: &Value) -> Option<String> {
        Case::parse(&case.to_string(), Path::new("."))
            .map_or_else(Some, |case| case.failure::<Echo>("case"))
    }

    fn signed() -> Value {
        let claim = json!({
            "format": "f", "key": "k", "signing_key": "s", "reference": "r", "digest": "d",
            "signed_at": "1970-01-01T00:00:07Z",
        });
        json!({ "claims": [claim] })
    }

    #[test]
    fn compares_the_whole_answer() {
        let denied = json!({"allow": false, "codes": ["documents"], "messages": ["{\"a\":[1]} foo"], "warnings": ["c"]});
        assert_eq!(failure(&case(json!({}), denied.clone())), None);
        let allowed = json!({"allow": true, "annotations": {"a": "b"}, "valid_until": 7});
        assert_eq!(failure(&case(signed(), allowed.clone())), None);
        for (question, expect, member, other) in [
            (json!({}), &denied, "codes", json!(["other"])),
            (json!({}), &denied, "messages", json!(["other"])),
            (json!({}), &denied, "warnings", json!([])),
            (signed(), &allowed, "annotations", json!({})),
            (signed(), &allowed, "valid_until", json!(8)),
            (signed(), &allowed, "valid_until", json!(null)),
        ] {
            let mut expect = expect.clone();
            expect[member] = other;
            let told = failure(&case(question, expect)).expect("a failure");
            assert!(told.contains(&format!("{member}: expected")), "{told}");
        }
        let turned =
            failure(&case(signed(), json!({"allow": false, "codes": ["x"]}))).expect("a failure");
        assert!(turned.contains("allow: expected false, found true"), "{turned}");
    }

    #[test]
    fn settings_are_refused_only_where_that_is_expected() {
        let refused = json!({"settings": "refused"});
        assert_eq!(failure(&case(json!({"settings": {"x": 1}}), refused.clone())), None);
        assert!(failure(&case(json!({}), refused)).is_some());
        assert!(failure(&case(json!({"settings": {"x": 1}}), json!({"allow": true}))).is_some());
    }

    #[test]
    fn a_case_that_contradicts_itself_fails() {
        for expect in [
            json!({}),
            json!({"allow": false}),
            json!({"allow": true, "codes": ["x"]}),
            json!({"allow": true, "settings": "refused"}),
            json!({"settings": "refused", "warnings": ["w"]}),
            json!({"settings": "accepted"}),
            json!({"allow": true, "unknown": 1}),
        ] {
            assert!(failure(&case(signed(), expect.clone())).is_some(), "{expect}");
        }
    }
}
