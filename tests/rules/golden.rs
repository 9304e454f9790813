//! The golden component: a rule that was made once for interface 0.1.0, and must work as it did for ever.

use std::collections::BTreeMap;
use std::path::PathBuf;

use countersign::digest::Digest;
use countersign::engine::{Rule, RuleEngine, RuleLimits, RuleSettings, Run, Stop};
use countersign::rule::{
    Answer, Capability, Descriptor, Document, Documents, Image, LogLine, Question, RuleReason,
    Want, Workload,
};
use wit_parser::{Resolve, TypeDefKind, WorldItem};

use super::module::{all, encode, engine, rule};
use crate::support::root;

#[test]
fn describes_itself() {
    let module = engine().compile(&golden()).expect("a module");
    let description = module.describe(&RuleLimits::default()).expect("a description");
    assert_eq!(description.name, "golden");
    assert_eq!(description.version, "1.0.0");
    assert_eq!(description.purpose, "Uses everything that a rule can use");
    assert_eq!(description.capabilities, ["artifact", "crypto", "data", "log"]);
    let schema: serde_json::Value =
        serde_json::from_str(&description.settings_schema).expect("a schema");
    assert_eq!(schema["type"], "object");
    assert_eq!(*module.imports(), all());
    assert_eq!(module.sha256(), Digest::sha256(&golden()).hex());
}

#[test]
fn checks_settings() {
    let rule = golden_rule();
    let limits = RuleLimits::default();
    let complaints = rule.check_settings("x", &limits).expect("an answer");
    assert_eq!(complaints, ["the settings have a mistake"]);
    assert_eq!(rule.check_settings("{}", &limits).expect("an answer"), [""; 0]);
}

