//! `countersign webhook-config`: the documents that make a cluster ask.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};
use countersign::webhook_config::{
    Bundle, Client, Credentials, FailurePolicy, Form, HttpsUrl, ImagePolicy, Kind, Namespace,
    Resource, RetryBackoff, Service, Timeout, Ttl, Webhooks,
};

use super::{Exit, print};

/// Print what makes a cluster ask this server: webhook configurations, or what API servers are started with
///
/// Nothing is sent anywhere. The configurations refuse objects that could not be judged, and never ask about
/// the namespaces from which a cluster recovers: kube-system, and the server's own.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "countersign webhook-config [OPTIONS] <--service NAMESPACE/NAME[:PORT]|--url URL>\n       \
                      countersign webhook-config <COMMAND>",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    server: ServerArgs,

    /// The authorities that issued the server's certificate, PEM [default: none]
    ///
    /// None is right where the server writes its own into the configurations (tls.selfManaged), and where
    /// cert-manager does.
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,

    /// Which configurations
    #[arg(
        long,
        value_name = "KIND",
        value_enum,
        value_delimiter = ',',
        default_value = "mutating,validating"
    )]
    kind: Vec<KindName>,

    /// What holds if the server cannot be asked or does not answer in time
    ///
    /// With Ignore, whoever can make the server slow or unreachable runs any image.
    #[arg(long, value_name = "Fail|Ignore", value_enum, default_value = "Fail")]
    failure_policy: FailurePolicyName,

    /// How long the API server waits for an answer: 1s to 30s
    #[arg(long, value_name = "TIME", default_value_t)]
    timeout: Timeout,

    /// Never ask about this namespace, beside kube-system and the server's own; may be repeated
    ///
    /// For namespaces without which the cluster, or the server, does not come up. Others are better exempted
    /// in the server's configuration, which knows patterns.
    #[arg(long, value_name = "NAMESPACE")]
    exempt_namespace: Vec<Namespace>,

    /// Ask about this custom resource, too; may be repeated
    ///
    /// The server's configuration says where its images are. Its pods are asked about anyway.
    #[arg(long, value_name = "GROUP/RESOURCE")]
    custom_resource: Vec<Resource>,

    /// For files that the API server reads when it starts, instead of for objects (Kubernetes 1.36)
    ///
    /// Out of the reach of whoever may change objects. Needs --url, and one --kind, because each kind has a
    /// folder of its own.
    #[arg(long)]
    static_manifests: bool,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        match self.command {
            Some(Command::Imagepolicy(args)) => print(&args.documents().yaml())?,
            Some(Command::Credentials(args)) => print(&args.documents()?)?,
            None => print(&self.documents()?.yaml())?,
        }
        Ok(Exit::Success)
    }

    fn documents(self) -> Result<Webhooks> {
        let mut kinds = Vec::new();
        for KindName(kind) in self.kind {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        if self.static_manifests && kinds.len() != 1 {
            bail!(
                "--static-manifests needs one --kind: the API server reads mutating and validating \
                 configurations from different folders"
            );
        }
        let client = self.server.client()?;
        if self.static_manifests && matches!(client, Client::Service(_)) {
            bail!(
                "--static-manifests needs --url: the API server reads them before it knows Services"
            );
        }
        Ok(Webhooks {
            client,
            authorities: self.ca_bundle.as_deref().map(Bundle::read).transpose()?,
            kinds,
            failure_policy: self.failure_policy.0,
            timeout: self.timeout,
            exempt_namespaces: self.exempt_namespace,
            custom_resources: self.custom_resource,
            form: if self.static_manifests { Form::File } else { Form::Object },
        })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Imagepolicy(ImagePolicyArgs),
    Credentials(CredentialsArgs),
}

/// Where the server is.
#[derive(clap::Args, Debug)]
struct ServerArgs {
    /// The Service before the server; its certificate has to be for NAME.NAMESPACE.svc
    #[arg(
        long,
        value_name = "NAMESPACE/NAME[:PORT]",
        required_unless_present = "url",
        conflicts_with = "url"
    )]
    service: Option<Service>,

    /// Where API servers that reach no Services find the server
    #[arg(long, value_name = "URL")]
    url: Option<HttpsUrl>,
}

impl ServerArgs {
    fn client(self) -> Result<Client> {
        match (self.service, self.url) {
            (Some(service), _) => Ok(Client::Service(service)),
            (None, Some(url)) => Ok(Client::Url(url)),
            (None, None) => bail!("expected --service or --url"),
        }
    }
}

