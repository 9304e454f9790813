//! From an HTTP request to its answer.
//!
//! Whatever goes wrong here is an HTTP error, which an API server takes for a failed call, or a judgement of
//! outcome error: never an allow.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use futures_util::future::join_all;
use guest_policy::reference::Reference;
use guest_policy::rule::Workload;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use jiff::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;
use tracing::Instrument as _;

use crate::admission::{self, Decided, Endpoint, Review, Task};
use crate::registry::Keyring;
use crate::report::printable;
use crate::telemetry::{Metrics, Stage, traces};
use crate::verdicts::{Ask, Judgement, Served};

use super::configuration::{Deadline, Decisions, MAX_DEADLINE};
use super::generation::{Generation, Parts};
use super::{quantity, unanswered};

/// Answers requests.
#[derive(Debug)]
pub(super) struct Service {
    parts: Parts,
    nobody: Arc<Keyring>,
    bodies: Semaphore,
}

/// What is known of the connection that a request came by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Peer {
    /// Over TLS; whether the client showed a certificate of the configured authorities.
    Tls {
        /// It did.
        certified: bool,
    },
    /// Without TLS: probes and metrics alone.
    Plain,
}

impl Service {
    pub(super) fn new(parts: Parts) -> Self {
        Self { parts, nobody: Arc::default(), bodies: Semaphore::new(MAX_BODIES_BYTES) }
    }

