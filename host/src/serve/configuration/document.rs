//! The configuration file as it is written: YAML, strict. What is said here of a key is what the published
//! schema says of it.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::serve::quantity;

/// Configuration of `countersign serve`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(rename = "countersign serve")]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Document {
    /// Address and port of the webhook endpoints, over TLS.
    pub(super) listen: SocketAddr,
    /// Address and port at which /livez, /readyz and /metrics are served without TLS as well. Without it they
    /// are served beside the webhook endpoints alone.
    pub(super) plain_listen: Option<SocketAddr>,
    /// Who the server shows itself to be, and whom it answers.
    pub(super) tls: Tls,
    /// What decides.
    pub(super) policy: Policy,
    /// How registries are reached.
    pub(super) registries: Registries,
    /// What is judged of an image.
    pub(super) images: Images,
    /// What is remembered, and for how long.
    pub(super) cache: Cache,
    /// Which objects are looked at, and what a denial does.
    pub(super) admission: Admission,
    /// The endpoint /imagepolicy.
    pub(super) image_policy: ImagePolicy,
    /// How long an answer may take.
    pub(super) deadline: Deadline,
    /// How the server ends.
    pub(super) drain: Drain,
    /// What is logged.
    pub(super) log: Log,
    /// Traces by OpenTelemetry.
    pub(super) traces: Traces,
    /// Threads that answer; without it as many as there are processors.
    #[schemars(range(min = 1, max = 256))]
    pub(super) workers: Option<usize>,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8443)),
            plain_listen: None,
            tls: Tls::default(),
            policy: Policy::default(),
            registries: Registries::default(),
            images: Images::default(),
            cache: Cache::default(),
            admission: Admission::default(),
            image_policy: ImagePolicy::default(),
            deadline: Deadline::default(),
            drain: Drain::default(),
            log: Log::default(),
            traces: Traces::default(),
            workers: None,
        }
    }
}

/// Certificates.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Tls {
    /// File with the server's certificate and its chain, PEM; watched. Default:
    /// /etc/countersign/tls/tls.crt, unless `selfManaged` is given.
    pub(super) certificate: Option<PathBuf>,
    /// File with the certificate's private key, PEM; watched. Default: /etc/countersign/tls/tls.key.
    pub(super) key: Option<PathBuf>,
    /// File with the authorities, PEM, of which clients of the webhook endpoints have to show a
    /// certificate; watched. Probes and metrics need none. Without it nobody needs one.
    pub(super) client_authorities: Option<PathBuf>,
    /// The server makes its own certificate, keeps it in a Secret that its replicas share, renews it, and
    /// writes its authority into the webhook configurations. Instead of `certificate` and `key`.
    pub(super) self_managed: Option<SelfManaged>,
}

/// A certificate that the server makes itself.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct SelfManaged {
    /// Name of the Secret.
    pub(super) secret: String,
    /// Namespace of Secret and Service.
    pub(super) namespace: String,
    /// Name of the Service by which the API server reaches this one.
    pub(super) service: String,
    /// Names of the MutatingWebhookConfigurations and ValidatingWebhookConfigurations that get the authority.
    #[serde(default)]
    pub(super) webhooks: Vec<String>,
}

/// The policy.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Policy {
    /// The policy, see containers-policy.json(5); watched, with the key files that it names.
    pub(super) file: PathBuf,
    /// Folder that says where signatures are kept, see containers-registries.d(5); watched. It need not exist.
    pub(super) registries_d: PathBuf,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            file: "/etc/countersign/policy/policy.json".into(),
            registries_d: "/etc/containers/registries.d".into(),
        }
    }
}

/// Access to registries and signature stores.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Registries {
    /// Hosts, `HOST[:PORT]`, that are spoken to without TLS. Whoever is on the way can then hide signatures.
    pub(super) plain_http: Vec<String>,
    /// Folders with certificates for hosts, in lookup order, see containers-certs.d(5); watched.
    pub(super) certs_d: Vec<PathBuf>,
    /// File with the server's own credentials, see containers-auth.json(5). Without it there are none.
    pub(super) credentials: Option<PathBuf>,
    /// Whether the pull secrets of pods and service accounts are used, read through the Kubernetes API.
    pub(super) pull_secrets: bool,
    /// Hosts that are asked without credentials first.
    pub(super) anonymous_first: Vec<String>,
    /// Most requests to one registry in a second, in the long run.
    #[schemars(range(min = 1))]
    pub(super) requests_per_second: u32,
    /// Most requests to one registry at once.
    #[schemars(range(min = 1))]
    pub(super) burst: u32,
}

