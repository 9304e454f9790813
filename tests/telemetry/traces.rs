//! Traces as a collector receives them.

use countersign::telemetry::traces::{self, Traces};
use hyper::HeaderMap;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::server::{Answer, Server};

#[test]
fn collector_receives_spans_below_the_callers() {
    let collector = Server::start();
    collector.always("/otlp/v1/traces", Answer::ok(""));
    trace(&collector.url("/otlp/"), || {
        let request = tracing::info_span!(target: "countersign::serve", "request", uid = "0123");
        traces::follow(&request, &caller("01"));
        let trace = traces::identifier(&request);
        assert_eq!(trace.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        let _inside = request.enter();
        tracing::info_span!(target: "countersign::verdicts", "evaluate").in_scope(|| {});
    });
    let requests = collector.requests_to("/otlp/v1/traces");
    assert_eq!(requests.len(), 1, "one batch");
    assert_eq!(requests[0].method, "POST");
    assert_eq!(requests[0].header("content-type"), Some("application/x-protobuf"));
    // Of a protobuf message the texts alone.
    for text in ["request", "evaluate", "uid", "0123", "service.name", "countersign"] {
        assert!(requests[0].body.contains(text), "{text} in {:?}", requests[0].body);
    }
}

#[test]
fn spans_of_others_and_fine_ones_stay_here() {
    let collector = Server::start();
    collector.always("/v1/traces", Answer::ok(""));
    trace(&collector.url(""), || {
        tracing::info_span!(target: "hyper::proto", "foreign").in_scope(|| {});
        tracing::debug_span!(target: "countersign::serve", "fine").in_scope(|| {});
    });
    assert_eq!(collector.requests().len(), 0);
}

#[test]
fn caller_that_does_not_sample_is_followed_in_that() {
    let collector = Server::start();
    collector.always("/v1/traces", Answer::ok(""));
    trace(&collector.url(""), || {
        let request = tracing::info_span!(target: "countersign::serve", "request");
        traces::follow(&request, &caller("00"));
        request.in_scope(|| {});
    });
    assert_eq!(collector.requests().len(), 0);
}

#[test]
fn collector_that_refuses_does_no_harm() {
    let collector = Server::start();
    collector.always("/v1/traces", Answer::status(400));
    trace(&collector.url(""), || {
        tracing::info_span!(target: "countersign::serve", "request").in_scope(|| {});
    });
    assert_eq!(collector.requests().len(), 1);
}

#[test]
fn redirect_of_a_collector_is_not_followed() {
    let other = Server::start();
    let collector = Server::start();
    collector.always("/v1/traces", Answer::redirect(other.url("/v1/traces")));
    trace(&collector.url(""), || {
        tracing::info_span!(target: "countersign::serve", "request").in_scope(|| {});
    });
    assert_eq!(other.requests().len(), 0);
}

#[test]
fn nothing_is_identified_where_nothing_is_traced() {
    let span = tracing::info_span!(target: "countersign::serve", "request");
    traces::follow(&span, &caller("01"));
    assert_eq!(traces::identifier(&span), None);
}

/// Do something whose spans go to `endpoint`, and send them.
fn trace(endpoint: &str, work: impl FnOnce()) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let traces = Traces::start(endpoint).expect("a collector");
        let subscriber = tracing_subscriber::registry().with(traces.layer());
        tracing::subscriber::with_default(subscriber, work);
        traces.stop().await;
    });
}

fn caller(flags: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
    headers.insert("traceparent", value.parse().expect("a value"));
    headers
}
