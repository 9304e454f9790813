//! The `countersign` command. What it does is in the library; how it is asked is in `cli`.

mod cli;

use std::process::ExitCode;

/// musl's own allocator takes ten times as long as glibc's, and its threads wait for each other.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit status: 0 every image is allowed, 1 at least one is denied, 2 error or misuse.
fn main() -> ExitCode {
    match cli::run(std::env::args_os()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            cli::complain(&cli::message(&error));
            cli::Exit::Error.into()
        }
    }
}
