//! anyOf, atLeast and rules in a policy: who counts, what is asked, in both builds of the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use countersign::digest::Digest;
use countersign::engine::Budget;
use countersign::evaluation::{Came, Evaluation, Failure, Node, RuleAnswer, State, Step};
use countersign::reference::Reference;
use countersign::rule::Capability;
use countersign::sign::payload;
use countersign::verdict::{Claim, Outcome, Reason, Verdict};
use countersign::vocabulary::{Evidence, KeyFile, Signature, SignatureForm, Subject};
use proptest::prelude::*;
use sequoia_openpgp as openpgp;
use serde_json::{Value, json};

use self::openpgp::cert::prelude::*;
use self::openpgp::packet::key::{Key4, PrimaryRole, SecretParts, SubordinateRole};
use self::openpgp::packet::signature::SignatureBuilder;
use self::openpgp::packet::{Key, UserID};
use self::openpgp::policy::StandardPolicy;
use self::openpgp::serialize::SerializeInto as _;
use self::openpgp::serialize::stream::{LiteralWriter, Message, Signer};
use self::openpgp::types::{Curve, HashAlgorithm, KeyFlags, SignatureType};
use crate::vectors::Both;

const NOW: u64 = 1_795_564_800;
const MADE: u64 = NOW - 1000;
const MANIFEST: &[u8] = br#"{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": {}, "layers": []}"#;
const NAME: &str = "registry.example.com/ns/app:1";

#[test]
fn one_of_several_requirements_is_enough() {
    let keys = Keys::new(&["a", "b"]);
    let either = json!({"type": "anyOf", "requirements": [signed("a"), signed("b")]});
    for (signers, outcome) in
        [(&["a"][..], Outcome::Allow), (&["b"], Outcome::Allow), (&[], Outcome::Deny)]
    {
        assert_eq!(keys.judge(&either, signers).outcome, outcome, "{signers:?}");
    }
    let verdict = keys.judge(&either, &["stranger"]);
    let codes: Vec<_> = verdict.reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["signature-key-unknown"; 2]);
}

