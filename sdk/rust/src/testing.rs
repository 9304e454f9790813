//! Rules without a sandbox: `cargo test`.
//!
//! [`rule!`](crate::rule!) adds a test that asks the rule each golden case of the folder `cases`; what the
//! capabilities give is then what the case says. Tests of your own say it with [`Capabilities`]:
//!
//! ```
//! use countersign_rule::{artifact, testing::Capabilities};
//!
//! let given = Capabilities::default().config(br#"{"config":{"User":"1000"}}"#);
//! let config = given.during(artifact::config);
//! assert!(!config.is_empty());
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use crate::Rule;
use crate::artifact::Descriptor;
use crate::crypto::{Hash, Scheme};

mod base64;
mod case;
mod time;

/// What the capabilities give while a test runs. Asking for what is not here fails the test, with a message
/// that says what to add.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    manifest: Option<Vec<u8>>,
    config: Option<Vec<u8>>,
    referrers: Option<Vec<Descriptor>>,
    attached: BTreeMap<String, Vec<u8>>,
    data: BTreeMap<String, Vec<u8>>,
    digest: Option<Hasher>,
    verify: Option<Verify>,
}

/// As [`crate::crypto::digest`].
type Hasher = fn(Hash, &[u8]) -> Vec<u8>;

/// As [`crate::crypto::verify`].
type Verify = fn(Scheme, &[u8], &[u8], &[u8]) -> bool;

impl Capabilities {
    /// What [`artifact::manifest`](crate::artifact::manifest) gives.
    #[must_use]
    pub fn manifest(self, bytes: &[u8]) -> Self {
        Self { manifest: Some(bytes.to_vec()), ..self }
    }

    /// What [`artifact::config`](crate::artifact::config) gives.
    #[must_use]
    pub fn config(self, bytes: &[u8]) -> Self {
        Self { config: Some(bytes.to_vec()), ..self }
    }

    /// What [`artifact::referrers`](crate::artifact::referrers) gives.
    #[must_use]
    pub fn referrers(self, descriptors: impl IntoIterator<Item = Descriptor>) -> Self {
        Self { referrers: Some(descriptors.into_iter().collect()), ..self }
    }

    /// A document that [`artifact::attached`](crate::artifact::attached) gives. Others are absent.
    #[must_use]
    pub fn attached(mut self, digest: impl Into<String>, bytes: &[u8]) -> Self {
        self.attached.insert(digest.into(), bytes.to_vec());
        self
    }

    /// A document that [`data::read`](crate::data::read) gives. Others are absent.
    #[must_use]
    pub fn data(mut self, name: impl Into<String>, bytes: &[u8]) -> Self {
        self.data.insert(name.into(), bytes.to_vec());
        self
    }

    /// What stands for [`crypto::digest`](crate::crypto::digest).
    #[must_use]
    pub fn digest(self, digest: fn(Hash, &[u8]) -> Vec<u8>) -> Self {
        Self { digest: Some(digest), ..self }
    }

    /// What stands for [`crypto::verify`](crate::crypto::verify).
    #[must_use]
    pub fn verify(self, verify: fn(Scheme, &[u8], &[u8], &[u8]) -> bool) -> Self {
        Self { verify: Some(verify), ..self }
    }

    /// Run something to which the capabilities give this, in this thread.
    pub fn during<T>(self, run: impl FnOnce() -> T) -> T {
        /// Puts back what was there, also after a failed assertion.
        struct Back(Option<Capabilities>);
        impl Drop for Back {
            fn drop(&mut self) {
                GIVEN.set(self.0.take());
            }
        }
        let _back = Back(GIVEN.replace(Some(self)));
        run()
    }
}

thread_local! {
    static GIVEN: RefCell<Option<Capabilities>> = const { RefCell::new(None) };
}

/// Ask a rule each golden case of a folder, and fail with all that did not come out as expected. Cases of a rule
/// that uses capability `crypto` are for `countersign rule test` alone: the host computes there.
#[doc(hidden)]
#[track_caller]
pub fn golden_cases<R: Rule>(folder: &Path) {
    if R::CAPABILITIES.contains(&"crypto") {
        eprintln!("not asked here, since the rule uses crypto: try `countersign rule test`");
        return;
    }
    let failures = match case::read(folder) {
        Ok(cases) => cases.iter().filter_map(|(name, case)| case.failure::<R>(name)).collect(),
        Err(mistakes) => mistakes,
    };
    assert!(failures.is_empty(), "golden cases in {}:\n{}", folder.display(), failures.join("\n"));
}

