//! The one form of OpenPGP message that is a simple signature (containers-signature(5), RFC 9580 section
//! 10.3): `[Compressed{]One-Pass-Signature, Literal, Signature[}]` and nothing before, between or after.
//!
//! Framing is read here and not by a general parser: a general one skips what it does not know, tries again
//! after junk and stops at the end of a compressed stream, and each of these has let somebody smuggle bytes
//! past a verifier. What is inside a signature packet is sequoia's business.

use std::borrow::Cow;

use miniz_oxide::inflate::core::{DecompressorOxide, inflate_flags};
use miniz_oxide::inflate::{self, TINFLStatus};
use sequoia_openpgp::KeyHandle;
use sequoia_openpgp::packet::Signature;
use sequoia_openpgp::parse::Parse;
use sequoia_openpgp::types::SignatureType;

use super::subpackets::{self, MAX_SUBPACKETS};

/// A message of the right form. Nothing in it is verified.
#[derive(Debug)]
pub(crate) struct SignedMessage {
    /// The literal data: what was signed.
    pub(crate) content: Vec<u8>,
    /// The signature over it.
    pub(crate) signature: Signature,
}

impl SignedMessage {
    /// Read a message, in bounded time and memory.
    pub(crate) fn parse(message: &[u8]) -> Result<Self, MessageError> {
        let opened = open(message)?;
        let (one_pass, rest) = expect(&opened, Tag::OnePassSignature)?;
        let (literal, rest) = expect(rest, Tag::Literal)?;
        let (signature, rest) = expect(rest, Tag::Signature)?;
        if !rest.is_empty() {
            return Err(MessageError::Trailing);
        }
        let signature = parse_signature(&signature)?;
        OnePass::parse(&one_pass)?.announces(&signature)?;
        Ok(Self { content: literal_content(&literal)?.to_vec(), signature })
    }

    /// What is hashed: the content, with the line ends of a text where the signature is over one.
    pub(crate) fn signed_bytes(&self) -> Cow<'_, [u8]> {
        if self.signature.typ() != SignatureType::Text {
            return Cow::Borrowed(&self.content);
        }
        let mut text = Vec::with_capacity(self.content.len());
        let mut previous = 0;
        for byte in &self.content {
            if *byte == b'\n' && previous != b'\r' {
                text.push(b'\r');
            }
            text.push(*byte);
            previous = *byte;
        }
        Cow::Owned(text)
    }
}

/// A message is not of the one form that counts. The fault of whoever made it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("compressed data is damaged: {0}")]
    Compression(&'static str),
    #[error("not a binary OpenPGP packet")]
    Framing,
    #[error("the literal data packet is damaged")]
    Literal,
    #[error("the one-pass signature packet does not announce the signature: its {0} differs")]
    OnePass(&'static str),
    #[error("expected {expected}, found a packet with tag {found}")]
    Packet { expected: &'static str, found: u8 },
    #[error("the signature packet is damaged: {0}")]
    Signature(String),
    #[error("more than {MAX_CONTENT_BYTES} bytes of decompressed data")]
    TooLarge,
    #[error("more than {MAX_COMPRESSION_DEPTH} layers of compression")]
    TooDeep,
    #[error("there is something after the signed message")]
    Trailing,
    #[error("a packet is cut off")]
    Truncated,
    #[error("signatures of version {0} are not supported")]
    Version(u8),
}

/// The packets of a stream, by their framing alone: tags and bodies.
pub(crate) struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Packets<'a> {
    pub(crate) fn new(stream: &'a [u8]) -> Self {
        Self { rest: stream }
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<(u8, Cow<'a, [u8]>), MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(match split(self.rest) {
            Ok((tag, body, rest)) => {
                self.rest = rest;
                Ok((tag, body))
            }
            Err(error) => {
                self.rest = &[];
                Err(error)
            }
        })
    }
}

/// The packets that a signed message is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tag {
    Signature = 2,
    OnePassSignature = 4,
    Compressed = 8,
    Marker = 10,
    Literal = 11,
}

impl Tag {
    fn name(self) -> &'static str {
        match self {
            Self::Signature => "a signature packet",
            Self::OnePassSignature => "a one-pass signature packet",
            Self::Compressed => "a compressed data packet",
            Self::Marker => "a marker packet",
            Self::Literal => "a literal data packet",
        }
    }
}

