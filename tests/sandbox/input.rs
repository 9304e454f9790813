//! Hostile input to the real engine: signatures, keys, policies and manifests by someone who knows the
//! formats well. Whatever it is, it is denied, or an error where no answer is possible, within the default
//! budget, in both builds alike; and the next evaluation on the same engine is right.
//!
//! No deadline runs by the clock, which on a busy machine says little: the time that an evaluation takes
//! of a processor is compared with it instead.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use countersign::digest::Digest;
use countersign::engine::{Budget, Engine, EngineError, Settings, Ticks};
use countersign::verdict::{Mistake, Outcome, Verdict};
use countersign::vocabulary::{
    Evidence, KeyFile, MAX_SIGNATURE_BYTES, MAX_SIGNATURES, Signature, SignatureForm, Subject,
};
use sequoia_openpgp::types::CompressionAlgorithm;
use serde_json::json;

use super::packets::{
    BINARY, COMPRESSED, LITERAL, MARKER, ONE_PASS, PADDING, PUBLIC_KEY, SIGNATURE, SIGNED, Shape,
    Signer, TEXT, USER_ID, compressed, created, in_chunks, literal, literal_body, nested, packet,
    stray_key, stray_signature, subpacket,
};
use crate::vectors::Both;

#[test]
fn good_signature_is_allowed() {
    desk().assert_still_answers();
}

/// Row 58: CVE-2024-53856, CVE-2024-53857, CVE-2023-53160, CVE-2024-58261: lengths that are not there.
#[test]
fn row_58_denies_lying_lengths() {
    let body = literal_body(payload().as_bytes());
    let lies: [(&str, &[u8]); 9] = [
        ("one octet", &[191]),
        ("two octets", &[223, 255]),
        ("five octets, 4 GiB", &[255, 255, 255, 255, 255]),
        ("five octets, 2 GiB", &[255, 127, 255, 255, 255]),
        ("five octets, nothing", &[255, 0, 0, 0, 0]),
        ("five octets, cut off", &[255, 0xff]),
        ("partial, 1 GiB", &[0xfe]),
        ("partial, 512 B", &[0xe9]),
        ("partial, 1 B", &[0xe0]),
    ];
    let tags =
        [1, SIGNATURE, ONE_PASS, PUBLIC_KEY, COMPRESSED, 9, MARKER, LITERAL, 18, 20, PADDING, 60];
    for tag in tags {
        for (name, lie) in lies {
            let lying = [&[0xc0 | tag][..], lie, &body].concat();
            desk().denies(&format!("packet {tag}, new format, {name}"), &lying);
        }
    }
    for tag in (0..16).filter(|tag| *tag != 0) {
        let lies: [(&str, u8, &[u8]); 5] = [
            ("one octet", 0, &[255]),
            ("two octets", 1, &[255, 255]),
            ("four octets, 4 GiB", 2, &[255, 255, 255, 255]),
            ("four octets, 2 GiB", 2, &[127, 255, 255, 255]),
            ("no length", 3, &[]),
        ];
        for (name, kind, lie) in lies {
            let lying = [&[0x80 | tag << 2 | kind][..], lie, &body].concat();
            desk().denies(&format!("packet {tag}, old format, {name}"), &lying);
        }
    }
}

/// Row 58: the same within the parts of a good message.
#[test]
fn row_58_denies_lying_lengths_inside_of_a_good_message() {
    let signer = &desk().signer;
    let (one_pass, text) = (signer.one_pass(BINARY, true), literal(&payload()));
    let signature = signer.signature(&signer.honest(), payload().as_bytes());
    let hashed = usize::from(u16::from_be_bytes([signature[4], signature[5]]));
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut body = signature.clone();
        change(&mut body);
        [&one_pass[..], &text, &packet(SIGNATURE, &body)].concat()
    };
    let unhashed = 6 + hashed;
    let numbers = 8
        + hashed
        + usize::from(u16::from_be_bytes([signature[unhashed], signature[unhashed + 1]]))
        + 2;
    for (name, message) in [
        ("signed subpackets of 64 KiB", with(&|s| s[4..6].fill(255))),
        ("no signed subpackets", with(&|s| s[4..6].fill(0))),
        ("unsigned subpackets of 64 KiB", with(&|s| s[unhashed..unhashed + 2].fill(255))),
        ("a subpacket of 4 GiB", with(&|s| s[6..11].fill(255))),
        ("an empty subpacket", with(&|s| s[6] = 0)),
        ("a number of 64 Kibit", with(&|s| s[numbers..numbers + 2].fill(255))),
        ("a number of no bits", with(&|s| s[numbers..numbers + 2].fill(0))),
        ("numbers cut off", with(&|s| s.truncate(numbers + 5))),
        ("numbers that go on", with(&|s| s.extend([0; 300]))),
        ("a file name of 255 bytes", {
            let mut body = literal_body(payload().as_bytes());
            body[1] = 255;
            let signature = packet(SIGNATURE, &signature);
            [&one_pass[..], &packet(LITERAL, &body[..100]), &signature].concat()
        }),
        (
            "an empty literal",
            [&one_pass[..], &packet(LITERAL, &[]), &packet(SIGNATURE, &signature)].concat(),
        ),
        (
            "an empty one-pass signature",
            [&packet(ONE_PASS, &[])[..], &text, &packet(SIGNATURE, &signature)].concat(),
        ),
        ("an empty signature", [&one_pass[..], &text, &packet(SIGNATURE, &[])].concat()),
    ] {
        desk().denies(name, &message);
    }
}

