//! Finding the key that is to sign: in a file, in a folder such as a mounted Secret, or with gpg.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use sequoia_openpgp as openpgp;
use sequoia_openpgp::cert::prelude::*;
use sequoia_openpgp::crypto::Password;
use sequoia_openpgp::packet::Key;
use sequoia_openpgp::packet::key::{SecretParts, UnspecifiedRole};
use sequoia_openpgp::parse::Parse as _;
use sequoia_openpgp::policy::StandardPolicy;

use super::{Secret, SignError, SigningKey, at, check, gpg, signer, unusable};
use crate::image::{FileFault, read_limited};

/// Which key, of several.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyName {
    /// The one with this address in a user ID. Letter case does not matter.
    Email(String),
    /// The one of which a primary key or subkey has this fingerprint or key ID: 16, 40 or 64 hexadecimal digits, in
    /// upper case.
    Fingerprint(String),
    /// There is but one.
    Only,
}

impl FromStr for KeyName {
    type Err = InvalidKeyName;

    /// Nothing is the only key; `<ADDRESS>` is an address, too; a fingerprint may have `0x` before it and spaces in it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidKeyName { name: text.to_owned() };
        if text.is_empty() {
            return Ok(Self::Only);
        }
        if text.contains('@') {
            let bare = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
            let address = bare.unwrap_or(text);
            let plain = !address
                .contains(|c: char| c.is_whitespace() || c.is_control() || "<>".contains(c));
            return if plain { Ok(Self::Email(address.to_owned())) } else { Err(invalid()) };
        }
        let digits: String = text.split(' ').collect();
        let digits = digits.strip_prefix("0x").unwrap_or(&digits).to_ascii_uppercase();
        let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match hexadecimal && [16, 40, 64].contains(&digits.len()) {
            true => Ok(Self::Fingerprint(digits)),
            false => Err(invalid()),
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Email(text) | Self::Fingerprint(text) => f.write_str(text),
            Self::Only => f.write_str("the only key"),
        }
    }
}

impl KeyName {
    fn is_of(&self, cert: &Cert) -> bool {
        match self {
            Self::Email(address) => cert.userids().any(|user| {
                user.userid()
                    .email()
                    .ok()
                    .flatten()
                    .is_some_and(|own| own.eq_ignore_ascii_case(address))
            }),
            Self::Fingerprint(digits) => cert.keys().any(|key| {
                let key = key.key();
                key.fingerprint().to_hex() == *digits || key.keyid().to_hex() == *digits
            }),
            Self::Only => true,
        }
    }
}

/// It names no key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{name:?} names no key: there is no such file, and it is neither an e-mail address nor a fingerprint (40 hexadecimal \
     digits)"
)]
pub struct InvalidKeyName {
    /// As it was given.
    pub name: String,
}

/// Keys with secrets, each once.
#[derive(Debug)]
pub struct Keyring {
    /// In words.
    place: String,
    keys: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    cert: Cert,
    /// The file; none if gpg has it.
    file: Option<PathBuf>,
}

impl Keyring {
    /// The secret keys of a file; of a folder, those of its files `*.asc`, `*.gpg`, `*.key` and `*.pgp`.
    ///
    /// # Errors
    ///
    /// Something cannot be read, or holds something else, or there is no secret key.
    pub fn open(path: &Path) -> Result<Self, KeyringError> {
        let files = match path.is_dir() {
            true => files(path)?,
            false => vec![path.to_owned()],
        };
        let mut keys: Vec<Kept> = Vec::new();
        let mut public = false;
        for file in files {
            for cert in certs(&file)? {
                if !cert.is_tsk() {
                    public = true;
                } else if keys.iter().all(|kept| kept.cert.fingerprint() != cert.fingerprint()) {
                    keys.push(Kept { cert, file: Some(file.clone()) });
                }
            }
        }
        if keys.is_empty() {
            return Err(KeyringError::Empty { path: path.to_owned(), public });
        }
        Ok(Self { place: path.display().to_string(), keys })
    }

    /// The keys with this name that gpg has the secrets of.
    ///
    /// # Errors
    ///
    /// gpg is not installed, or fails.
    pub fn of_gpg(name: &KeyName) -> Result<Self, KeyringError> {
        let failed = |fault| KeyringError::Gpg { name: name.to_string(), fault };
        let keys = gpg::keys(name).map_err(failed)?;
        let keys = keys.into_iter().map(|cert| Kept { cert, file: None }).collect();
        Ok(Self { place: "gpg".to_owned(), keys })
    }

