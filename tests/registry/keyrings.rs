//! Workloads' own credentials: which are offered to whom, in which order, and what is remembered of it.

use std::sync::Arc;

use countersign::registry::{DockerConfig, Keyring};
use serde_json::json;

use super::*;
use crate::support::server::Recorded;

const BASIC: &str = "Basic realm=\"registry\"";

/// A keyring of one Secret for each of these: a key and a user, whose password is `s3cret`.
fn keyring(entries: &[(&str, &str)]) -> Arc<Keyring> {
    let secrets = entries.iter().map(|(key, user)| {
        let config = json!({"auths": {*key: {"username": user, "password": "s3cret"}}});
        ("a secret", config.to_string())
    });
    Arc::new(Keyring::from_docker_configs(secrets).expect("a keyring"))
}

fn basic(user: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("{user}:s3cret")))
}

fn bearer(realm: &str) -> String {
    format!("Bearer realm=\"{realm}\",service=\"the registry\",scope=\"repository:ns/app:pull\"")
}

/// Answer the registry's image only with this `Authorization`: any other is refused with a status.
fn demand(server: &Server, authorization: String, challenge: String, status: u16) {
    server.on(manifest_path("1"), move |request| match request.authorization() {
        Some(sent) if sent == authorization => served(manifest("app"), OCI_IMAGE),
        Some(_) if status != 401 => Answer::status(status),
        _ => Answer::challenge(challenge.clone()),
    });
}

/// A token server on the registry's own host, which gives each user, and nobody, a token of that name.
fn give_tokens(server: &Server, expires_in: u64) {
    server.on("/token", move |request| {
        let user = ["a", "b", "own"]
            .into_iter()
            .find(|user| request.authorization() == Some(basic(user).as_str()));
        let token = user.unwrap_or("nobody");
        Answer::ok(json!({"token": token, "expires_in": expires_in}).to_string())
    });
}

fn authorizations(requests: &[Recorded]) -> Vec<Option<&str>> {
    requests.iter().map(Recorded::authorization).collect()
}

fn asked_for_image(server: &Server) -> Vec<Recorded> {
    server.requests_to(&manifest_path("1"))
}

/// The secret, in any of the forms in which it could travel.
fn assert_never_saw_a_secret(server: &Server, users: &[&str]) {
    for request in server.requests() {
        let everything = request.everything();
        assert!(!everything.contains("s3cret"), "{everything}");
        for user in users {
            assert!(!everything.contains(&basic(user)["Basic ".len()..]), "{everything}");
        }
    }
}

#[tokio::test]
async fn what_one_keyring_may_fetch_is_not_fetched_for_another() {
    let (server, _) = registry();
    let host = server.host();
    demand(&server, basic("a"), BASIC.to_owned(), 401);
    let client = client_for(&[&server]);
    let with = |entries: &[(&str, &str)]| client.acting_as(keyring(entries));
    with(&[(&host, "a")]).manifest(&tagged(&host)).await.expect("a may");
    let before = asked_for_image(&server).len();
    for other in [with(&[(&host, "b")]), with(&[]), client.clone()] {
        let fault = manifest_fault(&tagged(&host), &other).await;
        assert!(matches!(fault, RegistryError::Unauthorized { .. }), "{fault}");
    }
    for request in &asked_for_image(&server)[before..] {
        assert_ne!(request.authorization(), Some(basic("a").as_str()));
    }
    // The same content is the same keyring, and what was learnt is used at once.
    let before = asked_for_image(&server).len();
    with(&[(&host, "a")]).manifest(&tagged(&host)).await.expect("a still may");
    let again = asked_for_image(&server);
    assert_eq!(authorizations(&again[before..]), [Some(basic("a").as_str())]);
}

#[tokio::test]
async fn what_is_known_of_a_registry_is_shared_by_all_keyrings() {
    let (server, digest) = registry();
    let host = server.host();
    let client = client_for(&[&server]);
    for user in ["a", "b", "c"] {
        let client = client.acting_as(keyring(&[(&host, user)]));
        assert_eq!(resolve(&host, &client).await.expect("resolved").digest, digest);
    }
    assert!(server.requests_to("/v2/").len() <= 1);
    assert!(asked_for_image(&server).iter().all(|request| request.authorization().is_none()));
}

