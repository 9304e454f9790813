//! What wants to run the images of a request, as rules are told.
//!
//! It is read only where a policy has rules, and then as a whole: a rule that is not shown an annotation would
//! take it for absent.

use std::collections::BTreeMap;

use guest_policy::rule::Workload;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::review::{ImageReview, ObjectReview, Told};

/// Who asks for which object to do what.
pub(super) fn of_object(review: &ObjectReview) -> Result<Workload, String> {
    let Told { api_version, operation, groups, metadata } = &review.told;
    let metadata: Option<Metadata> = read(metadata.as_ref()?.as_deref(), "/metadata")?;
    let Metadata { name, namespace, labels, annotations } = metadata.unwrap_or_default();
    let groups: Option<Vec<String>> = read(groups.as_deref(), "/userInfo/groups")?;
    let present = |text: String| Some(text).filter(|text| !text.is_empty());
    bounded(Workload {
        api_version: api_version.clone(),
        kind: review.kind.clone(),
        namespace: present(review.namespace.clone()).or(namespace.and_then(present)),
        name: present(review.name.clone()).or(name.and_then(present)),
        labels: labels.unwrap_or_default(),
        annotations: annotations.unwrap_or_default(),
        operation: operation.clone(),
        user: review.user.clone(),
        groups: groups.unwrap_or_default(),
    })
}

/// A part of a request, of which `null` is none.
fn read<T: for<'a> Deserialize<'a>>(
    part: Option<&RawValue>,
    at: &str,
) -> Result<Option<T>, String> {
    match part {
        Some(part) => serde_json::from_str(part.get()).map_err(|error| format!("{at}: {error}")),
        None => Ok(None),
    }
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
