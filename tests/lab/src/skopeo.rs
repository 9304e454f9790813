//! What skopeo says.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::Result;

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

/// Push the `dir:` image in `folder`, as it is, to a plain-HTTP registry.
pub fn push(folder: &Path, reference: &str) -> Result<()> {
    let mut skopeo = Command::new("skopeo");
    skopeo.args([
        "--insecure-policy",
        "copy",
        "--quiet",
        "--preserve-digests",
        "--dest-tls-verify=false",
    ]);
    // Signatures stay in the folder.
    skopeo.arg("--remove-signatures").arg(format!("dir:{}", folder.display()));
    run(skopeo.arg(format!("docker://{reference}")))?;
    Ok(())
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
