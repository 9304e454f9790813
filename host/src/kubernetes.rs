//! The Kubernetes API: what the server reads there, with the narrowest rights.
//!
//! For pull secrets these are `get` on service accounts and Secrets; nothing is listed or watched, and a
//! pod's Secrets are read in the pod's own namespace alone. For certificates that the server makes itself
//! they are `get`, `create` and `update` on one Secret and `get` and `patch` on its own webhook
//! configurations. Keys that sign are stored here for `keygen` and for the operator.
//!
//! A failed lookup is an error and never an empty answer. What a Secret holds is in no message: requests
//! go through `kube::Client::send`, since its typed requests log bodies that they cannot parse.

use std::sync::Arc;
use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, KubeconfigError};

use crate::admission::Puller;
use crate::registry::{CredentialsError, Keyring};
use crate::telemetry::Metrics;

mod api;
mod apply;
mod certificates;
mod objects;
mod pull_secrets;
mod signing_keys;

pub use apply::{Applied, Apply, Change, Resource};
pub use certificates::{TlsSecret, Written};
pub use objects::{Collection, ObjectPath};
use pull_secrets::Keyrings;
pub(crate) use signing_keys::MAX_PREVIOUS_KEYS;
pub use signing_keys::{SigningKeyError, SigningKeyPlace};

/// Access to the API of the cluster that this process runs in. Cheap to clone; what is remembered is
/// shared by all clones.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    settings: Settings,
    keyrings: Keyrings,
}

/// What may be read, and for how long it counts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose pull secrets are read.
    pub secrets_from: SecretsFrom,
    /// How long a workload's credentials are remembered.
    pub keyrings_for: Duration,
    /// Longest time for one operation, with all its requests.
    pub deadline: Duration,
    /// Who is told of what was remembered.
    pub metrics: Option<Arc<Metrics>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            secrets_from: SecretsFrom::All,
            keyrings_for: KEYRING_FOR,
            deadline: API_DEADLINE,
            metrics: None,
        }
    }
}

/// The namespaces whose pull secrets are read. The pods of others are judged with the server's own
/// credentials.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum SecretsFrom {
    /// Every one.
    #[default]
    All,
    /// These.
    Namespaces(Vec<String>),
}

impl Cluster {
    /// As the client is configured, with the default [`Settings`].
    pub fn new(client: kube::Client) -> Self {
        let settings = Settings::default();
        Self { client, keyrings: Keyrings::new(&settings), settings }
    }

    /// By the kubeconfig that `KUBECONFIG` names; without it, by the service account of the pod that this
    /// process runs in; outside of pods, by the user's kubeconfig. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// There is none of these, it cannot be used, or it does not keep secrets secret.
    pub async fn connect() -> Result<Self, ClusterError> {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let config = if !set("KUBECONFIG") && set("KUBERNETES_SERVICE_HOST") {
            Config::incluster().map_err(|e| configuration(e.to_string()))?
        } else {
            let read = Config::from_kubeconfig(&KubeConfigOptions::default()).await;
            read.map_err(|e| match e {
                // The parser's message quotes the file.
                KubeconfigError::Parse(_) => configuration("the kubeconfig is not one".to_owned()),
                other => configuration(other.to_string()),
            })?
        };
        Self::from_config(config)
    }

    /// By a configuration. Has to be called in a tokio runtime, on which the connections are kept.
    ///
    /// # Errors
    ///
    /// It cannot be used, or it does not keep secrets secret: an API server that is asked without TLS or
    /// without a look at its certificate could be anyone.
    pub fn from_config(config: Config) -> Result<Self, ClusterError> {
        if config.cluster_url.scheme_str() != Some("https") {
            let fault = format!("{} is not https", config.cluster_url);
            return Err(configuration(fault));
        }
        if config.accept_invalid_certs {
            let fault = "insecure-skip-tls-verify is set, name the certificate-authority instead";
            return Err(configuration(fault.to_owned()));
        }
        let client = kube::Client::try_from(config);
        client.map(Self::new).map_err(|e| configuration(api::transport_fault(&e)))
    }

