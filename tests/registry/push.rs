//! Modules on their way into a registry and out of it again.

use std::path::Path;

use countersign::artifact::{About, Artifact, ArtifactError, MAX_MODULE_BYTES};
use countersign::engine::Engine;
use countersign::evidence::Place;
use countersign::publish::{self, PublishError, Pushed};
use countersign::sign::SigningKey;
use countersign::signer::{Key, Signing};

use super::*;
use crate::support::registry::Registry;
use crate::support::server::Recorded;

const REPOSITORY: &str = "rules/max-age";
const BASIC: &str = "Basic realm=\"registry\"";

/// `user:s3cret`.
const AUTH: &str = "dXNlcjpzM2NyZXQ=";

/// When everything is signed and verified.
const NOW: u64 = 1_795_400_000;

/// A module that differs from others by its name.
fn artifact(name: &str) -> Artifact {
    let module = format!("(component (core module (@custom \"name\" \"{name}\")))");
    let module = wat::parse_str(module).expect("a component");
    let created = "2026-11-25T00:00:00Z".to_owned();
    Artifact::pack(module, &About { created, ..About::default() }).expect("packed")
}

fn tagged(registry: &Registry) -> Reference {
    let name = format!("{}/{REPOSITORY}:1", registry.host());
    Reference::parse_normalized(&name).expect("a reference")
}

async fn push(registry: &Registry, client: &Client) -> Result<Pushed, PublishError> {
    publish::push(client, &tagged(registry), &artifact("a"), None).await
}

/// Why it was not pushed; and then nobody sees it by its tag.
async fn push_fault(registry: &Registry, client: &Client) -> String {
    let fault = push(registry, client).await.expect_err("nothing is pushed").to_string();
    let names = registry.manifests(REPOSITORY);
    assert!(!names.contains(&"1".to_owned()), "{fault}: {names:?}");
    fault
}

fn client(registry: &Registry) -> Client {
    client_for(&[&registry.server])
}

/// A client with user and password for this registry.
fn client_with_password(registry: &Registry, others: &[&Server]) -> (TempDir, Client) {
    let auths = serde_json::json!({"auths": {registry.host(): {"auth": AUTH}}});
    let (folder, path) = auth_file(&auths.to_string());
    let servers: Vec<&Server> = others.iter().copied().chain([&registry.server]).collect();
    let client = Client::new(Settings { auth_files: vec![path], ..settings_for(&servers) });
    (folder, client)
}

fn assert_saw_no_secret(server: &Server) {
    for Recorded { headers, query, target, .. } in server.requests() {
        let everything = format!("{headers:?} {query} {target}");
        for secret in ["s3cret", AUTH, "t0ken"] {
            assert!(!everything.contains(secret), "{secret:?} was sent: {everything}");
        }
        assert!(!headers.contains_key("authorization"));
    }
}

#[tokio::test]
async fn the_tag_comes_last_and_everything_is_sent_once() {
    let registry = Registry::start();
    let client = client(&registry);
    let pushed = push(&registry, &client).await.expect("pushed");
    assert_eq!(pushed.pinned, tagged(&registry).at(artifact("a").digest()));
    let blob = "/v2/rules/max-age/blobs/";
    let manifest = "/v2/rules/max-age/manifests/";
    let once = ["HEAD ", "POST ", "PUT "].map(|method| match method {
        "HEAD " => format!("HEAD {blob}"),
        method => format!("{method}{blob}uploads/"),
    });
    let put = format!("PUT {manifest}");
    let expected = [&once[..], &once, &[put.clone(), put.clone()]].concat();
    assert_eq!(registry.asked(), expected);
    let puts = registry.server.requests().into_iter().filter(|request| request.method == "PUT");
    let last: Vec<String> = puts.map(|request| request.path).collect();
    assert_eq!(
        last[2..],
        [format!("{manifest}{}", artifact("a").digest()), format!("{manifest}1")]
    );

    // What is there is not sent again.
    push(&registry, &client).await.expect("pushed again");
    let head = format!("HEAD {blob}");
    assert_eq!(registry.asked()[expected.len()..], [head.clone(), head, put.clone(), put]);
}

