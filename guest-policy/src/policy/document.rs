//! Reading a policy document: the form of each of its objects, to the last key (containers-policy.json(5),
//! "FORMAT").
//!
//! A reader goes on after a mistake wherever that makes sense, so that all of them are told at once. A part
//! that cannot be understood is `None`; a document with any error is refused as a whole.

mod composite;
mod rule;

use std::collections::BTreeMap;

use super::identity::{IdentityMatch, Prefix};
use super::json::{self, Fault, Kind, Value};
use super::mistakes::{Mistakes, Place, quoted, similar};
use super::requirement::{
    Fulcio, KeySource, KeyType, Material, Pki, Requirement, SignedBy, SigstoreSigned, SigstoreTrust,
};
use super::{KeyProblem, MAX_DOCUMENT_BYTES, Policy, Scopes};
use crate::evaluation::MAX_NESTING;
use crate::lenient_base64;
use crate::reference::Reference;
use crate::rule::RuleUse;
use crate::scope;

/// Read a document. `problem` looks at each key of a `signedBy` requirement.
pub(super) fn read(
    document: &[u8],
    problem: &dyn Fn(&Material) -> Option<KeyProblem>,
) -> (Option<Policy>, Mistakes) {
    let mut reader = Reader {
        mistakes: Mistakes::of(document),
        problem,
        key_paths: Vec::new(),
        looked_at: BTreeMap::new(),
        signed_by: 0,
        rules: Vec::new(),
        indices: BTreeMap::new(),
        nesting: 0,
        in_rules_from: false,
    };
    if document.len() > MAX_DOCUMENT_BYTES {
        reader.mistakes.error(
            &Place::root(0),
            "document-too-large",
            format!("the document exceeded maximum allowed size of {MAX_DOCUMENT_BYTES} bytes"),
            Some("name key files by keyPath instead of embedding them".to_owned()),
        );
        return (None, reader.mistakes);
    }
    match json::parse(document) {
        Ok(value) => (reader.policy(&value), reader.mistakes),
        Err(error) => {
            let place = Place::root(error.at);
            let hint = syntax_hint(&error.fault);
            reader.mistakes.error(&place, "json-syntax", error.fault.to_string(), hint);
            (None, reader.mistakes)
        }
    }
}

struct Reader<'a> {
    mistakes: Mistakes,
    problem: &'a dyn Fn(&Material) -> Option<KeyProblem>,
    /// Of `signedBy` requirements, in order of appearance, without repetition.
    key_paths: Vec<String>,
    /// What `problem` said about each of `key_paths`: a file that many scopes name is looked at once.
    looked_at: BTreeMap<String, Option<KeyProblem>>,
    /// How many requirements `signedBy` there were.
    signed_by: usize,
    /// The distinct rules, in order of appearance.
    rules: Vec<RuleUse>,
    /// Where each of `rules` is, by all but its place.
    indices: BTreeMap<RuleUse, u32>,
    /// In how many requirements the one that is read lies.
    nesting: u32,
    /// Whether it is about modules of rules.
    in_rules_from: bool,
}

