//! Cases about signatures: stored forms, payloads, OpenPGP messages, whole evaluations.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

/// The cases that [`input`] understands.
pub(crate) const OPS: &[&str] = &[
    "manifest-digest/digest",
    "payload-parse/sigblob",
    "payload-parse/simple-signing",
    "policy-eval/image",
    "policy-eval/signatures",
    "signature-verify/docker-manifest",
    "signature-verify/openpgp",
    "signature-verify/untrusted-contents",
    "signature-verify/untrusted-information",
];

/// What the probe is asked; `None` for a case that it cannot be asked.
pub(crate) fn input(op: &str, case: &Value, folder: &Path) -> Option<Value> {
    let given = &case["input"];
    let file = |name: &str| inline(&given[name], folder);
    Some(match op {
        "manifest-digest/digest" => {
            json!({"manifest": file("manifest")?, "expected_digest": given["expected_digest"]})
        }
        "payload-parse/sigblob" => json!({"blob": file("blob")?}),
        "payload-parse/simple-signing" => {
            let json = match given["json"].as_str() {
                Some(text) => BASE64_STANDARD.encode(text),
                None => given["json_base64"].as_str()?.to_owned(),
            };
            json!({"json": json})
        }
        "signature-verify/openpgp" | "signature-verify/docker-manifest" => {
            let keyrings = given["keyrings"].as_array()?.iter().map(|k| inline(k, folder));
            json!({
                "keyrings": keyrings.collect::<Option<Vec<_>>>()?,
                "signature": file("signature"),
                "manifest": file("manifest"),
                "expected_reference": given["expected_reference"],
                "accepted_fingerprints": given["accepted_fingerprints"],
                "now": NOW,
            })
        }
        "signature-verify/untrusted-contents" | "signature-verify/untrusted-information" => {
            json!({"signature": file("signature")?})
        }
        "policy-eval/image" | "policy-eval/signatures" => evaluation(given, folder)?,
        _ => return None,
    })
}

/// Whether the answer is the expected one.
pub(crate) fn agrees(op: &str, expected: &Value, answer: &Value) -> Result<(), String> {
    if let Some(verdict) = expected["verdict"].as_str() {
        let accepts = answer["ok"] == true || answer["allowed"] == true;
        return if accepts == (verdict == "accept") {
            Ok(())
        } else {
            Err(format!("is not {verdict}ed: {answer:.300}"))
        };
    }
    let members: &[&str] = match op {
        "manifest-digest/digest" => &["ok", "digest", "matches"],
        "payload-parse/sigblob" => &["ok", "format", "mime_type", "payload_base64"],
        "payload-parse/simple-signing" | "signature-verify/untrusted-information" => {
            &["ok", "docker_manifest_digest", "docker_reference", "creator", "timestamp"]
        }
        "policy-eval/image" => &["allowed"],
        "policy-eval/signatures" => &["ok", "accepted"],
        "signature-verify/docker-manifest" => {
            &["ok", "docker_manifest_digest", "docker_reference", "key"]
        }
        "signature-verify/openpgp" => &["ok", "primary_key", "content"],
        "signature-verify/untrusted-contents" => &["ok", "content", "short_key_id"],
        _ => return Err("no such kind of case".to_owned()),
    };
    for member in members {
        if let Some(wanted) = expected.get(member)
            && *wanted != answer[member]
        {
            return Err(format!("{member} is {}, expected {wanted}", answer[member]));
        }
    }
    if let Some(wanted) = expected["imported_keys"].as_array() {
        let sorted = |keys: &Value| {
            let mut keys: Vec<String> =
                keys.as_array().into_iter().flatten().map(Value::to_string).collect();
            keys.sort();
            keys.dedup();
            keys
        };
        let found = sorted(&answer["imported_keys"]);
        if answer["ok"] == true && found != sorted(&json!(wanted)) {
            return Err(format!("imported keys are {found:?}, expected {wanted:?}"));
        }
    }
    // Of the messages that users search for, the words are the same, too; but the reference implementation
    // evaluates sigstoreSigned, and looks at signatures before it looks for a manifest.
    let code = answer["verdict"]["reasons"][0]["code"].as_str();
    if let Some("sigstore-unsupported" | "manifest-unusable") = code {
        return Ok(());
    }
    if let (Some(wanted), Some(said)) = (expected["error"].as_str(), answer["error"].as_str())
        && FIXED_MESSAGES.iter().any(|fixed| wanted.starts_with(fixed))
        && wanted != said
    {
        return Err(format!("says {said:?}, expected {wanted:?}"));
    }
    Ok(())
}

