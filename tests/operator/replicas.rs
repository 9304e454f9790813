//! Of several replicas one acts; and the program itself, as a cluster runs it.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::operator::{Candidate, RENEW_DEADLINE};
use k8s_openapi::api::coordination::v1::Lease;
use serde::Deserialize as _;
use tokio::sync::oneshot;

use super::*;
use crate::cli::User;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/build/leases";

async fn candidate(api: &ApiServer, identity: &str) -> Candidate {
    let cluster = api.cluster().await;
    Candidate::new(cluster, "build", "countersign-operator", identity.to_owned()).expect("a name")
}

fn holder(api: &ApiServer) -> Value {
    api.get("leases/countersign-operator")["spec"]["holderIdentity"].clone()
}

#[tokio::test]
async fn the_first_one_holds_the_lease_and_renews_it() {
    let api = ApiServer::start();
    let (mut one, mut two) = (candidate(&api, "one").await, candidate(&api, "two").await);
    let begin = Instant::now();
    assert!(one.attempt(begin).await.expect("an answer"));
    let lease = api.get("leases/countersign-operator");
    Lease::deserialize(&lease).expect("a Lease");
    for seconds in [0, 14, 28, 42] {
        let now = begin + Duration::from_secs(seconds);
        assert!(!two.attempt(now).await.expect("an answer"), "{seconds}");
        assert!(one.attempt(now).await.expect("an answer"), "{seconds}");
    }
    assert_eq!(holder(&api), "one");
    assert_eq!(api.get("leases/countersign-operator")["spec"]["leaseTransitions"], 0);
    assert!(RENEW_DEADLINE < Duration::from_secs(15));
}

#[tokio::test]
async fn another_one_takes_over_when_the_lease_has_ended() {
    let api = ApiServer::start();
    let (mut one, mut two) = (candidate(&api, "one").await, candidate(&api, "two").await);
    let begin = Instant::now();
    assert!(one.attempt(begin).await.expect("an answer"));
    // It counts from when it is seen, by the own clock.
    let seen = begin + Duration::from_secs(60);
    assert!(!two.attempt(seen).await.expect("an answer"));
    assert!(!two.attempt(seen + Duration::from_secs(14)).await.expect("an answer"));
    assert!(two.attempt(seen + Duration::from_secs(15)).await.expect("an answer"));
    assert_eq!(holder(&api), "two");
    assert_eq!(api.get("leases/countersign-operator")["spec"]["leaseTransitions"], 1);
    assert!(!one.attempt(seen + Duration::from_secs(15)).await.expect("an answer"));
}

#[tokio::test]
async fn a_lease_that_is_given_back_is_taken_at_once() {
    let api = ApiServer::start();
    let (mut one, mut two) = (candidate(&api, "one").await, candidate(&api, "two").await);
    let begin = Instant::now();
    assert!(one.attempt(begin).await.expect("an answer"));
    two.release().await.expect("not its own");
    assert_eq!(holder(&api), "one");
    one.release().await.expect("given back");
    assert!(two.attempt(begin).await.expect("an answer"));
    assert_eq!(holder(&api), "two");
}

#[tokio::test]
async fn of_two_that_write_at_the_same_time_one_is_first() {
    let api = ApiServer::start();
    let (mut one, mut two) = (candidate(&api, "one").await, candidate(&api, "two").await);
    api.fail("POST", "/leases", 409, 1);
    assert!(!one.attempt(Instant::now()).await.expect("an answer"));
    assert!(two.attempt(Instant::now()).await.expect("an answer"));
    api.fail("PUT", "/leases", 409, 1);
    assert!(!two.attempt(Instant::now()).await.expect("an answer"));
    api.fail("GET", "/leases", 500, 1);
    two.attempt(Instant::now()).await.expect_err("no answer");
}

/// A replica that runs until it is told to end.
pub(super) struct Replica {
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<()>,
}

pub(super) async fn replica(api: &Arc<ApiServer>, identity: &str) -> Replica {
    let namespaces = vec!["build".to_owned()];
    let mut settings = Settings::new(namespaces, "build".to_owned(), identity.to_owned());
    settings.attempt_every = Duration::from_millis(5);
    let operator = Operator::new(api.cluster().await, settings).expect("an operator");
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        operator.run(stopped).await.expect("it runs");
    });
    Replica { stop: Some(stop), ended }
}

