//! A Kubernetes API that has Tekton and keeps objects: as much of discovery, server-side apply, lists and deletion as
//! its documentation describes (Server-Side Apply, API Concepts), with the defaults that Tekton's webhooks fill in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::server::{Answer, Recorded, Server};
use super::tls::Authority;

/// A running API server; the token `t0ken` may do everything.
pub(crate) struct Cluster {
    pub(crate) server: Server,
    authority: Authority,
    state: Arc<Mutex<State>>,
}

impl Cluster {
    /// With Tekton and the namespace `build`.
    pub(crate) fn start() -> Self {
        let authority = Authority::new();
        let server = Server::start_tls(&authority.issue(&["127.0.0.1"]));
        let state =
            State { namespaces: vec!["build".to_owned()], tekton: true, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let for_server = Arc::clone(&state);
        server.otherwise(move |request| {
            for_server.lock().unwrap_or_else(PoisonError::into_inner).answer(request)
        });
        Self { server, authority, state }
    }

    /// A kubeconfig for it, whose context has the namespace `build`.
    pub(crate) fn kubeconfig(&self) -> String {
        let authority = BASE64_STANDARD.encode(self.authority.pem());
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "build"}}],
            "clusters": [{"name": "c", "cluster": {
                "server": self.server.url(""), "certificate-authority-data": authority,
            }}],
            "users": [{"name": "u", "user": {"token": "t0ken"}}],
        })
        .to_string()
    }

    /// From now on there is no Tekton.
    pub(crate) fn without_tekton(&self) {
        self.state().tekton = false;
    }

    /// From now on nobody may do this: `patch`, `list`, …
    pub(crate) fn forbid(&self, verb: &str) {
        self.state().forbidden.insert(verb.to_owned());
    }

    /// Somebody else applies to `PLURAL/NAME` of the namespace `build`, by force.
    pub(crate) fn apply_as(&self, manager: &str, object: &str, content: Value) {
        let path = ["build", object].join("/");
        let answer = self.state().apply(&path, manager, &content, true, false);
        answer.expect("no conflict");
    }

    /// An object of the namespace `build`: `PLURAL/NAME`.
    pub(crate) fn object(&self, object: &str) -> Option<Value> {
        self.state().objects.get(&format!("build/{object}")).map(|stored| stored.object.clone())
    }

    /// All objects: `NAMESPACE/PLURAL/NAME`.
    pub(crate) fn objects(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct State {
    tekton: bool,
    namespaces: Vec<String>,
    forbidden: BTreeSet<String>,
    objects: BTreeMap<String, Stored>,
    /// Of objects and their versions.
    last: u64,
}

#[derive(Clone, Default)]
struct Stored {
    object: Value,
    /// Whose which fields are.
    fields: BTreeMap<String, BTreeSet<Path>>,
}

/// Where a field is.
type Path = Vec<String>;

impl State {
    fn answer(&mut self, request: &Recorded) -> Answer {
        if request.authorization() != Some("Bearer t0ken") {
            return status(401, "Unauthorized", json!({}));
        }
        let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            ["apis", "tekton.dev", version] => self.kinds(version),
            ["apis", "tekton.dev", version, "namespaces", namespace, plural, rest @ ..] => {
                if !self.tekton || !KINDS.iter().any(|(v, p, _)| (v, p) == (version, plural)) {
                    return Answer::status(404).body("404 page not found\n");
                }
                match rest {
                    [] => self.list(request, namespace, plural),
                    [name] => self.one(request, &[*namespace, plural, name].join("/")),
                    _ => Answer::status(404).body("404 page not found\n"),
                }
            }
            _ => Answer::status(404).body("404 page not found\n"),
        }
    }

    /// `APIResourceList`.
    fn kinds(&self, version: &str) -> Answer {
        let known: Vec<_> = KINDS.iter().filter(|(v, ..)| *v == version && self.tekton).collect();
        if known.is_empty() {
            return Answer::status(404).body("404 page not found\n");
        }
        let mut resources = Vec::new();
        for (_, plural, kind) in known {
            let verbs = ["delete", "get", "list", "patch"];
            let kind = json!({
                "name": plural, "singularName": kind.to_lowercase(), "namespaced": true, "kind": kind,
                "verbs": verbs,
            });
            resources.push(kind.clone());
            resources.push(json!({"name": format!("{plural}/status"), "singularName": "",
                "namespaced": true, "kind": kind["kind"], "verbs": ["get"]}));
        }
        let group = format!("tekton.dev/{version}");
        let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group,
            "resources": resources});
        Answer::ok(list.to_string())
    }

    fn list(&self, request: &Recorded, namespace: &str, plural: &str) -> Answer {
        if self.forbidden.contains("list") {
            return status(403, "Forbidden", json!({"kind": plural}));
        }
        let query = request.query.replace("%2F", "/").replace("%3D", "=");
        let selector = query.strip_prefix("labelSelector=").expect("a selector");
        let (label, value) = selector.split_once('=').expect("a label with its value");
        let folder = format!("{namespace}/{plural}/");
        let below = self.objects.iter().filter(|(path, _)| path.starts_with(&folder));
        let objects = below.map(|(_, stored)| &stored.object);
        let items: Vec<_> = objects.filter(|o| o["metadata"]["labels"][label] == value).collect();
        let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items});
        Answer::ok(list.to_string())
    }

    fn one(&mut self, request: &Recorded, path: &str) -> Answer {
        let method = request.method.to_lowercase();
        if self.forbidden.contains(&method) {
            return status(403, "Forbidden", json!({}));
        }
        let found = self.objects.get(path);
        match (method.as_str(), found) {
            ("get", Some(stored)) => Answer::ok(stored.object.to_string()),
            ("get" | "delete", None) => status(404, "NotFound", json!({"name": path})),
            ("delete", Some(stored)) => {
                let options: Value = serde_json::from_slice(&request.content).expect("options");
                assert_eq!(options["kind"], "DeleteOptions");
                for (name, expected) in options["preconditions"].as_object().expect("conditions") {
                    if stored.object["metadata"][name] != *expected {
                        return status(409, "Conflict", json!({}));
                    }
                }
                self.objects.remove(path);
                Answer::ok(json!({"kind": "Status", "status": "Success"}).to_string())
            }
            ("patch", _) => self.patch(request, path),
            _ => status(405, "MethodNotAllowed", json!({})),
        }
    }

    fn patch(&mut self, request: &Recorded, path: &str) -> Answer {
        assert_eq!(request.header("content-type"), Some("application/apply-patch+yaml"));
        let query: BTreeMap<&str, &str> =
            request.query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        assert_eq!(query["fieldValidation"], "Strict");
        let content: Value = serde_json::from_slice(&request.content).expect("JSON is YAML");
        let parts: Vec<&str> = path.split('/').collect();
        let [namespace, plural, name] = parts.as_slice() else { unreachable!("{path}") };
        let (kind, about) = (content["kind"].as_str(), &content["metadata"]);
        if !KINDS.iter().any(|(_, p, k)| p == plural && Some(*k) == kind)
            || about["name"] != *name
            || about["namespace"].as_str().is_some_and(|there| there != *namespace)
            || about.get("managedFields").is_some()
        {
            return status(400, "BadRequest", json!({}));
        }
        if !self.namespaces.iter().any(|known| known == namespace) {
            return status(404, "NotFound", json!({"name": namespace, "kind": "namespaces"}));
        }
        let created = !self.objects.contains_key(path);
        let dry_run = query.get("dryRun") == Some(&"All");
        let force = query.get("force") == Some(&"true");
        match self.apply(path, query["fieldManager"], &content, force, dry_run) {
            Ok(object) => Answer::status(if created { 201 } else { 200 }).body(object.to_string()),
            Err(causes) => status(409, "Conflict", json!({"causes": causes})),
        }
    }

    /// The object as it is then, or the conflicts.
    fn apply(
        &mut self,
        path: &str,
        manager: &str,
        content: &Value,
        force: bool,
        dry_run: bool,
    ) -> Result<Value, Vec<Value>> {
        let mut stored = self.objects.get(path).cloned().unwrap_or_default();
        let mut fields = BTreeMap::new();
        leaves(content, &mut Vec::new(), &mut fields);
        fields.retain(|path, _| !IDENTITY.contains(&path.join(".").as_str()));
        let mut conflicts = Vec::new();
        for (owner, theirs) in stored.fields.iter_mut().filter(|(owner, _)| *owner != manager) {
            for (field, value) in &fields {
                if !theirs.contains(field) || at(&stored.object, field) == Some(value) {
                    continue;
                }
                conflicts.push(json!({
                    "reason": "FieldManagerConflict",
                    "message": format!("conflict with \"{owner}\" using tekton.dev/v1"),
                    "field": format!(".{}", field.join(".")),
                }));
                if force {
                    theirs.remove(field);
                }
            }
        }
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        let mine: BTreeSet<Path> = fields.keys().cloned().collect();
        let before = stored.fields.insert(manager.to_owned(), mine).unwrap_or_default();
        for gone in &before {
            if !stored.fields.values().any(|fields| fields.contains(gone)) {
                remove(&mut stored.object, gone);
            }
        }
        if stored.object.is_null() {
            self.last += 1;
            let uid = format!("uid-{}", self.last);
            stored.object = json!({
                "apiVersion": content["apiVersion"], "kind": content["kind"],
                "metadata": {
                    "name": content["metadata"]["name"], "namespace": path.split('/').next(),
                    "uid": uid, "creationTimestamp": "2026-11-25T00:00:00Z",
                },
            });
        }
        for (field, value) in fields {
            set(&mut stored.object, &field, value);
        }
        default(&mut stored.object);
        let owners: Vec<_> =
            stored.fields.keys().map(|manager| json!({"manager": manager})).collect();
        stored.object["metadata"]["managedFields"] = owners.into();
        if self.objects.get(path).is_none_or(|old| old.object != stored.object) {
            self.last += 1;
            stored.object["metadata"]["resourceVersion"] = self.last.to_string().into();
            stored.object["metadata"]["generation"] = self.last.into();
        }
        if !dry_run {
            self.objects.insert(path.to_owned(), stored.clone());
        }
        Ok(stored.object)
    }
}

