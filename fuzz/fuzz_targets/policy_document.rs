//! Policy documents: what `check` finds and what `parse` refuses is the same, and in whatever parses each
//! image finds requirements.
#![no_main]

use guest_policy::image::Subject;
use guest_policy::policy::{Policy, Requirement, check, dialect};
use guest_policy::verdict::Severity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|document: &[u8]| {
    let mistakes = check(document, &|_| None);
    for mistake in mistakes.iter().chain(&dialect(document)) {
        assert!(mistake.path.starts_with('$') && mistake.line > 0 && mistake.column > 0);
    }
    let errors = mistakes.into_iter().filter(|mistake| mistake.severity == Severity::Error);
    let errors: Vec<_> = errors.collect();
    match Policy::parse(document) {
        Ok(policy) => {
            assert_eq!(errors, []);
            SUBJECTS.into_iter().for_each(|subject| look_up(&policy, subject));
            let paths = policy.key_paths();
            assert!(paths.iter().all(|path| paths.iter().filter(|p| *p == path).count() == 1));
        }
        Err(refused) => {
            assert!(!refused.is_empty());
            assert_eq!(refused, errors);
        }
    }
});

fn look_up(policy: &Policy, (transport, reference, path): (&str, Option<&str>, Option<&str>)) {
    let subject = Subject {
        transport: transport.to_owned(),
        name: transport.to_owned(),
        reference: reference.map(str::to_owned),
        path: path.map(str::to_owned),
    };
    let lookup = policy.lookup(&subject).expect("the image can be looked up");
    assert!(!lookup.requirements.is_empty());
    let rules = policy.rules().uses.len();
    for requirement in lookup.requirements.iter().flat_map(Requirement::all) {
        assert!(!matches!(requirement, Requirement::Rule(rule) if *rule as usize >= rules));
    }
    let first = lookup.candidates.iter().find(|candidate| candidate.present);
    assert_eq!(first.map(|candidate| &candidate.scope), Some(&lookup.scope));
}

const SUBJECTS: [(&str, Option<&str>, Option<&str>); 6] = [
    ("atomic", Some("Registry.example.com:8443/ns/stream:tag"), None),
    ("containers-storage", None, Some("[overlay@/var/lib]docker.io/library/busybox:1")),
    ("dir", None, Some("/srv/images/app")),
    ("docker", Some("docker.io/library/busybox:latest"), None),
    ("docker-daemon", None, None),
    ("oci", None, Some("/srv/images/app")),
];
