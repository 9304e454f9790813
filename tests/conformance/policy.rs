//! Cases about policy documents: parsing, scopes, identities, references.

use std::path::Path;

use countersign::image::ImageName;
use countersign::reference::Reference;
use countersign::vocabulary::Subject;
use serde_json::{Map, Value, json};

/// What this module asks.
pub(crate) const OPS: &[&str] = &[
    "identity-match/match",
    "identity-match/remap",
    "identity-match/remap-prefix-matches",
    "policy-parse/policy",
    "policy-parse/remap-prefix",
    "policy-parse/unmarshal",
    "reference-parse/domain-regexp",
    "reference-parse/name-regexp",
    "reference-parse/named",
    "reference-parse/normalized",
    "reference-parse/raw",
    "reference-parse/reference-regexp",
    "scope-lookup/docker-daemon-parse",
    "scope-lookup/docker-namespaces",
    "scope-lookup/docker-transport-parse",
    "scope-lookup/lookup",
    "scope-lookup/storage-namespaces",
    "scope-lookup/validate-scope",
];

/// The question of a case.
pub(crate) fn input(op: &str, case: &Value, _folder: &Path) -> Option<Value> {
    match op {
        "policy-parse/unmarshal" => Some(json!({"json": case["as_policy"]["json"].as_str()?})),
        "scope-lookup/lookup" => {
            let input = &case["input"];
            // This case is about the file, which does not exist.
            if input["image"] == "tarball:/usr/share/x.tar" {
                return None;
            }
            let scopes = input["scopes"].as_object()?;
            let transports: Map<String, Value> = scopes
                .iter()
                .map(|(transport, scopes)| {
                    let scopes = scopes.as_array().into_iter().flatten().filter_map(Value::as_str);
                    let reject = |scope: &str| (scope.to_owned(), json!([{"type": "reject"}]));
                    (transport.clone(), Value::Object(scopes.map(reject).collect()))
                })
                .collect();
            Some(json!({
                "policy": {"default": [{"type": "reject"}], "transports": transports},
                "subject": subject(input["image"].as_str()?),
            }))
        }
        _ => Some(case["input"].clone()),
    }
}

