//! Configuration: one YAML file, strict, with options of the command line over it; raw values become the
//! validated types of each part.
//!
//! A mistake is told with its place, every mistake in a value with its key, and nothing is guessed.

mod document;

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guest_policy::reference::{is_domain, is_qualified_name};

use crate::admission::{self, JsonPath};
use crate::evidence::Directories;
use crate::image::{FileFault, Platform, read_limited};
use crate::registry;
use crate::verdicts;

use self::document::Document;
use super::quantity;

/// Everything that the administrator decided, validated.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Where the webhook endpoints are.
    pub listen: SocketAddr,
    /// Where probes and metrics are without TLS.
    pub plain_listen: Option<SocketAddr>,
    /// Whose certificate is shown.
    pub identity: Identity,
    /// Authorities of which clients have to show a certificate.
    pub client_authorities: Option<PathBuf>,
    /// The policy.
    pub policy: PathBuf,
    /// What says where signatures are kept.
    pub directories: Directories,
    /// How registries are reached.
    pub registries: Registries,
    /// What is remembered, and what is judged of an image.
    pub verdicts: verdicts::Settings,
    /// Which objects are looked at, and what a denial does.
    pub rules: admission::Rules,
    /// How long an answer may take.
    pub deadline: Deadline,
    /// How long connections are accepted after SIGTERM.
    pub drain: Duration,
    /// What is logged.
    pub log: Log,
    /// Where traces are sent.
    pub traces: Option<String>,
    /// Threads that answer.
    pub workers: usize,
}

/// Whose certificate the server shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identity {
    /// One that somebody else renews.
    Files {
        /// Certificate and chain, PEM.
        certificate: PathBuf,
        /// Private key, PEM.
        key: PathBuf,
    },
    /// One that the server makes.
    SelfManaged(SelfManaged),
}

/// A certificate that the server makes itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SelfManaged {
    /// Name of the Secret that keeps it.
    pub secret: String,
    /// Namespace of Secret and Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// Names of the webhook configurations that get the authority.
    pub webhooks: Vec<String>,
}

/// How registries are reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registries {
    /// `HOST[:PORT]` without TLS.
    pub plain_http: Vec<String>,
    /// Folders with certificates for hosts.
    pub certs_d: Vec<PathBuf>,
    /// The server's own credentials.
    pub credentials: Option<PathBuf>,
    /// Whether pull secrets are read through the Kubernetes API.
    pub pull_secrets: bool,
    /// `HOST[:PORT]` that are asked without credentials first.
    pub anonymous_first: Vec<String>,
    /// Most requests to one registry in a second, in the long run.
    pub requests_per_second: u32,
    /// Most requests to one registry at once.
    pub burst: u32,
}

impl Registries {
    /// What the client of registries is to do.
    pub fn settings(&self) -> registry::Settings {
        registry::Settings {
            plain_http: self.plain_http.iter().collect(),
            auth_files: self.credentials.iter().cloned().collect(),
            certs_d: self.certs_d.clone(),
            environment_proxies: true,
            anonymous_first: self.anonymous_first.clone(),
            requests_per_second: Some(self.requests_per_second),
            burst: self.burst,
            ..registry::Settings::isolated()
        }
    }
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deadline {
    /// What is kept of the request's own time for the way back.
    pub margin: Duration,
    /// The time of requests that name none.
    pub otherwise: Duration,
}

/// What is logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Log {
    /// Lines are JSON objects.
    pub json: bool,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// Which decisions get a line.
    pub decisions: Decisions,
}

/// Which decisions get a line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Decisions {
    /// Every image.
    All,
    /// Images that are not allowed.
    #[default]
    Denied,
    /// None.
    None,
}

