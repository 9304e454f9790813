//! Every review that is at hand, through a real connection: the built ones, those of other projects, and
//! what real API servers sent. One registry inside this process has all their images.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::hostile::patch;
use super::{Everything, Setup, Webhook};
use crate::support::{say, shared};

#[test]
fn built_reviews_are_answered_as_they_should_be() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("conformance/kubernetes/admission");
    let expected = read(&folder.join("expected-images.json"));
    let (_setup, _everything, webhook) = world();
    let mut count = 0;
    for (file, expected) in expected.as_object().expect("cases") {
        let review = read(&folder.join("requests").join(file));
        for endpoint in ["/validate", "/mutate"] {
            let (status, answer) = webhook.ask(&format!("{endpoint}?timeout=10s"), &review);
            count += 1;
            if file.starts_with("27-") {
                assert_eq!(status, 400, "{file}: {answer}");
                assert!(answer.to_string().contains("admission.k8s.io/v1"), "{file}: {answer}");
                continue;
            }
            assert_eq!(status, 200, "{file}: {answer}");
            check(file, endpoint, &review, &answer);
            let allowed = answer["response"]["allowed"] == true;
            let old = &review["request"]["oldObject"];
            let mut images = expected["images"].as_array().cloned().unwrap_or_default();
            // What was there before is not looked at again.
            images.retain(|image| {
                let place = image["path"].as_str().expect("a pointer");
                old.pointer(place) != Some(&image["image"])
            });
            let denied = images.iter().any(|image| !has_signature(image["image"].as_str()));
            match expected["hint"].as_str().expect("a hint") {
                "allow" | "unchanged" => assert!(allowed, "{file}: {answer}"),
                // Images that were there before are not looked at.
                "verify-new-only" => assert!(!allowed, "{file}: {answer}"),
                // A controller's child: names without a digest are looked at again.
                "verify" | "child" => assert_eq!(allowed, !denied, "{file} {endpoint}: {answer}"),
                other => assert_eq!(other, "a hint that is known", "{file}"),
            }
            if endpoint == "/mutate" && allowed && expected["hint"] == "verify" {
                pinned(file, &images, &answer);
            }
        }
    }
    say(&format!("webhook: {count} answers to built reviews"));
    assert_eq!(count, 62);
}

#[test]
fn reviews_of_other_projects_are_answered() {
    let Some(shared) = shared() else { return };
    let upstream = shared.join("conformance/kubernetes/upstream");
    let (_setup, _everything, webhook) = world();
    let mut statuses = BTreeMap::new();
    for folder in ["connaisseur-admission-requests", "kubewarden"] {
        for file in files(&upstream.join(folder)) {
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            let mut review = read(&file);
            if review.get("uid").is_some() && review.get("request").is_none() {
                review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": review});
            }
            let (status, answer) = webhook.ask("/mutate?timeout=10s", &review);
            *statuses.entry(status).or_insert(0) += 1;
            if status == 200 {
                check(&name, "/mutate", &review, &answer);
            } else {
                assert_eq!(status, 400, "{name}: {answer}");
            }
        }
    }
    say(&format!("webhook: answers to reviews of other projects, by status: {statuses:?}"));
    assert!(statuses.get(&200).is_some_and(|count| *count > 40), "{statuses:?}");
}

#[test]
fn what_api_servers_sent_is_answered() {
    let Some(shared) = shared() else { return };
    let (_setup, _everything, webhook) = world();
    let mut count = 0;
    for version in ["1.20.2", "1.36.2"] {
        let requests = shared.join("vectors/kube").join(version).join("requests.jsonl");
        for line in fs::read_to_string(requests).expect("requests").lines() {
            let recorded: Value = serde_json::from_str(line).expect("JSON");
            let path = recorded["path"].as_str().expect("a path");
            let review = &recorded["body"];
            let (status, answer) = webhook.ask(path, review);
            assert_eq!(status, 200, "{version} {path}: {answer}\n{review}");
            count += 1;
            if path.starts_with("/imagepolicy") {
                assert_eq!(answer["apiVersion"], review["apiVersion"]);
                assert_eq!(answer["kind"], "ImageReview");
                assert!(answer["status"]["allowed"].is_boolean(), "{answer}");
            } else {
                let endpoint = path.split('?').next().expect("a path");
                check(version, endpoint, review, &answer);
            }
        }
    }
    say(&format!("webhook: {count} requests of real API servers"));
    assert_eq!(count, 79);
}

