//! What rules may import: one table of every capability, its interface and its functions.
//!
//! A function does a bounded amount of work, since nothing interrupts it, and never waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use guest_policy::digest::Digest;
use guest_policy::rule::{Capability, Document, Documents, LogLine, Want};
use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{Component, Linker, LinkerInstance, WasmList, WasmStr};
use wasmtime::{Result, StoreContextMut, bail};

use super::bindings::{Descriptor, Hash, Level, Scheme, level};
use super::crypto;
use super::fault::{RuleFault, Stop};
use crate::engine::EngineError;
use crate::engine::limits::Limiter;

/// One capability.
pub(super) struct Gate {
    pub(super) capability: Capability,
    /// The interface that a module imports for it. Versions that differ in their last number alone are the same.
    interface: &'static str,
    functions: &'static [Function],
}

/// A function's name, and what links it.
type Function = (&'static str, fn(&mut LinkerInstance<'_, State>, &str) -> Result<()>);

/// All that a rule can import.
pub(super) const GATES: [Gate; 4] = [
    Gate {
        capability: Capability::Artifact,
        interface: "countersign:policy/artifact@0.1.0",
        functions: &[
            ("manifest", link_manifest),
            ("config", link_config),
            ("referrers", link_referrers),
            ("attached", link_attached),
        ],
    },
    Gate {
        capability: Capability::Crypto,
        interface: "countersign:policy/crypto@0.1.0",
        functions: &[("digest", link_digest), ("verify", link_verify)],
    },
    Gate {
        capability: Capability::Data,
        interface: "countersign:policy/data@0.1.0",
        functions: &[("names", link_names), ("read", link_read)],
    },
    Gate {
        capability: Capability::Log,
        interface: "countersign:policy/log@0.1.0",
        functions: &[("write", link_write)],
    },
];

/// What a component imports of these; refused with the list of what else it wants.
pub(super) fn imports(component: &Component) -> Result<BTreeSet<Capability>, RuleFault> {
    let engine = component.engine();
    let mut imports = BTreeSet::new();
    let mut others = Vec::new();
    for (name, import) in component.component_type().imports(engine) {
        let gate = GATES.iter().find(|gate| is_version_of(gate.interface, name));
        match (gate, import.ty) {
            (Some(gate), ComponentItem::ComponentInstance(interface)) => {
                imports.insert(gate.capability);
                others.extend(
                    gate.unknown(&interface, engine).map(|function| format!("{name}#{function}")),
                );
            }
            _ => others.push(name.to_owned()),
        }
    }
    if others.is_empty() { Ok(imports) } else { Err(RuleFault::Imports(others)) }
}

/// What links a component to these capabilities, and to nothing else.
pub(super) fn linker(
    engine: &wasmtime::Engine,
    capabilities: &BTreeSet<Capability>,
) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    for gate in GATES.iter().filter(|gate| capabilities.contains(&gate.capability)) {
        let mut interface = linker.instance(gate.interface)?;
        for (name, link) in gate.functions {
            link(&mut interface, name)?;
        }
    }
    Ok(linker)
}

impl Gate {
    /// What a component wants of the interface that this version does not have.
    fn unknown<'a>(
        &'a self,
        interface: &'a ComponentInstance,
        engine: &'a wasmtime::Engine,
    ) -> impl Iterator<Item = &'a str> {
        interface.exports(engine).filter_map(|(name, export)| {
            let is_function = matches!(export.ty, ComponentItem::ComponentFunc(_));
            let is_known = self.functions.iter().any(|(known, _)| *known == name);
            (is_function && !is_known).then_some(name)
        })
    }
}

/// Whether a name is that of an interface, but for the last number of its version.
pub(super) fn is_version_of(interface: &str, name: &str) -> bool {
    let line = |name: &'_ str| {
        name.rsplit_once('.').map(|(line, patch)| (line.to_owned(), patch.to_owned()))
    };
    match (line(interface), line(name)) {
        (Some((ours, _)), Some((theirs, patch))) => {
            ours == theirs && !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit())
        }
        _ => false,
    }
}

/// What capabilities give in one run.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// The image's manifest.
    pub(super) manifest: Arc<[u8]>,
    /// Documents of the image, as far as they were fetched.
    pub(super) documents: Documents,
    /// Documents that the policy names.
    pub(super) data: BTreeMap<String, Arc<[u8]>>,
}

