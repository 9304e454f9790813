//! Requirements that are made of others: `anyOf`, `atLeast`, and the list `rulesFrom`.

use super::super::identity::IdentityMatch;
use super::super::requirement::{AtLeast, Requirement, SignedBy};
use super::{Kind, MAX_NESTING, Members, Place, Reader, Value};
use crate::rule;

impl Reader<'_> {
    pub(super) fn any_of(&mut self, value: &Value, place: &Place<'_>) -> Option<Requirement> {
        let members = self.members(value, place, &["type", "requirements"])?;
        let (parts, list) = self.parts(&members, place)?;
        if let Some(open) = parts.iter().position(Requirement::always_holds) {
            self.mistakes.warn(
                &list.index(open, list.at_of(open)),
                "any-of-open",
                "this holds for every image, and so does the whole of which it is a part",
                Some("remove it, or what it makes useless".to_owned()),
            );
        }
        Some(Requirement::AnyOf(parts))
    }

    pub(super) fn at_least(&mut self, value: &Value, place: &Place<'_>) -> Option<AtLeast> {
        let members = self.members(value, place, &["type", "count", "requirements"])?;
        let count = self.count(&members, place);
        let parts = self.parts(&members, place);
        let (count, (requirements, list)) = (count?, parts?);
        if let Some(open) = requirements.iter().position(Requirement::always_holds) {
            self.mistakes.warn(
                &list.index(open, list.at_of(open)),
                "at-least-open",
                "this holds for every image, and there is no signer behind it to count",
                Some("remove it".to_owned()),
            );
        }
        let at_least = AtLeast { count, requirements };
        if !at_least.can_be_reached() {
            self.mistakes.warn(
                place,
                "at-least-unreachable",
                format!("there are never {count} distinct signers behind these requirements"),
                Some("no image satisfies it: lower the count, or add to the parts".to_owned()),
            );
        }
        Some(at_least)
    }

    /// What the module of a rule has to be signed like.
    pub(super) fn rules_from(
        &mut self,
        value: &Value,
        place: &Place<'_>,
    ) -> Option<Vec<Requirement>> {
        self.mistakes.foreign(place, "dialect-member", "Unknown key \"rulesFrom\"");
        self.in_rules_from = true;
        let required = self.requirements(value, place);
        self.in_rules_from = false;
        self.warn_if_open(required.as_deref(), place, "every module of a rule");
        required
    }

    /// A module that lies in a file has no name of its own, so that only what names one itself can accept it.
    pub(super) fn warn_of_files(&mut self, required: &[Requirement], place: &Place<'_>) {
        let needs_name = |requirement: &&Requirement| {
            matches!(requirement, Requirement::SignedBy(SignedBy { identity, .. }) if !matches!(
                identity,
                IdentityMatch::ExactReference(_) | IdentityMatch::ExactRepository(_)
            ))
        };
        let is_file = |module: &str| !module.starts_with(rule::OCI_SCHEME);
        let Some(file) = self.rules.iter().find(|rule| is_file(&rule.module)) else { return };
        if required.iter().flat_map(Requirement::all).any(|part| needs_name(&part)) {
            let message = format!(
                "no signature of a module that lies in a file, such as {}, satisfies this",
                super::quoted(&file.module)
            );
            self.mistakes.warn(
                place,
                "identity-never-matches",
                message,
                Some("use signedIdentity exactReference or exactRepository".to_owned()),
            );
        }
    }

    fn count(&mut self, members: &Members<'_>, place: &Place<'_>) -> Option<u32> {
        let (value, place) = self.required(members, "count", place)?;
        self.number(value, &place, MAX_SIGNERS)
    }

    /// A whole number from 1 to `most`.
    pub(super) fn number(&mut self, value: &Value, place: &Place<'_>, most: u32) -> Option<u32> {
        let Kind::Number(text) = &value.kind else {
            return self.wrong_type(place, "a number", &value.kind);
        };
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        if number.is_none() {
            let message = format!("expected a whole number from 1 to {most}, got {text}");
            self.mistakes.error(place, "number-invalid", message, None);
        }
        number
    }

    /// The parts of a requirement, and the list of them.
    fn parts<'v>(
        &mut self,
        members: &'v Members<'v>,
        place: &Place<'_>,
    ) -> Option<(Vec<Requirement>, List<'v>)> {
        let (value, list) = self.required(members, "requirements", place)?;
        if self.nesting == MAX_NESTING {
            self.mistakes.error(
                &list,
                "requirements-nested",
                format!("requirements are nested more than {MAX_NESTING} deep"),
                Some("name fewer alternatives, or give images a scope of their own".to_owned()),
            );
            return None;
        }
        self.nesting += 1;
        let parts = self.requirements(value, &list);
        self.nesting -= 1;
        Some((parts?, List { value, place: list }))
    }
}

/// A list of requirements as it stands in the document.
struct List<'v> {
    value: &'v Value,
    place: Place<'v>,
}

impl<'v> List<'v> {
    fn index(&'v self, index: usize, at: usize) -> Place<'v> {
        self.place.index(index, at)
    }

    fn at_of(&self, index: usize) -> usize {
        match &self.value.kind {
            Kind::Array(items) => items.get(index).map_or(self.value.at, |item| item.at),
            _ => self.value.at,
        }
    }
}

/// Most signers that `atLeast` may ask for: as many as there are signatures of one image that are looked at.
const MAX_SIGNERS: u32 = 128;

#[cfg(test)]
mod tests {
    use super::super::super::{Policy, check};
    use super::*;
    use crate::verdict::Severity;

