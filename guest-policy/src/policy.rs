//! The policy document, containers-policy.json(5): what must hold for which image.
//!
//! [`Policy::parse`] accepts exactly what the reference implementation accepts, less what would fail open;
//! [`Policy::lookup`] finds the one list of requirements that decides about an image.

mod document;
mod identity;
mod json;
mod mistakes;
mod requirement;

pub use identity::{IdentityMatch, InvalidPrefix, Prefix};
pub use requirement::{
    AtLeast, Fulcio, KeySource, KeyType, Material, Pki, Requirement, SignedBy, SigstoreSigned,
    SigstoreTrust,
};

use std::collections::BTreeMap;

use crate::image::Subject;
use crate::reference::{Reference, ReferenceError};
use crate::rule::{RuleUse, RuleUses};
use crate::scope;
use crate::verdict::{Candidate, Mistake};

/// How verdicts name the requirements for images that no scope covers.
pub const DEFAULT_SCOPE: &str = "default";

/// A policy document, completely valid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    default: Vec<Requirement>,
    transports: BTreeMap<String, Scopes>,
    rules_from: Option<Vec<Requirement>>,
    rules: Vec<RuleUse>,
    key_paths: Vec<String>,
}

impl Policy {
    /// Parse a document. Fails with every error that [`check`] would report, without its warnings.
    pub fn parse(document: &[u8]) -> Result<Self, Vec<Mistake>> {
        let (policy, mistakes) = document::read(document, &|_| None);
        let errors = mistakes.into_parts().errors;
        match policy {
            Some(policy) if errors.is_empty() => Ok(policy),
            _ => Err(errors),
        }
    }

    /// The requirements that decide about `subject`: those of the first scope that the document has, from
    /// the image's identity to the transport's general scope, otherwise the default ones. Nothing is merged.
    pub fn lookup(&self, subject: &Subject) -> Result<Lookup<'_>, SubjectError> {
        let transport = subject.transport.as_str();
        let keys = keys(subject)?;
        let scopes = self.transports.get(transport);
        let mut decisive = None;
        let mut candidates = Vec::with_capacity(keys.len() + 1);
        for key in keys {
            let requirements = scopes.and_then(|scopes| scopes.get(&key));
            let scope = format!("{transport}/{key}");
            if let (None, Some(requirements)) = (&decisive, requirements) {
                decisive = Some((scope.clone(), requirements));
            }
            candidates.push(Candidate { scope, present: requirements.is_some() });
        }
        candidates.push(Candidate { scope: DEFAULT_SCOPE.to_owned(), present: true });
        let (scope, requirements) = decisive.unwrap_or((DEFAULT_SCOPE.to_owned(), &self.default));
        Ok(Lookup { scope, requirements, candidates })
    }

    /// Every requirement of the document, those that are made of others and these.
    pub(crate) fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        let scopes = self.transports.values().flat_map(BTreeMap::values).flatten();
        let rules_from = self.rules_from.iter().flatten();
        self.default.iter().chain(scopes).chain(rules_from).flat_map(Requirement::all)
    }

    /// The rules that requirements name by index.
    pub fn rules(&self) -> RuleUses {
        RuleUses { uses: self.rules.clone(), signed: self.rules_from.is_some() }
    }

    /// The rule with an index.
    pub(crate) fn rule(&self, index: u32) -> Option<&RuleUse> {
        self.rules.get(usize::try_from(index).ok()?)
    }

    /// `rulesFrom`: what must hold of the signatures of a rule's module, if anything.
    pub fn rules_from(&self) -> Option<&[Requirement]> {
        self.rules_from.as_deref()
    }

    /// The key files of all `signedBy` requirements, in order of appearance and without repetition.
    pub fn key_paths(&self) -> Vec<String> {
        self.key_paths.clone()
    }

    /// The requirements of no scope.
    #[cfg(feature = "probe")]
    pub(crate) fn default_requirements(&self) -> &[Requirement] {
        &self.default
    }

    /// Each scope of each transport with its requirements.
    #[cfg(feature = "probe")]
    pub(crate) fn transports(&self) -> &BTreeMap<String, Scopes> {
        &self.transports
    }
}

