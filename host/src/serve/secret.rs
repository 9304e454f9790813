//! The Secret that keeps the server's own certificate, and the webhook configurations that trust it.

use crate::kubernetes::{self, Cluster, ClusterError, TlsSecret};

use super::certificates::{Keeps, Kept, StoreError, Written};
use super::configuration::SelfManaged;

/// Both, in the cluster.
#[derive(Debug)]
pub(super) struct Secret {
    cluster: Cluster,
    own: SelfManaged,
}

impl Secret {
    pub(super) fn new(cluster: Cluster, own: SelfManaged) -> Self {
        Self { cluster, own }
    }
}

impl Keeps for Secret {
    async fn read(&self) -> Result<Option<(Kept, String)>, StoreError> {
        let SelfManaged { namespace, secret, .. } = &self.own;
        let found = self.cluster.tls_secret(namespace, secret).await.map_err(fault)?;
        Ok(found.map(|TlsSecret { certificate, key, authority, version }| {
            (Kept { certificate, key, authorities: authority }, version.unwrap_or_default())
        }))
    }

    async fn write(&self, kept: &Kept, version: Option<&str>) -> Result<Written, StoreError> {
        let SelfManaged { namespace, secret, .. } = &self.own;
        let Kept { certificate, key, authorities } = kept.clone();
        let new = TlsSecret::new(certificate, key, authorities);
        let stored = self.cluster.store_tls_secret(namespace, secret, &new, version).await;
        Ok(match stored.map_err(fault)? {
            kubernetes::Written::Stored => Written::Stored,
            kubernetes::Written::Conflict => Written::Conflict,
        })
    }

    async fn publish(&self, authorities: &str) -> Result<(), StoreError> {
        let published = self.cluster.publish_authority(&self.own.webhooks, authorities).await;
        published.map_err(fault)
    }
}

fn fault(error: ClusterError) -> StoreError {
    StoreError(error.to_string())
}
