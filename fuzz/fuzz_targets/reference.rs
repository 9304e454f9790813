//! Docker references: what parses must survive being printed and parsed again.
#![no_main]

use guest_policy::reference::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(reference) = Reference::parse_normalized(text) else { return };
    let printed = reference.to_string();
    assert_eq!(Reference::parse_normalized(&printed).as_ref(), Ok(&reference));
    assert_eq!(Reference::parse_canonical(&printed).as_ref(), Ok(&reference));
    assert!(!reference.with_default_tag().is_name_only());
});
