//! A policy document that is changed in places: what nobody asked to change stays, in its order and spelling.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use guest_policy::scope;
use serde_json::Value;

use super::json::Json;
use super::key::{self, KeyFormat, PublicKey};

/// A `policy.json`, as containers-policy.json(5) describes it.
///
/// What it means is for the engine to say, before and after: here it is only taken apart as far as it has to be.
#[derive(Clone, Debug)]
pub struct PolicyDocument {
    root: Json,
    /// As it was read, while nothing is changed.
    original: Option<String>,
    indent: String,
}

impl PolicyDocument {
    /// A new document. With [`DefaultRule::Accept`] it is the one that distributions and OpenShift's nodes begin
    /// with.
    pub fn new(default: DefaultRule) -> Self {
        let mut members = vec![("default", default.requirements())];
        if default == DefaultRule::Accept {
            let daemon = Json::object([("", default.requirements())]);
            members.push(("transports", Json::object([("docker-daemon", daemon)])));
        }
        Self { root: Json::object(members), original: None, indent: INDENT.to_owned() }
    }

    /// Take a document apart.
    ///
    /// # Errors
    ///
    /// It is no JSON, or no object.
    pub fn parse(document: &[u8]) -> Result<Self, EditError> {
        let text = std::str::from_utf8(document)
            .map_err(|e| EditError::Form { path: "$".to_owned(), fault: e.to_string() })?;
        let mut root = Json::parse(text)
            .map_err(|e| EditError::Form { path: "$".to_owned(), fault: e.to_string() })?;
        members(&mut root, "$")?;
        let space = |line: &str| {
            let rest = line.trim_start_matches([' ', '\t']);
            line[..line.len() - rest.len()].to_owned()
        };
        let indent = text.lines().map(space).find(|space| !space.is_empty());
        let indent = indent.unwrap_or_else(|| INDENT.to_owned());
        Ok(Self { root, original: Some(text.to_owned()), indent })
    }

    /// The document as text: as it was read, byte for byte, if nothing changed.
    pub fn text(&self) -> String {
        if let Some(original) = &self.original {
            return original.clone();
        }
        let mut text = String::new();
        self.root.write(&mut text, &self.indent, 0);
        text.push('\n');
        text
    }

    /// What it says, without order and spelling.
    pub fn value(&self) -> Value {
        self.root.value()
    }

    /// Whether the default is to accept anything.
    pub fn accepts_by_default(&self) -> bool {
        let default = self.value();
        let default = default.get("default").and_then(Value::as_array);
        default.is_some_and(|list| list.iter().all(|one| one["type"] == ANYTHING))
    }

    /// Say what holds where no scope decides.
    ///
    /// # Errors
    ///
    /// The document is no object.
    pub fn set_default(&mut self, default: DefaultRule) -> Result<(), EditError> {
        let requirements = default.requirements();
        match self.root.member("default") {
            Some(there) if there.value() == requirements.value() => return Ok(()),
            Some(there) => *there = requirements,
            None => members(&mut self.root, "$")?.insert(0, ("default".to_owned(), requirements)),
        }
        self.original = None;
        Ok(())
    }

    /// Want images of `scope` signed by `key`. Where a key of the same format is wanted already, a signature by any of
    /// them counts from then on, so that keys can be replaced; beside other requirements this is one more that has to
    /// hold; `insecureAcceptAnything` gives way to it.
    ///
    /// # Errors
    ///
    /// The scope rejects every image, or it cannot be told which of its requirements the key belongs to.
    pub fn trust(&mut self, scope: &Scope, key: &TrustedKey<'_>) -> Result<(), EditError> {
        let path = scope.path();
        let list = self.scope(scope)?;
        let items = list.items().ok_or_else(|| EditError::no(&path, "a list of requirements"))?;
        let kinds: Vec<Value> = items.iter().map(Json::value).collect();
        if kinds.iter().any(|one| one["type"] == "reject") {
            return Err(EditError::Rejected { path });
        }
        let (requirement, identity) = (key.requirement(), key.identity);
        if kinds.iter().all(|one| one["type"] == ANYTHING) {
            *items = vec![requirement];
            self.original = None;
            return Ok(());
        }
        let kind = requirement.value()["type"].clone();
        let mut same = items.iter_mut().enumerate().filter(|(_, one)| one.value()["type"] == kind);
        match (same.next(), same.next()) {
            (None, _) => items.push(requirement),
            (Some(_), Some(_)) => {
                return Err(EditError::Ambiguous { path, kind: kind.to_string() });
            }
            (Some((place, one)), None) => {
                let path = format!("{path}[{place}]");
                let there = one.value()["signedIdentity"]["type"].clone();
                if identity.is_some_and(|identity| there != identity) {
                    return Err(EditError::Identity { path });
                }
                if !join(one, key, &path)? {
                    return Ok(());
                }
            }
        }
        self.original = None;
        Ok(())
    }

