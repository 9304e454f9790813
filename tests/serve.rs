//! The webhook server: the real binary, over real connections.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use reqwest::{Client, Response};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use crate::cli::User;
use crate::support::tls::Authority;

mod check;
mod drain;
mod http;
mod reload;

/// What a server needs: a folder with policy, certificate and key, and whoever vouches for the certificate.
pub(crate) struct Site {
    pub(crate) user: User,
    pub(crate) authority: Authority,
}

impl Site {
    /// With a policy that rejects everything.
    pub(crate) fn new() -> Self {
        let site = Self { user: User::new(), authority: Authority::new() };
        site.user.policy(json!({"type": "reject"}));
        site.certify();
        site
    }

    /// Write a certificate that is new.
    pub(crate) fn certify(&self) {
        let (certificate, key) = self.authority.issue(&["127.0.0.1"]).pem();
        self.user.write("tls.crt", certificate);
        self.user.write("tls.key", key);
    }

    /// Start `countersign serve` with these arguments, and those that name the site's files.
    pub(crate) fn serve(&self, arguments: &str) -> Running {
        let mut all = format!("serve --listen 127.0.0.1:0 --registries-d registries.d {arguments}");
        for (option, file) in
            [("--policy", "policy.json"), ("--certificate", "tls.crt"), ("--key", "tls.key")]
        {
            if !arguments.contains(option) {
                all.push_str(&format!(" {option} {file}"));
            }
        }
        Running::start(&mut self.user.command(&all))
    }

    /// A client that trusts the site's authority and speaks this protocol (`h2`, `http/1.1`).
    pub(crate) fn client(&self, protocol: &str) -> Client {
        client(&self.authority, protocol, None)
    }
}

/// A server that runs.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    pub(crate) url: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the server starts");
        let stderr = child.stderr.take().expect("standard error");
        let (line, lines) = channel();
        std::thread::spawn(move || {
            for text in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.send(text).is_err() {
                    return;
                }
            }
        });
        let mut running = Self { child, lines, seen: Vec::new(), url: String::new() };
        running.url = address(&running.wait_for("listening on https://"), "https://");
        running
    }

    /// The first line of the log that has this and was not waited for yet.
    #[expect(clippy::panic, reason = "a line that does not come is the failure of the test")]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(HANGS) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("{text:?} is not logged ({error}): {:#?}", self.seen),
            }
        }
    }

    /// Where probes are without TLS, if they are.
    pub(crate) fn plain_url(&self) -> String {
        let line = self.seen.iter().find(|line| line.contains("probes and metrics on"));
        address(line.expect("a line"), "http://")
    }

    pub(crate) fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(status.success(), "{kill}");
    }

    /// How it ended.
    pub(crate) fn ended(mut self) -> Option<i32> {
        self.child.wait().expect("the server ends").code()
    }

    pub(crate) async fn get(&self, client: &Client, path: &str) -> (u16, String) {
        let answer = client.get(format!("{}{path}", self.url)).send().await;
        told(answer.expect("an answer")).await
    }

    pub(crate) async fn post(&self, client: &Client, path: &str, body: String) -> Response {
        let request = client.post(format!("{}{path}", self.url));
        let request = request.header("Content-Type", "application/json").body(body);
        request.send().await.expect("an answer")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that trusts this authority, speaks this protocol, and shows this certificate.
pub(crate) fn client(
    authority: &Authority,
    protocol: &str,
    identity: Option<(String, String)>,
) -> Client {
    let config = tls(authority, protocol, identity);
    let builder = Client::builder().no_proxy().tls_backend_preconfigured(config);
    builder.build().expect("a client")
}

pub(crate) fn tls(
    authority: &Authority,
    protocol: &str,
    identity: Option<(String, String)>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let pem = authority.pem();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")).expect("an authority");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("a certificate with its key")
        }
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    config
}

/// Run to the end.
pub(crate) fn block<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// A review of an object that holds no image: it is answered, and nothing has to be fetched.
pub(crate) fn review() -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
            "resource": {"group": "", "version": "v1", "resource": "configmaps"},
            "name": "a",
            "namespace": "b",
            "operation": "CREATE",
            "userInfo": {"username": "someone"},
            "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}},
            "oldObject": null,
            "dryRun": false,
            "options": null,
        }
    })
}

/// A volume as the kubelet mounts it: what is in `files` lies in a folder that one link leads to.
pub(crate) struct Volume {
    folder: PathBuf,
    turns: usize,
}

impl Volume {
    pub(crate) fn mount(user: &User, name: &str, files: &[(&str, &str)]) -> Self {
        let folder = user.path(name);
        fs::create_dir_all(&folder).expect("a folder");
        let mut volume = Self { folder, turns: 0 };
        volume.turn(files);
        for (name, _) in files {
            symlink(format!("..data/{name}"), volume.folder.join(name)).expect("a link");
        }
        volume
    }

    /// Replace everything at once.
    pub(crate) fn turn(&mut self, files: &[(&str, &str)]) {
        self.turns += 1;
        let version = format!("..{}", self.turns);
        let folder = self.folder.join(&version);
        fs::create_dir(&folder).expect("a folder");
        for (name, content) in files {
            fs::write(folder.join(name), content).expect("a file");
        }
        let link = self.folder.join("..data_tmp");
        symlink(&version, &link).expect("a link");
        fs::rename(&link, self.folder.join("..data")).expect("a swap");
        if self.turns > 1 {
            let old = self.folder.join(format!("..{}", self.turns - 1));
            fs::remove_dir_all(old).expect("the old folder goes");
        }
    }
}

async fn told(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a body"))
}

fn address(line: &str, scheme: &str) -> String {
    let (_, rest) = line.split_once(scheme).expect("a URL");
    let port = |c: char| c.is_ascii_digit() || c == '.' || c == ':';
    format!("{scheme}{}", rest.chars().take_while(|c| port(*c)).collect::<String>())
}

/// After so long a server that says nothing never will.
const HANGS: Duration = Duration::from_secs(120);
