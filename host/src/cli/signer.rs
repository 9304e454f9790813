//! Who signs, for the commands that sign.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use countersign::digest::Digest;
use countersign::engine::{Engine, Settings};
use countersign::evidence::{self, RegistriesD};
use countersign::keys::{Password, SigstoreKey};
use countersign::reference::Reference;
use countersign::registry::Client;
use countersign::sign::{Chosen, KeyName, Keyring, KeyringError, SigningKey};
use countersign::signer::{self, Signed, Signing};

use super::note;
use super::options::StoreArgs;
use super::passphrase::{self, PassphraseArgs};

/// The key that signs.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Signing")]
pub(super) struct KeyArgs {
    /// Sign by this secret key: a file, a folder, an e-mail address or a fingerprint
    ///
    /// A file or folder has one OpenPGP key, as gpg --export-secret-keys or keygen writes it; a folder may be a mounted
    /// Secret, and its file passphrase opens the key. A key of sigstore (cosign.key) signs as cosign does. An address or fingerprint names a key of --keyring, else one
    /// that gpg has: its agent signs. Default, also if KEY is empty: the only key of --keyring.
    #[arg(long, value_name = "KEY|EMAIL|FINGERPRINT")]
    sign_by: Option<OsString>,

    /// The file or folder with the keys of which --sign-by names one
    ///
    /// Default, also if PATH is empty: the keys that gpg has.
    #[arg(long, value_name = "PATH")]
    keyring: Option<OsString>,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    /// The file with the bearer token for a lookaside server that signatures are sent to
    ///
    /// A folder, such as a mounted Secret, has it in its file token. It is shown to no other host. Default, also if FILE is empty: none.
    #[arg(long, value_name = "FILE")]
    token_file: Option<OsString>,
}

impl KeyArgs {
    /// A client that may send signatures.
    pub(super) fn authorized(&self, client: Client) -> Result<Client> {
        let Some(file) = self.token_file.as_ref().filter(|file| !file.is_empty()) else {
            return Ok(client);
        };
        let path = Path::new(file);
        let path = if path.is_dir() { path.join(TOKEN) } else { path.to_owned() };
        let unusable = || format!("cannot use the token of {}", path.display());
        let mut token = String::new();
        let read = File::open(&path)
            .and_then(|from| from.take(MAX_TOKEN_BYTES).read_to_string(&mut token));
        read.with_context(unusable)?;
        client.with_store_token(token.trim_end()).with_context(unusable)
    }

    /// The key, if there is to be one.
    pub(super) fn open(&self, now: u64) -> Result<Option<Key>> {
        // A workspace or parameter of Tekton that nobody set is empty.
        let given = |value: &Option<OsString>| value.clone().filter(|value| !value.is_empty());
        let keyring = given(&self.keyring).map(PathBuf::from);
        let named = given(&self.sign_by);
        let (ring, name) = match (keyring, named) {
            (None, None) if self.passphrase.is_given() => {
                bail!("there is a passphrase, and no key that it is for: --sign-by")
            }
            (None, None) => return Ok(None),
            (Some(path), None) => (Some(path), KeyName::Only),
            (Some(path), Some(name)) => (Some(path), name_of(&name)?),
            (None, Some(value)) if Path::new(&value).exists() || is_path(&value) => {
                (Some(value.into()), KeyName::Only)
            }
            (None, Some(value)) => (None, name_of(&value)?),
        };
        if let (Some(path), KeyName::Only) = (&ring, &name)
            && let Some(file) = sigstore_key(path)
        {
            let key = self.open_sigstore(&file, path.is_dir().then_some(path))?;
            return Ok(Some(Key::Sigstore(Box::new(key))));
        }
        let chosen = match &ring {
            Some(path) => Keyring::open(path)?.find(&name, now)?,
            None => Keyring::of_gpg(&name)?.find(&name, now)?,
        };
        self.unlock(chosen, ring.as_deref()).map(|key| Some(Key::OpenPgp(Box::new(key))))
    }

    fn unlock(&self, chosen: Chosen, ring: Option<&Path>) -> Result<SigningKey> {
        let passphrase = match (self.passphrase.given()?, ring.map(|ring| ring.join(PASSPHRASE))) {
            (Some(passphrase), _) => Some(passphrase),
            (None, _) if !chosen.is_protected() => None,
            (None, Some(file)) if file.is_file() => Some(passphrase::of_file(&file)?),
            (None, _) => {
                let question = format!("Passphrase of the key {}", chosen.fingerprint());
                Some(self.passphrase.get(&question, false, INSTEAD)?)
            }
        };
        Ok(chosen.open(passphrase.as_ref())?)
    }

