//! The credentials of a workload.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::{BoxFuture, Shared};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use moka::sync::Cache;
use serde::Deserialize;

use super::{Cluster, ClusterError, SecretsFrom, Settings, api};
use crate::admission::Puller;
use crate::registry::{DockerConfig, Keyring};

/// The keyrings that are remembered, and those that are being read.
#[derive(Clone)]
pub(super) struct Keyrings {
    kept: Cache<Puller, Arc<Keyring>>,
    reading: Arc<Mutex<HashMap<Puller, Reading>>>,
}

type Reading = Shared<BoxFuture<'static, Result<Arc<Keyring>, ClusterError>>>;

impl Keyrings {
    /// Nothing is remembered yet.
    pub(super) fn new(settings: &Settings) -> Self {
        let kept = Cache::builder()
            .max_capacity(MAX_KEYRINGS_BYTES)
            .weigher(weight)
            .time_to_live(settings.keyrings_for)
            .build();
        Self { kept, reading: Arc::default() }
    }

    fn reading(&self) -> MutexGuard<'_, HashMap<Puller, Reading>> {
        // The map is whole after every statement.
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keyring of a puller: remembered, being read, or read now.
pub(super) async fn keyring(
    cluster: &Cluster,
    puller: &Puller,
) -> Result<Arc<Keyring>, ClusterError> {
    let puller = checked(puller)?;
    let kept = cluster.keyrings.kept.get(&puller);
    if let Some(metrics) = &cluster.settings.metrics {
        metrics.cache("keyrings", kept.is_some());
    }
    if let Some(keyring) = kept {
        return Ok(keyring);
    }
    let reading = {
        let mut reading = cluster.keyrings.reading();
        match reading.get(&puller) {
            Some(reading) => reading.clone(),
            None => {
                let started = start(cluster.clone(), puller.clone());
                reading.insert(puller, started.clone());
                started
            }
        }
    };
    reading.await
}

/// Read on a task of its own, so that the answer is remembered even if whoever asked ran out of time.
fn start(cluster: Cluster, puller: Puller) -> Reading {
    let what = format!("the pull secrets of namespace {:?}", puller.namespace);
    let unfinished =
        ClusterError::Unreadable { what: what.clone(), fault: "the reading broke off".to_owned() };
    let task = tokio::spawn(async move {
        let entry = Entry { keyrings: &cluster.keyrings, puller: &puller };
        let read = api::within(cluster.settings.deadline, &what, read(&cluster, &puller)).await;
        let keyring = Arc::new(read?);
        if !cluster.settings.keyrings_for.is_zero() {
            entry.keyrings.kept.insert(puller.clone(), Arc::clone(&keyring));
        }
        Ok(keyring)
    });
    async move { task.await.unwrap_or(Err(unfinished)) }.boxed().shared()
}

/// An entry of those that are being read, which goes when the reading ends, however it does.
struct Entry<'a> {
    keyrings: &'a Keyrings,
    puller: &'a Puller,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.keyrings.reading().remove(self.puller);
    }
}

/// The puller with every name once, if all of them are names.
fn checked(puller: &Puller) -> Result<Puller, ClusterError> {
    let namespace = api::name("namespace", &puller.namespace)?.to_owned();
    let service_account = match puller.service_account.as_str() {
        "" => "default",
        given => api::name("service account", given)?,
    };
    let whose = || "the pod".to_owned();
    let pull_secrets = secret_names(puller.pull_secrets.iter().map(String::as_str), whose)?;
    Ok(Puller { namespace, service_account: service_account.to_owned(), pull_secrets })
}

