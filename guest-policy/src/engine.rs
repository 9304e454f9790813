//! The engine: a loaded policy that judges images.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::evaluation::{self, Evaluation, Node, State};
use crate::image::{
    Evidence, KeyFile, MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES, MAX_SIGNATURE_BYTES_TOTAL,
    MAX_SIGNATURES, Needs, Signature, SignatureForm, Subject,
};
use crate::manifest;
use crate::openpgp::{self, Candidate, Keyring};
use crate::policy::{
    self, AtLeast, KeyProblem, KeySource, KeyType, Material, Policy, Requirement, SignedBy,
};
use crate::quoted::quoted;
use crate::reference::Reference;
use crate::rule::{RuleUse, RuleUses};
use crate::simple_signing::{Payload, Stored};
use crate::verdict::{Claim, Explained, Explanation, Finding, Mistake, Outcome, Reason, Verdict};

/// A loaded policy with its keys.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    keys: Keys,
    /// Each `signedBy` in words, by its number: there can be many keys to name.
    words: BTreeMap<usize, String>,
}

impl Engine {
    /// The files that a document names, in order of appearance and without repetition.
    ///
    /// # Errors
    ///
    /// The document is not a policy.
    pub fn key_paths(document: &[u8]) -> Result<Vec<String>, Vec<Mistake>> {
        Ok(Policy::parse(document)?.key_paths())
    }

    /// Every mistake in a document: errors first found first, then warnings. Without `files`, only the
    /// document itself is looked at.
    pub fn check(document: &[u8], files: &[KeyFile]) -> Vec<Mistake> {
        policy::check(document, &|material| key_problem(material, files))
    }

    /// What of a document other implementations of containers-policy.json(5) refuse, though it is right here.
    pub fn dialect(document: &[u8]) -> Vec<Mistake> {
        policy::dialect(document)
    }

    /// Load a policy and its keys. Keys that cannot be used are no obstacle: they are an error where a
    /// verdict rests on them.
    ///
    /// # Errors
    ///
    /// The document is not a policy.
    pub fn load(document: &[u8], files: &[KeyFile]) -> Result<Self, Vec<Mistake>> {
        let policy = Policy::parse(document)?;
        let keys = Keys::load(&policy, files);
        let mut words = BTreeMap::new();
        for requirement in policy.requirements() {
            if let Requirement::SignedBy(signed_by) = requirement {
                words.insert(signed_by.number, keys.in_words(signed_by));
            }
        }
        Ok(Self { policy, keys, words })
    }

    /// Which evidence an evaluation of this image will look at.
    pub fn needs(&self, subject: &Subject) -> Needs {
        match self.policy.lookup(subject) {
            Ok(lookup) => {
                let signatures = reached(lookup.requirements).any(Requirement::needs_signatures);
                Needs { scope: lookup.scope, signatures }
            }
            Err(_) => Needs { scope: policy::DEFAULT_SCOPE.to_owned(), signatures: false },
        }
    }

    /// The rules that the policy names.
    pub fn rules(&self) -> RuleUses {
        self.policy.rules()
    }

    /// Judge the signatures of a rule's module by the policy's `rulesFrom`; without that, every module is good.
    /// `digest` is that of the artifact's manifest, or of the module itself where it lies in a file.
    pub fn judge_module(
        &self,
        subject: &Subject,
        digest: &Digest,
        signatures: &[Signature],
        now: u64,
    ) -> Evaluation {
        let mut evaluation = Evaluation {
            scope: MODULES_SCOPE.to_owned(),
            digest: digest.to_string(),
            failure: None,
            nodes: Vec::new(),
        };
        let Some(requirements) = self.policy.rules_from() else {
            let words = "without rulesFrom, every module is accepted".to_owned();
            evaluation.nodes = vec![Node { depth: 0, words, state: State::Held(Vec::new()) }];
            return evaluation;
        };
        let reference = subject.reference.as_deref().map(Reference::parse_normalized).transpose();
        match reference.map_err(Failure::subject) {
            Ok(reference) => {
                let digest = digest.clone();
                let image = Image { subject, signatures, reference, digest, now };
                evaluation.nodes = Judge::new(self, &image, requirements).all(requirements);
            }
            Err(failure) => evaluation.failure = Some(failure.into()),
        }
        evaluation
    }

