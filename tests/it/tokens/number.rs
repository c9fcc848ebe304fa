//! Just enough arithmetic with large numbers (big-endian bytes) to forge signatures with.

use std::cmp::Ordering;

/// A number, least significant limb first, without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Number(Vec<u32>);

impl Number {
    pub(super) fn small(value: u32) -> Self {
        Self(vec![value]).trimmed()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let limb = |chunk: &[u8]| chunk.iter().fold(0, |limb, byte| limb << 8 | u32::from(*byte));
        Self(bytes.rchunks(4).map(limb).collect()).trimmed()
    }

    /// Exactly so many bytes.
    pub(super) fn to_bytes(&self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.0.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect();
        let excess = bytes.len().saturating_sub(len);
        assert!(bytes.drain(..excess).all(|byte| byte == 0), "the number is longer than {len} bytes");
        [vec![0; len - bytes.len()], bytes].concat()
    }

    fn trimmed(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    pub(super) fn add(&self, other: &Self) -> Self {
        let mut carry = 0;
        let mut sum: Vec<u32> = (0..self.0.len().max(other.0.len()))
            .map(|i| {
                carry += u64::from(*self.0.get(i).unwrap_or(&0)) + u64::from(*other.0.get(i).unwrap_or(&0));
                let limb = carry as u32;
                carry >>= 32;
                limb
            })
            .collect();
        sum.push(carry as u32);
        Self(sum).trimmed()
    }

    /// The difference; `other` is not the larger one.
    pub(super) fn subtract(&self, other: &Self) -> Self {
        let mut borrow = 0;
        let limbs = self.0.iter().enumerate().map(|(i, limb)| {
            let difference = i64::from(*limb) - i64::from(*other.0.get(i).unwrap_or(&0)) - borrow;
            borrow = i64::from(difference < 0);
            difference as u32
        });
        let difference = Self(limbs.collect()).trimmed();
        assert_eq!(borrow, 0, "the difference is negative");
        difference
    }

    pub(super) fn multiply(&self, other: &Self) -> Self {
        let mut product = vec![0_u32; self.0.len() + other.0.len() + 1];
        for (i, a) in self.0.iter().enumerate() {
            let mut carry = 0;
            for (j, b) in other.0.iter().enumerate() {
                carry += u64::from(*a) * u64::from(*b) + u64::from(product[i + j]);
                product[i + j] = carry as u32;
                carry >>= 32;
            }
            product[i + other.0.len()] = carry as u32;
        }
        Self(product).trimmed()
    }

    /// The whole cube root, rounded down.
    pub(super) fn cube_root(&self) -> Self {
        let bits = self.0.len() * 32 / 3 + 1;
        let mut root = Self(vec![0; bits / 32 + 1]);
        for bit in (0..=bits).rev() {
            let mut tried = root.clone();
            tried.0[bit / 32] |= 1 << (bit % 32);
            let value = tried.clone().trimmed();
            if value.multiply(&value).multiply(&value).compare(self) != Ordering::Greater {
                root = tried;
            }
        }
        root.trimmed()
    }
}

#[test]
fn the_arithmetic_is_right() {
    let number = |value: u128| Number::from_bytes(&value.to_be_bytes());
    let (a, b) = (0x1234_5678_9abc_def0_1357_u128, 0xfedc_ba98_7654_u128);
    assert_eq!(number(a).add(&number(b)), number(a + b));
    assert_eq!(number(a).subtract(&number(b)), number(a - b));
    assert_eq!(number(a >> 16).multiply(&number(b)), number((a >> 16) * b));
    assert_eq!(number(a).to_bytes(16), a.to_be_bytes());
    assert_eq!(number(u128::MAX).add(&Number::small(1)).subtract(&Number::small(1)), number(u128::MAX));
    for root in [0_u128, 1, 2, 0xffff_ffff, 0x1_0000_0000, 0x3ff_ffff_ffff] {
        let cube = root * root * root;
        assert_eq!(number(cube).cube_root(), number(root), "{root}");
        assert_eq!(number(cube + 1).cube_root(), number(if root == 0 { 1 } else { root }), "{root}");
    }
}
