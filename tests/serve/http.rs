//! What is answered to whom.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Site, block, client, review, told};
use crate::support::tls::Authority;

#[test]
fn probes_and_refusals_are_the_same_in_both_protocols() {
    let site = Site::new();
    let running = site.serve("");
    block(async {
        for protocol in ["h2", "http/1.1"] {
            let client = site.client(protocol);
            for (path, status, words) in [
                ("/livez", 200, "ok"),
                ("/readyz", 200, "ok"),
                ("/readyz?verbose", 200, "generation 1, loaded at"),
                ("/metrics", 200, ""),
                ("/", 404, "/validate"),
                ("/validate/x", 404, "there is no /validate/x"),
                ("/validate", 405, "POST"),
                ("/imagepolicy", 405, "POST"),
            ] {
                let (found, text) = running.get(&client, path).await;
                assert_eq!((found, text.contains(words)), (status, true), "{path}: {text}");
            }
            let answer = client.post(format!("{}/readyz", running.url)).send().await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.headers()["allow"], "GET, HEAD");
            let answer = client.post(format!("{}/validate", running.url)).body("{}").send().await;
            let (status, text) = told(answer.expect("an answer")).await;
            assert_eq!((status, text.contains("application/json")), (415, true));
            for timeout in ["10", "-1s", "soon", "0s"] {
                let path = format!("/mutate?timeout={timeout}");
                let answer = running.post(&client, &path, review().to_string()).await;
                let (status, text) = told(answer).await;
                assert_eq!((status, text.contains(timeout)), (400, true), "{text}");
            }
            for path in ["/validate?timeout=10s", "/mutate?timeout=2h45m", "/admit", "/validate"] {
                let answer = running.post(&client, path, review().to_string()).await;
                assert_eq!(answer.status().as_u16(), 200, "{path}");
                assert_eq!(answer.headers()["content-type"], "application/json");
            }
        }
    });
}

#[test]
fn request_that_is_too_large_is_refused_with_and_without_a_length() {
    let site = Site::new();
    let running = site.serve("");
    block(async {
        for protocol in ["h2", "http/1.1"] {
            let client = site.client(protocol);
            let large = json!({"padding": " ".repeat(8 << 20)}).to_string();
            let answer = running.post(&client, "/validate", large).await;
            assert_eq!(told(answer).await.0, 413);
            assert_eq!(running.get(&client, "/livez").await.0, 200);
        }
        // The length is not known ahead.
        let mut stream = connect(&site, &running.url).await;
        let head = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("a request");
        let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
        for _ in 0..9 {
            stream.write_all(chunk.as_bytes()).await.expect("a chunk");
        }
        stream.write_all(b"0\r\n\r\n").await.expect("an end");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 413");
    });
}

#[test]
fn request_that_does_not_arrive_in_its_time_is_refused() {
    let site = Site::new();
    let running = site.serve("");
    block(async {
        let mut stream = connect(&site, &running.url).await;
        let head = "POST /validate?timeout=400ms HTTP/1.1\r\nHost: x\r\n\
                    Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.expect("a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("in full"), "{answer}");
        assert_eq!(running.get(&site.client("h2"), "/livez").await.0, 200);
    });
}

#[test]
fn webhooks_want_a_client_certificate_if_that_is_configured_and_probes_do_not() {
    let site = Site::new();
    let clients = Authority::new();
    site.user.write("clients.crt", clients.pem());
    let running = site.serve("--client-authorities clients.crt");
    block(async {
        for protocol in ["h2", "http/1.1"] {
            let nobody = site.client(protocol);
            for path in ["/livez", "/readyz", "/metrics"] {
                assert_eq!(running.get(&nobody, path).await.0, 200, "{path}");
            }
            for path in ["/validate", "/mutate", "/admit", "/imagepolicy"] {
                let answer = running.post(&nobody, path, review().to_string()).await;
                let (status, text) = told(answer).await;
                assert_eq!((status, text.contains("client certificate")), (403, true), "{path}");
            }
            let known = client(&site.authority, protocol, Some(clients.client()));
            let answer = running.post(&known, "/validate", review().to_string()).await;
            assert_eq!(answer.status().as_u16(), 200);
            // A certificate of somebody else ends the handshake.
            let stranger = client(&site.authority, protocol, Some(Authority::new().client()));
            let url = format!("{}/validate", running.url);
            assert!(stranger.post(url).body("{}").send().await.is_err());
        }
    });
}

#[test]
fn port_without_tls_has_probes_alone() {
    let site = Site::new();
    let running = site.serve("--plain-listen 127.0.0.1:0");
    let plain = running.plain_url();
    block(async {
        let client = site.client("http/1.1");
        for (path, status) in [("/livez", 200), ("/readyz", 200), ("/metrics", 200), ("/x", 404)] {
            let answer = client.get(format!("{plain}{path}")).send().await.expect("an answer");
            assert_eq!(answer.status().as_u16(), status, "{path}");
        }
        let webhook = client.post(format!("{plain}/validate")).body(review().to_string());
        let (status, text) = told(webhook.send().await.expect("an answer")).await;
        assert_eq!((status, text.contains("without TLS")), (404, true), "{text}");
    });
}

/// A connection on which HTTP/1.1 is written by hand.
pub(super) async fn connect(
    site: &Site,
    url: &str,
) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let address = url.trim_start_matches("https://");
    let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let config = super::tls(&site.authority, "http/1.1", None);
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let name = "127.0.0.1".try_into().expect("a name");
    connector.connect(name, stream).await.expect("a handshake")
}
