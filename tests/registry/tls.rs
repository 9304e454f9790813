//! Whom TLS trusts, and where there may be none.

use countersign::registry::RegistryError;

use super::*;
use crate::support::tls::{Authority, Identity};

/// A certs.d with files for hosts.
fn certs_d(files: &[(&str, &str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (host, name, content) in files {
        let directory = folder.path().join(host);
        std::fs::create_dir_all(&directory).expect("created");
        std::fs::write(directory.join(name), content).expect("written");
    }
    folder
}

fn client_with(certs_d: &TempDir) -> Client {
    Client::new(Settings { certs_d: vec![certs_d.path().to_owned()], ..settings() })
}

fn tls_registry(identity: &Identity) -> Server {
    let server = Server::start_tls(identity);
    fill(&server);
    server
}

#[tokio::test]
async fn an_authority_of_certs_d_is_trusted_for_its_host() {
    let authority = Authority::new();
    let server = tls_registry(&authority.issue(&["127.0.0.1"]));
    let certs = certs_d(&[(&server.host(), "ca.crt", &authority.pem())]);
    resolve(&server.host(), &client_with(&certs)).await.expect("resolved");
}

#[tokio::test]
async fn an_authority_of_certs_d_is_trusted_for_no_other_host() {
    let authority = Authority::new();
    let server = tls_registry(&authority.issue(&["127.0.0.1", "localhost"]));
    let certs = certs_d(&[
        ("127.0.0.1", "ca.crt", &authority.pem()),
        ("registry.example.com", "ca.crt", &authority.pem()),
        (&server.host(), "readme.txt", "no certificate"),
    ]);
    for host in [server.host(), format!("localhost:{}", server.port())] {
        let fault = manifest_fault(&tagged(&host), &client_with(&certs)).await;
        assert!(matches!(fault, RegistryError::Tls { .. }), "{fault}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn untrusted_certificates_are_refused_with_advice() {
    let authority = Authority::new();
    let cases = [
        ("of an unknown authority", Authority::new().issue(&["127.0.0.1"])),
        ("for another name", authority.issue(&["registry.example.com"])),
        ("expired", authority.issue_expired(&["127.0.0.1"])),
        ("self-signed", Identity::self_signed(&["127.0.0.1"])),
    ];
    for (what, identity) in cases {
        let server = tls_registry(&identity);
        let certs = certs_d(&[(&server.host(), "ca.crt", &authority.pem())]);
        let fault = manifest_fault(&tagged(&server.host()), &client_with(&certs)).await;
        assert!(matches!(fault, RegistryError::Tls { .. }), "{what}: {fault}");
        let place = format!("certs.d/{}/ca.crt", server.host());
        assert_says(&fault.to_string(), &[&server.host(), "trusted TLS connection", &place]);
        assert!(server.requests().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn row_43_cve_2019_10214_a_token_server_with_a_bad_certificate_gets_nothing() {
    let authority = Authority::new();
    let server = tls_registry(&authority.issue(&["127.0.0.1"]));
    for identity in [
        Authority::new().issue(&["127.0.0.1"]),
        Identity::self_signed(&["127.0.0.1"]),
        authority.issue(&["registry.example.com"]),
        authority.issue_expired(&["127.0.0.1"]),
        // Of the registry's authority, which is trusted for the registry alone.
        authority.issue(&["127.0.0.1"]),
    ] {
        let tokens = Server::start_tls(&identity);
        tokens.always("/token", Answer::ok(r#"{"token":"t0ken"}"#));
        let challenge = format!("Bearer realm=\"{}\"", tokens.url("/token"));
        server.always(manifest_path("1"), Answer::challenge(challenge));
        let auths = serde_json::json!({"auths": {
            server.host(): {"auth": "dTpw"}, tokens.host(): {"auth": "dTpw"},
        }});
        let (_folder, path) = auth_file(&auths.to_string());
        let certs = certs_d(&[(&server.host(), "ca.crt", &authority.pem())]);
        let client = Client::new(Settings {
            auth_files: vec![path],
            certs_d: vec![certs.path().to_owned()],
            ..settings()
        });
        let fault = manifest_fault(&tagged(&server.host()), &client).await;
        assert!(matches!(fault, RegistryError::Tls { .. }), "{fault}");
        assert_says(&fault.to_string(), &[&tokens.host(), "trusted TLS connection"]);
        assert!(tokens.requests().is_empty());
    }
}

#[tokio::test]
async fn a_token_server_on_the_registry_s_host_is_trusted_as_the_registry_is() {
    let authority = Authority::new();
    let server = tls_registry(&authority.issue(&["127.0.0.1"]));
    server.always("/token", Answer::ok(r#"{"token":"t0ken"}"#));
    let challenge = format!("Bearer realm=\"{}\"", server.url("/token"));
    server.on(manifest_path("1"), move |request| match request.authorization() {
        Some("Bearer t0ken") => served(manifest("app"), OCI_IMAGE),
        _ => Answer::challenge(challenge.clone()),
    });
    let certs = certs_d(&[(&server.host(), "ca.crt", &authority.pem())]);
    resolve(&server.host(), &client_with(&certs)).await.expect("resolved");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_its_host_alone() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let identity = || authority.issue(&["127.0.0.1"]).asking_for_clients_of(&clients);
    let server = tls_registry(&identity());
    let (storage, lookaside) = (Server::start_tls(&identity()), Server::start_tls(&identity()));
    let digest = Digest::sha256(manifest("app").as_bytes());
    server.always(manifest_path("1"), Answer::redirect(storage.url("/stored")));
    storage.always("/stored", served(manifest("app"), OCI_IMAGE));
    let stored = format!("/la/ns/app@sha256={}/signature-1", digest.hex());
    lookaside.always(stored, Answer::ok("signature"));

    let (certificate, key) = clients.client();
    let host = server.host();
    let certs = certs_d(&[
        (&host, "ca.crt", &authority.pem()),
        (&host, "client.cert", &certificate),
        (&host, "client.key", &key),
    ]);
    let client = client_with(&certs);
    let found = signatures(&host, &client, &store(&lookaside.url("/la"))).await;
    assert_eq!(found.expect("signatures").len(), 1);
    let shown = |server: &Server| -> Vec<bool> {
        server.requests().iter().map(|request| request.client_certificate).collect()
    };
    assert!(shown(&server).iter().all(|shown| *shown));
    assert_eq!(shown(&storage), [false]);
    // The look-ahead may have asked for one more.
    assert!(shown(&lookaside).len() >= 2);
    assert!(shown(&lookaside).iter().all(|shown| !shown));
}

/// `--cert-dir`: its authorities count for all hosts, its client certificate for registries.
#[tokio::test]
async fn a_client_certificate_for_every_registry_is_shown_to_registries_alone() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let identity = || authority.issue(&["127.0.0.1"]).asking_for_clients_of(&clients);
    let server = tls_registry(&identity());
    let (storage, tokens) = (Server::start_tls(&identity()), Server::start_tls(&identity()));
    tokens.always("/token", Answer::ok(r#"{"token":"t0ken"}"#));
    let (to, challenge) =
        (storage.url("/stored"), format!("Bearer realm=\"{}\"", tokens.url("/token")));
    server.on(manifest_path("1"), move |request| match request.authorization() {
        Some(_) => Answer::redirect(to.clone()),
        None => Answer::challenge(challenge.clone()),
    });
    storage.always("/stored", served(manifest("app"), OCI_IMAGE));
    let (certificate, key) = clients.client();
    let directory = certs_d(&[
        ("all", "ca.crt", &authority.pem()),
        ("all", "client.cert", &certificate),
        ("all", "client.key", &key),
    ]);
    let cert_dir = Some(directory.path().join("all"));
    let client = Client::new(Settings { cert_dir, ..settings() });
    resolve(&server.host(), &client).await.expect("resolved");
    assert!(server.requests().iter().all(|request| request.client_certificate));
    for other in [&storage, &tokens] {
        assert_eq!(other.requests().len(), 1);
        assert!(!other.requests()[0].client_certificate);
    }
}

#[tokio::test]
async fn a_redirect_leads_to_a_host_with_its_own_certificates() {
    let (authority, others) = (Authority::new(), Authority::new());
    let server = tls_registry(&authority.issue(&["127.0.0.1"]));
    let storage = Server::start_tls(&others.issue(&["127.0.0.1"]));
    storage.always("/stored", served(manifest("app"), OCI_IMAGE));
    server.always(manifest_path("1"), Answer::redirect(storage.url("/stored")));
    let trusted = certs_d(&[
        (&server.host(), "ca.crt", &authority.pem()),
        (&storage.host(), "ca.crt", &others.pem()),
    ]);
    resolve(&server.host(), &client_with(&trusted)).await.expect("resolved");

    let untrusted = certs_d(&[(&server.host(), "ca.crt", &authority.pem())]);
    let fault = manifest_fault(&tagged(&server.host()), &client_with(&untrusted)).await;
    assert_says(&fault.to_string(), &[&storage.host(), "trusted TLS connection"]);
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let server = tls_registry(&authority.issue(&["127.0.0.1"]));
    let (certificate, key) = authority.client();
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    for (files, named) in [
        (vec![("ca.crt", "")], "ca.crt"),
        (vec![("ca.crt", "no certificate")], "ca.crt"),
        (vec![("ca.crt", broken)], "ca.crt"),
        (vec![("client.cert", certificate.as_str())], "client.key"),
        (vec![("client.key", key.as_str())], "client.key"),
        (vec![("client.cert", certificate.as_str()), ("client.key", "no key")], "client.key"),
        (vec![("client.cert", ""), ("client.key", key.as_str())], "client.cert"),
    ] {
        let host = server.host();
        let files: Vec<_> =
            files.iter().map(|(name, text)| (host.as_str(), *name, *text)).collect();
        let certs = certs_d(&files);
        let fault = manifest_fault(&tagged(&host), &client_with(&certs)).await;
        let path = certs.path().join(&host).join(named).display().to_string();
        assert_says(&fault.to_string(), &[&path, "cannot use certificates", "certs.d(5)"]);
    }
}

#[tokio::test]
async fn plain_http_is_not_spoken_to_a_host_that_was_not_named() {
    let (server, _) = registry();
    let (other, _) = registry();
    // Neither another port nor another name of the host is the one that is asked for.
    let plain_http = [other.host(), "127.0.0.1".to_owned(), format!("localhost:{}", server.port())];
    let client = Client::new(Settings { plain_http: plain_http.iter().collect(), ..settings() });
    let fault = manifest_fault(&tagged(&server.host()), &client).await;
    assert!(matches!(fault, RegistryError::Tls { .. }), "{fault}");
    assert_says(&fault.to_string(), &[&server.host(), "--plain-http"]);
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_redirect_to_plain_http_is_followed_to_named_hosts_alone() {
    let authority = Authority::new();
    let secure = tls_registry(&authority.issue(&["127.0.0.1"]));
    let (plain, _) = registry();
    let storage = Server::start();
    storage.always("/stored", served(manifest("app"), OCI_IMAGE));
    let certs = certs_d(&[(&secure.host(), "ca.crt", &authority.pem())]);
    for server in [&secure, &plain] {
        server.always(manifest_path("1"), Answer::redirect(storage.url("/stored")));
        let mut insecure = vec![plain.host()];
        for expected in [false, true] {
            let client = Client::new(Settings {
                certs_d: vec![certs.path().to_owned()],
                plain_http: insecure.iter().collect(),
                ..settings()
            });
            let fetched = client.manifest(&tagged(&server.host())).await;
            assert_eq!(fetched.is_ok(), expected, "{fetched:?}");
            if let Err(fault) = fetched {
                let advice = format!("--plain-http {}", storage.host());
                assert_says(&fault.to_string(), &[&server.host(), "not followed", &advice]);
                assert!(storage.requests_to("/stored").len() < 2);
            }
            insecure.push(storage.host());
        }
    }
    assert_eq!(storage.requests().len(), 2);
}

#[tokio::test]
async fn redirects_end() {
    let (server, _) = registry();
    server.always(manifest_path("1"), Answer::redirect(manifest_path("1")));
    let fault = manifest_fault(&tagged(&server.host()), &client_for(&[&server])).await;
    assert_says(&fault.to_string(), &[&server.host(), "not followed", "redirect number 6"]);
    assert_eq!(server.requests_to(&manifest_path("1")).len(), 6);
}

#[tokio::test]
async fn redirects_that_lead_nowhere_are_refused() {
    let (server, _) = registry();
    for to in ["ftp://127.0.0.1/x", "file:///etc/passwd", "data:,x", "http://", "//"] {
        server.always(manifest_path("1"), Answer::redirect(to));
        let fault = manifest_fault(&tagged(&server.host()), &client_for(&[&server])).await;
        assert!(matches!(fault, RegistryError::Redirect { .. }), "{to}: {fault}");
        assert_says(&fault.to_string(), &[&server.host(), "not followed"]);
    }
    server.always(manifest_path("1"), Answer::status(302));
    let fault = manifest_fault(&tagged(&server.host()), &client_for(&[&server])).await;
    assert_says(&fault.to_string(), &[&server.host(), "not followed", "no header Location"]);
}

#[tokio::test]
async fn a_server_that_never_shakes_hands_is_given_up() {
    let server = Server::start_silent();
    let soon = Duration::from_millis(300);
    let client = Client::new(Settings { connect_timeout: soon, ..settings() });
    let fault = manifest_fault(&tagged(&server.host()), &client).await;
    assert_says(&fault.to_string(), &["cannot reach", &server.host(), "no connection was made"]);
}