/// What [`Policy::lookup`] found.
#[derive(Clone, Debug)]
pub struct Lookup<'a> {
    /// As `verdict.scope`: `transport/scope`, `transport/` for its general scope, or `default`. Hosts are in
    /// lower case, as they are compared.
    pub scope: String,
    /// All of them must hold. Never empty.
    pub requirements: &'a [Requirement],
    /// Every key that was tried or would have been, in lookup order; the last is `default`.
    pub candidates: Vec<Candidate>,
}

/// An image that no scope can be looked up for. The fault of whoever named the image.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// The reference is not complete, or more than that.
    #[error("{transport}: expected {expected}, got {reference}")]
    Form {
        /// The transport's name.
        transport: String,
        /// What was given.
        reference: String,
        /// What its form should be.
        expected: &'static str,
    },
    /// The transport names its images by path, and there is none, or none that can be looked up.
    #[error("{transport}: an image of this transport needs an absolute path")]
    NoPath {
        /// The transport's name.
        transport: String,
    },
    /// The transport names its images by Docker reference, and there is none.
    #[error("{transport}: an image of this transport needs a Docker reference")]
    NoReference {
        /// The transport's name.
        transport: String,
    },
    /// The reference is not one.
    #[error("{reference:?}: {source}")]
    Reference {
        /// What was given.
        reference: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// No image is of this transport.
    #[error("the transport \"{transport}:\" is not supported in this build")]
    Transport {
        /// The transport's name.
        transport: String,
    },
}

/// Something wrong with a key that a requirement names, as whoever can parse keys sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyProblem {
    /// As [`Mistake::code`].
    pub code: String,
    /// As [`Mistake::message`].
    pub message: String,
    /// As [`Mistake::hint`].
    pub hint: Option<String>,
}

/// Every mistake in a document: errors in order of appearance, then warnings. `problem` looks at each key of a
/// `signedBy` requirement; its answers become warnings at the place that names the key.
pub fn check(document: &[u8], problem: &dyn Fn(&Material) -> Option<KeyProblem>) -> Vec<Mistake> {
    let (_, mistakes) = document::read(document, problem);
    let mut parts = mistakes.into_parts();
    parts.errors.append(&mut parts.warnings);
    parts.errors
}

/// What of a document the implementations of containers-policy.json(5) refuse, though it is right here: in order of
/// appearance.
pub fn dialect(document: &[u8]) -> Vec<Mistake> {
    let (_, mistakes) = document::read(document, &|_| None);
    mistakes.into_parts().foreign
}

/// A transport's scopes, hosts in lower case, and their requirements.
pub(crate) type Scopes = BTreeMap<String, Vec<Requirement>>;

/// The keys that are tried for an image, most specific first, without repetition; the last is the general
/// scope `""`.
fn keys(subject: &Subject) -> Result<Vec<String>, SubjectError> {
    let transport = subject.transport.as_str();
    let mut keys = match transport {
        "docker" | "atomic" => docker_keys(transport, &needed_reference(subject)?)?,
        // Named by the identifier of its configuration, an image has no identity.
        "docker-daemon" if subject.reference.is_none() => Vec::new(),
        "docker-daemon" => docker_keys(transport, &needed_reference(subject)?)?,
        "dir" | "oci" | "oci-archive" | "sif" => path_keys(subject)?,
        "docker-archive" | "tarball" => Vec::new(),
        "containers-storage" => storage_keys(subject)?,
        _ => return Err(SubjectError::Transport { transport: transport.to_owned() }),
    };
    keys.push(String::new());
    Ok(keys)
}

fn needed_reference(subject: &Subject) -> Result<Reference, SubjectError> {
    let Some(text) = &subject.reference else {
        return Err(SubjectError::NoReference { transport: subject.transport.clone() });
    };
    Reference::parse_normalized(text)
        .map_err(|source| SubjectError::Reference { reference: text.clone(), source })
}

