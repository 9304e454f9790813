//! The reference implementation's cases of kinds `registries.d` and `storage-protocol`, run against the host
//! code and a scripted server.
//!
//! Requests are compared as sets: ours ask for the manifest and whether the registry keeps signatures at
//! once, ask for the next signature while one is on its way, and try again when a server fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign::evidence::{Access, Location, Section};
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::{deviations, support};

/// Op by op, because an op that belongs to no test would otherwise be passed over.
const SKIPPED_OPS: [&str; 3] =
    ["attachment-tag", "manifest-unknown-response", "sigstore-attachment"];
const SKIPPED_WHY: &str = "of sigstoreSigned, which this version does not evaluate";

#[test]
fn registries_d_is_read_as_the_reference_implementation_reads_it() {
    run("registries.d", registries_d);
}

#[test]
fn signatures_are_gathered_as_the_reference_implementation_gathers_them() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    run("storage-protocol", |case, _| runtime.block_on(storage_protocol(case)));
}

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    kind: String,
    op: String,
    input: Value,
    expect: Value,
}

/// What we answer instead, as deviations.json spells it, and in which way it differs.
struct Difference {
    ours: &'static str,
    how: String,
}

impl Difference {
    fn new(ours: &'static str, how: impl Into<String>) -> Self {
        Self { ours, how: how.into() }
    }
}

fn run(kind: &str, check: impl Fn(&Case, &Path) -> Result<(), Difference>) {
    let Some(shared) = support::shared() else { return };
    let data = shared.join("conformance/containers-image");
    let content = std::fs::read(data.join("cases.json")).expect("cases.json");
    let cases: Cases = serde_json::from_slice(&content).expect("cases");
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut seen = BTreeSet::new();
    let mut failures = Vec::new();
    for case in cases.cases.iter().filter(|case| case.kind == kind) {
        if SKIPPED_OPS.contains(&case.op.as_str()) {
            *counts.entry("skipped").or_default() += 1;
            continue;
        }
        seen.insert(case.id.clone());
        *counts.entry("run").or_default() += 1;
        let result = match (check(case, &data), deviations::of("containers-image", &case.id)) {
            (Ok(()), None) => "passed",
            (Err(difference), Some(listed)) if difference.ours == listed.ours => "deviating",
            (Ok(()), Some(_)) => {
                failures.push(format!("{}: passes, and is listed as deviating", case.id));
                "failed"
            }
            (Err(difference), _) => {
                failures.push(format!("{}: {}: {}", case.id, difference.ours, difference.how));
                "failed"
            }
        };
        *counts.entry(result).or_default() += 1;
    }
    let count = |name| counts.get(name).copied().unwrap_or_default();
    support::say(&format!(
        "{kind}: {} run, {} passed, {} deviating, {} skipped ({SKIPPED_WHY})",
        count("run"),
        count("passed"),
        count("deviating"),
        count("skipped"),
    ));
    let mut stale = deviations::stale("containers-image", &seen);
    stale.retain(|case| case.starts_with(&format!("{kind}/")));
    assert_eq!(stale, Vec::<String>::new(), "listed as deviating, but not among the cases");
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
    assert!(count("passed") > 0);
}