    /// The one key with this name that may sign at the time `now`, in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    ///
    /// None may, or several.
    pub fn find(self, name: &KeyName, now: u64) -> Result<Chosen, KeyringError> {
        let now = at(now);
        let (named, others): (Vec<_>, Vec<_>) =
            self.keys.into_iter().partition(|kept| name.is_of(&kept.cert));
        let (name, place) = (name.to_string(), self.place);
        if named.is_empty() {
            let keys = others.iter().map(|kept| listed(kept, None)).collect();
            return Err(KeyringError::Unknown { name, place, keys: Listing(keys) });
        }
        let (mut able, mut unable) = (Vec::new(), Vec::new());
        for kept in named {
            match kept.signer(now) {
                Ok(signer) => able.push((kept, signer)),
                Err(fault) => unable.push(listed(&kept, Some(&fault))),
            }
        }
        match able.pop() {
            Some((Kept { cert, .. }, signer)) if able.is_empty() => Ok(Chosen { cert, signer }),
            Some(last) => {
                able.push(last);
                let keys = able.iter().map(|(kept, _)| listed(kept, None)).collect();
                Err(KeyringError::Ambiguous { name, place, keys: Listing(keys) })
            }
            None => Err(KeyringError::Unable { keys: Listing(unable) }),
        }
    }
}

impl Kept {
    /// What signs; nothing if gpg does.
    fn signer(
        &self,
        now: SystemTime,
    ) -> Result<Option<Key<SecretParts, UnspecifiedRole>>, SignError> {
        if self.file.is_some() {
            return signer(&self.cert, now).map(Some);
        }
        check(&self.cert, now)?;
        let policy = StandardPolicy::at(now);
        let mut signing = self
            .cert
            .keys()
            .with_policy(&policy, now)
            .supported()
            .alive()
            .revoked(false)
            .for_signing();
        match signing.next() {
            Some(_) => Ok(None),
            None => Err(unusable("none of its keys may sign now")),
        }
    }
}

/// The key that is to sign, not opened yet.
pub struct Chosen {
    cert: Cert,
    /// None if gpg signs.
    signer: Option<Key<SecretParts, UnspecifiedRole>>,
}

impl Chosen {
    /// Whether a passphrase is needed to open it. What gpg has, its agent opens.
    pub fn is_protected(&self) -> bool {
        self.signer.as_ref().is_some_and(|signer| !signer.has_unencrypted_secret())
    }

    /// Of the primary key, in upper-case hexadecimal.
    pub fn fingerprint(&self) -> String {
        self.cert.fingerprint().to_hex()
    }

    /// Open it.
    ///
    /// # Errors
    ///
    /// It is protected, by another passphrase. Of what gpg has, that is found when it signs.
    pub fn open(self, passphrase: Option<&Password>) -> Result<SigningKey, SignError> {
        match self.signer {
            Some(signer) => SigningKey::open(self.cert, signer, passphrase),
            None => {
                let secret = Secret::Gpg(gpg::Agent::new(&self.cert, passphrase));
                Ok(SigningKey { cert: self.cert, secret })
            }
        }
    }
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chosen").field(&self.fingerprint()).finish()
    }
}

/// There is no one key that signs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// Several have the name.
    #[error("several keys of {place} are {name}: name one by its fingerprint:{keys}")]
    Ambiguous {
        /// What was looked for.
        name: String,
        /// Where.
        place: String,
        /// Those that could sign.
        keys: Listing,
    },
    /// There is no secret key at all.
    #[error(
        "no secret key is in {}{}", .path.display(),
        if *public { ", only a public key: gpg --export-secret-keys writes secret ones" } else { "" }
    )]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// Whether there are public ones.
        public: bool,
    },
    /// A file cannot be read.
    #[error("cannot read the signing key: {0}")]
    File(FileFault),
    /// gpg cannot tell.
    #[error(
        "cannot ask gpg for the key {name}: {fault}; --keyring names a file or folder with keys"
    )]
    Gpg {
        /// What was looked for.
        name: String,
        /// What is wrong.
        fault: String,
    },
    /// A file holds something else.
    #[error("cannot read the signing key {}: it is not an OpenPGP key, armoured or binary: {fault}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// Those with the name may not sign.
    #[error("no key may sign:{keys}")]
    Unable {
        /// With the reason of each.
        keys: Listing,
    },
    /// None has the name.
    #[error("no key of {place} is {name}{}{keys}", if keys.0.is_empty() { "" } else { "; there are:" })]
    Unknown {
        /// What was looked for.
        name: String,
        /// Where.
        place: String,
        /// What there is.
        keys: Listing,
    },
}

