//! The `countersign` command. What it does is in the library; how it is asked is in `cli`.

mod cli;

use std::process::ExitCode;

/// Exit status: 0 every image is allowed, 1 at least one is denied, 2 error or misuse.
fn main() -> ExitCode {
    match cli::run(std::env::args_os()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            cli::complain(&format!("{error:#}"));
            cli::Exit::Error.into()
        }
    }
}
