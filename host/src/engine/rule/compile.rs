//! From a module's bytes to code: looked at first, compiled in a process of its own with limits, and kept.
//!
//! A compiler is not made for hostile input as the sandbox is: a small module can take it minutes and gigabytes.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wasmparser::{Validator, WasmFeatures};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::fault::RuleFault;
use super::limits::CEILING;
use crate::engine::apart::{self, Failure};
use crate::engine::{EngineError, MAX_COMPONENT_BYTES, Places, artifact, bug, configuration};

/// Where code comes from.
#[derive(Debug)]
pub(super) struct Compiler {
    pub(super) places: Places,
    /// The program that compiles; without it this process does.
    pub(super) program: Option<std::path::PathBuf>,
    /// One module at a time: each may take as much memory as a process gets.
    pub(super) turn: Mutex<()>,
}

impl Compiler {
    /// The component of these bytes, whose SHA-256 this is: its code from the cache, or compiled now.
    pub(super) fn component(
        &self,
        engine: &Engine,
        wasm: &[u8],
        sha256: &str,
    ) -> Result<Component, RuleFault> {
        plausible(wasm)?;
        let kept = || artifact::kept(engine, sha256, &self.places);
        let component = match kept() {
            Some(component) => component,
            None => {
                let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
                match kept() {
                    Some(component) => component,
                    None => self.compile(engine, wasm, sha256)?,
                }
            }
        };
        fits(&component)?;
        Ok(component)
    }

    fn compile(&self, engine: &Engine, wasm: &[u8], sha256: &str) -> Result<Component, RuleFault> {
        validate(wasm)?;
        let code = match &self.program {
            Some(program) => compile_apart(program, wasm)?,
            None => {
                let mut code = apart::in_memory().map_err(|error| bug(error.into()))?;
                code.write_all(&precompile(wasm)?).map_err(|error| bug(error.into()))?;
                code
            }
        };
        // Whatever compiles is code; what is too large for the pool is refused here.
        let component = artifact::deserialize(engine, &code).map_err(|error| match error
            .downcast_ref::<std::io::Error>(
        ) {
            Some(_) => RuleFault::Engine(bug(error)),
            None => RuleFault::TooLarge(format!("{error:#}")),
        })?;
        artifact::keep(engine, sha256, &self.places, &code);
        // The pages of a file that lies on a disk are the system's to drop; those of one in memory are not.
        Ok(artifact::kept(engine, sha256, &self.places).unwrap_or(component))
    }
}

/// Do what [`Compiler`] asks of a process of its own: read a module, write its code. The process limits itself
/// first.
pub(super) fn serve(mut input: impl Read, mut output: impl Write) -> Result<(), RuleFault> {
    let broken = |error: std::io::Error| RuleFault::Engine(bug(error.into()));
    restrain().map_err(|error| broken(error.into()))?;
    let mut wasm = Vec::new();
    let limit = u64::try_from(MAX_COMPONENT_BYTES).unwrap_or(u64::MAX);
    input.by_ref().take(limit.saturating_add(1)).read_to_end(&mut wasm).map_err(broken)?;
    plausible(&wasm)?;
    output.write_all(&precompile(&wasm)?).map_err(broken)?;
    output.flush().map_err(broken)
}

/// What can be said of bytes without looking into them.
fn plausible(wasm: &[u8]) -> Result<(), RuleFault> {
    if wasm.len() > MAX_COMPONENT_BYTES {
        return Err(RuleFault::TooLarge(format!(
            "it has {} bytes, more than {MAX_COMPONENT_BYTES}",
            wasm.len()
        )));
    }
    if Engine::detect_precompiled(wasm).is_some() || wasm.starts_with(ELF) {
        return Err(RuleFault::Precompiled);
    }
    if !wasm.starts_with(COMPONENT) {
        let what = if wasm.starts_with(CORE_MODULE) {
            "it is a core module; `countersign rule build` makes a component of one"
        } else {
            "it is not WebAssembly"
        };
        return Err(RuleFault::Invalid(what.to_owned()));
    }
    Ok(())
}