/// Keys, one on each line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing(Vec<String>);

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

fn listed(kept: &Kept, fault: Option<&SignError>) -> String {
    let mut line = kept.cert.fingerprint().to_hex();
    for user in kept.cert.userids().take(MAX_USERS_SHOWN) {
        line += &format!(" {}", String::from_utf8_lossy(user.userid().value()));
    }
    if let Some(file) = &kept.file {
        line += &format!(" in {}", file.display());
    }
    match fault {
        Some(SignError::Unusable(fault)) => format!("{line}: {fault}"),
        Some(fault) => format!("{line}: {fault}"),
        None => line,
    }
}

/// The files of a folder that may be keys. A mounted Secret's are links.
fn files(folder: &Path) -> Result<Vec<PathBuf>, KeyringError> {
    let fault =
        |source| KeyringError::File(FileFault::Io { path: folder.display().to_string(), source });
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        let known = path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e == *known));
        // cosign's is none of OpenPGP.
        if known && !path.ends_with("cosign.key") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn certs(file: &Path) -> Result<Vec<Cert>, KeyringError> {
    let content = read_limited(file, MAX_SECRET_BYTES).map_err(KeyringError::File)?;
    let read: openpgp::Result<Vec<Cert>> =
        CertParser::from_bytes(&content).and_then(Iterator::collect);
    read.map_err(|e| KeyringError::Malformed { path: file.to_owned(), fault: format!("{e:#}") })
}

const EXTENSIONS: [&str; 4] = ["asc", "gpg", "key", "pgp"];

/// Largest file with secret keys: hundreds of times what gpg writes for one.
const MAX_SECRET_BYTES: usize = 1024 * 1024;

