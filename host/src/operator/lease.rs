//! Which of several replicas acts: the one that holds a Lease (coordination.k8s.io/v1), as client-go has it.
//!
//! The clocks of two machines are never compared. Whoever waits measures by its own clock how long the Lease has
//! stayed as it is, and takes it over when that is longer than its holder promised to renew it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kubernetes::{Cluster, ClusterError, Collection, ObjectPath};

/// Somebody who would like to act.
#[derive(Debug)]
pub struct Candidate {
    cluster: Cluster,
    lease: ObjectPath,
    identity: String,
    /// The Lease as it was seen last, and since when.
    seen: Option<(Value, Instant)>,
}

impl Candidate {
    /// For the Lease of this name. `identity` has to be unlike that of any other process.
    ///
    /// # Errors
    ///
    /// That cannot be its name.
    pub fn new(
        cluster: Cluster,
        namespace: &str,
        name: &str,
        identity: String,
    ) -> Result<Self, ClusterError> {
        let leases = Collection::new("/apis/coordination.k8s.io/v1", "leases", "Lease", namespace)?;
        Ok(Self { cluster, lease: leases.object(name)?, identity, seen: None })
    }

    /// Take, renew or wait for the Lease; whether it is held. Whoever holds it may act for [`RENEW_DEADLINE`] after
    /// the time at which this was called.
    ///
    /// # Errors
    ///
    /// The API does not answer: nothing is known.
    pub async fn attempt(&mut self, now: Instant) -> Result<bool, ClusterError> {
        let Some(mut lease) = self.cluster.object(&self.lease).await? else {
            let mut lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"});
            self.sign(&mut lease, 0);
            return self.cluster.create_object(&self.lease, &lease).await;
        };
        let spec = &lease["spec"];
        let holder = spec["holderIdentity"].as_str().unwrap_or_default();
        let mine = holder == self.identity;
        let since = match &self.seen {
            Some((seen, since)) if seen == spec => *since,
            _ => {
                self.seen = Some((spec.clone(), now));
                now
            }
        };
        let promised = spec["leaseDurationSeconds"].as_u64().map(Duration::from_secs);
        let over = now.saturating_duration_since(since) >= promised.unwrap_or(LEASE_DURATION);
        if !mine && !holder.is_empty() && !over {
            return Ok(false);
        }
        let transitions = spec["leaseTransitions"].as_u64().unwrap_or_default();
        self.sign(&mut lease, if mine { transitions } else { transitions.saturating_add(1) });
        self.cluster.replace_object(&self.lease, &lease).await
    }

    /// Give the Lease back, so that nobody has to wait for its end.
    ///
    /// # Errors
    ///
    /// The API does not answer: the Lease ends by itself.
    pub async fn release(&mut self) -> Result<(), ClusterError> {
        let Some(mut lease) = self.cluster.object(&self.lease).await? else { return Ok(()) };
        if lease["spec"]["holderIdentity"] == self.identity {
            lease["spec"]["holderIdentity"] = "".into();
            lease["spec"]["leaseDurationSeconds"] = 1.into();
            self.cluster.replace_object(&self.lease, &lease).await?;
        }
        Ok(())
    }

    fn sign(&self, lease: &mut Value, transitions: u64) {
        let now = format!("{:.6}", Timestamp::now());
        if lease["spec"]["holderIdentity"] != self.identity {
            lease["spec"]["acquireTime"] = now.clone().into();
        }
        lease["spec"]["holderIdentity"] = self.identity.clone().into();
        lease["spec"]["leaseDurationSeconds"] = LEASE_DURATION.as_secs().into();
        lease["spec"]["leaseTransitions"] = transitions.into();
        lease["spec"]["renewTime"] = now.into();
    }
}

/// How long others wait for somebody who no longer renews: as the cluster's own controllers have it.
const LEASE_DURATION: Duration = Duration::from_secs(15);

/// How long somebody acts who cannot renew: less than others wait.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
