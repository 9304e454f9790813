//! From a core module to a component that imports nothing.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

/// Wrap a core module built for WASI preview 1 into a component whose WASI calls are answered by
/// `adapter/sealed.wat`. Fails if anything is left to import.
pub fn seal(module: &[u8]) -> Result<Vec<u8>> {
    let adapter = wat::parse_str(include_str!("../adapter/sealed.wat"))
        .context("cannot assemble adapter/sealed.wat")?;
    let component = ComponentEncoder::default()
        .module(module)
        .context("the module carries no interface")?
        .adapter("wasi_snapshot_preview1", &adapter)
        .context("adapter/sealed.wat does not fit")?
        .validate(true)
        .encode()
        .context("the module calls something that adapter/sealed.wat does not answer")?;
    let imports = imports(&component)?;
    if !imports.is_empty() {
        bail!("the component imports {}", imports.into_iter().collect::<Vec<_>>().join(", "));
    }
    Ok(component)
}

/// The names that a component imports, at its outermost level: what its host would have to give.
pub fn imports(component: &[u8]) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    names.insert(import?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}