impl Default for Registries {
    fn default() -> Self {
        Self {
            plain_http: Vec::new(),
            certs_d: vec!["/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()],
            credentials: None,
            pull_secrets: false,
            anonymous_first: Vec::new(),
            requests_per_second: 50,
            burst: 100,
        }
    }
}

/// Images with several platforms.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Images {
    /// What of an image with several platforms has to be allowed.
    pub(super) multi_arch: MultiArch,
    /// `OS/ARCHITECTURE[/VARIANT]` of the instances that are judged; all if it is empty.
    pub(super) platforms: Vec<String>,
}

/// What of an image with several platforms has to be allowed.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum MultiArch {
    /// The index itself.
    Index,
    /// Every instance.
    Instances,
    /// The index itself, or else every instance.
    #[default]
    IndexOrInstances,
}

/// What is remembered.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Cache {
    /// Most bytes of all that is remembered. The process takes about twice as many when that is full.
    pub(super) memory: Size,
    /// How long an allow is served again; never longer than its signatures hold.
    pub(super) allow: Period,
    /// How long a denial is served again.
    pub(super) deny: Period,
    /// How long an error is served again.
    pub(super) error: Period,
    /// How long a tag is taken to mean the same digest.
    pub(super) tags: Period,
    /// How long the signatures of a digest are used again.
    pub(super) evidence: Period,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            memory: Size(32 << 20),
            allow: Period(Duration::from_secs(300)),
            deny: Period(Duration::from_secs(10)),
            error: Period(Duration::from_secs(2)),
            tags: Period(Duration::from_secs(5)),
            evidence: Period(Duration::from_secs(60)),
        }
    }
}

/// Requests for admission.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Admission {
    /// Namespaces that are not looked at: names, or prefixes that end in `*`.
    pub(super) exempt_namespaces: Vec<String>,
    /// How images are treated that no rule matches.
    pub(super) default: Treatment,
    /// How images are treated: the first rule that matches holds, alone.
    pub(super) rules: Vec<Rule>,
    /// What is done about objects that a controller made from a parent that was judged.
    pub(super) children: Children,
    /// User names of controllers, beside those of kube-system, that may make children.
    pub(super) controllers: Vec<String>,
    /// Images that will be denied within this time pass with a warning.
    pub(super) warn_before_expiry: Period,
    /// Where the images of custom resources are, beside those that are known anyway.
    pub(super) custom_resources: Vec<CustomResource>,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            exempt_namespaces: Vec::new(),
            default: Treatment::default(),
            rules: Vec::new(),
            children: Children::default(),
            controllers: Vec::new(),
            warn_before_expiry: Period(Duration::from_secs(14 * 86_400)),
            custom_resources: Vec::new(),
        }
    }
}

/// How an image is treated.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Treatment {
    /// What a denial does.
    pub(super) mode: Mode,
    /// What /mutate does to names.
    pub(super) mutation: Mutation,
    /// Dangerous: admit images about which the question could not be answered.
    pub(super) dangerously_admit_on_error: bool,
}

/// How some images are treated. What a rule leaves out is `enforce`, `pin` and `false`, whatever the
/// default says: rules never combine.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Rule {
    /// Names, or prefixes that end in `*`; every namespace if it is empty.
    pub(super) namespaces: Vec<String>,
    /// `HOST[:PORT]` or `HOST[:PORT]/PATH`, as scopes of the policy; every image if it is empty.
    pub(super) images: Vec<String>,
    /// What a denial does.
    pub(super) mode: Mode,
    /// What /mutate does to names.
    pub(super) mutation: Mutation,
    /// Dangerous: admit images about which the question could not be answered.
    pub(super) dangerously_admit_on_error: bool,
}

