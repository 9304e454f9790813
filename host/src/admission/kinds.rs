//! The kinds of Kubernetes that hold images, and where.

/// A resource whose objects hold a pod's specification.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kind {
    /// API group; empty for the core.
    pub group: &'static str,
    /// Plural name.
    pub resource: &'static str,
    /// Kind of its objects.
    pub kind: &'static str,
    /// Where in an object the pod's specification is.
    pub(super) path: &'static [&'static str],
    /// Whether that may be missing.
    pub(super) optional: bool,
    /// What may have made an object of this kind: the kind of the parent, and the service account, in
    /// `kube-system`, of the controller that does it.
    pub(super) parents: &'static [(&'static str, &'static str)],
}

impl Kind {
    /// The kind of a request's resource. Older groups held the same objects.
    pub(super) fn find(group: &str, resource: &str) -> Option<&'static Self> {
        let group = if group == "extensions" { "apps" } else { group };
        KINDS.iter().find(|kind| kind.group == group && kind.resource == resource)
    }

    /// Whether objects of this version are laid out as here.
    pub(super) fn knows_version(version: &str) -> bool {
        ["v1", "v1beta1", "v1beta2"].contains(&version)
    }

    pub(super) fn is_pod(&self) -> bool {
        self.path == POD
    }
}

const POD: &[&str] = &["spec"];
const TEMPLATE: &[&str] = &["spec", "template", "spec"];

/// Every kind of the Kubernetes API that holds images. The webhook configurations ask about these, and a test
/// compares them with the API's own data.
pub const KINDS: [Kind; 9] = [
    Kind {
        group: "",
        resource: "pods",
        kind: "Pod",
        path: POD,
        optional: false,
        parents: &[
            ("ReplicaSet", "replicaset-controller"),
            ("StatefulSet", "statefulset-controller"),
            ("DaemonSet", "daemon-set-controller"),
            ("Job", "job-controller"),
            ("ReplicationController", "replication-controller"),
        ],
    },
    Kind {
        group: "",
        resource: "podtemplates",
        kind: "PodTemplate",
        path: &["template", "spec"],
        optional: false,
        parents: &[],
    },
    Kind {
        group: "",
        resource: "replicationcontrollers",
        kind: "ReplicationController",
        path: TEMPLATE,
        // It may have no template, and then makes no pods.
        optional: true,
        parents: &[],
    },
    Kind {
        group: "apps",
        resource: "deployments",
        kind: "Deployment",
        path: TEMPLATE,
        optional: false,
        parents: &[],
    },
    Kind {
        group: "apps",
        resource: "replicasets",
        kind: "ReplicaSet",
        path: TEMPLATE,
        optional: false,
        parents: &[("Deployment", "deployment-controller")],
    },
    Kind {
        group: "apps",
        resource: "statefulsets",
        kind: "StatefulSet",
        path: TEMPLATE,
        optional: false,
        parents: &[],
    },
    Kind {
        group: "apps",
        resource: "daemonsets",
        kind: "DaemonSet",
        path: TEMPLATE,
        optional: false,
        parents: &[],
    },
    Kind {
        group: "batch",
        resource: "jobs",
        kind: "Job",
        path: TEMPLATE,
        optional: false,
        parents: &[("CronJob", "cronjob-controller")],
    },
    Kind {
        group: "batch",
        resource: "cronjobs",
        kind: "CronJob",
        path: &["spec", "jobTemplate", "spec", "template", "spec"],
        optional: false,
        parents: &[],
    },
];
