//! The identity index: open-addressed tables of links to records.
//!
//! A slot holds 0 or a record's offset with 16 bits of its identity hash. It goes from 0 to a link once, by
//! compare-and-swap with release, and never changes identity afterwards: from a removed record it goes to the next
//! one of the same identity. A full probe window leads to
//! the next, larger table; tables are searched oldest first and never rehashed.
//!
//! ```text
//! slot   63            48 47                                               0
//!        +---------------+--------------------------------------------------+
//!        | hash bits     |                offset of the record              |
//!        +---------------+--------------------------------------------------+
//! ```

use crate::error::{Error, Result};
use crate::fields::{Field, field, put, u16_at, u32_at, u64_at};
use crate::hash::checksum;
use crate::link::MAX_OFFSET;
use crate::sync::{AtomicU64, Ordering, load_acquire};

/// Bytes of a table's header; the slots follow.
pub const HEADER_BYTES: usize = 64;
/// Slots looked at in one table.
pub const PROBE_WINDOW: usize = 32;
/// Slots of the smallest table.
pub const MIN_SLOTS: u32 = 256;
/// Tag of an index table.
pub const TAG: u16 = 0x4901;

const CHECKSUM: usize = 8;
/// Offset, in a table, of the link to the next one.
pub const NEXT: u64 = 24;

/// The fields of a table's header.
pub const FIELDS: &[Field] = &[
    field("tag", 0, 2, "0x4901"),
    field("reserved", 2, 2, "0"),
    field("slots", 4, 4, "number of slots, a power of two of at least 256"),
    field("checksum", CHECKSUM, 8, "XXH64, seed = offset of the table, of bytes 0 to 8"),
    field("reserved_1", 16, 8, "0"),
    field("next", 24, 8, "atomic link: the next table"),
    field("reserved_2", 32, 32, "0"),
];

/// Bytes of a table with this many slots.
#[must_use]
pub const fn table_bytes(slots: u32) -> u64 {
    HEADER_BYTES as u64 + 8 * slots as u64
}

/// Writes the fixed part of a table's header for the place `offset`.
pub fn encode_header(slots: u32, offset: u64, out: &mut [u8; 16]) {
    out.fill(0);
    put(out, 0, &TAG.to_le_bytes());
    put(out, 4, &slots.to_le_bytes());
    let sum = checksum(&[&out[..8]], offset);
    put(out, CHECKSUM, &sum.to_le_bytes());
}

/// Reads and checks a copy of the first 16 bytes of a table at `offset`; returns its number of slots.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn decode_header(bytes: &[u8], offset: u64) -> Result<u32> {
    let tag = u16_at(bytes, 0);
    if tag != TAG {
        let (found, expected) = (u64::from(tag), u64::from(TAG));
        return Err(Error::Corrupt { what: "index table tag", offset, found, expected });
    }
    let (found, expected) = (u64_at(bytes, CHECKSUM), checksum(&[&bytes[..8]], offset));
    if found != expected {
        return Err(Error::Corrupt { what: "index table checksum", offset, found, expected });
    }
    let slots = u32_at(bytes, 4);
    if !slots.is_power_of_two() || slots < MIN_SLOTS {
        let (found, expected) = (u64::from(slots), u64::from(MIN_SLOTS));
        return Err(Error::Corrupt { what: "index table slots", offset, found, expected });
    }
    Ok(slots)
}

/// Packs a slot.
#[must_use]
pub const fn pack(record: u64, hash: u64) -> u64 {
    (hash & !MAX_OFFSET) | (record & MAX_OFFSET)
}

/// The record's offset in a slot that isn't 0.
#[must_use]
pub const fn record_of(slot: u64) -> u64 {
    slot & MAX_OFFSET
}

/// Whether `slot` can hold a record with this identity hash.
#[must_use]
pub const fn may_hold(slot: u64, hash: u64) -> bool {
    slot != 0 && slot & !MAX_OFFSET == hash & !MAX_OFFSET
}

/// Positions of the slots where a record with this hash may stand, in order.
pub fn window(slots: usize, hash: u64) -> impl Iterator<Item = usize> {
    let home = hash as usize;
    (0..PROBE_WINDOW.min(slots)).map(move |step| home.wrapping_add(step) & (slots - 1))
}

/// Whether a record is the one that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// Another one.
    No,
    /// This one.
    Yes,
    /// This one, and it was removed: its slot is for the next of its identity.
    Gone,
}

impl From<bool> for Match {
    fn from(is_it: bool) -> Self {
        if is_it { Self::Yes } else { Self::No }
    }
}