    const KEY: &str = r#"{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}"#;
    const OPEN: &str = r#"{"type": "insecureAcceptAnything"}"#;
    const REJECT: &str = r#"{"type": "reject"}"#;
    const RULE: &str = r#"{"type": "rule", "module": "a"}"#;

    fn in_default(requirement: &str) -> String {
        format!(r#"{{"default": [{requirement}]}}"#)
    }

    fn any_of(parts: &[&str]) -> String {
        format!(r#"{{"type": "anyOf", "requirements": [{}]}}"#, parts.join(", "))
    }

    fn at_least(count: &str, parts: &[&str]) -> String {
        let parts = parts.join(", ");
        format!(r#"{{"type": "atLeast", "count": {count}, "requirements": [{parts}]}}"#)
    }

    /// `code path` of each mistake; warnings with a mark.
    fn told(requirement: &str) -> Vec<String> {
        let mistakes = check(in_default(requirement).as_bytes(), &|_| None);
        let told = mistakes.iter().map(|mistake| {
            let mark = if mistake.severity == Severity::Warning { "?" } else { "" };
            format!("{mark}{} {}", mistake.code, mistake.path)
        });
        told.collect()
    }

    #[test]
    fn parts_are_read_like_any_requirement() {
        let requirement = any_of(&[KEY, &at_least("2", &[KEY, RULE])]);
        assert_eq!(told(&requirement), [""; 0]);
        let policy = Policy::parse(in_default(&requirement).as_bytes()).expect("a policy");
        assert_eq!(policy.key_paths(), ["/k"]);
        assert_eq!(policy.requirements().count(), 5);
        let broken = any_of(&[KEY, &at_least("2", &[KEY, r#"{"type": "rejcet"}"#])]);
        let expected = ["type-unknown $.default[0].requirements[1].requirements[1].type"];
        assert_eq!(told(&broken), expected);
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        for (requirement, expected) in [
            (r#"{"type": "anyOf"}"#.to_owned(), "key-missing $.default[0]"),
            (any_of(&[]), "requirements-empty $.default[0].requirements"),
            (at_least("1", &[]), "requirements-empty $.default[0].requirements"),
            (
                r#"{"type": "anyOf", "requirements": {}}"#.to_owned(),
                "wrong-type $.default[0].requirements",
            ),
            (
                format!(r#"{{"type": "anyOf", "count": 1, "requirements": [{KEY}]}}"#),
                "key-unknown $.default[0].count",
            ),
            (
                format!(r#"{{"type": "atLeast", "requirements": [{KEY}]}}"#),
                "key-missing $.default[0]",
            ),
            (at_least("0", &[KEY]), "number-invalid $.default[0].count"),
            (at_least("-1", &[KEY]), "number-invalid $.default[0].count"),
            (at_least("1.0", &[KEY]), "number-invalid $.default[0].count"),
            (at_least("129", &[KEY]), "number-invalid $.default[0].count"),
            (at_least("\"2\"", &[KEY]), "wrong-type $.default[0].count"),
        ] {
            assert_eq!(told(&requirement), [expected], "{requirement}");
            let document = in_default(&requirement);
            assert!(Policy::parse(document.as_bytes()).is_err(), "{requirement}");
        }
    }

    #[test]
    fn what_can_never_count_is_warned_of() {
        let unreachable = ["?at-least-unreachable $.default[0]"];
        assert_eq!(told(&at_least("2", &[RULE, RULE])), unreachable);
        assert_eq!(told(&at_least("2", &[RULE, REJECT])), unreachable);
        assert_eq!(told(&at_least("3", &[&any_of(&[RULE]), REJECT])), unreachable);
        // How many keys are in a file, nobody knows here.
        assert_eq!(told(&at_least("99", &[KEY])), [""; 0]);
        assert_eq!(told(&at_least("1", &[RULE, REJECT])), [""; 0]);
        let open = told(&at_least("1", &[KEY, OPEN]));
        assert_eq!(open, ["?at-least-open $.default[0].requirements[1]"]);
        // Inside another one, what can never hold counts for nothing.
        let nested = told(&at_least("1", &[&at_least("2", &[RULE])]));
        let inner = "?at-least-unreachable $.default[0].requirements[0]".to_owned();
        assert_eq!(nested, [unreachable[0].to_owned(), inner]);
    }

    #[test]
    fn an_open_alternative_opens_the_list() {
        let expected = ["?accepts-anything $.default", "?any-of-open $.default[0].requirements[1]"];
        assert_eq!(told(&any_of(&[KEY, OPEN])), expected);
        let nested = told(&any_of(&[KEY, &any_of(&[OPEN])]));
        assert_eq!(nested.len(), 3, "{nested:?}");
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |depth: u32| (0..depth).fold(KEY.to_owned(), |part, _| any_of(&[&part]));
        assert_eq!(told(&nested(MAX_NESTING)), [""; 0]);
        let too_deep = told(&nested(MAX_NESTING + 1));
        let list = ".requirements[0]".repeat(MAX_NESTING as usize);
        assert_eq!(too_deep, [format!("requirements-nested $.default[0]{list}.requirements")]);
    }
}