/// Everything that goes in comes out as the rule saw it.
#[test]
fn gets_what_each_capability_gives() {
    let run = ask(&golden_rule(), &question("{}"), &documents()).expect("an answer");
    let expected = Answer {
        reasons: Vec::new(),
        allow: true,
        warnings: vec!["{}".to_owned()],
        annotations: [
            ("manifest", MANIFEST),
            ("sha256", Digest::sha256(MANIFEST.as_bytes()).hex()),
            ("config", CONFIG),
            ("referrers", &attached()),
            ("attached", ATTACHED),
            ("names", "another"),
            ("note", NOTE),
            ("kind", "Deployment"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        valid_until: Some(1_060),
    };
    assert_eq!(run.answer, expected);
    let line = LogLine { level: "info".to_owned(), message: "asked".to_owned() };
    assert_eq!((run.log, run.log_dropped), (vec![line], 0));
    assert!(run.memory >= 2 << 16, "{}", run.memory);
}

#[test]
fn denies_with_its_own_reason() {
    let run = ask(&golden_rule(), &question("deny"), &documents()).expect("an answer");
    let reason = RuleReason { code: "deny".to_owned(), message: "deny".to_owned() };
    assert_eq!((run.answer.allow, run.answer.reasons), (false, vec![reason]));
}

/// It is run again with each document that it wanted, and wants each once.
#[test]
fn asks_for_one_document_after_another() {
    let rule = golden_rule();
    let mut given = Documents::new();
    let mut wanted = Vec::new();
    let answer = loop {
        match ask(&rule, &question("{}"), &given) {
            Err(Stop::Wanted(want)) => {
                let document = documents().remove(&want).expect("a document that is there");
                assert!(given.insert(want.clone(), document).is_none(), "{want:?} again");
                wanted.push(want);
            }
            answer => break answer,
        }
    };
    assert_eq!(wanted, [Want::Config, Want::Referrers, Want::Attached(attached())]);
    let at_once = ask(&rule, &question("{}"), &documents()).expect("an answer");
    assert_eq!(answer.expect("an answer").answer, at_once.answer);
}

/// What names no document is absent at once, and what is not attached when the host has looked.
#[test]
fn is_told_what_is_absent() {
    let rule = golden_rule();
    let name = |run: &Run, name: &str| {
        run.answer.annotations.iter().any(|(annotation, _)| annotation == name)
    };
    let mut given = documents();
    given.insert(Want::Attached(attached()), Document::Absent);
    let run = ask(&rule, &question("{}"), &given).expect("an answer");
    assert!(name(&run, "referrers") && !name(&run, "attached"));
    given.insert(Want::Referrers, Document::Descriptors(Vec::new().into()));
    let run = ask(&rule, &question("{}"), &given).expect("an answer");
    assert!(!name(&run, "referrers"));
    let mut nonsense = descriptor(TYPE);
    nonsense.digest = "../../etc/passwd".to_owned();
    given.insert(Want::Referrers, Document::Descriptors([nonsense].into()));
    let run = ask(&rule, &question("{}"), &given).expect("an answer");
    assert!(name(&run, "referrers") && !name(&run, "attached"));
}

/// The same question gets the same answer, from whichever instance.
#[test]
fn answers_the_same_in_a_pool_and_without() {
    let pooled = ask(&golden_rule(), &question("{}"), &documents()).expect("an answer");
    let engine = RuleEngine::new(&RuleSettings::default()).expect("an engine");
    let alone = rule(&engine, &golden()).expect("a rule");
    for _ in 0..2 {
        let run = ask(&alone, &question("{}"), &documents()).expect("an answer");
        assert_eq!(run.answer, pooled.answer);
        assert_eq!(run.memory, pooled.memory);
    }
}

/// A host of a later version has all that this one has, as it was.
#[test]
fn interface_has_everything_that_was_released() {
    let now = Interface::of("wit/rule.wit");
    let released = Interface::of("wit/0.1.0/rule.wit");
    assert!(released.items.len() > 30, "only {} items", released.items.len());
    for (name, item) in &released.items {
        assert_eq!(now.items.get(name), Some(item), "{name} of wit/0.1.0/rule.wit");
    }
}

/// Make the file. It was done once.
#[test]
#[ignore = "the file is kept as it is for ever"]
fn make() {
    let text = std::fs::read_to_string(folder().join("golden-0.1.0.wat")).expect("a file");
    let imports: String = Capability::ALL
        .iter()
        .map(|name| format!("import countersign:policy/{name}@0.1.0; "))
        .collect();
    let wasm = encode(&text, &imports, "0.1.0");
    std::fs::write(folder().join("golden-0.1.0.wasm"), wasm).expect("a file");
}

/// The bytes of the golden component.
pub(crate) fn golden() -> Vec<u8> {
    std::fs::read(folder().join("golden-0.1.0.wasm")).expect("a file")
}

fn golden_rule() -> Rule {
    rule(&engine(), &golden()).expect("a rule")
}

fn ask(rule: &Rule, question: &Question, documents: &Documents) -> Result<Run, Stop> {
    let data = BTreeMap::from([
        ("another".to_owned(), b"x".to_vec()),
        ("note".to_owned(), NOTE.as_bytes().to_vec()),
    ]);
    rule.evaluate(question, MANIFEST.as_bytes(), documents, &data, &RuleLimits::default())
}

fn question(settings: &str) -> Question {
    Question {
        image: Image {
            name: "docker://registry.example.com/ns/app:1".to_owned(),
            digest: Digest::sha256(MANIFEST.as_bytes()).to_string(),
            ..Image::default()
        },
        claims: Vec::new(),
        attestations: Vec::new(),
        workload: Some(Workload { kind: "Deployment".to_owned(), ..Workload::default() }),
        settings: settings.to_owned(),
        now: 1_000,
    }
}

fn documents() -> Documents {
    let list = [descriptor("application/other"), descriptor(TYPE)];
    Documents::from([
        (Want::Config, Document::Bytes(CONFIG.as_bytes().into())),
        (Want::Referrers, Document::Descriptors(list.into())),
        (Want::Attached(attached()), Document::Bytes(ATTACHED.as_bytes().into())),
    ])
}

fn descriptor(kind: &str) -> Descriptor {
    Descriptor {
        digest: if kind == TYPE { attached() } else { Digest::sha256(b"other").to_string() },
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        artifact_type: Some(kind.to_owned()),
        size: 8,
        annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
    }
}

fn attached() -> String {
    Digest::sha256(ATTACHED.as_bytes()).to_string()
}

fn folder() -> PathBuf {
    root().join("tests/data/rules")
}

/// Every function and type of a file, in words that differ if anything of it does.
struct Interface {
    items: BTreeMap<String, String>,
}

impl Interface {
    fn of(file: &str) -> Self {
        let text = std::fs::read_to_string(root().join(file)).expect("a file");
        let mut resolve = Resolve::default();
        resolve.push_str("rule.wit", &text).expect("an interface");
        let mut items = BTreeMap::new();
        for (_, interface) in &resolve.interfaces {
            let of = interface.name.clone().unwrap_or_default();
            for (name, function) in &interface.functions {
                let params: Vec<_> = function
                    .params
                    .iter()
                    .map(|param| format!("{}: {}", param.name, words(&resolve, &param.ty)))
                    .collect();
                let result = function.result.as_ref().map(|ty| words(&resolve, ty));
                items.insert(format!("{of}#{name}"), format!("{params:?} -> {result:?}"));
            }
            for (name, id) in &interface.types {
                let kind = &resolve.types[*id].kind;
                items.insert(format!("{of}.{name}"), kind_words(&resolve, kind));
            }
        }
        for (_, world) in &resolve.worlds {
            let names = |items: &wit_parser::IndexMap<wit_parser::WorldKey, WorldItem>| {
                let names: Vec<_> = items.keys().map(|key| resolve.name_world_key(key)).collect();
                names.join(", ")
            };
            let item =
                format!("imports {}; exports {}", names(&world.imports), names(&world.exports));
            items.insert(format!("world {}", world.name), item);
        }
        Self { items }
    }
}

fn words(resolve: &Resolve, ty: &wit_parser::Type) -> String {
    match ty {
        wit_parser::Type::Id(id) => match &resolve.types[*id].name {
            Some(name) => name.clone(),
            None => kind_words(resolve, &resolve.types[*id].kind),
        },
        plain => format!("{plain:?}"),
    }
}

fn kind_words(resolve: &Resolve, kind: &TypeDefKind) -> String {
    match kind {
        TypeDefKind::Record(record) => {
            let fields = record.fields.iter();
            let fields: Vec<_> = fields
                .map(|field| format!("{}: {}", field.name, words(resolve, &field.ty)))
                .collect();
            format!("record {fields:?}")
        }
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter();
            let cases: Vec<_> = cases
                .map(|case| {
                    format!("{} {:?}", case.name, case.ty.as_ref().map(|ty| words(resolve, ty)))
                })
                .collect();
            format!("variant {cases:?}")
        }
        TypeDefKind::Enum(cases) => {
            let cases: Vec<_> = cases.cases.iter().map(|case| case.name.as_str()).collect();
            format!("enum {cases:?}")
        }
        TypeDefKind::List(ty) => format!("list of {}", words(resolve, ty)),
        TypeDefKind::Option(ty) => format!("option of {}", words(resolve, ty)),
        TypeDefKind::Tuple(tuple) => {
            let types: Vec<_> = tuple.types.iter().map(|ty| words(resolve, ty)).collect();
            format!("tuple {types:?}")
        }
        other => format!("{other:?}"),
    }
}

const MANIFEST: &str = "the manifest";
const CONFIG: &str = "the configuration";
const ATTACHED: &str = "attached";
const NOTE: &str = "a note";
const TYPE: &str = "application/example";
