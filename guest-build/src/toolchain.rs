//! Finding, and where asked installing, a compiler for the guest's target.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{TARGET, debian, run};

/// A compiler that can build for `wasm32-wasip1`.
#[derive(Clone, Debug)]
pub struct Toolchain {
    kind: Kind,
}

impl Toolchain {
    /// The toolchain that is there already: the active one if it has the target, else Debian's
    /// packages. `COUNTERSIGN_GUEST_TOOLCHAIN=active` or `=debian` asks for one of the two.
    /// Installs nothing; `None` if there is neither.
    pub fn find() -> Result<Option<Self>> {
        Ok(match choice()? {
            Some(Choice::Active) => find_active(),
            Some(Choice::Debian) => find_debian(),
            None => find_active().or_else(find_debian),
        })
    }

    /// The toolchain that is there, or else the first that can be had: the target through rustup,
    /// then Debian's packages through apt-get, for which one has to be root. Says on stderr what
    /// it does. Fails with the command to run where it may not run that itself.
    pub fn install() -> Result<Self> {
        if let Some(found) = Self::find()? {
            return Ok(found);
        }
        let choice = choice()?;
        let mut obstacles = Vec::new();
        if choice != Some(Choice::Debian) {
            match add_target() {
                Ok(()) => match find_active() {
                    Some(found) => return Ok(found),
                    None => obstacles.push("rustup added another toolchain's target".to_owned()),
                },
                Err(error) => obstacles.push(format!("{error:#}")),
            }
        }
        if choice != Some(Choice::Active) {
            match debian::install(&DEBIAN_PACKAGES) {
                Ok(()) => match find_debian() {
                    Some(found) => return Ok(found),
                    None => obstacles.push(format!(
                        "the Debian packages {} are there, but do not work together",
                        DEBIAN_PACKAGES.join(" ")
                    )),
                },
                Err(error) => obstacles.push(format!("{error:#}")),
            }
        }
        bail!("no compiler for {TARGET}:\n- {}", obstacles.join("\n- "))
    }

    /// The message for a build that found no compiler.
    pub fn missing() -> String {
        format!(
            "no compiler for {TARGET}, which the engine component is built for; \
             run `cargo xtask setup` (or `rustup target add {TARGET}`)"
        )
    }

    /// A cargo that builds guests in `target_dir`: flags set, and nothing left of the environment of an
    /// outer cargo.
    pub(crate) fn cargo(&self, target_dir: &Path) -> Command {
        self.cargo_with(&GUEST_FLAGS, &[(target_dir, "target")])
    }

