//! Bindings of `wit/0.1.0/rule.wit`, and conversions between them and the words that the host uses.
//!
//! Questions are borrowed, so that they are copied once: into the sandbox.

use guest_policy::rule;
use guest_policy::verdict;

pub(super) use self::generated::countersign::policy::artifact::Descriptor;
pub(super) use self::generated::countersign::policy::crypto::{Hash, Scheme};
pub(super) use self::generated::countersign::policy::log::Level;
use self::generated::exports::countersign::policy::ruling as wit;
pub(super) use self::generated::exports::countersign::policy::ruling::{
    Answer, Decision, Guest as Face,
};
pub(super) use self::generated::{RuleWithEverything as World, RuleWithEverythingPre as WorldPre};

mod generated {
    #![allow(missing_docs, reason = "generated from wit/, which has the documentation")]

    wasmtime::component::bindgen!({
        path: "../wit/0.1.0",
        world: "rule-with-everything",
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

/// Ask what `question` says.
pub(super) fn ask<T>(question: &rule::Question, ask: impl FnOnce(wit::Question<'_>) -> T) -> T {
    let material: Vec<_> = question.claims.iter().map(texts).collect();
    let claims: Vec<_> = question.claims.iter().zip(&material).map(claim).collect();
    let signers: Vec<_> = question.attestations.iter().map(|one| texts(&one.signed_by)).collect();
    let attestations: Vec<_> =
        question.attestations.iter().zip(&signers).map(attestation).collect();
    let texts = question.workload.as_ref().map(Texts::of);
    let image = &question.image;
    ask(wit::Question {
        image: wit::Image {
            name: &image.name,
            reference: image.reference.as_deref(),
            repository: image.repository.as_deref(),
            tag: image.tag.as_deref(),
            digest: &image.digest,
            platform: image.platform.as_deref(),
            more: &[],
        },
        claims: &claims,
        attestations: &attestations,
        workload: question.workload.as_ref().zip(texts.as_ref()).map(workload),
        settings: &question.settings,
        now: question.now,
        more: &[],
    })
}

impl From<wit::Description> for rule::Description {
    fn from(description: wit::Description) -> Self {
        Self {
            name: description.name,
            version: description.version,
            purpose: description.purpose,
            settings_schema: description.settings_schema,
            capabilities: description.capabilities,
        }
    }
}

impl From<wit::Reason> for rule::RuleReason {
    fn from(reason: wit::Reason) -> Self {
        Self { code: reason.code, message: reason.message }
    }
}

impl From<&rule::Descriptor> for Descriptor {
    fn from(descriptor: &rule::Descriptor) -> Self {
        let annotations = descriptor.annotations.iter();
        Self {
            digest: descriptor.digest.clone(),
            media_type: descriptor.media_type.clone(),
            artifact_type: descriptor.artifact_type.clone(),
            size: descriptor.size,
            annotations: annotations.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }
}

/// As records spell it.
pub(super) fn level(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// What lists are borrowed from.
struct Texts<'a> {
    labels: Vec<(&'a str, &'a str)>,
    annotations: Vec<(&'a str, &'a str)>,
    groups: Vec<&'a str>,
}

impl<'a> Texts<'a> {
    fn of(workload: &'a rule::Workload) -> Self {
        let pair = |(name, value): (&'a String, &'a String)| (name.as_str(), value.as_str());
        Self {
            labels: workload.labels.iter().map(pair).collect(),
            annotations: workload.annotations.iter().map(pair).collect(),
            groups: workload.groups.iter().map(String::as_str).collect(),
        }
    }
}

fn texts(claim: &verdict::Claim) -> Vec<&str> {
    claim.material.iter().map(String::as_str).collect()
}

fn claim<'a>((claim, material): (&'a verdict::Claim, &'a Vec<&'a str>)) -> wit::Claim<'a> {
    wit::Claim {
        format: &claim.format,
        key: &claim.key,
        signing_key: &claim.signing_key,
        reference: &claim.reference,
        digest: &claim.digest,
        signed_at: claim.signed_at,
        creator: claim.creator.as_deref(),
        valid_until: claim.valid_until,
        material,
        more: &[],
    }
}

fn attestation<'a>(
    (attestation, material): (&'a rule::Attestation, &'a Vec<&'a str>),
) -> wit::Attestation<'a> {
    wit::Attestation {
        predicate_type: &attestation.predicate_type,
        predicate: &attestation.predicate,
        signed_by: claim((&attestation.signed_by, material)),
    }
}

fn workload<'a>((workload, texts): (&'a rule::Workload, &'a Texts<'a>)) -> wit::Workload<'a> {
    wit::Workload {
        api_version: &workload.api_version,
        kind: &workload.kind,
        namespace: workload.namespace.as_deref(),
        name: workload.name.as_deref(),
        labels: &texts.labels,
        annotations: &texts.annotations,
        operation: &workload.operation,
        user: &workload.user,
        groups: &texts.groups,
        more: &[],
    }
}
