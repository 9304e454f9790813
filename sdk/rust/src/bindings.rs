//! The component's face: bindings of `wit/` and conversions, nothing else.

#![allow(missing_docs, reason = "generated bindings")]
#![allow(unsafe_code, reason = "generated bindings")]

use std::marker::PhantomData;

use self::exports::countersign::policy::ruling as wit;
use crate::{Answer, Attestation, Claim, Image, Question, Rule, Workload};

wit_bindgen::generate!({
    path: "wit",
    world: "rule-with-everything",
    pub_export_macro: true,
    export_macro_name: "__export_rule",
    default_bindings_module: "countersign_rule::bindings",
});

/// A rule, as the interface wants it.
pub struct Exported<R>(PhantomData<R>);

impl<R: Rule> wit::Guest for Exported<R> {
    fn describe() -> wit::Description {
        wit::Description {
            name: R::NAME.to_owned(),
            version: R::VERSION.to_owned(),
            purpose: R::PURPOSE.to_owned(),
            settings_schema: crate::settings_schema::<R>(),
            capabilities: R::CAPABILITIES.iter().map(|name| (*name).to_owned()).collect(),
            more: Vec::new(),
        }
    }

    fn check_settings(settings: String) -> Vec<String> {
        R::prepare();
        crate::check_settings::<R>(&settings)
    }

    fn evaluate(question: wit::Question) -> wit::Answer {
        R::prepare();
        let settings = question.settings;
        let question = Question {
            image: question.image.into(),
            claims: mapped(question.claims),
            attestations: mapped(question.attestations),
            workload: question.workload.map(Into::into),
            now: question.now,
        };
        crate::evaluate::<R>(&question, &settings).into()
    }
}

impl From<wit::Image> for Image {
    fn from(image: wit::Image) -> Self {
        let wit::Image { name, reference, repository, tag, digest, platform, more: _ } = image;
        Self { name, reference, repository, tag, digest, platform }
    }
}

impl From<wit::Claim> for Claim {
    fn from(claim: wit::Claim) -> Self {
        Self {
            format: claim.format,
            key: claim.key,
            signing_key: claim.signing_key,
            reference: claim.reference,
            digest: claim.digest,
            signed_at: claim.signed_at,
            creator: claim.creator,
            valid_until: claim.valid_until,
            material: claim.material,
        }
    }
}

impl From<wit::Attestation> for Attestation {
    fn from(attestation: wit::Attestation) -> Self {
        let wit::Attestation { predicate_type, predicate, signed_by } = attestation;
        Self { predicate_type, predicate, signed_by: signed_by.into() }
    }
}

impl From<wit::Workload> for Workload {
    fn from(workload: wit::Workload) -> Self {
        Self {
            api_version: workload.api_version,
            kind: workload.kind,
            namespace: workload.namespace,
            name: workload.name,
            labels: workload.labels.into_iter().collect(),
            annotations: workload.annotations.into_iter().collect(),
            operation: workload.operation,
            user: workload.user,
            groups: workload.groups,
        }
    }
}

impl From<Answer> for wit::Answer {
    fn from(answer: Answer) -> Self {
        let Answer { allow, reasons, warnings, annotations, valid_until } = answer;
        let reasons = reasons.into_iter();
        let reasons =
            reasons.map(|reason| wit::Reason { code: reason.code, message: reason.message });
        let decision =
            if allow { wit::Decision::Allow } else { wit::Decision::Deny(reasons.collect()) };
        Self { decision, warnings, annotations, valid_until, more: Vec::new() }
    }
}

fn mapped<A, B: From<A>>(list: Vec<A>) -> Vec<B> {
    list.into_iter().map(B::from).collect()
}
