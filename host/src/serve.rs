//! The webhook server.
//!
//! It listens (`listener`), answers (`routes`) by what was loaded last (`generation`), looks whether files
//! have changed (`watch`), and looks after its own certificate (`certificates`). What a request asks and how
//! it is answered is of [`crate::admission`], what is decided about an image of [`crate::verdicts`].

mod certificates;
mod configuration;
mod generation;
mod listener;
mod quantity;
mod routes;
mod secret;
mod unanswered;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch as signal;
use tokio::time::{sleep, timeout};

use crate::engine::{self, Engine, EngineError, Places, RuleSettings};
use crate::kubernetes::{self, Cluster, ClusterError};
use crate::policy::PolicyFile;
use crate::telemetry::Metrics;

use self::certificates::{Certificates, Keeper};
use self::generation::{Engines, Loaded, Loader, Parts};
use self::listener::Listener;
use self::routes::Service;
use self::secret::Secret;

pub use self::certificates::CertificateError;
pub use self::configuration::{
    Configuration, ConfigurationError, Deadline, Decisions, Identity, Log, Mistake, Registries,
    SelfManaged, Source, schema,
};

/// A server that has its ports, and answers as soon as it runs.
#[derive(Debug)]
pub struct Server {
    tls: Listener,
    plain: Option<Listener>,
    parts: Parts,
    drain: Duration,
    loader: Option<Loader>,
    keeper: Option<(Keeper<Secret>, Duration)>,
}

impl Server {
    /// Load everything, and take the ports. A policy that cannot be loaded is no error: such a server denies
    /// everything, and is not ready.
    ///
    /// # Errors
    ///
    /// There is no certificate, the Kubernetes API is wanted and cannot be reached, or a port is taken.
    pub async fn start(
        source: Source,
        configuration: Configuration,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ServeError> {
        let cluster = cluster(&configuration, Arc::clone(&metrics)).await?;
        let (certificates, keeper) = identity(&configuration, cluster.as_ref()).await?;
        let certificates = Arc::new(certificates);
        certificates.current().tell(&metrics, now());
        let (listen, plain_listen) = (configuration.listen, configuration.plain_listen);
        let drain = configuration.drain;
        let load = {
            let certificates = Arc::clone(&certificates);
            move || {
                let engines = engines(configuration.workers, &metrics)?;
                Ok(Loader::start(source, configuration, engines, cluster, certificates, metrics))
            }
        };
        let loader = tokio::task::spawn_blocking(load).await;
        let loader = loader.map_err(|e| ServeError::Bug(e.to_string()))?;
        let loader = loader.map_err(ServeError::Engine)?;
        let parts = loader.parts().clone();
        let service = Arc::new(Service::new(parts.clone()));
        let bind = async |address, certificates| {
            let listener = Listener::bind(address, certificates, Arc::clone(&service)).await;
            listener.map_err(|source| ServeError::Listen { address, source })
        };
        let tls = bind(listen, Some(certificates)).await?;
        let plain = match plain_listen {
            Some(address) => Some(bind(address, None).await?),
            None => None,
        };
        Ok(Self { tls, plain, parts, drain, loader: Some(loader), keeper })
    }

    /// Where the webhook endpoints are.
    ///
    /// # Errors
    ///
    /// The operating system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tls.address()
    }

    /// Where probes and metrics are without TLS.
    ///
    /// # Errors
    ///
    /// The operating system does not tell.
    pub fn plain_address(&self) -> io::Result<Option<SocketAddr>> {
        self.plain.as_ref().map(Listener::address).transpose()
    }