    /// A cargo for code of others, which gets what is standard: release builds of one sealed module, that depend
    /// on nothing of this machine but the sources, the lock file and the toolchain.
    pub fn cargo_for_rules(&self) -> Command {
        // Cargo names the files of a package by where they are in its workspace, wherever that is.
        let mut cargo = self.cargo_with(&[], &[]);
        for (setting, value) in RULE_PROFILE {
            cargo.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
        // Where the author wants it; the module is the same.
        if let Some(folder) = env::var_os("CARGO_TARGET_DIR") {
            cargo.env("CARGO_TARGET_DIR", folder);
        }
        cargo
    }

    fn cargo_with(&self, flags: &[&str], folders: &[(&Path, &str)]) -> Command {
        let mut flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        // Messages of panics name source files, generated ones too: the same on every machine.
        let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
        flags.extend(folders.iter().map(|(folder, name)| remap(folder, name)));
        flags.extend(cargo_home().map(|home| remap(&home, "cargo")));
        let mut cargo = match &self.kind {
            Kind::Active { cargo } => command(cargo),
            Kind::Debian { linker, sysroot } => {
                let mut cargo = command(Path::new(DEBIAN_CARGO));
                flags.push("-Clink-self-contained=no".into());
                flags.push(format!("-Lnative={}", sysroot.display()));
                cargo
                    .env("RUSTC", DEBIAN_RUSTC)
                    // `-Zbuild-std`: Debian has the standard library as source only.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_WASIP1_LINKER", linker)
                    .arg("-Zbuild-std=std,panic_abort");
                cargo
            }
        };
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        cargo
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Active { .. } => write!(f, "the active toolchain's target {TARGET}"),
            Kind::Debian { .. } => {
                write!(f, "Debian's {DEBIAN_RUSTC} with its own standard library")
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Kind {
    /// The toolchain that runs now has the target's standard library.
    Active { cargo: PathBuf },
    /// Debian's packages, which have it as source.
    Debian { linker: PathBuf, sysroot: PathBuf },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Choice {
    Active,
    Debian,
}

fn choice() -> Result<Option<Choice>> {
    match env::var(CHOICE).as_deref() {
        Err(_) | Ok("") => Ok(None),
        Ok("active") => Ok(Some(Choice::Active)),
        Ok("debian") => Ok(Some(Choice::Debian)),
        Ok(other) => bail!("{CHOICE} is `{other}`, expected `active` or `debian`"),
    }
}

fn find_active() -> Option<Toolchain> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let library =
        stdout(command(Path::new(&rustc)).args(["--print", "target-libdir", "--target", TARGET]))?;
    holds_file_named(Path::new(&library), "libstd-")
        .then(|| Toolchain { kind: Kind::Active { cargo: outer_cargo() } })
}

fn find_debian() -> Option<Toolchain> {
    let version = stdout(command(Path::new(DEBIAN_RUSTC)).arg("--version"))?;
    if minor_version(&version)? < OLDEST_DEBIAN_MINOR || !Path::new(DEBIAN_CARGO).exists() {
        return None;
    }
    let rust = stdout(command(Path::new(DEBIAN_RUSTC)).args(["--print", "sysroot"]))?;
    if !Path::new(&rust).join("lib/rustlib/src/rust/library/std/Cargo.toml").exists() {
        return None;
    }
    let sysroot = PathBuf::from(DEBIAN_WASI_LIBC);
    let linker = LINKERS.iter().map(PathBuf::from).find(|linker| linker.exists())?;
    sysroot.join("libc.a").exists().then_some(Toolchain { kind: Kind::Debian { linker, sysroot } })
}

fn add_target() -> Result<()> {
    eprintln!("adding the target {TARGET} with rustup");
    run(Command::new("rustup").args(["target", "add", TARGET]))
        .with_context(|| format!("`rustup target add {TARGET}` did not work"))
}

/// The cargo that runs this, which is not always the first on the path.
fn outer_cargo() -> PathBuf {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into()).into()
}

/// Where cargo keeps the sources of dependencies.
pub fn cargo_home() -> Option<PathBuf> {
    let named = env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// A command without what an outer cargo or its user set for the outer build. What says where
/// cargo keeps its files and how it reaches its registry stays.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if is_of_outer_build(&name) {
            command.env_remove(&name);
        }
    }
    command
}

fn is_of_outer_build(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    // CARGO_MAKEFLAGS lets both builds share the machine's cores.
    if ["CARGO_HOME", "CARGO_MAKEFLAGS", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"].contains(&name)
        || ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"]
            .iter()
            .any(|kept| name.starts_with(kept))
    {
        return false;
    }
    name.starts_with("CARGO")
        || name.starts_with("RUSTC")
        || name.starts_with("RUSTDOC")
        || name.starts_with("CLIPPY_")
        || name.starts_with("LLVM_PROFILE_")
        || ["RUSTFLAGS", "TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "NUM_JOBS", "OUT_DIR"]
            .contains(&name)
}

pub(crate) fn stdout(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn holds_file_named(folder: &Path, prefix: &str) -> bool {
    folder.read_dir().is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        })
    })
}

/// The 95 of `rustc 1.95.0 (59807616e 2026-04-14)`.
fn minor_version(version: &str) -> Option<u32> {
    version.split_whitespace().nth(1)?.split('.').nth(1)?.parse().ok()
}

/// Asks for one of the two toolchains where both are there.
const CHOICE: &str = "COUNTERSIGN_GUEST_TOOLCHAIN";

/// SIMD and wide arithmetic are what makes big-number and elliptic-curve code fast in a guest; the
/// target's pointer width would choose 32-bit limbs for the curve.
const GUEST_FLAGS: [&str; 2] =
    ["-Ctarget-feature=+simd128,+wide-arithmetic", "--cfg=curve25519_dalek_bits=\"64\""];

/// A rule is one module that is compiled once and asked often; a panic ends it.
const RULE_PROFILE: [(&str, &str); 6] = [
    ("OPT_LEVEL", "3"),
    ("LTO", "fat"),
    ("CODEGEN_UNITS", "1"),
    ("PANIC", "abort"),
    ("DEBUG", "false"),
    ("STRIP", "debuginfo"),
];

/// A current Rust, its standard library as source, a linker, and a C library for WASI.
const DEBIAN_PACKAGES: [&str; 5] =
    ["rustc-web", "cargo-web", "rust-web-src", "lld-22", "wasi-libc"];

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Where wasi-libc has `libc.a` and the start files.
const DEBIAN_WASI_LIBC: &str = "/usr/lib/wasm32-wasi";

/// The workspace's `rust-version`.
const OLDEST_DEBIAN_MINOR: u32 = 95;

/// Called by these names, LLVM's linker takes WebAssembly.
const LINKERS: [&str; 1] = ["/usr/bin/wasm-ld-22"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_build_does_not_leak_into_the_guest() {
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_TARGET_DIR",
            "CARGO_PROFILE_ENGINE_OPT_LEVEL",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_FEATURE_X",
            "OUT_DIR",
        ] {
            assert!(is_of_outer_build(OsStr::new(name)), "{name}");
        }
        for name in ["CARGO_HOME", "RUSTUP_TOOLCHAIN", "CARGO_NET_OFFLINE", "PATH", "HOME"] {
            assert!(!is_of_outer_build(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn reads_the_minor_version() {
        assert_eq!(minor_version("rustc 1.95.0 (59807616e 2026-04-14)"), Some(95));
        assert_eq!(minor_version("rustc"), None);
    }
}
