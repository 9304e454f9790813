//! `countersign serve` as a cluster meets it: the real binary, over real TLS, in front of registries that
//! are real, or worse.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign::digest::Digest;
use countersign::reference::Reference;
use countersign::sign::{self, SigningKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::OCI_IMAGE;
use crate::support::server::{Answer, Recorded, Server};
use crate::support::tls::Authority;

mod hostile;
mod load;
mod pull_secrets;
mod real;
mod reviews;
mod rules;
pub(crate) mod shipped_rules;

/// What a server is started with.
struct Setup {
    folder: TempDir,
    authority: Authority,
    key: SigningKey,
    configuration: Value,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// A certificate for 127.0.0.1, and the policy that every image has to be signed as [`IDENTITY`] by one key.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new();
        let key = SigningKey::generate("Tests <tests@example.com>", SIGNED_AT).expect("a key");
        let path = |name: &str| folder.path().join(name);
        let configuration = json!({
            "listen": "127.0.0.1:0",
            "plainListen": "127.0.0.1:0",
            "tls": {"certificate": path("tls/tls.crt"), "key": path("tls/tls.key")},
            "policy": {"file": path("policy/policy.json"), "registriesD": path("registries.d")},
            "registries": {"plainHttp": []},
            "log": {"format": "json", "level": "info", "decisions": "all"},
        });
        let setup = Self { folder, authority, key, configuration, environment: Vec::new() };
        setup.write_certificate("tls");
        setup.write("policy/key.gpg", &setup.key.export().expect("a public key"));
        setup.write_policy("policy", &signed_by_the_key());
        setup.write("registries.d/default.yaml", b"docker: {}\n");
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        lab::write(&self.path(name), content).expect("a file");
    }

    /// A new certificate for 127.0.0.1.
    fn write_certificate(&self, folder: &str) {
        let (certificate, key) = self.authority.issue_pem(&["127.0.0.1", "localhost"]);
        self.write(&format!("{folder}/tls.key"), key.as_bytes());
        self.write(&format!("{folder}/tls.crt"), certificate.as_bytes());
    }

    fn write_policy(&self, folder: &str, policy: &Value) {
        self.write(&format!("{folder}/policy.json"), policy.to_string().as_bytes());
    }

    /// Plain HTTP to these hosts, whose signatures are in `lookaside`.
    fn trust_plain(&mut self, hosts: &[String], lookaside: Option<&str>) {
        self.configuration["registries"]["plainHttp"] = json!(hosts);
        if let Some(lookaside) = lookaside {
            let stores = json!({"default-docker": {"lookaside": lookaside}});
            self.write("registries.d/default.yaml", stores.to_string().as_bytes());
        }
    }

    /// A registry inside this process that has every image, all the same, and a lookaside that has its signature.
    fn every_image(&mut self) -> Everything {
        let everything = Everything::start(&self.key);
        let host = everything.server.host();
        let store = format!("http://{host}/signatures");
        self.trust_plain(&[host], Some(&store));
        everything
    }

    /// Start the server, and wait until it listens.
    fn start(&self) -> Webhook {
        // JSON is YAML.
        self.write("config.yaml", self.configuration.to_string().as_bytes());
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["serve", "--config"]).arg(self.path("config.yaml"));
        command.env_remove("HTTP_PROXY").env_remove("http_proxy").env_remove("KUBECONFIG");
        if self.path("kubeconfig").exists() {
            command.env("KUBECONFIG", self.path("kubeconfig"));
        }
        command.envs(self.environment.iter().cloned());
        Webhook::run(&mut command, &self.authority.pem())
    }
}

/// A running server. Ends when dropped.
struct Webhook {
    process: Child,
    secure: String,
    plain: String,
    client: reqwest::Client,
    runtime: Runtime,
    log: Arc<Mutex<String>>,
}

impl Webhook {
    fn run(command: &mut Command, authority: &str) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server runs");
        let stderr = process.stderr.take().expect("a pipe");
        let log = Arc::new(Mutex::new(String::new()));
        let (found, addresses) = std::sync::mpsc::channel();
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                for scheme in ["https://", "http://"] {
                    if line.contains(" on http")
                        && let Some((_, rest)) = line.split_once(scheme)
                    {
                        let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
                        let address = rest[..end.unwrap_or(rest.len())].to_owned();
                        // Nobody waits for it any more if both were found.
                        let _ = found.send((scheme, address));
                    }
                }
                let mut log = written.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        let (mut secure, mut plain) = (String::new(), String::new());
        while secure.is_empty() || plain.is_empty() {
            match addresses.recv_timeout(START) {
                Ok(("https://", address)) => secure = address,
                Ok((_, address)) => plain = address,
                Err(_) => {
                    process.kill().expect("it runs");
                    let log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    assert!(!log.is_empty() && log.is_empty(), "the server did not listen:\n{log}");
                }
            }
        }
        let runtime = Runtime::new().expect("a runtime");
        let client = client(authority);
        Self { process, secure, plain, client, runtime, log }
    }

    /// POST a document; the status and the answer.
    fn ask(&self, path: &str, document: &Value) -> (u16, Value) {
        self.runtime.block_on(self.ask_async(path, document.to_string()))
    }

    async fn ask_async(&self, path: &str, document: String) -> (u16, Value) {
        post(&self.client, &self.secure, path, document).await.expect("an answer")
    }

    /// POST a review to `/validate`; whether it was allowed, and the words against it.
    fn validate(&self, review: &Value) -> (bool, String) {
        let (status, answer) = self.ask("/validate?timeout=10s", review);
        assert_eq!(status, 200, "{answer}");
        let response = &answer["response"];
        let message = response["status"]["message"].as_str().unwrap_or_default().to_owned();
        (response["allowed"].as_bool().expect("an answer"), message)
    }

    /// GET from the listener without TLS.
    fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.plain);
        self.runtime.block_on(async {
            let response = self.client.get(url).send().await.expect("an answer");
            (response.status().as_u16(), response.text().await.expect("a text"))
        })
    }

    /// Look until the server says what is expected; it watches its files, and nobody is told when it has looked.
    fn wait_until(&self, what: &str, mut happened: impl FnMut(&Self) -> bool) {
        // Rules in JavaScript and Python are compiled meanwhile, on a machine that does much else.
        for _ in 0..3600 {
            if happened(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!what.is_empty() && what.is_empty(), "{what} never happened:\n{log}");
    }

    fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &id]).status().expect("kill runs");
        assert!(status.success());
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        // Nothing to do about one that has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn post(
    client: &reqwest::Client,
    host: &str,
    path: &str,
    document: String,
) -> Result<(u16, Value), String> {
    let request = client.post(format!("https://{host}{path}"));
    let request = request.header("content-type", "application/json").body(document);
    let response = request.send().await.map_err(|error| {
        let stage = if error.is_connect() { "connect" } else { "request" };
        format!("{stage}: {error:?}")
    })?;
    let status = response.status().as_u16();
    let body = response.bytes().await.map_err(|error| format!("{error:?}"))?;
    let answer = serde_json::from_slice(&body);
    Ok((status, answer.unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into())))
}

