//! Cases about policy documents: parsing, scopes, identities, references.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use crate::digest::{Algorithm, Digest};
use crate::image::Subject;
use crate::policy::{
    IdentityMatch, KeySource, Material, Policy, Prefix, Requirement, SigstoreTrust, check,
};
use crate::reference::{self, Parsed, Reference, ReferenceError};
use crate::scope;
use crate::verdict::{Mistake, Severity};

/// The answer to a case of this module, or `None`.
pub(super) fn run(op: &str, input: &Value) -> Option<Value> {
    match op {
        "policy-parse/policy" | "policy-parse/unmarshal" => parse(input),
        "policy-parse/remap-prefix" => Some(match Prefix::new(text(input, "prefix")?) {
            Ok(_) => json!({"ok": true}),
            Err(error) => refused(&error),
        }),
        "scope-lookup/lookup" => {
            let document = input.get("policy")?.to_string();
            let policy = Policy::parse(document.as_bytes()).ok()?;
            let subject = serde_json::from_value(input.get("subject")?.clone()).ok()?;
            Some(lookup(&policy, &subject))
        }
        "scope-lookup/docker-namespaces" => {
            keys(&subject("docker", Some(text(input, "reference")?), None))
        }
        "scope-lookup/docker-transport-parse" => docker(text(input, "input")?),
        "scope-lookup/docker-daemon-parse" => docker_daemon(text(input, "input")?),
        "scope-lookup/storage-namespaces" => storage(input),
        "scope-lookup/validate-scope" => {
            Some(match scope::validate(text(input, "transport")?, text(input, "scope")?) {
                Ok(()) => json!({"ok": true}),
                Err(error) => refused(&error),
            })
        }
        "identity-match/match" => identity(input),
        "identity-match/remap" => {
            let image = Reference::parse_normalized(text(input, "image_reference")?).ok()?;
            let prefix = Prefix::new(text(input, "prefix")?).ok()?;
            let signed = Prefix::new(text(input, "signedPrefix")?).ok()?;
            Some(json!({"result": prefix.remap(&image, &signed).map(|result| result.to_string())}))
        }
        "identity-match/remap-prefix-matches" => {
            let image = Reference::parse_normalized(text(input, "image_reference")?).ok()?;
            let prefix = Prefix::new(text(input, "prefix")?).ok()?;
            Some(json!({"match": prefix.covers(&image)}))
        }
        "reference-parse/domain-regexp" => {
            Some(json!({"match": reference::is_domain(text(input, "input")?)}))
        }
        "reference-parse/name-regexp" => Some(match reference::split_name(text(input, "input")?) {
            Some((domain, path)) => {
                json!({"match": true, "domain": domain.unwrap_or_default(), "path": path})
            }
            None => json!({"match": false}),
        }),
        "reference-parse/reference-regexp" => Some(match Parsed::parse(text(input, "input")?) {
            Ok(parsed) => json!({
                "match": true,
                "name": parsed.name(),
                "tag": parsed.tag.unwrap_or_default(),
                "digest": parsed.digest.map(String::from).unwrap_or_default(),
            }),
            Err(_) => json!({"match": false}),
        }),
        "reference-parse/raw" => Some(match Parsed::parse(text(input, "input")?) {
            Ok(parsed) => json!({
                "ok": true,
                "domain": parsed.domain.clone().unwrap_or_default(),
                "path": parsed.path,
                "name": parsed.name(),
                "tag": parsed.tag,
                "digest": parsed.digest,
                "name_only": parsed.tag.is_none() && parsed.digest.is_none(),
            }),
            Err(error) => refused(&error),
        }),
        "reference-parse/named" => {
            Some(described(Reference::parse_canonical(text(input, "input")?)))
        }
        "reference-parse/normalized" => {
            Some(described(Reference::parse_normalized(text(input, "input")?)))
        }
        _ => None,
    }
}

fn text<'a>(input: &'a Value, key: &str) -> Option<&'a str> {
    input.get(key)?.as_str()
}

fn refused(error: &impl ToString) -> Value {
    json!({"ok": false, "errors": [error.to_string()]})
}

fn parse(input: &Value) -> Option<Value> {
    let document = match text(input, "json") {
        Some(document) => document.as_bytes().to_vec(),
        None => BASE64.decode(text(input, "json_base64")?).ok()?,
    };
    let parsed = Policy::parse(&document);
    let mut errors = check(&document, &|_| None);
    errors.retain(|mistake| mistake.severity == Severity::Error);
    // The two say the same of every document; what they do not, no case could expect.
    if parsed.as_ref().err() != Some(&errors) && !(parsed.is_ok() && errors.is_empty()) {
        return Some(json!({"ok": null, "errors": messages(&errors)}));
    }
    Some(match parsed {
        Ok(policy) => json!({"ok": true, "normalized": normalized(&policy)}),
        Err(errors) => json!({"ok": false, "errors": messages(&errors)}),
    })
}

