//! Judgements about images for which the question could not even be asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use guest_policy::verdict::{Outcome, Reason, Verdict};

use crate::kubernetes::ClusterError;
use crate::verdicts::{Judgement, Served};

/// There is no policy.
pub(super) fn without_policy(words: &str) -> Judgement {
    unanswered(
        "policy-unusable",
        format!("no policy is loaded: {words}"),
        "correct the policy that the server is configured with; /readyz?verbose tells what is wrong",
    )
}

/// The credentials with which the image would be pulled are not known.
pub(super) fn without_credentials(error: &ClusterError) -> Judgement {
    unanswered(
        "pull-secrets-unreadable",
        format!("the pull secrets cannot be read: {error}"),
        "check the server's rights to get Secrets and ServiceAccounts, and the Kubernetes API",
    )
}

/// The policy has rules, and they cannot be told what wants to run the image. Whoever asks is at fault, so that it
/// is no error, which may be treated more leniently.
pub(super) fn without_workload(words: &str) -> Judgement {
    let judgement = unanswered(
        "rule-workload-unusable",
        format!("rules cannot be told of this object: {words}"),
        "remove what the object does not need",
    );
    let verdict = Verdict { outcome: Outcome::Deny, ..Verdict::clone(&judgement.verdict) };
    Judgement { verdict: Arc::new(verdict), ..judgement }
}

/// The time is over.
pub(super) fn too_late() -> Judgement {
    unanswered(
        "deadline",
        "the answer was not ready in time".to_owned(),
        "try again: the work goes on, and the next answer comes from memory",
    )
}

fn unanswered(code: &str, message: String, hint: &str) -> Judgement {
    let reason =
        Reason { code: code.to_owned(), requirement: None, message, hint: Some(hint.to_owned()) };
    let verdict = Verdict {
        outcome: Outcome::Error,
        scope: String::new(),
        digest: String::new(),
        reasons: vec![reason],
        claims: Vec::new(),
        valid_until: None,
        warnings: Vec::new(),
        annotations: BTreeMap::new(),
    };
    Judgement { digest: None, verdict: Arc::new(verdict), served: Served::Fresh }
}
