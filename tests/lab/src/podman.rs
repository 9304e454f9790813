//! What podman says, with storage and configuration of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::skopeo::Answer;
use crate::{attempt, run, write};

/// A podman that leaves nothing outside of one folder.
#[derive(Debug)]
pub struct Podman {
    folder: PathBuf,
}

impl Podman {
    /// A podman with its storage in `folder`. podman has no option for the signature stores, so
    /// `registries` (the content of a file of registries.d) becomes its user's configuration. Fails
    /// where podman cannot run.
    pub fn new(folder: &Path, registries: &str) -> Result<Self> {
        let podman = Self { folder: folder.to_owned() };
        write(&folder.join("home/.config/containers/registries.d/lab.yaml"), registries)?;
        run(podman.command().args(["images", "--quiet"]))?;
        Ok(podman)
    }

    /// Pull from a plain-HTTP registry under `policy`.
    pub fn pull(&self, reference: &str, policy: &Path) -> Result<Answer> {
        let mut podman = self.command();
        podman.args(["pull", "--quiet", "--tls-verify=false", "--signature-policy"]).arg(policy);
        Ok(Answer::of(&attempt(podman.arg(reference))?))
    }

    fn command(&self) -> Command {
        let mut podman = Command::new("podman");
        let home = self.folder.join("home");
        podman.env("XDG_CONFIG_HOME", home.join(".config")).env("HOME", home);
        podman.env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1").env_remove("GNUPGHOME");
        // The driver that needs nothing from the kernel.
        podman.args(["--storage-driver", "vfs"]);
        for option in ["root", "runroot", "tmpdir"] {
            podman.arg(format!("--{option}")).arg(self.folder.join(option));
        }
        podman
    }
}