impl Replica {
    pub(super) async fn end(mut self) {
        drop(self.stop.take());
        self.ended.await.expect("it ends");
    }
}

#[tokio::test]
async fn only_the_holder_acts_and_the_other_one_goes_on_after_it() {
    let api = Arc::new(ApiServer::start());
    let status = |name: &str| {
        format!("/apis/countersign.dev/v1/namespaces/build/imagesignings/{name}/status")
    };
    let lease = format!("{LEASE}/countersign-operator");
    let spec = json!({"identity": identity(), "algorithm": "ed25519"});
    api.put("imagesignings", resource("countersign.dev/v1", "release", &spec));
    let one = replica(&api, "one").await;
    api.server.asked(&status("release"), 1).await;
    assert_eq!(holder(&api), "one");
    let two = replica(&api, "two").await;
    // It has been told no a few times, while the first one renewed.
    let asked = api.server.requests_to(&lease).len();
    api.server.asked(&lease, asked + 20).await;
    assert_eq!(holder(&api), "one");
    assert_eq!(api.events(), ["KeyMade", "KeysPublished"]);

    // What is added while it runs is heard of.
    let other = with(spec.clone(), &json!({"secretName": "b", "configMapName": "b"}));
    api.put("imagesignings", resource("countersign.dev/v1", "second", &other));
    api.server.asked(&status("second"), 1).await;

    one.end().await;
    let third = with(spec, &json!({"secretName": "c", "configMapName": "c"}));
    api.put("imagesignings", resource("countersign.dev/v1", "third", &third));
    api.server.asked(&status("third"), 1).await;
    assert_eq!(holder(&api), "two");
    two.end().await;
    assert_eq!(holder(&api), "");
    assert_eq!(api.asked("POST /api/v1/namespaces/build/secrets").len(), 3);
}

/// The program, with everything logged that can be.
#[tokio::test]
async fn the_program_looks_after_keys_until_it_is_told_to_end_and_logs_none() {
    let api = ApiServer::start();
    let user = User::new();
    let old = key(None);
    let pair =
        json!({"keypair": {"secretKey": String::from_utf8(armoured(&old)).expect("armour")}});
    api.put("imagesignings", resource("security.kabanero.io/v1alpha1", "old", &pair));
    let spec = json!({
        "identity": identity(), "algorithm": "ed25519", "secretName": "own", "configMapName": "own-public",
    });
    api.put("imagesignings", resource("countersign.dev/v1", "own", &spec));
    user.write("kubeconfig", api.kubeconfig());
    let mut command =
        user.command("operator --namespace build --health-listen 127.0.0.1:0 --log-level trace");
    command
        .env("KUBECONFIG", user.path("kubeconfig"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    let process = rustix::process::Pid::from_raw(child.id().try_into().expect("an id"));
    let (ours, theirs) = ("/apis/countersign.dev/v1", "/apis/security.kabanero.io/v1alpha1");
    api.server.asked(&format!("{ours}/namespaces/build/imagesignings/own/status"), 1).await;
    api.server.asked(&format!("{theirs}/namespaces/build/imagesignings/old/status"), 1).await;
    rustix::process::kill_process(process.expect("an id"), rustix::process::Signal::TERM)
        .expect("told");
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await;
    let output = output.expect("no panic").expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let log = String::from_utf8(output.stderr).expect("text");
    assert!(
        log.contains("probes on http://127.0.0.1:") && log.contains("acts from now on"),
        "{log}"
    );
    assert_eq!(holder(&api), "");
    assert!(output.stdout.is_empty());
    let secrets = ["own", "signature-secret-key"].map(|name| api.get(&format!("secrets/{name}")));
    for secret in &secrets {
        let encoded = secret["data"]["secret.asc"].as_str().expect("a key");
        let content = String::from_utf8(entry(secret, "secret.asc")).expect("armour");
        for part in [&encoded[100..140], content.lines().nth(4).expect("a line"), "PRIVATE KEY"] {
            assert!(!log.contains(part), "{part} is logged");
        }
    }
    assert!(!log.contains("t0ken"), "the token is logged");
}
