//! What a cluster asks, and what it is answered: the wire formats of Kubernetes and what they mean.
//!
//! Nothing here fetches or waits. A request's bytes become a [`Review`], a review and the [`Rules`] become
//! a [`Task`]: which images have to be judged. Their judgements become the [`Response`].

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use guest_policy::reference::Reference;
use guest_policy::rule::Workload;
use guest_policy::verdict::{Outcome, Verdict};
use serde::Serialize;
use serde_json::json;

use crate::report::printable;
use crate::verdicts::Judgement;

mod kinds;
mod places;
mod resources;
mod review;
mod treatment;
mod words;
mod workload;

pub use self::kinds::{KINDS, Kind};
use self::places::{Place, Role};
pub use self::resources::{InvalidPath, JsonPath};
use self::review::{ADMISSION, Held, IMAGE_POLICY, ImageReview, ObjectReview};
use self::words::{Annotations, Finding, Warnings};

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
    /// Where the images of custom resources are, beside [`CustomResource::defaults`]; one of the same group and
    /// name counts instead of a default.
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
    /// In pods alone, so that what is declared in Git stays as it was declared.
    PinPods,
    /// Nothing.
    Off,
    /// Nothing, and names without a digest are refused.
    RequireDigest,
}

/// What is done about objects that a controller made from a parent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Children {
    /// If the parent's own controller asks, images that carry a digest are taken to be the parent's, which were
    /// judged. Whatever else changes pods may have added one that the parent never had.
    Believe,
    /// They are judged like everything else.
    #[default]
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

impl Mode {
    /// As configurations and logs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Observe => "observe",
        }
    }
}

/// A request that was understood.
#[derive(Debug)]
pub struct Review {
    endpoint: Endpoint,
    question: Question,
    plan: OnceLock<Plan>,
}

#[derive(Debug)]
enum Question {
    Object(Box<ObjectReview>),
    Images(ImageReview),
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
    pub fn parse(endpoint: Endpoint, body: &[u8]) -> Result<Self, Unusable> {
        let question = match endpoint {
            Endpoint::Validate | Endpoint::Mutate => {
                Question::Object(Box::new(ObjectReview::parse(body)?))
            }
            Endpoint::ImagePolicy => Question::Images(ImageReview::parse(body)?),
        };
        Ok(Self { endpoint, question, plan: OnceLock::new() })
    }

    /// What has to be judged.
    pub fn task(&self, rules: &Rules) -> Task {
        match self.plan(rules).references.as_slice() {
            [] => Task::Answer,
            references => Task::Judge(references.to_vec()),
        }
    }

    /// Whose credentials the images are pulled with.
    pub fn puller(&self) -> Option<Puller> {
        match &self.question {
            Question::Object(review) => match &review.held {
                Held::Pod { puller, .. } => Some(puller.clone()),
                // What a custom resource's pods pull with is not known before there are any.
                _ if !review.namespace.is_empty() => Some(Puller::of_namespace(&review.namespace)),
                _ => None,
            },
            Question::Images(review) if !review.namespace.is_empty() => {
                Some(Puller::of_namespace(&review.namespace))
            }
            _ => None,
        }
    }

    /// What wants to run the images, for rules.
    ///
    /// # Errors
    ///
    /// It has a form or a size in which rules are not shown it, as a fragment.
    pub fn workload(&self) -> Result<Workload, String> {
        match &self.question {
            Question::Object(review) => workload::of_object(review),
            Question::Images(review) => workload::of_images(review),
        }
    }

