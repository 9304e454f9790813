//! The release as it is shipped.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{cargo, host, root, run, target};
use crate::setup;

/// Build the stripped release with the engine compiled ahead beside it, so that it never compiles at
/// start. Returns the folder that holds it; an archive of the folder lies next to it.
pub(crate) fn build() -> Result<PathBuf> {
    setup::compiler()?;
    run(cargo().args(["build", "--locked", "--package", "countersign", "--profile", "dist"]))?;
    let built = target().join("dist");
    let name = format!("countersign-{}-{}", env!("CARGO_PKG_VERSION"), host()?);
    let folder = built.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let binary = folder.join("countersign");
    copy(built.join("countersign"), &binary)?;
    for file in ["LICENSE", "README.md", "CHANGELOG.md"] {
        copy(root().join(file), &folder.join(file))?;
    }
    run(Command::new(&binary).arg("precompile").arg(&folder))?;
    let archive = built.join(format!("{name}.tar.gz"));
    run(Command::new("tar")
        .arg("--create")
        .arg("--gzip")
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .arg(&built)
        .arg(&name))?;
    println!("dist: {} and {}", folder.display(), archive.display());
    Ok(folder)
}

fn copy(from: PathBuf, to: &PathBuf) -> Result<()> {
    fs::copy(&from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