/// A server for which every host of the reviews is the registry of this process, through a proxy. Images of
/// `registry.example.com` and of the API servers' laboratory are signed, all others are not.
fn world() -> (Setup, Everything, Webhook) {
    let mut setup = Setup::new();
    let everything = Everything::start(&setup.key);
    let manifest = super::MANIFEST.as_bytes().to_vec();
    let signature = super::signature(&setup.key, &everything.digest);
    everything.server.otherwise(move |request| {
        let host = request.target.trim_start_matches("http://").split('/').next();
        let signed = request.path.contains("/registry.example.com/")
            || host == Some("store.example.com") && request.path.contains("signed-by-us");
        if request.path.contains("/signature-") && !signed {
            return crate::support::server::Answer::status(404);
        }
        super::answer(request, &manifest, &signature)
    });
    let hosts = HOSTS.map(str::to_owned).to_vec();
    setup.trust_plain(&hosts, None);
    let store = |host: &str| json!({"lookaside": format!("http://store.example.com/{host}")});
    let stores: serde_json::Map<_, _> = ["registry.example.com", "registry.example.com:5000"]
        .map(|h| (h.to_owned(), store("registry.example.com")))
        .into_iter()
        .collect();
    let stores =
        json!({"default-docker": {"lookaside": "http://store.example.com/none"}, "docker": stores});
    setup.write("registries.d/default.yaml", stores.to_string().as_bytes());
    setup.environment.push(("HTTP_PROXY".to_owned(), everything.server.url("")));
    // The proxy stands for a network in which every name is known.
    setup.environment.push(("NO_PROXY".to_owned(), String::new()));
    let webhook = setup.start();
    (setup, everything, webhook)
}

/// Whether [`world`] has a signature for an image, and its name is one.
fn has_signature(image: Option<&str>) -> bool {
    image
        .is_some_and(|image| image.starts_with("registry.example.com") && !image.contains("a1a1a1"))
}

/// What an API server accepts of a webhook (Kubernetes, `admission.k8s.io/v1`).
fn check(name: &str, endpoint: &str, review: &Value, answer: &Value) {
    let response = &answer["response"];
    assert_eq!(answer["apiVersion"], review["apiVersion"], "{name}");
    assert_eq!(answer["kind"], "AdmissionReview", "{name}");
    assert_eq!(response["uid"], review["request"]["uid"], "{name}");
    let allowed = response["allowed"].as_bool().expect("a boolean");
    assert_eq!(response.get("patch").is_some(), response.get("patchType").is_some(), "{name}");
    if !allowed || endpoint == "/validate" {
        assert!(response.get("patch").is_none(), "{name} {endpoint}: {answer}");
    }
    if !allowed {
        assert_eq!(response["status"]["code"], 403, "{name}: {answer}");
        assert!(!response["status"]["message"].as_str().unwrap_or_default().is_empty(), "{name}");
    }
    let warnings = response["warnings"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(
        warnings.iter().all(|w| w.as_str().is_some_and(|w| w.chars().count() <= 256)),
        "{name}"
    );
    for operation in patch(answer) {
        let path = operation["path"].as_str().expect("a path");
        assert!(path.ends_with("/image") || path.ends_with("/image/reference"), "{name}: {path}");
        assert!(["test", "replace"].contains(&operation["op"].as_str().expect("an operation")));
    }
    let audit = response["auditAnnotations"].as_object();
    assert!(audit.is_none_or(|audit| audit.keys().all(|key| !key.contains('/'))), "{name}");
}

/// Every image without a digest was pinned.
fn pinned(file: &str, images: &[Value], answer: &Value) {
    let operations = patch(answer);
    let replaced: Vec<_> = operations.iter().filter(|o| o["op"] == "replace").collect();
    let open: Vec<_> = images
        .iter()
        .filter(|image| image["image"].as_str().is_some_and(|i| !i.is_empty() && !i.contains('@')))
        .collect();
    assert_eq!(replaced.len(), open.len(), "{file}: {operations:?}");
    for image in open {
        let operation = replaced.iter().find(|operation| operation["path"] == image["path"]);
        let value = operation.and_then(|o| o["value"].as_str()).expect("a pinned name");
        let name = image["image"].as_str().expect("a name");
        assert!(value.starts_with(&format!("{name}@sha256:")), "{file}: {value}");
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files
}

fn read(path: &Path) -> Value {
    let text = fs::read(path).expect("a file");
    serde_json::from_slice(&text).expect("JSON")
}

/// The hosts of the reviews' images, and of the store.
const HOSTS: [&str; 6] = [
    "127.0.0.1:5000",
    "docker.io",
    "registry.example.com",
    "registry.example.com:5000",
    "registry-1.docker.io",
    "store.example.com",
];