/// Where configuration comes from: a file, and options that count more than it does.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file.
    pub file: Option<PathBuf>,
    /// Instead of `listen`.
    pub listen: Option<SocketAddr>,
    /// Instead of `plainListen`.
    pub plain_listen: Option<SocketAddr>,
    /// Instead of `tls.certificate`, and of `tls.selfManaged`.
    pub certificate: Option<PathBuf>,
    /// Instead of `tls.key`, and of `tls.selfManaged`.
    pub key: Option<PathBuf>,
    /// Instead of `tls.clientAuthorities`.
    pub client_authorities: Option<PathBuf>,
    /// Instead of `policy.file`.
    pub policy: Option<PathBuf>,
    /// Instead of `policy.registriesD`.
    pub registries_d: Option<PathBuf>,
    /// Instead of `log.level`.
    pub log_level: Option<String>,
    /// Instead of `log.format`.
    pub log_format: Option<String>,
    /// Instead of `workers`.
    pub workers: Option<usize>,
}

impl Source {
    /// Read and validate.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is not what the schema says; values make no sense: all of them are told.
    pub fn load(&self) -> Result<Configuration, ConfigurationError> {
        let mut document = match &self.file {
            Some(path) => read(path)?,
            None => Document::default(),
        };
        let mut mistakes = Mistakes::default();
        self.lay_over(&mut document, &mut mistakes);
        let configuration = validated(document, &mut mistakes);
        match mistakes.list.is_empty() {
            true => Ok(configuration),
            false => Err(ConfigurationError::Invalid {
                file: self.file.clone(),
                mistakes: mistakes.list,
            }),
        }
    }

    fn lay_over(&self, document: &mut Document, mistakes: &mut Mistakes) {
        let Self { listen, plain_listen, certificate, key, client_authorities, .. } = self;
        if certificate.is_some() || key.is_some() {
            document.tls.self_managed = None;
        }
        put(&mut document.listen, listen);
        put(&mut document.policy.file, &self.policy);
        put(&mut document.policy.registries_d, &self.registries_d);
        put_some(&mut document.plain_listen, plain_listen);
        put_some(&mut document.tls.certificate, certificate);
        put_some(&mut document.tls.key, key);
        put_some(&mut document.tls.client_authorities, client_authorities);
        put_some(&mut document.workers, &self.workers);
        if let Some(level) = &self.log_level {
            match word(level) {
                Ok(level) => document.log.level = level,
                Err(fault) => mistakes.add("log.level", fault),
            }
        }
        if let Some(format) = &self.log_format {
            match word(format) {
                Ok(format) => document.log.format = format,
                Err(fault) => mistakes.add("log.format", fault),
            }
        }
    }
}

/// The JSON schema of the file, as `docs/countersign.schema.json` has it.
pub fn schema() -> String {
    let schema = schemars::schema_for!(Document);
    // A schema is JSON: this cannot fail.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// Values make no sense.
    #[error("cannot use configuration{}:{}", named(.file), listed(.mistakes))]
    Invalid {
        /// The file, if there is one.
        file: Option<PathBuf>,
        /// Every mistake.
        mistakes: Vec<Mistake>,
    },
    /// The file is not what the schema says.
    #[error("cannot use configuration {}: {fault}; see docs/serve.md", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong, and where.
        fault: String,
    },
    /// The file cannot be read.
    #[error("cannot read configuration: {0}")]
    Unreadable(#[from] FileFault),
}

/// A value that makes no sense.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Which: `admission.rules[0].namespaces[1]`.
    pub key: String,
    /// What is wrong, and what was expected.
    pub fault: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.fault)
    }
}

#[derive(Debug, Default)]
struct Mistakes {
    list: Vec<Mistake>,
}

impl Mistakes {
    fn add(&mut self, key: impl Into<String>, fault: impl Into<String>) {
        self.list.push(Mistake { key: key.into(), fault: fault.into() });
    }

    /// Every entry of a list that is not as it should be.
    fn check(&mut self, key: &str, list: &[String], good: fn(&str) -> bool, expected: &str) {
        for (place, text) in list.iter().enumerate() {
            if !good(text) {
                self.add(format!("{key}[{place}]"), format!("{text:?} is not {expected}"));
            }
        }
    }

    fn check_one(&mut self, key: &str, text: &str, good: fn(&str) -> bool, expected: &str) {
        if !good(text) {
            self.add(key, format!("{text:?} is not {expected}"));
        }
    }
}

