//! What requests say: `admission.k8s.io/v1` and `imagepolicy.k8s.io/v1alpha1`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::kinds::Kind;
use super::places::{Place, PodSpec, Role};
use super::{Puller, Unusable};

/// An AdmissionReview, as far as it matters.
#[derive(Debug)]
pub(super) struct ObjectReview {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) user: String,
    pub(super) held: Held,
    pub(super) told: Told,
}

/// What rules are told beside that, read only if there are rules.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) api_version: String,
    pub(super) operation: String,
    pub(super) groups: Option<Box<RawValue>>,
    /// The object's, or why it has none that can be found.
    pub(super) metadata: Result<Option<Box<RawValue>>, String>,
}

/// What the object holds.
#[derive(Debug)]
pub(super) enum Held {
    /// No images that would matter, and why.
    Nothing(&'static str),
    /// Images in a pod's specification.
    Pod {
        kind: &'static Kind,
        new: Vec<Place>,
        /// Of the object as it was, if it was.
        old: Option<Vec<Place>>,
        parent: Option<String>,
        puller: Puller,
    },
    /// What another resource holds; empty for objects that were or are not.
    Other { new: Box<RawValue>, old: Option<Box<RawValue>> },
    /// The object is not what its kind should be.
    Unreadable(String),
}

/// An ImageReview, as far as it matters.
#[derive(Debug)]
pub(super) struct ImageReview {
    pub(super) namespace: String,
    pub(super) places: Vec<Place>,
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    kind: Option<String>,
    api_version: Option<String>,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    uid: String,
    kind: GroupKind,
    resource: GroupResource,
    sub_resource: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    operation: String,
    #[serde(borrow, default)]
    user_info: User<'a>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    old_object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct GroupKind {
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    kind: String,
}

#[derive(Deserialize)]
struct GroupResource {
    #[serde(default)]
    group: String,
    version: String,
    resource: String,
}

#[derive(Default, Deserialize)]
struct User<'a> {
    #[serde(default)]
    username: String,
    #[serde(borrow)]
    groups: Option<&'a RawValue>,
}

/// An object of any kind.
#[derive(Default, Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    owner_references: Option<Vec<Owner>>,
}

#[derive(Deserialize)]
struct Owner {
    kind: String,
    controller: Option<bool>,
}

impl GroupKind {
    /// `apps/v1`; of the core `v1`.
    fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }
}

impl<'a> Request<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, Unusable> {
        let envelope: Envelope<'_> =
            serde_json::from_slice(body).map_err(|error| explained(body, &error))?;
        let version = envelope.api_version.unwrap_or_default();
        if envelope.kind.as_deref() != Some("AdmissionReview") || version != ADMISSION {
            return Err(wrong_version(&envelope.kind.unwrap_or_default(), &version));
        }
        let Some(request) = envelope.request else {
            return Err(Unusable(
                "expected an AdmissionReview with a request, found none".to_owned(),
            ));
        };
        if request.uid.is_empty() {
            return Err(Unusable("expected a request with a uid, found none".to_owned()));
        }
        Ok(request)
    }
}

impl ObjectReview {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Unusable> {
        let request = Request::parse(body)?;
        let object = request.object.map(|object| serde_json::from_str(object.get()));
        let object: Result<Object<'_>, _> = object.unwrap_or_else(|| Ok(Object::default()));
        let metadata = object.map(|object| object.metadata).map_err(|e| format!("/metadata: {e}"));
        let held = Held::of(&request, &metadata);
        let told = Told {
            api_version: request.kind.api_version(),
            operation: request.operation,
            groups: request.user_info.groups.map(ToOwned::to_owned),
            metadata: metadata.map(|metadata| metadata.map(ToOwned::to_owned)),
        };
        Ok(Self {
            uid: request.uid,
            namespace: request.namespace.unwrap_or_default(),
            name: request.name.unwrap_or_default(),
            kind: request.kind.kind,
            group: request.resource.group,
            resource: request.resource.resource,
            user: request.user_info.username,
            held,
            told,
        })
    }
}

impl Held {
    fn of(request: &Request<'_>, metadata: &Result<Option<&RawValue>, String>) -> Self {
        // Nothing that could run is made by these.
        if matches!(request.operation.as_str(), "DELETE" | "CONNECT") {
            return Self::Nothing("nothing is created or changed");
        }
        let GroupResource { group, version, resource } = &request.resource;
        let Some(kind) = Kind::find(group, resource) else {
            return match request.object {
                Some(object) => Self::Other {
                    new: object.to_owned(),
                    old: request.old_object.map(ToOwned::to_owned),
                },
                None => Self::Nothing("there is no object"),
            };
        };
        if request.kind.kind != kind.kind {
            return match request.sub_resource.as_deref() {
                // `scale`, `eviction`, `binding` and others have kinds of their own, none with images. Ephemeral
                // containers once had one with images (before Kubernetes 1.22), which is not read here.
                Some(name) if !name.is_empty() && name != "ephemeralcontainers" => {
                    Self::Nothing("the subresource names no images")
                }
                _ => Self::Unreadable(format!(
                    "expected an object of kind {}, found {:?}",
                    kind.kind, request.kind.kind
                )),
            };
        }
        if !Kind::knows_version(version) {
            return Self::Unreadable(format!(
                "{} of version {version:?} may name images where nobody looks; expected v1",
                kind.resource
            ));
        }
        Self::pod(request, kind, metadata).unwrap_or_else(Self::Unreadable)
    }

