//! Manifests and indexes: what is taken for an index is one to a lenient reader, too, and no image.
#![no_main]

use guest_policy::manifest::Kind;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let Ok(kind) = Kind::of(body, None) else { return };
    serde_json::from_slice::<IgnoredAny>(body).expect("what is accepted is JSON");
    // A lenient reader stumbles over deep nesting and giant numbers in members that do not count.
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
    assert_ne!(value["schemaVersion"], 1);
    match kind {
        Kind::Image => assert!(value.get("manifests").is_none()),
        Kind::Index(instances) => {
            assert!(value.get("layers").is_none() && value.get("config").is_none());
            let entries = value["manifests"].as_array().map_or(0, Vec::len);
            assert_eq!(instances.len(), entries);
        }
    }
});