    /// The answer to a request. A panic is one, too.
    pub(super) async fn answer<B>(&self, request: Request<B>, peer: Peer) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let version = request.version();
        let routed = AssertUnwindSafe(self.route(request, peer)).catch_unwind();
        let mut answer = match routed.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(refusal)) => refusal.into_answer(),
            Err(_) => {
                tracing::error!("a request was given up: internal error");
                let words = "internal error; nothing was decided".to_owned();
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, words).into_answer()
            }
        };
        if version <= Version::HTTP_11 && self.parts.status.is_draining() {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    async fn route<B>(&self, request: Request<B>, peer: Peer) -> Result<Answer, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let path = request.uri().path();
        let endpoint = match path {
            "/validate" => Endpoint::Validate,
            "/mutate" | "/admit" => Endpoint::Mutate,
            "/imagepolicy" => Endpoint::ImagePolicy,
            "/livez" | "/readyz" | "/metrics" => return self.probe(&request),
            _ => return Err(Refusal::unknown(path, peer)),
        };
        let Peer::Tls { certified } = peer else { return Err(Refusal::unknown(path, peer)) };
        if request.method() != Method::POST {
            return Err(Refusal::method(request.method(), "POST"));
        }
        if !certified && self.parts.certificates.current().clients {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "a client certificate is needed here: give the API server one that the authorities of \
                 tls.clientAuthorities have signed"
                    .to_owned(),
            ));
        }
        let span = tracing::info_span!("request", path);
        traces::follow(&span, request.headers());
        self.review(endpoint, request).instrument(span).await
    }

    fn probe<B>(&self, request: &Request<B>) -> Result<Answer, Refusal> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Err(Refusal::method(request.method(), "GET, HEAD"));
        }
        let Parts { current, certificates, status, metrics, .. } = &self.parts;
        if request.uri().path() == "/livez" {
            return Ok(text(StatusCode::OK, "ok\n".to_owned()));
        }
        if request.uri().path() == "/metrics" {
            self.parts.measure();
            return Ok(with(StatusCode::OK, Metrics::CONTENT_TYPE, metrics.encode()));
        }
        let generation = current.get();
        let unready = status.unready(&generation);
        let (code, mut words) = match unready {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(words) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {words}\n")),
        };
        if parameter(request.uri().query(), "verbose").is_some() {
            let expires = Some(certificates.current().expires);
            words.push_str(&status.verbose(&generation, expires, Timestamp::now()));
        }
        Ok(text(code, words))
    }

    async fn review<B>(&self, endpoint: Endpoint, request: Request<B>) -> Result<Answer, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let begun = Instant::now();
        let metrics = &*self.parts.metrics;
        let _counted = InFlight::of(metrics);
        if !is_json(request.headers()) {
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "expected Content-Type: application/json".to_owned(),
            ));
        }
        let generation = self.parts.current.get();
        let deadline = begun + time(generation.deadline, request.uri().query())?;
        let (body, _held) = match timeout_at(deadline.into(), self.body(request)).await {
            Ok(body) => body?,
            Err(_) => {
                return Err(Refusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "the request did not arrive in full within its time".to_owned(),
                ));
            }
        };
        let review = Review::parse(endpoint, &body)
            .map_err(|unusable| Refusal::new(StatusCode::BAD_REQUEST, unusable.to_string()))?;
        metrics.stage(Stage::Parse, begun.elapsed());
        let judgements = match review.task(&generation.rules) {
            Task::Answer => Vec::new(),
            Task::Judge(references) => {
                let workload = workload(&generation, &review);
                self.judge(&generation, &review, &references, workload, deadline).await
            }
        };
        let policy = generation.basis.as_ref().map_or("", |basis| basis.hash.as_str());
        let response = review.respond(&generation.rules, &judgements, policy, now());
        let took = begun.elapsed();
        for decided in &response.decided {
            metrics.decision(endpoint, decided.outcome, &decided.code, decided.mode);
        }
        metrics.review(endpoint, response.admitted, took);
        if let Some(value) = &response.break_glass {
            metrics.break_glass();
            let namespace = review.about().namespace;
            tracing::warn!(namespace, annotation = value, "images were admitted by break-glass");
        }
        log(&generation, &review, &response, &judgements, took);
        Ok(with(StatusCode::OK, JSON, response.body))
    }

    /// A judgement about each, in order.
    async fn judge(
        &self,
        generation: &Generation,
        review: &Review,
        references: &[Reference],
        workload: Result<Option<Arc<Workload>>, String>,
        deadline: Instant,
    ) -> Vec<Judgement> {
        let all = |judgement: Judgement| vec![judgement; references.len()];
        let basis = match &generation.basis {
            Ok(basis) => basis,
            Err(words) => return all(unanswered::without_policy(words)),
        };
        let workload = match workload {
            Ok(workload) => workload,
            Err(words) => return all(unanswered::without_workload(&words)),
        };
        let keyring = match (&generation.cluster, review.puller()) {
            (Some(cluster), Some(puller)) => {
                let begun = Instant::now();
                let asked = timeout_at(deadline.into(), cluster.keyring(&puller)).await;
                self.parts.metrics.stage(Stage::Credentials, begun.elapsed());
                match asked {
                    Ok(Ok(keyring)) => keyring,
                    Ok(Err(error)) => return all(unanswered::without_credentials(&error)),
                    Err(_) => return all(unanswered::too_late()),
                }
            }
            _ => Arc::clone(&self.nobody),
        };
        let decide = |image: &Reference| {
            let ask = Ask {
                image: image.clone(),
                keyring: Arc::clone(&keyring),
                workload: workload.clone(),
                deadline,
            };
            // It keeps the deadline itself, and says more then.
            let limit = deadline + GRACE;
            async move {
                let decided = timeout_at(limit.into(), generation.verdicts.decide(basis, ask));
                decided.await.unwrap_or_else(|_| unanswered::too_late())
            }
        };
        match references {
            [image] => vec![decide(image).await],
            images => join_all(images.iter().map(decide)).await,
        }
    }

    /// The body, and what keeps room for it.
    async fn body<B>(
        &self,
        request: Request<B>,
    ) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let announced = announced(request.headers());
        let mut body = request.into_body();
        if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
            discard(&mut body).await;
            return Err(Refusal::too_large());
        }
        let mut first = Bytes::new();
        let mut all: Vec<u8> = Vec::new();
        let mut held: Option<SemaphorePermit<'_>> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                let words = "the request ended before its body did".to_owned();
                Refusal::new(StatusCode::BAD_REQUEST, words)
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                if all.is_empty() {
                    let announced = announced.and_then(|length| usize::try_from(length).ok());
                    all.reserve_exact(announced.unwrap_or_default().min(SMALL_BODY_BYTES));
                    all.extend_from_slice(&first);
                }
                all.extend_from_slice(&data);
            }
            let size = first.len().max(all.len());
            if size > MAX_BODY_BYTES {
                drop((first, all));
                discard(&mut body).await;
                return Err(Refusal::too_large());
            }
            self.hold(size, &mut held)?;
        }
        Ok((if all.is_empty() { first } else { all.into() }, held))
    }

    /// Have room for a body of `size` bytes, unless it is so small that it does not count.
    fn hold<'a>(
        &'a self,
        size: usize,
        held: &mut Option<SemaphorePermit<'a>>,
    ) -> Result<(), Refusal> {
        let has = held.as_ref().map_or(0, SemaphorePermit::num_permits);
        if size <= SMALL_BODY_BYTES || size <= has {
            return Ok(());
        }
        let more = u32::try_from(size - has).unwrap_or(u32::MAX);
        let Ok(room) = self.bodies.try_acquire_many(more) else {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many large requests at the same time; try again".to_owned(),
            ));
        };
        match held {
            Some(held) => held.merge(room),
            None => *held = Some(room),
        }
        Ok(())
    }
}

