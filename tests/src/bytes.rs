//! Segments as bytes, to be damaged.

use dyn_metrics_layout::fields::Field;
use dyn_metrics_layout::hash::checksum;
use dyn_metrics_layout::header::{self, FIELDS};

/// A field of the header.
///
/// # Panics
/// When there is none of this name.
#[must_use]
pub fn field(name: &str) -> &'static Field {
    FIELDS.iter().find(|field| field.name == name).expect("a field of the header")
}

/// Changes a field of the header; its checksum stays right.
pub fn put(bytes: &mut [u8], name: &str, value: &[u8]) {
    let at = field(name).offset;
    bytes[at..at + value.len()].copy_from_slice(value);
    let sum = field("checksum");
    let fixed = checksum(&[&bytes[8..sum.offset], &bytes[field("common_labels").offset..header::BYTES]], 0);
    bytes[sum.offset..sum.offset + sum.bytes].copy_from_slice(&fixed.to_le_bytes());
}

/// The word at `at`.
///
/// # Panics
/// When it isn't there.
#[must_use]
pub fn word(bytes: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(bytes[at as usize..at as usize + 8].try_into().expect("8 bytes"))
}

/// Changes the word at `at`.
pub fn set_word(bytes: &mut [u8], at: u64, value: u64) {
    bytes[at as usize..at as usize + 8].copy_from_slice(&value.to_le_bytes());
}

/// Numbers that look random and are the same in every run.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of `seed`, which is not 0.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The next number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.number() >> 16) % limit
    }

    /// A number that often is at some edge.
    pub fn odd(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.below(64),
            3 => (1 << self.below(64)) - 1,
            4 => self.below(1 << 16),
            5 => self.below(1 << 17) & !63,
            6 => self.number() >> 16,
            _ => self.number(),
        }
    }

    /// Damages one place before `end`, most often where something is.
    pub fn damage(&mut self, bytes: &mut [u8], end: u64) {
        let mut at = self.below(end - 8);
        while bytes[at as usize] == 0 && self.below(16) != 0 {
            at = self.below(end - 8);
        }
        match self.below(5) {
            0 | 1 => bytes[at as usize] ^= 1 << self.below(8),
            2 => bytes[at as usize] = self.number() as u8,
            3 => set_word(bytes, at & !7, self.odd()),
            _ => {
                let other = word(bytes, self.below(end - 8) & !7);
                set_word(bytes, at & !7, other);
            }
        }
    }
}
