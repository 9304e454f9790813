//! Countersign decides whether a container image may run.
//!
//! Data moves one way: [`image`] names an image and resolves it once, [`evidence`] gathers what was
//! signed about it, [`engine`] evaluates the [`policy`] inside the sandbox, [`report`] shows the verdict.
//! [`decide`] is the only place that knows the whole path. [`sign`] makes what all of this verifies,
//! [`nodes`] what makes nodes verify, [`operator`] looks after keys in a cluster.
//!
//! Trust: everything that came from a registry, a signature store or a file of an image is moved as
//! opaque, size-limited bytes and parsed in the sandbox; the host itself parses only what it must to
//! fetch (indexes, tokens, configuration).

pub mod admission;
pub mod artifact;
pub mod copy;
pub mod decide;
pub mod engine;
pub mod evidence;
pub mod files;
pub mod image;
pub mod keys;
pub mod kubernetes;
pub mod nodes;
pub mod operator;
pub mod policy;
pub mod publish;
pub mod record;
pub mod registry;
pub mod report;
pub mod rules;
pub mod serve;
pub mod sign;
pub mod signer;
pub mod tekton;
pub mod telemetry;
pub mod verdicts;
pub mod webhook_config;
pub mod workbench;

pub use guest_policy::{digest, evaluation, image as vocabulary, reference, rule, scope, verdict};
