//! Objects that may hold secrets: read, listed, written and deleted by their paths.

use hyper::Method;
use serde_json::{Value, json};

use super::api::{self, Question};
use super::{Cluster, ClusterError};

/// Where objects of one kind are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Collection {
    path: String,
    kind: &'static str,
    namespace: String,
}

impl Collection {
    /// The Secrets of a namespace.
    ///
    /// # Errors
    ///
    /// That cannot be the name of a namespace.
    pub fn secrets(namespace: &str) -> Result<Self, ClusterError> {
        Self::new("/api/v1", "secrets", "Secret", namespace)
    }

    /// The ConfigMaps of a namespace.
    ///
    /// # Errors
    ///
    /// That cannot be the name of a namespace.
    pub fn config_maps(namespace: &str) -> Result<Self, ClusterError> {
        Self::new("/api/v1", "configmaps", "ConfigMap", namespace)
    }

    /// The objects of a kind in a namespace; `version` is a path such as `/apis/example.com/v1`.
    ///
    /// # Errors
    ///
    /// That cannot be the name of a namespace.
    pub(crate) fn new(
        version: &str,
        plural: &str,
        kind: &'static str,
        namespace: &str,
    ) -> Result<Self, ClusterError> {
        let name = api::name("namespace", namespace)?;
        let path = format!("{version}/namespaces/{name}/{plural}");
        Ok(Self { path, kind, namespace: name.to_owned() })
    }

    /// The objects of a kind in all namespaces: a list, of which none can be asked for.
    pub(crate) fn everywhere(version: &str, plural: &str, kind: &'static str) -> Self {
        Self { path: format!("{version}/{plural}"), kind, namespace: String::new() }
    }

    /// What messages call all of them.
    pub(crate) fn what(&self) -> String {
        match self.namespace.as_str() {
            "" => format!("{} objects of all namespaces", self.kind),
            namespace => format!("{} objects of namespace {namespace:?}", self.kind),
        }
    }

    /// One of them.
    ///
    /// # Errors
    ///
    /// That cannot be its name.
    pub fn object(&self, name: &str) -> Result<ObjectPath, ClusterError> {
        let name = api::name(self.kind, name)?;
        let what = format!("{} {name:?} of namespace {:?}", self.kind, self.namespace);
        Ok(ObjectPath { collection: self.clone(), name: name.to_owned(), what })
    }
}

/// Where an object is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObjectPath {
    collection: Collection,
    name: String,
    what: String,
}

impl ObjectPath {
    /// What messages call it.
    pub fn what(&self) -> &str {
        &self.what
    }

    fn path(&self) -> String {
        format!("{}/{}", self.collection.path, self.name)
    }
}

impl Cluster {
    /// An object; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The API does not answer, or does not allow `get`.
    pub async fn object(&self, object: &ObjectPath) -> Result<Option<Value>, ClusterError> {
        let path = object.path();
        let read = self.get(&path, &object.what);
        api::within(self.settings.deadline, &object.what, read).await
    }

    /// Every object of a collection; `None` if the API knows no such kind.
    ///
    /// # Errors
    ///
    /// The API does not answer, does not allow `list`, or has more than can be looked after.
    pub(crate) async fn objects(
        &self,
        collection: &Collection,
    ) -> Result<Option<Vec<Value>>, ClusterError> {
        let (path, what) = (&collection.path, collection.what());
        let what = what.as_str();
        let read = async {
            let mut found = Vec::new();
            let mut after = String::new();
            for _ in 0..MAX_PAGES {
                let page = format!("{path}?limit={PAGE}{after}");
                let Some(list) = self.get::<Value>(&page, what).await? else { return Ok(None) };
                found.extend(list["items"].as_array().cloned().unwrap_or_default());
                match list["metadata"]["continue"].as_str() {
                    // It is made of letters, digits and what base64 has beside them.
                    Some(token) if !token.is_empty() => {
                        after = format!("&continue={}", escaped(token));
                    }
                    _ => return Ok(Some(found)),
                }
            }
            let fault = format!("there are more than {} of them", PAGE * MAX_PAGES);
            Err(ClusterError::Unreadable { what: what.to_owned(), fault })
        };
        api::within(self.settings.deadline, what, read).await.map_err(of_list)
    }

