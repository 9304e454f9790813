//! `countersign serve`: the webhook server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use countersign::serve::{self, Configuration, Ended, Server, Source};
use countersign::telemetry::Metrics;
use countersign::telemetry::logs::{self, Logs};
use countersign::telemetry::traces::Traces;

use super::signals::Signals;
use super::{Exit, complain, print};

/// Answer a Kubernetes cluster: may this pod start?
///
/// Endpoints: POST /validate, /mutate and /admit (AdmissionReview of admission.k8s.io/v1), /imagepolicy
/// (ImageReview of imagepolicy.k8s.io/v1alpha1), GET /livez, /readyz (?verbose tells more), /metrics. Policy,
/// keys, registries.d, certificates and configuration are watched; what cannot be loaded does not replace
/// what was there before. SIGTERM and SIGINT end the server when everything in flight is answered, a second
/// one ends it at once.
///
/// Every option has a variable of the same name in the environment, for example COUNTERSIGN_PLAIN_LISTEN for
/// --plain-listen. An option counts more than its variable, and that more than the file. Exit status: 0 ended
/// as asked, 2 error or misuse, or requests were cut off.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The configuration, YAML
    ///
    /// docs/countersign.schema.json describes it, --print-schema prints that. Default: without a file, every
    /// key has its default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Address and port of the webhook endpoints [default: 0.0.0.0:8443]
    ///
    /// With port 0, any that is free; the log says which.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,

    /// Address and port of probes and metrics without TLS [default: none]
    #[arg(long, value_name = "ADDRESS:PORT")]
    plain_listen: Option<SocketAddr>,

    /// The policy, see containers-policy.json(5) [default: /etc/countersign/policy/policy.json]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// The folder that says where signatures are kept, see containers-registries.d(5) [default:
    /// /etc/containers/registries.d]
    #[arg(long, value_name = "DIR")]
    registries_d: Option<PathBuf>,

    /// The server's certificate and its chain, PEM [default: /etc/countersign/tls/tls.crt]
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,

    /// The certificate's private key, PEM [default: /etc/countersign/tls/tls.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Authorities of which clients have to show a certificate, PEM [default: none is needed]
    #[arg(long, value_name = "FILE")]
    client_authorities: Option<PathBuf>,

    /// What is logged: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,

    /// The form of the log: json or text [default: json]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    /// Threads that answer [default: one for each processor]
    #[arg(long, value_name = "NUMBER")]
    workers: Option<usize>,

    /// Look for mistakes in configuration, policy, keys and certificates, and end
    ///
    /// Exit status: 0 the server can be started, 2 it cannot.
    #[arg(long)]
    check: bool,

    /// Print the JSON schema of the configuration, and end
    #[arg(long, exclusive = true)]
    print_schema: bool,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        if self.print_schema {
            print(&serve::schema())?;
            return Ok(Exit::Success);
        }
        let check = self.check;
        let source = self.source()?;
        if check {
            return checked(&source);
        }
        let configuration = source.load()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(configuration.workers)
            .thread_name("serve")
            .enable_all()
            .build()
            .context("cannot start the asynchronous runtime")?;
        let ended = runtime.block_on(run(source, configuration));
        // What still computes is of no use to anybody.
        runtime.shutdown_background();
        match ended? {
            Ended::Drained => Ok(Exit::Success),
            Ended::Cut => bail!("ended before every request was answered"),
        }
    }

    fn source(self) -> Result<Source> {
        Ok(Source {
            file: or_variable(self.config, "CONFIG")?,
            listen: or_variable(self.listen, "LISTEN")?,
            plain_listen: or_variable(self.plain_listen, "PLAIN_LISTEN")?,
            certificate: or_variable(self.certificate, "CERTIFICATE")?,
            key: or_variable(self.key, "KEY")?,
            client_authorities: or_variable(self.client_authorities, "CLIENT_AUTHORITIES")?,
            policy: or_variable(self.policy, "POLICY")?,
            registries_d: or_variable(self.registries_d, "REGISTRIES_D")?,
            log_level: or_variable(self.log_level, "LOG_LEVEL")?,
            log_format: or_variable(self.log_format, "LOG_FORMAT")?,
            workers: or_variable(self.workers, "WORKERS")?,
        })
    }
}

async fn run(source: Source, configuration: Configuration) -> Result<Ended> {
    let traces = telemetry(&configuration)?;
    let ended = serve(source, configuration).await;
    if let Some(traces) = traces {
        traces.stop().await;
    }
    ended
}

async fn serve(source: Source, configuration: Configuration) -> Result<Ended> {
    let mut signals = Signals::new().context("cannot wait for signals")?;
    let server = Server::start(source, configuration, Arc::new(Metrics::default())).await?;
    if let Some(address) = server.plain_address()? {
        tracing::info!("probes and metrics on http://{address}");
    }
    tracing::info!("listening on https://{}", server.address()?);
    let (first, second) = tokio::sync::oneshot::channel::<()>();
    let running = server.run(async {
        // A sender that is gone cannot be waited for, either.
        let _ = second.await;
    });
    tokio::pin!(running);
    tokio::select! {
        () = signals.next() => {}
        ended = &mut running => return Ok(ended),
    }
    drop(first);
    tokio::select! {
        () = signals.next() => Ok(Ended::Cut),
        ended = running => Ok(ended),
    }
}

fn checked(source: &Source) -> Result<Exit> {
    let wrong = serve::check(source);
    if wrong.is_empty() {
        print("configuration, policy, keys and certificates can be used\n")?;
        return Ok(Exit::Success);
    }
    for mistake in wrong {
        complain(&mistake);
    }
    Ok(Exit::Error)
}

/// Lines on standard error, and traces if there is somewhere to send them. Inside the runtime.
fn telemetry(configuration: &Configuration) -> Result<Option<Traces>> {
    let traces = configuration.traces.as_deref().map(Traces::start).transpose()?;
    let format = if configuration.log.json { logs::Format::Json } else { logs::Format::Text };
    let level = configuration.log.level.to_owned();
    logs::start(&Logs { format, level }, traces.as_ref())?;
    Ok(traces)
}

/// The option, else its variable in the environment.
fn or_variable<T>(option: Option<T>, name: &str) -> Result<Option<T>>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let name = format!("COUNTERSIGN_{name}");
    match std::env::var(&name) {
        _ if option.is_some() => Ok(option),
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => text.parse().map(Some).with_context(|| format!("invalid {name}={text:?}")),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("invalid {name}")),
    }
}

const EXAMPLES: &str = "\
Examples:
  On this machine, without a configuration file:
    countersign serve --listen 127.0.0.1:8443 --policy ./policy.json \\
      --certificate ./tls.crt --key ./tls.key

  In a cluster, with everything mounted:
    countersign serve --config /etc/countersign/config.yaml

  Would it start?
    countersign serve --config ./config.yaml --check
";
