//! How the server ends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::http::connect;
use super::{Site, block, review};

#[test]
fn request_in_flight_is_answered_after_sigterm() {
    for signal in ["TERM", "INT"] {
        let site = Site::new();
        site.user.write("config.yaml", "drain: {delay: 0s}\n");
        let mut running = site.serve("--config config.yaml");
        block(async {
            let mut stream = connect(&site, &running.url).await;
            let body = review().to_string();
            let head = format!(
                "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                 Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.expect("a request");
            // The server says so once it waits for the body.
            let mut go = [0; 25];
            stream.read_exact(&mut go).await.expect("to go on");
            assert!(go.starts_with(b"HTTP/1.1 100"));
            running.signal(signal);
            running.wait_for("about to end");
            stream.write_all(body.as_bytes()).await.expect("a body");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.expect("an answer");
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.contains("connection: close"), "{answer}");
        });
        assert_eq!(running.ended(), Some(0));
    }
}

#[test]
fn server_that_is_about_to_end_is_not_ready_and_still_answers_until_it_is_told_twice() {
    let site = Site::new();
    site.user.write("config.yaml", "drain: {delay: 60s}\n");
    let mut running = site.serve("--config config.yaml");
    let client = site.client("h2");
    block(async { assert_eq!(running.get(&client, "/readyz").await.0, 200) });
    running.signal("TERM");
    running.wait_for("about to end");
    let client = site.client("h2");
    block(async {
        let (status, text) = running.get(&client, "/readyz").await;
        assert_eq!((status, text.contains("about to end")), (503, true), "{text}");
        let answer = running.post(&client, "/validate", review().to_string()).await;
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(running.get(&client, "/livez").await.0, 200);
    });
    running.signal("TERM");
    assert_eq!(running.ended(), Some(2));
}

#[test]
fn idle_connections_do_not_keep_the_server() {
    let site = Site::new();
    site.user.write("config.yaml", "drain: {delay: 0s}\n");
    let mut running = site.serve("--config config.yaml");
    block(async {
        let (one, two) = (site.client("http/1.1"), site.client("h2"));
        assert_eq!(running.get(&one, "/livez").await.0, 200);
        assert_eq!(running.get(&two, "/livez").await.0, 200);
        // One that has asked nothing.
        let silent = connect(&site, &running.url).await;
        running.signal("TERM");
        running.wait_for("about to end");
        assert_eq!(running.ended(), Some(0));
        drop((one, two, silent));
    });
}
