//! What pipelines of Tekton verify, sign and copy with: the documents of `deploy/tekton`, which are part of the program,
//! for one namespace.
//!
//! They are text, with comments, because an administrator reads them before applying them; what is applied is that
//! text. Each has a label that says whose it is, and nothing without that label is ever deleted.

mod documents;

use std::time::Duration;

use guest_policy::reference::ReferenceError;
use serde_json::Value;

pub use documents::{Bundle, Image, Part};
use documents::{KINDS, LABEL};

use crate::kubernetes::{Applied, Apply, Change, Cluster, ClusterError, Resource};
use crate::nodes::diff as lines;

/// What became of a document, or would become of it.
#[derive(Clone, Debug)]
pub struct Installed {
    /// As kubectl names it.
    pub name: String,
    /// Created, changed, unchanged.
    pub change: Change,
}

/// Apply every document in a namespace. None is written unless the API server would take all of them.
///
/// # Errors
///
/// The cluster has no Tekton, or refuses; others have fields at other values, unless they are taken over by force.
pub async fn install(
    cluster: &Cluster,
    namespace: &str,
    bundle: &Bundle,
    force: bool,
) -> Result<Vec<Installed>, TektonError> {
    each(cluster, namespace, bundle, Apply { force, dry_run: true }).await?;
    let applied = each(cluster, namespace, bundle, Apply { force, dry_run: false }).await?;
    let installed = applied.into_iter();
    let installed = installed.map(|(name, it)| Installed { name, change: it.change() });
    Ok(installed.collect())
}

/// What [`install`] would change, in the form of `diff -u`; empty if nothing. What the API server would default is no
/// difference.
///
/// # Errors
///
/// As for [`install`].
pub async fn diff(
    cluster: &Cluster,
    namespace: &str,
    bundle: &Bundle,
    force: bool,
) -> Result<String, TektonError> {
    let mut text = String::new();
    for (name, applied) in each(cluster, namespace, bundle, Apply { force, dry_run: true }).await? {
        let (before, after) = applied.meanings();
        let shown = |object: &Value| format!("{object:#}\n");
        let (from, old) = match before {
            Some(before) => (format!("cluster/{name}"), shown(&before)),
            None => ("/dev/null".to_owned(), String::new()),
        };
        let to = format!("countersign/{name}");
        text.push_str(&lines((&from, &old), (&to, &shown(&after))));
    }
    Ok(text)
}

/// What of these parts is in a namespace and has our label, users before what they use. All of it, if all parts are
/// meant: other versions may have had other names.
///
/// # Errors
///
/// The cluster refuses. One without Tekton has nothing.
pub async fn found(
    cluster: &Cluster,
    namespace: &str,
    parts: &[Part],
) -> Result<Vec<Found>, TektonError> {
    let mut found = Vec::new();
    for (api_version, kind) in KINDS.iter().rev() {
        let resource = match cluster.resource(api_version, kind).await {
            Err(ClusterError::Unknown { .. }) => continue,
            resource => resource.map_err(|fault| refused(fault, namespace))?,
        };
        let objects = cluster.labelled(&resource, namespace, LABEL).await;
        for object in objects.map_err(|fault| refused(fault, namespace))? {
            // Whatever the API server makes of the question.
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if object["metadata"]["labels"][LABEL.0] == LABEL.1 && Part::cover(parts, name) {
                let name = resource.shown(name);
                found.push(Found { name, resource: resource.clone(), object });
            }
        }
    }
    Ok(found)
}

/// An object that [`install`] has made.
#[derive(Clone, Debug)]
pub struct Found {
    /// As kubectl names it.
    pub name: String,
    resource: Resource,
    object: Value,
}

impl Found {
    /// Delete it, unless it was changed since it was found.
    ///
    /// # Errors
    ///
    /// The cluster refuses.
    pub async fn delete(&self, cluster: &Cluster, namespace: &str) -> Result<(), TektonError> {
        let deleted = cluster.delete(&self.resource, namespace, &self.object).await;
        deleted.map_err(|fault| refused(fault, namespace))
    }
}

async fn each(
    cluster: &Cluster,
    namespace: &str,
    bundle: &Bundle,
    how: Apply,
) -> Result<Vec<(String, Applied)>, TektonError> {
    let mut resources = Vec::new();
    for (api_version, kind) in KINDS {
        let resource = cluster.resource(api_version, kind).await;
        resources.push((kind, resource.map_err(|fault| refused(fault, namespace))?));
    }
    let mut applied = Vec::new();
    for object in bundle.objects()? {
        let (kind, name) = (object["kind"].as_str(), object["metadata"]["name"].as_str());
        let resource = resources.iter().find(|(known, _)| kind == Some(known));
        let Some(((_, resource), name)) = resource.zip(name) else { continue };
        let outcome = cluster.apply(resource, namespace, &object, how).await;
        applied.push((resource.shown(name), outcome.map_err(|fault| refused(fault, namespace))?));
    }
    Ok(applied)
}

fn refused(fault: ClusterError, namespace: &str) -> TektonError {
    match fault {
        ClusterError::Unknown { kind, api_version } => {
            TektonError::NotInstalled { kind, api_version }
        }
        ClusterError::Forbidden { verb, what, status } => {
            TektonError::Forbidden { verb, what, status, namespace: namespace.to_owned() }
        }
        other => TektonError::Cluster(other),
    }
}

/// The documents were not installed, or not all of them removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TektonError {
    /// An image is not named so that it cannot become another one.
    #[error(
        "invalid image {text:?}: {fault}; expected HOST[:PORT]/PATH[:TAG]@sha256:…, so that what runs with the key \
         cannot be replaced"
    )]
    Image {
        /// What was written.
        text: String,
        /// What is wrong.
        fault: ImageFault,
    },
    /// Whoever asks lacks a right.
    #[error(
        "the cluster does not let you {verb} {what} (status {status}); in namespace {namespace:?} it takes the verbs get, \
         list, create, patch and delete for stepactions, tasks and pipelines of tekton.dev"
    )]
    Forbidden {
        /// `get`, `patch`, …
        verb: &'static str,
        /// What was to be done it to.
        what: String,
        /// 401 or 403.
        status: u16,
        /// Where.
        namespace: String,
    },
    /// The cluster has no Tekton, or an old one.
    #[error(
        "the cluster does not know {kind} of {api_version}: Tekton Pipelines is not installed there, or is older than 1.0; \
         install it (https://tekton.dev/docs/installation/)"
    )]
    NotInstalled {
        /// For example `Task`.
        kind: String,
        /// For example `tekton.dev/v1`.
        api_version: String,
    },
    /// The cluster cannot be asked, or refuses.
    #[error(transparent)]
    Cluster(ClusterError),
    /// A document of the program is none. It was built wrong.
    #[error("a document of this program is not YAML: {fault}; report it")]
    Document {
        /// What is wrong.
        fault: String,
    },
}

/// What is wrong with the name of an image.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ImageFault {
    /// It has no digest.
    #[error("it has no digest")]
    NoDigest,
    /// It is no name.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

/// How long all requests for one object may take: the API server may wait ten seconds for Tekton's own webhooks, for
/// each of two requests, and for the answers of a cluster far away.
pub const OBJECT_DEADLINE: Duration = Duration::from_secs(30);
