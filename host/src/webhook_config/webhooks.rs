//! `MutatingWebhookConfiguration` and `ValidatingWebhookConfiguration`, admissionregistration.k8s.io/v1.

use super::{Bundle, HttpsUrl, Namespace, Resource, Service, Timeout, list, quoted};

/// What the cluster asks about, and where.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// Where the server is.
    pub client: Client,
    /// By whom its certificate was issued. `None`: somebody else writes that into the configurations, as
    /// `countersign serve` and cert-manager do, or it is an authority that the API server's system trusts.
    pub authorities: Option<Bundle>,
    /// Which configurations, in this order.
    pub kinds: Vec<Kind>,
    /// What holds if the server cannot be asked.
    pub failure_policy: FailurePolicy,
    /// How long the API server waits.
    pub timeout: Timeout,
    /// Namespaces about which nothing is asked, beside those that are never asked about.
    pub exempt_namespaces: Vec<Namespace>,
    /// Custom resources to ask about, beside [`RESOURCES`].
    pub custom_resources: Vec<Resource>,
    /// Where the configurations will be.
    pub form: Form,
}

impl Webhooks {
    /// The documents.
    pub fn yaml(&self) -> String {
        let documents: Vec<_> = self.kinds.iter().map(|kind| self.document(*kind)).collect();
        documents.join("---\n")
    }

    fn document(&self, kind: Kind) -> String {
        let mut yaml = String::new();
        if self.form == Form::File {
            yaml.push_str(&kind.where_to_put());
        }
        let (object, webhook) = kind.names();
        let suffix = if self.form == Form::File { ".static.k8s.io" } else { "" };
        yaml.push_str(&format!(
            "apiVersion: admissionregistration.k8s.io/v1\n\
             kind: {object}\n\
             metadata:\n\
             \x20 name: countersign{suffix}\n\
             \x20 labels:\n\
             \x20   app.kubernetes.io/name: countersign\n\
             webhooks:\n\
             \x20 - name: {webhook}\n\
             \x20   admissionReviewVersions: [\"v1\"]\n\
             \x20   clientConfig:\n",
        ));
        yaml.push_str(&self.client_config(kind));
        yaml.push_str(match self.failure_policy {
            FailurePolicy::Fail => FAIL,
            FailurePolicy::Ignore => IGNORE,
        });
        yaml.push_str(ALIKE);
        if kind == Kind::Mutating {
            yaml.push_str(REINVOCATION);
        }
        yaml.push_str(&format!("    timeoutSeconds: {}\n", self.timeout.seconds()));
        yaml.push_str(SELECTOR);
        let namespaces = self.never_asked_about();
        yaml.push_str(&format!("          values: {}\n", list(namespaces)));
        yaml.push_str(CONDITIONS);
        yaml.push_str(RULES);
        for (group, resources) in RESOURCES {
            yaml.push_str(&rule(group, "v1", resources.iter().copied(), "Namespaced"));
        }
        for (group, resources) in self.custom_rules() {
            yaml.push_str(&rule(group, "*", resources, "*"));
        }
        yaml
    }

    fn client_config(&self, kind: Kind) -> String {
        let path = kind.path();
        let mut yaml = match &self.client {
            Client::Service(service) => format!(
                "      service:\n\
                 \x20       namespace: {}\n\
                 \x20       name: {}\n\
                 \x20       path: {path}\n\
                 \x20       port: {}\n",
                quoted(service.namespace.as_str()),
                quoted(&service.name),
                service.port
            ),
            Client::Url(url) => format!("      url: {}\n", quoted(&url.endpoint(path))),
        };
        if let Some(authorities) = &self.authorities {
            yaml.push_str(&format!("      caBundle: {}\n", authorities.base64()));
        }
        yaml
    }

