//! The Kubernetes API: what the server reads there, with the narrowest rights.

use std::sync::Arc;

use crate::admission::Puller;
use crate::registry::Keyring;

/// Access to the API of the cluster that this process runs in.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
}

impl Cluster {
    /// By the service account of the pod that this process runs in, or by a kubeconfig.
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// The credentials with which the kubelet would pull for a pod: those of its own pull secrets, then
    /// those of its service account's.
    pub async fn keyring(&self, _puller: &Puller) -> Result<Arc<Keyring>, ClusterError> {
        let _ = &self.client;
        Ok(Arc::default())
    }

    /// The certificate in a Secret of type `kubernetes.io/tls`, if there is one.
    pub async fn tls_secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<TlsSecret>, ClusterError> {
        Err(self.unbuilt(namespace, name))
    }

    /// Write it, if the Secret still has this version; `None`: if there is no Secret.
    pub async fn store_tls_secret(
        &self,
        namespace: &str,
        name: &str,
        _secret: &TlsSecret,
        _expected_version: Option<&str>,
    ) -> Result<Stored, ClusterError> {
        Err(self.unbuilt(namespace, name))
    }

    /// Have the API server trust these authorities, PEM, when it asks these webhooks.
    pub async fn publish_authority(
        &self,
        webhooks: &[String],
        _bundle: &str,
    ) -> Result<(), ClusterError> {
        Err(self.unbuilt("webhooks", &webhooks.join(" ")))
    }

    fn unbuilt(&self, namespace: &str, name: &str) -> ClusterError {
        let what = format!("{namespace}/{name}");
        ClusterError::Unreadable { what, fault: "not built yet".to_owned() }
    }
}

/// What a Secret of type `kubernetes.io/tls` keeps, PEM.
#[derive(Clone, Eq, PartialEq)]
pub struct TlsSecret {
    /// `tls.crt`.
    pub certificate: String,
    /// `tls.key`.
    pub key: String,
    /// `ca.crt`.
    pub authorities: String,
    /// `metadata.resourceVersion`; empty in one that is to be written.
    pub version: String,
}

/// How writing went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stored {
    /// It is there.
    Stored,
    /// Somebody else was faster.
    Conflict,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

/// The API gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The API cannot be asked.
    #[error("cannot read {what} from the Kubernetes API: {fault}")]
    Unreadable {
        /// What was asked for.
        what: String,
        /// What happened.
        fault: String,
    },
}
