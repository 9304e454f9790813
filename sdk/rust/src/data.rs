//! Capability `data`: read-only documents that the policy names.

/// Names, in order.
#[must_use]
pub fn names() -> Vec<String> {
    given::names()
}

/// A document; absent if the policy names none so.
#[must_use]
pub fn read(name: &str) -> Option<Vec<u8>> {
    given::read(name)
}

#[cfg(target_family = "wasm")]
use crate::bindings::countersign::policy::data as given;
#[cfg(not(target_family = "wasm"))]
use crate::testing::given::data as given;