/// The capabilities, as tests have them.
pub(crate) mod given {
    use super::{Capabilities, GIVEN};

    #[track_caller]
    fn given<T>(what: &str, of: impl FnOnce(&Capabilities) -> Option<T>) -> T {
        let found = GIVEN.with_borrow(|given| given.as_ref().and_then(of));
        found.unwrap_or_else(|| {
            panic!(
                "the rule asks for {what}, and this test does not say what that is; in a golden case it belongs \
                 to `capabilities`, elsewhere to `countersign_rule::testing::Capabilities`"
            )
        })
    }

    pub(crate) mod artifact {
        use super::given;
        use crate::artifact::Descriptor;

        pub(crate) fn manifest() -> Vec<u8> {
            given("the image's manifest", |given| given.manifest.clone())
        }

        pub(crate) fn config() -> Vec<u8> {
            given("the image's configuration", |given| given.config.clone())
        }

        pub(crate) fn referrers(artifact_type: Option<&str>) -> Vec<Descriptor> {
            let mut found = given("the image's referrers", |given| given.referrers.clone());
            found.retain(|one| {
                artifact_type.is_none() || one.artifact_type.as_deref() == artifact_type
            });
            found
        }

        pub(crate) fn attached(digest: &str) -> Option<Vec<u8>> {
            given("an attached document", |given| Some(given.attached.get(digest).cloned()))
        }
    }

    pub(crate) mod data {
        use super::given;

        pub(crate) fn names() -> Vec<String> {
            given("the names of documents", |given| Some(given.data.keys().cloned().collect()))
        }

        pub(crate) fn read(name: &str) -> Option<Vec<u8>> {
            given("a document", |given| Some(given.data.get(name).cloned()))
        }
    }

    pub(crate) mod crypto {
        use super::given;
        use crate::crypto::{Hash, Scheme};

        pub(crate) fn digest(hash: Hash, message: &[u8]) -> Vec<u8> {
            given("a digest", |given| given.digest)(hash, message)
        }

        pub(crate) fn verify(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
            given("a verification", |given| given.verify)(scheme, key, message, signature)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{artifact, crypto, data};

    #[test]
    fn capabilities_give_what_the_test_says() {
        let one = |kind: &str| Descriptor {
            artifact_type: Some(kind.to_owned()),
            ..Descriptor::default()
        };
        let given = Capabilities::default()
            .manifest(b"m")
            .config(b"c")
            .referrers([one("a"), one("b")])
            .attached("sha256:x", b"x")
            .data("n", b"d")
            .digest(|_, message| message.to_vec())
            .verify(|_, key, _, _| key == b"k");
        given.during(|| {
            assert_eq!((artifact::manifest(), artifact::config()), (b"m".to_vec(), b"c".to_vec()));
            assert_eq!(
                (artifact::referrers(None).len(), artifact::referrers(Some("a")).len()),
                (2, 1)
            );
            assert_eq!(artifact::attached("sha256:x").as_deref(), Some(&b"x"[..]));
            assert_eq!(artifact::attached("sha256:y"), None);
            assert_eq!(
                (data::names(), data::read("n")),
                (vec!["n".to_owned()], Some(b"d".to_vec()))
            );
            assert_eq!(data::read("m"), None);
            assert_eq!(crypto::digest(Hash::Sha256, b"x"), b"x");
            assert!(crypto::verify(Scheme::Ed25519, b"k", b"", b""));
        });
    }

    #[test]
    #[should_panic(expected = "asks for the image's configuration")]
    fn what_the_test_does_not_say_fails_it() {
        let _ = Capabilities::default().manifest(b"m").during(artifact::config);
    }

    #[test]
    #[should_panic(expected = "asks for a document")]
    fn nothing_is_given_afterwards() {
        Capabilities::default().data("n", b"d").during(|| assert!(data::read("n").is_some()));
        let _ = data::read("n");
    }
}
