//! Offsets packed into single words, so that one store publishes them.
//!
//! A [`Link`] is an offset with a 16-bit check; a [`CellLink`] names a word in an extent. Both are checked
//! against the place that holds them, so that a flipped bit or a word copied elsewhere shows.
//!
//! ```text
//! Link       63          48 47                                             0
//!            +-------------+------------------------------------------------+
//!            |    check    |                    offset                      |
//!            +-------------+------------------------------------------------+
//! CellLink   63       52 51                              10 9              0
//!            +----------+----------------------------------+----------------+
//!            |  check   |        extent offset / 64        |   word index   |
//!            +----------+----------------------------------+----------------+
//! ```

use crate::error::{Error, Result};
use crate::hash::check16;

const OFFSET_BITS: u32 = 48;
const OFFSET_MASK: u64 = (1 << OFFSET_BITS) - 1;
const CELL_BITS: u32 = 52;
const CELL_MASK: u64 = (1 << CELL_BITS) - 1;
const WORD_BITS: u32 = 10;

/// Largest offset that a link can hold.
pub const MAX_OFFSET: u64 = OFFSET_MASK;

/// An offset packed with a check; 0 means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link;

impl Link {
    /// Packs `offset` for the word that lies at `place`.
    #[must_use]
    pub const fn pack(offset: u64, place: u64) -> u64 {
        (offset & OFFSET_MASK) | (check16(offset & OFFSET_MASK, place) << OFFSET_BITS)
    }

    /// The offset in `word`, which lies at `place`; none for 0.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the check doesn't match.
    pub fn unpack(word: u64, place: u64) -> Result<Option<u64>> {
        if word == 0 {
            return Ok(None);
        }
        let offset = word & OFFSET_MASK;
        let expected = Self::pack(offset, place);
        if word == expected {
            Ok(Some(offset))
        } else {
            Err(Error::Corrupt { what: "link", offset: place, found: word, expected })
        }
    }
}

/// Where a series' first cell lies: an extent and a word in each of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellLink {
    /// Offset of the extent, a multiple of 64.
    pub extent: u64,
    /// Index of the first word.
    pub word: u32,
}

impl CellLink {
    /// Packs the link for the word that lies at `place`.
    #[must_use]
    pub const fn pack(self, place: u64) -> u64 {
        let body = ((self.extent >> 6) << WORD_BITS | self.word as u64) & CELL_MASK;
        body | (check16(body, place) >> 4) << CELL_BITS
    }

    /// The link in `word`, which lies at `place`; none for 0.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the check doesn't match.
    pub fn unpack(word: u64, place: u64) -> Result<Option<Self>> {
        if word == 0 {
            return Ok(None);
        }
        let body = word & CELL_MASK;
        let link = Self { extent: (body >> WORD_BITS) << 6, word: (body & ((1 << WORD_BITS) - 1)) as u32 };
        let expected = link.pack(place);
        if word == expected {
            Ok(Some(link))
        } else {
            Err(Error::Corrupt { what: "cell link", offset: place, found: word, expected })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_survives_packing_and_refuses_another_place() {
        let word = Link::pack(0x1234_5678_9ac0, 320);
        assert_eq!(Link::unpack(word, 320), Ok(Some(0x1234_5678_9ac0)));
        assert!(Link::unpack(word, 328).is_err());
        assert_eq!(Link::unpack(0, 320), Ok(None));
    }

    #[test]
    fn a_cell_link_survives_packing_and_refuses_a_flipped_byte() {
        let link = CellLink { extent: 0x12_3440, word: 511 };
        let word = link.pack(8192);
        assert_eq!(CellLink::unpack(word, 8192), Ok(Some(link)));
        for byte in 0..8 {
            assert!(CellLink::unpack(word ^ (0xff << (8 * byte)), 8192).is_err(), "byte {byte}");
        }
    }
}
