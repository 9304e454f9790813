//! The component's face: bindings of `wit/` and conversions, nothing else.
//!
//! The loaded [`Engine`] lives in the instance. The host makes a fresh instance for each evaluation,
//! so no state outlives one. A panic aborts, which the host sees as a trap.

#![expect(unsafe_code, reason = "generated bindings")]

use std::cell::RefCell;

use self::exports::countersign::policy::{evaluator as face, types as wit};
use crate::engine::Engine;
use crate::{evaluation, image, rule, verdict};

wit_bindgen::generate!({ path: "../wit", world: "engine" });

struct Component;

impl face::Guest for Component {
    fn key_paths(document: Vec<u8>) -> Result<Vec<String>, Vec<wit::Mistake>> {
        Engine::key_paths(&document).map_err(mapped)
    }

    fn check(document: Vec<u8>, files: Vec<wit::KeyFile>) -> Vec<wit::Mistake> {
        mapped(Engine::check(&document, &mapped(files)))
    }

    fn dialect(document: Vec<u8>) -> Vec<wit::Mistake> {
        mapped(Engine::dialect(&document))
    }

    fn load(document: Vec<u8>, files: Vec<wit::KeyFile>) -> Result<(), Vec<wit::Mistake>> {
        let engine = Engine::load(&document, &mapped(files)).map_err(mapped)?;
        LOADED.set(Some(engine));
        reserve();
        Ok(())
    }

    fn needs(subject: wit::Subject) -> wit::EvidenceNeeds {
        loaded(|engine| engine.needs(&subject.into())).into()
    }

    fn rules() -> wit::RuleUses {
        loaded(Engine::rules).into()
    }

    fn judge_module(
        subject: wit::Subject,
        digest: String,
        signatures: Vec<wit::Signature>,
        now: u64,
    ) -> wit::Evaluation {
        let Ok(digest) = digest.parse() else {
            // The host's fault; it computes digests itself.
            std::process::abort()
        };
        let signatures: Vec<image::Signature> = mapped(signatures);
        loaded(|engine| engine.judge_module(&subject.into(), &digest, &signatures, now)).into()
    }

    fn evaluate(subject: wit::Subject, evidence: wit::Evidence, now: u64) -> wit::Evaluation {
        loaded(|engine| engine.evaluation(&subject.into(), &evidence.into(), now)).into()
    }

    fn inspect(subject: wit::Subject, evidence: wit::Evidence, now: u64) -> Vec<wit::Finding> {
        mapped(loaded(|engine| engine.inspect(&subject.into(), &evidence.into(), now)))
    }

    fn explain(subject: wit::Subject) -> wit::Explanation {
        loaded(|engine| engine.explain(&subject.into())).into()
    }
}

export!(Component);

/// The interface of conformance tests: one case in, one answer out, both as JSON.
#[cfg(feature = "probe")]
mod probe {
    wit_bindgen::generate!({
        inline: "
            package countersign:probe;
            world probe {
                export run: func(op: string, input: string) -> string;
            }
        ",
    });

    struct Component;

    impl Guest for Component {
        fn run(op: String, input: String) -> String {
            crate::probe::run(&op, &input)
        }
    }

    export!(Component);
}

fn loaded<T>(ask: impl FnOnce(&Engine) -> T) -> T {
    LOADED.with_borrow(|loaded| match loaded {
        Some(engine) => ask(engine),
        // The host's fault; it never asks before it has loaded.
        None => std::process::abort(),
    })
}

fn mapped<T, U: From<T>>(items: Vec<T>) -> Vec<U> {
    items.into_iter().map(Into::into).collect()
}

impl From<wit::KeyFile> for image::KeyFile {
    fn from(file: wit::KeyFile) -> Self {
        Self { path: file.path, content: file.content }
    }
}

impl From<wit::Subject> for image::Subject {
    fn from(subject: wit::Subject) -> Self {
        Self {
            transport: subject.transport,
            name: subject.name,
            reference: subject.reference,
            path: subject.path,
        }
    }
}

impl From<wit::Evidence> for image::Evidence {
    fn from(evidence: wit::Evidence) -> Self {
        Self {
            manifest: evidence.manifest,
            index: evidence.index,
            signatures: mapped(evidence.signatures),
        }
    }
}

impl From<wit::Signature> for image::Signature {
    fn from(signature: wit::Signature) -> Self {
        Self {
            source: signature.source,
            form: match signature.form {
                wit::SignatureForm::Openpgp => image::SignatureForm::Openpgp,
                wit::SignatureForm::Stored => image::SignatureForm::Stored,
            },
            content: signature.content,
        }
    }
}

