//! Builds the engine component and embeds it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use guest_build::{Guest, Toolchain};
use sha2::{Digest, Sha256};

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<()> {
    // What the component is made of. The workspace's other crates are not part of it.
    for source in ["../Cargo.lock", "../Cargo.toml", "../guest-policy", "../wit"] {
        println!("cargo::rerun-if-changed={source}");
    }
    println!("cargo::rerun-if-env-changed=COUNTERSIGN_GUEST_TOOLCHAIN");

    let toolchain = Toolchain::find()?.with_context(Toolchain::missing)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let component = guest_build::build(&Guest::engine(target_dir(&out)), &toolchain)?;
    let path = out.join("engine.wasm");
    fs::write(&path, &component).with_context(|| format!("cannot write {}", path.display()))?;
    println!("cargo::rustc-env=COUNTERSIGN_ENGINE={}", path.display());
    println!("cargo::rustc-env=COUNTERSIGN_ENGINE_SHA256={:x}", Sha256::digest(&component));
    Ok(())
}

/// The folder that cargo marks as a target directory, so that all profiles share one build of the
/// guest; the script's own folder where cargo uses another layout.
fn target_dir(out: &Path) -> &Path {
    out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists()).unwrap_or(out)
}