    fn open_sigstore(&self, file: &Path, folder: Option<&PathBuf>) -> Result<SigstoreKey> {
        let beside =
            folder.map(|folder| folder.join(COSIGN_PASSWORD)).filter(|file| file.is_file());
        let passphrase = match (self.passphrase.given()?, beside) {
            (Some(passphrase), _) => passphrase,
            // cosign keeps an empty one, too.
            (None, Some(file)) if file.metadata().is_ok_and(|file| file.len() > 0) => {
                passphrase::of_file(&file)?
            }
            // An empty passphrase is cosign's way of none.
            (None, _) => match SigstoreKey::open(file, &Password::from("")) {
                Ok(key) => return Ok(key),
                Err(_) => {
                    let question = format!("Passphrase of the key {}", file.display());
                    self.passphrase.get(&question, false, INSTEAD)?
                }
            },
        };
        Ok(SigstoreKey::open(file, &passphrase)?)
    }
}

/// A key that signs.
pub(super) enum Key {
    OpenPgp(Box<SigningKey>),
    Sigstore(Box<SigstoreKey>),
}

/// A key that signs, with what a signature needs beside it.
pub(super) struct SignerParts {
    key: Key,
    registries: RegistriesD,
    engine: Engine,
    now: u64,
}

impl SignerParts {
    pub(super) fn new(key: Key, store: &StoreArgs, now: u64) -> Result<Self> {
        Ok(Self {
            key,
            registries: RegistriesD::load(&store.directories())?,
            engine: Engine::new(&Settings::default())?,
            now,
        })
    }

    pub(super) fn signing(&self) -> Signing<'_> {
        let Self { key, registries, engine, now } = self;
        let key = match key {
            Key::OpenPgp(key) => signer::Key::OpenPgp(key),
            Key::Sigstore(key) => signer::Key::Sigstore(key),
        };
        Signing { key, registries, engine, now: *now }
    }

    /// Say where the signature of the manifest with this digest is, which `repository` has.
    pub(super) fn tell(
        &self,
        signed: &Signed,
        digest: &Digest,
        repository: &Reference,
    ) -> Result<()> {
        let place = match &signed.place {
            Some(place) => place.to_string(),
            None => "there was a signature already".to_owned(),
        };
        let by = match &self.key {
            Key::OpenPgp(key) => key.fingerprint(),
            Key::Sigstore(key) => format!("the sigstore key {}", key.fingerprint()?),
        };
        note(&format!("signed by {by}: {place}"));
        if let Some(location) = &signed.read_from {
            let place = evidence::shown(&location.signature(digest, 1));
            note(&format!("verifiers look for the signature at {place}: bring it there"));
        }
        if let Key::Sigstore(_) = &self.key
            && !self.registries.uses_attachments(repository)
        {
            note(&format!(
                "podman, skopeo and CRI-O see it where registries.d says use-sigstore-attachments: true for {}",
                repository.name()
            ));
        }
        Ok(())
    }
}

/// The file with a key of sigstore that a path means: itself, or what cosign calls it in a folder without other keys.
fn sigstore_key(path: &Path) -> Option<PathBuf> {
    let is_folder = path.is_dir();
    let file = if is_folder { path.join(COSIGN_KEY) } else { path.to_owned() };
    let only = || !is_folder || matches!(Keyring::open(path), Err(KeyringError::Empty { .. }));
    (SigstoreKey::is_in(&file) && only()).then_some(file)
}

/// Whether it can be nothing but the name of a file that is not there.
fn is_path(value: &OsString) -> bool {
    let text = value.to_string_lossy();
    let known = [".asc", ".gpg", ".key", ".pgp"].iter().any(|end| text.ends_with(end));
    text.contains('/') || (known && !text.contains('@'))
}

fn name_of(value: &OsString) -> Result<KeyName> {
    // What is not UTF-8 is no name, and the message shows it as well as can be.
    Ok(value.to_string_lossy().parse()?)
}

/// The file of a folder with keys whose first line is their passphrase.
const PASSPHRASE: &str = "passphrase";

/// What cosign generate-key-pair k8s:// has in a Secret.
const COSIGN_KEY: &str = "cosign.key";
const COSIGN_PASSWORD: &str = "cosign.password";

const INSTEAD: &str = "--passphrase-file or --passphrase-fd";

/// The file of a folder that has a token.
const TOKEN: &str = "token";

/// Longest token: a service account's has about a kilobyte.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;