/// Row 58: partial lengths: of packets that may not have them, without end, and a million of them.
#[test]
fn row_58_denies_partial_lengths_out_of_place() {
    let signer = &desk().signer;
    let signature = signer.signature(&signer.honest(), payload().as_bytes());
    let text = literal_body(payload().as_bytes());
    let (one_pass, whole) = (signer.one_pass(BINARY, true), packet(SIGNATURE, &signature));
    let one_pass_body = &one_pass[2..];
    let tiny = in_chunks(LITERAL, &literal_body(&vec![b' '; 1 << 20]), 1);
    for (name, message) in [
        (
            "of a signature",
            [&one_pass[..], &literal(&payload()), &in_chunks(SIGNATURE, &signature, 64)].concat(),
        ),
        (
            "of a one-pass signature",
            [&in_chunks(ONE_PASS, one_pass_body, 8)[..], &literal(&payload()), &whole].concat(),
        ),
        ("without end", [&one_pass[..], &[0xc0 | LITERAL, 0xe9], &text].concat()),
        ("a million of them", [&one_pass[..], &tiny, &whole].concat()),
        (
            "a million of nothing",
            [&one_pass[..], &[0xc0 | LITERAL], &[0xe0; 2 << 20], &whole].concat(),
        ),
        (
            "a million of a compressed packet",
            in_chunks(COMPRESSED, &nested(1, &[0; 1 << 20])[6..], 1),
        ),
        ("a million of an unknown packet", in_chunks(60, &[0; 1 << 20], 1)),
    ] {
        desk().denies(name, &message);
    }
}

/// Row 58: 4 MiB of the smallest packets there are, alone, before, inside and after a good message.
#[test]
fn row_58_denies_a_million_packets() {
    let signer = &desk().signer;
    let good = signer.message(&payload());
    let room = MAX_SIGNATURE_BYTES - good.len() - 64;
    let fill = |packet: &[u8], room: usize| packet.repeat(room / packet.len());
    let one_pass = signer.one_pass(BINARY, false);
    let small = literal("");
    let signature = packet(SIGNATURE, &signer.signature(&signer.honest(), b""));
    for (name, packet) in [
        ("markers", packet(MARKER, b"PGP")),
        ("padding", packet(PADDING, b"")),
        ("user IDs", packet(USER_ID, b"")),
        ("unknown packets", packet(60, b"")),
        ("unknown critical packets", packet(30, b"")),
        ("one-pass signatures", one_pass.clone()),
        ("literals", small),
        ("signatures", signature),
        ("empty signatures", packet(SIGNATURE, b"")),
        ("empty compressed packets", packet(COMPRESSED, &[0])),
        ("trust packets", packet(12, b"")),
        ("modification detection codes", packet(19, &[0; 20])),
    ] {
        let many = fill(&packet, room);
        desk().denies(&format!("{name} alone"), &many);
        // Markers are ignored where they may stand.
        if name == "markers" {
            desk().is_bounded("markers before", &[&many[..], &good].concat());
        } else {
            desk().denies(&format!("{name} before"), &[&many[..], &good].concat());
        }
        desk().denies(&format!("{name} after"), &[&good[..], &many].concat());
        let inside = [&good[..one_pass.len()], &many, &good[one_pass.len()..]].concat();
        desk().denies(&format!("{name} inside"), &inside);
        // A few KiB that become many MiB.
        let many = fill(&packet, 48 << 20);
        let squeezed = compressed(CompressionAlgorithm::Zip, &[&many[..], &good].concat());
        desk().denies(&format!("{name}, compressed"), &squeezed);
    }
}

/// Row 58: a million subpackets, in one signature or in several, signed or not.
#[test]
fn row_58_denies_a_million_subpackets() {
    let signer = &desk().signer;
    let (one_pass, text) = (signer.one_pass(BINARY, true), literal(&payload()));
    let area = |kind: u8| subpacket(kind, &[]).repeat(32_000);
    // A signature of version 6 has room for all of them.
    let mut six = vec![6, BINARY, 27, 8];
    let million = subpacket(60, &[]).repeat(1_000_000);
    for _ in 0..2 {
        six.extend((2_000_000u32 - 200_000).to_be_bytes());
        six.extend(&million[..1_800_000]);
    }
    six.extend([0, 0, 16]);
    six.extend([7; 16 + 64]);
    desk().denies("version 6", &[&one_pass[..], &text, &packet(SIGNATURE, &six)].concat());

    for kind in [16, 60, 20, 32, 2] {
        let flood = stray_signature(BINARY, 1, &area(kind)).repeat(62);
        desk().denies(
            &format!("subpackets {kind} of many signatures"),
            &[&one_pass[..], &text, &flood].concat(),
        );
        desk().denies(
            &format!("subpackets {kind} of many signatures before"),
            &[&flood[..], &one_pass, &text].concat(),
        );
    }
    // Well signed, and full of things that mean nothing.
    let honest = signer.honest();
    let full = Shape {
        hashed: [honest.hashed, subpacket(60, &[]).repeat(32_000)].concat(),
        unhashed: [honest.unhashed, subpacket(61, &[]).repeat(32_000)].concat(),
        ..honest
    };
    desk().is_bounded("good, with many subpackets", &signer.message_with(&full, &payload()));
}

/// Row 58: packets in packets.
#[test]
fn row_58_denies_deep_nesting() {
    let good = desk().signer.message(&payload());
    desk().allows("one layer", &compressed(CompressionAlgorithm::Zip, &good));
    desk().allows("one layer that compresses nothing", &nested(1, &good));
    for depth in [31, 40] {
        let mut message = good.clone();
        for _ in 0..depth {
            message = compressed(CompressionAlgorithm::Zip, &message);
        }
        desk().denies(&format!("{depth} layers"), &message);
    }
    for depth in [31, 40, 500_000] {
        desk().denies(&format!("{depth} layers that compress nothing"), &nested(depth, &good));
    }
    let squeezed = compressed(CompressionAlgorithm::Zip, &nested(5_000_000, &good));
    desk().denies("5 million layers in one", &squeezed);
}

