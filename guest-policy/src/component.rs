//! The component's face: bindings of `wit/` and conversions, nothing else.
//!
//! The loaded [`Engine`] lives in the instance. The host makes a fresh instance for each evaluation,
//! so no state outlives one. A panic aborts, which the host sees as a trap.

#![expect(unsafe_code, reason = "generated bindings")]

use std::cell::RefCell;

use self::exports::countersign::policy::{evaluator as face, types as wit};
use crate::engine::Engine;
use crate::{image, verdict};

wit_bindgen::generate!({ path: "../wit", world: "engine" });

struct Component;

impl face::Guest for Component {
    fn key_paths(document: Vec<u8>) -> Result<Vec<String>, Vec<wit::Mistake>> {
        Engine::key_paths(&document).map_err(mapped)
    }

    fn check(document: Vec<u8>, files: Vec<wit::KeyFile>) -> Vec<wit::Mistake> {
        mapped(Engine::check(&document, &mapped(files)))
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

    fn evaluate(subject: wit::Subject, evidence: wit::Evidence, now: u64) -> wit::Verdict {
        loaded(|engine| engine.evaluate(&subject.into(), &evidence.into(), now)).into()
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

impl From<verdict::Verdict> for wit::Verdict {
    fn from(verdict: verdict::Verdict) -> Self {
        Self {
            outcome: match verdict.outcome {
                verdict::Outcome::Allow => wit::Outcome::Allow,
                verdict::Outcome::Deny => wit::Outcome::Deny,
                verdict::Outcome::Error => wit::Outcome::Error,
            },
            scope: verdict.scope,
            digest: verdict.digest,
            reasons: mapped(verdict.reasons),
            claims: mapped(verdict.claims),
            valid_until: verdict.valid_until,
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
            requirements: explanation.requirements,
        }
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