fn docker_keys(transport: &str, reference: &Reference) -> Result<Vec<String>, SubjectError> {
    let form = |expected| {
        let (transport, reference) = (transport.to_owned(), reference.to_string());
        Err(SubjectError::Form { transport, reference, expected })
    };
    match (reference.tag(), reference.digest()) {
        (Some(_), Some(_)) => return form("a reference with a tag or a digest, not both"),
        (None, None) => return form("a reference with a tag or a digest"),
        _ => {}
    }
    if transport == "atomic"
        && (reference.tag().is_none() || reference.path().split('/').count() != 2)
    {
        return form("host[:port]/namespace/stream:tag");
    }
    let identity = scope::docker_identity(reference);
    let keys = std::iter::once(identity).chain(scope::docker_namespaces(reference));
    Ok(keys.map(|key| scope::folded(transport, &key).into_owned()).collect())
}

fn path_keys(subject: &Subject) -> Result<Vec<String>, SubjectError> {
    match &subject.path {
        Some(path) if path.starts_with('/') => {
            let mut keys = vec![path.clone()];
            keys.extend(scope::path_namespaces(path));
            Ok(keys)
        }
        _ => Err(SubjectError::NoPath { transport: subject.transport.clone() }),
    }
}

/// The path of an image in local storage is its whole identity, `[driver@graphroot]name[:tag][@digest][@id]`.
fn storage_keys(subject: &Subject) -> Result<Vec<String>, SubjectError> {
    let missing = || SubjectError::NoPath { transport: subject.transport.clone() };
    let identity = subject.path.as_ref().ok_or_else(missing)?;
    let namespaces = scope::storage_namespaces(identity).ok_or_else(missing)?;
    let keys = std::iter::once(identity.clone()).chain(namespaces);
    Ok(keys.map(|key| scope::folded(&subject.transport, &key).into_owned()).collect())
}

