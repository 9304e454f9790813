//! Snapshots taken, and components compiled, by a process of its own.
//!
//! The process is that of the program again. What it is asked goes through a pipe, and the compiled code comes
//! back in a file that has no name and lies in memory: it is mapped as it is, and never copied.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use guest_policy::image::KeyFile;
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::artifact;

/// The policy as a component, from a process of its own.
pub(super) fn component(
    engine: &Engine,
    program: &Path,
    document: &[u8],
    files: &[KeyFile],
) -> wasmtime::Result<Component> {
    let asked = serde_json::to_vec(&Asked { document: document.into(), files: files.into() })?;
    let mut command = Command::new(program);
    command.arg("snapshot");
    artifact::deserialize(engine, &run(&mut command, asked, DEADLINE)?)
}

/// Have a process read `asked` and write compiled code.
pub(super) fn run(
    command: &mut Command,
    asked: Vec<u8>,
    deadline: Duration,
) -> Result<File, Failure> {
    let code = in_memory()?;
    let child = command
        // Threads that compile at the same time cost memory, and a server's processors are wanted elsewhere.
        .env("RAYON_NUM_THREADS", "1")
        .stdin(Stdio::piped())
        .stdout(code.try_clone()?)
        .stderr(Stdio::piped())
        .spawn()?;
    Process(child).finish(asked, deadline)?;
    Ok(code)
}

/// A file for compiled code that has no name.
pub(super) fn in_memory() -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("countersign-code", MemfdFlags::CLOEXEC)?))
}

/// A process wrote no code.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It did not begin, or its pipes broke.
    #[error("the process that compiles cannot be run: {0}")]
    Broken(#[from] io::Error),
    /// It has not ended in time.
    #[error("the process that compiles has not ended after {0:?}")]
    Deadline(Duration),
    /// It ended badly, and may have said why.
    #[error("the process that compiles failed ({status}): {complaint}")]
    Ended { status: ExitStatus, complaint: String },
}

/// What the process is asked: document and key files.
pub(super) fn asked(input: impl Read) -> io::Result<(Vec<u8>, Vec<KeyFile>)> {
    let mut text = Vec::new();
    input.take(MAX_ASKED_BYTES).read_to_end(&mut text)?;
    let asked: Asked = serde_json::from_slice(&text)?;
    Ok((asked.document, asked.files))
}

/// Compile, and hand the code over.
pub(super) fn answer(engine: &Engine, wasm: &[u8], mut output: impl Write) -> wasmtime::Result<()> {
    output.write_all(&engine.precompile_component(wasm)?)?;
    output.flush()?;
    Ok(())
}

#[derive(Deserialize, Serialize)]
struct Asked {
    document: Vec<u8>,
    files: Vec<KeyFile>,
}

/// A process that ends with its owner.
struct Process(Child);

impl Process {
    /// Hand over, and wait until the process ends well.
    fn finish(&mut self, asked: Vec<u8>, deadline: Duration) -> Result<(), Failure> {
        let (Some(mut stdin), Some(stderr)) = (self.0.stdin.take(), self.0.stderr.take()) else {
            return Err(io::Error::other("it has no pipes").into());
        };
        // A process that stops reading is one that ends badly, and is told of below.
        let writer = thread::spawn(move || stdin.write_all(&asked).is_ok());
        let complaint = thread::spawn(move || {
            let mut text = Vec::new();
            stderr.take(MAX_COMPLAINT_BYTES).read_to_end(&mut text).map(|_| text)
        });
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait()? {
                break status;
            }
            if begin.elapsed() > deadline {
                return Err(Failure::Deadline(deadline));
            }
            thread::sleep(PAUSE);
        };
        let stopped = |_| io::Error::other("a thread panicked");
        writer.join().map_err(stopped)?;
        let complaint = complaint.join().map_err(stopped)??;
        if status.success() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&complaint);
        // The program's own name, which `cli` puts before what it says.
        let complaint = complaint.trim().trim_start_matches("countersign: ").to_owned();
        Err(Failure::Ended { status, complaint })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to do about one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A document of 1 MiB and 16 MiB of keys, with up to four characters for each byte.
const MAX_ASKED_BYTES: u64 = 80 << 20;

/// What is said about a failure.
const MAX_COMPLAINT_BYTES: u64 = 4 << 10;

/// Many times what it takes: compiling is a second of computing, and the processor may be shared.
const DEADLINE: Duration = Duration::from_secs(120);

/// Between looks at whether the process has ended.
const PAUSE: Duration = Duration::from_millis(5);