    /// Store a new object; `false` if there is one of this name already.
    ///
    /// # Errors
    ///
    /// The API does not answer, or does not allow `create`.
    pub async fn create_object(
        &self,
        object: &ObjectPath,
        document: &Value,
    ) -> Result<bool, ClusterError> {
        let mut document = document.clone();
        document["metadata"]["name"] = object.name.clone().into();
        document["metadata"]["namespace"] = object.collection.namespace.clone().into();
        let path = &object.collection.path;
        self.write(object, Method::POST, path, JSON, &document, &[409]).await
    }

    /// Store an object in place of the version that it was made of; `false` if that is no longer there.
    ///
    /// # Errors
    ///
    /// The API does not answer, or does not allow `update`.
    pub async fn replace_object(
        &self,
        object: &ObjectPath,
        document: &Value,
    ) -> Result<bool, ClusterError> {
        self.write(object, Method::PUT, &object.path(), JSON, document, &[404, 409]).await
    }

    /// Change some members (RFC 7386) of an object or of its `status`; `false` if it is no longer there, or not in
    /// the version that the patch names.
    ///
    /// # Errors
    ///
    /// The API does not answer, or does not allow `patch`.
    pub(crate) async fn merge_object(
        &self,
        object: &ObjectPath,
        subresource: &str,
        patch: &Value,
    ) -> Result<bool, ClusterError> {
        let path = format!("{}{subresource}", object.path());
        self.write(object, Method::PATCH, &path, MERGE, patch, &[404, 409]).await
    }

    /// Delete the version of an object that `document` is; `false` if that is no longer there.
    ///
    /// # Errors
    ///
    /// The API does not answer, or does not allow `delete`.
    pub(crate) async fn delete_object(
        &self,
        object: &ObjectPath,
        document: &Value,
    ) -> Result<bool, ClusterError> {
        let metadata = &document["metadata"];
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
        });
        self.write(object, Method::DELETE, &object.path(), JSON, &options, &[404, 409]).await
    }

    async fn write(
        &self,
        object: &ObjectPath,
        method: Method,
        path: &str,
        media_type: &'static str,
        document: &Value,
        conflicts: &[u16],
    ) -> Result<bool, ClusterError> {
        let write = async {
            let content = Some((media_type, document));
            let question = Question { method: method.clone(), path, content };
            let answer = self.ask(question, &object.what).await?;
            match answer.status {
                200..=202 => Ok(true),
                status if conflicts.contains(&status) => Ok(false),
                _ => Err(answer.refusal(&method, &object.what)),
            }
        };
        api::within(self.settings.deadline, &object.what, write).await
    }
}

/// A list is got, and the right that it takes is another one.
fn of_list(fault: ClusterError) -> ClusterError {
    match fault {
        ClusterError::Forbidden { verb: "get", what, status } => {
            ClusterError::Forbidden { verb: "list", what, status }
        }
        other => other,
    }
}

/// As a value of a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

const JSON: &str = "application/json";

const MERGE: &str = "application/merge-patch+json";

/// Objects that are asked for at a time: those with keys in them fit into an answer.
const PAGE: usize = 250;

/// Most such questions for one list: a thousand times the keys of a large organisation.
const MAX_PAGES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_they_become_part_of_a_path() {
        let secrets = Collection::secrets("build").expect("a namespace");
        assert_eq!(
            secrets.object("a.b").expect("a name").path(),
            "/api/v1/namespaces/build/secrets/a.b"
        );
        Collection::secrets("../x").expect_err("not a namespace");
        secrets.object("a/b").expect_err("not a name");
        assert_eq!(escaped("a+/=&"), "a%2B%2F%3D%26");
    }

    #[test]
    fn the_right_to_list_is_what_lists_want_for() {
        let fault =
            |verb| ClusterError::Forbidden { verb, what: "Secrets".to_owned(), status: 403 };
        assert_eq!(of_list(fault("get")).to_string(), fault("list").to_string());
        let other =
            ClusterError::Deadline { what: "Secrets".to_owned(), after: std::time::Duration::ZERO };
        assert!(matches!(of_list(other), ClusterError::Deadline { .. }));
    }
}