    /// The same cluster with other settings. Nothing is remembered yet.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { client: self.client, keyrings: Keyrings::new(&settings), settings }
    }

    /// The namespace of whoever names none: that of the kubeconfig's context, or of the pod.
    pub fn namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// For what has nothing to do with secrets: it logs what it cannot understand.
    pub(crate) fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The credentials with which the kubelet would pull for a pod: those of its own pull secrets, then
    /// those of its service account's. A Secret or service account that does not exist is passed over, as
    /// the kubelet does; [`Keyring::warnings`] tells.
    ///
    /// They are remembered for [`Settings::keyrings_for`], errors are not. Whoever asks while they are
    /// being read waits for the same answer; the reading goes on when nobody waits any more.
    ///
    /// # Errors
    ///
    /// Whatever else goes wrong: the question is not answered then.
    pub async fn keyring(&self, puller: &Puller) -> Result<Arc<Keyring>, ClusterError> {
        pull_secrets::keyring(self, puller).await
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The API gave no answer that can be used. What Secrets hold is in no message.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The webhooks' authority is none.
    #[error("cannot publish the webhooks' certificate authority: {fault}")]
    Authority {
        /// What is wrong.
        fault: String,
    },
    /// Somebody else has fields of it at other values.
    #[error(
        "cannot apply {what}: {fields}; leave it to them, or take the fields over with --force-conflicts"
    )]
    Conflict {
        /// What was to be applied.
        what: String,
        /// Whose they are, in words.
        fields: String,
    },
    /// The process does not know how to ask.
    #[error(
        "cannot use the Kubernetes API: {fault}; run in a pod with a service account, or set KUBECONFIG"
    )]
    Configuration {
        /// What is wrong.
        fault: String,
    },
    /// A pull secret has credentials that cannot be understood.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// It took too long.
    #[error("the Kubernetes API did not give {what} within {} s; try again", .after.as_secs_f32())]
    Deadline {
        /// What was asked for.
        what: String,
        /// The time allowed.
        after: Duration,
    },
    /// The server may not do that.
    #[error(
        "the Kubernetes API does not let the server {verb} {what} (status {status}); grant its service \
         account that right"
    )]
    Forbidden {
        /// `get`, `list`, `create`, `update`, `patch` or `delete`.
        verb: &'static str,
        /// What was asked for.
        what: String,
        /// 401 or 403.
        status: u16,
    },
    /// A name that nothing in the API can have. It is not asked for: it could lead elsewhere.
    #[error("{name:?} cannot be the name of a {kind}")]
    Name {
        /// Of what.
        kind: &'static str,
        /// Shortened.
        name: String,
    },
    /// More than a workload needs.
    #[error("{whose} names more than {limit} pull secrets; name fewer")]
    TooMany {
        /// Whose they are.
        whose: String,
        /// How many there may be.
        limit: usize,
    },
    /// The cluster does not know the kind.
    #[error("the Kubernetes API has no kind {kind} of {api_version}; install what defines it")]
    Unknown {
        /// For example `Task`.
        kind: String,
        /// For example `tekton.dev/v1`.
        api_version: String,
    },
    /// The API cannot be asked.
    #[error("cannot read {what} from the Kubernetes API: {fault}")]
    Unreadable {
        /// What was asked for.
        what: String,
        /// What happened.
        fault: String,
    },
    /// The API did not store it.
    #[error("cannot write {what} to the Kubernetes API: {fault}")]
    Unwritable {
        /// What was to be written.
        what: String,
        /// What happened.
        fault: String,
    },
}

fn configuration(fault: String) -> ClusterError {
    ClusterError::Configuration { fault }
}

/// How long a workload's credentials are remembered: a rollout of a hundred pods asks once, and a pull
/// secret that was corrected counts within half a minute.
const KEYRING_FOR: Duration = Duration::from_secs(30);

/// Half of the ten seconds that the API server gives a webhook: it answers in milliseconds, and registries
/// have to be asked after it.
const API_DEADLINE: Duration = Duration::from_secs(5);
