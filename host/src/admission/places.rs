//! Where an object names images.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::kinds::Kind;

/// One place that names an image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// JSON pointer into the object.
    pub(super) pointer: String,
    pub(super) role: Role,
    /// Of the container or volume; empty where there is none.
    pub(super) name: String,
    pub(super) image: String,
}

impl fmt::Display for Place {
    /// `container "web"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Init => "init container",
            Role::Container => "container",
            Role::Ephemeral => "ephemeral container",
            Role::Volume => "volume",
            Role::Field => return write!(f, "field {}", self.pointer),
        };
        write!(f, "{role} \"{}\"", self.name)
    }
}

/// What the image is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Role {
    Init,
    Container,
    Ephemeral,
    Volume,
    /// In a custom resource.
    Field,
}

/// What of a pod's specification matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    init_containers: Option<Vec<Container>>,
    containers: Option<Vec<Container>>,
    ephemeral_containers: Option<Vec<Container>>,
    volumes: Option<Vec<Volume>>,
    service_account_name: Option<String>,
    image_pull_secrets: Option<Vec<Named>>,
}

#[derive(Debug, Deserialize)]
struct Container {
    #[serde(default)]
    name: String,
    image: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Volume {
    #[serde(default)]
    name: String,
    image: Option<ImageVolume>,
}

#[derive(Debug, Deserialize)]
struct ImageVolume {
    reference: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: Option<String>,
}

impl PodSpec {
    /// The specification in an object of this kind; `None` if it may be missing and is.
    ///
    /// # Errors
    ///
    /// What is wrong, as a fragment: the object is not laid out as its kind says.
    pub(super) fn find(kind: &Kind, object: &RawValue) -> Result<Option<Self>, String> {
        let mut at = object;
        let mut pointer = String::new();
        for name in kind.path {
            pointer.push('/');
            pointer.push_str(name);
            let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(at.get())
                .map_err(|error| format!("{pointer} cannot be found: {error}"))?;
            match members.get(*name).copied().filter(|value| value.get() != "null") {
                Some(value) => at = value,
                None if kind.optional => return Ok(None),
                None => return Err(format!("{pointer} is missing")),
            }
        }
        let spec: Self = serde_json::from_str(at.get()).map_err(|e| format!("{pointer}: {e}"))?;
        if spec.containers.as_ref().is_none_or(Vec::is_empty) && !kind.optional {
            return Err(format!("{pointer}/containers is missing or empty"));
        }
        Ok(Some(spec))
    }

    /// Every image that it names, in the order of the API: of init containers (native sidecars among them),
    /// containers, ephemeral containers and image volumes. `at` is its own JSON pointer.
    pub(super) fn places(&self, at: &str) -> Vec<Place> {
        let lists = [
            ("initContainers", Role::Init, &self.init_containers),
            ("containers", Role::Container, &self.containers),
            ("ephemeralContainers", Role::Ephemeral, &self.ephemeral_containers),
        ];
        let mut places = Vec::new();
        for (list, role, containers) in lists {
            for (number, container) in containers.iter().flatten().enumerate() {
                places.push(Place {
                    pointer: format!("{at}/{list}/{number}/image"),
                    role,
                    name: container.name.clone(),
                    image: container.image.clone().unwrap_or_default(),
                });
            }
        }
        for (number, volume) in self.volumes.iter().flatten().enumerate() {
            if let Some(image) = &volume.image {
                places.push(Place {
                    pointer: format!("{at}/volumes/{number}/image/reference"),
                    role: Role::Volume,
                    name: volume.name.clone(),
                    image: image.reference.clone().unwrap_or_default(),
                });
            }
        }
        places
    }

    pub(super) fn service_account(&self) -> &str {
        self.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default")
    }

    pub(super) fn pull_secrets(&self) -> Vec<String> {
        let secrets = self.image_pull_secrets.iter().flatten();
        secrets.filter_map(|secret| secret.name.clone()).filter(|name| !name.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(resource: &str, group: &str, object: &str) -> Result<Option<PodSpec>, String> {
        let object = RawValue::from_string(object.to_owned()).expect("JSON");
        PodSpec::find(Kind::find(group, resource).expect("a kind"), &object)
    }

    #[test]
    fn every_list_of_a_pod_is_found_and_nothing_else() {
        let pod = r#"{"spec": {
            "initContainers": [{"name": "i", "image": "a", "restartPolicy": "Always"}],
            "containers": [{"name": "c", "image": "b", "env": [{"name": "image", "value": "no"}]}],
            "ephemeralContainers": [{"name": "e", "image": "c"}],
            "volumes": [{"name": "r", "rbd": {"image": "no"}}, {"name": "v", "image": {"reference": "d"}}]
        }}"#;
        let places = find("pods", "", pod).expect("a pod").expect("a spec").places("/spec");
        let found: Vec<_> = places.iter().map(|p| (p.pointer.as_str(), p.image.as_str())).collect();
        let expected = [
            ("/spec/initContainers/0/image", "a"),
            ("/spec/containers/0/image", "b"),
            ("/spec/ephemeralContainers/0/image", "c"),
            ("/spec/volumes/1/image/reference", "d"),
        ];
        assert_eq!(found, expected);
        assert_eq!(places[3].to_string(), "volume \"v\"");
    }

    #[test]
    fn objects_without_what_their_kind_needs_are_refused() {
        for pod in [
            "{}",
            "[]",
            "7",
            r#"{"spec": null}"#,
            r#"{"spec": {}}"#,
            r#"{"spec": {"containers": null}}"#,
            r#"{"spec": {"containers": []}}"#,
            r#"{"spec": {"containers": [{"image": 7}]}}"#,
            r#"{"spec": {"containers": "x"}}"#,
            r#"{"spec": {"containers": [{"image": "a", "image": "b"}]}}"#,
        ] {
            let found = find("pods", "", pod);
            assert!(found.is_err(), "{pod}: {found:?}");
        }
        let missing = find("deployments", "apps", r#"{"spec": {}}"#).expect_err("no template");
        assert_eq!(missing, "/spec/template is missing");
        let none = find("replicationcontrollers", "", r#"{"spec": {"template": null}}"#);
        assert!(none.expect("it may have none").is_none());
    }
}
