//! `countersign keygen`: a key that signs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use countersign::keys::{
    Algorithm, Expiry, Mistakes, Password, Places, Plan, Protection, SecretKey, SigstoreKey,
    Unattended, UserId, requirement_of_file,
};
use countersign::report::{printable, time};
use serde_json::json;

use self::kubernetes::KubernetesArgs;
use super::options::now;
use super::passphrase::PassphraseArgs;
use super::{Exit, note, print};

mod kubernetes;

/// Make a key that signs images
///
/// An OpenPGP key as gpg reads it, or with --sigstore one as cosign reads it. The secret half is written to a file
/// that its owner alone can read, the public half beside it; nothing is ever replaced. Prints what to put into
/// policy.json. Exit status: 0 done, 2 error or misuse.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Whose key it is: "NAME <EMAIL>"
    #[arg(long, value_name = "NAME <EMAIL>", required_unless_present_any = ["batch", "sigstore"])]
    user: Option<UserId>,

    /// What the key is made with
    ///
    /// Every reader of OpenPGP signatures knows RSA; some know no Ed25519.
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value = "rsa3072")]
    kind: Kind,

    /// When the key ends: never, a duration (90d, 12w, 6m, 2y) or a date (2027-12-31)
    ///
    /// After that, what it signed is no longer accepted. A month has 30 days, and a date means noon UTC, as with
    /// gpg.
    #[arg(long, value_name = "DATE|DURATION|never", default_value = "2y")]
    expires: Expiry,

    /// Let a subkey sign [default: the primary key signs]
    ///
    /// The primary key can then be kept offline.
    #[arg(long)]
    signing_subkey: bool,

    /// Take everything from a file as gpg's unattended key generation has it
    ///
    /// See "Unattended key generation" of the GnuPG manual. Default: the options say it.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["user", "kind", "expires", "signing_subkey", "sigstore"]
    )]
    batch: Option<PathBuf>,

    /// Make a key pair of sigstore instead: ECDSA over NIST P-256, as cosign generate-key-pair does
    #[arg(
        long,
        conflicts_with_all = ["user", "kind", "expires", "signing_subkey", "kubernetes"]
    )]
    sigstore: bool,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    /// Leave the secret half unprotected: whoever can read it can sign [default: ask for a passphrase]
    #[arg(long, conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    no_passphrase: bool,

    /// The secret half's file, or the folder for secret.asc and public.asc
    ///
    /// A folder that is not there is made, if its name ends with a slash. Beside FILE the public half is NAME.pub.asc. With --sigstore the names are cosign.key and cosign.pub, or
    /// NAME.pub.
    #[arg(long, value_name = "DIR|FILE", required_unless_present = "kubernetes")]
    out: Option<PathBuf>,

    #[command(flatten)]
    kubernetes: KubernetesArgs,
}

