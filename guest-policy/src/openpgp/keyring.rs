//! Trusted keys: what a `keyPath`, one of `keyPaths` or `keyData` holds.

use std::collections::BTreeMap;
use std::io::Read;

use sequoia_openpgp::armor::{Kind, Reader, ReaderMode};
use sequoia_openpgp::cert::prelude::*;
use sequoia_openpgp::parse::Parse;

use super::material::Material;
use super::message::{Packets, key_id};
use super::ready::Ready;
use super::{profile, subpackets};

/// Public keys, found by the identifiers that signatures name.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    certs: Vec<Cert>,
    /// Of each certificate, its primary key first: the keys that can sign.
    materials: Vec<Vec<Material>>,
    /// By key identifier, which can collide.
    index: BTreeMap<[u8; 8], Vec<Place>>,
}

/// Where a key is.
#[derive(Debug)]
struct Place {
    cert: usize,
    /// Which of the certificate's keys.
    key: usize,
    material: Material,
    ready: Option<Ready>,
}

/// A key that a signature may be by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(super) cert: &'a Cert,
    /// Which of the certificate's keys.
    pub(super) key: usize,
    /// The key made ready, if it is of a kind for which that helps.
    pub(super) ready: Option<&'a Ready>,
    /// The certificate's primary key.
    pub(super) primary: Material,
    /// This key.
    pub(super) signer: Material,
}

impl Keyring {
    /// Read public keys: binary or any number of ASCII-armoured blocks. Nothing at all is a key ring without
    /// keys.
    pub(crate) fn parse(content: &[u8]) -> Result<Self, KeyringError> {
        let mut keyring = Self::default();
        if content.len() > MAX_KEYRING_BYTES {
            return Err(KeyringError::TooLarge);
        }
        let mut room = Room { packets: MAX_KEYRING_PACKETS, subpackets: MAX_KEYRING_SUBPACKETS };
        match content.first() {
            None => {}
            Some(0x80..) => keyring.add(content, &mut room)?,
            Some(_) => {
                let text = std::str::from_utf8(content).map_err(|_| KeyringError::NoKey)?;
                let blocks = armoured_blocks(text)?;
                if blocks.is_empty() {
                    return Err(KeyringError::NoKey);
                }
                for block in blocks {
                    keyring.add(&dearmour(block)?, &mut room)?;
                }
            }
        }
        keyring.warm();
        Ok(keyring)
    }

    /// Whether there are no keys.
    pub(crate) fn is_empty(&self) -> bool {
        self.certs.is_empty()
    }

    /// Fingerprints of the primary keys, upper-case hexadecimal.
    pub(crate) fn fingerprints(&self) -> impl Iterator<Item = String> {
        self.certs.iter().map(|cert| format!("{:X}", cert.fingerprint()))
    }

    /// The certificates.
    pub(crate) fn certs(&self) -> &[Cert] {
        &self.certs
    }

    /// Of each certificate, its primary key first: the keys that can sign.
    pub(crate) fn materials(&self) -> impl Iterator<Item = &[Material]> {
        self.materials.iter().map(Vec::as_slice)
    }

    /// The identifiers of all keys.
    pub(crate) fn ids(&self) -> impl Iterator<Item = [u8; 8]> {
        self.index.keys().copied()
    }