    /// Decide. `now` is the evaluation time, in seconds since 1970-01-01 UTC. A rule that would have to be asked
    /// makes the verdict an error: nobody is here who could ask it.
    pub fn evaluate(&self, subject: &Subject, evidence: &Evidence, now: u64) -> Verdict {
        self.evaluation(subject, evidence, now).without_rules()
    }

    /// Evaluate everything but rules. `now` is the evaluation time, in seconds since 1970-01-01 UTC.
    ///
    /// If no image of this name could be allowed, whatever its evidence, the evidence is not looked at: the
    /// answer is that of the requirement that always fails, even before anything was fetched.
    pub fn evaluation(&self, subject: &Subject, evidence: &Evidence, now: u64) -> Evaluation {
        let digest = Digest::sha256(&evidence.manifest);
        let mut evaluation = Evaluation {
            scope: policy::DEFAULT_SCOPE.to_owned(),
            digest: digest.to_string(),
            failure: None,
            nodes: Vec::new(),
        };
        let judged = self.policy.lookup(subject).map_err(Failure::subject).and_then(|lookup| {
            evaluation.scope = lookup.scope;
            let requirements = lookup.requirements;
            if !reached(requirements).any(Requirement::needs_signatures)
                && let Some(decisive) = requirements.iter().position(Requirement::always_fails)
            {
                let image = Image { subject, signatures: &[], reference: None, digest, now };
                return Ok(Judge::new(self, &image, requirements).one(requirements, decisive));
            }
            let image = Image::new(subject, evidence, digest, now)?;
            Ok(Judge::new(self, &image, requirements).all(requirements))
        });
        match judged {
            Ok(nodes) => evaluation.nodes = nodes,
            Err(failure) => evaluation.failure = Some(failure.into()),
        }
        evaluation
    }

    /// Judge each signature on its own, against every requirement that asks for signatures.
    pub fn inspect(&self, subject: &Subject, evidence: &Evidence, now: u64) -> Vec<Finding> {
        let image = Image::new(subject, evidence, Digest::sha256(&evidence.manifest), now);
        let requirements = self.policy.lookup(subject).map_or(&[][..], |found| found.requirements);
        evidence.signatures.iter().map(|s| self.finding(s, requirements, &image)).collect()
    }

    /// Which scope and requirements apply, and why.
    pub fn explain(&self, subject: &Subject) -> Explanation {
        match self.policy.lookup(subject) {
            Ok(lookup) => Explanation {
                scope: lookup.scope,
                candidates: lookup.candidates,
                requirements: self.explained(lookup.requirements, 0),
            },
            Err(error) => Explanation {
                scope: policy::DEFAULT_SCOPE.to_owned(),
                candidates: Vec::new(),
                requirements: vec![Explained { depth: 0, words: error.to_string() }],
            },
        }
    }

    /// Each requirement in words, followed by its parts.
    fn explained(&self, requirements: &[Requirement], depth: u32) -> Vec<Explained> {
        let mut explained = Vec::with_capacity(requirements.len());
        for requirement in requirements {
            explained.push(Explained { depth, words: self.in_words(requirement) });
            explained.extend(self.explained(requirement.parts(), depth + 1));
        }
        explained
    }

    /// What is known of a requirement. Where `all` is set, each signature that it accepts counts, and not just the
    /// first.
    fn judge(&self, place: u32, requirement: &Requirement, image: &Image<'_>, all: bool) -> State {
        let denied = |code, message, hint| {
            State::Failed(Failure::deny(code, Some(place), message, hint).into())
        };
        match requirement {
            Requirement::AnyOf(_) => State::AnyOf,
            Requirement::AtLeast(AtLeast { count, .. }) => State::AtLeast(*count),
            Requirement::InsecureAcceptAnything => State::Held(Vec::new()),
            Requirement::Rule(rule) => State::Rule(*rule),
            Requirement::Reject => denied(
                "rejected-by-policy",
                format!("Running image {} is rejected by policy.", image.subject.name),
                "to accept images like this one, add a scope for them to the policy",
            ),
            Requirement::SignedBaseLayer { .. } => denied(
                "base-layer-unsupported",
                "signedBaseLayer not implemented yet!".to_owned(),
                "no implementation evaluates signedBaseLayer: use signedBy",
            ),
            Requirement::SigstoreSigned(_) => denied(
                "sigstore-unsupported",
                "sigstoreSigned cannot be evaluated by this version".to_owned(),
                "use signedBy for images that this version should accept",
            ),
            Requirement::SignedBy(signed_by) => {
                match self.signed_by(place, signed_by, image, all) {
                    Ok(claims) => State::Held(claims),
                    Err(failure) => State::Failed(failure.into()),
                }
            }
        }
    }

