//! OpenPGP packets put together byte by byte, so that each can be as wrong as a test wants, and signatures
//! over whatever it says, by keys made here.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use sequoia_openpgp::Cert;
use sequoia_openpgp::cert::CertBuilder;
use sequoia_openpgp::crypto::{KeyPair, Signer as _};
use sequoia_openpgp::serialize::MarshalInto as _;
use sequoia_openpgp::serialize::stream::{Compressor, Message};
use sequoia_openpgp::types::{
    CompressionAlgorithm, CompressionLevel, HashAlgorithm, KeyFlags, PublicKeyAlgorithm,
};
use sha2::{Digest as _, Sha256};

/// A key that signs, made at [`KEY_MADE`].
pub(super) struct Signer {
    certificate: Cert,
    key: KeyPair,
}

impl Signer {
    pub(super) fn generate(name: &str) -> Self {
        let flags = KeyFlags::empty().set_certification().set_signing();
        let (certificate, _) = CertBuilder::new()
            .set_creation_time(SystemTime::UNIX_EPOCH + Duration::from_secs(KEY_MADE.into()))
            .set_primary_key_flags(flags)
            .add_userid(name)
            .generate()
            .expect("a key");
        let key = certificate.primary_key().key().clone().parts_into_secret().expect("secret");
        Self { certificate, key: key.into_keypair().expect("a key pair") }
    }

    /// As `gpg --export` writes it.
    pub(super) fn public(&self) -> Vec<u8> {
        self.certificate.to_vec().expect("a key can be serialised")
    }

    /// As `gpg --export --armor` writes it.
    pub(super) fn armored(&self) -> Vec<u8> {
        self.certificate.armored().to_vec().expect("a key can be serialised")
    }

    /// Upper-case hexadecimal.
    pub(super) fn fingerprint(&self) -> String {
        self.certificate.fingerprint().to_hex()
    }

    /// Subpacket 33.
    pub(super) fn issuer_fingerprint(&self) -> Vec<u8> {
        let mut body = vec![4];
        body.extend(self.certificate.fingerprint().as_bytes());
        subpacket(33, &body)
    }

    /// Subpacket 16.
    pub(super) fn issuer(&self) -> Vec<u8> {
        subpacket(16, self.certificate.keyid().as_bytes())
    }

    /// A one-pass signed message, as gpg would make it without compression.
    pub(super) fn message(&self, payload: &str) -> Vec<u8> {
        let signature = self.signature(&self.honest(), payload.as_bytes());
        [self.one_pass(BINARY, true), literal(payload), packet(SIGNATURE, &signature)].concat()
    }

    /// A message whose signature is of another shape.
    pub(super) fn message_with(&self, shape: &Shape, payload: &str) -> Vec<u8> {
        let signature = self.signature(shape, payload.as_bytes());
        [self.one_pass(shape.kind, true), literal(payload), packet(SIGNATURE, &signature)].concat()
    }

    /// A signature packet over this key, or a user ID of it, that says that it is by the key and is not: whoever
    /// wants to know has to verify it. Made at [`SIGNED`] and `number` seconds.
    pub(super) fn forged_self_signature(
        &self,
        kind: u8,
        number: u32,
        user_id: Option<&str>,
    ) -> Vec<u8> {
        let mut fields = vec![4, kind, self.algorithm(), SHA256];
        let area = [self.issuer_fingerprint(), created(SIGNED + number)].concat();
        fields.extend(u16::try_from(area.len()).expect("a short area").to_be_bytes());
        fields.extend(area);
        let public = self.public();
        let body = &public[2..2 + usize::from(public[1])];
        let mut hash = Sha256::new()
            .chain_update([0x99])
            .chain_update(u16::try_from(body.len()).expect("short").to_be_bytes())
            .chain_update(body);
        if let Some(name) = user_id {
            hash.update([0xb4]);
            hash.update(u32::try_from(name.len()).expect("short").to_be_bytes());
            hash.update(name);
        }
        let length = u32::try_from(fields.len()).expect("short").to_be_bytes();
        let digest =
            hash.chain_update(&fields).chain_update([4, 0xff]).chain_update(length).finalize();
        fields.extend([0, 0]);
        fields.extend(&digest[..2]);
        for _ in 0..2 {
            // 253 bits, the last byte small: little-endian, a scalar has to be below the group's order.
            fields.extend([0, 253, 0x10]);
            fields.extend(&digest[1..31]);
            fields.push(1);
        }
        packet(SIGNATURE, &fields)
    }

    pub(super) fn one_pass(&self, kind: u8, last: bool) -> Vec<u8> {
        let mut body = vec![3, kind, SHA256, self.algorithm()];
        body.extend(self.certificate.keyid().as_bytes());
        body.push(last.into());
        packet(ONE_PASS, &body)
    }

    /// The shape of a signature that gpg would make at [`SIGNED`].
    pub(super) fn honest(&self) -> Shape {
        Shape {
            kind: BINARY,
            hashed: [self.issuer_fingerprint(), created(SIGNED)].concat(),
            unhashed: self.issuer(),
        }
    }

    /// The body of a signature packet of version 4 that is cryptographically right, whatever it says.
    pub(super) fn signature(&self, shape: &Shape, data: &[u8]) -> Vec<u8> {
        let area = |area: &[u8]| u16::try_from(area.len()).expect("a short area").to_be_bytes();
        let mut fields = vec![4, shape.kind, self.algorithm(), SHA256];
        fields.extend(area(&shape.hashed));
        fields.extend(&shape.hashed);
        let length = u32::try_from(fields.len()).expect("short").to_be_bytes();
        let digest = Sha256::new()
            .chain_update(data)
            .chain_update(&fields)
            .chain_update([4, 0xff])
            .chain_update(length)
            .finalize();
        let numbers = self.key.clone().sign(HashAlgorithm::SHA256, &digest).expect("a signature");
        fields.extend(area(&shape.unhashed));
        fields.extend(&shape.unhashed);
        fields.extend(&digest[..2]);
        fields.extend(numbers.to_vec().expect("numbers can be serialised"));
        fields
    }