    /// Add what another document says. Of what both say, `prefer` tells whose word holds.
    ///
    /// # Errors
    ///
    /// Both say something of the same scope, or of what holds without one, and not the same.
    pub fn merge(&mut self, other: &Self, prefer: Option<Prefer>) -> Result<(), EditError> {
        let mut merged = self.root.clone();
        let mut merge = Merge { prefer, contradictions: Vec::new(), changed: false };
        let mut other = other.root.clone();
        let mine = members(&mut merged, "$")?;
        for (name, value) in members(&mut other, "$")? {
            let there = mine.iter_mut().find(|(key, _)| key == name);
            match there {
                Some((_, transports)) if name == "transports" => {
                    let transports = members(transports, "$.transports")?;
                    for (transport, scopes) in members(value, "$.transports")? {
                        let path = format!("$.transports[{transport:?}]");
                        let Some((_, mine)) =
                            transports.iter_mut().find(|(key, _)| key == transport)
                        else {
                            insert(transports, transport, scopes.clone().unfolded());
                            merge.changed = true;
                            continue;
                        };
                        let mine = members(mine, &path)?;
                        for (scope, list) in members(scopes, &path)? {
                            merge.member(mine, scope, list, &format!("{path}[{scope:?}]"));
                        }
                    }
                }
                _ => merge.member(mine, name, value, &format!("$.{name}")),
            }
        }
        if !merge.contradictions.is_empty() {
            return Err(EditError::Contradiction { paths: merge.contradictions.join(", ") });
        }
        if merge.changed {
            self.root = merged;
            self.original = None;
        }
        Ok(())
    }

    /// Every file that requirements name, by `change`, which may leave it, name another, or put its content into the
    /// document.
    pub(super) fn each_file<E>(
        &mut self,
        change: &mut dyn FnMut(&str) -> Result<FileUse, E>,
    ) -> Result<(), E> {
        let mut changed = false;
        if let Some(default) = self.root.member("default") {
            changed |= files_of(default, change)?;
        }
        let transports = self.root.member("transports").and_then(Json::members);
        for (_, scopes) in transports.into_iter().flatten() {
            for (_, list) in scopes.members().into_iter().flatten() {
                changed |= files_of(list, change)?;
            }
        }
        if changed {
            self.original = None;
        }
        Ok(())
    }

    /// The list of a scope, which accepts anything if it was not there.
    fn scope(&mut self, scope: &Scope) -> Result<&mut Json, EditError> {
        let root = members(&mut self.root, "$")?;
        let transports = entry(root, "transports", || Json::object([]));
        let transports = members(transports, "$.transports")?;
        let scopes = entry(transports, &scope.transport, || Json::object([]));
        let path = format!("$.transports[{:?}]", scope.transport);
        let scopes = members(scopes, &path)?;
        Ok(entry(scopes, &scope.scope, || Json::array([anything()])))
    }
}

/// What holds where no scope decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DefaultRule {
    /// Every image is accepted.
    Accept,
    /// No image is.
    Reject,
}

impl DefaultRule {
    fn requirements(self) -> Json {
        match self {
            Self::Accept => Json::array([anything()]),
            Self::Reject => Json::array([Json::object([("type", Json::string("reject"))])]),
        }
    }
}

/// Whose word holds where two documents contradict each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Prefer {
    /// The one that is merged into.
    Existing,
    /// The one that is merged.
    Added,
}

/// For which images a list of requirements is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Scope {
    transport: String,
    scope: String,
}

