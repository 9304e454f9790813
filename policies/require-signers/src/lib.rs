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
            false => format!(
                "there {} {}",
                if found.len() == 1 { "is" } else { "are" },
                found.join(", ")
            ),
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
        let message =
            format!("{} signed with the same key, which counts once", names.join(" and "));
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
        let mut joined =
            Group { signers: made, end, keys: own.map(|key| key.to_ascii_uppercase()).collect() };
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
    let good =
        [40, 64].contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    good.then(|| digits.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fingerprint.
    fn key(of: char) -> String {
        of.to_string().repeat(40)
    }

    fn claim(of: char) -> Claim {
        Claim {
            key: key(of),
            signing_key: key(of),
            material: vec![format!("material of {of}")],
            ..Claim::default()
        }
    }

    fn settings(count: Option<u32>, signers: &[(&str, &str)]) -> Settings {
        let signers = signers.iter().map(|(name, keys)| Signer {
            name: (*name).to_owned(),
            key: Keys::Several(keys.chars().map(key).collect()),
        });
        Settings { count, signers: signers.collect() }
    }

    /// The end of an allow, or the codes of a denial.
    fn ask(claims: &[Claim], settings: &Settings) -> Result<Option<u64>, Vec<String>> {
        let question = Question { claims: claims.to_vec(), ..Question::default() };
        let answer = evaluate(&question, settings);
        let codes: Vec<_> = answer.reasons.into_iter().map(|reason| reason.code).collect();
        if codes.is_empty() { Ok(answer.valid_until) } else { Err(codes) }
    }

    fn missing() -> Result<Option<u64>, Vec<String>> {
        Err(vec!["signers-missing".to_owned()])
    }

    #[test]
    fn so_many_signers_are_enough() {
        let two = settings(Some(2), &[("a", "A"), ("b", "B"), ("c", "C")]);
        assert_eq!(ask(&[claim('A'), claim('B')], &two), Ok(None));
        assert_eq!(ask(&[claim('C'), claim('A')], &two), Ok(None));
        assert_eq!(ask(&[claim('A'), claim('B'), claim('C')], &two), Ok(None));
        assert_eq!(ask(&[claim('A')], &two), missing());
        assert_eq!(ask(&[claim('A'), claim('D')], &two), missing());
        assert_eq!(ask(&[], &two), missing());
    }

    #[test]
    fn all_signers_are_needed_without_a_count() {
        let all = settings(None, &[("a", "A"), ("b", "B")]);
        assert_eq!(ask(&[claim('A'), claim('B')], &all), Ok(None));
        assert_eq!(ask(&[claim('A')], &all), missing());
    }

    #[test]
    fn one_signer_counts_once_however_often_and_with_whichever_keys() {
        let two = settings(Some(2), &[("a", "AD"), ("b", "B")]);
        assert_eq!(ask(&[claim('A'), claim('A'), claim('D')], &two), missing());
    }

    #[test]
    fn two_names_with_the_same_numbers_are_one_signer() {
        let two = settings(Some(2), &[("a", "A"), ("b", "B"), ("c", "C")]);
        let copied = Claim { material: claim('A').material, ..claim('B') };
        let denied = ask(&[claim('A'), copied.clone()], &two);
        assert_eq!(
            denied,
            Err(vec!["signers-missing".to_owned(), "signers-share-a-key".to_owned()])
        );
        assert_eq!(ask(&[claim('A'), copied, claim('C')], &two), Ok(None));
    }

    #[test]
    fn a_certificate_that_has_keys_of_two_signers_makes_them_one() {
        let both = settings(None, &[("a", "A"), ("b", "B")]);
        let third =
            Claim { material: [claim('A').material, claim('B').material].concat(), ..claim('E') };
        for claims in [
            [claim('A'), claim('B'), third.clone()],
            [claim('A'), third.clone(), claim('B')],
            [third, claim('B'), claim('A')],
        ] {
            assert_eq!(ask(&claims, &both), Err(vec!["signers-share-a-key".to_owned()]));
        }
    }

    #[test]
    fn two_subkeys_of_one_certificate_are_one_signer() {
        let both = settings(None, &[("a", "A"), ("b", "B")]);
        let subkey = |of| Claim { key: key('F'), ..claim(of) };
        assert_eq!(
            ask(&[subkey('A'), subkey('B')], &both),
            Err(vec!["signers-share-a-key".to_owned()])
        );
    }

    #[test]
    fn a_signer_may_be_named_by_a_subkey_or_by_the_primary_key() {
        let claim = Claim { key: key('A'), ..claim('B') };
        assert_eq!(ask(std::slice::from_ref(&claim), &settings(None, &[("a", "A")])), Ok(None));
        assert_eq!(ask(std::slice::from_ref(&claim), &settings(None, &[("b", "B")])), Ok(None));
    }

    #[test]
    fn an_allow_holds_as_long_as_so_many_signatures_are_good() {
        let two = settings(Some(2), &[("a", "AD"), ("b", "B"), ("c", "C")]);
        let until = |of, end| Claim { valid_until: Some(end), ..claim(of) };
        assert_eq!(ask(&[until('A', 10), until('B', 20)], &two), Ok(Some(10)));
        assert_eq!(ask(&[until('A', 10), until('B', 20), until('C', 30)], &two), Ok(Some(20)));
        assert_eq!(ask(&[until('A', 10), until('D', 50), until('B', 20)], &two), Ok(Some(20)));
        assert_eq!(ask(&[until('A', 10), claim('B'), claim('C')], &two), Ok(None));
        assert_eq!(ask(&[until('A', 10), claim('B')], &two), Ok(Some(10)));
    }

    #[test]
    fn an_unknown_signature_does_not_make_an_allow_longer() {
        let one = settings(None, &[("a", "A")]);
        let known = Claim { valid_until: Some(10), ..claim('A') };
        let unknown =
            Claim { material: known.material.clone(), valid_until: Some(99), ..claim('E') };
        assert_eq!(ask(&[known.clone(), unknown.clone()], &one), Ok(Some(10)));
        assert_eq!(ask(&[unknown, known], &one), Ok(Some(10)));
    }

    #[test]
    fn says_who_is_missing() {
        let three = settings(Some(3), &[("build", "A"), ("review", "B"), ("release", "C")]);
        let message = |claims: &[Claim]| {
            let question = Question { claims: claims.to_vec(), ..Question::default() };
            evaluate(&question, &three).reasons[0].message.clone()
        };
        assert_eq!(
            message(&[claim('B')]),
            "3 of 3 signers have to have signed, and there is review; missing: build, release",
        );
        assert_eq!(
            message(&[]),
            "3 of 3 signers have to have signed, and none of them has; missing: build, review, release",
        );
    }

    #[test]
    fn reads_fingerprints_as_people_copy_them() {
        let plain = "0123456789ABCDEF0123456789ABCDEF01234567";
        for text in [
            plain,
            "0123456789abcdef0123456789abcdef01234567",
            "0x0123456789ABCDEF0123456789ABCDEF01234567",
            " 0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567 ",
            "01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67",
        ] {
            assert_eq!(fingerprint(text).as_deref(), Some(plain), "{text}");
        }
        assert!(fingerprint(&"a".repeat(64)).is_some());
        for text in [
            "",
            "0x",
            "01234567",
            "0123456789ABCDEF",
            &"g".repeat(40),
            &"a".repeat(41),
            "build@example.com",
        ] {
            assert_eq!(fingerprint(text), None, "{text}");
        }
    }

    #[test]
    fn settings_that_make_no_sense_deny() {
        for settings in [
            settings(None, &[]),
            settings(Some(0), &[("a", "A")]),
            settings(Some(2), &[("a", "A")]),
            settings(None, &[("a", "A"), ("a", "B")]),
            settings(None, &[("", "A")]),
            settings(None, &[("a", "")]),
            settings(None, &[("a", "A"), ("b", "A")]),
            settings(None, &[("a", "AA")]),
            settings(None, &[("a", "x")]),
        ] {
            assert_eq!(check(&settings).len(), 1, "{settings:?}");
            let denied = ask(&[claim('A'), claim('B')], &settings);
            assert_eq!(denied, Err(vec!["settings-invalid".to_owned()]), "{settings:?}");
        }
    }
}