/// What a key is made with, as gpg names it.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Rsa2048,
    Rsa3072,
    Rsa4096,
    Ed25519,
    P256,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        if self.sigstore {
            return self.sigstore();
        }
        // Were it a conflict for the parser, it would no longer want --kubernetes for the other options.
        if self.kubernetes.kubernetes && self.out.is_some() {
            bail!("--kubernetes prints what it makes: leave out --out");
        }
        let now = now()?;
        let (plan, protection) = match &self.batch {
            Some(file) => {
                let Some((plan, protection)) = self.unattended(file, now)? else {
                    return Ok(Exit::Success);
                };
                (plan, protection)
            }
            None => (self.plan(now)?, None),
        };
        let target = self.kubernetes.target(now)?;
        let places = self.out.as_deref().map(Places::openpgp);
        if let Some(places) = &places {
            places.check()?;
        }
        let protection = match protection {
            Some(protection) => protection,
            None => self.protection()?,
        };
        let key = match &protection {
            Protection::Open => plan.generate(None)?,
            Protection::Passphrase(passphrase) => plan.generate(Some(passphrase))?,
        };
        if let Some(target) = target {
            print(&target.take(key, now)?)?;
        } else if let Some(places) = places {
            places.write(&key.armoured()?, key.public().armoured()?.as_bytes())?;
            print(&summary(&key, &plan, &places)?)?;
        }
        Ok(Exit::Success)
    }

    fn plan(&self, now: u64) -> Result<Plan> {
        let user = self.user.clone().context("--user is missing")?;
        let validity = self.expires.validity(now).context("invalid --expires")?;
        Ok(Plan::signing(user, self.kind.algorithm(), self.signing_subkey, now, validity))
    }

    /// What the parameter file says; nothing if it asks for nothing to be made.
    fn unattended(&self, file: &Path, now: u64) -> Result<Option<(Plan, Option<Protection>)>> {
        let unreadable = || format!("cannot read {}", file.display());
        let text = read_batch(file).with_context(unreadable)?;
        let read = Unattended::parse(&text, now).map_err(|mistakes| located(file, &mistakes))?;
        let chosen = self.no_passphrase || self.passphrase.is_given();
        if read.protection.is_some() && chosen {
            bail!(
                "{} says how the key is protected: leave out --passphrase-file, --passphrase-fd and --no-passphrase",
                file.display()
            );
        }
        for remark in &read.notes {
            note(&format!("{}: {remark}", file.display()));
        }
        for echo in &read.echoes {
            note(echo);
        }
        if read.dry_run {
            note(&format!("{} is right; %dry-run: no key was made", file.display()));
            return Ok(None);
        }
        Ok(Some((read.plan, read.protection)))
    }

    fn protection(&self) -> Result<Protection> {
        if self.no_passphrase {
            return Ok(Protection::Open);
        }
        self.new_passphrase().map(Protection::Passphrase)
    }

    fn new_passphrase(&self) -> Result<Password> {
        let instead = "--passphrase-file, --passphrase-fd or --no-passphrase";
        self.passphrase.get("Passphrase of the new key", true, instead)
    }

    fn sigstore(&self) -> Result<Exit> {
        let out = self.out.as_deref().context("--out is missing")?;
        let places = Places::sigstore(out);
        places.check()?;
        // An empty passphrase is cosign's way of none.
        let passphrase =
            if self.no_passphrase { Password::from("") } else { self.new_passphrase()? };
        let key = SigstoreKey::generate()?;
        places.write(key.private_pem(&passphrase)?.as_bytes(), key.public_pem()?.as_bytes())?;
        let requirement = json!({"type": "sigstoreSigned", "keyPath": absolute(&places.public)?});
        print(&format!(
            "secret key   {}\npublic key   {}\npolicy.json  {requirement}\n",
            shown(&places.secret),
            shown(&places.public),
        ))?;
        Ok(Exit::Success)
    }
}

impl Kind {
    fn algorithm(self) -> Algorithm {
        match self {
            Self::Rsa2048 => Algorithm::Rsa2048,
            Self::Rsa3072 => Algorithm::Rsa3072,
            Self::Rsa4096 => Algorithm::Rsa4096,
            Self::Ed25519 => Algorithm::Ed25519,
            Self::P256 => Algorithm::P256,
        }
    }
}

fn summary(key: &SecretKey, plan: &Plan, places: &Places) -> Result<String> {
    let ends = plan.validity.map(|validity| time(plan.created.saturating_add(validity)));
    Ok(format!(
        "fingerprint  {}\nexpires      {}\nsecret key   {}\npublic key   {}\npolicy.json  {}\n",
        key.fingerprint(),
        ends.as_deref().unwrap_or("never"),
        shown(&places.secret),
        shown(&places.public),
        requirement_of_file(&absolute(&places.public)?),
    ))
}

fn read_batch(file: &Path) -> Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let from = std::fs::File::open(file)?;
    from.take(MAX_BATCH_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BATCH_BYTES {
        bail!("it is longer than {MAX_BATCH_BYTES} bytes: expected the parameters of one key");
    }
    Ok(text)
}

/// Every mistake on a line of its own, with the file.
fn located(file: &Path, mistakes: &Mistakes) -> anyhow::Error {
    let file = file.display();
    let lines: Vec<_> =
        mistakes.0.iter().map(|m| format!("{file}:{}: {}", m.line, m.fault)).collect();
    anyhow::anyhow!("no key was made:\n{}", lines.join("\n"))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot tell where {} is", path.display()))
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}

/// Longest parameter file of gpg: a hundred times one with every keyword.
const MAX_BATCH_BYTES: u64 = 64 * 1024;

const EXAMPLES: &str = "\
Examples:
  A key in the folder keys, protected by a passphrase that is asked for:
    countersign keygen --user \"Release <release@example.com>\" --out keys/

  A key that never expires, with the passphrase from a file:
    countersign keygen --user \"Release <release@example.com>\" --type rsa4096 --expires never \\
        --passphrase-file passphrase --out release.asc

  What a gpg parameter file describes:
    countersign keygen --batch key.conf --out keys

  A key that exists in a cluster alone, in place of one whose signatures are good for another 30 days:
    countersign keygen --user \"Release <release@example.com>\" --no-passphrase --kubernetes --namespace build \\
        --previous old.asc --until 30d | kubectl apply -f -

  The same without kubectl: a first key, and later one in its place:
    countersign keygen --user \"Release <release@example.com>\" --no-passphrase --kubernetes --apply
    countersign keygen --user \"Release <release@example.com>\" --no-passphrase --kubernetes --apply \\
        --rotate --until 30d
";