/// What a denial does.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    /// The object is refused.
    #[default]
    Enforce,
    /// The object is admitted, and the user is warned.
    Warn,
    /// The object is admitted; logs, metrics and the audit log tell.
    Observe,
}

/// What /mutate does to the names of images that are allowed.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mutation {
    /// The verified digest is added, wherever images are named.
    #[default]
    Pin,
    /// The verified digest is added in pods alone.
    PinPods,
    /// Nothing.
    Off,
    /// Nothing, and names without a digest are refused.
    RequireDigest,
}

/// What is done about objects that a controller made from a parent.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Children {
    /// If the parent's own controller asks, images with a digest are taken to be the parent's, which were judged.
    /// Other webhooks that change pods may have added one that the parent never had.
    Believe,
    /// They are judged like everything else.
    #[default]
    Verify,
}

/// Where the images of one custom resource are.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct CustomResource {
    /// API group, for example `tekton.dev`.
    pub(super) group: String,
    /// Plural name, for example `tasks`.
    pub(super) resource: String,
    /// JSON paths of images: `$.spec.steps[*].image`.
    #[serde(default)]
    pub(super) images: Vec<String>,
    /// JSON paths of pod specifications: `$.spec.template.spec`.
    #[serde(default)]
    pub(super) pod_specs: Vec<String>,
}

/// The endpoint /imagepolicy.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ImagePolicy {
    /// Whether, and how, a pod may say that it has to be admitted. Without it none may.
    pub(super) break_glass: Option<BreakGlass>,
}

/// How a pod may say that it has to be admitted. Every use is in the audit log.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct BreakGlass {
    /// The annotation's key. API servers pass on only those that contain `.image-policy.k8s.io/`.
    pub(super) annotation: String,
    /// What the value has to begin with, for example a ticket's prefix. Empty: it only may not be empty.
    #[serde(default)]
    pub(super) value_prefix: String,
    /// Where it is honoured: names, or prefixes that end in `*`.
    pub(super) namespaces: Vec<String>,
}

/// How long an answer may take.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Deadline {
    /// What is kept of the request's `?timeout=` for the way back.
    pub(super) margin: Period,
    /// The time for requests without `?timeout=`.
    pub(super) default: Period,
}

impl Default for Deadline {
    fn default() -> Self {
        Self {
            margin: Period(Duration::from_millis(300)),
            default: Period(Duration::from_secs(10)),
        }
    }
}

/// How the server ends after SIGTERM.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Drain {
    /// How long connections are still accepted, while the cluster learns that this replica is going.
    pub(super) delay: Period,
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay: Period(Duration::from_secs(5)) }
    }
}

/// Logs, on standard error.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Log {
    /// The form of a line.
    pub(super) format: LogFormat,
    /// What is worth a line.
    pub(super) level: LogLevel,
    /// Which decisions get a line each, at level `info`.
    pub(super) decisions: Decisions,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// For people.
    Text,
}

/// What is worth a line.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LogLevel {
    /// What failed.
    Error,
    /// And what will fail.
    Warn,
    /// And what happened.
    #[default]
    Info,
    /// And why.
    Debug,
    /// And everything else.
    Trace,
}

/// Which decisions get a line.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Decisions {
    /// Every image.
    All,
    /// Images that are not allowed.
    #[default]
    Denied,
    /// None.
    None,
}

/// Traces by OpenTelemetry.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Traces {
    /// URL to which traces are sent, OTLP over HTTP. Empty: there are none.
    pub(super) endpoint: String,
}

/// A duration: `300ms`, `10s`, `5m`, `14d`.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) struct Period(pub(super) Duration);

impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quantity::shown(self.0))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "a duration with its unit: 300ms, 10s, 5m, 2h, 14d";
        quantity::duration(&text)
            .map(Self)
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &expected))
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&quantity::shown(self.0))
    }
}

impl JsonSchema for Period {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^(0|([0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h|d))+)$"})
    }
}

/// A number of bytes: `64MiB`.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) struct Size(pub(super) u64);

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quantity::shown_size(self.0))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "a size with its unit: 512KiB, 64MiB, 1GiB";
        quantity::size(&text)
            .map(Self)
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &expected))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&quantity::shown_size(self.0))
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(KiB|MiB|GiB)?$"})
    }
}
