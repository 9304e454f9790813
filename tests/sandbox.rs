//! The sandbox: what the engine component may do, hostile components in its place, hostile input.

use std::sync::OnceLock;

use countersign::engine::{Budget, Engine, Settings};
use countersign::vocabulary::{Evidence, Subject};

pub(crate) use self::component::encoded;
pub(crate) use self::hostile::ticking;

mod artifact;
mod component;
mod hostile;
mod input;
mod packets;
mod seal;

/// The embedded engine without a pool, as the command line runs it.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(&Settings::default()).expect("the embedded engine starts"))
}

#[test]
fn answers_a_question() {
    let document = br#"{"default":[{"type":"reject"}]}"#;
    let policy = engine().load(document, &[]).expect("a policy");
    let verdict = policy
        .evaluate(&subject(), &Evidence::default(), 0, &Budget::default())
        .expect("a verdict");
    assert_ne!(verdict.outcome, countersign::verdict::Outcome::Allow);
}

fn subject() -> Subject {
    Subject {
        transport: "docker".into(),
        name: "docker://example.com/ns/app:1".into(),
        reference: Some("example.com/ns/app:1".into()),
        path: None,
    }
}
