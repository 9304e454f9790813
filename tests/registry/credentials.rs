//! Who gets to see credentials and tokens, and who does not.

use std::path::Path;

use super::*;
use crate::support::server::Recorded;

const BASIC: &str = "Basic realm=\"registry\"";

/// `user:s3cret`.
const AUTH: &str = "dXNlcjpzM2NyZXQ=";

/// A file with the same user and password for these hosts.
fn passwords_for(hosts: &[String]) -> (TempDir, PathBuf) {
    let auths: serde_json::Map<_, _> =
        hosts.iter().map(|host| (host.clone(), serde_json::json!({"auth": AUTH}))).collect();
    auth_file(&serde_json::json!({"auths": auths}).to_string())
}

fn client_with(path: &Path, servers: &[&Server]) -> Client {
    Client::new(Settings { auth_files: vec![path.to_owned()], ..settings_for(servers) })
}

/// Answer the registry's image only with this `Authorization`.
fn demand(server: &Server, authorization: &'static str, challenge: impl Into<String>) {
    let challenge = challenge.into();
    server.on(manifest_path("1"), move |request| match request.authorization() {
        Some(sent) if sent == authorization => served(manifest("app"), OCI_IMAGE),
        _ => Answer::challenge(challenge.clone()),
    });
}

fn bearer(realm: &str) -> String {
    format!("Bearer realm=\"{realm}\",service=\"the registry\",scope=\"repository:ns/app:pull\"")
}

/// The secret, in any of the forms in which it could travel.
fn assert_never_saw_a_secret(server: &Server) {
    for request in server.requests() {
        let everything = request.everything();
        for secret in ["s3cret", AUTH, "t0ken"] {
            assert!(!everything.contains(secret), "{secret:?} was sent: {everything}");
        }
        assert_eq!(request.authorization(), None);
    }
}

fn authorizations(requests: &[Recorded]) -> Vec<Option<&str>> {
    requests.iter().map(Recorded::authorization).collect()
}

#[tokio::test]
async fn a_basic_challenge_is_answered_and_nothing_sent_before() {
    let (server, digest) = registry();
    let (_folder, path) = passwords_for(&[server.host()]);
    demand(&server, "Basic dXNlcjpzM2NyZXQ=", BASIC);
    let client = client_with(&path, &[&server]);
    assert_eq!(resolve(&server.host(), &client).await.expect("resolved").digest, digest);
    let requests = server.requests_to(&manifest_path("1"));
    assert_eq!(authorizations(&requests), [None, Some("Basic dXNlcjpzM2NyZXQ=")]);
    // What was learnt is used at once the next time.
    client.manifest(&tagged(&server.host())).await.expect("again");
    assert_eq!(server.requests_to(&manifest_path("1")).len(), 3);
    for ping in server.requests_to("/v2/") {
        assert_eq!(ping.authorization(), None);
    }
}

#[tokio::test]
async fn refused_credentials_are_sent_once() {
    let (server, _) = registry();
    let (_folder, path) = passwords_for(&[server.host()]);
    server.always(manifest_path("1"), Answer::challenge(BASIC));
    let fault = manifest_fault(&tagged(&server.host()), &client_with(&path, &[&server])).await;
    assert_says(&fault.to_string(), &[&server.host(), "check the credentials stored for it"]);
    assert_eq!(server.requests_to(&manifest_path("1")).len(), 2);
}

