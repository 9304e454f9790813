//! Registries that stall, throttle, lie, die and come back, and images that move.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use countersign::digest::Digest;
use serde_json::{Value, json};

use super::{MANIFEST, OCI_IMAGE, Setup, Webhook, pod, signature};
use crate::support::server::{Answer, Server};

/// Security history, row 3 (CVE-2022-47633): the registry gives another answer each time it is asked.
#[test]
fn digest_that_was_verified_is_the_digest_that_is_pinned() {
    let mut setup = Setup::new();
    let server = Server::start();
    let digest = Digest::sha256(MANIFEST.as_bytes());
    let genuine = signature(&setup.key, &digest);
    let asked = AtomicUsize::new(0);
    server.otherwise(move |request| match request.path.as_str() {
        "/v2/" => Answer::ok("{}"),
        path if path.contains("/manifests/") => {
            let manifest = match asked.fetch_add(1, Ordering::SeqCst) {
                0 => MANIFEST.to_owned(),
                time => MANIFEST.replace("\"size\":2", &format!("\"size\":{time}{time}")),
            };
            Answer::ok(manifest).header("content-type", OCI_IMAGE)
        }
        path if path.ends_with("signature-1") => Answer::ok(genuine.clone()),
        _ => Answer::status(404),
    });
    let store = format!("http://{}/signatures", server.host());
    setup.trust_plain(&[server.host()], Some(&store));
    let webhook = setup.start();
    let image = format!("{}/ns/app:1", server.host());
    let (_, answer) = webhook.ask("/mutate?timeout=10s", &pod(&[&image, &image]));
    assert_eq!(answer["response"]["allowed"], true, "{answer}");
    let pinned = format!("{image}@{digest}");
    for operation in patch(&answer).iter().filter(|operation| operation["op"] == "replace") {
        assert_eq!(operation["value"], pinned.as_str());
    }
    assert_eq!(patch(&answer).len(), 4, "{answer}");
    assert_eq!(server.requests_to("/v2/ns/app/manifests/1").len(), 1);
}

/// Complaints 5 and 35: many pods with the same images at the same time.
#[test]
fn images_asked_about_at_once_are_fetched_once_and_not_mixed_up() {
    let mut setup = Setup::new();
    let everything = setup.every_image();
    let webhook = setup.start();
    let host = everything.host();
    let reviews: Vec<_> = (0..40)
        .map(|n| match n % 2 {
            0 => pod(&[&format!("{host}/good/app:1")]),
            _ => pod(&[&format!("{host}/unsigned/app:1")]),
        })
        .collect();
    let asked: Vec<_> = reviews
        .iter()
        .map(|review| webhook.ask_async("/validate?timeout=10s", review.to_string()))
        .collect();
    let answers = webhook.runtime.block_on(futures_util::future::join_all(asked));
    for (n, (status, answer)) in answers.iter().enumerate() {
        assert_eq!(*status, 200);
        assert_eq!(answer["response"]["allowed"], n % 2 == 0, "{answer}");
    }
    assert_eq!(everything.server.requests_to("/v2/good/app/manifests/1").len(), 1);
    assert_eq!(everything.server.requests_to("/v2/unsigned/app/manifests/1").len(), 1);
    // Denied, and not asked about again.
    let before = everything.requests();
    let (allowed, words) = webhook.validate(&pod(&[&format!("{host}/unsigned/app:1")]));
    assert!(
        !allowed && words.contains("A signature was required, but no signature exists"),
        "{words}"
    );
    assert_eq!(everything.requests(), before);
}

/// Complaints 1 and 2: a registry that does not answer in time is a deny with a reason, and no admission; others
/// are not affected, and the retry is answered.
#[test]
fn registry_that_stalls_is_denied_in_time_while_others_answer() {
    let mut setup = Setup::new();
    let everything = setup.every_image();
    let silent = Server::start_silent();
    setup.configuration["registries"]["plainHttp"] = json!([everything.host(), silent.host()]);
    let webhook = setup.start();
    let stuck = format!("{}/ns/app:1", silent.host());
    let good = format!("{}/ns/app:1", everything.host());
    let (stalled, other) = webhook.runtime.block_on(async {
        let stalled = webhook.ask_async("/validate?timeout=2s", pod(&[&stuck]).to_string());
        let other = webhook.ask_async("/validate?timeout=2s", pod(&[&good]).to_string());
        tokio::join!(stalled, other)
    });
    assert_eq!(stalled.1["response"]["allowed"], false, "{}", stalled.1);
    let words = stalled.1["response"]["status"]["message"].as_str().expect("words");
    assert!(words.contains("time"), "{words}");
    assert_eq!(other.1["response"]["allowed"], true, "{}", other.1);
}