#[tokio::test]
async fn refused_credentials_are_followed_by_the_next_and_at_last_by_the_process_s_own() {
    for status in [401, 403] {
        let (server, _) = registry();
        let host = server.host();
        demand(&server, basic("own"), BASIC.to_owned(), status);
        let ns = format!("{host}/ns");
        // The same as the second, in another place: it is offered once.
        let pod = keyring(&[(&host, "b"), (&ns, "a"), (&format!("{host}/ns/app"), "b")]);
        let own = json!({"auths": {&host: {"username": "own", "password": "s3cret"}}});
        let (_folder, path) = auth_file(&own.to_string());
        let client = Client::new(Settings { auth_files: vec![path], ..settings_for(&[&server]) });
        client.acting_as(pod).manifest(&tagged(&host)).await.expect("the last one is good");
        let (a, b, own) = (basic("a"), basic("b"), basic("own"));
        assert_eq!(
            authorizations(&asked_for_image(&server)),
            [None, Some(b.as_str()), Some(a.as_str()), Some(own.as_str())],
        );
    }
}

#[tokio::test]
async fn there_is_an_end_to_the_credentials_that_are_tried() {
    let (server, _) = registry();
    let host = server.host();
    demand(&server, basic("nobody"), BASIC.to_owned(), 401);
    let users: Vec<String> = (0..20).map(|number| format!("u{number}")).collect();
    let entries: Vec<_> = users.iter().map(|user| (host.as_str(), user.as_str())).collect();
    let client = client_for(&[&server]).acting_as(keyring(&entries));
    let fault = manifest_fault(&tagged(&host), &client).await;
    assert_says(&fault.to_string(), &[&host, "check the credentials stored for it"]);
    assert_eq!(asked_for_image(&server).len(), 1 + 8);
}

