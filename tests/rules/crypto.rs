//! Capability `crypto`, asked by a rule: signatures of other makers hold, and nothing else does.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::engine::{Rule, RuleLimits};
use countersign::rule::Documents;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::Deserialize;

use super::module::{Text, engine, question, rule};
use crate::support::root;

#[test]
fn signatures_of_openssl_hold() {
    let (rule, message, signatures) = openssl();
    let mut seen = Vec::new();
    for one in &signatures {
        assert_eq!(
            verify(&rule, &one.scheme, &one.key, &message, &one.signature),
            one.holds,
            "{}",
            one.what
        );
        seen.extend(one.holds.then_some(one.scheme.as_str()));
    }
    for scheme in SCHEMES {
        assert!(seen.contains(&scheme), "no signature of {scheme}");
    }
}

/// RFC 6979, sections A.2.5 and A.2.6, and RFC 8032, section 7.1, test 3.
#[test]
fn signatures_of_the_specifications_hold() {
    let rule = verifier();
    for (scheme, key, message, signature) in [
        (
            "ecdsa-p256-sha256",
            "3059301306072a8648ce3d020106082a8648ce3d03010703420004\
            60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
            7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
            &b"sample"[..],
            "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
            022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        ),
        (
            "ecdsa-p384-sha384",
            "3076301006072a8648ce3d020106052b8104002203620004\
            ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064a254515480bc13\
            8015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1288b231c3ae0d4fe7344fd2533264720",
            b"sample",
            "306602310094edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c\
            81a648152e44acf96e36dd1e80fabe46\
            02310099ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329\
            c145786e679e7b82c71a38628ac8",
        ),
        (
            "ed25519",
            "302a300506032b6570032100\
            fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            b"\xaf\x82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
            18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ] {
        let (key, signature) = (unhex(key), unhex(signature));
        assert!(verify(&rule, scheme, &key, message, &signature), "{scheme}");
        assert!(!verify(&rule, scheme, &key, b"another", &signature), "{scheme}");
    }
}

/// FIPS 180-4: the digests of `abc`, beginning with these bytes.
#[test]
fn digests_are_those_of_the_specification() {
    let rule = rule(&engine(), &hasher().build()).expect("a rule");
    for (hash, bytes, begin) in [
        (0, 32, [0xba, 0x78, 0x16, 0xbf]),
        (1, 48, [0xcb, 0x00, 0x75, 0x3f]),
        (2, 64, [0xdd, 0xaf, 0x35, 0xa1]),
    ] {
        let mut question = question();
        question.now = hash;
        let run = rule
            .evaluate(&question, b"", &Documents::new(), &BTreeMap::new(), &RuleLimits::default())
            .expect("an answer");
        let valid_until = run.answer.valid_until.expect("a digest");
        assert_eq!(valid_until & 0xffff_ffff, u64::from(u32::from_le_bytes(begin)), "{hash}");
        assert_eq!(valid_until >> 32, bytes, "{hash}");
    }
}

/// A signature by one key is none by another, under another scheme, or of another form.
#[test]
fn each_scheme_takes_its_own_signatures_only() {
    let (rule, message, signatures) = openssl();
    let good = signatures.iter().filter(|one| one.holds);
    for one in good {
        for scheme in SCHEMES.into_iter().filter(|scheme| *scheme != one.scheme) {
            assert!(
                !verify(&rule, scheme, &one.key, &message, &one.signature),
                "{} as {scheme}",
                one.what
            );
        }
        for key in
            [&[][..], &one.key[1..], &one.key[..one.key.len() - 1], &[&one.key[..], &[0]].concat()]
        {
            assert!(!verify(&rule, &one.scheme, key, &message, &one.signature), "{}", one.what);
        }
        let signature = &one.signature;
        for signature in [&[][..], &signature[1..], &[&signature[..], &[0]].concat(), &[0; 5000]] {
            assert!(!verify(&rule, &one.scheme, &one.key, &message, signature), "{}", one.what);
        }
    }
}

/// A key of more than 8,192 bits would take longer than a call may.
#[test]
fn giant_rsa_key_is_false() {
    let (rule, message, _) = openssl();
    for (bits, bytes) in [(8_200_usize, 1025_usize), (16_384, 2048)] {
        // SubjectPublicKeyInfo of rsaEncryption, with a modulus of ones and the exponent 65,537.
        let der = |tag: u8, content: &[u8]| {
            let size = u16::try_from(content.len()).expect("a size").to_be_bytes();
            [&[tag, 0x82], &size[..], content].concat()
        };
        let modulus = der(2, &[&[0][..], &vec![0xff; bytes]].concat());
        let numbers = der(0x30, &[&modulus[..], &[2, 3, 1, 0, 1]].concat());
        let algorithm = unhex("300d06092a864886f70d0101010500");
        let key = der(0x30, &[algorithm, der(3, &[&[0][..], &numbers].concat())].concat());
        assert!(!verify(&rule, "rsa-pkcs1-sha256", &key, &message, &vec![1; bytes]), "{bits} bits");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is flipped in key, message or signature, it does not hold.
    #[test]
    fn no_altered_signature_holds(which in any::<Index>(), part in 0..3_usize, at in any::<Index>(), bit in 0..8_u32) {
        let (rule, message, signatures) = openssl();
        let good: Vec<_> = signatures.into_iter().filter(|one| one.holds).collect();
        let one = which.get(&good);
        let mut parts = [one.key.clone(), message, one.signature.clone()];
        let at = at.index(parts[part].len());
        parts[part][at] ^= 1 << bit;
        let [key, message, signature] = &parts;
        prop_assert!(!verify(&rule, &one.scheme, key, message, signature), "{} part {part} at {at}", one.what);
    }

    /// What is no key is false, and no more than that.
    #[test]
    fn nonsense_is_false(scheme in 0..SCHEMES.len(), key: Vec<u8>, message: Vec<u8>, signature: Vec<u8>) {
        let (rule, _, _) = openssl();
        prop_assert!(!verify(&rule, SCHEMES[scheme], &key, &message, &signature));
    }
}

#[derive(Deserialize)]
struct Signatures {
    message: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, Deserialize)]
struct Signature {
    what: String,
    scheme: String,
    holds: bool,
    #[serde(deserialize_with = "base64_bytes")]
    key: Vec<u8>,
    #[serde(deserialize_with = "base64_bytes")]
    signature: Vec<u8>,
}

fn base64_bytes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

/// A rule that verifies, the message, and what OpenSSL made.
fn openssl() -> (Rule, Vec<u8>, Vec<Signature>) {
    let text = std::fs::read(root().join("tests/data/rules/signatures.json")).expect("a file");
    let all: Signatures = serde_json::from_slice(&text).expect("signatures");
    (verifier(), all.message.into_bytes(), all.signatures)
}

fn verify(rule: &Rule, scheme: &str, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let data = [("k", key), ("m", message), ("s", signature)];
    let data = data.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
    let mut question = question();
    let index = SCHEMES.iter().position(|known| *known == scheme).expect("a scheme");
    question.now = u64::try_from(index).expect("a number");
    let documents = Documents::new();
    let run = rule.evaluate(&question, b"", &documents, &data.into(), &RuleLimits::default());
    run.expect("an answer").answer.allow
}

/// Allows if the signature `s` of the message `m` holds by the key `k`, under the scheme that is the time's number.
fn verifier() -> Rule {
    static VERIFIER: std::sync::OnceLock<Rule> = std::sync::OnceLock::new();
    let text = || {
        Text {
        wit: "import countersign:policy/crypto@0.1.0; import countersign:policy/data@0.1.0;",
        imports: r#"
            (import "countersign:policy/crypto@0.1.0" "verify"
                (func $verify (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (import "countersign:policy/data@0.1.0" "read" (func $read (param i32 i32 i32)))"#,
        items: r#"(data (i32.const 1024) "kms")"#,
        // Each document goes over the parameters: to 16 KiB of its own, before the next one is read.
        evaluate: "(local $scheme i32) (local $n i32) (local $at i32) (local $from i32) (local $size i32)
            (local.set $scheme (i32.wrap_i64 (i64.load offset=192 (local.get 0))))
            (loop
                (local.set $at (i32.add (i32.const 2048) (i32.shl (local.get $n) (i32.const 4))))
                (call $read (i32.add (i32.const 1024) (local.get $n)) (i32.const 1) (local.get $at))
                (local.set $from (i32.load offset=4 (local.get $at)))
                (local.set $size (i32.load offset=8 (local.get $at)))
                (i32.store offset=4 (local.get $at)
                    (i32.add (i32.const 8192) (i32.shl (local.get $n) (i32.const 14))))
                (memory.copy (i32.load offset=4 (local.get $at)) (local.get $from) (local.get $size))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if 0 (i32.lt_u (local.get $n) (i32.const 3))))
            (i32.store8 (i32.const 1536) (i32.eqz (call $verify (local.get $scheme)
                (i32.load (i32.const 2052)) (i32.load (i32.const 2056))
                (i32.load (i32.const 2068)) (i32.load (i32.const 2072))
                (i32.load (i32.const 2084)) (i32.load (i32.const 2088)))))
            i32.const 1536",
        ..Text::HONEST
    }
    };
    VERIFIER.get_or_init(|| rule(&engine(), &text().build()).expect("a rule")).clone()
}

/// Answers with the beginning and the length of the digest of `abc`, by the hash that is the time's number.
fn hasher() -> Text<'static> {
    Text {
        wit: "import countersign:policy/crypto@0.1.0;",
        imports: r#"(import "countersign:policy/crypto@0.1.0" "digest"
            (func $digest (param i32 i32 i32 i32)))"#,
        items: r#"(data (i32.const 1024) "abc")"#,
        evaluate: "
            (call $digest (i32.wrap_i64 (i64.load offset=192 (local.get 0)))
                (i32.const 1024) (i32.const 3) (i32.const 2048))
            (i32.store8 offset=32 (i32.const 1536) (i32.const 1))
            (i32.store offset=40 (i32.const 1536) (i32.load (i32.load (i32.const 2048))))
            (i32.store offset=44 (i32.const 1536) (i32.load (i32.const 2052)))
            i32.const 1536",
        ..Text::HONEST
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|two| u8::try_from(two[0] * 16 + two[1]).expect("a byte")).collect()
}

/// In the order of the interface.
const SCHEMES: [&str; 9] = [
    "rsa-pkcs1-sha256",
    "rsa-pkcs1-sha384",
    "rsa-pkcs1-sha512",
    "rsa-pss-sha256",
    "rsa-pss-sha384",
    "rsa-pss-sha512",
    "ecdsa-p256-sha256",
    "ecdsa-p384-sha384",
    "ed25519",
];