    /// Without repetition, in a stable order.
    fn never_asked_about(&self) -> Vec<&str> {
        let mut namespaces = vec![RECOVERY_NAMESPACE];
        if let Client::Service(service) = &self.client {
            namespaces.push(service.namespace.as_str());
        }
        namespaces.extend(self.exempt_namespaces.iter().map(Namespace::as_str));
        let mut seen = Vec::new();
        namespaces.retain(|namespace| {
            let new = !seen.contains(namespace);
            seen.push(*namespace);
            new
        });
        namespaces
    }

    /// The custom resources by group, without repetition, in a stable order.
    fn custom_rules(&self) -> Vec<(&str, Vec<&str>)> {
        let mut resources: Vec<_> = self.custom_resources.iter().collect();
        resources.sort();
        resources.dedup();
        let groups = resources.chunk_by(|one, other| one.group == other.group);
        groups
            .filter_map(|group| Some((group.first()?.group.as_str(), group)))
            .map(|(name, group)| (name, group.iter().map(|r| r.resource.as_str()).collect()))
            .collect()
    }
}

/// Where the server is.
#[derive(Clone, Debug)]
pub enum Client {
    /// In the cluster, behind a Service.
    Service(Service),
    /// Elsewhere, or beside the API server.
    Url(HttpsUrl),
}

/// What holds if the server cannot be asked, or does not answer in time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FailurePolicy {
    /// The object is refused.
    #[default]
    Fail,
    /// The object is admitted, unjudged. Dangerous.
    Ignore,
}

/// Where the configurations will be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Form {
    /// In the cluster, as objects.
    #[default]
    Object,
    /// In files that the API server reads when it starts (Kubernetes 1.36, feature gate
    /// `ManifestBasedAdmissionControlConfig`), out of the reach of whoever may change objects. They know no
    /// Services.
    File,
}

/// Which of the two configurations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Asks first, and pins digests.
    Mutating,
    /// Asks when all others have changed the object: what it says is about what will run.
    Validating,
}

impl Kind {
    /// Kind of the object, and name of its webhook.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Mutating => ("MutatingWebhookConfiguration", "mutate.countersign.svc"),
            Self::Validating => ("ValidatingWebhookConfiguration", "validate.countersign.svc"),
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Mutating => "/mutate",
            Self::Validating => "/validate",
        }
    }

    fn where_to_put(self) -> String {
        let (plugin, folder) = match self {
            Self::Mutating => ("MutatingAdmissionWebhook", "mutating-webhooks"),
            Self::Validating => ("ValidatingAdmissionWebhook", "validating-webhooks"),
        };
        format!(
            "# For a folder of every API server that has no other kind of file in it. It is named in the file of\n\
             # --admission-control-config-file, and needs --feature-gates=ManifestBasedAdmissionControlConfig=true:\n\
             #\n\
             #   apiVersion: apiserver.config.k8s.io/v1\n\
             #   kind: AdmissionConfiguration\n\
             #   plugins:\n\
             #     - name: {plugin}\n\
             #       configuration:\n\
             #         apiVersion: apiserver.config.k8s.io/v1\n\
             #         kind: WebhookAdmissionConfiguration\n\
             #         staticManifestsDir: /etc/kubernetes/admission/{folder}\n",
        )
    }
}

fn rule<'a>(
    group: &str,
    version: &str,
    resources: impl IntoIterator<Item = &'a str>,
    scope: &str,
) -> String {
    let (group, resources) = (quoted(group), list(resources));
    format!(
        "      - apiGroups: [{group}]\n\
         \x20       apiVersions: [\"{version}\"]\n\
         \x20       operations: [\"CREATE\", \"UPDATE\"]\n\
         \x20       resources: {resources}\n\
         \x20       scope: \"{scope}\"\n",
    )
}

/// Everything of Kubernetes itself that names images, by API group, as webhook rules name it. Subresources
/// are listed only where they can change an image: of those of pods, `resize` changes resources alone and
/// `status` nothing that runs.
pub const RESOURCES: [(&str, &[&str]); 3] = [
    ("", &["pods", "pods/ephemeralcontainers", "podtemplates", "replicationcontrollers"]),
    ("apps", &["daemonsets", "deployments", "replicasets", "statefulsets"]),
    ("batch", &["cronjobs", "jobs"]),
];