/// What wants to run the images, if there are rules to be told.
fn workload(generation: &Generation, review: &Review) -> Result<Option<Arc<Workload>>, String> {
    match &generation.basis {
        Ok(basis) if !basis.rules.is_empty() => {
            review.workload().map(|workload| Some(Arc::new(workload)))
        }
        Ok(_) | Err(_) => Ok(None),
    }
}

/// What is sent back.
pub(super) type Answer = Response<Full<Bytes>>;

/// A request that gets no review for an answer.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    words: String,
    allow: Option<&'static str>,
}

impl Refusal {
    fn new(status: StatusCode, words: String) -> Self {
        Self { status, words, allow: None }
    }

    fn unknown(path: &str, peer: Peer) -> Self {
        let known = match peer {
            Peer::Tls { .. } => {
                "POST /validate, /mutate, /admit, /imagepolicy; GET /livez, /readyz, /metrics"
            }
            Peer::Plain => "without TLS: GET /livez, /readyz, /metrics",
        };
        Self::new(StatusCode::NOT_FOUND, format!("there is no {path:.128}; there are {known}"))
    }

    fn method(method: &Method, allow: &'static str) -> Self {
        let words = format!("method {:.16} means nothing here; expected {allow}", method.as_str());
        Self { status: StatusCode::METHOD_NOT_ALLOWED, words, allow: Some(allow) }
    }

    fn too_large() -> Self {
        let words =
            format!("the request has more than the {MAX_BODY_BYTES} bytes that are looked at");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, words)
    }

    fn into_answer(self) -> Answer {
        let mut answer = text(self.status, self.words + "\n");
        if let Some(allow) = self.allow {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        }
        answer
    }
}

/// Counts a request while it is answered.
struct InFlight<'a>(&'a Metrics);

impl<'a> InFlight<'a> {
    fn of(metrics: &'a Metrics) -> Self {
        metrics.in_flight(1);
        Self(metrics)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight(-1);
    }
}

/// How long the work for a request may take: what it says itself, no more than API servers wait, less what
/// the way back takes, but at least half of it.
fn time(deadline: Deadline, query: Option<&str>) -> Result<Duration, Refusal> {
    let asked = match parameter(query, "timeout") {
        None => deadline.otherwise,
        Some(text) => quantity::duration(text).filter(|time| !time.is_zero()).ok_or_else(|| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("timeout={text:.64} is not a duration with its unit, such as 10s or 500ms"),
            )
        })?,
    };
    let asked = asked.min(MAX_DEADLINE);
    Ok(asked.saturating_sub(deadline.margin).max(asked / 2))
}

