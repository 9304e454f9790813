//! Installing what the project needs and a machine may lack.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use guest_build::Toolchain;
use lab::compilers::Compiler;
use lab::tools::Tool;

use crate::command::{output, run};

/// The compiler for the engine component.
pub(crate) fn compiler() -> Result<()> {
    let toolchain = Toolchain::install()?;
    eprintln!("setup: the engine component is built with {toolchain}");
    Ok(())
}

/// What a program for the musl target `target` is built with: its standard library and a compiler for C.
pub(crate) fn static_linking(target: &str) -> Result<()> {
    let library =
        output(Command::new("rustc").args(["--print", "target-libdir", "--target", target]))?;
    if !Path::new(&library).exists() {
        eprintln!("setup: adding the target {target} with rustup");
        run(Command::new("rustup").args(["target", "add", target]))?;
    }
    if (Tool { program: "musl-gcc", package: "musl-tools" }).find().is_none() {
        guest_build::debian::install(&["musl-tools"])?;
    }
    Ok(())
}

/// The programs that the tests against real tools run.
pub(crate) fn tools() -> Result<()> {
    let mut packages: Vec<&str> = lab::tools::missing().iter().map(|tool| tool.package).collect();
    packages.dedup();
    if !packages.is_empty() {
        guest_build::debian::install(&packages)?;
    }
    if let Some(tool) = lab::tools::missing().first() {
        bail!(
            "the Debian package {} is installed, but there is no program `{}`",
            tool.package,
            tool.program
        );
    }
    eprintln!("setup: gpg, skopeo, podman, docker-registry, openssl and wrk are here");
    // What they render is tested as plain manifests, too, so that a machine without them is good enough.
    match lab::helm::Helm::install() {
        Ok(_) => eprintln!("setup: helm and kubectl are here"),
        Err(error) => eprintln!("setup: the Helm chart will not be rendered: {error:#}"),
    }
    // Rules in Rust need none of these.
    for compiler in Compiler::ALL {
        match compiler.install() {
            Ok(_) => eprintln!("setup: the compiler of rules in {compiler:?} is here"),
            Err(error) => eprintln!("setup: rules in {compiler:?} will not be built: {error:#}"),
        }
    }
    Ok(())
}
