//! What a cluster asks, and what it is answered: the wire formats of Kubernetes and what they mean.
//!
//! Nothing here fetches or waits. A request's bytes become a [`Review`], a review and the [`Rules`] become
//! a [`Task`]: which images have to be judged. Their judgements become the [`Response`].

use std::time::Duration;

use guest_policy::reference::Reference;

use crate::verdicts::Judgement;

/// What the administrator configured about requests.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Namespaces that are not looked at: names, or prefixes that end in `*`.
    pub exempt_namespaces: Vec<String>,
    /// The first that matches an image and its namespace decides how it is treated.
    pub rules: Vec<Rule>,
    /// How an image that no rule matches is treated.
    pub otherwise: Treatment,
    /// What is done about objects that a controller made from a parent.
    pub children: Children,
    /// An image that will be denied within this time passes with a warning.
    pub warn_before_expiry: Duration,
    /// Where the images of custom resources are.
    pub resources: Vec<CustomResource>,
    /// How `/imagepolicy` may be overridden.
    pub break_glass: Option<BreakGlass>,
    /// User names of the controllers that make children, beside those of kube-system.
    pub controllers: Vec<String>,
}

/// One rule. An empty list matches everything.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Names, or prefixes that end in `*`.
    pub namespaces: Vec<String>,
    /// `host[:port]`, `host/path` of a namespace or repository, as scopes of policy.json.
    pub images: Vec<String>,
    /// What holds.
    pub treatment: Treatment,
}

/// How an image is treated.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Treatment {
    /// What a deny does.
    pub mode: Mode,
    /// What `/mutate` does to names.
    pub mutation: Mutation,
    /// Admit images about which the question could not be answered. Dangerous.
    pub admit_on_error: bool,
}

/// What a deny does.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Mode {
    /// The object is refused.
    #[default]
    Enforce,
    /// The object is admitted with a warning to the user.
    Warn,
    /// The object is admitted; logs, metrics and the audit log tell.
    Observe,
}

/// What `/mutate` does to the names of images that are allowed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mutation {
    /// Pin the verified digest wherever images are named.
    #[default]
    Pin,
    /// In pods alone.
    PinPods,
    /// Nothing.
    Off,
    /// Nothing, and names without a digest are refused.
    RequireDigest,
}

/// What is done about objects that a controller made from a parent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Children {
    /// If the parent's own controller asks, images that carry a digest were judged with the parent.
    #[default]
    Believe,
    /// They are judged like everything else.
    Verify,
}

/// Where the images of one custom resource are.
#[derive(Clone, Debug)]
pub struct CustomResource {
    /// API group.
    pub group: String,
    /// Plural name.
    pub resource: String,
    /// JSON paths of images: `$.spec.steps[*].image`.
    pub images: Vec<String>,
    /// JSON paths of pod specifications: `$.spec.template.spec`.
    pub pod_specs: Vec<String>,
}

/// How `/imagepolicy` may be overridden.
#[derive(Clone, Debug)]
pub struct BreakGlass {
    /// The annotation's key, which has to contain `.image-policy.k8s.io/`.
    pub annotation: String,
    /// What the value has to begin with, for example a ticket's prefix; empty: it only may not be empty.
    pub value_prefix: String,
    /// Where it is honoured: names, or prefixes that end in `*`.
    pub namespaces: Vec<String>,
}

/// Which question a request asks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Endpoint {
    /// `/validate`.
    Validate,
    /// `/mutate`, `/admit`.
    Mutate,
    /// `/imagepolicy`.
    ImagePolicy,
}

/// A request that was understood.
#[derive(Debug)]
pub struct Review {
    endpoint: Endpoint,
}

/// The request is none that can be answered in its own form: HTTP status 400 with these words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub String);

impl Review {
    /// Understand a request's body.
    ///
    /// # Errors
    ///
    /// It is not JSON, no review, or of a version that is not spoken.
    pub fn parse(endpoint: Endpoint, _body: &[u8]) -> Result<Self, Unusable> {
        Ok(Self { endpoint })
    }

    /// What has to be judged.
    pub fn task(&self, _rules: &Rules) -> Task {
        Task::Answer
    }

    /// What the review is about, for logs. What the request does not tell is empty.
    pub fn about(&self) -> About<'_> {
        About::default()
    }

    /// Whose credentials the images are pulled with.
    pub fn puller(&self) -> Option<Puller> {
        None
    }

    /// The answer. `judgements` are in the order of the task's images; `None` if the task was
    /// [`Task::Answer`]. `policy_hash` is for the audit log, `now` in seconds since 1970-01-01 UTC.
    pub fn respond(
        &self,
        _rules: &Rules,
        _judgements: &[Judgement],
        _policy_hash: &str,
        _now: u64,
    ) -> Response {
        let _ = self.endpoint;
        Response { body: Vec::new(), decided: Vec::new(), admitted: false }
    }
}

/// What a review is about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct About<'a> {
    /// Of the request.
    pub uid: &'a str,
    /// Of the object.
    pub namespace: &'a str,
    /// Of the object.
    pub kind: &'a str,
    /// Of the object; empty if the server is to make one.
    pub name: &'a str,
    /// Who asks the API server.
    pub user: &'a str,
}

/// What a review needs.
#[derive(Debug)]
pub enum Task {
    /// Nothing: it can be answered at once.
    Answer,
    /// A judgement about each of these, in this order: every name once.
    Judge(Vec<Reference>),
}

/// Who pulls the images of a pod.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Puller {
    /// Namespace of the pod.
    pub namespace: String,
    /// Its service account: `default` unless it says otherwise.
    pub service_account: String,
    /// Names of Secrets that the pod itself refers to.
    pub pull_secrets: Vec<String>,
}

/// The answer to a review.
#[derive(Debug)]
pub struct Response {
    /// JSON.
    pub body: Vec<u8>,
    /// What was decided about each image, for logs and metrics.
    pub decided: Vec<Decided>,
    /// Whether the object was admitted.
    pub admitted: bool,
}

/// What was decided about one image.
#[derive(Debug)]
pub struct Decided {
    /// As the object names it.
    pub image: String,
    /// Where the object names it, as JSON pointer.
    pub pointer: String,
    /// The verdict's outcome, `allow`, `deny` or `error`.
    pub outcome: &'static str,
    /// The first reason's code; empty if it is allowed.
    pub code: String,
    /// What a deny does.
    pub mode: Mode,
}
