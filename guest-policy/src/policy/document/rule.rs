//! The requirement `rule`: a module, and what it gets.

use std::collections::BTreeMap;

use super::super::json::Kind;
use super::{Members, Place, Reader, Value, quoted, similar};
use crate::digest::Algorithm;
use crate::reference::Reference;
use crate::rule::{
    Capability, MAX_RULE_DEADLINE_MILLISECONDS, MAX_RULE_MEMORY_MIB, MAX_RULE_OUTPUT_KIB,
    OCI_SCHEME, RuleBudget, RuleUse,
};

impl Reader<'_> {
    /// The index of the rule.
    pub(super) fn rule(&mut self, value: &Value, place: &Place<'_>) -> Option<u32> {
        let members = self.members(
            value,
            place,
            &["type", "module", "settings", "capabilities", "data", "budget"],
        )?;
        if self.in_rules_from {
            self.mistakes.error(
                place,
                "rule-misplaced",
                "a rule cannot say which rules are trusted",
                Some("in rulesFrom, use signedBy".to_owned()),
            );
            return None;
        }
        let module = self.module(&members, place);
        let settings = self.settings(&members);
        let capabilities = self.capabilities(&members);
        let data = self.data_documents(&members, capabilities.as_deref());
        let budget = self.budget(&members);
        let rule = RuleUse {
            module: module?,
            settings: settings?,
            capabilities: capabilities?,
            data: data?,
            budget: budget?,
            place: String::new(),
        };
        if let Some(index) = self.indices.get(&rule) {
            return Some(*index);
        }
        if self.rules.len() == MAX_RULES {
            self.mistakes.error(
                place,
                "rules-too-many",
                format!("the document has more than {MAX_RULES} distinct rules"),
                Some("let one rule do what several do, by its settings".to_owned()),
            );
            return None;
        }
        let index = u32::try_from(self.rules.len()).ok()?;
        self.rules.push(RuleUse { place: place.path(), ..rule.clone() });
        self.indices.insert(rule, index);
        Some(index)
    }

    fn module(&mut self, members: &Members<'_>, place: &Place<'_>) -> Option<String> {
        let (value, place) = self.required(members, "module", place)?;
        let module = self.string(value, &place)?;
        let fault = match module.split_once("://") {
            None if module.is_empty() => "it is empty",
            None if module.contains('\0') => "no file has such a name",
            None => return Some(module.to_owned()),
            Some(("oci", reference)) => match oci_fault(reference) {
                Some(fault) => fault,
                None => {
                    if !reference.contains('@') {
                        self.mistakes.warn(
                            &place,
                            "module-tag",
                            format!("{} can mean another module tomorrow", quoted(module)),
                            Some(format!(
                                "servers do not load it: write {OCI_SCHEME}HOST/PATH@sha256:…"
                            )),
                        );
                    }
                    return Some(module.to_owned());
                }
            },
            Some(_) => "modules are files, or lie in a registry",
        };
        let message = format!("{} names no module: {fault}", quoted(module));
        let hint = format!("write a path, or {OCI_SCHEME}HOST/PATH@sha256:…");
        self.mistakes.error(&place, "module-invalid", message, Some(hint));
        None
    }

    fn settings(&mut self, members: &Members<'_>) -> Option<String> {
        let Some((value, place)) = members.get("settings") else { return Some("{}".to_owned()) };
        if !matches!(value.kind, Kind::Object(_)) {
            return self.wrong_object(&place, &value.kind);
        }
        self.is_without_repetition(value, &place).then(|| value.compact())
    }

    /// Whether no object, however deep, has a key twice.
    fn is_without_repetition(&mut self, value: &Value, place: &Place<'_>) -> bool {
        match &value.kind {
            Kind::Array(items) => items.iter().enumerate().fold(true, |sound, (index, item)| {
                self.is_without_repetition(item, &place.index(index, item.at)) && sound
            }),
            Kind::Object(members) => {
                let distinct = self.any_members(value, place).unwrap_or_default();
                let sound = distinct.len() == members.len();
                distinct.iter().fold(sound, |sound, (_, value, place)| {
                    self.is_without_repetition(value, place) && sound
                })
            }
            _ => true,
        }
    }

    /// Sorted.
    fn capabilities(&mut self, members: &Members<'_>) -> Option<Vec<Capability>> {
        let Some((value, place)) = members.get("capabilities") else { return Some(Vec::new()) };
        let mut found = self.list(value, &place, |reader, value, place| {
            let name = reader.string(value, place)?;
            let Ok(capability) = name.parse::<Capability>() else {
                let names = Capability::ALL.map(Capability::name);
                let hint = match similar(name, &names) {
                    Some(meant) => format!("did you mean {meant:?}?"),
                    None => format!("there are {}", names.join(", ")),
                };
                let message = format!("{} is no capability", quoted(name));
                reader.mistakes.error(place, "capability-unknown", message, Some(hint));
                return None;
            };
            Some((capability, value.at))
        })?;
        let mut capabilities = Vec::with_capacity(found.len());
        for (index, (capability, at)) in found.drain(..).enumerate() {
            if capabilities.contains(&capability) {
                self.mistakes.warn(
                    &place.index(index, at),
                    "capability-repeated",
                    format!("{:?} is granted twice", capability.name()),
                    Some("remove one of the two".to_owned()),
                );
            } else {
                capabilities.push(capability);
            }
        }
        capabilities.sort_unstable();
        Some(capabilities)
    }

    fn data_documents(
        &mut self,
        members: &Members<'_>,
        capabilities: Option<&[Capability]>,
    ) -> Option<BTreeMap<String, String>> {
        let granted = capabilities.is_none_or(|granted| granted.contains(&Capability::Data));
        let Some((value, place)) = members.get("data") else { return Some(BTreeMap::new()) };
        if !granted {
            self.mistakes.error(
                &place,
                "capability-missing",
                "the rule cannot read these documents",
                Some("add \"data\" to its capabilities, or remove them".to_owned()),
            );
        }
        let mut documents = BTreeMap::new();
        let mut is_sound = granted;
        for (name, value, place) in self.any_members(value, &place)? {
            let path = self.string(value, &place);
            if name.is_empty() || path == Some("") {
                let message = if name.is_empty() {
                    "a document needs a name".to_owned()
                } else {
                    format!("the document {} has no path", quoted(name))
                };
                let hint = "write \"NAME\": \"PATH\"".to_owned();
                self.mistakes.error(&place, "value-missing", message, Some(hint));
                is_sound = false;
            }
            match path {
                Some(path) => {
                    documents.insert(name.to_owned(), path.to_owned());
                }
                None => is_sound = false,
            }
        }
        is_sound.then_some(documents)
    }

    fn budget(&mut self, members: &Members<'_>) -> Option<RuleBudget> {
        let mut budget = RuleBudget::default();
        let Some((value, place)) = members.get("budget") else { return Some(budget) };
        let keys = [
            ("deadlineMilliseconds", MAX_RULE_DEADLINE_MILLISECONDS),
            ("memoryMiB", MAX_RULE_MEMORY_MIB),
            ("outputKiB", MAX_RULE_OUTPUT_KIB),
        ];
        let members = self.members(value, &place, &keys.map(|(key, _)| key))?;
        let mut is_sound = true;
        for (key, most) in keys {
            let Some((value, place)) = members.get(key) else { continue };
            let number = self.number(value, &place, most);
            is_sound &= number.is_some();
            match key {
                "deadlineMilliseconds" => budget.deadline_milliseconds = number,
                "memoryMiB" => budget.memory_mib = number,
                _ => budget.output_kib = number,
            }
        }
        is_sound.then_some(budget)
    }
}