fn read(path: &Path) -> Result<Document, ConfigurationError> {
    let content = read_limited(path, MAX_CONFIGURATION_BYTES)?;
    let malformed = |fault| ConfigurationError::Malformed { file: path.to_owned(), fault };
    let text = str::from_utf8(&content).map_err(|e| malformed(format!("not UTF-8: {e}")))?;
    let nothing = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(nothing) {
        return Ok(Document::default());
    }
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| malformed(in_words(&e)))
}

/// What is wrong, where, and what was probably meant.
fn in_words(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    let error = error.without_snippet();
    let place = match error.location() {
        Some(location) if location.line() > 0 => {
            format!("line {}, column {}: ", location.line(), location.column())
        }
        _ => String::new(),
    };
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("{place}unknown key {field:?}{}", meant(field, expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("{place}unknown value {variant:?}{}", meant(variant, expected))
        }
        Error::SerdeMissingField { field, .. } => format!("{place}key {field:?} is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("{place}key {key:?} is there twice; remove one")
        }
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            format!("{place}{unexpected} found, expected {expected}")
        }
        // These words have the place.
        other => other.to_string(),
    }
}

/// The nearest of what is known, if one is near, and all of it.
fn meant(word: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|known| {
            (strsim::damerau_levenshtein(&word.to_lowercase(), &known.to_lowercase()), known)
        })
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= known.len() / 3 + 1);
    let mut text = String::new();
    if let Some((_, nearest)) = nearest {
        let _ = write!(text, "; did you mean {nearest:?}?");
    }
    let _ = write!(text, "; known here: {}", known.join(", "));
    text
}

fn validated(document: Document, mistakes: &mut Mistakes) -> Configuration {
    let Document { tls, policy, registries, images, cache, admission, image_policy, .. } = document;
    let deadline =
        Deadline { margin: document.deadline.margin.0, otherwise: document.deadline.default.0 };
    if deadline.margin >= deadline.otherwise {
        mistakes.add(
            "deadline.margin",
            format!(
                "{} leaves nothing of deadline.default, {}",
                quantity::shown(deadline.margin),
                quantity::shown(deadline.otherwise)
            ),
        );
    }
    if deadline.otherwise > MAX_DEADLINE {
        mistakes.add(
            "deadline.default",
            format!("more than {}, which no API server waits", quantity::shown(MAX_DEADLINE)),
        );
    }
    let drain = document.drain.delay.0;
    if drain > MAX_DRAIN_DELAY {
        let most = quantity::shown(MAX_DRAIN_DELAY);
        mistakes.add("drain.delay", format!("more than {most}"));
    }
    let workers = document.workers.unwrap_or_else(processors);
    if !(1..=MAX_WORKERS).contains(&workers) {
        mistakes.add("workers", format!("{workers} is not between 1 and {MAX_WORKERS}"));
    }
    let traces = Some(document.traces.endpoint).filter(|endpoint| !endpoint.is_empty());
    if let Some(endpoint) = &traces
        && !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme))
    {
        mistakes.add("traces.endpoint", format!("{endpoint:?} is not an http:// or https:// URL"));
    }
    let identity = identity(tls.certificate, tls.key, tls.self_managed, mistakes);
    Configuration {
        listen: document.listen,
        plain_listen: document.plain_listen,
        identity,
        client_authorities: tls.client_authorities,
        policy: policy.file,
        directories: Directories::Explicit(policy.registries_d),
        registries: registries_of(registries, mistakes),
        verdicts: verdicts_of(&cache, images, mistakes),
        rules: rules_of(admission, image_policy, mistakes),
        deadline,
        drain,
        log: log_of(&document.log),
        traces,
        workers,
    }
}