impl Scope {
    /// Of an image's transport.
    ///
    /// # Errors
    ///
    /// No image is of that scope.
    pub fn new(transport: &str, scope: &str) -> Result<Self, String> {
        if !scope::TRANSPORTS.contains(&transport) {
            let known = scope::TRANSPORTS.join(", ");
            return Err(format!("no image is of the transport {transport:?}; known are {known}"));
        }
        if let Some(why) = scope::unreachable(transport, scope) {
            return Err(format!("no image is of the scope {scope:?}: {why}"));
        }
        scope::validate(transport, scope).map_err(|fault| fault.to_string())?;
        Ok(Self { transport: transport.to_owned(), scope: scope.to_owned() })
    }

    /// Without its transport.
    pub fn as_str(&self) -> &str {
        &self.scope
    }

    fn path(&self) -> String {
        format!("$.transports[{:?}][{:?}]", self.transport, self.scope)
    }
}

/// A scope of `docker`.
impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::new("docker", text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scope)
    }
}

/// A key that is added to a scope.
#[derive(Clone, Copy, Debug)]
pub struct TrustedKey<'a> {
    /// The key.
    pub key: &'a PublicKey,
    /// Where readers of the document find it; `None`: in the document itself.
    pub path: Option<&'a str>,
    /// The type of `signedIdentity`; `None`: what the document says, or the format's default.
    pub identity: Option<&'a str>,
}

impl TrustedKey<'_> {
    fn requirement(&self) -> Json {
        let mut members = match self.key.format {
            KeyFormat::OpenPgp => {
                vec![("type", Json::string("signedBy")), ("keyType", Json::string("GPGKeys"))]
            }
            KeyFormat::Sigstore => vec![("type", Json::string("sigstoreSigned"))],
        };
        members.push(match self.path {
            Some(path) => ("keyPath", Json::string(path)),
            None => ("keyData", Json::string(&key::data(self.key.content()))),
        });
        if let Some(identity) = self.identity {
            members.push(("signedIdentity", Json::object([("type", Json::string(identity))])));
        }
        Json::object(members)
    }
}

/// What becomes of a file that a document names.
pub(super) enum FileUse {
    /// It is named as before.
    Left,
    /// By another path.
    At(String),
    /// Its content.
    Inline(Vec<u8>),
}