    /// The keys with this identifier.
    pub(crate) fn candidates(&self, id: [u8; 8]) -> impl Iterator<Item = Candidate<'_>> {
        let places = self.index.get(&id).into_iter().flatten();
        places.filter_map(|Place { cert, key, material, ready }| {
            Some(Candidate {
                cert: self.certs.get(*cert)?,
                key: *key,
                ready: ready.as_ref(),
                primary: *self.materials.get(*cert)?.first()?,
                signer: *material,
            })
        })
    }

    fn add(&mut self, stream: &[u8], room: &mut Room) -> Result<(), KeyringError> {
        // The parser skips what it does not understand; a key file with junk in it is a mistake.
        for packet in Packets::new(stream) {
            let (tag, body) =
                packet.map_err(|_| KeyringError::Damaged("a packet is cut off".to_owned()))?;
            if SECRET_KEY_TAGS.contains(&tag) {
                return Err(KeyringError::Secret);
            }
            if !KEY_TAGS.contains(&tag) {
                return Err(KeyringError::Stray(tag));
            }
            room.packets = room.packets.checked_sub(1).ok_or(KeyringError::TooMany)?;
            if tag == SIGNATURE_TAG {
                let subpackets = subpackets::count(&body).ok_or_else(|| {
                    KeyringError::Damaged("the subpackets of a signature are cut off".to_owned())
                })?;
                room.subpackets = room
                    .subpackets
                    .checked_sub(subpackets)
                    .ok_or(KeyringError::TooManySubpackets)?;
            }
        }
        let parser =
            CertParser::from_bytes(stream).map_err(|e| KeyringError::Damaged(e.to_string()))?;
        for cert in parser {
            let cert = cert.map_err(|e| KeyringError::Damaged(e.to_string()))?;
            let mut materials = Vec::new();
            for (place, key) in cert.keys().enumerate() {
                let material = Material::of(key.key().mpis());
                if place == 0 || key.key().pk_algo().for_signing() {
                    materials.push(material);
                }
                if let Some(id) = key_id(&key.key().fingerprint().into()) {
                    let ready = Ready::new(key.key().mpis());
                    let place = Place { cert: self.certs.len(), key: place, material, ready };
                    self.index.entry(id).or_default().push(place);
                }
            }
            self.certs.push(cert);
            self.materials.push(materials);
        }
        Ok(())
    }

    /// Verify the keys' own signatures now, which sequoia remembers, so that evaluations need not: they run
    /// on a snapshot of the loaded keys.
    fn warm(&self) {
        let latest = profile::latest_time();
        for cert in &self.certs {
            for key in cert.keys() {
                let _ = key.with_policy(profile::policy(), latest);
                key.self_revocations().for_each(drop);
            }
        }
    }
}

/// Key material that cannot be used. The operator's fault, who put it into the policy.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum KeyringError {
    #[error("damaged key material: {0}")]
    Damaged(String),
    #[error("neither a binary nor an ASCII-armoured OpenPGP public key")]
    NoKey,
    #[error("it holds a secret key, which has no place in a policy and is read by nobody here")]
    Secret,
    #[error("packet with tag {0}, which has no place in a public key")]
    Stray(u8),
    #[error("more than {MAX_KEYRING_BYTES} bytes")]
    TooLarge,
    #[error("more than {MAX_KEYRING_PACKETS} packets")]
    TooMany,
    #[error("more than {MAX_KEYRING_SUBPACKETS} subpackets of signatures")]
    TooManySubpackets,
}

/// What one file may still have.
struct Room {
    packets: usize,
    subpackets: usize,
}

/// The armoured blocks of a text, each from its header to its footer.
fn armoured_blocks(text: &str) -> Result<Vec<&str>, KeyringError> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(ARMOUR_HEADER) {
        let block = &rest[start..];
        let footer = block
            .find(ARMOUR_FOOTER)
            .ok_or_else(|| KeyringError::Damaged("an armoured block has no end".to_owned()))?;
        let end = block[footer..].find('\n').map_or(block.len(), |line| footer + line + 1);
        blocks.push(&block[..end]);
        rest = &block[end..];
    }
    Ok(blocks)
}

fn dearmour(block: &str) -> Result<Vec<u8>, KeyringError> {
    let damaged = |e: &dyn std::fmt::Display| KeyringError::Damaged(e.to_string());
    let mut reader = Reader::from_bytes(block.as_bytes(), ReaderMode::Tolerant(None));
    let mut stream = Vec::new();
    reader.read_to_end(&mut stream).map_err(|e| damaged(&e))?;
    match reader.kind() {
        Some(Kind::SecretKey) => Err(KeyringError::Secret),
        Some(Kind::PublicKey) if !stream.is_empty() => Ok(stream),
        _ => Err(KeyringError::NoKey),
    }
}

const ARMOUR_HEADER: &str = "-----BEGIN PGP ";
const ARMOUR_FOOTER: &str = "-----END PGP ";

/// Signatures, keys and subkeys, markers, trust, user names, attributes, padding.
const KEY_TAGS: [u8; 8] = [SIGNATURE_TAG, 6, 10, 12, 13, 14, 17, 21];

/// Secret keys and subkeys.
const SECRET_KEY_TAGS: [u8; 2] = [5, 7];

const SIGNATURE_TAG: u8 = 2;

/// Largest key material of one file. A key has a few thousand bytes; a key that an attacker flooded with
/// certifications (CVE-2019-13050) has tens of millions.
pub(crate) const MAX_KEYRING_BYTES: usize = 4 * 1024 * 1024;

/// Most packets of one file: a thousand keys of an organisation with twenty packets each.
const MAX_KEYRING_PACKETS: usize = 20_000;

/// Most subpackets of all signatures of one file: ten for each packet. In memory each takes about 200
/// bytes, so that they take up to a third of what the sandbox has.
const MAX_KEYRING_SUBPACKETS: usize = 10 * MAX_KEYRING_PACKETS;