#[tokio::test]
async fn field_complaint_19_bad_credentials_do_not_hide_a_public_image() {
    let (server, _) = registry();
    let host = server.host();
    server.on("/token", |request| match request.authorization() {
        Some(_) => Answer::error(401, "UNAUTHORIZED", "wrong password"),
        None => Answer::ok(r#"{"token":"nobody"}"#),
    });
    demand(&server, "Bearer nobody".to_owned(), bearer(&server.url("/token")), 401);
    let client = client_for(&[&server]).acting_as(keyring(&[(&host, "a")]));
    client.manifest(&tagged(&host)).await.expect("everybody may");
    assert_eq!(authorizations(&server.requests_to("/token")), [Some(basic("a").as_str()), None]);
}

#[tokio::test]
async fn the_refusal_of_credentials_is_reported_and_not_that_of_nothing() {
    let (server, _) = registry();
    let host = server.host();
    server.on("/token", |request| match request.authorization() {
        Some(_) => Answer::error(401, "UNAUTHORIZED", "wrong password"),
        None => Answer::error(401, "UNAUTHORIZED", "who are you?"),
    });
    server.always(manifest_path("1"), Answer::challenge(bearer(&server.url("/token"))));
    for anonymous_first in [vec![], vec![host.clone()]] {
        let client = Client::new(Settings { anonymous_first, ..settings_for(&[&server]) });
        let client = client.acting_as(keyring(&[(&host, "a")]));
        let fault = manifest_fault(&tagged(&host), &client).await.to_string();
        assert_says(&fault, &["wrong password", "check the credentials"]);
        assert!(!fault.contains("s3cret"), "{fault}");
    }
}

#[tokio::test]
async fn a_pod_without_credentials_is_told_to_get_a_pull_secret() {
    let (server, _) = registry();
    let host = server.host();
    server.always(manifest_path("1"), Answer::challenge(BASIC));
    let client = client_for(&[&server]).acting_as(Arc::default());
    let fault = manifest_fault(&tagged(&host), &client).await.to_string();
    assert_says(&fault, &[&host, "give the pod or its service account a pull secret"]);
}

#[tokio::test]
async fn field_complaint_38_an_anonymous_token_is_asked_for_first_only_where_configured() {
    for (configured, expected) in [(false, "a"), (true, "nobody")] {
        let (server, _) = registry();
        let host = server.host();
        give_tokens(&server, 300);
        demand(&server, format!("Bearer {expected}"), bearer(&server.url("/token")), 401);
        let named = if configured { host.clone() } else { "registry.example.com".to_owned() };
        let settings = Settings { anonymous_first: vec![named], ..settings_for(&[&server]) };
        let client = Client::new(settings).acting_as(keyring(&[(&host, "a")]));
        client.manifest(&tagged(&host)).await.expect("the first token is good");
        let sent = if configured { None } else { Some(basic("a")) };
        assert_eq!(authorizations(&server.requests_to("/token")), [sent.as_deref()]);
    }
}

#[tokio::test]
async fn an_anonymous_token_that_is_not_enough_is_followed_by_credentials() {
    let (server, _) = registry();
    let host = server.host();
    give_tokens(&server, 300);
    demand(&server, "Bearer a".to_owned(), bearer(&server.url("/token")), 401);
    let settings = Settings { anonymous_first: vec![host.clone()], ..settings_for(&[&server]) };
    let client = Client::new(settings).acting_as(keyring(&[(&host, "a")]));
    client.manifest(&tagged(&host)).await.expect("the second token is good");
    assert_eq!(authorizations(&server.requests_to("/token")), [None, Some(basic("a").as_str())]);
}

#[tokio::test]
async fn a_token_is_used_until_it_is_refused_and_then_renewed_once() {
    for status in [401, 403] {
        let (server, _) = registry();
        let host = server.host();
        let tokens = ["first", "second", "third"];
        let answers =
            tokens.map(|t| Answer::ok(json!({"token": t, "expires_in": 3600}).to_string()));
        server.in_turn("/token", answers);
        let challenge = bearer(&server.url("/token"));
        let client = client_for(&[&server]).acting_as(keyring(&[(&host, "a")]));
        demand(&server, "Bearer first".to_owned(), challenge.clone(), status);
        for _ in 0..3 {
            client.manifest(&tagged(&host)).await.expect("good");
        }
        assert_eq!(server.requests_to("/token").len(), 1);
        // The registry takes the first token no more.
        demand(&server, "Bearer second".to_owned(), challenge.clone(), status);
        for _ in 0..3 {
            client.manifest(&tagged(&host)).await.expect("renewed");
        }
        assert_eq!(server.requests_to("/token").len(), 2);
        // It takes none any more: one is asked for with the credentials, and one without.
        demand(&server, "none".to_owned(), challenge, status);
        let fault = manifest_fault(&tagged(&host), &client).await;
        assert!(matches!(fault, RegistryError::Unauthorized { .. }), "{fault}");
        assert_eq!(server.requests_to("/token").len(), 4);
    }
}

#[tokio::test]
async fn a_token_at_its_end_is_not_sent_any_more() {
    for (expires_in, expected) in [(300, 1), (0, 3), (5, 3)] {
        let (server, _) = registry();
        let host = server.host();
        give_tokens(&server, expires_in);
        demand(&server, "Bearer a".to_owned(), bearer(&server.url("/token")), 401);
        let client = client_for(&[&server]).acting_as(keyring(&[(&host, "a")]));
        for _ in 0..3 {
            client.manifest(&tagged(&host)).await.expect("good");
        }
        assert_eq!(server.requests_to("/token").len(), expected, "{expires_in} s");
    }
}

#[tokio::test]
async fn row_41_cve_2025_27403_a_pod_s_credentials_go_to_their_own_host_alone() {
    let (server, _) = registry();
    let storage = Server::start();
    storage.always("/stored", served(manifest("app"), OCI_IMAGE));
    let (host, other) = (server.host(), storage.host());
    let to = storage.url("/stored");
    server.on(manifest_path("1"), move |request| match request.authorization() {
        Some(_) => Answer::redirect(to.clone()),
        None => Answer::challenge(BASIC),
    });
    let pod = keyring(&[(&other, "b"), (&host, "a"), ("*.example.com", "b")]);
    let client = client_for(&[&server, &storage]).acting_as(pod);
    client.manifest(&tagged(&host)).await.expect("fetched");
    assert_eq!(storage.requests().len(), 1);
    assert_eq!(storage.requests()[0].authorization(), None);
    assert_never_saw_a_secret(&storage, &["a", "b"]);
    assert_never_saw_a_secret(&server, &["b"]);
}

#[tokio::test]
async fn row_42_cve_2026_33540_a_token_server_elsewhere_gets_what_a_pod_has_under_its_name() {
    let (server, _) = registry();
    let tokens = Server::start();
    let (host, foreign) = (server.host(), tokens.host());
    give_tokens(&tokens, 300);
    let client = client_for(&[&server, &tokens]);
    for (pod, token) in [
        (keyring(&[(&host, "a")]), "nobody"),
        // A path of the registry is no path of the token server.
        (keyring(&[(&host, "a"), (&format!("{foreign}/ns"), "a")]), "nobody"),
        (keyring(&[(&host, "a"), (&foreign, "b")]), "b"),
    ] {
        demand(&server, format!("Bearer {token}"), bearer(&tokens.url("/token")), 401);
        client.acting_as(pod).manifest(&tagged(&host)).await.expect("fetched");
        assert_never_saw_a_secret(&tokens, &["a"]);
        assert_never_saw_a_secret(&server, &["a", "b"]);
    }
    demand(&server, "none".to_owned(), bearer(&tokens.url("/token")), 401);
    let fault = manifest_fault(&tagged(&host), &client.acting_as(keyring(&[(&host, "a")]))).await;
    assert_says(&fault.to_string(), &[&foreign, "another host", "did not get the credentials"]);
}

#[tokio::test]
async fn a_refresh_token_that_is_none_is_followed_by_the_next_credentials() {
    let (server, _) = registry();
    let host = server.host();
    server.on("/token", |request| match request.method.as_str() {
        "POST" => Answer::status(400).body(r#"{"error":"invalid_grant"}"#),
        _ => Answer::ok(r#"{"token":"a"}"#),
    });
    demand(&server, "Bearer a".to_owned(), bearer(&server.url("/token")), 401);
    let token = json!({"auths": {&host: {"identitytoken": "s3cret"}}}).to_string();
    let password = json!({&host: {"username": "a", "password": "s3cret"}}).to_string();
    let secrets = [DockerConfig::config_json("one", token), DockerConfig::cfg("two", password)];
    let pod = Arc::new(Keyring::from_docker_configs(secrets).expect("a keyring"));
    client_for(&[&server]).acting_as(pod).manifest(&tagged(&host)).await.expect("fetched");
    let methods: Vec<_> =
        server.requests_to("/token").into_iter().map(|request| request.method).collect();
    assert_eq!(methods, ["POST", "GET"]);
}

#[tokio::test]
async fn the_image_is_not_fetched_for_whom_the_token_server_fails() {
    let (server, _) = registry();
    let host = server.host();
    server.always("/token", Answer::status(500));
    server.always(manifest_path("1"), Answer::challenge(bearer(&server.url("/token"))));
    let client = client_for(&[&server]).acting_as(keyring(&[(&host, "a")]));
    let fault = manifest_fault(&tagged(&host), &client).await;
    assert!(matches!(fault, RegistryError::Status { status: 500, .. }), "{fault}");
}

#[tokio::test]
async fn debug_output_of_a_client_shows_no_secret() {
    let (server, _) = registry();
    let host = server.host();
    give_tokens(&server, 300);
    demand(&server, "Bearer a".to_owned(), bearer(&server.url("/token")), 401);
    let client = client_for(&[&server]).acting_as(keyring(&[(&host, "a")]));
    client.manifest(&tagged(&host)).await.expect("fetched");
    let shown = format!("{client:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("Bearer"), "{shown}");
}
