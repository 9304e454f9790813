//! Metrics in the OpenMetrics text format.
//!
//! docs/metrics.md says what each one means. Names of hosts and codes come from outside, so only so many
//! different ones become labels: a metric that grows without bound is a leak here and in Prometheus.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::admission::{Endpoint, Mode};

/// Everything that is counted and measured. Whoever does something tells it here; nothing is computed
/// before somebody asks for the text. What a remembered answer tells costs no look-up of labels.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// By endpoint; refused, admitted.
    reviews: [[Counter; 2]; 3],
    /// By endpoint.
    review_durations: [Histogram; 3],
    in_flight: Gauge,
    /// By endpoint, by mode.
    allowed: [[Counter; 3]; 3],
    decisions: Family<Labels<4>, Counter>,
    codes: Names,
    break_glass: Counter,
    stages: [Histogram; 6],
    /// In the order of [`CACHES`]; missed, hit.
    caches: [[Counter; 2]; 5],
    cache_sizes: Family<Labels<1>, Gauge<u64, AtomicU64>>,
    registry_requests: Family<Labels<2>, Counter>,
    registry_durations: Family<Labels<1>, Histogram>,
    hosts: Names,
    sandbox_failures: Family<Labels<1>, Counter>,
    slots: Gauge<u64, AtomicU64>,
    slots_in_use: Gauge,
    rules: Family<Labels<2>, Counter>,
    rule_durations: Family<Labels<1>, Histogram>,
    rule_names: Names,
    rule_faults: Family<Labels<1>, Counter>,
    rule_slots: Gauge<u64, AtomicU64>,
    rule_slots_in_use: Gauge<u64, AtomicU64>,
    reloads: Family<Labels<2>, Counter>,
    reload_failing: Family<Labels<1>, Gauge>,
    reloaded_at: Family<Labels<1>, Gauge<u64, AtomicU64>>,
    generation: Gauge<u64, AtomicU64>,
    ready: Gauge,
    certificates: Family<Labels<1>, Gauge>,
}

impl Metrics {
    /// What [`Self::encode`] gives, for the header `Content-Type`.
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Nothing has happened yet. The process counts as started now.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("countersign");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that runs", build);
        let started = ConstGauge::new(now());
        let help = "When the server started, in seconds since 1970-01-01 UTC";
        registry.register_with_unit("process_start_time", help, Unit::Seconds, started);
        registry.register_collector(Box::new(ResidentMemory));