/// What Tekton's webhooks fill in.
fn default(object: &mut Value) {
    let params = object.pointer_mut("/spec/params").and_then(Value::as_array_mut);
    for param in params.into_iter().flatten() {
        let members = param.as_object_mut().expect("a parameter");
        members.entry("type").or_insert_with(|| "string".into());
    }
}

/// Every field with its value; lists are one field, as in definitions that do not say otherwise.
fn leaves(value: &Value, path: &mut Path, found: &mut BTreeMap<Path, Value>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                path.push(name.clone());
                leaves(value, path, found);
                path.pop();
            }
        }
        value => {
            found.insert(path.clone(), value.clone());
        }
    }
}

fn at<'a>(object: &'a Value, path: &Path) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, name| value.get(name))
}

fn set(object: &mut Value, path: &Path, value: Value) {
    let place = path.iter().fold(object, |place, name| {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        &mut place[name.as_str()]
    });
    *place = value;
}

fn remove(object: &mut Value, path: &Path) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().try_fold(object, |value, name| value.get_mut(name));
    if let Some(members) = parent.and_then(Value::as_object_mut) {
        members.remove(last);
    }
}

fn status(code: u16, reason: &str, details: Value) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": "in the API server's words", "details": details,
    });
    Answer::status(code).body(status.to_string())
}

/// What is nobody's.
const IDENTITY: [&str; 4] = ["apiVersion", "kind", "metadata.name", "metadata.namespace"];

const KINDS: [(&str, &str, &str); 5] = [
    ("v1beta1", "stepactions", "StepAction"),
    ("v1", "tasks", "Task"),
    ("v1", "pipelines", "Pipeline"),
    ("v1", "taskruns", "TaskRun"),
    ("v1beta1", "customruns", "CustomRun"),
];