/// Thirty million bytes are not worth looking at, even if a trusted key signed them.
#[test]
fn denies_compressed_bombs() {
    let signer = &desk().signer;
    let blank = " ".repeat(32 << 20);
    let message = signer.message(&format!("{}{blank}", payload()));
    for algorithm in [CompressionAlgorithm::Zip, CompressionAlgorithm::Zlib] {
        let bomb = compressed(algorithm, &message);
        assert!(bomb.len() < MAX_SIGNATURE_BYTES);
        desk().denies(&format!("{algorithm:?}"), &bomb);
        desk().denies(&format!("{algorithm:?} of itself"), &compressed(algorithm, &bomb));
        desk().denies(&format!("{algorithm:?}, stored around"), &nested(1, &bomb));
        let unsigned = compressed(algorithm, &literal(&blank));
        desk().denies(&format!("{algorithm:?}, unsigned"), &unsigned);
        let good = signer.message(&payload());
        desk().denies(
            &format!("{algorithm:?} before a good message"),
            &[&unsigned[..], &good].concat(),
        );
        desk().denies(
            &format!("{algorithm:?} after a good message"),
            &[&good[..], &unsigned].concat(),
        );
        let trailing = compressed(algorithm, &[good.clone(), vec![0; 32 << 20]].concat());
        desk().denies(&format!("{algorithm:?}, zeros behind a good message"), &trailing);
    }
    // A stream that is no stream.
    for algorithm in 0..=255u8 {
        desk().denies(
            &format!("algorithm {algorithm}, noise"),
            &packet(COMPRESSED, &[&[algorithm][..], &[0xa5; 2000]].concat()),
        );
    }
}