    /// `signedBy`: one of the signatures has to be good.
    fn signed_by(
        &self,
        place: u32,
        signed_by: &SignedBy,
        image: &Image<'_>,
        all: bool,
    ) -> Result<Vec<Claim>, Failure> {
        let messages = simple_signatures(image.signatures, place)?;
        if messages.is_empty() {
            return Err(Failure::deny(
                "signature-missing",
                Some(place),
                "A signature was required, but no signature exists".to_owned(),
                "sign the image, and check that registries.d names the lookaside where its signatures are",
            ));
        }
        let trusted = self.keys.of(signed_by).map_err(|fault| fault.failure(place))?;
        let (mut claims, mut reasons) = (Vec::new(), Vec::new());
        for message in &messages {
            match accepted(place, signed_by, trusted, message, image) {
                Ok(claim) if !all => return Ok(vec![claim]),
                // The same signature can be there twice.
                Ok(claim) if claims.contains(&claim) => {}
                Ok(claim) => claims.push(claim),
                Err(reason) => reasons.push(reason),
            }
        }
        if claims.is_empty() {
            return Err(Failure { outcome: Outcome::Deny, reason: summary(place, reasons) });
        }
        Ok(claims)
    }

    fn finding(
        &self,
        signature: &Signature,
        requirements: &[Requirement],
        image: &Result<Image<'_>, Failure>,
    ) -> Finding {
        let mut finding = Finding {
            source: signature.source.clone(),
            format: "unknown".to_owned(),
            issuers: Vec::new(),
            claims: Vec::new(),
            reasons: Vec::new(),
        };
        let message = match read(signature) {
            Ok(Stored::SimpleSigning(message)) => message,
            Ok(Stored::Sigstore(_)) => {
                finding.format = "sigstore-json".to_owned();
                return finding;
            }
            Err(failure) => {
                finding.reasons.push(failure.reason);
                return finding;
            }
        };
        finding.format = "simple-signing".to_owned();
        finding.issuers = openpgp::named_issuers(message);
        let image = match image {
            Ok(image) => image,
            Err(failure) => {
                finding.reasons.push(failure.reason.clone());
                return finding;
            }
        };
        let parts = (0..).zip(requirements).flat_map(|(place, requirement)| {
            requirement.all().into_iter().map(move |part| (place, part))
        });
        for (place, part) in parts {
            let Requirement::SignedBy(signed_by) = part else { continue };
            let judged = match self.keys.of(signed_by) {
                Ok(trusted) => accepted(place, signed_by, trusted, message, image),
                Err(fault) => Err(fault.failure(place).reason),
            };
            match judged {
                Ok(claim) => finding.claims.push(claim),
                Err(reason) => finding.reasons.push(reason),
            }
        }
        finding
    }

    fn in_words(&self, requirement: &Requirement) -> String {
        match requirement {
            Requirement::AnyOf(_) => "anyOf: one of these holds".to_owned(),
            Requirement::AtLeast(AtLeast { count: 1, .. }) => {
                "atLeast: a signer is behind one of these".to_owned()
            }
            Requirement::AtLeast(AtLeast { count, .. }) => {
                format!("atLeast: {count} distinct signers are behind these")
            }
            Requirement::InsecureAcceptAnything => {
                "insecureAcceptAnything: holds for every image, signed or not".to_owned()
            }
            Requirement::Reject => "reject: holds for no image".to_owned(),
            Requirement::Rule(rule) => match self.policy.rule(*rule) {
                Some(rule) => rule_in_words(rule),
                None => "rule".to_owned(),
            },
            Requirement::SignedBaseLayer { .. } => {
                "signedBaseLayer: holds for no image, since nobody evaluates it".to_owned()
            }
            Requirement::SigstoreSigned(_) => {
                "sigstoreSigned: holds for no image, since this version does not evaluate it"
                    .to_owned()
            }
            Requirement::SignedBy(SignedBy { number, .. }) => {
                self.words.get(number).cloned().unwrap_or_else(|| "signedBy".to_owned())
            }
        }
    }
}

