//! Passphrases: from a file, a descriptor or a terminal, never from an argument, which every process could read.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use countersign::keys::Password;

/// Where the passphrase of a key comes from.
#[derive(clap::Args, Debug)]
#[group(multiple = false)]
pub(super) struct PassphraseArgs {
    /// The file whose first line is the key's passphrase [default: ask on the terminal]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,

    /// The open file descriptor from which the first line is the key's passphrase [default: ask on the terminal]
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
}

impl PassphraseArgs {
    /// Whether an option says anything.
    pub(super) fn is_given(&self) -> bool {
        self.passphrase_file.is_some() || self.passphrase_fd.is_some()
    }

    /// What an option says, if there is one.
    pub(super) fn given(&self) -> Result<Option<Password>> {
        let (name, line) = match (&self.passphrase_file, self.passphrase_fd) {
            (Some(path), _) => return of_file(path).map(Some),
            (None, Some(0)) => ("standard input".to_owned(), line(io::stdin().lock())),
            (None, Some(number)) => {
                let path = PathBuf::from(format!("/dev/fd/{number}"));
                (format!("descriptor {number}"), line_of_file(&path))
            }
            (None, None) => return Ok(None),
        };
        of_line(&name, line).map(Some)
    }

    /// What an option says, or else what somebody types, who is asked `twice` for a new one.
    pub(super) fn get(&self, question: &str, twice: bool, instead: &str) -> Result<Password> {
        if let Some(passphrase) = self.given()? {
            return Ok(passphrase);
        }
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            bail!("there is no terminal to ask for the passphrase: use {instead}");
        }
        let ask = |prompt: String| {
            rpassword::prompt_password(prompt).context("cannot ask for the passphrase")
        };
        let passphrase = ask(format!("{question}: "))?;
        if passphrase.is_empty() {
            bail!("the passphrase is empty: use {instead}");
        }
        if twice && ask("Once more: ".to_owned())? != passphrase {
            bail!("the two passphrases differ: try again");
        }
        Ok(passphrase.into())
    }
}

/// The first line of a file.
pub(super) fn of_file(path: &Path) -> Result<Password> {
    of_line(&path.display().to_string(), line_of_file(path))
}

fn of_line(name: &str, line: io::Result<Vec<u8>>) -> Result<Password> {
    let line = line.with_context(|| format!("cannot read the passphrase of {name}"))?;
    if line.is_empty() {
        bail!("the passphrase in {name} is empty: expected one in the first line");
    }
    Ok(line.into())
}

fn line_of_file(path: &Path) -> io::Result<Vec<u8>> {
    line(File::open(path)?)
}

/// The first line, or what there is of it.
fn line(from: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(MAX_PASSPHRASE_BYTES + 1).read_to_end(&mut text)?;
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    if end as u64 > MAX_PASSPHRASE_BYTES {
        return Err(io::Error::other("the first line is longer than any passphrase"));
    }
    text.truncate(end);
    Ok(text)
}

/// Longest passphrase: a sentence has a tenth of it.
const MAX_PASSPHRASE_BYTES: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_the_first_line() {
        for (text, expected) in [("a b \nc", "a b "), ("a", "a"), ("", ""), ("\na", "")] {
            assert_eq!(line(text.as_bytes()).expect("a line"), expected.as_bytes());
        }
        line("x".repeat(2000).as_bytes()).expect_err("too long");
    }
}
