//! What makes nodes verify: `policy.json`, `registries.d`, key files and the authorities of registries, as files, as
//! an archive, as a MachineConfig for OpenShift, or as a DaemonSet for other clusters.
//!
//! A document that is there is changed in places ([`PolicyDocument`]): nothing of it is lost, and what is not touched
//! keeps its spelling. What podman, skopeo and CRI-O make of the files is what the reference implementation makes
//! of them; [`unknown`] tells which versions refuse a document.

mod daemon_set;
mod diff;
mod document;
mod files;
mod json;
mod key;
mod machine_config;
mod readers;
mod registries_d;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use guest_policy::digest::Digest;
use guest_policy::image::KeyFile;
use guest_policy::reference;
use guest_policy::verdict::Mistake;

pub use daemon_set::DaemonSet;
pub use diff::diff;
pub use document::{DefaultRule, EditError, PolicyDocument, Prefer, Scope, TrustedKey};
pub use files::{FilesError, NodeFiles};
pub use key::{KeyError, KeyFormat, PublicKey};
pub use machine_config::{Ignition, MachineConfig, Pool};
pub use readers::{LOOKASIDE, Version, Word, unknown};
pub use registries_d::Lookaside;

use crate::engine::{Engine, EngineError};
use crate::image::{FileFault, read_limited};
use crate::policy::MAX_KEY_FILE_BYTES;
use crate::webhook_config::Bundle;

/// What nodes shall believe, and where they find it.
#[derive(Debug)]
pub struct NodeConfig {
    policy: PolicyDocument,
    keys: KeyPlace,
    files: NodeFiles,
    stores: BTreeMap<String, registries_d::Store>,
    notes: Vec<String>,
}

impl NodeConfig {
    /// Begin with a policy, whose key files are to go to `keys`.
    pub fn new(policy: PolicyDocument, keys: KeyPlace) -> Self {
        Self {
            policy,
            keys,
            files: NodeFiles::default(),
            stores: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// The policy, as it is so far.
    pub fn policy(&mut self) -> &mut PolicyDocument {
        &mut self.policy
    }

    /// Add a policy document that lies in `folder`, with the files that it names. Files with an absolute path that
    /// are not here are expected on the nodes.
    ///
    /// # Errors
    ///
    /// It contradicts what is there, or a file cannot be used.
    pub fn add(
        &mut self,
        mut policy: PolicyDocument,
        folder: &Path,
        prefer: Option<Prefer>,
    ) -> Result<(), NodesError> {
        self.bring(&mut policy, folder)?;
        Ok(self.policy.merge(&policy, prefer)?)
    }

    /// As [`NodeConfig::add`], of the policy that there is so far: it lies in `folder`.
    ///
    /// # Errors
    ///
    /// A file cannot be used.
    pub fn keep(&mut self, folder: &Path) -> Result<(), NodesError> {
        let mut policy = self.policy.clone();
        self.bring(&mut policy, folder)?;
        self.policy = policy;
        Ok(())
    }

    /// Bring the files that a document names to where they shall be.
    fn bring(&mut self, policy: &mut PolicyDocument, folder: &Path) -> Result<(), NodesError> {
        let place = self.keys;
        policy.each_file(&mut |named| {
            let path = folder.join(named);
            let content = match (place, read_limited(&path, MAX_KEY_FILE_BYTES)) {
                (KeyPlace::Left, _) => return Ok(document::FileUse::Left),
                (_, Ok(content)) => content,
                (_, Err(FileFault::Io { source, .. }))
                    if named.starts_with('/') && source.kind() == ErrorKind::NotFound =>
                {
                    self.notes.push(format!(
                        "{named} is not on this machine: the nodes have to have it already"
                    ));
                    return Ok(document::FileUse::Left);
                }
                (_, Err(fault)) => return Err(NodesError::KeyFile(fault)),
            };
            if key::is_private(&content) {
                return Err(KeyError::Secret(path.display().to_string()).into());
            }
            if place == KeyPlace::Inline {
                return Ok(document::FileUse::Inline(content));
            }
            if files::is_of_nodes(named) {
                self.files.insert(named.to_owned(), content);
                return Ok(document::FileUse::Left);
            }
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            Ok(document::FileUse::At(place_key(&mut self.files, name, &content)))
        })
    }

    /// Want images of a scope signed by a key, as [`PolicyDocument::trust`] does.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn trust(&mut self, scope: &Scope, key: &PublicKey) -> Result<(), NodesError> {
        let path = match self.keys {
            KeyPlace::Inline => None,
            KeyPlace::Files => Some(place_key(&mut self.files, &key.name, key.content())),
            KeyPlace::Left => Some(format!("{KEYS}/{}", safe(&key.name))),
        };
        Ok(self.policy.trust(scope, &TrustedKey { key, path: path.as_deref(), identity: None })?)
    }

    /// Say where the signatures of a scope's images are.
    pub fn lookaside(&mut self, lookaside: &Lookaside) {
        let store = self.stores.entry(lookaside.scope.to_string()).or_default();
        store.lookaside = Some(lookaside.url.clone());
    }

    /// Say that the signatures of a scope's images are attached to them, as cosign does.
    pub fn attachments(&mut self, scope: &Scope) {
        self.stores.entry(scope.to_string()).or_default().attachments = true;
    }

    /// Say which authorities vouch for a registry.
    ///
    /// # Errors
    ///
    /// The host is none.
    pub fn authorities(&mut self, host: &str, bundle: &Bundle) -> Result<(), NodesError> {
        if !reference::is_domain(host) {
            return Err(NodesError::Host { host: host.to_owned() });
        }
        let path = format!("/etc/containers/certs.d/{host}/ca.crt");
        self.files.insert(path, bundle.pem().to_vec());
        Ok(())
    }

    /// What the engine says of the policy, with the key files that go to the nodes.
    ///
    /// # Errors
    ///
    /// The engine gives no answer.
    pub fn mistakes(&self, engine: &Engine) -> Result<Vec<Mistake>, EngineError> {
        let content = |(path, content): (&str, &[u8])| KeyFile {
            path: path.to_owned(),
            content: Ok(content.to_vec()),
        };
        let named = match engine.key_paths(self.policy.text().as_bytes())? {
            Ok(paths) => paths,
            Err(mistakes) => return Ok(mistakes),
        };
        let files = self.files.iter().filter(|(path, _)| named.iter().any(|name| name == path));
        engine.check(self.policy.text().as_bytes(), &files.map(content).collect::<Vec<_>>())
    }

    /// All files, for readers of that version or later, and what is to know about them.
    pub fn finish(mut self, oldest: Option<Version>) -> (NodeFiles, Vec<String>) {
        let unknown = unknown(&self.policy.value(), oldest);
        self.notes.extend(unknown.iter().map(Word::to_string));
        if !self.stores.is_empty() {
            let older = oldest.is_some_and(|oldest| oldest < LOOKASIDE);
            if !older && oldest.is_none() && self.stores.values().any(|s| s.lookaside.is_some()) {
                self.notes.push(format!(
                    "registries.d: containers/image before {LOOKASIDE} does not know \"lookaside\" and finds no \
                     signature; with --oldest-reader it is written for them, too"
                ));
            }
            let text = registries_d::yaml(&self.stores, older);
            self.files.insert(REGISTRIES_D.to_owned(), text.into_bytes());
        }
        self.files.insert(POLICY.to_owned(), self.policy.text().into_bytes());
        self.notes.dedup();
        (self.files, self.notes)
    }
}

/// Where the keys are that a policy names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyPlace {
    /// In files of their own below /etc/pki/containers.
    Files,
    /// In the policy itself.
    Inline,
    /// Where the policy says, without being brought there.
    Left,
}

