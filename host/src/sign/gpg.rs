//! Keys that gpg keeps: its agent has the secrets, on a smart card, too, and asks for passphrases.

use std::io::{self, ErrorKind, Write as _};
use std::process::{Command, Output, Stdio};

use sequoia_openpgp::cert::prelude::*;
use sequoia_openpgp::crypto::Password;
use sequoia_openpgp::parse::Parse as _;

use super::{KeyName, SignError};

/// Who signs with one key of gpg.
pub(super) struct Agent {
    fingerprint: String,
    passphrase: Option<Password>,
}

impl Agent {
    /// With a passphrase, the agent asks nobody for it.
    pub(super) fn new(cert: &Cert, passphrase: Option<&Password>) -> Self {
        Self { fingerprint: cert.fingerprint().to_hex(), passphrase: passphrase.cloned() }
    }

    /// What `gpg --sign` makes of `payload`.
    pub(super) fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignError> {
        let mut gpg = gpg();
        gpg.args(["--digest-algo", "SHA512", "--compress-algo", "none", "--output", "-"]);
        gpg.args(["--local-user", &self.fingerprint]);
        let mut input = Vec::new();
        if let Some(passphrase) = &self.passphrase {
            // Its first line is the passphrase, and what follows is the payload.
            gpg.args(["--pinentry-mode", "loopback", "--passphrase-fd", "0"]);
            passphrase.map(|secret| input.extend_from_slice(secret));
            input.push(b'\n');
        }
        input.extend_from_slice(payload);
        let output = run(gpg.arg("--sign"), &input).map_err(|e| SignError::Gpg(absent(&e)))?;
        match output.status.success() && !output.stdout.is_empty() {
            true => Ok(output.stdout),
            false => Err(SignError::Gpg(complaint(&output))),
        }
    }
}

/// The keys with this name that gpg has the secrets of, without these.
pub(super) fn keys(name: &KeyName) -> Result<Vec<Cert>, String> {
    let mut list = gpg();
    list.args(["--with-colons", "--list-secret-keys", "--"]);
    match name {
        KeyName::Only => {}
        KeyName::Email(address) => drop(list.arg(format!("<{address}>"))),
        KeyName::Fingerprint(digits) => drop(list.arg(digits)),
    }
    let listed = run(&mut list, &[]).map_err(|e| absent(&e))?;
    let fingerprints = fingerprints(&String::from_utf8_lossy(&listed.stdout));
    // gpg fails, too, if it has none.
    if fingerprints.is_empty() {
        return match listed.status.code() {
            Some(0 | 2) => Ok(Vec::new()),
            _ => Err(complaint(&listed)),
        };
    }
    let exported = run(gpg().arg("--export").args(&fingerprints), &[]).map_err(|e| absent(&e))?;
    if !exported.status.success() {
        return Err(complaint(&exported));
    }
    let certs: sequoia_openpgp::Result<Vec<Cert>> =
        CertParser::from_bytes(&exported.stdout).and_then(Iterator::collect);
    certs.map_err(|e| format!("it exports a key that cannot be read: {e:#}"))
}

/// Of the primary keys in a listing (doc/DETAILS of GnuPG: `sec`, then `fpr` with field 10).
fn fingerprints(listing: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut primary = false;
    for line in listing.lines() {
        let mut fields = line.split(':');
        match fields.next() {
            Some("sec") => primary = true,
            Some("fpr") if primary => {
                primary = false;
                found.extend(fields.nth(8).map(str::to_owned));
            }
            _ => {}
        }
    }
    found
}

fn gpg() -> Command {
    let mut gpg = Command::new("gpg");
    gpg.args(["--batch", "--no-tty"]);
    gpg
}

fn run(gpg: &mut Command, input: &[u8]) -> io::Result<Output> {
    gpg.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = gpg.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            // What it did not want to hear, it tells.
            Err(e) if e.kind() != ErrorKind::BrokenPipe => return Err(e),
            _ => {}
        }
    }
    child.wait_with_output()
}

fn absent(fault: &io::Error) -> String {
    match fault.kind() {
        ErrorKind::NotFound => "it is not installed".to_owned(),
        _ => format!("it cannot be run: {fault}"),
    }
}

/// What gpg says of itself.
fn complaint(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = said.lines().map(|line| line.trim_start_matches("gpg: ")).collect();
    match lines.is_empty() {
        true => format!("it ends with {}, without a word", output.status),
        false => lines.join("; "),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_listing_has_the_fingerprints_of_primary_keys() {
        let listing = "\
sec:u:3072:1:0123456789ABCDEF:1795400000:::u:::scESC:::+:::23::0:
fpr:::::::::AAAA0123456789ABCDEF0123456789ABCDEF0123:
grp:::::::::0000:
uid:u::::1795400000::00::Release <release@example.com>::::::::::0:
ssb:u:3072:1:FEDCBA9876543210:1795400000::::::s:::+:::23:
fpr:::::::::BBBB0123456789ABCDEF0123456789ABCDEF0123:
sec:u:256:22:1111111111111111:1795400000:::u:::scESC:::+::ed25519:::0:
fpr:::::::::CCCC0123456789ABCDEF0123456789ABCDEF0123:
";
        let expected =
            ["AAAA", "CCCC"].map(|start| format!("{start}0123456789ABCDEF0123456789ABCDEF0123"));
        assert_eq!(super::fingerprints(listing), expected);
        assert!(super::fingerprints("").is_empty());
    }
}