fn rule_in_words(rule: &RuleUse) -> String {
    let mut words = format!("rule: {}", rule.module);
    if rule.settings != "{}" {
        let shown: String = rule.settings.chars().take(MAX_SETTINGS_SHOWN).collect();
        let more = if shown.len() < rule.settings.len() { "…" } else { "" };
        words = format!("{words} with {shown}{more}");
    }
    if !rule.capabilities.is_empty() {
        let names: Vec<_> = rule.capabilities.iter().map(|capability| capability.name()).collect();
        words = format!("{words}, which may use {}", names.join(", "));
    }
    words
}

/// What judges the requirements of one scope.
struct Judge<'a> {
    engine: &'a Engine,
    image: &'a Image<'a>,
    /// Whether rules are asked, who are told of every good signature.
    has_rule: bool,
    /// Whether every good signature is looked for, and not just the first.
    collects: bool,
    nodes: Vec<Node>,
}

impl<'a> Judge<'a> {
    fn new(engine: &'a Engine, image: &'a Image<'a>, requirements: &[Requirement]) -> Self {
        let has_rule = requirements.iter().any(Requirement::has_rule);
        let collects = has_rule || requirements.iter().any(Requirement::counts_signers);
        Self { engine, image, has_rule, collects, nodes: Vec::new() }
    }

    /// All in order, until one certainly does not hold.
    fn all(mut self, requirements: &[Requirement]) -> Vec<Node> {
        let mut failed = false;
        for (place, requirement) in (0..).zip(requirements) {
            if failed {
                self.skip(requirement, 0);
            } else {
                failed = self.node(place, requirement, 0, false) == Some(false);
            }
        }
        self.nodes
    }

    /// Only the one at this place.
    fn one(mut self, requirements: &[Requirement], decisive: usize) -> Vec<Node> {
        for (index, (place, requirement)) in (0..).zip(requirements).enumerate() {
            if index == decisive {
                self.node(place, requirement, 0, false);
            } else {
                self.skip(requirement, 0);
            }
        }
        self.nodes
    }

    /// Judge a requirement with its parts. Whether it holds, as far as that is certain without rules. `counted`:
    /// all who are behind it matter.
    fn node(
        &mut self,
        place: u32,
        requirement: &Requirement,
        depth: u32,
        counted: bool,
    ) -> Option<bool> {
        let at = self.nodes.len();
        let words = self.engine.in_words(requirement);
        let state = self.engine.judge(place, requirement, self.image, self.collects);
        self.nodes.push(Node { depth, words, state });
        let counted = counted || matches!(requirement, Requirement::AtLeast(_));
        let one_is_enough = !counted && !self.has_rule;
        let mut decided = false;
        for part in requirement.parts() {
            if decided {
                self.skip(part, depth + 1);
            } else {
                let holds = self.node(place, part, depth + 1, counted) == Some(true);
                decided = one_is_enough && holds;
            }
        }
        evaluation::holds(&self.nodes, at)
    }

    fn skip(&mut self, requirement: &Requirement, depth: u32) {
        let words = self.engine.in_words(requirement);
        self.nodes.push(Node { depth, words, state: State::Skipped });
        requirement.parts().iter().for_each(|part| self.skip(part, depth + 1));
    }
}

/// What a verdict is about, its parts read once.
struct Image<'a> {
    subject: &'a Subject,
    signatures: &'a [Signature],
    reference: Option<Reference>,
    digest: Digest,
    now: u64,
}

impl<'a> Image<'a> {
    fn new(
        subject: &'a Subject,
        evidence: &'a Evidence,
        digest: Digest,
        now: u64,
    ) -> Result<Self, Failure> {
        let reference = subject.reference.as_deref().map(Reference::parse_normalized).transpose();
        let reference = reference.map_err(Failure::subject)?;
        if evidence.manifest.len() > MAX_MANIFEST_BYTES {
            return Err(Failure::deny(
                "manifest-too-large",
                None,
                format!("manifest exceeded maximum allowed size of {MAX_MANIFEST_BYTES} bytes"),
                "an image with such a manifest is not judged",
            ));
        }
        if let Err(fault) = manifest::Kind::of(&evidence.manifest, None) {
            return Err(Failure::deny(
                "manifest-unusable",
                None,
                format!("the manifest cannot be judged: {fault}"),
                "build or convert the image with current tools, and sign it again",
            ));
        }
        if let Some(named) = reference.as_ref().and_then(Reference::digest) {
            // Of an image that was chosen from an index, the name may be the index's.
            let top = evidence.index.as_deref().unwrap_or(&evidence.manifest);
            if *named != digest && !named.matches(top) {
                return Err(Failure::deny(
                    "reference-digest-mismatch",
                    None,
                    format!("Manifest does not match provided manifest digest {named}"),
                    "only SHA-256 digests are ever computed; do not use this image before you know why",
                ));
            }
        }
        Ok(Self { subject, signatures: &evidence.signatures, reference, digest, now })
    }
}