        let to = &mut registry;
        let reviews = counted(to, "reviews", "Reviews that were answered");
        let help = "Time from a review's first byte to its answer";
        let review_durations = timed(to, "review_duration", help);
        let decisions = counted(to, "decisions", "Decisions about images");
        let stages = timed(to, "stage_duration", "Time that a part of the work took");
        let caches = counted(to, "cache_requests", "Questions to caches");
        Self {
            reviews: ENDPOINTS.map(|endpoint| {
                ["false", "true"].map(|admitted| {
                    let labels = [("endpoint", word(endpoint)), ("admitted", admitted.into())];
                    reviews.get_or_create_owned(&labels)
                })
            }),
            review_durations: ENDPOINTS.map(|endpoint| {
                review_durations.get_or_create_owned(&[("endpoint", word(endpoint))])
            }),
            in_flight: with(to, "reviews_in_flight", "Reviews that are being answered"),
            allowed: ENDPOINTS.map(|endpoint| {
                MODES.map(|mode| {
                    decisions.get_or_create_owned(&decision(endpoint, "allow", NO_CODE, mode))
                })
            }),
            decisions,
            codes: Names::new(MAX_CODES),
            break_glass: with(to, "break_glass", "Pods admitted unseen by the override"),
            stages: STAGES.map(|(_, stage)| stages.get_or_create_owned(&[("stage", stage.into())])),
            caches: CACHES.map(|cache| {
                ["miss", "hit"].map(|result| {
                    let labels = [("cache", cache.into()), ("result", result.into())];
                    caches.get_or_create_owned(&labels)
                })
            }),
            cache_sizes: {
                let sizes = Family::default();
                let help = "What a cache holds";
                to.register_with_unit("cache_size", help, Unit::Bytes, sizes.clone());
                sizes
            },
            registry_requests: counted(to, "registry_requests", "Requests to other servers"),
            registry_durations: {
                let help = "Time that a request to another server took";
                timed(to, "registry_request_duration", help)
            },
            hosts: Names::new(MAX_HOSTS),
            sandbox_failures: counted(to, "sandbox_failures", "Sandboxes that gave no answer"),
            slots: with(to, "sandbox_slots", "Evaluations that can run at the same time"),
            slots_in_use: with(to, "sandbox_slots_in_use", "Evaluations that are running"),
            rules: counted(to, "rule_evaluations", "Evaluations of rules"),
            rule_durations: timed(to, "rule_duration", "Time that an evaluation of a rule took"),
            rule_names: Names::new(MAX_RULES),
            rule_faults: counted(to, "rule_faults", "Rules that gave no answer"),
            rule_slots: with(to, "rule_slots", "Rules that can run at the same time"),
            rule_slots_in_use: with(to, "rule_slots_in_use", "Rules that are running"),
            reloads: {
                let reloads = counted(to, "reloads", "Attempts to load something");
                for (what, result) in
                    RELOADS.iter().flat_map(|what| [(what, "failed"), (what, "loaded")])
                {
                    // From the start, so that the first failure is an increase.
                    let labels = [("what", (*what).into()), ("result", result.into())];
                    drop(reloads.get_or_create(&labels));
                }
                reloads
            },
            reload_failing: {
                let help = "Whether something could not be loaded when it was tried last: 1, or 0";
                with(to, "reload_failing", help)
            },
            reloaded_at: {
                let times = Family::default();
                let help = "When something was loaded last, in seconds since 1970-01-01 UTC";
                let name = "reload_last_success_timestamp";
                to.register_with_unit(name, help, Unit::Seconds, times.clone());
                times
            },
            generation: with(to, "generation", "Number of the configuration that decides"),
            ready: with(to, "ready", "Whether there is a policy that decides: 1, or 0"),
            certificates: {
                let times = Family::default();
                let help = "When a certificate ends, in seconds since 1970-01-01 UTC";
                let name = "certificate_expiry_timestamp";
                to.register_with_unit(name, help, Unit::Seconds, times.clone());
                times
            },
            registry,
        }
    }

    /// A review was answered.
    pub fn review(&self, endpoint: Endpoint, admitted: bool, took: Duration) {
        let at = place(endpoint);
        self.reviews[at][usize::from(admitted)].inc();
        self.review_durations[at].observe(took.as_secs_f64());
    }

    /// Something was decided about an image. `outcome` is `allow`, `deny` or `error`; `code` the first
    /// reason's, empty without one.
    pub fn decision(&self, endpoint: Endpoint, outcome: &'static str, code: &str, mode: Mode) {
        if outcome == "allow" && code.is_empty() {
            self.allowed[place(endpoint)][MODES.iter().position(|m| *m == mode).unwrap_or(0)].inc();
            return;
        }
        let code = if code.is_empty() { NO_CODE.into() } else { self.codes.bounded(code) };
        self.decisions.get_or_create(&decision(endpoint, outcome, code, mode)).inc();
    }

    /// The administrator's override admitted a pod, whatever its images are.
    pub fn break_glass(&self) {
        self.break_glass.inc();
    }

    /// A part of the work is done.
    pub fn stage(&self, stage: Stage, took: Duration) {
        if let Some(at) = STAGES.iter().position(|(known, _)| *known == stage) {
            self.stages[at].observe(took.as_secs_f64());
        }
    }

    /// A cache (`verdicts`, `tags`, `evidence`, `documents`, `keyrings`) was asked.
    pub fn cache(&self, cache: &'static str, hit: bool) {
        if let Some(at) = CACHES.iter().position(|known| *known == cache) {
            self.caches[at][usize::from(hit)].inc();
        }
    }

    /// What a cache holds, in bytes.
    pub fn cache_size(&self, cache: &'static str, bytes: u64) {
        self.cache_sizes.get_or_create(&[("cache", cache.into())]).set(bytes);
    }

    /// A registry or lookaside was asked. `outcome` is `ok`, `missing`, `refused`, `throttled` or `failed`.
    pub fn registry_request(&self, host: &str, outcome: &'static str, took: Duration) {
        let host = self.hosts.bounded(host);
        self.registry_durations
            .get_or_create(&[("host", host.clone())])
            .observe(took.as_secs_f64());
        self.registry_requests.get_or_create(&[("host", host), ("outcome", outcome.into())]).inc();
    }

    /// The sandbox gave no answer; `code` is the reason's.
    pub fn sandbox_failure(&self, code: &'static str) {
        self.sandbox_failures.get_or_create(&[("reason", code.into())]).inc();
    }

    /// How many evaluations can run at the same time.
    pub fn sandbox_slots(&self, count: usize) {
        self.slots.set(count as u64);
    }

    /// Evaluations that run: 1 begins, -1 ends.
    pub fn sandbox_in_use(&self, change: i64) {
        self.slots_in_use.inc_by(change);
    }

    /// A rule was asked. `outcome` is `allow`, `deny`, or `fault` if it gave no answer.
    pub fn rule(&self, name: &str, outcome: &'static str, took: Duration) {
        let name = self.rule_names.bounded(name);
        self.rule_durations.get_or_create(&[("rule", name.clone())]).observe(took.as_secs_f64());
        self.rules.get_or_create(&[("rule", name), ("outcome", outcome.into())]).inc();
    }

    /// A rule gave no answer; `code` is the reason's.
    pub fn rule_fault(&self, code: &str) {
        let code = self.codes.bounded(code);
        self.rule_faults.get_or_create(&[("reason", code)]).inc();
    }

    /// How many rules can run at the same time.
    pub fn rule_slots(&self, count: usize) {
        self.rule_slots.set(count as u64);
    }

    /// Rules that are running.
    pub fn rule_slots_in_use(&self, count: u64) {
        self.rule_slots_in_use.set(count);
    }

    /// Something was loaded again (`policy`, `configuration`, `certificate`), or was not. What is loaded
    /// at the start counts, too.
    pub fn reload(&self, what: &'static str, loaded: bool) {
        let result = if loaded { "loaded" } else { "failed" };
        self.reloads.get_or_create(&[("what", what.into()), ("result", result.into())]).inc();
        self.reload_failing.get_or_create(&[("what", what.into())]).set((!loaded).into());
        if loaded {
            self.reloaded_at.get_or_create(&[("what", what.into())]).set(now());
        }
    }

    /// The number of the generation that decides.
    pub fn generation(&self, number: u64) {
        self.generation.set(number);
    }

    /// Whether `/readyz` says so.
    pub fn ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }

    /// When a certificate (`server`, `client-authority`) ends, in seconds since 1970-01-01 UTC.
    pub fn certificate_expires(&self, certificate: &'static str, at: i64) {
        self.certificates.get_or_create(&[("certificate", certificate.into())]).set(at);
    }

    /// Requests that are being answered: 1 begins, -1 ends.
    pub fn in_flight(&self, change: i64) {
        self.in_flight.inc_by(change);
    }

    /// Everything, in the OpenMetrics text format 1.0.0.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Should it fail, then `# EOF` is missing, by which Prometheus knows that the text is not whole.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A part of the work on a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Stage {
    /// From the first byte of the body to an understood review.
    Parse,
    /// Credentials from the Kubernetes API.
    Credentials,
    /// A name to a manifest.
    Resolve,
    /// Signatures.
    Evidence,
    /// In the sandbox.
    Evaluate,
    /// What rules say, and what they want to see.
    Rules,
}