#[tokio::test]
async fn what_was_pushed_is_pulled_by_tag_and_by_digest() {
    let registry = Registry::start();
    let client = client(&registry);
    let pushed = push(&registry, &client).await.expect("pushed");
    for reference in [&tagged(&registry), &pushed.pinned] {
        let pulled = Artifact::fetch(&client, reference).await.expect("pulled");
        assert_eq!(pulled.module, artifact("a").module);
        assert_eq!(pulled.digest(), artifact("a").digest());
    }
}

#[tokio::test]
async fn without_a_tag_there_is_the_digest_alone() {
    let registry = Registry::start();
    let reference = tagged(&registry).without_tag();
    publish::push(&client(&registry), &reference, &artifact("a"), None).await.expect("pushed");
    assert_eq!(registry.manifests(REPOSITORY), [artifact("a").digest().to_string()]);
}

#[tokio::test]
async fn a_password_is_sent_when_it_is_asked_for_and_not_before() {
    let registry = Registry::start();
    registry.demand(&format!("Basic {AUTH}"), BASIC);
    let (_folder, client) = client_with_password(&registry, &[]);
    push(&registry, &client).await.expect("pushed");
    let requests = registry.server.requests();
    assert_eq!(requests[0].authorization(), None);
    assert!(requests[1..].iter().all(|request| request.authorization().is_some()));
}