/// Largest document, in bytes: a hundred times a policy of a hundred scopes.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::verdict::Severity;

    const REJECT: &str = r#"[{"type": "reject"}]"#;
    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn with_scopes(transport: &str, scopes: &[&str]) -> Policy {
        let scopes: Vec<String> =
            scopes.iter().map(|scope| format!("{scope:?}: {REJECT}")).collect();
        let scopes = scopes.join(",");
        let document =
            format!(r#"{{"default": {REJECT}, "transports": {{{transport:?}: {{{scopes}}}}}}}"#);
        Policy::parse(document.as_bytes()).expect("a policy")
    }

    fn image(transport: &str, reference: Option<&str>, path: Option<&str>) -> Subject {
        Subject {
            transport: transport.into(),
            name: "an image".into(),
            reference: reference.map(Into::into),
            path: path.map(Into::into),
        }
    }

    fn docker(reference: &str) -> Subject {
        image("docker", Some(reference), None)
    }

    fn scope(policy: &Policy, subject: &Subject) -> String {
        policy.lookup(subject).expect("a scope").scope
    }

    /// `code path line:column` of each.
    fn places(mistakes: &[Mistake]) -> Vec<String> {
        let place = |m: &Mistake| format!("{} {} {}:{}", m.code, m.path, m.line, m.column);
        mistakes.iter().map(place).collect()
    }

    fn codes(document: &str) -> Vec<String> {
        check(document.as_bytes(), &|_| None).into_iter().map(|mistake| mistake.code).collect()
    }

    fn in_default(requirement: &str) -> String {
        format!(r#"{{"default": [{requirement}]}}"#)
    }

    fn signed_by(keys: &str) -> String {
        in_default(&format!(r#"{{"type": "signedBy", "keyType": "GPGKeys", {keys}}}"#))
    }

    #[test]
    fn the_most_specific_scope_decides_alone() {
        let scopes = ["", "*.com", "*.example.com", "a.example.com", "a.example.com/ns"];
        let policy = with_scopes("docker", &scopes);
        for (reference, expected) in [
            ("a.example.com/ns/app:1", "docker/a.example.com/ns"),
            ("a.example.com/nsx/app:1", "docker/a.example.com"),
            ("a.example.com:443/ns/app:1", "docker/*.example.com"),
            ("b.c.example.com/app:1", "docker/*.example.com"),
            ("example.com/app:1", "docker/*.com"),
            ("example.org/app:1", "docker/"),
        ] {
            assert_eq!(scope(&policy, &docker(reference)), expected, "{reference}");
        }
    }

    #[test]
    fn a_tag_scope_does_not_cover_the_digest_that_the_tag_names() {
        let policy = with_scopes("docker", &["example.com/a:1", "example.com/a"]);
        assert_eq!(scope(&policy, &docker("example.com/a:1")), "docker/example.com/a:1");
        let by_digest = docker(&format!("example.com/a@{DIGEST}"));
        assert_eq!(scope(&policy, &by_digest), "docker/example.com/a");
    }

    #[test]
    fn a_transport_without_general_scope_falls_through_to_the_default() {
        let policy = with_scopes("docker", &["example.com"]);
        assert_eq!(scope(&policy, &docker("example.org/a:1")), "default");
        assert_eq!(scope(&policy, &image("dir", None, Some("/a"))), "default");
    }

    #[test]
    fn upper_case_hosts_do_not_escape_a_scope() {
        let policy = with_scopes("docker", &["example.com", "OTHER.com/ns", "*.Sub.example.com"]);
        assert_eq!(scope(&policy, &docker("EXAMPLE.com/a:1")), "docker/example.com");
        assert_eq!(scope(&policy, &docker("other.com/ns/a:1")), "docker/other.com/ns");
        assert_eq!(scope(&policy, &docker("A.sub.example.com/a:1")), "docker/*.sub.example.com");
    }

    #[test]
    fn scopes_that_differ_in_the_case_of_the_host_contradict_each_other() {
        let document = format!(
            r#"{{"default": {REJECT}, "transports": {{"docker": {{
                "A.com/x": {REJECT}, "a.com/x": {REJECT}, "a.com/X": {REJECT}}}}}}}"#
        );
        let errors = Policy::parse(document.as_bytes()).expect_err("a contradiction");
        let place = r#"scope-repeated $.transports.docker["a.com/x"] 2:61"#;
        assert_eq!(places(&errors), [place]);
    }

    #[test]
    fn paths_are_looked_up_from_the_leaf_to_below_the_root() {
        let keys = |transport| {
            let policy = with_scopes(transport, &["/a"]);
            let lookup = policy.lookup(&image(transport, None, Some("/a/b"))).expect("a scope");
            assert_eq!(lookup.scope, format!("{transport}/a").replacen('/', "//", 1));
            let keys: Vec<String> = lookup.candidates.into_iter().map(|c| c.scope).collect();
            keys.join(" ")
        };
        assert_eq!(keys("dir"), "dir//a/b dir//a dir/ default");
        assert_eq!(keys("oci"), "oci//a/b oci//a oci/ default");
    }

    #[test]
    fn images_without_identity_have_the_general_scope_only() {
        for transport in ["docker-archive", "docker-daemon", "tarball"] {
            let policy = with_scopes(transport, &[""]);
            let expected = format!("{transport}/");
            assert_eq!(scope(&policy, &image(transport, None, Some("/a"))), expected);
        }
    }

    #[test]
    fn candidates_end_with_the_default_and_the_first_present_decides() {
        let policy = with_scopes("docker", &["", "localhost"]);
        let lookup = policy.lookup(&docker("localhost/a:1")).expect("a scope");
        let candidates: Vec<_> =
            lookup.candidates.iter().map(|c| (c.scope.as_str(), c.present)).collect();
        let expected = [
            ("docker/localhost/a:1", false),
            ("docker/localhost/a", false),
            ("docker/localhost", true),
            ("docker/", true),
            ("default", true),
        ];
        assert_eq!(candidates, expected);
        assert_eq!(lookup.scope, "docker/localhost");
    }

    #[test]
    fn images_that_cannot_be_looked_up_are_errors() {
        let policy = with_scopes("docker", &[""]);
        let error = |subject: &Subject| policy.lookup(subject).expect_err("no scope");
        for reference in ["example.com/a", &format!("example.com/a:1@{DIGEST}")] {
            assert!(matches!(error(&docker(reference)), SubjectError::Form { .. }), "{reference}");
        }
        assert!(matches!(error(&docker("a//b")), SubjectError::Reference { .. }));
        let without = |transport| error(&image(transport, None, None));
        assert!(matches!(without("docker"), SubjectError::NoReference { .. }));
        assert!(matches!(without("dir"), SubjectError::NoPath { .. }));
        assert!(matches!(without("ostree"), SubjectError::Transport { .. }));
        let relative = image("oci", None, Some("a/b"));
        assert!(matches!(error(&relative), SubjectError::NoPath { .. }));
        let atomic = image("atomic", Some("example.com/ns/a/b:1"), None);
        assert!(matches!(error(&atomic), SubjectError::Form { .. }));
    }

    #[test]
    fn check_tells_every_mistake_with_its_place() {
        let document = r#"{
  "Default": [],
  "transports": {
    "docker": {
      "example.com": [
        {"type": "signedBy", "keyType": "GPGKeys", "keypath": "/k"},
        {"type": "rejcet"},
        17
      ],
      "example.com": [{"type": "reject"}]
    },
    "dir": {"a/": [{"type": "reject"}]}
  }
}"#;
        let mistakes = check(document.as_bytes(), &|_| None);
        let expected = [
            "default-missing $ 1:1",
            "key-unknown $.Default 2:14",
            r#"key-source $.transports.docker["example.com"][0] 6:9"#,
            r#"key-unknown $.transports.docker["example.com"][0].keypath 6:63"#,
            r#"type-unknown $.transports.docker["example.com"][1].type 7:18"#,
            r#"wrong-type $.transports.docker["example.com"][2] 8:9"#,
            r#"key-duplicate $.transports.docker["example.com"] 10:7"#,
            r#"scope-invalid $.transports.dir["a/"] 12:19"#,
        ];
        assert_eq!(places(&mistakes), expected);
        let hint =
            |code: &str| mistakes.iter().find(|m| m.code == code).and_then(|m| m.hint.as_deref());
        assert_eq!(hint("key-unknown"), Some("did you mean \"default\"?"));
        assert_eq!(hint("type-unknown"), Some("did you mean \"reject\"?"));
        assert_eq!(hint("scope-invalid"), Some("Invalid scope \"a/\": Must be an absolute path"));
        assert_eq!(Policy::parse(document.as_bytes()), Err(mistakes));
    }

    #[test]
    fn warnings_follow_the_errors_and_do_not_refuse_a_document() {
        let document = r#"{
  "default": [{"type": "insecureAcceptAnything"}],
  "transports": {
    "docker": {
      "https://example.com/": [{"type": "reject"}],
      "EXAMPLE.com": [{"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}}],
      "": [{"type": "insecureAcceptAnything"}]
    },
    "dokcer": {}
  }
}"#;
        let mistakes = check(document.as_bytes(), &|_| None);
        let expected = [
            "accepts-anything $.default 2:14",
            r#"scope-never-matches $.transports.docker["https://example.com/"] 5:31"#,
            r#"scope-upper-case $.transports.docker["EXAMPLE.com"] 6:22"#,
            r#"requirement-unevaluated $.transports.docker["EXAMPLE.com"][0] 6:23"#,
            r#"accepts-anything $.transports.docker[""] 7:11"#,
            "transport-unknown $.transports.dokcer 9:15",
        ];
        assert_eq!(places(&mistakes), expected);
        assert!(mistakes.iter().all(|mistake| mistake.severity == Severity::Warning));
        assert!(Policy::parse(document.as_bytes()).is_ok());

        let broken = document.replace("dokcer\": {}", "dokcer\": 1");
        let mistakes = check(broken.as_bytes(), &|_| None);
        assert_eq!(places(&mistakes[..1]), ["wrong-type $.transports.dokcer 9:15"]);
        assert_eq!(Policy::parse(broken.as_bytes()), Err(mistakes[..1].to_vec()));
    }

    #[test]
    fn keys_that_satisfy_nobody_are_told() {
        for keys in [r#""keyPaths": []"#, r#""keyData": """#, r#""keyPaths": [""]"#] {
            assert_eq!(codes(&signed_by(keys)), ["keys-empty"], "{keys}");
        }
        let x509 = r#"{"type": "signedBy", "keyType": "X509Certificates", "keyPath": "/k"}"#;
        assert_eq!(codes(&in_default(x509)), ["key-type-unevaluated"]);
        let sigstore = r#"{"type": "sigstoreSigned", "keyPath": "/k"}"#;
        assert_eq!(codes(&in_default(sigstore)), ["requirement-unevaluated"]);
    }

    #[test]
    fn the_presence_of_a_key_counts_for_signed_by_and_its_value_for_sigstore_signed() {
        assert_eq!(codes(&signed_by(r#""keyPath": "/k", "keyData": null"#)), ["key-source"]);
        assert_eq!(codes(&signed_by(r#""keyPath": """#)), ["key-source"]);
        assert_eq!(codes(&signed_by(r#""keyPaths": null"#)), ["key-source"]);
        let sigstore = |keys: &str| {
            let found = codes(&in_default(&format!(r#"{{"type": "sigstoreSigned", {keys}}}"#)));
            found.into_iter().filter(|code| code != "requirement-unevaluated").collect::<Vec<_>>()
        };
        assert_eq!(sigstore(r#""keyPath": "", "keyData": "YQ==""#), [""; 0]);
        assert_eq!(sigstore(r#""keyPath": "/k", "keyPaths": []"#), ["key-source", "keys-missing"]);
    }

    #[test]
    fn an_empty_transparency_log_key_does_not_mean_none() {
        for rekor in [
            r#""rekorPublicKeyPath": """#,
            r#""rekorPublicKeyPath": null"#,
            r#""rekorPublicKeyData": null"#,
        ] {
            let document =
                in_default(&format!(r#"{{"type": "sigstoreSigned", "keyPath": "/k", {rekor}}}"#));
            assert!(Policy::parse(document.as_bytes()).is_err(), "{rekor}");
        }
    }

    #[test]
    fn base64_is_a_string_with_padding() {
        for (data, ok) in [
            (r#""YWJj""#, true),
            (r#""YW\nJj\r\n""#, true),
            (r#""YWK=""#, true),
            (r#""YWJ""#, false),
            (r#"" YWJj""#, false),
            ("[97, 98, 99]", false),
        ] {
            let document = signed_by(&format!(r#""keyData": {data}"#));
            assert_eq!(Policy::parse(document.as_bytes()).is_ok(), ok, "{data}");
        }
    }

    #[test]
    fn each_key_is_looked_at_once_and_told_wherever_it_is_named() {
        let requirement = r#"{"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["/b", "/a"]}"#;
        let document = format!(
            r#"{{"default": [{requirement}, {requirement}], "transports": {{"docker": {{
                "a.com": [{{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/c"}},
                          {{"type": "signedBy", "keyType": "GPGKeys", "keyData": "YQ=="}}]}}}}}}"#
        );
        let asked = RefCell::new(Vec::new());
        let mistakes = check(document.as_bytes(), &|key| {
            asked.borrow_mut().push(key.clone());
            (*key != Material::Path("/b".into())).then(|| KeyProblem {
                code: "key-bad".into(),
                message: "bad".into(),
                hint: None,
            })
        });
        let path = |path: &str| Material::Path(path.into());
        let expected = [path("/b"), path("/a"), path("/c"), Material::Data(b"a".into())];
        assert_eq!(asked.into_inner(), expected);
        let paths: Vec<&str> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
        let expected = [
            "$.default[0].keyPaths[1]",
            "$.default[1].keyPaths[1]",
            r#"$.transports.docker["a.com"][0].keyPath"#,
            r#"$.transports.docker["a.com"][1].keyData"#,
        ];
        assert_eq!(paths, expected);
        let policy = Policy::parse(document.as_bytes()).expect("a policy");
        assert_eq!(policy.key_paths(), ["/b", "/a", "/c"]);
    }

    #[test]
    fn documents_are_limited_in_size_and_depth() {
        let padded = |length: usize| {
            let document = in_default(r#"{"type": "reject"}"#);
            " ".repeat(length - document.len()) + &document
        };
        assert!(Policy::parse(padded(MAX_DOCUMENT_BYTES).as_bytes()).is_ok());
        assert_eq!(codes(&padded(MAX_DOCUMENT_BYTES + 1)), ["document-too-large"]);
        assert_eq!(codes(&"[".repeat(MAX_DOCUMENT_BYTES)), ["json-syntax"]);
    }

    #[test]
    fn a_document_full_of_mistakes_is_told_in_part() {
        let keys: Vec<String> = (0..100_000).map(|n| format!("\"{n}\":0")).collect();
        let document = format!("{{{}}}", keys.join(","));
        let found = codes(&document);
        assert!(found.len() < 200, "{}", found.len());
        assert!(found.contains(&"too-many-mistakes".to_owned()));
    }
}