fn identity(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    self_managed: Option<document::SelfManaged>,
    mistakes: &mut Mistakes,
) -> Identity {
    let Some(own) = self_managed else {
        if certificate.is_some() != key.is_some() {
            mistakes.add("tls", "certificate and key belong together: give both or neither");
        }
        return Identity::Files {
            certificate: certificate.unwrap_or_else(|| "/etc/countersign/tls/tls.crt".into()),
            key: key.unwrap_or_else(|| "/etc/countersign/tls/tls.key".into()),
        };
    };
    if certificate.is_some() || key.is_some() {
        mistakes.add("tls", "selfManaged and certificate exclude each other: give one of them");
    }
    for (key, name) in
        [("secret", &own.secret), ("namespace", &own.namespace), ("service", &own.service)]
    {
        mistakes.check_one(&format!("tls.selfManaged.{key}"), name, is_object_name, OBJECT_NAME);
    }
    mistakes.check("tls.selfManaged.webhooks", &own.webhooks, is_object_name, OBJECT_NAME);
    let document::SelfManaged { secret, namespace, service, webhooks } = own;
    Identity::SelfManaged(SelfManaged { secret, namespace, service, webhooks })
}

fn registries_of(registries: document::Registries, mistakes: &mut Mistakes) -> Registries {
    let document::Registries {
        plain_http,
        certs_d,
        credentials,
        pull_secrets,
        anonymous_first,
        requests_per_second,
        burst,
    } = registries;
    mistakes.check("registries.plainHttp", &plain_http, is_domain, HOST);
    mistakes.check("registries.anonymousFirst", &anonymous_first, is_domain, HOST);
    for (key, number) in [("requestsPerSecond", requests_per_second), ("burst", burst)] {
        if number == 0 {
            mistakes.add(format!("registries.{key}"), "0 would let nothing pass; 1 is the least");
        }
    }
    Registries {
        plain_http,
        certs_d,
        credentials,
        pull_secrets,
        anonymous_first,
        requests_per_second,
        burst,
    }
}

fn verdicts_of(
    cache: &document::Cache,
    images: document::Images,
    mistakes: &mut Mistakes,
) -> verdicts::Settings {
    let is_platform = |text: &str| text.parse::<Platform>().is_ok();
    mistakes.check(
        "images.platforms",
        &images.platforms,
        is_platform,
        "OS/ARCHITECTURE[/VARIANT], for example linux/arm64",
    );
    if cache.allow.0 > MAX_ALLOW {
        let most = quantity::shown(MAX_ALLOW);
        mistakes.add("cache.allow", format!("more than {most}: a revoked image would run on"));
    }
    verdicts::Settings {
        allow_for: cache.allow.0,
        deny_for: cache.deny.0,
        error_for: cache.error.0,
        tag_for: cache.tags.0,
        evidence_for: cache.evidence.0,
        memory: cache.memory.0,
        multi_arch: match images.multi_arch {
            document::MultiArch::Index => verdicts::MultiArch::Index,
            document::MultiArch::Instances => verdicts::MultiArch::Instances,
            document::MultiArch::IndexOrInstances => verdicts::MultiArch::IndexOrInstances,
        },
        platforms: images.platforms,
    }
}

fn rules_of(
    admission: document::Admission,
    image_policy: document::ImagePolicy,
    mistakes: &mut Mistakes,
) -> admission::Rules {
    let exempt = &admission.exempt_namespaces;
    mistakes.check("admission.exemptNamespaces", exempt, is_namespace_pattern, NAMESPACE);
    for (place, rule) in admission.rules.iter().enumerate() {
        let key = format!("admission.rules[{place}]");
        let namespaces = &rule.namespaces;
        mistakes.check(&format!("{key}.namespaces"), namespaces, is_namespace_pattern, NAMESPACE);
        mistakes.check(
            &format!("{key}.images"),
            &rule.images,
            |text| is_domain(text) || is_qualified_name(text),
            "HOST[:PORT] or HOST[:PORT]/PATH",
        );
    }
    for (place, resource) in admission.custom_resources.iter().enumerate() {
        let key = format!("admission.customResources[{place}]");
        for (name, paths) in [("images", &resource.images), ("podSpecs", &resource.pod_specs)] {
            for error in paths.iter().filter_map(|path| JsonPath::parse(path).err()) {
                mistakes.add(format!("{key}.{name}"), error.to_string());
            }
        }
        if resource.images.is_empty() && resource.pod_specs.is_empty() {
            mistakes.add(key, "neither images nor podSpecs: nothing would be looked at");
        }
    }
    let break_glass = image_policy.break_glass.map(|glass| {
        if !glass.annotation.contains(IMAGE_POLICY) {
            mistakes.add(
                "imagePolicy.breakGlass.annotation",
                format!(
                    "{:?} does not contain {IMAGE_POLICY}: API servers would not pass it on",
                    glass.annotation
                ),
            );
        }
        let key = "imagePolicy.breakGlass.namespaces";
        mistakes.check(key, &glass.namespaces, is_namespace_pattern, NAMESPACE);
        if glass.namespaces.is_empty() {
            mistakes.add(key, "empty: name those where it may be used, or remove breakGlass");
        }
        let document::BreakGlass { annotation, value_prefix, namespaces } = glass;
        admission::BreakGlass { annotation, value_prefix, namespaces }
    });
    admission::Rules {
        exempt_namespaces: admission.exempt_namespaces,
        rules: admission.rules.into_iter().map(rule_of).collect(),
        otherwise: treatment(
            admission.default.mode,
            admission.default.mutation,
            admission.default.dangerously_admit_on_error,
        ),
        children: match admission.children {
            document::Children::Believe => admission::Children::Believe,
            document::Children::Verify => admission::Children::Verify,
        },
        warn_before_expiry: admission.warn_before_expiry.0,
        resources: admission.custom_resources.into_iter().map(resource_of).collect(),
        break_glass,
        controllers: admission.controllers,
    }
}

