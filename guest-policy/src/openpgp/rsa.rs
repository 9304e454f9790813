//! RSA signature verification, RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2.2), with all that depends on the key
//! alone computed when the key is loaded.
//!
//! This is what runs in the sandbox; the native build verifies with sequoia's library, and is compared with it.
//! Sequoia's library raises to the public exponent as it would to a secret one: 93 multiplications for one of
//! 17 bits, where 18 do. That was nine tenths of an evaluation. Everything here is public, so time may
//! depend on it.

use super::profile;

/// A public key whose modulus is odd and whose exponent fits a machine word: all that are made.
#[derive(Debug)]
pub(super) struct PublicKey {
    modulus: Vec<u64>,
    exponent: u64,
    /// `-modulus⁻¹` modulo 2⁶⁴.
    inverse: u64,
    /// `R²` modulo `modulus`, where `R` is 2⁶⁴ to the number of the modulus's words.
    square: Vec<u64>,
}

impl PublicKey {
    /// A key of big-endian numbers; `None` if it is of another kind.
    pub(super) fn new(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let modulus = words(modulus);
        let [exponent] = words(exponent)[..] else { return None };
        if !(2..=profile::MAX_RSA_BITS / WORD_BITS).contains(&modulus.len())
            || modulus[0] & 1 == 0
            || exponent & 1 == 0
            || exponent < 3
        {
            return None;
        }
        let mut key = Self { exponent, inverse: inverse(modulus[0]), square: Vec::new(), modulus };
        key.square = key.radix_squared();
        Some(key)
    }

    /// Whether `signature` is this key's over `digest`, for which `algorithm` is the beginning of the
    /// structure `DigestInfo`.
    pub(super) fn verify(&self, signature: &[u8], algorithm: &[u8], digest: &[u8]) -> bool {
        let mut signature = words(signature);
        if signature.len() > self.modulus.len() {
            return false;
        }
        signature.resize(self.modulus.len(), 0);
        if !is_less(&signature, &self.modulus) {
            return false;
        }
        self.padded(algorithm, digest).is_some_and(|expected| self.power(&signature) == expected)
    }

    /// What a signature has to be the root of: EMSA-PKCS1-v1_5 (RFC 8017 section 9.2).
    fn padded(&self, algorithm: &[u8], digest: &[u8]) -> Option<Vec<u64>> {
        let highest = self.modulus.last()?;
        let bits =
            self.modulus.len() * WORD_BITS - usize::try_from(highest.leading_zeros()).ok()?;
        let length = bits.div_ceil(8);
        let padding = length.checked_sub(3 + algorithm.len() + digest.len())?;
        if padding < SHORTEST_PADDING {
            return None;
        }
        let mut block = vec![0, 1];
        block.resize(2 + padding, 0xff);
        block.push(0);
        block.extend_from_slice(algorithm);
        block.extend_from_slice(digest);
        let mut block = words(&block);
        block.resize(self.modulus.len(), 0);
        Some(block)
    }

    /// `base` to the public exponent.
    fn power(&self, base: &[u64]) -> Vec<u64> {
        let factor = self.multiply(base, &self.square);
        let mut power = factor.clone();
        // From the second highest bit to the second lowest; the highest is in `power` already.
        for bit in (1..u64::BITS - 1 - self.exponent.leading_zeros()).rev() {
            power = self.multiply(&power, &power);
            if self.exponent >> bit & 1 == 1 {
                power = self.multiply(&power, &factor);
            }
        }
        power = self.multiply(&power, &power);
        // The exponent is odd. Its last factor, without `R`, takes the `R` of the result away.
        self.multiply(&power, base)
    }

    /// `a * b / R` modulo the modulus (Montgomery's product); both are less than the modulus.
    fn multiply(&self, a: &[u64], b: &[u64]) -> Vec<u64> {
        let size = self.modulus.len();
        let (a, modulus) = (&a[..size], &self.modulus[..size]);
        let mut sum = vec![0; size];
        let mut highest = 0;
        for &b in b {
            let sum = &mut sum[..size];
            let (low, mut carry) = multiply_add(a[0], b, sum[0], 0);
            let factor = low.wrapping_mul(self.inverse);
            let (_, mut carry_2) = multiply_add(factor, modulus[0], low, 0);
            for place in 1..size {
                let low;
                (low, carry) = multiply_add(a[place], b, sum[place], carry);
                (sum[place - 1], carry_2) = multiply_add(factor, modulus[place], low, carry_2);
            }
            let (low, over) = carry.overflowing_add(carry_2);
            let (low, over_2) = low.overflowing_add(highest);
            sum[size - 1] = low;
            highest = u64::from(over) + u64::from(over_2);
        }
        if highest != 0 || !is_less(&sum, modulus) {
            subtract(&mut sum, modulus);
        }
        sum
    }

