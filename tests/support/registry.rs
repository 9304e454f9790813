//! A registry inside the test's own process that keeps what it is sent, as the distribution specification says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign::digest::Digest;
use serde_json::{Value, json};

use super::server::{Answer, Recorded, Server};

/// A [`Server`] that takes uploads. What a script of the server's own answers never gets here.
pub(crate) struct Registry {
    pub(crate) server: Server,
    contents: Arc<Mutex<Contents>>,
}

/// What it has, and how it behaves.
#[derive(Default)]
struct Contents {
    /// By repository and digest.
    blobs: BTreeMap<(String, String), Vec<u8>>,
    /// By repository and tag or digest.
    manifests: BTreeMap<(String, String), Vec<u8>>,
    /// Uploads that are under way, with what they have so far.
    begun: BTreeMap<String, Vec<u8>>,
    /// The fewest bytes of a part of an upload, if it takes uploads in parts alone; whether it says so.
    parts: Option<(usize, bool)>,
    count: usize,
    /// What every request has to show, and what it is told if it does not.
    demand: Option<(String, String)>,
    /// Where uploads go; its own address if it is empty.
    storage: String,
    /// How many uploads it forgets as soon as they are begun.
    forgets: usize,
    refuses_mounts: bool,
    /// By path of the extension, if it keeps signatures itself: what was put there.
    signatures: Option<BTreeMap<String, Vec<Value>>>,
    /// How many names of signatures it says that it has.
    taken: usize,
}

impl Registry {
    /// Plain HTTP, empty, and open to everyone.
    pub(crate) fn start() -> Self {
        let server = Server::start();
        let contents = Arc::new(Mutex::new(Contents::default()));
        let script = Arc::clone(&contents);
        server.otherwise(move |request| lock(&script).answer(request));
        Self { server, contents }
    }

    /// Answer nobody who does not send this `Authorization`, but with a challenge.
    pub(crate) fn demand(&self, authorization: &str, challenge: &str) {
        let demand = (authorization.to_owned(), challenge.to_owned());
        lock(&self.contents).demand = Some(demand);
    }

    /// Have blobs put there: a URL without a path.
    pub(crate) fn upload_to(&self, storage: &str) {
        storage.clone_into(&mut lock(&self.contents).storage);
    }

    /// Take the next uploads to the places that are named for them for unknown.
    pub(crate) fn forget(&self, uploads: usize) {
        lock(&self.contents).forgets = uploads;
    }

    /// Keep signatures itself, as OpenShift's registry does.
    pub(crate) fn keep_signatures(&self) {
        lock(&self.contents).signatures = Some(BTreeMap::new());
    }

    /// Take the names of the next signatures for names of others.
    pub(crate) fn take_names(&self, count: usize) {
        lock(&self.contents).taken = count;
    }

    /// Put a manifest there, under a tag or a digest, whatever it names.
    pub(crate) fn put(&self, repository: &str, name: &str, manifest: &[u8]) {
        let key = (repository.to_owned(), name.to_owned());
        lock(&self.contents).manifests.insert(key, manifest.to_vec());
    }

    /// What it keeps for a manifest.
    pub(crate) fn signatures(&self, repository: &str, digest: &str) -> Vec<Value> {
        let path = format!("/extensions/v2/{repository}/signatures/{digest}");
        let contents = lock(&self.contents);
        contents.signatures.as_ref().and_then(|kept| kept.get(&path)).cloned().unwrap_or_default()
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.server.host()
    }

    /// Take blobs in parts of at least so many bytes and in no other way. It may say so at once.
    pub(crate) fn want_parts(&self, least: usize, says_so: bool) {
        lock(&self.contents).parts = Some((least, says_so));
    }

    /// Let nobody take blobs from other repositories.
    pub(crate) fn refuse_mounts(&self) {
        lock(&self.contents).refuses_mounts = true;
    }