/// The fields of a one-pass signature packet of version 3 (RFC 9580 section 5.4).
#[derive(Debug)]
struct OnePass {
    typ: u8,
    hash: u8,
    public_key: u8,
    key_id: [u8; 8],
    last: bool,
}

impl OnePass {
    fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let [version, typ, hash, public_key, id @ .., last] = body else {
            return Err(MessageError::Truncated);
        };
        if *version != 3 {
            return Err(MessageError::Version(*version));
        }
        let key_id = id.try_into().map_err(|_| MessageError::OnePass("length"))?;
        Ok(Self { typ: *typ, hash: *hash, public_key: *public_key, key_id, last: *last == 1 })
    }

    /// Whether the signature is the one that the packet announces, and the only one.
    fn announces(&self, signature: &Signature) -> Result<(), MessageError> {
        if !self.last {
            return Err(MessageError::OnePass("number of signatures"));
        }
        if self.typ != u8::from(signature.typ()) {
            return Err(MessageError::OnePass("type"));
        }
        if self.hash != u8::from(signature.hash_algo()) {
            return Err(MessageError::OnePass("hash algorithm"));
        }
        if self.public_key != u8::from(signature.pk_algo()) {
            return Err(MessageError::OnePass("public key algorithm"));
        }
        let announced = |issuer: &KeyHandle| key_id(issuer) == Some(self.key_id);
        if !signature.get_issuers().iter().any(announced) {
            return Err(MessageError::OnePass("issuer"));
        }
        Ok(())
    }
}

/// The 64-bit identifier of a key of version 4, where a handle has it.
pub(crate) fn key_id(handle: &KeyHandle) -> Option<[u8; 8]> {
    match handle {
        KeyHandle::KeyID(id) => id.as_bytes().try_into().ok(),
        KeyHandle::Fingerprint(fingerprint) => {
            let bytes = fingerprint.as_bytes();
            // Version 4: the last eight of twenty bytes. Other versions are not supported.
            bytes.get(12..20).filter(|_| bytes.len() == 20)?.try_into().ok()
        }
    }
}

/// The stream of packets inside any layers of compression.
fn open(message: &[u8]) -> Result<Cow<'_, [u8]>, MessageError> {
    let mut opened = Cow::Borrowed(message);
    for depth in 0.. {
        // Marker packets are ignored (RFC 9580 section 5.8).
        let mut start = 0;
        let inner = loop {
            let stream = &opened[start..];
            let (tag, body, rest) = split(stream)?;
            if tag == Tag::Marker as u8 && *body == *b"PGP" {
                start += stream.len() - rest.len();
                continue;
            }
            if tag != Tag::Compressed as u8 {
                break None;
            }
            if !rest.is_empty() {
                return Err(MessageError::Trailing);
            }
            if depth == MAX_COMPRESSION_DEPTH {
                return Err(MessageError::TooDeep);
            }
            break Some(decompress(&body)?);
        };
        match inner {
            Some(inner) => opened = Cow::Owned(inner),
            None => {
                return Ok(match opened {
                    Cow::Borrowed(stream) => Cow::Borrowed(&stream[start..]),
                    Cow::Owned(mut stream) => Cow::Owned(stream.split_off(start)),
                });
            }
        }
    }
    Err(MessageError::TooDeep)
}

/// The body of the first packet, which has to be of this kind, and what follows it.
fn expect(stream: &[u8], tag: Tag) -> Result<(Cow<'_, [u8]>, &[u8]), MessageError> {
    if stream.is_empty() {
        return Err(MessageError::Truncated);
    }
    let (found, body, rest) = split(stream)?;
    if found != tag as u8 {
        return Err(MessageError::Packet { expected: tag.name(), found });
    }
    Ok((body, rest))
}

/// Tag and body of a packet, and what follows it.
type Split<'a> = (u8, Cow<'a, [u8]>, &'a [u8]);