/// Complaint 3.
#[test]
fn registry_that_throttles_is_left_alone_and_the_image_denied_with_a_reason() {
    let mut setup = Setup::new();
    let server = Server::start();
    server.otherwise(|_| Answer::status(429).header("retry-after", "3600"));
    setup.trust_plain(&[server.host()], Some("http://127.0.0.1:1/none"));
    let webhook = setup.start();
    let (allowed, _) = webhook.validate(&pod(&[&format!("{}/ns/app:1", server.host())]));
    assert!(!allowed);
    let (allowed, words) = webhook.validate(&pod(&[&format!("{}/ns/other:1", server.host())]));
    assert!(!allowed && words.contains("is not asked at this moment"), "{words}");
    assert!(server.requests_to("/v2/ns/other/manifests/1").is_empty(), "{words}");
}

/// Security history, row 7 (CVE-2023-47630).
#[test]
fn registry_that_lies_about_a_digest_is_denied() {
    let mut setup = Setup::new();
    let server = Server::start();
    server.otherwise(|request| match request.path.contains("/manifests/") {
        true => Answer::ok(MANIFEST.replace(":2}", ":3}")).header("content-type", OCI_IMAGE),
        false => Answer::ok("{}"),
    });
    setup.trust_plain(&[server.host()], None);
    let webhook = setup.start();
    let digest = Digest::sha256(MANIFEST.as_bytes());
    let (allowed, words) = webhook.validate(&pod(&[&format!("{}/ns/app@{digest}", server.host())]));
    assert!(!allowed);
    assert!(words.contains("manifest does not match provided manifest digest"), "{words}");
}

#[test]
fn registry_that_dies_and_returns_is_denied_and_allowed_again() {
    let mut setup = Setup::new();
    setup.configuration["cache"] =
        json!({"error": "0s", "tags": "0s", "allow": "0s", "evidence": "0s"});
    let everything = setup.every_image();
    let dead = Arc::new(AtomicBool::new(false));
    let image = format!("{}/ns/app:1", everything.host());
    let died = Arc::clone(&dead);
    everything.server.on("/v2/ns/app/manifests/1", move |_| {
        if died.load(Ordering::SeqCst) {
            return Answer::status(503);
        }
        Answer::ok(MANIFEST).header("content-type", OCI_IMAGE)
    });
    let webhook = setup.start();
    assert!(webhook.validate(&pod(&[&image])).0);
    dead.store(true, Ordering::SeqCst);
    let (allowed, words) = webhook.validate(&pod(&[&image]));
    assert!(!allowed && words.contains("503"), "{words}");
    dead.store(false, Ordering::SeqCst);
    assert!(webhook.validate(&pod(&[&image])).0);
}

/// The operations of a patch; none if there is no patch.
pub(super) fn patch(answer: &Value) -> Vec<Value> {
    use base64::Engine as _;
    let Some(patch) = answer["response"]["patch"].as_str() else { return Vec::new() };
    let patch = base64::prelude::BASE64_STANDARD.decode(patch).expect("base64");
    serde_json::from_slice(&patch).expect("a list of operations")
}

#[test]
fn policy_is_compiled_in_a_process_of_its_own() {
    let setup = Setup::new();
    let webhook = setup.start();
    webhook.wait_until("a snapshot", |webhook| {
        webhook.get("/readyz?verbose").1.contains("(snapshot)")
    });
}

/// Complaint 8: what is remembered is bounded, and the server says how much it is.
#[test]
fn metrics_tell_of_decisions() {
    let mut setup = Setup::new();
    let everything = setup.every_image();
    let webhook: Webhook = setup.start();
    webhook.validate(&pod(&[&format!("{}/ns/app:1", everything.host())]));
    webhook.validate(&pod(&[&format!("{}/unsigned/app:1", everything.host())]));
    let (status, text) = webhook.get("/metrics");
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains("signature-missing"), "{text}");
}