#[tokio::test]
async fn row_41_cve_2025_27403_credentials_of_one_host_go_to_no_other() {
    let (server, _) = registry();
    let (other, _) = registry();
    // The same address with another name is another host, too.
    let (_folder, path) = passwords_for(&[other.host(), format!("localhost:{}", server.port())]);
    server.always(manifest_path("1"), Answer::challenge(BASIC));
    let client = client_with(&path, &[&server, &other]);
    let fault = manifest_fault(&tagged(&server.host()), &client).await;
    let login = format!("podman login {}", server.host());
    assert_says(&fault.to_string(), &[&server.host(), "refuses access", &login]);
    assert_never_saw_a_secret(&server);
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn row_41_cve_2025_27403_a_redirect_does_not_take_basic_credentials_along() {
    let (server, _) = registry();
    let storage = Server::start();
    storage.always("/stored", served(manifest("app"), OCI_IMAGE));
    let (_folder, path) = passwords_for(&[server.host(), storage.host()]);
    let to = storage.url("/stored");
    server.on(manifest_path("1"), move |request| match request.authorization() {
        Some(_) => Answer::redirect(to.clone()),
        None => Answer::challenge(BASIC),
    });
    let client = client_with(&path, &[&server, &storage]);
    resolve(&server.host(), &client).await.expect("resolved");
    assert_eq!(storage.requests().len(), 1);
    assert_never_saw_a_secret(&storage);
}

#[tokio::test]
async fn row_41_cve_2025_27403_a_redirect_does_not_take_a_token_along() {
    let (server, _) = registry();
    let storage = Server::start();
    storage.always("/stored", served(manifest("app"), OCI_IMAGE));
    server.always("/token", Answer::ok(r#"{"token":"t0ken"}"#));
    let (to, challenge) = (storage.url("/stored"), bearer(&server.url("/token")));
    server.on(manifest_path("1"), move |request| match request.authorization() {
        Some("Bearer t0ken") => Answer::redirect(to.clone()),
        _ => Answer::challenge(challenge.clone()),
    });
    resolve(&server.host(), &client_for(&[&server, &storage])).await.expect("resolved");
    assert_eq!(storage.requests().len(), 1);
    assert_never_saw_a_secret(&storage);
}

#[tokio::test]
async fn row_41_cve_2025_27403_a_challenge_behind_a_redirect_is_not_answered() {
    let (server, _) = registry();
    let storage = Server::start();
    storage.always("/stored", Answer::challenge(BASIC));
    server.always(manifest_path("1"), Answer::redirect(storage.url("/stored")));
    let (_folder, path) = passwords_for(&[server.host(), storage.host()]);
    let client = client_with(&path, &[&server, &storage]);
    let fault = manifest_fault(&tagged(&server.host()), &client).await;
    assert_says(&fault.to_string(), &[&storage.host(), "refuses access"]);
    assert_never_saw_a_secret(&storage);
    assert_never_saw_a_secret(&server);
}

#[tokio::test]
async fn a_token_server_on_the_same_host_gets_the_password_and_the_registry_the_token() {
    let (server, _) = registry();
    let (_folder, path) = passwords_for(&[server.host()]);
    server.always("/token", Answer::ok(r#"{"access_token":"t0ken","expires_in":300}"#));
    demand(&server, "Bearer t0ken", bearer(&server.url("/token?account=1")));
    resolve(&server.host(), &client_with(&path, &[&server])).await.expect("resolved");
    let asked = server.requests_to("/token");
    assert_eq!(authorizations(&asked), [Some("Basic dXNlcjpzM2NyZXQ=")]);
    let query = "account=1&service=the+registry&scope=repository%3Ans%2Fapp%3Apull";
    assert_eq!(asked[0].query, query);
    let requests = server.requests_to(&manifest_path("1"));
    assert_eq!(authorizations(&requests), [None, Some("Bearer t0ken")]);
}

#[tokio::test]
async fn row_42_cve_2026_33540_a_token_server_elsewhere_does_not_get_the_registry_s_password() {
    let (server, _) = registry();
    let tokens = Server::start();
    tokens.always("/token", Answer::ok(r#"{"token":"t0ken"}"#));
    let (_folder, path) = passwords_for(&[server.host()]);
    demand(&server, "Bearer t0ken", bearer(&tokens.url("/token")));
    let client = client_with(&path, &[&server, &tokens]);
    resolve(&server.host(), &client).await.expect("an anonymous token is enough");
    assert_eq!(tokens.requests().len(), 1);
    assert_never_saw_a_secret(&tokens);
}

#[tokio::test]
async fn row_42_cve_2026_33540_a_token_server_that_wants_a_password_is_refused_with_advice() {
    let (server, _) = registry();
    let tokens = Server::start();
    tokens.always("/token", Answer::error(401, "UNAUTHORIZED", "who are you?"));
    let (_folder, path) = passwords_for(&[server.host()]);
    demand(&server, "Bearer t0ken", bearer(&tokens.url("/token")));
    let client = client_with(&path, &[&server, &tokens]);
    let fault = manifest_fault(&tagged(&server.host()), &client).await;
    let login = format!("podman login {}", tokens.host());
    assert_says(
        &fault.to_string(),
        &[&tokens.host(), &server.host(), "who are you?", "another host", &login],
    );
    assert_never_saw_a_secret(&tokens);
}

#[tokio::test]
async fn row_42_cve_2026_33540_a_token_server_elsewhere_gets_the_password_stored_under_its_name() {
    let (server, _) = registry();
    let tokens = Server::start();
    tokens.always("/token", Answer::ok(r#"{"token":"t0ken"}"#));
    let content = serde_json::json!({"auths": {
        server.host(): {"auth": AUTH},
        tokens.host(): {"auth": "b3RoZXI6b3RoZXI="},
    }});
    let (_folder, path) = auth_file(&content.to_string());
    demand(&server, "Bearer t0ken", bearer(&tokens.url("/token")));
    resolve(&server.host(), &client_with(&path, &[&server, &tokens])).await.expect("resolved");
    let asked = tokens.requests_to("/token");
    assert_eq!(authorizations(&asked), [Some("Basic b3RoZXI6b3RoZXI=")]);
    let requests = server.requests();
    assert!(!requests.iter().any(|request| request.everything().contains("b3RoZXI6b3RoZXI=")));
}

#[tokio::test]
async fn row_42_cve_2026_33540_an_identity_token_stays_with_its_host() {
    let (server, _) = registry();
    let tokens = Server::start();
    let file = serde_json::json!({"auths": {server.host(): {"identitytoken": "s3cret"}}});
    let (_folder, path) = auth_file(&file.to_string());
    tokens.always("/token", Answer::ok(r#"{"token":"t0ken"}"#));
    demand(&server, "Bearer t0ken", bearer(&tokens.url("/token")));
    let client = client_with(&path, &[&server, &tokens]);
    resolve(&server.host(), &client).await.expect("resolved");
    assert_never_saw_a_secret(&tokens);

    // Its own host exchanges it, in the body.
    server.always("/token", Answer::ok(r#"{"access_token":"t0ken"}"#));
    demand(&server, "Bearer t0ken", bearer(&server.url("/token")));
    let client = client_with(&path, &[&server]);
    resolve(&server.host(), &client).await.expect("resolved");
    let asked = server.requests_to("/token");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].method, "POST");
    assert_eq!(asked[0].query, "");
    assert_says(&asked[0].body, &["grant_type=refresh_token", "refresh_token=s3cret"]);
}

#[tokio::test]
async fn row_42_cve_2026_33540_a_token_server_s_redirect_is_not_followed() {
    let (server, _) = registry();
    let elsewhere = Server::start();
    let (_folder, path) = passwords_for(&[server.host()]);
    server.always("/token", Answer::redirect(elsewhere.url("/token")));
    demand(&server, "Bearer t0ken", bearer(&server.url("/token")));
    let client = client_with(&path, &[&server, &elsewhere]);
    let fault = manifest_fault(&tagged(&server.host()), &client).await;
    assert_says(&fault.to_string(), &[&server.host(), "status 307"]);
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn realms_that_are_no_token_server_are_refused() {
    let (server, _) = registry();
    let other = Server::start();
    let (_folder, path) = passwords_for(&[server.host()]);
    let with_user = format!("http://user:password@{}/token", server.host());
    for realm in [
        "",
        "/token",
        "ftp://127.0.0.1/",
        "data:,x",
        "file:///etc/passwd",
        &with_user,
        &other.url("/"),
    ] {
        server.always(manifest_path("1"), Answer::challenge(bearer(realm)));
        // `other` is not named: plain HTTP is not spoken to it.
        let client = client_with(&path, &[&server]);
        let fault = manifest_fault(&tagged(&server.host()), &client).await;
        assert_says(&fault.to_string(), &[&server.host(), "token server", "not followed"]);
    }
    assert!(other.requests().is_empty());
    assert_never_saw_a_secret(&server);
}

#[tokio::test]
async fn tokens_that_are_none_are_refused_and_not_shown() {
    let (server, _) = registry();
    for answer in [
        Answer::ok(""),
        Answer::ok("t0ken"),
        Answer::ok("{}"),
        Answer::ok(r#"{"token":""}"#),
        Answer::ok(r#"{"token":"t0ken\r\nX-Injected: 1"}"#),
        Answer::ok(r#"{"token":["t0ken"]}"#),
    ] {
        server.always("/token", answer);
        server.always(manifest_path("1"), Answer::challenge(bearer(&server.url("/token"))));
        let fault = manifest_fault(&tagged(&server.host()), &client_for(&[&server])).await;
        assert_says(&fault.to_string(), &[&server.host(), "/token", "answer that cannot be used"]);
        assert!(!format!("{fault} {fault:?}").contains("t0ken"), "{fault:?}");
    }
}

#[tokio::test]
async fn an_endless_token_is_given_up() {
    let (server, _) = registry();
    server.always("/token", Answer::status(200).endless());
    server.always(manifest_path("1"), Answer::challenge(bearer(&server.url("/token"))));
    let fault = manifest_fault(&tagged(&server.host()), &client_for(&[&server])).await;
    assert_says(&fault.to_string(), &["exceeded maximum allowed size of 1048576 bytes", "/token"]);
}

#[tokio::test]
async fn failures_of_the_token_server_name_it() {
    let (server, _) = registry();
    let tokens = Server::start();
    server.always(manifest_path("1"), Answer::challenge(bearer(&tokens.url("/token"))));
    let client = client_for(&[&server, &tokens]);
    for (status, advice) in [(429, "wait"), (500, "try again later"), (404, "status 404")] {
        tokens.always("/token", Answer::status(status));
        let fault = manifest_fault(&tagged(&server.host()), &client).await;
        assert_says(&fault.to_string(), &[&tokens.host(), &format!("status {status}"), advice]);
    }
    let host = tokens.host();
    drop(tokens);
    let fault = manifest_fault(&tagged(&server.host()), &client).await;
    assert_says(&fault.to_string(), &["cannot reach", &host]);
}

#[tokio::test]
async fn credentials_of_the_most_specific_key_are_used() {
    let (server, _) = registry();
    let host = server.host();
    let content = serde_json::json!({"auths": {
        host.clone(): {"auth": "aG9zdDpo"},
        format!("{host}/ns"): {"auth": AUTH},
        format!("{host}/ns/other"): {"auth": "b3RoZXI6bw=="},
        format!("{host}/n"): {"auth": "bjpu"},
    }});
    let (_folder, path) = auth_file(&content.to_string());
    demand(&server, "Basic dXNlcjpzM2NyZXQ=", BASIC);
    resolve(&host, &client_with(&path, &[&server])).await.expect("resolved");
    let requests = server.requests_to(&manifest_path("1"));
    assert_eq!(authorizations(&requests), [None, Some("Basic dXNlcjpzM2NyZXQ=")]);
}

#[tokio::test]
async fn keys_that_are_urls_count_for_their_host() {
    for (scheme, path) in [("https", "/v1/"), ("http", ""), ("https", "/")] {
        let (server, _) = registry();
        let (_folder, file) = passwords_for(&[format!("{scheme}://{}{path}", server.host())]);
        demand(&server, "Basic dXNlcjpzM2NyZXQ=", BASIC);
        resolve(&server.host(), &client_with(&file, &[&server])).await.expect("resolved");
    }
}

#[tokio::test]
async fn the_first_file_with_credentials_decides_and_missing_ones_do_not_matter() {
    let (server, _) = registry();
    let host = server.host();
    let (missing, _) = auth_file("");
    let (_without, without) = auth_file(r#"{"auths":{"registry.example.com":{"auth":"eDp4"}}}"#);
    let (_first, first) = passwords_for(std::slice::from_ref(&host));
    let (_second, second) = auth_file(&format!(r#"{{"auths":{{"{host}":{{"auth":"eDp4"}}}}}}"#));
    demand(&server, "Basic dXNlcjpzM2NyZXQ=", BASIC);
    let auth_files = vec![missing.path().join("none.json"), without, first, second];
    let client = Client::new(Settings { auth_files, ..settings_for(&[&server]) });
    resolve(&host, &client).await.expect("resolved");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named_and_its_secrets_are_not() {
    let (server, _) = registry();
    let host = server.host();
    server.always(manifest_path("1"), Answer::challenge(BASIC));
    for content in [
        format!(r#"{{"auths":{{"{host}":{{"auth":"s3cret"#),
        format!(r#"{{"auths":{{"{host}":"s3cret"}}}}"#),
        format!(r#"{{"auths":{{"{host}":{{"auth":["s3cret"]}}}}}}"#),
        // Not base64; base64 without a colon; base64 of what is not text.
        format!(r#"{{"auths":{{"{host}":{{"auth":"s3cret!"}}}}}}"#),
        format!(r#"{{"auths":{{"{host}":{{"auth":"czNjcmV0"}}}}}}"#),
        format!(r#"{{"auths":{{"{host}":{{"auth":"//8="}}}}}}"#),
        "s3cret".to_owned(),
        "\u{0}".repeat(1024 * 1024 + 1),
    ] {
        let (_folder, path) = auth_file(&content);
        let fault = manifest_fault(&tagged(&host), &client_with(&path, &[&server])).await;
        let file = path.display().to_string();
        assert_says(&fault.to_string(), &[&file, "cannot read credentials", "auth.json(5)"]);
        let shown = format!("{fault} {fault:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("czNjcmV0"), "{shown}");
    }
    assert_never_saw_a_secret(&server);
}

#[tokio::test]
async fn a_helper_is_a_program_s_name_and_no_path() {
    let (server, _) = registry();
    server.always(manifest_path("1"), Answer::challenge(BASIC));
    for helper in ["", "../../bin/sh", "/bin/sh"] {
        let content = serde_json::json!({"credHelpers": {server.host(): helper}});
        let (_folder, path) = auth_file(&content.to_string());
        let fault = manifest_fault(&tagged(&server.host()), &client_with(&path, &[&server])).await;
        assert_says(&fault.to_string(), &[&server.host(), "not the name of a program"]);
    }
}

#[tokio::test]
async fn a_missing_helper_is_named() {
    let (server, _) = registry();
    server.always(manifest_path("1"), Answer::challenge(BASIC));
    let content = serde_json::json!({"credHelpers": {server.host(): "does-not-exist-at-all"}});
    let (_folder, path) = auth_file(&content.to_string());
    let fault = manifest_fault(&tagged(&server.host()), &client_with(&path, &[&server])).await;
    assert_says(&fault.to_string(), &[&server.host(), "docker-credential-does-not-exist-at-all"]);
}

#[tokio::test]
async fn the_signature_store_gets_no_credentials_but_those_of_its_url() {
    let (server, digest) = registry();
    let (lookaside, elsewhere) = (Server::start(), Server::start());
    let stored = format!("/la/ns/app@sha256={}/signature-1", digest.hex());
    lookaside.always(stored.clone(), Answer::redirect(elsewhere.url("/moved")));
    elsewhere.always("/moved", Answer::ok("signature"));
    let (_folder, path) = passwords_for(&[server.host(), lookaside.host(), elsewhere.host()]);
    let client = client_with(&path, &[&server, &elsewhere]);
    let found = signatures(&server.host(), &client, &store(&lookaside.url("/la"))).await;
    assert_eq!(found.expect("signatures").len(), 1);
    assert_never_saw_a_secret(&lookaside);
    assert_never_saw_a_secret(&elsewhere);

    let url = format!("http://user:s3cret@{}/la", lookaside.host());
    let found = signatures(&server.host(), &client, &store(&url)).await.expect("signatures");
    let last = lookaside.requests_to(&stored).pop().expect("asked");
    assert_eq!(last.authorization(), Some("Basic dXNlcjpzM2NyZXQ="));
    assert_never_saw_a_secret(&elsewhere);
    assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
}

#[tokio::test]
async fn messages_about_a_signature_store_do_not_show_its_password() {
    let (server, digest) = registry();
    let place = |number| format!("/la/ns/app@sha256={}/signature-{number}", digest.hex());
    for number in 1..=128 {
        server.always(place(number), Answer::ok("signature"));
    }
    let with_password = |scheme: &str, host: &str| format!("{scheme}://user:s3cret@{host}/la");
    let host = server.host();
    let client = client_for(&[&server]);
    let too_many = with_password("http", &host);
    let gone = with_password("http", &Server::start().host());
    for url in [too_many, gone, with_password("ftp", &host), with_password("'http", "[::1") + "'"] {
        let fault = signatures(&host, &client, &store(&url)).await.expect_err("no signatures");
        assert!(!format!("{fault} {fault:?}").contains("s3cret"), "{fault:?}");
    }
    server.always(place(1), Answer::status(500));
    let failing = store(&with_password("http", &host));
    let fault = signatures(&host, &client, &failing).await.expect_err("no signatures");
    assert!(!format!("{fault} {fault:?}").contains("s3cret"), "{fault:?}");
}
