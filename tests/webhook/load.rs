//! Nothing is lost: files are swapped and the server is told to stop while requests come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::task::JoinSet;

use super::{Setup, Webhook, client, pod, post, signed_by_the_key, swap};

/// Complaint 37, and the swap of symbolic links that kubelets make.
#[test]
fn certificates_and_policy_swapped_under_load_fail_no_request() {
    let mut setup = Setup::new();
    let everything = setup.every_image();
    let (tls, policy) = (setup.path("mounted-tls"), setup.path("mounted-policy"));
    let key = setup.key.export().expect("a public key");
    let certificate = || {
        let (certificate, key) = setup.authority.issue_pem(&["127.0.0.1"]);
        vec![("tls.crt", certificate.into_bytes()), ("tls.key", key.into_bytes())]
    };
    let document = |generation: usize| {
        let mut policy = signed_by_the_key();
        // Another policy every time, with the same meaning.
        policy["transports"] = json!({"docker": {format!("generation{generation}.example.com"): [{"type": "reject"}]}});
        vec![("policy.json", policy.to_string().into_bytes()), ("key.gpg", key.clone())]
    };
    swap(&tls, 0, &certificate());
    swap(&policy, 0, &document(0));
    let mut configuration = setup.configuration.clone();
    configuration["tls"] = json!({"certificate": tls.join("tls.crt"), "key": tls.join("tls.key")});
    configuration["policy"]["file"] = json!(policy.join("policy.json"));
    let setup_certificate = certificate;
    let webhook = {
        setup.write("config.yaml", configuration.to_string().as_bytes());
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["serve", "--config"]).arg(setup.path("config.yaml"));
        Webhook::run(&mut command, &setup.authority.pem())
    };
    let load =
        Load::start(&webhook, &setup.authority.pem(), &format!("{}/ns/app:1", everything.host()));
    for generation in 1..=SWAPS {
        swap(&tls, generation, &setup_certificate());
        swap(&policy, generation, &document(generation));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let last = document(SWAPS + 1);
    swap(&policy, SWAPS + 1, &last);
    webhook.wait_until("a later generation", |webhook| {
        let (_, text) = webhook.get("/readyz?verbose");
        text.contains("generation ") && !text.contains("generation 1,")
    });
    // The first load of a policy counts, that of a certificate does not.
    for (what, first) in [("certificate", 0), ("policy", 1)] {
        webhook.wait_until("a reload", |webhook| reloads(webhook, what) > first);
    }
    let (answered, failed) = load.end(&webhook);
    assert!(failed.is_empty(), "{} of {answered} failed: {:?}", failed.len(), failed.first());
    assert!(answered > 0);
    assert_eq!(webhook.get("/readyz").0, 200);
}

/// How often something was loaded.
fn reloads(webhook: &Webhook, what: &str) -> u64 {
    let (_, text) = webhook.get("/metrics");
    let of_what = |line: &&str| {
        line.starts_with("countersign_reloads_total{")
            && line.contains(&format!("\"{what}\""))
            && line.contains("\"loaded\"")
    };
    let line = text.lines().find(of_what);
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

#[test]
fn no_request_in_flight_is_lost_when_the_server_is_told_to_stop() {
    let mut setup = Setup::new();
    let everything = setup.every_image();
    let webhook = setup.start();
    let load =
        Load::start(&webhook, &setup.authority.pem(), &format!("{}/ns/app:1", everything.host()));
    webhook.wait_until("an answer", |_| load.answered.load(Ordering::SeqCst) > 20);
    webhook.signal("TERM");
    let mut webhook = webhook;
    let status = webhook.process.wait().expect("it ends");
    assert!(status.success(), "{status}\n{}", webhook.log());
    let (_, failed) = load.end(&webhook);
    // Whoever connects when nobody listens any more finds nobody, and asks another replica. What was sent on a
    // connection is answered.
    let lost: Vec<_> = failed.iter().filter(|error| !error.starts_with("connect: ")).collect();
    assert!(lost.is_empty(), "{} lost: {:?}\n{}", lost.len(), lost.first(), webhook.log());
}

/// Requests from several connections until the end.
struct Load {
    answered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Vec<String>>,
}

impl Load {
    fn start(webhook: &Webhook, authority: &str, image: &str) -> Self {
        let answered = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let _entered = webhook.runtime.enter();
        for _ in 0..CLIENTS {
            let (answered, stop) = (Arc::clone(&answered), Arc::clone(&stop));
            let (client, host) = (client(authority), webhook.secure.clone());
            let review = pod(&[image]).to_string();
            tasks.spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    match post(&client, &host, "/validate?timeout=10s", review.clone()).await {
                        Ok((200, answer)) if answer["response"]["allowed"] == true => {
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok(other) => failed.push(format!("{other:?}")),
                        Err(error) => {
                            let gone = error.starts_with("connect: ");
                            failed.push(error);
                            if gone {
                                break;
                            }
                        }
                    }
                }
                failed
            });
        }
        Self { answered, stop, tasks }
    }

    /// How many were answered, and what happened to the others.
    fn end(mut self, webhook: &Webhook) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        let mut failed = Vec::new();
        webhook.runtime.block_on(async {
            while let Some(task) = self.tasks.join_next().await {
                failed.extend(task.expect("a client ends"));
            }
        });
        (self.answered.load(Ordering::SeqCst), failed)
    }
}

const SWAPS: usize = 50;

const CLIENTS: usize = 4;