/// The path of a key file on nodes. Another key of the same name gets one of its own.
fn place_key(files: &mut NodeFiles, name: &str, content: &[u8]) -> String {
    let path = format!("{KEYS}/{}", safe(name));
    if files.get(&path).is_none_or(|there| there == content) {
        files.insert(path.clone(), content.to_vec());
        return path;
    }
    let digest = Digest::sha256(content).to_string();
    let short: String = digest.chars().skip_while(|c| *c != ':').skip(1).take(8).collect();
    let path = match path.rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('/') => {
            format!("{stem}-{short}.{extension}")
        }
        _ => format!("{path}-{short}"),
    };
    files.insert(path.clone(), content.to_vec());
    path
}

/// A file's name without anything that one of the forms would have to quote.
fn safe(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.trim_start_matches('.').chars().map(plain).collect();
    if name.is_empty() { "key".to_owned() } else { name }
}

/// Nodes cannot be configured in the way that was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodesError {
    /// The policy cannot be changed so.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// Authorities are for something else than a host.
    #[error("invalid host {host:?}: expected HOST[:PORT] of a registry, without https://")]
    Host {
        /// What was written.
        host: String,
    },
    /// A key is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file that the policy names cannot be read.
    #[error("cannot read a key that the policy names: {0}; with --keys left no key is read")]
    KeyFile(FileFault),
}

/// Where a policy's folder is.
pub fn folder(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

const KEYS: &str = "/etc/pki/containers";

const POLICY: &str = "/etc/containers/policy.json";

/// A file of our own, so that those of others stay as they are.
const REGISTRIES_D: &str = "/etc/containers/registries.d/countersign.yaml";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_name_do_not_replace_each_other() {
        let mut files = NodeFiles::default();
        assert_eq!(place_key(&mut files, "a.gpg", b"1"), "/etc/pki/containers/a.gpg");
        assert_eq!(place_key(&mut files, "a.gpg", b"1"), "/etc/pki/containers/a.gpg");
        let other = place_key(&mut files, "a.gpg", b"2");
        assert!(other.starts_with("/etc/pki/containers/a-") && other.ends_with(".gpg"), "{other}");
        assert_eq!(files.iter().count(), 2);
        assert!(place_key(&mut files, "../../x y", b"3").ends_with("/-..-x-y"));
        assert_eq!(place_key(&mut files, "..", b"4"), "/etc/pki/containers/key");
    }
}