fn rule_of(rule: document::Rule) -> admission::Rule {
    let document::Rule { namespaces, images, mode, mutation, dangerously_admit_on_error } = rule;
    let treatment = treatment(mode, mutation, dangerously_admit_on_error);
    admission::Rule { namespaces, images, treatment }
}

fn treatment(
    mode: document::Mode,
    mutation: document::Mutation,
    admit_on_error: bool,
) -> admission::Treatment {
    admission::Treatment {
        mode: match mode {
            document::Mode::Enforce => admission::Mode::Enforce,
            document::Mode::Warn => admission::Mode::Warn,
            document::Mode::Observe => admission::Mode::Observe,
        },
        mutation: match mutation {
            document::Mutation::Pin => admission::Mutation::Pin,
            document::Mutation::PinPods => admission::Mutation::PinPods,
            document::Mutation::Off => admission::Mutation::Off,
            document::Mutation::RequireDigest => admission::Mutation::RequireDigest,
        },
        admit_on_error,
    }
}

fn resource_of(resource: document::CustomResource) -> admission::CustomResource {
    let document::CustomResource { group, resource, images, pod_specs } = resource;
    admission::CustomResource { group, resource, images, pod_specs }
}

fn log_of(log: &document::Log) -> Log {
    Log {
        json: log.format == document::LogFormat::Json,
        level: match log.level {
            document::LogLevel::Error => "error",
            document::LogLevel::Warn => "warn",
            document::LogLevel::Info => "info",
            document::LogLevel::Debug => "debug",
            document::LogLevel::Trace => "trace",
        },
        decisions: match log.decisions {
            document::Decisions::All => Decisions::All,
            document::Decisions::Denied => Decisions::Denied,
            document::Decisions::None => Decisions::None,
        },
    }
}

fn put<T: Clone>(place: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        place.clone_from(value);
    }
}

fn put_some<T: Clone>(place: &mut Option<T>, value: &Option<T>) {
    if value.is_some() {
        place.clone_from(value);
    }
}

/// A word of one of the document's enumerations.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};
    let word: StrDeserializer<'_, Error> = text.into_deserializer();
    T::deserialize(word).map_err(|e| e.to_string())
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS)
}

/// A name, or a prefix that ends in `*`.
fn is_namespace_pattern(text: &str) -> bool {
    let name = text.strip_suffix('*').unwrap_or(text);
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && name.len() <= 63 && name.chars().all(good)
}

/// A DNS subdomain, as the names of most objects.
fn is_object_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    !text.is_empty() && text.len() <= 253 && text.chars().all(good)
}

fn named(file: &Option<PathBuf>) -> String {
    file.as_ref().map(|file| format!(" {}", file.display())).unwrap_or_default()
}

fn listed(mistakes: &[Mistake]) -> String {
    match mistakes {
        [mistake] => format!(" {mistake}"),
        mistakes => mistakes.iter().map(|mistake| format!("\n  {mistake}")).collect(),
    }
}