/// The value of a query parameter, empty if it has none. API servers escape nothing in a duration.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(JSON.as_bytes())
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Take what else is sent, so that a client that sends first and reads then gets to read.
async fn discard<B: Body<Data = Bytes> + Unpin>(body: &mut B) {
    let mut left = MAX_DISCARDED_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let size = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(size) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

fn text(status: StatusCode, words: String) -> Answer {
    with(status, "text/plain; charset=utf-8", words)
}

fn with(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Seconds since 1970-01-01 UTC. Before that the clock is wrong, and nothing is valid.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A line for each decision that is to have one.
fn log(
    generation: &Generation,
    review: &Review,
    response: &admission::Response,
    judgements: &[Judgement],
    took: Duration,
) {
    let wanted = |decided: &Decided| match generation.decisions {
        Decisions::All => true,
        Decisions::Denied => decided.outcome != "allow",
        Decisions::None => false,
    };
    for decided in response.decided.iter().filter(|decided| wanted(decided)) {
        let judgement = decided.judgement.and_then(|place| judgements.get(place));
        let about = review.about();
        tracing::info!(
            uid = about.uid,
            namespace = about.namespace,
            kind = about.kind,
            name = about.name,
            user = about.user,
            image = decided.image,
            pointer = decided.pointer,
            outcome = decided.outcome,
            code = decided.code,
            mode = decided.mode.name(),
            admitted = response.admitted,
            scope = judgement.map(|judgement| judgement.verdict.scope.as_str()),
            digest =
                judgement.and_then(|judgement| judgement.digest.as_ref()).map(ToString::to_string),
            cached = judgement.map(|judgement| judgement.served == Served::Cache),
            warnings = judgement.and_then(|judgement| listed(&judgement.verdict.warnings)),
            annotations = judgement.and_then(|judgement| paired(&judgement.verdict.annotations)),
            took_ms = took.as_secs_f64() * 1000.0,
            "decided"
        );
    }
}

/// What rules have to say, in one text.
fn listed(warnings: &[String]) -> Option<String> {
    (!warnings.is_empty()).then(|| shown(&warnings.join("; ")))
}

/// What rules want in the audit log, in one text.
fn paired(annotations: &BTreeMap<String, String>) -> Option<String> {
    let pairs: Vec<_> = annotations.iter().map(|(key, value)| format!("{key}={value}")).collect();
    (!pairs.is_empty()).then(|| shown(&pairs.join("; ")))
}

/// Other people's words, as many as fit a line.
fn shown(text: &str) -> String {
    printable(&text.chars().take(MAX_SHOWN_CHARS).collect::<String>())
}

const JSON: &str = "application/json";

/// Largest request: an object has at most 1.5 MiB in etcd, a review may carry it twice, and JSON escapes.
pub(super) const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// What is taken of a larger request, and thrown away, before the connection is cut: as much again.
const MAX_DISCARDED_BYTES: usize = MAX_BODY_BYTES;

/// Most bytes of all larger bodies at the same time: eight of the largest size.
const MAX_BODIES_BYTES: usize = 8 * MAX_BODY_BYTES;

/// Most of what rules say that a decision's line in the log has: four warnings of the longest that are shown.
const MAX_SHOWN_CHARS: usize = 1024;

/// Smaller bodies do not count: ten times a review of a pod.
const SMALL_BODY_BYTES: usize = 64 * 1024;

/// A little more time for whoever keeps the deadline itself.
const GRACE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use guest_policy::verdict::Outcome;
    use hyper::body::Frame;

    use super::super::certificates::Certificates;
    use super::super::configuration::Source;
    use super::super::generation::{Engines, Loader};
    use super::*;
    use crate::engine::{self, Engine, RuleSettings};

    fn deadline(margin: u64) -> Deadline {
        Deadline { margin: Duration::from_millis(margin), otherwise: Duration::from_secs(10) }
    }

    #[test]
    fn time_is_the_requests_own_less_a_margin() {
        for (query, milliseconds) in [
            (None, 9_700),
            (Some(""), 9_700),
            (Some("timeout=10s"), 9_700),
            (Some("a=b&timeout=5s"), 4_700),
            (Some("timeout=1m"), 29_700),
            (Some("timeout=2h45m"), 29_700),
            (Some("timeout=400ms"), 200),
            (Some("timeout=500ms&timeout=9s"), 250),
        ] {
            let time = time(deadline(300), query).expect("a time");
            assert_eq!(time, Duration::from_millis(milliseconds), "{query:?}");
        }
    }

    #[test]
    fn time_that_is_none_is_refused() {
        for query in ["timeout=", "timeout=10", "timeout=-1s", "timeout=0s", "timeout=%31s"] {
            let refusal = time(deadline(300), Some(query)).expect_err(query);
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
            assert!(refusal.words.contains(query) && refusal.words.contains("10s"), "{query}");
        }
    }

    #[test]
    fn nothing_is_allowed_without_a_policy() {
        let service = service();
        let generation = service.parts.current.get();
        let review = Review::parse(Endpoint::Validate, REVIEW).expect("a review");
        let images = ["busybox:1", "example.com/a/b:2"]
            .map(|name| Reference::parse_normalized(name).expect("a name"));
        let deadline = Instant::now() + Duration::from_secs(60);
        let judged = block(service.judge(&generation, &review, &images, Ok(None), deadline));
        assert_eq!(judged.len(), 2);
        for judgement in judged {
            assert_eq!(judgement.verdict.outcome, Outcome::Error);
            let reason = &judgement.verdict.reasons[0];
            assert_eq!(reason.code, "policy-unusable");
            assert!(reason.message.contains("/nowhere/policy.json"), "{}", reason.message);
            assert_eq!(judgement.digest, None);
        }
        let words = service.parts.status.unready(&generation).expect("not ready");
        assert!(words.contains("/nowhere/policy.json"), "{words}");
    }

    #[test]
    fn panic_is_an_internal_error_and_no_review() {
        let service = service();
        let request = Request::post("/validate").header(CONTENT_TYPE, JSON).body(Panics);
        let peer = Peer::Tls { certified: false };
        let answer = block(service.answer(request.expect("a request"), peer));
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = block(answer.into_body().collect()).expect("a body").to_bytes();
        assert_eq!(&body[..], b"internal error; nothing was decided\n");
        // And what it held is free again.
        assert_eq!(service.bodies.available_permits(), MAX_BODIES_BYTES);
    }

    #[test]
    fn large_bodies_have_room_together_or_are_refused() {
        let service = service();
        let mut held = Vec::new();
        for _ in 0..8 {
            let mut one = None;
            service.hold(SMALL_BODY_BYTES, &mut one).expect("small");
            assert!(one.is_none());
            service.hold(MAX_BODY_BYTES / 2, &mut one).expect("room");
            service.hold(MAX_BODY_BYTES, &mut one).expect("more room");
            held.push(one);
        }
        let refusal = service.hold(SMALL_BODY_BYTES + 1, &mut None).expect_err("no room");
        assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
        service.hold(SMALL_BODY_BYTES, &mut None).expect("small ones need none");
        held.pop();
        service.hold(MAX_BODY_BYTES, &mut None).expect("room again");
    }

    /// A service without a policy.
    fn service() -> Service {
        let source = Source { policy: Some("/nowhere/policy.json".into()), ..Source::default() };
        let configuration = source.load().expect("a configuration");
        let engine = Engine::new(&engine::Settings::default()).expect("an engine");
        let certificates = Arc::new(Certificates::for_test());
        let metrics = Arc::default();
        let engines = Engines::new(engine, RuleSettings::default());
        let loader = Loader::start(source, configuration, engines, None, certificates, metrics);
        Service::new(loader.parts().clone())
    }

    fn block<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(future)
    }

    /// A body that is a fault of this program.
    struct Panics;

    impl Body for Panics {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            unreachable!("a fault of this program")
        }
    }

    const REVIEW: &[u8] = br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "1", "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "operation": "CREATE", "userInfo": {}, "object": {}}}"#;

    #[test]
    fn json_is_recognised() {
        for (value, good) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(is_json(&headers), good, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