impl From<image::Needs> for wit::EvidenceNeeds {
    fn from(needs: image::Needs) -> Self {
        Self { scope: needs.scope, signatures: needs.signatures }
    }
}

impl From<rule::RuleUses> for wit::RuleUses {
    fn from(rules: rule::RuleUses) -> Self {
        Self { uses: mapped(rules.uses), signed: rules.signed }
    }
}

impl From<rule::RuleUse> for wit::RuleUse {
    fn from(rule: rule::RuleUse) -> Self {
        let names = rule.capabilities.iter().map(|capability| capability.name().to_owned());
        Self {
            capabilities: names.collect(),
            module: rule.module,
            settings: rule.settings,
            data: rule.data.into_iter().collect(),
            deadline_milliseconds: rule.budget.deadline_milliseconds,
            memory_mib: rule.budget.memory_mib,
            output_kib: rule.budget.output_kib,
            place: rule.place,
        }
    }
}

impl From<evaluation::Evaluation> for wit::Evaluation {
    fn from(evaluation: evaluation::Evaluation) -> Self {
        Self {
            scope: evaluation.scope,
            digest: evaluation.digest,
            failure: evaluation.failure.map(Into::into),
            nodes: mapped(evaluation.nodes),
        }
    }
}

impl From<evaluation::Failure> for wit::Failure {
    fn from(failure: evaluation::Failure) -> Self {
        Self {
            outcome: match failure.outcome {
                verdict::Outcome::Allow => wit::Outcome::Allow,
                verdict::Outcome::Deny => wit::Outcome::Deny,
                verdict::Outcome::Error => wit::Outcome::Error,
            },
            reasons: mapped(failure.reasons),
        }
    }
}

impl From<evaluation::Node> for wit::Node {
    fn from(node: evaluation::Node) -> Self {
        Self {
            depth: node.depth,
            words: node.words,
            state: match node.state {
                evaluation::State::AnyOf => wit::State::AnyOf,
                evaluation::State::AtLeast(count) => wit::State::AtLeast(count),
                evaluation::State::Held(claims) => wit::State::Held(mapped(claims)),
                evaluation::State::Failed(failure) => wit::State::Failed(failure.into()),
                evaluation::State::Skipped => wit::State::Skipped,
                evaluation::State::Rule(rule) => wit::State::Rule(rule),
            },
        }
    }
}

impl From<verdict::Reason> for wit::Reason {
    fn from(reason: verdict::Reason) -> Self {
        Self {
            code: reason.code,
            requirement: reason.requirement,
            message: reason.message,
            hint: reason.hint,
        }
    }
}

impl From<verdict::Claim> for wit::Claim {
    fn from(claim: verdict::Claim) -> Self {
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

impl From<verdict::Mistake> for wit::Mistake {
    fn from(mistake: verdict::Mistake) -> Self {
        Self {
            severity: match mistake.severity {
                verdict::Severity::Error => wit::Severity::Error,
                verdict::Severity::Warning => wit::Severity::Warning,
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

impl From<verdict::Explanation> for wit::Explanation {
    fn from(explanation: verdict::Explanation) -> Self {
        Self {
            scope: explanation.scope,
            candidates: mapped(explanation.candidates),
            requirements: mapped(explanation.requirements),
        }
    }
}

impl From<verdict::Explained> for wit::Explained {
    fn from(explained: verdict::Explained) -> Self {
        Self { depth: explained.depth, words: explained.words }
    }
}

impl From<verdict::Candidate> for wit::Candidate {
    fn from(candidate: verdict::Candidate) -> Self {
        Self { scope: candidate.scope, present: candidate.present }
    }
}

impl From<verdict::Finding> for wit::Finding {
    fn from(finding: verdict::Finding) -> Self {
        Self {
            source: finding.source,
            format: finding.format,
            issuers: finding.issuers,
            claims: mapped(finding.claims),
            reasons: mapped(finding.reasons),
        }
    }
}

/// Have the allocator get now, once for all instances of a snapshot, the memory that an evaluation needs: each
/// growth costs an instance changes to the process's page tables.
fn reserve() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(RESERVE_BYTES)));
}

thread_local! {
    static LOADED: RefCell<Option<Engine>> = const { RefCell::new(None) };
}

/// What the evaluation of a usual image allocates, twice over.
const RESERVE_BYTES: usize = 128 << 10;