/// The policy, its key files, and the `dir:` image as the transport reads it.
fn evaluation(given: &Value, folder: &Path) -> Option<Value> {
    let policy = given["policy"].as_str()?;
    let mut files = Map::new();
    collect_paths(&serde_json::from_str(policy).ok()?, folder, &mut files);
    let image = given["dir"].as_str()?;
    let path = |name: String| folder.join(image).join(name);
    let prefix = match given["instance_digest"].as_str() {
        Some(digest) => format!("{}.", digest.trim_start_matches("sha256:")),
        None => String::new(),
    };
    let manifest = fs::read(path(format!("{prefix}manifest.json"))).unwrap_or_default();
    let index = fs::read(path("manifest.json".to_owned())).ok().filter(|_| !prefix.is_empty());
    let mut signatures = Vec::new();
    while let Ok(content) = fs::read(path(format!("{prefix}signature-{}", signatures.len() + 1))) {
        signatures.push(json!({
            "source": format!("{image}/{prefix}signature-{}", signatures.len() + 1),
            "content": BASE64_STANDARD.encode(content),
        }));
    }
    Some(json!({
        "policy": policy,
        "files": files,
        "reference": given["reference"],
        "manifest": BASE64_STANDARD.encode(manifest),
        "index": index.map(|index| BASE64_STANDARD.encode(index)),
        "signatures": signatures,
        "now": NOW,
    }))
}

/// The files that a policy names, wherever in it.
fn collect_paths(value: &Value, folder: &Path, files: &mut Map<String, Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_paths(item, folder, files)),
        Value::Object(members) => {
            for (name, value) in members {
                let paths: Vec<&Value> = match name.as_str() {
                    "keyPath" => vec![value],
                    "keyPaths" => value.as_array().into_iter().flatten().collect(),
                    _ => {
                        collect_paths(value, folder, files);
                        continue;
                    }
                };
                for path in paths.into_iter().filter_map(Value::as_str) {
                    let content = fs::read(folder.join(path)).ok();
                    let content = content.map(|content| BASE64_STANDARD.encode(content));
                    files.insert(path.to_owned(), json!(content));
                }
            }
        }
        _ => {}
    }
}

/// The content of `"path"`, `{"text": …}` or `{"base64": …}`, in base64.
fn inline(value: &Value, folder: &Path) -> Option<String> {
    if let Some(path) = value.as_str() {
        return Some(BASE64_STANDARD.encode(fs::read(folder.join(path)).ok()?));
    }
    match value["text"].as_str() {
        Some(text) => Some(BASE64_STANDARD.encode(text)),
        None => value["base64"].as_str().map(str::to_owned),
    }
}

/// 2026-01-01: after every expiry that a case is about, before every date in its future.
const NOW: u64 = 1_767_225_600;

/// Beginnings of messages that runbooks and tools search for.
const FIXED_MESSAGES: &[&str] = &[
    "A signature was required, but no signature exists",
    "Duplicate key",
    "Key \"",
    "No public keys imported",
    "Running image ",
    "Signature for digest",
    "Signature for identity",
    "Unimplemented \"keyType\"",
    "Unknown key",
    "Unrecognized signature type",
    "empty signature blob",
    "invalid signature format",
    "parsing signature",
    "unrecognized signature format",
];