/// The keys of every `signedBy` requirement, by where the document has them.
#[derive(Debug, Default)]
struct Keys {
    by_path: BTreeMap<String, Result<Keyring, KeyFault>>,
    /// The files that have a key with this identifier.
    paths_of: BTreeMap<[u8; 8], Vec<String>>,
    /// Whether every key ring can be used, and has a key.
    are_sound: bool,
    by_data: BTreeMap<Vec<u8>, Result<Keyring, KeyFault>>,
    /// For the primary key of each certificate that shares a key with another one: a name for all of them.
    shared: BTreeMap<openpgp::Material, openpgp::Material>,
}

impl Keys {
    fn load(policy: &Policy, files: &[KeyFile]) -> Self {
        let mut keys = Self::default();
        let content: BTreeMap<&str, &Result<Vec<u8>, String>> =
            files.iter().map(|file| (file.path.as_str(), &file.content)).collect();
        for path in policy.key_paths() {
            let keyring = match content.get(path.as_str()) {
                Some(Ok(content)) => parse_keys(&format!("key file {path:?}"), content),
                Some(Err(fault)) => Err(KeyFault::unreadable(&path, fault)),
                None => Err(KeyFault::unreadable(&path, "it was not read")),
            };
            keys.by_path.insert(path, keyring);
        }
        for requirement in policy.requirements() {
            if let Requirement::SignedBy(SignedBy { keys: KeySource::Data(data), .. }) = requirement
                && !keys.by_data.contains_key(data)
            {
                keys.by_data.insert(data.clone(), parse_keys("keyData", data));
            }
        }
        for (path, keyring) in &keys.by_path {
            for id in keyring.iter().flat_map(Keyring::ids) {
                keys.paths_of.entry(id).or_default().push(path.clone());
            }
        }
        let is_sound = |keyring: &Result<Keyring, KeyFault>| {
            keyring.as_ref().is_ok_and(|keyring| !keyring.is_empty())
        };
        keys.are_sound = keys.by_path.values().chain(keys.by_data.values()).all(is_sound);
        let keyrings = keys.by_path.values().chain(keys.by_data.values()).flatten();
        keys.shared = shared(keyrings.flat_map(Keyring::materials));
        keys
    }

    /// What `signedBy` asks for.
    fn in_words(&self, signed_by: &SignedBy) -> String {
        let keys = match self.of(signed_by).and_then(Trusted::keyrings) {
            Ok(keyrings) => fingerprints(&keyrings),
            Err(fault) => fault.message(),
        };
        format!("signedBy: a simple signature by {keys}, for {}", signed_by.identity)
    }

    /// The keys of a requirement, or the first thing that is wrong with them: one unusable file makes the
    /// requirement unusable, though another key would do.
    fn of<'a>(&'a self, signed_by: &'a SignedBy) -> Result<Trusted<'a>, KeyFault> {
        if signed_by.key_type != KeyType::GpgKeys {
            return Err(KeyFault::Type(signed_by.key_type));
        }
        let trusted = Trusted { keys: self, source: &signed_by.keys };
        // Where nothing is wrong with any key, not every file of a long list has to be looked at.
        let needs_no_look = match &signed_by.keys {
            KeySource::Paths(paths) => self.are_sound && !paths.is_empty(),
            KeySource::Data(_) | KeySource::Path(_) => self.are_sound,
        };
        if !needs_no_look && trusted.keyrings()?.iter().all(|keyring| keyring.is_empty()) {
            return Err(KeyFault::None);
        }
        Ok(trusted)
    }
}

