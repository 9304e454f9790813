//! `countersign key show`: what a key is.

use std::path::PathBuf;

use anyhow::Result;
use countersign::keys::{self, Component, Description, Secret, Standing};
use countersign::report::{printable, time};

use crate::cli::options::TimeArgs;
use crate::cli::{Exit, print};

/// Show what a key is: fingerprints, user IDs, algorithms, expiry, and what the file has of its secret
///
/// No passphrase is needed. Exit status: 0 done, 2 error or misuse.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The key: OpenPGP, secret or public, armoured or binary
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    time: TimeArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let described = keys::describe(&self.file, self.time.now()?)?;
        let texts: Vec<_> = described.iter().map(text).collect();
        print(&texts.join("\n"))?;
        Ok(Exit::Success)
    }
}

fn text(key: &Description) -> String {
    let mut text = String::new();
    for (place, part) in key.parts.iter().enumerate() {
        let label = if place == 0 { "key" } else { "subkey" };
        text += &line(label, &part.fingerprint);
        if place == 0 {
            for user in &key.users {
                text += &line("  user id", user);
            }
        }
        text += &component(part);
    }
    text
}

fn component(part: &Component) -> String {
    let usage = if part.usage.is_empty() { "nothing".to_owned() } else { part.usage.join(", ") };
    let expires = part.expires.map_or_else(|| "never".to_owned(), time);
    let secret = match part.secret {
        Secret::Absent => "no, this is the public half",
        Secret::Elsewhere => "elsewhere: on a smart card, or kept offline",
        Secret::Open => "yes, not protected: whoever can read the file can sign",
        Secret::Protected => "yes, protected by a passphrase",
    };
    let standing = match &part.standing {
        Standing::Expired => "expired".to_owned(),
        Standing::Good => "good".to_owned(),
        Standing::Invalid(fault) => format!("not usable: {fault}"),
        Standing::Revoked => "revoked".to_owned(),
    };
    [
        line("  algorithm", &part.algorithm),
        line("  for", &usage),
        line("  made", &time(part.created)),
        line("  expires", &expires),
        line("  secret", secret),
        line("  standing", &standing),
    ]
    .concat()
}

fn line(label: &str, text: &str) -> String {
    format!("{label:<11}  {}\n", printable(text))
}