/// How many user IDs of a key are shown: enough to know it by.
const MAX_USERS_SHOWN: usize = 3;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sequoia_openpgp::Profile;
    use sequoia_openpgp::serialize::SerializeInto as _;

    use super::*;

    const NOW: u64 = 1_795_400_000;

    fn key(user: &str, passphrase: Option<&str>, validity: Option<u64>) -> Cert {
        let (cert, _) = CertBuilder::new()
            .set_profile(Profile::RFC4880)
            .expect("a profile")
            .add_userid(user)
            .set_creation_time(at(NOW))
            .set_validity_period(validity.map(Duration::from_secs))
            .add_signing_subkey()
            .set_password(passphrase.map(Into::into))
            .generate()
            .expect("a key");
        cert
    }

    fn write(folder: &Path, name: &str, certs: &[&Cert]) {
        let bytes: Vec<u8> =
            certs.iter().flat_map(|cert| cert.as_tsk().to_vec().expect("bytes")).collect();
        std::fs::write(folder.join(name), bytes).expect("a file");
    }

    fn find(path: &Path, name: &str, now: u64) -> Result<Chosen, KeyringError> {
        Keyring::open(path)?.find(&name.parse().expect("a name"), now)
    }

    #[test]
    fn names_are_addresses_and_fingerprints() {
        let digits = "0123456789abcdef0123456789abcdef01234567";
        for (text, name) in [
            ("", KeyName::Only),
            ("a@example.com", KeyName::Email("a@example.com".to_owned())),
            ("<a@example.com>", KeyName::Email("a@example.com".to_owned())),
            (digits, KeyName::Fingerprint(digits.to_uppercase())),
            ("0x0123456789ABCDEF", KeyName::Fingerprint("0123456789ABCDEF".to_owned())),
            (
                "0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567",
                KeyName::Fingerprint(digits.to_uppercase()),
            ),
        ] {
            assert_eq!(text.parse(), Ok(name), "{text}");
        }
        for text in ["release", "01234567", "A <a@example.com>", "a@b\n", "-a"] {
            text.parse::<KeyName>().expect_err(text);
        }
    }

    #[test]
    fn a_key_is_found_by_what_it_is_called() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, other) =
            (key("One <one@example.com>", None, None), key("<two@example.com>", None, None));
        write(folder.path(), "one.asc", &[&one]);
        write(folder.path(), "more.key", &[&other, &one]);
        // It is none of the files that may be keys.
        std::fs::write(folder.path().join("README.md"), "no key").expect("a file");
        let subkey = one.keys().subkeys().next().expect("a subkey").key().keyid().to_hex();
        for (name, cert) in [
            ("one@example.com", &one),
            ("ONE@example.com", &one),
            ("two@example.com", &other),
            (&one.fingerprint().to_hex(), &one),
            (&subkey, &one),
        ] {
            let chosen = find(folder.path(), name, NOW).expect(name);
            assert_eq!(chosen.fingerprint(), cert.fingerprint().to_hex(), "{name}");
        }
        let unknown =
            find(folder.path(), "e@example.com", NOW).expect_err("no such key").to_string();
        for cert in [&one, &other] {
            assert!(unknown.contains(&cert.fingerprint().to_hex()), "{unknown}");
        }
        let file = folder.path().join("one.asc");
        assert_eq!(find(&file, "", NOW).expect("it").fingerprint(), one.fingerprint().to_hex());
    }

    #[test]
    fn several_keys_that_could_be_meant_are_an_error_that_lists_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys =
            ["A <a@example.com>", "Also A <a@example.com>"].map(|user| key(user, None, None));
        write(folder.path(), "a.gpg", &[&keys[0]]);
        write(folder.path(), "b.gpg", &[&keys[1]]);
        for name in ["a@example.com", ""] {
            let fault = find(folder.path(), name, NOW).expect_err("two keys").to_string();
            for (cert, line) in
                keys.iter().zip([" A <a@example.com> in ", " Also A <a@example.com> in "])
            {
                let line = format!("\n  {}{line}", cert.fingerprint().to_hex());
                assert!(fault.contains(&line), "{fault}");
            }
        }
    }

    #[test]
    fn a_key_that_may_not_sign_does_not_stand_in_the_way_of_one_that_may() {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, new) =
            (key("<a@example.com>", None, Some(60)), key("<a@example.com>", None, None));
        write(folder.path(), "old.asc", &[&old]);
        let fault = find(folder.path(), "", NOW + 61).expect_err("expired").to_string();
        assert!(fault.contains("old.asc: ") && fault.contains("xpired"), "{fault}");
        write(folder.path(), "new.asc", &[&new]);
        let chosen = find(folder.path(), "a@example.com", NOW + 61).expect("the new one");
        assert_eq!(chosen.fingerprint(), new.fingerprint().to_hex());
        find(folder.path(), "a@example.com", NOW).expect_err("both are good");
    }

    #[test]
    fn what_is_no_secret_key_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let fault = |path: &Path| Keyring::open(path).expect_err("no key").to_string();
        assert!(fault(path).starts_with("no secret key is in "));
        assert!(fault(&path.join("none.asc")).contains("none.asc"));
        let public = key("<a@example.com>", None, None).strip_secret_key_material();
        std::fs::write(path.join("public.asc"), public.to_vec().expect("bytes")).expect("a file");
        assert!(fault(path).contains("only a public key"));
        std::fs::write(path.join("other.asc"), "no key").expect("a file");
        let fault = fault(path);
        assert!(fault.contains("other.asc") && fault.contains("not an OpenPGP key"), "{fault}");
    }

    #[test]
    fn a_protected_key_is_opened_by_its_passphrase() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "a.asc", &[&key("<a@example.com>", Some("s3cret"), None)]);
        let chosen = || find(folder.path(), "", NOW).expect("a key");
        assert!(chosen().is_protected());
        assert!(!format!("{:?}", chosen()).contains("Secret"));
        chosen()
            .open(Some(&"s3cret".into()))
            .expect("opened")
            .sign(b"payload", NOW)
            .expect("signed");
        chosen().open(Some(&"other".into())).expect_err("another passphrase");
        chosen().open(None).expect_err("no passphrase");
    }
}