/// Let a signature by `key` count where one by the requirement's own does; whether that changes anything.
fn join(requirement: &mut Json, key: &TrustedKey<'_>, path: &str) -> Result<bool, EditError> {
    let mixed = |there: &str| EditError::Mixed { path: path.to_owned(), there: there.to_owned() };
    let lists = ["keyPath", "keyPaths", "keyData", "keyDatas"];
    let list = members(requirement, path)?;
    let (name, value) = list
        .iter_mut()
        .find(|(name, _)| lists.contains(&name.as_str()))
        .ok_or_else(|| mixed("no key"))?;
    let there = value.value();
    let strings = |value: &Value| -> Vec<String> {
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let all = strings(&there);
    let (added, many) = match (key.path, name.as_str(), key.key.format) {
        (Some(path), "keyPath" | "keyPaths", _) => (path.to_owned(), "keyPaths"),
        (None, "keyData" | "keyDatas", KeyFormat::Sigstore) => {
            (key::data(key.key.content()), "keyDatas")
        }
        (None, "keyData", KeyFormat::OpenPgp) => {
            let old = all.first().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
            let new = key.key.content();
            // One after the other in one text: there is no list of them.
            let both = key::joined([&old, new]).ok_or_else(|| mixed("a damaged key"))?;
            let one = key::joined([new, &[]]).ok_or_else(|| mixed("a damaged key"))?;
            let old = &both[..both.len() - one.len()];
            if one.is_empty() || old.windows(one.len()).any(|part| part == one) {
                return Ok(false);
            }
            *value = Json::string(&key::data(&both));
            return Ok(true);
        }
        (_, there, _) => return Err(mixed(there)),
    };
    if all.contains(&added) {
        return Ok(false);
    }
    let all = all.iter().chain([&added]).map(|text| Json::string(text));
    (*name, *value) = (many.to_owned(), Json::array(all));
    Ok(true)
}

/// As [`PolicyDocument::each_file`], of one list; whether something changed.
fn files_of<E>(
    list: &mut Json,
    change: &mut dyn FnMut(&str) -> Result<FileUse, E>,
) -> Result<bool, E> {
    let mut changed = false;
    for requirement in list.items().into_iter().flatten() {
        let format = requirement.value()["type"].clone();
        for (name, value) in requirement.members().into_iter().flatten() {
            if name == "requirements" {
                changed |= files_of(value, change)?;
            } else if name == "fulcio" || name == "pki" {
                for (name, value) in value.members().into_iter().flatten() {
                    changed |= file_of(name, value, false, change)?;
                }
            } else {
                changed |= file_of(name, value, format == "signedBy", change)?;
            }
        }
    }
    Ok(changed)
}

/// As [`files_of`], of one member. OpenPGP keys of several files are one text.
fn file_of<E>(
    name: &mut String,
    value: &mut Json,
    openpgp: bool,
    change: &mut dyn FnMut(&str) -> Result<FileUse, E>,
) -> Result<bool, E> {
    let Some((stem, many)) = FILES.iter().find_map(|stem| {
        let rest = name.strip_prefix(stem)?;
        Some((stem, rest == "Paths")).filter(|_| ["Path", "Paths"].contains(&rest))
    }) else {
        return Ok(false);
    };
    let there = value.value();
    let paths = there.as_array().map_or(std::slice::from_ref(&there), Vec::as_slice);
    let (mut named, mut inline) = (Vec::new(), Vec::new());
    for path in paths.iter().filter_map(Value::as_str) {
        match change(path)? {
            FileUse::Left => named.push(path.to_owned()),
            FileUse::At(path) => named.push(path),
            FileUse::Inline(content) => inline.push(content),
        }
    }
    if !inline.is_empty() && named.is_empty() {
        let data: Vec<String> = match (many, openpgp) {
            (true, true) => {
                let mut all = Vec::new();
                for content in &inline {
                    match key::joined([&all, content]) {
                        Some(joined) => all = joined,
                        // The engine says what is wrong with it.
                        None => all.extend_from_slice(content),
                    }
                }
                vec![key::data(&all)]
            }
            _ => inline.iter().map(|content| key::data(content)).collect(),
        };
        let mut data = data.iter().map(|text| Json::string(text));
        (*name, *value) = match many && !openpgp {
            true => (format!("{stem}Datas"), Json::array(data)),
            false => (format!("{stem}Data"), data.next_back().unwrap_or_else(|| Json::string(""))),
        };
        return Ok(true);
    }
    if !inline.is_empty() || Value::from(named.clone()) == Value::from(strings_of(paths)) {
        // Some of several files cannot be put into the document, so that none is.
        return Ok(false);
    }
    let mut named = named.iter().map(|path| Json::string(path));
    *value = match many {
        true => Json::array(named),
        false => named.next().unwrap_or_else(|| Json::string("")),
    };
    Ok(true)
}

fn strings_of(values: &[Value]) -> Vec<String> {
    values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

struct Merge {
    prefer: Option<Prefer>,
    contradictions: Vec<String>,
    changed: bool,
}

impl Merge {
    fn member(&mut self, mine: &mut Vec<(String, Json)>, name: &str, value: &Json, path: &str) {
        match mine.iter_mut().find(|(key, _)| key == name) {
            None => insert(mine, name, value.clone().unfolded()),
            Some((_, there)) if there.value() == value.value() => return,
            Some((_, there)) => match self.prefer {
                None => return self.contradictions.push(path.to_owned()),
                Some(Prefer::Existing) => return,
                Some(Prefer::Added) => *there = value.clone().unfolded(),
            },
        }
        self.changed = true;
    }
}

fn members<'a>(json: &'a mut Json, path: &str) -> Result<&'a mut Vec<(String, Json)>, EditError> {
    json.members().ok_or_else(|| EditError::no(path, "an object whose keys are all different"))
}

