//! What wants to run the images of a request, as rules are told.
//!
//! It is read only where a policy has rules, and then as a whole: a rule that is not shown an annotation would
//! take it for absent.

use std::collections::BTreeMap;

use guest_policy::rule::Workload;
use serde::Deserialize;

use super::review::{ImageReview, Request};

/// Who asks for which object to do what.
pub(super) fn of_object(request: &Request<'_>) -> Result<Workload, String> {
    let Labelled { metadata } = match request.object {
        Some(object) => serde_json::from_str(object.get()).map_err(|e| format!("/object: {e}"))?,
        None => Labelled::default(),
    };
    let groups = match request.user_info.groups {
        Some(groups) => serde_json::from_str::<Option<_>>(groups.get())
            .map_err(|error| format!("/userInfo/groups: {error}"))?,
        None => None,
    };
    let Metadata { name, namespace, labels, annotations } = metadata.unwrap_or_default();
    let present = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    bounded(Workload {
        api_version: request.kind.api_version(),
        kind: request.kind.kind.clone(),
        namespace: present(&request.namespace).or(present(&namespace)),
        name: present(&request.name).or(present(&name)),
        labels: labels.unwrap_or_default(),
        annotations: annotations.unwrap_or_default(),
        operation: request.operation.clone(),
        user: request.user_info.username.clone(),
        groups: groups.unwrap_or_default(),
    })
}

/// A pod that is to be made, of which an ImageReview tells little.
pub(super) fn of_images(review: &ImageReview) -> Result<Workload, String> {
    bounded(Workload {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: Some(review.namespace.clone()).filter(|namespace| !namespace.is_empty()),
        annotations: review.annotations.clone(),
        operation: "CREATE".to_owned(),
        ..Workload::default()
    })
}

fn bounded(workload: Workload) -> Result<Workload, String> {
    let pairs = |pairs: &BTreeMap<String, String>| {
        pairs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
    };
    let groups: usize = workload.groups.iter().map(String::len).sum();
    let parts = [
        ("labels", pairs(&workload.labels), MAX_LABELS_BYTES),
        ("annotations", pairs(&workload.annotations), MAX_ANNOTATIONS_BYTES),
        ("groups of the user", groups, MAX_GROUPS_BYTES),
    ];
    for (what, bytes, most) in parts {
        if bytes > most {
            return Err(format!(
                "its {what} have {bytes} bytes, more than the {most} that rules are shown"
            ));
        }
    }
    Ok(workload)
}

#[derive(Default, Deserialize)]
struct Labelled {
    metadata: Option<Metadata>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

/// Most bytes of an object's annotations: the limit of Kubernetes itself (`TotalAnnotationSizeLimitB`).
const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;

/// Most bytes of an object's labels. Kubernetes has no limit of its own; each has at most 380 bytes, and 20 are
/// many.
const MAX_LABELS_BYTES: usize = 64 * 1024;

/// Most bytes of the names of a user's groups: a thousand of a directory's.
const MAX_GROUPS_BYTES: usize = 64 * 1024;
