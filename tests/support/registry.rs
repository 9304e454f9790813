//! A registry inside the test's own process that keeps what it is sent, as the distribution specification says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign::digest::Digest;

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
    /// Uploads that are under way.
    begun: Vec<String>,
    count: usize,
    /// What every request has to show, and what it is told if it does not.
    demand: Option<(String, String)>,
    /// Where uploads go; its own address if it is empty.
    storage: String,
    /// How many uploads it forgets as soon as they are begun.
    forgets: usize,
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

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.server.host()
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
        let Some(path) = request.path.strip_prefix("/v2/") else { return Answer::status(404) };
        if path.is_empty() {
            return Answer::ok("{}");
        }
        let part =
            |name: &str| path.split_once(name).map(|(of, rest)| (of.to_owned(), rest.to_owned()));
        let method = request.method.as_str();
        if let Some((repository, id)) = part("/blobs/uploads/") {
            return match method {
                "POST" if id.is_empty() => self.begin(&repository),
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
                    .header("content-type", super::OCI_IMAGE)
                    .header("docker-content-digest", Digest::sha256(content).as_str()),
                None => Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            },
            (None, _) => Answer::status(404),
        }
    }

    fn begin(&mut self, repository: &str) -> Answer {
        self.count += 1;
        let id = self.count.to_string();
        if self.forgets > 0 {
            self.forgets -= 1;
        } else {
            self.begun.push(id.clone());
        }
        let place = format!("{}/v2/{repository}/blobs/uploads/{id}?_state=x", self.storage);
        Answer::status(202).header("location", place)
    }

    fn put_blob(&mut self, repository: &str, id: &str, request: &Recorded) -> Answer {
        let Some(place) = self.begun.iter().position(|begun| begun == id) else {
            return Answer::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
        };
        self.begun.remove(place);
        let digest = Digest::sha256(&request.content);
        let query = format!("_state=x&digest={}", digest.as_str().replace(':', "%3A"));
        if request.query != query {
            return Answer::error(400, "DIGEST_INVALID", "provided digest did not match");
        }
        let key = (repository.to_owned(), digest.to_string());
        self.blobs.insert(key, request.content.to_vec());
        Answer::status(201).header("docker-content-digest", digest.as_str())
    }

    fn put_manifest(&mut self, repository: &str, name: &str, request: &Recorded) -> Answer {
        let digest = Digest::sha256(&request.content);
        if name.contains(':') && name != digest.as_str() {
            return Answer::error(400, "DIGEST_INVALID", "provided digest did not match");
        }
        let Ok(manifest) = serde_json::from_slice::<serde_json::Value>(&request.content) else {
            return Answer::error(400, "MANIFEST_INVALID", "manifest invalid");
        };
        if request.header("content-type") != manifest["mediaType"].as_str() {
            return Answer::error(400, "MANIFEST_INVALID", "another media type");
        }
        let layers = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        for blob in layers.iter().chain([&manifest["config"]]) {
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

fn lock(contents: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    contents.lock().unwrap_or_else(PoisonError::into_inner)
}
