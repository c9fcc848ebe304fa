//! Keys that are well formed and yet prove nothing: RSA moduli of a known broken generator, Ed25519 points of small
//! order.

/// The odd primes up to 167: those that the fingerprint of Nemec et al. («The Return of Coppersmith's Attack», 2017)
/// is taken by.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether the modulus (big-endian) carries the fingerprint of ROCA (CVE-2017-15361): modulo every small prime it is a
/// power of 65537. Of sound moduli about one in 2^27 does.
pub(super) fn is_roca(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|&prime| {
        let remainder = modulus.iter().fold(0, |rest, &byte| (rest * 256 + u32::from(byte)) % prime);
        let mut power = 1;
        loop {
            if power == remainder {
                return true;
            }
            power = power * (65_537 % prime) % prime;
            if power == 1 {
                return false;
            }
        }
    })
}

/// The y coordinates of the points whose order divides 8, in little-endian, where they are not 0 or 1 above the field's
/// prime: such encodings are refused as not canonical.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Whether an Ed25519 public key is a point of small order, by which one signature fits every message, or is encoded
/// with y at or above the field's prime.
pub(super) fn is_small_order(x: &[u8; 32]) -> bool {
    let mut y = *x;
    y[31] &= 0x7f; // the sign of the other coordinate does not change the order
    let [first, middle @ .., last] = &y;
    let not_canonical = *first >= 0xed && middle.iter().all(|&byte| byte == 0xff) && *last == 0x7f;
    not_canonical || SMALL_ORDER.contains(&y)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `number * factor + addend`, big-endian.
    fn multiply_add(number: &mut Vec<u8>, factor: u32, addend: u32) {
        let mut carry = addend;
        for byte in number.iter_mut().rev() {
            let product = u32::from(*byte) * factor + carry;
            *byte = (product & 0xff) as u8;
            carry = product >> 8;
        }
        while carry > 0 {
            number.insert(0, (carry & 0xff) as u8);
            carry >>= 8;
        }
    }

    /// A number that is 1 modulo every small prime, and so a power of 65537.
    pub(in crate::jwt) fn with_fingerprint(bytes: usize) -> Vec<u8> {
        let mut modulus = vec![1];
        for &prime in PRIMES.iter().chain(std::iter::repeat(&2)) {
            multiply_add(&mut modulus, prime, 0);
            if modulus.len() >= bytes && prime == 2 {
                break;
            }
        }
        multiply_add(&mut modulus, 1, 1);
        modulus
    }

    #[test]
    fn the_fingerprint_of_the_broken_generator_is_recognised() {
        assert!(is_roca(&with_fingerprint(256)));
        let mut off_by_two = with_fingerprint(256);
        multiply_add(&mut off_by_two, 1, 2);
        assert!(!is_roca(&off_by_two));
    }

    #[test]
    fn the_eight_points_of_small_order_are_refused_with_either_sign() {
        for mut y in SMALL_ORDER {
            assert!(is_small_order(&y));
            y[31] |= 0x80;
            assert!(is_small_order(&y));
        }
        let mut beyond_the_prime = [0xff; 32];
        for (first, last) in [(0xed, 0x7f), (0xee, 0xff), (0xff, 0x7f)] {
            (beyond_the_prime[0], beyond_the_prime[31]) = (first, last);
            assert!(is_small_order(&beyond_the_prime));
        }
        (beyond_the_prime[0], beyond_the_prime[31]) = (0xeb, 0x7f);
        assert!(!is_small_order(&beyond_the_prime));
    }

    proptest! {
        #[test]
        fn random_keys_pass(modulus in prop::collection::vec(any::<u8>(), 256), x in any::<[u8; 32]>()) {
            prop_assert!(!is_roca(&modulus));
            prop_assert!(!is_small_order(&x));
        }
    }
}
