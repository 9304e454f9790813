//! Parameter files of `gpg --batch --generate-key`: "Unattended key generation" of the GnuPG manual.
//!
//! What gpg would do is done, or refused with the line: nothing that changes the key is ignored.

use std::collections::BTreeMap;
use std::fmt;

use sequoia_openpgp::types::KeyFlags;

use super::{Algorithm, Expiry, Part, Password, Plan, UserId};

/// What a parameter file says.
#[derive(Clone, Debug)]
pub struct Unattended {
    /// The key.
    pub plan: Plan,
    /// How its secret is kept; `None` if the file leaves it to whoever runs the command.
    pub protection: Option<Protection>,
    /// `%dry-run`: only see whether the file is right.
    pub dry_run: bool,
    /// What `%echo` says, in order.
    pub echoes: Vec<String>,
    /// What has no effect here, each with its line.
    pub notes: Vec<String>,
}

/// How a secret is kept.
#[derive(Clone, Debug)]
pub enum Protection {
    /// As it is: whoever can read the file can sign.
    Open,
    /// Under a passphrase.
    Passphrase(Password),
}

impl Unattended {
    /// Read a parameter file. The key is made at `now`, in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    ///
    /// Every line that cannot be followed.
    pub fn parse(text: &str, now: u64) -> Result<Self, Mistakes> {
        let mut reader = Reader::default();
        for (number, line) in text.lines().enumerate() {
            reader.line(number + 1, line.trim());
        }
        reader.end(now)
    }
}

/// Everything that is wrong with a parameter file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// One thing that is wrong. It never quotes a passphrase.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what is expected.
    pub fault: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.fault)
    }
}

