//! `countersign policy add-key`: a key that a scope trusts.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use countersign::nodes::{PolicyDocument, PublicKey, Scope, TrustedKey};
use countersign::policy::PolicyFile;

use super::change::{OutputArgs, complain_of};
use crate::cli::Exit;
use crate::cli::options::{PolicyArgs, engine};

/// Trust a key for the images of a scope
///
/// Where the scope wants a signature of the same format already, one by any of the keys counts from then on: so keys
/// are replaced. Beside other requirements it is one more that has to hold; insecureAcceptAnything gives way to it. The
/// rest of the document stays as it is, in its order and spelling. Exit status: 0 done, 1 something would change
/// (--diff), 2 error or misuse.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// For which images: HOST[:PORT][/PATH][:TAG], *.DOMAIN
    #[arg(value_name = "SCOPE")]
    scope: String,

    /// The public key: OpenPGP, binary or armoured (signedBy), or PEM, as cosign writes it (sigstoreSigned)
    #[arg(value_name = "KEYFILE")]
    key: PathBuf,

    #[command(flatten)]
    policy: PolicyArgs,

    /// The transport of the scope
    #[arg(long, value_name = "NAME", default_value = "docker")]
    transport: String,

    /// Where readers of the document find the key [default: KEYFILE, with its whole path]
    #[arg(long, value_name = "PATH", conflicts_with = "inline")]
    key_path: Option<String>,

    /// Put the key into the document [default: its path]
    #[arg(long)]
    inline: bool,

    /// Which signed names count, see containers-policy.json(5) [default: matchRepoDigestOrExact, or as it is]
    #[arg(long, value_name = "TYPE", value_enum)]
    identity: Option<Identity>,

    /// Write the policy's own file [default: the document goes to --output]
    #[arg(long, conflicts_with_all = ["output", "diff"])]
    in_place: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// The types of `signedIdentity` that need nothing else, as the document names them.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Identity {
    /// The name with its tag or digest
    #[value(name = "matchExact")]
    Exact,
    /// The same, but for images by digest any of their repository
    #[value(name = "matchRepoDigestOrExact")]
    RepoDigestOrExact,
    /// Any of the repository
    #[value(name = "matchRepository")]
    Repository,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let scope = Scope::new(&self.transport, &self.scope)
            .map_err(|fault| anyhow::anyhow!("invalid scope {:?}: {fault}", self.scope))?;
        let key = PublicKey::read(&self.key)?;
        let file = self.policy.find()?;
        key.check(&engine(&file)?)?;
        let mut document = read(&file)?;
        let path = match (self.inline, &self.key_path) {
            (true, _) => None,
            (false, Some(path)) => Some(path.clone()),
            (false, None) => {
                let path = std::path::absolute(&self.key)
                    .with_context(|| format!("cannot tell where {} is", self.key.display()))?;
                Some(path.to_str().context("the key's path is no UTF-8: use --inline")?.to_owned())
            }
        };
        let identity = self.identity.and_then(|identity| identity.to_possible_value());
        let key = TrustedKey {
            key: &key,
            path: path.as_deref(),
            identity: identity.as_ref().map(|value| value.get_name()),
        };
        document
            .trust(&scope, &key)
            .with_context(|| format!("cannot change {}", file.path().display()))?;
        self.output.write(&document, Some(&file), self.in_place)
    }
}

/// Take apart a document that has no mistakes.
pub(crate) fn read(file: &PolicyFile) -> Result<PolicyDocument> {
    complain_of_errors(file)?;
    let document = PolicyDocument::parse(file.document());
    document.with_context(|| format!("cannot change {}", file.path().display()))
}

/// Warnings are told of what is written.
fn complain_of_errors(file: &PolicyFile) -> Result<()> {
    let mut found = file.check(&engine(file)?, false)?;
    found.retain(|mistake| mistake.severity == countersign::verdict::Severity::Error);
    complain_of(file, &found)
}

const EXAMPLES: &str = "\
Examples:
  Want images of a repository signed, and see what would change:
    countersign policy add-key --policy policy.json --diff registry.example.com/app release.gpg

  Do it, and have the key in the document:
    countersign policy add-key --policy policy.json --in-place --inline registry.example.com/app release.gpg

  Write a policy for nodes, where the key will be elsewhere:
    countersign policy add-key --policy policy.json --key-path /etc/pki/containers/release.gpg \\
        --output node-policy.json registry.example.com/app release.gpg
";