impl Reader<'_> {
    fn policy(&mut self, value: &Value) -> Option<Policy> {
        let root = Place::root(value.at);
        let members = self.members(value, &root, &["default", "rulesFrom", "transports"])?;
        let (mut default, mut transports) = (None, Some(BTreeMap::new()));
        let mut rules_from = Some(None);
        for (key, value, place) in members.iter() {
            match key {
                "default" => {
                    default = self.requirements(value, &place);
                    self.warn_if_open(default.as_deref(), &place, "every image without a scope");
                }
                "rulesFrom" => rules_from = self.rules_from(value, &place).map(Some),
                _ => transports = self.transports(value, &place),
            }
        }
        if let (Some(Some(required)), Some((_, place))) = (&rules_from, members.get("rulesFrom")) {
            self.warn_of_files(required, &place);
        }
        if members.get("default").is_none() {
            self.mistakes.error(
                &root,
                "default-missing",
                "Default policy is missing",
                Some(r#"add "default": [{"type": "reject"}]"#.to_owned()),
            );
        }
        Some(Policy {
            default: default?,
            transports: transports?,
            rules_from: rules_from?,
            rules: std::mem::take(&mut self.rules),
            key_paths: std::mem::take(&mut self.key_paths),
        })
    }

    fn transports(&mut self, value: &Value, place: &Place<'_>) -> Option<BTreeMap<String, Scopes>> {
        let mut transports = BTreeMap::new();
        for (name, value, place) in self.any_members(value, place)? {
            if !scope::TRANSPORTS.contains(&name) {
                let meant = similar(name, &scope::TRANSPORTS);
                self.mistakes.warn(
                    &place,
                    "transport-unknown",
                    format!("no image is of the transport {}", quoted(name)),
                    Some(meant.map_or_else(
                        || format!("known are {}", scope::TRANSPORTS.join(", ")),
                        |meant| format!("did you mean {meant:?}?"),
                    )),
                );
            }
            if let Some(scopes) = self.scopes(name, value, &place) {
                transports.insert(name.to_owned(), scopes);
            }
        }
        Some(transports)
    }

    fn scopes(&mut self, transport: &str, value: &Value, place: &Place<'_>) -> Option<Scopes> {
        let mut scopes = Scopes::new();
        let mut spellings: BTreeMap<String, &str> = BTreeMap::new();
        for (scope, value, place) in self.any_members(value, place)? {
            self.scope(transport, scope, &place);
            let requirements = self.requirements(value, &place);
            if scope.is_empty() {
                let whom = format!("every image of the transport {transport} without a scope");
                self.warn_if_open(requirements.as_deref(), &place, &whom);
            }
            let key = scope::folded(transport, scope).into_owned();
            match spellings.insert(key.clone(), scope) {
                // Which of the two is to decide, nobody knows.
                Some(other) => self.mistakes.error(
                    &place,
                    "scope-repeated",
                    format!("Duplicate key {}: {} is the same host", quoted(scope), quoted(other)),
                    Some("hosts have no case: merge the two scopes".to_owned()),
                ),
                None => {
                    if let Some(requirements) = requirements {
                        scopes.insert(key, requirements);
                    }
                }
            }
        }
        Some(scopes)
    }

    fn scope(&mut self, transport: &str, scope: &str, place: &Place<'_>) {
        if scope.is_empty() {
            return;
        }
        if let Err(invalid) = scope::validate(transport, scope) {
            let message = format!("Unknown key {}", quoted(scope));
            self.mistakes.error(place, "scope-invalid", message, Some(invalid.to_string()));
        } else if let Some(advice) = scope::unreachable(transport, scope) {
            self.mistakes.warn(
                place,
                "scope-never-matches",
                format!("no image has the scope {}", quoted(scope)),
                Some(advice),
            );
        } else if let folded = scope::folded(transport, scope)
            && folded != scope
        {
            self.mistakes.warn(
                place,
                "scope-upper-case",
                format!("the host of {} is compared without regard to case", quoted(scope)),
                Some(format!("other implementations do regard it: write {}", quoted(&folded))),
            );
        }
    }

    fn warn_if_open(&mut self, list: Option<&[Requirement]>, place: &Place<'_>, whom: &str) {
        if list.is_some_and(|list| list.iter().all(Requirement::always_holds)) {
            self.mistakes.warn(
                place,
                "accepts-anything",
                format!("{whom} is allowed, unsigned ones too"),
                Some(
                    r#"safer is [{"type": "reject"}], with a scope for each registry in use"#
                        .to_owned(),
                ),
            );
        }
    }

    fn requirements(&mut self, value: &Value, place: &Place<'_>) -> Option<Vec<Requirement>> {
        let items = match &value.kind {
            Kind::Array(items) => items.as_slice(),
            Kind::Null => &[],
            other => return self.wrong_type(place, "an array of requirements", other),
        };
        if items.is_empty() {
            self.mistakes.error(
                place,
                "requirements-empty",
                "List of verification policy requirements must not be empty",
                Some(r#"to refuse every image, write [{"type": "reject"}]"#.to_owned()),
            );
            return None;
        }
        let read = items
            .iter()
            .enumerate()
            .map(|(index, item)| self.requirement(item, &place.index(index, item.at)));
        // Each is read, also after one that cannot be.
        read.collect::<Vec<_>>().into_iter().collect()
    }

    fn requirement(&mut self, value: &Value, place: &Place<'_>) -> Option<Requirement> {
        let name = self.type_name(value, place)?;
        if OWN_TYPES.contains(&name.as_str()) && self.nesting == 0 {
            let message = format!("Unknown policy requirement type {}", quoted(&name));
            self.mistakes.foreign(place, "dialect-requirement", message);
        }
        match name.as_str() {
            "anyOf" => self.any_of(value, place),
            "atLeast" => self.at_least(value, place).map(Requirement::AtLeast),
            "insecureAcceptAnything" => {
                self.members(value, place, &["type"])?;
                Some(Requirement::InsecureAcceptAnything)
            }
            "reject" => {
                self.members(value, place, &["type"])?;
                Some(Requirement::Reject)
            }
            "rule" => self.rule(value, place).map(Requirement::Rule),
            "signedBaseLayer" => {
                let members = self.members(value, place, &["type", "baseLayerIdentity"])?;
                self.mistakes.warn(
                    place,
                    "requirement-unevaluated",
                    "signedBaseLayer not implemented yet!",
                    Some("no image satisfies it: use reject, or signedBy".to_owned()),
                );
                let (value, place) = self.required(&members, "baseLayerIdentity", place)?;
                let base_layer_identity = self.identity(value, &place)?;
                Some(Requirement::SignedBaseLayer { base_layer_identity })
            }
            "signedBy" => self.signed_by(value, place).map(Requirement::SignedBy),
            "sigstoreSigned" => {
                self.mistakes.warn(
                    place,
                    "requirement-unevaluated",
                    "sigstoreSigned is not evaluated yet: it denies every image",
                    Some("require signedBy, and sign with OpenPGP".to_owned()),
                );
                self.sigstore_signed(value, place).map(Requirement::SigstoreSigned)
            }
            _ => self.unknown_type(value, place, "requirement", &name, &REQUIREMENT_TYPES),
        }
    }

    fn signed_by(&mut self, value: &Value, place: &Place<'_>) -> Option<SignedBy> {
        let members = self.members(
            value,
            place,
            &["type", "keyType", "keyPath", "keyPaths", "keyData", "signedIdentity"],
        )?;
        let key_type = self.key_type(&members, place);
        let keys = self.signed_by_keys(&members, place, key_type);
        let identity = self.signed_identity(&members);
        let number = self.signed_by;
        self.signed_by += 1;
        Some(SignedBy { key_type: key_type?, keys: keys?, identity: identity?, number })
    }

    fn key_type(&mut self, members: &Members<'_>, place: &Place<'_>) -> Option<KeyType> {
        let names = KeyType::ALL.map(KeyType::name);
        let Some((value, place)) = members.get("keyType") else {
            let hint = format!("add \"keyType\": {:?}", KeyType::GpgKeys.name());
            self.mistakes.error(place, "key-type-unknown", "invalid keyType \"\"", Some(hint));
            return None;
        };
        let name = self.string(value, &place)?;
        let Some(key_type) = KeyType::ALL.into_iter().find(|key_type| key_type.name() == name)
        else {
            self.mistakes.error(
                &place,
                "key-type-unknown",
                format!("Unrecognized keyType value {}", quoted(name)),
                Some(format!("expected one of {}", names.join(", "))),
            );
            return None;
        };
        if key_type != KeyType::GpgKeys {
            self.mistakes.warn(
                &place,
                "key-type-unevaluated",
                format!("Unimplemented \"keyType\" value {name:?}"),
                Some(format!("no image satisfies it: use {}", KeyType::GpgKeys.name())),
            );
        }
        Some(key_type)
    }

    /// Of `signedBy`, it is the *presence* of the keys that counts, whatever their values are.
    fn signed_by_keys(
        &mut self,
        members: &Members<'_>,
        place: &Place<'_>,
        key_type: Option<KeyType>,
    ) -> Option<KeySource> {
        let present: Vec<_> = ["keyPath", "keyPaths", "keyData"]
            .into_iter()
            .filter_map(|key| members.get(key).map(|(value, place)| (key, value, place)))
            .collect();
        let (key, value, place) = match present.as_slice() {
            [one] => one,
            [] => {
                self.mistakes.error(
                    place,
                    "key-source",
                    "exactly one of keyPath, keyPaths and keyData must be specified",
                    Some("add \"keyPath\" with the path of an OpenPGP key file".to_owned()),
                );
                return None;
            }
            _ => {
                self.mistakes.error(
                    place,
                    "key-source",
                    "Exactly one of keyPath, keyPaths and keyData must be specified, more than \
                     one present",
                    Some("to trust several keys, list their files in keyPaths".to_owned()),
                );
                return None;
            }
        };
        let absent = |reader: &mut Self| {
            reader.mistakes.error(
                place,
                "key-source",
                "exactly one of keyPath, keyPaths and keyData must be specified",
                Some(format!("{key} has no value")),
            );
            None
        };
        let keys = match *key {
            "keyPath" => match self.string(value, place)? {
                "" => return absent(self),
                path => KeySource::Path(path.to_owned()),
            },
            "keyPaths" if matches!(value.kind, Kind::Null) => return absent(self),
            "keyPaths" => KeySource::Paths(self.list(value, place, |reader, value, place| {
                reader.string(value, place).map(str::to_owned)
            })?),
            _ => match self.data(value, place)? {
                Some(data) => KeySource::Data(data),
                None => return absent(self),
            },
        };
        self.look_at_keys(&keys, value, place, key_type);
        Some(keys)
    }

    fn look_at_keys(
        &mut self,
        keys: &KeySource,
        value: &Value,
        place: &Place<'_>,
        key_type: Option<KeyType>,
    ) {
        if keys.is_empty() {
            self.mistakes.warn(
                place,
                "keys-empty",
                "there is no key: no signature is ever accepted",
                Some("name a key, or say what is meant with reject".to_owned()),
            );
            return;
        }
        match (keys, &value.kind) {
            (KeySource::Paths(paths), Kind::Array(items)) => {
                for (index, (path, item)) in paths.iter().zip(items).enumerate() {
                    let place = place.index(index, item.at);
                    self.look_at_path(path, &place, key_type);
                }
            }
            (KeySource::Path(path), _) => self.look_at_path(path, place, key_type),
            (KeySource::Data(data), _) => {
                if key_type == Some(KeyType::GpgKeys) {
                    let problem = (self.problem)(&Material::Data(data.clone()));
                    self.tell(problem, place);
                }
            }
            (KeySource::Paths(_), _) => {}
        }
    }

    fn look_at_path(&mut self, path: &str, place: &Place<'_>, key_type: Option<KeyType>) {
        let problem = match self.looked_at.get(path) {
            Some(problem) => problem.clone(),
            None => {
                let material = Material::Path(path.to_owned());
                let problem = (self.problem)(&material);
                self.key_paths.push(path.to_owned());
                self.looked_at.insert(path.to_owned(), problem.clone());
                problem
            }
        };
        // What other types of keys look like, nobody knows.
        if path.is_empty() {
            let hint = "remove it, or name a key file: no signature is ever accepted".to_owned();
            self.mistakes.warn(place, "keys-empty", "this path is empty", Some(hint));
        } else if key_type == Some(KeyType::GpgKeys) {
            self.tell(problem, place);
        }
    }

    fn tell(&mut self, problem: Option<KeyProblem>, place: &Place<'_>) {
        if let Some(KeyProblem { code, message, hint }) = problem {
            self.mistakes.warn(place, &code, message, hint);
        }
    }

    /// Of `sigstoreSigned`, it is mostly the values that count: an empty path is none at all.
    fn sigstore_signed(&mut self, value: &Value, place: &Place<'_>) -> Option<SigstoreSigned> {
        let members = self.members(
            value,
            place,
            &[
                "type",
                "keyPath",
                "keyPaths",
                "keyData",
                "keyDatas",
                "fulcio",
                "pki",
                "rekorPublicKeyPath",
                "rekorPublicKeyPaths",
                "rekorPublicKeyData",
                "rekorPublicKeyDatas",
                "signedIdentity",
            ],
        )?;
        let keys = self.materials(
            &members,
            [
                ("keyPath", "keyPath"),
                ("keyPaths", "keyPaths"),
                ("keyData", "keyData"),
                ("keyDatas", "keyDatas"),
            ],
        );
        let fulcio = members.get("fulcio").map(|(value, place)| self.fulcio(value, &place));
        let pki = members.get("pki").map(|(value, place)| self.pki(value, &place));
        let is_fulcio = fulcio.is_some();
        let is_pki = pki.is_some();
        let mut trusts: Vec<Option<SigstoreTrust>> = keys
            .into_iter()
            .map(|keys| keys.map(SigstoreTrust::Keys))
            .chain(fulcio.map(|fulcio| fulcio.map(SigstoreTrust::Fulcio)))
            .chain(pki.map(|pki| pki.map(SigstoreTrust::Pki)))
            .collect();
        let trust = match trusts.len() {
            1 => trusts.pop().flatten(),
            _ => {
                self.mistakes.error(
                    place,
                    "key-source",
                    "exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio, and pki must be \
                     specified",
                    None,
                );
                None
            }
        };
        let rekor = self.rekor(&members, place, is_fulcio, is_pki);
        let identity = self.signed_identity(&members);
        Some(SigstoreSigned { trust: trust?, rekor: rekor?, identity: identity? })
    }

    fn rekor(
        &mut self,
        members: &Members<'_>,
        place: &Place<'_>,
        is_fulcio: bool,
        is_pki: bool,
    ) -> Option<Vec<Material>> {
        let mut sources = self.materials(members, REKOR_KEYS);
        let mut refuse = |message: &str, hint: Option<&str>| {
            self.mistakes.error(place, "rekor-source", message, hint.map(str::to_owned));
            None
        };
        if sources.len() > 1 {
            return refuse(
                "at most one of rekorPublickeyPath, rekorPublicKeyPaths, rekorPublickeyData and \
                 rekorPublicKeyDatas can be used simultaneously",
                None,
            );
        }
        if is_pki && !sources.is_empty() {
            return refuse(
                "rekorPublickeyPath, rekorPublicKeyPaths, rekorPublickeyData and \
                 rekorPublicKeyDatas are not supported for pki",
                None,
            );
        }
        if is_fulcio && sources.is_empty() {
            return refuse(
                "At least one of rekorPublickeyPath, rekorPublicKeyPaths, rekorPublickeyData and \
                 rekorPublicKeyDatas must be specified if fulcio is used",
                None,
            );
        }
        // The reference implementation takes an empty value for "no transparency log", which is
        // hardly what anyone means who names the key.
        if sources.is_empty() && REKOR_KEYS.iter().any(|(key, _)| members.get(key).is_some()) {
            return refuse(
                "the key of the transparency log has no value",
                Some("remove it where the transparency log does not matter"),
            );
        }
        match sources.pop() {
            Some(keys) => keys,
            None => Some(Vec::new()),
        }
    }

    /// The sources among a path, paths, data and list of data that are given: each with its keys, or `None`
    /// if they cannot be read. With each key goes its name in the reference implementation's messages.
    fn materials(
        &mut self,
        members: &Members<'_>,
        [path, paths, data, datas]: [(&str, &str); 4],
    ) -> Vec<Option<Vec<Material>>> {
        let mut sources = Vec::new();
        if let Some((value, place)) = members.get(path.0) {
            match self.string(value, &place) {
                Some("") => {}
                Some(path) => sources.push(Some(vec![Material::Path(path.to_owned())])),
                None => sources.push(None),
            }
        }
        if let Some((value, place)) = members.get(paths.0) {
            sources.push(self.filled_list(value, &place, paths.1, |reader, value, place| {
                reader.string(value, place).map(|path| Material::Path(path.to_owned()))
            }));
        }
        if let Some((value, place)) = members.get(data.0) {
            match self.data(value, &place) {
                Some(None) => {}
                Some(Some(data)) => sources.push(Some(vec![Material::Data(data)])),
                None => sources.push(None),
            }
        }
        if let Some((value, place)) = members.get(datas.0) {
            sources.push(self.filled_list(value, &place, datas.1, |reader, value, place| {
                reader.data(value, place).map(|data| Material::Data(data.unwrap_or_default()))
            }));
        }
        sources
    }

    fn fulcio(&mut self, value: &Value, place: &Place<'_>) -> Option<Fulcio> {
        let members =
            self.members(value, place, &["caPath", "caData", "oidcIssuer", "subjectEmail"])?;
        let ca = self.certificates(&members, place, "caPath", "caData", true);
        let mut filled = |key: &str| {
            let text = match members.get(key) {
                Some((value, place)) => self.string(value, &place)?,
                None => "",
            };
            if text.is_empty() {
                let message = format!("{key} not specified");
                self.mistakes.error(place, "value-missing", message, None);
                return None;
            }
            Some(text.to_owned())
        };
        let oidc_issuer = filled("oidcIssuer");
        let subject_email = filled("subjectEmail");
        Some(Fulcio { ca: ca??, oidc_issuer: oidc_issuer?, subject_email: subject_email? })
    }

    fn pki(&mut self, value: &Value, place: &Place<'_>) -> Option<Pki> {
        let members = self.members(
            value,
            place,
            &[
                "caRootsPath",
                "caRootsData",
                "caIntermediatesPath",
                "caIntermediatesData",
                "subjectEmail",
                "subjectHostname",
            ],
        )?;
        let roots = self.certificates(&members, place, "caRootsPath", "caRootsData", true);
        let intermediates =
            self.certificates(&members, place, "caIntermediatesPath", "caIntermediatesData", false);
        let mut filled = |key: &str| match members.get(key) {
            Some((value, place)) => {
                let text = self.string(value, &place)?;
                Some((!text.is_empty()).then(|| text.to_owned()))
            }
            None => Some(None),
        };
        let subject_email = filled("subjectEmail");
        let subject_hostname = filled("subjectHostname");
        if let (Some(None), Some(None)) = (&subject_email, &subject_hostname) {
            self.mistakes.error(
                place,
                "value-missing",
                "At least one of subjectEmail, subjectHostname must be specified",
                None,
            );
        }
        Some(Pki {
            roots: roots??,
            intermediates: intermediates?,
            subject_email: subject_email?,
            subject_hostname: subject_hostname?,
        })
    }

    /// A file of certificates, by path or by value: at most one of the two, and one if it is needed.
    fn certificates(
        &mut self,
        members: &Members<'_>,
        place: &Place<'_>,
        path_key: &str,
        data_key: &str,
        needed: bool,
    ) -> Option<Option<Material>> {
        let path = match members.get(path_key) {
            Some((value, place)) => self.string(value, &place),
            None => Some(""),
        };
        let data = match members.get(data_key) {
            Some((value, place)) => self.data(value, &place),
            None => Some(None),
        };
        let fault = match (path?, data?) {
            ("", None) if needed => {
                format!("At least one of {path_key} and {data_key} must be specified")
            }
            ("", None) => return Some(None),
            ("", Some(data)) => return Some(Some(Material::Data(data))),
            (path, None) => return Some(Some(Material::Path(path.to_owned()))),
            (_, Some(_)) => format!("{path_key} and {data_key} cannot be used simultaneously"),
        };
        self.mistakes.error(place, "key-source", fault, None);
        None
    }

    fn signed_identity(&mut self, members: &Members<'_>) -> Option<IdentityMatch> {
        match members.get("signedIdentity") {
            Some((value, place)) => self.identity(value, &place),
            None => Some(IdentityMatch::MatchRepoDigestOrExact),
        }
    }

    fn identity(&mut self, value: &Value, place: &Place<'_>) -> Option<IdentityMatch> {
        let name = self.type_name(value, place)?;
        let plain = match name.as_str() {
            "matchExact" => IdentityMatch::MatchExact,
            "matchRepoDigestOrExact" => IdentityMatch::MatchRepoDigestOrExact,
            "matchRepository" => IdentityMatch::MatchRepository,
            "exactReference" => {
                let members = self.members(value, place, &["type", "dockerReference"])?;
                let (value, place) = self.required(&members, "dockerReference", place)?;
                let reference = self.reference(value, &place, "dockerReference")?;
                if reference.is_name_only() {
                    let text = self.string(value, &place)?;
                    self.mistakes.error(
                        &place,
                        "reference-incomplete",
                        format!(
                            "dockerReference {} contains neither a tag nor digest",
                            quoted(text)
                        ),
                        Some("add one, or use exactRepository for any".to_owned()),
                    );
                    return None;
                }
                return Some(IdentityMatch::ExactReference(reference));
            }
            "exactRepository" => {
                let members = self.members(value, place, &["type", "dockerRepository"])?;
                let (value, place) = self.required(&members, "dockerRepository", place)?;
                let reference = self.reference(value, &place, "dockerRepository")?;
                return Some(IdentityMatch::ExactRepository(reference));
            }
            "remapIdentity" => {
                let members = self.members(value, place, &["type", "prefix", "signedPrefix"])?;
                let prefix = self.prefix(&members, "prefix", place);
                let signed_prefix = self.prefix(&members, "signedPrefix", place);
                return Some(IdentityMatch::RemapIdentity {
                    prefix: prefix?,
                    signed_prefix: signed_prefix?,
                });
            }
            _ => {
                return self.unknown_type(value, place, "reference match", &name, &IDENTITY_TYPES);
            }
        };
        self.members(value, place, &["type"])?;
        Some(plain)
    }

    fn reference(&mut self, value: &Value, place: &Place<'_>, key: &str) -> Option<Reference> {
        let text = self.string(value, place)?;
        match Reference::parse_normalized(text) {
            Ok(reference) => Some(reference),
            Err(error) => {
                let message = format!("Invalid format of {key} {}: {error}", quoted(text));
                let hint = Some("expected host[:port]/path[:tag][@digest]".to_owned());
                self.mistakes.error(place, "reference-invalid", message, hint);
                None
            }
        }
    }

    fn prefix(
        &mut self,
        members: &Members<'_>,
        key: &'static str,
        place: &Place<'_>,
    ) -> Option<Prefix> {
        let (value, place) = self.required(members, key, place)?;
        let text = self.string(value, &place)?;
        match Prefix::new(text) {
            Ok(prefix) => Some(prefix),
            Err(_) => {
                self.mistakes.error(
                    &place,
                    "prefix-invalid",
                    format!("prefix {} is not valid", quoted(text)),
                    Some(
                        "expected host[:port] or host[:port]/path, without tag, digest, scheme, \
                         wildcard or slash at the end"
                            .to_owned(),
                    ),
                );
                None
            }
        }
    }

    /// The value of `type`, which decides how an object is read. That it stands there exactly once under
    /// exactly this name is the business of whoever reads the object.
    fn type_name(&mut self, value: &Value, place: &Place<'_>) -> Option<String> {
        let members = match &value.kind {
            Kind::Object(members) => members.as_slice(),
            Kind::Null => &[],
            other => return self.wrong_object(place, other),
        };
        let named = members
            .iter()
            .find(|member| member.key == "type")
            .or_else(|| members.iter().find(|member| member.key.eq_ignore_ascii_case("type")));
        match named {
            Some(member) => self
                .string(&member.value, &place.key(&member.key, member.value.at))
                .map(str::to_owned),
            None => Some(String::new()),
        }
    }

    fn unknown_type<T>(
        &mut self,
        value: &Value,
        place: &Place<'_>,
        what: &str,
        name: &str,
        known: &[&str],
    ) -> Option<T> {
        let hint = match similar(name, known) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("\"type\" is one of {}", known.join(", ")),
        };
        let typed = match &value.kind {
            Kind::Object(members) => members.iter().find(|member| member.key == "type"),
            _ => None,
        };
        let message = format!("Unknown policy {what} type {}", quoted(name));
        match typed {
            Some(member) => self.mistakes.error(
                &place.key("type", member.value.at),
                "type-unknown",
                message,
                Some(hint),
            ),
            None => self.mistakes.error(place, "type-unknown", message, Some(hint)),
        }
        None
    }

    /// A string; null is an empty one, as in the reference implementation.
    fn string<'v>(&mut self, value: &'v Value, place: &Place<'_>) -> Option<&'v str> {
        match &value.kind {
            Kind::String(text) => Some(text),
            Kind::Null => Some(""),
            other => self.wrong_type(place, "a string", other),
        }
    }

    /// Base64; null is none, which is not the same as an empty one.
    fn data(&mut self, value: &Value, place: &Place<'_>) -> Option<Option<Vec<u8>>> {
        let text = match &value.kind {
            Kind::String(text) => text,
            Kind::Null => return Some(None),
            other => return self.wrong_type(place, "a string of Base64", other),
        };
        match lenient_base64::decode(text) {
            Ok(data) => Some(Some(data)),
            Err(error) => {
                self.mistakes.error(
                    place,
                    "base64-invalid",
                    format!("this is not Base64: {error}"),
                    Some("write what `base64 -w0 FILE` prints".to_owned()),
                );
                None
            }
        }
    }

    fn list<T>(
        &mut self,
        value: &Value,
        place: &Place<'_>,
        item: impl Fn(&mut Self, &Value, &Place<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Kind::Array(items) = &value.kind else {
            return self.wrong_type(place, "an array", &value.kind);
        };
        let read = items
            .iter()
            .enumerate()
            .map(|(index, value)| item(self, value, &place.index(index, value.at)));
        read.collect::<Vec<_>>().into_iter().collect()
    }

    fn filled_list<T>(
        &mut self,
        value: &Value,
        place: &Place<'_>,
        name: &str,
        item: impl Fn(&mut Self, &Value, &Place<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let empty = match &value.kind {
            Kind::Array(items) => items.is_empty(),
            Kind::Null => true,
            _ => false,
        };
        if empty {
            let message = format!("{name:?} contains no entries");
            self.mistakes.error(place, "keys-missing", message, None);
            return None;
        }
        self.list(value, place, item)
    }

    /// The members of an object that may have these keys and no others, each once.
    fn members<'v>(
        &mut self,
        value: &'v Value,
        place: &'v Place<'v>,
        known: &[&str],
    ) -> Option<Members<'v>> {
        let mut found = Vec::new();
        for (key, value, at) in self.any_members(value, place)? {
            if known.contains(&key) {
                found.push((key, value));
                continue;
            }
            let hint = match similar(key, known) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!("expected are {}", known.join(", ")),
            };
            let message = format!("Unknown key {}", quoted(key));
            self.mistakes.error(&at, "key-unknown", message, Some(hint));
        }
        Some(Members { place, found })
    }

    /// The members of an object with any keys; of those with the same key, the first.
    fn any_members<'v>(
        &mut self,
        value: &'v Value,
        place: &'v Place<'v>,
    ) -> Option<Vec<(&'v str, &'v Value, Place<'v>)>> {
        let Kind::Object(members) = &value.kind else {
            return self.wrong_object(place, &value.kind);
        };
        let mut seen = std::collections::BTreeSet::new();
        let mut distinct = Vec::with_capacity(members.len());
        for member in members {
            if seen.insert(member.key.as_str()) {
                let place = place.key(&member.key, member.value.at);
                distinct.push((member.key.as_str(), &member.value, place));
            } else {
                self.mistakes.error(
                    &place.key(&member.key, member.at),
                    "key-duplicate",
                    format!("Duplicate key {}", quoted(&member.key)),
                    Some("remove one of the two".to_owned()),
                );
            }
        }
        Some(distinct)
    }

    fn required<'v>(
        &mut self,
        members: &'v Members<'v>,
        key: &'static str,
        place: &Place<'_>,
    ) -> Option<(&'v Value, Place<'v>)> {
        let found = members.get(key);
        if found.is_none() {
            let message = format!("Key {key:?} missing in a JSON object");
            self.mistakes.error(place, "key-missing", message, None);
        }
        found
    }

    fn wrong_object<T>(&mut self, place: &Place<'_>, found: &Kind) -> Option<T> {
        let message = format!("JSON object expected, got {found}");
        self.mistakes.error(place, "wrong-type", message, None);
        None
    }

    fn wrong_type<T>(&mut self, place: &Place<'_>, wanted: &str, found: &Kind) -> Option<T> {
        let message = format!("{wanted} expected, got {found}");
        self.mistakes.error(place, "wrong-type", message, None);
        None
    }
}

