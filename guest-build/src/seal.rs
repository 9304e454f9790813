//! From a core module to a component that imports nothing, or nothing but capabilities.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

/// Wrap a core module built for WASI preview 1 into a component whose WASI calls are answered by
/// `adapter/sealed.wat`. Fails if anything is left to import.
pub fn seal(module: &[u8]) -> Result<Vec<u8>> {
    let component = componentize(module)?;
    let imports = imports(&component)?;
    if !imports.is_empty() {
        bail!("the component imports {}", imports.into_iter().collect::<Vec<_>>().join(", "));
    }
    Ok(component)
}

/// As [`seal`], but the component imports what its interface lets it import and its code uses: a rule has
/// capabilities.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .module(module)
        .context("the module carries no interface")?
        .adapter("wasi_snapshot_preview1", ADAPTER)
        .context("adapter/sealed.wat does not fit")?
        .validate(true)
        .encode()
        .context("the module calls something that adapter/sealed.wat does not answer")
}

/// The names that a component imports, at its outermost level: what its host would have to give.
pub fn imports(component: &[u8]) -> Result<BTreeSet<String>> {
    Ok(face(component)?.0)
}

/// The names that a component exports, at its outermost level.
pub fn exports(component: &[u8]) -> Result<BTreeSet<String>> {
    Ok(face(component)?.1)
}

fn face(component: &[u8]) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let (mut imports, mut exports) = (BTreeSet::new(), BTreeSet::new());
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.insert(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.insert(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// `adapter/sealed.wat`, assembled by the build script.
const ADAPTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sealed.wasm"));