/// What a search or an insertion in one table found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A record of this identity, at this offset.
    Found(u64),
    /// No such record, and there was an empty slot: it is in no later table either.
    Absent,
    /// The candidate is published.
    Inserted,
    /// No such record, and no empty slot: go on in the next table.
    Full,
}

/// Searches one table.
///
/// `same(offset)` compares the record at `offset` fully; the acquire load makes its bytes visible.
pub fn find<M: Into<Match>>(slots: &[AtomicU64], hash: u64, mut same: impl FnMut(u64) -> M) -> Probe {
    for at in window(slots.len(), hash) {
        let seen = load_acquire(&slots[at]); // pairs with: insert() below
        if seen == 0 {
            return Probe::Absent;
        }
        if may_hold(seen, hash) {
            match same(record_of(seen)).into() {
                Match::No => (),
                Match::Yes => return Probe::Found(record_of(seen)),
                Match::Gone => return Probe::Absent,
            }
        }
    }
    Probe::Full
}

/// Finds the identity in one table or publishes `candidate`, a complete record nobody else can see.
///
/// Unique among all who do the same at once: every one of them meets the first empty slot of the window,
/// or the slot of their removed one, and a lost compare-and-swap looks again at that same slot.
pub fn insert<M: Into<Match>>(
    slots: &[AtomicU64],
    hash: u64,
    candidate: u64,
    mut same: impl FnMut(u64) -> M,
) -> Probe {
    let packed = pack(candidate, hash);
    for at in window(slots.len(), hash) {
        let mut seen = load_acquire(&slots[at]);
        loop {
            let found = if may_hold(seen, hash) { same(record_of(seen)).into() } else { Match::No };
            match found {
                Match::Yes => return Probe::Found(record_of(seen)),
                Match::No if seen != 0 => break,
                Match::No | Match::Gone => (),
            }
            match slots[at].compare_exchange(seen, packed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Probe::Inserted,
                Err(now) => seen = now,
            }
        }
    }
    Probe::Full
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn table(slots: usize) -> Vec<AtomicU64> {
        (0..slots).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn what_was_inserted_is_found_and_nothing_else() {
        let slots = table(256);
        assert_eq!(insert(&slots, 7, 64, |_| false), Probe::Inserted);
        assert_eq!(insert(&slots, 7, 128, |record| record == 64), Probe::Found(64));
        assert_eq!(insert(&slots, 7, 128, |_| false), Probe::Inserted);
        assert_eq!(find(&slots, 7, |record| record == 128), Probe::Found(128));
        assert_eq!(find(&slots, 8, |_| false), Probe::Absent);
    }

    #[test]
    fn what_is_gone_leaves_its_slot_to_the_next_of_its_identity() {
        let slots = table(256);
        assert_eq!(insert(&slots, 7, 64, |_| false), Probe::Inserted);
        assert_eq!(insert(&slots, 7, 128, |_| false), Probe::Inserted);
        let gone = |record| if record == 64 { Match::Gone } else { Match::No };
        assert_eq!(find(&slots, 7, gone), Probe::Absent);
        assert_eq!(insert(&slots, 7, 192, gone), Probe::Inserted);
        assert_eq!(slots.iter().filter(|slot| slot.load(Ordering::Relaxed) != 0).count(), 2);
        assert_eq!(find(&slots, 7, |record| record == 192), Probe::Found(192));
        assert_eq!(find(&slots, 7, |record| record == 128), Probe::Found(128));
    }

    #[test]
    fn a_full_window_leads_to_the_next_table() {
        let slots = table(256);
        for n in 0..PROBE_WINDOW as u64 {
            assert_eq!(insert(&slots, 9, 64 * (n + 1), |_| false), Probe::Inserted);
        }
        assert_eq!(insert(&slots, 9, 1 << 20, |_| false), Probe::Full);
        assert_eq!(find(&slots, 9, |_| false), Probe::Full);
    }

    #[test]
    fn the_hash_bits_spare_comparisons() {
        let slots = table(256);
        insert(&slots, 5 | 0xaaaa << 48, 64, |_| false);
        let probe =
            find(&slots, 5 | 0xbbbb << 48, |_| -> bool { panic!("compared a record of another hash") });
        assert_eq!(probe, Probe::Absent);
    }

    #[test]
    fn a_table_header_survives_encoding_and_refuses_flips() {
        let mut bytes = [0; 16];
        encode_header(1024, 4096, &mut bytes);
        assert_eq!(decode_header(&bytes, 4096), Ok(1024));
        assert!(decode_header(&bytes, 8192).is_err());
        for at in 0..16 {
            let mut flipped = bytes;
            flipped[at] ^= 2;
            assert!(decode_header(&flipped, 4096).is_err(), "byte {at}");
        }
    }
}