/// Print AdmissionConfiguration and kubeconfig for the plugin ImagePolicyWebhook
///
/// The plugin asks /imagepolicy about pods alone, cannot pin digests, and never asks about image volumes: use
/// webhooks where you can. All files are named as they are called on the machine of the API server.
#[derive(clap::Args, Debug)]
struct ImagePolicyArgs {
    /// Where the API server finds the server
    #[arg(long, value_name = "URL")]
    url: HttpsUrl,

    /// The authority that issued the server's certificate
    #[arg(long, value_name = "FILE")]
    ca: String,

    /// The certificate that the API server shows, for servers with tls.clientAuthorities
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<String>,

    /// Its private key
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<String>,

    /// Where the second document will be
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/kubernetes/imagepolicy/kubeconfig.yaml"
    )]
    kubeconfig: String,

    /// For how long the API server remembers allowed images: 2 to 1800, 0 means 300, -1 not at all
    ///
    /// Countersign itself remembers, no longer than signatures hold, and forgets when the policy changes; the
    /// API server does neither.
    #[arg(long, value_name = "SECONDS", default_value_t, allow_negative_numbers = true)]
    allow_ttl: Ttl,

    /// For how long the API server remembers denied images: 2 to 1800, 0 means 30, -1 not at all
    #[arg(long, value_name = "SECONDS", default_value_t, allow_negative_numbers = true)]
    deny_ttl: Ttl,

    /// When the API server asks again if it got no answer: 1 to 300000, 0 means 500, -1 never
    #[arg(long, value_name = "MILLISECONDS", default_value_t, allow_negative_numbers = true)]
    retry_backoff: RetryBackoff,
}

impl ImagePolicyArgs {
    fn documents(self) -> ImagePolicy {
        let credentials = self.client_certificate.zip(self.client_key);
        ImagePolicy {
            url: self.url,
            ca: self.ca,
            credentials: credentials.map(|(certificate, key)| Credentials { certificate, key }),
            kubeconfig: self.kubeconfig,
            allow_ttl: self.allow_ttl,
            deny_ttl: self.deny_ttl,
            retry_backoff: self.retry_backoff,
        }
    }
}

/// Print AdmissionConfiguration and kubeconfig by which API servers show webhooks a client certificate
///
/// For servers with tls.clientAuthorities. All files are named as they are called on the machine of the API
/// server.
#[derive(clap::Args, Debug)]
struct CredentialsArgs {
    #[command(flatten)]
    server: ServerArgs,

    /// The certificate that the API server shows
    #[arg(long, value_name = "FILE")]
    client_certificate: String,

    /// Its private key
    #[arg(long, value_name = "FILE")]
    client_key: String,

    /// Where the second document will be
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/kubernetes/admission/webhook-credentials.yaml"
    )]
    kubeconfig: String,
}

impl CredentialsArgs {
    fn documents(self) -> Result<String> {
        let credentials =
            Credentials { certificate: self.client_certificate, key: self.client_key };
        Ok(credentials.yaml(&self.server.client()?, &self.kubeconfig))
    }
}

#[derive(Clone, Copy, Debug)]
struct KindName(Kind);

impl ValueEnum for KindName {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(Kind::Mutating), Self(Kind::Validating)]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(match self.0 {
            Kind::Mutating => "mutating".into(),
            Kind::Validating => "validating".into(),
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct FailurePolicyName(FailurePolicy);

impl ValueEnum for FailurePolicyName {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(FailurePolicy::Fail), Self(FailurePolicy::Ignore)]
    }

    // As the API spells it.
    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(match self.0 {
            FailurePolicy::Fail => "Fail".into(),
            FailurePolicy::Ignore => "Ignore".into(),
        })
    }
}

const EXAMPLES: &str = "\
Examples:
  countersign webhook-config --service countersign/countersign | kubectl apply -f -
  countersign webhook-config --service security/countersign --ca-bundle ca.crt --exempt-namespace kube-ovn
  countersign webhook-config --url https://images.example.com:8443 --static-manifests --kind validating
  countersign webhook-config imagepolicy --url https://images.example.com:8443 --ca /etc/kubernetes/pki/images.crt

No longer ask, whatever state the server is in:
  kubectl delete mutatingwebhookconfigurations,validatingwebhookconfigurations countersign";
