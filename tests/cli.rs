//! What users type: the real binary, with nothing in its environment but what a test puts there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::root;

mod bad_input;
mod copy;
mod demo;
mod documents;
mod inspect;
mod keys;
mod lookaside;
mod misuse;
mod nodes;
mod policy;
mod publish;
mod record;
mod registry;
mod rule_run;
mod rules;
mod sign;
mod tekton;
mod verify;

/// A user with a home folder, and nothing else.
pub(crate) struct User {
    folder: TempDir,
}

impl User {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    /// A path in the user's folder, in which commands run.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, content).expect("a file");
        path
    }

    /// A policy whose default requirement is this.
    pub(crate) fn policy(&self, requirement: Value) -> PathBuf {
        self.write("policy.json", json!({"default": [requirement]}).to_string())
    }

    /// A policy that wants a signature by `key` of the vectors, in the file beside it.
    pub(crate) fn signed_by(&self, key: &str) -> PathBuf {
        let content = fs::read(vector(&format!("gpg/keys/{key}.pub.gpg"))).expect("a key");
        self.write(&format!("{key}.gpg"), content);
        self.policy(json!({
            "type": "signedBy", "keyType": "GPGKeys", "keyPath": format!("{key}.gpg"),
        }))
    }

    /// The image of the vectors as a `dir:` image named `name`, with these of its signatures.
    pub(crate) fn image(&self, name: &str, signatures: &[&str]) {
        let manifest = fs::read(vector("gpg/manifests/amd64.json")).expect("a manifest");
        self.write(&format!("{name}/manifest.json"), manifest);
        for (place, signature) in signatures.iter().enumerate() {
            let content = fs::read(vector(&format!("gpg/sigs/{signature}.sig")));
            let content = content.expect("a signature");
            self.write(&format!("{name}/signature-{}", place + 1), content);
        }
    }

    /// A command with `arguments`, split at spaces, in the user's folder.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("HOME", self.folder.path()).env("TMPDIR", self.folder.path());
        // Compiled once for all tests, as on a machine where the command has run before.
        command.env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
        command.args(arguments.split(' ').filter(|argument| !argument.is_empty()));
        command
    }

    pub(crate) fn run(&self, arguments: &str) -> Ended {
        Ended::of(&mut self.command(arguments))
    }

    /// `verify` by `policy.json`, under the reference and at the time at which the vectors were signed.
    pub(crate) fn verify(&self, arguments: &str) -> Ended {
        self.run(&format!("verify {LAB} {arguments}"))
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().expect("the command starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Self { status: output.status.code(), stdout, stderr }
    }

    /// The JSON document on standard output.
    #[expect(clippy::panic, reason = "what is not JSON is the failure of the test that asks")]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The verdicts on standard output, in order.
    pub(crate) fn verdicts(&self) -> Vec<String> {
        let document = self.json();
        let results = document["results"].as_array().expect("results");
        let verdict = |result: &Value| result["verdict"].as_str().expect("a verdict").to_owned();
        results.iter().map(verdict).collect()
    }

    /// It ended with status 2, nothing was allowed, and standard error has all of `words`.
    pub(crate) fn assert_error(&self, words: &[&str]) {
        assert_eq!(self.status, Some(2), "{self:?}");
        assert!(!self.stdout.contains("allow"), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is missing: {self:?}");
        }
    }
}

pub(crate) fn vector(name: &str) -> PathBuf {
    vectors().join(name)
}

fn vectors() -> PathBuf {
    root().join("tests/data/vectors").canonicalize().expect("the vectors")
}

/// How a text names a path.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Options under which the vectors of gpg are good.
pub(crate) const LAB: &str = "--policy policy.json --registries-d registries.d --as 127.0.0.1:5000/lab/amd64:v1 --at 1795400000";

/// The digest of the vectors' image.
pub(crate) const AMD64: &str =
    "sha256:d807ec1646a4c51b5c46c8cb597485b577597b6970e2975eba6915237eaeacdf";

/// The digest of the same image for another processor.
pub(crate) const ARM64: &str =
    "sha256:e2cf950cd3fac3cbec5d28d63453e0aa2a0fb4f02a14581202a6d8a00f2db888";

/// The fingerprint of the vectors' key `rsa4096`.
pub(crate) const RSA4096: &str = "11D230F531049AD19E427AA6510C2D2145DB3EC5";