/// A member, which is made where its name belongs if it is not there.
fn entry<'a>(
    members: &'a mut Vec<(String, Json)>,
    name: &str,
    make: impl FnOnce() -> Json,
) -> &'a mut Json {
    let found = members.iter().position(|(key, _)| key == name);
    let place = found.unwrap_or_else(|| {
        let place = place_of(members, name);
        members.insert(place, (name.to_owned(), make()));
        place
    });
    &mut members[place].1
}

fn insert(members: &mut Vec<(String, Json)>, name: &str, value: Json) {
    members.insert(place_of(members, name), (name.to_owned(), value));
}

/// Before the first name that comes after it in the alphabet, so that what is in order stays so.
fn place_of(members: &[(String, Json)], name: &str) -> usize {
    members.iter().position(|(key, _)| key.as_str() > name).unwrap_or(members.len())
}

fn anything() -> Json {
    Json::object([("type", Json::string(ANYTHING))])
}

/// A document cannot be changed in the way that was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Several requirements are of the key's format.
    #[error(
        "{path} has several requirements of the type {kind}, and each could be the one that is meant; edit the \
         document by hand"
    )]
    Ambiguous {
        /// The scope.
        path: String,
        /// The type.
        kind: String,
    },
    /// Two documents say different things.
    #[error(
        "both documents say something of {paths}, and not the same; say whose word holds with --prefer existing or \
         --prefer added"
    )]
    Contradiction {
        /// The places.
        paths: String,
    },
    /// The document is not of the form that is expected.
    #[error("at {path}: {fault}; see countersign policy check")]
    Form {
        /// Where.
        path: String,
        /// What was expected.
        fault: String,
    },
    /// The requirement wants another identity.
    #[error(
        "{path} has another signedIdentity than the one that was asked for, and one requirement has one; leave \
         --identity out, or edit the document by hand"
    )]
    Identity {
        /// The requirement.
        path: String,
    },
    /// The requirement has its keys in another way.
    #[error(
        "{path} has {there} and cannot take the new key beside it: give it in the same form, in the document (--inline, \
         --keys inline) or as a file"
    )]
    Mixed {
        /// The requirement.
        path: String,
        /// What it has.
        there: String,
    },
    /// No key helps.
    #[error(
        "{path} rejects every image, so that no key helps; remove its requirement \"reject\" first"
    )]
    Rejected {
        /// The scope.
        path: String,
    },
}

impl EditError {
    fn no(path: &str, expected: &str) -> Self {
        Self::Form { path: path.to_owned(), fault: format!("expected {expected}") }
    }
}

const ANYTHING: &str = "insecureAcceptAnything";

/// As distributions and OpenShift write it.
const INDENT: &str = "    ";