/// Split the first packet off (RFC 9580 section 4.2).
fn split(stream: &[u8]) -> Result<Split<'_>, MessageError> {
    let (header, rest) = stream.split_first().ok_or(MessageError::Truncated)?;
    match header {
        0x80..=0xbf => {
            let tag = header >> 2 & 0xf;
            let (length, rest) = match header & 3 {
                0 => number(rest, 1)?,
                1 => number(rest, 2)?,
                2 => number(rest, 4)?,
                // Indeterminate: all there is. Only data packets may have it.
                _ if holds_data(tag) => (rest.len(), rest),
                _ => return Err(MessageError::Framing),
            };
            let (body, rest) = rest.split_at_checked(length).ok_or(MessageError::Truncated)?;
            Ok((tag, Cow::Borrowed(body), rest))
        }
        0xc0.. => {
            let tag = header & 0x3f;
            let mut chunks: Vec<u8> = Vec::new();
            let mut partial = false;
            let mut rest = rest;
            loop {
                let (first, after) = rest.split_first().ok_or(MessageError::Truncated)?;
                let (length, after, is_last) = match first {
                    0..192 => (usize::from(*first), after, true),
                    192..224 => {
                        let (second, after) = number(after, 1)?;
                        ((usize::from(*first) - 192) * 256 + second + 192, after, true)
                    }
                    224..255 if holds_data(tag) => (1 << (first & 0x1f), after, false),
                    224..255 => return Err(MessageError::Framing),
                    255 => {
                        let (length, after) = number(after, 4)?;
                        (length, after, true)
                    }
                };
                let (chunk, after) =
                    after.split_at_checked(length).ok_or(MessageError::Truncated)?;
                rest = after;
                match (is_last, partial) {
                    (true, false) => return Ok((tag, Cow::Borrowed(chunk), rest)),
                    (true, true) => {
                        chunks.extend_from_slice(chunk);
                        return Ok((tag, Cow::Owned(chunks), rest));
                    }
                    (false, _) => {
                        chunks.extend_from_slice(chunk);
                        partial = true;
                    }
                }
            }
        }
        _ => Err(MessageError::Framing),
    }
}

/// Whether packets of this kind may come in pieces of unknown total length.
fn holds_data(tag: u8) -> bool {
    tag == Tag::Compressed as u8 || tag == Tag::Literal as u8
}

/// A big-endian number of `size` bytes, at most four.
fn number(stream: &[u8], size: usize) -> Result<(usize, &[u8]), MessageError> {
    let (bytes, rest) = stream.split_at_checked(size).ok_or(MessageError::Truncated)?;
    let number = bytes.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte));
    Ok((usize::try_from(number).map_err(|_| MessageError::Truncated)?, rest))
}

/// What the body of a compressed data packet expands to; all of the body has to be used.
fn decompress(body: &[u8]) -> Result<Vec<u8>, MessageError> {
    let (algorithm, data) = body.split_first().ok_or(MessageError::Truncated)?;
    match algorithm {
        0 => Ok(data.to_vec()),
        1 => inflate(data, false),
        2 => inflate(data, true),
        3 => bunzip2(data),
        _ => Err(MessageError::Compression("unknown algorithm")),
    }
}

/// The stream is expanded into one buffer that grows as it must: no window beside it, which would be more
/// memory than all the rest of an evaluation touches.
fn inflate(data: &[u8], zlib: bool) -> Result<Vec<u8>, MessageError> {
    let mut flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    if zlib {
        flags |= inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER;
    }
    let mut decoder = DecompressorOxide::new();
    let mut input = data;
    let mut expanded = vec![0; CHUNK_BYTES];
    let mut length = 0;
    loop {
        let (status, used, made) =
            inflate::core::decompress(&mut decoder, input, &mut expanded, length, flags);
        input = input.get(used..).ok_or(MessageError::Truncated)?;
        length += made;
        match status {
            TINFLStatus::Done if input.is_empty() => {
                expanded.truncate(length);
                return Ok(expanded);
            }
            TINFLStatus::Done => return Err(MessageError::Trailing),
            TINFLStatus::HasMoreOutput if length >= MAX_CONTENT_BYTES => {
                return Err(MessageError::TooLarge);
            }
            TINFLStatus::HasMoreOutput => {
                expanded.resize((expanded.len() * 2).min(MAX_CONTENT_BYTES), 0);
            }
            TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput => {
                return Err(MessageError::Truncated);
            }
            _ => return Err(MessageError::Compression("not a deflate stream")),
        }
    }
}