/// What is wrong with a module's name in a registry.
fn oci_fault(reference: &str) -> Option<&'static str> {
    let Ok(reference) = Reference::parse_canonical(reference) else {
        return Some("expected a host and a path, completely");
    };
    match (reference.tag(), reference.digest()) {
        (None, None) => Some("it has neither a digest nor a tag"),
        (Some(_), Some(_)) => Some("it has both a tag and a digest"),
        (None, Some(digest)) if digest.algorithm() != Algorithm::Sha256 => {
            Some("only SHA-256 digests are ever computed")
        }
        _ => None,
    }
}

/// Most distinct rules of a document: one for every team of a large organisation. Each is compiled code that a
/// server holds.
const MAX_RULES: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::super::{Policy, check, dialect};
    use super::MAX_RULES;
    use crate::rule::RuleUses;
    use crate::verdict::Severity;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn in_default(requirement: &str) -> String {
        format!(r#"{{"default": [{requirement}]}}"#)
    }

    /// `code path` of each mistake; warnings with a mark.
    fn told(document: &str) -> Vec<String> {
        let mistakes = check(document.as_bytes(), &|_| None);
        let told = mistakes.iter().map(|mistake| {
            let mark = if mistake.severity == Severity::Warning { "?" } else { "" };
            format!("{mark}{} {}", mistake.code, mistake.path)
        });
        told.collect()
    }

    fn rules(document: &str) -> RuleUses {
        Policy::parse(document.as_bytes()).expect("a policy").rules()
    }

    #[test]
    fn settings_are_kept_as_they_are_written() {
        let rule = r#"{"type": "rule", "module": "a.wasm", "settings":
            { "z" : 1e3, "a": [ 1.0, -0, 18446744073709551616, true , null, "\u0061\n\"é" ] , "": {} }}"#;
        let expected = r#"{"z":1e3,"a":[1.0,-0,18446744073709551616,true,null,"a\n\"é"],"":{}}"#;
        assert_eq!(rules(&in_default(rule)).uses[0].settings, expected);
        let without = in_default(r#"{"type": "rule", "module": "a.wasm"}"#);
        assert_eq!(rules(&without).uses[0].settings, "{}");
    }

    #[test]
    fn rules_that_get_the_same_are_one() {
        let same = r#"{"type": "rule", "module": "a.wasm", "settings": {"a": 1},
                       "capabilities": ["log", "artifact"]}"#;
        let turned = r#"{"capabilities": ["artifact", "log"], "settings": {"a":1},
                         "module": "a.wasm", "type": "rule"}"#;
        let others = [
            r#"{"type": "rule", "module": "b.wasm", "settings": {"a": 1}}"#,
            r#"{"type": "rule", "module": "a.wasm", "settings": {"a": 1.0}, "capabilities": ["log", "artifact"]}"#,
            r#"{"type": "rule", "module": "a.wasm", "settings": {"a": 1}, "capabilities": ["log"]}"#,
            r#"{"type": "rule", "module": "a.wasm", "settings": {"a": 1}, "capabilities": ["log", "artifact"],
                "budget": {"memoryMiB": 1}}"#,
        ];
        let document = format!(
            r#"{{"default": [{same}, {{"type": "anyOf", "requirements": [{turned}, {}]}}]}}"#,
            others.join(",")
        );
        let uses = rules(&document).uses;
        let places: Vec<_> = uses.iter().map(|rule| rule.place.as_str()).collect();
        let expected = [
            "$.default[0]",
            "$.default[1].requirements[1]",
            "$.default[1].requirements[2]",
            "$.default[1].requirements[3]",
            "$.default[1].requirements[4]",
        ];
        assert_eq!(places, expected);
    }

    #[test]
    fn everything_that_a_rule_gets_is_read() {
        let rule = format!(
            r#"{{"type": "rule", "module": "oci://example.com/rules/a@{DIGEST}",
                 "capabilities": ["log", "data"], "data": {{"b": "b.json", "a": "a.json"}},
                 "budget": {{"deadlineMilliseconds": 500, "memoryMiB": 64, "outputKiB": 32}}}}"#
        );
        let document = in_default(&rule);
        assert_eq!(told(&document), [""; 0]);
        let uses = rules(&document).uses;
        let [rule] = uses.as_slice() else { unreachable!("one rule") };
        assert_eq!(rule.capabilities.iter().map(|c| c.name()).collect::<Vec<_>>(), ["data", "log"]);
        assert_eq!(rule.data["a"], "a.json");
        assert_eq!(rule.budget.deadline_milliseconds, Some(500));
        assert_eq!(rule.budget.memory_mib, Some(64));
        assert_eq!(rule.budget.output_kib, Some(32));
    }

    #[test]
    fn every_mistake_in_a_rule_is_told_with_its_place() {
        for (rule, expected) in [
            (r#"{"type": "rule"}"#, "key-missing $.default[0]"),
            (r#"{"type": "rule", "module": ""}"#, "module-invalid $.default[0].module"),
            (r#"{"type": "rule", "module": null}"#, "module-invalid $.default[0].module"),
            (r#"{"type": "rule", "module": 1}"#, "wrong-type $.default[0].module"),
            (r#"{"type": "rule", "module": "a", "x": 1}"#, "key-unknown $.default[0].x"),
            (
                r#"{"type": "rule", "module": "a", "settings": []}"#,
                "wrong-type $.default[0].settings",
            ),
            (
                r#"{"type": "rule", "module": "a", "settings": null}"#,
                "wrong-type $.default[0].settings",
            ),
            (
                r#"{"type": "rule", "module": "a", "settings": {"a": [{"b": 1, "b": 2}]}}"#,
                "key-duplicate $.default[0].settings.a[0].b",
            ),
            (
                r#"{"type": "rule", "module": "a", "capabilities": ["log", "network"]}"#,
                "capability-unknown $.default[0].capabilities[1]",
            ),
            (
                r#"{"type": "rule", "module": "a", "data": {"a": "b"}}"#,
                "capability-missing $.default[0].data",
            ),
            (
                r#"{"type": "rule", "module": "a", "capabilities": ["data"], "data": {"a": ""}}"#,
                "value-missing $.default[0].data.a",
            ),
            (
                r#"{"type": "rule", "module": "a", "capabilities": ["data"], "data": {"": "a"}}"#,
                r#"value-missing $.default[0].data[""]"#,
            ),
        ] {
            let document = in_default(rule);
            assert_eq!(told(&document), [expected], "{rule}");
            assert!(Policy::parse(document.as_bytes()).is_err(), "{rule}");
        }
        for number in ["0", "-1", "1.0", "1e2", "10001", "99999999999"] {
            let document = in_default(&format!(
                r#"{{"type": "rule", "module": "a", "budget": {{"deadlineMilliseconds": {number}}}}}"#
            ));
            let expected = ["number-invalid $.default[0].budget.deadlineMilliseconds"];
            assert_eq!(told(&document), expected, "{number}");
        }
    }

    #[test]
    fn modules_in_a_registry_are_named_completely() {
        let named = |module: &str| {
            let rule = format!(r#"{{"type": "rule", "module": "{module}"}}"#);
            let told = told(&in_default(&rule));
            told.first().map(|told| told.split(' ').next().unwrap_or_default().to_owned())
        };
        assert_eq!(named(&format!("oci://example.com/rules/a@{DIGEST}")), None);
        assert_eq!(named("rules/a.wasm"), None);
        assert_eq!(named("/rules/a:b.wasm"), None);
        assert_eq!(named("oci://example.com/rules/a:1").as_deref(), Some("?module-tag"));
        for wrong in [
            "oci://",
            "oci://rules/a:1",
            "oci://example.com/rules/a",
            &format!("oci://example.com/rules/a:1@{DIGEST}"),
            &format!("oci://example.com/rules/a@sha512:{}", "0".repeat(128)),
            "https://example.com/a.wasm",
            "docker://example.com/a:1",
            "OCI://example.com/a:1",
        ] {
            assert_eq!(named(wrong).as_deref(), Some("module-invalid"), "{wrong}");
        }
    }

    #[test]
    fn a_capability_that_is_granted_twice_is_granted() {
        let document =
            in_default(r#"{"type": "rule", "module": "a", "capabilities": ["log", "log"]}"#);
        assert_eq!(told(&document), ["?capability-repeated $.default[0].capabilities[1]"]);
        assert_eq!(rules(&document).uses[0].capabilities.len(), 1);
    }

    #[test]
    fn rules_are_limited_in_number() {
        let document = |count: usize| {
            let rule = |number| format!(r#"{{"type": "rule", "module": "{number}.wasm"}}"#);
            // The same once more is no other rule.
            in_default(&(0..count).chain([0]).map(rule).collect::<Vec<_>>().join(","))
        };
        assert_eq!(told(&document(MAX_RULES)), [""; 0]);
        let expected = format!("rules-too-many $.default[{MAX_RULES}]");
        assert_eq!(told(&document(MAX_RULES + 1)), [expected]);
    }

    #[test]
    fn capabilities_are_suggested() {
        let rule = r#"{"type": "rule", "module": "a", "capabilities": ["artefact"]}"#;
        let mistakes = check(in_default(rule).as_bytes(), &|_| None);
        assert_eq!(mistakes[0].hint.as_deref(), Some("did you mean \"artifact\"?"));
    }

    #[test]
    fn rules_are_no_judges_of_rules() {
        let rule = r#"{"type": "rule", "module": "a"}"#;
        for (rules_from, place) in [
            (rule.to_owned(), "$.rulesFrom[0]"),
            (
                format!(r#"{{"type": "anyOf", "requirements": [{rule}]}}"#),
                "$.rulesFrom[0].requirements[0]",
            ),
        ] {
            let document =
                format!(r#"{{"default": [{{"type": "reject"}}], "rulesFrom": [{rules_from}]}}"#);
            assert_eq!(told(&document), [format!("rule-misplaced {place}")]);
        }
    }

    #[test]
    fn rules_from_is_a_list_like_any_other() {
        let document = |list: &str| {
            format!(
                r#"{{"rulesFrom": {list}, "default": [{{"type": "rule", "module": "a.wasm"}}]}}"#
            )
        };
        let signed = |identity: &str| {
            format!(r#"[{{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"{identity}}}]"#)
        };
        assert_eq!(told(&document("[]")), ["requirements-empty $.rulesFrom"]);
        let open = document(r#"[{"type": "insecureAcceptAnything"}]"#);
        assert_eq!(told(&open), ["?accepts-anything $.rulesFrom"]);
        // A module that lies in a file has no name to compare.
        assert_eq!(told(&document(&signed(""))), ["?identity-never-matches $.rulesFrom"]);
        let exact = r#", "signedIdentity": {"type": "exactRepository", "dockerRepository": "example.com/rules"}"#;
        let exact = document(&signed(exact));
        assert_eq!(told(&exact), [""; 0]);
        let policy = Policy::parse(exact.as_bytes()).expect("a policy");
        assert!(policy.rules().signed);
        assert_eq!(policy.key_paths(), ["/k"]);
        assert!(!rules(&in_default(r#"{"type": "rule", "module": "a"}"#)).signed);
    }

    #[test]
    fn what_others_refuse_is_told_once_for_each_requirement() {
        let rule = r#"{"type": "rule", "module": "a"}"#;
        let document = format!(
            r#"{{"default": [{{"type": "reject"}}, {{"type": "anyOf", "requirements": [{rule}]}}],
                 "rulesFrom": [{{"type": "reject"}}],
                 "transports": {{"docker": {{"a.com": [{rule}]}}}}}}"#
        );
        assert!(Policy::parse(document.as_bytes()).is_ok());
        let found = dialect(document.as_bytes());
        let places: Vec<_> = found.iter().map(|m| format!("{} {}", m.code, m.path)).collect();
        let expected = [
            "dialect-requirement $.default[1]",
            "dialect-member $.rulesFrom",
            r#"dialect-requirement $.transports.docker["a.com"][0]"#,
        ];
        assert_eq!(places, expected);
        assert!(found.iter().all(|mistake| mistake.severity == Severity::Error));
        assert_eq!(dialect(br#"{"default": [{"type": "reject"}]}"#), []);
    }
}