/// What belongs to one run.
#[derive(Debug)]
pub(super) struct State {
    pub(super) limiter: Limiter,
    given: Given,
    log: Vec<LogLine>,
    log_dropped: u32,
    handed: usize,
    hashed: usize,
    verified: usize,
    /// Why a capability ended the run.
    stop: Option<Stop>,
}

impl State {
    pub(super) fn new(limiter: Limiter, given: Given) -> Self {
        Self {
            limiter,
            given,
            log: Vec::new(),
            log_dropped: 0,
            handed: 0,
            hashed: 0,
            verified: 0,
            stop: None,
        }
    }

    /// Why a capability ended the run, if one did.
    pub(super) fn take_stop(&mut self) -> Option<Stop> {
        self.stop.take()
    }

    /// What was logged, and how many lines there was no room for.
    pub(super) fn into_log(self) -> (Vec<LogLine>, u32) {
        (self.log, self.log_dropped)
    }

    fn end<T>(&mut self, stop: impl Into<Stop>) -> Result<T> {
        self.stop.get_or_insert(stop.into());
        bail!("a capability ended the run")
    }

    /// A document of the image, or the end of the run where it has to be fetched first.
    fn document(&mut self, want: Want) -> Result<Document> {
        match self.given.documents.get(&want) {
            Some(document) => Ok(document.clone()),
            None => self.end(Stop::Wanted(want)),
        }
    }

    /// Count what is handed over.
    fn hand(&mut self, bytes: usize) -> Result<()> {
        self.handed = self.handed.saturating_add(bytes);
        if self.handed > MAX_DOCUMENT_BYTES {
            return self.end(RuleFault::Documents(MAX_DOCUMENT_BYTES));
        }
        Ok(())
    }

    /// Count what is hashed.
    fn hash(&mut self, bytes: usize) -> Result<()> {
        self.hashed = self.hashed.saturating_add(bytes);
        if self.hashed > MAX_HASHED_BYTES {
            return self.end(RuleFault::Crypto(format!("{MAX_HASHED_BYTES} bytes")));
        }
        Ok(())
    }

    /// What the caller gave does not fit what was asked for: the caller's fault, not the rule's.
    fn misfit<T>(&mut self, want: &Want) -> Result<T> {
        let message = format!("a rule was given something else for {want:?}");
        self.end(RuleFault::Engine(EngineError::Bug(message)))
    }
}

type Context<'a> = StoreContextMut<'a, State>;

fn link_manifest(interface: &mut LinkerInstance<'_, State>, name: &str) -> Result<()> {
    interface.func_wrap(name, |mut store: Context<'_>, (): ()| {
        let state = store.data_mut();
        let manifest = state.given.manifest.clone();
        state.hand(manifest.len())?;
        Ok((manifest,))
    })
}

fn link_config(interface: &mut LinkerInstance<'_, State>, name: &str) -> Result<()> {
    interface.func_wrap(name, |mut store: Context<'_>, (): ()| {
        let state = store.data_mut();
        match state.document(Want::Config)? {
            Document::Bytes(bytes) => {
                state.hand(bytes.len())?;
                Ok((bytes,))
            }
            Document::Absent | Document::Descriptors(_) => state.misfit(&Want::Config),
        }
    })
}

fn link_referrers(interface: &mut LinkerInstance<'_, State>, name: &str) -> Result<()> {
    interface.func_wrap(name, |mut store: Context<'_>, (wanted,): (Option<WasmStr>,)| {
        let wanted = match &wanted {
            Some(wanted) => Some(wanted.to_str(&store)?.into_owned()),
            None => None,
        };
        let state = store.data_mut();
        let Document::Descriptors(all) = state.document(Want::Referrers)? else {
            return state.misfit(&Want::Referrers);
        };
        let list: Vec<Descriptor> = all
            .iter()
            .filter(|one| wanted.is_none() || one.artifact_type == wanted)
            .map(Descriptor::from)
            .collect();
        state.hand(list.iter().map(size).sum())?;
        Ok((list,))
    })
}

