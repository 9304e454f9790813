//! Compiled code: shipped beside the executable, kept in the user's private cache, or made now.
//!
//! Compiled code is native code that runs with the process's authority, so it is taken only from
//! where nobody but root or the user could have put it. Everything that goes wrong on the way ends in
//! compiling again.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Where a component's compiled code came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Origin {
    /// The user's cache.
    Cached,
    /// Compiled by this process.
    Compiled,
    /// Shipped beside the executable.
    Packaged,
}

/// Places of compiled code.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Places {
    /// The folder that the package put it into.
    pub packaged: Option<PathBuf>,
    /// The user's folder, created where it is missing.
    pub cache: Option<PathBuf>,
}

impl Places {
    /// The executable's folder, and `countersign` in the user's cache folder as the XDG Base
    /// Directory Specification finds it.
    pub fn of_this_process() -> Self {
        let packaged = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
        let cache = absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .map(|folder| folder.join("countersign"));
        Self { packaged, cache }
    }
}

/// The compiled component `wasm`, from the first place that has it.
pub(super) fn component(
    engine: &Engine,
    wasm: &[u8],
    sha256: &str,
    places: &Places,
) -> wasmtime::Result<(Component, Origin)> {
    let packaged = places.packaged.as_ref().map(|folder| folder.join(packaged_name(sha256)));
    if let Some(component) = packaged.and_then(|path| load(engine, &path)) {
        return Ok((component, Origin::Packaged));
    }
    if let Some(component) = kept(engine, sha256, places) {
        return Ok((component, Origin::Cached));
    }
    let component = Component::from_binary(engine, wasm)?;
    if let Some(path) = cached(engine, sha256, places) {
        // A cache that cannot be written costs the next process a second, and this one nothing.
        let _ = component.serialize().map(|code| store(&path, &code[..]));
    }
    Ok((component, Origin::Compiled))
}

/// The component of these bytes, if the cache has its code.
pub(super) fn kept(engine: &Engine, sha256: &str, places: &Places) -> Option<Component> {
    load(engine, &cached(engine, sha256, places)?)
}

/// Put the code of the component of these bytes into the cache. A cache that cannot be written is none.
pub(super) fn keep(engine: &Engine, sha256: &str, places: &Places, mut code: &File) {
    if let Some(path) = cached(engine, sha256, places)
        && code.rewind().is_ok()
    {
        let _ = store(&path, code);
    }
}

fn cached(engine: &Engine, sha256: &str, places: &Places) -> Option<PathBuf> {
    Some(places.cache.as_ref()?.join(cached_name(engine, sha256)))
}

/// Compile `wasm` and write the code into `folder` under the name that [`component`] looks for.
pub(super) fn precompile(
    engine: &Engine,
    wasm: &[u8],
    sha256: &str,
    folder: &Path,
) -> wasmtime::Result<PathBuf> {
    let path = folder.join(packaged_name(sha256));
    fs::write(&path, engine.precompile_component(wasm)?)?;
    Ok(path)
}

pub(super) fn sha256(wasm: &[u8]) -> String {
    format!("{:x}", Sha256::digest(wasm))
}

/// The component in `path`, if there is one that can be trusted and fits this engine.
fn load(engine: &Engine, path: &Path) -> Option<Component> {
    // Where symbolic links lead is what has to be trusted. The folder first: once nobody else can
    // change what is in it, the file stays what it was while it is mapped.
    let path = fs::canonicalize(path).ok()?;
    if !is_trusted(&fs::metadata(path.parent()?).ok()?) {
        return None;
    }
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || !is_trusted(&metadata) {
        return None;
    }
    deserialize(engine, &file).ok()
}

#[expect(unsafe_code, reason = "the one place where compiled code is taken from a file")]
pub(super) fn deserialize(engine: &Engine, file: &File) -> wasmtime::Result<Component> {
    // By its descriptor, so that it is the file whose owner was checked.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the file must be the unmodified output of wasmtime's compiler and must not change while
    // it is mapped. There are three callers. `load` has checked that the file and its folder belong to root
    // or to this process's user and that nobody else may write to them; this program writes such files
    // only with `store` and `precompile`, whole, and never into one that exists under its name.
    // `apart::component` and `rule::compile` have the file from `apart::run`, which has made it, in memory and
    // without a name, and given it to a process of its own executable alone, as the server names it, which
    // has ended well; or, where there is no such process, `rule::compile` itself wrote the compiler's output
    // into a file made in the same way. Nobody writes to it afterwards.
    // Wasmtime itself refuses the output of another version or for another processor.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Whether only root or this process's user can have made or changed this file or folder.
fn is_trusted(metadata: &fs::Metadata) -> bool {
    let owner = metadata.uid();
    (owner == 0 || is_own_user(owner)) && metadata.mode() & WRITABLE_BY_OTHERS == 0
}

/// Whether this process runs as `user`: proc(5), a process's folder belongs to its effective user.
fn is_own_user(user: u32) -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == user)
}

/// Write a file into the cache folder so that another process sees all of it or nothing.
fn store(path: &Path, mut code: impl Read) -> io::Result<()> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if !is_trusted(&fs::metadata(folder)?) {
        return Ok(());
    }
    let mut file = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o400))
        .tempfile_in(folder)?;
    io::copy(&mut code, &mut file)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// The package's version stands for its compiler's; wasmtime checks the rest.
fn packaged_name(sha256: &str) -> String {
    format!("engine-{}-{sha256:.16}.cwasm", env!("CARGO_PKG_VERSION"))
}

/// The hash covers the compiler's version and settings and the processor's features.
fn cached_name(engine: &Engine, sha256: &str) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{sha256}-{:016x}.cwasm", hasher.finish())
}

/// An environment variable that is an absolute path; the specification has others ignored.
fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Write permission of the group and of everybody, in a file's mode.
const WRITABLE_BY_OTHERS: u32 = 0o022;