    fn pod(
        request: &Request<'_>,
        kind: &'static Kind,
        metadata: &Result<Option<&RawValue>, String>,
    ) -> Result<Self, String> {
        let Some(object) = request.object else {
            return Err(format!("expected an object of kind {}, found none", kind.kind));
        };
        let namespace = request.namespace.clone().unwrap_or_default();
        let at = format!("/{}", kind.path.join("/"));
        let Some(spec) = PodSpec::find(kind, object)? else {
            return Ok(Self::Nothing("it has no template"));
        };
        let old = match request.old_object {
            // Some clients send an empty object in place of none.
            Some(old) if request.operation == "UPDATE" && old.get() != "{}" => {
                // An object that cannot be read has nothing in common with the new one.
                PodSpec::find(kind, old).ok().flatten().map(|spec| spec.places(&at))
            }
            _ => None,
        };
        let metadata = match metadata.as_ref()? {
            Some(metadata) => serde_json::from_str::<Option<Metadata>>(metadata.get())
                .map_err(|error| format!("/metadata: {error}"))?,
            None => None,
        };
        Ok(Self::Pod {
            kind,
            new: spec.places(&at),
            old,
            parent: controller(metadata),
            puller: Puller {
                namespace,
                service_account: spec.service_account().to_owned(),
                pull_secrets: spec.pull_secrets(),
            },
        })
    }
}

/// The kind of the parent that controls the object, if there is exactly one.
fn controller(metadata: Option<Metadata>) -> Option<String> {
    let owners = metadata?.owner_references?;
    let mut controllers = owners.into_iter().filter(|owner| owner.controller == Some(true));
    match (controllers.next(), controllers.next()) {
        (Some(owner), None) => Some(owner.kind),
        _ => None,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageEnvelope {
    kind: Option<String>,
    api_version: Option<String>,
    spec: Option<ImageSpec>,
}

#[derive(Deserialize)]
struct ImageSpec {
    containers: Option<Vec<ImageContainer>>,
    annotations: Option<BTreeMap<String, String>>,
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct ImageContainer {
    image: Option<String>,
}

impl ImageReview {
    /// What its status says is not looked at: only the answer has one.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Unusable> {
        let envelope: ImageEnvelope = serde_json::from_slice(body).map_err(|error| {
            Unusable(format!("expected an ImageReview of {IMAGE_POLICY}: {error}"))
        })?;
        let version = envelope.api_version.unwrap_or_default();
        let (Some("ImageReview"), IMAGE_POLICY) = (envelope.kind.as_deref(), version.as_str())
        else {
            let kind = envelope.kind.unwrap_or_default();
            return Err(Unusable(format!(
                "expected an ImageReview of {IMAGE_POLICY}, found {kind:?} of {version:?}"
            )));
        };
        let Some(spec) = envelope.spec else {
            return Err(Unusable("expected an ImageReview with a spec, found none".to_owned()));
        };
        let containers = spec.containers.into_iter().flatten().enumerate();
        let places = containers.map(|(number, container)| Place {
            pointer: format!("/spec/containers/{number}/image"),
            role: Role::Field,
            name: String::new(),
            image: container.image.unwrap_or_default(),
        });
        Ok(Self {
            namespace: spec.namespace.unwrap_or_default(),
            places: places.collect(),
            annotations: spec.annotations.unwrap_or_default(),
        })
    }
}

/// A body that is no review of this version may be one of another, and that is then what is wrong.
fn explained(body: &[u8], error: &serde_json::Error) -> Unusable {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        kind: Option<String>,
        api_version: Option<String>,
    }
    match serde_json::from_slice::<Head>(body) {
        Ok(Head { kind: Some(kind), api_version: Some(version) }) if version != ADMISSION => {
            wrong_version(&kind, &version)
        }
        _ => Unusable(format!("expected an AdmissionReview of {ADMISSION}: {error}")),
    }
}

fn wrong_version(kind: &str, version: &str) -> Unusable {
    Unusable(format!(
        "expected an AdmissionReview of {ADMISSION}, found {kind:?} of {version:?}; set \
         admissionReviewVersions of the webhook configuration to [\"v1\"]"
    ))
}

pub(super) const ADMISSION: &str = "admission.k8s.io/v1";

pub(super) const IMAGE_POLICY: &str = "imagepolicy.k8s.io/v1alpha1";
