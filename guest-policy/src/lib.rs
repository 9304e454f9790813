//! Countersign's engine: signature verification and policy evaluation, and nothing else.
//!
//! Built for `wasm32-wasip1` and sealed, this crate is the component that the host runs for every
//! decision; built natively, it is what unit tests and fuzzers exercise. It does no input or output,
//! knows no clock and draws no random numbers: the same bytes in give the same bytes out.
//!
//! Without the feature `engine` only the vocabulary is built that the host shares: digests,
//! references, scopes, manifests, images and verdicts.

pub mod digest;
pub mod evaluation;
pub mod image;
pub mod lenient_base64;
pub mod manifest;
pub mod platform;
pub mod reference;
pub mod rule;
pub mod scope;
pub mod verdict;

#[cfg(all(feature = "engine", target_family = "wasm"))]
mod component;
#[cfg(feature = "engine")]
mod engine;
#[cfg(feature = "engine")]
mod openpgp;
#[cfg(feature = "engine")]
pub mod policy;
#[cfg(feature = "probe")]
pub mod probe;
#[cfg(feature = "engine")]
mod quoted;
#[cfg(feature = "engine")]
pub mod simple_signing;
#[cfg(feature = "engine")]
pub use engine::Engine;