/// Certificates, each with its primary key first, that are connected by the keys that they share. So whether two
/// signers are one does not depend on which of their signatures are shown.
fn shared<'a>(
    certificates: impl Iterator<Item = &'a [openpgp::Material]>,
) -> BTreeMap<openpgp::Material, openpgp::Material> {
    // Each key with another one of the same group, towards the smallest, which is its own.
    let mut towards = BTreeMap::new();
    let mut primaries = BTreeSet::new();
    for keys in certificates {
        let Some(primary) = keys.first() else { continue };
        primaries.insert(*primary);
        for key in keys {
            let (one, other) = (end(&mut towards, *primary), end(&mut towards, *key));
            towards.insert(one.max(other), one.min(other));
        }
    }
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for primary in primaries {
        groups.entry(end(&mut towards, primary)).or_default().push(primary);
    }
    let shared = groups.into_iter().filter(|(_, group)| group.len() > 1);
    shared.flat_map(|(name, group)| group.into_iter().map(move |key| (key, name))).collect()
}

/// Where a key leads; the way is shorter the next time.
fn end(
    towards: &mut BTreeMap<openpgp::Material, openpgp::Material>,
    key: openpgp::Material,
) -> openpgp::Material {
    let mut end = key;
    while let Some(next) = towards.get(&end).filter(|next| **next != end) {
        end = *next;
    }
    let mut at = key;
    while at != end
        && let Some(next) = towards.insert(at, end)
    {
        at = next;
    }
    end
}

/// The keys that one requirement trusts.
#[derive(Clone, Copy)]
struct Trusted<'a> {
    keys: &'a Keys,
    source: &'a KeySource,
}

impl<'a> Trusted<'a> {
    fn keyrings(self) -> Result<Vec<&'a Keyring>, KeyFault> {
        let Keys { by_data, by_path, .. } = self.keys;
        match self.source {
            KeySource::Data(data) => Ok(vec![find(by_data, data)?]),
            KeySource::Path(path) => Ok(vec![find(by_path, path)?]),
            KeySource::Paths(paths) => paths.iter().map(|path| find(by_path, path)).collect(),
        }
    }

    /// Those with an identifier.
    fn candidates(self, id: [u8; 8]) -> Vec<Candidate<'a>> {
        let Keys { by_data, by_path, paths_of, .. } = self.keys;
        let keyrings: Vec<&Keyring> = match self.source {
            KeySource::Data(data) => find(by_data, data).into_iter().collect(),
            KeySource::Path(path) => find(by_path, path).into_iter().collect(),
            KeySource::Paths(paths) => {
                let with_id = paths_of.get(&id).into_iter().flatten();
                let named = with_id.filter(|path| paths.contains(path));
                named.filter_map(|path| find(by_path, path).ok()).collect()
            }
        };
        keyrings.into_iter().flat_map(|keyring| keyring.candidates(id)).collect()
    }
}

fn find<'a, K, Q>(
    keyrings: &'a BTreeMap<K, Result<Keyring, KeyFault>>,
    key: &Q,
) -> Result<&'a Keyring, KeyFault>
where
    K: Borrow<Q> + Ord,
    Q: Ord + ?Sized,
{
    match keyrings.get(key) {
        Some(keyring) => keyring.as_ref().map_err(Clone::clone),
        // Every source is loaded with the policy.
        None => Err(KeyFault::None),
    }
}

fn parse_keys(place: &str, content: &[u8]) -> Result<Keyring, KeyFault> {
    Keyring::parse(content)
        .map_err(|error| KeyFault::Unusable { place: place.to_owned(), fault: error.to_string() })
}

/// Keys that a requirement cannot be evaluated with. The operator's fault.
#[derive(Clone, Debug)]
enum KeyFault {
    None,
    Type(KeyType),
    Unreadable { path: String, fault: String },
    Unusable { place: String, fault: String },
}