/// A client that trusts one authority.
fn client(authority: &str) -> reqwest::Client {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.as_bytes()).expect("a certificate");
    roots.add(certificate).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().expect("a client")
}

/// A registry and lookaside that has every image, all with the same manifest and signature. Names that contain
/// `unsigned` have no signature; names that contain `missing` do not exist.
struct Everything {
    server: Server,
    digest: Digest,
}

impl Everything {
    fn start(key: &SigningKey) -> Self {
        let server = Server::start();
        let manifest = MANIFEST.as_bytes().to_vec();
        let digest = Digest::sha256(&manifest);
        let signature = signature(key, &digest);
        server.otherwise(move |request: &Recorded| answer(request, &manifest, &signature));
        Self { server, digest }
    }

    fn host(&self) -> String {
        self.server.host()
    }

    /// Requests for manifests and signatures so far.
    fn requests(&self) -> usize {
        self.server.requests().iter().filter(|request| request.path != "/v2/").count()
    }
}

fn answer(request: &Recorded, manifest: &[u8], signature: &[u8]) -> Answer {
    let path = &request.path;
    if path == "/v2/" {
        Answer::ok("{}")
    } else if path.contains("missing") {
        Answer::status(404)
    } else if path.contains("/manifests/") {
        Answer::ok(manifest).header("content-type", OCI_IMAGE)
    } else if path.ends_with("/signature-1") && !path.contains("unsigned") {
        Answer::ok(signature)
    } else {
        Answer::status(404)
    }
}

/// A signature of a manifest as [`IDENTITY`].
fn signature(key: &SigningKey, digest: &Digest) -> Vec<u8> {
    let identity = Reference::parse_normalized(IDENTITY).expect("a reference");
    let payload = sign::payload(digest, &identity, SIGNED_AT);
    key.sign(payload.as_bytes(), SIGNED_AT).expect("a signature")
}

/// Every image has to be signed as [`IDENTITY`] by the key beside the policy.
fn signed_by_the_key() -> Value {
    json!({"default": [{
        "type": "signedBy", "keyType": "GPGKeys", "keyPath": "key.gpg",
        "signedIdentity": {"type": "exactReference", "dockerReference": IDENTITY},
    }]})
}

/// The review of a new pod with a container for each image.
fn pod(images: &[&str]) -> Value {
    let containers: Vec<_> = images
        .iter()
        .enumerate()
        .map(|(number, image)| json!({"name": format!("c{number}"), "image": image}))
        .collect();
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "name": "web", "namespace": "apps", "operation": "CREATE",
            "userInfo": {"username": "alice", "groups": ["system:authenticated"]},
            "object": {
                "kind": "Pod", "apiVersion": "v1",
                "metadata": {"name": "web", "namespace": "apps"},
                "spec": {"containers": containers},
            },
            "oldObject": null, "dryRun": false,
        },
    })
}

/// A file as Kubernetes swaps it: `..data` is a link to a folder, and the file a link into it.
fn swap(folder: &Path, generation: usize, files: &[(&str, Vec<u8>)]) {
    let name = format!("..{generation}");
    for (file, content) in files {
        lab::write(&folder.join(&name).join(file), content).expect("a file");
    }
    let (link, new) = (folder.join("..data"), folder.join("..data_tmp"));
    std::os::unix::fs::symlink(&name, &new).expect("a link");
    std::fs::rename(&new, &link).expect("a link");
    for (file, _) in files {
        let path = folder.join(file);
        if path.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(Path::new("..data").join(file), path).expect("a link");
        }
    }
}

/// What every signature here is of.
const IDENTITY: &str = "images.example.com/app:v1";

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;

/// 2023-11-14.
const SIGNED_AT: u64 = 1_700_000_000;

/// Longest time for a start, on a machine that does much else.
const START: Duration = Duration::from_secs(60);
