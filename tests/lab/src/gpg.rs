//! gpg with a key ring of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{run, write};

/// A gpg home folder: its keys have no passphrase and its agent ends with it.
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
}

impl Home {
    /// A new key ring in `folder`, which must have a short path: the agent's socket lies there.
    pub fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// A command that uses this key ring and asks nothing.
    #[must_use]
    pub fn gpg(&self) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.env("GNUPGHOME", &self.folder).env("LC_ALL", "C");
        gpg.args(["--batch", "--yes", "--quiet", "--no-tty", "--pinentry-mode", "loopback"]);
        gpg.args(["--passphrase", ""]);
        gpg
    }

    /// The folder, for tools that run gpg themselves (`GNUPGHOME`).
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Make a signing key. `algorithm` is gpg's name (`rsa2048`, `ed25519`, `nistp256`); `created` is
    /// gpg's `YYYYMMDDTHHMMSS`, absent for now; `expires` is gpg's term (`never`, `1d`).
    pub fn generate(
        &self,
        user: &str,
        algorithm: &str,
        created: Option<&str>,
        expires: &str,
    ) -> Result<Key> {
        let mut gpg = self.gpg();
        if let Some(time) = created {
            gpg.args(["--faked-system-time", &format!("{time}!")]);
        }
        run(gpg.args(["--quick-generate-key", user, algorithm, "sign", expires]))?;
        let fingerprints = self.fingerprints(user)?;
        let fingerprint = fingerprints.first().context("gpg made no key")?.clone();
        Ok(Key { fingerprint })
    }

    /// Add a signing subkey; the result names it for [`Self::sign`].
    pub fn add_subkey(&self, key: &Key, algorithm: &str) -> Result<Key> {
        run(self.gpg().args(["--quick-add-key", &key.fingerprint, algorithm, "sign", "never"]))?;
        let fingerprints = self.fingerprints(&key.fingerprint)?;
        let fingerprint = fingerprints.last().context("gpg made no subkey")?.clone();
        Ok(Key { fingerprint })
    }

    /// Another key ring, in `folder`, in which `key` is revoked with the certificate that gpg prepared
    /// when it made the key.
    pub fn revoked(&self, key: &Key, folder: &Path) -> Result<Self> {
        let revoked = Self::new(folder)?;
        let public = folder.join("public");
        write(&public, self.export(key)?)?;
        let prepared =
            self.folder.join("openpgp-revocs.d").join(format!("{}.rev", key.fingerprint));
        // gpg guards the armour's first line with a colon against accidents.
        let certificate =
            std::fs::read_to_string(&prepared)?.replace("\n:-----BEGIN", "\n-----BEGIN");
        let armoured = certificate.find("-----BEGIN").map_or("", |start| &certificate[start..]);
        let revocation = folder.join("revocation");
        write(&revocation, armoured)?;
        run(revoked.gpg().arg("--import").arg(&public))?;
        run(revoked.gpg().arg("--import").arg(&revocation))?;
        Ok(revoked)
    }

    /// The public key, binary.
    pub fn export(&self, key: &Key) -> Result<Vec<u8>> {
        Ok(run(self.gpg().args(["--export", &key.fingerprint]))?.stdout)
    }

    /// The secret key, binary and not protected.
    pub fn export_secret(&self, key: &Key) -> Result<Vec<u8>> {
        Ok(run(self.gpg().args(["--export-secret-keys", &key.fingerprint]))?.stdout)
    }

    /// The public key, ASCII-armoured.
    pub fn export_armoured(&self, key: &Key) -> Result<Vec<u8>> {
        Ok(run(self.gpg().args(["--armor", "--export", &key.fingerprint]))?.stdout)
    }

    /// Run gpg's command `how` (`["--sign"]`, `["--clearsign"]`, ...) on `content`, signing with `keys`.
    pub fn sign(&self, keys: &[&Key], content: &[u8], how: &[&str]) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir()?;
        let input = folder.path().join("content");
        let output = folder.path().join("signed");
        std::fs::write(&input, content)?;
        let mut gpg = self.gpg();
        for key in keys {
            // The exclamation mark keeps gpg from choosing another subkey.
            gpg.args(["--local-user", &format!("{}!", key.fingerprint)]);
        }
        run(gpg.arg("--output").arg(&output).args(how).arg(&input))?;
        Ok(std::fs::read(&output)?)
    }

    /// The fingerprints of a key and its subkeys, primary first.
    fn fingerprints(&self, user: &str) -> Result<Vec<String>> {
        let output = run(self.gpg().args(["--with-colons", "--list-keys", user]))?;
        let text = String::from_utf8(output.stdout)?;
        let lines = text.lines().filter(|line| line.starts_with("fpr:"));
        Ok(lines.filter_map(|line| line.split(':').nth(9)).map(str::to_owned).collect())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let mut kill = Command::new("gpgconf");
        kill.env("GNUPGHOME", &self.folder).args(["--kill", "all"]);
        if let Err(error) = run(&mut kill) {
            eprintln!("cannot end gpg's agent: {error:#}");
        }
    }
}

/// A key or subkey in a [`Home`].
#[derive(Clone, Debug)]
pub struct Key {
    /// Upper-case hexadecimal.
    pub fingerprint: String,
}