impl KeyFault {
    fn unreadable(path: &str, fault: &str) -> Self {
        Self::Unreadable { path: path.to_owned(), fault: fault.to_owned() }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::None => "no-public-keys",
            Self::Type(_) => "key-type-unsupported",
            Self::Unreadable { .. } => "key-unreadable",
            Self::Unusable { .. } => "key-unusable",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::None => "No public keys imported".to_owned(),
            Self::Type(key_type) => {
                format!("Unimplemented \"keyType\" value {:?}", key_type.name())
            }
            Self::Unreadable { path, fault } => format!("cannot read key file {path:?}: {fault}"),
            Self::Unusable { place, fault } => format!("cannot use {place}: {fault}"),
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::None => {
                "put the signers' public keys into the key file (gpg --export FINGERPRINT > FILE)"
            }
            Self::Type(_) => "use keyType GPGKeys, the only one that any implementation evaluates",
            Self::Unreadable { .. } => {
                "create the file or correct its path; a relative path starts at the policy's folder"
            }
            Self::Unusable { .. } => "export the key again (gpg --export FINGERPRINT > FILE)",
        }
    }

    fn failure(&self, place: u32) -> Failure {
        // A key type that nobody evaluates is the policy's no; anything else has to be repaired first.
        let outcome = if matches!(self, Self::Type(_)) { Outcome::Deny } else { Outcome::Error };
        Failure {
            outcome,
            reason: Reason {
                code: self.code().to_owned(),
                requirement: Some(place),
                message: self.message(),
                hint: Some(self.hint().to_owned()),
            },
        }
    }
}

/// Why an image is not allowed.
#[derive(Clone, Debug)]
struct Failure {
    outcome: Outcome,
    reason: Reason,
}

impl From<Failure> for evaluation::Failure {
    fn from(failure: Failure) -> Self {
        Self { outcome: failure.outcome, reasons: vec![failure.reason] }
    }
}

impl Failure {
    fn deny(code: &str, requirement: Option<u32>, message: String, hint: &str) -> Self {
        let hint = Some(hint.to_owned());
        let reason = Reason { code: code.to_owned(), requirement, message, hint };
        Self { outcome: Outcome::Deny, reason }
    }

    fn subject(fault: impl std::fmt::Display) -> Self {
        let hint = "name the image as TRANSPORT:REFERENCE, or judge it as another with --as";
        let failure = Self::deny("image-name-invalid", None, fault.to_string(), hint);
        Self { outcome: Outcome::Error, ..failure }
    }
}

/// The requirements that are looked at: none that stands behind one that always fails.
fn reached(requirements: &[Requirement]) -> impl Iterator<Item = &Requirement> {
    requirements.iter().take_while(|requirement| !requirement.always_fails())
}

/// The OpenPGP messages among all signatures. One that is of no known format spoils all of them: it may be
/// a form that somebody added to say no.
fn simple_signatures(signatures: &[Signature], place: u32) -> Result<Vec<&[u8]>, Failure> {
    if signatures.len() > MAX_SIGNATURES {
        return Err(Failure::deny(
            "signatures-too-many",
            Some(place),
            format!(
                "server provided {} signatures, assuming that's unreasonable and a server error",
                signatures.len()
            ),
            "remove signatures that are no longer needed from the signature store",
        ));
    }
    let total: usize = signatures.iter().map(|signature| signature.content.len()).sum();
    if total > MAX_SIGNATURE_BYTES_TOTAL {
        return Err(Failure::deny(
            "signatures-too-large",
            Some(place),
            format!(
                "the signatures have {total} bytes in total, more than the \
                 {MAX_SIGNATURE_BYTES_TOTAL} that are looked at"
            ),
            "remove what is no signature from the signature store",
        ));
    }
    let mut messages = Vec::with_capacity(signatures.len());
    for signature in signatures {
        let stored = read(signature).map_err(|mut failure| {
            failure.reason.requirement = Some(place);
            failure
        })?;
        if let Stored::SimpleSigning(message) = stored {
            messages.push(message);
        }
    }
    Ok(messages)
}

fn read(signature: &Signature) -> Result<Stored<'_>, Failure> {
    let Signature { source, form, content } = signature;
    if content.len() > MAX_SIGNATURE_BYTES {
        return Err(Failure::deny(
            "signature-too-large",
            None,
            format!(
                "parsing signature {source:?}: exceeded maximum allowed size of {MAX_SIGNATURE_BYTES} bytes"
            ),
            "remove it from the signature store",
        ));
    }
    match form {
        SignatureForm::Openpgp => Ok(Stored::SimpleSigning(content)),
        SignatureForm::Stored => Stored::parse(content).map_err(|error| {
            Failure::deny(
                "signature-unrecognized",
                None,
                format!("parsing signature {source:?}: {error}"),
                "remove what is not a binary OpenPGP signature from the signature store",
            )
        }),
    }
}

