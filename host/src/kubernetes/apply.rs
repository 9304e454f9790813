//! Objects of any kind, handled as `kubectl apply --server-side` does: the API server merges what is applied with what
//! others said of the same object, keeps its own defaults, and knows who said what.

use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{self, Answer, Question};
use super::{Cluster, ClusterError};
use crate::report::printable;

/// How the API names a kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resource {
    api_version: String,
    kind: String,
    plural: String,
}

impl Resource {
    /// `KIND.GROUP/NAME`, as kubectl takes it: `task.tekton.dev/countersign-sign`.
    pub fn shown(&self, name: &str) -> String {
        let kind = self.kind.to_lowercase();
        match self.api_version.split_once('/') {
            Some((group, _)) => format!("{kind}.{group}/{name}"),
            None => format!("{kind}/{name}"),
        }
    }

    fn folder(&self, namespace: &str) -> String {
        format!("{}/namespaces/{namespace}/{}", root(&self.api_version), self.plural)
    }
}

/// How an object is applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Apply {
    /// Only say what it would become.
    pub dry_run: bool,
    /// Take over fields that others have at other values.
    pub force: bool,
}

/// An object that was applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// As it was; `None` if there was none.
    pub before: Option<Value>,
    /// As it is now, or would be.
    pub after: Value,
}

impl Applied {
    /// What became of it.
    pub fn change(&self) -> Change {
        match &self.before {
            None => Change::Created,
            Some(before) if meaning(before) == meaning(&self.after) => Change::Unchanged,
            Some(_) => Change::Changed,
        }
    }

    /// Both, without what the API server alone says of them.
    pub fn meanings(&self) -> (Option<Value>, Value) {
        (self.before.as_ref().map(meaning), meaning(&self.after))
    }
}

/// What became of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It was not there.
    Created,
    /// It was another one.
    Changed,
    /// It was like that already.
    Unchanged,
}

impl Cluster {
    /// How a kind whose objects have a namespace is called.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Unknown`] if the API does not serve it; it cannot be asked.
    pub async fn resource(&self, api_version: &str, kind: &str) -> Result<Resource, ClusterError> {
        let what = format!("the kinds of {api_version}");
        let path = root(api_version);
        let asked = self.get::<Kinds>(&path, &what);
        let kinds = api::within(self.settings.deadline, &what, asked).await?;
        let known = kinds.into_iter().flat_map(|kinds| kinds.resources).find(|known| {
            // Others are parts of objects: tasks/status.
            known.kind == kind && known.namespaced && !known.name.contains('/')
        });
        let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
        match known {
            Some(known) => {
                let plural = api::name("kind", &known.name)?.to_owned();
                Ok(Resource { api_version, kind, plural })
            }
            None => Err(ClusterError::Unknown { kind, api_version }),
        }
    }

    /// Apply an object in a namespace, or only ask what would become of it. Fields that this program applied once and
    /// that are no longer part of `object` go away.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Conflict`] if others have fields at other values; the API does not answer, refuses the object, or
    /// whoever asks may not `get`, `create` and `patch` it.
    pub async fn apply(
        &self,
        resource: &Resource,
        namespace: &str,
        object: &Value,
        how: Apply,
    ) -> Result<Applied, ClusterError> {
        let place = Place::new(resource, namespace, name_of(object))?;
        let apply = async {
            let before = self.get::<Value>(&place.path, &place.what).await?;
            let path = format!(
                "{}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict&force={}{}",
                place.path,
                how.force,
                if how.dry_run { "&dryRun=All" } else { "" }
            );
            let content = Some(("application/apply-patch+yaml", object));
            let question = Question { method: Method::PATCH, path: &path, content };
            let answer = self.ask(question, &place.what).await?;
            match answer.status {
                200 | 201 => Ok(Applied { before, after: answer.read(&place.what)? }),
                _ => Err(place.refusal(&answer)),
            }
        };
        api::within(self.settings.deadline, &place.what, apply).await
    }

