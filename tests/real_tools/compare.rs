//! Whether two answers are the same, words included.

use lab::skopeo::Answer;

/// Fails with both answers if one allows what the other does not, if they deny with other words where skopeo's
/// (or podman's: they are the same library's) are fixed, and if one has no answer: then something else is
/// broken.
pub(super) fn compare(ours: &Answer, skopeos: &Answer) -> Result<(), String> {
    let same = match (ours, skopeos) {
        (Answer::Allow, Answer::Allow) => true,
        (Answer::Deny(ours), Answer::Deny(skopeos)) => same_reason(ours, &current(skopeos)),
        _ => false,
    };
    if same { Ok(()) } else { Err(format!("\n  we say {ours:?}\n  skopeo {skopeos:?}")) }
}

/// `skopeos` is made of fixed texts and of ones that describe gpg's state of mind; the fixed ones must be
/// ours as well.
fn same_reason(ours: &str, skopeos: &str) -> bool {
    if let Some(skopeos) = skopeos.strip_prefix(SEVERAL) {
        let Some(ours) = ours.strip_prefix(SEVERAL) else { return false };
        let (ours, skopeos): (Vec<_>, Vec<_>) =
            (ours.split("; ").collect(), skopeos.split("; ").collect());
        return ours.len() == skopeos.len()
            && ours.iter().zip(&skopeos).all(|(ours, skopeos)| same_reason(ours, skopeos));
    }
    let (ours, skopeos) = (without_place(ours), without_place(skopeos));
    if FIXED.iter().any(|fixed| skopeos.starts_with(fixed)) {
        return ours == skopeos;
    }
    !ours.is_empty()
}

/// A text about a signature that could not be parsed, without the name of the signature's file.
fn without_place(text: &str) -> &str {
    match text.strip_prefix("parsing signature ").and_then(|rest| rest.split_once(": ")) {
        Some((_, text)) => text,
        None => text,
    }
}

/// The reason in the words of newer versions.
fn current(reason: &str) -> String {
    // Since containers/image 5.23 the identity is quoted.
    let (before, rest) = match reason.split_once(IDENTITY) {
        Some(parts) => parts,
        None => return reason.to_owned(),
    };
    match rest.split_once(NOT_ACCEPTED) {
        Some((identity, after)) if !identity.starts_with('"') => {
            format!("{before}{IDENTITY}\"{identity}\"{NOT_ACCEPTED}{}", current(after))
        }
        _ => reason.to_owned(),
    }
}

/// Beginnings of the texts that users and tools look for.
const FIXED: [&str; 7] = [
    "A signature was required, but no signature exists",
    IDENTITY,
    "No public keys imported",
    "Running image ",
    "Signature for digest ",
    "signature by key ",
    "unrecognized signature format, starting with binary ",
];

const IDENTITY: &str = "Signature for identity ";
const NOT_ACCEPTED: &str = " is not accepted";
const SEVERAL: &str = "None of the signatures were accepted, reasons: ";

#[test]
fn quotes_identities_as_newer_versions_do() {
    let old = format!(
        "{SEVERAL}Signature for identity a/b:c is not accepted; Signature for identity d/e is not accepted"
    );
    let new = format!(
        "{SEVERAL}Signature for identity \"a/b:c\" is not accepted; Signature for identity \"d/e\" is not accepted"
    );
    assert_eq!(current(&old), new);
    assert_eq!(current(&new), new);
}

#[test]
fn tells_other_words_from_the_same() {
    let deny = |text: &str| Answer::Deny(text.to_owned());
    let missing = deny(FIXED[0]);
    assert!(compare(&missing, &missing).is_ok());
    assert!(compare(&deny("no signature"), &missing).is_err());
    assert!(compare(&Answer::Allow, &missing).is_err());
    let failed = Answer::Error("no such host".to_owned());
    assert!(compare(&failed, &failed).is_err());
    assert!(compare(&deny("the signature is broken"), &deny("Invalid GPG signature: {}")).is_ok());
    let several = |second: &str| deny(&format!("{SEVERAL}Invalid GPG signature: {{}}; {second}"));
    assert!(compare(&several("No public keys imported"), &several(FIXED[0])).is_err());
    assert!(compare(&several(FIXED[0]), &several(FIXED[0])).is_ok());
}
