//! Debian's packages.

use std::process::Command;

use anyhow::{Result, bail};

use crate::run;
use crate::toolchain::stdout;

/// Install packages with apt-get, saying so on stderr. Fails with the command to run for who is not
/// root.
pub fn install(packages: &[&str]) -> Result<()> {
    let wanted = packages.join(" ");
    if !is_root() {
        bail!("as root, run `apt-get update && apt-get install --no-install-recommends {wanted}`");
    }
    eprintln!("installing {wanted} with apt-get");
    run(Command::new("apt-get").arg("update"))?;
    run(Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages))
}

fn is_root() -> bool {
    stdout(Command::new("id").arg("-u")).is_some_and(|id| id == "0")
}