    /// The objects of a namespace that have a label.
    ///
    /// # Errors
    ///
    /// The API does not answer, or whoever asks may not `list` them.
    pub async fn labelled(
        &self,
        resource: &Resource,
        namespace: &str,
        (label, value): (&str, &str),
    ) -> Result<Vec<Value>, ClusterError> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Value>,
        }
        let namespace = api::name("namespace", namespace)?;
        let what = format!("{} of namespace {namespace:?}", resource.plural);
        let label = label.replace('/', "%2F");
        let path = format!("{}?labelSelector={label}%3D{value}", resource.folder(namespace));
        let question = Question { method: Method::GET, path: &path, content: None };
        let list = api::within(self.settings.deadline, &what, self.ask(question, &what)).await?;
        match list.status {
            200 => Ok(list.read::<List>(&what)?.items),
            status @ (401 | 403) => Err(ClusterError::Forbidden { verb: "list", what, status }),
            _ => Err(list.refusal(&Method::GET, &what)),
        }
    }

    /// Delete an object, as it was read: not one that was made or changed in between.
    ///
    /// # Errors
    ///
    /// It was changed; the API does not answer, or whoever asks may not `delete` it.
    pub async fn delete(
        &self,
        resource: &Resource,
        namespace: &str,
        object: &Value,
    ) -> Result<(), ClusterError> {
        let place = Place::new(resource, namespace, name_of(object))?;
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {
                "uid": object["metadata"]["uid"],
                "resourceVersion": object["metadata"]["resourceVersion"],
            },
        });
        let content = Some(("application/json", &options));
        let question = Question { method: Method::DELETE, path: &place.path, content };
        let answer = self.ask(question, &place.what);
        let answer = api::within(self.settings.deadline, &place.what, answer).await?;
        match answer.status {
            // Somebody else was first.
            200 | 202 | 404 => Ok(()),
            409 => Err(place.unwritable("it was changed just now; look at it, and try again")),
            _ => Err(answer.refusal(&Method::DELETE, &place.what)),
        }
    }
}

/// Where an object is.
struct Place<'a> {
    namespace: &'a str,
    path: String,
    /// For messages.
    what: String,
}

impl<'a> Place<'a> {
    fn new(resource: &Resource, namespace: &'a str, name: &str) -> Result<Self, ClusterError> {
        let namespace = api::name("namespace", namespace)?;
        let name = api::name("object", name)?;
        let path = format!("{}/{name}", resource.folder(namespace));
        let what = format!("{} {name:?} of namespace {namespace:?}", resource.kind);
        Ok(Self { namespace, path, what })
    }

    /// Why an object was not applied.
    fn refusal(&self, answer: &Answer) -> ClusterError {
        let details = answer.read::<Status>(&self.what).map(|status| status.details);
        let details = details.unwrap_or_default();
        let conflicts: Vec<_> = details.causes.iter().filter_map(Cause::conflict).collect();
        match answer.status {
            409 if !conflicts.is_empty() => {
                let more = conflicts.len().saturating_sub(MAX_CONFLICTS_TOLD);
                let told = conflicts.into_iter().take(MAX_CONFLICTS_TOLD);
                let mut fields = told.collect::<Vec<_>>().join(", ");
                if more > 0 {
                    fields.push_str(&format!(", and {more} more"));
                }
                ClusterError::Conflict { what: self.what.clone(), fields }
            }
            404 if details.kind == "namespaces" => {
                self.unwritable(&format!("there is no namespace {:?}; create it", self.namespace))
            }
            _ => answer.refusal(&Method::PATCH, &self.what),
        }
    }

    fn unwritable(&self, fault: &str) -> ClusterError {
        ClusterError::Unwritable { what: self.what.clone(), fault: fault.to_owned() }
    }
}

/// `APIResourceList` of meta/v1.
#[derive(Deserialize)]
struct Kinds {
    resources: Vec<Known>,
}

#[derive(Deserialize)]
struct Known {
    name: String,
    kind: String,
    namespaced: bool,
}

/// What is read of `Status` of meta/v1: never its message, which could quote what was sent.
#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    details: Details,
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    field: String,
}

impl Cause {
    /// `.spec.image is kubectl's`, if that is why.
    fn conflict(&self) -> Option<String> {
        if self.reason != "FieldManagerConflict" {
            return None;
        }
        // conflict with "kubectl" using tekton.dev/v1
        let manager = self.message.split('"').nth(1).unwrap_or("somebody else");
        let short = |text: &str| printable(&text.chars().take(MAX_NAME_TOLD).collect::<String>());
        Some(format!("{} is {}'s", short(&self.field), short(manager)))
    }
}

/// Where the API has the kinds of a version.
fn root(api_version: &str) -> String {
    match api_version.contains('/') {
        true => format!("/apis/{api_version}"),
        false => format!("/api/{api_version}"),
    }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// An object without what the API server alone says of it.
fn meaning(object: &Value) -> Value {
    let mut members = object.as_object().cloned().unwrap_or_else(Map::new);
    members.remove("status");
    if let Some(metadata) = members.get_mut("metadata").and_then(Value::as_object_mut) {
        for member in BOOKKEEPING {
            metadata.remove(member);
        }
    }
    Value::Object(members)
}

/// As whom fields are applied.
const FIELD_MANAGER: &str = "countersign";

/// What the API server writes into metadata, and changes with every write.
const BOOKKEEPING: [&str; 6] =
    ["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"];

/// Most fields that are told of a conflict: whoever reads of eight knows whose the object is.
const MAX_CONFLICTS_TOLD: usize = 8;

/// Characters of a field or of a field manager in messages: managers have at most 128.
const MAX_NAME_TOLD: usize = 128;
