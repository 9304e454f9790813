//! `countersign key export`: the public half of a key.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use countersign::keys::{Password, PublicKeys, SigstoreKey};

use crate::cli::passphrase::PassphraseArgs;
use crate::cli::{Exit, print};

/// Print the public half of a key
///
/// Nothing secret is printed, whatever FILE holds. Exit status: 0 done, 2 error or misuse.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The key: OpenPGP, secret or public, armoured or binary; for pem a private key of sigstore
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// In which form
    #[arg(long, value_name = "FORM", value_enum, default_value = "armor")]
    format: Format,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    /// The key was made without a passphrase [default: ask for it, for pem alone]
    #[arg(long, conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    no_passphrase: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// OpenPGP, binary, as gpg --export writes it
    Gpg,
    /// OpenPGP, armoured, as gpg --armor --export writes it
    Armor,
    /// The requirement of a policy.json, with the key in it
    Policy,
    /// Of sigstore's key: PEM, as cosign public-key writes it; needs the passphrase
    Pem,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        if self.format != Format::Pem && (self.no_passphrase || self.passphrase.is_given()) {
            bail!("the public half of an OpenPGP key needs no passphrase: leave it out");
        }
        match self.format {
            Format::Gpg => binary(&PublicKeys::open(&self.file)?.binary()?)?,
            Format::Armor => print(&PublicKeys::open(&self.file)?.armoured()?)?,
            Format::Policy => {
                print(&format!("{:#}\n", PublicKeys::open(&self.file)?.requirement()?))?
            }
            Format::Pem => {
                let instead = "--passphrase-file, --passphrase-fd or --no-passphrase";
                let passphrase = match self.no_passphrase {
                    // cosign's way of none.
                    true => Password::from(""),
                    false => self.passphrase.get("Passphrase", false, instead)?,
                };
                print(&SigstoreKey::open(&self.file, &passphrase)?.public_pem()?)?;
            }
        }
        Ok(Exit::Success)
    }
}

fn binary(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        bail!("a binary key is nothing for a terminal: use > FILE, or --format armor");
    }
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

const EXAMPLES: &str = "\
Examples:
  The key file that a policy's keyPath names:
    countersign key export secret.asc --format gpg > release.gpg

  The requirement itself:
    countersign key export secret.asc --format policy
";
