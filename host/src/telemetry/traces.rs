//! Traces: spans to an OpenTelemetry collector, by OTLP over HTTP with protobuf. Off unless configured,
//! and then nothing of this exists.
//!
//! Spans are those of this crate at level `info`: `request`, `resolve`, `evidence`, `evaluate`. What the
//! specification lets the environment say holds: `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`,
//! `OTEL_BSP_*`, `OTEL_RESOURCE_ATTRIBUTES`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use reqwest::Url;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

/// Where spans go. They are sent in batches, by a thread of their own; what the collector does not take
/// in time is dropped.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
}

/// Why nothing is traced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TracesError {
    /// The administrator names a collector that cannot be one.
    #[error(
        "trace endpoint `{endpoint}`: {fault}; expected the base URL of an OTLP collector, as in \
         http://collector.example:4318"
    )]
    Endpoint {
        /// As configured, without what may be a password.
        endpoint: String,
        /// What is wrong.
        fault: String,
    },
    /// The client for the collector cannot be made.
    #[error("no client for the trace collector: {0}")]
    Client(String),
}

impl Traces {
    /// Send spans to the collector whose base URL is `endpoint`; `/v1/traces` is added, as the OTLP
    /// specification has it. To be called where a tokio runtime runs, which is the one that sends.
    ///
    /// # Errors
    ///
    /// Every [`TracesError`].
    pub fn start(endpoint: &str) -> Result<Self, TracesError> {
        let url = address(endpoint)?;
        let client = |fault: &dyn fmt::Display| TracesError::Client(fault.to_string());
        let runtime = Handle::try_current().map_err(|e| client(&e))?;
        let tls = crate::registry::system_tls().map_err(|e| client(&e))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(EXPORT_TIMEOUT)
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| client(&e))?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(http)
            .with_endpoint(url)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|e| client(&e))?;
        let exporter =
            Exporter { inner: Arc::new(exporter), runtime, failing: AtomicBool::new(false) };
        let resource = Resource::builder()
            .with_service_name("countersign")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Self { provider })
    }

    /// Send what is left, for a limited time. Spans that end later are lost.
    pub async fn stop(self) {
        let stop = move || self.provider.shutdown_with_timeout(FLUSH_TIMEOUT);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(stop).await {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }

    /// What makes the spans of this crate go to the collector.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        // Other crates' spans would tell of the sending itself.
        let own = Targets::new().with_target(env!("CARGO_PKG_NAME"), LevelFilter::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_filter(own)
    }
}

/// The span of the caller, as the header `traceparent` names it (W3C Trace Context); an empty context
/// without one.
pub fn parent(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers))
}

/// Make a new span that was not entered a child of the caller's. Free where nothing is traced.
pub fn follow(span: &tracing::Span, headers: &HeaderMap) {
    if !span.is_disabled() && headers.contains_key("traceparent") {
        // Fails for spans that no collector gets.
        let _ = span.set_parent(parent(headers));
    }
}

/// The trace that a span belongs to, for log lines: 32 hexadecimal digits. `None` where nothing is
/// traced.
pub fn identifier(span: &tracing::Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let found = context.span().span_context().clone();
    found.is_valid().then(|| found.trace_id().to_string())
}

/// The address of a collector's traces.
fn address(endpoint: &str) -> Result<String, TracesError> {
    let wrong = |fault: &str| TracesError::Endpoint {
        endpoint: Url::parse(endpoint).map_or_else(
            |_| endpoint.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect(),
            |url| crate::registry::shown(&url),
        ),
        fault: fault.to_owned(),
    };
    let url = Url::parse(endpoint).map_err(|e| wrong(&e.to_string()))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(wrong("its scheme is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it holds credentials, which belong into OTEL_EXPORTER_OTLP_HEADERS"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a query or fragment"));
    }
    Ok(format!("{}/v1/traces", url.as_str().trim_end_matches('/')))
}

/// Sends batches on the runtime: the thread that collects them is none of it. Says once when that stops
/// working, and once when it works again.
struct Exporter {
    inner: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    failing: AtomicBool,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it holds may be credentials of the collector.
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let inner = Arc::clone(&self.inner);
        let sent = self.runtime.spawn(async move { inner.export(batch).await }).await;
        let sent = sent.unwrap_or_else(|e| Err(OTelSdkError::InternalFailure(e.to_string())));
        let failed_before = self.failing.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Err(error) if !failed_before => tracing::warn!(%error, "traces are not sent"),
            Ok(()) if failed_before => tracing::info!("traces are sent again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        // It is set before anything is sent, so that nobody shares it yet.
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.set_resource(resource);
        }
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}

/// Longest time for sending one batch: the default of the OTLP specification.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for sending what is left at the end: a sixth of what Kubernetes gives a pod to end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Most characters of an endpoint that is no URL which are shown: three lines of a terminal.
const MAX_SHOWN: usize = 240;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_below_the_base_url() {
        for (endpoint, expected) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("https://c.example/otlp/", "https://c.example/otlp/v1/traces"),
        ] {
            assert_eq!(address(endpoint).expect(endpoint), expected);
        }
    }

    #[test]
    fn refuses_endpoints_that_are_none_and_shows_no_password() {
        for endpoint in
            ["", "collector:4318", "grpc://c:4317", "http://u:hunter2@c", "http://c/?k=hunter2"]
        {
            let error = address(endpoint).expect_err(endpoint).to_string();
            assert!(error.contains("http://collector.example:4318"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn parent_is_read_from_traceparent() {
        let mut headers = HeaderMap::new();
        let value = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        headers.insert("traceparent", value.parse().expect("a value"));
        let context = parent(&headers);
        let context = context.span().span_context().clone();
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(context.is_remote() && context.is_sampled());
    }

    #[test]
    fn odd_traceparent_is_no_parent() {
        for value in ["", "00-0-0-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"] {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", value.parse().expect("a value"));
            assert!(!parent(&headers).span().span_context().is_valid(), "{value}");
        }
    }
}
