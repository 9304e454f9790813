//! Assembles the adapter, so that programs that seal carry no assembler.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, Result};

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed={ADAPTER}");
    let wasm = wat::parse_file(ADAPTER).with_context(|| format!("cannot assemble {ADAPTER}"))?;
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    fs::write(out.join("sealed.wasm"), wasm).context("cannot write sealed.wasm")
}

/// What stands in for WASI.
const ADAPTER: &str = "adapter/sealed.wat";
