//! Builds a guest crate for `wasm32-wasip1` and seals it into a component that imports nothing.
//!
//! Used by the build script of the host, by tests that want a special build of the engine, and by
//! `cargo xtask`. [`Toolchain`] finds a compiler, [`build`] runs it and wraps the result.

pub mod debian;
mod seal;
mod toolchain;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

pub use seal::{componentize, exports, imports, seal};
pub use toolchain::{Toolchain, cargo_home};

/// A crate of this workspace that becomes a component.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The workspace: its `Cargo.lock` and its profile `engine` are used.
    pub workspace: PathBuf,
    /// Name of the package.
    pub package: String,
    /// Features beyond the default ones.
    pub features: Vec<String>,
    /// The workspace's target directory. The guest is built in a folder of its own below it, which
    /// all profiles of the host share.
    pub target_dir: PathBuf,
}

impl Guest {
    /// The engine, from the workspace that this crate belongs to.
    pub fn engine(target_dir: impl Into<PathBuf>) -> Self {
        Self {
            workspace: workspace(),
            package: "guest-policy".into(),
            features: Vec::new(),
            target_dir: target_dir.into(),
        }
    }

    /// The engine with the interface that conformance tests use.
    pub fn engine_with_probe(target_dir: impl Into<PathBuf>) -> Self {
        Self { features: vec!["probe".into()], ..Self::engine(target_dir) }
    }
}

/// Compile the guest and seal it: the bytes of a component that imports nothing.
///
/// The environment of an outer cargo does not reach the guest's build, so the result depends on
/// the sources, the lock file and the toolchain alone. Builds of one target directory take turns.
pub fn build(guest: &Guest, toolchain: &Toolchain) -> Result<Vec<u8>> {
    let target_dir = guest.target_dir.join("guest");
    fs::create_dir_all(&target_dir)
        .with_context(|| format!("cannot create {}", target_dir.display()))?;

    // Cargo puts every feature set's artifact under the same name: hold the lock until it is read.
    let lock_path = target_dir.join(".guest-build.lock");
    let lock = fs::File::create(&lock_path)
        .with_context(|| format!("cannot create {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;

    let mut cargo = toolchain.cargo(&target_dir);
    cargo
        .current_dir(&guest.workspace)
        .args(["rustc", "--locked", "--lib", "--crate-type", "cdylib"])
        .args(["--profile", "engine", "--target", TARGET])
        .args(["--package", &guest.package])
        .arg("--target-dir")
        .arg(&target_dir);
    if !guest.features.is_empty() {
        cargo.args(["--features", &guest.features.join(",")]);
    }
    run(&mut cargo).with_context(|| format!("cannot build {} for {TARGET}", guest.package))?;

    let artifact = target_dir
        .join(TARGET)
        .join("engine")
        .join(format!("{}.wasm", guest.package.replace('-', "_")));
    let module =
        fs::read(&artifact).with_context(|| format!("cannot read {}", artifact.display()))?;
    seal(&module).with_context(|| format!("cannot seal {}", artifact.display()))
}

/// The root of the workspace that this crate belongs to.
fn workspace() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

/// Run a command whose output goes to stderr, and fail with all of it if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}):\n{}",
            words(command).join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr),
        );
    }
    Ok(())
}

fn words(command: &Command) -> Vec<String> {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word: &std::ffi::OsStr| OsString::from(word).to_string_lossy().into_owned())
        .collect()
}

/// The standard library of this target needs no JavaScript, and what it needs of WASI can be
/// answered by a stub.
pub const TARGET: &str = "wasm32-wasip1";