#[derive(Default)]
struct Reader {
    /// By keyword: the line, and the value.
    values: BTreeMap<&'static str, (usize, String)>,
    no_protection: Option<usize>,
    committed: bool,
    dry_run: bool,
    echoes: Vec<String>,
    notes: Vec<String>,
    mistakes: Vec<Mistake>,
    last: usize,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) {
        self.last = number;
        if line.is_empty() || line.starts_with('#') {
        } else if let Some(statement) = line.strip_prefix('%') {
            let (name, rest) = statement.split_once(char::is_whitespace).unwrap_or((statement, ""));
            self.statement(number, name, rest.trim());
        } else if let Some((name, value)) = line.split_once(':') {
            self.parameter(number, name.trim(), value.trim());
        } else {
            self.mistake(number, "expected KEYWORD: VALUE, %STATEMENT or # and a comment");
        }
    }

    fn statement(&mut self, number: usize, name: &str, rest: &str) {
        match name.to_ascii_lowercase().as_str() {
            "echo" => self.echoes.push(rest.to_owned()),
            "dry-run" => self.dry_run = true,
            "commit" => self.committed = true,
            "no-protection" => self.no_protection = Some(number),
            // Without effect in gpg since version 2.1.
            "ask-passphrase" | "no-ask-passphrase" => {}
            "pubring" | "secring" => {
                let note =
                    format!("line {number}: %{name} has no effect: --out says where keys go");
                self.notes.push(note);
            }
            "transient-key" => self.notes.push(format!(
                "line {number}: %transient-key has no effect: every key gets good random numbers"
            )),
            _ => self.mistake(
                number,
                format!(
                    "unknown statement %{name}: expected %commit, %dry-run, %echo or %no-protection"
                ),
            ),
        }
    }

    fn parameter(&mut self, number: usize, name: &str, value: &str) {
        let Some(keyword) = KEYWORDS.iter().find(|known| known.eq_ignore_ascii_case(name)) else {
            return self.unknown(number, name);
        };
        if self.committed {
            let fault = "after %commit a further key begins, and a file makes one here: use a file for each";
            return self.mistake(number, fault);
        }
        if self.values.is_empty() && *keyword != KEY_TYPE {
            self.mistake(number, "Key-Type is expected first");
            // Said once.
            self.values.insert(KEY_TYPE, (number, "default".to_owned()));
        }
        match self.values.get(keyword) {
            Some((first, _)) if *keyword == KEY_TYPE => {
                let fault = format!(
                    "Key-Type was in line {first}, and a file makes one key here: use a file for each"
                );
                self.mistake(number, fault);
            }
            Some((first, _)) => {
                let fault = format!("{keyword} was in line {first} already");
                self.mistake(number, fault);
            }
            None => {
                self.values.insert(keyword, (number, value.to_owned()));
            }
        }
    }

    fn unknown(&mut self, number: usize, name: &str) {
        let is = |known: &&&str| known.eq_ignore_ascii_case(name);
        if let Some(known) = WITHOUT_EFFECT.iter().find(is) {
            self.notes.push(format!("line {number}: {known} has no effect here"));
        } else if let Some(known) = REFUSED.iter().find(is) {
            self.mistake(
                number,
                format!("{known} cannot be followed here: leave it out, or use gpg"),
            );
        } else {
            let expected = KEYWORDS.join(", ");
            self.mistake(number, format!("unknown keyword {name:?}: expected one of {expected}"));
        }
    }

    fn end(mut self, now: u64) -> Result<Unattended, Mistakes> {
        let primary = self.part(&PRIMARY).unwrap_or_else(|| {
            if !self.values.contains_key(KEY_TYPE) {
                self.mistake(self.last.max(1), "the file ends without Key-Type, and makes no key");
            }
            Part { algorithm: Algorithm::Rsa3072, usage: signs() }
        });
        let subkey = self.part(&SUBKEY);
        let usages = [Some(&primary), subkey.as_ref()];
        if self.mistakes.is_empty() && !usages.into_iter().flatten().any(|p| p.usage.for_signing())
        {
            let (line, _) =
                self.value("Key-Usage").or_else(|| self.value(KEY_TYPE)).unwrap_or_default();
            self.mistake(line, "neither key nor subkey may sign: expected \"sign\" in a usage");
        }
        let user = self.user();
        let validity = self.validity(now);
        let protection = self.protection();
        match user {
            Some(user) if self.mistakes.is_empty() => Ok(Unattended {
                plan: Plan { user, primary, subkey, created: now, validity },
                protection,
                dry_run: self.dry_run,
                echoes: self.echoes,
                notes: self.notes,
            }),
            _ => {
                self.mistakes.sort_by_key(|mistake| mistake.line);
                Err(Mistakes(self.mistakes))
            }
        }
    }

    fn part(&mut self, words: &Words) -> Option<Part> {
        let Some((line, name)) = self.value(words.kind) else {
            for keyword in [words.length, words.curve, words.usage] {
                if let Some((line, _)) = self.value(keyword)
                    && words.kind != KEY_TYPE
                {
                    self.mistake(line, format!("{keyword} without {}", words.kind));
                }
            }
            return None;
        };
        let family = Family::named(&name);
        let Some(family) = family.filter(|family| !words.primary || *family != Family::Ecdh) else {
            let others = if words.primary { "" } else { " or ECDH" };
            let fault = format!(
                "{} {name:?} is none that is made here: expected RSA, EDDSA, ECDSA{others} or default",
                words.kind
            );
            self.mistake(line, fault);
            return None;
        };
        let algorithm = match family {
            Family::Default | Family::Rsa => self.rsa(words),
            Family::Eddsa => self.curve(words, line, &[("ed25519", Algorithm::Ed25519)]),
            Family::Ecdsa => self.curve(words, line, &NIST),
            Family::Ecdh => self.curve(
                words,
                line,
                &[("cv25519", Algorithm::Ed25519), NIST[0], NIST[1], NIST[2]],
            ),
        }?;
        let usage = match self.value(words.usage) {
            None => family.default_usage(words.primary),
            Some((line, text)) => self.usage(words, line, &text, family)?,
        };
        Some(Part { algorithm, usage })
    }

    fn rsa(&mut self, words: &Words) -> Option<Algorithm> {
        if let Some((line, _)) = self.value(words.curve) {
            self.mistake(line, format!("{} is for EDDSA, ECDSA and ECDH", words.curve));
        }
        // What gpg 2.2 makes if nobody says otherwise.
        let Some((line, text)) = self.value(words.length) else { return Some(Algorithm::Rsa3072) };
        match text.as_str() {
            "2048" => Some(Algorithm::Rsa2048),
            "3072" => Some(Algorithm::Rsa3072),
            "4096" => Some(Algorithm::Rsa4096),
            _ => {
                let fault = format!("{} {text:?}: expected 2048, 3072 or 4096", words.length);
                self.mistake(line, fault);
                None
            }
        }
    }

    fn curve(
        &mut self,
        words: &Words,
        line: usize,
        known: &[(&str, Algorithm)],
    ) -> Option<Algorithm> {
        if let Some((line, _)) = self.value(words.length) {
            let fault = format!("{} is for RSA: the curve has a length of its own", words.length);
            self.mistake(line, fault);
        }
        let expected: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        let expected = expected.join(" or ");
        let Some((line, text)) = self.value(words.curve) else {
            self.mistake(line, format!("{} is missing: expected {expected}", words.curve));
            return None;
        };
        let found = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text));
        if found.is_none() {
            self.mistake(line, format!("{} {text:?}: expected {expected}", words.curve));
        }
        found.map(|(_, algorithm)| *algorithm)
    }

    fn usage(
        &mut self,
        words: &Words,
        line: usize,
        text: &str,
        family: Family,
    ) -> Option<KeyFlags> {
        let mut usage = KeyFlags::empty();
        for word in text.split([' ', ',', '\t']).filter(|word| !word.is_empty()) {
            let (flag, possible) = match word.to_ascii_lowercase().as_str() {
                "sign" => (signs(), family != Family::Ecdh),
                "cert" if words.primary => (KeyFlags::empty().set_certification(), true),
                "auth" => (KeyFlags::empty().set_authentication(), family != Family::Ecdh),
                "encrypt" | "encr" => {
                    (encrypts(), !matches!(family, Family::Eddsa | Family::Ecdsa))
                }
                _ => {
                    let fault = format!(
                        "{} {word:?}: expected some of sign, encrypt, auth and, of the primary key, cert",
                        words.usage
                    );
                    self.mistake(line, fault);
                    return None;
                }
            };
            if !possible {
                let fault = format!("{} {word:?}: such a key cannot", words.usage);
                self.mistake(line, fault);
                return None;
            }
            usage = &usage | &flag;
        }
        if usage.is_empty() {
            self.mistake(line, format!("{} is empty", words.usage));
            return None;
        }
        Some(usage)
    }

    fn user(&mut self) -> Option<UserId> {
        let [name, comment, email] = NAMES.map(|keyword| self.value(keyword).unwrap_or_default());
        let line = [name.0, email.0, comment.0].into_iter().find(|line| *line > 0);
        match UserId::new(&name.1, &comment.1, &email.1) {
            Ok(user) => Some(user),
            Err(fault) => {
                let fault = format!("Name-Real, Name-Comment, Name-Email: {fault}");
                self.mistake(line.unwrap_or(self.last.max(1)), fault);
                None
            }
        }
    }

    fn validity(&mut self, now: u64) -> Option<u64> {
        let (line, text) = self.value(EXPIRE_DATE)?;
        let text = if text.is_empty() { "0" } else { &text };
        match text.parse().and_then(|expiry: Expiry| expiry.validity(now)) {
            Ok(validity) => validity,
            Err(fault) => {
                self.mistake(line, format!("{EXPIRE_DATE} {text:?}: {fault}"));
                None
            }
        }
    }

    fn protection(&mut self) -> Option<Protection> {
        match (self.value(PASSPHRASE), self.no_protection) {
            (Some((line, _)), Some(other)) => {
                let fault =
                    format!("{PASSPHRASE} and, in line {other}, %no-protection: expected one");
                self.mistake(line, fault);
                None
            }
            (Some((line, text)), None) if text.is_empty() => {
                let fault = format!("{PASSPHRASE} is empty: %no-protection makes a key without");
                self.mistake(line, fault);
                None
            }
            (Some((_, text)), None) => Some(Protection::Passphrase(text.into())),
            (None, Some(_)) => Some(Protection::Open),
            (None, None) => None,
        }
    }

    fn value(&self, keyword: &str) -> Option<(usize, String)> {
        self.values.get(keyword).cloned()
    }

    fn mistake(&mut self, line: usize, fault: impl Into<String>) {
        self.mistakes.push(Mistake { line, fault: fault.into() });
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Family {
    Default,
    Ecdh,
    Ecdsa,
    Eddsa,
    Rsa,
}

impl Family {
    /// By gpg's name, or by the number of RFC 4880.
    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "default" => Some(Self::Default),
            "rsa" | "1" => Some(Self::Rsa),
            "ecdh" | "18" => Some(Self::Ecdh),
            "ecdsa" | "19" => Some(Self::Ecdsa),
            "eddsa" | "22" => Some(Self::Eddsa),
            _ => None,
        }
    }

    /// As gpg: whatever the algorithm can, but for its defaults.
    fn default_usage(self, primary: bool) -> KeyFlags {
        match (self, primary) {
            (Self::Default, true) => signs(),
            (Self::Default, false) | (Self::Ecdh, _) => encrypts(),
            (Self::Rsa, _) => &signs().set_authentication() | &encrypts(),
            (Self::Ecdsa | Self::Eddsa, _) => signs().set_authentication(),
        }
    }
}