    fn algorithm(&self) -> u8 {
        self.key.public().pk_algo().into()
    }
}

/// What a signature says about itself.
#[derive(Clone)]
pub(super) struct Shape {
    /// Its type.
    pub(super) kind: u8,
    /// Signed subpackets.
    pub(super) hashed: Vec<u8>,
    /// Subpackets that anyone could have added.
    pub(super) unhashed: Vec<u8>,
}

/// Subpacket 2.
pub(super) fn created(seconds: u32) -> Vec<u8> {
    subpacket(2, &seconds.to_be_bytes())
}

pub(super) fn subpacket(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = length(body.len() + 1);
    bytes.push(kind);
    bytes.extend(body);
    bytes
}

pub(super) fn literal(payload: &str) -> Vec<u8> {
    packet(LITERAL, &literal_body(payload.as_bytes()))
}

/// Binary, without a file name or date.
pub(super) fn literal_body(content: &[u8]) -> Vec<u8> {
    [&b"b\0\0\0\0\0"[..], content].concat()
}

/// A packet of the new format.
pub(super) fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc0 | tag];
    bytes.extend(length(body.len()));
    bytes.extend(body);
    bytes
}

/// A packet whose body comes in chunks of one size, a power of two, and a rest.
pub(super) fn in_chunks(tag: u8, body: &[u8], chunk: usize) -> Vec<u8> {
    assert!(chunk.is_power_of_two());
    let mut bytes = vec![0xc0 | tag];
    let chunks = body.chunks_exact(chunk);
    let rest = chunks.remainder();
    for part in chunks {
        bytes.push(0xe0 | u8::try_from(chunk.trailing_zeros()).expect("below 32"));
        bytes.extend(part);
    }
    bytes.extend(length(rest.len()));
    bytes.extend(rest);
    bytes
}

/// The length of a packet or subpacket in its shortest form.
fn length(length: usize) -> Vec<u8> {
    match length {
        0..192 => vec![length as u8],
        192..8384 => vec![192 + ((length - 192) >> 8) as u8, (length - 192) as u8],
        _ => [&[0xff][..], &u32::try_from(length).expect("32 bits").to_be_bytes()].concat(),
    }
}

/// A compressed packet.
pub(super) fn compressed(algorithm: CompressionAlgorithm, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut compressor = Compressor::new(Message::new(&mut bytes))
        .algo(algorithm)
        .level(CompressionLevel::fastest())
        .build()
        .expect("a compressor");
    compressor.write_all(content).expect("compressed");
    compressor.finalize().expect("compressed");
    bytes
}

/// A compressed packet that holds another, and so on, down to `content`; nothing is really compressed.
pub(super) fn nested(depth: usize, content: &[u8]) -> Vec<u8> {
    // Built from its end, since each header counts all that follows.
    let mut reversed: Vec<u8> = content.iter().rev().copied().collect();
    for _ in 0..depth {
        reversed.push(0);
        let mut header = length(reversed.len());
        header.reverse();
        reversed.extend(header);
        reversed.push(0xc0 | COMPRESSED);
    }
    reversed.reverse();
    reversed
}

/// A public key packet of version 4 that differs for each `number`; nobody has the secret key.
pub(super) fn stray_key(number: u32) -> Vec<u8> {
    let point: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
    let mut body = vec![4];
    body.extend(KEY_MADE.to_be_bytes());
    body.push(PublicKeyAlgorithm::EdDSA.into());
    // The curve's identifier, then the point as a number of 263 bits with its prefix.
    body.extend([9, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01]);
    body.extend([1, 7, 0x40]);
    body.extend(point);
    packet(PUBLIC_KEY, &body)
}

/// A signature packet over nothing, by nobody, that differs for each `number`.
pub(super) fn stray_signature(kind: u8, number: u32, hashed: &[u8]) -> Vec<u8> {
    let noise: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
    let mut body = vec![4, kind, PublicKeyAlgorithm::EdDSA.into(), SHA256];
    let mut area = created(SIGNED);
    area.extend(hashed);
    body.extend(u16::try_from(area.len()).expect("a short area").to_be_bytes());
    body.extend(area);
    let unhashed = subpacket(16, &noise[..8]);
    body.extend(u16::try_from(unhashed.len()).expect("a short area").to_be_bytes());
    body.extend(unhashed);
    body.extend(&noise[..2]);
    for _ in 0..2 {
        body.extend([1, 0, 0x80]);
        body.extend(&noise[1..]);
    }
    packet(SIGNATURE, &body)
}

/// Type of a signature over bytes.
pub(super) const BINARY: u8 = 0x00;
/// Type of a signature over text.
pub(super) const TEXT: u8 = 0x01;

pub(super) const SIGNATURE: u8 = 2;
pub(super) const ONE_PASS: u8 = 4;
pub(super) const PUBLIC_KEY: u8 = 6;
pub(super) const COMPRESSED: u8 = 8;
pub(super) const MARKER: u8 = 10;
pub(super) const LITERAL: u8 = 11;
pub(super) const USER_ID: u8 = 13;
pub(super) const PADDING: u8 = 21;

/// When keys are made: 2026-01-01T00:00:00Z.
pub(super) const KEY_MADE: u32 = 1_767_225_600;
/// When messages are signed: 2026-06-01T00:00:00Z.
pub(super) const SIGNED: u32 = 1_780_272_000;

const SHA256: u8 = 8;