fn registries_d(case: &Case, data: &Path) -> Result<(), Difference> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let access = || match case.input["write"].as_bool() {
        Some(true) => Access::Write,
        _ => Access::Read,
    };
    match case.op.as_str() {
        "config" => config(case),
        "namespace-top-level" => {
            let section = Section::deserialize(&case.input["namespace"]).expect("a section");
            same("top_level", &case.expect["top_level"], section.store(access()).unwrap_or(""))
        }
        "top-level" => {
            let registries = registries(&case.input["config"].to_string());
            let reference = normalized(&text(&case.input["reference"]));
            let store = registries.store(&reference, access()).unwrap_or("");
            same("top_level", &case.expect["top_level"], store)
        }
        "base-url" => {
            let empty = tempfile::tempdir().expect("a folder");
            let directory = match text(&case.input["dir"]).as_str() {
                "(empty directory)" => empty.path().to_owned(),
                other => data.join(other),
            };
            let reference = normalized(text(&case.input["reference"]).trim_start_matches('/'));
            let url = RegistriesD::load(&Directories::Explicit(directory)).and_then(|d| {
                let located = match access() {
                    Access::Read => d.lookaside(&reference),
                    Access::Write => d.staging(&reference),
                };
                located.map(|location| location.to_string())
            });
            match (url, case.expect["url"].as_str()) {
                (Ok(ours), Some(theirs)) => same("url", &as_this_user(theirs).into(), &ours),
                (Err(_), None) => Ok(()),
                (Ok(ours), None) => Err(Difference::new("accept", ours)),
                (Err(fault), Some(_)) => Err(Difference::new("error", fault.to_string())),
            }
        }
        "signature-url" => {
            let number = case.input["index_zero_based"].as_u64().expect("a number") + 1;
            let base: Location = text(&case.input["base"]).parse().expect("a URL");
            let digest = text(&case.input["manifest_digest"]).parse::<Digest>();
            let number = usize::try_from(number).expect("a small number");
            let url = digest.ok().map(|digest| base.signature(&digest, number).to_string());
            match (&url, case.expect["url"].as_str()) {
                (ours, theirs) if ours.as_deref() == theirs => Ok(()),
                _ => Err(Difference::new("other", format!("{url:?}"))),
            }
        }
        other => Err(Difference::new("unknown", format!("op {other}"))),
    }
}

