//! Payloads of simple signing: what parses is JSON that a lenient reader understands in the same way.
#![no_main]

use guest_policy::simple_signing::Payload;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;

fuzz_target!(|content: &[u8]| {
    let Ok(payload) = Payload::parse(content) else { return };
    serde_json::from_slice::<IgnoredAny>(content).expect("what parses strictly is JSON");
    // A lenient reader stumbles over deep nesting and giant numbers in members that do not count.
    let Ok(value) = serde_json::from_slice::<Value>(content) else { return };
    let critical = &value["critical"];
    assert_eq!(critical["image"]["docker-manifest-digest"], payload.digest.as_str());
    assert_eq!(critical["identity"]["docker-reference"].as_str().unwrap_or(""), payload.reference);
    assert!(value["optional"].is_object());
});