    /// Answer until `stop` says so; then tell the cluster, wait until it has heard it, and finish what is in
    /// flight.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Ended {
        let (stopping, stopped) = signal::channel(false);
        let watcher = self.loader.take().and_then(watch);
        let keeper = self
            .keeper
            .take()
            .map(|(keeper, first)| tokio::spawn(keep(keeper, first, self.parts.clone())));
        let tls = tokio::spawn(self.tls.run(stopped.clone()));
        let plain = self.plain.map(|plain| tokio::spawn(plain.run(stopped)));
        stop.await;
        self.parts.status.drain();
        let delay = self.drain.as_secs_f64();
        tracing::info!(delay, "about to end: not ready any more, requests are still answered");
        sleep(self.drain).await;
        // Nobody listens if both have ended already.
        let _ = stopping.send(true);
        let finished = timeout(DRAIN_TIMEOUT, async {
            let _ = tls.await;
            if let Some(plain) = plain {
                let _ = plain.await;
            }
        })
        .await;
        if let Some(keeper) = keeper {
            keeper.abort();
        }
        drop(watcher);
        match finished {
            Ok(()) => Ended::Drained,
            Err(_) => Ended::Cut,
        }
    }
}

/// How a server has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// Every request was answered.
    Drained,
    /// Some took too long.
    Cut,
}

/// Everything that is wrong with what a server would be started with; nothing if it can be started.
pub fn check(source: &Source) -> Vec<String> {
    let configuration = match source.load() {
        Ok(configuration) => configuration,
        Err(error) => return vec![error.to_string()],
    };
    let mut wrong = Vec::new();
    match generation::certificates(&configuration) {
        Ok((pair, authorities)) => {
            let pair = pair.map(|pair| Certificates::new(pair, authorities, now()));
            wrong.extend(pair.and_then(Result::err).map(|error| error.to_string()));
        }
        Err(error) => wrong.push(error.to_string()),
    }
    let engine = match Engine::new(&engine::Settings::default()) {
        Ok(engine) => engine,
        Err(error) => {
            wrong.push(ServeError::Engine(error).to_string());
            return wrong;
        }
    };
    let engines = Engines::new(engine.clone(), rule_settings(None));
    match Loaded::load(&configuration, &engines) {
        Ok(loaded) => wrong.extend(loaded.rule_faults()),
        Err(error) => {
            wrong.push(error.to_string());
            return wrong;
        }
    }
    // What is wrong with keys is a warning of the document, and denies all that needs them.
    let file = PolicyFile::read(&configuration.policy);
    match file.and_then(|file| file.check(&engine, true)) {
        Ok(found) => {
            let keys = found.iter().filter(|m| KEY_MISTAKES.contains(&m.code.as_str()));
            wrong
                .extend(keys.map(|m| format!("{}: {}", configuration.policy.display(), m.message)));
        }
        Err(error) => wrong.push(error.to_string()),
    }
    wrong
}