/// Names and values.
type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];

/// Values of a label that come from outside: the first few different ones, then `other`.
#[derive(Debug)]
struct Names {
    known: RwLock<HashSet<String>>,
    most: usize,
}

impl Names {
    fn new(most: usize) -> Self {
        Self { known: RwLock::default(), most }
    }

    fn bounded(&self, name: &str) -> Cow<'static, str> {
        // A poisoned lock means a panic between two statements of which none panics.
        if self.known.read().is_ok_and(|known| known.contains(name)) {
            return name.to_owned().into();
        }
        let Ok(mut known) = self.known.write() else { return OTHER.into() };
        if known.len() >= self.most && !known.contains(name) {
            return OTHER.into();
        }
        known.insert(name.to_owned());
        name.to_owned().into()
    }
}

/// Read when somebody asks. Where the system does not tell, there is no such metric.
#[derive(Debug)]
struct ResidentMemory;

impl Collector for ResidentMemory {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let Some(bytes) = resident(&status) else { return Ok(()) };
        let gauge = ConstGauge::new(bytes);
        let help = "Memory of the process that is in use.";
        let name = "process_resident_memory";
        let kind = gauge.metric_type();
        gauge.encode(encoder.encode_descriptor(name, help, Some(&Unit::Bytes), kind)?)
    }
}

/// `VmRSS` of proc_pid_status(5), in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn counted<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> Family<Labels<N>, Counter> {
    with(registry, name, help)
}

fn timed<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> Family<Labels<N>, Histogram> {
    let family = Family::<Labels<N>, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
    registry.register_with_unit(name, help, Unit::Seconds, family.clone());
    family
}

fn with<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn decision(
    endpoint: Endpoint,
    outcome: &'static str,
    code: impl Into<Cow<'static, str>>,
    mode: Mode,
) -> Labels<4> {
    let mode = match mode {
        Mode::Enforce => "enforce",
        Mode::Warn => "warn",
        Mode::Observe => "observe",
    };
    [
        ("endpoint", word(endpoint)),
        ("outcome", outcome.into()),
        ("reason", code.into()),
        ("mode", mode.into()),
    ]
}

fn place(endpoint: Endpoint) -> usize {
    match endpoint {
        Endpoint::Validate => 0,
        Endpoint::Mutate => 1,
        Endpoint::ImagePolicy => 2,
    }
}