    /// Put a blob there; its digest.
    pub(crate) fn put_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = Digest::sha256(content);
        let key = (repository.to_owned(), digest.to_string());
        lock(&self.contents).blobs.insert(key, content.to_vec());
        digest
    }

    /// The names of all manifests of a repository.
    pub(crate) fn manifests(&self, repository: &str) -> Vec<String> {
        let contents = lock(&self.contents);
        let names = contents.manifests.keys().filter(|(of, _)| of == repository);
        names.map(|(_, name)| name.clone()).collect()
    }

    /// A manifest of a repository, by tag or digest.
    pub(crate) fn manifest(&self, repository: &str, name: &str) -> Option<Vec<u8>> {
        let key = (repository.to_owned(), name.to_owned());
        lock(&self.contents).manifests.get(&key).cloned()
    }

    /// A blob of a repository.
    pub(crate) fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        let key = (repository.to_owned(), digest.to_owned());
        lock(&self.contents).blobs.get(&key).cloned()
    }

    /// The digests of all blobs of a repository.
    pub(crate) fn blobs(&self, repository: &str) -> Vec<String> {
        let contents = lock(&self.contents);
        let digests = contents.blobs.keys().filter(|(of, _)| of == repository);
        digests.map(|(_, digest)| digest.clone()).collect()
    }

    /// Change what it has by `change`, which gets the name of each blob and its bytes.
    pub(crate) fn alter_blobs(&self, mut change: impl FnMut(&str, &mut Vec<u8>)) {
        for ((_, digest), content) in &mut lock(&self.contents).blobs {
            change(digest, content);
        }
    }

    /// Methods and paths of all requests, in the order of arrival, without hosts, digests and numbers.
    pub(crate) fn asked(&self) -> Vec<String> {
        let short = |request: &Recorded| {
            let path = request.path.split("sha256:").next().unwrap_or_default();
            format!("{} {}", request.method, path.trim_end_matches(|c: char| c.is_ascii_digit()))
        };
        self.server.requests().iter().map(short).collect()
    }
}

impl Contents {
    fn answer(&mut self, request: &Recorded) -> Answer {
        if let Some((authorization, challenge)) = &self.demand
            && request.authorization() != Some(authorization)
        {
            return Answer::challenge(challenge.clone());
        }
        if let Some(answer) = self.extension(request) {
            return answer;
        }
        let Some(path) = request.path.strip_prefix("/v2/") else { return Answer::status(404) };
        if path.is_empty() {
            let answer = Answer::ok("{}");
            return match self.signatures {
                Some(_) => answer.header("x-registry-supports-signatures", "1"),
                None => answer,
            };
        }
        let part =
            |name: &str| path.split_once(name).map(|(of, rest)| (of.to_owned(), rest.to_owned()));
        let method = request.method.as_str();
        if let Some((repository, id)) = part("/blobs/uploads/") {
            return match method {
                "POST" if id.is_empty() => {
                    self.mount(&repository, request).unwrap_or_else(|| self.begin(&repository))
                }
                "PATCH" => self.patch_blob(&repository, &id, request),
                "PUT" => self.put_blob(&repository, &id, request),
                _ => Answer::status(405),
            };
        }
        if let Some(key) = part("/blobs/") {
            return match (method, self.blobs.get(&key)) {
                ("HEAD", Some(_)) => Answer::ok("").header("docker-content-digest", key.1),
                ("GET", Some(content)) => Answer::ok(content.clone()),
                _ => Answer::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
            };
        }
        match (part("/manifests/"), method) {
            (Some((repository, name)), "PUT") => self.put_manifest(&repository, &name, request),
            (Some(key), _) => match self.manifests.get(&key) {
                Some(content) => Answer::ok(content.clone())
                    .header("content-type", media_type(content))
                    .header("docker-content-digest", Digest::sha256(content).as_str()),
                None => Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            },
            (None, _) => Answer::status(404),
        }
    }

    /// `GET` and `PUT /extensions/v2/REPOSITORY/signatures/DIGEST`: the conformance data's `xrss-*.json`.
    fn extension(&mut self, request: &Recorded) -> Option<Answer> {
        let (_, digest) =
            request.path.strip_prefix("/extensions/v2/")?.split_once("/signatures/")?;
        let kept = self.signatures.as_mut()?.entry(request.path.clone()).or_default();
        if request.method == "GET" {
            return Some(Answer::ok(json!({"signatures": kept}).to_string()));
        }
        let invalid = Answer::error(400, "SIGNATURE_INVALID", "invalid image signature");
        let Ok(entry) = serde_json::from_slice::<Value>(&request.content) else {
            return Some(invalid);
        };
        let name = entry["name"].as_str().and_then(|name| name.strip_prefix(&format!("{digest}@")));
        let named = name.is_some_and(|n| n.len() == 32 && n.bytes().all(|b| b.is_ascii_hexdigit()));
        let content = entry["content"].as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
        if !named
            || content.is_none_or(|content| content.is_empty())
            || entry["schemaVersion"] != 2
            || entry["type"] != "atomic"
        {
            return Some(invalid);
        }
        if self.taken > 0 || kept.iter().any(|known| known["name"] == entry["name"]) {
            self.taken = self.taken.saturating_sub(1);
            let message = "image signature already exists";
            return Some(Answer::error(409, "SIGNATURE_EXISTS", message));
        }
        kept.push(entry);
        Some(Answer::status(201))
    }