fn link_attached(interface: &mut LinkerInstance<'_, State>, name: &str) -> Result<()> {
    interface.func_wrap(name, |mut store: Context<'_>, (digest,): (WasmStr,)| {
        // What is no digest is that of nothing.
        let digest: Option<Digest> = digest.to_str(&store)?.parse().ok();
        let Some(digest) = digest else {
            return Ok((None,));
        };
        let want = Want::Attached(digest.to_string());
        let state = store.data_mut();
        match state.document(want.clone())? {
            Document::Absent => Ok((None,)),
            Document::Bytes(bytes) => {
                state.hand(bytes.len())?;
                Ok((Some(bytes),))
            }
            Document::Descriptors(_) => state.misfit(&want),
        }
    })
}

fn link_digest(interface: &mut LinkerInstance<'_, State>, name: &str) -> Result<()> {
    interface.func_wrap(name, |mut store: Context<'_>, (hash, message): (Hash, WasmList<u8>)| {
        store.data_mut().hash(message.len())?;
        Ok((crypto::digest(hash, message.as_le_slice(&store)),))
    })
}

fn link_verify(interface: &mut LinkerInstance<'_, State>, name: &str) -> Result<()> {
    type Parameters = (Scheme, WasmList<u8>, WasmList<u8>, WasmList<u8>);
    interface.func_wrap(
        name,
        |mut store: Context<'_>, (scheme, key, message, signature): Parameters| {
            let state = store.data_mut();
            state.hash(message.len())?;
            state.verified += 1;
            if state.verified > MAX_VERIFICATIONS {
                return state.end(RuleFault::Crypto(format!("{MAX_VERIFICATIONS} signatures")));
            }
            // Nothing true is as long as this.
            if key.len() > MAX_KEY_BYTES || signature.len() > MAX_KEY_BYTES {
                return Ok((false,));
            }
            let (key, message) = (key.as_le_slice(&store), message.as_le_slice(&store));
            Ok((crypto::verify(scheme, key, message, signature.as_le_slice(&store)),))
        },
    )
}

fn link_names(interface: &mut LinkerInstance<'_, State>, name: &str) -> Result<()> {
    interface.func_wrap(name, |mut store: Context<'_>, (): ()| {
        let state = store.data_mut();
        let names: Vec<_> = state.given.data.keys().cloned().collect();
        state.hand(names.iter().map(String::len).sum())?;
        Ok((names,))
    })
}

fn link_read(interface: &mut LinkerInstance<'_, State>, name: &str) -> Result<()> {
    interface.func_wrap(name, |mut store: Context<'_>, (name,): (WasmStr,)| {
        let document = store.data().given.data.get(&*name.to_str(&store)?).cloned();
        store.data_mut().hand(document.as_ref().map_or(0, |bytes| bytes.len()))?;
        Ok((document,))
    })
}

fn link_write(interface: &mut LinkerInstance<'_, State>, name: &str) -> Result<()> {
    type Parameters = (Level, WasmStr);
    interface.func_wrap(name, |mut store: Context<'_>, (at, message): Parameters| {
        if store.data().log.len() < MAX_LOG_LINES {
            let message = message.to_str(&store)?;
            if message.len() <= MAX_LOG_LINE_BYTES {
                let message = message.into_owned();
                store.data_mut().log.push(LogLine { level: level(at).to_owned(), message });
                return Ok(());
            }
        }
        let dropped = &mut store.data_mut().log_dropped;
        *dropped = dropped.saturating_add(1);
        Ok(())
    })
}

fn size(descriptor: &Descriptor) -> usize {
    let annotations = descriptor.annotations.iter();
    descriptor.digest.len()
        + descriptor.media_type.len()
        + descriptor.artifact_type.as_ref().map_or(0, String::len)
        + annotations.map(|(name, value)| name.len() + value.len()).sum::<usize>()
}

/// Lines that one run may log: more than anyone reads of one image.
const MAX_LOG_LINES: usize = 100;

/// A logged line: ten lines of a terminal.
const MAX_LOG_LINE_BYTES: usize = 1 << 10;

/// Documents, of the image and of the policy, that are handed to a rule in one run: several of the largest size,
/// and each of them more than once.
const MAX_DOCUMENT_BYTES: usize = 64 << 20;

/// Bytes that capability `crypto` hashes in one run: as many as may be handed over, in a tenth of a second.
const MAX_HASHED_BYTES: usize = 64 << 20;

/// Signatures that capability `crypto` verifies in one run: as many as an image may have, each by two keys.
const MAX_VERIFICATIONS: usize = 256;

/// A key, or a signature: those of RSA with 8,192 bits have a thousand bytes.
const MAX_KEY_BYTES: usize = 4 << 10;
