//! `countersign operator`: keys that sign, as resources of a cluster.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::ValueEnum;
use countersign::kubernetes::Cluster;
use countersign::operator::{Health, Operator, Settings};
use countersign::telemetry::logs::{self, Logs};
use countersign::webhook_config::Namespace;

use super::Exit;
use super::signals::Signals;

/// Look after keys in a cluster: make, import, replace and publish what ImageSigning resources ask for
///
/// ImageSigning of countersign.dev/v1 is the resource; that of security.kabanero.io/v1alpha1 is taken over where it
/// is installed. deploy/operator has everything that a cluster needs for it. The cluster is the one of KUBECONFIG, of
/// the pod's service account, or of ~/.kube/config. Of several replicas one acts, the holder of the Lease
/// countersign-operator. SIGTERM and SIGINT end it. Exit status: 0 ended as asked, 2 error or misuse.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Look after this namespace alone; may be repeated [default: all namespaces]
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Vec<Namespace>,

    /// Where the Lease is [default: the namespace of the pod, or of the kubeconfig]
    #[arg(long, value_name = "NAMESPACE")]
    lease_namespace: Option<Namespace>,

    /// Address and port for probes: GET /livez and /readyz, without TLS [default: none]
    #[arg(long, value_name = "ADDRESS:PORT")]
    health_listen: Option<SocketAddr>,

    /// What is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,

    /// The form of the log
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "json")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// One object for each line
    Json,
    /// For people
    Text,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let format = match self.log_format {
            LogFormat::Json => logs::Format::Json,
            LogFormat::Text => logs::Format::Text,
        };
        logs::start(&Logs { format, level: self.log_level.clone() }, None)?;
        super::runtime()?.block_on(self.operate())?;
        Ok(Exit::Success)
    }

    async fn operate(self) -> Result<()> {
        let mut signals = Signals::new().context("cannot wait for signals")?;
        let cluster = Cluster::connect().await?;
        let lease_namespace = match &self.lease_namespace {
            Some(namespace) => namespace.as_str().to_owned(),
            None => cluster.namespace().to_owned(),
        };
        let namespaces = self.namespace.iter().map(|name| name.as_str().to_owned()).collect();
        let settings = Settings::new(namespaces, lease_namespace, identity()?);
        let operator = Operator::new(cluster, settings)?;
        if let Some(address) = self.health_listen {
            let health = Health::bind(address, operator.pulse()).await;
            let health = health.with_context(|| {
                format!("cannot listen on {address}; choose another one with --health-listen")
            })?;
            tracing::info!("probes on http://{}", health.address()?);
            tokio::spawn(health.run());
        }
        operator.run(signals.next()).await?;
        tracing::info!("ended");
        Ok(())
    }
}

/// The machine's name, which is a pod's own, and something that no other process has.
fn identity() -> Result<String> {
    let file = "/proc/sys/kernel/hostname";
    let host = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let random = countersign::operator::random_word().context("cannot draw a random number")?;
    Ok(format!("{}_{random}", host.trim()))
}

const EXAMPLES: &str = "\
Examples:
  In a pod, for the resources of one namespace:
    countersign operator --namespace build --health-listen 0.0.0.0:8080

  On this machine, by the user's kubeconfig, with a log for people:
    countersign operator --namespace build --lease-namespace build --log-format text
";