    fn radix_squared(&self) -> Vec<u64> {
        let size = self.modulus.len();
        // A power of two below the modulus, doubled until it is `R`, and once more.
        let highest_bit = size * WORD_BITS - 1 - self.leading_zeros();
        let mut power = vec![0; size];
        power[highest_bit / WORD_BITS] = 1 << (highest_bit % WORD_BITS);
        for _ in highest_bit..=size * WORD_BITS {
            self.double(&mut power);
        }
        // Now it is Montgomery's form of 2. The form of 2 to the number of `R`'s bits is `R²`.
        let two = size * WORD_BITS;
        let mut result = power;
        for bit in (0..two.ilog2()).rev() {
            result = self.multiply(&result, &result);
            if two >> bit & 1 == 1 {
                self.double(&mut result);
            }
        }
        result
    }

    fn leading_zeros(&self) -> usize {
        self.modulus.last().map_or(0, |word| word.leading_zeros() as usize)
    }

    fn double(&self, number: &mut [u64]) {
        let mut carry = 0;
        for word in number.iter_mut() {
            let next = *word >> (WORD_BITS - 1);
            *word = *word << 1 | carry;
            carry = next;
        }
        if carry != 0 || !is_less(number, &self.modulus) {
            subtract(number, &self.modulus);
        }
    }
}

/// A big-endian number as words, the lowest first and none above the highest that is not zero.
fn words(number: &[u8]) -> Vec<u64> {
    let mut words: Vec<u64> = number
        .rchunks(WORD_BYTES)
        .map(|chunk| chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)))
        .collect();
    while words.last() == Some(&0) {
        words.pop();
    }
    words
}

/// `-word⁻¹` modulo 2⁶⁴ for an odd word.
fn inverse(word: u64) -> u64 {
    // Each step of Newton's method doubles the number of right bits, from the three that any odd number is
    // its own inverse in.
    let mut inverse = word;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(word.wrapping_mul(inverse)));
    }
    inverse.wrapping_neg()
}

/// Low and high word of `a * b + c + d`, which two words always hold.
#[inline]
fn multiply_add(a: u64, b: u64, c: u64, d: u64) -> (u64, u64) {
    let sum = u128::from(a) * u128::from(b) + u128::from(c) + u128::from(d);
    #[expect(clippy::cast_possible_truncation, reason = "each half is taken on purpose")]
    (sum as u64, (sum >> WORD_BITS) as u64)
}

