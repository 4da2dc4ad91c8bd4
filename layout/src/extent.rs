//! Value extents: the cells of counters, tallies and histograms.
//!
//! An extent has one shared block and, for each CPU that has written, one block; all have the same number
//! of words. A series owns the same words in each of them; its value is their sum. Words of a CPU's block
//! change only inside restartable sequences on that CPU; words of the shared block only by atomic
//! read-modify-write. No word is ever touched by both.
//!
//! ```text
//! extent  +----------------+      block of CPU 1, words x 8 bytes
//!         | header         |      +------+------+------+-----
//!      64 | table          |  +-->|  w0  |  w1  |  w2  | ...
//!         |  CPU 0: none   |  |   +------+------+------+-----
//!         |  CPU 1: -------+--+
//!         +----------------+
//!         | shared block   |
//!         +----------------+
//! ```

use crate::error::{Error, Result};
use crate::fields::{Field, field, put, u16_at, u32_at, u64_at};
use crate::hash::checksum;
use crate::link::{CellLink, Link};
use crate::sync::{AtomicU64, Ordering, load_acquire};

/// Bytes of an extent's header; the block table follows.
pub const HEADER_BYTES: usize = 64;
/// Alignment of blocks, so that two CPUs never share a cache line (nor a pair that is fetched together).
pub const BLOCK_ALIGN: u64 = 128;
/// Most words of a block: a page of 4 KiB.
pub const MAX_WORDS: u32 = 512;
/// Fewest words of a block.
pub const MIN_WORDS: u32 = 128;
/// Tag of an extent.
pub const TAG: u16 = 0x4501;

const CHECKSUM: usize = 8;
const PREVIOUS: usize = 16;
const CPUS: usize = 24;
const RESERVED: usize = 28;
const SHARED: usize = 32;
/// Offset, in an extent, of the cursor of its words.
pub const NEXT_WORD: u64 = 48;

/// The extent's fields.
pub const FIELDS: &[Field] = &[
    field("tag", 0, 2, "0x4501"),
    field("reserved", 2, 2, "0"),
    field("words", 4, 4, "words of each block"),
    field("checksum", CHECKSUM, 8, "XXH64, seed = offset of the extent, of bytes 0 to 8 and 16 to 40"),
    field("previous", PREVIOUS, 8, "offset of the extent that was the newest before; 0 none"),
    field("cpus", CPUS, 4, "entries of the block table; 0 for an extent with a shared block only"),
    field("reserved_1", RESERVED, 4, "0"),
    field("shared", SHARED, 8, "offset of the shared block"),
    field("reserved_2", 40, 8, "0"),
    field("next_word", 48, 8, "atomic: index of the first word nobody has drawn"),
    field("reserved_3", 56, 8, "0"),
];

/// An extent as its header says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Words of each block.
    pub words: u32,
    /// Entries of the block table.
    pub cpus: u32,
    /// Offset of the extent that was the newest before; 0 none.
    pub previous: u64,
    /// Offset of the shared block.
    pub shared: u64,
}

impl Extent {
    /// Bytes of header, table and shared block together.
    #[must_use]
    pub const fn bytes(words: u32, cpus: u32) -> u64 {
        Self::shared_start(cpus) + Self::block_bytes(words)
    }

    /// Where, in a newly drawn extent, the shared block starts.
    #[must_use]
    pub const fn shared_start(cpus: u32) -> u64 {
        (HEADER_BYTES as u64 + 8 * cpus as u64).next_multiple_of(BLOCK_ALIGN)
    }

    /// Bytes of a block.
    #[must_use]
    pub const fn block_bytes(words: u32) -> u64 {
        8 * words as u64
    }

    /// Offset of the table's entry for `cpu`, in the extent at `extent`.
    #[must_use]
    pub const fn entry_place(extent: u64, cpu: u32) -> u64 {
        extent + HEADER_BYTES as u64 + 8 * cpu as u64
    }

    /// Encodes the fixed part of the header (its first 40 bytes) for the place `offset`.
    pub fn encode(&self, offset: u64, out: &mut [u8; 40]) {
        out.fill(0);
        put(out, 0, &TAG.to_le_bytes());
        put(out, 4, &self.words.to_le_bytes());
        put(out, PREVIOUS, &self.previous.to_le_bytes());
        put(out, CPUS, &self.cpus.to_le_bytes());
        put(out, SHARED, &self.shared.to_le_bytes());
        let sum = checksum(&[&out[..CHECKSUM], &out[PREVIOUS..]], offset);
        put(out, CHECKSUM, &sum.to_le_bytes());
    }

    /// Reads and checks a copy of the first 40 bytes of the extent at `offset`.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn decode(bytes: &[u8], offset: u64) -> Result<Self> {
        let corrupt = |what, found, expected| Err(Error::Corrupt { what, offset, found, expected });
        if bytes.len() < 40 {
            return Err(Error::OutOfBounds { offset, len: 40 });
        }
        let tag = u16_at(bytes, 0);
        if tag != TAG {
            return corrupt("extent tag", u64::from(tag), u64::from(TAG));
        }
        let (found, expected) =
            (u64_at(bytes, CHECKSUM), checksum(&[&bytes[..CHECKSUM], &bytes[PREVIOUS..40]], offset));
        if found != expected {
            return corrupt("extent checksum", found, expected);
        }
        let (words, cpus) = (u32_at(bytes, 4), u32_at(bytes, CPUS));
        if !(1..=MAX_WORDS).contains(&words) {
            return corrupt("extent words", u64::from(words), u64::from(MAX_WORDS));
        }
        if cpus > crate::header::MAX_CPUS {
            return corrupt("extent CPUs", u64::from(cpus), u64::from(crate::header::MAX_CPUS));
        }
        Ok(Self { words, cpus, previous: u64_at(bytes, PREVIOUS), shared: u64_at(bytes, SHARED) })
    }
}

