//! The rule `require-signers`: so many of these people have signed.

use std::collections::BTreeSet;

use countersign_rule::{Answer, Claim, Question, rule};
use schemars::JsonSchema;
use serde::Deserialize;

rule! {
    purpose: "so many of the named signers have signed, with keys of their own",
    settings: Settings,
    check: check,
    evaluate: evaluate,
}

/// Who signs, and how many of them have to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// How many of the signers; all of them if it is left out.
    #[schemars(range(min = 1))]
    count: Option<u32>,
    #[schemars(length(min = 1))]
    signers: Vec<Signer>,
}

/// A person, a team or a machine.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Signer {
    /// What people are told.
    #[schemars(length(min = 1))]
    name: String,
    /// Fingerprint of the key, or of each of the keys: hexadecimal digits, with or without spaces.
    key: Keys,
}

/// One key or several.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Keys {
    One(String),
    Several(Vec<String>),
}

impl Settings {
    fn count(&self) -> usize {
        self.count.map_or(self.signers.len(), |count| usize::try_from(count).unwrap_or(usize::MAX))
    }
}

impl Signer {
    fn keys(&self) -> &[String] {
        match &self.key {
            Keys::One(key) => std::slice::from_ref(key),
            Keys::Several(keys) => keys,
        }
    }

    fn made(&self, claim: &Claim) -> bool {
        self.keys().iter().filter_map(|key| fingerprint(key)).any(|key| {
            [&claim.key, &claim.signing_key].iter().any(|of| of.eq_ignore_ascii_case(&key))
        })
    }
}

fn check(settings: &Settings) -> Vec<String> {
    let mut mistakes = Vec::new();
    let count = settings.count();
    if settings.signers.is_empty() {
        mistakes.push("signers is empty; name at least one".to_owned());
    } else if count == 0 {
        mistakes.push("count is 0, which everything would satisfy; give at least 1".to_owned());
    } else if count > settings.signers.len() {
        let signers = settings.signers.len();
        mistakes.push(format!("count is {count}, but there are only {signers} signers"));
    }
    let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for (at, signer) in settings.signers.iter().enumerate() {
        if signer.name.trim().is_empty() {
            mistakes.push(format!("signers[{at}].name is empty"));
        } else if !names.insert(&signer.name) {
            mistakes.push(format!("signers[{at}].name is {:?}, as another's is", signer.name));
        }
        if signer.keys().is_empty() {
            mistakes.push(format!("signers[{at}].key has no fingerprint"));
        }
        for key in signer.keys() {
            match fingerprint(key) {
                None => mistakes.push(format!(
                    "signers[{at}].key has {key:?}, which is no fingerprint: 40 or 64 hexadecimal digits (the last 8 or \
                     16 are not enough to tell keys apart)"
                )),
                Some(fingerprint) if !keys.insert(fingerprint.clone()) => mistakes.push(format!(
                    "signers[{at}].key has {fingerprint} a second time; one key counts once"
                )),
                Some(_) => {}
            }
        }
    }
    mistakes
}

fn evaluate(question: &Question, settings: &Settings) -> Answer {
    if let Some(mistake) = check(settings).into_iter().next() {
        return Answer::deny("settings-invalid", mistake);
    }
    let groups = groups(&question.claims, &settings.signers);
    let count = settings.count();
    if groups.len() >= count {
        // As long as so many are left.
        let mut ends: Vec<u64> = groups.iter().map(|group| group.end).collect();
        ends.sort_unstable_by(|one, other| other.cmp(one));
        return match ends[count - 1] {
            u64::MAX => Answer::allow(),
            end => Answer::allow().valid_until(end),
        };
    }
    let signed: BTreeSet<usize> = groups.iter().flat_map(|group| group.signers.clone()).collect();
    let name = |at: usize| settings.signers[at].name.as_str();
    let missing: Vec<&str> =
        (0..settings.signers.len()).filter(|at| !signed.contains(at)).map(name).collect();
    let mut reasons = Vec::new();
    if !missing.is_empty() {
        let found: Vec<&str> = signed.iter().copied().map(name).collect();
        let found = match found.is_empty() {
            true => "none of them has".to_owned(),
            false => format!("there are {}", found.join(", ")),
        };
        let message = format!(
            "{count} of {} signers have to have signed, and {found}; missing: {}",
            settings.signers.len(),
            missing.join(", "),
        );
        reasons.push(("signers-missing", message));
    }
    for group in groups.iter().filter(|group| group.signers.len() > 1) {
        let names: Vec<&str> = group.signers.iter().copied().map(name).collect();
        let message = format!("{} signed with the same key, which counts once", names.join(" and "));
        reasons.push(("signers-share-a-key", message));
    }
    Answer::deny_all(reasons)
}

/// Signers that are one, as far as their keys tell.
struct Group {
    /// Positions in the settings.
    signers: BTreeSet<usize>,
    /// The last second at which one of their signatures is good.
    end: u64,
    keys: BTreeSet<String>,
}

/// Those who signed. Whoever shares a key with another is the same signer: directly, or through a third signature
/// whose certificate has keys of both.
fn groups(claims: &[Claim], signers: &[Signer]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for claim in claims {
        let made: BTreeSet<usize> =
            (0..signers.len()).filter(|at| signers[*at].made(claim)).collect();
        let end = match made.is_empty() {
            true => 0,
            false => claim.valid_until.unwrap_or(u64::MAX),
        };
        let own = claim.material.iter().chain([&claim.key, &claim.signing_key]);
        let mut joined = Group { signers: made, end, keys: own.map(|key| key.to_ascii_uppercase()).collect() };
        let (same, others): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| {
            !group.keys.is_disjoint(&joined.keys) || !group.signers.is_disjoint(&joined.signers)
        });
        groups = others;
        for group in same {
            joined.signers.extend(group.signers);
            joined.end = joined.end.max(group.end);
            joined.keys.extend(group.keys);
        }
        groups.push(joined);
    }
    groups.retain(|group| !group.signers.is_empty());
    groups
}

/// As claims have it, of what people copy: upper case, without spaces, colons and `0x`.
fn fingerprint(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let digits: String = text.chars().filter(|character| ![' ', ':'].contains(character)).collect();
    let good = [40, 64].contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    good.then(|| digits.to_ascii_uppercase())
}