/// Whether the bytes are a component, before a compiler sees them.
fn validate(wasm: &[u8]) -> Result<(), RuleFault> {
    let mut features = WasmFeatures::WASM2 | WasmFeatures::COMPONENT_MODEL;
    features.insert(WasmFeatures::EXTENDED_CONST | WasmFeatures::WIDE_ARITHMETIC);
    match Validator::new_with_features(features).validate_all(wasm) {
        Ok(_) => Ok(()),
        Err(error) => Err(RuleFault::Invalid(error.to_string())),
    }
}

/// Whether there is a place for a component.
fn fits(component: &Component) -> Result<(), RuleFault> {
    let too_large = |what: String| Err(RuleFault::TooLarge(what));
    let Some(needed) = component.resources_required() else {
        return too_large("what it needs cannot be told, since it imports modules".to_owned());
    };
    let memories = usize::try_from(needed.num_memories).unwrap_or(usize::MAX);
    if memories > CEILING.memories {
        return too_large(format!("it has {memories} memories, more than {}", CEILING.memories));
    }
    let tables = usize::try_from(needed.num_tables).unwrap_or(usize::MAX);
    if tables > CEILING.tables {
        return too_large(format!("it has {tables} tables, more than {}", CEILING.tables));
    }
    let memory = needed.max_initial_memory_size.unwrap_or(0);
    if usize::try_from(memory).unwrap_or(usize::MAX) > CEILING.memory {
        return too_large(format!(
            "it starts with {memory} bytes of memory, more than {}",
            CEILING.memory
        ));
    }
    let elements = needed.max_initial_table_size.unwrap_or(0);
    if usize::try_from(elements).unwrap_or(usize::MAX) > CEILING.table_elements {
        return too_large(format!(
            "it starts with a table of {elements} elements, more than {}",
            CEILING.table_elements
        ));
    }
    Ok(())
}

fn precompile(wasm: &[u8]) -> Result<Vec<u8>, RuleFault> {
    let engine = configuration::engine(None).map_err(bug)?;
    engine.precompile_component(wasm).map_err(|error| RuleFault::Invalid(format!("{error:#}")))
}

fn compile_apart(program: &Path, wasm: &[u8]) -> Result<std::fs::File, RuleFault> {
    let mut command = Command::new(program);
    // What this process was told in its environment is not for one that works on strangers' bytes.
    command.arg("compile").env_clear();
    apart::run(&mut command, wasm.to_owned(), COMPILE_DEADLINE).map_err(|failure| match failure {
        Failure::Deadline(_) => RuleFault::Compile(failure.to_string()),
        Failure::Ended { status, ref complaint } => match (status.code(), status.signal()) {
            // The system ends a process that is past its limits.
            (_, Some(signal)) => RuleFault::Compile(format!(
                "the process that compiles was ended by signal {signal}"
            )),
            (Some(REFUSED), _) => RuleFault::Invalid(complaint.clone()),
            _ => RuleFault::Engine(EngineError::Bug(failure.to_string())),
        },
        Failure::Broken(_) => RuleFault::Engine(EngineError::Bug(failure.to_string())),
    })
}

/// Limit this process for the rest of its life.
fn restrain() -> rustix::io::Result<()> {
    for (resource, limit) in [
        (Resource::Cpu, MAX_COMPILE_SECONDS),
        (Resource::As, MAX_COMPILE_ADDRESS_BYTES),
        (Resource::Fsize, MAX_COMPILED_BYTES),
        (Resource::Core, 0),
    ] {
        // Whoever started this process may have set a tighter one.
        let limit = getrlimit(resource).maximum.map_or(limit, |maximum| maximum.min(limit));
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}

/// The first bytes of a component: the magic number, version 13, layer 1.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// The first bytes of a core module.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// The first bytes of native code.
const ELF: &[u8] = b"\x7fELF";

/// The exit status of a process that refuses a module.
const REFUSED: i32 = 1;

/// Wall-clock time for compiling: five times the processor's, which others may want.
const COMPILE_DEADLINE: Duration = Duration::from_secs(300);

/// Time of the processor for compiling: five times what a rule in JavaScript takes.
const MAX_COMPILE_SECONDS: u64 = 60;

/// Address space for compiling: three times what a rule in Python takes.
const MAX_COMPILE_ADDRESS_BYTES: u64 = 4 << 30;

/// The code of one module: three times what a rule in Python has.
const MAX_COMPILED_BYTES: u64 = 256 << 20;
