//! Cases about signatures: stored forms, payloads, OpenPGP, whole evaluations.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::Engine;
use crate::digest::Digest;
use crate::image::{Evidence, KeyFile, Signature, SignatureForm, Subject};
use crate::manifest;
use crate::openpgp::{self, Candidate, Keyring};
use crate::policy::{Policy, Requirement};
use crate::reference::Reference;
use crate::simple_signing::{Payload, Stored};
use crate::verdict::Outcome;

/// The answer to a case of this module, or `None`.
pub(super) fn run(op: &str, input: &Value) -> Option<Value> {
    Some(match op {
        "manifest-digest/digest" => {
            let content = bytes(&input["manifest"])?;
            let kind = manifest::Kind::of(&content, None);
            let expected = input["expected_digest"].as_str().map(str::parse::<Digest>);
            json!({
                "ok": !matches!(kind, Err(manifest::Fault::Schema1)),
                "digest": Digest::sha256(&content),
                "matches": expected.map(|digest| digest.is_ok_and(|d| d.matches(&content))),
                "error": kind.err().map(|fault| fault.to_string()),
            })
        }
        "payload-parse/sigblob" => stored(&bytes(&input["blob"])?),
        "payload-parse/simple-signing" => match Payload::parse(&bytes(&input["json"])?) {
            Ok(payload) => payload_fields(&payload),
            Err(error) => failed(error),
        },
        "policy-eval/image" => {
            let (engine, subject, evidence, now) = question(input)?;
            let verdict = engine.evaluate(&subject, &evidence, now);
            let error = verdict.reasons.first().map(|reason| &reason.message);
            json!({"allowed": verdict.outcome == Outcome::Allow, "error": error, "verdict": verdict})
        }
        "policy-eval/signatures" => accepted_signatures(input)?,
        "signature-verify/docker-manifest" => match docker_manifest(input)? {
            Ok(answer) => answer,
            Err(error) => failed(error),
        },
        "signature-verify/openpgp" => openpgp(input)?,
        "signature-verify/untrusted-contents" => match unverified(input)? {
            Ok((content, key)) => {
                json!({"ok": true, "content": String::from_utf8_lossy(&content), "short_key_id": key})
            }
            Err(error) => failed(error),
        },
        "signature-verify/untrusted-information" => match unverified(input)? {
            Ok((content, key)) => match Payload::parse(&content) {
                Ok(payload) => {
                    let mut fields = payload_fields(&payload);
                    fields["short_key_id"] = json!(key);
                    fields
                }
                Err(error) => failed(error),
            },
            Err(error) => failed(error),
        },
        _ => return None,
    })
}

fn stored(blob: &[u8]) -> Value {
    match Stored::parse(blob) {
        Ok(Stored::SimpleSigning(_)) => json!({"ok": true, "format": "simple-signing"}),
        Ok(Stored::Sigstore(sigstore)) => json!({
            "ok": true,
            "format": "sigstore-json",
            "mime_type": sigstore.mime_type,
            "payload_base64": BASE64_STANDARD.encode(sigstore.payload),
            "annotations": sigstore.annotations,
        }),
        Err(error) => failed(error),
    }
}

fn payload_fields(payload: &Payload) -> Value {
    json!({
        "ok": true,
        "docker_manifest_digest": payload.digest,
        "docker_reference": payload.reference,
        "creator": payload.creator,
        "timestamp": payload.timestamp,
    })
}

fn openpgp(input: &Value) -> Option<Value> {
    let keyrings = match keyrings(input)? {
        Ok(keyrings) => keyrings,
        Err(error) => return Some(failed(error)),
    };
    let imported: Vec<String> = keyrings.iter().flat_map(Keyring::fingerprints).collect();
    if input["signature"].is_null() {
        return Some(json!({"ok": true, "imported_keys": imported}));
    }
    Some(
        match openpgp::verify(
            |id| candidates(&keyrings, id),
            &bytes(&input["signature"])?,
            input["now"].as_u64()?,
        ) {
            Ok(verified) => json!({
                "ok": true,
                "primary_key": verified.key,
                "content": String::from_utf8_lossy(&verified.content),
                "imported_keys": imported,
            }),
            Err(rejection) => {
                json!({"ok": false, "error": rejection.to_string(), "code": rejection.code()})
            }
        },
    )
}

