//! The command line: raw arguments become validated options, which run. One file for each command.

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use countersign::decide::Decision;
use countersign::report::{Style, printable};
use countersign::verdict::Outcome;
use tokio::runtime::Runtime;

mod compile;
mod completions;
mod copy;
mod demo;
mod inspect;
mod key;
mod keygen;
mod lookaside;
mod man;
mod node_config;
mod operator;
mod options;
mod passphrase;
mod policy;
mod precompile;
mod rule;
mod serve;
mod sign;
mod signals;
mod signer;
mod snapshot;
mod tekton;
mod verify;
mod webhook_config;

/// Run the command that `arguments` spell, the program's name first.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<Exit> {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.command.run(),
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let exit = if error.use_stderr() { Exit::Error } else { Exit::Success };
            match error.print() {
                Err(fault) if fault.kind() != ErrorKind::BrokenPipe => Err(fault.into()),
                _ => Ok(exit),
            }
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// Done; of a verdict: every image is allowed.
    Success,
    /// The answer is no: an image is denied, a document has mistakes.
    No,
    /// The question was not answered.
    Error,
}

impl Exit {
    /// The worst of several verdicts. None at all answer nothing.
    fn of(decisions: &[Decision]) -> Self {
        let has = |outcome| decisions.iter().any(|d| d.verdict.outcome == outcome);
        if decisions.is_empty() || has(Outcome::Error) {
            Self::Error
        } else if has(Outcome::Deny) {
            Self::No
        } else {
            Self::Success
        }
    }

    fn status(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::No => 1,
            Self::Error => 2,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.status().into()
    }
}

/// An error with its causes, each once: some messages have that of their cause in them.
pub(crate) fn message(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |message, cause| {
        if message.contains(&cause) { message } else { format!("{message}: {cause}") }
    })
}

/// Say on standard error why a command did not do what it was asked for.
pub(crate) fn complain(message: &str) {
    let lines: Vec<_> = message.lines().map(printable).collect();
    // If nobody listens, the exit status has to do.
    let _ = writeln!(io::stderr(), "countersign: {}", lines.join("\n"));
}

#[derive(Debug, Parser)]
#[command(
    name = "countersign",
    version,
    about = "Decides whether a container image may run",
    long_about = "Decides whether a container image may run: finds its signatures, verifies them and \
        evaluates the policy inside a WebAssembly sandbox, and answers allow or deny with reasons.\n\n\
        Images are named as in containers-transports(5): docker://HOST/PATH[:TAG|@DIGEST], \
        oci:DIR[:NAME], oci-archive:FILE[:NAME], dir:DIR, docker-archive:FILE[:REFERENCE]; a bare name \
        means docker://.\n\n\
        Exit status: 0 every image is allowed, 1 at least one is denied, 2 error or misuse.",
    after_help = "Begin with: countersign demo"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(verify::Args),
    Inspect(inspect::Args),
    #[command(subcommand)]
    Policy(policy::Command),
    Sign(sign::Args),
    Copy(Box<copy::Args>),
    #[command(subcommand)]
    Rule(rule::Command),
    #[command(subcommand)]
    Lookaside(lookaside::Command),
    Keygen(Box<keygen::Args>),
    #[command(subcommand)]
    Key(key::Command),
    Serve(serve::Args),
    WebhookConfig(Box<webhook_config::Args>),
    NodeConfig(Box<node_config::Args>),
    #[command(subcommand)]
    Tekton(tekton::Command),
    Operator(operator::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
    #[command(hide = true)]
    Compile(compile::Args),
    #[command(hide = true)]
    Precompile(precompile::Args),
    #[command(hide = true)]
    Snapshot(snapshot::Args),
}

impl Command {
    fn run(self) -> Result<Exit> {
        match self {
            Self::Verify(args) => args.run(),
            Self::Inspect(args) => args.run(),
            Self::Policy(command) => command.run(),
            Self::Sign(args) => args.run(),
            Self::Copy(args) => args.run(),
            Self::Rule(command) => command.run(),
            Self::Lookaside(command) => command.run(),
            Self::Keygen(args) => args.run(),
            Self::Key(command) => command.run(),
            Self::Serve(args) => args.run(),
            Self::WebhookConfig(args) => args.run(),
            Self::NodeConfig(args) => args.run(),
            Self::Tekton(command) => command.run(),
            Self::Operator(args) => args.run(),
            Self::Demo(args) => args.run(),
            Self::Completions(args) => args.run(),
            Self::Man(args) => args.run(),
            Self::Compile(args) => args.run(),
            Self::Precompile(args) => args.run(),
            Self::Snapshot(args) => args.run(),
        }
    }
}

/// Write a result to standard output. A reader that has seen enough is no error: the exit status still
/// tells the verdict.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// Say something beside the result on standard error. Nothing depends on it.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// Colours are for terminals, unless the user wants none (<https://no-color.org>).
fn style() -> Style {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let unwanted = set("NO_COLOR").is_some() || set("TERM").is_none_or(|term| term == "dumb");
    if io::stdout().is_terminal() && !unwanted { Style::Coloured } else { Style::Plain }
}

/// One thread waits for all connections; evaluations get threads of their own when there are any.
fn runtime() -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the asynchronous runtime")
}