/// The keywords of a primary key or of a subkey.
struct Words {
    primary: bool,
    kind: &'static str,
    length: &'static str,
    curve: &'static str,
    usage: &'static str,
}

fn signs() -> KeyFlags {
    KeyFlags::empty().set_signing()
}

fn encrypts() -> KeyFlags {
    KeyFlags::empty().set_transport_encryption().set_storage_encryption()
}

const PRIMARY: Words = Words {
    primary: true,
    kind: KEY_TYPE,
    length: "Key-Length",
    curve: "Key-Curve",
    usage: "Key-Usage",
};

const SUBKEY: Words = Words {
    primary: false,
    kind: "Subkey-Type",
    length: "Subkey-Length",
    curve: "Subkey-Curve",
    usage: "Subkey-Usage",
};

const KEY_TYPE: &str = "Key-Type";
const EXPIRE_DATE: &str = "Expire-Date";
const PASSPHRASE: &str = "Passphrase";
const NAMES: [&str; 3] = ["Name-Real", "Name-Comment", "Name-Email"];

/// The names that gpg knows for the one curve.
const NIST: [(&str, Algorithm); 3] = [
    ("nistp256", Algorithm::P256),
    ("NIST P-256", Algorithm::P256),
    ("prime256v1", Algorithm::P256),
];