#[tokio::test]
async fn a_token_for_pushing_is_asked_for_and_one_for_pulling_does_not_do() {
    let registry = Registry::start();
    registry.server.on("/token", |request| {
        match request.query.contains("repository%3Arules%2Fmax-age%3Apull%2Cpush") {
            true => Answer::ok(r#"{"token":"t0ken"}"#),
            false => Answer::ok(r#"{"token":"for pulling"}"#),
        }
    });
    let challenge = format!("Bearer realm=\"{}\",service=\"r\"", registry.server.url("/token"));
    let (_folder, client) = client_with_password(&registry, &[]);
    // The client has a token for pulling before it pushes.
    registry.demand("Bearer for pulling", &challenge);
    let missing = client.manifest(&tagged(&registry)).await.expect_err("nothing there");
    assert!(matches!(missing, RegistryError::NotFound { .. }), "{missing}");
    registry.demand("Bearer t0ken", &challenge);
    push(&registry, &client).await.expect("pushed");
    assert_eq!(registry.server.requests_to("/token").len(), 2, "one for each");
}

#[tokio::test]
async fn who_may_not_push_is_told_so() {
    let registry = Registry::start();
    let uploads = format!("/v2/{REPOSITORY}/blobs/uploads/");
    registry.server.always(&uploads, Answer::error(403, "DENIED", "read-only account"));
    let fault = push_fault(&registry, &client(&registry)).await;
    assert_says(&fault, &[&registry.host(), "read-only account", "may push there"]);
}

#[tokio::test]
async fn row_41_cve_2025_27403_an_upload_to_another_host_takes_no_credentials_along() {
    let registry = Registry::start();
    let storage = Server::start();
    storage.otherwise(|_| Answer::status(201));
    registry.demand(&format!("Basic {AUTH}"), BASIC);
    registry.upload_to(&storage.url(""));
    // The manifest will not do, since the blobs are elsewhere; all the same they were sent.
    let (_folder, client) = client_with_password(&registry, &[&storage]);
    let fault = push_fault(&registry, &client).await;
    assert_says(&fault, &["blob unknown to registry"]);
    let sent: Vec<_> = storage.requests().into_iter().map(|request| request.content).collect();
    assert_eq!(sent, [artifact("a").config, artifact("a").module]);
    assert_saw_no_secret(&storage);
}

#[tokio::test]
async fn row_41_cve_2025_27403_a_redirect_of_an_upload_takes_no_credentials_along() {
    let registry = Registry::start();
    let storage = Server::start();
    storage.otherwise(|_| Answer::status(201));
    registry.demand(&format!("Basic {AUTH}"), BASIC);
    let to = storage.url("/stored");
    registry.server.on(format!("/v2/{REPOSITORY}/blobs/uploads/1"), move |request| {
        match request.authorization() {
            Some(_) => Answer::redirect(to.clone()),
            None => Answer::challenge(BASIC),
        }
    });
    let (_folder, client) = client_with_password(&registry, &[&storage]);
    push_fault(&registry, &client).await;
    let sent: Vec<_> = storage.requests().into_iter().map(|request| request.content).collect();
    assert_eq!(sent, [artifact("a").config]);
    assert_saw_no_secret(&storage);
}

#[tokio::test]
async fn row_41_cve_2025_27403_a_challenge_of_another_host_is_not_answered() {
    let registry = Registry::start();
    let storage = Server::start();
    storage.otherwise(|_| Answer::challenge(BASIC));
    registry.upload_to(&storage.url(""));
    let auths = serde_json::json!({"auths": {
        registry.host(): {"auth": AUTH}, storage.host(): {"auth": AUTH},
    }});
    let (_folder, path) = auth_file(&auths.to_string());
    let settings = settings_for(&[&registry.server, &storage]);
    let client = Client::new(Settings { auth_files: vec![path], ..settings });
    let fault = push_fault(&registry, &client).await;
    assert_says(&fault, &[&storage.host(), "refuses access"]);
    assert_eq!(storage.requests().len(), 1);
    assert_saw_no_secret(&storage);
    assert_saw_no_secret(&registry.server);
}

#[tokio::test]
async fn uploads_are_led_to_no_host_without_tls_that_was_not_named() {
    let registry = Registry::start();
    let storage = Server::start();
    registry.upload_to(&storage.url(""));
    let fault = push_fault(&registry, &client(&registry)).await;
    assert_says(&fault, &["redirects to", &format!("--plain-http {}", storage.host())]);
    registry.upload_to("file://");
    let fault = push_fault(&registry, &client(&registry)).await;
    assert_says(&fault, &["redirects to", "its scheme is not https"]);
    assert!(storage.requests().is_empty());
}

#[tokio::test]
async fn an_upload_does_not_become_a_download() {
    let registry = Registry::start();
    let place = format!("/v2/{REPOSITORY}/blobs/uploads/1");
    registry.server.always(&place, Answer::status(303).header("location", "/elsewhere"));
    let fault = push_fault(&registry, &client(&registry)).await;
    assert_says(&fault, &["redirects to", "/elsewhere", "307"]);
    assert!(registry.server.requests_to("/elsewhere").is_empty());
}

#[tokio::test]
async fn an_upload_that_is_begun_nowhere_is_an_error() {
    let registry = Registry::start();
    let uploads = format!("/v2/{REPOSITORY}/blobs/uploads/");
    registry.server.always(&uploads, Answer::status(202));
    let fault = push_fault(&registry, &client(&registry)).await;
    assert_says(&fault, &["cannot be used", "Location"]);
}

#[tokio::test]
async fn a_registry_that_stored_something_else_is_not_believed() {
    let other = Digest::sha256(b"something else").to_string();
    let lie = |status| Answer::status(status).header("docker-content-digest", other.clone());
    let digest = artifact("a").digest();
    let config = Digest::sha256(&artifact("a").config);
    for (path, status) in [
        (format!("/v2/{REPOSITORY}/blobs/{config}"), 200),
        (format!("/v2/{REPOSITORY}/blobs/uploads/1"), 201),
        (format!("/v2/{REPOSITORY}/blobs/uploads/2"), 201),
        (format!("/v2/{REPOSITORY}/manifests/{digest}"), 201),
    ] {
        let registry = Registry::start();
        registry.server.always(&path, lie(status));
        let fault = push_fault(&registry, &client(&registry)).await;
        assert_says(&fault, &["says that it stored", &other, "before you know why"]);
    }
    let registry = Registry::start();
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/1");
    registry.server.always(&path, Answer::status(201).header("docker-content-digest", "sha256:x"));
    let fault = push_fault(&registry, &client(&registry)).await;
    assert_says(&fault, &["Docker-Content-Digest", "invalid digest"]);
}

#[tokio::test]
async fn a_failure_in_the_middle_leaves_no_tag() {
    let digest = artifact("a").digest();
    for path in [
        format!("/v2/{REPOSITORY}/blobs/uploads/"),
        format!("/v2/{REPOSITORY}/blobs/uploads/2"),
        format!("/v2/{REPOSITORY}/manifests/{digest}"),
        format!("/v2/{REPOSITORY}/manifests/1"),
    ] {
        for status in [400, 405, 413, 429, 500] {
            let registry = Registry::start();
            registry.server.always(&path, Answer::error(status, "X", "the disk is full"));
            let fault = push_fault(&registry, &client(&registry)).await;
            assert_says(&fault, &[&status.to_string(), "the disk is full"]);
        }
    }
}

#[tokio::test]
async fn a_server_that_fails_once_is_asked_again() {
    let registry = Registry::start();
    let uploads = format!("/v2/{REPOSITORY}/blobs/uploads/");
    let place = format!("{uploads}1");
    registry.server.in_turn(
        &uploads,
        [Answer::status(503), Answer::status(202).header("location", place.clone())],
    );
    let stored = Answer::status(201);
    registry.server.in_turn(&place, [Answer::status(500), stored]);
    // The blobs are nowhere, which the manifest tells; but both were taken.
    assert_says(&push_fault(&registry, &client(&registry)).await, &["blob unknown"]);
    assert_eq!(registry.server.requests_to(&place).len(), 3);
}

#[tokio::test]
async fn an_upload_that_the_registry_forgets_is_begun_once_more() {
    let registry = Registry::start();
    registry.forget(1);
    push(&registry, &client(&registry)).await.expect("pushed");
    assert_eq!(registry.blobs(REPOSITORY).len(), 2);

    let registry = Registry::start();
    registry.forget(usize::MAX);
    let fault = push_fault(&registry, &client(&registry)).await;
    assert_says(&fault, &["has no upload of", "blob upload unknown to registry"]);
    let begun = registry.server.requests_to(&format!("/v2/{REPOSITORY}/blobs/uploads/"));
    assert_eq!(begun.len(), 2);
}

#[tokio::test]
async fn an_upload_that_takes_too_long_is_given_up() {
    let registry = Registry::start();
    let stalled = Answer::status(201).stalled("x");
    registry.server.always(format!("/v2/{REPOSITORY}/blobs/uploads/1"), stalled);
    let upload_deadline = Duration::from_millis(300);
    let settings = Settings { upload_deadline, ..settings_for(&[&registry.server]) };
    let fault = push_fault(&registry, &Client::new(settings)).await;
    assert_says(&fault, &[&registry.host(), "did not answer in full within 0.3 s"]);
}

#[tokio::test]
async fn an_upload_may_take_longer_than_a_server_may_be_silent() {
    let registry = Registry::start();
    let gate = crate::support::server::Gate::new();
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/1");
    registry.server.always(&path, Answer::status(201).behind(&gate));
    let read_timeout = Duration::from_millis(20);
    let patient = Client::new(Settings { read_timeout, ..settings_for(&[&registry.server]) });
    let (fault, ()) = tokio::join!(push_fault(&registry, &patient), async {
        registry.server.asked(&path, 1).await;
        // A download at the same server that is given up shows that the time is over.
        registry.server.always("/v2/silent/x/manifests/1", Answer::status(200).stalled("x"));
        let silent = format!("{}/silent/x:1", registry.host());
        let silent = Reference::parse_normalized(&silent).expect("a reference");
        let fault = patient.manifest(&silent).await.expect_err("it never ends").to_string();
        assert_says(&fault, &["fell silent"]);
        gate.open();
    });
    // The upload came to its end, though it was not kept.
    assert_says(&fault, &["blob unknown"]);
}

#[tokio::test]
async fn row_61_a_module_that_was_altered_by_one_bit_is_not_pulled() {
    let registry = Registry::start();
    let client = client(&registry);
    let Pushed { pinned, .. } = push(&registry, &client).await.expect("pushed");
    let good = artifact("a");
    for target in [&good.module, &good.config] {
        let digest = Digest::sha256(target);
        let flip = |named: &str, content: &mut Vec<u8>| {
            if named == digest.as_str() {
                content[9] ^= 1;
            }
        };
        registry.alter_blobs(flip);
        let fault = Artifact::fetch(&client, &pinned).await.expect_err("altered");
        assert!(matches!(fault, ArtifactError::Registry(RegistryError::Blob { .. })), "{fault}");
        assert_says(&fault.to_string(), &[digest.as_str(), "before you know why"]);
        registry.alter_blobs(flip);
    }
    Artifact::fetch(&client, &pinned).await.expect("as it was");
    // Nor is one whose manifest is another one than was asked for.
    let path = format!("/v2/{REPOSITORY}/manifests/{}", good.digest());
    registry.server.always(&path, served(artifact("b").manifest, OCI_IMAGE));
    let fault = Artifact::fetch(&client, &pinned).await.expect_err("another one");
    assert!(matches!(fault, ArtifactError::Registry(RegistryError::Digest { .. })), "{fault}");
}

#[tokio::test]
async fn what_is_not_a_module_is_refused_before_it_is_fetched() {
    let registry = Registry::start();
    let client = client(&registry);
    push(&registry, &client).await.expect("pushed");
    let good: serde_json::Value =
        serde_json::from_slice(&artifact("a").manifest).expect("a manifest");
    let layer = &good["layers"][0];
    let mut two = good.clone();
    two["layers"] = serde_json::json!([layer, layer]);
    let mut huge = good.clone();
    huge["layers"][0]["size"] = serde_json::json!(MAX_MODULE_BYTES + 1);
    let mut short = good.clone();
    short["config"]["size"] = serde_json::json!(1);
    for (manifest, words) in [
        (two.to_string(), "2 layers"),
        (huge.to_string(), "33554433 bytes"),
        (short.to_string(), "size 1"),
        (manifest("app"), "0 layers"),
    ] {
        let path = format!("/v2/{REPOSITORY}/manifests/1");
        registry.server.always(&path, served(manifest, OCI_IMAGE));
        let fault = Artifact::fetch(&client, &tagged(&registry)).await.expect_err(words);
        assert_says(&fault.to_string(), &[words]);
    }
    let module = Digest::sha256(&artifact("a").module);
    let fetched = registry.server.requests_to(&format!("/v2/{REPOSITORY}/blobs/{module}"));
    assert!(fetched.iter().all(|request| request.method == "HEAD"), "the module is never fetched");
}

#[tokio::test]
async fn a_module_larger_than_its_limit_is_not_read() {
    let registry = Registry::start();
    let client = client(&registry);
    let Pushed { pinned, .. } = push(&registry, &client).await.expect("pushed");
    let module = Digest::sha256(&artifact("a").module);
    let endless = Answer::status(200).endless();
    registry.server.always(format!("/v2/{REPOSITORY}/blobs/{module}"), endless);
    let fault = Artifact::fetch(&client, &pinned).await.expect_err("endless");
    let large = matches!(fault, ArtifactError::Registry(RegistryError::TooLarge { .. }));
    assert!(large, "{fault}");
}

/// What signs, into a folder.
struct Signer {
    key: SigningKey,
    folder: TempDir,
    engine: Engine,
}

impl Signer {
    fn new() -> Self {
        let key = SigningKey::generate("Rules <rules@example.com>", NOW).expect("a key");
        let engine = Engine::new(&countersign::engine::Settings::default()).expect("an engine");
        Self { key, folder: tempfile::tempdir().expect("a folder"), engine }
    }

    fn store(&self) -> RegistriesD {
        store(&format!("file://{}", self.folder.path().display()))
    }

    async fn push(
        &self,
        registry: &Registry,
        reference: &Reference,
        registries: &RegistriesD,
        now: u64,
    ) -> Result<Pushed, PublishError> {
        let signing =
            Signing { key: Key::OpenPgp(&self.key), registries, engine: &self.engine, now };
        let client = client(registry);
        publish::push(&client, reference, &artifact("a"), Some(&signing)).await
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries.map(|e| name(e).into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_module_is_signed_once_for_each_of_its_names() {
    let registry = Registry::start();
    let signer = Signer::new();
    let digest = artifact("a").digest();
    let place = format!("{REPOSITORY}@sha256={}", digest.hex());
    let place = signer.folder.path().join(place);
    let push = async |reference: &Reference| {
        let pushed = signer.push(&registry, reference, &signer.store(), NOW).await.expect("pushed");
        pushed.signed.expect("signed")
    };
    let signed = push(&tagged(&registry)).await;
    let file = |name: &str| Some(Place::File(place.join(name)));
    assert_eq!(signed.place, file("signature-1"));
    assert!(signed.read_from.is_none(), "verifiers look there");
    assert!(push(&tagged(&registry)).await.place.is_none(), "it is signed already");
    // By digest, too: any tag of the repository will do.
    assert!(push(&tagged(&registry).without_tag()).await.place.is_none());
    let other = format!("{}/{REPOSITORY}:2", registry.host());
    let other = Reference::parse_normalized(&other).expect("a reference");
    assert_eq!(push(&other).await.place, file("signature-2"));
    assert_eq!(names(&place), ["signature-1", "signature-2"]);
    assert_eq!(registry.manifests(REPOSITORY).len(), 3, "1, 2 and the digest");
}

#[tokio::test]
async fn a_signature_that_no_policy_accepts_does_not_stay_and_gives_no_tag() {
    let registry = Registry::start();
    let signer = Signer::new();
    // Signed before the key was made.
    let early = NOW - 1_000_000;
    let reference = tagged(&registry);
    let fault = signer.push(&registry, &reference, &signer.store(), early).await;
    let fault = fault.expect_err("not accepted").to_string();
    assert_says(&fault, &["is not accepted", "removed again"]);
    let digest = artifact("a").digest();
    let place = format!("{REPOSITORY}@sha256={}", digest.hex());
    assert_eq!(names(&signer.folder.path().join(place)), [] as [&str; 0]);
    assert_eq!(registry.manifests(REPOSITORY), [digest.to_string()]);
}

#[tokio::test]
async fn what_cannot_be_signed_is_not_pushed() {
    let registry = Registry::start();
    let signer = Signer::new();
    let elsewhere = store("https://example.com/signatures");
    let fault = signer.push(&registry, &tagged(&registry), &elsewhere, NOW).await;
    assert_says(&fault.expect_err("nowhere to write").to_string(), &["lookaside-staging"]);
    assert_eq!(registry.asked(), ["GET /v2/"]);
}

#[tokio::test]
async fn a_registry_that_keeps_signatures_gets_that_of_a_module() {
    let registry = Registry::start();
    registry.keep_signatures();
    let signer = Signer::new();
    let digest = artifact("a").digest();
    let kept = || registry.signatures(REPOSITORY, digest.as_str()).len();
    for first in [true, false] {
        let pushed = signer.push(&registry, &tagged(&registry), &signer.store(), NOW).await;
        let signed = pushed.expect("pushed").signed.expect("signed");
        assert_eq!(signed.place.is_some(), first, "the same key signs once");
        assert_eq!(kept(), 1);
    }
    assert_eq!(names(signer.folder.path()), [] as [&str; 0]);
}

#[tokio::test]
async fn verifiers_that_look_elsewhere_are_pointed_out() {
    let registry = Registry::start();
    let signer = Signer::new();
    let staging = signer.folder.path().display();
    let both = format!(
        "default-docker:\n  lookaside: https://example.com/s\n  lookaside-staging: file://{staging}\n"
    );
    let pushed = signer.push(&registry, &tagged(&registry), &registries(&both), NOW).await;
    let signed = pushed.expect("pushed").signed.expect("signed");
    let read_from = signed.read_from.expect("another place").to_string();
    assert_eq!(read_from, format!("https://example.com/s/{REPOSITORY}"));
    let Some(Place::File(path)) = signed.place else { unreachable!("written into a folder") };
    assert!(path.is_file());
}