/// A server cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A fault of this program.
    #[error("internal error: {0}")]
    Bug(String),
    /// There is nothing to show to clients.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The Kubernetes API is wanted, and cannot be used.
    #[error("{0}; it is wanted for tls.selfManaged and registries.pullSecrets")]
    Cluster(#[from] ClusterError),
    /// The sandbox does not run here.
    #[error("cannot set up the sandbox: {0}")]
    Engine(EngineError),
    /// A port cannot be had.
    #[error("cannot listen on {address}: {source}; choose another one with --listen")]
    Listen {
        /// Address and port.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No certificate can be made or kept.
    #[error("cannot make a certificate: {0}")]
    SelfManaged(String),
}

/// Look whether files have changed, on a thread of its own, as long as what is returned lives.
fn watch(mut loader: Loader) -> Option<Sender<()>> {
    let (end, ended) = channel::<()>();
    let runtime = tokio::runtime::Handle::current();
    let watch = move || {
        // What is made anew may want to be among asynchronous tasks.
        let _entered = runtime.enter();
        loader.begin();
        loop {
            loader.snapshot();
            match ended.recv_timeout(watch::POLL) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            loader.poll(&|time| {
                // Whether to end is asked for right afterwards.
                let _ = ended.recv_timeout(time);
            });
        }
    };
    match std::thread::Builder::new().name("watch".to_owned()).spawn(watch) {
        Ok(_) => Some(end),
        Err(error) => {
            tracing::error!(error = error.to_string(), "no change of a file will be noticed");
            None
        }
    }
}

/// The certificate with which the server begins; its keeper, if it makes its own.
async fn identity(
    configuration: &Configuration,
    cluster: Option<&Cluster>,
) -> Result<(Certificates, Option<(Keeper<Secret>, Duration)>), ServeError> {
    let (pair, authorities) = generation::certificates(configuration)?;
    let own = match (&configuration.identity, cluster) {
        (Identity::SelfManaged(own), Some(cluster)) => (own, cluster),
        _ => {
            let pair = pair.ok_or_else(|| ServeError::Bug("no certificate".to_owned()))?;
            return Ok((Certificates::new(pair, authorities, now())?, None));
        }
    };
    let (own, cluster) = own;
    let names =
        ["svc", "svc.cluster.local"].map(|end| format!("{}.{}.{end}", own.service, own.namespace));
    let mut keeper = Keeper::new(Secret::new(cluster.clone(), own.clone()), names.to_vec());
    let looked = keeper.look(now()).await.map_err(|e| ServeError::SelfManaged(e.to_string()))?;
    if let Some(fault) = &looked.fault {
        tracing::warn!(error = fault.to_string(), "the authority is not published yet");
    }
    let pair = looked.show.ok_or_else(|| ServeError::Bug("no certificate".to_owned()))?;
    let certificates = Certificates::new(pair, authorities, now())?;
    Ok((certificates, Some((keeper, looked.again))))
}

/// Look after the certificate for ever.
async fn keep(mut keeper: Keeper<Secret>, first: Duration, parts: Parts) {
    let mut again = first;
    loop {
        sleep(again).await;
        let now = now();
        let result = match keeper.look(now).await {
            Ok(looked) => {
                again = looked.again;
                let shown = looked.show.map(|pair| parts.certificates.show(pair, now));
                match shown.transpose() {
                    Ok(Some(true)) => {
                        parts.metrics.reload("certificate", true);
                        parts.certificates.current().tell(&parts.metrics, now);
                        looked.fault.map_or(Ok(()), |fault| Err(fault.to_string()))
                    }
                    Ok(_) => looked.fault.map_or(Ok(()), |fault| Err(fault.to_string())),
                    Err(error) => Err(error.to_string()),
                }
            }
            Err(fault) => {
                again = RETRY_PAUSE;
                Err(fault.to_string())
            }
        };
        if let Err(error) = &result {
            tracing::error!(error, "the certificate is not looked after");
            parts.metrics.reload("certificate", false);
        }
        parts.status.note("certificate", result);
    }
}

async fn cluster(
    configuration: &Configuration,
    metrics: Arc<Metrics>,
) -> Result<Option<Cluster>, ServeError> {
    let own = matches!(configuration.identity, Identity::SelfManaged(_));
    if !own && !configuration.registries.pull_secrets {
        return Ok(None);
    }
    let settings =
        kubernetes::Settings { metrics: Some(metrics), ..kubernetes::Settings::default() };
    Ok(Some(Cluster::connect().await?.with_settings(settings)))
}

/// As many evaluations at the same time as there are threads that ask, and some that wait for nothing else.
fn engines(workers: usize, metrics: &Metrics) -> Result<Engines, EngineError> {
    let slots = (workers * 2).max(MIN_SLOTS);
    metrics.sandbox_slots(slots);
    let apart = Some(this_program());
    let settings = engine::Settings { slots: Some(slots), apart, ..engine::Settings::default() };
    Ok(Engines::new(Engine::new(&settings)?, rule_settings(Some(slots))))
}

fn rule_settings(slots: Option<usize>) -> RuleSettings {
    RuleSettings {
        slots,
        places: Places::of_this_process(),
        ticks: None,
        compiler: Some(this_program()),
    }
}

/// By this name the very file that this process runs is found, whatever lies under its path now.
fn this_program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// Seconds since 1970-01-01 UTC.
fn now() -> i64 {
    Timestamp::now().as_second()
}

/// What is wrong with a key so that no signature by it counts.
const KEY_MISTAKES: [&str; 3] = ["key-unreadable", "key-unusable", "no-public-keys"];

/// What is in flight may take no longer, so that with a delay of 5 s a pod ends within the 30 s that a
/// kubelet gives it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// After a look at the certificate that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// Evaluations at the same time on the smallest machine: one of many signatures must not keep all others.
const MIN_SLOTS: usize = 4;
