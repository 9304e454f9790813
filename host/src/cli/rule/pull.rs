//! `countersign rule pull`: a module out of a registry.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use countersign::artifact::{self, Artifact};

use super::{exists, write};
use crate::cli::options::RegistryArgs;
use crate::cli::{Exit, print, runtime};

/// Fetch a rule's module from a registry into a file
///
/// Prints the name that it has for good: oci://HOST/PATH@sha256:…. What arrives is the module that the registry
/// says it is; whether it is signed is for a policy to say, in rulesFrom. Exit status: 0 done, 2 error or misuse.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Which module: oci://HOST[:PORT]/PATH:TAG or oci://HOST[:PORT]/PATH@sha256:…
    #[arg(value_name = "NAME")]
    name: String,

    /// The file [default: the last part of PATH, with .wasm]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Replace the file if there is one
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    registry: RegistryArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let reference = artifact::reference(&self.name)?;
        if reference.is_name_only() {
            bail!("invalid name {:?}: expected :TAG or @sha256:… behind it", self.name);
        }
        let path = self.output.unwrap_or_else(|| {
            let last = reference.path().rsplit('/').next().unwrap_or_default();
            format!("{last}.wasm").into()
        });
        if !self.force && path.symlink_metadata().is_ok() {
            return Err(exists(&path));
        }
        let client = self.registry.client()?;
        let artifact = runtime()?
            .block_on(Artifact::fetch(&client, &reference))
            .with_context(|| format!("cannot pull {}", self.name))?;
        write(&path, &artifact.module, self.force)?;
        print(&format!("oci://{}\n", reference.at(artifact.digest())))?;
        Ok(Exit::Success)
    }
}
