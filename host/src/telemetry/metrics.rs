//! Metrics in the OpenMetrics text format.

use std::time::Duration;

use crate::admission::{Endpoint, Mode};

/// Everything that is counted and measured. Whoever does something tells it here; nothing is computed
/// before somebody asks for the text.
#[derive(Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// A review was answered.
    pub fn review(&self, _endpoint: Endpoint, _admitted: bool, _took: Duration) {}

    /// Something was decided about an image. `outcome` is `allow`, `deny` or `error`; `code` the first
    /// reason's, empty without one.
    pub fn decision(&self, _endpoint: Endpoint, _outcome: &'static str, _code: &str, _mode: Mode) {}

    /// A part of the work is done.
    pub fn stage(&self, _stage: Stage, _took: Duration) {}

    /// A cache (`verdicts`, `tags`, `evidence`, `keyrings`) was asked.
    pub fn cache(&self, _cache: &'static str, _hit: bool) {}

    /// What a cache holds, in bytes.
    pub fn cache_size(&self, _cache: &'static str, _bytes: u64) {}

    /// A registry or lookaside was asked. `outcome` is `ok`, `missing`, `refused`, `throttled` or `failed`.
    pub fn registry_request(&self, _host: &str, _outcome: &'static str, _took: Duration) {}

    /// The sandbox gave no answer; `code` is the reason's.
    pub fn sandbox_failure(&self, _code: &'static str) {}

    /// Something was loaded again (`policy`, `configuration`, `certificate`), or was not.
    pub fn reload(&self, _what: &'static str, _loaded: bool) {}

    /// The number of the generation that decides.
    pub fn generation(&self, _number: u64) {}

    /// When a certificate (`server`, `client-authority`) ends, in seconds since 1970-01-01 UTC.
    pub fn certificate_expires(&self, _certificate: &'static str, _at: i64) {}

    /// Requests that are being answered: 1 begins, -1 ends.
    pub fn in_flight(&self, _change: i64) {}

    /// Everything, in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        String::new()
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
}