/// Names of Secrets, every one once. The API takes references without a name, and the kubelet passes over
/// them (kubernetes/kubernetes#99454).
fn secret_names<'a>(
    given: impl Iterator<Item = &'a str>,
    whose: impl Fn() -> String,
) -> Result<Vec<String>, ClusterError> {
    let mut names: Vec<String> = Vec::new();
    for name in given.filter(|name| !name.is_empty()) {
        let name = api::name("Secret", name)?;
        if names.iter().any(|known| known == name) {
            continue;
        }
        if names.len() == MAX_PULL_SECRETS {
            return Err(ClusterError::TooMany { whose: whose(), limit: MAX_PULL_SECRETS });
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

async fn read(cluster: &Cluster, puller: &Puller) -> Result<Keyring, ClusterError> {
    let namespace = &puller.namespace;
    if let SecretsFrom::Namespaces(allowed) = &cluster.settings.secrets_from
        && !allowed.contains(namespace)
    {
        let warning = format!("pull secrets of namespace {namespace:?} are not read");
        return Ok(Keyring::default().warn([warning]));
    }
    let (own, of_account) = futures_util::future::try_join(
        read_secrets(cluster, namespace, &puller.pull_secrets),
        read_account(cluster, namespace, &puller.service_account),
    )
    .await?;
    let (rest, mut warnings) = match of_account {
        Some(names) => (names, Vec::new()),
        None => {
            let account = &puller.service_account;
            let warning =
                format!("service account {account:?} of namespace {namespace:?} does not exist");
            (Vec::new(), vec![warning])
        }
    };
    let rest: Vec<_> =
        rest.into_iter().filter(|name| !puller.pull_secrets.contains(name)).collect();
    let rest = read_secrets(cluster, namespace, &rest).await?;
    let mut configs = Vec::new();
    for found in own.into_iter().chain(rest) {
        match found {
            Found::Config(config) => configs.push(config),
            Found::Nothing(warning) => warnings.push(warning),
        }
    }
    Ok(Keyring::from_docker_configs(configs)?.warn(warnings))
}

/// The names of a service account's pull secrets; `None` if there is no such account.
async fn read_account(
    cluster: &Cluster,
    namespace: &str,
    account: &str,
) -> Result<Option<Vec<String>>, ClusterError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ServiceAccount {
        image_pull_secrets: Option<Vec<SecretReference>>,
    }
    #[derive(Deserialize)]
    struct SecretReference {
        #[serde(default)]
        name: String,
    }
    let what = format!("service account {account:?} of namespace {namespace:?}");
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}");
    let Some(account) = cluster.get::<ServiceAccount>(&path, &what).await? else { return Ok(None) };
    let references = account.image_pull_secrets.unwrap_or_default();
    let names = references.iter().map(|reference| reference.name.as_str());
    secret_names(names, || what.clone()).map(Some)
}

/// What a Secret turned out to be.
enum Found {
    Config(DockerConfig),
    /// Why there is nothing.
    Nothing(String),
}

/// Secrets of one namespace, in order.
async fn read_secrets(
    cluster: &Cluster,
    namespace: &str,
    names: &[String],
) -> Result<Vec<Found>, ClusterError> {
    let reads: Vec<_> = names.iter().map(|name| read_secret(cluster, namespace, name)).collect();
    stream::iter(reads).buffered(MAX_CONCURRENT_READS).try_collect().await
}

async fn read_secret(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Found, ClusterError> {
    #[derive(Deserialize)]
    struct Secret {
        r#type: Option<String>,
        data: Option<BTreeMap<String, String>>,
    }
    let what = format!("Secret {name:?} of namespace {namespace:?}");
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
    let Some(secret) = cluster.get::<Secret>(&path, &what).await? else {
        return Ok(Found::Nothing(format!("{what} does not exist")));
    };
    let kind = secret.r#type.unwrap_or_default();
    let (key, form) = match kind.as_str() {
        "kubernetes.io/dockerconfigjson" => {
            (".dockerconfigjson", DockerConfig::config_json as Form)
        }
        "kubernetes.io/dockercfg" => (".dockercfg", DockerConfig::cfg as Form),
        _ => {
            return Ok(Found::Nothing(format!(
                "{what} has type {kind:?}, which no pull secret has"
            )));
        }
    };
    let Some(content) = secret.data.as_ref().and_then(|data| data.get(key)) else {
        return Ok(Found::Nothing(format!("{what} has no {key}")));
    };
    let content = BASE64_STANDARD.decode(content).map_err(|_| ClusterError::Unreadable {
        what: what.clone(),
        fault: format!("{key} is not base64"),
    })?;
    Ok(Found::Config(form(what, content)))
}

type Form = fn(String, Vec<u8>) -> DockerConfig;

/// What a remembered keyring takes in memory, in bytes.
fn weight(puller: &Puller, keyring: &Arc<Keyring>) -> u32 {
    let names = puller.pull_secrets.iter().map(|name| name.len() + size_of::<String>());
    let names = names.sum::<usize>() + puller.namespace.len() + puller.service_account.len();
    let records = size_of::<Puller>() + size_of::<Keyring>();
    u32::try_from(records + names + keyring.size()).unwrap_or(u32::MAX)
}

/// Most pull secrets of a pod, and of a service account: a workload has one or two, one that pulls from
/// everywhere a dozen.
const MAX_PULL_SECRETS: usize = 32;

/// Requests to the API at once for one workload: one round trip for almost all of them.
const MAX_CONCURRENT_READS: usize = 8;

/// Most bytes of remembered keyrings: thousands of workloads with a Secret of a few thousand bytes.
const MAX_KEYRINGS_BYTES: u64 = 16 * 1024 * 1024;