fn messages(mistakes: &[Mistake]) -> Vec<&str> {
    mistakes.iter().map(|mistake| mistake.message.as_str()).collect()
}

fn subject(transport: &str, reference: Option<&str>, path: Option<&str>) -> Subject {
    Subject {
        transport: transport.to_owned(),
        name: format!("{transport}:"),
        reference: reference.map(str::to_owned),
        path: path.map(str::to_owned),
    }
}

fn lookup(policy: &Policy, subject: &Subject) -> Value {
    match policy.lookup(subject) {
        Ok(lookup) => json!({
            "ok": true,
            "scope": lookup.scope,
            "candidates": lookup.candidates,
            "requirements": lookup.requirements.len(),
        }),
        Err(error) => refused(&error),
    }
}

/// A lookup in a policy without scopes.
fn keys(subject: &Subject) -> Option<Value> {
    let policy = Policy::parse(br#"{"default": [{"type": "reject"}]}"#).ok()?;
    Some(lookup(&policy, subject))
}

fn docker(input: &str) -> Option<Value> {
    let input = input.strip_prefix("//")?;
    match Reference::parse_normalized(input) {
        Ok(reference) => {
            let reference = reference.with_default_tag();
            let mut answer = keys(&subject("docker", Some(&reference.to_string()), None))?;
            answer["reference"] = json!(reference.to_string());
            answer["string_within_transport"] = json!(format!("//{}", reference.familiar()));
            Some(answer)
        }
        Err(error) => Some(refused(&error)),
    }
}

fn docker_daemon(input: &str) -> Option<Value> {
    match input.parse::<Digest>() {
        Ok(digest) if digest.algorithm() == Algorithm::Sha256 => {
            keys(&subject("docker-daemon", None, None))
        }
        Ok(digest) => Some(refused(&format!("{digest}: only sha256 is accepted"))),
        Err(error) if input.starts_with("sha256:") => Some(refused(&error)),
        Err(_) => {
            let mut answer = keys(&subject("docker-daemon", Some(input), None))?;
            if answer["ok"] == true {
                answer["reference"] = json!(Reference::parse_normalized(input).ok()?.to_string());
            }
            Some(answer)
        }
    }
}

fn storage(input: &Value) -> Option<Value> {
    let image = text(input, "input")?;
    let is_id = |id: &str| id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let (name, id) = match image.rsplit_once('@') {
        Some((name, id)) if is_id(id) => (name, format!("@{id}")),
        _ => (image, String::new()),
    };
    let name = match name {
        "" => String::new(),
        name => Reference::parse_normalized(name).ok()?.with_default_tag().to_string(),
    };
    let (driver, root) = (text(input, "graph_driver")?, text(input, "graph_root")?);
    keys(&subject("containers-storage", None, Some(&format!("[{driver}@{root}]{name}{id}"))))
}

fn identity(input: &Value) -> Option<Value> {
    let document = json!({"default": [{
        "type": "signedBy", "keyType": "GPGKeys", "keyPath": "/key",
        "signedIdentity": input.get("signedIdentity")?,
    }]});
    // A policy with an invalid identity is refused, so that nothing matches it.
    let Ok(policy) = Policy::parse(document.to_string().as_bytes()) else {
        return Some(json!({"match": false, "ok": false}));
    };
    let [Requirement::SignedBy(requirement)] = policy.default_requirements() else { return None };
    let image = match input.get("image_reference")? {
        Value::Null => None,
        image => Some(Reference::parse_normalized(image.as_str()?).ok()?),
    };
    let signed = text(input, "signature_reference")?;
    Some(json!({"match": requirement.identity.matches(image.as_ref(), signed)}))
}

fn described(parsed: Result<Reference, ReferenceError>) -> Value {
    match parsed {
        Ok(reference) => json!({
            "ok": true,
            "domain": reference.domain(),
            "path": reference.path(),
            "name": reference.name(),
            "string": reference.to_string(),
            "familiar": reference.familiar(),
            "tag": reference.tag(),
            "digest": reference.digest(),
            "name_only": reference.is_name_only(),
        }),
        Err(error) => refused(&error),
    }
}

/// A policy as the reference implementation writes it.
fn normalized(policy: &Policy) -> Value {
    let list = |list: &[Requirement]| list.iter().map(requirement).collect::<Value>();
    let transports: Map<String, Value> = policy
        .transports()
        .iter()
        .map(|(transport, scopes)| {
            let scopes: Map<String, Value> = scopes
                .iter()
                .map(|(scope, requirements)| (scope.clone(), list(requirements)))
                .collect();
            (transport.clone(), Value::Object(scopes))
        })
        .collect();
    json!({"default": list(policy.default_requirements()), "transports": transports})
}

fn requirement(requirement: &Requirement) -> Value {
    match requirement {
        Requirement::InsecureAcceptAnything => json!({"type": "insecureAcceptAnything"}),
        Requirement::Reject => json!({"type": "reject"}),
        // The reference implementation has none of these.
        Requirement::AnyOf(_) | Requirement::AtLeast(_) | Requirement::Rule(_) => Value::Null,
        Requirement::SignedBaseLayer { base_layer_identity } => {
            let identity = identity_match(base_layer_identity);
            json!({"type": "signedBaseLayer", "baseLayerIdentity": identity})
        }
        Requirement::SignedBy(signed) => {
            let mut written = json!({
                "type": "signedBy",
                "keyType": signed.key_type.name(),
                "signedIdentity": identity_match(&signed.identity),
            });
            match &signed.keys {
                KeySource::Data(data) if data.is_empty() => {}
                KeySource::Data(data) => written["keyData"] = BASE64.encode(data).into(),
                KeySource::Path(path) => written["keyPath"] = json!(path),
                KeySource::Paths(paths) if paths.is_empty() => {}
                KeySource::Paths(paths) => written["keyPaths"] = json!(paths),
            }
            written
        }
        Requirement::SigstoreSigned(signed) => {
            let mut written = json!({
                "type": "sigstoreSigned",
                "signedIdentity": identity_match(&signed.identity),
            });
            match &signed.trust {
                SigstoreTrust::Fulcio(fulcio) => {
                    written["fulcio"] = json!({
                        "oidcIssuer": fulcio.oidc_issuer,
                        "subjectEmail": fulcio.subject_email,
                    });
                    put(&mut written["fulcio"], "ca", Some(&fulcio.ca));
                }
                SigstoreTrust::Keys(keys) => written["keys"] = keys.iter().map(material).collect(),
                SigstoreTrust::Pki(pki) => {
                    let mut inner = Map::new();
                    let subjects = [
                        ("subjectEmail", &pki.subject_email),
                        ("subjectHostname", &pki.subject_hostname),
                    ];
                    for (key, subject) in subjects {
                        if let Some(subject) = subject {
                            inner.insert(key.to_owned(), json!(subject));
                        }
                    }
                    written["pki"] = Value::Object(inner);
                    put(&mut written["pki"], "caRoots", Some(&pki.roots));
                    put(&mut written["pki"], "caIntermediates", pki.intermediates.as_ref());
                }
            }
            if !signed.rekor.is_empty() {
                written["rekor"] = signed.rekor.iter().map(material).collect();
            }
            written
        }
    }
}

/// Add a file by the key of its form.
fn put(object: &mut Value, key: &str, file: Option<&Material>) {
    match file {
        Some(Material::Data(data)) => object[format!("{key}Data")] = BASE64.encode(data).into(),
        Some(Material::Path(path)) => object[format!("{key}Path")] = json!(path),
        None => {}
    }
}

/// A key of a list whose source the requirement no longer tells: `path:…` or `data:…`.
fn material(material: &Material) -> Value {
    match material {
        Material::Data(data) => format!("data:{}", BASE64.encode(data)).into(),
        Material::Path(path) => format!("path:{path}").into(),
    }
}

fn identity_match(identity: &IdentityMatch) -> Value {
    match identity {
        IdentityMatch::MatchExact => json!({"type": "matchExact"}),
        IdentityMatch::MatchRepoDigestOrExact => json!({"type": "matchRepoDigestOrExact"}),
        IdentityMatch::MatchRepository => json!({"type": "matchRepository"}),
        IdentityMatch::ExactReference(exact) => {
            json!({"type": "exactReference", "dockerReference": exact.to_string()})
        }
        IdentityMatch::ExactRepository(exact) => {
            json!({"type": "exactRepository", "dockerRepository": exact.to_string()})
        }
        IdentityMatch::RemapIdentity { prefix, signed_prefix } => json!({
            "type": "remapIdentity",
            "prefix": prefix.to_string(),
            "signedPrefix": signed_prefix.to_string(),
        }),
    }
}