/// `VerifyImageManifestSignatureUsingKeyIdentityList` of the reference implementation.
fn docker_manifest(input: &Value) -> Option<Result<Value, String>> {
    let keyrings = match keyrings(input)? {
        Ok(keyrings) => keyrings,
        Err(error) => return Some(Err(error)),
    };
    let signature = bytes(&input["signature"])?;
    let manifest = bytes(&input["manifest"])?;
    let fingerprints = input["accepted_fingerprints"].as_array()?;
    let expected = input["expected_reference"].as_str()?;
    let verify = || {
        let verified = openpgp::verify(
            |id| candidates(&keyrings, id),
            &signature,
            input["now"].as_u64().unwrap_or(0),
        )
        .map_err(|rejection| rejection.to_string())?;
        if !fingerprints.iter().any(|fingerprint| fingerprint == verified.key.as_str()) {
            return Err(format!("signature by key {} is not accepted", verified.key));
        }
        let payload = Payload::parse(&verified.content).map_err(|error| error.to_string())?;
        let reference = |text| Reference::parse_normalized(text).map_err(|error| error.to_string());
        if reference(&payload.reference)? != reference(expected)? {
            return Err(format!(
                "Docker reference {:?} does not match {expected:?}",
                payload.reference
            ));
        }
        if !payload.digest.matches(&manifest) {
            return Err(format!("Signature for digest {} does not match", payload.digest));
        }
        let mut fields = payload_fields(&payload);
        fields["key"] = json!(verified.key);
        Ok(fields)
    };
    Some(verify())
}

/// `GetSignaturesWithAcceptedAuthor` of the reference implementation: the signatures that some requirement
/// accepts and none refuses.
fn accepted_signatures(input: &Value) -> Option<Value> {
    let (engine, subject, evidence, now) = question(input)?;
    let policy = Policy::parse(input["policy"].as_str()?.as_bytes()).ok()?;
    let lookup = policy.lookup(&subject).ok()?;
    let refuses =
        |r: &Requirement| matches!(r, Requirement::Reject | Requirement::SigstoreSigned(_));
    if lookup.requirements.iter().any(refuses) {
        return Some(json!({"ok": true, "accepted": []}));
    }
    let findings = engine.inspect(&subject, &evidence, now);
    let accepted = findings.iter().filter(|finding| finding.reasons.is_empty());
    let claims = accepted.filter_map(|finding| finding.claims.first());
    let accepted: Vec<Value> = claims
        .map(|claim| {
            json!({"docker_manifest_digest": claim.digest, "docker_reference": claim.reference})
        })
        .collect();
    Some(json!({"ok": true, "accepted": accepted}))
}

fn unverified(input: &Value) -> Option<Result<(Vec<u8>, String), String>> {
    let message = bytes(&input["signature"])?;
    Some(openpgp::unverified(&message).map_err(|rejection| rejection.to_string()))
}

fn keyrings(input: &Value) -> Option<Result<Vec<Keyring>, String>> {
    let contents: Vec<Vec<u8>> =
        input["keyrings"].as_array()?.iter().map(bytes).collect::<Option<_>>()?;
    let parsed = contents.iter().map(|content| Keyring::parse(content));
    Some(parsed.collect::<Result<_, _>>().map_err(|error| error.to_string()))
}

fn candidates(keyrings: &[Keyring], id: [u8; 8]) -> impl Iterator<Item = Candidate<'_>> {
    keyrings.iter().flat_map(move |keyring| keyring.candidates(id))
}

/// The engine with the case's policy, and what it is asked.
fn question(input: &Value) -> Option<(Engine, Subject, Evidence, u64)> {
    let files: Vec<KeyFile> = input["files"]
        .as_object()?
        .iter()
        .map(|(path, content)| {
            let content = bytes(content).ok_or_else(|| "no such file or directory".to_owned());
            KeyFile { path: path.clone(), content }
        })
        .collect();
    let engine = Engine::load(input["policy"].as_str()?.as_bytes(), &files).ok()?;
    let reference =
        input["reference"].as_str().map(Reference::parse_normalized).transpose().ok()?;
    let subject = Subject {
        transport: if reference.is_some() { "docker" } else { "dir" }.to_owned(),
        name: match &reference {
            Some(reference) => format!("docker://{}", reference.familiar()),
            None => "dir:/image".to_owned(),
        },
        path: reference.is_none().then(|| "/image".to_owned()),
        reference: reference.map(|reference| reference.to_string()),
    };
    let signatures = input["signatures"].as_array()?.iter().map(|signature| {
        Some(Signature {
            source: signature["source"].as_str()?.to_owned(),
            form: SignatureForm::Stored,
            content: bytes(&signature["content"])?,
        })
    });
    let evidence = Evidence {
        manifest: bytes(&input["manifest"])?,
        index: bytes(&input["index"]),
        signatures: signatures.collect::<Option<_>>()?,
    };
    Some((engine, subject, evidence, input["now"].as_u64()?))
}

fn failed(error: impl std::fmt::Display) -> Value {
    json!({"ok": false, "error": error.to_string()})
}

/// Bytes as the harness passes them: base64.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(value.as_str()?).ok()
}