/// The beginnings of the names of members that name files, and in place of that hold their content.
const FILES: [&str; 5] = ["key", "rekorPublicKey", "ca", "caRoots", "caIntermediates"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn document(value: &Value) -> PolicyDocument {
        PolicyDocument::parse(value.to_string().as_bytes()).expect("a document")
    }

    fn key(format: KeyFormat, content: &[u8]) -> PublicKey {
        PublicKey { format, name: "key".to_owned(), content: content.to_vec() }
    }

    fn scope(text: &str) -> Scope {
        text.parse().expect("a scope")
    }

    fn trusted<'a>(key: &'a PublicKey, path: Option<&'a str>) -> TrustedKey<'a> {
        TrustedKey { key, path, identity: None }
    }

    #[test]
    fn new_scope_is_put_where_it_belongs() {
        let mut policy = PolicyDocument::new(DefaultRule::Accept);
        let key = key(KeyFormat::OpenPgp, b"\x99");
        policy.trust(&scope("b.example.com"), &trusted(&key, Some("/k"))).expect("trust");
        policy.trust(&scope("a.example.com"), &trusted(&key, Some("/k"))).expect("trust");
        let text = policy.text();
        let places: Vec<_> = ["\"default\"", "\"docker\"", "a.example", "b.example", "-daemon"]
            .iter()
            .map(|word| text.find(word).expect("it"))
            .collect();
        assert!(places.is_sorted(), "{text}");
    }

    #[test]
    fn keys_of_one_scope_are_alternatives_and_twice_is_once() {
        let mut policy = PolicyDocument::new(DefaultRule::Reject);
        let scope = scope("example.com/app");
        let key = key(KeyFormat::OpenPgp, b"\x99");
        for path in ["/a", "/b", "/a", "/c", "/b"] {
            policy.trust(&scope, &trusted(&key, Some(path))).expect("trust");
        }
        let expected =
            json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["/a", "/b", "/c"]}]);
        assert_eq!(policy.value()["transports"]["docker"]["example.com/app"], expected);
    }

    #[test]
    fn keys_in_the_document_are_alternatives_too() {
        let mut policy = PolicyDocument::new(DefaultRule::Reject);
        let (pgp, pem) = (scope("example.com/pgp"), scope("example.com/pem"));
        for content in [b"\x99\x01", b"\x99\x02", b"\x99\x01"] {
            policy.trust(&pgp, &trusted(&key(KeyFormat::OpenPgp, content), None)).expect("trust");
            policy.trust(&pem, &trusted(&key(KeyFormat::Sigstore, content), None)).expect("trust");
        }
        let scopes = policy.value()["transports"]["docker"].clone();
        assert_eq!(scopes["example.com/pgp"][0]["keyData"], key::data(b"\x99\x01\x99\x02"));
        let both = json!([key::data(b"\x99\x01"), key::data(b"\x99\x02")]);
        assert_eq!(scopes["example.com/pem"][0]["keyDatas"], both);
    }

    #[test]
    fn what_a_key_cannot_join_is_refused() {
        let signed = json!({"type": "signedBy", "keyType": "GPGKeys", "keyData": "mQ=="});
        let by = |list: Value| json!({"default": [{"type": "reject"}], "transports": {"docker": {"a.example": list}}});
        let key = key(KeyFormat::OpenPgp, b"\x99");
        let refused = |list: Value| {
            let mut policy = document(&by(list));
            let before = policy.text();
            let error = policy.trust(&scope("a.example"), &trusted(&key, Some("/k")));
            assert_eq!(policy.text(), before);
            error.expect_err("an error")
        };
        assert!(matches!(refused(json!([{"type": "reject"}])), EditError::Rejected { .. }));
        assert!(matches!(refused(json!([signed, signed])), EditError::Ambiguous { .. }));
        let error = refused(json!([signed]));
        assert!(
            error.to_string().contains("$.transports[\"docker\"][\"a.example\"][0]"),
            "{error}"
        );
        assert!(matches!(error, EditError::Mixed { .. }));
        assert!(matches!(refused(json!({})), EditError::Form { .. }));
    }

    #[test]
    fn scope_that_no_image_has_is_refused() {
        for text in ["https://example.com", "busybox", "example.com/", "*.example.com/x", ""] {
            text.parse::<Scope>().expect_err(text);
        }
    }

    #[test]
    fn documents_that_contradict_each_other_are_not_merged_unasked() {
        let accept = PolicyDocument::new(DefaultRule::Accept);
        let reject = PolicyDocument::new(DefaultRule::Reject);
        let mut merged = accept.clone();
        let error = merged.merge(&reject, None).expect_err("a contradiction").to_string();
        assert!(error.contains("$.default") && error.contains("--prefer"), "{error}");
        merged.merge(&reject, Some(Prefer::Existing)).expect("merged");
        assert_eq!(merged.text(), accept.text());
        merged.merge(&reject, Some(Prefer::Added)).expect("merged");
        assert_eq!(merged.value()["default"], reject.value()["default"]);
        assert_eq!(merged.value()["transports"], accept.value()["transports"]);
    }

    #[test]
    fn document_that_does_not_change_keeps_every_byte() {
        let text = "{ \"default\" : [ {\"type\":\"reject\"} ],\n\n  \"transports\": {} }";
        let mut policy = PolicyDocument::parse(text.as_bytes()).expect("a document");
        policy.merge(&PolicyDocument::new(DefaultRule::Reject), None).expect("merged");
        policy.set_default(DefaultRule::Reject).expect("set");
        assert_eq!(policy.text(), text);
    }

    #[test]
    fn files_are_renamed_or_put_into_the_document() {
        let policy = json!({
            "default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["a", "b"]}],
            "transports": {"docker": {"a.example": [
                {"type": "sigstoreSigned", "keyPath": "a", "rekorPublicKeyPaths": ["b"]},
                {"type": "anyOf", "requirements": [
                    {"type": "sigstoreSigned", "fulcio": {"caPath": "gone"}}]},
            ]}},
        });
        let mut named = document(&policy);
        let mut rename = |path: &str| Ok::<_, ()>(FileUse::At(format!("/k/{path}")));
        named.each_file(&mut rename).expect("renamed");
        assert_eq!(named.value()["default"][0]["keyPaths"], json!(["/k/a", "/k/b"]));
        let mut inline = document(&policy);
        let mut content = |path: &str| {
            Ok::<_, ()>(match path {
                "gone" => FileUse::Left,
                path => FileUse::Inline(vec![0x99, path.as_bytes()[0]]),
            })
        };
        inline.each_file(&mut content).expect("inline");
        assert_eq!(inline.value()["default"][0]["keyData"], key::data(b"\x99a\x99b"));
        let list = &inline.value()["transports"]["docker"]["a.example"];
        assert_eq!(list[0]["keyData"], key::data(b"\x99a"));
        assert_eq!(list[0]["rekorPublicKeyDatas"], json!([key::data(b"\x99b")]));
        assert_eq!(list[1]["requirements"][0]["fulcio"]["caPath"], "gone");
    }

    fn requirements() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(json!([{"type": "reject"}])),
            Just(json!([{"type": "insecureAcceptAnything"}])),
            "[a-z]{1,3}".prop_map(
                |key| json!([{"keyType": "GPGKeys", "type": "signedBy", "keyPath": format!("/{key}")}])
            ),
        ]
    }

    fn policies() -> impl Strategy<Value = Value> {
        let scopes = proptest::collection::btree_map("[a-c]\\.example", requirements(), 0..4);
        let transports = proptest::collection::btree_map("docker|atomic|x", scopes, 0..3);
        (requirements(), proptest::option::of(transports)).prop_map(|(default, transports)| {
            let mut policy = json!({"default": default});
            if let Some(transports) = transports {
                policy["transports"] = json!(transports);
            }
            policy
        })
    }

    /// Every list with its place.
    fn lists(policy: &Value) -> Vec<(String, Value)> {
        let transports = policy["transports"].as_object().into_iter().flatten();
        let scopes = transports.flat_map(|(transport, scopes)| {
            let scopes = scopes.as_object().into_iter().flatten();
            scopes.map(move |(scope, list)| (format!("{transport}/{scope}"), list.clone()))
        });
        scopes.chain([("default".to_owned(), policy["default"].clone())]).collect()
    }

    proptest! {
        #[test]
        fn merging_loses_nothing_and_twice_is_once(
            (one, two) in (policies(), policies()),
            pretty: bool,
            added: bool,
        ) {
            let text = if pretty { format!("{one:#}\n") } else { one.to_string() };
            let mut merged = PolicyDocument::parse(text.as_bytes()).expect("a document");
            let two = document(&two);
            let prefer = if added { Prefer::Added } else { Prefer::Existing };
            merged.merge(&two, Some(prefer)).expect("merged");
            let once = merged.text();
            let read = PolicyDocument::parse(once.as_bytes()).expect("a document");
            prop_assert_eq!(read.value(), merged.value());
            let (mine, theirs, all) = (lists(&one), lists(&two.value()), lists(&read.value()));
            let (first, second) = if added { (&theirs, &mine) } else { (&mine, &theirs) };
            for (place, list) in first {
                prop_assert!(all.contains(&(place.clone(), list.clone())), "{place} is lost");
            }
            for (place, list) in second.iter().filter(|(place, _)| first.iter().all(|(other, _)| other != place)) {
                prop_assert!(all.contains(&(place.clone(), list.clone())), "{place} is lost");
            }
            let places = |lists: &[(String, Value)]| -> std::collections::BTreeSet<String> {
                lists.iter().map(|(place, _)| place.clone()).collect()
            };
            prop_assert_eq!(places(&all), &places(&mine) | &places(&theirs));
            let mut again = read;
            again.merge(&two, Some(prefer)).expect("merged");
            prop_assert_eq!(again.text(), once);
        }
    }
}