/// Well-signed payloads that are hard to parse.
#[test]
fn denies_deep_payloads() {
    let payload = payload();
    let body = payload.strip_suffix("}}").expect("optional is last");
    for depth in [200, 20_000, 1_000_000] {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let middle = if open == "[" { "" } else { "0" };
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            if open.len() + close.len() > MAX_SIGNATURE_BYTES - 4096 {
                continue;
            }
            let deep = format!("{open}{middle}{close}");
            let names = [
                ("alone", deep.clone()),
                ("open only", open.clone()),
                ("as creator", format!(r#"{body}"creator":{deep}}}}}"#)),
                ("as critical", format!(r#"{{"critical":{deep},"optional":{{}}}}"#)),
                ("as type", payload.replacen(r#""atomic container signature""#, &deep, 1)),
            ];
            for (name, text) in names {
                desk().denies(&format!("{depth} deep, {name}"), &desk().signer.message(&text));
            }
            let ignored = desk().signer.message(&format!(r#"{body}"x":{deep}}}}}"#));
            desk().is_bounded(&format!("{depth} deep, where anything goes"), &ignored);
        }
    }
}

/// Well-signed payloads that are long.
#[test]
fn long_payloads_are_bounded() {
    let payload = payload();
    let body = payload.strip_suffix("}}").expect("optional is last");
    let members: String = (0..280_000).map(|n| format!(r#""{n:x}":0,"#)).collect();
    for (name, optional) in [
        ("many members", members.trim_end_matches(',').to_owned()),
        ("a long number", format!(r#""timestamp":{}"#, "1".repeat(3 << 20))),
        ("a long fraction", format!(r#""timestamp":1.{}"#, "0".repeat(3 << 20))),
        ("a large exponent", format!(r#""timestamp":1e{}"#, "9".repeat(3 << 20))),
        ("a long creator", format!(r#""creator":"{}""#, "c".repeat(3 << 20))),
        ("an escaped creator", format!(r#""creator":"{}""#, "\\u0000".repeat(500_000))),
        ("half characters", format!(r#""creator":"{}""#, "\\ud800".repeat(500_000))),
    ] {
        let text = format!("{body}{optional}}}}}");
        desk().is_bounded(name, &desk().signer.message(&text));
    }
    let long = "a/".repeat(1 << 20);
    let text = payload.replacen(REFERENCE, &format!("example.com/{long}a:1"), 1);
    desk().denies("a long reference", &desk().signer.message(&text));
    let text = payload.replacen("sha256:", &format!("sha256:{}", "0".repeat(3 << 20)), 1);
    desk().denies("a long digest", &desk().signer.message(&text));
}

/// No change to a good message makes another one of it.
#[test]
fn no_flipped_bit_changes_what_was_signed() {
    let good = desk().signer.message(&payload());
    let claims = desk().allows("good", &good).claims;
    for position in 0..good.len() {
        let mut message = good.clone();
        message[position] ^= 1 << (position % 8);
        let verdict = desk().evaluate(&desk().evidence([&message]));
        if verdict.outcome == Outcome::Allow {
            assert_eq!(verdict.claims, claims, "byte {position}");
        }
        let cut = desk().evaluate(&desk().evidence([&good[..position]]));
        assert_eq!(cut.outcome, Outcome::Deny, "cut at {position}: {cut:?}");
    }
    desk().assert_still_answers();
}

#[test]
fn looks_at_128_signatures_and_denies_129() {
    let good = desk().signer.message(&payload());
    let stray = Signer::generate("stray").message(&payload());
    let with = |others: usize| {
        let mut all = vec![&stray; others];
        all.push(&good);
        desk().evaluate(&desk().evidence(all))
    };
    assert_eq!(MAX_SIGNATURES, 128);
    let verdict = with(127);
    assert_eq!(verdict.outcome, Outcome::Allow, "{verdict:?}");
    let verdict = with(128);
    assert_eq!(verdict.outcome, Outcome::Deny, "{verdict:?}");
    // As many as may be, each naming as many signers as it can.
    let honest = desk().signer.honest();
    let wordy = Shape { unhashed: desk().signer.issuer_fingerprint().repeat(900), ..honest };
    let wordy = desk().evidence(vec![desk().signer.message_with(&wordy, &payload()); 128]);
    assert_eq!(desk().evaluate(&wordy).outcome, Outcome::Allow);
    assert_eq!(desk().policy.inspect(&subject(), &wordy, NOW).len(), 128);
    let good_first =
        desk().evaluate(&desk().evidence([&good].into_iter().chain(vec![&stray; 128])));
    assert_eq!(good_first.outcome, Outcome::Deny, "{good_first:?}");
    desk().assert_still_answers();
}

/// Row 44: CVE-2020-1702: the engine does not rely on the host for it.
#[test]
fn row_44_denies_signature_of_4_mib_and_a_byte() {
    let good = desk().signer.message(&payload());
    let padded = |length: usize| {
        let mut blob = good.clone();
        blob.resize(length, 0);
        blob
    };
    for length in [MAX_SIGNATURE_BYTES, MAX_SIGNATURE_BYTES + 1, MAX_SIGNATURE_BYTES * 2] {
        desk().denies(&format!("{length} bytes"), &padded(length));
    }
    // Good ones of that size, by their padding of blanks.
    let blank = |total: usize| {
        let rest = total - desk().signer.message(&payload()).len() - 8;
        desk().signer.message(&format!("{}{}", payload(), " ".repeat(rest)))
    };
    desk().is_bounded("4 MiB of a good one", &blank(MAX_SIGNATURE_BYTES));
    desk().denies("over 4 MiB of a good one", &blank(MAX_SIGNATURE_BYTES + 64));
    let beside = vec![0u8; MAX_SIGNATURE_BYTES + 1];
    let verdict = desk().evaluate(&desk().evidence([&good, &beside]));
    assert_ne!(verdict.outcome, Outcome::Error, "{verdict:?}");
    desk().assert_still_answers();
}

/// What the host would not hand over is refused by the engine, too.
#[test]
fn denies_more_signature_bytes_than_count() {
    let stray = Signer::generate("stray");
    let blank = " ".repeat(4 * 1024 * 1000);
    let large = stray.message(&format!("{}{blank}", payload()));
    assert!(large.len() < MAX_SIGNATURE_BYTES);
    let good = desk().signer.message(&payload());
    let verdict =
        desk().evaluate(&desk().evidence([&large, &large, &large, &large, &large, &good]));
    assert_eq!(verdict.outcome, Outcome::Deny, "{verdict:?}");
    let verdict = desk().evaluate(&desk().evidence([&large, &large, &large]));
    assert_eq!(verdict.outcome, Outcome::Deny, "{verdict:?}");
    desk().assert_still_answers();
}

/// Blobs that never get as far as OpenPGP, and what is said about them.
#[test]
fn denies_blobs_of_other_formats() {
    let sigstore = |json: &str| format!("\0sigstore-json\n{json}").into_bytes();
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for (name, content) in [
        ("nothing", vec![]),
        ("zero", vec![0]),
        ("zeros", vec![0; MAX_SIGNATURE_BYTES]),
        ("long format name", [&[0][..], &vec![b'x'; MAX_SIGNATURE_BYTES - 2], b"\n"].concat()),
        ("format name that is none", b"\0\x1b[2J\n".to_vec()),
        ("format name without an end", [&[0][..], &vec![b'x'; MAX_SIGNATURE_BYTES - 1]].concat()),
        ("sigstore", sigstore(r#"{"mimeType":"a","payload":"","annotations":{}}"#)),
        ("deep sigstore", sigstore(&deep(2_000_000))),
        ("sigstore with deep rest", sigstore(&format!(r#"{{"x":{}}}"#, deep(1_500_000)))),
        ("sigstore with many annotations", {
            let all: Vec<_> = (0..150_000).map(|n| format!(r#""{n}":"""#)).collect();
            sigstore(&format!(r#"{{"annotations":{{{}}}}}"#, all.join(",")))
        }),
        ("sigstore with a long type", {
            sigstore(&format!(r#"{{"mimeType":"{}"}}"#, "x".repeat(3 << 20)))
        }),
        ("page", b"<html>404 not found</html>".to_vec()),
    ] {
        let mut evidence = desk().evidence([&content]);
        let verdict = desk().evaluate(&evidence);
        assert_eq!(verdict.outcome, Outcome::Deny, "{name}: {verdict:?}");
        let shown: usize = verdict.reasons.iter().map(|reason| reason.message.len()).sum();
        assert!(shown < 1000, "{name}: a message of {shown} bytes");
        evidence.signatures[0].form = SignatureForm::Openpgp;
        let verdict = desk().evaluate(&evidence);
        assert_eq!(verdict.outcome, Outcome::Deny, "{name}: {verdict:?}");
    }
    desk().assert_still_answers();
}

/// Row 57: CVE-2019-9153: a signature of another type over the same bytes says something else.
#[test]
fn row_57_denies_other_signature_types() {
    let signer = &desk().signer;
    let honest = signer.honest();
    let of = |kind| Shape { kind, ..honest.clone() };
    for kind in [0x02, 0x10, 0x11, 0x12, 0x13, 0x18, 0x19, 0x1f, 0x20, 0x28, 0x30, 0x40, 0x50, 0xff]
    {
        desk().denies(&format!("type {kind:#04x}"), &signer.message_with(&of(kind), &payload()));
        // Announced as a signature over bytes.
        let signature = packet(SIGNATURE, &signer.signature(&of(kind), payload().as_bytes()));
        let message = [signer.one_pass(BINARY, true), literal(&payload()), signature].concat();
        desk().denies(&format!("type {kind:#04x}, announced as another"), &message);
    }
    for (announced, kind) in [(BINARY, TEXT), (TEXT, BINARY), (0x10, BINARY)] {
        let signature = packet(SIGNATURE, &signer.signature(&of(kind), payload().as_bytes()));
        let message = [signer.one_pass(announced, true), literal(&payload()), signature].concat();
        desk().denies(&format!("type {kind}, announced as {announced}"), &message);
    }
}

/// Row 57: CVE-2019-9154: what anyone could have added to a signature says nothing.
#[test]
fn row_57_believes_only_signed_subpackets() {
    let (signer, stranger) = (&desk().signer, Signer::generate("stranger"));
    let honest = signer.honest();
    let issuer = signer.issuer_fingerprint();
    let shaped = |hashed: &[Vec<u8>], unhashed: &[Vec<u8>]| {
        let shape = Shape { kind: BINARY, hashed: hashed.concat(), unhashed: unhashed.concat() };
        signer.message_with(&shape, &payload())
    };
    let time = created(SIGNED);
    desk().denies(
        "time unsigned",
        &shaped(std::slice::from_ref(&issuer), &[time.clone(), signer.issuer()]),
    );
    desk().denies("no time", &shaped(std::slice::from_ref(&issuer), &[signer.issuer()]));
    let day = subpacket(3, &86_400u32.to_be_bytes());
    desk().denies("expired", &shaped(&[issuer.clone(), time.clone(), day.clone()], &[]));
    let never = subpacket(3, &0u32.to_be_bytes());
    desk().denies(
        "expired, unsigned: never",
        &shaped(&[issuer.clone(), time.clone(), day.clone()], &[never]),
    );
    let unknown_critical = subpacket(0x80 | 99, b"must understand");
    desk().denies(
        "a critical subpacket that nobody knows",
        &shaped(&[issuer.clone(), time.clone(), unknown_critical], &[]),
    );

    let later = created(SIGNED + 1000);
    let verdict = desk().allows(
        "unsigned: expired, later",
        &shaped(&[issuer.clone(), time.clone()], &[later, day]),
    );
    assert_eq!(verdict.claims[0].signed_at, Some(SIGNED.into()));
    assert_eq!(verdict.claims[0].valid_until, None);

    // Whoever is named, the key that verifies is who signed.
    for unhashed in [stranger.issuer(), stranger.issuer_fingerprint()] {
        let message = shaped(&[issuer.clone(), time.clone()], &[unhashed]);
        let verdict = desk().evaluate(&desk().evidence([&message]));
        for claim in &verdict.claims {
            assert_eq!(claim.key, signer.fingerprint());
        }
    }
    let forged = Shape { unhashed: signer.issuer_fingerprint(), ..stranger.honest() };
    desk().denies("a stranger names our key", &stranger.message_with(&forged, &payload()));
    let forged = Shape {
        hashed: [issuer.clone(), time.clone()].concat(),
        unhashed: signer.issuer(),
        ..stranger.honest()
    };
    let signature = packet(SIGNATURE, &stranger.signature(&forged, payload().as_bytes()));
    let message = [signer.one_pass(BINARY, true), literal(&payload()), signature].concat();
    desk().denies("a stranger signs that it was our key", &message);
    desk().allows("honest", &signer.message_with(&honest, &payload()));
}

/// Row 57: CVE-2019-11841: nothing stands before, beside or around a message.
#[test]
fn row_57_denies_text_around_the_message() {
    let signer = &desk().signer;
    let good = signer.message(&payload());
    let armored = |label: &str, content: &[u8], headers: &str| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(content);
        format!("-----BEGIN PGP {label}-----\n{headers}\n{text}\n-----END PGP {label}-----\n")
    };
    let signature = packet(SIGNATURE, &signer.signature(&signer.honest(), payload().as_bytes()));
    let text = payload();
    let clear = |headers: &str, text: &str| {
        let signature = armored("SIGNATURE", &signature, "");
        format!("-----BEGIN PGP SIGNED MESSAGE-----\n{headers}\n{text}\n{signature}")
    };
    let as_text = Shape { kind: TEXT, ..signer.honest() };
    let text_signature = packet(SIGNATURE, &signer.signature(&as_text, text.as_bytes()));
    for (name, message) in [
        ("text before", [b"hello\n", &good[..]].concat()),
        ("blank before", [b"\n", &good[..]].concat()),
        ("text after", [&good[..], b"hello\n"].concat()),
        ("line after", [&good[..], b"\n"].concat()),
        ("payload before", [text.as_bytes(), &good].concat()),
        ("literal before", [literal(&text), good.clone()].concat()),
        ("literal after", [good.clone(), literal(&text)].concat()),
        ("twice", [good.clone(), good.clone()].concat()),
        ("signature before", [signature.clone(), literal(&text)].concat()),
        ("detached", signature.clone()),
        ("unsigned", literal(&text)),
        ("armored", armored("MESSAGE", &good, "").into_bytes()),
        ("armored with a header", armored("MESSAGE", &good, "Comment: x\n").into_bytes()),
        ("text before armor", format!("hello\n{}", armored("MESSAGE", &good, "")).into_bytes()),
        ("cleartext", clear("Hash: SHA256\n", &text).into_bytes()),
        (
            "cleartext with text in its header",
            clear(&format!("Hash: SHA256\n{text}\n"), "").into_bytes(),
        ),
        (
            "cleartext of type text",
            format!(
                "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{text}\n{}",
                armored("SIGNATURE", &text_signature, "")
            )
            .into_bytes(),
        ),
        ("a marker between", {
            let cut = signer.one_pass(BINARY, true).len();
            [&good[..cut], &packet(MARKER, b"PGP"), &good[cut..]].concat()
        }),
        ("two literals", {
            let one_pass = signer.one_pass(BINARY, true);
            [one_pass, literal(&text), literal(&text), signature.clone()].concat()
        }),
        ("nobody announced", {
            let mut one_pass = signer.one_pass(BINARY, true);
            one_pass[6..14].fill(0);
            [one_pass, literal(&text), signature.clone()].concat()
        }),
        ("another signature announced", {
            [signer.one_pass(BINARY, false), literal(&text), signature.clone()].concat()
        }),
        ("two announced, one there", {
            let (outer, inner) = (signer.one_pass(BINARY, false), signer.one_pass(BINARY, true));
            [outer, inner, literal(&text), signature.clone()].concat()
        }),
        ("two there", {
            let (outer, inner) = (signer.one_pass(BINARY, false), signer.one_pass(BINARY, true));
            [outer, inner, literal(&text), signature.clone(), signature.clone()].concat()
        }),
        ("signature outside of the compressed packet", {
            let cut = good.len() - signature.len();
            [&nested(1, &good[..cut])[..], &signature].concat()
        }),
    ] {
        desk().denies(name, &message);
    }
}

/// Row 47: CVE-2020-15093, RUSTSEC-2020-0024: the same signature and the same key count once, however often
/// and in whatever form they come.
#[test]
fn row_47_same_key_and_signature_count_once() {
    let signer = &desk().signer;
    let good = signer.message(&payload());
    let files = [
        KeyFile { path: "/keys/a.gpg".into(), content: Ok(signer.public()) },
        KeyFile { path: "/keys/b.asc".into(), content: Ok(signer.armored()) },
        KeyFile { path: "/keys/c.gpg".into(), content: Ok(signer.public().repeat(3)) },
    ];
    let paths: Vec<_> = files.iter().map(|file| &file.path).collect();
    let document = json!({"default": [
        {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": paths},
    ]});
    let policy = desk().load(document.to_string().as_bytes(), &files).expect("a policy");
    for copies in [1, 2, 128] {
        let evidence = desk().evidence(vec![&good; copies]);
        let verdict = policy.evaluate(&subject(), &evidence, NOW);
        assert_eq!(verdict.outcome, Outcome::Allow, "{verdict:?}");
        let facts: BTreeSet<_> =
            verdict.claims.iter().map(|c| (c.requirement, &c.key, &c.signing_key)).collect();
        assert_eq!(verdict.claims.len(), 1, "{verdict:?}");
        assert_eq!(facts.len(), 1);
    }
    // Two different signatures by one key are two signatures, and one signer.
    let again = Shape {
        hashed: [signer.issuer_fingerprint(), created(SIGNED + 1)].concat(),
        ..signer.honest()
    };
    let again = signer.message_with(&again, &payload());
    let verdict = policy.evaluate(&subject(), &desk().evidence([&good, &again]), NOW);
    let keys: BTreeSet<_> = verdict.claims.iter().map(|claim| &claim.key).collect();
    assert_eq!((verdict.outcome, keys.len()), (Outcome::Allow, 1), "{verdict:?}");
    desk().assert_still_answers();
}

/// Row 59: CVE-2019-13050: a key that strangers certified a hundred thousand times.
#[test]
fn row_59_flooded_key_is_bounded() {
    let signer = &desk().signer;
    let key = signer.public();
    let certification = |number| stray_signature(0x10, number, &[]);
    let direct = |number| stray_signature(0x1f, number, &[]);
    let fill = |make: &dyn Fn(u32) -> Vec<u8>, room: usize| {
        let mut flood = Vec::with_capacity(room + 128);
        for number in 0.. {
            flood.extend(make(number));
            if flood.len() > room {
                break;
            }
        }
        flood
    };
    for megabytes in [1, 3, 8] {
        let room = megabytes << 20;
        let after = [key.clone(), fill(&certification, room)].concat();
        desk().judges_by(&format!("{megabytes} MiB of certifications"), &after);
        // The first packet is the primary key; what follows it directly is about it alone.
        let cut = 2 + usize::from(key[1]);
        let flood = fill(&direct, room);
        let before = [&key[..cut], &flood, &key[cut..]].concat();
        desk().judges_by(&format!("{megabytes} MiB of signatures on the key"), &before);
        let revoked = fill(&|number| stray_signature(0x20, number, &[]), room);
        let revoked = [&key[..cut], &revoked, &key[cut..]].concat();
        desk().judges_by(&format!("{megabytes} MiB of revocations by strangers"), &revoked);
        // Each says that it is by the key itself, so that it takes a verification to know that it is not.
        for (kind, place, name) in [
            (0x1f, cut, None),
            (0x20, cut, None),
            (0x13, key.len(), Some("signer")),
            (0x30, key.len(), Some("signer")),
        ] {
            let forged = fill(&|number| signer.forged_self_signature(kind, number, name), room);
            let forged = [&key[..place], &forged, &key[place..]].concat();
            let name = format!("{megabytes} MiB of signatures of type {kind:#x} in the key's name");
            desk().judges_by(&name, &forged);
        }
        let names = fill(&|number| packet(USER_ID, &number.to_be_bytes()), room);
        desk().judges_by(&format!("{megabytes} MiB of names"), &[key.clone(), names].concat());
        let area = subpacket(60, &[]).repeat(30_000);
        let wide = fill(&|number| stray_signature(0x10, number, &area), room);
        desk().judges_by(&format!("{megabytes} MiB of subpackets"), &[key.clone(), wide].concat());
        let markers = fill(&|_| packet(MARKER, b"PGP"), room);
        desk().judges_by(&format!("{megabytes} MiB of markers"), &[markers, key.clone()].concat());
    }
}

/// Row 59: a keyring of a hundred thousand keys.
#[test]
fn row_59_flooded_keyring_is_bounded() {
    let signer = &desk().signer;
    for count in [10_000, 150_000] {
        let strays: Vec<u8> = (0..count).flat_map(stray_key).collect();
        desk().judges_by(
            &format!("{count} keys before"),
            &[strays.clone(), signer.public()].concat(),
        );
        desk().judges_by(&format!("{count} keys after"), &[signer.public(), strays].concat());
    }
    desk().judges_by("the same key 10,000 times", &signer.public().repeat(10_000));
    desk().judges_by("the same armored key 2,000 times", &signer.armored().repeat(2_000));
}

/// Files in place of keys: whoever put them there has to be told.
#[test]
fn key_files_that_are_no_keys_are_errors() {
    let key = desk().signer.public();
    let mut lying = key.clone();
    lying[1..6].copy_from_slice(&[255, 255, 255, 255, 255]);
    let rsa = {
        let mut body = vec![4, 0, 0, 0, 0, 1];
        body.extend([255, 255, 1, 2, 3]);
        packet(PUBLIC_KEY, &body)
    };
    for (name, content) in [
        ("nothing", vec![]),
        ("zeros", vec![0; 1 << 20]),
        ("noise", vec![0xa5; 1 << 20]),
        ("a length of 4 GiB", lying),
        ("a number of 64 Kibit", rsa),
        ("partial lengths", in_chunks(PUBLIC_KEY, &key, 16)),
        ("a message", desk().signer.message(&payload())),
        ("a compressed bomb", compressed(CompressionAlgorithm::Zip, &vec![0; 32 << 20])),
        ("a nested key", nested(10_000, &key)),
        ("a million empty armors", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n".repeat(100_000)),
        ("a million dashes", b"-".repeat(4 << 20)),
    ] {
        let verdict = desk().judges_by(name, &content);
        assert_eq!(verdict.outcome, Outcome::Error, "{name}: {verdict:?}");
    }
}

/// Policy documents that are hard to parse are refused with their mistakes.
#[test]
fn refuses_hostile_policies() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}0{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let remap = r#"{"type":"remapIdentity","prefix":"#;
    let many = |member: &str| {
        let members: Vec<_> = (0..20_000).map(|n| member.replace('#', &n.to_string())).collect();
        members.join(",")
    };
    for (name, document) in [
        ("deep", deep(1_000_000)),
        ("open", "[".repeat(1_000_000)),
        ("open objects", r#"{"default":"#.repeat(100_000)),
        ("deep objects", objects(200_000)),
        ("deep default", format!(r#"{{"default":{}}}"#, deep(100_000))),
        (
            "deep scope",
            format!(
                r#"{{"default":[{{"type":"reject"}}],"transports":{{"x":{{"y":{}}}}}}}"#,
                deep(100_000)
            ),
        ),
        (
            "deep transports",
            format!(r#"{{"default":[{{"type":"reject"}}],"transports":{}}}"#, objects(100_000)),
        ),
        ("deep type", format!(r#"{{"default":[{{"type":{}}}]}}"#, deep(100_000))),
        (
            "deep identity",
            format!(
                r#"{{"default":[{{"type":"signedBaseLayer","baseLayerIdentity":{}{}}}]}}"#,
                remap.repeat(10_000),
                "}".repeat(10_000)
            ),
        ),
        ("mistakes", format!(r#"{{"default":[{}]}}"#, many(r##"{"type":"nothing-#"}"##))),
        ("unknown keys", format!("{{{}}}", many(r##""unknown-#":0"##))),
        ("duplicate keys", format!("{{{}}}", many(r#""default":[]"#))),
        (
            "duplicate scopes",
            format!(
                r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{{}}}}}}}"#,
                many(r#""a.b":[{"type":"reject"}]"#)
            ),
        ),
        ("long key", format!(r#"{{"{}":0}}"#, "k".repeat(1 << 20))),
        ("long type", format!(r#"{{"default":[{{"type":"{}"}}]}}"#, "t".repeat(1 << 20))),
        ("long number", format!(r#"{{"default":{}}}"#, "1".repeat(1 << 20))),
        (
            "long prefix",
            format!(
                r#"{{"default":[{{"type":"signedBaseLayer","baseLayerIdentity":{{"type":"remapIdentity","prefix":"{}","signedPrefix":"a.b"}}}}]}}"#,
                "a-".repeat(500_000)
            ),
        ),
        ("half character", r#"{"default":[{"type":"reject\ud800"}]}"#.into()),
        (
            "trailing document",
            r#"{"default":[{"type":"insecureAcceptAnything"}]}{"default":[]}"#.into(),
        ),
        ("byte order mark", "\u{feff}{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}".into()),
        ("nothing", String::new()),
    ] {
        let mistakes = desk().load(document.as_bytes(), &[]).err();
        assert!(
            mistakes.is_some_and(|m| !m.is_empty()),
            "{name}: loaded, or refused without a mistake"
        );
    }
    let latin = b"{\"default\":[{\"type\":\"insecureAcceptAnything\"}],\"\xff\":0}";
    assert!(desk().load(latin, &[]).is_err(), "not UTF-8");
    desk().assert_still_answers();
}

/// A document with as many scopes as fit is a policy, and works.
#[test]
fn policy_of_many_scopes_is_bounded() {
    let scopes: Vec<_> =
        (0..15_000).map(|n| format!(r#""s{n}.example.com/ns":[{{"type":"reject"}}]"#)).collect();
    let document = format!(
        r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{{}}}}}}}"#,
        scopes.join(",")
    );
    if let Ok(policy) = desk().load(document.as_bytes(), &[]) {
        let verdict = policy.evaluate(&subject(), &desk().evidence(Vec::<&[u8]>::new()), NOW);
        assert_eq!(verdict.outcome, Outcome::Deny, "{verdict:?}");
    }
    desk().assert_still_answers();
}

/// The engine looks at a manifest only as far as it must.
#[test]
fn hostile_manifests_are_bounded() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    let members: String = (0..250_000).map(|n| format!(r#""{n:x}":0,"#)).collect();
    for (name, manifest) in [
        ("nothing", vec![]),
        ("noise", vec![0xa5; 4 << 20]),
        ("deep", deep(2_000_000)),
        ("open", vec![b'['; 4 << 20]),
        ("open objects", br#"{"a":"#.repeat(800_000)),
        ("many members", format!(r#"{{{}"schemaVersion":2}}"#, members).into_bytes()),
        ("deep media type", [&br#"{"mediaType":"#[..], &deep(1_000_000), b"}"].concat()),
        ("over 4 MiB", vec![b' '; (4 << 20) + 1]),
    ] {
        let message = desk().signer.message(&payload_for(&Digest::sha256(&manifest)));
        let signed = Evidence { manifest, ..desk().evidence([&message]) };
        // A trusted key signed it, so an allow would be right, too.
        desk().evaluate(&signed);
        let unsigned = Evidence { signatures: vec![], ..signed.clone() };
        let verdict = desk().evaluate(&unsigned);
        assert_ne!(verdict.outcome, Outcome::Allow, "{name}: {verdict:?}");
        let good = desk().signer.message(&payload());
        let swapped = Evidence { manifest: signed.manifest, ..desk().evidence([&good]) };
        let verdict = desk().evaluate(&swapped);
        assert_ne!(verdict.outcome, Outcome::Allow, "{name}: {verdict:?}");
    }
    desk().assert_still_answers();
}

/// Not even a good signature is an allow after the deadline. Time passes as fast as it can beside the
/// evaluation; which of the two is first is the machine's choice, so it is tried until time is.
#[test]
fn evaluation_beyond_its_deadline_is_an_error() {
    // No other test may use this engine's time.
    let desk = Desk::new();
    let evidence = desk.evidence([&desk.signer.message(&payload())]);
    let impatient = Budget { deadline: Duration::ZERO, ..Budget::default() };
    let done = AtomicBool::new(false);
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                desk.engine.tick();
            }
        });
        let evaluate = || desk.policy.sandboxed().evaluate(&subject(), &evidence, NOW, &impatient);
        let error = (0..MAX_TRIES).find_map(|_| evaluate().err());
        done.store(true, Ordering::Release);
        error
    });
    assert_eq!(error, Some(EngineError::Deadline(Duration::ZERO)));
    desk.assert_still_answers();
}

/// Not even a good signature is an allow without memory.
#[test]
fn evaluation_beyond_its_memory_is_an_error() {
    let desk = desk();
    let message = desk.signer.message(&format!("{}{}", payload(), " ".repeat(3 << 20)));
    let evidence = desk.evidence([&message]);
    let small = Budget { memory: 4 << 20, ..Budget::default() };
    let answer = desk.policy.sandboxed().evaluate(&subject(), &evidence, NOW, &small);
    assert_eq!(answer, Err(EngineError::Memory(4 << 20)));
    desk.assert_still_answers();
}

/// An evaluation takes a tenth of a millisecond at least, and a thread starts in a few.
const MAX_TRIES: usize = 100_000;

/// An engine, a policy that trusts one key, and that key.
struct Desk {
    engine: Engine,
    policy: Both,
    signer: Signer,
}

impl Desk {
    fn new() -> Self {
        let settings = Settings { ticks: Ticks::Manual, ..Settings::default() };
        let engine = Engine::new(&settings).expect("the embedded engine starts");
        let signer = Signer::generate("signer");
        let key = signer.public();
        let policy = Both::load_into(&engine, DOCUMENT, &[key_file(&key)]).expect("a policy");
        Self { engine, policy, signer }
    }

    fn load(&self, document: &[u8], files: &[KeyFile]) -> Result<Both, Vec<Mistake>> {
        Both::load_into(&self.engine, document, files)
    }

    fn evaluate(&self, evidence: &Evidence) -> Verdict {
        self.policy.evaluate(&subject(), evidence, NOW)
    }

    /// An image with these signatures, as a lookaside keeps them.
    fn evidence<T: AsRef<[u8]>>(&self, signatures: impl IntoIterator<Item = T>) -> Evidence {
        let signature = |(n, content): (usize, T)| Signature {
            source: format!("https://lookaside.example.com/signature-{}", n + 1),
            form: SignatureForm::Stored,
            content: content.as_ref().to_vec(),
        };
        Evidence {
            manifest: MANIFEST.to_vec(),
            index: None,
            signatures: signatures.into_iter().enumerate().map(signature).collect(),
        }
    }

    /// In every form in which a signature can come, this one is denied, and the next good one allowed.
    fn denies(&self, name: &str, content: &[u8]) {
        for (form, content) in forms(content) {
            let mut evidence = self.evidence([content]);
            evidence.signatures[0].form = form;
            let verdict = self.evaluate(&evidence);
            assert_eq!(verdict.outcome, Outcome::Deny, "{name}: {verdict:?}");
            assert!(verdict.claims.is_empty(), "{name}: {verdict:?}");
            assert!(!verdict.reasons.is_empty(), "{name}: {verdict:?}");
            let findings = self.policy.inspect(&subject(), &evidence, NOW);
            assert!(
                findings.iter().all(|finding| finding.claims.is_empty()),
                "{name}: {findings:?}"
            );
            self.assert_still_answers();
        }
    }

    fn allows(&self, name: &str, content: &[u8]) -> Verdict {
        let verdict = self.evaluate(&self.evidence([content]));
        assert_eq!(verdict.outcome, Outcome::Allow, "{name}: {verdict:?}");
        verdict
    }

    /// A trusted key signed it, so both answers are right; an answer there must be.
    fn is_bounded(&self, name: &str, content: &[u8]) {
        let verdict = self.evaluate(&self.evidence([content]));
        assert_ne!(verdict.outcome, Outcome::Error, "{name}: {verdict:?}");
        self.assert_still_answers();
    }

    /// A good signature under a policy whose key file is this: allowed, or an error since the file is not one
    /// to rest a verdict on. A stranger's signature is never allowed.
    fn judges_by(&self, name: &str, key: &[u8]) -> Verdict {
        let policy = self.load(DOCUMENT, &[key_file(key)]).expect("the document is a policy");
        let good = self.evidence([&self.signer.message(&payload())]);
        let verdict = policy.evaluate(&subject(), &good, NOW);
        assert_ne!(verdict.outcome, Outcome::Deny, "{name}: {verdict:?}");
        let stranger = Signer::generate("stranger").message(&payload());
        let denied = policy.evaluate(&subject(), &self.evidence([&stranger]), NOW);
        assert_ne!(denied.outcome, Outcome::Allow, "{name}: {denied:?}");
        self.assert_still_answers();
        verdict
    }

    fn assert_still_answers(&self) {
        let verdict = self.allows("good", &self.signer.message(&payload()));
        assert_eq!(verdict.claims.len(), 1, "{verdict:?}");
        assert_eq!(verdict.claims[0].key, self.signer.fingerprint());
    }
}

fn desk() -> &'static Desk {
    static DESK: OnceLock<Desk> = OnceLock::new();
    DESK.get_or_init(Desk::new)
}

fn forms(content: &[u8]) -> [(SignatureForm, Vec<u8>); 3] {
    [
        (SignatureForm::Stored, content.to_vec()),
        (SignatureForm::Stored, [b"\0simple-signing\n", content].concat()),
        (SignatureForm::Openpgp, content.to_vec()),
    ]
}

fn key_file(content: &[u8]) -> KeyFile {
    KeyFile { path: "/keys/signer.gpg".into(), content: Ok(content.to_vec()) }
}

fn subject() -> Subject {
    crate::vectors::subject(REFERENCE)
}

/// What a signer says about the image, `optional` empty and last.
fn payload() -> String {
    payload_for(&Digest::sha256(MANIFEST))
}

fn payload_for(digest: &Digest) -> String {
    format!(
        r#"{{"critical":{{"type":"atomic container signature","image":{{"docker-manifest-digest":"{digest}"}},"identity":{{"docker-reference":"{REFERENCE}"}}}},"optional":{{}}}}"#
    )
}

const REFERENCE: &str = "example.com/ns/app:1";

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}"#;

const DOCUMENT: &[u8] =
    br#"{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/keys/signer.gpg"}]}"#;

/// A month after the signatures: 2026-07-01T00:00:00Z.
const NOW: u64 = 1_782_864_000;