#[test]
fn k_of_n_signers_are_enough_and_fewer_are_not() {
    let keys = Keys::new(&["a", "b", "c"]);
    let two = at_least(2, &[signed("a"), signed("b"), signed("c")]);
    for (signers, outcome) in [
        (&["a", "b"][..], Outcome::Allow),
        (&["c", "a"], Outcome::Allow),
        (&["a", "b", "c"], Outcome::Allow),
        (&["a"], Outcome::Deny),
        (&["a", "stranger"], Outcome::Deny),
        (&[], Outcome::Deny),
    ] {
        assert_eq!(keys.judge(&two, signers).outcome, outcome, "{signers:?}");
    }
    let verdict = keys.judge(&two, &["a"]);
    assert_eq!(verdict.reasons[0].code, "signers-too-few");
    assert_eq!(verdict.reasons[0].message, "2 distinct signers are required, and there is 1");
    // One entry with several keys says the same.
    let ring = json!({"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["a", "b", "c"]});
    let two = at_least(2, &[ring]);
    assert_eq!(keys.judge(&two, &["b", "c"]).outcome, Outcome::Allow);
    assert_eq!(keys.judge(&two, &["b"]).outcome, Outcome::Deny);
}

/// Rows 25 and 47 of the security history (CVE-2026-49834, CVE-2020-15093): entries are no signers.
#[test]
fn the_same_signature_twice_or_one_key_under_two_names_counts_once() {
    let mut keys = Keys::new(&["a", "b"]);
    let armoured = keys.armoured("a");
    keys.files.push(KeyFile { path: "alias".into(), content: Ok(armoured) });
    let two = at_least(2, &[signed("a"), signed("alias"), signed("b")]);
    for signers in [&["a"][..], &["a", "a"], &["a", "a", "a"]] {
        let verdict = keys.judge(&two, signers);
        assert_eq!(verdict.outcome, Outcome::Deny, "{signers:?}");
        assert_eq!(verdict.reasons[0].code, "signers-too-few");
    }
    assert_eq!(keys.judge(&two, &["a", "b"]).outcome, Outcome::Allow);
}

/// Row 47: two signing keys of one certificate are one signer's.
#[test]
fn two_subkeys_of_one_certificate_count_once() {
    let (cert, _) = CertBuilder::new()
        .add_userid("Two hands <two@example.com>")
        .set_cipher_suite(CipherSuite::Cv25519)
        .set_profile(openpgp::Profile::RFC4880)
        .expect("a profile")
        .set_creation_time(at(MADE))
        .add_signing_subkey()
        .add_signing_subkey()
        .generate()
        .expect("a certificate");
    let mut keys = Keys::new(&["b"]);
    keys.add("a", &cert);
    let policy = StandardPolicy::new();
    let subkeys: Vec<_> = cert
        .keys()
        .with_policy(&policy, at(NOW))
        .secret()
        .for_signing()
        .map(|key| key.key().clone().parts_into_secret().expect("a secret"))
        .collect();
    assert_eq!(subkeys.len(), 2);
    let signatures: Vec<_> = subkeys.into_iter().map(sign_with).collect();
    let two = at_least(2, &[signed("a"), signed("b")]);
    assert_eq!(keys.judge_signed(&two, &signatures).outcome, Outcome::Deny);
    assert_eq!(
        keys.judge_signed(&at_least(1, &[signed("a")]), &signatures[1..]).outcome,
        Outcome::Allow
    );
}

/// Row 48 (CVE-2020-6174): the same key once more, as another certificate with another fingerprint.
#[test]
fn one_key_in_two_certificates_counts_once() {
    let numbers: Key4<SecretParts, PrimaryRole> =
        Key4::generate_ecc(true, Curve::Ed25519).expect("a key");
    let certificate = |created: u64| {
        let mut key = numbers.clone();
        key.set_creation_time(at(created)).expect("a time");
        (bound(Key::from(key.clone())), key)
    };
    let ((one, first), (other, second)) = (certificate(MADE - 10), certificate(MADE));
    assert_ne!(one.fingerprint(), other.fingerprint());
    let mut keys = Keys::new(&["c"]);
    keys.add("a", &one);
    keys.add("b", &other);
    let signatures = [first, second].map(|key| sign_with(Key::from(key).role_into_unspecified()));
    let two = at_least(2, &[signed("a"), signed("b"), signed("c")]);
    let verdict = keys.judge_signed(&two, &signatures);
    assert_eq!(verdict.outcome, Outcome::Deny);
    assert_eq!(verdict.reasons[0].code, "signers-too-few");
    let mut all = signatures.to_vec();
    all.push(keys.sign("c"));
    assert_eq!(keys.judge_signed(&two, &all).outcome, Outcome::Allow);
}

/// Row 47: whether two certificates belong together does not depend on which of their signatures are shown.
#[test]
fn certificates_that_share_a_subkey_are_one_signer() {
    let subkey = Key::from(ed25519()).role_into_subordinate();
    let (one, other) = (ed25519(), ed25519());
    let mut keys = Keys::new(&["c"]);
    keys.add("a", &adopting(&one, &subkey));
    keys.add("b", &adopting(&other, &subkey));
    let by = |key: &Key4<SecretParts, PrimaryRole>| {
        sign_with(Key::from(key.clone()).role_into_unspecified())
    };
    let by_primaries = [by(&one), by(&other)];
    let two = at_least(2, &[signed("a"), signed("b"), signed("c")]);
    let verdict = keys.judge_signed(&two, &by_primaries);
    assert_eq!(verdict.outcome, Outcome::Deny);
    assert_eq!(verdict.reasons[0].code, "signers-too-few");
    // By the shared key itself it is no more, and each certificate alone is good.
    let by_subkey = sign_with(subkey.role_into_unspecified());
    let mut all = by_primaries.to_vec();
    all.push(by_subkey);
    assert_eq!(keys.judge_signed(&two, &all).outcome, Outcome::Deny);
    assert_eq!(keys.judge_signed(&signed("b"), &by_primaries).outcome, Outcome::Allow);
    all.push(keys.sign("c"));
    assert_eq!(keys.judge_signed(&two, &all).outcome, Outcome::Allow);
    // Without the certificate that connects them, they are strangers.
    let mut apart = Keys::new(&[]);
    apart.add("a", &bound(Key::from(one.clone())));
    apart.add("b", &bound(Key::from(other.clone())));
    let two = at_least(2, &[signed("a"), signed("b")]);
    assert_eq!(apart.judge_signed(&two, &by_primaries).outcome, Outcome::Allow);
}

/// The order of alternatives is nothing that an author has to think of.
#[test]
fn everybody_behind_an_alternative_counts() {
    let keys = Keys::new(&["a", "b", "c"]);
    let either =
        |one, other| json!({"type": "anyOf", "requirements": [signed(one), signed(other)]});
    for parts in [[either("a", "b"), either("a", "c")], [either("b", "a"), either("c", "a")]] {
        let two = at_least(2, &parts);
        assert_eq!(keys.judge(&two, &["a", "b"]).outcome, Outcome::Allow, "{two}");
        assert_eq!(keys.judge(&two, &["a"]).outcome, Outcome::Deny, "{two}");
    }
}

#[test]
fn an_unusable_key_is_an_error_only_where_it_might_have_mattered() {
    let mut keys = Keys::new(&["a", "b"]);
    keys.files.push(KeyFile { path: "gone".into(), content: Err("no such file".into()) });
    let two = at_least(2, &[signed("gone"), signed("a"), signed("b")]);
    assert_eq!(keys.judge(&two, &["a", "b"]).outcome, Outcome::Allow);
    assert_eq!(keys.judge(&two, &["a"]).outcome, Outcome::Error);
    let either = json!({"type": "anyOf", "requirements": [signed("gone"), signed("a")]});
    assert_eq!(keys.judge(&either, &["a"]).outcome, Outcome::Allow);
    assert_eq!(keys.judge(&either, &["b"]).outcome, Outcome::Error);
}

#[test]
fn what_always_fails_is_told_without_evidence() {
    let keys = Keys::new(&["a"]);
    let reject = json!({"type": "reject"});
    let list = json!([
        rule("x"),
        {"type": "anyOf", "requirements": [reject, at_least(2, &[rule("x"), rule("x")])]},
        signed("a"),
    ]);
    let both = keys.both(&list);
    assert!(!both.sandboxed().needs(&subject(), &Budget::default()).expect("needs").signatures);
    let evaluation = both.evaluation(&subject(), &Evidence::default(), NOW);
    let verdict = verdict(&evaluation, &BTreeMap::new());
    assert_eq!(verdict.outcome, Outcome::Deny);
    assert_eq!(verdict.reasons[0].code, "rejected-by-policy");
    assert!(verdict.reasons.iter().all(|reason| reason.requirement == Some(1)));
    // The whole tree is there, for whoever draws it.
    let depths: Vec<_> = evaluation.nodes.iter().map(|node| node.depth).collect();
    assert_eq!(depths, [0, 0, 1, 1, 2, 2, 0]);
}

#[test]
fn each_part_judges_each_signature() {
    let keys = Keys::new(&["a", "b"]);
    let list = json!([at_least(1, &[signed("a"), signed("b")])]);
    let both = keys.both(&list);
    let findings = both.inspect(&subject(), &evidence(keys.signed_by(&["b"])), NOW);
    assert_eq!((findings[0].claims.len(), findings[0].reasons.len()), (1, 1));
    assert_eq!(findings[0].claims[0].requirement, 0);
}

#[test]
fn what_accepts_anything_is_no_signer() {
    let keys = Keys::new(&["a"]);
    let anything = json!({"type": "insecureAcceptAnything"});
    let two = at_least(2, &[signed("a"), anything.clone(), anything.clone()]);
    assert_eq!(keys.judge(&two, &["a"]).outcome, Outcome::Deny);
    assert_eq!(keys.judge(&at_least(1, &[anything]), &["a"]).outcome, Outcome::Deny);
}

#[test]
fn a_rule_is_asked_only_where_the_verdict_depends_on_it() {
    let keys = Keys::new(&["a"]);
    let either = json!([{"type": "anyOf", "requirements": [signed("a"), rule("x")]}, rule("y")]);
    let evaluation = keys.evaluation(&either, &keys.signed_by(&["a"]));
    assert_eq!(evaluation.conclude(&BTreeMap::new()), Step::Ask(1));
    let unsigned = keys.evaluation(&either, &[]);
    assert_eq!(unsigned.conclude(&BTreeMap::new()), Step::Ask(0));
    let denied = BTreeMap::from([(0, answer(Some(Outcome::Deny)))]);
    assert_eq!(verdict(&unsigned, &denied).outcome, Outcome::Deny);
    let came: Vec<Came> = unsigned.outcomes(&denied).into_iter().map(|(came, _)| came).collect();
    assert_eq!(came, [Came::Failed, Came::Failed, Came::Failed, Came::Skipped]);
    let behind = keys.evaluation(&json!([signed("a"), rule("x")]), &[]);
    assert_eq!(verdict(&behind, &BTreeMap::new()).outcome, Outcome::Deny);
}

#[test]
fn a_rule_is_told_of_every_signer() {
    let keys = Keys::new(&["a", "b"]);
    let ring = json!({"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["a", "b"]});
    let evidence = keys.signed_by(&["a", "b", "a"]);
    let claims = keys.evaluation(&json!([ring, rule("x")]), &evidence).claims();
    let signers: BTreeSet<_> = claims.iter().map(|claim| claim.key.as_str()).collect();
    assert_eq!(signers.len(), 2);
    // Where nothing counts signers, one is enough.
    assert_eq!(keys.evaluation(&json!([ring]), &evidence).claims().len(), 1);
}

#[test]
fn an_allow_ends_with_the_earliest_that_it_rests_on() {
    let keys = Keys::new(&["a"]);
    let list = json!([signed("a"), rule("x"), rule("y")]);
    let evaluation = keys.evaluation(&list, &keys.signed_by(&["a"]));
    let until = |end| RuleAnswer { valid_until: end, ..answer(None) };
    let answers = BTreeMap::from([(0, until(Some(NOW + 9))), (1, until(Some(NOW + 5)))]);
    assert_eq!(verdict(&evaluation, &answers).valid_until, Some(NOW + 5));
    let answers = BTreeMap::from([(0, until(None)), (1, until(None))]);
    assert_eq!(verdict(&evaluation, &answers).valid_until, None);
}

#[test]
fn rules_that_nobody_asked_never_allow() {
    let keys = Keys::new(&["a"]);
    let both = keys.both(&json!([rule("x")]));
    let verdict = both.evaluate(&subject(), &evidence(Vec::new()), NOW);
    assert_eq!(verdict.outcome, Outcome::Error);
    let nothing = Evaluation {
        scope: "default".into(),
        digest: Digest::sha256(MANIFEST).to_string(),
        failure: None,
        nodes: Vec::new(),
    };
    assert_eq!(nothing.without_rules().outcome, Outcome::Error);
}

#[test]
fn equal_rules_are_one_and_different_ones_are_told_apart() {
    let keys = Keys::new(&[]);
    let with = |settings: Value| json!({"type": "rule", "module": "m.wasm", "settings": settings, "capabilities": ["log"]});
    let list = json!([with(json!({"a": 1})), with(json!({"a": 2})), with(json!({"a": 1}))]);
    let both = keys.both(&list);
    let uses = both.sandboxed().rules(&Budget::default()).expect("rules");
    let settings: Vec<_> = uses.uses.iter().map(|rule| rule.settings.as_str()).collect();
    assert_eq!(settings, [r#"{"a":1}"#, r#"{"a":2}"#]);
    assert_eq!(uses.uses[0].capabilities, [Capability::Log]);
    assert!(!uses.signed);
}

#[test]
fn modules_are_judged_by_whose_signatures_rules_need() {
    let keys = Keys::new(&["a"]);
    let module = Digest::sha256(b"a module");
    let budget = Budget::default();
    let by = |list: Value| {
        let document = json!({"default": [{"type": "reject"}], "rulesFrom": list});
        Both::load(document.to_string().as_bytes(), &keys.files).expect("a policy")
    };
    let both = by(json!([signed("a")]));
    let signature = |digest: &Digest, key: &Keys| key.sign_digest("a", digest);
    let judge = |signatures: &[Signature]| {
        let policy = both.sandboxed();
        policy.judge_module(&subject(), &module, signatures, NOW, &budget).expect("an answer")
    };
    assert_eq!(judge(&[signature(&module, &keys)]).outcome, Outcome::Allow);
    assert_eq!(judge(&[]).outcome, Outcome::Deny);
    let other = signature(&Digest::sha256(b"another module"), &keys);
    assert_eq!(judge(&[other]).reasons[0].code, "digest-mismatch");
    let stranger = signature(&module, &Keys::new(&["a"]));
    assert_eq!(judge(&[stranger]).reasons[0].code, "signature-key-unknown");
    let open = Both::load(br#"{"default": [{"type": "reject"}]}"#, &[]).expect("a policy");
    let verdict = open.sandboxed().judge_module(&subject(), &module, &[], NOW, &budget);
    assert_eq!(verdict.expect("an answer").outcome, Outcome::Allow);
}

#[test]
fn mistakes_in_the_new_requirements_are_pointed_at() {
    let rule = |members: &str| format!(r#"{{"type": "rule", "module": "m.wasm"{members}}}"#);
    for (requirement, code, path) in [
        (
            r#"{"type": "anyOf", "requirements": []}"#.to_owned(),
            "requirements-empty",
            ".requirements",
        ),
        (r#"{"type": "anyOf"}"#.to_owned(), "key-missing", ""),
        (
            r#"{"type": "atLeast", "count": 0, "requirements": [{"type": "reject"}]}"#.to_owned(),
            "number-invalid",
            ".count",
        ),
        (
            r#"{"type": "atLeast", "count": 1.5, "requirements": [{"type": "reject"}]}"#.to_owned(),
            "number-invalid",
            ".count",
        ),
        (r#"{"type": "rule"}"#.to_owned(), "key-missing", ""),
        (r#"{"type": "rule", "module": ""}"#.to_owned(), "module-invalid", ".module"),
        (
            r#"{"type": "rule", "module": "oci://registry.example.com/rules/a"}"#.to_owned(),
            "module-invalid",
            ".module",
        ),
        (
            r#"{"type": "rule", "module": "https://example.com/a.wasm"}"#.to_owned(),
            "module-invalid",
            ".module",
        ),
        (rule(r#", "capabilities": ["network"]"#), "capability-unknown", ".capabilities[0]"),
        (rule(r#", "data": {"a": "b"}"#), "capability-missing", ".data"),
        (rule(r#", "settings": {"a": {"b": 1, "b": 2}}"#), "key-duplicate", ".settings.a.b"),
        (rule(r#", "settings": [1]"#), "wrong-type", ".settings"),
        (rule(r#", "budget": {"memoryMiB": 257}"#), "number-invalid", ".budget.memoryMiB"),
        (rule(r#", "budget": {"memory": 1}"#), "key-unknown", ".budget.memory"),
    ] {
        let document = format!(r#"{{"default": [{requirement}]}}"#);
        let mistakes = Both::load(document.as_bytes(), &[]).err().unwrap_or_default();
        let found: Vec<_> = mistakes.iter().map(|m| (m.code.as_str(), m.path.as_str())).collect();
        assert_eq!(found, [(code, format!("$.default[0]{path}").as_str())], "{document}");
    }
    let misplaced =
        format!(r#"{{"default": [{{"type": "reject"}}], "rulesFrom": [{}]}}"#, rule(""));
    let mistakes = Both::load(misplaced.as_bytes(), &[]).err().unwrap_or_default();
    assert_eq!(mistakes[0].code, "rule-misplaced");
}

#[test]
fn nesting_has_an_end() {
    let nested = |depth: usize| {
        let reject = json!({"type": "reject"});
        let list =
            (0..depth).fold(reject, |inner, _| json!({"type": "anyOf", "requirements": [inner]}));
        json!({"default": [list]}).to_string()
    };
    assert!(Both::load(nested(4).as_bytes(), &[]).is_ok());
    let mistakes = Both::load(nested(5).as_bytes(), &[]).err().unwrap_or_default();
    assert_eq!(mistakes[0].code, "requirements-nested");
}

proptest! {
    /// Against a model that looks at everything: what holds, and by whom.
    #[test]
    fn trees_conclude_as_their_meaning_says(tree in tree(), answers in proptest::collection::vec(0..3_u8, RULES)) {
        let mut nodes = Vec::new();
        tree.write(0, &mut nodes);
        let evaluation = Evaluation {
            scope: "default".into(),
            digest: "sha256:".into(),
            failure: None,
            nodes,
        };
        let said = |rule: u32| match answers[rule as usize] {
            0 => None,
            1 => Some(Outcome::Deny),
            _ => Some(Outcome::Error),
        };
        let mut known = BTreeMap::new();
        let verdict = loop {
            match evaluation.conclude(&known) {
                Step::Done(verdict) => break verdict,
                Step::Ask(rule) => {
                    prop_assert!(known.insert(rule, answer(said(rule))).is_none());
                }
            }
        };
        let expected = if tree.behind(&said, false).is_some() {
            Outcome::Allow
        } else if tree.behind(&said, true).is_some() {
            Outcome::Error
        } else {
            Outcome::Deny
        };
        prop_assert_eq!(verdict.outcome, expected);
        prop_assert_eq!(verdict.reasons.is_empty(), expected == Outcome::Allow);
        // What was not asked does not matter, whatever it would have said.
        for unasked in [None, Some(Outcome::Deny), Some(Outcome::Error)] {
            let mut all = known.clone();
            for rule in 0..RULES {
                let rule = u32::try_from(rule).expect("small");
                all.entry(rule).or_insert_with(|| answer(unasked));
            }
            prop_assert!(matches!(
                evaluation.conclude(&all),
                Step::Done(same) if same.outcome == expected && same.claims == verdict.claims
            ));
        }
    }
}

/// A requirement, by its meaning.
#[derive(Clone, Debug)]
enum Tree {
    Signed(Vec<u8>),
    Unsigned(Outcome),
    Rule(u32),
    Any(Vec<Tree>),
    Count(u32, Vec<Tree>),
}

const RULES: usize = 3;

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        proptest::collection::vec(0..4_u8, 0..3).prop_map(Tree::Signed),
        Just(Tree::Unsigned(Outcome::Deny)),
        Just(Tree::Unsigned(Outcome::Error)),
        (0..u32::try_from(RULES).expect("small")).prop_map(Tree::Rule),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let parts = proptest::collection::vec(inner, 1..4);
        prop_oneof![
            parts.clone().prop_map(Tree::Any),
            (1..4_u32, parts).prop_map(|(count, parts)| Tree::Count(count, parts)),
        ]
    })
}

impl Tree {
    fn write(&self, depth: u32, to: &mut Vec<Node>) {
        let (state, parts) = match self {
            Self::Signed(signers) => (State::Held(signers.iter().map(claim).collect()), &[][..]),
            Self::Unsigned(outcome) => (State::Failed(failure(*outcome)), &[][..]),
            Self::Rule(rule) => (State::Rule(*rule), &[][..]),
            Self::Any(parts) => (State::AnyOf, &parts[..]),
            Self::Count(count, parts) => (State::AtLeast(*count), &parts[..]),
        };
        to.push(Node { depth, words: String::new(), state });
        parts.iter().for_each(|part| part.write(depth + 1, to));
    }

    /// Who is behind it, if it holds. What could not be answered holds if `hopeful`, and then with as many behind
    /// it as anyone may ask for.
    fn behind(
        &self,
        said: &impl Fn(u32) -> Option<Outcome>,
        hopeful: bool,
    ) -> Option<BTreeSet<String>> {
        let all = |parts: &[Self]| -> Vec<_> {
            parts.iter().filter_map(|part| part.behind(said, hopeful)).collect()
        };
        match self {
            Self::Signed(signers) => {
                Some(signers.iter().map(|signer| format!("key {signer}")).collect())
            }
            Self::Unsigned(Outcome::Error) if hopeful => {
                Some((0..100).map(|number| format!("unknown {number}")).collect())
            }
            Self::Unsigned(_) => None,
            Self::Rule(rule) => {
                let said = said(*rule);
                let holds = said.is_none() || said == Some(Outcome::Error) && hopeful;
                holds.then(|| BTreeSet::from([format!("rule {rule}")]))
            }
            Self::Any(parts) => {
                let held = all(parts);
                (!held.is_empty()).then(|| held.into_iter().flatten().collect())
            }
            Self::Count(count, parts) => {
                let signers: BTreeSet<_> = all(parts).into_iter().flatten().collect();
                (signers.len() >= *count as usize).then_some(signers)
            }
        }
    }
}

fn claim(signer: &u8) -> Claim {
    Claim {
        format: "simple-signing".into(),
        key: format!("{signer:02}"),
        signing_key: format!("{signer:02}"),
        reference: NAME.into(),
        digest: "sha256:".into(),
        signed_at: None,
        creator: None,
        valid_until: None,
        requirement: 0,
        material: vec![format!("material {signer}")],
    }
}

fn failure(outcome: Outcome) -> Failure {
    let reason = Reason { code: "x".into(), requirement: None, message: "x".into(), hint: None };
    Failure { outcome, reasons: vec![reason] }
}

fn answer(outcome: Option<Outcome>) -> RuleAnswer {
    RuleAnswer {
        failure: outcome.map(failure),
        warnings: Vec::new(),
        annotations: BTreeMap::new(),
        valid_until: None,
    }
}

fn verdict(evaluation: &Evaluation, answers: &BTreeMap<u32, RuleAnswer>) -> Verdict {
    match evaluation.conclude(answers) {
        Step::Done(verdict) => verdict,
        Step::Ask(rule) => unreachable!("rule {rule} is asked"),
    }
}

fn signed(key: &str) -> Value {
    json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": key})
}

fn rule(module: &str) -> Value {
    json!({"type": "rule", "module": module})
}

fn at_least(count: u32, requirements: &[Value]) -> Value {
    json!({"type": "atLeast", "count": count, "requirements": requirements})
}

/// Key files by name, with their secrets.
struct Keys {
    certs: BTreeMap<String, Cert>,
    files: Vec<KeyFile>,
}

impl Keys {
    fn new(names: &[&str]) -> Self {
        let mut keys = Self { certs: BTreeMap::new(), files: Vec::new() };
        names.iter().for_each(|name| keys.add(name, &certificate(name)));
        keys.certs.insert("stranger".into(), certificate("stranger"));
        keys
    }

    fn add(&mut self, name: &str, cert: &Cert) {
        let content = cert.clone().strip_secret_key_material().to_vec().expect("a key");
        self.files.push(KeyFile { path: name.into(), content: Ok(content) });
        self.certs.insert(name.into(), cert.clone());
    }

    fn armoured(&self, name: &str) -> Vec<u8> {
        self.certs[name].armored().to_vec().expect("a key")
    }

    fn sign(&self, name: &str) -> Signature {
        self.sign_digest(name, &Digest::sha256(MANIFEST))
    }

    fn sign_digest(&self, name: &str, digest: &Digest) -> Signature {
        let key = self.certs[name].primary_key().key().clone();
        let key = key.parts_into_secret().expect("a secret").role_into_unspecified();
        stored(&key, digest)
    }

    fn signed_by(&self, names: &[&str]) -> Vec<Signature> {
        names.iter().map(|name| self.sign(name)).collect()
    }

    /// Under a list of requirements, or one.
    fn both(&self, requirements: &Value) -> Both {
        let list = match requirements {
            Value::Array(_) => requirements.clone(),
            one => json!([one]),
        };
        let document = json!({"default": list}).to_string();
        Both::load(document.as_bytes(), &self.files).expect("a policy")
    }

    fn judge(&self, requirements: &Value, signers: &[&str]) -> Verdict {
        self.judge_signed(requirements, &self.signed_by(signers))
    }

    fn judge_signed(&self, requirements: &Value, signatures: &[Signature]) -> Verdict {
        self.both(requirements).evaluate(&subject(), &evidence(signatures.to_vec()), NOW)
    }

    /// Of both builds, which have to agree.
    fn evaluation(&self, requirements: &Value, signatures: &[Signature]) -> Evaluation {
        let both = self.both(requirements);
        both.evaluation(&subject(), &evidence(signatures.to_vec()), NOW)
    }
}

fn certificate(name: &str) -> Cert {
    let (cert, _) = CertBuilder::new()
        .add_userid(format!("{name} <{name}@example.com>"))
        .set_cipher_suite(CipherSuite::Cv25519)
        .set_profile(openpgp::Profile::RFC4880)
        .expect("a profile")
        .set_creation_time(at(MADE))
        .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
        .generate()
        .expect("a certificate");
    cert
}

fn ed25519() -> Key4<SecretParts, PrimaryRole> {
    let mut key: Key4<SecretParts, PrimaryRole> =
        Key4::generate_ecc(true, Curve::Ed25519).expect("a key");
    key.set_creation_time(at(MADE)).expect("a time");
    key
}

/// A certificate of a primary key and of a signing subkey, which may be another certificate's, too.
fn adopting(
    primary: &Key4<SecretParts, PrimaryRole>,
    subkey: &Key<SecretParts, SubordinateRole>,
) -> Cert {
    let primary = Key::from(primary.clone());
    let cert = bound(primary.clone());
    let mut signer = primary.clone().into_keypair().expect("a key pair");
    let mut subkey_signer = subkey.clone().into_keypair().expect("a key pair");
    let back = SignatureBuilder::new(SignatureType::PrimaryKeyBinding)
        .set_signature_creation_time(at(MADE))
        .and_then(|builder| {
            builder.sign_primary_key_binding(&mut subkey_signer, primary.parts_as_public(), subkey)
        })
        .expect("a signature by the subkey");
    let binding = SignatureBuilder::new(SignatureType::SubkeyBinding)
        .set_signature_creation_time(at(MADE))
        .and_then(|builder| builder.set_key_flags(KeyFlags::empty().set_signing()))
        .and_then(|builder| builder.set_embedded_signature(back))
        .and_then(|builder| subkey.bind(&mut signer, &cert, builder))
        .expect("a binding");
    let packets: [openpgp::Packet; 2] = [subkey.clone().into(), binding.into()];
    cert.insert_packets(packets).expect("a certificate").0
}

/// A certificate of a primary key that exists already.
fn bound(key: Key<SecretParts, PrimaryRole>) -> Cert {
    let mut signer = key.clone().into_keypair().expect("a key pair");
    let user = UserID::from("Same <same@example.com>");
    let cert = Cert::try_from(openpgp::Packet::from(key)).expect("a certificate");
    let binding = SignatureBuilder::new(SignatureType::PositiveCertification)
        .set_signature_creation_time(at(MADE))
        .and_then(|builder| {
            builder.set_key_flags(KeyFlags::empty().set_certification().set_signing())
        })
        .and_then(|builder| user.bind(&mut signer, &cert, builder))
        .expect("a binding");
    let packets: [openpgp::Packet; 2] = [user.into(), binding.into()];
    cert.insert_packets(packets).expect("a certificate").0
}

fn sign_with(key: Key<SecretParts, openpgp::packet::key::UnspecifiedRole>) -> Signature {
    stored(&key, &Digest::sha256(MANIFEST))
}

fn stored(
    key: &Key<SecretParts, openpgp::packet::key::UnspecifiedRole>,
    digest: &Digest,
) -> Signature {
    let reference = Reference::parse_normalized(NAME).expect("a name");
    let mut content = Vec::new();
    let message = Message::new(&mut content);
    let pair = key.clone().into_keypair().expect("a key pair");
    let message = Signer::new(message, pair)
        .and_then(|signer| signer.hash_algo(HashAlgorithm::SHA512))
        .and_then(|signer| signer.creation_time(at(MADE + 1)).build())
        .expect("a signer");
    let mut message = LiteralWriter::new(message).build().expect("a message");
    std::io::Write::write_all(&mut message, payload(digest, &reference, MADE + 1).as_bytes())
        .expect("content");
    message.finalize().expect("a signature");
    Signature { source: "test".into(), form: SignatureForm::Stored, content }
}

fn subject() -> Subject {
    Subject {
        transport: "docker".into(),
        name: format!("docker://{NAME}"),
        reference: Some(NAME.into()),
        path: None,
    }
}

fn evidence(signatures: Vec<Signature>) -> Evidence {
    Evidence { manifest: MANIFEST.to_vec(), index: None, signatures }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
