//! Write verification rules for Countersign in Rust.
//!
//! A rule is asked about an image before it runs, and answers allow or deny. It is a component that runs in a
//! sandbox: it gets all that it knows as a parameter, and does nothing besides computing but what the policy
//! grants it.
//!
//! ```
//! use countersign_rule::{Answer, Question, rule};
//!
//! rule! {
//!     purpose: "images are signed by so many keys",
//!     settings: Settings,
//!     evaluate: evaluate,
//! }
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     keys: usize,
//! }
//!
//! fn evaluate(question: &Question, settings: &Settings) -> Answer {
//!     match question.signers().len() {
//!         enough if enough >= settings.keys => Answer::allow(),
//!         too_few => Answer::deny("too-few", format!("{too_few} keys signed, but {} have to", settings.keys)),
//!     }
//! }
//! # fn main() {
//! #     let question = Question::default();
//! #     assert!(!evaluate(&question, &Settings { keys: 1 }).allow);
//! # }
//! ```
//!
//! Built for the machine itself, everything works the same, so that `cargo test` needs no sandbox. What the
//! capabilities give then is what the test says, see [`testing`]. `cargo test` also asks the rule each golden
//! case in `cases/`.

pub mod artifact;
pub mod crypto;
pub mod data;
pub mod log;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

mod answer;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod bindings;
mod question;
mod rule;

pub use answer::{Answer, Reason};
pub use question::{Attestation, Claim, Image, Question, Workload};
pub use rule::NoSettings;
#[doc(hidden)]
pub use rule::{Rule, capability, check_settings, evaluate, settings_schema};