    /// Who and what the request is about, for logs.
    pub fn about(&self) -> About<'_> {
        match &self.question {
            Question::Object(review) => About {
                uid: &review.uid,
                namespace: &review.namespace,
                kind: &review.kind,
                name: &review.name,
                user: &review.user,
            },
            Question::Images(review) => About { namespace: &review.namespace, ..About::default() },
        }
    }

    /// The answer. `judgements` are in the order of the task's images; none if the task was
    /// [`Task::Answer`]. `policy_hash` is for the audit log, `now` in seconds since 1970-01-01 UTC.
    pub fn respond(
        &self,
        rules: &Rules,
        judgements: &[Judgement],
        policy_hash: &str,
        now: u64,
    ) -> Response {
        let plan = self.plan(rules);
        let findings: Vec<_> =
            plan.subjects.iter().map(|subject| plan.finding(subject, judgements)).collect();
        let decided = plan.subjects.iter().zip(&findings);
        let decided = decided.map(|(subject, finding)| Decided::of(subject, finding)).collect();
        let mut audit = match findings.is_empty() {
            true => Annotations::new(),
            false => words::audit(&findings, policy_hash),
        };
        let mut refused = match &plan.refusal {
            Some(refusal) => {
                audit.insert("verdict".into(), Outcome::Deny.to_string());
                Some(words::cut(&printable(refusal), MAX_REFUSAL_BYTES))
            }
            None => Some(words::denial(&findings)).filter(|message| !message.is_empty()),
        };
        if let Some(why) = plan.nothing {
            audit.insert("skipped".into(), why.to_owned());
        }
        let mut break_glass = None;
        if refused.is_some()
            && let Question::Images(review) = &self.question
            && let Some(value) = rules.break_glass.as_ref().and_then(|glass| glass.value(review))
        {
            let value = words::cut(&printable(value), MAX_BREAK_GLASS_BYTES);
            audit.insert("break-glass".into(), value.clone());
            break_glass = Some(value);
            refused = None;
        }
        let admitted = refused.is_none();
        let body = match &self.question {
            Question::Images(_) => ImageAnswer::new(refused, audit).bytes(),
            Question::Object(review) => {
                let warnings = plan.warnings(rules, &findings, judgements, now);
                let patch = match admitted && self.endpoint == Endpoint::Mutate {
                    true => plan.patch(&findings, judgements),
                    false => None,
                };
                Answer::new(&review.uid, refused, warnings, audit, patch).bytes()
            }
        };
        Response { body, decided, admitted, break_glass }
    }

    fn plan(&self, rules: &Rules) -> &Plan {
        self.plan.get_or_init(|| match &self.question {
            Question::Object(review) => Plan::of_object(review, rules),
            Question::Images(review) => Plan::of_images(review, rules),
        })
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

impl Puller {
    fn of_namespace(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            service_account: "default".to_owned(),
            pull_secrets: Vec::new(),
        }
    }
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
    /// The annotation by which a deny was overridden.
    pub break_glass: Option<String>,
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
    /// Which of the judgements it rests on, from 0; none if it needed none.
    pub judgement: Option<usize>,
}

impl Decided {
    fn of(subject: &Subject, finding: &Finding<'_>) -> Self {
        Self {
            judgement: match subject.wanted {
                Wanted::Judgement(number) => Some(number),
                Wanted::Nothing { .. } => None,
            },
            image: finding.place.image.clone(),
            pointer: finding.place.pointer.clone(),
            outcome: match finding.outcome {
                Outcome::Allow => "allow",
                Outcome::Deny => "deny",
                Outcome::Error => "error",
            },
            code: finding.code.clone(),
            mode: finding.mode,
        }
    }
}

/// What is to be done about a review.
#[derive(Debug, Default)]
struct Plan {
    /// Every name once.
    references: Vec<Reference>,
    subjects: Vec<Subject>,
    /// Why there is nothing to do.
    nothing: Option<&'static str>,
    /// Why the object is refused whatever its images are.
    refusal: Option<String>,
    /// Names that are filled in later.
    templates: Vec<String>,
}

/// A place and what is to be found about it.
#[derive(Debug)]
struct Subject {
    place: Place,
    treatment: Treatment,
    /// Whether the name may be pinned.
    pinnable: bool,
    wanted: Wanted,
}