fn word(endpoint: Endpoint) -> Cow<'static, str> {
    match endpoint {
        Endpoint::Validate => "validate",
        Endpoint::Mutate => "mutate",
        Endpoint::ImagePolicy => "imagepolicy",
    }
    .into()
}

/// In seconds since 1970-01-01 UTC.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// In the order of [`place`].
const ENDPOINTS: [Endpoint; 3] = [Endpoint::Validate, Endpoint::Mutate, Endpoint::ImagePolicy];

const MODES: [Mode; 3] = [Mode::Enforce, Mode::Warn, Mode::Observe];

const STAGES: [(Stage, &str); 6] = [
    (Stage::Parse, "parse"),
    (Stage::Credentials, "credentials"),
    (Stage::Resolve, "resolve"),
    (Stage::Evidence, "evidence"),
    (Stage::Evaluate, "evaluate"),
    (Stage::Rules, "rules"),
];

const CACHES: [&str; 5] = ["verdicts", "tags", "evidence", "documents", "keyrings"];

const RELOADS: [&str; 3] = ["policy", "configuration", "certificate"];

/// In seconds: from a remembered answer to the longest time that Kubernetes waits for a webhook.
const BUCKETS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// The value of `reason` where there is none. Codes have a hyphen, but for one.
const NO_CODE: &str = "none";

/// The value for what is beyond a limit.
const OTHER: &str = "other";

/// Most registries and signature stores that are told apart: a large cluster pulls from some dozens, and
/// whoever may create pods can name any number.
const MAX_HOSTS: usize = 64;

/// Most rules that are told apart: a policy names some dozens at most, and a rule names itself.
const MAX_RULES: usize = 64;

/// Most reason codes that are told apart: twice as many as there are.
const MAX_CODES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_beyond_the_limit_are_counted_together() {
        let metrics = Metrics::new();
        for number in 0..MAX_HOSTS + 3 {
            metrics.registry_request(&format!("r{number}.example"), "ok", Duration::ZERO);
        }
        metrics.registry_request("r0.example", "ok", Duration::ZERO);
        let text = metrics.encode();
        let line = |host: &str, count| {
            format!(
                "countersign_registry_requests_total{{host=\"{host}\",outcome=\"ok\"}} {count}\n"
            )
        };
        assert!(text.contains(&line("other", 3)), "{text}");
        assert!(text.contains(&line("r0.example", 2)), "{text}");
        assert!(!text.contains("r64.example"), "{text}");
    }

    #[test]
    fn codes_beyond_the_limit_are_counted_together() {
        let names = Names::new(1);
        assert_eq!(names.bounded("a-b"), "a-b");
        assert_eq!(names.bounded("c-d"), "other");
        assert_eq!(names.bounded("a-b"), "a-b");
    }

    #[test]
    fn allowed_and_denied_images_are_counted_by_reason_and_mode() {
        let metrics = Metrics::new();
        metrics.decision(Endpoint::Mutate, "allow", "", Mode::Enforce);
        metrics.decision(Endpoint::Mutate, "deny", "signature-missing", Mode::Warn);
        let text = metrics.encode();
        for line in [
            "countersign_decisions_total{endpoint=\"mutate\",outcome=\"allow\",reason=\"none\",mode=\"enforce\"} 1\n",
            "countersign_decisions_total{endpoint=\"mutate\",outcome=\"allow\",reason=\"none\",mode=\"warn\"} 0\n",
            "countersign_decisions_total{endpoint=\"mutate\",outcome=\"deny\",reason=\"signature-missing\",mode=\"warn\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn reviews_are_counted_and_timed_by_endpoint() {
        let metrics = Metrics::new();
        metrics.review(Endpoint::ImagePolicy, false, Duration::from_millis(3));
        let text = metrics.encode();
        for line in [
            "countersign_reviews_total{endpoint=\"imagepolicy\",admitted=\"false\"} 1\n",
            "countersign_review_duration_seconds_bucket{le=\"0.0025\",endpoint=\"imagepolicy\"} 0\n",
            "countersign_review_duration_seconds_bucket{le=\"0.005\",endpoint=\"imagepolicy\"} 1\n",
            "countersign_review_duration_seconds_sum{endpoint=\"imagepolicy\"} 0.003\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn reads_resident_memory() {
        assert_eq!(resident("VmHWM:\t 9 kB\nVmRSS:\t    1234 kB\nx: y\n"), Some(1_263_616));
        assert_eq!(resident("VmRSS:\t 1234 MB\n"), None);
        assert_eq!(resident("VmRSS:\t 18446744073709551615 kB\n"), None);
        assert_eq!(resident(""), None);
    }
}