fn config(case: &Case) -> Result<(), Difference> {
    let root = tempfile::tempdir().expect("a folder");
    for (name, content) in case.input["files"].as_object().expect("files") {
        let path = root.path().join(name.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        std::fs::write(path, content.as_str().expect("a text")).expect("written");
    }
    let directories = if case.input["default_search"] == true {
        let user = case.input["euid"].as_u64().and_then(|user| u32::try_from(user).ok());
        Directories::layers(root.path(), Some(&root.path().join("xdg")), user)
    } else {
        Directories::Explicit(root.path().to_owned())
    };
    let registries = match (RegistriesD::load(&directories), case.expect["ok"] == true) {
        (Ok(registries), true) => registries,
        (Ok(_), false) => return Err(Difference::new("accept", "no error")),
        (Err(fault), true) => return Err(Difference::new("error", fault.to_string())),
        (Err(fault), false) => return same_text(case, &fault.to_string(), root.path()),
    };
    same_json("merged", &case.expect["merged"], &merged(&registries))?;
    let Some(reference) = case.input["reference"].as_str().map(normalized) else { return Ok(()) };
    let store = |access| registries.store(&reference, access).unwrap_or("");
    same("read_top_level", &case.expect["read_top_level"], store(Access::Read))?;
    same("write_top_level", &case.expect["write_top_level"], store(Access::Write))?;
    let attachments = json!(registries.uses_attachments(&reference));
    same_json("attachments", &case.expect["use_sigstore_attachments"], &attachments)?;
    match registries.lookaside(&reference) {
        Ok(location) => {
            let digest =
                format!("sha256:{}", "0123456789abcdef".repeat(4)).parse().expect("a digest");
            let signature = location.signature(&digest, 1).to_string();
            for (name, ours) in
                [("read_base_url", location.to_string()), ("signature_1_url", signature)]
            {
                let theirs = case.expect[name].as_str().map(as_this_user);
                same(name, &theirs.into(), &ours)?;
            }
            Ok(())
        }
        Err(fault) => {
            same("read_base_url_error", &case.expect["read_base_url_error"], &fault.to_string())
        }
    }
}

/// The sections as the cases print them.
fn merged(registries: &RegistriesD) -> Value {
    let section = |section: &Section| {
        let mut printed = serde_json::Map::new();
        for (name, value) in [
            ("lookaside", &section.lookaside),
            ("lookaside-staging", &section.lookaside_staging),
            ("sigstore", &section.sigstore),
            ("sigstore-staging", &section.sigstore_staging),
        ] {
            if let Some(value) = value {
                printed.insert(name.to_owned(), json!(value));
            }
        }
        if let Some(value) = section.use_sigstore_attachments {
            printed.insert("use-sigstore-attachments".to_owned(), json!(value));
        }
        Value::Object(printed)
    };
    let docker: serde_json::Map<_, _> =
        registries.sections().iter().map(|(name, s)| (name.clone(), section(s))).collect();
    let mut printed = json!({"docker": docker});
    if let Some(default) = registries.default_section() {
        printed["default-docker"] = section(default);
    }
    printed
}

/// The cases were recorded as root; other users' default store is in their home.
fn as_this_user(url: &str) -> String {
    let unconfigured = RegistriesD::load(&Directories::Layers(Vec::new())).expect("no files");
    let ours = unconfigured.lookaside(&normalized("example.com/x")).expect("a URL").to_string();
    let ours = ours.strip_suffix("/x").expect("the path");
    match url.strip_prefix("file:///var/lib/containers/sigstore") {
        Some(rest) => format!("{ours}{rest}"),
        None => url.to_owned(),
    }
}

async fn storage_protocol(case: &Case) -> Result<(), Difference> {
    let server = Server::start();
    let host = server.host();
    let here = |text: &str| text.replace("{SERVER}", &host);
    for (path, response) in case.input["responses"].as_object().expect("responses") {
        server.always(path.as_str(), scripted(response, &here));
    }
    if let Some(count) = case.input["generate_lookaside_signatures"].as_u64() {
        for number in 1..=count {
            server.always(
                format!("/la/ns/repo@sha256={IMAGE_HEX}/signature-{number}"),
                Answer::ok(*b"\xa3x"),
            );
        }
    }
    let reference = here(case.input["reference"].as_str().expect("a reference"));
    let registries = match case.input["registries_d"].as_str() {
        Some(content) => registries(&here(content)),
        None => RegistriesD::default(),
    };
    let client = client_for(&[&server]);
    let name: ImageName = reference.parse().expect("an image's name");
    let mut resolved = resolve_name(&name, &client).await.expect("the image resolves");
    if let Some(instance) = case.input["instance_digest"].as_str() {
        resolved.digest = instance.parse().expect("a digest");
    }
    let found = countersign::evidence::signatures(&resolved, &client, &registries).await;
    match (found, case.expect["ok"] == true) {
        (Ok(found), true) => same_signatures(case, &found)?,
        (Ok(found), false) => same_refusal_of_content(case, &found)?,
        (Err(fault), true) => return Err(Difference::new("error", fault.to_string())),
        (Err(fault), false) => {
            same_text(case, &fault.to_string().replace(&host, "{SERVER}"), Path::new(""))?
        }
    }
    same_requests(case, &server)
}

fn scripted(response: &Value, here: &impl Fn(&str) -> String) -> Answer {
    let status = response["status"].as_u64().and_then(|s| u16::try_from(s).ok()).expect("a status");
    let mut body = Vec::new();
    if let Some(prefix) = response.get("body_prefix_repeat") {
        let count =
            prefix["count"].as_u64().and_then(|c| usize::try_from(c).ok()).expect("a count");
        body.extend(prefix["text"].as_str().expect("a text").repeat(count).into_bytes());
    }
    if let Some(text) = response["body"].as_str() {
        body.extend(here(text).into_bytes());
    }
    if let Some(encoded) = response["body_base64"].as_str() {
        body.extend(BASE64_STANDARD.decode(encoded).expect("base64"));
    }
    if let Some(size) = response["repeat_bytes"].as_u64() {
        body.resize(usize::try_from(size).expect("a size"), 0xa3);
    }
    let mut answer = Answer::status(status);
    for (name, value) in response["headers"].as_object().into_iter().flatten() {
        answer = answer.header(name, here(value.as_str().expect("a header's value")));
    }
    match status {
        // A body would not arrive.
        204 => answer,
        _ => answer.body(body),
    }
}

fn same_signatures(case: &Case, found: &[Signature]) -> Result<(), Difference> {
    same_json("count", &case.expect["count"], &json!(found.len()))?;
    let Some(expected) = case.expect["signatures"].as_array() else { return Ok(()) };
    for (signature, expected) in found.iter().zip(expected) {
        let (format, data) = read_blob(signature);
        same("format", &expected["format"], format)?;
        if format == "sigstore-json" {
            let data: Value = serde_json::from_slice(data).expect("JSON");
            same_json("MIME type", &expected["mime_type"], &data["mimeType"])?;
            same_json("payload", &expected["payload_base64"], &data["payload"])?;
            continue;
        }
        same_json("size", &expected["size"], &json!(data.len()))?;
        if let Some(blob) = expected["blob_base64"].as_str() {
            same("blob", &blob.into(), &BASE64_STANDARD.encode(data))?;
        }
    }
    Ok(())
}

/// Where the reference implementation fails at the content of a signature, the host moves it unread and the
/// engine refuses it, in the same words.
fn same_refusal_of_content(case: &Case, found: &[Signature]) -> Result<(), Difference> {
    let theirs = case.expect["error"].as_str().unwrap_or_default();
    let refused = |signature: &Signature| {
        let input = json!({"blob": BASE64_STANDARD.encode(&signature.content)}).to_string();
        let answer = guest_policy::probe::run("payload-parse/sigblob", &input);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["error"].as_str().is_some_and(|ours| theirs.ends_with(ours))
    };
    if found.iter().any(refused) {
        return Ok(());
    }
    Err(Difference::new("accept", format!("{} signatures, expected: {theirs}", found.len())))
}

fn read_blob(signature: &Signature) -> (&str, &[u8]) {
    let content = signature.content.as_slice();
    let named = content.strip_prefix(b"\0").filter(|_| signature.form == SignatureForm::Stored);
    let end = named.and_then(|named| named.iter().position(|byte| *byte == b'\n'));
    match (named, end) {
        (Some(named), Some(end)) => {
            (std::str::from_utf8(&named[..end]).expect("a name"), &named[end + 1..])
        }
        _ => ("simple-signing", content),
    }
}

fn same_requests(case: &Case, server: &Server) -> Result<(), Difference> {
    let Some(expected) = case.expect["requests"].as_array() else { return Ok(()) };
    let expected: BTreeSet<String> =
        expected.iter().map(|request| request.as_str().expect("a request").to_owned()).collect();
    let requests = server.requests();
    let ours: BTreeSet<String> =
        requests.iter().map(|request| format!("{} {}", request.method, request.path)).collect();
    let missing: Vec<_> = expected.difference(&ours).collect();
    // One signature may be asked for ahead; and where the reference implementation stops at the content of
    // a signature, ours do not look at it and go on.
    let ahead = |request: &&String| request.contains("/signature-");
    let additional: Vec<_> = ours.difference(&expected).collect();
    if missing.is_empty() && additional.len() <= 2 && additional.iter().all(ahead) {
        return Ok(());
    }
    Err(Difference::new("requests", format!("missing {missing:?}, additional {additional:?}")))
}

/// Texts that users know: they are part of ours.
fn same_text(case: &Case, ours: &str, root: &Path) -> Result<(), Difference> {
    let theirs = case.expect["error"].as_str().unwrap_or_default();
    let root = root.display().to_string();
    let theirs = theirs.replace("<dir>", &root).replace("<root>", &root);
    let known = KNOWN_TEXTS.iter().any(|known| theirs.starts_with(known));
    if !known || ours.contains(&theirs) {
        return Ok(());
    }
    Err(Difference::new("text", format!("{ours}\n  expected: {theirs}")))
}

fn same(what: &str, theirs: &Value, ours: &str) -> Result<(), Difference> {
    same_json(what, theirs, &json!(ours))
}

fn same_json(what: &str, theirs: &Value, ours: &Value) -> Result<(), Difference> {
    if theirs == ours {
        return Ok(());
    }
    Err(Difference::new("other", format!("{what}: {ours}, expected {theirs}")))
}

fn normalized(reference: &str) -> Reference {
    Reference::parse_normalized(reference).expect("a reference").with_default_tag()
}

/// The manifest of all cases of kind `storage-protocol`.
const IMAGE_HEX: &str = "20bf21ed457b390829cdbeec8795a7bea1626991fda603e0d01b4e7f60427e55";

const KNOWN_TEXTS: [&str; 4] = [
    "Error parsing signature storage configuration",
    "Unsupported scheme when reading signature",
    "exceeded maximum allowed size",
    "server provided",
];