/// What a cluster needs to recover, the network and DNS of everything else, starts here. Whoever may create
/// pods in it has the cluster anyway.
const RECOVERY_NAMESPACE: &str = "kube-system";

const FAIL: &str =
    "    # An object that was not judged is not admitted: no server, no answer in time, no pod.
    failurePolicy: Fail
";

const IGNORE: &str =
    "    # DANGEROUS: whoever can make the server slow or unreachable runs any image.
    failurePolicy: Ignore
";

const ALIKE: &str =
    "    # Requests in another version of a resource are converted and sent, not missed.
    matchPolicy: Equivalent
    # Nothing but the answer comes of a question, so that dry runs are judged, too.
    sideEffects: None
";

const REINVOCATION: &str =
    "    # Images that another webhook adds later are pinned, too. What is pinned stays as it is.
    reinvocationPolicy: IfNeeded
";

const SELECTOR: &str = "    # The way out of a deadlock: the namespaces from which the cluster, and this server, recover. Chosen by a
    # label that the API server itself sets and nobody can change. There is no objectSelector, because
    # whoever writes an object writes its labels.
    namespaceSelector:
      matchExpressions:
        - key: kubernetes.io/metadata.name
          operator: NotIn
";

// That objects which are being deleted are not left out is deliberate (CVE-2023-34091): their
// images can be changed, and ephemeral containers added.
const CONDITIONS: &str = "    # A kubelet reports a static pod that it runs already: a denial would hide it, not stop it.
    matchConditions:
      - name: no-mirror-pods
        expression: >-
          !(request.resource.group == \"\" && request.resource.resource == \"pods\"
          && request.operation == \"CREATE\"
          && \"system:nodes\" in request.userInfo.groups
          && request.userInfo.username.startsWith(\"system:node:\")
          && has(object.metadata.annotations)
          && \"kubernetes.io/config.mirror\" in object.metadata.annotations)
";

const RULES: &str = "    # Everything that names images. What makes pods is asked about for an early answer; what counts is the pod.
    rules:
";

#[cfg(test)]
mod tests {
    use super::*;

    fn webhooks(client: Client) -> Webhooks {
        Webhooks {
            client,
            authorities: None,
            kinds: vec![Kind::Mutating, Kind::Validating],
            failure_policy: FailurePolicy::default(),
            timeout: Timeout::default(),
            exempt_namespaces: Vec::new(),
            custom_resources: Vec::new(),
            form: Form::default(),
        }
    }

    fn service() -> Client {
        Client::Service("security/countersign".parse().expect("a service"))
    }

    #[test]
    fn own_namespace_and_kube_system_are_never_asked_about() {
        let mut webhooks = webhooks(service());
        assert_eq!(webhooks.never_asked_about(), ["kube-system", "security"]);
        let names = ["monitoring", "security", "monitoring"];
        webhooks.exempt_namespaces = names.iter().map(|n| n.parse().expect("a name")).collect();
        assert_eq!(webhooks.never_asked_about(), ["kube-system", "security", "monitoring"]);
    }

    #[test]
    fn custom_resources_are_grouped_once_each() {
        let mut webhooks = webhooks(service());
        let names = [
            "tekton.dev/tasks",
            "argoproj.io/rollouts",
            "tekton.dev/pipelines",
            "tekton.dev/tasks",
        ];
        webhooks.custom_resources = names.iter().map(|n| n.parse().expect("a name")).collect();
        let expected =
            [("argoproj.io", vec!["rollouts"]), ("tekton.dev", vec!["pipelines", "tasks"])];
        assert_eq!(webhooks.custom_rules(), expected);
    }

    #[test]
    fn every_kind_that_names_images_is_asked_about() {
        for kind in crate::admission::KINDS {
            let asked = RESOURCES.iter().any(|(group, resources)| {
                *group == kind.group && resources.contains(&kind.resource)
            });
            assert!(asked, "{}", kind.resource);
        }
    }
}