/// Whether `a` is less than `b`, of as many words.
fn is_less(a: &[u64], b: &[u64]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

/// `a -= b` modulo 2 to the number of bits; of as many words.
fn subtract(a: &mut [u64], b: &[u64]) {
    let mut borrow = false;
    for (a, b) in a.iter_mut().zip(b) {
        let (difference, under) = a.overflowing_sub(*b);
        let (difference, under_2) = difference.overflowing_sub(u64::from(borrow));
        *a = difference;
        borrow = under || under_2;
    }
}

const WORD_BYTES: usize = 8;
const WORD_BITS: usize = 64;

/// In bytes (RFC 8017 section 9.2).
const SHORTEST_PADDING: usize = 8;

#[cfg(test)]
mod tests {
    use sequoia_openpgp::crypto::mpi;
    use sequoia_openpgp::packet::Key;
    use sequoia_openpgp::packet::key::{Key4, PrimaryRole, SecretParts};
    use sequoia_openpgp::types::HashAlgorithm;

    use super::*;

    /// A fresh key of so many bits, and a signature by sequoia over `digest`.
    fn signed(bits: usize, digest: &[u8]) -> (PublicKey, Vec<u8>) {
        let key: Key<SecretParts, PrimaryRole> =
            Key4::generate_rsa(bits).expect("an RSA key").into();
        let mpi::PublicKey::RSA { e, n } = key.mpis().clone() else { unreachable!("it is RSA") };
        let mut pair = key.into_keypair().expect("a key pair");
        let signature =
            sequoia_openpgp::crypto::Signer::sign(&mut pair, HashAlgorithm::SHA256, digest);
        let Ok(mpi::Signature::RSA { s }) = signature else { unreachable!("it is RSA") };
        let key = PublicKey::new(n.value(), e.value()).expect("a usual key");
        (key, s.value().to_vec())
    }

    #[test]
    fn accepts_what_sequoia_signs_and_nothing_near_it() {
        let algorithm = HashAlgorithm::SHA256.oid().expect("a known algorithm");
        // 2056 bits: the highest word is not full.
        for bits in [2048, 2056, 3072] {
            let digest = [7; 32];
            let (key, signature) = signed(bits, &digest);
            assert!(key.verify(&signature, algorithm, &digest), "{bits}");
            assert!(!key.verify(&signature, algorithm, &[8; 32]));
            let other = HashAlgorithm::SHA512.oid().expect("a known algorithm");
            assert!(!key.verify(&signature, other, &digest));
            for place in [0, signature.len() / 2, signature.len() - 1] {
                let mut changed = signature.clone();
                changed[place] ^= 1;
                assert!(!key.verify(&changed, algorithm, &digest), "{bits}: byte {place}");
            }
            assert!(!key.verify(&[], algorithm, &digest));
            // One is its own power.
            assert!(!key.verify(&[1], algorithm, &digest));
        }
    }

    #[test]
    fn refuses_a_signature_that_is_not_reduced() {
        let digest = [7; 32];
        let algorithm = HashAlgorithm::SHA256.oid().expect("a known algorithm");
        let (key, signature) = signed(2056, &digest);
        let mut sum = words(&signature);
        sum.resize(key.modulus.len(), 0);
        let mut carry = 0;
        for (sum, word) in sum.iter_mut().zip(&key.modulus) {
            (*sum, carry) = multiply_add(*sum, 1, *word, carry);
        }
        assert_eq!(carry, 0, "the highest word has room");
        let bytes: Vec<u8> = sum.iter().rev().flat_map(|word| word.to_be_bytes()).collect();
        assert!(!key.verify(&bytes, algorithm, &digest));
    }

    #[test]
    fn raises_to_the_exponent_as_long_division_does() {
        // Small enough to be checked with machine arithmetic: a modulus of two words.
        let modulus: u128 = 0xf123_4567_89ab_cdef_0123_4567_89ab_cdef;
        for exponent in [3u64, 5, 17, 65537] {
            let key =
                PublicKey::new(&modulus.to_be_bytes(), &exponent.to_be_bytes()).expect("a key");
            for base in [0u128, 1, 2, 0x1234_5678_9abc, modulus - 1, modulus / 3] {
                let expected = (0..exponent).fold(1, |power, _| product(power, base, modulus));
                let mut words = words(&base.to_be_bytes());
                words.resize(2, 0);
                let power = key.power(&words);
                assert_eq!(u128::from(power[1]) << 64 | u128::from(power[0]), expected);
            }
        }
    }

    /// `a * b` modulo `modulus` by doubling.
    fn product(a: u128, b: u128, modulus: u128) -> u128 {
        let add = |a: u128, b: u128| {
            let (sum, over) = a.overflowing_add(b);
            if over || sum >= modulus { sum.wrapping_sub(modulus) } else { sum }
        };
        (0..128).rev().fold(0, |sum, bit| {
            let sum = add(sum, sum);
            if b >> bit & 1 == 1 { add(sum, a) } else { sum }
        })
    }

    #[test]
    fn leaves_odd_keys_to_others() {
        assert!(PublicKey::new(&[0x80; 256], &[1, 0, 1]).is_none(), "an even modulus");
        assert!(PublicKey::new(&[0x81; 256], &[1, 0, 0]).is_none(), "an even exponent");
        assert!(PublicKey::new(&[0x81; 256], &[1]).is_none(), "no exponent at all");
        assert!(PublicKey::new(&[0x81; 256], &[1; 9]).is_none(), "an exponent of two words");
        assert!(PublicKey::new(&[0x81; 2049], &[1, 0, 1]).is_none(), "a giant modulus");
        assert!(PublicKey::new(&[], &[]).is_none());
    }
}