/// Draws `words` consecutive words from an extent; none when it has not as many left.
pub fn draw_words(next_word: &AtomicU64, capacity: u32, words: u32) -> Option<u32> {
    let mut seen = next_word.load(Ordering::Relaxed);
    loop {
        let end = seen.checked_add(u64::from(words)).filter(|end| *end <= u64::from(capacity))?;
        match next_word.compare_exchange(seen, end, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Some(seen as u32),
            Err(now) => seen = now,
        }
    }
}

/// Publishes `offset` in a link word that lies at `place` and still is 0; returns what the word links to.
///
/// Used for the blocks of a table and the next index table: what the loser drew stays unused. The bytes behind `offset` are complete (a block: zero) before.
///
/// # Errors
/// [`Error::Corrupt`] when the word holds something that is no link.
pub fn publish_once(word: &AtomicU64, place: u64, offset: u64) -> Result<u64> {
    let packed = Link::pack(offset, place);
    match word.compare_exchange(0, packed, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(offset),
        Err(now) => Ok(Link::unpack(now, place)?.unwrap_or(offset)),
    }
}

/// Publishes `cells` in a cell-link word that lies at `place` and still is 0; returns what the word links to.
///
/// As [`publish_once`]; who loses leaves the words that it drew unused.
///
/// # Errors
/// [`Error::Corrupt`] when the word holds something that is no cell link.
pub fn publish_cells(word: &AtomicU64, place: u64, cells: CellLink) -> Result<CellLink> {
    match word.compare_exchange(0, cells.pack(place), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(cells),
        Err(now) => Ok(CellLink::unpack(now, place)?.unwrap_or(cells)),
    }
}

/// Replaces the newest extent, `seen`, by `offset`; false when another one was faster.
///
/// The new extent names the old one as its `previous`, so the chain loses none.
pub fn publish_extent(open: &AtomicU64, place: u64, seen: u64, offset: u64) -> bool {
    let packed = Link::pack(offset, place);
    open.compare_exchange(seen, packed, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

/// What `word`, which lies at `place`, links to.
///
/// # Errors
/// [`Error::Corrupt`] when it holds something that is no link.
pub fn follow(word: &AtomicU64, place: u64) -> Result<Option<u64>> {
    Link::unpack(load_acquire(word), place) // pairs with: publish_once(), publish_extent()
}

/// Adds `n` to an integer or nanosecond word of a shared block; wraps at 2^64.
#[inline]
pub fn add_shared(word: &AtomicU64, n: u64) {
    word.fetch_add(n, Ordering::Relaxed);
}

/// Adds `value` to a double of a shared block.
pub fn add_shared_float(word: &AtomicU64, value: f64) {
    let mut seen = word.load(Ordering::Relaxed);
    loop {
        let sum = (f64::from_bits(seen) + value).to_bits();
        match word.compare_exchange_weak(seen, sum, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_extent_header_survives_encoding_and_refuses_flips() {
        let extent = Extent { words: 128, cpus: 2, previous: 640, shared: 1024 };
        let mut bytes = [0; 40];
        extent.encode(8192, &mut bytes);
        assert_eq!(Extent::decode(&bytes, 8192), Ok(extent));
        for at in 0..40 {
            let mut flipped = bytes;
            flipped[at] ^= 0x80;
            assert!(Extent::decode(&flipped, 8192).is_err(), "byte {at}");
        }
    }

    #[test]
    fn words_are_drawn_once_and_never_beyond_the_end() {
        let next = AtomicU64::new(0);
        assert_eq!(draw_words(&next, 10, 4), Some(0));
        assert_eq!(draw_words(&next, 10, 4), Some(4));
        assert_eq!(draw_words(&next, 10, 4), None);
        assert_eq!(draw_words(&next, 10, 2), Some(8));
        assert_eq!(draw_words(&AtomicU64::new(u64::MAX), 10, 1), None);
    }

    #[test]
    fn cells_are_published_once_and_shared_words_add_up() {
        let word = AtomicU64::new(0);
        let [first, second] = [0, 8].map(|word| CellLink { extent: 4096, word });
        assert_eq!(publish_cells(&word, 64, first), Ok(first));
        assert_eq!(publish_cells(&word, 64, second), Ok(first));
        let (count, sum) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        add_shared(&count, 2);
        add_shared_float(&sum, 1.5);
        add_shared_float(&sum, 0.25);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(f64::from_bits(sum.load(Ordering::Relaxed)), 1.75);
    }

    #[test]
    fn the_first_to_publish_wins() {
        let word = AtomicU64::new(0);
        assert_eq!(publish_once(&word, 64, 4096), Ok(4096));
        assert_eq!(publish_once(&word, 64, 8192), Ok(4096));
        assert_eq!(follow(&word, 64), Ok(Some(4096)));
        assert!(publish_once(&AtomicU64::new(77), 64, 8192).is_err());
    }
}