    fn begin(&mut self, repository: &str) -> Answer {
        self.count += 1;
        let id = self.count.to_string();
        if self.forgets > 0 {
            self.forgets -= 1;
        } else {
            self.begun.insert(id.clone(), Vec::new());
        }
        let place = format!("{}/v2/{repository}/blobs/uploads/{id}?_state=x", self.storage);
        let answer = Answer::status(202).header("location", place);
        match self.parts {
            Some((least, true)) => answer.header("oci-chunk-min-length", least.to_string()),
            _ => answer,
        }
    }

    /// Take a blob from another repository, if it is there.
    fn mount(&mut self, repository: &str, request: &Recorded) -> Option<Answer> {
        let (digest, from) = request.query.strip_prefix("mount=")?.split_once("&from=")?;
        if self.refuses_mounts {
            return Some(Answer::challenge("Basic realm=\"another repository\""));
        }
        let digest = digest.replace("%3A", ":");
        let blob = self.blobs.get(&(from.replace("%2F", "/"), digest.clone()))?.clone();
        self.blobs.insert((repository.to_owned(), digest), blob);
        Some(Answer::status(201))
    }

    fn patch_blob(&mut self, repository: &str, id: &str, request: &Recorded) -> Answer {
        let Some(so_far) = self.begun.get_mut(id) else {
            return Answer::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
        };
        let (from, length) = (so_far.len(), request.content.len());
        let range = format!("{from}-{}", (from + length).saturating_sub(1));
        if request.header("content-range") != Some(&range) {
            return Answer::error(416, "BLOB_UPLOAD_INVALID", "out of order");
        }
        so_far.extend_from_slice(&request.content);
        let place = format!("{}/v2/{repository}/blobs/uploads/{id}?_state=x", self.storage);
        Answer::status(202).header("location", place).header("range", range)
    }

    fn put_blob(&mut self, repository: &str, id: &str, request: &Recorded) -> Answer {
        if self.parts.is_some() && !request.content.is_empty() {
            return Answer::error(413, "SIZE_INVALID", "too much at once");
        }
        let Some(mut content) = self.begun.remove(id) else {
            return Answer::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
        };
        content.extend_from_slice(&request.content);
        let digest = Digest::sha256(&content);
        let query = format!("_state=x&digest={}", digest.as_str().replace(':', "%3A"));
        if request.query != query {
            return Answer::error(400, "DIGEST_INVALID", "provided digest did not match");
        }
        let key = (repository.to_owned(), digest.to_string());
        self.blobs.insert(key, content);
        Answer::status(201).header("docker-content-digest", digest.as_str())
    }

    fn put_manifest(&mut self, repository: &str, name: &str, request: &Recorded) -> Answer {
        let digest = Digest::sha256(&request.content);
        if name.contains(':') && name != digest.as_str() {
            return Answer::error(400, "DIGEST_INVALID", "provided digest did not match");
        }
        let Ok(manifest) = serde_json::from_slice::<Value>(&request.content) else {
            return Answer::error(400, "MANIFEST_INVALID", "manifest invalid");
        };
        if request.header("content-type") != manifest["mediaType"].as_str() {
            return Answer::error(400, "MANIFEST_INVALID", "another media type");
        }
        let layers = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        for instance in manifest["manifests"].as_array().into_iter().flatten() {
            let digest = instance["digest"].as_str().unwrap_or_default();
            if !self.manifests.contains_key(&(repository.to_owned(), digest.to_owned())) {
                return Answer::error(400, "MANIFEST_UNKNOWN", "instance unknown to registry");
            }
        }
        for blob in layers.iter().chain(manifest.get("config")) {
            let digest = blob["digest"].as_str().unwrap_or_default();
            if !self.blobs.contains_key(&(repository.to_owned(), digest.to_owned())) {
                return Answer::error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry");
            }
        }
        for name in [name, digest.as_str()] {
            let key = (repository.to_owned(), name.to_owned());
            self.manifests.insert(key, request.content.to_vec());
        }
        Answer::status(201).header("docker-content-digest", digest.as_str())
    }
}

/// What a manifest says of itself.
fn media_type(content: &[u8]) -> String {
    let manifest: Value = serde_json::from_slice(content).unwrap_or_default();
    manifest["mediaType"].as_str().unwrap_or(super::OCI_IMAGE).to_owned()
}

fn lock(contents: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    contents.lock().unwrap_or_else(PoisonError::into_inner)
}
