//! A small API server of Kubernetes, as faithful as its clients here need it: names, versions and conflicts,
//! generations, the subresource `status`, merge patches, finalizers, preconditions, lists in pages, watches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign::kubernetes::Cluster;
use hyper::body::Bytes;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::server::{Answer, Recorded, Server};
use super::tls::Authority;

/// A running API server, over TLS.
pub(crate) struct ApiServer {
    pub(crate) server: Server,
    authority: Authority,
    state: Arc<Mutex<State>>,
}

impl ApiServer {
    /// Without any object. It knows the kinds of [`KINDS`].
    pub(crate) fn start() -> Self {
        let authority = Authority::new();
        let server = Server::start_tls(&authority.issue(&["127.0.0.1"]));
        let state = Arc::new(Mutex::new(State::default()));
        let answering = Arc::clone(&state);
        server.otherwise(move |request| lock(&answering).answer(request));
        Self { server, authority, state }
    }

    /// A kubeconfig with the token `t0ken` and the namespace `build`.
    pub(crate) fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "build"}}],
            "clusters": [{"name": "c", "cluster": {
                "server": self.server.url(""),
                "certificate-authority-data": BASE64_STANDARD.encode(self.authority.pem()),
            }}],
            "users": [{"name": "u", "user": {"token": "t0ken"}}],
        })
        .to_string()
    }

    /// Access as that kubeconfig says.
    pub(crate) async fn cluster(&self) -> Cluster {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig()).expect("a kubeconfig");
        let read = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let mut config = read.expect("a configuration");
        // Retries would take their time.
        config.default_retry = false;
        Cluster::from_config(config).expect("a configuration that can be used")
    }

    /// Store an object, whatever was there: its `metadata` counts as it is, and gets what is missing.
    pub(crate) fn put(&self, plural: &str, object: Value) {
        let mut state = lock(&self.state);
        let kind = state.kind(plural, &object);
        let text = |value: &Value| value.as_str().expect("a name").to_owned();
        let metadata = &object["metadata"];
        let key = kind.key(&text(&metadata["namespace"]), &text(&metadata["name"]));
        let known = state.objects.contains_key(&key);
        let object = state.stored(object);
        state.set(key, object, if known { "MODIFIED" } else { "ADDED" });
    }

    /// An object of namespace `build`, such as `secrets/a`; `Null` if there is none.
    pub(crate) fn get(&self, name: &str) -> Value {
        let state = lock(&self.state);
        let found =
            state.objects.iter().find(|(path, _)| path.ends_with(&format!("/build/{name}")));
        found.map(|(_, object)| object.clone()).unwrap_or_default()
    }

    /// Change an object of namespace `build` as somebody else would.
    pub(crate) fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.get(name);
        assert!(object.is_object(), "no {name}");
        change(&mut object);
        let (plural, _) = name.split_once('/').expect("a plural");
        self.put(plural, object);
    }

    /// Delete an object of namespace `build`, as somebody else would.
    pub(crate) fn delete(&self, name: &str) {
        let mut state = lock(&self.state);
        let key = state.objects.keys().find(|key| key.ends_with(&format!("/build/{name}")));
        let key = key.expect("an object").clone();
        state.delete(&key);
    }

    /// Answer the next `times` requests with this method whose path contains `part` with an error.
    pub(crate) fn fail(&self, method: &str, part: &str, code: u16, times: usize) {
        let failure = Failure { method: method.to_owned(), part: part.to_owned(), code, times };
        lock(&self.state).failures.push(failure);
    }

    /// Do what the next request with this method whose path contains `part` says, and break off before it is
    /// answered.
    pub(crate) fn lose_answer(&self, method: &str, part: &str) {
        self.fail(method, part, LOST, 1);
    }

    /// Let the next such request pass by whatever failures are said after this.
    pub(crate) fn pass(&self, method: &str, part: &str) {
        self.fail(method, part, PASS, 1);
    }

    /// Forget a kind: its definition is not installed.
    pub(crate) fn without(&self, group: &str) {
        lock(&self.state).unknown.push(group.to_owned());
    }

    /// Methods and targets of what was asked so far that contain `part`.
    pub(crate) fn asked(&self, part: &str) -> Vec<String> {
        let line = |r: &Recorded| format!("{} {}", r.method, r.target);
        let asked = self.server.requests().iter().map(line).collect::<Vec<_>>();
        asked.into_iter().filter(|line| line.contains(part)).collect()
    }

    /// Everything that was written so far, but Secrets.
    pub(crate) fn written_elsewhere(&self) -> Vec<Recorded> {
        let mut requests = self.server.requests();
        requests.retain(|r| r.method != "GET" && !r.path.contains("/secrets"));
        requests
    }

    /// Reasons of the events so far, in order.
    pub(crate) fn events(&self) -> Vec<String> {
        let state = lock(&self.state);
        let events = state.objects.iter().filter(|(path, _)| path.contains("/events/"));
        let mut events: Vec<_> = events.map(|(_, event)| event).collect();
        events.sort_by_key(|event| event["metadata"]["uid"].as_str().map(str::to_owned));
        events.iter().map(|e| e["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// Group, version, plural and kind.
const KINDS: [(&str, &str, &str, &str); 6] = [
    ("", "v1", "secrets", "Secret"),
    ("", "v1", "configmaps", "ConfigMap"),
    ("coordination.k8s.io", "v1", "leases", "Lease"),
    ("events.k8s.io", "v1", "events", "Event"),
    ("countersign.dev", "v1", "imagesignings", "ImageSigning"),
    ("security.kabanero.io", "v1alpha1", "imagesignings", "ImageSigning"),
];

/// A code that is none: the request is followed, and the answer lost.
const LOST: u16 = 0;

/// Another one that is none: the request is followed and answered.
const PASS: u16 = 1;

#[derive(Clone, Copy)]
struct Kind {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
}

impl Kind {
    fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    fn root(&self) -> String {
        match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }

    /// Where an object is among others: what a list has begins alike.
    fn key(&self, namespace: &str, name: &str) -> String {
        let Self { plural, .. } = self;
        format!("{}/{plural}/{namespace}/{plural}/{name}", self.root())
    }

    /// With what the key of each of them begins.
    fn prefix(&self, namespace: Option<&str>) -> String {
        let end = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
        format!("{}/{}/{end}", self.root(), self.plural)
    }
}

#[derive(Default)]
struct State {
    version: u64,
    /// By [`Kind::key`].
    objects: BTreeMap<String, Value>,
    history: Vec<(u64, String, Value)>,
    watchers: Vec<(String, mpsc::UnboundedSender<Bytes>)>,
    failures: Vec<Failure>,
    unknown: Vec<String>,
}

struct Failure {
    method: String,
    part: String,
    code: u16,
    times: usize,
}

/// What a path names.
struct Target {
    kind: Kind,
    namespace: Option<String>,
    name: Option<String>,
    status: bool,
}

impl State {
    fn kind(&self, plural: &str, object: &Value) -> Kind {
        let found = kinds().find(|kind| {
            kind.plural == plural
                && object["apiVersion"].as_str().is_none_or(|version| version == kind.api_version())
        });
        found.expect("a kind")
    }

    /// With version, uid and time.
    fn stored(&mut self, mut object: Value) -> Value {
        self.version += 1;
        let version = self.version;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = version.to_string().into();
        if metadata["uid"].is_null() {
            metadata["uid"] = format!("uid-{version:06}").into();
        }
        if metadata["creationTimestamp"].is_null() {
            metadata["creationTimestamp"] = "2026-11-25T00:00:00Z".into();
        }
        if metadata["generation"].is_null() {
            metadata["generation"] = 1.into();
        }
        object
    }

    fn set(&mut self, key: String, object: Value, what: &str) {
        let metadata = &object["metadata"];
        let held = metadata["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        let gone = !metadata["deletionTimestamp"].is_null() && !held;
        self.tell(&key, &object, what);
        self.objects.insert(key.clone(), object);
        if gone {
            self.delete(&key);
        }
    }

    fn delete(&mut self, key: &str) {
        let Some(mut object) = self.objects.remove(key) else { return };
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.tell(key, &object, "DELETED");
    }

    fn tell(&mut self, key: &str, object: &Value, what: &str) {
        // Nobody here watches anything else.
        let line = json!({"type": what, "object": metadata(object)});
        self.history.push((self.version, key.to_owned(), line.clone()));
        self.watchers.retain(|(prefix, watcher)| {
            !key.starts_with(prefix.as_str()) || watcher.send(chunk(&line)).is_ok()
        });
    }

    fn answer(&mut self, request: &Recorded) -> Answer {
        let mut lost = false;
        if let Some(failure) = self.failures.iter_mut().find(|failure| {
            failure.times > 0
                && failure.method == request.method
                && request.path.contains(&failure.part)
        }) {
            failure.times -= 1;
            match failure.code {
                LOST => lost = true,
                PASS => {}
                code => return refusal(code, "InternalError"),
            }
        }
        let answer = self.follow(request).unwrap_or_else(|refusal| refusal);
        if lost { Answer::status(200).truncated("{", 100) } else { answer }
    }

    fn follow(&mut self, request: &Recorded) -> Result<Answer, Answer> {
        let missing = || refusal(404, "NotFound");
        let target = target(&request.path).ok_or_else(missing)?;
        if self.unknown.iter().any(|group| group == target.kind.group) {
            return Err(missing());
        }
        let parameter = |name: &str| {
            let pairs = request.query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        let document = || -> Result<Value, Answer> {
            serde_json::from_slice(&request.content).map_err(|_| refusal(400, "BadRequest"))
        };
        let Some(name) = &target.name else {
            return match request.method.as_str() {
                "POST" => self.create(&target, document()?),
                "GET" if parameter("watch").is_some_and(|watch| watch != "false") => {
                    let after = parameter("resourceVersion").and_then(|v| v.parse().ok());
                    Ok(self.watch(&target, after.unwrap_or(0)))
                }
                "GET" => {
                    let partial = request.header("accept").is_some_and(|a| a.contains(PARTIAL));
                    Ok(self.list(&target, parameter("limit"), parameter("continue"), partial))
                }
                _ => Err(refusal(405, "MethodNotAllowed")),
            };
        };
        let namespace = target.namespace.as_deref().ok_or_else(missing)?;
        let key = target.kind.key(namespace, name);
        let there = self.objects.get(&key).cloned().ok_or_else(missing)?;
        match request.method.as_str() {
            "GET" => Ok(Answer::ok(there.to_string())),
            "PUT" => self.replace(&target, key, &there, document()?),
            "PATCH" => {
                if request.header("content-type") != Some("application/merge-patch+json") {
                    return Err(refusal(415, "UnsupportedMediaType"));
                }
                let mut changed = there.clone();
                merge(&mut changed, &document()?);
                self.replace(&target, key, &there, changed)
            }
            "DELETE" => self.remove(&key, there, &document().unwrap_or_default()),
            _ => Err(refusal(405, "MethodNotAllowed")),
        }
    }

    fn create(&mut self, target: &Target, mut object: Value) -> Result<Answer, Answer> {
        valid(&target.kind, &object)?;
        let namespace = target.namespace.clone().ok_or_else(|| refusal(404, "NotFound"))?;
        if object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = namespace.clone().into();
        }
        let name = object["metadata"]["name"].as_str().map(str::to_owned);
        let name = name.ok_or_else(|| refusal(422, "Invalid"))?;
        if object["metadata"]["namespace"] != namespace.as_str()
            || !object["metadata"]["resourceVersion"].is_null()
        {
            return Err(refusal(400, "BadRequest"));
        }
        let key = target.kind.key(&namespace, &name);
        if self.objects.contains_key(&key) {
            return Err(refusal(409, "AlreadyExists"));
        }
        let object = self.stored(object);
        self.set(key, object.clone(), "ADDED");
        Ok(Answer::status(201).body(object.to_string()))
    }

    fn replace(
        &mut self,
        target: &Target,
        key: String,
        there: &Value,
        mut changed: Value,
    ) -> Result<Answer, Answer> {
        valid(&target.kind, &changed)?;
        let named = &changed["metadata"]["resourceVersion"];
        if !named.is_null() && *named != there["metadata"]["resourceVersion"] {
            return Err(refusal(409, "Conflict"));
        }
        if changed["metadata"]["uid"] != there["metadata"]["uid"]
            && !changed["metadata"]["uid"].is_null()
        {
            return Err(refusal(409, "Conflict"));
        }
        if target.status {
            let status = changed["status"].take();
            changed = there.clone();
            changed["status"] = status;
        } else if !target.kind.group.is_empty() && target.kind.plural == "imagesignings" {
            changed["status"] = there["status"].clone();
            if changed["status"].is_null() {
                changed.as_object_mut().expect("an object").remove("status");
            }
        }
        for fixed in ["uid", "creationTimestamp", "generation", "deletionTimestamp"] {
            changed["metadata"][fixed] = there["metadata"][fixed].clone();
        }
        if changed["metadata"]["deletionTimestamp"].is_null() {
            changed["metadata"].as_object_mut().expect("metadata").remove("deletionTimestamp");
        }
        if changed["spec"] != there["spec"] {
            let generation = there["metadata"]["generation"].as_u64().unwrap_or(0);
            changed["metadata"]["generation"] = (generation + 1).into();
        }
        // What changes nothing makes no new version.
        if changed["metadata"]["resourceVersion"].is_null() {
            changed["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
        }
        if changed == *there {
            return Ok(Answer::ok(changed.to_string()));
        }
        let changed = self.stored(changed);
        self.set(key, changed.clone(), "MODIFIED");
        Ok(Answer::ok(changed.to_string()))
    }

    fn remove(&mut self, key: &str, mut there: Value, options: &Value) -> Result<Answer, Answer> {
        for name in ["uid", "resourceVersion"] {
            let wanted = &options["preconditions"][name];
            if !wanted.is_null() && *wanted != there["metadata"][name] {
                return Err(refusal(409, "Conflict"));
            }
        }
        if there["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty()) {
            there["metadata"]["deletionTimestamp"] = "2026-11-25T01:00:00Z".into();
            let there = self.stored(there);
            self.set(key.to_owned(), there.clone(), "MODIFIED");
            return Ok(Answer::ok(there.to_string()));
        }
        self.delete(key);
        Ok(Answer::ok(json!({"kind": "Status", "status": "Success"}).to_string()))
    }

    fn list(
        &self,
        target: &Target,
        limit: Option<String>,
        after: Option<String>,
        partial: bool,
    ) -> Answer {
        let prefix = target.kind.prefix(target.namespace.as_deref());
        let all: Vec<_> = self.objects.iter().filter(|(key, _)| key.starts_with(&prefix)).collect();
        let first = after.and_then(|after| after.parse().ok()).unwrap_or(0);
        let limit = limit.and_then(|limit| limit.parse().ok()).unwrap_or(all.len());
        let items = all.iter().skip(first).take(limit);
        let items: Vec<_> = match partial {
            true => items.map(|(_, object)| metadata(object)).collect(),
            false => items.map(|(_, object)| (*object).clone()).collect(),
        };
        let mut list = json!({
            "kind": format!("{}List", target.kind.kind),
            "apiVersion": target.kind.api_version(),
            "metadata": {"resourceVersion": self.version.to_string()},
            "items": items,
        });
        if first + limit < all.len() {
            list["metadata"]["continue"] = (first + limit).to_string().into();
        }
        Answer::ok(list.to_string())
    }

    fn watch(&mut self, target: &Target, after: u64) -> Answer {
        let (sender, receiver) = mpsc::unbounded_channel();
        let prefix = target.kind.prefix(target.namespace.as_deref());
        for (version, key, line) in &self.history {
            if *version > after && key.starts_with(&prefix) {
                sender.send(chunk(line)).expect("a receiver");
            }
        }
        self.watchers.push((prefix, sender));
        Answer::status(200).live(receiver)
    }
}

/// What is asked for and given when metadata is enough.
const PARTIAL: &str = "PartialObjectMetadata";

fn metadata(object: &Value) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": PARTIAL, "metadata": object["metadata"]})
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kinds() -> impl Iterator<Item = Kind> {
    KINDS.into_iter().map(|(group, version, plural, kind)| Kind { group, version, plural, kind })
}

fn target(path: &str) -> Option<Target> {
    kinds().find_map(|kind| {
        let rest = path.strip_prefix(&kind.root())?.strip_prefix('/')?;
        let parts: Vec<_> = rest.split('/').collect();
        let (namespace, rest) = match parts.as_slice() {
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (name, status) = match rest {
            [plural] if *plural == kind.plural => (None, false),
            [plural, name] if *plural == kind.plural => (Some((*name).to_owned()), false),
            [plural, name, "status"] if *plural == kind.plural => (Some((*name).to_owned()), true),
            _ => return None,
        };
        Some(Target { kind, namespace, name, status })
    })
}

/// What the API server would refuse.
fn valid(kind: &Kind, object: &Value) -> Result<(), Answer> {
    let fits = object["kind"] == kind.kind && object["apiVersion"] == kind.api_version();
    if !fits {
        return Err(refusal(400, "BadRequest"));
    }
    if kind.plural == "secrets" {
        for value in object["data"].as_object().into_iter().flatten().map(|(_, value)| value) {
            let encoded = value.as_str().ok_or_else(|| refusal(400, "BadRequest"))?;
            BASE64_STANDARD.decode(encoded).map_err(|_| refusal(400, "BadRequest"))?;
        }
    }
    let annotations = object["metadata"]["annotations"].as_object().into_iter().flatten();
    for (_, value) in annotations {
        if !value.is_string() {
            return Err(refusal(400, "BadRequest"));
        }
    }
    Ok(())
}

/// RFC 7386.
fn merge(object: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let map = object.as_object_mut().expect("an object");
    for (name, value) in patch {
        if value.is_null() {
            map.remove(name);
        } else {
            merge(map.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

fn refusal(code: u16, reason: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": reason,
    });
    Answer::status(code).body(status.to_string())
}

fn chunk(line: &Value) -> Bytes {
    Bytes::from(format!("{line}\n"))
}
