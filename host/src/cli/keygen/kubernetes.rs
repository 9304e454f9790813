//! What a cluster gets instead of files.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use countersign::keys::{
    Expiry, Manifests, ObjectName, Previous, PublicKeys, SecretKey, StoredKey,
};
use countersign::kubernetes::{Cluster, SigningKeyPlace};
use countersign::report::time;
use countersign::webhook_config::Namespace;
use serde_json::Value;
use tokio::runtime::Runtime;

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Kubernetes")]
pub(super) struct KubernetesArgs {
    /// Print a Secret with the secret half and a ConfigMap with the public half, instead of writing files
    #[arg(long)]
    pub(super) kubernetes: bool,

    /// Create both in the cluster instead of printing them [default: print them]
    ///
    /// The cluster is the one of KUBECONFIG, of the pod's service account, or of ~/.kube/config. What is there
    /// already stays as it is.
    #[arg(long, requires = "kubernetes")]
    apply: bool,

    /// Put the new key in place of the one in the Secret, which stays trusted --until then [default: make the first]
    ///
    /// The new public key is in the ConfigMap before it signs.
    #[arg(long, requires_all = ["apply", "until"], conflicts_with = "previous")]
    rotate: bool,

    /// Where they belong [default: whatever namespace kubectl is set to]
    #[arg(long, value_name = "NAMESPACE", requires = "kubernetes")]
    namespace: Option<Namespace>,

    /// The Secret's name
    #[arg(
        long,
        value_name = "NAME",
        requires = "kubernetes",
        default_value = "signature-secret-key"
    )]
    name: ObjectName,

    /// The ConfigMap's name
    #[arg(
        long,
        value_name = "NAME",
        requires = "kubernetes",
        default_value = "signature-public-key"
    )]
    config_map: ObjectName,

    /// Keep this public key in the ConfigMap, too: the one that the new key takes the place of [default: none]
    #[arg(long, value_name = "PUBLIC", requires = "kubernetes", requires = "until")]
    previous: Option<PathBuf>,

    /// How long the previous key is to be trusted: a duration (30d) or a date (2027-12-31)
    ///
    /// Default: none; --previous and --rotate need it.
    #[arg(long, value_name = "DATE|DURATION", requires = "kubernetes")]
    until: Option<Expiry>,
}

impl KubernetesArgs {
    /// Look at everything that is there before a key is made.
    pub(super) fn target(&self, now: u64) -> Result<Option<Target<'_>>> {
        if !self.kubernetes {
            return Ok(None);
        }
        let until = self.until.map(|until| trusted_until(until, now)).transpose()?;
        let previous = match (&self.previous, until) {
            (Some(file), Some(until)) => vec![Previous { keys: PublicKeys::open(file)?, until }],
            (None, Some(_)) if !self.rotate => bail!("--until needs --previous or --rotate"),
            _ => Vec::new(),
        };
        let apply = self.apply.then(|| self.reach(until.filter(|_| self.rotate))).transpose()?;
        Ok(Some(Target { args: self, previous, apply }))
    }

    fn reach(&self, until: Option<u64>) -> Result<Reached> {
        let runtime = super::super::runtime()?;
        let (cluster, place, namespace, there) = runtime.block_on(async {
            let cluster = Cluster::connect().await?;
            let namespace = self.namespace.as_ref().map_or(cluster.namespace(), Namespace::as_str);
            let namespace = namespace.to_owned();
            let place = SigningKeyPlace::new(&namespace, &self.name, &self.config_map)?;
            let there = match until {
                Some(until) => Some((cluster.signing_key(&place).await?, until)),
                None => {
                    cluster.has_room_for_signing_key(&place).await?;
                    None
                }
            };
            anyhow::Ok((cluster, place, namespace, there))
        })?;
        Ok(Reached { runtime, cluster, place, namespace, there })
    }
}

/// Where a key is to go.
pub(super) struct Target<'a> {
    args: &'a KubernetesArgs,
    previous: Vec<Previous>,
    apply: Option<Reached>,
}

/// A cluster that answers.
struct Reached {
    runtime: Runtime,
    cluster: Cluster,
    place: SigningKeyPlace,
    namespace: String,
    /// The Secret whose key is replaced, and how long that is trusted then.
    there: Option<(Value, u64)>,
}

impl Target<'_> {
    /// Bring the key there. What is to be printed has the secret only if nothing is applied.
    pub(super) fn take(self, key: SecretKey, now: u64) -> Result<String> {
        let Self { args, previous, apply } = self;
        let Some(Reached { runtime, cluster, place, namespace, there }) = apply else {
            let key = StoredKey::new(key, previous, now)?;
            let manifests = Manifests {
                key: &key,
                namespace: args.namespace.as_ref(),
                secret: &args.name,
                config_map: &args.config_map,
            };
            return Ok(manifests.yaml(now)?);
        };
        let stored = runtime.block_on(async {
            match there {
                Some((secret, until)) => {
                    cluster.rotate_signing_key(&place, secret, key, until, now).await
                }
                None => {
                    let key = StoredKey::new(key, previous, now)?;
                    cluster.store_signing_key(&place, &key, now).await.map(|()| key)
                }
            }
        })?;
        let ends = stored.expires(now).map_or("never".to_owned(), time);
        let mut summary = format!("fingerprint  {}\nexpires      {ends}\n", stored.fingerprint());
        for previous in stored.previous(now) {
            for fingerprint in previous.keys.fingerprints() {
                summary += &format!(
                    "previous     {fingerprint}, trusted until {}\n",
                    time(previous.until)
                );
            }
        }
        summary += &format!("secret key   Secret {} of namespace {namespace}\n", args.name);
        summary +=
            &format!("public key   ConfigMap {} of namespace {namespace}\n", args.config_map);
        Ok(summary)
    }
}

fn trusted_until(until: Expiry, now: u64) -> Result<u64> {
    let after = until.validity(now).context("invalid --until")?;
    let after = after.context("invalid --until: expected a date or a duration")?;
    Ok(now.saturating_add(after))
}