const NAMESPACE: &str = "a namespace, or a prefix of namespaces that ends in *";
const OBJECT_NAME: &str = "the name of an object";
const HOST: &str = "HOST[:PORT], without https://";

/// What the keys of annotations contain that API servers pass on to an image policy webhook.
const IMAGE_POLICY: &str = ".image-policy.k8s.io/";

/// Largest configuration file: thousands of rules.
const MAX_CONFIGURATION_BYTES: usize = 1024 * 1024;

/// The longest time that an API server waits for a webhook (`timeoutSeconds`).
pub(super) const MAX_DEADLINE: Duration = Duration::from_secs(30);

/// Five times what a large cluster needs to learn that a replica is going.
const MAX_DRAIN_DELAY: Duration = Duration::from_secs(60);

/// An allow is served again no longer than a day: a signature that was removed is missed the next day.
const MAX_ALLOW: Duration = Duration::from_secs(86400);

/// More processors than any node gives to a webhook.
const MAX_WORKERS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Configuration, ConfigurationError> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, text).expect("a file");
        Source { file: Some(file), ..Source::default() }.load()
    }

    fn refused(text: &str) -> String {
        load(text).expect_err(text).to_string()
    }

    #[test]
    fn nothing_at_all_is_the_default() {
        for text in ["", "\n# nothing\n", "{}"] {
            let configuration = load(text).expect(text);
            assert_eq!(configuration.listen.port(), 8443);
            assert_eq!(configuration.deadline.margin, Duration::from_millis(300));
            assert_eq!(configuration.verdicts.memory, 32 << 20);
            assert_eq!(configuration.rules.otherwise.mode, admission::Mode::Enforce);
            assert!(!configuration.rules.otherwise.admit_on_error);
        }
    }

    #[test]
    fn whole_document_is_understood() {
        let configuration = load(WHOLE).expect("a configuration");
        assert_eq!(configuration.plain_listen, Some(SocketAddr::from(([127, 0, 0, 1], 9090))));
        let Identity::SelfManaged(own) = &configuration.identity else {
            unreachable!("self-managed: {configuration:?}")
        };
        assert_eq!(own.webhooks, ["countersign"]);
        assert_eq!(configuration.verdicts.multi_arch, verdicts::MultiArch::Instances);
        let rule = &configuration.rules.rules[0];
        assert_eq!(rule.treatment.mode, admission::Mode::Warn);
        assert_eq!(rule.treatment.mutation, admission::Mutation::Off);
        assert_eq!(configuration.rules.warn_before_expiry, Duration::from_secs(14 * 86_400));
        assert_eq!(configuration.log.decisions, Decisions::All);
        assert_eq!(configuration.workers, 2);
    }

    #[test]
    fn unknown_keys_are_refused_with_place_and_nearest() {
        for (text, words) in [
            ("lisen: 1.2.3.4:1\n", &["line 1, column 1", "\"lisen\"", "mean \"listen\""][..]),
            (
                "cache:\n  alow: 5m\n",
                &["line 2, column 3", "\"alow\"", "mean \"allow\"", "evidence"],
            ),
            (
                "admission:\n  rules:\n  - mode: warn\n    mutate: off\n",
                &["line 4, column 5", "\"mutate\"", "\"mutation\""],
            ),
            ("admission: {default: {mode: wrn}}\n", &["\"wrn\"", "mean \"warn\"", "line 1"]),
            ("frobnicate: 1\n", &["\"frobnicate\"", "known here: listen"]),
        ] {
            let refused = refused(text);
            for word in words {
                assert!(refused.contains(word), "{word}: {refused}");
            }
        }
        assert!(!refused("frobnicate: 1\n").contains("did you mean"));
    }

    #[test]
    fn duplicates_and_wrong_types_are_refused_with_their_place() {
        for (text, words) in [
            ("workers: 1\nworkers: 2\n", &["\"workers\"", "twice", "line 2"][..]),
            ("workers: many\n", &["line 1", "column 10"]),
            ("cache: {allow: 5}\n", &["line 1", "5m"]),
            ("cache: {allow: 5 minutes}\n", &["line 1", "\"5 minutes\"", "300ms"]),
            ("cache: {memory: 64MB}\n", &["\"64MB\"", "64MiB"]),
            ("listen: nowhere\n", &["line 1"]),
            ("registries: {pullSecrets: yes}\n", &["line 1"]),
            ("registries: {plainHttp: localhost}\n", &["line 1"]),
            ("tls: {selfManaged: {secret: a, namespace: b}}\n", &["\"service\" is missing"]),
            ("- 1\n", &["line 1"]),
            ("listen: [\n", &["line"]),
            ("{}\n---\n{}\n", &["document"]),
        ] {
            let refused = refused(text);
            for word in words {
                assert!(refused.contains(word), "{word}: {refused}");
            }
        }
    }

    #[test]
    fn every_value_without_sense_is_told() {
        let refused = refused(
            "tls: {certificate: a}\nadmission: {exemptNamespaces: [a, '*b'], rules: [{images: ['https://x']}]}\n\
             deadline: {margin: 20s}\nworkers: 0\nimages: {platforms: [linux]}\n\
             imagePolicy: {breakGlass: {annotation: x, namespaces: []}}\nregistries: {burst: 0}\n",
        );
        for word in [
            "tls: certificate and key",
            "admission.exemptNamespaces[1]: \"*b\"",
            "admission.rules[0].images[0]: \"https://x\"",
            "deadline.margin: 20s",
            "workers: 0",
            "images.platforms[0]: \"linux\"",
            "imagePolicy.breakGlass.annotation",
            "imagePolicy.breakGlass.namespaces",
            "registries.burst",
        ] {
            assert!(refused.contains(word), "{word}: {refused}");
        }
    }

    #[test]
    fn options_count_more_than_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, WHOLE).expect("a file");
        let source = Source {
            file: Some(file),
            policy: Some("other.json".into()),
            certificate: Some("c".into()),
            key: Some("k".into()),
            log_level: Some("debug".into()),
            ..Source::default()
        };
        let configuration = source.load().expect("a configuration");
        assert_eq!(configuration.policy, Path::new("other.json"));
        assert!(matches!(configuration.identity, Identity::Files { .. }));
        assert_eq!(configuration.log.level, "debug");
        let wrong = Source { log_level: Some("loud".into()), ..source };
        assert!(wrong.load().expect_err("a level").to_string().contains("log.level: unknown"));
    }

    const WHOLE: &str = r"