/// The members of an object whose keys are known.
struct Members<'v> {
    place: &'v Place<'v>,
    found: Vec<(&'v str, &'v Value)>,
}

impl<'v> Members<'v> {
    /// In order of appearance.
    fn iter(&self) -> impl Iterator<Item = (&'v str, &'v Value, Place<'v>)> {
        self.found.iter().map(|(key, value)| (*key, *value, self.place.key(key, value.at)))
    }

    fn get(&self, key: &str) -> Option<(&'v Value, Place<'v>)> {
        let (_, value, place) = self.iter().find(|(found, ..)| *found == key)?;
        Some((value, place))
    }
}

fn syntax_hint(fault: &Fault) -> Option<String> {
    let hint = match fault {
        Fault::Expected { found: '\u{feff}', .. } => {
            "the file starts with a byte order mark: save it as UTF-8 without one"
        }
        Fault::Expected { found: '}' | ']', .. } => "remove the comma before it",
        Fault::Expected { found: '/' | '#', .. } | Fault::Trailing('/' | '#') => {
            "JSON has no comments"
        }
        Fault::Expected { found: '\'', .. } => "JSON has double quotes only",
        Fault::End => "the file is empty, or its end is missing",
        Fault::Nesting => "no part of a policy is nested so deep",
        Fault::Utf8 => "save the file as UTF-8",
        _ => return None,
    };
    Some(hint.to_owned())
}

const REQUIREMENT_TYPES: [&str; 8] = [
    "anyOf",
    "atLeast",
    "insecureAcceptAnything",
    "reject",
    "rule",
    "signedBaseLayer",
    "signedBy",
    "sigstoreSigned",
];

/// Those of them that no other implementation has.
const OWN_TYPES: [&str; 3] = ["anyOf", "atLeast", "rule"];

const IDENTITY_TYPES: [&str; 6] = [
    "exactReference",
    "exactRepository",
    "matchExact",
    "matchRepoDigestOrExact",
    "matchRepository",
    "remapIdentity",
];

/// The keys of the transparency log's keys, each with the name that the reference implementation's messages
/// give it.
const REKOR_KEYS: [(&str, &str); 4] = [
    ("rekorPublicKeyPath", "rekorPublickeyPath"),
    ("rekorPublicKeyPaths", "rekorPublickeyPaths"),
    ("rekorPublicKeyData", "rekorPublickeyData"),
    ("rekorPublicKeyDatas", "rekorPublickeyDatas"),
];