const KEYWORDS: [&str; 13] = [
    KEY_TYPE,
    "Key-Length",
    "Key-Curve",
    "Key-Usage",
    "Subkey-Type",
    "Subkey-Length",
    "Subkey-Curve",
    "Subkey-Usage",
    "Name-Real",
    "Name-Comment",
    "Name-Email",
    EXPIRE_DATE,
    PASSPHRASE,
];

/// They say how others should use the key, or what gpg prints about it.
const WITHOUT_EFFECT: [&str; 3] = ["Preferences", "Keyserver", "Handle"];

/// They would make another key.
const REFUSED: [&str; 3] = ["Creation-Date", "Key-Grip", "Revoker"];

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_400_000;

    fn parse(text: &str) -> Unattended {
        Unattended::parse(text, NOW).expect("a parameter file")
    }

    fn faults(text: &str) -> Vec<(usize, String)> {
        let mistakes = Unattended::parse(text, NOW).expect_err("mistakes").0;
        mistakes.into_iter().map(|mistake| (mistake.line, mistake.fault)).collect()
    }

    #[test]
    fn reads_what_kabanero_made_its_key_with() {
        let read = parse(
            "%echo Generating a key\n%no-protection\nKey-Type: RSA\nKey-Length: 2048\n\
             Subkey-Type: RSA\nSubkey-Length: 2048\nName-Real: Security\nName-Comment: image signing\n\
             Name-Email: security@example.com\nExpire-Date: 0\n%commit\n%echo done\n",
        );
        let user = "Security (image signing) <security@example.com>";
        assert_eq!(read.plan.user.as_str(), user);
        assert_eq!(read.plan.primary.algorithm, Algorithm::Rsa2048);
        assert!(read.plan.primary.usage.for_signing());
        assert_eq!(read.plan.subkey.expect("a subkey").algorithm, Algorithm::Rsa2048);
        assert_eq!(read.plan.validity, None);
        assert!(matches!(read.protection, Some(Protection::Open)));
        assert_eq!(read.echoes, ["Generating a key", "done"]);
        assert!(!read.dry_run);
    }

    #[test]
    fn letters_case_space_and_order_are_free_as_with_gpg() {
        let read = parse(
            "# a key\n\n  key-type :  eddsa \n%Dry-Run\nNAME-EMAIL: a@b\nKey-Usage: sign,cert\n\
             key-curve: Ed25519\nsubkey-type: 18\nsubkey-curve: CV25519\nExpire-Date: 2m\n\
             passphrase:  two words \nHandle: x\n%pubring foo.pub",
        );
        assert_eq!(read.plan.primary.algorithm, Algorithm::Ed25519);
        assert_eq!(read.plan.subkey.expect("a subkey").usage, encrypts());
        assert_eq!(read.plan.validity, Some(60 * 86_400));
        assert!(read.dry_run);
        let Some(Protection::Passphrase(passphrase)) = read.protection else { unreachable!() };
        passphrase.map(|bytes| assert_eq!(&**bytes, b"two words"));
        assert_eq!(read.notes.len(), 2, "{:?}", read.notes);
    }

    #[test]
    fn every_mistake_has_its_line_and_no_passphrase() {
        let found = faults(
            "Key-Type: DSA\nKey-Length: 1024\nName-Reel: x\nnothing\n%frobnicate s3cret\n\
             Passphrase: s3cret\nPasphrase: s3cret\n%no-protection\nExpire-Date: soon\nExpire-Date: 0\n\
             Revoker: 1:x\nName-Email: nobody\nSubkey-Curve: ed25519\n%commit\nKey-Type: RSA\n",
        );
        let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 15], "{found:?}");
        assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
    }

    #[test]
    fn says_what_is_missing_or_impossible() {
        for (text, line, words) in [
            ("", 1, "without Key-Type"),
            ("Name-Real: x\nKey-Type: RSA\n", 1, "Key-Type is expected first"),
            ("Key-Type: RSA\nKey-Length: 1024\nName-Real: x", 2, "2048, 3072 or 4096"),
            ("Key-Type: RSA\nKey-Curve: ed25519\nName-Real: x", 2, "is for EDDSA"),
            ("Key-Type: EDDSA\nName-Real: x", 1, "Key-Curve is missing: expected ed25519"),
            ("Key-Type: EDDSA\nKey-Curve: ed448\nName-Real: x", 2, "expected ed25519"),
            ("Key-Type: ECDSA\nKey-Curve: nistp256\nKey-Usage: encrypt\nName-Real: x", 3, "cannot"),
            ("Key-Type: ECDH\nKey-Curve: cv25519\nName-Real: x", 1, "expected RSA"),
            ("Key-Type: RSA\nKey-Usage: cert\nName-Real: x", 2, "neither key nor subkey"),
            ("Key-Type: RSA\nKey-Usage: paint\nName-Real: x", 2, "expected some of sign"),
            ("Key-Type: RSA\nPassphrase:\nName-Real: x", 2, "is empty"),
            ("Key-Type: RSA\n", 1, "a name or an e-mail address"),
            ("Key-Type: RSA\nName-Real: x\nExpire-Date: 2001-01-01", 3, "after the key is made"),
        ] {
            let found = faults(text);
            let [(at, fault), ..] = found.as_slice() else { unreachable!() };
            assert_eq!(*at, line, "{found:?}");
            assert!(fault.contains(words), "{found:?}");
        }
    }
}