#[derive(Debug)]
enum Wanted {
    /// The judgement of this number.
    Judgement(usize),
    /// None: it is denied for this reason.
    Nothing { code: &'static str, words: String },
}

impl Plan {
    fn of_object(review: &ObjectReview, rules: &Rules) -> Self {
        if rules.exempts(&review.namespace) {
            return Self::nothing("the namespace is exempt");
        }
        match &review.held {
            Held::Nothing(why) => Self::nothing(why),
            Held::Unreadable(fault) => Self::refusal(&review.kind, fault),
            Held::Pod { kind, new, old, parent, .. } => {
                let believed = rules.children == Children::Believe
                    && parent.as_deref().is_some_and(|p| rules.made_it(kind, p, &review.user));
                let mut plan = Self::default();
                for place in changed(new, old.as_deref()) {
                    // Templates may leave it to somebody else to name the image.
                    if place.image.is_empty() && !kind.is_pod() {
                        continue;
                    }
                    plan.add(rules, &review.namespace, place, kind.is_pod(), believed);
                }
                plan.or_nothing("no image is new")
            }
            Held::Other { new, old } => {
                let Some(resource) = rules.resource(&review.group, &review.resource) else {
                    return Self::nothing("the resource is not known to name images");
                };
                let read = |object| resources::places(resource, object);
                let new = match read(new) {
                    Ok(places) => places,
                    Err(fault) => return Self::refusal(&review.kind, &fault),
                };
                let old = old.as_deref().and_then(|old| read(old).ok());
                let mut plan = Self::default();
                for place in changed(&new, old.as_deref()) {
                    if resources::is_template(&place.image) {
                        plan.templates.push(place.image.clone());
                    } else if !place.image.is_empty() {
                        plan.add(rules, &review.namespace, place, false, false);
                    }
                }
                plan.or_nothing("no image is new")
            }
        }
    }

    fn of_images(review: &ImageReview, rules: &Rules) -> Self {
        if rules.exempts(&review.namespace) {
            return Self::nothing("the namespace is exempt");
        }
        let mut plan = Self::default();
        for place in &review.places {
            plan.add(rules, &review.namespace, place, true, false);
        }
        plan.or_nothing("the review names no image")
    }

    fn nothing(why: &'static str) -> Self {
        Self { nothing: Some(why), ..Self::default() }
    }

    fn refusal(kind: &str, fault: &str) -> Self {
        let refusal =
            format!("cannot find the images of this {kind}, so it is not admitted: {fault}");
        Self { refusal: Some(refusal), ..Self::default() }
    }

    fn or_nothing(mut self, why: &'static str) -> Self {
        if self.subjects.is_empty() {
            self.nothing = Some(why);
        }
        self
    }

    /// Find out about a place. Of a child that is `believed`, what carries a digest was judged with its parent; a
    /// tag may mean something else by now.
    fn add(&mut self, rules: &Rules, namespace: &str, place: &Place, pod: bool, believed: bool) {
        let reference = Reference::parse_normalized(&place.image);
        let treatment = rules.treatment(namespace, reference.as_ref().ok());
        let wanted = match reference {
            Ok(reference) => {
                let reference = reference.with_default_tag();
                let has_digest = reference.digest().is_some();
                if believed && has_digest {
                    return;
                }
                if treatment.mutation == Mutation::RequireDigest && !has_digest {
                    Wanted::Nothing { code: "digest-required", words: DIGEST_REQUIRED.to_owned() }
                } else {
                    let known = self.references.iter().position(|known| *known == reference);
                    Wanted::Judgement(known.unwrap_or_else(|| {
                        self.references.push(reference);
                        self.references.len() - 1
                    }))
                }
            }
            Err(fault) => Wanted::Nothing {
                code: "image-name-invalid",
                words: format!(
                    "{}; expected [HOST[:PORT]/]PATH[:TAG][@DIGEST]",
                    printable(&fault.to_string())
                ),
            },
        };
        let pinnable = match treatment.mutation {
            Mutation::Pin => true,
            Mutation::PinPods => pod,
            Mutation::Off | Mutation::RequireDigest => false,
        };
        self.subjects.push(Subject { place: place.clone(), treatment, pinnable, wanted });
    }