listen: 0.0.0.0:8443
plainListen: 127.0.0.1:9090
tls:
  clientAuthorities: /etc/countersign/tls/clients.crt
  selfManaged: {secret: countersign-tls, namespace: countersign, service: countersign, webhooks: [countersign]}
policy: {file: /etc/countersign/policy/policy.json, registriesD: /etc/containers/registries.d}
registries:
  plainHttp: ['localhost:5000']
  certsD: [/etc/containers/certs.d]
  credentials: /etc/countersign/config.json
  pullSecrets: true
  anonymousFirst: [docker.io]
  requestsPerSecond: 50
  burst: 100
images: {multiArch: instances, platforms: [linux/amd64]}
cache: {memory: 64MiB, allow: 5m, deny: 10s, error: 2s, tags: 5s, evidence: 1m}
admission:
  exemptNamespaces: [kube-system]
  default: {mode: enforce, mutation: pin, dangerouslyAdmitOnError: false}
  rules: [{namespaces: [dev-*], images: [docker.io], mode: warn, mutation: off}]
  children: believe
  controllers: [system:kube-controller-manager]
  warnBeforeExpiry: 14d
  customResources: [{group: example.com, resource: widgets, images: ['$.spec.image'], podSpecs: []}]
imagePolicy:
  breakGlass: {annotation: cluster.image-policy.k8s.io/break-glass, valuePrefix: INC-, namespaces: [prod]}
deadline: {margin: 300ms, default: 10s}
drain: {delay: 5s}
log: {format: json, level: info, decisions: all}
traces: {endpoint: 'http://127.0.0.1:4318'}
workers: 2
";
}
