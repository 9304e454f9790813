//! The rules that a policy names: found, verified, compiled, linked to what they are granted, and asked.

use std::sync::Arc;

use guest_policy::rule::RuleUses;

use crate::engine::{Policy, RuleEngine};
use crate::evidence::Directories;
use crate::policy::PolicyFile;
use crate::registry::Client;

/// The rules of one loaded policy. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    uses: RuleUses,
}

/// What rules are loaded with.
#[derive(Clone, Copy, Debug)]
pub struct Loading<'a> {
    /// Where the policy lies: relative paths of modules and data begin at its folder.
    pub file: &'a PolicyFile,
    /// The policy, loaded.
    pub policy: &'a Policy,
    /// What rules run on.
    pub engine: &'a RuleEngine,
    /// How modules of `oci://` are fetched.
    pub client: &'a Client,
    /// Where their signatures are.
    pub directories: &'a Directories,
    /// Whether modules may be named by tag: on a command line, and not in a server.
    pub tags: bool,
    /// The time at which their signatures are judged (seconds since 1970-01-01 UTC).
    pub now: u64,
}

impl Rules {
    /// Load every rule of a policy. A rule that cannot be loaded is no obstacle: it is against every image, with
    /// the reason.
    pub async fn load(_loading: Loading<'_>) -> Self {
        unimplemented!()
    }

    /// Whether the policy names no rule at all.
    pub fn is_empty(&self) -> bool {
        self.inner.uses.uses.is_empty()
    }

    /// What is wrong with rules that were not loaded, in words.
    pub fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    /// SHA-256 of each module, in hexadecimal, by index of the rule; `None` where there is no module.
    pub fn digests(&self) -> Vec<Option<String>> {
        Vec::new()
    }
}
