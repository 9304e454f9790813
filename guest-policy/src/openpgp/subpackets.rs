//! The framing of the subpackets of a signature (RFC 9580 section 5.2.3.7), checked before sequoia reads
//! them: on a 32-bit machine, which the sandbox is, its sum of a subpacket's lengths overflows where one
//! claims to have nearly 4 GiB, and it keeps a hundred times the bytes that the smallest one takes up.

/// How many subpackets the body of a signature packet has, those of embedded signatures included; `None` if
/// they are damaged. Versions without subpackets, or that are not known, have none.
pub(super) fn count(signature: &[u8]) -> Option<usize> {
    signed_and_unsigned(signature, true)
}

fn signed_and_unsigned(signature: &[u8], may_embed: bool) -> Option<usize> {
    let length_size = match signature.first()? {
        4 => 2,
        6 => 4,
        _ => return Some(0),
    };
    // Version, type and two algorithms.
    let (signed, rest) = area(signature.get(4..)?, length_size)?;
    let (unsigned, _) = area(rest, length_size)?;
    Some(in_area(signed, may_embed)? + in_area(unsigned, may_embed)?)
}

/// A subpacket area, and what follows it.
fn area(stream: &[u8], length_size: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = stream.split_at_checked(length_size)?;
    rest.split_at_checked(number(length)?)
}

fn in_area(mut area: &[u8], may_embed: bool) -> Option<usize> {
    let mut count = 0;
    while let Some((first, rest)) = area.split_first() {
        let (length, rest) = match first {
            0..192 => (usize::from(*first), rest),
            192..255 => {
                let (second, rest) = rest.split_first()?;
                ((usize::from(*first) - 192) * 256 + usize::from(*second) + 192, rest)
            }
            255 => {
                let (length, rest) = rest.split_at_checked(4)?;
                (number(length)?, rest)
            }
        };
        let (subpacket, rest) = rest.split_at_checked(length)?;
        let (kind, body) = subpacket.split_first()?;
        count += 1;
        if kind & !CRITICAL == EMBEDDED_SIGNATURE {
            // An embedded signature embeds no other.
            if !may_embed {
                return None;
            }
            count += signed_and_unsigned(body, false)?;
        }
        area = rest;
    }
    Some(count)
}

/// A big-endian number of at most four bytes.
fn number(bytes: &[u8]) -> Option<usize> {
    let number = bytes.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte));
    usize::try_from(number).ok()
}

const EMBEDDED_SIGNATURE: u8 = 32;

/// The bit that says that a subpacket must be understood.
const CRITICAL: u8 = 0x80;

/// Most subpackets of one signature. A signature has a dozen, with notations of its signer's some more.
pub(super) const MAX_SUBPACKETS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_both_areas_and_embedded_signatures() {
        let embedded = [4, 0x19, 1, 8, 0, 2, 1, 2, 0, 0];
        let signature =
            [&[4, 0x18, 1, 8, 0, 12, 11, 32][..], &embedded, &[0, 4, 1, 2, 1, 3, 9, 9]].concat();
        assert_eq!(count(&signature), Some(4));
    }

    #[test]
    fn lying_lengths_are_damage() {
        for area in [
            &[2, 1][..],
            &[0],
            &[192],
            &[255, 255, 255, 255, 255, 2],
            &[255, 255, 255, 255, 250, 2],
            &[255, 0, 0],
        ] {
            let length = u8::try_from(area.len()).expect("short");
            let signed = [&[4, 0, 1, 8, 0, length][..], area, &[0, 0]].concat();
            let unsigned = [&[4, 0, 1, 8, 0, 0, 0, length][..], area].concat();
            assert_eq!((count(&signed), count(&unsigned)), (None, None), "{area:x?}");
        }
        assert_eq!(count(&[4, 0, 1, 8, 255, 255, 1, 2]), None);
        assert_eq!(count(&[6, 0, 1, 8, 255, 255, 255, 255, 1, 2]), None);
    }

    #[test]
    fn an_embedded_signature_embeds_no_other() {
        let inner = [4, 0, 1, 8, 0, 0, 0, 0];
        let middle = [&[4, 0, 1, 8, 0, 10, 9, 32][..], &inner, &[0, 0]].concat();
        let outer = [&[4, 0, 1, 8, 0, 22, 21, 32 | CRITICAL][..], &middle, &[0, 0]].concat();
        assert_eq!((count(&middle), count(&outer)), (Some(1), None));
    }
}
