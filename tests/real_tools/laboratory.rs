//! What the tests against real tools share: a registry with an image in it, signature stores behind
//! one server, and keys made when they are first asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use lab::gpg::{Home, Key};
use lab::image::Image;
use lab::lookaside::Server;
use lab::registry::Registry;
use lab::skopeo;
use serde_json::{Value, json};

/// The laboratory that all running tests share; `None`, said on stderr, on a machine without the tools. It
/// ends, with its servers and its folder, when the last of the tests does.
pub(super) fn laboratory() -> Option<Arc<Laboratory>> {
    let missing: Vec<&str> = lab::tools::missing().iter().map(|tool| tool.program).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        crate::support::say(&format!(
            "SKIPPED: `cargo xtask setup` installs what is missing: {missing}"
        ));
        return None;
    }
    static SHARED: Mutex<Weak<Laboratory>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    Some(shared.upgrade().unwrap_or_else(|| {
        let laboratory = Arc::new(Laboratory::set_up());
        *shared = Arc::downgrade(&laboratory);
        laboratory
    }))
}

#[derive(Debug)]
pub(super) struct Laboratory {
    /// In the registry as [`REPOSITORY`], tag `v1`.
    pub(super) image: Image,
    /// Not in the registry.
    pub(super) other_image: Image,
    pub(super) gpg: Home,
    keys: Mutex<BTreeMap<Kind, Arc<SigningKey>>>,
    registry: Registry,
    server: Server,
    // Last, so that the folder goes after everything that uses it.
    folder: tempfile::TempDir,
}

impl Laboratory {
    fn set_up() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let gpg = Home::new(&folder.path().join("gpg")).expect("a gpg home");
        let registry = Registry::start(&folder.path().join("registry")).expect("a registry");
        std::fs::create_dir(folder.path().join("stores")).expect("a folder for signature stores");
        let server = Server::start(&folder.path().join("stores")).expect("a signature server");
        let image = Image::new("image").expect("an image");
        let other_image = Image::new("another image").expect("an image");
        let source = folder.path().join("image");
        image.write_dir(&source, &[]).expect("an image in a folder");
        let laboratory =
            Self { image, other_image, gpg, keys: Mutex::default(), registry, server, folder };
        skopeo::push(&source, &laboratory.tagged()).expect("the image is pushed");
        laboratory
    }

    /// `127.0.0.1:PORT` of the registry.
    pub(super) fn host(&self) -> &str {
        &self.registry.host
    }

    /// The image by its tag.
    pub(super) fn tagged(&self) -> String {
        format!("{}/{REPOSITORY}:v1", self.host())
    }

    /// The image by its digest.
    pub(super) fn by_digest(&self) -> String {
        format!("{}/{REPOSITORY}@{}", self.host(), self.image.digest)
    }

    /// A path in the laboratory's folder, for one test.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The image as a `dir:` image without signatures.
    pub(super) fn image_dir(&self) -> String {
        format!("dir:{}", self.path("image").display())
    }

    /// A policy file, and a signature store that only those who ask there look into.
    pub(super) fn place(&self, name: &str, policy: &Value) -> Place {
        let folder = self.path("places").join(name);
        let place = Place {
            policy: folder.join("policy.json"),
            registries_d: folder.join("registries.d"),
            store: self.path("stores").join(name),
        };
        lab::write(&place.policy, policy.to_string()).expect("a policy file");
        place.look_aside(self.host(), &self.url(name));
        place
    }

    /// Where the signature store of a [`Place`] is served.
    pub(super) fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.server.url())
    }

    /// The key of a kind.
    pub(super) fn key(&self, kind: Kind) -> Arc<SigningKey> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(self.make_key(kind).expect("gpg makes the key"));
        Arc::clone(keys.entry(kind).or_insert_with(make))
    }

    fn make_key(&self, kind: Kind) -> anyhow::Result<SigningKey> {
        let folder = self.path("keys").join(format!("{kind:?}"));
        let user = format!("{kind:?}@example.com");
        let algorithm = kind.algorithm();
        let expires = if kind == Kind::Expired { "1y" } else { "never" };
        let primary = self.gpg.generate(&user, algorithm, Some(KEYS_MADE), expires)?;
        let (binary, armoured) = (folder.join("key.gpg"), folder.join("key.asc"));
        let signing = match kind {
            Kind::SigningSubkey => self.gpg.add_subkey(&primary, "ed25519")?,
            _ => primary.clone(),
        };
        let revoked = match kind {
            Kind::Revoked => Some(self.gpg.revoked(&primary, &folder.join("gpg"))?),
            _ => None,
        };
        let home = revoked.as_ref().unwrap_or(&self.gpg);
        lab::write(&binary, home.export(&primary)?)?;
        lab::write(&armoured, home.export_armoured(&primary)?)?;
        Ok(SigningKey { signing, binary, armoured })
    }
}

/// A policy file with a signature store: everything a question rests on.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) policy: PathBuf,
    pub(super) registries_d: PathBuf,
    /// The store's folder.
    pub(super) store: PathBuf,
}

impl Place {
    /// Have the signatures of a registry's images looked for at `url`.
    pub(super) fn look_aside(&self, host: &str, url: &str) {
        let registries = json!({"docker": {host: {"lookaside": url}}});
        self.configure(&registries);
    }

    /// Have the signatures of a registry's images looked for, and put, right into the store's folder.
    pub(super) fn look_into_folder(&self, host: &str) {
        let url = format!("file://{}", self.store.display());
        self.configure(&json!({"docker": {host: {"lookaside": url, "lookaside-staging": url}}}));
    }

    fn configure(&self, registries: &Value) {
        let file = self.registries_d.join("lab.yaml");
        lab::write(&file, registries.to_string()).expect("a file of registries.d");
    }
}

/// A key and the files in which a policy finds its public half.
#[derive(Debug)]
pub(super) struct SigningKey {
    /// What signs: the key or its subkey.
    pub(super) signing: Key,
    pub(super) binary: PathBuf,
    pub(super) armoured: PathBuf,
}

impl SigningKey {
    /// The requirement to be signed by this key.
    pub(super) fn requirement(&self) -> Value {
        signed_by(&self.binary)
    }
}

/// The requirement to be signed by a key in `file`.
pub(super) fn signed_by(file: &Path) -> Value {
    json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": file})
}

/// Kinds of keys.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Kind {
    BrainpoolP256,
    /// A key that policies trust beside the one that signs.
    Colleague,
    Dsa2048,
    Ed25519,
    /// Expired after it signed.
    Expired,
    Nistp256,
    Nistp384,
    Nistp521,
    /// Revoked after it signed.
    Revoked,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    Secp256k1,
    /// An Ed25519 subkey of an RSA key.
    SigningSubkey,
    /// A key that no policy trusts.
    Stranger,
}

impl Kind {
    /// gpg's name for it.
    fn algorithm(self) -> &'static str {
        match self {
            Self::BrainpoolP256 => "brainpoolP256r1",
            Self::Dsa2048 => "dsa2048",
            Self::Ed25519 | Self::Stranger => "ed25519",
            Self::Colleague | Self::Nistp256 | Self::Expired | Self::Revoked => "nistp256",
            Self::Nistp384 => "nistp384",
            Self::Nistp521 => "nistp521",
            Self::Rsa2048 | Self::SigningSubkey => "rsa2048",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
            Self::Secp256k1 => "secp256k1",
        }
    }
}

/// The image's place in the registry.
pub(super) const REPOSITORY: &str = "ns/team/app";

/// When all keys were made, in gpg's spelling: long before anything was signed.
const KEYS_MADE: &str = "20240101T000000";
