//! The one hash of the format: XXH64, for checksums and for identities.

use xxhash_rust::xxh64::{Xxh64, xxh64};

/// Hash of an identity (the bytes that make two records the same family or series).
///
/// `seed` is the segment's [`crate::header::Header::hash_seed`].
#[must_use]
pub fn identity(bytes: &[u8], seed: u64) -> u64 {
    xxh64(bytes, seed)
}

/// Checksum over the parts of a structure that lies at `offset`.
///
/// The offset is the seed, so that a structure copied to another place doesn't pass there.
#[must_use]
pub fn checksum(parts: &[&[u8]], offset: u64) -> u64 {
    let mut state = Xxh64::new(offset);
    for part in parts {
        state.update(part);
    }
    state.digest()
}

/// A 16-bit check of two words, for links that leave no room for more.
#[must_use]
pub const fn check16(value: u64, place: u64) -> u64 {
    let mut mixed = value.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    mixed ^= mixed >> 32;
    mixed = mixed.wrapping_mul(0x1656_67b1_9e37_79f9);
    mixed >> 48
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check16_differs_when_any_byte_of_a_typical_offset_differs() {
        for offset in (4096_u64..1 << 21).step_by(64 * 37) {
            for byte in 0..6 {
                let flipped = offset ^ (0xff << (8 * byte));
                assert_ne!(check16(offset, 320), check16(flipped, 320), "{offset:#x} byte {byte}");
            }
        }
    }

    #[test]
    fn checksum_depends_on_place_and_on_every_part() {
        let one = checksum(&[b"abc", b"def"], 64);
        assert_eq!(one, checksum(&[b"abcdef"], 64));
        assert_ne!(one, checksum(&[b"abcdef"], 128));
        assert_ne!(one, checksum(&[b"abcdeg"], 64));
    }
}