/// Compare what the case records with our answer.
pub(crate) fn agrees(op: &str, expected: &Value, answer: &Value) -> Result<(), String> {
    if let Some(verdict) = expected.get("verdict").and_then(Value::as_str) {
        return agrees_with_verdict(verdict, answer);
    }
    for key in ["ok", "match", "result"] {
        if let Some(wanted) = expected.get(key) {
            same(key, wanted, &answer[key])?;
        }
    }
    match op {
        "policy-parse/policy" | "policy-parse/unmarshal" => agrees_with_document(expected, answer),
        "policy-parse/remap-prefix" => agrees_with_text(expected, answer),
        "scope-lookup/lookup" => {
            if expected["ok"] == true {
                agrees_with_keys(&expected["identity"], &expected["namespaces"], answer)?;
                let scope = match expected["matched_transport"].as_str() {
                    Some(transport) => {
                        let scope = expected["matched_scope"].as_str().unwrap_or_default();
                        format!("{transport}/{scope}")
                    }
                    None => "default".to_owned(),
                };
                same("scope", &json!(scope), &answer["scope"])?;
            }
            Ok(())
        }
        "scope-lookup/docker-transport-parse" | "scope-lookup/docker-daemon-parse" => {
            if expected["ok"] == true {
                for key in ["reference", "string_within_transport"] {
                    if let Some(wanted) = expected.get(key) {
                        same(key, wanted, &answer[key])?;
                    }
                }
                let (identity, namespaces) = ("policy_identity", "policy_namespaces");
                agrees_with_keys(&expected[identity], &expected[namespaces], answer)?;
            }
            Ok(())
        }
        "scope-lookup/docker-namespaces" | "scope-lookup/storage-namespaces" => {
            if expected["identity"].is_null() {
                return same("ok", &json!(false), &answer["ok"]);
            }
            agrees_with_keys(&expected["identity"], &expected["namespaces"], answer)
        }
        "reference-parse/domain-regexp"
        | "reference-parse/name-regexp"
        | "reference-parse/named"
        | "reference-parse/normalized"
        | "reference-parse/raw"
        | "reference-parse/reference-regexp" => {
            let members = expected.as_object().into_iter().flatten();
            for (key, wanted) in members.filter(|(key, _)| answer.get(key).is_some()) {
                same(key, wanted, &answer[key])?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn same(what: &str, wanted: &Value, found: &Value) -> Result<(), String> {
    if wanted == found { Ok(()) } else { Err(format!("{what} is {found}, not {wanted}")) }
}

/// A verdict is `accept`, `reject`, or the scope that decides.
fn agrees_with_verdict(verdict: &str, answer: &Value) -> Result<(), String> {
    match verdict {
        "accept" => same("ok", &json!(true), &answer["ok"]),
        "reject" => same("ok", &json!(false), &answer["ok"]),
        scope => same("scope", &json!(scope), &answer["scope"]),
    }
}

/// Every mistake is told at once, so the one that the reference implementation stops at is among them.
fn agrees_with_text(expected: &Value, answer: &Value) -> Result<(), String> {
    let Some(text) = expected["error"].as_str() else { return Ok(()) };
    // Go replaces what is not Unicode, and goes on; we do not.
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Ok(());
    }
    let told: Vec<&str> = answer["errors"]
        .as_array()
        .map_or_else(Vec::new, |errors| errors.iter().filter_map(Value::as_str).collect());
    // Go names what it got by its own types.
    let wanted = text.find(", got ").map_or(text, |end| &text[..end + ", got ".len()]);
    if told.iter().any(|told| told.starts_with(wanted)) {
        Ok(())
    } else {
        Err(format!("{wanted:?} is not among {told:?}"))
    }
}

fn agrees_with_document(expected: &Value, answer: &Value) -> Result<(), String> {
    agrees_with_text(expected, answer)?;
    let Some(normalized) = expected["normalized"].as_str() else { return Ok(()) };
    let mut normalized = serde_json::from_str(normalized).map_err(|e| e.to_string())?;
    let mut ours = answer["normalized"].clone();
    comparable(&mut normalized);
    comparable(&mut ours);
    same("policy", &normalized, &ours)
}

/// What the reference implementation writes, without what its form keeps and its meaning does not: references
/// as they were spelt, and the sources of sigstore keys.
fn comparable(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(comparable),
        Value::Object(members) => {
            for key in ["dockerReference", "dockerRepository"] {
                if let Some(Value::String(text)) = members.get_mut(key)
                    && let Ok(reference) = Reference::parse_normalized(text)
                {
                    *text = reference.to_string();
                }
            }
            if members.get("type") == Some(&json!("sigstoreSigned")) {
                gather(members, "key", "keys");
                gather(members, "rekorPublicKey", "rekor");
            }
            members.values_mut().for_each(comparable);
        }
        _ => {}
    }
}

/// Put the keys of all sources under one name; a single empty one is left out by Go.
fn gather(members: &mut Map<String, Value>, source: &str, name: &str) {
    let mut keys = match members.remove(name) {
        Some(Value::Array(keys)) => keys,
        _ => Vec::new(),
    };
    for (form, suffixes) in [("path", ["Path", "Paths"]), ("data", ["Data", "Datas"])] {
        for suffix in suffixes {
            let listed = match members.remove(&format!("{source}{suffix}")) {
                Some(Value::Array(listed)) => listed,
                Some(single) => vec![single],
                None => continue,
            };
            let text = |key: &Value| json!(format!("{form}:{}", key.as_str().unwrap_or_default()));
            keys.extend(listed.iter().map(text));
        }
    }
    if !keys.is_empty() && keys != ["data:"] {
        members.insert(name.to_owned(), Value::Array(keys));
    }
}

/// The keys of a lookup are the identity, the namespaces, the general scope, and the default.
fn agrees_with_keys(identity: &Value, namespaces: &Value, answer: &Value) -> Result<(), String> {
    let mut wanted: Vec<&str> =
        identity.as_str().filter(|key| !key.is_empty()).into_iter().collect();
    let namespaces = namespaces.as_array().into_iter().flatten().filter_map(Value::as_str);
    wanted.extend(namespaces.filter(|key| Some(*key) != identity.as_str()));
    wanted.push("");
    let candidates = answer["candidates"].as_array().ok_or("no candidates")?;
    let mut found = Vec::new();
    for candidate in candidates {
        let scope = candidate["scope"].as_str().unwrap_or_default();
        found.push(scope.split_once('/').map_or(scope, |(_, key)| key));
    }
    if found.pop() != Some("default") {
        return Err(format!("the last key is not the default: {candidates:?}"));
    }
    if found == wanted { Ok(()) } else { Err(format!("keys are {found:?}, not {wanted:?}")) }
}

/// What a policy is asked about an image: as the host makes it, for the transports that it reads.
fn subject(image: &str) -> Subject {
    if let Ok(name) = image.parse::<ImageName>()
        && let Ok(subject) = name.subject(None)
    {
        return subject;
    }
    let (transport, rest) = image.split_once(':').unwrap_or((image, ""));
    let reference = match (transport, rest.trim_start_matches("//")) {
        ("docker-daemon", id) if id.starts_with("sha256:") => None,
        ("atomic" | "docker" | "docker-daemon", reference) => Some(reference.to_owned()),
        _ => None,
    };
    let path = rest.starts_with('/').then(|| rest.to_owned());
    Subject { transport: transport.to_owned(), name: image.to_owned(), reference, path }
}