/// Whether one signature vouches for the image under one requirement.
fn accepted(
    place: u32,
    signed_by: &SignedBy,
    trusted: Trusted<'_>,
    message: &[u8],
    image: &Image<'_>,
) -> Result<Claim, Reason> {
    let denied = |code: &str, message: String, hint: &str| {
        Failure::deny(code, Some(place), message, hint).reason
    };
    let verified = openpgp::verify(|id| trusted.candidates(id), message, image.now)
        .map_err(|rejection| rejection.reason(Some(place)))?;
    let payload = Payload::parse(&verified.content).map_err(|error| {
        denied("payload-malformed", error.to_string(), "sign with skopeo, podman or countersign")
    })?;
    if payload.digest != image.digest {
        return Err(denied(
            "digest-mismatch",
            format!("Signature for digest {} does not match", payload.digest),
            "the signature is for another image: sign this one",
        ));
    }
    if !signed_by.identity.matches(image.reference.as_ref(), &payload.reference) {
        let hint = if image.reference.is_some() {
            "pull the image by the name that was signed, sign it for this name, or choose another \
             signedIdentity"
        } else {
            "an image of this transport has no name to compare: judge it as another with --as, or use \
             exactReference or exactRepository"
        };
        return Err(denied(
            "identity-mismatch",
            format!("Signature for identity {} is not accepted", quoted(&payload.reference)),
            hint,
        ));
    }
    let mut material = vec![verified.primary];
    for key in [Some(&verified.signer), trusted.keys.shared.get(&verified.primary)] {
        material.extend(key.filter(|key| !material.contains(key)).copied());
    }
    let material = material.iter().map(ToString::to_string).collect();
    Ok(Claim {
        format: "simple-signing".to_owned(),
        key: verified.key,
        signing_key: verified.signing_key,
        reference: payload.reference,
        digest: payload.digest.to_string(),
        signed_at: Some(verified.signed_at),
        creator: payload.creator,
        valid_until: verified.valid_until,
        requirement: place,
        material,
    })
}

/// One reason for all signatures that were refused, in the reference implementation's words.
fn summary(place: u32, mut reasons: Vec<Reason>) -> Reason {
    if reasons.len() == 1
        && let Some(reason) = reasons.pop()
    {
        return reason;
    }
    let messages: Vec<&str> = reasons.iter().map(|reason| reason.message.as_str()).collect();
    Reason {
        code: "signatures-rejected".to_owned(),
        requirement: Some(place),
        message: format!("None of the signatures were accepted, reasons: {}", messages.join("; ")),
        hint: Some("`countersign inspect` shows what is wrong with each signature".to_owned()),
    }
}

fn fingerprints(keyrings: &[&Keyring]) -> String {
    let all: Vec<String> = keyrings.iter().flat_map(|keyring| keyring.fingerprints()).collect();
    let shown = all.iter().take(MAX_FINGERPRINTS_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match all.len() {
        1 => format!("key {shown}"),
        2..=MAX_FINGERPRINTS_SHOWN => format!("one of the keys {shown}"),
        count => format!("one of {count} keys ({shown}, …)"),
    }
}

/// What is wrong with the key material that a requirement names.
fn key_problem(material: &Material, files: &[KeyFile]) -> Option<KeyProblem> {
    let keyring = match material {
        Material::Data(data) => parse_keys("keyData", data),
        Material::Path(path) => {
            let file = files.iter().find(|file| file.path == *path)?;
            match &file.content {
                Ok(content) => parse_keys(&format!("key file {path:?}"), content),
                Err(fault) => Err(KeyFault::unreadable(path, fault)),
            }
        }
    };
    let fault = match keyring {
        Ok(keyring) if keyring.is_empty() => KeyFault::None,
        Ok(keyring) => {
            let (code, message) = openpgp::unusable(&keyring)?;
            return Some(KeyProblem { code: code.to_owned(), message, hint: None });
        }
        Err(fault) => fault,
    };
    Some(KeyProblem {
        code: fault.code().to_owned(),
        message: fault.message(),
        hint: Some(fault.hint().to_owned()),
    })
}

/// As many fingerprints as fit three lines of a terminal.
const MAX_FINGERPRINTS_SHOWN: usize = 4;

/// How messages name `rulesFrom`.
const MODULES_SCOPE: &str = "rulesFrom";

/// As many characters of a rule's settings as fit two lines of a terminal.
const MAX_SETTINGS_SHOWN: usize = 160;
