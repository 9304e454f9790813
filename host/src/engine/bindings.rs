//! Bindings of `wit/` and conversions between them and the vocabulary that the rest of the host uses.
//!
//! Parameters are borrowed, so that evidence is copied once: into the sandbox.

use guest_policy::{evaluation, image, rule, verdict};

pub(super) use self::generated::exports::countersign::policy::evaluator::Guest as Face;
use self::generated::exports::countersign::policy::types as wit;
pub(super) use self::generated::{Engine as World, EnginePre as WorldPre};

mod generated {
    #![allow(missing_docs, reason = "generated from wit/, which has the documentation")]

    wasmtime::component::bindgen!({
        path: "../wit",
        world: "engine",
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

pub(super) fn key_file(file: &image::KeyFile) -> wit::KeyFile<'_> {
    wit::KeyFile { path: &file.path, content: file.content.as_deref().map_err(String::as_str) }
}

pub(super) fn subject(subject: &image::Subject) -> wit::Subject<'_> {
    wit::Subject {
        transport: &subject.transport,
        name: &subject.name,
        reference: subject.reference.as_deref(),
        path: subject.path.as_deref(),
    }
}

pub(super) fn signature(signature: &image::Signature) -> wit::Signature<'_> {
    wit::Signature {
        source: &signature.source,
        form: match signature.form {
            image::SignatureForm::Openpgp => wit::SignatureForm::Openpgp,
            image::SignatureForm::Stored => wit::SignatureForm::Stored,
        },
        content: &signature.content,
    }
}

pub(super) fn evidence<'a>(
    evidence: &'a image::Evidence,
    signatures: &'a [wit::Signature<'a>],
) -> wit::Evidence<'a> {
    wit::Evidence { manifest: &evidence.manifest, index: evidence.index.as_deref(), signatures }
}

pub(super) fn mapped<T, U: From<T>>(items: Vec<T>) -> Vec<U> {
    items.into_iter().map(Into::into).collect()
}

impl From<wit::EvidenceNeeds> for image::Needs {
    fn from(needs: wit::EvidenceNeeds) -> Self {
        Self { scope: needs.scope, signatures: needs.signatures }
    }
}

impl From<wit::RuleUses> for rule::RuleUses {
    fn from(rules: wit::RuleUses) -> Self {
        Self { uses: mapped(rules.uses), signed: rules.signed }
    }
}

impl From<wit::RuleUse> for rule::RuleUse {
    fn from(rule: wit::RuleUse) -> Self {
        Self {
            module: rule.module,
            settings: rule.settings,
            capabilities: rule.capabilities.iter().filter_map(|name| name.parse().ok()).collect(),
            data: rule.data.into_iter().collect(),
            budget: rule::RuleBudget {
                deadline_milliseconds: rule.deadline_milliseconds,
                memory_mib: rule.memory_mib,
                output_kib: rule.output_kib,
            },
            place: rule.place,
        }
    }
}

impl From<wit::Evaluation> for evaluation::Evaluation {
    fn from(evaluation: wit::Evaluation) -> Self {
        Self {
            scope: evaluation.scope,
            digest: evaluation.digest,
            failure: evaluation.failure.map(Into::into),
            nodes: mapped(evaluation.nodes),
        }
    }
}

impl From<wit::Failure> for evaluation::Failure {
    fn from(failure: wit::Failure) -> Self {
        Self {
            outcome: match failure.outcome {
                wit::Outcome::Allow => verdict::Outcome::Allow,
                wit::Outcome::Deny => verdict::Outcome::Deny,
                wit::Outcome::Error => verdict::Outcome::Error,
            },
            reasons: mapped(failure.reasons),
        }
    }
}

impl From<wit::Node> for evaluation::Node {
    fn from(node: wit::Node) -> Self {
        Self {
            depth: node.depth,
            words: node.words,
            state: match node.state {
                wit::State::AnyOf => evaluation::State::AnyOf,
                wit::State::AtLeast(count) => evaluation::State::AtLeast(count),
                wit::State::Held(claims) => evaluation::State::Held(mapped(claims)),
                wit::State::Failed(failure) => evaluation::State::Failed(failure.into()),
                wit::State::Skipped => evaluation::State::Skipped,
                wit::State::Rule(rule) => evaluation::State::Rule(rule),
            },
        }
    }
}

impl From<wit::Reason> for verdict::Reason {
    fn from(reason: wit::Reason) -> Self {
        Self {
            code: reason.code,
            requirement: reason.requirement,
            message: reason.message,
            hint: reason.hint,
        }
    }
}

impl From<wit::Claim> for verdict::Claim {
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
            requirement: claim.requirement,
            material: claim.material,
        }
    }
}

impl From<wit::Mistake> for verdict::Mistake {
    fn from(mistake: wit::Mistake) -> Self {
        Self {
            severity: match mistake.severity {
                wit::Severity::Error => verdict::Severity::Error,
                wit::Severity::Warning => verdict::Severity::Warning,
            },
            code: mistake.code,
            path: mistake.path,
            line: mistake.line,
            column: mistake.column,
            message: mistake.message,
            hint: mistake.hint,
        }
    }
}

impl From<wit::Explanation> for verdict::Explanation {
    fn from(explanation: wit::Explanation) -> Self {
        Self {
            scope: explanation.scope,
            candidates: mapped(explanation.candidates),
            requirements: mapped(explanation.requirements),
        }
    }
}

impl From<wit::Explained> for verdict::Explained {
    fn from(explained: wit::Explained) -> Self {
        Self { depth: explained.depth, words: explained.words }
    }
}

impl From<wit::Candidate> for verdict::Candidate {
    fn from(candidate: wit::Candidate) -> Self {
        Self { scope: candidate.scope, present: candidate.present }
    }
}

impl From<wit::Finding> for verdict::Finding {
    fn from(finding: wit::Finding) -> Self {
        Self {
            source: finding.source,
            format: finding.format,
            issuers: finding.issuers,
            claims: mapped(finding.claims),
            reasons: mapped(finding.reasons),
        }
    }
}
