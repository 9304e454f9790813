//! What skopeo says.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::Result;

use crate::gpg::{Home, Key};
use crate::registry::Registry;
use crate::{attempt, run};

/// skopeo's answer to one question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The policy accepts the image.
    Allow,
    /// It does not; the reason, without the words `Source image rejected`.
    Deny(String),
    /// Anything else that went wrong.
    Error(String),
}

impl Answer {
    /// Read the end of a `skopeo copy` or `podman pull`.
    #[must_use]
    pub fn of(output: &Output) -> Self {
        if output.status.success() {
            return Self::Allow;
        }
        let message = message(&String::from_utf8_lossy(&output.stderr));
        match message.split_once(REJECTED) {
            Some((_, reason)) => Self::Deny(reason.to_owned()),
            None => Self::Error(message),
        }
    }
}

/// `skopeo copy` from a plain-HTTP registry to a `dir:` image in `folder`.
#[must_use]
pub fn copy(image: &str, policy: &Path, registries_d: &Path, folder: &Path) -> Command {
    let mut skopeo = Command::new("skopeo");
    skopeo.arg("--policy").arg(policy).arg("--registries.d").arg(registries_d);
    skopeo.args(["copy", "--quiet", "--src-tls-verify=false", image]);
    skopeo.arg(format!("dir:{}", folder.display()));
    skopeo
}

/// Push the `dir:` image in `folder`, as it is and without its signatures, to a plain-HTTP registry.
pub fn push(folder: &Path, reference: &str) -> Result<()> {
    convert(&format!("dir:{}", folder.display()), &format!("docker://{reference}"))
}

/// As [`push`], to a registry with a password ([`Registry::USER`]).
pub fn push_with_password(folder: &Path, reference: &str) -> Result<()> {
    let (user, password) = Registry::USER;
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--remove-signatures"]).args(AS_IT_IS);
    skopeo.arg(format!("--dest-creds={user}:{password}"));
    run(skopeo.args([format!("dir:{}", folder.display()), format!("docker://{reference}")]))?;
    Ok(())
}

/// Copy an image, or an index with all its images, without signatures and under no policy.
pub fn convert(source: &str, destination: &str) -> Result<()> {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--remove-signatures"]).args(AS_IT_IS);
    run(skopeo.args([source, destination]))?;
    Ok(())
}

/// Copy an image or index as [`convert`] does, but sign it by `key` of `gpg`. `registries_d` says
/// where the signatures of an image in a registry go; `identity` is what to sign an image as that is
/// copied to somewhere else.
pub fn sign(
    gpg: &Home,
    key: &Key,
    registries_d: &Path,
    identity: Option<&str>,
    source: &str,
    destination: &str,
) -> Result<()> {
    let mut skopeo = Command::new("skopeo");
    skopeo.env("GNUPGHOME", gpg.folder()).arg("--registries.d").arg(registries_d);
    skopeo.args(["--insecure-policy", "copy", "--sign-by", &key.fingerprint]).args(AS_IT_IS);
    if let Some(identity) = identity {
        skopeo.args(["--sign-identity", identity]);
    }
    run(skopeo.args([source, destination]))?;
    Ok(())
}

/// What `skopeo standalone-sign` makes of a manifest.
pub fn standalone_sign(gpg: &Home, key: &Key, manifest: &[u8], reference: &str) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let (input, output) = (folder.path().join("manifest"), folder.path().join("signature"));
    std::fs::write(&input, manifest)?;
    let mut skopeo = Command::new("skopeo");
    skopeo.env("GNUPGHOME", gpg.folder()).arg("standalone-sign").arg(&input);
    run(skopeo.args([reference, &key.fingerprint, "--output"]).arg(&output))?;
    Ok(std::fs::read(&output)?)
}

/// The version, as `1.9.3`.
pub fn version() -> Result<String> {
    let output = run(Command::new("skopeo").arg("--version"))?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().last().unwrap_or_default().to_owned())
}

/// The answer to [`copy`].
pub fn verdict(image: &str, policy: &Path, registries_d: &Path) -> Result<Answer> {
    let folder = tempfile::tempdir()?;
    Ok(Answer::of(&attempt(&mut copy(image, policy, registries_d, folder.path()))?))
}

/// The last message: skopeo logs `level=fatal msg="..."`, podman prints `Error: ...`.
fn message(stderr: &str) -> String {
    let last = stderr.trim().lines().last().unwrap_or_default();
    match last.split_once("level=fatal msg=") {
        // Go quotes strings as JSON does, for the characters that occur here.
        Some((_, quoted)) => serde_json::from_str(quoted).unwrap_or_else(|_| quoted.to_owned()),
        None => last.trim_start_matches("Error: ").to_owned(),
    }
}

/// Every manifest byte for byte, to or from a plain-HTTP registry.
/// Options with which `skopeo copy` changes nothing, from and to plain-HTTP registries.
pub const AS_IT_IS: [&str; 5] =
    ["--quiet", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"];

const REJECTED: &str = "Source image rejected: ";

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn unquotes_the_fatal_message() {
        let line = r#"time="2026-11-22T04:29:57Z" level=fatal msg="Source image rejected: Signature for identity \"a\" is not accepted""#;
        assert_eq!(
            message(line),
            r#"Source image rejected: Signature for identity "a" is not accepted"#
        );
    }
}