    fn finding<'a>(&'a self, subject: &'a Subject, judgements: &'a [Judgement]) -> Finding<'a> {
        let Subject { place, treatment, .. } = subject;
        let finding = |outcome, code: &str, words: String, verdict: Option<&'a Verdict>| Finding {
            place,
            outcome,
            code: code.to_owned(),
            words,
            scope: verdict.map_or("", |verdict| verdict.scope.as_str()),
            verdict,
            mode: treatment.mode,
            let_through: outcome == Outcome::Error && treatment.admit_on_error,
        };
        let number = match &subject.wanted {
            Wanted::Nothing { code, words } => {
                return finding(Outcome::Deny, code, words.clone(), None);
            }
            Wanted::Judgement(number) => *number,
        };
        let (Some(judgement), Some(reference)) =
            (judgements.get(number), self.references.get(number))
        else {
            let words = "there is no judgement about it".to_owned();
            return finding(Outcome::Error, "evaluation-failed", words, None);
        };
        let verdict = &*judgement.verdict;
        if verdict.outcome == Outcome::Allow {
            // What is allowed is what was named, and what can be pinned.
            let meant = match (reference.digest(), &judgement.digest) {
                (Some(named), Some(found)) => named == found,
                (None, found) => found.is_some(),
                (Some(_), None) => false,
            };
            if !meant {
                let words = "the verdict is about another digest".to_owned();
                return finding(Outcome::Error, "evaluation-failed", words, Some(verdict));
            }
            return finding(Outcome::Allow, "", String::new(), Some(verdict));
        }
        let code = verdict.reasons.first().map_or("unspecified", |reason| reason.code.as_str());
        finding(verdict.outcome, code, words::reasons(verdict), Some(verdict))
    }

    fn warnings(
        &self,
        rules: &Rules,
        findings: &[Finding<'_>],
        judgements: &[Judgement],
        now: u64,
    ) -> Vec<String> {
        let mut warnings = Warnings::default();
        for finding in findings.iter().filter(|finding| finding.outcome != Outcome::Allow) {
            if finding.let_through || finding.mode == Mode::Warn {
                warnings.add_admitted(finding);
            }
        }
        for finding in findings {
            warnings.add_said(finding);
        }
        let limit = now.saturating_add(rules.warn_before_expiry.as_secs());
        for (subject, finding) in self.subjects.iter().zip(findings) {
            if finding.outcome == Outcome::Allow
                && let Wanted::Judgement(number) = subject.wanted
                && let Some(judgement) = judgements.get(number)
                && let Some(text) = words::expiry(&subject.place.image, &judgement.verdict, limit)
            {
                warnings.add(&text);
            }
        }
        for template in &self.templates {
            warnings.add(&format!(
                "{template} is filled in later: the pods that are made of it are judged"
            ));
        }
        warnings.into_texts()
    }

    /// The digests that were verified, in place of names without one: RFC 6902, each guarded by a test of what was
    /// read. Nothing else is touched.
    fn patch(&self, findings: &[Finding<'_>], judgements: &[Judgement]) -> Option<String> {
        let mut operations = Vec::new();
        for (subject, finding) in self.subjects.iter().zip(findings) {
            let Wanted::Judgement(number) = subject.wanted else { continue };
            let Some(judgement) = judgements.get(number) else { continue };
            let wanted = subject.pinnable && finding.outcome == Outcome::Allow;
            let named = self.references.get(number).is_some_and(|r| r.digest().is_some());
            if let (true, false, Some(digest)) = (wanted, named, &judgement.digest) {
                let Place { pointer, image, .. } = &subject.place;
                operations.push(json!({"op": "test", "path": pointer, "value": image}));
                // The spelling of whoever wrote it stays, and the tag stays in view.
                let pinned = format!("{image}@{digest}");
                operations.push(json!({"op": "replace", "path": pointer, "value": pinned}));
            }
        }
        match operations.is_empty() {
            true => None,
            false => Some(serde_json::Value::Array(operations).to_string()),
        }
    }
}

/// The places whose image was not there before, in a place of the same role and name.
fn changed<'a>(new: &'a [Place], old: Option<&'a [Place]>) -> impl Iterator<Item = &'a Place> {
    let old = old.unwrap_or_default();
    new.iter().filter(|place| {
        let same = |known: &&Place| {
            known.role == place.role
                && known.name == place.name
                && known.image == place.image
                // Fields of custom resources have no other name than their place.
                && (place.role != Role::Field || known.pointer == place.pointer)
        };
        !old.iter().any(|known| same(&known))
    })
}

impl Rules {
    /// Whether `user` is the controller that makes objects of `kind` from a parent of the kind `parent`.
    fn made_it(&self, kind: &Kind, parent: &str, user: &str) -> bool {
        let controller = kind.parents.iter().find(|(known, _)| *known == parent);
        controller.is_some_and(|(_, account)| {
            user.strip_prefix("system:serviceaccount:kube-system:") == Some(account)
                || self.controllers.iter().any(|known| known == user)
        })
    }

    fn resource(&self, group: &str, resource: &str) -> Option<&CustomResource> {
        static DEFAULTS: OnceLock<Vec<CustomResource>> = OnceLock::new();
        let defaults = DEFAULTS.get_or_init(CustomResource::defaults);
        let mut known = self.resources.iter().chain(defaults);
        known.find(|known| known.group == group && known.resource == resource)
    }
}

impl BreakGlass {
    /// The annotation of a review that may be let through.
    fn value<'a>(&self, review: &'a ImageReview) -> Option<&'a str> {
        let here = self.namespaces.iter().any(|p| treatment::is_like(p, &review.namespace));
        let value = review.annotations.get(&self.annotation).filter(|_| here)?;
        Some(value.as_str()).filter(|v| !v.is_empty() && v.starts_with(&self.value_prefix))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    kind: &'static str,
    api_version: &'static str,
    response: AnswerBody<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerBody<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: Annotations,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

impl<'a> Answer<'a> {
    fn new(
        uid: &'a str,
        refused: Option<String>,
        warnings: Vec<String>,
        audit_annotations: Annotations,
        patch: Option<String>,
    ) -> Self {
        let response = AnswerBody {
            uid,
            allowed: refused.is_none(),
            status: refused.map(|message| Status { code: 403, reason: "Forbidden", message }),
            patch_type: patch.as_ref().map(|_| "JSONPatch"),
            patch: patch.map(|patch| BASE64_STANDARD.encode(patch)),
            warnings,
            audit_annotations,
        };
        Self { kind: "AdmissionReview", api_version: ADMISSION, response }
    }

    fn bytes(&self) -> Vec<u8> {
        // Texts and maps of texts have a form in JSON. An empty body is no admission.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageAnswer {
    kind: &'static str,
    api_version: &'static str,
    status: ImageStatus,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageStatus {
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: Annotations,
}

impl ImageAnswer {
    fn new(refused: Option<String>, audit_annotations: Annotations) -> Self {
        let status = ImageStatus { allowed: refused.is_none(), reason: refused, audit_annotations };
        Self { kind: "ImageReview", api_version: IMAGE_POLICY, status }
    }

    fn bytes(&self) -> Vec<u8> {
        // As above.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

const DIGEST_REQUIRED: &str =
    "the image has no digest, and this cluster wants one; name it as NAME:TAG@sha256:...";

/// Longest text about an object that cannot be read, for the same reason as a denial's.
const MAX_REFUSAL_BYTES: usize = 900;

/// Longest value of a break-glass annotation that is shown: a ticket and a sentence.
const MAX_BREAK_GLASS_BYTES: usize = 256;