fn bunzip2(data: &[u8]) -> Result<Vec<u8>, MessageError> {
    let position = |total: u64| usize::try_from(total).map_err(|_| MessageError::TooLarge);
    let mut decoder = bzip2::Decompress::new(true);
    let mut expanded = Vec::new();
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let used = position(decoder.total_in())?;
        let input = data.get(used..).ok_or(MessageError::Truncated)?;
        let status = decoder
            .decompress(input, &mut chunk)
            .map_err(|_| MessageError::Compression("not a bzip2 stream"))?;
        let (now_used, length) = (position(decoder.total_in())?, position(decoder.total_out())?);
        if length > MAX_CONTENT_BYTES {
            return Err(MessageError::TooLarge);
        }
        let made = length - expanded.len();
        expanded.extend_from_slice(chunk.get(..made).ok_or(MessageError::Truncated)?);
        if status == bzip2::Status::StreamEnd {
            return if now_used == data.len() { Ok(expanded) } else { Err(MessageError::Trailing) };
        }
        if made == 0 && now_used == used {
            return Err(MessageError::Truncated);
        }
    }
}

fn parse_signature(body: &[u8]) -> Result<Signature, MessageError> {
    match subpackets::count(body) {
        Some(0..=MAX_SUBPACKETS) => {}
        Some(_) => {
            return Err(MessageError::Signature(format!("more than {MAX_SUBPACKETS} subpackets")));
        }
        None => return Err(MessageError::Signature("its subpackets are cut off".to_owned())),
    }
    match body.first() {
        Some(3 | 4) => {
            Signature::from_bytes(body).map_err(|e| MessageError::Signature(e.to_string()))
        }
        Some(version) => Err(MessageError::Version(*version)),
        None => Err(MessageError::Truncated),
    }
}

/// The data of a literal packet; format, file name and date are not signed and mean nothing here.
fn literal_content(body: &[u8]) -> Result<&[u8], MessageError> {
    let [_format, name_length, rest @ ..] = body else { return Err(MessageError::Literal) };
    rest.get(usize::from(*name_length) + 4..).ok_or(MessageError::Literal)
}

/// Most bytes that a compressed layer may expand to: as many as a signature may have. A payload has a few
/// hundred.
const MAX_CONTENT_BYTES: usize = crate::image::MAX_SIGNATURE_BYTES;

/// gpg compresses once; a second layer is what a signature has that was compressed by hand.
const MAX_COMPRESSION_DEPTH: usize = 2;

/// Expanded at a time: a usual payload in one go.
const CHUNK_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_length() {
        for (stream, length) in [
            (&[0x90, 2, 1, 2][..], 2),
            (&[0x91, 0, 2, 1, 2], 2),
            (&[0x92, 0, 0, 0, 2, 1, 2], 2),
            (&[0xa3, 1, 2], 2),
            (&[0xc4, 2, 1, 2], 2),
            (&[0xc4, 255, 0, 0, 0, 2, 1, 2], 2),
            (&[0xcb, 224, 1, 2, 1, 2], 3),
        ] {
            let (_, body, rest) = split(stream).expect("a packet");
            assert_eq!((body.len(), rest), (length, &[][..]), "{stream:x?}");
        }
    }

    #[test]
    fn lying_lengths_are_cut_off_packets() {
        for stream in [
            &[0x90, 3, 1, 2][..],
            &[0x92, 255, 255, 255, 255, 1],
            &[0xc4, 255, 255, 255, 255, 255, 1],
            &[0xcb, 254, 1],
            &[0xcb, 224, 1],
            &[0xc4, 192],
            &[0xc4],
            &[],
        ] {
            assert_eq!(split(stream).expect_err("cut off"), MessageError::Truncated, "{stream:x?}");
        }
    }

    #[test]
    fn only_data_may_be_of_unknown_length() {
        assert_eq!(split(&[0x93, 1]).expect_err("indeterminate"), MessageError::Framing);
        assert_eq!(split(&[0xc4, 224, 1, 0]).expect_err("partial"), MessageError::Framing);
    }

    #[test]
    fn a_compressed_layer_is_used_up_to_its_last_byte() {
        // A stored deflate block of the one byte `x`.
        let stored = [1, 1, 0, 0xfe, 0xff, b'x'];
        assert_eq!(inflate(&stored, false), Ok(b"x".to_vec()));
        assert_eq!(inflate(&[&stored[..], &[0]].concat(), false), Err(MessageError::Trailing));
        assert_eq!(inflate(&stored[..5], false), Err(MessageError::Truncated));
    }
}
